"""What is measured of one model at a time: one row each, the units that are kept and shared out.

A measurement is a function from a model to tables, of the names in `biml.results.tables` and
`SCORED`. Whoever changes what one gives raises its version, so that what was kept is made anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from biml.behaviour import samples
from biml.behaviour.likelihoods import (
    ScoredResponse,
    as_scores,
    breakdown,
    score_responses,
    tabulate,
)
from biml.behaviour.people import FEW_SHOT, FOLDS, OPEN_ENDED, PROBES, has_folds
from biml.episodes.episode import Episode
from biml.episodes.locate import DataFolders
from biml.episodes.types import PUBLISHED, episode_type
from biml.evaluation.accuracy import share_right
from biml.evaluation.answers import longest
from biml.evaluation.exact import exact
from biml.evaluation.lapsing import Lapsing
from biml.evaluation.likelihood import LAPSES, fit_lapse, likelihood
from biml.evaluation.network_responder import NetworkResponder
from biml.evaluation.responder import Responder
from biml.reproduce import takes_part
from biml.reproduce.scale import Scale
from biml.reproduce.subjects import Subject, knows
from biml.results.tables import Table

Frames = dict[str, pd.DataFrame]

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


@dataclass(frozen=True)
class Asked:
    """What a measurement is given.

    Attributes:
        subject: the model.
        data: where human data are found.
        scale: how much is drawn and averaged over.
        lapse: the rate that samples lapse at.
    """

    subject: Subject
    data: DataFolders
    scale: Scale
    lapse: float = 0.0


@dataclass(frozen=True)
class Measure:
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
    run: Callable[[Asked], Frames]
    refuses: Callable[[Subject], str]
    scale: tuple[str, ...]
    data: tuple[str, ...] = ("data_human",)
    cost: float = 10.0
    lapse_of: str = ""
    task: str = ""


# --- likelihoods


def few_shot_likelihood(asked: Asked) -> Frames:
    """Of people's few-shot responses; a network without study context skips two of them."""
    kind = episode_type("few_shot_human" if knows(asked.subject, PUBLISHED) else "human_vanilla")
    evaluation = kind.open_evaluation(asked.data, asked.scale.seed)
    # Renaming changes nothing for a symbolic model of this task.
    passes = 1 if asked.subject.symbolic else asked.scale.few_shot_passes
    scored = score_responses(asked.subject.responder(), evaluation, repeats=passes)
    return _likelihoods(asked, FEW_SHOT, {"": scored})


def open_ended_likelihood(asked: Asked) -> Frames:
    """Of each person's seven answers, by models that have not seen the person where there are."""
    parts: dict[str, list[ScoredResponse]] = {}
    for fold, responder in _folds(asked):
        name = f"open_end_human_cross{fold}" if fold else "open_end_human_all"
        evaluation = episode_type(name).open_evaluation(asked.data, asked.scale.seed)
        passes = asked.scale.open_ended_passes
        parts[str(fold or "")] = score_responses(responder(), evaluation, repeats=passes)
    seen: bool | None = False
    if "" in parts and not asked.subject.symbolic:
        # Nobody knows whether a model was trained on imported people.
        seen = None if evaluation.answerers else True
    return _likelihoods(asked, OPEN_ENDED, parts, within_sample=seen)


def _folds(asked: Asked) -> list[tuple[int, Callable[[], Responder]]]:
    """The responder for the participants of each fold; fold 0 is everybody.

    A symbolic model has seen nobody, so that it answers for all folds. Imported data have no folds
    of fewer than five participants.
    """
    subject = asked.subject
    if not has_folds(asked.data):
        return [(0, subject.responder)]
    if subject.symbolic:
        return [(fold, subject.responder) for fold in FOLDS]
    if subject.folds:
        return [(fold, net.responder) for fold, net in zip(FOLDS, subject.folds, strict=True)]
    return [(_held_out(subject), subject.responder)]


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
    items = breakdown(scored, by=("model", "task", "item", "query"))
    return {"likelihoods": pd.DataFrame(rows), "likelihoods_by_item": items, "scored": scored}


# --- greedy answers


def accuracy(task: str, asked: Asked) -> Frames:
    """Percent of queries answered exactly, on copied and on new ones."""
    name = {"validation": "algebraic"}.get(task, task)
    if not knows(asked.subject, PUBLISHED):
        name = "few_shot_vanilla"
    evaluation = episode_type(name).open_evaluation(asked.data, asked.scale.seed)
    kept = _spread(evaluation.episodes, asked.scale.episodes)
    episodes = replace(evaluation, episodes=kept).presented(0)
    responder = asked.subject.responder()
    assert isinstance(responder, NetworkResponder)
    right = exact(responder.network, episodes, longest(episodes))
    rows = []
    for kind in ("novel", "copied"):
        found = share_right(episodes, right, copied=kind == "copied")
        if found is not None:
            about = {"model": asked.subject.name, "task": task, "kind": kind}
            rows.append({**about, "mean": found.mean, "sd": found.sd, "n": found.episodes})
    return {"accuracies": pd.DataFrame(rows)}


def _spread(some: Sequence[Episode], most: int) -> tuple[Episode, ...]:
    """At most so many, evenly spread."""
    return tuple(some[:: -(-len(some) // most)])


# --- samples


def few_shot_samples(asked: Asked) -> Frames:
    """Drawn answers to the few-shot queries."""
    drawn = samples.sample_few_shot(_lapsing(asked), times=asked.scale.times, **_named(asked))
    return {"responses": drawn}


def open_ended_samples(asked: Asked) -> Frames:
    """Drawn answer sheets of the open-ended task."""
    drawn = samples.sample_open_ended(_lapsing(asked), n=asked.scale.sheets, **_named(asked))
    return {"responses": drawn}


def probe_samples(asked: Asked) -> Frames:
    """Drawn answers to the probe trials; the pool is shown to whom it was shown in training."""
    shown = asked.subject.trained_on == "probe_human_w_pool"
    drawn = samples.sample_probes(
        _lapsing(asked),
        times=asked.scale.times,
        kind="probe_human_w_pool" if shown else "probe_human",
        **_named(asked),
    )
    return {"responses": drawn}


def _lapsing(asked: Asked) -> Lapsing:
    return Lapsing(asked.subject.responder(), asked.lapse)


def _named(asked: Asked) -> dict[str, Any]:
    return {"data": asked.data, "model": asked.subject.name, "seed": asked.scale.seed}


_ROWS = (
    Measure(
        "few_shot_likelihood",
        "likelihood, few-shot",
        1,
        few_shot_likelihood,
        takes_part.few_shot,
        ("few_shot_passes", "seed"),
        cost=13,
        task=FEW_SHOT,
    ),
    Measure(
        "open_ended_likelihood",
        "likelihood, open-ended",
        2,
        open_ended_likelihood,
        takes_part.open_ended,
        ("open_ended_passes", "seed"),
        cost=70,
        task=OPEN_ENDED,
    ),
    Measure(
        "gold",
        "greedy answers, gold",
        2,
        partial(accuracy, "few_shot_gold"),
        takes_part.greedy_gold,
        ("episodes", "seed"),
        cost=2,
        task=FEW_SHOT,
    ),
    Measure(
        "validation",
        "greedy answers, validation",
        2,
        partial(accuracy, "validation"),
        takes_part.drawn_grammars,
        ("episodes", "seed"),
        data=("data_algebraic/val",),
        cost=4,
    ),
    Measure(
        "novel_rules",
        "greedy answers, novel rules",
        2,
        partial(accuracy, "novel_rules"),
        takes_part.drawn_grammars,
        ("episodes", "seed"),
        data=(),
        cost=3,
    ),
    Measure(
        "few_shot_samples",
        "samples, few-shot",
        2,
        few_shot_samples,
        takes_part.sampled_few_shot,
        ("times", "seed"),
        cost=10,
        lapse_of="few_shot_likelihood",
        task=FEW_SHOT,
    ),
    Measure(
        "open_ended_samples",
        "samples, open-ended",
        2,
        open_ended_samples,
        takes_part.sampled_open_ended,
        ("sheets", "seed"),
        cost=2,
        lapse_of="open_ended_likelihood",
        task=OPEN_ENDED,
    ),
    Measure(
        "probe_samples",
        "samples, probes",
        2,
        probe_samples,
        takes_part.probes,
        ("times", "seed"),
        cost=3,
        task=PROBES,
    ),
)

MEASURES: dict[str, Measure] = {row.name: row for row in _ROWS}
"""By name."""
