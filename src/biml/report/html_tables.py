"""Building blocks of the page's tables: columns of models, cells, formatted numbers, labels."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from biml.episodes.data_use import CAVEAT_MARK, TASK_DATA
from biml.report.results import Results
from biml.report.schemas import PEOPLE

Tables = dict[str, pd.DataFrame]
"""Tables of results, by name."""

MISSING = "–"

CAVEAT_NOTE = f"{CAVEAT_MARK}: the model was trained on, fitted to or chosen by these data."

CEILING_NOTE = (
    "The log-likelihood of people is a ceiling: that of the frequencies of their responses to each "
    "query, which no model of the queries can exceed."
)

CROSS_VALIDATED = "Cross-validated"

CROSS_VALIDATED_NOTE = (
    "Cross-validated: fitted to one half of the responses and scored on the other, as are the "
    "error rates of symbolic models; networks are not trained anew."
)

LAPSE_NOTE = (
    "Lapse rates of all models are fitted to the responses that they are scored on. Samples of "
    "symbolic models lapse at that rate."
)

TASK_LABELS = {"few_shot": "Few-shot task", "open_ended": "Open-ended task", "probes": "Probes"}

PATTERN_LABELS = {
    "perfect": "Perfect",
    "one_to_one": "One-to-one",
    "iconic": "Iconic",
    "mutual_exclusivity": "Mutual exclusivity",
}

PATTERN_DESCRIPTIONS = {
    "perfect": "each word always stands for one symbol of its own",
    "one_to_one": "every response is as long as its query",
    "iconic": "one dictionary explains every response from left to right",
    "mutual_exclusivity": "no two queries have the same response",
}
"""Patterns of open-ended response sets."""

ERROR_LABELS = {
    "one-to-one": "one symbol for each word, that of a known word in its position",
    "iconic": "the order of the input, where the rule reverses it",
}
"""Types of error in the few-shot task."""

PROBE_LABELS = {
    "mutual exclusivity": "an output that no study example has",
    "concatenation": "the outputs of the words, in their order",
    "trade-off": "one symbol for each word, although this repeats the symbol of a study example",
}
"""Kinds of probe trial, and which responses are consistent with them."""

_LABELS = {
    "sd(group)": "SD of participants' intercepts",
    "all": "All queries",
    "few_shot_gold": "Few-shot task",
    "novel_rules": "Held-out rules",
    "study": "study-example queries",
    "novel": "novel queries",
}


def label(name: str) -> str:
    """A name in a table for readers.

    >>> label("long_output"), label("novel_rules")
    ('long output', 'Held-out rules')
    """
    return _LABELS.get(name, name.replace("_", " "))


@dataclass(frozen=True)
class ModelColumn:
    """People or a model."""

    name: str  # in the tables
    label: str  # for readers
    kind: str  # `people`, `network` or `symbolic`
    number: int  # of its column, 0 for people; determines colour and marker
    fitted_to: frozenset[str] = frozenset()
    """Tasks whose human responses the model was trained on or fitted to."""
    within_sample: frozenset[str] = frozenset()
    """Tasks whose likelihood was computed within sample."""
    chosen_by: frozenset[str] = frozenset()
    """Tasks by whose scores the model was chosen."""

    def mark(self, task: str, *, of_likelihood: bool = False) -> str:
        """The mark of its scores in a task: `CAVEAT_MARK` or nothing."""
        fitted = self.within_sample if of_likelihood else self.fitted_to
        return CAVEAT_MARK if task in fitted | self.chosen_by else ""


ModelColumns = tuple[ModelColumn, ...]


def model_columns(results: Results) -> ModelColumns:
    """People, the models of `results.json`, then any other that a table names."""
    listed = {model.name: (model.label, model.kind) for model in results.models}
    named = {
        str(name)
        for table in results.tables.values()
        for key in ("model", "model_a", "model_b")
        if key in table
        for name in table[key].unique()
    }
    every = {PEOPLE: ("People", PEOPLE), **listed}
    every |= {name: (name, "network") for name in sorted(named - every.keys())}
    within: dict[str, frozenset[str]] = {}
    likelihoods = results.tables.get("likelihoods")
    if likelihoods is not None:
        seen = likelihoods[likelihoods["within_sample"].fillna(False)]
        within = {str(m): frozenset(rows["task"]) for m, rows in seen.groupby("model")}
    fitted = {model.name: frozenset(model.fitted_to.split()) for model in results.models}
    chosen = {model.name: frozenset(model.chosen_by.split()) for model in results.models}
    return tuple(
        ModelColumn(
            name,
            label or name,
            kind,
            number,
            fitted.get(name, frozenset()) | within.get(name, frozenset()),
            within.get(name, frozenset()),
            chosen.get(name, frozenset()),
        )
        for number, (name, (label, kind)) in enumerate(every.items())
    )


def select(columns: ModelColumns, names: Collection[str]) -> ModelColumns:
    """The columns of these models, in their order."""
    return tuple(column for column in columns if column.name in names)


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows of a table as named tuples."""
    return iter(frame.itertuples(index=False))


def overall_likelihoods(likelihoods: pd.DataFrame) -> pd.DataFrame:
    """The rows of all participants; of a model of one fold, those of its fold."""
    whole = likelihoods["fold"].isin(["", "all"])
    by_model = [likelihoods["model"], likelihoods["task"]]
    return likelihoods[whole | ~whole.groupby(by_model).transform("any")]


def fold_note(fold: str) -> str:
    """
    >>> fold_note("3"), fold_note("all")
    ('fold 3 only', '')
    """
    return "" if fold in ("", "all") else f"fold {fold} only"


@dataclass(frozen=True)
class Header:
    """A column's header; a column can be hidden by the number of its `model`."""

    label: str
    numeric: bool = True
    model: int | None = None


@dataclass(frozen=True)
class Cell:
    """A cell with its sort key (by default the text; empty if missing), and small lines below."""

    text: str
    key: float | str | None = None
    below: str = ""


EMPTY = Cell(MISSING, "")


@dataclass(frozen=True)
class HtmlTable:
    """A sortable table; `models` are the numbers of the rows' models where rows are models."""

    title: str
    note: str
    heads: tuple[Header, ...]
    rows: tuple[tuple[Cell, ...], ...]
    models: tuple[int, ...] = ()


def format_number(value: object, digits: int = 1) -> str:
    """A number with a real minus sign.

    >>> format_number(-536.08), format_number(float("nan")), format_number(27, 0)
    ('−536.1', '–', '27')
    """
    number = _as_float(value)
    if math.isnan(number):
        return MISSING
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    # What rounds to zero has no sign.
    text = f"{number:,.{digits}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def format_p(value: object) -> str:
    """A p value.

    >>> format_p(0.0004), format_p(0.031)
    ('< 0.001', '0.031')
    """
    return "< 0.001" if _as_float(value) < 0.0005 else format_number(value, 3)


def format_interval(low: object, high: object, digits: int = 1) -> str:
    """The ends of an interval; empty where they are missing."""
    if math.isnan(_as_float(low)) or math.isnan(_as_float(high)):
        return ""
    return f"{format_number(low, digits)} to {format_number(high, digits)}"


def format_range(low: object, high: object) -> str:
    """A published range; a percentage or ratio may have one end only.

    >>> format_range(-380, -360), format_range(0, 0.22), format_range(7, float("inf"))
    ('−380 to −360', '≤ 0.22', '≥ 7')
    """
    first, last = (f"{_as_float(end):g}".replace("-", "−") for end in (low, high))
    if "nan" in (first, last):
        return ""
    return f"≤ {last}" if first == "0" else f"≥ {first}" if last == "inf" else f"{first} to {last}"


def number_cell(value: object, digits: int = 1, below: str = "") -> Cell:
    number = _as_float(value)
    return Cell(format_number(value, digits), "" if math.isnan(number) else number, below)


MakeCell = Callable[[Any], Cell]
"""A cell from a row of a table of results."""


@dataclass(frozen=True)
class TableSpec:
    """A table of the page, from the table of results `table`, transformed by `prepare`.

    One of three says what its rows and columns are:
        rows: a column for each model; columns of results that make up a row, with headings.
        column: a row for each model and a column for each heading that it returns.
        cells: a row for each model, with these cells by heading.

    `note` may be made from the prepared table, so that it explains nothing that is not there.
    `task` is the only task to include (empty: all). Scores get the mark of `ModelColumn.mark`, or
    one where the column `uses` of the table of results says so.
    """

    title: str
    note: str | Callable[[pd.DataFrame], str]
    table: str
    cell: MakeCell = lambda row: EMPTY
    rows: Mapping[str, str] = field(default_factory=dict)
    column: Callable[[Any], str] | None = None
    cells: Mapping[str, MakeCell] = field(default_factory=dict)
    task: str = ""
    prepare: Callable[[pd.DataFrame, Tables], pd.DataFrame] = lambda frame, tables: frame
    of_likelihood: bool = False


def make_table(spec: TableSpec, tables: Tables, columns: ModelColumns) -> HtmlTable | None:
    """The table; None where the results lack it."""
    frame = tables.get(spec.table, pd.DataFrame())
    if spec.task and "task" in frame:
        frame = frame[frame["task"] == spec.task]
    if not frame.empty:
        frame = spec.prepare(frame, tables)
    if frame.empty:
        return None
    shown = select(columns, set(frame["model"]))
    by_name = {column.name: column for column in shown}
    headed = [name for name in spec.rows if (frame[name] != "").any()]
    has_mark = False
    cells: dict[object, dict[object, Cell]] = {}
    for row in rows_of(frame):
        model = by_name[row.model]
        task = getattr(row, "task", spec.task)
        mark = model.mark(task, of_likelihood=spec.of_likelihood)
        if hasattr(row, "uses"):
            mark = CAVEAT_MARK if row.uses else ""
        has_mark |= bool(mark)
        if spec.rows:
            key = tuple(getattr(row, name) for name in headed)
            cells.setdefault(key, {})[model] = marked(spec.cell(row), mark)
            continue
        made = spec.cells or {spec.column(row) if spec.column else "": spec.cell}
        for head, make in made.items():
            plain = head in ("Responses", "Noise ceiling")
            if head == CROSS_VALIDATED and model.kind == "symbolic":
                # Its error rates were fitted to the other half.
                plain = task not in model.chosen_by
            cells.setdefault(model, {})[head] = marked(make(row), "" if plain else mark)
    note = spec.note if isinstance(spec.note, str) else spec.note(frame)
    if has_mark:
        note += f" {CAVEAT_NOTE}"
    if spec.rows:
        heads = [Header(spec.rows[name], False) for name in headed]
        heads += [Header(column.label, True, column.number) for column in shown]
        rows = tuple(
            (*(Cell(str(part)) for part in key), *(found.get(c, EMPTY) for c in shown))
            for key, found in cells.items()
            if isinstance(key, tuple)
        )
        return HtmlTable(spec.title, note, tuple(heads), rows)
    names = list(dict.fromkeys(head for found in cells.values() for head in found))
    rows = tuple(
        (Cell(column.label), *(cells[column].get(name, EMPTY) for name in names))
        for column in shown
    )
    heads = [Header("", False), *(Header(str(name)) for name in names)]
    return HtmlTable(spec.title, note, tuple(heads), rows, tuple(c.number for c in shown))


def marked(cell: Cell, mark: str) -> Cell:
    return replace(cell, text=cell.text + mark) if cell.text != MISSING else cell


def models_table(results: Results) -> list[HtmlTable]:
    """What the models are, and the data that they were made with."""
    heads = ["", "Network", "Trained on", "Trained on or fitted to", "Chosen by"]
    rows = tuple(
        (
            Cell(model.label or model.name),
            Cell(model.architecture or (MISSING if model.kind == "network" else model.kind)),
            Cell(model.trained_on or MISSING),
            *(
                Cell("; ".join(TASK_DATA.get(task, task) for task in tasks.split()) or MISSING)
                for tasks in (model.fitted_to, model.chosen_by)
            ),
        )
        for model in results.models
    )
    note = (
        "Trained on: episode types, and what their episodes are from. Trained on or fitted to: "
        "responses of people in the training episodes, or that error rates were fitted to. Chosen "
        f"by: scores by which the model was chosen among others. {CAVEAT_MARK}: a score on such "
        f"data. {LAPSE_NOTE}"
    )
    every = tuple(Header(head, False) for head in heads)
    numbers = tuple(range(1, len(rows) + 1))
    if not rows:
        return []
    return [HtmlTable("Models", note, every, rows, numbers), *_language_models_table(results)]


def _language_models_table(results: Results) -> list[HtmlTable]:
    """What language models were asked, by episode type; nothing without any."""
    if "language_models" not in results.tables:
        return []
    numbers = {model.name: number for number, model in enumerate(results.models, 1)}
    found = [row for row in rows_of(results.tables["language_models"]) if row.model in numbers]
    labels = {model.name: model.label or model.name for model in results.models}
    rows = tuple(
        (
            Cell(labels[row.model]),
            Cell(row.task),
            Cell(row.family or MISSING),
            Cell(row.template, None, row.template_hash),
            number_cell(row.questions, 0),
            number_cell(row.answers, 0),
            Cell(row.likelihood or MISSING),
            number_cell(row.percent, 1, format_interval(row.low, row.high)),
        )
        for row in found
    )
    names = ["", "Episodes", "Family", "Prompt", "Questions", "Answers", "Likelihood"]
    names.append("No sequence (%)")
    note = (
        "Answers that are no sequence of symbols that the item allows count as wrong; below their "
        "percentage its 95% interval over answers. Log-probabilities of given answers are "
        "questions without answers. What a language model was trained on is unknown, and may "
        "include these tasks. Its log has every prompt and answer (biml logs)."
    )
    numeric = ("Questions", "Answers", "No sequence (%)")
    heads = tuple(Header(name, name in numeric) for name in names)
    order = tuple(numbers[row.model] for row in found)
    return [HtmlTable("Questions to language models", note, heads, rows, order)]


def _as_float(value: Any) -> float:
    return float("nan") if pd.isna(value) else float(value)


def page_templates() -> tuple[Environment, str, str]:
    """The templates of pages, with the style and the script of the report."""
    loader = PackageLoader("biml.report", "templates")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = format_number
    style, script = (loader.get_source(environment, f"page.{of}")[0] for of in ("css", "js"))
    return environment, style, script
