"""What a measurement is given: model, data, workload; and which models are eligible."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pandas as pd

from biml.episodes.episode import Episode
from biml.episodes.episode_type import (
    FEW_SHOT,
    FEW_SHOT_GOLD,
    NOVEL_RULES,
    OPEN_ENDED,
    PROBES,
    VALIDATION,
)
from biml.episodes.registry import episode_type, tasks_of
from biml.episodes.transforms import symbols_used
from biml.errors import BimlError
from biml.evaluation.sample_page import SAMPLES_PER_RESPONSE
from biml.evaluation.symbolic import symbolic_model
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.paths import DataFolders
from biml.reproduce.models import EvaluatedModel


@dataclass(frozen=True)
class Workload:
    """Amounts of computation; the defaults are those of a full reproduction.

    Attributes:
        few_shot_repeats: remappings that few-shot likelihoods are averaged over.
        open_ended_repeats: orders and remappings that open-ended likelihoods are averaged over.
        few_shot_samples: samples per human response to few-shot queries. The 10 of the paper leave
            the accuracy of an item uncertain by three points.
        probe_samples: the same for probes.
        response_sets: sampled response sets of the open-ended task. The 100 of the paper leave
            percentages uncertain by five points.
        episodes: at most so many episodes are answered greedily.
    """

    few_shot_repeats: int = 100
    open_ended_repeats: int = 200
    few_shot_samples: int = 30
    probe_samples: int = SAMPLES_PER_RESPONSE
    response_sets: int = 1000
    episodes: int = 1000
    seed: int = 0


def workload(quick: bool, seed: int) -> Workload:
    """The amounts of a full reproduction, or of a quick one."""
    if not quick:
        return Workload(seed=seed)
    return Workload(
        5, 3, few_shot_samples=1, probe_samples=1, response_sets=30, episodes=26, seed=seed
    )


Tables = dict[str, pd.DataFrame]
"""By name."""


@dataclass(frozen=True)
class MeasurementContext:
    """What a measurement depends on: model, data, workload and the lapse rate of its samples."""

    model: EvaluatedModel
    data: DataFolders
    workload: Workload
    p_lapse: float = 0.0


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


def ineligible(task: str, model: EvaluatedModel, *, samples: bool = False) -> str:
    """Why a model is excluded from a task, by what its episode type declares, or an empty text.

    Args:
        samples: its responses are sampled, which needs study examples and one network.
    """
    if model.symbolic:
        symbolic = symbolic_model(model.name)
        if task.replace("_", "-") in symbolic.tasks:
            return ""
        if "few-shot" in symbolic.tasks and task in (FEW_SHOT_GOLD, VALIDATION, NOVEL_RULES):
            return "is given the rules" if symbolic.uses_grammar else ""
        return f"is for the {' and '.join(symbolic.tasks)} task"
    has_targets = task != OPEN_ENDED or not samples
    if not model.evaluation_type(task, has_targets=has_targets):
        return "knows another vocabulary"
    if task not in tasks_of(model.trained_on, model.vocabulary):
        return f"was not trained for the {task.replace('_', '-')} task"
    if model.network is None and (task != OPEN_ENDED or samples):
        return "has fold models only"
    if samples and model.episode_type and not model.episode_type.uses_study:
        return "reads no study examples"
    return ""


@dataclass(frozen=True)
class JobResult:
    """What a unit gave, and the name of everything that it depends on."""

    cache_key: str
    tables: Tables


JobResults = dict[tuple[str, str], JobResult]
"""Results by measurement and model."""
