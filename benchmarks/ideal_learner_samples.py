"""Samples of an ideal learner: one that has learned its training targets perfectly.

The episode types `algebraic+biases` and `algebraic+slips` corrupt some of their targets. Here the
same corruptions are sampled for the queries of the human few-shot task and analysed as samples of
a model are: accuracy and error patterns in percent, and the item correlation with people. The
log-likelihood of the human responses is that under the mixture which targets are sampled from.
People and, if named, models are analysed in the same way. This separates how much of a difference
from people is due to the training targets and how much to the model.

    python benchmarks/ideal_learner_samples.py [MODEL …] [--times 200] [--samples 10]
                                               [--data_dir FOLDER]
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pandas as pd

import biml
from biml.analysis.comparison import item_correlation
from biml.analysis.few_shot import accuracy_by_complexity, error_rates, item_accuracy
from biml.analysis.people import people_few_shot
from biml.analysis.scoring import sample_few_shot
from biml.episodes.episode import Example
from biml.episodes.registry import episode_type
from biml.errors import BimlError
from biml.evaluation.evaluate import DEFAULT_REPEATS
from biml.evaluation.likelihood import fit_lapse, score_responses, token_scores
from biml.evaluation.registry import symbolic_model
from biml.evaluation.responder import Responder
from biml.evaluation.sample_page import SAMPLES_PER_RESPONSE
from biml.grammar import GOLD
from biml.grammar.meta_grammar import COLOURS
from biml.paths import DataFolders

MIXTURES = {"algebraic+biases": "oracle-biases", "algebraic+slips": "oracle-slips"}
"""Episode types and the symbolic model with the same mixture of targets, but without noise."""

SYMBOLS = (*GOLD.symbols, *COLOURS[len(GOLD.symbols) :])
"""As many symbols as in training; those of the gold grammar have their canonical names."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument(
        "--times", type=int, default=200, help="samples per human response (%(default)s)"
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=SAMPLES_PER_RESPONSE,
        help="samples per human response of each model (%(default)s)",
    )
    parser.add_argument("--data_dir", type=Path, help="folder that contains data_human")
    args = parser.parse_args()
    data = DataFolders(args.data_dir)
    networks = {name: biml.load(name).responder for name in args.models}
    samples = [
        sample_few_shot(network, data, model=name, samples_per_response=args.samples)
        for name, network in networks.items()
    ]
    ideal = [pd.DataFrame(sample_targets(data, args.times, name)) for name in MIXTURES]
    responses = pd.concat([people_few_shot(data), *ideal, *samples])
    mixtures = {name: symbolic_model(model).build() for name, model in MIXTURES.items()}
    tables = [
        table.set_index("model")
        for table in (
            accuracy_by_complexity(responses, by=["model"]),
            error_rates(responses, by=["model"])[["model", "one_to_one_percent", "iconic_percent"]],
            item_correlation(responses)[["model", "r"]],
            pd.DataFrame(likelihoods(data, {**mixtures, **networks})),
        )
    ]
    print(pd.concat(tables, axis=1).round(2).to_string(), end="\n\n")
    items = item_accuracy(responses, by=["model"])
    print(items.pivot(index="item", columns="model", values="accuracy").round(1).to_string())


def sample_targets(data: DataFolders, n: int, name: str) -> Iterator[dict[str, str]]:
    """Sample `n` training targets of an episode type per human response, one row each."""
    rng = Random(0)
    for episode in episode_type("few_shot_human").open_evaluation(data, 0).episodes:
        algebraic = replace(
            episode,
            grammar=GOLD,
            queries=tuple([Example(q.input, GOLD.interpret(q.input)) for q in episode.queries]),
        )
        for _ in range(n):
            corrupted = algebraic
            for corrupt in episode_type(name).corruptions:
                corrupted = corrupt(corrupted, rng, symbols=SYMBOLS)
            for query in corrupted.queries:
                words, response = " ".join(query.input), " ".join(query.output)
                yield {"model": name, "item": words, "query": words, "response": response}


def likelihoods(data: DataFolders, responders: dict[str, Responder]) -> Iterator[dict[str, object]]:
    """Compute the log-likelihood of the human responses at the best-fitting lapse rate."""
    human = episode_type("few_shot_human").open_evaluation(data, 0)
    for name, responder in responders.items():
        fit = fit_lapse(token_scores(score_responses(responder, human, repeats=DEFAULT_REPEATS)))
        yield {"model": name, "log_likelihood": fit.mean, "p_lapse": fit.p_lapse}


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except BimlError as error:
        sys.exit(f"error: {error}")
