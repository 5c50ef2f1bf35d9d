"""Learning curves as a picture, and in a window where there is a screen."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biml.files import atomic_write
from biml.training.history import LogEntry


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
