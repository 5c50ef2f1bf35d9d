"""What is measured of one model at a time: one row each, the units that are kept and shared out.

A measurement is a function from a model to tables, of the names in `biml.results.tables` and
`likelihoods.SCORED`. Whoever changes what one gives raises its version, so that what was kept is
made anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from biml.behaviour import samples
from biml.behaviour.people import FEW_SHOT, OPEN_ENDED, PROBES
from biml.episodes.episode import Episode
from biml.episodes.types import PUBLISHED_VOCAB, episode_type
from biml.evaluation.accuracy import exact_match_rate
from biml.evaluation.answers import max_response_length
from biml.evaluation.exact import teacher_forced_exact_match
from biml.evaluation.lapsing import Lapsing
from biml.evaluation.network_responder import NetworkResponder
from biml.reproduce import takes_part
from biml.reproduce.asked import MeasurementContext, Tables
from biml.reproduce.likelihoods import (
    few_shot_likelihood,
    open_ended_likelihood,
    probe_likelihood,
)
from biml.reproduce.names import task_symbols
from biml.reproduce.subjects import EvaluatedModel, has_vocabulary


@dataclass(frozen=True)
class Measurement:
    """One measurement.

    Attributes:
        name: of it.
        summary: a few words for people.
        version: raised whenever it gives other results than before.
        run: does it.
        refuses: why a model takes no part, or an empty text.
        scale: the amounts of `Scale` that it depends on.
        data: the data folders that it reads.
        cost: seconds of a core that it takes about, at full scale and of a fast network.
        lapse_of: the measurement whose lapse rate its samples lapse at, where they do.
        task: of people, as `behaviour.people` calls it, which it asks; empty where it needs none.
    """

    name: str
    summary: str
    version: int
    run: Callable[[MeasurementContext], Tables]
    ineligible_reason: Callable[[EvaluatedModel], str]
    workload_fields: tuple[str, ...]
    data: tuple[str, ...] = ("data_human",)
    cost: float = 10.0
    lapse_from: str = ""
    task: str = ""


# --- greedy answers


def exact_match_accuracy(task: str, context: MeasurementContext) -> Tables:
    """Percent of queries answered exactly, on copied and on new ones."""
    name = {"validation": "algebraic"}.get(task, task)
    if not has_vocabulary(context.model, PUBLISHED_VOCAB):
        name = "few_shot_vanilla"
    evaluation = episode_type(name).open_evaluation(context.data, context.workload.seed)
    kept = _evenly_spaced(evaluation.episodes, context.workload.episodes)
    episodes = replace(evaluation, episodes=kept).repeat(0)
    responder = context.model.responder()
    assert isinstance(responder, NetworkResponder)
    right = teacher_forced_exact_match(responder.network, episodes, max_response_length(episodes))
    rows = []
    for kind in ("novel", "copied"):
        found = exact_match_rate(episodes, right, in_study=kind == "copied")
        if found is not None:
            about = {"model": context.model.name, "task": task, "kind": kind}
            rows.append({**about, "mean": found.mean, "sd": found.sd, "n": found.n_episodes})
    return {"accuracies": pd.DataFrame(rows)}


def _evenly_spaced(episodes: Sequence[Episode], limit: int) -> tuple[Episode, ...]:
    """At most so many, evenly spread."""
    return tuple(episodes[:: -(-len(episodes) // limit)])


# --- samples


def few_shot_samples(context: MeasurementContext) -> Tables:
    """Drawn answers to the few-shot queries."""
    symbols = task_symbols(context, FEW_SHOT)
    drawn = samples.sample_few_shot(
        _responder_with_lapse(context, symbols),
        samples_per_response=context.workload.few_shot_times,
        own_names=bool(symbols),
        **_sampling_options(context),
    )
    return {"responses": drawn}


def open_ended_samples(context: MeasurementContext) -> Tables:
    """Drawn answer sheets of the open-ended task."""
    symbols = task_symbols(context, OPEN_ENDED)
    drawn = samples.sample_open_ended(
        _responder_with_lapse(context, symbols),
        n_sets=context.workload.response_sets,
        own_names=bool(symbols),
        **_sampling_options(context),
    )
    return {"responses": drawn}


def probe_samples(context: MeasurementContext) -> Tables:
    """Drawn answers to the probe trials; the pool is shown to whom it was shown in training."""
    kind, times = takes_part.probe_episode_type(context.model), context.workload.probe_times
    drawn = samples.sample_probes(
        _responder_with_lapse(context),
        samples_per_response=times,
        kind=kind,
        **_sampling_options(context),
    )
    return {"responses": drawn}


def _responder_with_lapse(context: MeasurementContext, symbols: tuple[str, ...] = ()) -> Lapsing:
    return Lapsing(context.model.responder(symbols), context.p_lapse)


def _sampling_options(context: MeasurementContext) -> dict[str, Any]:
    return {"data": context.data, "model": context.model.name, "seed": context.workload.seed}


_MEASUREMENTS = (
    Measurement(
        "few_shot_likelihood",
        "likelihood, few-shot",
        2,
        few_shot_likelihood,
        takes_part.ineligible_for_few_shot,
        ("few_shot_passes", "seed"),
        cost=13,
        task=FEW_SHOT,
    ),
    Measurement(
        "open_ended_likelihood",
        "likelihood, open-ended",
        3,
        open_ended_likelihood,
        takes_part.ineligible_for_open_ended,
        ("open_ended_passes", "seed"),
        cost=70,
        task=OPEN_ENDED,
    ),
    Measurement(
        "probe_likelihood",
        "likelihood, probes",
        2,
        probe_likelihood,
        takes_part.ineligible_for_probes,
        ("few_shot_passes", "seed"),
        cost=10,
        task=PROBES,
    ),
    Measurement(
        "gold",
        "greedy answers, gold",
        2,
        partial(exact_match_accuracy, "few_shot_gold"),
        takes_part.ineligible_for_gold_accuracy,
        ("episodes", "seed"),
        cost=2,
        task=FEW_SHOT,
    ),
    Measurement(
        "validation",
        "greedy answers, validation",
        2,
        partial(exact_match_accuracy, "validation"),
        takes_part.ineligible_for_sampled_grammars,
        ("episodes", "seed"),
        data=("data_algebraic/val",),
        cost=4,
    ),
    Measurement(
        "novel_rules",
        "greedy answers, novel rules",
        2,
        partial(exact_match_accuracy, "novel_rules"),
        takes_part.ineligible_for_sampled_grammars,
        ("episodes", "seed"),
        data=(),
        cost=3,
    ),
    Measurement(
        "few_shot_samples",
        "samples, few-shot",
        2,
        few_shot_samples,
        takes_part.ineligible_for_few_shot_samples,
        ("few_shot_times", "seed"),
        cost=10,
        lapse_from="few_shot_likelihood",
        task=FEW_SHOT,
    ),
    Measurement(
        "open_ended_samples",
        "samples, open-ended",
        2,
        open_ended_samples,
        takes_part.ineligible_for_open_ended_samples,
        ("response_sets", "seed"),
        cost=2,
        lapse_from="open_ended_likelihood",
        task=OPEN_ENDED,
    ),
    Measurement(
        "probe_samples",
        "samples, probes",
        2,
        probe_samples,
        takes_part.ineligible_for_probes,
        ("probe_times", "seed"),
        cost=3,
        lapse_from="probe_likelihood",
        task=PROBES,
    ),
)

MEASUREMENTS: dict[str, Measurement] = {row.name: row for row in _MEASUREMENTS}
"""By name."""
