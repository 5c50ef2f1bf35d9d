"""Answers side by side: a row for each query, people and models in columns."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd
from markupsafe import Markup

from biml.behaviour.probes import annotate_trials
from biml.behaviour.responses import study_examples, tokens
from biml.episodes.circles import Palette
from biml.episodes.transforms import UNDEFINED
from biml.grammar import GOLD
from biml.grammar.gold import GOLD_STUDY
from biml.report.columns import ModelColumn, select
from biml.report.words import ERROR_LABELS, PROBE_LABELS

MARK_LABELS = ERROR_LABELS | PROBE_LABELS
"""What kinds of error and of probe are."""

MAX_VISIBLE = 4
"""Different answers that are shown before the rest is folded."""


MAX_FOLDED = 20
"""Different answers that are folded; those after them are only counted."""

MAX_PER_ROW = 160
"""The same in a row for all, so that a page of many models stays below 2 MB."""


@dataclass(frozen=True)
class ResponseCount:
    """An answer to a query and how often it came.

    Attributes:
        drawn: as circles.
        count, percent: how often, of all answers in its cell.
        right: whether it is the right answer, or what the kind of probe has.
        marks: kinds of error.
    """

    drawn: Markup
    count: int
    percent: float
    right: bool
    marks: tuple[str, ...]


@dataclass(frozen=True)
class ResponseCell:
    """What people or a model answered to a query.

    Attributes:
        column: whose.
        n: how many answers.
        right: percent that are right or consistent; None where nothing is.
        first, rest: answers, most frequent first, and those to fold.
        others: how many answers are shown nowhere, all of them rarer.
    """

    column: ModelColumn
    n: int
    right: float | None
    first: tuple[ResponseCount, ...]
    rest: tuple[ResponseCount, ...]
    others: int


@dataclass(frozen=True)
class QueryRow:
    """A query.

    Attributes:
        query: its words.
        note: what kind of query it is.
        study: study examples of its own, as words and circles.
        pool: symbols that may be used, as circles; empty if any.
        cells: one for each column; None where it was not answered.
    """

    query: str
    note: str
    study: tuple[tuple[str, Markup], ...]
    pool: Markup
    cells: tuple[ResponseCell | None, ...]


@dataclass(frozen=True)
class ResponseSection:
    """A task's answers.

    Attributes:
        columns: who answered.
        rows: the queries.
        study: the study examples that all queries share.
        legend: circles and what they are called.
        palette: how symbols look.
        right: what a tick means.
        marks: what other marks and notes mean.
    """

    columns: tuple[ModelColumn, ...]
    rows: tuple[QueryRow, ...]
    study: tuple[tuple[str, Markup], ...]
    legend: tuple[tuple[Markup, str], ...]
    palette: Palette
    right: str
    marks: tuple[tuple[str, str], ...]


def few_shot_responses(
    responses: pd.DataFrame, columns: tuple[ModelColumn, ...]
) -> ResponseSection:
    """Answers to queries after study examples, shown once where all share them."""
    study = _shared_study(responses)
    palette = response_palette(responses, [symbols for _, symbols in study])
    marked = responses.assign(
        right=responses["correct"].fillna(False).astype(bool),
        known=responses["correct"].notna(),
        note="",
    )
    answers = _response_section(marked, columns, palette, right="the right answer")
    shown = tuple((" ".join(words), symbols_html(palette, symbols)) for words, symbols in study)
    rows = tuple(replace(row, study=()) for row in answers.rows) if study else answers.rows
    return replace(answers, study=shown, rows=rows)


def probe_responses(responses: pd.DataFrame, columns: tuple[ModelColumn, ...]) -> ResponseSection:
    """Answers to probe trials, each with study examples and a pool of its own.

    Raises:
        FormatError: the column `study` cannot be read.
    """
    measured = annotate_trials(responses)
    marked = responses.assign(
        right=measured["consistent"].reindex(responses.index, fill_value=False).astype(bool),
        known=responses.index.isin(measured.index),
        note=measured["kind"].reindex(responses.index, fill_value=""),
        error_type="",
    )
    return _response_section(
        marked, columns, response_palette(responses), right="as the kind of probe has it"
    )


def response_palette(responses: pd.DataFrame, study: Iterable[Sequence[str]] = ()) -> Palette:
    """Looks of a task's symbols; what only an answer says has none unless it names a colour."""
    own = {symbol for symbols in study for symbol in symbols}
    for name in ("target", "pool"):
        own.update(s for text in responses[name].unique() for s in tokens(text))
    for text in responses["study"].unique():
        own.update(s for example in study_examples(text) for s in example.output)
    answered = {s for text in responses["response"].unique() for s in tokens(text)}
    if not own:
        # Nobody says which symbols belong to the task: plain names such as `A` do.
        own = {s for s in answered if s.isalnum() and len(s) <= 12}
    # The colour outside the study set comes last.
    order = [*sorted(own | answered - {UNDEFINED}), *(answered & {UNDEFINED})]
    return Palette.for_symbols([symbol for symbol in order if symbol not in own], sorted(own))


def symbols_html(palette: Palette, symbols: Sequence[str]) -> Markup:
    """Symbols as circles; what comes from tables is escaped by the palette."""
    return Markup(palette.html(symbols))


def _shared_study(responses: pd.DataFrame) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The study examples that all queries have, where the table says so; else the paper's."""
    texts = [text for text in responses["study"].unique() if text]
    if texts:
        return [(e.input, e.output) for e in study_examples(texts[0])] if len(texts) == 1 else []
    pairs = responses[["query", "target"]].drop_duplicates()
    for query, target in pairs.itertuples(index=False):
        if GOLD.interpret(tokens(query)) != tokens(target):
            return []
    inputs = [tokens(text) for text in GOLD_STUDY]
    return [(words, GOLD.interpret(words)) for words in inputs]


def _response_section(
    responses: pd.DataFrame, columns: tuple[ModelColumn, ...], palette: Palette, right: str
) -> ResponseSection:
    shown = select(columns, set(responses["model"]))
    folded = min(MAX_FOLDED, MAX_PER_ROW // max(1, len(shown)))
    keys = ["item", "query", "study", "pool", "note"]
    groups = dict(iter(responses.groupby(["model", "item"], sort=False)))
    rows = []
    for item, query, study, pool, note in (
        responses[keys].drop_duplicates("item").itertuples(index=False)
    ):
        cells = tuple(
            _response_cell(column, groups[column.name, item], palette, folded)
            if (column.name, item) in groups
            else None
            for column in shown
        )
        examples = tuple(
            (" ".join(e.input), symbols_html(palette, e.output)) for e in study_examples(study)
        )
        symbols = symbols_html(palette, tokens(pool)) if pool else Markup()
        rows.append(QueryRow(query, note, examples, symbols, cells))
    found = {mark for text in responses["error_type"].unique() for mark in tokens(text)}
    found.update(responses["note"].unique())
    legend = tuple((Markup(circle), name) for circle, name in palette.legend())
    marks = tuple((mark, meaning) for mark, meaning in MARK_LABELS.items() if mark in found)
    return ResponseSection(shown, tuple(rows), (), legend, palette, right, marks)


def _response_cell(
    column: ModelColumn, rows: pd.DataFrame, palette: Palette, max_folded: int
) -> ResponseCell:
    counts = Counter(rows["response"])
    facts = rows.drop_duplicates("response").set_index("response")
    marks = {str(of): tokens(str(text)) for of, text in facts["error_type"].items()}
    answers = tuple(
        ResponseCount(
            symbols_html(palette, tokens(response)),
            count,
            100 * count / len(rows),
            bool(facts.at[response, "right"]),
            tuple(mark for mark in marks[response] if mark != "other"),
        )
        for response, count in counts.most_common()
    )
    # One more takes no more room than the line that says there is one.
    shown = MAX_VISIBLE + 1 if len(answers) == MAX_VISIBLE + 1 else MAX_VISIBLE
    right = 100 * float(rows["right"].mean()) if rows["known"].any() else None
    last = shown + max_folded
    others = sum(answer.count for answer in answers[last:])
    return ResponseCell(column, len(rows), right, answers[:shown], answers[shown:last], others)
