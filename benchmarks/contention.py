"""How much other programs on the machine slow small inference down.

    python benchmarks/contention.py [--model NAME] [--rounds N]

One query, and the gold episode under 20 remappings, beside as many busy programs as there are
cores: in threads as biml chooses them, in one, and in as many as PyTorch would take.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median

import torch

import biml
from biml.evaluation import network
from biml.networks.devices import inference_threads
from biml.parallel import available_cores

STUDY = [("dax", "RED"), ("wif", "BLUE"), ("dax fep", "RED RED RED")]

BUSY = "while True: pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="net-BIML-top")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    model = biml.load(args.model, device="cpu")
    gold = biml.episode_type("few_shot_gold").open_evaluation(biml.paths.DataFolders(), 0)
    episodes = gold.repeat(0)[:20]
    tasks: dict[str, Callable[[], object]] = {
        "one query": lambda: model.respond(STUDY, "wif fep"),
        "20 episodes": lambda: model.respond(episodes),
    }
    cores = available_cores()
    ways = {
        "threads as chosen": (cores, inference_threads),
        "one thread": (1, inference_threads),
        f"{cores} threads": (cores, lambda n_queries: nullcontext()),
    }
    neighbours = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(cores)]
    try:
        time.sleep(60)  # the system's load is an average of a minute
        for task, compute in tasks.items():
            compute()
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(args.rounds):
                for way, (n_threads, context) in ways.items():
                    torch.set_num_threads(n_threads)
                    network.inference_threads = context
                    start = time.perf_counter()
                    compute()
                    seconds[way].append(time.perf_counter() - start)
            for way, times in seconds.items():
                print(f"{task:<12} {way:<18} {median(times):7.3f} s, at most {max(times):.3f} s")
    finally:
        for neighbour in neighbours:
            neighbour.kill()


if __name__ == "__main__":
    main()
