"""Learning-rate schedule, and the steps with validation or logging."""

import math

from biml.episodes.registry import episode_type
from biml.training.config import TrainingConfig

WARMUP_START = 1e-4
"""Learning rate of the first step relative to `lr` (linear schedule)."""

WARMUP_FRACTION = 0.005
"""Fraction of each decay cycle used for warm-up (quadratic schedule)."""

SECOND_CYCLE_LR_FACTOR = 0.4
"""Peak learning rate of the second cycle relative to `lr` (quadratic schedule)."""

VALIDATE_EVERY = 100
"""Steps between validations, from step 100 on."""

LOG_EVERY = 25
"""Steps between log entries."""


def learning_rate(progress: float, config: TrainingConfig) -> float:
    """The learning rate at a fraction of the run in [0, 1).

    Linear (published): within the first epoch the rate rises step by step from `1e-4 * lr` to `lr`;
    from then on it is constant within an epoch, and declines linearly from `lr` in the second epoch
    to `lr_end_factor * lr` in the last. Without warm-up it declines from the first epoch. An epoch
    is one `nepochs`-th of the run, so that runs of any length have the same schedule.

    Quadratic: a short warm-up, then `lr * (1 - progress)**2`. Where a curriculum adds biases and
    noise, these two make up one cycle before and another after, since they would hardly be
    learned at the end of a single decay.

    >>> config = TrainingConfig(lr=1.0, nepochs=50)
    >>> [round(learning_rate(p, config), 4) for p in (0, 0.01, 0.02, 0.5, 0.99)]
    [0.0001, 0.5, 1.0, 0.525, 0.05]
    """
    if config.lr_schedule == "quadratic":
        start, end, peak = _decay_cycle(progress, config)
        part = (progress - start) / (end - start)
        warmup = min(1.0, (part + 1e-4) / WARMUP_FRACTION)
        return peak * warmup * (1 - part) ** 2
    in_epochs = progress * config.nepochs
    epoch = min(math.floor(in_epochs + 1e-9), config.nepochs - 1)
    if config.lr_warmup and epoch == 0:
        return config.lr * (WARMUP_START + (1 - WARMUP_START) * in_epochs)
    first = 1 if config.lr_warmup else 0
    declines = max(1, config.nepochs - 1 - first)
    return config.lr * (1 - (1 - config.lr_end_factor) * (epoch - first) / declines)


def corruption_start(config: TrainingConfig) -> float:
    """The fraction of the run after which a curriculum adds biases and noise; 0 if it does not.

    >>> corruption_start(TrainingConfig(episode_type="joint", curriculum=True))
    0.75
    """
    late = config.curriculum and episode_type(config.episode_type).has_late_corruption
    return config.clean_fraction if late else 0.0


def _decay_cycle(progress: float, config: TrainingConfig) -> tuple[float, float, float]:
    """Start, end and peak learning rate of the current cycle."""
    second = corruption_start(config)
    if second in (0, 1):
        return 0.0, 1.0, config.lr
    if progress < second:
        return 0.0, second, config.lr
    return second, 1.0, SECOND_CYCLE_LR_FACTOR * config.lr


def is_validation_step(step: int, total: int) -> bool:
    """Whether validation follows a step (from 1): steps 1, 25, every 100 and the last."""
    return step in (1, 25, total) or step % VALIDATE_EVERY == 0


def is_log_step(step: int, total: int) -> bool:
    """Whether a log entry follows a step (from 1): every 25 and after each validation."""
    return step % LOG_EVERY == 0 or is_validation_step(step, total)
