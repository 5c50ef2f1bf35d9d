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
from biml.episodes.types import PUBLISHED, episode_type
from biml.evaluation.accuracy import share_right
from biml.evaluation.answers import longest
from biml.evaluation.exact import exact
from biml.evaluation.lapsing import Lapsing
from biml.evaluation.network_responder import NetworkResponder
from biml.reproduce import takes_part
from biml.reproduce.asked import Asked, Frames
from biml.reproduce.likelihoods import (
    few_shot_likelihood,
    open_ended_likelihood,
    probe_likelihood,
)
from biml.reproduce.names import own_symbols
from biml.reproduce.subjects import Subject, knows


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
    symbols = own_symbols(asked, FEW_SHOT)
    drawn = samples.sample_few_shot(
        _lapsing(asked, symbols),
        times=asked.scale.few_shot_times,
        own_names=bool(symbols),
        **_named(asked),
    )
    return {"responses": drawn}


def open_ended_samples(asked: Asked) -> Frames:
    """Drawn answer sheets of the open-ended task."""
    symbols = own_symbols(asked, OPEN_ENDED)
    drawn = samples.sample_open_ended(
        _lapsing(asked, symbols),
        n=asked.scale.sheets,
        own_names=bool(symbols),
        **_named(asked),
    )
    return {"responses": drawn}


def probe_samples(asked: Asked) -> Frames:
    """Drawn answers to the probe trials; the pool is shown to whom it was shown in training."""
    kind, times = takes_part.probe_type(asked.subject), asked.scale.probe_times
    drawn = samples.sample_probes(_lapsing(asked), times=times, kind=kind, **_named(asked))
    return {"responses": drawn}


def _lapsing(asked: Asked, symbols: tuple[str, ...] = ()) -> Lapsing:
    return Lapsing(asked.subject.responder(symbols), asked.lapse)


def _named(asked: Asked) -> dict[str, Any]:
    return {"data": asked.data, "model": asked.subject.name, "seed": asked.scale.seed}


_ROWS = (
    Measure(
        "few_shot_likelihood",
        "likelihood, few-shot",
        2,
        few_shot_likelihood,
        takes_part.few_shot,
        ("few_shot_passes", "seed"),
        cost=13,
        task=FEW_SHOT,
    ),
    Measure(
        "open_ended_likelihood",
        "likelihood, open-ended",
        3,
        open_ended_likelihood,
        takes_part.open_ended,
        ("open_ended_passes", "seed"),
        cost=70,
        task=OPEN_ENDED,
    ),
    Measure(
        "probe_likelihood",
        "likelihood, probes",
        2,
        probe_likelihood,
        takes_part.probes,
        ("few_shot_passes", "seed"),
        cost=10,
        task=PROBES,
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
        ("few_shot_times", "seed"),
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
        ("probe_times", "seed"),
        cost=3,
        lapse_of="probe_likelihood",
        task=PROBES,
    ),
)

MEASURES: dict[str, Measure] = {row.name: row for row in _ROWS}
"""By name."""
