"""Open-ended answer sheets as cards with their patterns."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pandas as pd
from markupsafe import Markup

from biml.behaviour.open_ended import response_patterns
from biml.behaviour.responses import RESPONSE_SET_KEYS, tokens
from biml.episodes.circles import Palette
from biml.report.answers import symbols_html, response_palette
from biml.report.columns import ModelColumn, select
from biml.report.words import PATTERN_DESCRIPTIONS, PATTERN_LABELS

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
