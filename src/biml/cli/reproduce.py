"""`biml reproduce`: the paper's behavioural results, for any set of models."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from biml.evaluation.symbolic import SYMBOLIC
from biml.report.results import Results, exclusions_by_reason
from biml.report.schemas import PEOPLE
from biml.reproduce.experiments import ALL_EXPERIMENTS, EXPERIMENTS
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


# === `biml reproduce`: the paper's behavioural results, for any set of models.


MAX_SEED = 2**63 - 1
"""The largest that a column of whole numbers holds."""

SUMMARY = "Reproduce the paper's behavioural results and write a report."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    option = parser.add_argument
    option(
        "experiments",
        nargs="*",
        metavar="EXPERIMENT",
        help=f"{', '.join(EXPERIMENTS)} or {ALL_EXPERIMENTS} (the default)",
    )
    option(
        "--models",
        nargs="+",
        metavar="NAME",
        help=f"model files, and the symbolic models {', '.join(SYMBOLIC)} "
        "(the paper's models that are on this machine, and all symbolic ones)",
    )
    option("--quick", action="store_true", help="a minute's version: fewer passes and samples")
    option(
        "--out",
        type=Path,
        default=Path("reproduction"),
        metavar="FOLDER",
        help="for the page, figures and tables (%(default)s)",
    )
    option("--seed", type=int, default=0, metavar="N", help="of names, orders and draws (0)")
    option(
        "--lapse_samples",
        action="store_true",
        help="let networks lapse in samples too, at the rate that fits people best; the published "
        "samples do not, and those of symbolic models always do",
    )
    option(
        "--dir_model",
        default="out_models",
        metavar="FOLDER",
        help="where models are looked for first (%(default)s)",
    )
    option("--data_dir", type=Path, metavar="FOLDER", help="where to look for data folders first")
    option("--workers", type=int, metavar="N", help="processes (one for each core)")


def run(args: argparse.Namespace) -> int:
    """Reproduce, and show every published figure beside ours."""
    from biml.errors import UsageError
    from biml.reproduce.experiments import ALL_EXPERIMENTS, EXPERIMENTS, select_experiments

    experiments = select_experiments(args.experiments)
    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers is {args.workers}, but must be at least 1")
    if not 0 <= args.seed <= MAX_SEED:
        raise UsageError(f"--seed is {args.seed}, but must be from 0 to {MAX_SEED}")

    from biml.report.page import FIGURE_FILES
    from biml.report.results import check_output_folder

    check_output_folder(args.out, FIGURE_FILES)

    pass  # DROPPED
    from biml.paths import DataFolders
    from biml.reproduce.models import find_models
    from biml.reproduce.run import reproduce
    from biml.reproduce.tables import ReproductionSpec
    from biml.training.hardware import physical_cores

    data = DataFolders(args.data_dir)
    try:
        models = find_models(args.models, args.dir_model, data)
    except UsageError:
        if misplaced := [n for n in args.models or () if n in (*EXPERIMENTS, ALL_EXPERIMENTS)]:
            raise UsageError(
                f"there is no model {misplaced[0]!r}, but an experiment; name experiments before "
                f"--models: biml reproduce {misplaced[0]} --models …"
            ) from None
        raise
    spec = ReproductionSpec(
        models,
        experiments,
        data,
        quick=args.quick,
        seed=args.seed,
        lapse_samples=args.lapse_samples,
        include_absent=args.models is None,
    )
    with ReproduceConsole() as console:
        console.header(spec)
        results = reproduce(
            spec, args.out, workers=args.workers or physical_cores(), listener=console
        )
    console.results(results, args.out)
    return 0


# === `biml report`: the page of a results folder, made again from its tables.


REPORT_SUMMARY = "Make the page and figures of a results folder again from its tables."


def configure_report(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="results of `biml reproduce`: results.json and tables/",
    )


def run_report(args: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    from biml.report.page import PAGE_FILE, write_report

    write_report(args.folder)
    print(f"Report: {args.folder / PAGE_FILE}")
