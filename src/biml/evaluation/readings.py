"""Readings of a query: outputs that grammars consistent with the study examples give it.

The posterior probability of a reading is the share of its grammars in the prior. A response that is
no reading contradicts the study examples; one that is a reading, but not the most probable one,
does not.

>>> def example(words, symbols):
...     return Example(tuple(words.split()), tuple(symbols.split()))
>>> study = [example("dax", "RED"), example("wif", "BLUE"), example("dax fep wif", "RED BLUE RED")]
>>> for reading in find_readings(study, ("dax", "wif", "fep", "wif")).readings:
...     print(" ".join(reading.output), reading.probability)
RED BLUE BLUE BLUE 0.5
RED BLUE BLUE RED BLUE 0.5
"""

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from biml.arguments import python_api
from biml.episodes.episode import Example
from biml.errors import UsageError
from biml.evaluation.consistent_grammars import (
    ConsistentGrammar,
    Search,
    Symbols,
    Words,
    consistent_grammars,
    value,
)
from biml.grammar import Grammar
from biml.grammar.meta_grammar import COLOURS

MAX_MEANINGS = 10_000
"""Combinations of meanings of words without study example."""

MAX_READING = 20
"""Symbols of the longest output that counts as a reading."""


@dataclass(frozen=True)
class Reading:
    """An output that the study examples allow.

    Attributes:
        probability: posterior, of all grammars that give this output.
        grammar: the most probable of them; a query word that no study example has is a primitive.
    """

    output: Symbols
    probability: float
    grammar: Grammar


@dataclass(frozen=True)
class Readings:
    """The readings of a query, the most probable first.

    Attributes:
        n_grammars: grammars found that give the study examples.
        complete: whether the search ended within its time limit; else probabilities are those among
            the grammars found.
        unsearched: at most the share of the posterior probability that belongs to grammars which
            the search had not found when it was stopped.
        new_words: words of the query that no study example has. They are taken for primitives with
            unused symbols, all equally probable.
    """

    readings: tuple[Reading, ...]
    n_grammars: int
    complete: bool
    new_words: tuple[str, ...]
    unsearched: float = 0.0


@python_api
def find_readings(
    study: Sequence[Example],
    query: Words,
    symbols: Sequence[str] = COLOURS,
    seconds: float = math.inf,
) -> Readings:
    """Find the outputs that grammars consistent with the study examples give to a query.

    Args:
        symbols: those that a word without study example may stand for.
        seconds: time limit of the search.
    Raises:
        UsageError: the words without study example have too many possible meanings.
    """
    in_study = {word for example in study for word in example.input}
    used = {symbol for example in study for symbol in example.output}
    new_words = tuple(dict.fromkeys(word for word in query if word not in in_study))
    unused = [symbol for symbol in symbols if symbol not in used]
    if (n := math.perm(len(unused), len(new_words))) > MAX_MEANINGS:
        raise UsageError(
            f"{len(new_words)} words of the query have no study example, and {n:,} meanings with "
            f"the unused symbols; at most {MAX_MEANINGS:,} are tried"
        )
    meanings = [
        dict(zip(new_words, order, strict=True)) for order in permutations(unused, len(new_words))
    ]
    weights: defaultdict[Symbols, float] = defaultdict(float)
    best: dict[Symbols, tuple[float, ConsistentGrammar]] = {}
    n_grammars, complete, found_prior = 0, True, 0.0
    search = Search(time.monotonic() + seconds)
    try:
        for found in consistent_grammars(study, [query], new_words, search):
            n_grammars += 1
            found_prior += found.prior
            (tree,) = found.trees
            if tree is None:
                continue
            for meaning in meanings:
                whole = replace(found, symbols={**found.symbols, **meaning})
                output = value(tree, whole.symbols, whole.templates, MAX_READING)
                if output is not None:
                    weights[output] += found.prior
                    if output not in best or best[output][0] < found.prior:
                        best[output] = found.prior, whole
    except TimeoutError:
        complete = False
    total = sum(weights.values())
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    readings = tuple(Reading(out, p / total, best[out][1].grammar) for out, p in ranked)
    left = 0.0 if complete else search.unsearched / (search.unsearched + found_prior)
    return Readings(readings, n_grammars, complete, new_words, left)
