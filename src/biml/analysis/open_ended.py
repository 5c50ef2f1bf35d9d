"""Behaviour in the open-ended task: regular patterns of response sets (paper, Fig. 4).

A response set is the responses of one participant, or one sample of a model, to all queries.

>>> from biml.analysis.responses import response_table
>>> pairs = (("dax", "RED"), ("lug", "BLUE"), ("dax lug", "RED BLUE"))
>>> responses = response_table(
...     {"item": q, "query": q, "response": r, "participant": "P1"} for q, r in pairs
... )
>>> pattern_rates(responses)[["response_sets", "perfect_percent"]].values.tolist()
[[1.0, 100.0]]
"""

from collections.abc import Sequence

import pandas as pd

from biml.analysis.responses import RESPONSE_SET_KEYS, tokens
from biml.evaluation.intervals import wilson_interval
from biml.vocabulary import NO_SYMBOL

QueryResponse = tuple[tuple[str, ...], tuple[str, ...]]
"""The words of a query and the symbols of its response."""


def is_one_to_one(pairs: Sequence[QueryResponse]) -> bool:
    """Whether every response is as long as its query."""
    return all(len(words) == len(symbols) for words, symbols in pairs)


def is_iconic(pairs: Sequence[QueryResponse]) -> bool:
    """Whether one dictionary explains every response from left to right.

    Each word can be given a series of one or more symbols so that every response is the series of
    its words in their order.

    >>> dax, both = (("dax",), ("RED", "RED")), (("lug", "dax"), ("BLUE", "RED", "RED"))
    >>> is_iconic([dax, both]), is_iconic([dax, (("dax", "lug"), ("BLUE", "RED", "RED"))])
    (True, False)
    """
    return _is_explained_by(tuple(pairs), {})


def is_mutually_exclusive(pairs: Sequence[QueryResponse]) -> bool:
    """Whether different queries always have different responses."""
    return len({symbols for _, symbols in pairs}) == len(set(pairs))


def is_perfect(pairs: Sequence[QueryResponse]) -> bool:
    """Whether each word always maps to one symbol of its own, from left to right."""
    if not is_one_to_one(pairs):
        return False
    aligned = {pair for query, response in pairs for pair in zip(query, response, strict=True)}
    words, symbols = {word for word, _ in aligned}, {symbol for _, symbol in aligned}
    return len(aligned) == len(words) == len(symbols)


_PATTERN_TESTS = {
    "perfect": is_perfect,
    "one_to_one": is_one_to_one,
    "iconic": is_iconic,
    "mutual_exclusivity": is_mutually_exclusive,
}

PATTERNS = tuple(_PATTERN_TESTS)


def response_patterns(responses: pd.DataFrame) -> pd.DataFrame:
    """A row for each response set: its number of `responses`, and whether it has each pattern.

    A set with an answer of a language model that is no sequence of symbols has none.
    """
    rows = []
    for key, group in responses.groupby(RESPONSE_SET_KEYS, sort=False, dropna=False):
        queries, answers = map(tokens, group["query"]), map(tokens, group["response"])
        pairs = list(zip(queries, answers, strict=True))
        is_valid = all(NO_SYMBOL not in symbols for _, symbols in pairs)
        patterns = {name: is_valid and test(pairs) for name, test in _PATTERN_TESTS.items()}
        keys = dict(zip(RESPONSE_SET_KEYS, key, strict=True))
        rows.append({**keys, "responses": len(pairs), **patterns})
    table = pd.DataFrame(rows, columns=[*RESPONSE_SET_KEYS, "responses", *PATTERNS])
    return table.astype({name: responses[name].dtype for name in RESPONSE_SET_KEYS})


def pattern_rates(responses: pd.DataFrame, *, by: Sequence[str] = ("model",)) -> pd.DataFrame:
    """Percent of response sets with each pattern (Fig. 4).

    A row has the number of `response_sets`, and of each pattern the count, `…_percent` and its 95%
    interval over response sets, `…_low` and `…_high`.
    """
    grouped = response_patterns(responses).groupby(list(by), sort=False, dropna=False)
    table = grouped[list(PATTERNS)].sum().astype("int64")
    table.insert(0, "response_sets", grouped.size())
    for name in PATTERNS:
        shares = table[name] / table["response_sets"]
        table[f"{name}_percent"] = 100 * shares
        ends = [wilson_interval(*row) for row in zip(shares, table["response_sets"], strict=True)]
        table[[f"{name}_low", f"{name}_high"]] = ends
    return table.reset_index()


def _is_explained_by(
    pairs: tuple[QueryResponse, ...], meanings: dict[str, tuple[str, ...]]
) -> bool:
    """Whether the meanings so far can be extended to explain all pairs."""
    if not pairs:
        return True
    # Queries with the fewest unknown words first: they leave the fewest choices.
    first, *rest = sorted(pairs, key=lambda pair: len(set(pair[0]).difference(meanings)))
    return any(_is_explained_by(tuple(rest), more) for more in _possible_meanings(*first, meanings))


def _possible_meanings(
    words: tuple[str, ...], symbols: tuple[str, ...], meanings: dict[str, tuple[str, ...]]
) -> list[dict[str, tuple[str, ...]]]:
    """All extensions of the meanings by which the words give the symbols."""
    if not words:
        return [] if symbols else [meanings]
    word, rest = words[0], words[1:]
    if word in meanings:
        known = meanings[word]
        if symbols[: len(known)] != known:
            return []
        return _possible_meanings(rest, symbols[len(known) :], meanings)
    return [
        reading
        for end in range(1, len(symbols) - len(rest) + 1)
        for reading in _possible_meanings(rest, symbols[end:], {**meanings, word: symbols[:end]})
    ]
