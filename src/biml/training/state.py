"""A run in a file: what a checkpoint holds beyond the weights, and how a run goes on from it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from biml.checkpoints import own
from biml.checkpoints.model import load_checkpoint
from biml.errors import BimlError, FormatError, UsageError
from biml.training.config import TrainingConfig, check_resume_options
from biml.training.course import RunFingerprint
from biml.training.hardware import device_name
from biml.training.history import LogEntry
from biml.training.learner import TrainStep


@dataclass
class RunState:
    """What a run remembers of its past, apart from the weights and the optimiser.

    Attributes:
        history: lines so far.
        loss_sum, loss_count: training losses since the last line.
        best: lowest validation loss that `save_best` counted.
        seconds: spent on training before this session.
        ancestors: the models that its weights started from (`beginning.ancestry`).
    """

    history: list[LogEntry] = dataclasses.field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0
    best: float | None = None
    seconds: float = 0.0
    ancestors: list[dict[str, Any]] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class ResumedRun:
    """A checkpoint that a run goes on from.

    Attributes:
        config: the options that the run had.
        course: its data and recipe.
        record: its past.
        contents: the whole checkpoint.
        source: its file.
    """

    config: TrainingConfig
    fingerprint: RunFingerprint
    state: RunState
    checkpoint: Mapping[str, Any]
    source: str

    def restore(self, train_step: TrainStep) -> None:
        """Put weights, optimiser and step where they were.

        Raises:
            FormatError: the state does not fit the network.
        """
        try:
            train_step.network.load_state_dict(self.checkpoint["weights"])
            train_step.load_state_dict(self.checkpoint["training"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise _unreadable_error(error, self.source) from None


def save_run_checkpoint(
    path: Path,
    train_step: TrainStep,
    state: RunState,
    config: TrainingConfig,
    fingerprint: RunFingerprint,
) -> None:
    """Write a checkpoint that the run can be resumed from.

    Raises:
        BimlError: it cannot be written; what stood at `path` is as it was.
    """
    training = train_step.state_dict() | {
        "options": dataclasses.asdict(config),
        "data": fingerprint.data,
        "recipe": fingerprint.schedule,
        "record": dataclasses.asdict(state),
    }
    own.save_checkpoint(
        path,
        own.checkpoint_of(
            train_step.network,
            config.episode_type,
            info=_checkpoint_metadata(train_step, state, config),
            training=training,
        ),
    )


def save_weights(
    path: Path, train_step: TrainStep, state: RunState, config: TrainingConfig
) -> None:
    """Write a checkpoint of the weights alone, to evaluate but not to resume from.

    Raises:
        BimlError: it cannot be written; what stood at `path` is as it was.
    """
    facts = _checkpoint_metadata(train_step, state, config)
    own.save_checkpoint(
        path, own.checkpoint_of(train_step.network, config.episode_type, info=facts)
    )


def load_run_checkpoint(path: Path, given: Mapping[str, Any]) -> ResumedRun:
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
    contents = load_checkpoint(path)
    if "training" not in contents:
        raise UsageError(
            f"{path} holds a model but not a run that could go on (released models and "
            "those of --save_best do not); leave out --resume to train a new one"
        )
    training = contents["training"]
    try:
        config = TrainingConfig(**training["options"])
        record = RunState(**training["record"])
        course = RunFingerprint(str(training["data"]), training.get("recipe"))
    except (KeyError, TypeError, BimlError) as error:
        raise _unreadable_error(error, str(path)) from None
    check_resume_options(config, given)
    return ResumedRun(config, course, record, contents, str(path))


def _unreadable_error(error: Exception, source: str) -> FormatError:
    problem = f"its training state cannot be read ({error}); it may be of another biml version"
    return FormatError(problem, source=source)


def _checkpoint_metadata(
    train_step: TrainStep, state: RunState, config: TrainingConfig
) -> dict[str, Any]:
    """What a user may want to know of a model: its step and latest figures, and how it was made."""
    device = next(train_step.network.parameters()).device
    validated = [line for line in state.history if line.get("val_loss") is not None]
    return {
        **(validated[-1] if validated else {}),
        "step": train_step.steps_done,
        "total_steps": train_step.total_steps,
        "best_val_loss": state.best,
        "episodes": train_step.episodes_seen,
        "seconds": round(state.seconds, 1),
        "options": dataclasses.asdict(config),
        "ancestors": state.ancestors,
        "hardware": device_name(device),
        "torch": str(torch.__version__),
    }
