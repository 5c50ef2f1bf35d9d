"""A Bayes-optimal learner over the meta-grammar: the best accuracy on validation episodes.

For each validation episode an exact search finds all grammars consistent with the study examples.
Each has the prior probability of its rules under the meta-grammar, and the response to a novel
query is the output with the highest posterior probability. The likelihood of the study inputs under
a grammar is ignored, and a query with a word that occurs in no study example counts as wrong.

    python benchmarks/bayes_optimal.py [--episodes 200] [--model NAME.pt]

`--model` compares the responses of a model with those of the learner. Takes a minute or two.
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
"""The variables of a function: `u` binds one word, `x` one or more."""

Template = tuple[int, ...]
"""A right-hand side, as indices of arguments."""

KINDS: dict[Kinds, float] = {
    **{(kind,): META.p_one_argument / 2 for kind in "ux"},
    **{(a, b): (1 - META.p_one_argument) / 4 for a in "ux" for b in "ux"},
}
"""Prior probability of each pair of variables."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--episodes", type=int, default=200, help="number of validation episodes (%(default)s)"
    )
    parser.add_argument("--model", help="compare with the greedy responses of this model")
    args = parser.parse_args()
    episodes = validation_episodes(DataFolders())[: args.episodes]
    ideal = [best for episode in track(episodes, "searching") for best in respond(episode)]
    queries = [query for episode in episodes for query in novel(episode)]
    correct = [best.symbols == q.output for best, q in zip(ideal, queries, strict=True)]
    posterior = sum(best.probability for best in ideal)
    print(f"{len(queries)} novel queries of {len(episodes)} episodes")
    print(f"accuracy of the Bayes-optimal learner: {100 * sum(correct) / len(correct):.2f}%")
    print(f"mean posterior of its responses:       {100 * posterior / len(ideal):.2f}%")
    if args.model:
        responder = biml.load(args.model).responder
        novel_only = [Episode(e.study, tuple(novel(e)), grammar=e.grammar) for e in episodes]
        responses = [tuple(r) for of_episode in responder.respond(novel_only) for r in of_episode]
        both = [(r == q.output, c) for r, q, c in zip(responses, queries, correct, strict=True)]
        print(f"accuracy of {args.model}: {100 * sum(model for model, _ in both) / len(both):.2f}%")
        for model, learner, label in (
            (False, True, "correct: the learner only"),
            (True, False, "correct: the model only"),
            (False, False, "correct: neither"),
        ):
            print(f"  {label}: {100 * both.count((model, learner)) / len(both):.2f}%")


@dataclass(frozen=True)
class BestResponse:
    """The output with the highest posterior probability; None if a word is unknown."""

    symbols: Symbols | None
    probability: float


def novel(episode: Episode) -> list[Example]:
    return [query for query in episode.queries if not query.in_study]


def respond(episode: Episode) -> list[BestResponse]:
    """The learner's responses to the novel queries of an episode."""
    queries = [query.input for query in novel(episode)]
    votes: list[defaultdict[Symbols, float]] = [defaultdict(float) for _ in queries]
    for grammar in consistent_grammars(episode.study, queries):
        for tree, vote in zip(grammar.trees, votes, strict=True):
            output = None if tree is None else value(tree, grammar.symbols, grammar.templates)
            if output and len(output) <= META.max_output:
                vote[output] += grammar.prior
    return [_best(vote) for vote in votes]


def _best(vote: Mapping[Symbols, float]) -> BestResponse:
    if not vote:
        return BestResponse(None, 0.0)
    best = max(vote, key=lambda output: vote[output])
    return BestResponse(best, vote[best] / sum(vote.values()))


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
        symbols: the symbol of each primitive.
        templates: the right-hand side of each function.
        trees: the parse of each query; None if there is none.
        prior: its prior probability, not normalised.
    """

    symbols: Mapping[str, str]
    templates: Mapping[str, Template]
    trees: tuple[Tree | None, ...]
    prior: float


def consistent_grammars(
    study: Sequence[Example], queries: Sequence[Words]
) -> Iterator[ConsistentGrammar]:
    """Yield all grammars that produce these study examples."""
    words = sorted({word for example in study for word in example.input})
    colours = sorted({symbol for example in study for symbol in example.output})
    alone = primitive_meanings(study)
    open_words = [word for word in words if word not in alone]
    open_colours = [colour for colour in colours if colour not in alone.values()]
    # Every argument occurs in the output, so that the symbol of each primitive is observed.
    for others in combinations(open_words, len(open_colours)):
        functions = [word for word in open_words if word not in others]
        if len(functions) > META.n_functions:
            continue
        known = {*alone, *others}
        parses = _parses(study, queries, functions, known)
        for order in permutations(open_colours):
            symbols = {**alone, **dict(zip(others, order, strict=True))}
            for (trees, query_trees), weight in parses.items():
                examples = [(tree, e.output) for tree, e in zip(trees, study, strict=True)]
                for templates in _solve(examples, symbols, {}):
                    prior = weight
                    for template in templates.values():
                        prior *= right_hand_sides(len(set(template)))[template]
                    yield ConsistentGrammar(symbols, templates, query_trees, prior)


Parses = tuple[tuple[Tree, ...], tuple[Tree | None, ...]]


def _parses(
    study: Sequence[Example], queries: Sequence[Words], functions: Sequence[str], known: set[str]
) -> dict[Parses, float]:
    """All parses of study examples and queries, with the prior of their left-hand sides."""
    found: defaultdict[Parses, float] = defaultdict(float)
    for order in permutations(functions):
        for kinds in product(KINDS, repeat=len(functions)):
            rules = list(zip(order, kinds, strict=True))
            trees = []
            for example in study:
                tree = parse(example.input, rules, known)
                if tree is None:
                    break
                trees.append(tree)
            else:
                query_trees = tuple(parse(query, rules, known) for query in queries)
                found[tuple(trees), query_trees] += math.prod(KINDS[kind] for kind in kinds)
    return found


def _solve(
    examples: Sequence[tuple[Tree, Symbols]],
    symbols: Mapping[str, str],
    templates: dict[str, Template],
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
        with_it = {**templates, function: template}
        if all(value(tree, symbols, with_it) == output for tree, output in informative):
            yield from _solve(others, symbols, with_it)


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


if __name__ == "__main__":
    main()
