"""Answers side by side: a row for each query, people and models in columns."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import pandas as pd
from markupsafe import Markup

from biml.analysis.open_ended import response_patterns
from biml.analysis.probes import annotate_trials
from biml.analysis.responses import RESPONSE_SET_KEYS, study_examples, tokens
from biml.episodes.palette import Palette
from biml.grammar import GOLD
from biml.grammar.gold import GOLD_STUDY
from biml.report.html_tables import (
    ERROR_LABELS,
    PATTERN_DESCRIPTIONS,
    PATTERN_LABELS,
    PROBE_LABELS,
    ModelColumn,
    select,
)
from biml.vocabulary import UNDEFINED

MAX_VISIBLE_SETS = 12
"""Sheets that are shown before the rest is folded."""

MAX_SETS_PER_MODEL = 100
"""Sheets of a model that a page holds."""

MAX_SETS = 600
"""Sheets of all, so that a page of many models stays below 2 MB."""


@dataclass(frozen=True)
class ResponseSetCard:
    """The answers of one participant, or one sample of a model.

    Attributes:
        name: the participant, or the number of the sheet.
        answers: each query with its answer as circles.
        patterns: those that the sheet has.
    """

    name: str
    answers: tuple[tuple[str, Markup], ...]
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class ModelResponseSets:
    """The sheets of people or a model.

    Attributes:
        column: whose.
        n: how many there are.
        counts: how many have each pattern, as (pattern, count, percent).
        first, rest: cards to show and to fold; may not be all.
    """

    column: ModelColumn
    n: int
    counts: tuple[tuple[str, int, float], ...]
    first: tuple[ResponseSetCard, ...]
    rest: tuple[ResponseSetCard, ...]


@dataclass(frozen=True)
class OpenEndedSection:
    """All sheets of the task.

    Attributes:
        sheets: one for people and each model.
        legend: circles and what they are called.
        palette: how symbols look.
        meanings: what each pattern is.
    """

    sheets: tuple[ModelResponseSets, ...]
    legend: tuple[tuple[Markup, str], ...]
    palette: Palette
    meanings: tuple[tuple[str, str], ...]


def open_ended_responses(
    responses: pd.DataFrame, columns: tuple[ModelColumn, ...]
) -> OpenEndedSection:
    """The cards of each that answered; shorter queries stand first."""
    palette = response_palette(responses)
    has = response_patterns(responses)
    sheets = []
    shown = select(columns, set(responses["model"]))
    most = min(MAX_SETS_PER_MODEL, MAX_SETS // max(1, len(shown)))
    for column in shown:
        theirs = responses[responses["model"] == column.name]
        table = has[has["model"] == column.name]
        counts = tuple(
            (PATTERN_LABELS[name], int(table[name].sum()), 100 * float(table[name].mean()))
            for name in PATTERN_LABELS
        )
        cards = [
            ResponseSetCard(
                name, tuple((q, symbols_html(palette, tokens(a))) for q, a in pairs), found
            )
            for name, pairs, found in islice(_response_set_cards(theirs, table), most)
        ]
        sheets.append(
            ModelResponseSets(
                column,
                len(table),
                counts,
                tuple(cards[:MAX_VISIBLE_SETS]),
                tuple(cards[MAX_VISIBLE_SETS:]),
            )
        )
    legend = tuple((Markup(circle), name) for circle, name in palette.legend())
    meanings = tuple((PATTERN_LABELS[name], PATTERN_DESCRIPTIONS[name]) for name in PATTERN_LABELS)
    return OpenEndedSection(tuple(sheets), legend, palette, meanings)


def _response_set_cards(
    responses: pd.DataFrame, table: pd.DataFrame
) -> Iterator[tuple[str, list[tuple[str, str]], tuple[str, ...]]]:
    groups = responses.groupby(RESPONSE_SET_KEYS, sort=False, dropna=False)
    for (_, answers), (_, has) in zip(groups, table.iterrows(), strict=True):
        known = has["participant"]
        name = f"Participant {known}" if known else f"Sheet {int(has['sample']) + 1}"
        pairs = zip(answers["query"], answers["response"], strict=True)
        found = tuple(label for pattern, label in PATTERN_LABELS.items() if has[pattern])
        yield name, sorted(pairs, key=lambda pair: len(tokens(pair[0]))), found


# === Answers side by side: a row for each query, people and models in columns.


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
    for name in ("target", "allowed_outputs"):
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
    keys = ["item", "query", "study", "allowed_outputs", "note"]
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
