"""Every measure of behaviour on hand-made responses whose answer is known."""

import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biml.behaviour import few_shot, open_ended, probes
from biml.behaviour.agreement import accuracy_agreement, correlations, permutation_p
from biml.behaviour.logistic import logistic_regression
from biml.behaviour.responses import table
from biml.errors import UsageError
from biml.grammar import GOLD, Grammar

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


def answers(*pairs: tuple[str, str], model: str = "people", **more: object) -> pd.DataFrame:
    """Responses written as (query, response)."""
    rows = [{"item": q, "query": q, "response": r, "model": model, **more} for q, r in pairs]
    return table(rows)


def sheet(text: str) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """An answer sheet written as `words: SYMBOLS; words: SYMBOLS`."""
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
def test_kinds_of_error(query: str, response: str, expected: str) -> None:
    assert few_shot.label(answers((query, response)))["error_type"].tolist() == [expected]


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
def test_errors_are_seen_from_any_grammar(query: str, response: str, expected: str) -> None:
    labelled = few_shot.label(answers((query, response)), REVERSING)
    assert labelled["error_type"].tolist() == [expected]
    assert labelled["target"].tolist() == [" ".join(REVERSING.interpret(query.split()))]


def test_symbols_are_compared_whatever_blanks_stand_between() -> None:
    made = table([{"item": "a", "query": "a", "response": "DAX  3", "target": " DAX 3"}])
    assert made["correct"].tolist() == [True]
    labelled = few_shot.label(answers(("3 after DAX", "DAX  3"), ("3 after DAX", "3  DAX")))
    assert labelled["correct"].tolist() == [True, False]
    assert labelled["error_type"].tolist() == ["", "iconic"]
    (probe,) = probes.label(
        answers(("p2 p1", "c2  c1"), study="p1 -> c1 | p2 -> c2", pool="c1 c2")
    ).to_dict("records")
    assert (probe["correct"], probe["error_type"]) == (True, "")


def test_only_queries_with_a_reversing_function_can_be_answered_iconically() -> None:
    responses = answers(("dax fep wif", "RED BLUE RED"), ("dax kiki wif", "RED"), ("dax", "RED"))
    (row,) = few_shot.errors(responses, REVERSING).to_dict("records")
    assert (row["errors"], row["reversing_errors"], row["iconic"]) == (2, 1, 1)
    assert row["iconic_percent"] == 100


def test_accuracy_is_averaged_over_items_and_not_over_responses() -> None:
    responses = answers(
        *[("DAX thrice", "DAX DAX DAX")] * 9,
        ("DAX surround DAX after DAX thrice", "DAX"),
    )
    (row,) = few_shot.groups(responses).to_dict("records")
    assert row == {"model": "people", "all": 50, "simple": 100, "complex": 0, "six_long": 0}


def test_models_and_runs_are_kept_apart() -> None:
    right, wrong = ("DAX thrice", "DAX DAX DAX"), ("DAX thrice", "DAX")
    both = pd.concat(
        [answers(right), answers(wrong, model="net", seed=1), answers(right, model="net", seed=2)]
    )
    assert few_shot.groups(both)["all"].tolist() == [100, 50]
    by_run = few_shot.groups(both, by=["model", "seed"])
    assert by_run["all"].tolist() == [100, 0, 100]
    assert by_run["seed"].isna().tolist() == [True, False, False]


def test_items_without_function_words_are_neither_simple_nor_complex() -> None:
    from biml.reproduce.analysis import few_shot_tables

    right = (("DAX", "DAX"), ("DAX thrice", "DAX DAX DAX"), ("1 after 2 thrice", "2 2 2 1"))
    tables = few_shot_tables(answers(*right), GOLD, 0, 10)
    assert tables["item_accuracies"]["group"].tolist() == ["", "simple", "complex"]
    groups = tables["groups"].set_index("group")["accuracy"]
    assert groups[["simple", "complex"]].tolist() == [100, 100]


def test_the_percentage_of_no_errors_is_missing() -> None:
    (row,) = few_shot.errors(answers(("DAX thrice", "DAX DAX DAX"))).to_dict("records")
    assert row["errors"] == 0
    assert math.isnan(row["one_to_one_percent"])
    assert math.isnan(row["iconic_percent"])


# Agreement of item accuracies.


def test_exact_permutation_p_by_brute_force() -> None:
    x, y = np.array([1.0, 2, 4, 3, 7]), np.array([2.0, 1, 5, 4, 4])
    observed = abs(np.corrcoef(x, y)[0, 1])
    as_much = [abs(np.corrcoef(x, p)[0, 1]) >= observed - 1e-9 for p in permutations(y)]
    assert permutation_p(x, y, np.random.default_rng(0)) == (sum(as_much) / 120, 120)


def test_drawn_permutations_come_near_the_exact_p(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.arange(7.0), np.array([0.0, 2, 1, 5, 3, 4, 9])
    exact, _ = permutation_p(x, y, np.random.default_rng(0))
    monkeypatch.setattr("biml.behaviour.agreement.EXACT_UP_TO", 6)
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
    (row,) = accuracy_agreement(both, resamples=500).to_dict("records")
    assert row["r"] == pytest.approx(np.corrcoef(people, net)[0, 1])
    assert row["permutations"] == 24
    assert row["low"] < row["r"] < row["high"] <= 1
    rng, share = np.random.default_rng(5), np.array(people) / 10
    again = [np.corrcoef(share, rng.binomial(10, share))[0, 1] for _ in range(4000)]
    assert row["noise_ceiling"] == pytest.approx(np.median(again), abs=0.02)
    assert accuracy_agreement(both, resamples=500).equals(accuracy_agreement(both, resamples=500))


def test_no_correlation_without_variance_or_of_other_items() -> None:
    assert np.isnan(correlations(np.array([1.0, 2, 3]), np.array([1.0, 1, 1])))
    other = answers(("DAX thrice", "DAX"), model="net")
    with pytest.raises(UsageError, match="did not answer the same items"):
        accuracy_agreement(pd.concat([answers(("DAX after 1", "DAX")), other]))
    with pytest.raises(UsageError, match="no responses of 'people'"):
        accuracy_agreement(other)


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
def test_patterns_of_a_sheet(
    text: str, perfect: bool, one_to_one: bool, iconic: bool, exclusive: bool
) -> None:
    pairs = sheet(text)
    assert open_ended.is_perfect(pairs) is perfect
    assert open_ended.is_one_to_one(pairs) is one_to_one
    assert open_ended.is_iconic(pairs) is iconic
    assert open_ended.is_mutually_exclusive(pairs) is exclusive


@given(
    st.dictionaries(st.sampled_from("abc"), st.text("RGB", min_size=1, max_size=3), min_size=3),
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=5),
)
def test_whatever_a_dictionary_made_is_found_to_be_iconic(
    meanings: dict[str, str], queries: list[str]
) -> None:
    made = [(tuple(q), tuple("".join(meanings[w] for w in q))) for q in queries]
    assert open_ended.is_iconic(made)


def test_sheets_are_told_apart_by_participant_or_by_sample() -> None:
    rows = [("a", "R"), ("b a", "G R")]
    people = pd.concat([answers(*rows, participant=p) for p in ("p1", "p2")])
    drawn = pd.concat([answers(*rows, ("a b", "G R"), model="net", sample=s) for s in range(4)])
    shares = open_ended.shares(pd.concat([people, drawn])).set_index("model")
    assert shares["sheets"].to_dict() == {"people": 2, "net": 4}
    assert shares["perfect_percent"].to_dict() == {"people": 100, "net": 0}


# Probes.


def trial(study: str, pool: str, query: str) -> probes.Trial:
    examples = probes.study_examples(study)
    return probes.Trial(examples, tuple(pool.split()), tuple(query.split()))


@pytest.mark.parametrize(
    ("study", "pool", "query", "kind"),
    [
        ("p1 -> c1", "c1 c2", "p2", "mutual exclusivity"),
        ("p1 -> c1", "", "p2", "mutual exclusivity"),  # any symbol may be used
        ("p1 -> c1 | p2 -> c2", "c1 c2 c3", "p3", "mutual exclusivity"),
        ("p1 -> c1 | p2 -> c2", "c1 c2", "p3", "trade-off"),
        ("p1 -> c1 | p2 -> c2", "c1 c2", "p1 p3 p2", "trade-off"),
        ("p1 -> c1 c1 | p2 -> c2", "c1 c2", "p2 p1", "concatenation"),
        ("p1 -> c1", "c1 c2", "p2 p1", ""),
        ("p1 p2 -> c1", "c1 c2", "p3", ""),
        ("", "c1 c2", "p3", ""),
    ],
)
def test_what_a_trial_asks(study: str, pool: str, query: str, kind: str) -> None:
    assert trial(study, pool, query).kind == kind


@pytest.mark.parametrize(
    ("study", "query", "response", "consistent"),
    [
        ("p1 -> c1", "p2", "c2", True),
        ("p1 -> c1", "p2", "c1", False),
        ("p1 -> c1", "p2", "c1 c1", True),  # another output than that of any study example
        ("p1 -> c1", "p2", "", False),
        ("p1 -> c1 | p2 -> c2", "p3", "c2", True),
        ("p1 -> c1 | p2 -> c2", "p3", "c2 c1", False),
        ("p1 -> c1 | p2 -> c2", "p1 p3", "c1 c1", True),
        ("p1 -> c1 | p2 -> c2", "p1 p3", "c2 c1", False),
        ("p1 -> c1 c1 | p2 -> c2", "p2 p1", "c2 c1 c1", True),
        ("p1 -> c1 c1 | p2 -> c2", "p2 p1", "c2 c1", False),
    ],
)
def test_what_counts_as_consistent(study: str, query: str, response: str, consistent: bool) -> None:
    asked = trial(study, "c1 c2", query)
    assert asked.consistent(tuple(response.split())) is consistent


def test_counter_examples_are_repeated_outputs() -> None:
    study = "p1 -> c1 | p2 -> c1 | p3 -> c1"
    assert trial(study, "c1 c2", "p4").counter_examples == 2
    assert trial("p1 -> c1 | p1 -> c1", "c1 c2", "p4").counter_examples == 0
    responses = answers(("p4", "c1"), ("p4", "c2"), study=study, pool="c1 c2")
    (row,) = probes.mutual_exclusivity(responses).to_dict("records")
    assert (row["counter_examples"], row["pool_size"], row["percent"]) == (2, 2, 50)


def test_regression_wants_one_model_and_known_participants() -> None:
    responses = answers(("p2", "c1"), ("p2", "c2"), study="p1 -> c1", pool="c1 c2")
    with pytest.raises(UsageError, match="participant"):
        probes.exclusivity_regression(responses, participant_effect=True)
    with pytest.raises(UsageError, match="one model"):
        probes.exclusivity_regression(
            pd.concat([responses, answers(("p2", "c1"), model="net", study="p1 -> c1")])
        )


def test_regression_of_two_cells_is_their_log_odds() -> None:
    outcome = pd.Series([True] * 30 + [False] * 10 + [True] * 15 + [False] * 25)
    found = logistic_regression(outcome, pd.DataFrame({"x": [0] * 40 + [1] * 40}))
    estimate = found.set_index("term")["estimate"]
    assert estimate["intercept"] == pytest.approx(math.log(3), abs=1e-6)
    assert estimate["x"] == pytest.approx(math.log(15 / 25) - math.log(3), abs=1e-6)
    error = found.set_index("term").loc["x", "standard_error"]
    assert error == pytest.approx(math.sqrt(1 / 30 + 1 / 10 + 1 / 15 + 1 / 25), abs=1e-6)


def test_regression_without_information_says_so_by_missing_values() -> None:
    x = pd.DataFrame({"x": [0, 0, 1, 1]})
    assert logistic_regression(pd.Series([True] * 4), x)["estimate"].isna().all()
    separated = logistic_regression(pd.Series([False, False, True, True]), x)
    assert separated["estimate"].isna().all()


@pytest.mark.parametrize("with_groups", [False, True])
def test_a_predictor_that_tells_nothing_new_is_missing_alone(with_groups: bool) -> None:
    rng = np.random.default_rng(5)
    x = pd.DataFrame({"x": rng.integers(0, 3, 240)})
    outcome = pd.Series(rng.random(240) < 1 / (1 + np.exp(x["x"] - 1)))
    groups = pd.Series(np.repeat(np.arange(20), 12)) if with_groups else None
    alone = logistic_regression(outcome, x, groups=groups).set_index("term")
    more = x.assign(always=6, never=0, twice=2 * x["x"] + 2)
    found = logistic_regression(outcome, more, groups=groups).set_index("term")
    assert found.loc[["always", "never", "twice"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(found.loc[alone.index], alone)


def test_participants_who_never_change_bound_no_estimate() -> None:
    groups = pd.Series(np.repeat(np.arange(22), 6))
    x = pd.DataFrame({"x": np.tile([0, 1, 2], 44)})
    found = logistic_regression(groups % 2 == 0, x, groups=groups)
    assert found["estimate"].isna().all()


def test_many_answers_of_each_participant_are_integrated_over_exactly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    who, x = np.repeat(np.arange(25), 100), rng.integers(0, 3, 2500)
    log_odds = 0.5 - 0.5 * x + 2.5 * rng.standard_normal(25)[who]
    given = pd.Series(rng.random(2500) < 1 / (1 + np.exp(-log_odds))), pd.DataFrame({"x": x})
    found = logistic_regression(*given, groups=pd.Series(who))
    monkeypatch.setattr("biml.behaviour.logistic.NODES", 61)
    finer = logistic_regression(*given, groups=pd.Series(who))
    for name in ("estimate", "standard_error"):
        assert found[name].to_numpy() == pytest.approx(finer[name].to_numpy(), abs=2e-3)


def test_participants_effects_are_recovered() -> None:
    rng = np.random.default_rng(3)
    who, x = np.repeat(np.arange(120), 12), np.tile([0.0, 1, 2], 480)
    log_odds = 0.5 - 1.0 * x + 1.5 * rng.standard_normal(120)[who]
    outcome = pd.Series(rng.random(len(x)) < 1 / (1 + np.exp(-log_odds)))
    predictors, groups = pd.DataFrame({"x": x}), pd.Series(who).astype(str)
    found = logistic_regression(outcome, predictors, groups=groups).set_index("term")
    assert found.loc["sd(group)", "estimate"] == pytest.approx(1.5, abs=0.35)
    assert found.loc["x", "low"] < -1.0 < found.loc["x", "high"]
    plain = logistic_regression(outcome, predictors).set_index("term")
    assert abs(plain.loc["x", "estimate"]) < abs(found.loc["x", "estimate"])


def test_participants_who_do_not_differ_change_nothing() -> None:
    x = pd.DataFrame({"x": [0, 0, 0, 1, 1, 1] * 20})
    outcome = pd.Series([True, True, False, True, False, False] * 20)
    groups = pd.Series(np.repeat(np.arange(20), 6)).astype(str)
    found = logistic_regression(outcome, x, groups=groups).set_index("term")
    plain = logistic_regression(outcome, x).set_index("term")
    assert found.loc["sd(group)", "estimate"] == pytest.approx(0, abs=0.01)
    assert found.loc["sd(group)", "low"] == 0
    assert found.loc["sd(group)", ["z", "p"]].isna().all()  # no test holds at its bound
    assert found.loc["x", ["z", "p"]].notna().all()
    for term in plain.index:
        assert found.loc[term, "estimate"] == pytest.approx(plain.loc[term, "estimate"], abs=1e-3)
