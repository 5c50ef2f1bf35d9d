"""Metrics of a run: the log file, TensorBoard, and learning curves."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from biml.errors import BimlError, FormatError
from biml.io import atomic_write

LogEntry = dict[str, float | int | None]
"""One line of the log: step, episodes, lr, train_loss, gradient_norm, episodes_per_second, seconds,
and after a validation val_loss, accuracy_study and accuracy_novel (percent of exact answers to
study-example and to novel queries)."""

_TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "accuracy_study": "accuracy/study",
    "accuracy_novel": "accuracy/novel",
    "lr": "optimiser/learning_rate",
    "gradient_norm": "optimiser/gradient_norm",
    "episodes_per_second": "speed/episodes_per_second",
}

_FORMER_KEYS = {"accuracy_copied": "accuracy_study"}


def current_log(log: Iterable[Mapping[str, Any]]) -> list[LogEntry]:
    """Rename keys that an earlier version of biml wrote.

    >>> current_log([{"step": 1, "accuracy_copied": 50.0}])
    [{'step': 1, 'accuracy_study': 50.0}]
    """
    return [{_FORMER_KEYS.get(key, key): value for key, value in entry.items()} for entry in log]


def last_validation(log: Sequence[LogEntry]) -> LogEntry | None:
    """The latest entry with validation metrics."""
    return next((entry for entry in reversed(log) if entry.get("val_loss") is not None), None)


class MetricsLogger:
    """The log of a run, in a JSON-lines file and TensorBoard event files.

    The file is rewritten to hold exactly `entries` (the log of the checkpoint), so that a run
    resumed from an older checkpoint has no step twice.
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
        """Append one entry.

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
    """Read a log file; a last line that was cut short is skipped.

    Raises:
        FormatError: another line is not a JSON object.
    """
    entries: list[LogEntry] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            value: Any = json.loads(line)
        except json.JSONDecodeError:
            value = None
        if isinstance(value, dict):
            entries.append(value)
        elif number < len(lines):
            raise FormatError("not a line of a training log", source=str(path), line=number)
    return current_log(entries)


def _to_json_line(entry: LogEntry) -> str:
    return json.dumps(entry) + "\n"


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
