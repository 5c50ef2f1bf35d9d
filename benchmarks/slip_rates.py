"""Whether rates of slips that fit some of people's few-shot answers fit the others as well.

The answers are halved at random a hundred times over. Rates of slips and a lapse rate are fitted to
one half by their likelihood, on a grid, and so are the rate of the published biases and a lapse
rate; both are then scored on the other half. What is shown is the log-likelihood of all answers,
each scored where it was not fitted: of slips less that of biases.

    python benchmarks/slip_rates.py [--splits 100] [--data_dir FOLDER]
"""

import argparse
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
from rich.progress import track

from biml.episodes.episode import Episode
from biml.episodes.registry import episode_type
from biml.errors import BimlError
from biml.evaluation.likelihood import apply_lapse
from biml.evaluation.responder import Responder
from biml.evaluation.symbolic import BiasOracle, SlipOracle
from biml.grammar.perturbations import HUMAN_RATES, SlipRates
from biml.paths import DataFolders

LAPSES = [i / 100 for i in range(1, 13)]
BIASES = (0.1, 0.15, 0.2, 0.25, 0.3)
MISREAD, FLIP, ONE_TO_ONE = (
    (0, 0.01, 0.02, 0.03, 0.04),
    (0, 0.02, 0.04, 0.06, 0.08, 0.1),
    (0, 0.005, 0.01, 0.02),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=100, help="(%(default)s)")
    parser.add_argument("--data_dir", type=Path, help="where data_human lies")
    args = parser.parse_args()
    human = episode_type("few_shot_human").open_evaluation(DataFolders(args.data_dir), 0)
    episodes = human.repeat(0)
    biases = {p: scored(BiasOracle(p=p), episodes) for p in BIASES}
    slips = {
        rates: scored(SlipOracle(rates=rates), episodes)
        for rates in track(
            [SlipRates(*each) for each in product(MISREAD, FLIP, ONE_TO_ONE)], "Rates of slips"
        )
    }
    for name, found in (("biases", biases), ("slips", slips)):
        best = max(found, key=lambda rates: found[rates].sum(axis=1).max())
        print(f"{name}: {best}: {found[best].sum(axis=1).max():.1f}")
    print(f"as trained: {HUMAN_RATES}: {slips[HUMAN_RATES].sum(axis=1).max():.1f}")
    gains = np.array([gain(slips, biases, seed) for seed in range(args.splits)])
    print(
        f"slips less biases, held out: mean {gains.mean():.1f}, SD over {args.splits} splits "
        f"{gains.std(ddof=1):.1f}, above zero in {100 * (gains > 0).mean():.0f}%"
    )


def scored(responder: Responder, episodes: list[Episode]) -> np.ndarray:
    """Log-likelihood of every answer at every lapse rate [lapse rates, answers]."""
    answers = [answer for episode in responder.log_prob(episodes) for answer in episode]
    n_symbols = len(responder.symbols) + 1
    return np.array([[apply_lapse(a, rate, n_symbols).sum() for a in answers] for rate in LAPSES])


def gain(
    slips: Mapping[object, np.ndarray], biases: Mapping[object, np.ndarray], seed: int
) -> float:
    """Held-out log-likelihood of all answers by slips, less that by biases."""
    return held_out(slips, seed) - held_out(biases, seed)


def held_out(models: Mapping[object, np.ndarray], seed: int) -> float:
    """Log-likelihood of all answers, each by what fits the half best that it is not in."""
    each = np.concatenate(list(models.values()))
    first = np.random.default_rng(seed).permutation(each.shape[1]) < each.shape[1] // 2
    return sum(
        float(each[each[:, fitted].sum(axis=1).argmax(), ~fitted].sum())
        for fitted in (first, ~first)
    )


if __name__ == "__main__":
    try:
        main()
    except BimlError as error:
        sys.exit(f"error: {error}")
