"""Tasks of more words or symbols than the published ones, to which they are renamed."""

from collections.abc import Iterator
from contextlib import suppress

from biml.behaviour.people import FEW_SHOT, OPEN_ENDED, PROBES
from biml.episodes.episode import COLOURS, WORDS, Episode
from biml.episodes.locate import DataFolders
from biml.episodes.transforms import symbols_used
from biml.episodes.types import episode_type
from biml.errors import BimlError
from biml.reproduce.asked import MeasurementContext

TASK_EPISODE_TYPES = {
    FEW_SHOT: ("few_shot_human",),
    OPEN_ENDED: ("open_end_freeform", "open_end_human_all"),
    PROBES: ("probe_human",),
}
"""The episode types that have all words and symbols of each task."""


def vocabulary_overflow(data: DataFolders, task: str) -> str:
    """What a task has too many of for the published names, as a reader is told; else empty."""
    for episode in _task_episodes(data, task):
        for own, names, kind in zip(
            symbols_used(episode), (WORDS, COLOURS), ("words", "symbols"), strict=True
        ):
            if len(own) > len(names):
                return f"{len(own)} {kind}"
    return ""


def task_symbols(context: MeasurementContext, task: str) -> tuple[str, ...]:
    """What a symbolic model answers in where a task has too many names; empty where it has not.

    Such a model knows the rules, so that it needs no renaming.
    """
    if not context.model.symbolic or not vocabulary_overflow(context.data, task):
        return ()
    every = [symbol for e in _task_episodes(context.data, task) for symbol in symbols_used(e)[1]]
    return tuple(dict.fromkeys(every))


def _task_episodes(data: DataFolders, task: str) -> Iterator[Episode]:
    for name in TASK_EPISODE_TYPES[task]:
        with suppress(BimlError):  # whoever asks for them is told what is wrong
            yield from episode_type(name).open_evaluation(data, 0).episodes
