"""Answers of language models as texts, read as responses: sequences of output symbols.

Every answer becomes a response. A word that is no symbol becomes `no_symbol`, and so does an answer
without words, so that an answer that is no sequence of symbols counts as an error of its own kind
and is never dropped.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from biml.evaluation.responder import Response
from biml.vocabulary import NO_SYMBOL

PARSER_VERSION = 2
"""Raised whenever an answer is read as another response than before."""

NO_ANSWER = "no answer"
EMPTY = "empty"
NO_SYMBOLS = "no symbols"
UNKNOWN_SYMBOL = "unknown symbol"
OUTSIDE_POOL = "outside the pool"
TOO_LONG = "too long"
NO_MARKER = "no marker"

ERROR_KINDS = {
    NO_ANSWER: "no text at all: the server answered with null",
    EMPTY: "nothing but white space",
    NO_SYMBOLS: "words, none of which is a symbol",
    UNKNOWN_SYMBOL: "symbols, and words that are none",
    OUTSIDE_POOL: "symbols, some of which the trial does not allow",
    TOO_LONG: "more symbols than the longest response has",
    NO_MARKER: "reasoning that never comes to the marker of the answer",
}
"""Why an answer is no sequence of symbols that the item allows."""

MAX_ANSWER_CHARACTERS = 20_000
"""Longer answers are cut there, whatever a server sends."""

_SEPARATORS = re.compile(r"[\s,;]+")
_AROUND = ".:!?\"'`*()[]<>|-→"


class Answer(NamedTuple):
    """A parsed answer; the error is a key of `ERROR_KINDS`, or empty."""

    response: Response
    error: str


def parse_answer(
    text: str | None,
    symbols: Sequence[str],
    *,
    pool: Sequence[str] | None = None,
    max_length: int,
    marker: str = "",
) -> Answer:
    """Read the first line with anything in it as symbols; None where a server gave no text.

    Symbols are separated by spaces or commas; punctuation around them and their case, where that is
    no difference between symbols, do not matter.

    Args:
        symbols: all output symbols of the episode.
        pool: those that a response may use, if not all.
        max_length: in symbols; the rest is cut.
        marker: of templates that let the model reason: the answer follows its last occurrence.

    >>> parse_answer(" red, RED\\n\\nwif -> BLUE", ["RED", "BLUE"], max_length=8)
    Answer(response=('RED', 'RED'), error='')
    >>> parse_answer("RED or so", ["RED", "BLUE"], max_length=8)
    Answer(response=('RED', 'no_symbol', 'no_symbol'), error='unknown symbol')
    >>> parse_answer("I do not know.", ["RED", "BLUE"], max_length=2)
    Answer(response=('no_symbol', 'no_symbol'), error='no symbols')
    """
    if text is None:
        return Answer((NO_SYMBOL,), NO_ANSWER)
    if marker:
        _, found, text = text.rpartition(marker)
        if not found:
            return Answer((NO_SYMBOL,), NO_MARKER)
    names = _names(symbols)
    lines = (_tokens(line, names) for line in text.splitlines())
    tokens = next((line for line in lines if line), [])
    if not tokens:
        return Answer((NO_SYMBOL,), EMPTY)
    response = tuple([names.get(token, names.get(token.lower(), NO_SYMBOL)) for token in tokens])
    n_unknown = response.count(NO_SYMBOL)
    cut = response[:max_length]
    if n_unknown == len(response):
        return Answer(cut, NO_SYMBOLS)
    if n_unknown:
        return Answer(cut, UNKNOWN_SYMBOL)
    if len(response) > max_length:
        return Answer(cut, TOO_LONG)
    if pool is not None and not set(response) <= set(pool):
        return Answer(cut, OUTSIDE_POOL)
    return Answer(cut, "")


def _names(symbols: Sequence[str]) -> dict[str, str]:
    """Symbols by their own names and, where that is unambiguous, by those in lower case."""
    lower: dict[str, list[str]] = {}
    for symbol in symbols:
        lower.setdefault(symbol.lower(), []).append(symbol)
    return {low: of[0] for low, of in lower.items() if len(of) == 1} | {s: s for s in symbols}


def _tokens(line: str, names: dict[str, str]) -> list[str]:
    """The words of a line; those that are symbols stay whole, whatever their punctuation."""
    parts = [part for part in _SEPARATORS.split(line) if part]
    stripped = [part if part in names else part.strip(_AROUND) for part in parts]
    return [part for part in stripped if part]
