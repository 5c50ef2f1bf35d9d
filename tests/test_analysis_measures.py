"""Error types, accuracies and response patterns on hand-made responses."""

import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biml.analysis import few_shot, open_ended, probes
from biml.analysis.comparison import correlations, item_correlation, permutation_p
from biml.analysis.responses import response_table
from biml.errors import UsageError
from biml.grammar import GOLD, Grammar
from fakes.responses import answers

REVERSING = Grammar.parse(
    """
    dax -> RED
    wif -> BLUE
    lug -> GREEN
    u1 fep x1 -> [x1] [u1] [x1]
    x1 kiki u1 -> [x1] [x1] [u1]
    u1 x1 -> [u1] [x1]
    """
)


def response_set(text: str) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """A response set written as `words: SYMBOLS; words: SYMBOLS`."""
    pairs = [part.split(":") for part in text.split(";")]
    return [(tuple(words.split()), tuple(symbols.split())) for words, symbols in pairs]


# Few-shot.


@pytest.mark.parametrize(
    ("query", "response", "expected"),
    [
        ("DAX after 1", "1 DAX", ""),
        ("DAX after 1", "DAX 1", "iconic"),
        ("DAX after 1", "DAX 3 1", "one-to-one"),
        ("DAX after 1", "DAX undefined_action 1", "one-to-one"),
        ("DAX after 1", "1 3 DAX", "other"),
        ("DAX after 1", "", "other"),
        ("DAX thrice after 2", "DAX DAX DAX 2", "one-to-one iconic"),
        ("3 after DAX thrice", "3 DAX DAX DAX", "one-to-one iconic"),
        # Reversing the string would take these for iconic, or not.
        ("2 after 3 surround DAX", "2 3 DAX 3", "iconic"),
        ("2 after 3 surround DAX", "2 DAX 3 DAX", "other"),
        ("DAX surround 3 after 1 thrice", "DAX 3 DAX 1 1 1", "iconic"),
        ("DAX surround 2", "2 DAX 2", "other"),
        ("DAX surround DAX after DAX thrice", "DAX DAX DAX DAX DAX DAX", ""),
    ],
)
def test_error_types(query: str, response: str, expected: str) -> None:
    assert few_shot.annotate_errors(answers((query, response)))["error_type"].tolist() == [expected]


@pytest.mark.parametrize(
    ("query", "response", "expected"),
    [
        ("dax fep wif", "BLUE RED BLUE", ""),
        ("dax fep wif", "RED BLUE RED", "iconic"),
        ("dax fep wif", "BLUE BLUE RED", "other"),
        ("dax fep wif", "RED PINK BLUE", "one-to-one"),
        ("dax kiki wif", "BLUE BLUE RED", "other"),  # flipped, but kiki does not reverse
    ],
)
def test_error_types_with_another_grammar(query: str, response: str, expected: str) -> None:
    labelled = few_shot.annotate_errors(answers((query, response)), REVERSING)
    assert labelled["error_type"].tolist() == [expected]
    assert labelled["target"].tolist() == [" ".join(REVERSING.interpret(query.split()))]


def test_blanks_between_symbols_do_not_matter() -> None:
    made = response_table([{"item": "a", "query": "a", "response": "DAX  3", "target": " DAX 3"}])
    assert made["correct"].tolist() == [True]
    labelled = few_shot.annotate_errors(
        answers(("3 after DAX", "DAX  3"), ("3 after DAX", "3  DAX"))
    )
    assert labelled["correct"].tolist() == [True, False]
    assert labelled["error_type"].tolist() == ["", "iconic"]
    (probe,) = probes.annotate_targets(
        answers(("p2 p1", "c2  c1"), study="p1 -> c1 | p2 -> c2", allowed_outputs="c1 c2")
    ).to_dict("records")
    assert (probe["correct"], probe["error_type"]) == (True, "")


def test_iconic_errors_need_an_argument_reversing_function() -> None:
    responses = answers(("dax fep wif", "RED BLUE RED"), ("dax kiki wif", "RED"), ("dax", "RED"))
    (row,) = few_shot.error_rates(responses, REVERSING).to_dict("records")
    assert (row["errors"], row["reversing_errors"], row["iconic"]) == (2, 1, 1)
    assert row["iconic_percent"] == 100


def test_accuracy_is_averaged_over_items_and_not_over_responses() -> None:
    responses = answers(
        *[("DAX thrice", "DAX DAX DAX")] * 9,
        ("DAX surround DAX after DAX thrice", "DAX"),
    )
    (row,) = few_shot.accuracy_by_complexity(responses).to_dict("records")
    assert row == {"model": "people", "all": 50, "simple": 100, "complex": 0, "long_output": 0}


def test_models_and_seeds_are_separate_groups() -> None:
    right, wrong = ("DAX thrice", "DAX DAX DAX"), ("DAX thrice", "DAX")
    both = pd.concat(
        [answers(right), answers(wrong, model="net", seed=1), answers(right, model="net", seed=2)]
    )
    assert few_shot.accuracy_by_complexity(both)["all"].tolist() == [100, 50]
    by_run = few_shot.accuracy_by_complexity(both, by=["model", "seed"])
    assert by_run["all"].tolist() == [100, 0, 100]
    assert by_run["seed"].isna().tolist() == [True, False, False]


def test_items_without_function_words_are_neither_simple_nor_complex() -> None:
    from biml.reproduce.tables import few_shot_tables

    right = (("DAX", "DAX"), ("DAX thrice", "DAX DAX DAX"), ("1 after 2 thrice", "2 2 2 1"))
    tables = few_shot_tables(answers(*right), GOLD, 0, 10)
    assert tables["item_accuracies"]["complexity"].tolist() == ["", "simple", "complex"]
    groups = tables["accuracy_by_complexity"].set_index("complexity")["accuracy"]
    assert groups[["simple", "complex"]].tolist() == [100, 100]


def test_the_percentage_of_no_errors_is_missing() -> None:
    (row,) = few_shot.error_rates(answers(("DAX thrice", "DAX DAX DAX"))).to_dict("records")
    assert row["errors"] == 0
    assert math.isnan(row["one_to_one_percent"])
    assert math.isnan(row["iconic_percent"])


# Agreement of item accuracies.


def test_exact_permutation_p_by_brute_force() -> None:
    x, y = np.array([1.0, 2, 4, 3, 7]), np.array([2.0, 1, 5, 4, 4])
    observed = abs(np.corrcoef(x, y)[0, 1])
    as_much = [abs(np.corrcoef(x, p)[0, 1]) >= observed - 1e-9 for p in permutations(y)]
    assert permutation_p(x, y, np.random.default_rng(0)) == (sum(as_much) / 120, 120)


def test_sampled_permutations_approximate_the_exact_p(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.arange(7.0), np.array([0.0, 2, 1, 5, 3, 4, 9])
    exact, _ = permutation_p(x, y, np.random.default_rng(0))
    monkeypatch.setattr("biml.analysis.comparison.MAX_EXACT_PERMUTATION_ITEMS", 6)
    drawn, tried = permutation_p(x, y, np.random.default_rng(0))
    assert tried == 100_000
    assert drawn == pytest.approx(exact, abs=0.003)


def test_correlation_of_item_accuracies_by_hand() -> None:
    def of(model: str, correct: list[int], n: int) -> list[pd.DataFrame]:
        queries = ["DAX thrice", "DAX after 1", "DAX surround 2", "3 after DAX"]
        return [
            answers(*[(q, right(q) if i < k else "3 3") for i in range(n)], model=model)
            for q, k in zip(queries, correct, strict=True)
        ]

    def right(query: str) -> str:
        return " ".join(GOLD.interpret(query.split()))

    people, net = [10, 5, 8, 3], [4, 2, 4, 2]
    both = pd.concat(of("people", people, 10) + of("net", net, 4))
    (row,) = item_correlation(both, resamples=500).to_dict("records")
    assert row["r"] == pytest.approx(np.corrcoef(people, net)[0, 1])
    assert row["permutations"] == 24
    assert row["low"] < row["r"] < row["high"] <= 1
    rng, share = np.random.default_rng(5), np.array(people) / 10
    again = [np.corrcoef(share, rng.binomial(10, share))[0, 1] for _ in range(4000)]
    assert row["noise_ceiling"] == pytest.approx(np.median(again), abs=0.02)
    assert item_correlation(both, resamples=500).equals(item_correlation(both, resamples=500))


def test_no_correlation_without_variance_or_of_other_items() -> None:
    assert np.isnan(correlations(np.array([1.0, 2, 3]), np.array([1.0, 1, 1])))
    other = answers(("DAX thrice", "DAX"), model="net")
    with pytest.raises(UsageError, match="different items"):
        item_correlation(pd.concat([answers(("DAX after 1", "DAX")), other]))
    with pytest.raises(UsageError, match="no responses of 'people'"):
        item_correlation(other)


# Open-ended.

PERFECT = "a: R; b a: G R; a c a: R B R"


@pytest.mark.parametrize(
    ("text", "perfect", "one_to_one", "iconic", "exclusive"),
    [
        (PERFECT, True, True, True, True),
        ("a: R; b a: R R", False, True, True, True),  # one colour for two words
        ("a: R; b a: R G", False, True, False, True),  # reversed
        ("a: R; a b: R G; a c: R G", False, True, True, False),
        ("a: R R; a a: R R R R; b a: G R R", False, False, True, True),
        ("a b: R G B; b: B; a: R G", False, False, True, True),
        ("a b: R G B; b: R", False, False, False, True),
        ("a b: R G B; b: R G B", False, False, False, False),  # no word may stand for nothing
        ("a: R; b: ", False, False, False, True),
        ("a: R; b: G; a: R", True, True, True, True),  # one query twice
        ("a: R; b: G; a: B", False, True, False, True),
        ("a: R; b: G; a: G", False, True, False, False),
    ],
)
def test_patterns_of_a_response_set(
    text: str, perfect: bool, one_to_one: bool, iconic: bool, exclusive: bool
) -> None:
    pairs = response_set(text)
    assert open_ended.is_perfect(pairs) is perfect
    assert open_ended.is_one_to_one(pairs) is one_to_one
    assert open_ended.is_iconic(pairs) is iconic
    assert open_ended.is_mutually_exclusive(pairs) is exclusive


@given(
    st.dictionaries(st.sampled_from("abc"), st.text("RGB", min_size=1, max_size=3), min_size=3),
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=5),
)
def test_responses_from_a_dictionary_are_iconic(
    meanings: dict[str, str], queries: list[str]
) -> None:
    made = [(tuple(q), tuple("".join(meanings[w] for w in q))) for q in queries]
    assert open_ended.is_iconic(made)


def test_response_sets_differ_by_participant_or_sample() -> None:
    rows = [("a", "R"), ("b a", "G R")]
    people = pd.concat([answers(*rows, participant=p) for p in ("p1", "p2")])
    drawn = pd.concat([answers(*rows, ("a b", "G R"), model="net", sample=s) for s in range(4)])
    shares = open_ended.pattern_rates(pd.concat([people, drawn])).set_index("model")
    assert shares["response_sets"].to_dict() == {"people": 2, "net": 4}
    assert shares["perfect_percent"].to_dict() == {"people": 100, "net": 0}
