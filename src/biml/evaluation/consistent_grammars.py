"""All grammars of the meta-grammar that give the study examples, by exact search, and readings.

Each grammar has the prior probability of its rules under the meta-grammar. A *reading* of a query
is an output that at least one of them gives it; its posterior probability is the share of their
prior. So a response that is no reading contradicts the study examples, and one that is a reading
but not the most probable one does not.

>>> from biml.episodes.episode import Example
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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, permutations, product

from biml.episodes.episode import Example
from biml.episodes.transforms import primitive_meanings
from biml.grammar import Grammar, MetaGrammar, Rule
from biml.grammar.meta_grammar import COLOURS, CONCATENATION

META = MetaGrammar()

Words = tuple[str, ...]
Symbols = tuple[str, ...]
Kinds = tuple[str, ...]
"""The variables of a function: `u` binds one word, `x` one or more."""

Template = tuple[int, ...]
"""A right-hand side, as indices of arguments."""

KINDS: dict[Kinds, float] = {
    **{(kind,): META.p_one_argument / 2 for kind in "ux"},
    **{(a, b): (1 - META.p_one_argument) / 4 for a in "ux" for b in "ux"},
}
"""Prior probability of each pair of variables."""


# --- parsing of inputs


@dataclass(frozen=True)
class Node:
    """A function and its arguments, or (function None) a concatenation of two parts."""

    function: str | None
    parts: "tuple[Tree, ...]"


Tree = str | Node
"""A primitive or a composite."""


def parse(words: Words, rules: Sequence[tuple[str, Kinds]], known: set[str]) -> Tree | None:
    """Parse an input with rules in this order; None if a word is unknown."""
    if len(words) == 1:
        return words[0] if words[0] in known else None
    node: tuple[str | None, tuple[Words, ...]] = (None, (words[:1], words[1:]))
    for function, kinds in rules:
        arguments = _match(words, function, kinds)
        if arguments is not None:
            node = (function, arguments)
            break
    parts = [parse(part, rules, known) for part in node[1]]
    whole = tuple(part for part in parts if part is not None)
    return Node(node[0], whole) if len(whole) == len(parts) else None


def _match(words: Words, function: str, kinds: Kinds) -> tuple[Words, ...] | None:
    """The arguments if the left-hand side matches the whole input; `x` is greedy."""
    if len(kinds) == 1:
        fits = words[-1] == function and (len(words) == 2 or kinds == ("x",))
        return (words[:-1],) if fits else None
    for at in range(len(words) - 2, 0, -1):
        parts = words[:at], words[at + 1 :]
        if words[at] == function and all(
            kind == "x" or len(part) == 1 for kind, part in zip(kinds, parts, strict=True)
        ):
            return parts
    return None


def functions_in(tree: Tree) -> frozenset[str]:
    if isinstance(tree, str):
        return frozenset()
    own = frozenset() if tree.function is None else frozenset({tree.function})
    return own.union(*map(functions_in, tree.parts))


def value(
    tree: Tree, symbols: Mapping[str, str], templates: Mapping[str, Template]
) -> Symbols | None:
    """The output of a parsed input; None if a function is unknown."""
    if isinstance(tree, str):
        return (symbols[tree],)
    template = (0, 1) if tree.function is None else templates.get(tree.function)
    arguments = values(tree.parts, symbols, templates)
    if template is None or arguments is None:
        return None
    return tuple(symbol for item in template for symbol in arguments[item])


def values(
    trees: Iterable[Tree], symbols: Mapping[str, str], templates: Mapping[str, Template]
) -> tuple[Symbols, ...] | None:
    """The outputs of several parsed inputs; None if one is unknown."""
    found = [value(tree, symbols, templates) for tree in trees]
    known = tuple(each for each in found if each is not None)
    return known if len(known) == len(found) else None


# --- right-hand sides


@lru_cache
def right_hand_sides(arity: int) -> dict[Template, float]:
    """All right-hand sides with their prior probabilities."""
    found = {}
    for length in range(2, META.max_rhs + 1):
        ends = 1.0 if length == META.max_rhs else META.p_stop
        of_length = (1 - META.p_stop) ** (length - 2) * ends
        for template in product(range(arity), repeat=length):
            counts = [template.count(item) for item in range(arity)]
            if min(counts):
                appended = [count - 1 for count in counts]
                ways = _orders(appended) / arity ** sum(appended)
                found[template] = of_length * ways / _orders(counts)
    return found


def _orders(counts: Sequence[int]) -> float:
    """The number of distinct orders of items with these multiplicities."""
    return math.factorial(sum(counts)) / math.prod(map(math.factorial, counts))


@lru_cache(maxsize=200_000)
def templates_for(arguments: tuple[Symbols, ...], output: Symbols) -> frozenset[Template]:
    """The right-hand sides that map these arguments to this output."""
    return frozenset(
        template
        for template in right_hand_sides(len(arguments))
        if tuple(symbol for item in template for symbol in arguments[item]) == output
    )


# --- the search


@dataclass(frozen=True)
class ConsistentGrammar:
    """A grammar that produces all study examples; words in none of them are left out.

    Attributes:
        functions: left-hand sides in their order, one choice of several with the same parses.
        symbols: the symbol of each primitive.
        templates: the right-hand side of each function.
        trees: the parse of each query; None if there is none.
        prior: its prior probability, not normalised.
    """

    functions: tuple[tuple[str, Kinds], ...]
    symbols: Mapping[str, str]
    templates: Mapping[str, Template]
    trees: tuple[Tree | None, ...]
    prior: float

    @property
    def grammar(self) -> Grammar:
        rules = [Rule((word,), (symbol,)) for word, symbol in self.symbols.items()]
        for function, kinds in self.functions:
            pair = kinds[0] == kinds[-1]
            variables = [f"{kind}{i if pair else 1}" for i, kind in enumerate(kinds, 1)]
            lhs = (variables[0], function, *variables[1:])
            rhs = tuple([f"[{variables[item]}]" for item in self.templates[function]])
            rules.append(Rule(lhs, rhs))
        return Grammar((*rules, CONCATENATION))


def consistent_grammars(
    study: Sequence[Example],
    queries: Sequence[Words],
    new_words: Iterable[str] = (),
    deadline: float = math.inf,
) -> Iterator[ConsistentGrammar]:
    """Yield all grammars that produce these study examples.

    Args:
        new_words: words of queries to parse as primitives although no study example has them.
        deadline: a time of `time.monotonic` after which TimeoutError is raised.
    """
    words = sorted({word for example in study for word in example.input})
    colours = sorted({symbol for example in study for symbol in example.output})
    alone = primitive_meanings(study)
    if len(set(alone.values())) < len(alone):
        return  # Primitives have different symbols.
    open_words = [word for word in words if word not in alone]
    open_colours = [colour for colour in colours if colour not in alone.values()]
    # Every argument occurs in the output, so that the symbol of each primitive is observed.
    for others in combinations(open_words, len(open_colours)):
        functions = [word for word in open_words if word not in others]
        if len(functions) > META.n_functions:
            continue
        known = {*alone, *others}
        parses = _parses(study, queries, functions, known, {*known, *new_words}, deadline)
        for order in permutations(open_colours):
            symbols = {**alone, **dict(zip(others, order, strict=True))}
            for (trees, query_trees), (rules, weight) in parses.items():
                examples = [(tree, e.output) for tree, e in zip(trees, study, strict=True)]
                for templates in _solve(examples, symbols, {}, deadline):
                    prior = weight
                    for template in templates.values():
                        prior *= right_hand_sides(len(set(template)))[template]
                    yield ConsistentGrammar(rules, symbols, templates, query_trees, prior)


Parses = tuple[tuple[Tree, ...], tuple[Tree | None, ...]]
LeftHandSides = tuple[tuple[str, Kinds], ...]


def _parses(
    study: Sequence[Example],
    queries: Sequence[Words],
    functions: Sequence[str],
    known: set[str],
    known_in_queries: set[str],
    deadline: float,
) -> dict[Parses, tuple[LeftHandSides, float]]:
    """All parses of study examples and queries, with left-hand sides and their total prior."""
    found: dict[Parses, tuple[LeftHandSides, float]] = {}
    for order in permutations(functions):
        for kinds in product(KINDS, repeat=len(functions)):
            _check_time(deadline)
            rules = tuple(zip(order, kinds, strict=True))
            trees = []
            for example in study:
                tree = parse(example.input, rules, known)
                if tree is None:
                    break
                trees.append(tree)
            else:
                query_trees = tuple(parse(query, rules, known_in_queries) for query in queries)
                first, weight = found.get((tuple(trees), query_trees), (rules, 0.0))
                weight += math.prod(KINDS[kind] for kind in kinds)
                found[tuple(trees), query_trees] = first, weight
    return found


def _check_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError


def _solve(
    examples: Sequence[tuple[Tree, Symbols]],
    symbols: Mapping[str, str],
    templates: dict[str, Template],
    deadline: float,
) -> Iterator[dict[str, Template]]:
    """Yield all right-hand sides of the functions in these trees that give the outputs."""
    unknown = [(functions_in(tree) - templates.keys(), tree, output) for tree, output in examples]
    for functions, tree, output in unknown:
        if not functions and value(tree, symbols, templates) != output:
            return
    rest = [each for each in unknown if each[0]]
    if not rest:
        yield templates
        return
    function = min(min(rest, key=lambda each: len(each[0]))[0])
    informative = [(tree, output) for functions, tree, output in rest if functions == {function}]
    others = [(tree, output) for functions, tree, output in rest if functions != {function}]
    for template in _candidates(function, informative or others, symbols, templates):
        _check_time(deadline)
        with_it = {**templates, function: template}
        if all(value(tree, symbols, with_it) == output for tree, output in informative):
            yield from _solve(others, symbols, with_it, deadline)


def _candidates(
    function: str,
    examples: Sequence[tuple[Tree, Symbols]],
    symbols: Mapping[str, str],
    templates: Mapping[str, Template],
) -> Iterator[Template]:
    """Right-hand sides consistent with the uses of a function whose arguments are known."""
    left: frozenset[Template] | None = None
    for tree, output in examples:
        if isinstance(tree, Node) and tree.function == function:
            arguments = values(tree.parts, symbols, templates)
            if arguments is not None:
                found = templates_for(arguments, output)
                left = found if left is None else left & found
    yield from right_hand_sides(_arity(function, examples)) if left is None else left


def _arity(function: str, examples: Sequence[tuple[Tree, Symbols]]) -> int:
    """The number of arguments of a function in these trees."""
    stack = [tree for tree, _ in examples]
    while stack:
        tree = stack.pop()
        if isinstance(tree, Node):
            if tree.function == function:
                return len(tree.parts)
            stack.extend(tree.parts)
    raise AssertionError(f"{function} is in no tree")


# --- readings of a query

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
        new_words: words of the query that no study example has. They are taken for primitives with
            unused symbols, all equally probable.
    """

    readings: tuple[Reading, ...]
    n_grammars: int
    complete: bool
    new_words: tuple[str, ...]


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
    """
    in_study = {word for example in study for word in example.input}
    used = {symbol for example in study for symbol in example.output}
    new_words = tuple(dict.fromkeys(word for word in query if word not in in_study))
    unused = [symbol for symbol in symbols if symbol not in used]
    meanings = [
        dict(zip(new_words, order, strict=True)) for order in permutations(unused, len(new_words))
    ]
    weights: defaultdict[Symbols, float] = defaultdict(float)
    best: dict[Symbols, tuple[float, ConsistentGrammar]] = {}
    n_grammars, complete = 0, True
    try:
        for found in consistent_grammars(study, [query], new_words, time.monotonic() + seconds):
            n_grammars += 1
            (tree,) = found.trees
            if tree is None:
                continue
            for meaning in meanings:
                whole = replace(found, symbols={**found.symbols, **meaning})
                output = value(tree, whole.symbols, whole.templates)
                if output is not None and len(output) <= MAX_READING:
                    weights[output] += found.prior
                    if output not in best or best[output][0] < found.prior:
                        best[output] = found.prior, whole
    except TimeoutError:
        complete = False
    total = sum(weights.values())
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    readings = tuple(Reading(out, p / total, best[out][1].grammar) for out, p in ranked)
    return Readings(readings, n_grammars, complete, new_words)
