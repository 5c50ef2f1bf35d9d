"""Measurements of one model at a time: the jobs that are cached and shared over processes.

A measurement is a function from a model to tables of `biml.report.schemas`. Raise its version when
its results change, so that cached ones are computed again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from biml.analysis import scoring
from biml.analysis.people import has_cv_folds
from biml.analysis.scoring import (
    open_evaluation_set,
    summed_by,
    to_table,
)
from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode
from biml.episodes.episode_type import (
    FEW_SHOT,
    FEW_SHOT_GOLD,
    FOLDS,
    NOVEL_RULES,
    OPEN_ENDED,
    PROBES,
    VALIDATION,
)
from biml.evaluation import measure
from biml.evaluation.accuracy import accuracy, max_response_length
from biml.evaluation.likelihood import (
    LAPSE_GRID,
    ScoredResponse,
    fit_lapse,
    likelihood,
    score_responses,
    token_scores,
)
from biml.evaluation.network import NetworkResponder, teacher_forced_exact_match
from biml.evaluation.responder import Responder
from biml.reproduce.context import (
    MeasurementContext,
    Tables,
    ineligible,
    task_symbols,
)

FINE_LAPSE_GRID = tuple(n / 100 for n in range(1, 100))
"""Lapse rates for symbolic models: the published 0.13 of the oracle is not in `LAPSE_GRID`."""


@dataclass(frozen=True)
class Measurement(measure.Measurement):
    """One measurement: `run(context)` computes its tables.

    Attributes:
        workload_fields: amounts of the `Workload` that it depends on.
        data: data folders that it reads.
        cost: about how many seconds one core takes for a fast network, not in quick mode.
        lapse_from: the measurement whose lapse rate its samples use.
        task: the human task that it needs; empty for none.
    """

    workload_fields: tuple[str, ...]
    data: tuple[str, ...] = ("data_human",)
    cost: float = 10.0
    lapse_from: str = ""
    task: str = ""


def few_shot_likelihood(context: MeasurementContext) -> Tables:
    """Likelihood of people's few-shot responses; a network without study examples skips two."""
    symbols = task_symbols(context, FEW_SHOT)
    evaluation = _evaluation_set(context, FEW_SHOT, own_names=bool(symbols))
    # Remapping changes nothing for a symbolic model of this task.
    repeats = 1 if context.model.symbolic else context.workload.few_shot_repeats
    scored = score_responses(context.model.responder(symbols), evaluation, repeats=repeats)
    return _likelihood_tables(context, FEW_SHOT, {"": scored})


def open_ended_likelihood(context: MeasurementContext) -> Tables:
    """Likelihood of each response set, by the model of the fold that holds the person out."""
    scored_by_fold: dict[str, list[ScoredResponse]] = {}
    symbols = task_symbols(context, OPEN_ENDED)
    for fold, responder in _responders_by_fold(context, symbols):
        evaluation = _evaluation_set(context, OPEN_ENDED, fold=fold, own_names=bool(symbols))
        scored_by_fold[str(fold or "")] = score_responses(
            responder(), evaluation, repeats=context.workload.open_ended_repeats
        )
    fitted = "" in scored_by_fold and not context.model.symbolic
    within_sample = _within_sample(fitted, evaluation)
    return _likelihood_tables(context, OPEN_ENDED, scored_by_fold, within_sample)


def probe_likelihood(context: MeasurementContext) -> Tables:
    """Likelihood of people's responses to the probe trials, over the allowed outputs."""
    evaluation = _evaluation_set(context, PROBES)
    scored = score_responses(
        context.model.responder(), evaluation, repeats=context.workload.few_shot_repeats
    )
    fitted = context.model.trained_on == context.model.evaluation_type(PROBES)
    within_sample = _within_sample(fitted, evaluation)
    return _likelihood_tables(context, PROBES, {"": scored}, within_sample)


def _evaluation_set(
    context: MeasurementContext, task: str, *, fold: int = 0, own_names: bool = False
) -> EvaluationSet:
    kind = context.model.evaluation_type(task, fold=fold)
    return open_evaluation_set(kind, context.data, context.workload.seed, own_names=own_names)


def _within_sample(fitted_to_task: bool, evaluation: EvaluationSet) -> bool | None:
    """Unknown for a custom experiment: its people may or may not be those of the training."""
    return None if fitted_to_task and evaluation.is_imported else fitted_to_task


def _responders_by_fold(
    context: MeasurementContext, symbols: tuple[str, ...]
) -> list[tuple[int, Callable[[], Responder]]]:
    """The responder for the participants of each fold; fold 0 is everybody.

    A symbolic model is not fitted to anybody, so it responds for all folds. Custom data of fewer
    than five participants have no folds.
    """
    model = context.model
    responder = partial(model.responder, symbols)
    if not has_cv_folds(context.data):
        return [(0, responder)]
    if model.symbolic:
        return [(fold, responder) for fold in FOLDS]
    if model.fold_models:
        return [(fold, net.responder) for fold, net in zip(FOLDS, model.fold_models, strict=True)]
    return [(model.held_out_fold, responder)]


def _likelihood_tables(
    context: MeasurementContext,
    task: str,
    scored_by_fold: dict[str, list[ScoredResponse]],
    within_sample: bool | None = False,
) -> Tables:
    """Likelihoods of all folds at the one lapse rate that is best for their sum."""
    every = [one for scored in scored_by_fold.values() for one in scored]
    grid = FINE_LAPSE_GRID if context.model.symbolic else LAPSE_GRID
    best = fit_lapse(token_scores(every), grid)
    folds = {f: likelihood(token_scores(one), best.p_lapse) for f, one in scored_by_fold.items()}
    n_responses = {fold: len(scored) for fold, scored in scored_by_fold.items()}
    if len(folds) > 1:
        folds["all"], n_responses["all"] = best, len(every)
    name = context.model.name
    rows = [
        {
            "model": name,
            "task": task,
            "fold": fold,
            "repeats": len(found.passes),
            "p_lapse": found.p_lapse,
            "log_likelihood": found.mean,
            "sd": found.sd,
            "symbols": found.n_symbols,
            "responses": n_responses[fold],
            "within_sample": within_sample,
        }
        for fold, found in folds.items()
    ]
    scored = to_table(every, model=name, task=task, p_lapse=best.p_lapse)
    tables = {
        "likelihoods": pd.DataFrame(rows),
        "likelihoods_by_item": summed_by(scored, by=("model", "task", "item", "query")),
        "scored": scored,
    }
    identified = scored[scored["participant"] != ""]
    if len(identified):
        by_participant = summed_by(identified, by=("model", "task", "participant"))
        tables["likelihoods_by_participant"] = by_participant
    return tables


def exact_match_accuracy(task: str, context: MeasurementContext) -> Tables:
    """Percent of exact greedy responses to novel and study-example queries."""
    evaluation = _evaluation_set(context, task)
    kept = _evenly_spaced(evaluation.episodes, context.workload.episodes)
    episodes = replace(evaluation, episodes=kept).repeat(0)
    responder = context.model.responder()
    most = max_response_length(episodes)
    if isinstance(responder, NetworkResponder):
        exact = teacher_forced_exact_match(responder.network, episodes, most)
    else:
        exact = [
            [response == query.output for response, query in zip(of_one, e.queries, strict=True)]
            for of_one, e in zip(
                responder.respond(episodes, max_length=most), episodes, strict=True
            )
        ]
    rows = []
    for kind in ("novel", "study"):
        rate = accuracy(episodes, exact, in_study=kind == "study")
        if rate is not None:
            about = {"model": context.model.name, "task": task, "kind": kind}
            rows.append({**about, "mean": rate.mean, "sd": rate.sd, "n": rate.n_episodes})
    return {"accuracies": pd.DataFrame(rows)}


def _evenly_spaced(episodes: Sequence[Episode], limit: int) -> tuple[Episode, ...]:
    return tuple(episodes[:: -(-len(episodes) // limit)])


def few_shot_samples(context: MeasurementContext) -> Tables:
    """Sampled responses to the few-shot queries."""
    symbols = task_symbols(context, FEW_SHOT)
    samples = scoring.sample_few_shot(
        context.model.responder(symbols),
        samples_per_response=context.workload.few_shot_samples,
        kind=context.model.evaluation_type(FEW_SHOT),
        own_names=bool(symbols),
        **_sampling_options(context),
    )
    return {"responses": samples}


def open_ended_samples(context: MeasurementContext) -> Tables:
    """Sampled response sets of the open-ended task."""
    symbols = task_symbols(context, OPEN_ENDED)
    samples = scoring.sample_open_ended(
        context.model.responder(symbols),
        n_sets=context.workload.response_sets,
        kind=context.model.evaluation_type(OPEN_ENDED, has_targets=False),
        own_names=bool(symbols),
        **_sampling_options(context),
    )
    return {"responses": samples}


def probe_samples(context: MeasurementContext) -> Tables:
    """Sampled responses to the probe trials."""
    samples = scoring.sample_probes(
        context.model.responder(),
        samples_per_response=context.workload.probe_samples,
        kind=context.model.evaluation_type(PROBES),
        **_sampling_options(context),
    )
    return {"responses": samples}


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
        3,
        few_shot_likelihood,
        partial(ineligible, FEW_SHOT),
        ("few_shot_repeats", "seed"),
        cost=13,
        task=FEW_SHOT,
    ),
    Measurement(
        "open_ended_likelihood",
        "likelihood, open-ended",
        4,
        open_ended_likelihood,
        partial(ineligible, OPEN_ENDED),
        ("open_ended_repeats", "seed"),
        cost=70,
        task=OPEN_ENDED,
    ),
    Measurement(
        "probe_likelihood",
        "likelihood, probes",
        3,
        probe_likelihood,
        partial(ineligible, PROBES),
        ("few_shot_repeats", "seed"),
        cost=10,
        task=PROBES,
    ),
    Measurement(
        "gold",
        "greedy responses, gold",
        3,
        partial(exact_match_accuracy, FEW_SHOT_GOLD),
        partial(ineligible, FEW_SHOT_GOLD),
        ("episodes", "seed"),
        cost=2,
        task=FEW_SHOT,
    ),
    Measurement(
        "validation",
        "greedy responses, validation",
        3,
        partial(exact_match_accuracy, VALIDATION),
        partial(ineligible, VALIDATION),
        ("episodes", "seed"),
        data=("data_algebraic/val",),
        cost=4,
    ),
    Measurement(
        "novel_rules",
        "greedy responses, held-out rules",
        3,
        partial(exact_match_accuracy, NOVEL_RULES),
        partial(ineligible, NOVEL_RULES),
        ("episodes", "seed"),
        data=(),
        cost=3,
    ),
    Measurement(
        "few_shot_samples",
        "samples, few-shot",
        2,
        few_shot_samples,
        partial(ineligible, FEW_SHOT, samples=True),
        ("few_shot_samples", "seed"),
        cost=10,
        lapse_from="few_shot_likelihood",
        task=FEW_SHOT,
    ),
    Measurement(
        "open_ended_samples",
        "samples, open-ended",
        2,
        open_ended_samples,
        partial(ineligible, OPEN_ENDED, samples=True),
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
        partial(ineligible, PROBES),
        ("probe_samples", "seed"),
        cost=3,
        lapse_from="probe_likelihood",
        task=PROBES,
    ),
)

MEASUREMENTS: dict[str, Measurement] = {row.name: row for row in _MEASUREMENTS}
"""By name."""
