"""Errors of a model on novel validation queries, by what the study examples say about the query.

    python benchmarks/error_analysis.py [MODEL]

Queries are classified by the number of functions they use and by the evidence for their words:

    unseen    a word occurs in no study example, so that its meaning cannot be inferred
    order     another rule order also fits the study examples but gives another output
    deduce    a word occurs in longer inputs only: a primitive never alone, or a function never
              with primitives as its only arguments
    plain     direct evidence for every word

`share` is the percentage of all novel queries, `wrong` the error rate within a kind in percent, and
`points` the contribution to the model's total error rate.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from itertools import permutations

import biml
from biml.episodes.datasets import validation_episodes
from biml.episodes.episode import Episode
from biml.grammar import Grammar
from biml.paths import DataFolders

KINDS = ("unseen", "order", "deduce", "plain")
MAX_FUNCTIONS = 3
"""Queries with more functions are counted together."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "model", nargs="?", default="net-BIML-algebraic-top.pt", help="(%(default)s)"
    )
    episodes = validation_episodes(DataFolders())
    responses = biml.load(parser.parse_args().model).responder.respond(episodes)
    n_queries: Counter[tuple[str, int]] = Counter()
    wrong: Counter[tuple[str, int]] = Counter()
    for episode, of_episode in zip(episodes, responses, strict=True):
        kinds = query_kinds(episode)
        for query, response in zip(episode.queries, of_episode, strict=True):
            if not query.in_study:
                kind = next(kinds)
                n_queries[kind] += 1
                wrong[kind] += tuple(response) != query.output
    total = n_queries.total()
    print(f"{100 * wrong.total() / total:.2f}% of {total} novel queries are answered incorrectly")
    print(f"{'kind':8}{'functions':>10}{'share':>8}{'wrong':>8}{'points':>8}")
    for kind in sorted(n_queries, key=lambda kind: (KINDS.index(kind[0]), kind[1])):
        functions = f"{kind[1]}{'+' * (kind[1] == MAX_FUNCTIONS)}"
        share, points = 100 * n_queries[kind] / total, 100 * wrong[kind] / total
        rate = 100 * wrong[kind] / n_queries[kind]
        print(f"{kind[0]:8}{functions:>10}{share:8.2f}{rate:8.1f}{points:8.2f}")


def query_kinds(episode: Episode) -> Iterator[tuple[str, int]]:
    """Yield the kind and the number of functions of each novel query."""
    grammar = episode.grammar
    assert grammar is not None
    functions = {rule.words[0] for rule in grammar.functions}
    inputs = [example.input for example in episode.study]
    direct = {word for words in inputs for word in direct_evidence(words, functions)}
    seen = {word for words in inputs for word in words}
    consistent = [each for each in reordered(grammar) if fits(each, episode)]
    for query in episode.queries:
        if query.in_study:
            continue
        if not seen.issuperset(query.input):
            kind = "unseen"
        elif len({each.interpret(query.input) for each in consistent}) > 1:
            kind = "order"
        else:
            kind = "plain" if direct.issuperset(query.input) else "deduce"
        yield kind, min(MAX_FUNCTIONS, sum(word in functions for word in query.input))


def direct_evidence(words: tuple[str, ...], functions: set[str]) -> tuple[str, ...]:
    """The word, if any, that an input is direct evidence for."""
    if len(words) == 1:
        return words
    used = [word for word in words if word in functions]
    only_primitives = len(words) <= 3 and len(used) == 1 and words[1] == used[0]
    return tuple(used) if only_primitives else ()


def reordered(grammar: Grammar) -> Iterator[Grammar]:
    """Yield the grammar with its functions in every order."""
    functions = set(grammar.functions)
    others = [rule for rule in grammar.rules if rule not in functions]
    for order in permutations(grammar.functions):
        yield Grammar((*others[:-1], *order, others[-1]))


def fits(grammar: Grammar, episode: Episode) -> bool:
    return all(grammar.interpret(words) == symbols for words, symbols, *_ in episode.study)


if __name__ == "__main__":
    main()
