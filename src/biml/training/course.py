"""What a run learns from beyond its options: its data, and the recipe that the code has for them.

The same options lead elsewhere with other data, and with a biml whose lessons or learning rates are
others. A run that goes on must not change its course unseen, so its checkpoint has a mark of both.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from biml.episodes.episode import Example
from biml.episodes.lessons import STAGES, MAX_CURRICULUM_FRACTION
from biml.errors import UsageError
from biml.training.batches import Source
from biml.training.config import TrainingConfig
from biml.training.optimizers import MAX_GRAD_NORM, MUON_LR_FACTOR
from biml.training.schedule import learning_rate

FAR_INDEX = 10**9
"""A presentation beyond any curriculum."""

LR_SAMPLES = 1000
"""Points of a run at which its learning rate counts."""

EPISODE_SAMPLES = 8
"""Points of a run at which its episodes count."""

EPISODES_PER_SAMPLE = 3
"""Episodes that count at one point; a curriculum has as many kinds by turns."""

# Checkpoints hold hashes of the names that functions and fields had when fingerprints began.
_HASHED_NAMES = {"sample_episode": "draw_episode", "sample_single_function_episode": "draw_uses"}


class _HashedExample(NamedTuple):
    words: tuple[str, ...]
    symbols: tuple[str, ...]
    copied: bool

    def __repr__(self) -> str:
        return f"Example(words={self.words}, symbols={self.symbols}, copied={self.copied})"


@dataclass(frozen=True)
class RunFingerprint:
    """Tells courses of training apart.

    Attributes:
        data: a mark of the training data, wherever they lie.
        recipe: a mark of what the code makes of options and data; None in a checkpoint without it.
    """

    data: str
    schedule: str | None


def fingerprint(config: TrainingConfig, source: Source) -> RunFingerprint:
    """The course of a run with these options and training episodes.

    The data are those far beyond any curriculum; the recipe is learning rates, lessons and episodes
    in the course of the run, all of them as they come, whatever code they come from.
    """
    steps = config.total_steps(source.per_epoch)
    whole = config.episodes_seen(steps, steps)
    rates = [f"{learning_rate(point / LR_SAMPLES, config):.9g}" for point in range(LR_SAMPLES)]
    beside = (MUON_LR_FACTOR, MAX_GRAD_NORM) if config.optimizer == "muon" else ()
    lessons = [
        (
            lesson.n_episodes,
            lesson.meta_grammar,
            _HASHED_NAMES.get(lesson.sampler.__name__, lesson.sampler.__name__),
        )
        for lesson in STAGES
    ]
    table = (lessons, MAX_CURRICULUM_FRACTION) if config.curriculum and config.init is None else ()
    shown = [
        _sample_episodes(source, part * whole // EPISODE_SAMPLES) for part in range(EPISODE_SAMPLES)
    ]
    return RunFingerprint(
        data=_digest(source.per_epoch, _sample_episodes(source, FAR_INDEX)),
        schedule=_digest(rates, beside, table, shown),
    )


def check_fingerprint(
    saved: RunFingerprint, current: RunFingerprint, path: Path, data_description: str
) -> None:
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
    if saved.schedule is None:
        raise UsageError(
            f"cannot resume: {path} was saved by an earlier version of biml and does not say by "
            f"which recipe (learning rates, lessons) it was trained; {remedy}"
        )
    if saved.data != current.data:
        raise UsageError(
            "cannot resume: the run began with other training episodes than those "
            f"from {data_description}; name the folder of its data in --data_dir. "
            f"If these are its data, their kind has changed since: {remedy}"
        )
    if saved.schedule != current.schedule:
        raise UsageError(
            "cannot resume: this version of biml has another recipe (learning rates, lessons, "
            f"kinds of episodes) than {path} began with; {remedy}"
        )


def _sample_episodes(source: Source, start: int) -> list[Any]:
    episodes = [source.episode(start + number) for number in range(EPISODES_PER_SAMPLE)]
    return [
        (_hashed(episode.study), _hashed(episode.queries), episode.pool) for episode in episodes
    ]


def _hashed(examples: Iterable[Example]) -> tuple[_HashedExample, ...]:
    return tuple(_HashedExample(e.input, e.output, e.in_study) for e in examples)


def _digest(*values: Any) -> str:
    return blake2b(repr(values).encode(), digest_size=8).hexdigest()
