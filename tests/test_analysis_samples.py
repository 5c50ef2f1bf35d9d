"""Samples as tables, and log-likelihoods compared between models."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biml.analysis import few_shot, open_ended, probes
from biml.analysis.comparison import likelihood_differences
from biml.analysis.people import people_few_shot, people_open_ended, people_probes
from biml.analysis.scoring import (
    fit_lapse_bounded,
    log_likelihoods,
    sample_few_shot,
    sample_open_ended,
    summed_by,
)
from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode, Example
from biml.episodes.registry import episode_type
from biml.episodes.transforms import shuffle_queries
from biml.errors import UsageError
from biml.evaluation.likelihood import fit_lapse, likelihood, score_responses, token_scores
from biml.evaluation.network import NetworkResponder
from biml.evaluation.symbolic import BiasOracle, OpenEndedBiasModel, Oracle
from biml.networks.checkpoint import load_model
from biml.paths import DataFolders


@pytest.fixture(scope="module")
def data(shared: Path) -> DataFolders:
    return DataFolders(shared)


@pytest.fixture(scope="module")
def few_shot_loglikes(data: DataFolders) -> pd.DataFrame:
    evaluation = episode_type("few_shot_human").open_evaluation(data, 0)
    return pd.concat(
        [
            log_likelihoods(
                responder, evaluation, model=model, task="few_shot", p_lapse=p, repeats=2
            )
            for model, responder, p in (
                ("oracle", Oracle(), 0.13),
                ("biased", BiasOracle(), 0.05),
            )
        ]
    )


def test_few_shot_samples_are_in_canonical_names(data: DataFolders) -> None:
    drawn = sample_few_shot(BiasOracle(), data, model="biased", samples_per_response=2, seed=1)
    people = people_few_shot(data)
    assert drawn.groupby("item").size().equals(2 * people.groupby("item").size())
    assert list(drawn.columns) == list(people.columns)
    assert drawn.dtypes.equals(people.dtypes)
    allowed = {"1", "2", "3", "DAX", "undefined_action"}
    assert set(" ".join(drawn["response"]).split()) <= allowed
    assert drawn["correct"].mean() == pytest.approx(0.86, abs=0.07)
    again = sample_few_shot(BiasOracle(), data, model="biased", samples_per_response=2, seed=1)
    pd.testing.assert_frame_equal(drawn, again)


def test_the_oracle_errs_only_with_a_lapse_rate(
    data: DataFolders,
) -> None:
    drawn = sample_few_shot(Oracle(), data, model="oracle", samples_per_response=1)
    assert few_shot.accuracy_by_complexity(drawn)["all"].tolist() == [100]
    drawn = sample_few_shot(Oracle(), data, model="lapsing", samples_per_response=1, p_lapse=0.13)
    # A response of n symbols is right if n + 1 choices are: (0.87 + 0.13 / 7)^(n + 1).
    right = [(0.87 + 0.13 / 7) ** (len(t.split()) + 1) for t in drawn["target"]]
    assert drawn["correct"].mean() == pytest.approx(np.mean(right), abs=0.1)


@pytest.mark.published_data
def test_open_ended_samples_are_autoregressive(data: DataFolders) -> None:
    drawn = sample_open_ended(OpenEndedBiasModel(), data, model="biases", n_sets=7)
    assert drawn.groupby("sample").size().tolist() == [7] * 7
    (row,) = open_ended.pattern_rates(drawn).to_dict("records")
    assert row["perfect_percent"] == row["mutual_exclusivity_percent"] == 100
    assert set(drawn["query"]) == set(people_open_ended(data)["query"][:7])
    assert (
        sample_open_ended(OpenEndedBiasModel(), data, model="b", n_sets=120)["sample"].nunique()
        == 120
    )


def test_probe_samples_use_the_allowed_outputs_of_their_trial(data: DataFolders) -> None:
    drawn = sample_few_shot(
        OpenEndedBiasModel(), data, model="biases", samples_per_response=1, kind="probe_human"
    )
    people = people_probes(data)
    assert drawn.groupby("item").size().equals(people.groupby("item").size())
    for row in drawn.itertuples():
        assert set(row.response.split()) <= set(row.allowed_outputs.split())
    shares = probes.consistency_rates(drawn).set_index("kind")["percent"]
    # One symbol a word and no symbol twice: all but the trial of words with several symbols.
    assert shares["mutual exclusivity"] == shares["trade-off"] == 100
    assert shares["concatenation"] == pytest.approx(200 / 3)


@pytest.mark.published_data
def test_log_likelihoods_of_responses_sum_to_the_total(
    few_shot_loglikes: pd.DataFrame,
) -> None:
    totals = summed_by(few_shot_loglikes, by=["model"]).set_index("model")
    assert totals["symbols"].tolist() == [990, 990]
    assert totals.loc["oracle", "log_likelihood"] == pytest.approx(-536.1, abs=0.05)
    items = summed_by(few_shot_loglikes)
    assert len(items) == 20
    assert items["responses"].sum() == 2 * 217


@pytest.mark.published_data
def test_likelihood_by_participant(data: DataFolders) -> None:
    folds = [
        log_likelihoods(
            OpenEndedBiasModel(),
            episode_type(f"open_end_human_cross{fold}").open_evaluation(data, 0),
            model="biases",
            task="open_ended",
            p_lapse=0.3,
            repeats=2,
        )
        for fold in range(1, 6)
    ]
    people = summed_by(pd.concat(folds), by=["model", "participant"])
    assert len(people) == 29
    assert (people["responses"] == 7).all()
    assert people["symbols"].sum() == 795


def test_two_responses_to_one_query_are_scored_separately_in_any_order() -> None:
    given = (("dax", "RED"), ("dax", "BLUE RED"), ("lug", "BLUE"))
    pairs = tuple(Example(tuple(q.split()), tuple(a.split())) for q, a in given)
    evaluation = EvaluationSet(
        (Episode((), pairs, name="p1.txt"),),
        (shuffle_queries,),
        seed=0,
        autoregressive=True,
    )
    found = log_likelihoods(
        OpenEndedBiasModel(), evaluation, model="b", task="open_ended", p_lapse=0.1, repeats=20
    ).sort_values(["query", "sample"])
    assert list(zip(found["query"], found["response"], strict=True)) == list(given)
    assert found["sample"].tolist() == [0, 1, 0]
    assert found["symbols"].tolist() == [2, 3, 2]
    whole = likelihood(
        token_scores(score_responses(OpenEndedBiasModel(), evaluation, repeats=20)), 0.1
    )
    assert found["log_likelihood"].sum() == pytest.approx(whole.mean)


def test_probe_trials_with_the_same_query_are_separate_items(data: DataFolders) -> None:
    evaluation = episode_type("probe_human").open_evaluation(data, 0)
    found = log_likelihoods(
        OpenEndedBiasModel(), evaluation, model="biases", task="probes", p_lapse=0.3
    )
    assert found["item"].nunique() == 12


@pytest.mark.published_data
def test_the_best_lapse_is_no_worse_than_the_best_of_the_grid(data: DataFolders) -> None:
    evaluation = episode_type("few_shot_human").open_evaluation(data, 0)
    scores = token_scores(score_responses(Oracle(), evaluation))
    best, grid = fit_lapse_bounded(scores), fit_lapse(scores)
    assert best.mean >= grid.mean
    assert best.p_lapse == pytest.approx(0.13, abs=0.005)
    assert best.mean == pytest.approx(-536.1, abs=0.1)


@pytest.mark.published_data
def test_the_biased_oracle_explains_people_better_beyond_chance(
    few_shot_loglikes: pd.DataFrame,
) -> None:
    (row,) = likelihood_differences(few_shot_loglikes, resamples=1000).to_dict("records")
    assert (row["model"], row["other"], row["unit"]) == ("oracle", "biased", "responses")
    assert row["difference"] == pytest.approx(-172.87, abs=0.1)
    assert row["low"] < row["difference"] < row["high"] < 0
    assert row["better"] == 0
    assert row["units"] == 217


@pytest.mark.published_data
def test_networks_are_scored_and_sampled_like_symbolic_models(
    shared: Path, data: DataFolders
) -> None:
    network = load_model(shared / "legacy" / "net-legacy-vanilla.pt").network
    responder = NetworkResponder(network)
    drawn = sample_few_shot(
        responder, data, model="vanilla", samples_per_response=1, kind="human_vanilla"
    )
    assert len(drawn) == 217
    assert few_shot.accuracy_by_complexity(drawn)["complex"].tolist() == [0]
    evaluation = episode_type("human_vanilla").open_evaluation(data, 0)
    found = log_likelihoods(responder, evaluation, model="v", task="few_shot", p_lapse=0.9)
    assert len(found) == 215  # two responses with an undefined colour are skipped
    assert found["log_likelihood"].sum() == pytest.approx(-1545.6965, abs=1e-3)


def test_repeated_queries_count_once(data: DataFolders) -> None:
    evaluation = episode_type("probe_human").open_evaluation(data, 0)
    assert sum(len(episode.queries) for episode in evaluation.repeat(0)) == 2640
    found = log_likelihoods(OpenEndedBiasModel(), evaluation, model="b", task="probes", p_lapse=0.3)
    other = log_likelihoods(OpenEndedBiasModel(), evaluation, model="c", task="probes", p_lapse=0.1)
    (row,) = likelihood_differences(pd.concat([found, other]), resamples=10).to_dict("records")
    assert (row["unit"], row["units"]) == ("responses", 264)
    scored = score_responses(OpenEndedBiasModel(), evaluation)
    (whole,) = token_scores(scored, evaluation.query_repeats)
    assert whole.total(0.3) == pytest.approx(10 * found["log_likelihood"].sum())


def test_an_empty_evaluation_gives_an_empty_table(data: DataFolders) -> None:
    nobody = replace(episode_type("few_shot_human").open_evaluation(data, 0), episodes=())
    found = log_likelihoods(Oracle(), nobody, model="oracle", task="few_shot")
    assert found.empty
    assert summed_by(found).empty
    assert likelihood_differences(found).empty


def loglikes(model: str, values: dict[str, list[float]], by: str = "participant") -> pd.DataFrame:
    rows = [
        {
            "model": model,
            "task": "t",
            "item": f"item {number}" if by == "participant" else name,
            "participant": name if by == "participant" else "",
            "sample": number,
            "query": "dax",
            "response": "RED",
            "symbols": 2,
            "log_likelihood": value,
        }
        for name, found in values.items()
        for number, value in enumerate(found)
    ]
    return pd.DataFrame(rows)


def test_the_bootstrap_resamples_whole_participants() -> None:
    """Two people who differ by +10 and -10: a sum of two draws is -20, 0 or 20."""
    both = pd.concat(
        [
            loglikes("a", {"p": [-1.0, -1.0], "q": [-6.0, -6.0]}),
            loglikes("b", {"p": [-6.0, -6.0], "q": [-1.0, -1.0]}),
        ]
    )
    (row,) = likelihood_differences(both, resamples=4000).to_dict("records")
    assert (row["difference"], row["low"], row["high"]) == (0, -20, 20)
    assert row["better"] == pytest.approx(0.25, abs=0.04)
    assert (row["unit"], row["units"]) == ("participants", 2)


def test_the_bootstrap_resamples_within_items() -> None:
    """Items differ, responses to one item do not: drawing within items changes nothing."""
    both = pd.concat(
        [
            loglikes("a", {"x": [-1.0] * 5, "y": [-3.0] * 5}, by="item"),
            loglikes("b", {"x": [-2.0] * 5, "y": [-1.0] * 5}, by="item"),
        ]
    )
    (row,) = likelihood_differences(both, resamples=100).to_dict("records")
    assert row["low"] == row["high"] == row["difference"] == -5


@pytest.mark.parametrize("by", ["participant", "item"])
def test_a_single_bootstrap_unit_has_no_interval(by: str) -> None:
    def both(given: dict[str, list[float]]) -> pd.DataFrame:
        other = {name: [value - 1 for value in values] for name, values in given.items()}
        return pd.concat([loglikes("a", given, by), loglikes("b", other, by)])

    # Of a participant the answers are one unit; of two items each has its own.
    few = {"p": [-1.0, -2.0]} if by == "participant" else {"x": [-1.0], "y": [-2.0]}
    (row,) = likelihood_differences(both(few), resamples=10).to_dict("records")
    assert row["difference"] == 2
    assert np.isnan([row["low"], row["high"], row["better"]]).all()
    (row,) = likelihood_differences(both({"p": [-1.0, -2.0], "q": [-3.0, -4.0]})).to_dict("records")
    assert (row["low"], row["high"], row["better"]) == (4, 4, 1)


def test_each_task_has_its_own_bootstrap_unit(tmp_path: Path) -> None:
    by_item = [
        loglikes(name, {"x": [value] * 5}, by="item").assign(task="few_shot")
        for name, value in (("a", -1.0), ("b", -2.0))
    ]
    by_person = [
        loglikes(name, {"p": [x, x], "q": [y, y]}).assign(task="open_ended")
        for name, x, y in (("a", -1.0, -6.0), ("b", -6.0, -1.0))
    ]
    both = pd.concat([*by_item, *by_person])
    (row,) = likelihood_differences(both, resamples=4000).to_dict("records")
    assert (row["difference"], row["low"], row["high"]) == (5, -15, 25)
    assert (row["unit"], row["units"]) == ("responses and participants", 7)
    both.to_csv(tmp_path / "both.csv", index=False)
    (again,) = likelihood_differences(pd.read_csv(tmp_path / "both.csv"), resamples=4000).to_dict(
        "records"
    )
    assert again == row


def test_models_that_cannot_be_compared_are_rejected() -> None:
    a = loglikes("a", {"x": [-1.0, -2.0]}, by="item")
    with pytest.raises(UsageError, match="different responses"):
        likelihood_differences(pd.concat([a, loglikes("b", {"x": [-1.0]}, by="item")]))
    with pytest.raises(UsageError, match="impossible for b"):
        likelihood_differences(pd.concat([a, loglikes("b", {"x": [-1.0, -np.inf]}, by="item")]))
    with pytest.raises(UsageError, match="scored twice"):
        likelihood_differences(pd.concat([a, a]))
    with pytest.raises(UsageError, match="no participant"):
        likelihood_differences(a, bootstrap_unit="participants")
    with pytest.raises(UsageError, match="unknown bootstrap unit"):
        likelihood_differences(a, bootstrap_unit="people")
