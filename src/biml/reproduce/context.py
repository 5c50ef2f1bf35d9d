"""What a measurement is given: model, data, workload; and which models are eligible."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pandas as pd

from biml.episodes.episode import Episode
from biml.episodes.episode_type import (
    CANONICAL_VOCAB,
    FEW_SHOT,
    OPEN_ENDED,
    PROBES,
    PUBLISHED_VOCAB,
)
from biml.episodes.registry import episode_type
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


# === Which models take part in a measurement: each a function to the reason why not, or nothing


def ineligible_for_few_shot(model: EvaluatedModel) -> str:
    """Models that learned to read study examples, those without them, and symbolic ones."""
    if model.symbolic:
        return (
            "" if "few-shot" in symbolic_model(model.name).tasks else "is for the open-ended task"
        )
    if model.has_vocabulary(CANONICAL_VOCAB):
        return ""
    return ineligible_for_sampled_grammars(model)


def ineligible_for_sampled_grammars(model: EvaluatedModel) -> str:
    """Networks that learned from episodes of drawn grammars."""
    if model.symbolic:
        uses_grammar = symbolic_model(model.name).uses_grammar
        return ineligible_for_few_shot(model) or ("is given the rules" if uses_grammar else "")
    if model.has_vocabulary(CANONICAL_VOCAB):
        return "knows another vocabulary and reads no study examples"
    if not model.has_vocabulary(PUBLISHED_VOCAB):
        return "knows another vocabulary"
    if model.network is None:
        return "has models for folds only"
    if model.trained_on.startswith(("open_end", "probe")):
        return f"was trained on {model.trained_on}, not on few-shot episodes of a grammar"
    return ""


def ineligible_for_gold_accuracy(model: EvaluatedModel) -> str:
    """The same, and networks without study examples."""
    return (
        ""
        if model.has_vocabulary(CANONICAL_VOCAB) and not model.symbolic
        else ineligible_for_sampled_grammars(model)
    )


def ineligible_for_few_shot_samples(model: EvaluatedModel) -> str:
    """Networks that read study examples, and symbolic models."""
    return (
        ineligible_for_few_shot(model) if model.symbolic else ineligible_for_sampled_grammars(model)
    )


def ineligible_for_open_ended(model: EvaluatedModel) -> str:
    """Networks that learned from people's open-ended answers, and symbolic models."""
    if model.symbolic:
        return (
            "" if "open-ended" in symbolic_model(model.name).tasks else "is for the few-shot task"
        )
    if not model.trained_on.startswith(("open_end_human", "joint")):
        return f"was trained on {model.trained_on or 'what is unknown'}, not on the open-ended task"
    return "" if model.has_vocabulary(PUBLISHED_VOCAB) else "knows another vocabulary"


def ineligible_for_open_ended_samples(model: EvaluatedModel) -> str:
    """The same, but one network that answers for all."""
    why = ineligible_for_open_ended(model)
    if not why and not model.symbolic and model.network is None:
        return "has models for folds only"
    return why


def probe_episode_type(model: EvaluatedModel) -> str:
    """The episode type of the probes: with the pool shown to whom it was shown in training."""
    shown = model.trained_on == "probe_human_w_pool"
    return "probe_human_w_pool" if shown else "probe_human"


def ineligible_for_probes(model: EvaluatedModel) -> str:
    """Networks that learned from answers to few study examples, or from the probes themselves."""
    if model.symbolic:
        return "is not for the probe trials"
    if model.trained_on == "probe_human_w_pool":
        return "" if model.has_vocabulary(PUBLISHED_VOCAB) else "knows another vocabulary"
    return ineligible_for_open_ended_samples(model).replace(
        "the open-ended task", "open-ended tasks or probes"
    )


@dataclass(frozen=True)
class JobResult:
    """What a unit gave, and the name of everything that it depends on."""

    cache_key: str
    tables: Tables


JobResults = dict[tuple[str, str], JobResult]
"""Results by measurement and model."""
