"""The paper's experiments: their measurements, workload, and which models are eligible."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from biml import plugins
from biml.episodes.episode import Episode
from biml.episodes.episode_type import (
    FEW_SHOT_GOLD,
    NOVEL_RULES,
    OPEN_ENDED,
    VALIDATION,
    EpisodeType,
)
from biml.episodes.registry import episode_type, tasks_of
from biml.episodes.transforms import symbols_used
from biml.errors import BimlError, UsageError, unknown_name
from biml.evaluation.registry import symbolic_model
from biml.evaluation.sample_page import SAMPLES_PER_RESPONSE
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.human.experiment import TASK_EPISODE_TYPES
from biml.paths import DataFolders

if TYPE_CHECKING:  # neither pandas nor torch for `biml reproduce --help`
    import pandas as pd

    from biml.reproduce.models import EvaluatedModel


@dataclass(frozen=True)
class Experiment:
    """An experiment of the paper and the measurements that it is made of."""

    name: str
    summary: str
    measurements: tuple[str, ...]


_EXPERIMENTS = (
    Experiment(
        "table1",
        "log-likelihood of people's responses, few-shot and open-ended (Table 1)",
        ("few_shot_likelihood", "open_ended_likelihood"),
    ),
    Experiment(
        "few-shot",
        "accuracy, errors and item correlations in the few-shot task (Fig. 2)",
        ("gold", "validation", "few_shot_samples"),
    ),
    Experiment("open-ended", "patterns of the open-ended task (Fig. 4)", ("open_ended_samples",)),
    Experiment(
        "probes",
        "mutual exclusivity and concatenation in the probe trials (supplement)",
        ("probe_likelihood", "probe_samples"),
    ),
    Experiment("novel-rules", "accuracy on held-out rules (supplement)", ("novel_rules",)),
    Experiment(
        "systematicity",
        "strings beyond the paper's queries: answers that are readings, under remappings",
        ("systematicity",),
    ),
    Experiment("registered", "episode types of plugins: accuracy, likelihood", ("registered",)),
)


class BenchmarkTest(NamedTuple):
    """A test of networks that were trained on SCAN or COGS."""

    title: str
    n_parts: int  # in which its items are measured


BENCHMARK_TESTS = {
    "scan": BenchmarkTest("SCAN", 4),
    "cogs_iid": BenchmarkTest("COGS i.i.d.", 3),
    "cogs_gen_lex": BenchmarkTest("COGS lexical", 12),
    "cogs_gen_struct": BenchmarkTest("COGS structural", 12),
}

BENCHMARKS = Experiment(
    "benchmarks",
    "error rates on SCAN and COGS",
    tuple(
        f"{name}_{part}" for name, test in BENCHMARK_TESTS.items() for part in range(test.n_parts)
    ),
)

EXPERIMENTS = {experiment.name: experiment for experiment in (*_EXPERIMENTS, BENCHMARKS)}

ALL_EXPERIMENTS = "all"
"""Those with people, that is, all but the benchmarks."""

REGISTERED = "registered"
"""Experiment and measurement of the episode types that plugins have registered."""


def select_experiments(names: Sequence[str] | None) -> tuple[Experiment, ...]:
    """The named experiments in the order of the table; `ALL_EXPERIMENTS` without names.

    That of registered episode types is among all only if there are any.
    """
    has_types = bool(plugins.registered("episode type"))
    for name in names or ():
        if name != ALL_EXPERIMENTS and name not in EXPERIMENTS:
            raise unknown_name("experiment", name, (*EXPERIMENTS, ALL_EXPERIMENTS))
    if REGISTERED in (names or ()) and not has_types:
        raise UsageError("no episode type is registered; add --plugin FILE, which registers one")
    chosen = set(names or (ALL_EXPERIMENTS,))
    if ALL_EXPERIMENTS in chosen:
        chosen |= {row.name for row in _EXPERIMENTS if row.name != REGISTERED or has_types}
    return tuple(row for row in EXPERIMENTS.values() if row.name in chosen)


@dataclass(frozen=True)
class Workload:
    """Amounts of computation; the defaults are those of a full reproduction.

    Likelihoods are averaged over repeats with random orders and remappings; samples are per human
    response. With the paper's 10 samples the accuracy on an item is uncertain by three points, with
    its 100 response sets the percentage of a pattern by five.
    """

    few_shot_repeats: int = 100
    open_ended_repeats: int = 200
    few_shot_samples: int = 30
    probe_samples: int = SAMPLES_PER_RESPONSE
    response_sets: int = 1000
    episodes: int = 1000  # with greedy responses, at most
    test_items: int = 9_000  # of each test of a benchmark, at most
    remappings: int = 60  # of each string of the suite
    seed: int = 0

    def limited(self, most: int) -> "Workload":
        """The same with no amount above a limit."""
        amounts = {name: n for name, n in vars(self).items() if name != "seed"}
        return replace(self, **{name: min(n, most) for name, n in amounts.items()})


def workload(quick: bool, seed: int, *, language: bool = False) -> Workload:
    """The amounts of a full or a quick reproduction.

    A language model takes as long for an answer as a network for thousands: it has the quick
    amounts in a full reproduction, and the least in a quick one.
    """
    if language and quick:
        return Workload(1, 1, 1, 1, 10, 5, 200, 1, seed)
    quick = quick or language
    return Workload(5, 3, 1, 1, 30, 26, 200, 6, seed) if quick else Workload(seed=seed)


Tables = dict[str, "pd.DataFrame"]


@dataclass(frozen=True)
class MeasurementContext:
    """What a measurement depends on; `p_lapse` is the lapse rate of its samples."""

    model: "EvaluatedModel"
    data: DataFolders
    workload: Workload
    p_lapse: float = 0.0


def vocabulary_overflow(data: DataFolders, task: str) -> str:
    """What exceeds the published vocabulary, such as "12 words"; empty for nothing."""
    for episode in _task_episodes(data, task):
        for own, names, kind in zip(
            symbols_used(episode), (WORDS, COLOURS), ("words", "symbols"), strict=True
        ):
            if len(own) > len(names):
                return f"{len(own)} {kind}"
    return ""


def task_symbols(context: MeasurementContext, task: str) -> tuple[str, ...]:
    """The task's symbols for a symbolic or language model; empty if the published ones suffice.

    A symbolic model, having the rules, needs no remapping.
    """
    if not context.model.has_any_words or not vocabulary_overflow(context.data, task):
        return ()
    every = [symbol for e in _task_episodes(context.data, task) for symbol in symbols_used(e)[1]]
    return tuple(dict.fromkeys(every))


def _task_episodes(data: DataFolders, task: str) -> Iterator[Episode]:
    for name in TASK_EPISODE_TYPES[task]:
        with suppress(BimlError):  # reported when the task is measured
            yield from episode_type(name).open_evaluation(data, 0).episodes


def ineligible(task: str, model: "EvaluatedModel", *, samples: bool = False) -> str:
    """Why a model is excluded from a task, as declared by its episode type, or an empty text.

    The task is empty for an episode type that declares none. Sampling needs study examples, and
    one network instead of fold models.
    """
    if model.symbolic:
        symbolic = symbolic_model(model.name)
        if task.replace("_", "-") in symbolic.tasks:
            return ""
        if "few-shot" in symbolic.tasks and task in (FEW_SHOT_GOLD, VALIDATION, NOVEL_RULES, ""):
            return "is given the rules" if symbolic.uses_grammar else ""
        return f"is for the {' and '.join(symbolic.tasks)} task"
    if model.language:
        return ""
    has_targets = task != OPEN_ENDED or not samples
    if task and not model.evaluation_type(task, has_targets=has_targets):
        return "knows another vocabulary"
    if task and task not in tasks_of(model.trained_on, model.vocabulary):
        return f"was not trained for the {task.replace('_', '-')} task"
    if model.network is None and (task != OPEN_ENDED or samples):
        return "has fold models only"
    if samples and model.episode_type and not model.episode_type.uses_study:
        return "reads no study examples"
    return ""


def registered_types(context: MeasurementContext) -> dict[str, str]:
    """Each registered episode type, and why the model cannot be evaluated on it, or ""."""
    return {
        name: _ineligible_for_type(episode_type(name), context)
        for name in plugins.registered("episode type")
    }


def _ineligible_for_type(row: EpisodeType, context: MeasurementContext) -> str:
    if not row.has_targets:
        return "has no targets in these episodes"
    try:
        row.open_evaluation(context.data, context.workload.seed)
        vocabulary = row.open_vocabulary(context.data)
    except BimlError as error:
        return f"lacks data: {error}"
    if not context.model.has_any_words and context.model.vocabulary != vocabulary:
        return "knows another vocabulary"
    return ineligible(row.evaluation_task, context.model)


def registered_digest(data: DataFolders) -> str:
    """A digest of the evaluation episodes of registered types, as far as they can be opened."""
    digest = blake2b(digest_size=16)
    for name in plugins.registered("episode type"):
        with suppress(BimlError):
            episodes = episode_type(name).open_evaluation(data, 0).repeat(0)
            digest.update(repr((name, episodes)).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class JobResult:
    """The tables of a job and the digest of everything that they depend on."""

    cache_key: str
    tables: Tables


JobResults = dict[tuple[str, str], JobResult]
"""Results by measurement and model."""
