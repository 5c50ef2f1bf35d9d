"""Progress of a run on a terminal, in a notebook, or as plain lines."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from biml.episodes.registry import EPISODE_TYPES
from biml.training.config import TrainingConfig
from biml.training.logger import RunInfo, StepInfo, TrainingCallback
from biml.training.run_files import LogEntry
from biml.training.trainer import RunResult

SECONDS_PER_DAY = 24 * 3600

BAR_WIDTH = 10


class TrainingConsole(TrainingCallback):
    """Prints how a run proceeds: a bar, or a line per validation where there is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        # Of its own accord rich draws bars wherever FORCE_COLOR is set, as in notebooks' shells.
        output = cast(TextIO, _StandardOutput())
        self._console = console or Console(file=output, force_terminal=output.isatty())
        self._bar: Progress | _NotebookLine | None = None
        self._validation: list[str] = []
        if self._console.is_jupyter:
            self._bar = _NotebookLine()
        elif self._console.is_terminal:
            self._bar = Progress(
                TextColumn("step {task.fields[step]}", table_column=Column(no_wrap=True)),
                BarColumn(bar_width=BAR_WIDTH),
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                console=self._console,
                transient=True,
            )

    def on_start(self, info: RunInfo) -> None:
        config = info.config
        processes = "1 process" if info.processes == 1 else f"{info.processes} processes"
        action = f"Resuming at step {info.steps_done:,}" if info.steps_done else "Training"
        self.on_message(
            f"{action}: {config.arch} network ({info.parameters:,} weights), "
            f"{config.episode_type} episodes from {info.data_description}"
        )
        self.on_message(
            f"{info.total_steps:,} steps of {_format_batch_size(config)} episodes on "
            f"{info.device}, {config.precision}, {processes}, seed {config.seed}"
        )
        seconds = info.estimated_seconds
        if seconds is not None:
            self.on_message(f"Measured: about {_format_duration(seconds)} for the whole run")
            if seconds > SECONDS_PER_DAY and config.preset == "paper" and not config.init_from:
                self.on_message(
                    "--preset fast is made for machines like this one (docs/staged-network.md)"
                )
        if note := _length_note(config, config.episodes_seen(info.total_steps, info.total_steps)):
            self.on_message(note)
        if info.steps_done >= info.total_steps:
            self.on_message("This run is complete already; there is nothing left to do.")
        elif isinstance(self._bar, Progress):
            self._task = self._bar.add_task("first step", step="0")
            self._bar.start()
            # A hidden cursor would stay so after a second Ctrl-C or kill -9.
            self._console.show_cursor(True)

    def on_step(self, info: StepInfo) -> None:
        step, rate = f"{info.step:,}/{info.total_steps:,}", f"{info.episodes_per_second:.1f}"
        left = f"{_format_duration(info.seconds_left)} left"
        entry = info.entry or {}
        if entry.get("val_loss") is not None:
            self._validation = _format_metrics(entry)
            if self._bar is None:
                text = f"step {step}  {rate} episodes/s  loss {entry['train_loss']:.3f}"
                # Most of the first step is validation, so that its rate says nothing.
                last = left if 1 < info.step < info.total_steps else ""
                self.on_message("  ".join(filter(None, (text, *self._validation, last))))
        if self._bar is None:
            return
        # A narrow terminal has the first of these that fit.
        parts = (left, f"loss {info.loss:.3f}", *reversed(self._validation), f"{rate} episodes/s")
        if isinstance(self._bar, Progress):
            width = self._console.width - len(f"step {step}") - BAR_WIDTH - 3
            text = _fitting(parts, width)
            self._bar.update(
                self._task, completed=info.step, total=info.total_steps, step=step, description=text
            )
        else:
            self._bar.update("  ".join((f"step {step}", *parts)))

    def on_message(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def on_end(self, result: RunResult) -> None:
        """Print where the model is, and its latest metrics."""
        entry = result.last_validation
        metrics = f", {'  '.join(_format_metrics(entry))}" if entry else ""
        self.on_message(
            f"Model: {result.model_path} (step {result.step:,} of {result.total_steps:,}{metrics}, "
            f"{_format_duration(result.seconds)})"
        )

    def close(self) -> None:
        if isinstance(self._bar, Progress):
            self._bar.stop()


class _StandardOutput:
    """Standard output whose failure (`biml train … | head -1`) ends a run by a signal.

    An exception would end it without saving, whereas `graceful_shutdown` saves on SIGPIPE.
    """

    def __init__(self) -> None:
        self._stream = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - it was closed
        self._failed = False

    def write(self, text: str) -> int:
        with self._stop_on_failure():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._stop_on_failure():
            self._stream.flush()

    @contextmanager
    def _stop_on_failure(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._failed = True
            with suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
        if self._failed:  # a signal before the run began had no effect
            signal.raise_signal(signal.SIGPIPE)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _NotebookLine:
    """A line of a notebook's output that is replaced, without the need for ipywidgets."""

    def __init__(self) -> None:
        self._handle: Any = None

    def update(self, text: str) -> None:
        ipython = import_module("IPython.display")  # there is one wherever there is a notebook
        if self._handle is None:
            self._handle = ipython.display(ipython.Pretty(text), display_id=True)
        else:
            self._handle.update(ipython.Pretty(text))


def _length_note(config: TrainingConfig, n_episodes: int) -> str:
    """What a run from scratch can reach, if it is too short to generalise; else empty.

    >>> config = TrainingConfig(arch="staged", episode_type="algebraic")
    >>> _length_note(config, 1200)[:56], _length_note(config, 100_000)
    ('1,200 episodes are too few to generalise. Measured with ', '')
    """
    row = EPISODE_TYPES.get(config.episode_type)
    learns_rules = row and row.supports_grammar_labels
    if not learns_rules or config.init_from or config.arch not in LEARNING:
        return ""
    enough, measured = LEARNING[config.arch]
    return f"{n_episodes:,} episodes are too few to generalise. {measured}" * (n_episodes < enough)


LEARNING = {
    "staged": (
        40_000,
        "Measured with --preset fast: novel validation queries are answered to 58% after 10,000 "
        "episodes, 83% after 25,000, 92% after 60,000 (docs/training-log.md).",
    ),
    "paper": (
        1_000_000,
        "The published run has 5,000,000; after 10,500 this network answered 7% of novel queries. "
        "--preset fast needs fewer (docs/training-log.md).",
    ),
}
"""By architecture the episodes below which a run is short, and what was measured."""


def _fitting(parts: Iterable[str], width: int) -> str:
    """The first parts of a line, and of the others those that still fit.

    >>> _fitting(("7 min left", "loss 0.123", "2.4 episodes/s"), 25)
    '7 min left  loss 0.123'
    """
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        line = longer if len(longer) <= width else line
    return line


def _format_metrics(entry: LogEntry) -> list[str]:
    parts = [f"val loss {entry['val_loss']:.3f}"]
    for name in ("study", "novel"):
        value = entry.get(f"accuracy_{name}")
        parts += [] if value is None else [f"{name} {value:.1f}%"]
    return parts


def _format_batch_size(config: TrainingConfig) -> str:
    """Episodes per step, from the first to the last.

    >>> _format_batch_size(TrainingConfig(batch_size=32, batch_growth=2))
    '32 to 64'
    """
    first, last = config.batch_size, round(config.batch_size * config.batch_growth)
    return str(first) if first == last else f"{first} to {last}"


def _format_duration(seconds: float) -> str:
    """A duration in its two largest units.

    >>> [_format_duration(s) for s in (42, 3_700, 500_000)]
    ['42 s', '1 h 1 min', '5 d 18 h']
    """
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86_400
    if minutes < 2:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes:.0f} min"
    if days < 2:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(days)} d {int(hours % 24)} h"
