"""Files of a run: names, log, checkpoint, fingerprint and provenance."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch

from biml.episodes.curriculum import MAX_CURRICULUM_FRACTION, STAGES
from biml.episodes.datasets import EpisodeDataset
from biml.episodes.episode import Example
from biml.episodes.text_format import write_episode
from biml.errors import BimlError, FormatError, UsageError
from biml.facts import LOG, TRAINING, check_facts
from biml.io import parse_json, read_text, write_file
from biml.networks.base import EpisodeNetwork
from biml.networks.checkpoint import (
    checkpoint_of,
    load_checkpoint,
    network_from_checkpoint,
    save_checkpoint,
)
from biml.paths import upgrade_card
from biml.training.config import TrainingConfig, current_options
from biml.training.hardware import device_name
from biml.training.optim import MAX_GRAD_NORM, MUON_LR_FACTOR
from biml.training.schedule import learning_rate
from biml.training.step import DivergedError, TrainStep
from biml.vocabulary import Vocabulary

# What a fingerprint samples. A curriculum interleaves three kinds of episodes.
LR_SAMPLES = 1000
EPISODE_SAMPLES, EPISODES_PER_SAMPLE = 8, 3
FAR_INDEX = 10**9  # of a training episode beyond any curriculum

LogEntry = dict[str, float | None]
"""One line of the log: step, episodes, lr, train_loss, gradient_norm, episodes_per_second, seconds,
and after a validation val_loss, accuracy_study and accuracy_novel (percent of exact answers to
study-example and to novel queries), and val_in_training, 1, if the model is trained on the people's
responses that validate it."""

_FORMER_KEYS = {"accuracy_copied": "accuracy_study"}

# Fingerprints in checkpoints hash the names that these functions had in earlier versions.
_HASHED_NAMES = {"sample_episode": "draw_episode", "sample_single_function_episode": "draw_uses"}


@dataclass(frozen=True)
class RunPaths:
    """Names of the files of a run, given that of its model.

    >>> RunPaths(Path("out_models/net-BIML.pt")).best.name
    'net-BIML_best.pt'
    """

    model: Path

    @property
    def best(self) -> Path:
        """The model with the lowest validation loss (`--save_best`)."""
        return self._sibling("_best.pt")

    @property
    def history(self) -> Path:
        return self._sibling(".history.jsonl")

    @property
    def events(self) -> Path:
        """The folder of TensorBoard files."""
        return self._sibling(".tb")

    @property
    def tracker_id(self) -> Path:
        """The identifier of the run in Weights & Biases."""
        return self._sibling(".wandb-id")

    @property
    def curves_image(self) -> Path:
        """The figure of `--dashboard`."""
        return self._sibling(".png")

    def failed_batch_folder(self, step: int) -> Path:
        return self._sibling(f".failed_step_{step}")

    def create_folder(self) -> None:
        """Create the model's folder, and check that it can be written to."""
        probe = self.model.with_name(f".{self.model.name}.probe")
        try:
            self.model.parent.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise BimlError(
                f"{self.model.parent}: cannot be written to ({error.strerror}); "
                "choose another folder with --dir_model"
            ) from error

    def _sibling(self, suffix: str) -> Path:
        return self.model.with_name(self.model.name.removesuffix(".pt") + suffix)


def current_log(log: Iterable[Mapping[str, Any]]) -> list[LogEntry]:
    """Rename keys that an earlier version of biml wrote.

    >>> current_log([{"step": 1, "accuracy_copied": 50.0}])
    [{'step': 1, 'accuracy_study': 50.0}]
    """
    return [{_FORMER_KEYS.get(key, key): value for key, value in entry.items()} for entry in log]


def read_log(path: Path) -> list[LogEntry]:
    """Read a log file; a last line that was cut short is skipped."""
    entries: list[Mapping[str, Any]] = []
    lines = read_text(path).splitlines()
    for number, line in enumerate(lines, 1):
        value: Any = None
        with suppress(ValueError):
            value = parse_json(line)
        if isinstance(value, dict):
            check_facts(value, LOG[0], f"{path}, line {number}")
            entries.append(value)
        elif number < len(lines):
            raise FormatError("not a line of a training log", source=str(path), line=number)
    return current_log(entries)


def last_validation(log: Sequence[LogEntry]) -> LogEntry | None:
    """The latest entry with validation metrics."""
    return next((entry for entry in reversed(log) if entry.get("val_loss") is not None), None)


def dump_failed_batch(error: DivergedError, paths: RunPaths, config: TrainingConfig) -> Path:
    """Write the batch of a diverged step to a folder: a text file per episode, and `step.json`."""
    folder = paths.failed_batch_folder(error.batch.step + 1)
    folder.mkdir(parents=True, exist_ok=True)
    for number, episode in enumerate(error.batch.episodes, 1):
        write_episode(folder / f"{number:06d}.txt", episode)
    about = {
        "step": error.batch.step + 1,
        "loss": str(error.metrics.loss),  # JSON has no NaN
        "gradient_norm": str(error.metrics.gradient_norm),
        "lr": error.metrics.lr,
        "episodes": [episode.name for episode in error.batch.episodes],
        "in_study": [[query.in_study for query in one.queries] for one in error.batch.episodes],
        "options": dataclasses.asdict(config),
    }
    write_file(folder / "step.json", json.dumps(about, indent=2))
    return folder


class _HashedExample(NamedTuple):
    words: tuple[str, ...]
    symbols: tuple[str, ...]
    copied: bool

    def __repr__(self) -> str:
        return f"Example(words={self.words}, symbols={self.symbols}, copied={self.copied})"


@dataclass(frozen=True)
class RunFingerprint:
    """Hashes of the training data and of the schedule; a checkpoint may lack the latter."""

    data: str
    schedule: str | None


def fingerprint(config: TrainingConfig, dataset: EpisodeDataset) -> RunFingerprint:
    """Hash the data and schedule of a run, so that `--resume` notices a change.

    The data are episodes beyond any curriculum; the schedule is learning rates, curriculum stages
    and episodes in the course of the run, whatever code computes them.
    """
    steps = config.total_steps(len(dataset))
    n_episodes = config.episodes_seen(steps, steps)
    rates = [f"{learning_rate(point / LR_SAMPLES, config):.9g}" for point in range(LR_SAMPLES)]
    muon = (MUON_LR_FACTOR, MAX_GRAD_NORM) if config.optimizer == "muon" else ()
    names = [stage.sampler.__name__ for stage in STAGES]
    stages = [
        (stage.n_episodes, stage.meta_grammar, _HASHED_NAMES.get(name, name))
        for stage, name in zip(STAGES, names, strict=True)
    ]
    with_stages = config.curriculum and config.init_from is None
    curriculum = (stages, MAX_CURRICULUM_FRACTION) if with_stages else ()
    episodes = [
        _sample_episodes(dataset, part * n_episodes // EPISODE_SAMPLES)
        for part in range(EPISODE_SAMPLES)
    ]
    return RunFingerprint(
        _digest(len(dataset), _sample_episodes(dataset, FAR_INDEX)),
        _digest(rates, muon, curriculum, episodes),
    )


def check_fingerprint(
    saved: RunFingerprint, current: RunFingerprint, path: Path, data_description: str
) -> None:
    """Refuse to resume a run whose fingerprint differs from that of the same options here."""
    remedy = (
        f"start a new run from it with --init_from {path} and another --fn_out_model, "
        "or resume it with the version of biml that began it"
    )
    if saved.schedule is None:
        raise UsageError(
            f"cannot resume: {path} was saved by an earlier version of biml, without a fingerprint "
            f"of its training schedule; {remedy}"
        )
    if saved.data != current.data:
        raise UsageError(
            "cannot resume: the run began with other training episodes than those found now "
            f"({data_description}); give the folder of its data with --data_dir. If these are its "
            f"data, biml now reads them differently: {remedy}"
        )
    if saved.schedule != current.schedule:
        raise UsageError(
            "cannot resume: this version of biml has another training schedule (learning rates, "
            f"curriculum, episodes) than {path} began with; {remedy}"
        )


def _sample_episodes(dataset: EpisodeDataset, start: int) -> list[Any]:
    episodes = [dataset[start + number] for number in range(EPISODES_PER_SAMPLE)]
    return [(_hashed(one.study), _hashed(one.queries), one.pool) for one in episodes]


def _hashed(examples: Iterable[Example]) -> tuple[_HashedExample, ...]:
    return tuple(_HashedExample(e.input, e.output, e.in_study) for e in examples)


def _digest(*values: Any) -> str:
    return blake2b(repr(values).encode(), digest_size=8).hexdigest()


@dataclass
class RunState:
    """The past of a run, apart from weights and optimiser."""

    history: list[LogEntry] = dataclasses.field(default_factory=list)
    loss_sum: float = 0.0  # of the training losses since the last log entry
    loss_count: int = 0
    best: float | None = None  # lowest validation loss of --save_best
    seconds: float = 0.0  # of training, in all sessions
    ancestors: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # see `provenance`


@dataclass(frozen=True)
class RunStart:
    """What a run starts from: nothing, a model's weights, or its own checkpoint (resumed)."""

    config: TrainingConfig
    state: RunState
    source: Path | None = None
    checkpoint: Mapping[str, Any] | None = None
    fingerprint: RunFingerprint | None = None  # of a resumed run

    def network(self, vocabulary: Vocabulary) -> EpisodeNetwork | None:
        """The network to start from, if any, with the dropout of the run."""
        if self.checkpoint is None:
            return None
        config = self.checkpoint["config"]
        if "dropout" in config:
            config = config | {"dropout": self.config.dropout}
        contents = {**self.checkpoint, "config": config}
        network = network_from_checkpoint(contents, str(self.source))
        network.vocabulary.require(vocabulary, str(self.source))
        return network

    def restore(self, train_step: TrainStep) -> None:
        """Restore optimiser and step of a resumed run; its network has the weights already."""
        if self.fingerprint is None or self.checkpoint is None:
            return
        try:
            train_step.load_state_dict(self.checkpoint["training"])
        except ValueError as error:
            raise _unreadable_error(error, self.source) from None


def save_run(
    path: Path,
    train_step: TrainStep,
    state: RunState,
    config: TrainingConfig,
    fingerprint: RunFingerprint | None = None,
) -> None:
    """Write a checkpoint; without fingerprint one of the weights alone, not to resume from."""
    network, options = train_step.network, dataclasses.asdict(config)
    info = {
        **(last_validation(state.history) or {}),
        "step": train_step.steps_done,
        "total_steps": train_step.total_steps,
        "best_val_loss": state.best,
        "episodes": train_step.episodes_seen,
        "seconds": round(state.seconds, 1),
        "options": options,
        "ancestors": state.ancestors,
        "hardware": device_name(next(network.parameters()).device),
        "torch": str(torch.__version__),
    }
    training = None
    if fingerprint is not None:
        training = train_step.state_dict() | {
            "options": options,
            "data": fingerprint.data,
            "recipe": fingerprint.schedule,
            "record": dataclasses.asdict(state),
        }
    save_checkpoint(path, checkpoint_of(network, config.episode_type, info=info, training=training))


def load_run(path: Path, given: Mapping[str, Any]) -> RunStart:
    """Read the checkpoint of a run to be resumed; given options must not differ from its own."""
    if not path.is_file():
        raise UsageError(f"nothing to resume: there is no file {path}; leave out --resume")
    contents = load_checkpoint(path)
    if not contents.get("training"):
        raise UsageError(
            f"{path} holds a model without the state of its run (as released models and those of "
            "--save_best do); leave out --resume to train a new one"
        )
    training = contents["training"]
    check_facts(contents, {"training": TRAINING}, str(path))
    try:
        config = TrainingConfig(**current_options(training["options"]))
        state = RunState(**training["record"])
        state.history = current_log(state.history)
    except (TypeError, BimlError) as error:  # of options or facts that this version does not know
        raise _unreadable_error(error, path) from None
    saved = RunFingerprint(training["data"], training.get("recipe"))
    check_resume_options(config, given)
    return RunStart(config, state, path, contents, saved)


def check_resume_options(config: TrainingConfig, given: Mapping[str, Any]) -> None:
    """Refuse options that differ from those of the run to be resumed."""
    differing = [
        f"\n  {name}: {getattr(config, name)} in the run, {value} given"
        for name, value in current_options(given).items()
        if getattr(config, name) != value
    ]
    if differing:
        raise UsageError(
            "cannot resume with other options; leave them out, or train a new model:"
            + "".join(differing)
        )


def _unreadable_error(error: Exception, path: Path | None) -> FormatError:
    problem = f"its training state cannot be read ({error}); it may be of another biml version"
    return FormatError(problem, source=str(path))


def provenance(path: Path, contents: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Plain facts about a trained model and those that its weights started from, oldest first.

    Each has its file's name, checksum and episode type, and where known its options or command,
    steps, episodes and seconds.
    """
    info, card = contents.get("info") or {}, upgrade_card(contents.get("card"))
    parents = info.get("ancestors") or [_with_seconds(one) for one in card.get("parents") or ()]
    facts = {
        "file": path.name,
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "episode_type": contents["episode_type"],
        **{name: card[name] for name in ("command", "hardware", "torch") if card.get(name)},
    }
    # The minutes on a card include those of the parents.
    if card.get("minutes") is not None and all("seconds" in one for one in parents):
        facts["seconds"] = 60 * card["minutes"] - sum(one["seconds"] for one in parents)
    known = ("options", "step", "episodes", "seconds", "hardware", "torch")
    return [*parents, facts | {name: info[name] for name in known if name in info}]


def _with_seconds(parent: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of a card's `parents`, which has minutes, as checkpoints have it."""
    facts = {name: value for name, value in parent.items() if name != "minutes"}
    if parent.get("minutes") is not None:
        facts["seconds"] = 60 * parent["minutes"]
    return facts
