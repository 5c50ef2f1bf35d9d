"""Time to sample one episode, compared with the reference interpreter.

    python benchmarks/sample_episode.py [--episodes 500] [--rounds 15]

Both are timed in alternation in one process on one core. The fastest round of each counts, so
that other load on the machine matters little.
"""

import argparse
import time
from collections.abc import Callable

import reference_interpreter
from biml.episodes.sampling import sample_episode
from biml.grammar import MetaGrammar
from biml.rng import generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    meta = MetaGrammar()

    def milliseconds(sample: Callable[..., object], round_number: int) -> float:
        start = time.process_time()
        for i in range(args.episodes):
            sample(meta, generator(round_number, i))
        return (time.process_time() - start) / args.episodes * 1e3

    # The first round fills the cache of compiled left-hand sides (216 kinds of grammar).
    rounds = [
        (milliseconds(sample_episode, n), milliseconds(reference_interpreter.sample_episode, n))
        for n in range(args.rounds + 1)
    ][1:]
    ours, reference = (min(times) for times in zip(*rounds, strict=True))
    print(f"sample_episode: {ours:.3f} ms per episode")
    print(f"reference: {reference:.3f} ms per episode, {reference / ours:.1f} times as long")


if __name__ == "__main__":
    main()
