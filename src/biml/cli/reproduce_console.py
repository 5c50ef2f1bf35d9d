"""Console output of `biml reproduce`: progress on standard error, results on standard output."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from biml.report.results import Exclusion, Results
from biml.report.schemas import PEOPLE
from biml.reproduce.measurements import MEASUREMENTS
from biml.reproduce.run import Job
from biml.reproduce.tables import ReproductionSpec


class ReproduceConsole:
    """The listener of a reproduction that shows a progress bar and prints messages."""

    def __init__(self) -> None:
        self._stdout = Console(highlight=False)
        self._stderr = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.completed:.0f}%"),
            BarColumn(bar_width=24),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.description}", markup=False),
            console=self._stderr,
            transient=True,
            disable=not self._stderr.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=100)
        self._total = 0.0
        self._complete = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        if kind is KeyboardInterrupt:
            self.on_message(
                "Interrupted. Complete measurements are cached: the same command continues there."
            )

    def header(self, spec: ReproductionSpec) -> None:
        """Print the models and where the human data are."""
        self.on_message(f"Models: {', '.join(model.name for model in spec.models)}")
        names = [name for experiment in spec.experiments for name in experiment.measurements]
        people = spec.data.get("data_human")
        if people is not None and any("data_human" in MEASUREMENTS[name].data for name in names):
            note = spec.data.fallback_note("data_human")
            self.on_message(f"Human responses: {people}{note and f' ({note})'}")
        if spec.include_absent and all(model.symbolic for model in spec.models):
            self.on_message("None of the paper's networks is installed; name yours with --models.")

    def on_start(self, jobs: Sequence[Job]) -> None:
        self._total = sum(job.cost for job in jobs)
        if not jobs:
            self.on_message("Nothing to compute: all results are cached.")

    def on_running(self, jobs: Sequence[Job]) -> None:
        running = " · ".join(
            f"{job.context.model.name}: {MEASUREMENTS[job.measurement].summary}" for job in jobs
        )
        self._bar.update(self._task, description=running or "statistics and figures")

    def on_done(self, job: Job) -> None:
        self._complete += job.cost
        self._bar.update(self._task, completed=100 * self._complete / self._total)

    def on_message(self, text: str) -> None:
        self._stderr.print(text, markup=False)

    def results(self, results: Results, out: Path) -> None:
        """Print published and reproduced statistics, exclusions, and the path of the page."""
        for experiment, rows in results.tables["statistics"].groupby("experiment", sort=False):
            table = Table(title=str(experiment), title_justify="left", box=None, pad_edge=False)
            table.add_column("statistic")
            table.add_column("model")
            for name in ("published", "reproduced", "difference"):
                table.add_column(name, justify="right")
            last = ""
            for row in rows.itertuples():
                name = str(row.statistic)
                digits = 1 if "%" in name or "likelihood" in name else 3
                table.add_row(
                    Text("" if name == last else name),
                    Text(str(row.model)),
                    _published_text(row, digits),
                    _format_number(row.reproduced, digits),
                    _format_number(row.difference, digits, sign=True),
                )
                last = name
            self._stdout.print(table)
            self._stdout.print()
        for line in exclusion_lines(results.exclusions):
            self.on_message(line)
        page = out / "index.html"
        where = f"Report: {page}" if page.is_file() else f"Results: {out}"
        self._stdout.print(where, markup=False, soft_wrap=True)


def exclusion_lines(exclusions: Sequence[Exclusion]) -> list[str]:
    """A line for all models that are excluded from the same measurements for the same reason."""
    columns: dict[tuple[str, str], list[str]] = {}
    for one in exclusions:
        columns.setdefault((one.model, one.reason), []).append(one.column)
    models: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (model, reason), names in columns.items():
        models.setdefault((reason, tuple(names)), []).append(model)
    return [
        f"Not measured: {'; '.join(names)} ({reason})"
        if PEOPLE in excluded
        else f"Excluded from {'; '.join(names)}: {', '.join(excluded)} ({reason})"
        for (reason, names), excluded in models.items()
    ]


def _published_text(row: Any, digits: int) -> str:
    if pd.isna(row.published_low):
        return _format_number(row.published, digits)
    return f"{_format_number(row.published_low, 0)} to {_format_number(row.published_high, 0)}"


def _format_number(value: object, digits: int, *, sign: bool = False) -> str:
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return "–"
    rounded = round(float(value), digits) + 0.0  # type: ignore[arg-type]
    return f"{rounded:{'+' if sign else ''}.{digits}f}"  # + 0.0 makes a plain zero of -0.0
