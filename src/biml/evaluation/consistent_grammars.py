"""All grammars of the meta-grammar that give the study examples, by exact search.

Each has the prior probability of its rules under the meta-grammar. How study inputs are chosen is
left out of account.
"""

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations, product
from typing import NamedTuple

from biml.episodes.episode import Example
from biml.episodes.transforms import primitive_meanings
from biml.grammar import Grammar, MetaGrammar, Rule
from biml.grammar.meta_grammar import CONCATENATION

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


def parse(words: Words, rules: Sequence[tuple[str, Kinds]], known: Collection[str]) -> Tree | None:
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


MAX_OUTPUT = 10_000
"""Symbols of an output, which can grow exponentially with its input."""


def value(
    tree: Tree,
    symbols: Mapping[str, str],
    templates: Mapping[str, Template],
    most: int = MAX_OUTPUT,
) -> Symbols | None:
    """The output of a parsed input; None if a function is unknown, or for over `most` symbols."""
    if isinstance(tree, str):
        return (symbols[tree],)
    template = (0, 1) if tree.function is None else templates.get(tree.function)
    arguments = values(tree.parts, symbols, templates, most)
    if template is None or arguments is None:
        return None
    output = tuple(symbol for item in template for symbol in arguments[item])
    return output if len(output) <= most else None  # every part is in it


def values(
    trees: Iterable[Tree],
    symbols: Mapping[str, str],
    templates: Mapping[str, Template],
    most: int = MAX_OUTPUT,
) -> tuple[Symbols, ...] | None:
    """The outputs of several parsed inputs; None if one has no `value`."""
    found = [value(tree, symbols, templates, most) for tree in trees]
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


@dataclass
class Search:
    """The remaining budget of a search.

    Attributes:
        deadline: a time of `time.monotonic` after which the search raises TimeoutError.
        unsearched: at most the sum of the prior probabilities of grammars not yet yielded.
    """

    deadline: float = math.inf
    unsearched: float = math.inf


def consistent_grammars(
    study: Sequence[Example],
    queries: Sequence[Words],
    new_words: Iterable[str] = (),
    search: Search | None = None,
) -> Iterator[ConsistentGrammar]:
    """Yield all grammars that produce these study examples.

    Args:
        new_words: words of queries to parse as primitives although no study example has them.
        search: its time limit; without one it has none.
    """
    search = search or Search()
    words = sorted({word for example in study for word in example.input})
    colours = sorted({symbol for example in study for symbol in example.output})
    alone = primitive_meanings(study)
    if len(set(alone.values())) < len(alone):
        return  # Primitives have different symbols.
    open_words = [word for word in words if word not in alone]
    open_colours = [colour for colour in colours if colour not in alone.values()]
    # Every argument occurs in the output, so that the symbol of each primitive is observed.
    choices = [
        (others, tuple([word for word in open_words if word not in others]))
        for others in combinations(open_words, len(open_colours))
        if len(open_words) - len(others) <= META.n_functions
    ]
    orders = list(permutations(open_colours))
    # All left-hand sides of n functions have a prior of n!, and right-hand sides one of 1.
    search.unsearched = len(orders) * sum(math.factorial(len(f)) for _, f in choices)
    for others, functions in choices:
        known = frozenset([*alone, *others])
        with_new = known.union(new_words)
        parses = list(_parses(study, queries, functions, known, with_new, search.deadline))
        without_parse = math.factorial(len(functions)) - sum(each.prior for each in parses)
        search.unsearched -= len(orders) * without_parse
        for order in orders:
            symbols = {**alone, **dict(zip(others, order, strict=True))}
            for each in parses:
                examples = [(tree, e.output) for tree, e in zip(each.study, study, strict=True)]
                for templates in _solve(examples, symbols, {}, search.deadline):
                    prior = each.prior
                    for template in templates.values():
                        prior *= right_hand_sides(len(set(template)))[template]
                    yield ConsistentGrammar(each.rules, symbols, templates, each.queries, prior)
                search.unsearched -= each.prior


LeftHandSides = tuple[tuple[str, Kinds], ...]


class Parses(NamedTuple):
    """The parses of study examples and queries under some left-hand sides, one choice of several.

    `prior` is that of all left-hand sides with these parses.
    """

    study: tuple[Tree, ...]
    queries: tuple[Tree | None, ...]
    rules: LeftHandSides
    prior: float


def _parses(
    study: Sequence[Example],
    queries: Sequence[Words],
    functions: tuple[str, ...],
    known: frozenset[str],
    known_in_queries: frozenset[str],
    deadline: float,
) -> Iterator[Parses]:
    """Yield all parses in which every study example has one."""
    rules = _left_hand_sides(len(functions))
    # For each of the rules under which all examples so far have a parse, the numbers of the parses.
    found: dict[int, tuple[int, ...]] = dict.fromkeys(range(len(rules)), ())
    different: list[tuple[Tree | None, ...]] = []
    inputs = [*[(e.input, known) for e in study], *[(words, known_in_queries) for words in queries]]
    for words, names in inputs:
        _check_time(deadline)
        numbers, trees = _parse_all(words, functions, names, tuple(found))
        is_study = len(different) < len(study)
        different.append(trees)
        found = {
            i: (*before, n)
            for (i, before), n in zip(found.items(), numbers, strict=True)
            if not (is_study and trees[n] is None)
        }
    grouped: dict[tuple[int, ...], list[int]] = {}
    for i, numbers in found.items():
        grouped.setdefault(numbers, []).append(i)
    for numbers, members in grouped.items():
        parsed = [trees[n] for trees, n in zip(different, numbers, strict=True)]
        prior = sum(math.prod([KINDS[kinds] for _, kinds in rules[i]]) for i in members)
        study_trees = tuple([tree for tree in parsed[: len(study)] if tree is not None])
        first = _named(rules[members[0]], functions)
        yield Parses(study_trees, tuple(parsed[len(study) :]), first, prior)


@lru_cache(maxsize=1024)
def _parse_all(
    words: Words, functions: tuple[str, ...], known: frozenset[str], members: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[Tree | None, ...]]:
    """Parse an input under these of `_left_hand_sides`: numbers of parses, different parses."""
    present = tuple([i for i, function in enumerate(functions) if function in words])
    restricted, different = _restricted_to(present, len(functions))
    numbers: dict[Tree | None, int] = {}
    of_rules: dict[int, int] = {}
    for i in dict.fromkeys([restricted[i] for i in members]):
        tree = parse(words, _named(different[i], functions), known)
        of_rules[i] = numbers.setdefault(tree, len(numbers))
    return tuple([of_rules[restricted[i]] for i in members]), tuple(numbers)


NumberedRules = tuple[tuple[int, Kinds], ...]
"""Left-hand sides of functions that have numbers instead of names."""


@lru_cache
def _left_hand_sides(n: int) -> tuple[NumberedRules, ...]:
    """All orders and variables of `n` functions."""
    return tuple(
        tuple(zip(order, kinds, strict=True))
        for order in permutations(range(n))
        for kinds in product(KINDS, repeat=n)
    )


@lru_cache
def _restricted_to(
    present: tuple[int, ...], n: int
) -> tuple[tuple[int, ...], tuple[NumberedRules, ...]]:
    """The rules of some functions alone: for each of `_left_hand_sides` a number, and the rules."""
    different: dict[NumberedRules, int] = {}
    numbers = [
        different.setdefault(tuple([rule for rule in rules if rule[0] in present]), len(different))
        for rules in _left_hand_sides(n)
    ]
    return tuple(numbers), tuple(different)


def _named(rules: NumberedRules, functions: tuple[str, ...]) -> LeftHandSides:
    return tuple([(functions[number], kinds) for number, kinds in rules])


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
