"""Standard errors and intervals have the values of the textbook, over the right unit."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import biml
from biml.analysis import comparison, few_shot, open_ended, probes
from biml.analysis.responses import PEOPLE, response_table
from biml.analysis.scoring import summed_by, to_table
from biml.cli.main import main
from biml.evaluation.accuracy import Accuracy, ErrorRate, mean_error_rate
from biml.evaluation.intervals import (
    interval_of_best,
    mean_of_shares_error,
    resampling_counts,
    share_interval,
    standard_error_of_sum,
    unit_of,
    wilson_interval,
)
from biml.evaluation.likelihood import LAPSE_GRID, ScoredResponse, cross_validate, lapse_interval
from biml.report.results import with_intervals
from biml.report.schemas import TABLES
from biml.reproduce.benchmarks import error_rate_tables
from biml.reproduce.tables import few_shot_tables, probe_tables
from fakes.results import number_tables

QUERIES = {"DAX thrice": "DAX DAX DAX", "3 after DAX": "DAX 3"}


def answers(participants: int, *, known: bool) -> pd.DataFrame:
    """The first participant errs on both queries, the others never do."""
    return response_table(
        {
            "item": query,
            "query": query,
            "response": "3" if person == 0 else target,
            "participant": f"P{person}" if known else "",
            "sample": person,
        }
        for person in range(participants)
        for query, target in QUERIES.items()
    )


def test_responses_of_one_participant_count_as_fewer_than_independent_ones() -> None:
    hits = [True] * 6 + [False] * 2
    assert share_interval(hits) == wilson_interval(0.75, 8)
    # Both responses of a participant are alike: the variance is 7/3 of that of independent ones.
    pairs = ["a", "a", "b", "b", "c", "c", "d", "d"]
    assert share_interval(hits, pairs) == pytest.approx(wilson_interval(0.75, 8 * 3 / 7))
    assert share_interval(hits, list("abcdefgh")) == pytest.approx(wilson_interval(0.75, 8))
    assert share_interval(hits, ["", *pairs[1:]]) == wilson_interval(0.75, 8)
    assert share_interval([True] * 8, pairs) == wilson_interval(1.0, 4)
    assert np.isnan(share_interval([])).all()


def test_the_mean_accuracy_over_items_is_over_participants_where_they_are_known() -> None:
    def of_all(responses: pd.DataFrame) -> pd.Series:
        return few_shot.accuracy_intervals(responses).set_index("complexity").loc["all"]

    independent = of_all(answers(5, known=False))
    assert independent["unit"] == "responses within items"
    # Agresti and Coull: 6 of 9 in each of two items.
    assert independent["standard_error"] == pytest.approx(
        100 * (2 * (2 / 3 * 1 / 3 / 9)) ** 0.5 / 2
    )
    clustered = of_all(answers(5, known=True))
    assert clustered["unit"] == "participants"
    # The standard error of the mean of five participants' scores: 0, 100, 100, 100, 100.
    assert clustered["standard_error"] == pytest.approx(
        np.std([0, 100, 100, 100, 100], ddof=1) / 5**0.5
    )
    everyone = of_all(answers(5, known=True)[lambda table: table["sample"] > 0])
    assert everyone["standard_error"] == pytest.approx(mean_of_shares_error([4, 4], [4, 4]))
    assert everyone["standard_error"] > 0


def test_every_row_of_the_few_shot_tables_has_an_interval() -> None:
    people = answers(5, known=True)
    model = answers(5, known=False).assign(model="net")
    made = few_shot_tables(pd.concat([people, model]), biml.grammar.GOLD, 0, 200)
    by_item = made["item_accuracies"]
    assert by_item["low"].iloc[0] == pytest.approx(wilson_interval(0.8, 5)[0])
    rows = made["accuracy_by_complexity"].query("complexity == 'all'").set_index("model")
    assert rows["unit"].to_dict() == {PEOPLE: "participants", "net": "responses within items"}
    assert (rows["low"] < rows["accuracy"]).all()
    assert (rows["accuracy"] <= rows["high"]).all()
    assert rows.loc[PEOPLE, "low"] == pytest.approx(80 - 1.959964 * 20, abs=1e-3)
    patterns = made["response_patterns"].set_index(["model", "pattern"])
    assert patterns.loc[(PEOPLE, "one_to_one"), "n"] == 2
    assert patterns["low"].notna().all()
    (row,) = made["item_correlation"].to_dict("records")
    assert np.isnan(row["noise_ceiling"]) or row["noise_ceiling_low"] <= row["noise_ceiling"]


def test_item_correlations_resample_participants_where_they_are_known() -> None:
    known = answers(6, known=True)
    model = answers(6, known=False).assign(model="net")
    rows = known.index[(known["item"] == "DAX thrice") & (known["sample"] == 1)]
    known.loc[rows, "response"] = "3"
    (row,) = comparison.item_correlation(pd.concat([known, model]), resamples=50).to_dict("records")
    assert row["items"] == 2
    # A participant's two responses come and go together, so both items have as many.
    counts = resampling_counts(["p", "p", "q", "q"], ["a", "b"] * 2, 20, np.random.default_rng(0))
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts.sum(axis=1) == 4).all()
    within = resampling_counts([""] * 4, ["a", "b"] * 2, 20, np.random.default_rng(0))
    assert (within[:, [0, 2]].sum(axis=1) == 2).all()


def test_patterns_and_probes_have_intervals_over_response_sets_and_participants() -> None:
    sets = response_table(
        {"item": "dax", "query": "dax", "response": "R" * (n > 0), "participant": f"P{n}"}
        for n in range(10)
    )
    (row,) = open_ended.pattern_rates(sets).to_dict("records")
    assert (row["perfect"], row["perfect_low"]) == (9, pytest.approx(wilson_interval(0.9, 10)[0]))
    trial = {"query": "p2", "study": "p1 -> c1", "allowed_outputs": "c1 c2"}
    given = response_table(
        {**trial, "item": item, "response": "c2" if n else "c1", "participant": f"P{n}"}
        for n in range(5)
        for item in "ab"
    )
    (row,) = probes.consistency_rates(given).to_dict("records")
    assert (row["percent"], row["unit"]) == (80, "participants")
    assert (row["low"], row["high"]) == pytest.approx(wilson_interval(0.8, 10 * 4 / 9))
    made = probe_tables(given)
    assert made["mutual_exclusivity"]["low"].tolist() == [row["low"]]
    assert made["response_patterns"]["unit"].tolist() == ["participants"]


def test_answers_outside_the_symbols_are_consistent_with_nothing() -> None:
    """Those of language models, which networks and people cannot give."""
    trial = {"query": "p2", "study": "p1 -> c1", "allowed_outputs": "c1 c2", "item": "a"}
    answers = ("c2", "undefined_action", "c3", "c2 no_symbol")
    given = response_table({**trial, "response": answer} for answer in answers)
    assert probes.annotate_trials(given)["consistent"].tolist() == [True, False, False, False]
    free = response_table(
        {**trial, "allowed_outputs": "", "response": answer} for answer in ("c3", "no_symbol")
    )
    assert probes.annotate_trials(free)["consistent"].tolist() == [True, False]
    assert not few_shot.is_one_to_one(("1", "thrice"), ("1", "no_symbol"), biml.grammar.GOLD)
    queries = {"dax": "R", "wif": "no_symbol"}
    sets = response_table(
        {"item": q, "query": q, "response": r, "participant": "P"} for q, r in queries.items()
    )
    (row,) = open_ended.response_patterns(sets).to_dict("records")
    assert not any(row[name] for name in open_ended.PATTERNS)


def scored(values: list[float], participants: list[str], items: list[str]) -> list[ScoredResponse]:
    names = zip(values, participants, items, strict=True)
    return [
        ScoredResponse(item, person, 0, item, "R", 7, [np.array([value])])
        for value, person, item in names
    ]


def test_cross_validated_likelihoods_and_lapse_rates_have_uncertainty() -> None:
    rng = np.random.default_rng(0)
    likely, unlikely = np.log(0.99), np.log(1e-9)
    values = np.where(rng.random(60) < 0.9, likely, unlikely).tolist()
    responses = scored(values, [""] * 60, ["a", "b"] * 30)
    value, error = cross_validate([responses])
    assert error == pytest.approx(cross_error(responses, value), rel=0.2)
    low, high = lapse_interval(responses)
    assert low < high
    assert {low, high} <= set(LAPSE_GRID)
    sure = scored([likely] * 8, [""] * 8, ["a", "b"] * 4)
    assert lapse_interval(sure) == (0.01, 0.01)
    assert np.isnan(lapse_interval(scored([likely], [""], ["a"]))).all()


def test_items_with_one_response_each_are_the_units() -> None:
    names = [""] * 4, list("abcd")
    assert unit_of(*names) == "items"
    by_hand = 2 * np.std([1.0, 2.0, 3.0, 6.0], ddof=1)
    assert standard_error_of_sum([1.0, 2.0, 3.0, 6.0], *names) == pytest.approx(by_hand)
    counts = resampling_counts(*names, 50, np.random.default_rng(0))
    assert (counts.sum(axis=1) == 4).all()
    assert len(np.unique(counts)) > 2


def cross_error(responses: list[ScoredResponse], total: float) -> float:
    """About the error of a sum whose values have two levels: those of the best lapse rate."""
    best = max(LAPSE_GRID, key=lambda p: sum(one.log_likelihood(p) for one in responses))
    values = [one.log_likelihood(best) for one in responses]
    assert sum(values) == pytest.approx(total, rel=0.1)
    return standard_error_of_sum(values, [""] * len(values), [one.item for one in responses])


def test_the_best_parameter_is_resampled_by_participant_or_within_items() -> None:
    values = np.array([[0.0, 0.0, -1.0, -1.0], [-1.0, -1.0, 0.0, 0.0]])
    assert interval_of_best(values, [0.1, 0.9], ["p", "p", "q", "q"], list("abab")) == (0.1, 0.9)
    # Within the items the two fits are always equally good: the first.
    values = np.array([[0.0, -1.0, 0.0, -1.0], [-1.0, 0.0, -1.0, 0.0]])
    assert interval_of_best(values, [0.1, 0.9], [""] * 4, list("abab")) == (0.1, 0.1)


def test_the_sum_of_a_participant_has_the_error_of_their_responses() -> None:
    responses = scored([-1.0, -3.0, -2.0, -2.0], ["p", "p", "q", "q"], ["a", "b"] * 2)
    table = to_table(responses, model="net", task="few_shot", p_lapse=0.0)
    by_person = summed_by(table, ["participant"]).set_index("participant")
    assert by_person["standard_error"].to_dict() == {"p": pytest.approx(2.0), "q": 0.0}
    by_item = summed_by(table, ["item"]).set_index("item")
    assert by_item.loc["a", "standard_error"] == pytest.approx(2**0.5 * np.std([1, 2], ddof=1))


def test_mean_error_rates_and_ratios_have_intervals() -> None:
    mean, (low, high) = mean_error_rate([ErrorRate(0, 50), ErrorRate(0, 50)])
    assert (mean, low) == (0, 0)
    assert 2 < high < 6
    about = {"network": "a", "kind": "all", "output_length": 1, "seed": 0, "architecture": "staged"}
    about |= {"task": "cogs_iid", "total": 1000, "n": 1000}
    rows = [
        {**about, "model": "MLC", "trained_on": "cogs_train_targeted", "count": 10},
        {**about, "model": "plain", "trained_on": "cogs_train_vanilla", "count": 100},
    ]
    columns = list(TABLES["error_counts"].columns)
    rates = error_rate_tables(pd.DataFrame(rows, columns=columns))["error_rates"]
    plain = rates.set_index("model").loc["plain"]
    assert plain["ratio"] == pytest.approx(10)
    # Near the interval of the logarithm's delta method: exp(ln 10 ± 1.96 (1/10 + 1/100)^½).
    assert plain["ratio_low"] == pytest.approx(10 * np.exp(-1.96 * 0.33), rel=0.15)
    assert plain["ratio_high"] == pytest.approx(10 * np.exp(1.96 * 0.33), rel=0.15)
    rows[0]["count"] = 0
    none = error_rate_tables(pd.DataFrame(rows, columns=columns))["error_rates"]
    plain = none.set_index("model").loc["plain"]
    assert plain["ratio_high"] == np.inf
    assert 10 < plain["ratio_low"] < 100


def test_results_of_earlier_versions_get_the_intervals_of_their_counts() -> None:
    found = with_intervals(
        {name: frame.assign(low=None, high=None) for name, frame in number_tables().items()}
    )
    patterns = found["response_patterns"]
    assert patterns["low"].iloc[0] == pytest.approx(wilson_interval(10 / 41, 41)[0], abs=0.01)
    (row,) = found["accuracies"].to_dict("records")
    assert (row["low"], row["high"]) == Accuracy(95.25, 0.5, 200).interval


def test_the_table_of_an_evaluation_has_intervals_and_their_unit() -> None:
    table = biml.evaluate("oracle", "few_shot_gold", repeats=1).table().set_index("measure")
    novel = table.loc["accuracy_novel"]
    assert (novel["value"], novel["unit"], novel["high"]) == (100, "episodes", 100)
    assert novel["low"] == pytest.approx(wilson_interval(1.0, novel["n"])[0])
    assert {"p_lapse", "cross_validated", "fitted"} <= set(table.index)


@pytest.mark.published_data
def test_the_console_says_what_intervals_are_over(shared: Path, tmp_path: Path, capsys) -> None:
    options = ["--episode_type", "few_shot_human", "--data_dir", str(shared)]
    out = tmp_path / "figures.json"
    options += ["--fit_lapse", "--max", "--ll_by", "item", "--json", str(out)]
    assert main(["eval", "--fn_out_model", "oracle", *options]) == 0
    text, found = capsys.readouterr().out, json.loads(out.read_text())
    assert f"SE {found['loglike_se']:.2f} over responses within items" in text
    assert f"SE {found['loglike_cross_validated_se']:.2f} over" in text
    low, high = found["p_lapse_interval"]
    assert f"95% interval {low:g} to {high:g}" in text
    low, high = found["agreement_novel_interval"]
    assert f"95% interval {low:.2f} to {high:.2f}" in text
    assert set(found["loglike_by_item_se"]) == set(found["loglike_by_item"])
