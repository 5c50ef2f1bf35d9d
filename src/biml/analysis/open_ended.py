"""Behaviour in the open-ended task: which regular patterns an answer sheet has (paper, Fig. 4).

A sheet is the answers of one participant, or one sample of a model, to all its queries.
"""

from collections.abc import Sequence

import pandas as pd

from biml.analysis.responses import RESPONSE_SET_KEYS, tokens

QueryResponse = tuple[tuple[str, ...], tuple[str, ...]]
"""A query and its answer."""

PATTERNS = ("perfect", "one_to_one", "iconic", "mutual_exclusivity")


def is_one_to_one(pairs: Sequence[QueryResponse]) -> bool:
    """Whether every answer is as long as its query."""
    return all(len(words) == len(symbols) for words, symbols in pairs)


def is_iconic(pairs: Sequence[QueryResponse]) -> bool:
    """Whether one dictionary explains every answer from left to right.

    That is: each word can be given one series of one or more symbols, so that every answer is what
    its words stand for, in their order.

    >>> dax, both = (("dax",), ("RED", "RED")), (("lug", "dax"), ("BLUE", "RED", "RED"))
    >>> is_iconic([dax, both]), is_iconic([dax, (("dax", "lug"), ("BLUE", "RED", "RED"))])
    (True, False)
    """
    return _is_explained_by(tuple(pairs), {})


def is_mutually_exclusive(pairs: Sequence[QueryResponse]) -> bool:
    """Whether no two different queries have the same answer."""
    return len({symbols for _, symbols in pairs}) == len(set(pairs))


def is_perfect(pairs: Sequence[QueryResponse]) -> bool:
    """Whether each word always stands for one colour of its own, from left to right."""
    if not is_one_to_one(pairs):
        return False
    aligned = {pair for query, answer in pairs for pair in zip(query, answer, strict=True)}
    words, symbols = {word for word, _ in aligned}, {symbol for _, symbol in aligned}
    return len(aligned) == len(words) == len(symbols)


def response_patterns(responses: pd.DataFrame) -> pd.DataFrame:
    """Which patterns each answer sheet has.

    Returns:
        A row for each sheet: `model`, `seed`, `task`, `participant`, `sample`, how many `answers`
        it has, and for each pattern whether it has it.
    """
    rows = []
    for key, answers in responses.groupby(RESPONSE_SET_KEYS, sort=False, dropna=False):
        sheet = [
            (tokens(query), tokens(response))
            for query, response in zip(answers["query"], answers["response"], strict=True)
        ]
        rows.append(
            {
                **dict(zip(RESPONSE_SET_KEYS, key, strict=True)),
                "answers": len(sheet),
                "perfect": is_perfect(sheet),
                "one_to_one": is_one_to_one(sheet),
                "iconic": is_iconic(sheet),
                "mutual_exclusivity": is_mutually_exclusive(sheet),
            }
        )
    table = pd.DataFrame(rows, columns=[*RESPONSE_SET_KEYS, "answers", *PATTERNS])
    return table.astype({name: responses[name].dtype for name in RESPONSE_SET_KEYS})


def pattern_rates(responses: pd.DataFrame, *, by: Sequence[str] = ("model",)) -> pd.DataFrame:
    """How many answer sheets have each pattern.

    Returns:
        A row for each model: `sheets`; for each pattern how many have it, and `…_percent`.
    """
    grouped = response_patterns(responses).groupby(list(by), sort=False, dropna=False)
    table = grouped[list(PATTERNS)].sum().astype("int64")
    table.insert(0, "sheets", grouped.size())
    for name in PATTERNS:
        table[f"{name}_percent"] = 100 * table[name] / table["sheets"]
    return table.reset_index()


def _is_explained_by(
    pairs: tuple[QueryResponse, ...], meanings: dict[str, tuple[str, ...]]
) -> bool:
    """Whether the meanings so far can be extended to explain all pairs of the sheet."""
    if not pairs:
        return True
    # Queries with the fewest words of unknown meaning first: they leave the fewest choices.
    first, *rest = sorted(pairs, key=lambda pair: len(set(pair[0]).difference(meanings)))
    return any(_is_explained_by(tuple(rest), more) for more in _possible_meanings(*first, meanings))


def _possible_meanings(
    words: tuple[str, ...], symbols: tuple[str, ...], meanings: dict[str, tuple[str, ...]]
) -> list[dict[str, tuple[str, ...]]]:
    """Every way to give the words meanings by which they stand for the symbols."""
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
