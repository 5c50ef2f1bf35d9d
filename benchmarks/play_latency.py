"""How long the page of `biml play` waits for an answer to a change, at its server.

As the page does, each change asks for the responses of two models with the attention of one, the
readings, and the responses of people, all at once. The changes are the queries of the gold task and
of random episodes, which no cache has seen. Prints the time that passes and, as other programs on
the machine lengthen it, the processor time.

    python benchmarks/play_latency.py [--episodes 4] [--data_dir FOLDER]
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import biml
from biml.cli.play import DEFAULT_MODELS
from biml.paths import DataFolders
from biml.web.people import People
from biml.web.play_api import (
    EpisodeRequest,
    Playground,
    ReadingsRequest,
    RespondRequest,
    Task,
    load_episode,
)

LEAST = 0.001
"""Probability of the least probable responses that the page shows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=4, help="random ones (%(default)s)")
    parser.add_argument("--data_dir", type=Path, help="folder that contains data_human")
    args = parser.parse_args()
    models = {name: biml.load(name, device="cpu") for name in DEFAULT_MODELS}
    playground = Playground(models, People(DataFolders(args.data_dir)))
    playground.warm_up()
    random = [EpisodeRequest(source="random", seed=seed) for seed in range(args.episodes)]
    times = []
    with ThreadPoolExecutor(4) as page:
        for request in (EpisodeRequest(source="gold"), *random):
            episode = load_episode(request)
            for query, _ in episode.queries:
                task = {"study": episode.study, "query": query}
                begin = time.perf_counter(), time.process_time()
                first, *others = DEFAULT_MODELS
                work: list[tuple[Callable, object]] = [
                    (
                        playground.respond,
                        RespondRequest(**task, models=[first], k=4, least=LEAST, attention=True),
                    ),
                    (playground.respond, RespondRequest(**task, models=others, k=4, least=LEAST)),
                    (playground.readings, ReadingsRequest(**task)),
                    (playground.people_responses, Task(**task)),
                ]
                for each in [page.submit(*each) for each in work]:
                    each.result()
                end = time.perf_counter(), time.process_time()
                times.append([1000 * (b - a) for a, b in zip(begin, end, strict=True)])
    for name, values in zip(("passed", "processor"), zip(*times, strict=True), strict=True):
        median, high = np.percentile(values, [50, 95])
        print(f"{len(values)} changes: {name} time, median {median:.0f} ms, 95% {high:.0f} ms")


if __name__ == "__main__":
    main()
