"""The probe task: one small study set, one query, and a pool of symbols to answer with."""

from dataclasses import replace
from random import Random

from biml.episodes.episode import Episode, Example
from biml.errors import BimlError


def add_pool_to_study(episode: Episode, rng: Random) -> Episode:
    """Show the pool as one more study example, whose input is empty and whose output is the pool.

    The pool's symbols come in random order, as files list first those that the study examples use,
    which would give them away.

    Raises:
        BimlError: the episode has no pool.
    """
    if episode.pool is None:
        raise BimlError(
            f"{episode.name}: a probe trial must list its 'allowed outputs:' below '*GRAMMAR*'"
        )
    pool = Example((), tuple(rng.sample(episode.pool, len(episode.pool))))
    return replace(episode, study=(*episode.study, pool))
