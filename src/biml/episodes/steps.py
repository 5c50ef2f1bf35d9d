"""The steps that episode types are composed of, each a function of an episode and a generator."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from biml.episodes.episode import COLOURS, WORDS, Episode
from biml.episodes.present import Transform
from biml.episodes.transforms import UNDEFINED, keep_study, append_study_queries, remap


def subsample_study(max_ns: int, min_ns: int = 0) -> Transform:
    """Keep a random number of study examples between the bounds (or all, where they are fewer)."""

    def step(episode: Episode, rng: Random) -> Episode:
        return keep_study(episode, min_ns, min(max_ns, len(episode.study)), rng)

    return step


def add_study_queries(episode: Episode, rng: Random) -> Episode:
    """Ask for the study examples as well (the copy task)."""
    return append_study_queries(episode)


def only_study_queries(episode: Episode, rng: Random) -> Episode:
    """Ask for the study examples and nothing else."""
    return append_study_queries(replace(episode, queries=()))


def limit_study_queries(limit: int) -> Transform:
    """Ask for a few of the study examples only, drawn at random."""

    def step(episode: Episode, rng: Random) -> Episode:
        copied = [number for number, query in enumerate(episode.queries) if query.in_study]
        left_out = set(rng.sample(copied, max(0, len(copied) - limit)))
        kept = [query for number, query in enumerate(episode.queries) if number not in left_out]
        return replace(episode, queries=tuple(kept))

    return step


def remap_to(words: Sequence[str], symbols: Sequence[str]) -> Transform:
    """Give words and symbols random ones of these names."""
    return lambda episode, rng: remap(episode, words, symbols, rng)


remap_published = remap_to(WORDS, COLOURS)
"""Give words and symbols random ones of the published names."""


def drop_study(episode: Episode, rng: Random) -> Episode:
    """Show no study examples (basic seq2seq)."""
    return replace(episode, study=())


def drop_undefined_responses(episode: Episode, rng: Random) -> Episode:
    """Leave out responses with a symbol that the canonical vocabulary does not have."""
    return replace(episode, queries=tuple(q for q in episode.queries if UNDEFINED not in q.output))
