"""How long a run will take on this machine, measured before it begins."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from biml.training.learner import DivergedError, TrainStep

MEASURE_SECONDS = 6.0
"""Seconds after which enough of a part has been measured."""

MAX_MEASURED_STEPS = 12


def measure_step_time(
    train_step: TrainStep, stop_requested: Callable[[], bool], corruption_start: float = 0.0
) -> float:
    """Seconds of a step on average over a few steps.

    The steps are those from the middle of the run, whose episodes are of full size. They change the
    learner, which is not to be used after this. Every process of a run measures together.

    Args:
        turn: the share of the run before biases and noise come in, whose steps may take another
            time; both parts are measured, each in its middle.
    """
    parts = (
        (corruption_start, corruption_start / 2),
        (1 - corruption_start, (1 + corruption_start) / 2),
    )
    return sum(
        share * _mean_step_seconds(train_step, int(middle * train_step.total_steps), stop_requested)
        for share, middle in parts
        if share > 0
    )


def _mean_step_seconds(
    train_step: TrainStep, step: int, stop_requested: Callable[[], bool]
) -> float:
    """Seconds of a step on average over the steps from this one on."""
    train_step.seek(step)
    steps = 0
    begin = time.perf_counter()
    # What goes wrong here goes wrong again in the run, which can tell where and keep the batch.
    with suppress(DivergedError):
        stopped = train_step.step(stop_requested).stop
        if train_step.steps_done < train_step.total_steps and not stopped:
            # The first step also reserves memory and compiles what is to be compiled.
            begin = time.perf_counter()
        while (
            steps < MAX_MEASURED_STEPS
            and train_step.steps_done < train_step.total_steps
            and not stopped
        ):
            late = time.perf_counter() - begin > MEASURE_SECONDS
            steps += 1
            stopped = train_step.step(partial(bool, late or stop_requested())).stop
    return (time.perf_counter() - begin) / max(1, steps)
