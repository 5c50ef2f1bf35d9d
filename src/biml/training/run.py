"""A training run from its options to its model."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from biml.errors import UsageError
from biml.networks.base import EpisodeNetwork
from biml.networks.table import architecture
from biml.training.beginning import provenance, load_initial_network, options_from_checkpoint
from biml.training.config import RuntimeConfig, TrainingConfig
from biml.training.course import check_fingerprint, fingerprint
from biml.training.hardware import (
    MAX_WORKERS,
    physical_cores,
    has_amx,
    pick_device,
    pick_precision,
    prepare_cpu,
)
from biml.training.history import LogEntry
from biml.training.keeper import RunLogger
from biml.training.learner import TrainStep
from biml.training.material import TrainingData, open_training_data
from biml.training.outputs import RunPaths
from biml.training.pace import measure_step_time
from biml.training.presets import resolve_options
from biml.training.schedule import VALIDATE_EVERY, corruption_start, is_validation_step
from biml.training.state import RunState, ResumedRun, load_run_checkpoint
from biml.training.stopping import StopFlag, graceful_shutdown
from biml.training.validation import Validation
from biml.training.watch import RunInfo, TrainingCallback
from biml.training.workers import ProcessGroup, init_process_group, process_rank, under_torchrun

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
