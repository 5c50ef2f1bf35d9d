"""A run in a file: what a checkpoint holds beyond the weights, and how a run goes on from it."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import torch

from biml.episodes.curriculum import MAX_CURRICULUM_FRACTION, STAGES
from biml.episodes.datasets import EpisodeDataset
from biml.episodes.episode import Example
from biml.episodes.text_format import write_episode
from biml.errors import BimlError, FormatError, UsageError
from biml.io import atomic_write
from biml.networks import checkpoint
from biml.networks.checkpoint import load_checkpoint
from biml.training.config import TrainingConfig, check_resume_options
from biml.training.hardware import device_name
from biml.training.metrics import LogEntry
from biml.training.optim import MAX_GRAD_NORM, MUON_LR_FACTOR
from biml.training.schedule import learning_rate
from biml.training.step import DivergedError, TrainStep


@dataclass(frozen=True)
class RunPaths:
    """Names of the files of a run.

    Attributes:
        model: the checkpoint, such as `out_models/net.pt`.

    >>> RunPaths(Path("out_models/net-BIML.pt")).best.name
    'net-BIML_best.pt'
    """

    model: Path

    @property
    def best(self) -> Path:
        """The model with the lowest validation loss, with `--save_best`."""
        return self._sibling("_best.pt")

    @property
    def history(self) -> Path:
        return self._sibling(".history.jsonl")

    @property
    def events(self) -> Path:
        """The folder of TensorBoard files."""
        return self._sibling(".tb")

    @property
    def curves_image(self) -> Path:
        """The picture that `--dashboard` draws."""
        return self._sibling(".png")

    def failed_batch_folder(self, step: int) -> Path:
        """The folder for the batch of a step that went wrong."""
        return self._sibling(f".failed_step_{step}")

    def create_folder(self) -> None:
        """Make the folder of the model.

        Raises:
            BimlError: it cannot be made or written to.
        """
        probe = self.model.with_name(f".{self.model.name}.probe")
        try:
            self.model.parent.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise BimlError(
                f"{self.model.parent}: cannot be written to ({error.strerror}); "
                "name another folder with --dir_model"
            ) from error

    def _sibling(self, suffix: str) -> Path:
        return self.model.with_name(self.model.name.removesuffix(".pt") + suffix)


def dump_failed_batch(error: DivergedError, paths: RunPaths, config: TrainingConfig) -> Path:
    """Write the batch that a run broke off at, so that it can be looked at.

    One text file an episode, as presented to the network, and `step.json` with step, loss,
    gradient norm and options. Queries that repeat study examples are marked in `step.json`.

    Returns:
        the folder.
    """
    folder = paths.failed_batch_folder(error.batch.step + 1)
    folder.mkdir(parents=True, exist_ok=True)
    for number, episode in enumerate(error.batch.episodes, 1):
        write_episode(folder / f"{number:06d}.txt", episode)
    about = {
        "step": error.batch.step + 1,
        "loss": str(error.metrics.loss),  # JSON has no word for NaN
        "gradient_norm": str(error.metrics.gradient_norm),
        "lr": error.metrics.lr,
        "episodes": [episode.name for episode in error.batch.episodes],
        "copied": [
            [query.in_study for query in episode.queries] for episode in error.batch.episodes
        ],
        "options": dataclasses.asdict(config),
    }
    with atomic_write(folder / "step.json") as file:
        file.write(json.dumps(about, indent=2).encode())
    return folder


# === What a run learns from beyond its options: its data, and the recipe that the code has for


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


def fingerprint(config: TrainingConfig, source: EpisodeDataset) -> RunFingerprint:
    """The course of a run with these options and training episodes.

    The data are those far beyond any curriculum; the recipe is learning rates, lessons and episodes
    in the course of the run, all of them as they come, whatever code they come from.
    """
    steps = config.total_steps(len(source))
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
        data=_digest(len(source), _sample_episodes(source, FAR_INDEX)),
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


def _sample_episodes(source: EpisodeDataset, start: int) -> list[Any]:
    episodes = [source[start + number] for number in range(EPISODES_PER_SAMPLE)]
    return [
        (_hashed(episode.study), _hashed(episode.queries), episode.pool) for episode in episodes
    ]


def _hashed(examples: Iterable[Example]) -> tuple[_HashedExample, ...]:
    return tuple(_HashedExample(e.input, e.output, e.in_study) for e in examples)


def _digest(*values: Any) -> str:
    return blake2b(repr(values).encode(), digest_size=8).hexdigest()


# === A run in a file: what a checkpoint holds beyond the weights, and how a run goes on from it


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
    checkpoint.save_checkpoint(
        path,
        checkpoint.checkpoint_of(
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
    checkpoint.save_checkpoint(
        path, checkpoint.checkpoint_of(train_step.network, config.episode_type, info=facts)
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
