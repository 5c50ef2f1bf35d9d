"""A run in a file: what a checkpoint holds beyond the weights, and how a run goes on from it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from biml.checkpoints import own
from biml.checkpoints.model import read_contents
from biml.errors import BimlError, FormatError, UsageError
from biml.training.config import TrainingConfig, check_same
from biml.training.course import Course
from biml.training.hardware import describe
from biml.training.history import Line
from biml.training.learner import Learner


@dataclass
class Record:
    """What a run remembers of its past, apart from the weights and the optimiser.

    Attributes:
        history: lines so far.
        loss_sum, loss_count: training losses since the last line.
        best: lowest validation loss that `save_best` counted.
        seconds: spent on training before this session.
        ancestors: the models that its weights started from (`beginning.ancestry`).
    """

    history: list[Line] = dataclasses.field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0
    best: float | None = None
    seconds: float = 0.0
    ancestors: list[dict[str, Any]] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class Resumed:
    """A checkpoint that a run goes on from.

    Attributes:
        config: the options that the run had.
        course: its data and recipe.
        record: its past.
        contents: the whole checkpoint.
        source: its file.
    """

    config: TrainingConfig
    course: Course
    record: Record
    contents: Mapping[str, Any]
    source: str

    def restore(self, learner: Learner) -> None:
        """Put weights, optimiser and step where they were.

        Raises:
            FormatError: the state does not fit the network.
        """
        try:
            learner.network.load_state_dict(self.contents["weights"])
            learner.load(self.contents["training"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise _unreadable(error, self.source) from None


def save_run(
    path: Path, learner: Learner, record: Record, config: TrainingConfig, course: Course
) -> None:
    """Write a checkpoint that the run can be resumed from.

    Raises:
        BimlError: it cannot be written; what stood at `path` is as it was.
    """
    training = learner.state() | {
        "options": dataclasses.asdict(config),
        "data": course.data,
        "recipe": course.recipe,
        "record": dataclasses.asdict(record),
    }
    own.save(
        path,
        own.contents_of(
            learner.network,
            config.episode_type,
            info=_facts(learner, record, config),
            training=training,
        ),
    )


def save_weights(path: Path, learner: Learner, record: Record, config: TrainingConfig) -> None:
    """Write a checkpoint of the weights alone, to evaluate but not to resume from.

    Raises:
        BimlError: it cannot be written; what stood at `path` is as it was.
    """
    facts = _facts(learner, record, config)
    own.save(path, own.contents_of(learner.network, config.episode_type, info=facts))


def load_run(path: Path, given: Mapping[str, Any]) -> Resumed:
    """Read the checkpoint of a run that is to go on.

    Args:
        path: the model.
        given: the options that were asked for explicitly.

    Raises:
        UsageError: there is no such file, it holds no run, or the run had other options than those
            given (each is named).
        FormatError: the file is damaged.
    """
    if not path.is_file():
        raise UsageError(f"nothing to resume: there is no file {path}; leave out --resume to begin")
    contents = read_contents(path)
    if "training" not in contents:
        raise UsageError(
            f"{path} holds a model but not a run that could go on (released models and "
            "those of --save_best do not); leave out --resume to train a new one"
        )
    training = contents["training"]
    try:
        config = TrainingConfig(**training["options"])
        record = Record(**training["record"])
        course = Course(str(training["data"]), training.get("recipe"))
    except (KeyError, TypeError, BimlError) as error:
        raise _unreadable(error, str(path)) from None
    check_same(config, given)
    return Resumed(config, course, record, contents, str(path))


def _unreadable(error: Exception, source: str) -> FormatError:
    problem = f"its training state cannot be read ({error}); it may be of another biml version"
    return FormatError(problem, source=source)


def _facts(learner: Learner, record: Record, config: TrainingConfig) -> dict[str, Any]:
    """What a user may want to know of a model: its step and latest figures, and how it was made."""
    device = next(learner.network.parameters()).device
    validated = [line for line in record.history if line.get("val_loss") is not None]
    return {
        **(validated[-1] if validated else {}),
        "step": learner.done,
        "total_steps": learner.total,
        "best_val_loss": record.best,
        "episodes": learner.presented,
        "seconds": round(record.seconds, 1),
        "options": dataclasses.asdict(config),
        "ancestors": record.ancestors,
        "hardware": describe(device),
        "torch": str(torch.__version__),
    }
