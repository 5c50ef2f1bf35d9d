"""Measurements of one model at a time: the jobs that are cached and shared over processes.

A measurement is a function from a model to tables of `biml.report.schemas`. Raise its version when
its results change, so that cached ones are computed again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from biml.analysis.people import TASK_FOLDERS, has_cv_folds
from biml.analysis.scoring import (
    open_evaluation_set,
    sample_few_shot,
    sample_open_ended,
    summed_by,
    to_table,
)
from biml.episodes.data_use import FITTED, TRAINED
from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode_type import (
    FEW_SHOT,
    FEW_SHOT_GOLD,
    FOLDS,
    NOVEL_RULES,
    OPEN_ENDED,
    PROBES,
    SYSTEMATICITY,
    VALIDATION,
)
from biml.episodes.registry import episode_type
from biml.errors import UsageError
from biml.evaluation.accuracy import accuracy, max_response_length
from biml.evaluation.likelihood import (
    FINE_LAPSE_GRID,
    LAPSE_GRID,
    ScoredResponse,
    cross_validate,
    fit_lapse,
    lapse_interval,
    likelihood,
    score_candidates,
    score_responses,
    token_scores,
    with_standard_error,
)
from biml.evaluation.network import NetworkResponder, teacher_forced_exact_match
from biml.evaluation.responder import Responder, Response
from biml.reproduce.experiments import (
    REGISTERED,
    MeasurementContext,
    Tables,
    ineligible,
    registered_types,
    task_symbols,
)
from biml.reproduce.models import EvaluatedModel
from biml.reproduce.systematicity import answers_to_suite


@dataclass(frozen=True)
class Measurement:
    """A measurement: `run(context)` computes its tables.

    Attributes:
        version: increased whenever its results change.
        presents: the task that models must be eligible for; empty for any.
        amount: the amount of the `Workload` that it depends on, besides the seed.
        cost: about how many seconds one core takes for a fast network, not in quick mode.
        task: the human task that it needs; empty for none.
        data: data folders that it reads.
        benchmark: the test of a benchmark of which it is a part, if any.
        needs_study: whether it needs one network that reads study examples.
    """

    name: str
    summary: str
    version: int
    run: Callable[[MeasurementContext], Tables]
    presents: str
    amount: str
    cost: float
    task: str = ""
    data: tuple[str, ...] = ("data_human",)
    benchmark: str = ""
    needs_study: bool = False

    @property
    def lapse_from(self) -> str:
        """The measurement whose lapse rate its samples use; empty for others."""
        is_sampled = self.name.endswith("_samples")
        return self.name.replace("_samples", "_likelihood") if is_sampled else ""

    def ineligible_reason(self, model: EvaluatedModel) -> str | None:
        """Why a model cannot be measured, or an empty text; None if it is not meant to be."""
        if self.benchmark and model.benchmark:
            return "" if model.test_type(self.benchmark) else None
        if self.benchmark:
            return "was not trained on SCAN or COGS"
        if (
            self.name.endswith("_likelihood")
            and model.language
            and (reason := model.language.why_no_log_probs)
        ):
            return f"cannot be scored: {reason}"
        samples = bool(self.lapse_from) or self.needs_study
        return ineligible(self.presents, model, samples=samples) if self.presents else ""


def scored_responses(task: str, amount: str, context: MeasurementContext) -> Tables:
    """Likelihood of people's responses: to the probes over the allowed outputs.

    In the open-ended task each response set is scored by the model whose training held its
    participant out.
    """
    model, repeats = context.model, getattr(context.workload, amount)
    symbols = () if task == PROBES else task_symbols(context, task)
    if task == FEW_SHOT and model.symbolic:
        repeats = 1  # as remapping changes nothing
    scored_by_fold: dict[str, list[ScoredResponse]] = {}
    for fold, load in _responders_by_fold(context, task, symbols):
        evaluation = _evaluation_set(context, task, fold=fold, original_names=bool(symbols))
        responder = load()
        scored_by_fold[str(fold or "")] = score_responses(responder, evaluation, repeats=repeats)
    fitted = (FITTED if task == FEW_SHOT else TRAINED) in model.uses(task) and "" in scored_by_fold
    # Unknown for a language model, which may have seen everything, and for a custom experiment,
    # whose people may be those of the training.
    unknown = model.language or (fitted and evaluation.is_imported)
    candidates: Sequence[Sequence[ScoredResponse]] = ()
    if task == FEW_SHOT:
        candidates = score_candidates(scored_by_fold[""], responder, evaluation, task)
    within_sample = None if unknown else fitted
    return _likelihood_tables(context, task, scored_by_fold, within_sample, candidates)


def _evaluation_set(
    context: MeasurementContext, task: str, *, fold: int = 0, original_names: bool = False
) -> EvaluationSet:
    kind = context.model.evaluation_type(task, fold=fold)
    return open_evaluation_set(
        kind, context.data, context.workload.seed, original_names=original_names
    )


def _task_type(context: MeasurementContext, task: str) -> str:
    """The episode type that presents a task to the model."""
    return context.model.evaluation_type(task)


def _responders_by_fold(
    context: MeasurementContext, task: str, symbols: tuple[str, ...]
) -> list[tuple[int, Callable[[], Responder]]]:
    """The responder for the participants of each fold of the open-ended task; 0 is everybody.

    A model that is fitted to nobody responds for all folds. Custom data of fewer than
    five participants have no folds.
    """
    model = context.model
    responder = partial(model.responder, symbols, _task_type(context, task))
    if task != OPEN_ENDED or not has_cv_folds(context.data):
        return [(0, responder)]
    if model.has_any_words:
        return [(fold, responder) for fold in FOLDS]
    if model.fold_models:
        return [(fold, net.responder) for fold, net in zip(FOLDS, model.fold_models, strict=True)]
    return [(model.held_out_fold, responder)]


def _likelihood_tables(
    context: MeasurementContext,
    task: str,
    scored_by_fold: dict[str, list[ScoredResponse]],
    within_sample: bool | None,
    candidates: Sequence[Sequence[ScoredResponse]] = (),
) -> Tables:
    """Likelihoods of all folds at the one lapse rate that is best for their sum.

    `candidates` are those of `cross_validate`; by default only the lapse rate is fitted.
    """
    every = [one for scored in scored_by_fold.values() for one in scored]
    grid = FINE_LAPSE_GRID if context.model.symbolic else LAPSE_GRID
    best = fit_lapse(token_scores(every), grid)
    groups = scored_by_fold if len(scored_by_fold) == 1 else {**scored_by_fold, "all": every}
    name = context.model.name
    held_out, held_out_error = cross_validate(candidates or [every], grid)
    low, high = lapse_interval(every, grid)
    fitted = {
        "cross_validated": held_out,
        "cross_validated_error": held_out_error,
        "p_lapse_low": low,
        "p_lapse_high": high,
    }
    rows = [
        {
            "model": name,
            "task": task,
            "fold": fold,
            "repeats": len(result.by_repeat),
            "p_lapse": result.p_lapse,
            "log_likelihood": result.mean,
            "sd": result.sd,
            "symbols": result.n_symbols,
            "responses": len(scored),
            "within_sample": within_sample,
            "standard_error": result.standard_error,
            "unit": result.unit,
            **(fitted if len(scored) == len(every) else {}),
        }
        for fold, scored in groups.items()
        for result in [with_standard_error(likelihood(token_scores(scored), best.p_lapse), scored)]
    ]
    table = to_table(every, model=name, task=task, p_lapse=best.p_lapse)
    tables = {
        "likelihoods": pd.DataFrame(rows),
        "likelihoods_by_item": summed_by(table, by=("model", "task", "item", "query")),
        "scored": table,
    }
    identified = table[table["participant"] != ""]
    if len(identified):
        by_participant = summed_by(identified, by=("model", "task", "participant"))
        tables["likelihoods_by_participant"] = by_participant
    return tables


def exact_match_accuracy(
    task: str, context: MeasurementContext, evaluation: EvaluationSet | None = None
) -> Tables:
    """Percent of exact greedy responses to novel and study-example queries, evenly spaced."""
    kind = task if evaluation else _task_type(context, task)
    evaluation = evaluation or _evaluation_set(context, task)
    step = -(-len(evaluation.episodes) // context.workload.episodes)
    episodes = replace(evaluation, episodes=evaluation.episodes[::step]).repeat(0)
    responder = context.model.responder(task=kind)
    most = max_response_length(episodes)
    responses: Sequence[Sequence[Response | bool]]
    if isinstance(responder, NetworkResponder):
        responses = teacher_forced_exact_match(responder.network, episodes, most)
    else:
        responses = responder.respond(episodes, max_length=most)
    rows = []
    for kind in ("novel", "study"):
        rate = accuracy(episodes, responses, in_study=kind == "study")
        if rate is not None:
            about = {"model": context.model.name, "task": task, "kind": kind}
            low, high = rate.interval
            values = {"mean": rate.mean, "sd": rate.sd, "low": low, "high": high}
            rows.append({**about, **values, "n": rate.n_episodes})
    return {"accuracies": pd.DataFrame(rows)}


def sampled_responses(task: str, amount: str, context: MeasurementContext) -> Tables:
    """Samples of a human task: so many per human response, or so many response sets."""
    model, n = context.model, getattr(context.workload, amount)
    symbols = () if task == PROBES else task_symbols(context, task)
    kind = model.evaluation_type(task, has_targets=task != OPEN_ENDED)
    responder = model.responder(symbols, kind)
    options: Any = {
        "model": model.name,
        "kind": kind,
        "seed": context.workload.seed,
        "p_lapse": context.p_lapse,
        "original_names": bool(symbols),
    }
    if task == OPEN_ENDED:
        table = sample_open_ended(responder, context.data, n_sets=n, **options)
    else:
        table = sample_few_shot(responder, context.data, samples_per_response=n, **options)
    return {"responses": table}


def registered_results(context: MeasurementContext) -> Tables:
    """Exact matches on the episode types of plugins, and likelihoods of people's responses."""
    parts: list[Tables] = []
    for name, reason in registered_types(context).items():
        if reason:
            continue
        row = episode_type(name)
        evaluation = row.open_evaluation(context.data, context.workload.seed)
        tables = exact_match_accuracy(name, context, evaluation)
        language = context.model.language
        if row.evaluation_task in TASK_FOLDERS and not (language and language.why_no_log_probs):
            repeats = context.workload.few_shot_repeats
            responder = context.model.responder(task=name)
            scored = score_responses(responder, evaluation, repeats=repeats)
            # Whether a plugin's type is trained on these people is not known.
            unknown = context.model.trained_on == name or language is not None
            uses = context.model.uses(row.evaluation_task)
            seen = None if unknown else TRAINED in uses or FITTED in uses
            tables |= _likelihood_tables(context, name, {"": scored}, seen)
            del tables["scored"]
        parts.append(tables)
    if not parts:
        raise UsageError("episode types of a notebook are known to one process only: workers=1")
    return merge_tables(parts)


def concat(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(tables), ignore_index=True)


def merge_tables(parts: Iterable[Tables]) -> Tables:
    """Concatenate tables of the same name."""
    by_name: dict[str, list[pd.DataFrame]] = {}
    for tables in parts:
        for name, frame in tables.items():
            by_name.setdefault(name, []).append(frame)
    return {name: concat(frames) for name, frames in by_name.items()}


def _of_people(name: str, version: int, task: str, amount: str, cost: float) -> Measurement:
    """Likelihood of people's responses to a task, or samples of it."""
    kind = name.rpartition("_")[2]
    measure = {"likelihood": scored_responses, "samples": sampled_responses}[kind]
    run, summary = partial(measure, task, amount), f"{kind}, {task.replace('_', '-')}"
    return Measurement(name, summary, version, run, task, amount, cost, task)


def _greedy(name: str, what: str, kind: str, cost: float, **details: Any) -> Measurement:
    run, summary = partial(exact_match_accuracy, kind), f"greedy responses, {what}"
    return Measurement(name, summary, 5, run, kind, "episodes", cost, **details)


MEASUREMENTS = {
    row.name: row
    for row in (
        _of_people("few_shot_likelihood", 6, FEW_SHOT, "few_shot_repeats", 13),
        _of_people("open_ended_likelihood", 7, OPEN_ENDED, "open_ended_repeats", 70),
        _of_people("probe_likelihood", 6, PROBES, "few_shot_repeats", 10),
        _of_people("few_shot_samples", 3, FEW_SHOT, "few_shot_samples", 10),
        _of_people("open_ended_samples", 3, OPEN_ENDED, "response_sets", 2),
        _of_people("probe_samples", 3, PROBES, "probe_samples", 3),
        Measurement(
            *(REGISTERED, "registered episode types", 2, registered_results, "", "episodes", 5),
            data=(REGISTERED,),
        ),
        Measurement(
            *(SYSTEMATICITY, "answers to strings", 2, answers_to_suite, FEW_SHOT, "remappings", 20),
            data=(),
            needs_study=True,
        ),
        _greedy("gold", "gold", FEW_SHOT_GOLD, cost=2, task=FEW_SHOT),
        _greedy("validation", "validation", VALIDATION, cost=4, data=("data_algebraic/val",)),
        _greedy("novel_rules", "held-out rules", NOVEL_RULES, cost=3, data=()),
    )
}
"""By name; `benchmarks` adds those of SCAN and COGS."""
