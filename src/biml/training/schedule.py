"""When the learning rate changes and when a run is validated."""

import math

from biml.episodes.registry import episode_type
from biml.training.config import TrainingConfig

WARMUP_START = 1e-4
"""The learning rate of the very first step, as a share of `lr`."""

WARMUP_FRACTION = 0.005
"""Share of each fall in which the rate of this shape rises before."""

SECOND_CYCLE_LR_FACTOR = 0.4
"""The highest rate after biases and noise have come in, as a share of `lr`."""

VALIDATE_EVERY = 100
"""Steps between two validations, from the first hundred on."""

LOG_EVERY = 25
"""Steps between two lines of the history."""


def learning_rate(progress: float, config: TrainingConfig) -> float:
    """The learning rate at a point of the run.

    The published schedule has two parts. Within the first epoch the rate rises linearly, step by
    step, from `1e-4 * lr` to `lr`. After that it is constant within an epoch, and goes down
    linearly from one epoch to the next: `lr` in the second epoch, `lr_end_factor * lr` in the last.
    Without warm-up the first epoch has `lr` and the decline begins with the second.

    The other shape is a short rise, then a fall with the square of what remains of the run. Where a
    curriculum brings in biases and noise, it does so twice: before they come in, and again from
    `AGAIN * lr` on. At the end of one long fall they would hardly be learned any more.

    An epoch is one part in `nepochs` of the run, so a run of another length (`nsteps`, or a time
    budget) has the same schedule in small.

    Args:
        progress: share of the run that is done, in [0, 1).

    >>> config = TrainingConfig(lr=1.0, nepochs=50)
    >>> [round(learning_rate(p, config), 4) for p in (0, 0.01, 0.02, 0.5, 0.99)]
    [0.0001, 0.5, 1.0, 0.525, 0.05]
    """
    if config.lr_shape == "square":
        start, end, highest = _decay_segment(progress, config)
        part = (progress - start) / (end - start)
        rise = min(1.0, (part + 1e-4) / WARMUP_FRACTION)
        return highest * rise * (1 - part) ** 2
    in_epochs = progress * config.nepochs
    epoch = min(math.floor(in_epochs + 1e-9), config.nepochs - 1)
    if config.lr_warmup and epoch == 0:
        return config.lr * (WARMUP_START + (1 - WARMUP_START) * in_epochs)
    first = 1 if config.lr_warmup else 0
    declines = max(1, config.nepochs - 1 - first)
    return config.lr * (1 - (1 - config.lr_end_factor) * (epoch - first) / declines)


def corruption_start(config: TrainingConfig) -> float:
    """The share of a run after which a curriculum brings in biases and noise; 0 where it does not.

    >>> corruption_start(TrainingConfig(episode_type="joint", curriculum=True))
    0.75
    """
    brings_in = config.curriculum and episode_type(config.episode_type).has_late_corruption
    return config.clean_share if brings_in else 0.0


def _decay_segment(progress: float, config: TrainingConfig) -> tuple[float, float, float]:
    """Begin, end and highest rate of the fall that a point of the run lies in."""
    at = corruption_start(config)
    if at in (0, 1):
        return 0.0, 1.0, config.lr
    return (0.0, at, config.lr) if progress < at else (at, 1.0, SECOND_CYCLE_LR_FACTOR * config.lr)


def is_validation_step(step: int, total: int) -> bool:
    """Whether validation follows a step (from 1): steps 1, 25, every 100 and the last."""
    return step in (1, 25, total) or step % VALIDATE_EVERY == 0


def is_log_step(step: int, total: int) -> bool:
    """Whether a line of the history follows this step; every validated step is one."""
    return step % LOG_EVERY == 0 or is_validation_step(step, total)
