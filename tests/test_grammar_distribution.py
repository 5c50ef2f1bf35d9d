"""The meta-grammar has the published distribution (fixed seeds, bounds of 5 standard errors)."""

from collections import Counter
from random import Random

import pytest

from biml.errors import UsageError
from biml.grammar import Grammar, MetaGrammar
from biml.grammar.meta_grammar import COLOURS, CONCATENATION, WORDS
from biml.rng import generator

N = 4000


def near(count: int, n: int, p: float) -> bool:
    return abs(count / n - p) < 5 * (p * (1 - p) / n) ** 0.5


@pytest.fixture(scope="module")
def grammars() -> list[Grammar]:
    meta = MetaGrammar()
    return [meta.sample_grammar(generator(7, i)) for i in range(N)]


def test_grammars_have_four_primitives_three_functions_and_concatenation(
    grammars: list[Grammar],
) -> None:
    for grammar in grammars:
        assert len(grammar.rules) == 8
        assert len(grammar.primitives) == 4
        assert len(grammar.functions) == 3
        assert grammar.rules[-1] == CONCATENATION
        assert len(grammar.words) == 7
        assert len(grammar.symbols) == 4
        assert set(grammar.words) <= set(WORDS)
        assert set(grammar.symbols) <= set(COLOURS)


def test_words_and_colours_are_uniformly_distributed(grammars: list[Grammar]) -> None:
    primitives = Counter(rule.words[0] for g in grammars for rule in g.primitives)
    functions = Counter(rule.words[0] for g in grammars for rule in g.functions)
    colours = Counter(symbol for g in grammars for symbol in g.symbols)
    pairs = Counter((rule.words[0], rule.symbols[0]) for g in grammars for rule in g.primitives)
    assert all(near(primitives[word], N, 4 / 9) for word in WORDS)
    assert all(near(functions[word], N, 3 / 9) for word in WORDS)
    assert all(near(colours[colour], N, 4 / 6) for colour in COLOURS)
    assert all(near(pairs[word, c], N, 4 / 54) for word in WORDS for c in COLOURS)


def test_functions_have_one_or_two_arguments_of_both_kinds(grammars: list[Grammar]) -> None:
    kinds = Counter(rule.lhs_pattern for g in grammars for rule in g.functions)
    assert set(kinds) == {"u.", "x.", "u.u", "u.x", "x.u", "x.x"}
    assert all(near(kinds[one], 3 * N, 1 / 4) for one in ("u.", "x."))
    assert all(near(kinds[two], 3 * N, 1 / 8) for two in ("u.u", "u.x", "x.u", "x.x"))


def test_variables_of_a_kind_are_numbered_in_order(grammars: list[Grammar]) -> None:
    variables = {rule.variables for g in grammars for rule in g.functions}
    assert variables == {("u1",), ("x1",), ("u1", "u2"), ("u1", "x1"), ("x1", "u1"), ("x1", "x2")}


def test_right_hand_side_lengths_have_the_published_distribution(grammars: list[Grammar]) -> None:
    rules = [rule for g in grammars for rule in g.functions]
    lengths = Counter(len(rule.rhs) for rule in rules)
    assert set(lengths) == set(range(2, 9))
    for length in range(2, 8):
        assert near(lengths[length], len(rules), 0.6 * 0.4 ** (length - 2))
    assert near(lengths[8], len(rules), 0.4**6)


def test_right_hand_sides_use_every_variable_in_random_order(grammars: list[Grammar]) -> None:
    rules = [rule for g in grammars for rule in g.functions]
    assert all({f"[{v}]" for v in rule.variables} == set(rule.rhs) for rule in rules)
    threes = [rule for rule in rules if len(rule.rhs) == 3 and len(rule.variables) == 2]
    orders = Counter(rule.rhs_template for rule in threes)
    assert all(near(count, len(threes), 1 / 6) for count in orders.values())
    assert len(orders) == 6


@pytest.mark.parametrize("n_functions", range(7))
def test_sizes_words_and_symbols_can_be_changed(n_functions: int) -> None:
    meta = MetaGrammar(
        words=tuple(f"wort{i}" for i in range(20)),
        symbols=tuple("αβγδεζη"),
        n_primitives=6,
        n_functions=n_functions,
        p_one_argument=1.0,
        p_stop=0.0,
        max_rhs=5,
    )
    grammar = meta.sample_grammar(Random(1))
    assert len(grammar.rules) == 6 + n_functions + 1
    assert all(len(rule.rhs) == 5 and len(rule.variables) == 1 for rule in grammar.functions)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"n_functions": 6}, "10 different ones are needed"),
        ({"n_primitives": 7}, "different ones are needed"),
        ({"words": ("dax", "dax", "a", "b", "c", "d", "e", "f")}, "none twice"),
        ({"words": ("u1", "a", "b", "c", "d", "e", "f")}, "like a variable"),
        ({"symbols": ("A B", "C", "D", "E")}, "neither a word nor a symbol"),
        ({"p_stop": 1.5}, "p_stop is 1.5"),
        ({"n_query": 0}, "at least 1"),
    ],
)
def test_inconsistent_sizes_are_rejected(options: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        MetaGrammar(**options)  # type: ignore[arg-type]
