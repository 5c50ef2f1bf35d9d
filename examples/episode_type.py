"""An episode type for a new bias, repeating the last symbol, and a measure that shows it.

    biml train --plugin examples/episode_type.py --episode_type algebraic+repetition \
        --preset fast --time_budget 60 --fn_out_model net-repetition.pt
    biml eval --plugin examples/episode_type.py --episode_type repetition --max \
        --fn_out_model net-repetition.pt
    biml reproduce few-shot --plugin examples/episode_type.py --models net-repetition.pt --quick
"""

from dataclasses import replace
from functools import partial
from random import Random

import pandas as pd

import biml
from biml import GOLD, Episode
from biml.episodes.episode_type import VALIDATION, EpisodeType, meta_training, validation_set
from biml.episodes.registry import META_GRAMMAR_TASKS
from biml.episodes.transforms import add_study_queries


def repeat_last_symbol(episode: Episode, rng: Random, p: float = 0.2) -> Episode:
    """Repeat the last symbol of the target of each novel query with probability `p`."""
    queries = [
        query._replace(output=(*query.output, query.output[-1]))
        if not query.in_study and rng.random() < p
        else query
        for query in episode.queries
    ]
    return replace(episode, queries=tuple(queries))


# Training: episodes of the meta-grammar, with the study examples as queries too, then the bias.
# Validation: the same without the bias. With `--curriculum` training is unbiased at first.
biml.register_episode_type(
    EpisodeType(
        "algebraic+repetition",
        "algebraic outputs whose last symbol is sometimes repeated",
        training=meta_training(add_study_queries, repeat_last_symbol),
        algebraic_training=meta_training(add_study_queries),
        corruptions=(repeat_last_symbol,),
        evaluation=validation_set(add_study_queries),
        evaluation_task=VALIDATION,
        tasks=META_GRAMMAR_TASKS,
        data_sources=("episodes of the meta-grammar",),
        label="MLC (repetition)",
    )
)

# For evaluation only: the accuracy on these episodes says how often a model has the bias.
biml.register_episode_type(
    EpisodeType(
        "repetition",
        "validation episodes in which the last symbol of every novel target is repeated",
        evaluation=validation_set(partial(repeat_last_symbol, p=1.0)),
    )
)


@biml.register_measure("repetition", task="few_shot", label="last symbol repeated, %")
def repetition(responses: pd.DataFrame) -> float:
    """Percent of responses that are the correct output with its last symbol repeated."""

    def repeated(query: str) -> str:
        output = GOLD.interpret(query.split())
        return " ".join((*output, output[-1]))

    return float(100 * (responses["response"] == responses["query"].map(repeated)).mean())
