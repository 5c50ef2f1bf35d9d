"""What a network that learned its training targets perfectly would answer in the few-shot task.

`algebraic+biases` and `algebraic+slips` show targets that are now and then wrong. Here they are
drawn for the queries that people answered, by the same functions, and measured as samples are:
accuracy in percent, errors that are one-to-one and iconic, and the correlation with people over
items; and people's answers have a log-likelihood by the mixture that targets are drawn from. Beside
them stand people and, if named, models. So one sees how much of a difference from people is the
recipe's, and how much that of a model.

    python benchmarks/biased_targets.py [MODEL ...] [--times 200] [--samples 10] [--data_dir FOLDER]
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pandas as pd

import biml
from biml.analysis.comparison import item_correlation
from biml.analysis.few_shot import accuracy_by_group, error_rates, item_accuracy
from biml.analysis.people import people_few_shot
from biml.analysis.scoring import sample_few_shot
from biml.episodes.episode import Example
from biml.episodes.registry import episode_type
from biml.errors import BimlError
from biml.evaluation.accuracy import DEFAULT_REPEATS
from biml.evaluation.likelihood import fit_lapse, score_repeats
from biml.evaluation.responder import Responder
from biml.evaluation.sample_page import SAMPLES_PER_RESPONSE
from biml.evaluation.symbolic import symbolic_model
from biml.grammar import GOLD
from biml.grammar.meta_grammar import COLOURS
from biml.paths import DataFolders

SHOWN_BY = {"algebraic+biases": "oracle-biases", "algebraic+slips": "oracle-slips"}
"""Episode types, and the symbolic model that knows the mixture of their targets but for noise."""

SYMBOLS = (*GOLD.symbols, *COLOURS[len(GOLD.symbols) :])
"""As many as there are in training, those of the gold grammar by their canonical names."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument(
        "--times", type=int, default=200, help="targets for each of people's answers (%(default)s)"
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=SAMPLES_PER_RESPONSE,
        help="the same of each model (%(default)s)",
    )
    parser.add_argument("--data_dir", type=Path, help="where data_human lies")
    args = parser.parse_args()
    data = DataFolders(args.data_dir)
    networks = {name: biml.load(name).responder for name in args.models}
    samples = [
        sample_few_shot(network, data, model=name, samples_per_response=args.samples)
        for name, network in networks.items()
    ]
    drawn = [pd.DataFrame(targets(data, args.times, name)) for name in SHOWN_BY]
    responses = pd.concat([people_few_shot(data), *drawn, *samples])
    mixtures = {name: symbolic_model(model).build() for name, model in SHOWN_BY.items()}
    measured = [
        table.set_index("model")
        for table in (
            accuracy_by_group(responses, by=["model"]),
            error_rates(responses, by=["model"])[["model", "one_to_one_percent", "iconic_percent"]],
            item_correlation(responses)[["model", "r"]],
            pd.DataFrame(likelihoods(data, {**mixtures, **networks})),
        )
    ]
    print(pd.concat(measured, axis=1).round(2).to_string(), end="\n\n")
    items = item_accuracy(responses, by=["model"])
    print(items.pivot(index="item", columns="model", values="accuracy").round(1).to_string())


def targets(data: DataFolders, times: int, name: str) -> Iterator[dict[str, str]]:
    """Targets as an episode type shows them in training, one row each.

    Args:
        times: so many for each of people's answers.
        name: of the episode type.
    """
    rng = Random(0)
    for episode in episode_type("few_shot_human").open_evaluation(data, 0).episodes:
        right = replace(
            episode,
            grammar=GOLD,
            queries=tuple([Example(q.input, GOLD.interpret(q.input)) for q in episode.queries]),
        )
        for _ in range(times):
            shown = right
            for step in episode_type(name).corruptions:
                shown = step(shown, rng, symbols=SYMBOLS)
            for query in shown.queries:
                words, response = " ".join(query.input), " ".join(query.output)
                yield {"model": name, "item": words, "query": words, "response": response}


def likelihoods(data: DataFolders, responders: dict[str, Responder]) -> Iterator[dict[str, object]]:
    """That of people's answers by each, at the lapse rate that fits best."""
    human = episode_type("few_shot_human").open_evaluation(data, 0)
    for name, responder in responders.items():
        found = fit_lapse(score_repeats(responder, human.repeat, DEFAULT_REPEATS))
        yield {"model": name, "log_likelihood": found.mean, "lapse": found.p_lapse}


if __name__ == "__main__":
    try:
        main()
    except BimlError as error:
        sys.exit(f"error: {error}")
