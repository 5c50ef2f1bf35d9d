"""What a run tells to whoever shows it; the library itself prints nothing."""

import json
import os
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biml.errors import BimlError, FormatError
from biml.io import atomic_write
from biml.training.config import TrainingConfig

LogEntry = dict[str, float | int | None]
"""One moment of a run: step, episodes, lr, train_loss, gradient_norm, episodes_per_second, seconds,
and where it was validated val_loss, accuracy_copied and accuracy_novel (percent)."""

_TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "accuracy_copied": "accuracy/copied",
    "accuracy_novel": "accuracy/novel",
    "lr": "optimiser/learning_rate",
    "gradient_norm": "optimiser/gradient_norm",
    "episodes_per_second": "speed/episodes_per_second",
}


class MetricsLogger:
    """The lines of a run so far, kept in step with the files.

    Args:
        path: the JSON-lines file; it is rewritten to hold exactly `lines`, so that a run that goes
            on from an older checkpoint has no step twice.
        events: folder of the TensorBoard files.
        lines: what was there before, from the checkpoint.
    """

    def __init__(self, path: Path, events: Path, entries: Sequence[LogEntry] = ()) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.entries = list(entries)
        with atomic_write(path) as file:
            file.write("".join(map(_to_json_line, self.entries)).encode())
        self._path = path
        last = int(self.entries[-1]["step"] or 0) if self.entries else 0
        if not self.entries and events.is_dir():
            for old in events.glob("events.out.tfevents.*"):
                old.unlink()
        self._writer = SummaryWriter(str(events), purge_step=last + 1, flush_secs=30)

    def add(self, entry: LogEntry) -> None:
        """Append one line.

        Raises:
            BimlError: the file cannot be written, as when the disk is full.
        """
        self.entries.append(entry)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_to_json_line(entry))
        except OSError as error:
            raise BimlError(f"{self._path}: could not be written ({error.strerror})") from error
        for name, tag in _TAGS.items():
            value = entry.get(name)
            if value is not None:
                self._writer.add_scalar(tag, value, entry["step"])

    def close(self) -> None:
        self._writer.close()


def read_metrics(path: Path) -> list[LogEntry]:
    """The lines of a history file; a last line that was cut short is left out.

    Raises:
        FormatError: another line is not a JSON object.
    """
    lines: list[LogEntry] = []
    texts = path.read_text(encoding="utf-8").splitlines()
    for number, text in enumerate(texts, 1):
        try:
            value: Any = json.loads(text)
        except json.JSONDecodeError:
            value = None
        if isinstance(value, dict):
            lines.append(value)
        elif number < len(texts):
            raise FormatError("not a line of a training history", source=str(path), line=number)
    return lines


def _to_json_line(entry: LogEntry) -> str:
    return json.dumps(entry) + "\n"


# === Learning curves as a picture, and in a window where there is a screen.


class Dashboard:
    """Draws the curves of a history to a file each time it is asked to.

    Args:
        path: the PNG file.
        title: what stands above the curves.
    """

    def __init__(self, path: Path, title: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._path = path
        self._title = title
        self._window: Any = _interactive_pyplot()
        if self._window:
            self._figure = self._window.gcf()
        else:
            self._figure = Figure()
            FigureCanvasAgg(self._figure)
        self._figure.set_size_inches(10, 4)

    def plot(self, log: Sequence[LogEntry]) -> None:
        """Draw all lines again; both panels are over episode presentations."""
        self._figure.clear()
        left, right = self._figure.subplots(1, 2)
        _plot_curve(left, log, "train_loss", "training", "tab:gray")
        _plot_curve(left, log, "val_loss", "validation", "tab:blue")
        left.set(xlabel="episodes", ylabel="loss (nats a symbol)", yscale="log")
        _plot_curve(right, log, "accuracy_copied", "copied queries", "tab:gray")
        _plot_curve(right, log, "accuracy_novel", "novel queries", "tab:blue")
        right.set(xlabel="episodes", ylabel="answered exactly (%)", ylim=(-2, 102))
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
    points = [(line["episodes"], line[name]) for line in log if line.get(name) is not None]
    marker = "." if len(points) < 20 else ""
    xs, ys = zip(*points, strict=True) if points else ((), ())
    panel.plot(xs, ys, marker=marker, color=colour, label=label)


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


# === What a run tells to whoever shows it; the library itself prints nothing.


@dataclass(frozen=True)
class RunInfo:
    """What is about to run.

    Attributes:
        config: its options, every one settled.
        device: where it computes, such as `cpu`.
        processes: how many share each step.
        parameters: weights of the network.
        done: steps taken before, in a resumed run.
        total: steps of the whole run.
        data: where the training episodes come from, in words.
        seconds: how long it will take, measured; None in a resumed run.
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
    """Where a run stands after a step.

    Attributes:
        step: steps done, of `total`.
        loss: of this step, per target symbol, in nats.
        rate: episodes a second, over the last steps.
        seconds_left: at that rate.
        line: the latest line of the history, or None.
    """

    step: int
    total_steps: int
    loss: float
    episodes_per_second: float
    seconds_left: float
    entry: LogEntry | None


class TrainingCallback:
    """Is told what happens; this one keeps it to itself."""

    def on_start(self, info: RunInfo) -> None: ...

    def on_step(self, info: StepInfo) -> None: ...

    def on_log(self, entry: LogEntry, total: int) -> None: ...

    def on_checkpoint(self, path: Path) -> None: ...

    def on_message(self, text: str) -> None:
        """Something for the user that is not a figure."""


class Throughput:
    """Episodes a second over the latest steps.

    Args:
        presented: episodes shown before the first of them.
        now: the moment (seconds) at which it begins.
        over: how many of the latest steps count.
    """

    def __init__(self, episodes_seen: int, now: float, window: int = 200) -> None:
        self._ends = deque([(now, episodes_seen)], maxlen=window + 1)

    def update(self, episodes_seen: int, now: float) -> float:
        """Note that a step ended at this moment, with so many episodes shown in all; the rate."""
        self._ends.append((now, episodes_seen))
        (begin, first), (end, last) = self._ends[0], self._ends[-1]
        return (last - first) / max(end - begin, 1e-9)
