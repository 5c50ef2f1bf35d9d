"""Rank-0 logging, checkpointing and callbacks of a run."""

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from biml.episodes.data_use import validation_caveat
from biml.errors import BimlError
from biml.io import atomic_write, write_file
from biml.training.config import RuntimeConfig, TrainingConfig
from biml.training.distributed import LostProcessError
from biml.training.run_files import (
    LogEntry,
    RunFingerprint,
    RunPaths,
    RunState,
    dump_failed_batch,
    save_run,
)
from biml.training.schedule import corruption_start, is_log_step
from biml.training.step import DivergedError, StepMetrics, TrainStep
from biml.training.tracker import METRIC_TAGS, Tracker

RATE_WINDOW = 200
"""Latest steps over which episodes per second are averaged."""

PLOT_EVERY = 30.0
"""Seconds between plots of the learning curves at least, since plotting takes half a second."""


@dataclass(frozen=True)
class RunInfo:
    """A run at its start."""

    config: TrainingConfig
    device: str
    processes: int
    parameters: int
    steps_done: int
    total_steps: int
    data_description: str
    estimated_seconds: float | None = None  # of the whole run; None in a resumed one


@dataclass(frozen=True)
class StepInfo:
    """A run after a step, with the log entry of this step, if it has one."""

    step: int
    total_steps: int
    loss: float  # of this step, in nats per target token
    episodes_per_second: float
    seconds_left: float
    entry: LogEntry | None


class TrainingCallback:
    """Listener to a run, in its first process; this one does nothing."""

    def on_start(self, info: RunInfo) -> None: ...

    def on_step(self, info: StepInfo) -> None: ...

    def on_message(self, text: str) -> None: ...


class RunLogger:
    """Log file, trackers, learning curves and checkpoints of a run, and its callback.

    The log file is rewritten to hold exactly the entries of the checkpoint, so that a run resumed
    from an older one has no step twice.
    """

    def __init__(
        self,
        model: Path,
        config: TrainingConfig,
        train_step: TrainStep,
        state: RunState,
        fingerprint: RunFingerprint,
        runtime: RuntimeConfig,
        callback: TrainingCallback,
    ) -> None:
        self._state = state
        self._train_step = train_step
        self._config = config
        self._paths = RunPaths(model)
        self._fingerprint = fingerprint
        self._callback = callback
        self.validation_caveat = validation_caveat(config.episode_type, state.ancestors)
        if self.validation_caveat:
            callback.on_message(f"Warning: {self.validation_caveat}")
        write_file(self._paths.history, "".join(map(_to_json_line, state.history)))
        last = int(state.history[-1]["step"] or 0) if state.history else 0
        if not state.history and self._paths.events.is_dir():
            for old in self._paths.events.glob("events.out.tfevents.*"):
                old.unlink()
        self._outputs: list[TensorBoardFiles | Tracker] = []
        if runtime.log_to != "tensorboard":
            tracker = Tracker(
                runtime.log_to,
                self._paths,
                asdict(config),
                resumed=bool(state.history),
                report=callback.on_message,
            )
            self._outputs.append(tracker)
        self._outputs.append(TensorBoardFiles(self._paths.events, last + 1, callback))
        self._dashboard = None
        if runtime.dashboard:
            self._dashboard = Dashboard(self._paths.curves_image, model.name)
        self._save_every = runtime.save_every * 60
        self._saved = train_step.steps_done > 0  # in an earlier session of the run
        self._started_at = self._saved_at = self._plotted_at = time.monotonic()
        self._seconds_before = state.seconds
        # When each of the latest steps ended, and the episodes seen by then.
        self._step_ends = deque([(self._started_at, train_step.episodes_seen)], RATE_WINDOW + 1)

    def log(self, metrics: StepMetrics, validation: LogEntry | None) -> None:
        """Log a step where that is due, and call the callback."""
        state, train_step, now = self._state, self._train_step, time.monotonic()
        step, total = train_step.steps_done, train_step.total_steps
        self._step_ends.append((now, train_step.episodes_seen))
        begin, first = self._step_ends[0]
        rate = (train_step.episodes_seen - first) / max(now - begin, 1e-9)
        state.seconds = self._seconds_before + now - self._started_at
        state.loss_sum += metrics.loss
        state.loss_count += 1
        entry: LogEntry | None = None
        if is_log_step(step, total):
            entry = {
                "step": step,
                "episodes": train_step.episodes_seen,
                "lr": metrics.lr,
                "train_loss": state.loss_sum / state.loss_count,
                "gradient_norm": metrics.gradient_norm,
                **(validation or {}),
                **({"val_in_training": 1} if validation and self.validation_caveat else {}),
                "episodes_per_second": round(rate, 3),
                "seconds": round(state.seconds, 1),
            }
            state.loss_sum, state.loss_count = 0.0, 0
            self._add(entry)
        seconds_left = train_step.episodes_left / rate
        self._callback.on_step(StepInfo(step, total, metrics.loss, rate, seconds_left, entry))
        due = train_step.finished or len(state.history) < 3 or now - self._plotted_at > PLOT_EVERY
        if self._dashboard and validation is not None and (due or metrics.stop):
            self._dashboard.plot(state.history)
            self._plotted_at = now

    def _add(self, entry: LogEntry) -> None:
        self._state.history.append(entry)
        path = self._paths.history
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(_to_json_line(entry))
        except OSError as error:
            raise BimlError(f"{path}: could not be written ({error.strerror})") from error
        for output in self._outputs:
            output.add(entry)

    def save_best(self, validation: LogEntry | None) -> None:
        """With `--save_best`, save the model if its validation loss is the lowest so far."""
        if validation is None or not self._config.save_best:
            return
        # Validation has no biases, so that a model from before they are added looks best.
        start = corruption_start(self._config)
        start += (1 - start) * self._config.save_best_skip
        if self._train_step.steps_done < start * self._train_step.total_steps:
            return
        loss = validation["val_loss"]
        if loss is not None and (self._state.best is None or loss < self._state.best):
            self._state.best = loss
            save_run(self._paths.best, self._train_step, self._state, self._config)

    def checkpoint_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._save_every

    def save(self) -> None:
        """Write the checkpoint that the run can be resumed from."""
        save_run(self._paths.model, self._train_step, self._state, self._config, self._fingerprint)
        self._saved, self._saved_at = True, time.monotonic()

    @contextmanager
    def session(self) -> Iterator[None]:
        """Close the log at the end; write the batch of a step that diverged."""
        try:
            yield
        except DivergedError as error:
            folder = dump_failed_batch(error, self._paths, self._config)
            model = self._paths.model
            last = f"the last checkpoint is {model}" if self._saved else "nothing was saved yet"
            error.args = (f"{error}; its batch is in {folder}; {last}",)
            raise
        except LostProcessError as error:
            error.can_resume = self._saved
            raise
        finally:
            for output in self._outputs:
                output.close()


def _to_json_line(entry: LogEntry) -> str:
    return json.dumps(entry) + "\n"


class TensorBoardFiles:
    """TensorBoard files of a run, which goes on without them when a disk is full."""

    def __init__(self, folder: Path, first_step: int, callback: TrainingCallback) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder, self._callback = folder, callback
        self._writer: Any = None
        self._previous_hook = threading.excepthook
        threading.excepthook = self._on_error_in_thread
        with self._ended_by_errors():
            self._writer = SummaryWriter(str(folder), purge_step=first_step, flush_secs=30)

    def add(self, entry: LogEntry) -> None:
        """Add the metrics of a log entry."""
        with self._ended_by_errors():
            for name, tag in METRIC_TAGS.items():
                if self._writer and entry.get(name) is not None:
                    self._writer.add_scalar(tag, entry[name], entry["step"])

    def close(self) -> None:
        with self._ended_by_errors():
            if self._writer:
                self._writer.close()
        threading.excepthook = self._previous_hook

    @contextmanager
    def _ended_by_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            problem = error.strerror or error
            self._callback.on_message(
                f"{self._folder}: could not be written ({problem}); TensorBoard files end here"
            )

    def _on_error_in_thread(self, error: threading.ExceptHookArgs) -> None:
        """Print no traceback of TensorBoard's thread, whose errors its next call raises."""
        if type(error.thread).__name__ != "_AsyncWriterThread":
            self._previous_hook(error)


class Dashboard:
    """Learning curves in a PNG file, and in a window where there is a screen."""

    def __init__(self, path: Path, title: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._path = path
        self._title = title
        self._window: Any = _interactive_pyplot()
        self._figure = self._window.gcf() if self._window else Figure()
        if not self._window:
            FigureCanvasAgg(self._figure)
        self._figure.set_size_inches(10, 4)

    def plot(self, log: Sequence[LogEntry]) -> None:
        """Plot loss and accuracy over the episodes seen."""
        self._figure.clear()
        left, right = self._figure.subplots(1, 2)
        _plot_curve(left, log, "train_loss", "training", "tab:gray")
        _plot_curve(left, log, "val_loss", "validation", "tab:blue")
        left.set(xlabel="episodes", ylabel="loss (nats per symbol)", yscale="log")
        _plot_curve(right, log, "accuracy_study", "study-example queries", "tab:gray")
        _plot_curve(right, log, "accuracy_novel", "novel queries", "tab:blue")
        right.set(xlabel="episodes", ylabel="exact answers (%)", ylim=(-2, 102))
        for panel in (left, right):
            panel.grid(alpha=0.3)
            panel.legend()
        self._figure.suptitle(self._title)
        self._figure.tight_layout()
        with atomic_write(self._path) as file:
            self._figure.savefig(file, format="png", dpi=110)
        if self._window:
            self._window.pause(0.01)


def _plot_curve(panel: Any, log: Sequence[LogEntry], name: str, label: str, colour: str) -> None:
    points = [(entry["episodes"], entry[name]) for entry in log if entry.get(name) is not None]
    xs, ys = zip(*points, strict=True) if points else ((), ())
    panel.plot(xs, ys, marker="." if len(points) < 20 else "", color=colour, label=label)


def _interactive_pyplot() -> Any:
    """`matplotlib.pyplot` if it can open a window here, else None."""
    if sys.platform not in ("darwin", "win32") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return None
    try:
        import matplotlib
        from matplotlib import pyplot

        if matplotlib.get_backend().lower() in {"agg", "pdf", "svg", "ps", "cairo", "template"}:
            return None
        pyplot.ion()
        pyplot.figure("biml")
    except Exception:  # each window system has its own errors for a screen that is not there
        return None
    return pyplot
