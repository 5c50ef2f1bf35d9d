"""Measures of probe responses on hand-made trials, and their logistic regression."""

import math

import numpy as np
import pandas as pd
import pytest

from biml.analysis import probes
from biml.analysis.stats import logistic_regression
from biml.errors import UsageError
from fakes.responses import answers


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
def test_kinds_of_trials(study: str, pool: str, query: str, kind: str) -> None:
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
def test_consistent_responses(study: str, query: str, response: str, consistent: bool) -> None:
    probe = trial(study, "c1 c2", query)
    assert probe.is_consistent(tuple(response.split())) is consistent


def test_counter_examples_are_repeated_outputs() -> None:
    study = "p1 -> c1 | p2 -> c1 | p3 -> c1"
    assert trial(study, "c1 c2", "p4").counter_examples == 2
    assert trial("p1 -> c1 | p1 -> c1", "c1 c2", "p4").counter_examples == 0
    responses = answers(("p4", "c1"), ("p4", "c2"), study=study, allowed_outputs="c1 c2")
    (row,) = probes.mutual_exclusivity(responses).to_dict("records")
    assert (row["counter_examples"], row["pool_size"], row["percent"]) == (2, 2, 50)


def test_regression_needs_one_model_and_known_participants() -> None:
    responses = answers(("p2", "c1"), ("p2", "c2"), study="p1 -> c1", allowed_outputs="c1 c2")
    with pytest.raises(UsageError, match="participant"):
        probes.mutual_exclusivity_regression(responses, participant_effect=True)
    with pytest.raises(UsageError, match="one model"):
        probes.mutual_exclusivity_regression(
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


def test_regression_without_information_gives_missing_values() -> None:
    x = pd.DataFrame({"x": [0, 0, 1, 1]})
    assert logistic_regression(pd.Series([True] * 4), x)["estimate"].isna().all()
    outcome = pd.Series([False, False, True, True])
    for groups in (None, pd.Series([1, 2, 1, 2])):
        separated = logistic_regression(outcome, x, groups=groups)
        assert separated["estimate"].isna().all()


@pytest.mark.parametrize("with_groups", [False, True])
def test_only_a_redundant_predictor_is_missing(with_groups: bool) -> None:
    rng = np.random.default_rng(5)
    x = pd.DataFrame({"x": rng.integers(0, 3, 240)})
    outcome = pd.Series(rng.random(240) < 1 / (1 + np.exp(x["x"] - 1)))
    groups = pd.Series(np.repeat(np.arange(20), 12)) if with_groups else None
    alone = logistic_regression(outcome, x, groups=groups).set_index("term")
    more = x.assign(always=6, never=0, twice=2 * x["x"] + 2)
    found = logistic_regression(outcome, more, groups=groups).set_index("term")
    assert found.loc[["always", "never", "twice"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(found.loc[alone.index], alone)


def test_perfectly_separated_participants_give_missing_values() -> None:
    groups = pd.Series(np.repeat(np.arange(22), 6))
    x = pd.DataFrame({"x": np.tile([0, 1, 2], 44)})
    found = logistic_regression(groups % 2 == 0, x, groups=groups)
    assert found["estimate"].isna().all()


def test_random_intercepts_with_many_responses_are_integrated_accurately(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    who, x = np.repeat(np.arange(25), 100), rng.integers(0, 3, 2500)
    log_odds = 0.5 - 0.5 * x + 2.5 * rng.standard_normal(25)[who]
    given = pd.Series(rng.random(2500) < 1 / (1 + np.exp(-log_odds))), pd.DataFrame({"x": x})
    found = logistic_regression(*given, groups=pd.Series(who))
    monkeypatch.setattr("biml.analysis.stats.QUADRATURE_NODES", 61)
    finer = logistic_regression(*given, groups=pd.Series(who))
    for name in ("estimate", "standard_error"):
        assert found[name].to_numpy() == pytest.approx(finer[name].to_numpy(), abs=2e-3)


def test_the_sd_of_participants_is_recovered() -> None:
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


def test_equal_participants_give_the_plain_regression() -> None:
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
