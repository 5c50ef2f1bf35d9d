"""`biml reproduce` and `biml report`."""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from biml.cli import add_data_dir, add_dir_model
from biml.episodes.data_use import CAVEAT_MARK
from biml.errors import UsageError
from biml.evaluation.registry import SYMBOLIC
from biml.reproduce.experiments import ALL_EXPERIMENTS, EXPERIMENTS

if TYPE_CHECKING:
    from biml.report.html_tables import HtmlTable
    from biml.report.results import Exclusion, Results


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `biml reproduce`."""
    option = parser.add_argument
    help = (
        f"{', '.join(EXPERIMENTS)} (error rates on SCAN and COGS) or {ALL_EXPERIMENTS}, which "
        "is the default: all but benchmarks"
    )
    option("experiments", nargs="*", metavar="EXPERIMENT", help=help)
    help = (
        f"model files, language models (hf:NAME, openai:URL#NAME) and the symbolic models "
        f"{', '.join(SYMBOLIC)} "
        "(default: the installed models of the paper, and all symbolic ones; for benchmarks the "
        "models for SCAN and COGS that come with biml)"
    )
    option("--models", nargs="+", metavar="NAME", help=help)
    option("--quick", action="store_true", help="fewer repeats, samples and test items: a minute")
    help = "folder of the page, figures and tables, made if it is missing (%(default)s)"
    option("--out", type=Path, default=Path("reproduction"), metavar="FOLDER", help=help)
    option("--seed", type=int, default=0, metavar="N", help="seed of remappings, orders, samples")
    option(
        "--lapse_samples",
        action="store_true",
        help="let networks lapse in samples too, at the rate fitted to people; the published "
        "samples do not lapse, and those of symbolic models always do",
    )
    help = "prompts of language models: plain, chat, rules-first, or your template (%(default)s)"
    option("--prompt", default="plain", metavar="NAME", help=help)
    help = "likelihoods of language models among the possible answers to an item: people's and the "
    option("--normalise", action="store_true", help=help + "right one")
    help = "limit of repeats, samples, response sets, episodes per measurement of language models"
    option("--limit", type=int, metavar="N", help=help)
    add_dir_model(parser, "folder to search first for models")
    add_data_dir(parser)
    option("--workers", type=int, metavar="N", help="processes (one for each core)")


def run(args: argparse.Namespace) -> None:
    """Run `biml reproduce`."""
    from biml.reproduce import run_experiments

    options = {name: value for name, value in vars(args).items() if name not in ("command", "run")}
    try:
        results = run_experiments(**options)
    except UsageError:
        if misplaced := [n for n in args.models or () if n in (*EXPERIMENTS, ALL_EXPERIMENTS)]:
            raise UsageError(
                f"{misplaced[0]!r} is an experiment, not a model; name experiments before "
                f"--models: biml reproduce {misplaced[0]} --models …"
            ) from None
        raise
    except KeyboardInterrupt:
        print(
            "Interrupted. Complete measurements are cached: the same command continues there.",
            file=sys.stderr,
        )
        raise
    print_results(results, args.out)


def print_results(results: "Results", out: Path) -> None:
    """Print published and reproduced statistics, exclusions, and the path of the page."""

    from biml.report.benchmarks import error_rate_table
    from biml.report.html_tables import (
        CAVEAT_NOTE,
        CEILING_NOTE,
        CROSS_VALIDATED_NOTE,
        LAPSE_NOTE,
        model_columns,
        rows_of,
    )
    from biml.report.results import coerce_types
    from biml.report.schemas import PEOPLE, TABLES

    # Networks by the name of --models, language models by the last part of it, as on the page.
    labels = {one.name: one.label for one in results.models if one.kind == "language model"}
    console = Console(highlight=False)
    narrow = console.is_terminal and console.width < 80
    grids = error_rate_table(dict(results.tables), model_columns(results))
    for grid in grids:
        _print_grid(console, grid)
    statistics = coerce_types(results.tables["statistics"], TABLES["statistics"])
    statistics = statistics[statistics["experiment"] != "benchmarks"]
    statistics = statistics.fillna({"uncertain": False, "uses": ""})
    for experiment, rows in statistics.groupby("experiment", sort=False):
        table = Table(title=str(experiment), title_justify="left", box=None, pad_edge=False)
        table.add_column("statistic", overflow="fold")
        table.add_column("model", overflow="fold")
        has_published = rows[["published", "published_low"]].notna().any(axis=None)
        columns = ("published", "reproduced, 95%", "difference")[: 2 if narrow else 3]
        columns = columns if has_published else ("value, 95%",)
        for name in columns:
            table.add_column(name, justify="right", no_wrap=True)
        last = ""
        for row in rows_of(rows):
            name = str(row.statistic)
            digits = 1 if "%" in name or "likelihood" in name else 3
            value, difference = _reproduced_texts(row, digits)
            texts = (_published_text(row, digits), value, difference) if has_published else (value,)
            table.add_row(
                Text("" if name == last else name),
                Text(labels.get(row.model, str(row.model))),
                *texts[: len(columns)],
            )
            last = name
        console.print(table)
        console.print()
    if (statistics["uses"] != "").any() or any(CAVEAT_NOTE in grid.note for grid in grids):
        console.print(CAVEAT_NOTE, style="dim")
    units = sorted(set(statistics["unit"].dropna()) - {""})
    if units:
        text = f"95% intervals in brackets, standard errors after ±; over {' or '.join(units)}."
        console.print(text, style="dim")
    if statistics["cross_validated"].notna().any():
        console.print(f"{LAPSE_NOTE} {CROSS_VALIDATED_NOTE}", style="dim")
    if ((statistics["model"] == PEOPLE) & statistics["statistic"].str.contains("likelihood")).any():
        console.print(CEILING_NOTE, style="dim")
    for model in results.models:
        named = f"({model.architecture}" in model.name  # a model of SCAN or COGS
        about = f" ({model.architecture})" if model.architecture and not named else ""
        name = labels.get(model.name, model.name)
        console.print(f"{name}{about}: {model.data_use}", markup=False, style="dim")
    if (questions := results.tables.get("language_models")) is not None:
        for row in rows_of(coerce_types(questions, TABLES["language_models"])):
            interval = f" [{_format_number(row.low, 1)}, {_format_number(row.high, 1)}]"
            invalid = f"; no sequence of symbols: {_format_number(row.percent, 1)}%{interval}"
            text = f"{labels.get(row.model, row.model)}, {row.task}: {row.questions:,} questions, "
            text += f"prompt {row.template} {row.template_hash}{invalid * bool(row.answers)}"
            console.print(text, markup=False, style="dim")
    for line in exclusion_lines(results.exclusions, labels):
        print(line, file=sys.stderr)
    page = out / "index.html"
    where = f"Report: {page}" if page.is_file() else f"Results: {out}"
    console.print(where, markup=False, soft_wrap=True)


def _print_grid(console: Console, grid: "HtmlTable") -> None:
    """Print a table of the page with the first cells as headings."""
    table = Table(title=grid.title, title_justify="left", box=None, pad_edge=False)
    for head in grid.heads[1:]:
        table.add_column(head.label, justify="right" if head.numeric else "left")
    last = ""
    for first, model, *numbers in grid.rows:
        if first.text != last:
            table.add_row(Text(first.text, "bold"))
        texts = [f"{cell.text}\n{cell.below}".strip() for cell in numbers]
        table.add_row(Text(f"  {model.text}"), *map(Text, texts))
        last = first.text
    console.print(table)
    console.print()


def exclusion_lines(exclusions: "Sequence[Exclusion]", labels: Mapping[str, str]) -> list[str]:
    """A line for all models that are excluded from the same measurements for the same reason.

    `labels` has the names for readers of models that have others.
    """
    columns: dict[tuple[str, str], list[str]] = {}
    for one in exclusions:
        columns.setdefault((one.model, one.reason), []).append(one.column)
    models: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (model, reason), names in columns.items():
        models.setdefault((reason, tuple(names)), []).append(labels.get(model, model))
    return [
        f"Not measured: {'; '.join(names)} ({reason})"
        if "people" in excluded
        else f"Excluded from {'; '.join(names)}: {', '.join(excluded)} ({reason})"
        for (reason, names), excluded in models.items()
    ]


def _published_text(row: Any, digits: int) -> str:
    if math.isnan(row.published_low):
        return _format_number(row.published, digits)
    return f"{_format_number(row.published_low, 0)} to {_format_number(row.published_high, 0)}"


def _reproduced_texts(row: Any, digits: int) -> tuple[str, str]:
    """The reproduced value with its 95% interval, and the difference to the published one."""
    if row.uncertain:
        return "too few samples", ""
    text = _format_number(row.reproduced, digits) + (CAVEAT_MARK if row.uses else "")
    has_more = not math.isnan(row.cross_validated)
    between = "\n" if has_more else " "
    if not math.isnan(row.low):
        low, high = (_format_number(end, digits) for end in (row.low, row.high))
        text += f"{between}[{low}, {high}]"
    elif row.standard_error > 0:  # results of an earlier version
        text += f" ± {_format_number(row.standard_error, digits)}"
    if has_more:
        text += f"\ncross-validated {_format_number(row.cross_validated, digits)}"
        if row.cross_validated_error > 0:
            text += f" ± {_format_number(row.cross_validated_error, digits)}"
    return text, _format_number(row.difference, digits, sign=True)


def _format_number(value: float, digits: int, *, sign: bool = False) -> str:
    if math.isnan(value):
        return "–"
    rounded = round(value, digits) + 0.0
    return f"{rounded:{'+' if sign else ''}.{digits}f}"  # + 0.0 makes a plain zero of -0.0


def configure_report(parser: argparse.ArgumentParser) -> None:
    """Add the options of `biml report`."""
    help = "results of `biml reproduce`: results.json and tables/"
    parser.add_argument("folder", type=Path, metavar="FOLDER", help=help)


def run_report(args: argparse.Namespace) -> None:
    """Run `biml report`."""
    from biml.report.page import PAGE_FILE, write_report

    results = write_report(args.folder)
    if results.edited:
        names = ", ".join(f"tables/{name}.csv" for name in results.edited)
        print(
            f"warning: edited since `biml reproduce` wrote the folder, as the page says: {names}",
            file=sys.stderr,
        )
    print(f"Report: {args.folder / PAGE_FILE}")
