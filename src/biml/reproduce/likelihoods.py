"""Log-likelihood of people's responses by one model, in each of the tasks."""

from collections.abc import Callable
from functools import partial

import pandas as pd

from biml.behaviour.likelihoods import (
    ScoredResponse,
    token_scores,
    summed_by,
    score_responses,
    to_table,
)
from biml.behaviour.people import FEW_SHOT, FOLDS, OPEN_ENDED, PROBES, has_cv_folds
from biml.behaviour.samples import open_evaluation_set
from biml.episodes.present import EvaluationSet
from biml.episodes.types import PUBLISHED_VOCAB, episode_type
from biml.evaluation.likelihood import LAPSE_GRID, fit_lapse, likelihood
from biml.evaluation.responder import Responder
from biml.reproduce import takes_part
from biml.reproduce.asked import MeasurementContext, Tables
from biml.reproduce.names import task_symbols
from biml.reproduce.subjects import EvaluatedModel, has_vocabulary
from biml.results.tables import Table

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
    kind = takes_part.probe_episode_type(context.model)
    evaluation = episode_type(kind).open_evaluation(context.data, context.workload.seed)
    passes = context.workload.few_shot_passes
    scored = score_responses(context.model.responder(), evaluation, repeats=passes)
    seen = _within_sample(context.model.trained_on == kind, evaluation)
    return _likelihood_tables(context, PROBES, {"": scored}, within_sample=seen)


def _within_sample(trained_on_task: bool, evaluation: EvaluationSet) -> bool | None:
    """Nobody knows whether a model was trained on imported people."""
    return None if trained_on_task and evaluation.respondents else trained_on_task


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
