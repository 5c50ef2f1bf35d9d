"""Cross-validated fit of slip rates to the human few-shot responses.

The responses are split in halves at random, a hundred times. Slip rates and a lapse rate are
fitted to each half by maximum likelihood on a grid, and so are the rate of the published biases
and a lapse rate; both are scored on the other half. Printed is the difference in held-out
log-likelihood of all responses, slips minus biases.

    python benchmarks/fit_slip_rates.py [--splits 100] [--data_dir FOLDER]
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.progress import track

from biml.episodes.episode import Episode
from biml.episodes.registry import episode_type
from biml.errors import BimlError
from biml.evaluation.likelihood import apply_lapse
from biml.evaluation.responder import Responder
from biml.evaluation.symbolic import BiasOracle, SlipOracle
from biml.grammar.perturbations import CANDIDATE_RATES, HUMAN_RATES
from biml.paths import DataFolders

LAPSE_RATES = [i / 100 for i in range(1, 13)]
BIAS_RATES = (0.1, 0.15, 0.2, 0.25, 0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--splits", type=int, default=100, help="number of random splits (%(default)s)"
    )
    parser.add_argument("--data_dir", type=Path, help="folder that contains data_human")
    args = parser.parse_args()
    human = episode_type("few_shot_human").open_evaluation(DataFolders(args.data_dir), 0)
    episodes = human.repeat(0)
    biases = {p: score(BiasOracle(p=p), episodes) for p in BIAS_RATES}
    slips = {
        rates: score(SlipOracle(rates=rates), episodes)
        for rates in track(CANDIDATE_RATES, "slip rates")
    }
    for name, scores in (("biases", biases), ("slips", slips)):
        best = max(scores, key=lambda rates: scores[rates].sum(axis=1).max())
        print(f"{name}: {best}: {scores[best].sum(axis=1).max():.1f}")
    print(f"training rates: {HUMAN_RATES}: {slips[HUMAN_RATES].sum(axis=1).max():.1f}")
    gains = np.array([gain(slips, biases, seed) for seed in range(args.splits)])
    print(
        f"slips minus biases, held out: mean {gains.mean():.1f}, SD over {args.splits} splits "
        f"{gains.std(ddof=1):.1f}, above zero in {100 * (gains > 0).mean():.0f}%"
    )


def score(responder: Responder, episodes: list[Episode]) -> np.ndarray:
    """Log-likelihood of every response at every lapse rate [lapse rates, responses]."""
    responses = [response for episode in responder.log_prob(episodes) for response in episode]
    n_symbols = len(responder.symbols) + 1
    return np.array(
        [[apply_lapse(r, rate, n_symbols).sum() for r in responses] for rate in LAPSE_RATES]
    )


def gain(
    slips: Mapping[object, np.ndarray], biases: Mapping[object, np.ndarray], seed: int
) -> float:
    """Held-out log-likelihood of all responses, slips minus biases."""
    return held_out(slips, seed) - held_out(biases, seed)


def held_out(models: Mapping[object, np.ndarray], seed: int) -> float:
    """Log-likelihood of all responses, each under the best fit to the half without it."""
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
