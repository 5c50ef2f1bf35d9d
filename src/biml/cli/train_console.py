"""Console output of `biml train`."""

import argparse
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from biml.training import metrics, trainer
from biml.training.config import TrainingConfig
from biml.training.metrics import LogEntry

SECONDS_PER_DAY = 24 * 3600


class NullConsole(metrics.TrainingCallback):
    """Shows nothing; the processes other than the first, and `--quiet`."""

    def on_end(self, outcome: trainer.RunResult) -> None: ...


class TrainConsole(NullConsole):
    """Tells how a run goes.

    Args:
        console: where to.
        args: the options of the command, for the hints at the end.
    """

    def __init__(self, console: Console, args: argparse.Namespace) -> None:
        self._console = console
        self._args = args
        self._live: Progress | None = None
        self._validated: LogEntry = {}
        self._episodes = 0
        if console.is_terminal:
            self._live = Progress(
                TextColumn("step {task.fields[step]}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[figures]}"),
                console=console,
                transient=True,
            )
            self._task = self._live.add_task("", step="0", figures="first step…")

    def on_start(self, start: metrics.RunInfo) -> None:
        config = start.config
        self._episodes = config.episodes_seen(start.total_steps, start.total_steps)
        processes = "1 process" if start.processes == 1 else f"{start.processes} processes"
        doing = f"Resuming at step {start.steps_done:,}" if start.steps_done else "Training"
        self._print(
            f"{doing}: {config.arch} network ({start.parameters:,} weights), "
            f"{config.episode_type} episodes from {start.data_description}"
        )
        self._print(
            f"{start.total_steps:,} steps of {_format_sizes(config)} episodes on {start.device}, "
            f"{config.precision}, {processes}, seed {config.seed}"
        )
        if start.estimated_seconds is not None:
            self._print(
                f"Measured here: about {_format_duration(start.estimated_seconds)} for the whole run"
            )
            if (
                start.estimated_seconds > SECONDS_PER_DAY
                and config.preset == "paper"
                and config.init is None
            ):
                self._print("--preset fast is a recipe for machines like this one (docs/staged-network.md)")
        if start.steps_done >= start.total_steps:
            self._print("This run is complete already; there is nothing left to do.")
        elif self._live is not None:
            self._live.start()
            # Hidden, it would stay so after a second Ctrl-C or kill -9.
            self._console.show_cursor(True)

    def on_step(self, progress: metrics.StepInfo) -> None:
        if self._live is None:
            return
        figures = [f"{progress.episodes_per_second:.1f} episodes/s", f"loss {progress.loss:.3f}"]
        if self._validated:
            figures.append(_format_metrics(self._validated))
        figures.append(f"{_format_duration(progress.seconds_left)} left")
        self._live.update(
            self._task,
            completed=progress.step,
            total=progress.total_steps,
            step=f"{progress.step:,}/{progress.total_steps:,}",
            figures="  ".join(figures),
        )

    def on_log(self, line: LogEntry, total: int) -> None:
        if "val_loss" not in line:
            return
        self._validated = line
        if self._live is None:
            rate = line["episodes_per_second"] or 0.0
            step = line["step"] or 0
            remaining = (self._episodes - (line["episodes"] or 0)) / max(rate, 1e-9)
            left = f"  {_format_duration(remaining)} left"
            self._print(
                f"step {line['step']:,}/{total:,}  {rate:.1f} episodes/s  "
                f"loss {line['train_loss']:.3f}  {_format_metrics(line)}"
                + (left if 1 < step < total else "")  # most of the first step is validation
            )

    def on_message(self, text: str) -> None:
        self._print(text)

    def on_end(self, outcome: trainer.RunResult) -> None:
        args, outputs = self._args, outcome.paths
        figures = f", {_format_metrics(outcome.last_validation)}" if outcome.last_validation else ""
        self._print(
            f"Model: {outputs.model} (step {outcome.step:,} of {outcome.total_steps:,}{figures}, "
            f"{_format_duration(outcome.seconds)})"
        )
        where = ["--fn_out_model", args.fn_out_model]
        if args.dir_model != "out_models":
            where += ["--dir_model", args.dir_model]
        data = ["--data_dir", str(args.data_dir)] if args.data_dir else []
        if outcome.stopped_by is not None:
            self._print(f"Go on with: biml train {shlex.join([*where, *data, '--resume'])}")
        else:
            kind = ["--episode_type", outcome.config.episode_type]
            self._print(
                f"See answers: biml eval {shlex.join([*where, *kind, *data])} --max --verbose"
            )

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def make_console(args: argparse.Namespace, first: bool) -> Iterator[NullConsole]:
    """The console of this process: only the first of a run talks, and not with `--quiet`."""
    if args.quiet or not first:
        yield NullConsole()
        return
    show = TrainConsole(Console(), args)
    try:
        yield show
    finally:
        show.close()


def _format_metrics(line: LogEntry) -> str:
    parts = [f"val loss {line['val_loss']:.3f}"]
    for name in ("copied", "novel"):
        value = line.get(f"accuracy_{name}")
        if value is not None:
            parts.append(f"{name} {value:.1f}%")
    return "  ".join(parts)


def _format_sizes(config: TrainingConfig) -> str:
    """Episodes a step, from the first to the last.

    >>> _format_sizes(TrainingConfig(batch_size=32, batch_growth=2))
    '32 to 64'
    """
    first, last = config.batch_size, round(config.batch_size * config.batch_growth)
    return str(first) if first == last else f"{first} to {last}"


def _format_duration(seconds: float) -> str:
    """A length of time as a person would say it.

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
