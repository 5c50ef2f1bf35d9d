"""What a run learns from beyond its options: its data, and the recipe that the code has for them.

The same options lead elsewhere with other data, and with a biml whose lessons or learning rates are
others. A run that goes on must not change its course unseen, so its checkpoint has a mark of both.
"""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from biml.episodes.lessons import LESSONS, LESSONS_SHARE
from biml.errors import UsageError
from biml.training.batches import Source
from biml.training.config import TrainingConfig
from biml.training.optimizers import CLIP, MATRIX_RATE
from biml.training.schedule import learning_rate

FAR = 10**9
"""A presentation beyond any curriculum."""

RATES = 1000
"""Points of a run at which its learning rate counts."""

PARTS = 8
"""Points of a run at which its episodes count."""

TOGETHER = 3
"""Episodes that count at one point; a curriculum has as many kinds by turns."""


@dataclass(frozen=True)
class Course:
    """Tells courses of training apart.

    Attributes:
        data: a mark of the training data, wherever they lie.
        recipe: a mark of what the code makes of options and data; None in a checkpoint without it.
    """

    data: str
    recipe: str | None


def course_of(config: TrainingConfig, source: Source) -> Course:
    """The course of a run with these options and training episodes.

    The data are those far beyond any curriculum; the recipe is learning rates, lessons and episodes
    in the course of the run, all of them as they come, whatever code they come from.
    """
    steps = config.total_steps(source.per_epoch)
    whole = config.presentations(steps, steps)
    rates = [f"{learning_rate(point / RATES, config):.9g}" for point in range(RATES)]
    beside = (MATRIX_RATE, CLIP) if config.optimizer == "muon" else ()
    lessons = [(lesson.presentations, lesson.meta, lesson.draw.__name__) for lesson in LESSONS]
    table = (lessons, LESSONS_SHARE) if config.curriculum and config.init is None else ()
    shown = [_shown(source, part * whole // PARTS) for part in range(PARTS)]
    return Course(
        data=_mark(source.per_epoch, _shown(source, FAR)),
        recipe=_mark(rates, beside, table, shown),
    )


def check_course(had: Course, now: Course, path: Path, origin: str) -> None:
    """Make sure that a run would go on as it began.

    Args:
        had: the course of the run that is to be resumed.
        now: that of the same options here.
        path: the run's checkpoint.
        origin: where the training episodes come from here, in words.

    Raises:
        UsageError: it would not; the message names the remedy.
    """
    remedy = (
        f"train on from it with --init {path} and another --fn_out_model, "
        "or resume it with the version of biml that began it"
    )
    if had.recipe is None:
        raise UsageError(
            f"cannot resume: {path} was saved by an earlier version of biml and does not say by "
            f"which recipe (learning rates, lessons) it was trained; {remedy}"
        )
    if had.data != now.data:
        raise UsageError(
            "cannot resume: the run began with other training episodes than those "
            f"from {origin}; name the folder of its data in --data_dir. "
            f"If these are its data, their kind has changed since: {remedy}"
        )
    if had.recipe != now.recipe:
        raise UsageError(
            "cannot resume: this version of biml has another recipe (learning rates, lessons, "
            f"kinds of episodes) than {path} began with; {remedy}"
        )


def _shown(source: Source, start: int) -> list[Any]:
    episodes = [source.episode(start + number) for number in range(TOGETHER)]
    return [(episode.study, episode.queries, episode.pool) for episode in episodes]


def _mark(*values: Any) -> str:
    return blake2b(repr(values).encode(), digest_size=8).hexdigest()
