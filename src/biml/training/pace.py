"""How long a run will take on this machine, measured before it begins."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from biml.training.learner import DivergedError, Learner

LONGEST = 6.0
"""Seconds after which enough of a part has been measured."""

MOST_STEPS = 12


def seconds_a_step(learner: Learner, asked_to_stop: Callable[[], bool], turn: float = 0.0) -> float:
    """Seconds of a step on average over a few steps.

    The steps are those from the middle of the run, whose episodes are of full size. They change the
    learner, which is not to be used after this. Every process of a run measures together.

    Args:
        turn: the share of the run before biases and noise come in, whose steps may take another
            time; both parts are measured, each in its middle.
    """
    parts = ((turn, turn / 2), (1 - turn, (1 + turn) / 2))
    return sum(
        share * _measured(learner, int(middle * learner.total), asked_to_stop)
        for share, middle in parts
        if share > 0
    )


def _measured(learner: Learner, step: int, asked_to_stop: Callable[[], bool]) -> float:
    """Seconds of a step on average over the steps from this one on."""
    learner.go_to(step)
    steps = 0
    begin = time.perf_counter()
    # What goes wrong here goes wrong again in the run, which can tell where and keep the batch.
    with suppress(DivergedError):
        stopped = learner.step(asked_to_stop).stop
        if learner.done < learner.total and not stopped:
            # The first step also reserves memory and compiles what is to be compiled.
            begin = time.perf_counter()
        while steps < MOST_STEPS and learner.done < learner.total and not stopped:
            late = time.perf_counter() - begin > LONGEST
            steps += 1
            stopped = learner.step(partial(bool, late or asked_to_stop())).stop
    return (time.perf_counter() - begin) / max(1, steps)
