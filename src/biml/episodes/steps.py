"""The steps that episode types are composed of, each a function of an episode and a generator."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from biml.episodes.episode import COLOURS, WORDS, Episode
from biml.episodes.present import Step
from biml.episodes.transforms import UNDEFINED, keep_study, query_study_too, remap


def keep_up_to(max_ns: int, min_ns: int = 0) -> Step:
    """Keep a random number of study examples between the bounds (or all, where they are fewer)."""

    def step(episode: Episode, rng: Random) -> Episode:
        return keep_study(episode, min_ns, min(max_ns, len(episode.study)), rng)

    return step


def copies_too(episode: Episode, rng: Random) -> Episode:
    """Ask for the study examples as well (the copy task)."""
    return query_study_too(episode)


def copies_only(episode: Episode, rng: Random) -> Episode:
    """Ask for the study examples and nothing else."""
    return query_study_too(replace(episode, queries=()))


def fewer_copies(most: int) -> Step:
    """Ask for a few of the study examples only, drawn at random."""

    def step(episode: Episode, rng: Random) -> Episode:
        copied = [number for number, query in enumerate(episode.queries) if query.copied]
        left_out = set(rng.sample(copied, max(0, len(copied) - most)))
        kept = [query for number, query in enumerate(episode.queries) if number not in left_out]
        return replace(episode, queries=tuple(kept))

    return step


def rename_to(words: Sequence[str], symbols: Sequence[str]) -> Step:
    """Give words and symbols random ones of these names."""
    return lambda episode, rng: remap(episode, words, symbols, rng)


rename = rename_to(WORDS, COLOURS)
"""Give words and symbols random ones of the published names."""


def without_study(episode: Episode, rng: Random) -> Episode:
    """Show no study examples (basic seq2seq)."""
    return replace(episode, study=())


def without_undefined(episode: Episode, rng: Random) -> Episode:
    """Leave out responses with a symbol that the canonical vocabulary does not have."""
    return replace(episode, queries=tuple(q for q in episode.queries if UNDEFINED not in q.symbols))
