"""Which novel validation queries a model gets wrong, by what the study examples show of them.

    python benchmarks/errors.py [MODEL]

Queries are told apart by how many functions they use and by how their words are shown:

    unseen    a word is in no study example, so nobody can know its meaning
    order     rules in another order fit the study examples too, and give another answer
    deduce    a word is shown in longer inputs only: a primitive never alone, or a function never
              between primitives alone
    plain     every word is shown plainly

`share` is the percent of all novel queries, `wrong` the percent of a kind that is answered wrongly,
and `points` how much of the model's error that is.
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
MANY = 3
"""So many functions and more are counted together."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="net-BIML-algebraic-top.pt")
    episodes = validation_episodes(DataFolders())
    answers = biml.load(parser.parse_args().model).responder.respond(episodes)
    asked: Counter[tuple[str, int]] = Counter()
    wrong: Counter[tuple[str, int]] = Counter()
    for episode, given in zip(episodes, answers, strict=True):
        kinds = kinds_of(episode)
        for query, answer in zip(episode.queries, given, strict=True):
            if not query.in_study:
                kind = next(kinds)
                asked[kind] += 1
                wrong[kind] += tuple(answer) != query.output
    whole = asked.total()
    print(f"{100 * wrong.total() / whole:.2f}% of {whole} novel queries are answered wrongly")
    print(f"{'kind':8}{'functions':>10}{'share':>8}{'wrong':>8}{'points':>8}")
    for kind in sorted(asked, key=lambda kind: (KINDS.index(kind[0]), kind[1])):
        functions = f"{kind[1]}{'+' * (kind[1] == MANY)}"
        share, points = 100 * asked[kind] / whole, 100 * wrong[kind] / whole
        rate = 100 * wrong[kind] / asked[kind]
        print(f"{kind[0]:8}{functions:>10}{share:8.2f}{rate:8.1f}{points:8.2f}")


def kinds_of(episode: Episode) -> Iterator[tuple[str, int]]:
    """For each novel query how its words are shown, and how many functions it uses."""
    grammar = episode.grammar
    assert grammar is not None
    functions = {rule.words[0] for rule in grammar.functions}
    seen = {word for example in episode.study for word in example.input}
    clear = {word for example in episode.study for word in shown_by(example.input, functions)}
    orders = [each for each in reordered(grammar) if fits(each, episode)]
    for query in episode.queries:
        if query.in_study:
            continue
        if not seen.issuperset(query.input):
            kind = "unseen"
        elif len({each.interpret(query.input) for each in orders}) > 1:
            kind = "order"
        else:
            kind = "plain" if clear.issuperset(query.input) else "deduce"
        yield kind, min(MANY, sum(word in functions for word in query.input))


def shown_by(words: tuple[str, ...], functions: set[str]) -> tuple[str, ...]:
    """The word whose meaning an input shows plainly, if there is one."""
    if len(words) == 1:
        return words
    used = [word for word in words if word in functions]
    between = len(words) <= 3 and len(used) == 1 and words[1] == used[0]
    return tuple(used) if between else ()


def reordered(grammar: Grammar) -> Iterator[Grammar]:
    """The grammar with its functions in every order."""
    functions = set(grammar.functions)
    others = [rule for rule in grammar.rules if rule not in functions]
    for order in permutations(grammar.functions):
        yield Grammar((*others[:-1], *order, others[-1]))


def fits(grammar: Grammar, episode: Episode) -> bool:
    return all(grammar.interpret(words) == symbols for words, symbols, _ in episode.study)


if __name__ == "__main__":
    main()
