"""Episode types for a new bias: some learners repeat the last symbol of a response.

    biml train --plugin examples/episode_type.py --episode_type algebraic+repetition \
        --preset fast --minutes 60 --fn_out_model net-repetition.pt
    biml eval --plugin examples/episode_type.py --episode_type repetition --max \
        --fn_out_model net-repetition.pt
"""

from dataclasses import replace
from functools import partial
from random import Random

import biml
from biml import Episode
from biml.episodes.registry import EpisodeType, meta_training, validation_set
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
# `corruptions` are the transforms that `--curriculum` leaves out at first.
biml.register_episode_type(
    EpisodeType(
        "algebraic+repetition",
        "algebraic outputs whose last symbol is sometimes repeated",
        training=meta_training(add_study_queries, repeat_last_symbol),
        algebraic_training=meta_training(add_study_queries),
        corruptions=(repeat_last_symbol,),
        evaluation=validation_set(add_study_queries),
        data_source="episodes of the meta-grammar",
    )
)

# Evaluation only: the accuracy on this type is how often a model has the bias.
biml.register_episode_type(
    EpisodeType(
        "repetition",
        "validation episodes in which every novel target has its last symbol twice",
        evaluation=validation_set(partial(repeat_last_symbol, p=1.0)),
    )
)
