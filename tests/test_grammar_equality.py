"""When two grammars are the same."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from biml.grammar import GOLD, Grammar, MetaGrammar, Rule, equivalent, isomorphic
from biml.grammar.meta_grammar import COLOURS, WORDS

SEEDS = st.integers(0, 2**32)


def parse(*rules: str) -> Grammar:
    return Grammar.parse("\n".join(rules))


def test_order_of_rules_and_names_of_variables_do_not_matter() -> None:
    a = parse("dax -> RED", "u1 lug x1 -> [x1] [u1]", "u1 wif u2 -> [u2]")
    b = parse("u2 wif u1 -> [u1]", "u2 lug x3 -> [x3] [u2]", "dax -> RED")
    assert equivalent(a, b)
    assert hash(a.canonical()) == hash(b.canonical())


def test_anything_else_does() -> None:
    a = parse("dax -> RED", "u1 lug u2 -> [u2] [u1]")
    for other in (
        parse("dax -> RED", "u1 lug u2 -> [u1] [u2]"),
        parse("dax -> RED", "u1 lug x1 -> [x1] [u1]"),
        parse("dax -> BLUE", "u1 lug u2 -> [u2] [u1]"),
        parse("dax -> RED", "u1 wif u2 -> [u2] [u1]"),
        parse("dax -> RED", "u1 lug u2 -> [u2] [u1]", "fep -> PINK"),
    ):
        assert not equivalent(a, other)


def test_renaming_keeps_apart_what_was_apart() -> None:
    a = parse("dax -> RED", "wif -> BLUE", "u1 lug -> [u1] RED")
    assert isomorphic(a, parse("x -> BLUE", "y -> RED", "u1 f -> [u1] RED"))
    assert not isomorphic(a, parse("x -> RED", "y -> RED", "u1 f -> [u1] RED"))
    assert not isomorphic(a, parse("x -> RED", "y -> BLUE", "u1 f -> [u1] PINK"))
    assert not isomorphic(a, parse("x -> RED", "y -> BLUE", "u1 x -> [u1] RED"))


def test_words_and_symbols_are_renamed_apart() -> None:
    assert isomorphic(parse("1 -> 1", "2 -> 2"), parse("1 -> 2", "2 -> 1"))


@given(SEEDS)
def test_gold_is_known_under_any_renaming_and_order(seed: int) -> None:
    rng = Random(seed)
    words = dict(zip(GOLD.words, rng.sample(WORDS, 7), strict=True))
    symbols = dict(zip(GOLD.symbols, rng.sample(COLOURS, 4), strict=True))
    renamed = GOLD.remap(words, symbols)
    shuffled = Grammar(tuple(rng.sample(renamed.rules, 8)))
    assert isomorphic(shuffled, GOLD)
    assert not equivalent(shuffled, GOLD)
    # Exchanging the roles in one function makes it another grammar.
    other = parse("u1 q x1 -> [x1] [u1] [u1]").rules[0]
    assert not isomorphic(Grammar((*shuffled.rules[1:], other)), GOLD)


@given(SEEDS, SEEDS)
def test_drawn_grammars_equal_themselves_and_not_each_other(seed: int, other: int) -> None:
    meta = MetaGrammar()
    a, b = meta.sample_grammar(Random(seed)), meta.sample_grammar(Random(other))
    shuffled = Grammar(tuple(Random(other).sample(a.rules, len(a.rules))))
    assert equivalent(a, shuffled)
    assert isomorphic(a, shuffled)
    assert equivalent(a, b) == (set(map(str, a.rules)) == set(map(str, b.rules)))


def test_grammars_of_many_like_rules_are_compared_without_trying_all_pairings() -> None:
    def language(shift: int, function: str) -> Grammar:
        primitives = [Rule((f"w{i}",), (f"s{(i + shift) % 20}",)) for i in range(20)]
        return Grammar((*primitives, Rule(("u1", "w0"), ("[u1]", function))))

    assert isomorphic(language(0, "s0"), language(17, "s17"))
    assert not isomorphic(language(0, "s0"), language(17, "s16"))
