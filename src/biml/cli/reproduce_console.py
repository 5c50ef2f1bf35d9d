"""Console output of `biml reproduce`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from biml.report.results import Exclusion, Results
from biml.report.schemas import PEOPLE


def print_results(results: Results, out: Path) -> None:
    """Print published and reproduced statistics, exclusions, and the path of the page."""
    console = Console(highlight=False)
    for experiment, rows in results.tables["statistics"].groupby("experiment", sort=False):
        table = Table(title=str(experiment), title_justify="left", box=None, pad_edge=False)
        table.add_column("statistic")
        table.add_column("model")
        for name in ("published", "reproduced ± SE", "difference"):
            table.add_column(name, justify="right")
        last = ""
        for row in rows.itertuples():
            name = str(row.statistic)
            digits = 1 if "%" in name or "likelihood" in name else 3
            table.add_row(
                Text("" if name == last else name),
                Text(str(row.model)),
                _published_text(row, digits),
                _format_number(row.reproduced, digits) + _error_text(row, digits),
                _format_number(row.difference, digits, sign=True),
            )
            last = name
        console.print(table)
        console.print()
    for line in exclusion_lines(results.exclusions):
        print(line, file=sys.stderr)
    page = out / "index.html"
    where = f"Report: {page}" if page.is_file() else f"Results: {out}"
    console.print(where, markup=False, soft_wrap=True)


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


def _error_text(row: Any, digits: int) -> str:
    known = pd.notna(row.standard_error)
    return f" ± {_format_number(row.standard_error, digits)}" if known else ""


def _format_number(value: object, digits: int, *, sign: bool = False) -> str:
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return "–"
    rounded = round(float(value), digits) + 0.0  # type: ignore[arg-type]
    return f"{rounded:{'+' if sign else ''}.{digits}f}"  # + 0.0 makes a plain zero of -0.0
