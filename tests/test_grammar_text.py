"""The text notation of grammars."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biml.errors import BimlError, FormatError
from biml.grammar import GOLD, Grammar, GrammarError, Rule

ITEMS = st.sampled_from(["->", "dax", "lug", "RED", "u1", "u2", "x1", "[u1]", "[x1]", "[", "u1]"])


def test_grammars_round_trip_through_text() -> None:
    assert Grammar.parse(str(GOLD)) == GOLD
    assert str(GOLD).splitlines()[-1] == "u1 x1 -> [u1] [x1]"


def test_whitespace_and_blank_lines_are_ignored() -> None:
    assert Grammar.parse("\n  dax   ->\tRED \r\n \n u1 x1 -> [u1]  [x1] \n\n") == Grammar.parse(
        "dax -> RED\nu1 x1 -> [u1] [x1]"
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("dax RED", "one '->'"),
        ("dax -> RED -> BLUE", "one '->'"),
        ("dax->RED", "one '->'"),
        ("-> RED", "left side is empty"),
        ("dax ->", "right side is empty"),
        ("u1 lug -> [u2]", r"names \[u2\], which its left side lacks"),
        ("u1 lug -> [x1]", "left side lacks"),
        ("u1 lug u1 -> [u1]", "occurs twice"),
        ("u1 lug -> u1", r"write '\[u1\]'"),
        ("u1 lug -> [u1][u1]", "blanks between"),
        ("u1 lug -> [u1", "blanks between"),
        ("[u1] lug -> RED", "blanks between"),
    ],
)
def test_errors_name_the_line_of_an_invalid_rule(line: str, problem: str) -> None:
    with pytest.raises(FormatError, match=problem) as caught:
        Grammar.parse(f"dax -> RED\n\n{line}\n", source="rules.txt")
    assert (caught.value.source, caught.value.line) == ("rules.txt", 3)


def test_a_text_without_rules_is_an_error() -> None:
    with pytest.raises(FormatError, match="no rule"):
        Grammar.parse(" \n\n")


def test_rules_made_in_code_are_validated() -> None:
    with pytest.raises(GrammarError, match="left side lacks"):
        Rule(("u1", "lug"), ("[x1]",))
    with pytest.raises(GrammarError, match="neither a word nor a symbol"):
        Rule(("two words",), ("RED",))


def test_grammars_list_primitives_functions_words_and_symbols() -> None:
    assert [rule.lhs for rule in GOLD.primitives] == [("1",), ("2",), ("3",), ("DAX",)]
    assert [rule.words for rule in GOLD.functions] == [("thrice",), ("surround",), ("after",)]
    assert GOLD.words == ("1", "2", "3", "DAX", "thrice", "surround", "after")
    assert GOLD.symbols == ("1", "2", "3", "DAX")


@given(st.one_of(st.text(), st.lists(st.lists(ITEMS).map(" ".join)).map("\n".join)))
def test_any_text_is_a_grammar_that_round_trips_or_an_error(text: str) -> None:
    try:
        grammar = Grammar.parse(text)
    except FormatError:
        return
    assert Grammar.parse(str(grammar)) == grammar
    try:
        grammar.interpret(["dax", "lug", "dax"])
    except BimlError:
        return
