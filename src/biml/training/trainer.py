"""A training run from its options to its model."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from biml.errors import UsageError
from biml.networks.base import EpisodeNetwork
from biml.networks.registry import architecture
from biml.training.config import RuntimeConfig, TrainingConfig, resolve_options
from biml.training.distributed import (
    ProcessGroup,
    StopFlag,
    graceful_shutdown,
    init_process_group,
    process_rank,
    under_torchrun,
)
from biml.training.hardware import (
    MAX_WORKERS,
    has_amx,
    physical_cores,
    pick_device,
    pick_precision,
    prepare_cpu,
)
from biml.training.metrics import (
    Dashboard,
    LogEntry,
    MetricsLogger,
    RunInfo,
    StepInfo,
    Throughput,
    TrainingCallback,
)
from biml.training.resume import (
    ResumedRun,
    RunFingerprint,
    RunPaths,
    RunState,
    check_fingerprint,
    dump_failed_batch,
    fingerprint,
    load_run_checkpoint,
    save_run_checkpoint,
    save_weights,
)
from biml.training.schedule import VALIDATE_EVERY, corruption_start, is_log_step, is_validation_step
from biml.training.setup import (
    TrainingData,
    load_initial_network,
    open_training_data,
    options_from_checkpoint,
    provenance,
)
from biml.training.step import DivergedError, StepMetrics, TrainStep
from biml.training.validation import Validation, ValidationMetrics

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


# === The first process's part of a run: history, checkpoints, and telling how it goes.


class RunLogger:
    """Keeps what a run produces.

    Args:
        learner: what is trained.
        record: the run's past; it is brought up to date after every step.
        config, conduct: the run's options.
        outputs: where everything goes.
        course: the run's data and recipe.
        watch: is told how it goes.
    """

    def __init__(
        self,
        train_step: TrainStep,
        state: RunState,
        config: TrainingConfig,
        runtime: RuntimeConfig,
        paths: RunPaths,
        fingerprint: RunFingerprint,
        callback: TrainingCallback,
    ) -> None:
        self.state = state
        self._train_step = train_step
        self._config = config
        self._paths = paths
        self._fingerprint = fingerprint
        self._callback = callback
        self._metrics_logger = MetricsLogger(paths.history, paths.events, state.history)
        self._dashboard = None
        if runtime.dashboard:
            self._dashboard = Dashboard(paths.curves_image, f"{paths.model.name}")
        self._save_every = runtime.save_every * 60
        self._started_at = self._saved_at = self._plotted_at = time.monotonic()
        self._seconds_before = state.seconds
        self._throughput = Throughput(train_step.episodes_seen, self._started_at)

    def on_step_end(self, metrics: StepMetrics, validation: ValidationMetrics | None) -> None:
        """Take note of a step: a line of history, the best model, a checkpoint, where they are due.

        Raises:
            BimlError: a file cannot be written.
        """
        record, learner = self.state, self._train_step
        now = time.monotonic()
        rate = self._throughput.update(learner.episodes_seen, now)
        record.seconds = self._seconds_before + now - self._started_at
        record.loss_sum += metrics.loss
        record.loss_count += 1
        ended = metrics.stop or learner.steps_done == learner.total_steps
        if is_log_step(learner.steps_done, learner.total_steps):
            self._log(metrics, validation, rate)
        self._callback.on_step(
            StepInfo(
                step=learner.steps_done,
                total_steps=learner.total_steps,
                loss=metrics.loss,
                episodes_per_second=rate,
                seconds_left=learner.episodes_left / rate,
                entry=record.history[-1] if record.history else None,
            )
        )
        if validation is not None:
            self._keep_best(validation)
            self._plot(now, ended)
        if ended or now - self._saved_at >= self._save_every:
            self._save()

    def _log(
        self, metrics: StepMetrics, validation: ValidationMetrics | None, episodes_per_second: float
    ) -> None:
        step = self._train_step.steps_done
        line: LogEntry = {
            "step": step,
            "episodes": self._train_step.episodes_seen,
            "lr": metrics.lr,
            "train_loss": self.state.loss_sum / self.state.loss_count,
            "gradient_norm": metrics.gradient_norm,
        }
        if validation is not None:
            line["val_loss"] = validation.loss
            line["accuracy_copied"] = validation.study_accuracy
            line["accuracy_novel"] = validation.novel_accuracy
        line["episodes_per_second"] = round(episodes_per_second, 3)
        line["seconds"] = round(self.state.seconds, 1)
        self.state.loss_sum, self.state.loss_count = 0.0, 0
        self._metrics_logger.add(line)
        self.state.history = self._metrics_logger.entries
        self._callback.on_log(line, self._train_step.total_steps)

    def _keep_best(self, validation: ValidationMetrics) -> None:
        skip = self._config.save_best_skip
        if not self._config.save_best:
            return
        # Validation has no biases, so that a model from before they come in looks best.
        after = corruption_start(self._config)
        if (
            self._train_step.steps_done
            < (after + (1 - after) * skip) * self._train_step.total_steps
        ):
            return
        if self.state.best is None or validation.loss < self.state.best:
            self.state.best = validation.loss
            save_weights(self._paths.best, self._train_step, self.state, self._config)

    def _plot(self, now: float, finished: bool) -> None:
        """Draw the curves, at most twice a minute, because drawing takes half a second."""
        due = finished or len(self.state.history) < 3 or now - self._plotted_at > 30
        if self._dashboard is not None and due:
            self._dashboard.plot(self.state.history)
            self._plotted_at = now

    def _save(self) -> None:
        save_run_checkpoint(
            self._paths.model, self._train_step, self.state, self._config, self._fingerprint
        )
        self._saved_at = time.monotonic()
        self._callback.on_checkpoint(self._paths.model)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Close the history at the end; keep the batch of a step that diverged."""
        try:
            yield
        except DivergedError as error:
            folder = dump_failed_batch(error, self._paths, self._config)
            saved = self._paths.model
            good = f"the last checkpoint is {saved}" if saved.is_file() else "nothing was saved yet"
            error.args = (f"{error}; its batch is in {folder}; {good}",)
            raise
        finally:
            self._metrics_logger.close()


# === A training run from its options to its model.


CUDA_MICRO_BATCH_TOKENS = 131_072
"""Tokens computed together on a GPU: a whole batch of 25 episodes."""

OpenTrainingData = Callable[[TrainingConfig, Path | None], TrainingData]


def default_micro_batch_tokens(arch: str, device: torch.device, precision: str) -> int:
    """Tokens that a network computes together, where nobody says."""
    if device.type != "cpu":
        return CUDA_MICRO_BATCH_TOKENS
    row = architecture(arch)
    return (
        row.amx_micro_batch_tokens
        if precision == "bf16" and has_amx()
        else row.cpu_micro_batch_tokens
    )


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        outputs: its files.
        config: its options.
        step: steps done, of `total`.
        line: the latest validated line of its history, or None.
        seconds: of training, in all sessions.
        stopped_by: number of the signal that stopped it early, or None.
    """

    paths: RunPaths
    config: TrainingConfig
    step: int
    total_steps: int
    last_validation: LogEntry | None
    seconds: float
    stopped_by: int | None = None


def train(
    model: Path,
    given: Mapping[str, Any],
    *,
    runtime: RuntimeConfig | None = None,
    data_dir: Path | None = None,
    resume: bool = False,
    callback: TrainingCallback | None = None,
    open_training_data: OpenTrainingData = open_training_data,
) -> RunResult:
    """Train a model, or go on with one.

    Args:
        model: the checkpoint file; history and other outputs go beside it.
        given: fields of `TrainingConfig` that are chosen; the others have their defaults or, in a
            resumed run, the values that it had.
        conduct: how to carry it out.
        data_dir: where data folders are looked for first.
        resume: go on from `model` instead of beginning; else what stood there is replaced.
        watch: is told how it goes (in the first process only).
        open_material: makes network and data from the options.

    Raises:
        UsageError: an option cannot work, or `resume` does not fit.
        BimlError: data are missing, a file cannot be written, a process was lost, or the loss is no
            longer finite.
    """
    runtime, callback = runtime or RuntimeConfig(), callback or TrainingCallback()
    outputs = RunPaths(model)
    before = load_run_checkpoint(model, given) if resume else None
    device = pick_device(runtime.device)
    if device.type == "cpu":
        prepare_cpu()
    config = before.config if before else _initial_config(given, model, callback)
    precision = config.precision or pick_precision(device)
    config = replace(
        config,
        precision=precision,
        max_tokens=config.max_tokens or default_micro_batch_tokens(config.arch, device, precision),
    )
    job = _TrainJob(config, data_dir, model if resume else None, open_training_data)
    material = job.training_data(config)
    if before is not None:
        check_fingerprint(
            before.fingerprint,
            fingerprint(config, material.source),
            model,
            material.data_description,
        )
    if process_rank() == 0:
        outputs.create_folder()
    with (
        graceful_shutdown(callback.on_message) as request,
        init_process_group(job, device, _n_workers(runtime, device)) as team,
    ):
        # Processes of torchrun have each chosen by their own machine; the first one's choice holds.
        config = team.broadcast(config)
        seconds = None
        if before is None:
            config, material, seconds = _with_measured_length(config, material, team, job, request)
        learner = _build_train_step(config, material, team, before)
        record = before.state if before else RunState(ancestors=_provenance(config))
        stopped = False
        if team.rank == 0:
            callback.on_start(_run_info(config, material, team, learner, seconds))
            course = fingerprint(config, material.source)
            keeper = RunLogger(learner, record, config, runtime, outputs, course, callback)
            with keeper.session():
                stopped = _train_loop(learner, material, config, team, request, keeper)
        else:
            stopped = _train_loop(learner, material, config, team, request, None)
    return RunResult(
        outputs,
        config,
        learner.steps_done,
        learner.total_steps,
        next((line for line in reversed(record.history) if "val_loss" in line), None),
        record.seconds,
        (request.signal_number or signal.SIGTERM) if stopped else None,
    )


def _initial_config(
    given: Mapping[str, Any], model: Path, callback: TrainingCallback
) -> TrainingConfig:
    """The options of a new run; the sizes are those of the model that it starts from, if any."""
    options = resolve_options(given)
    if given.get("init") is not None:
        path = Path(given["init"])
        if path.resolve() == model.resolve():
            raise UsageError(f"--init: {path} would be replaced; choose another --fn_out_model")
        options |= options_from_checkpoint(path, given)
        callback.on_message(f"Weights start from {path}")
    return TrainingConfig(**options)


def _provenance(config: TrainingConfig) -> list[dict[str, Any]]:
    return provenance(Path(config.init)) if config.init is not None else []


def _train_loop(
    train_step: TrainStep,
    data: TrainingData,
    config: TrainingConfig,
    group: ProcessGroup,
    stop_flag: StopFlag,
    logger: RunLogger | None,
) -> bool:
    """The training loop, the same in every process; whether it was stopped early."""
    validation = _build_validation(train_step.network, data, config, group)
    while train_step.steps_done < train_step.total_steps:
        figures = train_step.step(lambda: bool(stop_flag))
        validated = None
        if is_validation_step(train_step.steps_done, train_step.total_steps):
            validated = validation.measure(train_step.network)
        if logger is not None:
            logger.on_step_end(figures, validated)
        if figures.stop:
            return train_step.steps_done < train_step.total_steps
    return False


@dataclass(frozen=True)
class _TrainJob:
    """What the processes that we start do."""

    config: TrainingConfig
    data_dir: Path | None
    resume_from: Path | None
    open_training_data: OpenTrainingData

    def training_data(self, config: TrainingConfig) -> TrainingData:
        """Fresh material, whose network is that of the model that the run goes on from, if any."""
        material = self.open_training_data(config, self.data_dir)
        path = self.resume_from or (Path(config.init) if config.init is not None else None)
        if path is None:
            return material
        network = load_initial_network(path, material.network.vocabulary, config.dropout)
        return replace(material, network=network)

    def run(self, group: ProcessGroup) -> None:
        config, material = group.broadcast(self.config), self.training_data(self.config)
        before = load_run_checkpoint(self.resume_from, {}) if self.resume_from else None
        if before is None:
            config, material, _ = _with_measured_length(config, material, group, self, StopFlag())
        learner = _build_train_step(config, material, group, before)
        _train_loop(learner, material, config, group, StopFlag(), None)


def _with_measured_length(
    config: TrainingConfig,
    data: TrainingData,
    group: ProcessGroup,
    job: _TrainJob,
    stop_flag: StopFlag,
) -> tuple[TrainingConfig, TrainingData, float]:
    """The options and fresh material of a run whose pace was measured, and that pace (s/step).

    A time budget becomes a number of steps here. So the run itself does not depend on the clock,
    and another with that number of steps, or one that is resumed, learns the same.
    """
    learner = _build_train_step(config, data, group, None)
    # Half a measurement would give a run of another length than asked for, when it is resumed.
    whole = config.minutes is not None
    measured = measure_step_time(
        learner, lambda: not whole and bool(stop_flag), corruption_start(config)
    )
    seconds = float(group.broadcast(measured))
    # Validation goes forward only, which is a third of the work of an episode.
    on_average = (
        config.episodes_seen(learner.total_steps, learner.total_steps) / learner.total_steps
    )
    validated = len(data.validation) / (3 * VALIDATE_EVERY * on_average)
    seconds *= 1 + validated
    if config.minutes is not None:
        config = replace(config, nsteps=max(1, round(config.minutes * 60 / seconds)))
    return config, job.training_data(config), seconds


def _build_validation(
    network: EpisodeNetwork, data: TrainingData, config: TrainingConfig, group: ProcessGroup
) -> Validation:
    assert config.precision is not None
    assert config.max_tokens is not None
    return Validation(network, data.validation, config.max_tokens, config.precision, group)


def _build_train_step(
    config: TrainingConfig, data: TrainingData, group: ProcessGroup, resumed: ResumedRun | None
) -> TrainStep:
    learner = TrainStep(data.network, data.source, config, group)
    if resumed is not None:
        resumed.restore(learner)
    return learner


def _n_workers(runtime: RuntimeConfig, device: torch.device) -> int:
    if device.type != "cpu" or under_torchrun():
        return 1
    return runtime.workers or min(physical_cores(), MAX_WORKERS)


def _run_info(
    config: TrainingConfig,
    data: TrainingData,
    group: ProcessGroup,
    train_step: TrainStep,
    seconds: float | None,
) -> RunInfo:
    return RunInfo(
        config=config,
        estimated_seconds=None if seconds is None else seconds * train_step.total_steps,
        device=str(group.device),
        processes=group.size,
        parameters=sum(weights.numel() for weights in train_step.network.parameters()),
        steps_done=train_step.steps_done,
        total_steps=train_step.total_steps,
        data_description=data.data_description,
    )
