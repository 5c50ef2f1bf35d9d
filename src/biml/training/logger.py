"""Logging, checkpoints and callbacks of a run, in its first process."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from biml.training.config import RuntimeConfig, TrainingConfig
from biml.training.metrics import Dashboard, LogEntry, MetricsLogger
from biml.training.resume import RunPaths, RunState, dump_failed_batch, fingerprint, save_run
from biml.training.schedule import corruption_start, is_log_step
from biml.training.setup import TrainingData
from biml.training.step import DivergedError, StepMetrics, TrainStep
from biml.training.validation import ValidationMetrics


@dataclass(frozen=True)
class RunInfo:
    """A run at its start.

    Attributes:
        estimated_seconds: of the whole run, measured; None in a resumed run.
    """

    config: TrainingConfig
    device: str
    processes: int
    parameters: int
    steps_done: int
    total_steps: int
    data_description: str
    estimated_seconds: float | None = None


@dataclass(frozen=True)
class StepInfo:
    """A run after a step.

    Attributes:
        loss: of this step, in nats per target token.
        entry: the latest entry of the log, or None.
    """

    step: int
    total_steps: int
    loss: float
    episodes_per_second: float
    seconds_left: float
    entry: LogEntry | None


class TrainingCallback:
    """Listener to a run, in its first process; this one does nothing."""

    def on_start(self, info: RunInfo) -> None: ...

    def on_step(self, info: StepInfo) -> None: ...

    def on_log(self, entry: LogEntry, total: int) -> None: ...

    def on_checkpoint(self, path: Path) -> None: ...

    def on_message(self, text: str) -> None: ...


class Throughput:
    """Episodes per second over the latest steps."""

    def __init__(self, episodes_seen: int, now: float, window: int = 200) -> None:
        self._ends = deque([(now, episodes_seen)], maxlen=window + 1)

    def update(self, episodes_seen: int, now: float) -> float:
        """Add the end of a step, in seconds; return the rate."""
        self._ends.append((now, episodes_seen))
        (begin, first), (end, last) = self._ends[0], self._ends[-1]
        return (last - first) / max(end - begin, 1e-9)


class RunLogger:
    """Logging, checkpoints and callbacks, in the first process of a run."""

    def __init__(
        self,
        model: Path,
        config: TrainingConfig,
        data: TrainingData,
        train_step: TrainStep,
        state: RunState,
        runtime: RuntimeConfig,
        callback: TrainingCallback,
    ) -> None:
        self._state = state
        self._train_step = train_step
        self._config = config
        self._paths = RunPaths(model)
        self._fingerprint = fingerprint(config, data.dataset)
        self._callback = callback
        self._metrics = MetricsLogger(self._paths.history, self._paths.events, state.history)
        self._dashboard = None
        if runtime.dashboard:
            self._dashboard = Dashboard(self._paths.curves_image, model.name)
        self._save_every = runtime.save_every * 60
        self._started_at = self._saved_at = self._plotted_at = time.monotonic()
        self._seconds_before = state.seconds
        self._throughput = Throughput(train_step.episodes_seen, self._started_at)

    def log(self, metrics: StepMetrics, validation: ValidationMetrics | None) -> None:
        """Log a step where that is due, and call the callbacks."""
        state, train_step, now = self._state, self._train_step, time.monotonic()
        step, total = train_step.steps_done, train_step.total_steps
        rate = self._throughput.update(train_step.episodes_seen, now)
        state.seconds = self._seconds_before + now - self._started_at
        state.loss_sum += metrics.loss
        state.loss_count += 1
        if is_log_step(step, total):
            entry: LogEntry = {
                "step": step,
                "episodes": train_step.episodes_seen,
                "lr": metrics.lr,
                "train_loss": state.loss_sum / state.loss_count,
                "gradient_norm": metrics.gradient_norm,
            }
            if validation is not None:
                entry["val_loss"] = validation.loss
                entry["accuracy_study"] = validation.study_accuracy
                entry["accuracy_novel"] = validation.novel_accuracy
            entry["episodes_per_second"] = round(rate, 3)
            entry["seconds"] = round(state.seconds, 1)
            state.loss_sum, state.loss_count = 0.0, 0
            self._metrics.add(entry)
            state.history = self._metrics.entries
            self._callback.on_log(entry, total)
        latest = state.history[-1] if state.history else None
        seconds_left = train_step.episodes_left / rate
        self._callback.on_step(StepInfo(step, total, metrics.loss, rate, seconds_left, latest))
        # Plotting takes half a second, so that it is done twice a minute at most.
        due = train_step.finished or len(state.history) < 3 or now - self._plotted_at > 30
        if self._dashboard and validation is not None and (due or metrics.stop):
            self._dashboard.plot(state.history)
            self._plotted_at = now

    def save_best(self, validation: ValidationMetrics | None) -> None:
        """With `--save_best`, save the model if its validation loss is the lowest so far."""
        if validation is None or not self._config.save_best:
            return
        # Validation has no biases, so that a model from before they are added looks best.
        start = corruption_start(self._config)
        start += (1 - start) * self._config.save_best_skip
        if self._train_step.steps_done < start * self._train_step.total_steps:
            return
        if self._state.best is None or validation.loss < self._state.best:
            self._state.best = validation.loss
            save_run(self._paths.best, self._train_step, self._state, self._config)

    def checkpoint_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._save_every

    def save(self) -> None:
        """Write the checkpoint that the run can be resumed from."""
        save_run(self._paths.model, self._train_step, self._state, self._config, self._fingerprint)
        self._saved_at = time.monotonic()
        self._callback.on_checkpoint(self._paths.model)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Close the log at the end; write the batch of a step that diverged."""
        try:
            yield
        except DivergedError as error:
            folder = dump_failed_batch(error, self._paths, self._config)
            saved = self._paths.model
            last = f"the last checkpoint is {saved}" if saved.is_file() else "nothing was saved yet"
            error.args = (f"{error}; its batch is in {folder}; {last}",)
            raise
        finally:
            self._metrics.close()
