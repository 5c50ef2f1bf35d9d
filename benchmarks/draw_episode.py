"""How long drawing an episode takes, and how much longer in plain tuples of words.

    python benchmarks/draw_episode.py [--episodes 500] [--rounds 15]

Both are timed by turns in one process on one core; the fastest round of each counts, so that
whatever else the machine does disturbs little.
"""

import argparse
import time
from collections.abc import Callable

import plain
from biml.episodes.sampling import sample_episode
from biml.grammar import MetaGrammar
from biml.rng import generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    meta = MetaGrammar()

    def milliseconds(draw: Callable[..., object], round_number: int) -> float:
        start = time.process_time()
        for i in range(args.episodes):
            draw(meta, generator(round_number, i))
        return (time.process_time() - start) / args.episodes * 1e3

    # The first round compiles the left sides that the 216 kinds of grammar have, once and for all.
    rounds = [
        (milliseconds(sample_episode, n), milliseconds(plain.draw_episode, n))
        for n in range(args.rounds + 1)
    ][1:]
    ours, plainly = (min(times) for times in zip(*rounds, strict=True))
    print(f"draw_episode: {ours:.3f} ms an episode")
    print(f"in plain tuples: {plainly:.3f} ms, {plainly / ours:.1f} times as long")


if __name__ == "__main__":
    main()
