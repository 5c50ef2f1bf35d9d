"""Equality of grammars up to rule order and up to remapping."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from biml.grammar import GOLD, Grammar, MetaGrammar, Rule, equivalent, isomorphic
from biml.grammar.meta_grammar import COLOURS, WORDS

SEEDS = st.integers(0, 2**32)


def parse(*rules: str) -> Grammar:
    return Grammar.parse("\n".join(rules))


def test_equivalence_ignores_rule_order_and_variable_names() -> None:
    a = parse("dax -> RED", "u1 lug x1 -> [x1] [u1]", "u1 wif u2 -> [u2]")
    b = parse("u2 wif u1 -> [u1]", "u2 lug x3 -> [x3] [u2]", "dax -> RED")
    assert equivalent(a, b)
    assert hash(a.canonical()) == hash(b.canonical())


def test_equivalence_distinguishes_any_other_difference() -> None:
    a = parse("dax -> RED", "u1 lug u2 -> [u2] [u1]")
    for other in (
        parse("dax -> RED", "u1 lug u2 -> [u1] [u2]"),
        parse("dax -> RED", "u1 lug x1 -> [x1] [u1]"),
        parse("dax -> BLUE", "u1 lug u2 -> [u2] [u1]"),
        parse("dax -> RED", "u1 wif u2 -> [u2] [u1]"),
        parse("dax -> RED", "u1 lug u2 -> [u2] [u1]", "fep -> PINK"),
    ):
        assert not equivalent(a, other)


def test_isomorphism_requires_a_bijection_of_words_and_symbols() -> None:
    a = parse("dax -> RED", "wif -> BLUE", "u1 lug -> [u1] RED")
    assert isomorphic(a, parse("x -> BLUE", "y -> RED", "u1 f -> [u1] RED"))
    assert not isomorphic(a, parse("x -> RED", "y -> RED", "u1 f -> [u1] RED"))
    assert not isomorphic(a, parse("x -> RED", "y -> BLUE", "u1 f -> [u1] PINK"))
    assert not isomorphic(a, parse("x -> RED", "y -> BLUE", "u1 x -> [u1] RED"))


def test_words_and_symbols_are_remapped_separately_in_isomorphisms() -> None:
    assert isomorphic(parse("1 -> 1", "2 -> 2"), parse("1 -> 2", "2 -> 1"))


@given(SEEDS)
def test_gold_grammar_is_recognised_under_any_remapping_and_rule_order(seed: int) -> None:
    rng = Random(seed)
    words = dict(zip(GOLD.words, rng.sample(WORDS, 7), strict=True))
    symbols = dict(zip(GOLD.symbols, rng.sample(COLOURS, 4), strict=True))
    remapped = GOLD.remap(words, symbols)
    shuffled = Grammar(tuple(rng.sample(remapped.rules, 8)))
    assert isomorphic(shuffled, GOLD)
    assert not equivalent(shuffled, GOLD)
    # Exchanging the roles in one function makes it another grammar.
    other = parse("u1 q x1 -> [x1] [u1] [u1]").rules[0]
    assert not isomorphic(Grammar((*shuffled.rules[1:], other)), GOLD)


@given(SEEDS, SEEDS)
def test_sampled_grammars_equal_only_themselves(seed: int, other: int) -> None:
    meta = MetaGrammar()
    a, b = meta.sample_grammar(Random(seed)), meta.sample_grammar(Random(other))
    shuffled = Grammar(tuple(Random(other).sample(a.rules, len(a.rules))))
    assert equivalent(a, shuffled)
    assert isomorphic(a, shuffled)
    assert equivalent(a, b) == (set(map(str, a.rules)) == set(map(str, b.rules)))


def test_comparing_many_similar_rules_is_fast() -> None:
    def language(shift: int, function: str) -> Grammar:
        primitives = [Rule((f"w{i}",), (f"s{(i + shift) % 20}",)) for i in range(20)]
        return Grammar((*primitives, Rule(("u1", "w0"), ("[u1]", function))))

    assert isomorphic(language(0, "s0"), language(17, "s17"))
    assert not isomorphic(language(0, "s0"), language(17, "s16"))
