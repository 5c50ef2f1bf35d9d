"""What could be answered at all: a learner that knows the meta-grammar and weighs every grammar.

For each validation episode an exact search finds all grammars that give its study examples; each is
weighed by how likely the meta-grammar is to draw its rules. The answer to a novel query is the one
that most weight agrees on. How likely the inputs of the study examples are to be drawn under a
grammar is left out, and a query with a word that no study example shows counts as wrong.

    python benchmarks/ceiling.py [--episodes 200] [--model NAME.pt]

With a model, its answers are compared with the learner's. It takes a minute or two.
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations, product

from rich.progress import track

import biml
from biml.episodes.datasets import validation_episodes
from biml.episodes.episode import Episode, Example
from biml.episodes.transforms import primitive_meanings
from biml.grammar import MetaGrammar
from biml.paths import DataFolders

META = MetaGrammar()

Words = tuple[str, ...]
Symbols = tuple[str, ...]
Kinds = tuple[str, ...]
"""What the arguments of a function stand for: `u`, one word, or `x`, one or more."""

Template = tuple[int, ...]
"""A right side: the numbers of arguments."""

KINDS: dict[Kinds, float] = {
    **{(kind,): META.p_one_argument / 2 for kind in "ux"},
    **{(a, b): (1 - META.p_one_argument) / 4 for a in "ux" for b in "ux"},
}
"""With their probabilities."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=200, help="the first so many (%(default)s)")
    parser.add_argument("--model", help="compare with the greedy answers of this model")
    args = parser.parse_args()
    episodes = validation_episodes(DataFolders())[: args.episodes]
    learned = [learn(episode) for episode in track(episodes, "searching")]
    queries = [query for episode in episodes for query in novel(episode)]
    ideal = [answer for answers in learned for answer in answers]
    right = [answer.symbols == q.output for answer, q in zip(ideal, queries, strict=True)]
    sure = sum(answer.weight for answer in ideal)
    print(f"{len(queries)} novel queries of {len(episodes)} episodes")
    print(f"answered exactly by the learner: {100 * sum(right) / len(right):.2f}%")
    print(f"as it expects itself:            {100 * sure / len(ideal):.2f}%")
    if args.model:
        responder = biml.load(args.model).responder
        asked = [Episode(e.study, tuple(novel(e)), grammar=e.grammar) for e in episodes]
        given = [tuple(answer) for answers in responder.respond(asked) for answer in answers]
        both = [(a == q.output, r) for a, q, r in zip(given, queries, right, strict=True)]
        print(f"by {args.model}: {100 * sum(model for model, _ in both) / len(both):.2f}%")
        for model, learner, words in (
            (False, True, "the learner alone"),
            (True, False, "the model alone"),
            (False, False, "neither"),
        ):
            print(f"  {words}: {100 * both.count((model, learner)) / len(both):.2f}%")


@dataclass(frozen=True)
class Answer:
    """What most of the weight agrees on, and how much of it; nothing for an unknown word."""

    symbols: Symbols | None
    weight: float


def novel(episode: Episode) -> list[Example]:
    return [query for query in episode.queries if not query.in_study]


def learn(episode: Episode) -> list[Answer]:
    """The learner's answers to the novel queries of an episode."""
    queries = [query.input for query in novel(episode)]
    votes: list[defaultdict[Symbols, float]] = [defaultdict(float) for _ in queries]
    for grammar in fitting(episode.study, queries):
        for tree, vote in zip(grammar.trees, votes, strict=True):
            answer = None if tree is None else value(tree, grammar.symbols, grammar.templates)
            if answer and len(answer) <= META.max_output:
                vote[answer] += grammar.weight
    return [_most(vote) for vote in votes]


def _most(vote: Mapping[Symbols, float]) -> Answer:
    if not vote:
        return Answer(None, 0.0)
    best = max(vote, key=lambda answer: vote[answer])
    return Answer(best, vote[best] / sum(vote.values()))


# --- how inputs are taken apart


@dataclass(frozen=True)
class Node:
    """A function and its arguments, or a concatenation of two parts.

    Attributes:
        function: its word; None for a concatenation.
        parts: the arguments.
    """

    function: str | None
    parts: "tuple[Tree, ...]"


Tree = str | Node
"""A primitive, or more."""


def tree_of(words: Words, rules: Sequence[tuple[str, Kinds]], known: set[str]) -> Tree | None:
    """How rules in this order take an input apart; None where a part is nothing."""
    if len(words) == 1:
        return words[0] if words[0] in known else None
    node: tuple[str | None, tuple[Words, ...]] = (None, (words[:1], words[1:]))
    for function, kinds in rules:
        arguments = _match(words, function, kinds)
        if arguments is not None:
            node = (function, arguments)
            break
    parts = [tree_of(part, rules, known) for part in node[1]]
    whole = tuple(part for part in parts if part is not None)
    return Node(node[0], whole) if len(whole) == len(parts) else None


def _match(words: Words, function: str, kinds: Kinds) -> tuple[Words, ...] | None:
    """The arguments, if the left side matches the whole input; `x` takes as much as it can."""
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
    """What an input means; None where a function is not known."""
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
    """What all of them mean; None where one is not known."""
    found = [value(tree, symbols, templates) for tree in trees]
    known = tuple(each for each in found if each is not None)
    return known if len(known) == len(found) else None


# --- right sides


@lru_cache
def right_sides(arity: int) -> dict[Template, float]:
    """All right sides with their probabilities: a start, what is appended, and the order."""
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
    """How many different orders things have, of which these many are alike."""
    return math.factorial(sum(counts)) / math.prod(map(math.factorial, counts))


@lru_cache(maxsize=200_000)
def that_give(arguments: tuple[Symbols, ...], output: Symbols) -> frozenset[Template]:
    """The right sides that make this of these arguments."""
    return frozenset(
        template
        for template in right_sides(len(arguments))
        if tuple(symbol for item in template for symbol in arguments[item]) == output
    )


# --- the search


@dataclass(frozen=True)
class Fitting:
    """A grammar that gives all study examples, as far as they show it.

    Attributes:
        symbols: what each primitive means.
        templates: the right side of each function.
        trees: how it takes each query apart; None where it does not.
        weight: proportional to its probability.
    """

    symbols: Mapping[str, str]
    templates: Mapping[str, Template]
    trees: tuple[Tree | None, ...]
    weight: float


def fitting(study: Sequence[Example], queries: Sequence[Words]) -> Iterator[Fitting]:
    """All grammars that give these study examples."""
    words = sorted({word for example in study for word in example.input})
    colours = sorted({symbol for example in study for symbol in example.output})
    alone = primitive_meanings(study)
    open_words = [word for word in words if word not in alone]
    open_colours = [colour for colour in colours if colour not in alone.values()]
    # Every argument is in the output, so that each primitive shows its colour.
    for others in combinations(open_words, len(open_colours)):
        functions = [word for word in open_words if word not in others]
        if len(functions) > META.n_functions:
            continue
        known = {*alone, *others}
        ways = _ways_apart(study, queries, functions, known)
        for order in permutations(open_colours):
            symbols = {**alone, **dict(zip(others, order, strict=True))}
            for (trees, asked), weight in ways.items():
                examples = [(tree, e.output) for tree, e in zip(trees, study, strict=True)]
                for templates in _solve(examples, symbols, {}):
                    chance = weight
                    for template in templates.values():
                        chance *= right_sides(len(set(template)))[template]
                    yield Fitting(symbols, templates, asked, chance)


Apart = tuple[tuple[Tree, ...], tuple[Tree | None, ...]]


def _ways_apart(
    study: Sequence[Example], queries: Sequence[Words], functions: Sequence[str], known: set[str]
) -> dict[Apart, float]:
    """How left sides and their order can take study examples and queries apart, with weights."""
    ways: defaultdict[Apart, float] = defaultdict(float)
    for order in permutations(functions):
        for kinds in product(KINDS, repeat=len(functions)):
            rules = list(zip(order, kinds, strict=True))
            trees = []
            for example in study:
                tree = tree_of(example.input, rules, known)
                if tree is None:
                    break
                trees.append(tree)
            else:
                asked = tuple(tree_of(query, rules, known) for query in queries)
                ways[tuple(trees), asked] += math.prod(KINDS[kind] for kind in kinds)
    return ways


def _solve(
    examples: Sequence[tuple[Tree, Symbols]],
    symbols: Mapping[str, str],
    templates: dict[str, Template],
) -> Iterator[dict[str, Template]]:
    """All right sides of the functions in these trees that give the outputs."""
    unknown = [(functions_in(tree) - templates.keys(), tree, output) for tree, output in examples]
    for functions, tree, output in unknown:
        if not functions and value(tree, symbols, templates) != output:
            return
    rest = [each for each in unknown if each[0]]
    if not rest:
        yield templates
        return
    function = min(min(rest, key=lambda each: len(each[0]))[0])
    telling = [(tree, output) for functions, tree, output in rest if functions == {function}]
    others = [(tree, output) for functions, tree, output in rest if functions != {function}]
    for template in _candidates(function, telling or others, symbols, templates):
        with_it = {**templates, function: template}
        if all(value(tree, symbols, with_it) == output for tree, output in telling):
            yield from _solve(others, symbols, with_it)


def _candidates(
    function: str,
    examples: Sequence[tuple[Tree, Symbols]],
    symbols: Mapping[str, str],
    templates: Mapping[str, Template],
) -> Iterator[Template]:
    """Right sides that the plainest uses of a function leave open, or all."""
    left: frozenset[Template] | None = None
    for tree, output in examples:
        if isinstance(tree, Node) and tree.function == function:
            arguments = values(tree.parts, symbols, templates)
            if arguments is not None:
                found = that_give(arguments, output)
                left = found if left is None else left & found
    yield from right_sides(_arity(function, examples)) if left is None else left


def _arity(function: str, examples: Sequence[tuple[Tree, Symbols]]) -> int:
    """How many arguments a function has in these trees."""
    stack = [tree for tree, _ in examples]
    while stack:
        tree = stack.pop()
        if isinstance(tree, Node):
            if tree.function == function:
                return len(tree.parts)
            stack.extend(tree.parts)
    raise AssertionError(f"{function} is in no tree")


if __name__ == "__main__":
    main()
