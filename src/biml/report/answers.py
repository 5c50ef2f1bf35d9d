"""Responses side by side: a row for each query, people and models in columns."""

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
from biml.evaluation.intervals import share_interval, wilson_interval
from biml.grammar import GOLD
from biml.grammar.meta_grammar import GOLD_STUDY
from biml.report.html_tables import (
    ERROR_LABELS,
    PATTERN_DESCRIPTIONS,
    PATTERN_LABELS,
    PROBE_LABELS,
    ModelColumn,
    ModelColumns,
    select,
)
from biml.vocabulary import UNDEFINED

MAX_VISIBLE_SETS, MAX_SETS_PER_MODEL = 12, 100
"""Response sets of a model that are visible at first, and in all."""

MAX_SETS = 600
"""Response sets of all models, so that a page of many models stays below 2 MB."""

MAX_VISIBLE, MAX_FOLDED = 4, 20
"""Different responses in a cell that are visible at first, and more that unfold."""

MAX_PER_ROW = 160
"""Unfolding responses of all cells of a row, so that the page stays below 2 MB."""

_GOLD_INPUTS = [tokens(text) for text in GOLD_STUDY]

MARK_LABELS = ERROR_LABELS | PROBE_LABELS

Symbols = tuple[str, Markup]
"""A text with symbols as circles: a query with its response, or a study example."""


@dataclass(frozen=True)
class ResponseSetCard:
    """The responses of one participant or one sample to all queries."""

    name: str
    responses: tuple[Symbols, ...]
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class ModelResponseSets:
    """The n response sets of people or a model; cards of some, the first of them unfolded."""

    column: ModelColumn
    n: int
    percentages: tuple[tuple[str, float, tuple[float, float]], ...]  # by pattern, with intervals
    first: tuple[ResponseSetCard, ...]
    rest: tuple[ResponseSetCard, ...]


@dataclass(frozen=True)
class OpenEndedSection:
    """The response sets of the open-ended task."""

    sets: tuple[ModelResponseSets, ...]
    palette: Palette
    patterns: tuple[tuple[str, str], ...]  # with their meanings


@dataclass(frozen=True)
class ResponseCount:
    """A response to a query and how often it was given."""

    symbols: Markup
    count: int
    percent: float
    interval: tuple[float, float]
    correct: bool  # or consistent with the kind of probe
    marks: tuple[str, ...]  # types of error


@dataclass(frozen=True)
class ResponseCell:
    """The n responses of people or a model to a query, the most frequent first.

    `percent` of correct or consistent responses, with its 95% interval, is None where no response
    can be; `n_hidden` responses are rarer than those listed.
    """

    n: int
    percent: float | None
    interval: tuple[float, float]
    first: tuple[ResponseCount, ...]
    rest: tuple[ResponseCount, ...]  # folded
    n_hidden: int


@dataclass(frozen=True)
class QueryRow:
    """A query with its kind of trial, study examples and allowed outputs; a cell per column."""

    query: str
    note: str
    study: tuple[Symbols, ...]
    allowed_outputs: Markup
    cells: tuple[ResponseCell | None, ...]


@dataclass(frozen=True)
class ResponseSection:
    """The responses of a task: a row for each query, and what its marks mean."""

    task: str
    columns: ModelColumns
    rows: tuple[QueryRow, ...]
    palette: Palette
    correct: str  # the meaning of a tick
    marks: tuple[tuple[str, str], ...]  # other marks and kinds of trial, with their meanings
    study: tuple[Symbols, ...] = ()  # the examples that all queries share
    is_published: bool = True  # the task is that of the paper


def few_shot_responses(responses: pd.DataFrame, columns: ModelColumns) -> ResponseSection:
    """Responses to queries after study examples, which are listed once where all share them."""
    study = _shared_study(responses)
    palette = response_palette(responses, [symbols for _, symbols in study])
    marked = responses.assign(
        right=responses["correct"].fillna(False).astype(bool),
        known=responses["correct"].notna(),
        note="",
    )
    section = _response_section(marked, columns, palette, correct="correct")
    if not study:
        return section
    pairs = tuple((" ".join(words), symbols_html(palette, symbols)) for words, symbols in study)
    is_published = set(study) == {(words, GOLD.interpret(words)) for words in _GOLD_INPUTS}
    section = replace(section, is_published=is_published)
    return replace(section, study=pairs, rows=tuple(replace(row, study=()) for row in section.rows))


def probe_responses(responses: pd.DataFrame, columns: ModelColumns) -> ResponseSection:
    """Responses to probe trials, each with its own study examples and allowed outputs."""
    measured = annotate_trials(responses)
    marked = responses.assign(
        right=measured["consistent"].reindex(responses.index, fill_value=False).astype(bool),
        known=responses.index.isin(measured.index),
        note=measured["kind"].reindex(responses.index, fill_value=""),
        error_type="",
    )
    palette = response_palette(responses)
    return _response_section(marked, columns, palette, correct="consistent with the kind of trial")


def open_ended_responses(responses: pd.DataFrame, columns: ModelColumns) -> OpenEndedSection:
    """The response sets of people and models, shorter queries first."""
    palette = response_palette(responses)
    patterns = response_patterns(responses)
    sets = []
    shown = select(columns, set(responses["model"]))
    most = min(MAX_SETS_PER_MODEL, MAX_SETS // max(1, len(shown)))
    for column in shown:
        table = patterns[patterns["model"] == column.name]
        percentages = tuple(
            (text, 100 * share, wilson_interval(share, len(table)))
            for name, text in PATTERN_LABELS.items()
            for share in [float(table[name].mean())]
        )
        rows = responses[responses["model"] == column.name]
        cards = tuple(islice(_response_set_cards(rows, table, palette), most))
        first, rest = cards[:MAX_VISIBLE_SETS], cards[MAX_VISIBLE_SETS:]
        sets.append(ModelResponseSets(column, len(table), percentages, first, rest))
    meanings = tuple((PATTERN_LABELS[name], PATTERN_DESCRIPTIONS[name]) for name in PATTERN_LABELS)
    return OpenEndedSection(tuple(sets), palette, meanings)


def _response_set_cards(
    responses: pd.DataFrame, patterns: pd.DataFrame, palette: Palette
) -> Iterator[ResponseSetCard]:
    groups = responses.groupby(RESPONSE_SET_KEYS, sort=False, dropna=False)
    for (_, rows), (_, has) in zip(groups, patterns.iterrows(), strict=True):
        participant = has["participant"]
        name = f"Participant {participant}" if participant else f"Sample {int(has['sample']) + 1}"
        pairs = sorted(
            zip(rows["query"], rows["response"], strict=True), key=lambda p: len(tokens(p[0]))
        )
        yield ResponseSetCard(
            name,
            tuple((query, symbols_html(palette, tokens(answer))) for query, answer in pairs),
            tuple(label for pattern, label in PATTERN_LABELS.items() if has[pattern]),
        )


def response_palette(responses: pd.DataFrame, study: Iterable[Sequence[str]] = ()) -> Palette:
    """Circles of a task's symbols; symbols that only responses have are circles if colours."""
    own = {symbol for symbols in study for symbol in symbols}
    for name in ("target", "allowed_outputs"):
        own.update(s for text in responses[name].unique() for s in tokens(text))
    for text in responses["study"].unique():
        own.update(s for example in study_examples(text) for s in example.output)
    given = {s for text in responses["response"].unique() for s in tokens(text)}
    if not own:
        # The table does not say which symbols belong to the task: plain names such as `A` do.
        own = {s for s in given if s.isalnum() and len(s) <= 12}
    # The colour outside the study set comes last.
    order = [*sorted(own | given - {UNDEFINED}), *(given & {UNDEFINED})]
    return Palette.for_symbols([symbol for symbol in order if symbol not in own], sorted(own))


def symbols_html(palette: Palette, symbols: Sequence[str]) -> Markup:
    """Symbols as circles; the palette escapes what comes from tables."""
    return Markup(palette.html(symbols))


def _shared_study(responses: pd.DataFrame) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The study examples of all queries: those of the table, or the paper's if targets agree."""
    texts = [text for text in responses["study"].unique() if text]
    if texts:
        return [(e.input, e.output) for e in study_examples(texts[0])] if len(texts) == 1 else []
    pairs = responses[["query", "target"]].drop_duplicates()
    if any(GOLD.interpret(tokens(q)) != tokens(t) for q, t in pairs.itertuples(index=False)):
        return []
    return [(words, GOLD.interpret(words)) for words in _GOLD_INPUTS]


def _response_section(
    responses: pd.DataFrame, columns: ModelColumns, palette: Palette, correct: str
) -> ResponseSection:
    shown = select(columns, set(responses["model"]))
    max_folded = min(MAX_FOLDED, MAX_PER_ROW // max(1, len(shown)))
    keys = ["item", "query", "study", "allowed_outputs", "note"]
    groups = dict(iter(responses.groupby(["model", "item"], sort=False)))
    rows = []
    for item, query, study, pool, note in (
        responses[keys].drop_duplicates("item").itertuples(index=False)
    ):
        cells = tuple(
            _response_cell(groups[column.name, item], palette, max_folded)
            if (column.name, item) in groups
            else None
            for column in shown
        )
        examples = tuple(
            (" ".join(e.input), symbols_html(palette, e.output)) for e in study_examples(study)
        )
        allowed = symbols_html(palette, tokens(pool)) if pool else Markup()
        rows.append(QueryRow(query, note, examples, allowed, cells))
    used = {mark for text in responses["error_type"].unique() for mark in tokens(text)}
    used.update(responses["note"].unique())
    marks = tuple((mark, meaning) for mark, meaning in MARK_LABELS.items() if mark in used)
    task = str(responses["task"].iloc[0])
    return ResponseSection(task, shown, tuple(rows), palette, correct, marks)


def _response_cell(rows: pd.DataFrame, palette: Palette, max_folded: int) -> ResponseCell:
    facts = rows.drop_duplicates("response").set_index("response")
    marks = {str(of): tokens(str(text)) for of, text in facts["error_type"].items()}
    counts = tuple(
        ResponseCount(
            symbols_html(palette, tokens(response)),
            count,
            100 * count / len(rows),
            wilson_interval(count / len(rows), len(rows)),
            bool(facts.at[response, "right"]),
            tuple(mark for mark in marks[response] if mark != "other"),
        )
        for response, count in Counter(rows["response"]).most_common()
    )
    # One more takes no more room than the line "1 more".
    visible = MAX_VISIBLE + 1 if len(counts) == MAX_VISIBLE + 1 else MAX_VISIBLE
    percent = 100 * float(rows["right"].mean()) if rows["known"].any() else None
    interval = share_interval(rows["right"].tolist(), rows["participant"].tolist())
    last = visible + max_folded
    n_hidden = sum(one.count for one in counts[last:])
    folded = counts[visible:last]
    return ResponseCell(len(rows), percent, interval, counts[:visible], folded, n_hidden)
