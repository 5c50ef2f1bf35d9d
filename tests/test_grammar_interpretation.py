"""Interpretation of inputs by grammars."""

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biml.episodes.text_format import read_episode
from biml.grammar import GOLD, Grammar, GrammarError, Rule
from biml.grammar.meta_grammar import GOLD_QUERIES, GOLD_STUDY
from reference_interpreter import interpret


def outputs(grammar: Grammar, *inputs: str) -> list[str]:
    return [" ".join(grammar.interpret(line.split())) for line in inputs]


@pytest.mark.published_data
def test_interpreter_agrees_with_an_independent_implementation(shared: Path) -> None:
    lines = (shared / "vectors" / "grammar.jsonl").read_text().splitlines()
    assert len(lines) == 150
    for line in lines:
        vector = json.loads(line)
        grammar = Grammar.parse(vector["grammar"])
        inputs, expected = zip(*vector["cases"], strict=True)
        assert outputs(grammar, *inputs) == list(expected)


def test_grammars_of_published_episodes_give_their_outputs(shared: Path) -> None:
    paths = list((shared / "data_algebraic_sample").glob("*/*.txt"))
    assert len(paths) == 80
    for episode in map(read_episode, paths):
        assert episode.grammar is not None
        for example in (*episode.study, *episode.queries):
            assert episode.grammar.interpret(example.input) == example.output


def test_gold_grammar_gives_the_targets_of_the_published_episode(shared: Path) -> None:
    episode = read_episode(shared / "data_human" / "few_shot" / "val_gold" / "mini_scan.txt")
    assert sorted(" ".join(example.input) for example in episode.study) == sorted(GOLD_STUDY)
    assert tuple(" ".join(example.input) for example in episode.queries) == GOLD_QUERIES
    for example in (*episode.study, *episode.queries):
        assert GOLD.interpret(example.input) == example.output


def test_the_first_matching_rule_applies() -> None:
    rules = "dax -> RED\nu1 lug -> [u1] [u1]\nx1 lug -> [x1]\nu1 x1 -> [u1] [x1]"
    assert outputs(Grammar.parse(rules), "dax lug", "dax dax lug") == ["RED RED", "RED RED"]
    swapped = "dax -> RED\nx1 lug -> [x1]\nu1 lug -> [u1] [u1]\nu1 x1 -> [u1] [x1]"
    assert outputs(Grammar.parse(swapped), "dax lug") == ["RED"]


def test_x_variables_are_greedy() -> None:
    grammar = Grammar.parse("x1 f x2 -> [x2] [x1]")
    # At the last f that leaves words on both sides.
    assert outputs(grammar, "a f b f c", "a f f", "f f f", "f a f", "f f") == [
        "c b a",
        "f a",
        "f f",
        "f a f",
        "f f",
    ]


def test_u_variables_match_function_words_too() -> None:
    grammar = Grammar.parse("dax -> RED\nu1 lug -> [u1] [u1]\nu1 x1 -> [u1] [x1]")
    assert outputs(grammar, "lug lug", "lug lug lug") == ["lug lug", "lug lug lug"]


def test_words_without_a_rule_stand_for_themselves() -> None:
    grammar = Grammar.parse("dax -> RED\nu1 lug u2 -> [u2]")
    assert outputs(grammar, "wif", "wif dax", "a lug b", "", "dax\u00a0x") == [
        "wif",
        "wif dax",
        "b",
        "",
        "dax x",
    ]


def test_grammars_of_other_forms_are_interpreted() -> None:
    grammar = Grammar.parse(
        """
        Haus -> HOUSE BIG
        rot wein -> WINE
        wenn x1 dann x2 sonst x3 -> IF [x1] ( [x2] ) [x3] END
        x1 ? -> ?
        * -> .
        u1 u2 und u3 -> [u3] [u3] UND [u2] [u1]
        u1 x1 -> [u1] [x1]
        """
    )
    assert outputs(
        grammar,
        "rot wein",
        "wenn rot wein dann Haus Haus sonst *",
        "Haus ?",
        "* Haus und ^",
    ) == [
        "WINE",
        "IF WINE ( HOUSE BIG HOUSE BIG ) . END",
        "?",
        "^ ^ UND HOUSE BIG .",
    ]


def test_grammars_with_thousands_of_words_are_interpreted() -> None:
    rules = [Rule((f"word{i}",), (f"symbol{i}",)) for i in range(3000)]
    grammar = Grammar((*rules, Rule(("u1", "x1"), ("[x1]", "[u1]"))))
    assert grammar.interpret(["word0", "word1234", "?", "word2999"]) == (
        "symbol2999",
        "?",
        "symbol1234",
        "symbol0",
    )


@pytest.mark.parametrize(
    "rules",
    [
        "x1 -> [x1]",
        "u1 -> RED [u1]",
        "x1 f -> [x1] [x1]\nx1 -> [x1] RED",
        "x1 f -> [x1] [x1] [x1] [x1]",
        "u1 x1 -> [x1] [x1] [u1]",
    ],
)
def test_an_endless_grammar_is_an_error(rules: str) -> None:
    grammar = Grammar.parse(rules)
    with pytest.raises(GrammarError):
        grammar.interpret(["f"] * (1 if rules.startswith("u1 ->") else 30))


def test_inputs_much_longer_than_published_are_interpreted() -> None:
    words = ["1", "thrice"] * 100
    assert len(GOLD.interpret(["1"] * 300)) == 300
    assert GOLD.interpret(["DAX", "after", *words])[-1] == "DAX"
    with pytest.raises(GrammarError, match="301 words"):
        GOLD.interpret(["1"] * 301)


def test_unknown_words_do_not_change_later_outputs() -> None:
    grammar = Grammar.parse("dax -> RED\nu1 x1 -> [u1] [x1]")
    before = outputs(grammar, "dax new1 new2")
    assert outputs(grammar, "new3 dax", "dax new1 new2") == ["new3 RED", *before]


def test_a_used_grammar_can_be_pickled() -> None:
    grammar = Grammar.parse(str(GOLD))
    grammar.interpret(["1"])
    copy = pickle.loads(pickle.dumps(grammar))
    assert copy == grammar
    assert hash(copy) == hash(grammar)
    assert copy.interpret(("1", "thrice")) == ("1", "1", "1")


WORDS = st.sampled_from("abcfg")


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Any rule that shortens what it interprets: at least two items on the left, or no variable."""
    variables = draw(st.lists(st.sampled_from(["u1", "u2", "x1", "x2", "x3"]), unique=True))
    lhs = draw(st.permutations([*variables, *draw(st.lists(WORDS, max_size=3))]))
    if not lhs:
        lhs = [draw(WORDS)]
    right = st.sampled_from(["R", "G", *(f"[{v}]" for v in variables if len(lhs) > 1)])
    return Rule(tuple(lhs), tuple(draw(st.lists(right, min_size=1, max_size=4))))


@settings(max_examples=150)
@given(st.lists(rules(), min_size=1, max_size=6), st.lists(WORDS, max_size=6))
def test_interpreter_agrees_with_the_reference_interpreter_on_any_grammar(
    some_rules: list[Rule], words: list[str]
) -> None:
    grammar = Grammar(tuple(some_rules))
    assert grammar.interpret(words) == interpret(grammar, tuple(words))


def test_a_string_is_split_into_words() -> None:
    assert GOLD.interpret("1 after DAX thrice") == ("DAX", "DAX", "DAX", "1")
    assert GOLD.interpret("1 wug") == ("1", "wug")
    with pytest.raises(GrammarError, match="'wug'"):
        GOLD.interpret("1 wug", strict=True)


def test_an_input_that_could_be_split_in_too_many_ways_is_an_error() -> None:
    grammar = Grammar.parse("a -> A\nx1 a x2 a x3 a x4 a x5 a x6 -> [x1]\nu1 x1 -> [u1] [x1]")
    assert grammar.interpret(["a"] * 20)
    with pytest.raises(GrammarError, match=r"100 words.*6 variables"):
        grammar.interpret([*["a"] * 99, "b"])
