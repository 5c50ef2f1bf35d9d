"""Console output of `biml reproduce`."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from biml.report.results import Results, exclusions_by_reason
from biml.report.schemas import PEOPLE
from biml.reproduce.measurements import MEASUREMENTS
from biml.reproduce.run import Job
from biml.reproduce.tables import ReproductionSpec


class ReproduceConsole:
    """Progress on standard error, results on standard output."""

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
                "Interrupted. What was complete is kept: the same command goes on from there."
            )

    def header(self, spec: ReproductionSpec) -> None:
        """Say what is going to be done."""
        names = ", ".join(subject.name for subject in spec.models)
        self.on_message(f"Models: {names}")
        asked = [name for experiment in spec.experiments for name in experiment.measurements]
        people = spec.data.get("data_human")
        if people is not None and any("data_human" in MEASUREMENTS[name].data for name in asked):
            why = spec.data.fallback_note("data_human")
            self.on_message(f"People's answers: {people}{why and f' ({why})'}")
        if spec.include_absent and all(subject.symbolic for subject in spec.models):
            self.on_message(
                "There is none of the paper's networks on this machine; name yours with --models."
            )

    # --- what the work tells

    def on_start(self, jobs: Sequence[Job]) -> None:
        self._total = sum(unit.cost for unit in jobs)
        if not jobs:
            self.on_message("Nothing to compute: all results were kept from earlier calls.")

    def on_running(self, jobs: Sequence[Job]) -> None:
        doing = " · ".join(
            f"{unit.context.model.name}: {MEASUREMENTS[unit.measurement].summary}" for unit in jobs
        )
        self._bar.update(self._task, description=doing or "statistics and figures")

    def on_done(self, job: Job) -> None:
        self._complete += job.cost
        self._bar.update(self._task, completed=100 * self._complete / self._total)

    def on_message(self, text: str) -> None:
        self._stderr.print(text, markup=False)

    # --- at the end

    def results(self, results: Results, out: Path) -> None:
        """Show the published figures beside ours, who took no part, and where everything is."""
        for experiment, rows in results.tables["figures"].groupby("experiment", sort=False):
            table = Table(title=str(experiment), title_justify="left", box=None, pad_edge=False)
            table.add_column("figure")
            table.add_column("model")
            for name in ("published", "ours", "difference"):
                table.add_column(name, justify="right")
            last = ""
            for row in rows.itertuples():
                name = str(row.figure)
                digits = 1 if "%" in name or "likelihood" in name else 3
                numbers = [_published_text(row, digits), _format_number(row.ours, digits)]
                difference = _format_number(row.difference, digits, sign=True)
                words = [Text("" if name == last else name), Text(str(row.model))]
                table.add_row(*words, *numbers, difference)
                last = name
            self._stdout.print(table)
            self._stdout.print()
        self._print_exclusions(results)
        page = out / "index.html"
        where = f"Report: {page}" if page.is_file() else f"Results: {out}"
        self._stdout.print(where, markup=False, soft_wrap=True)

    def _print_exclusions(self, results: Results) -> None:
        """Which models took no part in what, and what the data have not."""
        for (model, reason), experiments in exclusions_by_reason(results.skipped).items():
            if model == PEOPLE:
                self.on_message(f"Not measured: {', '.join(experiments)}, as {reason}")
            else:
                self.on_message(f"{model} takes no part in {', '.join(experiments)}: it {reason}")


def _published_text(row: Any, digits: int) -> str:
    if pd.isna(row.published_low):
        return _format_number(row.published, digits)
    return f"{_format_number(row.published_low, 0)} to {_format_number(row.published_high, 0)}"


def _format_number(value: object, digits: int, *, sign: bool = False) -> str:
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return "–"
    rounded = round(float(value), digits) + 0.0  # type: ignore[arg-type]
    return f"{rounded:{'+' if sign else ''}.{digits}f}"  # + 0.0 makes a plain zero of -0.0
