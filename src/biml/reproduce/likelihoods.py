"""Log-likelihood of people's responses by one model, in each of the tasks."""

from collections.abc import Callable
from functools import partial

import pandas as pd

from biml.behaviour.likelihoods import (
    ScoredResponse,
    as_scores,
    breakdown,
    score_responses,
    tabulate,
)
from biml.behaviour.people import FEW_SHOT, FOLDS, OPEN_ENDED, PROBES, has_folds
from biml.behaviour.samples import open_evaluation
from biml.episodes.present import EvaluationEpisodes
from biml.episodes.types import PUBLISHED, episode_type
from biml.evaluation.likelihood import LAPSES, fit_lapse, likelihood
from biml.evaluation.responder import Responder
from biml.reproduce import takes_part
from biml.reproduce.asked import Asked, Frames
from biml.reproduce.names import own_symbols
from biml.reproduce.subjects import Subject, knows
from biml.results.tables import Table

SCORED = Table(
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

HUNDREDTHS = tuple(n / 100 for n in range(1, 100))
"""Lapse rates that are tried for symbolic models."""


def few_shot_likelihood(asked: Asked) -> Frames:
    """Of people's few-shot responses; a network without study context skips two of them."""
    kind = "few_shot_human" if knows(asked.subject, PUBLISHED) else "human_vanilla"
    symbols = own_symbols(asked, FEW_SHOT)
    evaluation = open_evaluation(kind, asked.data, asked.scale.seed, own_names=bool(symbols))
    # Renaming changes nothing for a symbolic model of this task.
    passes = 1 if asked.subject.symbolic else asked.scale.few_shot_passes
    scored = score_responses(asked.subject.responder(symbols), evaluation, repeats=passes)
    return _likelihoods(asked, FEW_SHOT, {"": scored})


def open_ended_likelihood(asked: Asked) -> Frames:
    """Of each person's seven answers, by models that have not seen the person where there are."""
    parts: dict[str, list[ScoredResponse]] = {}
    symbols = own_symbols(asked, OPEN_ENDED)
    for fold, responder in _folds(asked, symbols):
        name = f"open_end_human_cross{fold}" if fold else "open_end_human_all"
        evaluation = open_evaluation(name, asked.data, asked.scale.seed, own_names=bool(symbols))
        passes = asked.scale.open_ended_passes
        parts[str(fold or "")] = score_responses(responder(), evaluation, repeats=passes)
    seen = "" in parts and not asked.subject.symbolic
    return _likelihoods(asked, OPEN_ENDED, parts, within_sample=_seen(seen, evaluation))


def probe_likelihood(asked: Asked) -> Frames:
    """Of people's answers to the probe trials, each of symbols of the trial's pool."""
    kind = takes_part.probe_type(asked.subject)
    evaluation = episode_type(kind).open_evaluation(asked.data, asked.scale.seed)
    passes = asked.scale.few_shot_passes
    scored = score_responses(asked.subject.responder(), evaluation, repeats=passes)
    seen = _seen(asked.subject.trained_on == kind, evaluation)
    return _likelihoods(asked, PROBES, {"": scored}, within_sample=seen)


def _seen(seen: bool, evaluation: EvaluationEpisodes) -> bool | None:
    """Nobody knows whether a model was trained on imported people."""
    return None if seen and evaluation.answerers else seen


def _folds(asked: Asked, symbols: tuple[str, ...]) -> list[tuple[int, Callable[[], Responder]]]:
    """The responder for the participants of each fold; fold 0 is everybody.

    A symbolic model has seen nobody, so that it answers for all folds. Imported data have no folds
    of fewer than five participants.

    Args:
        symbols: what a symbolic model answers in, if not in the published colours.
    """
    subject = asked.subject
    responder = partial(subject.responder, symbols)
    if not has_folds(asked.data):
        return [(0, responder)]
    if subject.symbolic:
        return [(fold, responder) for fold in FOLDS]
    if subject.folds:
        return [(fold, net.responder) for fold, net in zip(FOLDS, subject.folds, strict=True)]
    return [(_held_out(subject), responder)]


def _held_out(subject: Subject) -> int:
    """The fold that a model by itself was trained without, or 0."""
    _, _, fold = subject.trained_on.rpartition("cross")
    return int(fold) if fold in map(str, FOLDS) else 0


def _likelihoods(
    asked: Asked,
    task: str,
    parts: dict[str, list[ScoredResponse]],
    within_sample: bool | None = False,
) -> Frames:
    """Tables of the likelihood of several folds at the one lapse rate that is best for all.

    Networks have that of the published grid; symbolic models that of a finer one, as the
    published 0.13 of the oracle is not in it.

    Args:
        within_sample: whether the model was trained on these answers; None where nobody knows.
    """
    everything = [one for scored in parts.values() for one in scored]
    best = fit_lapse(as_scores(everything), HUNDREDTHS if asked.subject.symbolic else LAPSES)
    found = {fold: likelihood(as_scores(one), best.p_lapse) for fold, one in parts.items()}
    if len(parts) > 1:
        found["all"] = best
    counts = {fold: len(scored) for fold, scored in parts.items()} | {"all": len(everything)}
    name = asked.subject.name
    rows = [
        {
            "model": name,
            "task": task,
            "fold": fold,
            "repeats": len(one.passes),
            "lapse": one.p_lapse,
            "log_likelihood": one.mean,
            "sd": one.sd,
            "symbols": one.symbols,
            "responses": counts[fold or next(iter(parts))],
            "within_sample": within_sample,
        }
        for fold, one in found.items()
    ]
    scored = tabulate(everything, model=name, task=task, p_lapse=best.p_lapse)
    tables = {
        "likelihoods": pd.DataFrame(rows),
        "likelihoods_by_item": breakdown(scored, by=("model", "task", "item", "query")),
        "scored": scored,
    }
    known = scored[scored["participant"] != ""]
    if len(known):
        people = breakdown(known, by=("model", "task", "participant"))
        tables["likelihoods_by_participant"] = people
    return tables
