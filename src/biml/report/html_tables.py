"""Tables of numbers as the page shows them: text to read and keys to sort by."""

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from biml.report.results import Results
from biml.report.schemas import PEOPLE

TASK_LABELS = {"few_shot": "Few-shot task", "open_ended": "Open-ended task", "probes": "Probes"}

PATTERN_LABELS = {
    "perfect": "Perfect",
    "one_to_one": "One-to-one",
    "iconic": "Iconic",
    "mutual_exclusivity": "Mutual exclusivity",
}
"""Of open-ended answer sheets."""

PATTERN_DESCRIPTIONS = {
    "perfect": "each word always stands for one colour of its own",
    "one_to_one": "every answer is as long as its query",
    "iconic": "one dictionary explains every answer from left to right",
    "mutual_exclusivity": "no two queries have the same answer",
}

ERROR_LABELS = {
    "one-to-one": "one symbol a word, each known word in its place",
    "iconic": "the order of the input kept where the rule would reverse it",
}
"""Kinds of error in the few-shot task, as the column `error_type` names them."""

PROBE_LABELS = {
    "mutual exclusivity": "an output that no study example has",
    "concatenation": "the outputs of the words in their order",
    "trade-off": "one symbol a word, known words in place, though a symbol comes twice",
}
"""Kinds of probe, and what an answer that follows them is."""

GROUP_LABELS = {
    "all": "All queries",
    "simple": "Simple",
    "complex": "Complex",
    "long_output": "Long output",
}

ACCURACY_LABELS = {
    "few_shot_gold": "Few-shot task",
    "validation": "Validation",
    "novel_rules": "Novel rules",
}

QUERY_KIND_LABELS = {"novel": "new queries", "study": "study examples"}

LABELS = {"sd(group)": "SD of participants' intercepts"}
"""Names in tables that are no words."""


def label(name: str) -> str:
    """A name in a table for people.

    >>> label("long_output")
    'long output'
    """
    return LABELS.get(name, name.replace("_", " "))


# === Who is shown: people and the models, in the order of their columns.


_MODEL_COLUMNS = ("model", "model_a", "model_b")


@dataclass(frozen=True)
class ModelColumn:
    """People or a model.

    Attributes:
        name: in the tables.
        label: for people.
        kind: `people`, `network` or `symbolic`.
        number: of its column, people's being 0; decides its colour and mark in figures.
    """

    name: str
    label: str
    kind: str
    number: int


def model_columns(results: Results) -> tuple[ModelColumn, ...]:
    """People, the models that `results.json` lists, then any other that a table names."""
    listed = {model.name: (model.label, model.kind) for model in results.models}
    named = {
        str(name)
        for table in results.tables.values()
        for key in _MODEL_COLUMNS
        if key in table
        for name in table[key].unique()
    }
    everyone = {PEOPLE: ("People", PEOPLE), **listed}
    everyone |= {name: (name, "network") for name in sorted(named - everyone.keys())}
    return tuple(
        ModelColumn(name, label or name, kind, number)
        for number, (name, (label, kind)) in enumerate(everyone.items())
    )


def select(columns: tuple[ModelColumn, ...], names: Collection[str]) -> tuple[ModelColumn, ...]:
    """Those that a table names, in the order of all."""
    return tuple(column for column in columns if column.name in names)


# === Tables of numbers as the page shows them: text to read and keys to sort by.


MISSING = "–"

Tables = dict[str, pd.DataFrame]
"""Of results, by name."""


@dataclass(frozen=True)
class Header:
    """The head of a column.

    Attributes:
        label: what stands there.
        number: whether the column holds numbers.
        model: the number of the column's model, by which it is hidden; None if it has none.
    """

    label: str
    number: bool = True
    model: int | None = None


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: to read.
        key: to sort by; the text where it is none, empty where the value is missing.
        below: smaller lines under it.
    """

    text: str
    key: float | str | None = None
    below: str = ""


@dataclass(frozen=True)
class HtmlTable:
    """A table that can be sorted by each column.

    Attributes:
        title: above it.
        note: what it holds, with units.
        heads: of its columns; the first says what a row is.
        rows: of values, one for each head.
        models: the number of each row's model; empty if rows are something else.
    """

    title: str
    note: str
    heads: tuple[Header, ...]
    rows: tuple[tuple[Cell, ...], ...]
    models: tuple[int, ...] = ()


def format_number(value: object, digits: int = 1) -> str:
    """A number to read, with a real minus sign.

    >>> format_number(-536.08), format_number(float("nan")), format_number(27, 0)
    ('−536.1', '–', '27')
    """
    found = _as_float(value)
    if math.isnan(found):
        return MISSING
    if math.isinf(found):
        return "∞" if found > 0 else "−∞"
    # What rounds to nothing has no sign.
    text = f"{found:,.{digits}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def format_p(value: object) -> str:
    """A p to read.

    >>> format_p(0.0004), format_p(0.031)
    ('< 0.001', '0.031')
    """
    return "< 0.001" if _as_float(value) < 0.0005 else format_number(value, 3)


def number_cell(number: object, digits: int = 1, below: str = "") -> Cell:
    """A cell of a number."""
    found = _as_float(number)
    return Cell(format_number(number, digits), "" if math.isnan(found) else found, below)


def format_interval(low: object, high: object, digits: int = 1) -> str:
    """The ends of an interval to read; nothing where they are missing."""
    if math.isnan(_as_float(low)) or math.isnan(_as_float(high)):
        return ""
    return f"{format_number(low, digits)} to {format_number(high, digits)}"


def one_row_per_model(
    title: str,
    note: str,
    columns: Iterable[ModelColumn],
    heads: Sequence[str],
    cells: Callable[[ModelColumn], Sequence[Cell]],
) -> HtmlTable:
    """A table with a row for people and each model."""
    shown = tuple(columns)
    rows = tuple((Cell(column.label), *cells(column)) for column in shown)
    numbers = tuple(column.number for column in shown)
    return HtmlTable(title, note, (Header("", False), *map(Header, heads)), rows, numbers)


def one_column_per_model(
    title: str,
    note: str,
    frame: pd.DataFrame,
    keys: dict[str, str],
    columns: tuple[ModelColumn, ...],
    cell: Callable[[pd.Series], Cell],
) -> HtmlTable:
    """A table with a column for people and each model.

    Args:
        frame: a row for each cell, with the column `model`.
        keys: what a row of the table is: names of columns with their heads.
        cell: makes a cell of a row of `frame`.
    """
    shown = select(columns, set(frame["model"]))
    found: dict[tuple[Hashable, ...], dict[str, Cell]] = {}
    for _, row in frame.iterrows():
        found.setdefault(tuple(row[list(keys)]), {})[row["model"]] = cell(row)
    heads = [Header(label, False) for label in keys.values()]
    heads += [Header(column.label, True, column.number) for column in shown]
    empty = Cell(MISSING, "")
    rows = tuple(
        (*[Cell(str(part)) for part in key], *[cells.get(c.name, empty) for c in shown])
        for key, cells in found.items()
    )
    return HtmlTable(title, note, tuple(heads), rows)


def get_table(tables: Tables, name: str) -> pd.DataFrame:
    """A table, or an empty one where it is not there."""
    return tables.get(name, pd.DataFrame())


def _as_float(value: Any) -> float:
    return float("nan") if pd.isna(value) else float(value)
