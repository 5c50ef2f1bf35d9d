"""Training: from options to a trained model."""

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from biml.errors import UsageError
from biml.io import exclusive_lock
from biml.networks.checkpoint import load_checkpoint
from biml.networks.devices import pick_device
from biml.networks.registry import architecture
from biml.training.config import RuntimeConfig, TrainingConfig, current_options
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
    pick_precision,
    prepare_cpu,
)
from biml.training.logger import RunInfo, RunLogger, TrainingCallback
from biml.training.run_files import (
    LogEntry,
    RunPaths,
    RunStart,
    RunState,
    check_fingerprint,
    fingerprint,
    last_validation,
    load_run,
    provenance,
)
from biml.training.schedule import VALIDATE_EVERY, corruption_start, is_validation_step
from biml.training.setup import (
    TrainingData,
    open_training_data,
    options_from_checkpoint,
    resolve_options,
)
from biml.training.step import DivergedError, TrainStep, Validation

CUDA_MICRO_BATCH_TOKENS = 131_072
"""Tokens per micro-batch on a GPU: a whole batch of 25 episodes."""

EXTRA_VALIDATIONS = 3
"""Beside those at regular steps: after the first steps and at the end."""

MEASURE_SECONDS, MAX_MEASURED_STEPS = 6.0, 12
"""How long the time per step is measured at most, in each part of a run."""

OpenTrainingData = Callable[[TrainingConfig, Path | None], TrainingData]


@dataclass(frozen=True)
class RunResult:
    """A run at its end."""

    paths: RunPaths
    config: TrainingConfig
    step: int
    total_steps: int
    last_validation: LogEntry | None  # the latest log entry with validation metrics
    seconds: float  # of training, in all sessions
    stopped_by: int | None = None  # the signal that stopped the run early
    validation_caveat: str = ""  # says so if it is trained on the responses that validate it

    @property
    def model_path(self) -> Path:
        """The checkpoint; `biml.load` reads it."""
        return self.paths.model

    def load(self, device: str = "cpu") -> Any:
        """The trained model, as `biml.load` returns it."""
        import biml

        return biml.load(self.model_path, device=device)


def train(
    model: Path,
    given: Mapping[str, Any],
    *,
    runtime: RuntimeConfig | None = None,
    data_dir: Path | None = None,
    resume: bool = False,
    callback: TrainingCallback | None = None,
    open_training_data: OpenTrainingData = open_training_data,
    started: float | None = None,
) -> RunResult:
    """Train a model, or resume its run; log and other files go beside the checkpoint `model`.

    `given` are fields of `TrainingConfig`; the others have their defaults or, in a resumed run, the
    values that it had. A time budget begins when `time.perf_counter()` was `started`, by default
    now.
    """
    started = time.perf_counter() if started is None else started
    runtime, callback = runtime or RuntimeConfig(), callback or TrainingCallback()
    given = current_options(given)
    device = pick_device(runtime.device)
    if device.type == "cpu":
        prepare_cpu()
    start = load_run(model, given) if resume else new_run(model, given)
    config = start.config
    precision = config.precision or pick_precision(device)
    tokens = config.micro_batch_tokens or default_micro_batch_tokens(config.arch, device, precision)
    config = replace(config, precision=precision, micro_batch_tokens=tokens)
    if start.source and not resume:
        callback.on_message(f"Weights start from {start.source}")
    run = Run(replace(start, config=config), model, data_dir, open_training_data, started)
    opening = time.perf_counter()
    data = run.open(config)
    # The budget counts opening twice, as data are opened again after measuring.
    run = replace(run, started=started - (time.perf_counter() - opening))
    if start.fingerprint:
        current = fingerprint(config, data.dataset)
        check_fingerprint(start.fingerprint, current, model, data.dataset.description)
    if process_rank() == 0:
        RunPaths(model).create_folder()
    busy = (
        f"another process is training {model}; wait for it, stop it, or choose another "
        "--fn_out_model"
    )
    n_processes = 1
    if device.type == "cpu" and not under_torchrun():
        n_processes = runtime.workers or min(physical_cores(), MAX_WORKERS)
    with (
        exclusive_lock(model, busy) if process_rank() == 0 else nullcontext(),
        graceful_shutdown(callback.on_message) as stop_flag,
        init_process_group(run, device, n_processes) as group,
    ):
        return run.train(group, data, stop_flag, runtime, callback)


@dataclass(frozen=True)
class Run:
    """A run as all its processes know it; those of `--workers` get it pickled."""

    start: RunStart
    model: Path
    data_dir: Path | None
    open_training_data: OpenTrainingData
    started: float  # by `time.perf_counter`

    def run(self, group: ProcessGroup) -> None:
        """Join the run, in a process that was started for it."""
        self.train(group, self.open(self.start.config), StopFlag())

    def open(self, config: TrainingConfig) -> TrainingData:
        """Fresh data, and the network that the run starts from."""
        data = self.open_training_data(config, self.data_dir)
        network = self.start.network(data.network.vocabulary)
        return replace(data, network=network) if network else data

    def train(
        self,
        group: ProcessGroup,
        data: TrainingData,
        stop_flag: StopFlag,
        runtime: RuntimeConfig | None = None,
        callback: TrainingCallback | None = None,
    ) -> RunResult:
        """The training loop, the same in every process; the first one also logs and saves."""
        start, state = self.start, self.start.state
        config = group.broadcast(start.config)  # machines of torchrun may differ in precision
        seconds = None
        if start.fingerprint is None:
            config, seconds = estimate_seconds(config, data, group, stop_flag, self.started)
            data = self.open(config)  # estimating has changed the network
        train_step = TrainStep(data.network, data.dataset, config, group)
        start.restore(train_step)
        validation = Validation(data.network, data.validation, config, group)
        logger = None
        if group.rank == 0 and runtime and callback:
            callback.on_start(
                RunInfo(
                    config=config,
                    device=str(group.device),
                    processes=group.size,
                    parameters=sum(weights.numel() for weights in data.network.parameters()),
                    steps_done=train_step.steps_done,
                    total_steps=train_step.total_steps,
                    data_description=data.dataset.description,
                    estimated_seconds=seconds,
                )
            )
            mark = start.fingerprint or fingerprint(config, data.dataset)
            logger = RunLogger(self.model, config, train_step, state, mark, runtime, callback)

        stopped = False
        with logger.session() if logger else nullcontext():
            while not (train_step.finished or stopped):
                batch = train_step.next_batch()
                train_step.accumulate(batch)  # the gradient of this process's micro-batches
                metrics = train_step.reduce(batch, bool(stop_flag))  # summed over the processes
                train_step.update(metrics.lr)
                stopped = metrics.stop and not train_step.finished
                validated = None
                if is_validation_step(train_step.steps_done, train_step.total_steps):
                    validated = validation.measure(data.network)
                if logger is not None:
                    logger.log(metrics, validated)
                    logger.save_best(validated)
                    if train_step.finished or metrics.stop or logger.checkpoint_due():
                        logger.save()

        return RunResult(
            RunPaths(self.model),
            config,
            train_step.steps_done,
            train_step.total_steps,
            last_validation(state.history),
            state.seconds,
            (stop_flag.signal_number or signal.SIGTERM) if stopped else None,
            logger.validation_caveat if logger else "",
        )


def new_run(model: Path, given: Mapping[str, Any]) -> RunStart:
    """The options of a new run, and the model that it starts from, which sets its sizes."""
    options = resolve_options(given)
    if given.get("init_from") is None:
        return RunStart(TrainingConfig(**options), RunState())
    path = Path(given["init_from"])
    if path.resolve() == model.resolve():
        raise UsageError(f"--init_from: {path} would be replaced; change --fn_out_model")
    contents = load_checkpoint(path)
    config = TrainingConfig(**options | options_from_checkpoint(path, contents, given))
    return RunStart(config, RunState(ancestors=provenance(path, contents)), path, contents)


def default_micro_batch_tokens(arch: str, device: torch.device, precision: str) -> int:
    """Tokens per micro-batch, where no option sets it."""
    if device.type != "cpu":
        return CUDA_MICRO_BATCH_TOKENS
    row = architecture(arch)
    amx = precision == "bf16" and has_amx()
    return row.amx_micro_batch_tokens if amx else row.cpu_micro_batch_tokens


def estimate_seconds(
    config: TrainingConfig,
    data: TrainingData,
    group: ProcessGroup,
    stop_flag: StopFlag,
    started: float,
) -> tuple[TrainingConfig, float]:
    """Estimate the seconds of a run; a time budget becomes a number of steps.

    The budget begins when the user has `started` the run, so that it includes imports, reading and
    measuring.
    So the run itself does not depend on the clock: another with that number of steps, or one that
    is resumed, learns the same. The steps measured change the network, which is used no more.
    """
    train_step = TrainStep(data.network, data.dataset, config, group)
    total = train_step.total_steps
    # If stopped early, a run with a time budget would have another length when it is resumed.
    whole = config.time_budget is not None
    seconds = measure_step_time(
        train_step, lambda: not whole and bool(stop_flag), corruption_start(config)
    )
    seconds = float(group.broadcast(seconds))
    # Validation is a forward pass, a third of the work of an episode.
    batch_size = config.episodes_seen(total, total) / total
    validation = seconds * len(data.validation) / (3 * batch_size)
    seconds += validation / VALIDATE_EVERY
    extra = EXTRA_VALIDATIONS * validation
    if config.time_budget is not None:
        extra += float(group.broadcast(time.perf_counter() - started))
        total = max(1, round((config.time_budget * 60 - extra) / seconds))
        config = replace(config, nsteps=total)
    return config, seconds * total + extra


def measure_step_time(
    train_step: TrainStep, stop_requested: Callable[[], bool], corruption_start: float = 0.0
) -> float:
    """Mean seconds per step, measured in the middle of each part of the run.

    With biases and noise, which begin at the fraction `corruption_start`, steps may take another
    time. Every process of a run measures together; the network is changed.
    """
    parts = (
        (corruption_start, corruption_start / 2),
        (1 - corruption_start, (1 + corruption_start) / 2),
    )
    mean = 0.0
    for share, middle in parts:
        if share > 0:
            train_step.steps_done = int(middle * train_step.total_steps)
            mean += share * _seconds_per_step(train_step, stop_requested)
    return mean


def _seconds_per_step(train_step: TrainStep, stop_requested: Callable[[], bool]) -> float:
    steps = 0
    begin = time.perf_counter()
    # A step that diverges here diverges again in the run, which reports it.
    with suppress(DivergedError):
        stopped = train_step.step(stop_requested).stop
        if not (train_step.finished or stopped):
            begin = time.perf_counter()  # the first step also allocates and compiles
        while steps < MAX_MEASURED_STEPS and not (train_step.finished or stopped):
            late = time.perf_counter() - begin > MEASURE_SECONDS
            steps += 1
            stopped = train_step.step(lambda late=late: late or stop_requested()).stop  # type: ignore[misc]
    return (time.perf_counter() - begin) / max(1, steps)
