"""Answers side by side: a row for each query, people and models in columns."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd
from markupsafe import Markup

from biml.behaviour.probes import trials
from biml.behaviour.responses import study_examples, words_of
from biml.episodes.circles import Palette
from biml.episodes.transforms import UNDEFINED
from biml.grammar import GOLD
from biml.grammar.gold import GOLD_STUDY
from biml.report.columns import Column, among
from biml.report.words import ERRORS, PROBES

MARKS = ERRORS | PROBES
"""What kinds of error and of probe are."""

SHOWN = 4
"""Different answers that are shown before the rest is folded."""


FOLDED = 20
"""Different answers that are folded; those after them are only counted."""

TOGETHER = 160
"""The same in a row for all, so that a page of many models stays below 2 MB."""


@dataclass(frozen=True)
class Answer:
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
class Cell:
    """What people or a model answered to a query.

    Attributes:
        column: whose.
        n: how many answers.
        right: percent that are right or consistent; None where nothing is.
        first, rest: answers, most frequent first, and those to fold.
        others: how many answers are shown nowhere, all of them rarer.
    """

    column: Column
    n: int
    right: float | None
    first: tuple[Answer, ...]
    rest: tuple[Answer, ...]
    others: int


@dataclass(frozen=True)
class Row:
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
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Answers:
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

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    study: tuple[tuple[str, Markup], ...]
    legend: tuple[tuple[Markup, str], ...]
    palette: Palette
    right: str
    marks: tuple[tuple[str, str], ...]


def few_shot_answers(responses: pd.DataFrame, columns: tuple[Column, ...]) -> Answers:
    """Answers to queries after study examples, shown once where all share them."""
    study = _shared_study(responses)
    palette = palette_of(responses, [symbols for _, symbols in study])
    marked = responses.assign(
        right=responses["correct"].fillna(False).astype(bool),
        known=responses["correct"].notna(),
        note="",
    )
    answers = _answers(marked, columns, palette, right="the right answer")
    shown = tuple((" ".join(words), drawn(palette, symbols)) for words, symbols in study)
    rows = tuple(replace(row, study=()) for row in answers.rows) if study else answers.rows
    return replace(answers, study=shown, rows=rows)


def probe_answers(responses: pd.DataFrame, columns: tuple[Column, ...]) -> Answers:
    """Answers to probe trials, each with study examples and a pool of its own.

    Raises:
        FormatError: the column `study` cannot be read.
    """
    measured = trials(responses)
    marked = responses.assign(
        right=measured["consistent"].reindex(responses.index, fill_value=False).astype(bool),
        known=responses.index.isin(measured.index),
        note=measured["kind"].reindex(responses.index, fill_value=""),
        error_type="",
    )
    return _answers(marked, columns, palette_of(responses), right="as the kind of probe has it")


def palette_of(responses: pd.DataFrame, study: Iterable[Sequence[str]] = ()) -> Palette:
    """Looks of a task's symbols; what only an answer says has none unless it names a colour."""
    own = {symbol for symbols in study for symbol in symbols}
    for name in ("target", "pool"):
        own.update(s for text in responses[name].unique() for s in words_of(text))
    for text in responses["study"].unique():
        own.update(s for example in study_examples(text) for s in example.symbols)
    answered = {s for text in responses["response"].unique() for s in words_of(text)}
    if not own:
        # Nobody says which symbols belong to the task: plain names such as `A` do.
        own = {s for s in answered if s.isalnum() and len(s) <= 12}
    # The colour outside the study set comes last.
    order = [*sorted(own | answered - {UNDEFINED}), *(answered & {UNDEFINED})]
    return Palette.of([symbol for symbol in order if symbol not in own], sorted(own))


def drawn(palette: Palette, symbols: Sequence[str]) -> Markup:
    """Symbols as circles; what comes from tables is escaped by the palette."""
    return Markup(palette.html(symbols))


def _shared_study(responses: pd.DataFrame) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The study examples that all queries have, where the table says so; else the paper's."""
    texts = [text for text in responses["study"].unique() if text]
    if texts:
        return [(e.words, e.symbols) for e in study_examples(texts[0])] if len(texts) == 1 else []
    pairs = responses[["query", "target"]].drop_duplicates()
    for query, target in pairs.itertuples(index=False):
        if GOLD.interpret(words_of(query)) != words_of(target):
            return []
    inputs = [words_of(text) for text in GOLD_STUDY]
    return [(words, GOLD.interpret(words)) for words in inputs]


def _answers(
    marked: pd.DataFrame, columns: tuple[Column, ...], palette: Palette, right: str
) -> Answers:
    shown = among(columns, set(marked["model"]))
    folded = min(FOLDED, TOGETHER // max(1, len(shown)))
    keys = ["item", "query", "study", "pool", "note"]
    groups = dict(iter(marked.groupby(["model", "item"], sort=False)))
    rows = []
    for item, query, study, pool, note in (
        marked[keys].drop_duplicates("item").itertuples(index=False)
    ):
        cells = tuple(
            _cell(column, groups[column.name, item], palette, folded)
            if (column.name, item) in groups
            else None
            for column in shown
        )
        examples = tuple(
            (" ".join(e.words), drawn(palette, e.symbols)) for e in study_examples(study)
        )
        symbols = drawn(palette, words_of(pool)) if pool else Markup()
        rows.append(Row(query, note, examples, symbols, cells))
    found = {mark for text in marked["error_type"].unique() for mark in words_of(text)}
    found.update(marked["note"].unique())
    legend = tuple((Markup(circle), name) for circle, name in palette.legend())
    marks = tuple((mark, meaning) for mark, meaning in MARKS.items() if mark in found)
    return Answers(shown, tuple(rows), (), legend, palette, right, marks)


def _cell(column: Column, rows: pd.DataFrame, palette: Palette, folded: int) -> Cell:
    counts = Counter(rows["response"])
    facts = rows.drop_duplicates("response").set_index("response")
    marks = {str(of): words_of(str(text)) for of, text in facts["error_type"].items()}
    answers = tuple(
        Answer(
            drawn(palette, words_of(response)),
            count,
            100 * count / len(rows),
            bool(facts.at[response, "right"]),
            tuple(mark for mark in marks[response] if mark != "other"),
        )
        for response, count in counts.most_common()
    )
    # One more takes no more room than the line that says there is one.
    shown = SHOWN + 1 if len(answers) == SHOWN + 1 else SHOWN
    right = 100 * float(rows["right"].mean()) if rows["known"].any() else None
    last = shown + folded
    others = sum(answer.count for answer in answers[last:])
    return Cell(column, len(rows), right, answers[:shown], answers[shown:last], others)
