"""How fast episodes are drawn, written as the published set, and read again.

    python benchmarks/generate.py [--train 100000] [--workers N]

Drawing is compared with the 4.9 ms an episode of the method's published implementation (measured
on another day on a machine of this size). Everything else is in seconds for the whole set, in a
temporary folder that is removed afterwards.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from biml.episodes.datasets import StreamDataset, canonical_grammars, sample_validation_set
from biml.episodes.episode import Episode
from biml.episodes.generate import DatasetSpec, generate
from biml.episodes.packed import EpisodeFolderDataset
from biml.episodes.sampling import sample_episode
from biml.grammar import MetaGrammar
from biml.rng import generator

PUBLISHED_MS = 4.9
ROUNDS = 5
EPISODES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=100_000)
    parser.add_argument("--workers", type=int)
    args = parser.parse_args()

    meta = MetaGrammar()
    stream = StreamDataset(meta, 1, canonical_grammars(sample_validation_set(meta, 0)))
    tasks: dict[str, Callable[[int], Episode]] = {
        "draw an episode": lambda i: sample_episode(meta, generator(1, "train", i)),
        "the same with exclusions": stream.__getitem__,
    }
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            start = time.perf_counter()
            for i in range(EPISODES):
                task(i)
            best[name] = min(best[name], (time.perf_counter() - start) / EPISODES * 1e3)
    for name, ms in best.items():
        print(f"{name}: {ms:.3f} ms on one core, {PUBLISHED_MS / ms:.0f} times the published rate")

    with TemporaryDirectory() as folder:
        where = Path(folder) / "data_algebraic"
        start = time.perf_counter()
        generate(DatasetSpec(train=args.train), where, workers=args.workers)
        print(f"write {args.train:,} + 200 episodes: {time.perf_counter() - start:.1f} s")
        for what in ("read for the first time", "open again"):
            start = time.perf_counter()
            opened = EpisodeFolderDataset.open(where / "train", cache=Path(folder) / "cache")
            print(f"{what}: {time.perf_counter() - start:.2f} s")
        start = time.perf_counter()
        for i in range(EPISODES):
            opened[i * 7919 % len(opened)]
        each = (time.perf_counter() - start) / EPISODES * 1e3
        kept = sum(path.stat().st_size for path in (Path(folder) / "cache").rglob("*.packed"))
        print(f"one episode from it: {each:.3f} ms; its size: {kept / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
