"""Open-ended answer sheets as cards with their patterns."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pandas as pd
from markupsafe import Markup

from biml.behaviour.open_ended import patterns
from biml.behaviour.responses import SHEET, words_of
from biml.episodes.circles import Palette
from biml.report.answers import drawn, palette_of
from biml.report.columns import Column, among
from biml.report.words import MEANINGS, PATTERNS

SHOWN = 12
"""Sheets that are shown before the rest is folded."""

MOST = 100
"""Sheets of a model that a page holds."""

TOGETHER = 600
"""Sheets of all, so that a page of many models stays below 2 MB."""


@dataclass(frozen=True)
class Card:
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
class Sheets:
    """The sheets of people or a model.

    Attributes:
        column: whose.
        n: how many there are.
        counts: how many have each pattern, as (pattern, count, percent).
        first, rest: cards to show and to fold; may not be all.
    """

    column: Column
    n: int
    counts: tuple[tuple[str, int, float], ...]
    first: tuple[Card, ...]
    rest: tuple[Card, ...]


@dataclass(frozen=True)
class OpenEnded:
    """All sheets of the task.

    Attributes:
        sheets: one for people and each model.
        legend: circles and what they are called.
        palette: how symbols look.
        meanings: what each pattern is.
    """

    sheets: tuple[Sheets, ...]
    legend: tuple[tuple[Markup, str], ...]
    palette: Palette
    meanings: tuple[tuple[str, str], ...]


def open_ended(responses: pd.DataFrame, columns: tuple[Column, ...]) -> OpenEnded:
    """The cards of each that answered; shorter queries stand first."""
    palette = palette_of(responses)
    has = patterns(responses)
    sheets = []
    shown = among(columns, set(responses["model"]))
    most = min(MOST, TOGETHER // max(1, len(shown)))
    for column in shown:
        theirs = responses[responses["model"] == column.name]
        table = has[has["model"] == column.name]
        counts = tuple(
            (PATTERNS[name], int(table[name].sum()), 100 * float(table[name].mean()))
            for name in PATTERNS
        )
        cards = [
            Card(name, tuple((q, drawn(palette, words_of(a))) for q, a in pairs), found)
            for name, pairs, found in islice(_cards(theirs, table), most)
        ]
        sheets.append(
            Sheets(column, len(table), counts, tuple(cards[:SHOWN]), tuple(cards[SHOWN:]))
        )
    legend = tuple((Markup(circle), name) for circle, name in palette.legend())
    meanings = tuple((PATTERNS[name], MEANINGS[name]) for name in PATTERNS)
    return OpenEnded(tuple(sheets), legend, palette, meanings)


def _cards(
    responses: pd.DataFrame, table: pd.DataFrame
) -> Iterator[tuple[str, list[tuple[str, str]], tuple[str, ...]]]:
    groups = responses.groupby(SHEET, sort=False, dropna=False)
    for (_, answers), (_, has) in zip(groups, table.iterrows(), strict=True):
        known = has["participant"]
        name = f"Participant {known}" if known else f"Sheet {int(has['sample']) + 1}"
        pairs = zip(answers["query"], answers["response"], strict=True)
        found = tuple(label for pattern, label in PATTERNS.items() if has[pattern])
        yield name, sorted(pairs, key=lambda pair: len(words_of(pair[0]))), found
