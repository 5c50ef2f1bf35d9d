"""What is measured of one model at a time: one row each, the units that are kept and shared out.

A measurement is a function from a model to tables, of the names in `biml.report.schemas` and
`likelihoods.SCORED`. Whoever changes what one gives raises its version, so that what was kept is
made anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from biml.analysis import scoring
from biml.analysis.people import has_cv_folds
from biml.analysis.scoring import (
    ScoredResponse,
    open_evaluation_set,
    score_responses,
    summed_by,
    to_table,
    token_scores,
)
from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode
from biml.episodes.episode_type import FEW_SHOT, FOLDS, OPEN_ENDED, PROBES, PUBLISHED_VOCAB
from biml.episodes.registry import episode_type
from biml.evaluation.accuracy import exact_match_rate, max_response_length
from biml.evaluation.likelihood import LAPSE_GRID, fit_lapse, likelihood
from biml.evaluation.network import NetworkResponder, teacher_forced_exact_match
from biml.evaluation.responder import Responder
from biml.report.schemas import Table
from biml.reproduce.context import (
    MeasurementContext,
    Tables,
    ineligible_for_few_shot,
    ineligible_for_few_shot_samples,
    ineligible_for_gold_accuracy,
    ineligible_for_open_ended,
    ineligible_for_open_ended_samples,
    ineligible_for_probes,
    ineligible_for_sampled_grammars,
    probe_episode_type,
    task_symbols,
)
from biml.reproduce.models import EvaluatedModel, has_vocabulary

SCORED_TABLE = Table(
    "scored",
    "the log-likelihood of one response at the fitted lapse rate",
    {
        "model": "string",
        "task": "string",
        "item": "string",
        "participant": "string",
        "sample": "Int64",
        "query": "string",
        "response": "string",
        "symbols": "Int64",
        "log_likelihood": "float64",
    },
)
"""What differences between models are worked out from."""

FINE_LAPSE_GRID = tuple(n / 100 for n in range(1, 100))
"""Lapse rates that are tried for symbolic models."""


def few_shot_likelihood(context: MeasurementContext) -> Tables:
    """Of people's few-shot responses; a network without study context skips two of them."""
    kind = "few_shot_human" if has_vocabulary(context.model, PUBLISHED_VOCAB) else "human_vanilla"
    symbols = task_symbols(context, FEW_SHOT)
    evaluation = open_evaluation_set(
        kind, context.data, context.workload.seed, own_names=bool(symbols)
    )
    # Renaming changes nothing for a symbolic model of this task.
    passes = 1 if context.model.symbolic else context.workload.few_shot_passes
    scored = score_responses(context.model.responder(symbols), evaluation, repeats=passes)
    return _likelihood_tables(context, FEW_SHOT, {"": scored})


def open_ended_likelihood(context: MeasurementContext) -> Tables:
    """Of each person's seven answers, by models that have not seen the person where there are."""
    parts: dict[str, list[ScoredResponse]] = {}
    symbols = task_symbols(context, OPEN_ENDED)
    for fold, responder in _responders_by_fold(context, symbols):
        name = f"open_end_human_cross{fold}" if fold else "open_end_human_all"
        evaluation = open_evaluation_set(
            name, context.data, context.workload.seed, own_names=bool(symbols)
        )
        passes = context.workload.open_ended_passes
        parts[str(fold or "")] = score_responses(responder(), evaluation, repeats=passes)
    seen = "" in parts and not context.model.symbolic
    return _likelihood_tables(
        context, OPEN_ENDED, parts, within_sample=_within_sample(seen, evaluation)
    )


def probe_likelihood(context: MeasurementContext) -> Tables:
    """Of people's answers to the probe trials, each of symbols of the trial's pool."""
    kind = probe_episode_type(context.model)
    evaluation = episode_type(kind).open_evaluation(context.data, context.workload.seed)
    passes = context.workload.few_shot_passes
    scored = score_responses(context.model.responder(), evaluation, repeats=passes)
    seen = _within_sample(context.model.trained_on == kind, evaluation)
    return _likelihood_tables(context, PROBES, {"": scored}, within_sample=seen)


def _within_sample(trained_on_task: bool, evaluation: EvaluationSet) -> bool | None:
    """Nobody knows whether a model was trained on imported people."""
    return None if trained_on_task and evaluation.is_imported else trained_on_task


def _responders_by_fold(
    context: MeasurementContext, symbols: tuple[str, ...]
) -> list[tuple[int, Callable[[], Responder]]]:
    """The responder for the participants of each fold; fold 0 is everybody.

    A symbolic model has seen nobody, so that it answers for all folds. Imported data have no folds
    of fewer than five participants.

    Args:
        symbols: what a symbolic model answers in, if not in the published colours.
    """
    subject = context.model
    responder = partial(subject.responder, symbols)
    if not has_cv_folds(context.data):
        return [(0, responder)]
    if subject.symbolic:
        return [(fold, responder) for fold in FOLDS]
    if subject.fold_models:
        return [(fold, net.responder) for fold, net in zip(FOLDS, subject.fold_models, strict=True)]
    return [(_held_out_fold(subject), responder)]


def _held_out_fold(model: EvaluatedModel) -> int:
    """The fold that a model by itself was trained without, or 0."""
    _, _, fold = model.trained_on.rpartition("cross")
    return int(fold) if fold in map(str, FOLDS) else 0


def _likelihood_tables(
    context: MeasurementContext,
    task: str,
    scored_by_fold: dict[str, list[ScoredResponse]],
    within_sample: bool | None = False,
) -> Tables:
    """Tables of the likelihood of several folds at the one lapse rate that is best for all.

    Networks have that of the published grid; symbolic models that of a finer one, as the
    published 0.13 of the oracle is not in it.

    Args:
        within_sample: whether the model was trained on these answers; None where nobody knows.
    """
    everything = [one for scored in scored_by_fold.values() for one in scored]
    best = fit_lapse(
        token_scores(everything), FINE_LAPSE_GRID if context.model.symbolic else LAPSE_GRID
    )
    found = {
        fold: likelihood(token_scores(one), best.p_lapse) for fold, one in scored_by_fold.items()
    }
    if len(scored_by_fold) > 1:
        found["all"] = best
    counts = {fold: len(scored) for fold, scored in scored_by_fold.items()} | {
        "all": len(everything)
    }
    name = context.model.name
    rows = [
        {
            "model": name,
            "task": task,
            "fold": fold,
            "repeats": len(one.passes),
            "lapse": one.p_lapse,
            "log_likelihood": one.mean,
            "sd": one.sd,
            "symbols": one.n_symbols,
            "responses": counts[fold or next(iter(scored_by_fold))],
            "within_sample": within_sample,
        }
        for fold, one in found.items()
    ]
    scored = to_table(everything, model=name, task=task, p_lapse=best.p_lapse)
    tables = {
        "likelihoods": pd.DataFrame(rows),
        "likelihoods_by_item": summed_by(scored, by=("model", "task", "item", "query")),
        "scored": scored,
    }
    known = scored[scored["participant"] != ""]
    if len(known):
        people = summed_by(known, by=("model", "task", "participant"))
        tables["likelihoods_by_participant"] = people
    return tables


# === What is measured of one model at a time: one row each, the units that are kept and shared


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


def few_shot_samples(context: MeasurementContext) -> Tables:
    """Drawn answers to the few-shot queries."""
    symbols = task_symbols(context, FEW_SHOT)
    drawn = scoring.sample_few_shot(
        context.model.responder(symbols),
        samples_per_response=context.workload.few_shot_times,
        own_names=bool(symbols),
        **_sampling_options(context),
    )
    return {"responses": drawn}


def open_ended_samples(context: MeasurementContext) -> Tables:
    """Drawn answer sheets of the open-ended task."""
    symbols = task_symbols(context, OPEN_ENDED)
    drawn = scoring.sample_open_ended(
        context.model.responder(symbols),
        n_sets=context.workload.response_sets,
        own_names=bool(symbols),
        **_sampling_options(context),
    )
    return {"responses": drawn}


def probe_samples(context: MeasurementContext) -> Tables:
    """Drawn answers to the probe trials; the pool is shown to whom it was shown in training."""
    kind, times = probe_episode_type(context.model), context.workload.probe_times
    drawn = scoring.sample_probes(
        context.model.responder(),
        samples_per_response=times,
        kind=kind,
        **_sampling_options(context),
    )
    return {"responses": drawn}


def _sampling_options(context: MeasurementContext) -> dict[str, Any]:
    return {
        "data": context.data,
        "model": context.model.name,
        "seed": context.workload.seed,
        "p_lapse": context.p_lapse,
    }


_MEASUREMENTS = (
    Measurement(
        "few_shot_likelihood",
        "likelihood, few-shot",
        2,
        few_shot_likelihood,
        ineligible_for_few_shot,
        ("few_shot_passes", "seed"),
        cost=13,
        task=FEW_SHOT,
    ),
    Measurement(
        "open_ended_likelihood",
        "likelihood, open-ended",
        3,
        open_ended_likelihood,
        ineligible_for_open_ended,
        ("open_ended_passes", "seed"),
        cost=70,
        task=OPEN_ENDED,
    ),
    Measurement(
        "probe_likelihood",
        "likelihood, probes",
        2,
        probe_likelihood,
        ineligible_for_probes,
        ("few_shot_passes", "seed"),
        cost=10,
        task=PROBES,
    ),
    Measurement(
        "gold",
        "greedy answers, gold",
        2,
        partial(exact_match_accuracy, "few_shot_gold"),
        ineligible_for_gold_accuracy,
        ("episodes", "seed"),
        cost=2,
        task=FEW_SHOT,
    ),
    Measurement(
        "validation",
        "greedy answers, validation",
        2,
        partial(exact_match_accuracy, "validation"),
        ineligible_for_sampled_grammars,
        ("episodes", "seed"),
        data=("data_algebraic/val",),
        cost=4,
    ),
    Measurement(
        "novel_rules",
        "greedy answers, novel rules",
        2,
        partial(exact_match_accuracy, "novel_rules"),
        ineligible_for_sampled_grammars,
        ("episodes", "seed"),
        data=(),
        cost=3,
    ),
    Measurement(
        "few_shot_samples",
        "samples, few-shot",
        2,
        few_shot_samples,
        ineligible_for_few_shot_samples,
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
        ineligible_for_open_ended_samples,
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
        ineligible_for_probes,
        ("probe_times", "seed"),
        cost=3,
        lapse_from="probe_likelihood",
        task=PROBES,
    ),
)

MEASUREMENTS: dict[str, Measurement] = {row.name: row for row in _MEASUREMENTS}
"""By name."""
