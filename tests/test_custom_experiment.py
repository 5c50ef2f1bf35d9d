"""An imported custom experiment gives the same results as hand-written data files."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from biml.analysis import few_shot, open_ended, probes, responses
from biml.analysis.comparison import likelihood_differences
from biml.analysis.people import (
    few_shot_grammars,
    is_custom_experiment,
    people_few_shot,
    people_open_ended,
    people_probes,
)
from biml.analysis.scoring import (
    log_likelihoods,
    sample_few_shot,
    sample_open_ended,
    summed_by,
)
from biml.episodes.episode_type import FEW_SHOT_FOLDER, PROBE_FOLDER
from biml.episodes.registry import episode_type
from biml.episodes.transforms import drop_undefined_responses
from biml.errors import BimlError, UsageError
from biml.evaluation.registry import symbolic_model
from biml.grammar import GOLD
from biml.human.experiment import HumanExperiment, write_experiment
from biml.human.readers import read_episode_files, read_response_table
from biml.paths import DataFolders
from biml.reproduce.published import compare_with_published
from biml.reproduce.tables import probe_tables
from fakes.experiments import ANSWERS, OPEN, RESPONSE_SETS, STUDY, TRIAL, write_table, write_text
from fakes.networks import small_network


def put(found: HumanExperiment, folder: Path) -> DataFolders:
    write_experiment(found, folder)
    return DataFolders(folder, defaults=())


@pytest.fixture
def own(tmp_path: Path) -> DataFolders:
    table = write_table(tmp_path / "responses.csv")
    return put(read_response_table(table, write_text(tmp_path / "study.txt")), tmp_path / "data")


def network():
    from biml.evaluation.network import NetworkResponder

    return NetworkResponder(small_network())


# --- the published data, by way of the import


@pytest.mark.published_data
def test_published_few_shot_responses_imported_as_a_table(shared, tmp_path) -> None:
    published = people_few_shot(DataFolders(shared))
    responses.write_responses(published[["item", "query", "response"]], tmp_path / "responses.csv")
    study = shared / "data_human" / "few_shot" / "val_gold" / "mini_scan.txt"
    data = put(read_response_table(tmp_path / "responses.csv", study), tmp_path / "data")
    people = people_few_shot(data)
    columns = ["item", "response", "target", "correct", "error_type"]
    order = ["item", "response"]
    pd.testing.assert_frame_equal(
        people.sort_values(order)[columns].reset_index(drop=True),
        published.sort_values(order)[columns].reset_index(drop=True),
    )
    assert {g.canonical() for g in few_shot_grammars(data).values()} == {GOLD.canonical()}
    oracle = symbolic_model("oracle").build()
    evaluation = episode_type("few_shot_human").open_evaluation(data, 0)
    scores = log_likelihoods(oracle, evaluation, model="o", task="few_shot", p_lapse=0.13)
    assert scores["log_likelihood"].sum() == pytest.approx(-536.1, abs=0.05)


def test_published_probes_imported_as_a_table_with_participants(shared, tmp_path) -> None:
    published = people_probes(DataFolders(shared))
    # Nobody knows who answered; here the n-th answers to all trials are taken for one person's.
    known = published.assign(participant="P" + published["sample"].astype("string"))
    columns = ["participant", "item", "query", "response"]
    responses.write_responses(known[columns], tmp_path / "responses.parquet")
    study = shared / "data_human" / "data_behavior_probes" / "val"
    data = put(read_response_table(tmp_path / "responses.parquet", study), tmp_path / "data")
    people = people_probes(data)
    found, expected = probes.consistency_rates(people), probes.consistency_rates(published)
    columns = ["model", "kind", "responses", "consistent", "percent"]
    pd.testing.assert_frame_equal(found[columns], expected[columns])
    # Answers of one person resemble each other, so the intervals are no narrower.
    assert found["unit"].unique().tolist() == ["participants"]
    assert (found["high"] - found["low"] >= expected["high"] - expected["low"] - 1e-9).all()
    assert people["participant"].nunique() == 22
    table = probes.mutual_exclusivity_regression(people, participant_effect=True)
    assert table["term"].tolist()[-1] == "sd(group)"
    reported = probe_tables(people)["exclusivity_regression"]
    pd.testing.assert_frame_equal(reported[table.columns], table)
    anonymous = probe_tables(published)["exclusivity_regression"]
    assert "sd(group)" not in set(anonymous["term"])
    drawn = sample_few_shot(
        network(), data, model="net", samples_per_response=1, kind="probe_human"
    )
    assert drawn["item"].tolist() == people["item"].tolist()


@pytest.mark.published_data
def test_published_open_ended_responses_imported_as_episode_files(shared, tmp_path) -> None:
    found = read_episode_files(shared / "data_human" / "open_ended_all" / "val")
    data = put(found, tmp_path / "data")
    published = people_open_ended(DataFolders(shared))
    pd.testing.assert_frame_equal(people_open_ended(data), published)
    (row,) = open_ended.pattern_rates(people_open_ended(data)).to_dict("records")
    assert [row[name] for name in open_ended.PATTERNS] == [17, 18, 23, 27]
    folds = [
        {
            Path(e.name).stem
            for e in episode_type(f"open_end_human_cross{n}").evaluation(data, 0).episodes
        }
        for n in range(1, 6)
    ]
    assert sum(map(len, folds)) == len(set.union(*folds)) == 29


# --- an experiment in other words


def test_targets_follow_the_grammar_of_the_experiment(own: DataFolders) -> None:
    people = people_few_shot(own)
    assert people["participant"].tolist() == ["Ann", "Bo/b"] * 2
    assert people["item"].tolist() == ["one", "one", "two", "two"]
    assert people["target"].tolist() == ["▲ ▲", "▲ ▲", "● ▲", "● ▲"]
    assert people["correct"].tolist() == [True, False, True, False]
    assert people["error_type"].tolist() == ["", "one-to-one", "", "iconic"]
    assert people["study"].unique().tolist() == [
        "wug -> ■ | blick -> ▲ | toma -> ● | wug twice -> ■ ■ | wug then blick -> ▲ ■"
    ]
    (row,) = few_shot.accuracy_by_complexity(people, few_shot_grammars(own)).to_dict("records")
    assert (row["all"], row["simple"]) == (50, 50)
    # Answers of one person have one number, so that response sets can be put together.
    assert people["sample"].tolist() == [0, 1, 0, 1]


def test_likelihood_by_item_and_by_participant(own: DataFolders) -> None:
    evaluation = episode_type("few_shot_human").open_evaluation(own, 0)
    scores = log_likelihoods(network(), evaluation, model="net", task="few_shot", repeats=2)
    by_item = summed_by(scores)
    assert by_item["item"].tolist() == ["one", "two"]
    by_person = summed_by(scores, ("model", "participant")).set_index("participant")
    assert by_person["responses"].to_dict() == {"Ann": 2, "Bo/b": 2}
    total = scores["log_likelihood"].sum()
    assert by_person["log_likelihood"].sum() == pytest.approx(total)
    other = log_likelihoods(
        symbolic_model("oracle").build(), evaluation, model="o", task="few_shot", p_lapse=0.1
    )
    compared = likelihood_differences(pd.concat([scores, other]))
    assert compared["unit"].tolist() == ["participants"]
    assert compared["units"].tolist() == [2]


def test_participants_stay_known_if_responses_are_dropped_or_repeated(own) -> None:
    rows = [*ANSWERS, ("Cy", "one", "blick twice", "undefined_action")]
    folder = own.data_dir.parent
    table = write_table(folder / "more.csv", [rows[4], *rows[:4]])
    data = put(read_response_table(table, folder / "study.txt"), folder / "more")
    evaluation = episode_type("few_shot_human").open_evaluation(data, 0)
    oracle = symbolic_model("oracle").build()
    fewer = replace(evaluation, transforms=(drop_undefined_responses, *evaluation.transforms))
    for changed, people in (
        (fewer, {"Ann", "Bo/b"}),
        (replace(evaluation, query_repeats=3), {"Ann", "Bo/b", "Cy"}),
    ):
        scores = log_likelihoods(oracle, changed, model="o", task="few_shot", p_lapse=0.1)
        given = {(p, i, r) for p, i, _, r in rows[:5] if p in people}
        found = scores[["participant", "item", "response"]].value_counts()
        assert found.to_dict() == dict.fromkeys(given, 1)


def test_few_shot_gold_uses_the_grammar_of_the_experiment(own: DataFolders) -> None:
    evaluation = episode_type("few_shot_gold").open_evaluation(own, 0)
    assert len(evaluation.episodes) == 100
    queries = [" ".join(q.input) for q in evaluation.episodes[0].queries]
    assert queries == ["blick twice", "blick then toma"]
    published = episode_type("few_shot_gold").open_evaluation(DataFolders(defaults=()), 0)
    assert published.episodes[0].grammar == GOLD


def test_the_gold_episode_is_the_same_with_and_without_its_file(shared) -> None:
    with_file = episode_type("few_shot_gold").open_evaluation(DataFolders(shared, defaults=()), 3)
    without = episode_type("few_shot_gold").open_evaluation(DataFolders(defaults=()), 3)
    for one, other in zip(with_file.repeat(1), without.repeat(1), strict=True):
        assert one == other


def test_sampled_responses_have_the_names_of_the_items(own: DataFolders) -> None:
    drawn = sample_few_shot(
        symbolic_model("oracle").build(), own, model="oracle", samples_per_response=3
    )
    assert drawn["item"].tolist() == ["one"] * 6 + ["two"] * 6
    assert drawn["correct"].all()
    assert drawn["target"].unique().tolist() == ["▲ ▲", "● ▲"]


def test_without_rules_the_targets_are_those_of_the_study_file(tmp_path: Path) -> None:
    text = STUDY[: STUDY.index("wug ->")]
    study = write_text(tmp_path / "study.txt", text)
    data = put(read_response_table(write_table(tmp_path / "r.csv"), study), tmp_path / "data")
    assert people_few_shot(data)["correct"].tolist() == [True, False, True, False]
    items = few_shot.item_accuracy(people_few_shot(data), few_shot_grammars(data))
    assert items["accuracy"].tolist() == [50, 50]
    drawn = sample_few_shot(
        symbolic_model("oracle-biases").build(), data, model="biased", samples_per_response=2
    )
    assert set(drawn["item"]) == {"one", "two"}


def test_one_item_with_two_grammars_is_rejected(tmp_path: Path) -> None:
    answered = STUDY.replace("IN: blick twice OUT: ▲ ▲\n", "")
    write_text(tmp_path / "study" / "one.txt", answered)
    other = answered.replace("wug then blick OUT: ▲ ■", "wug then blick OUT: ■ ▲")
    other = other.replace("x1 then x2 -> [x2] [x1]", "x1 then x2 -> [x1] [x2]")
    write_text(tmp_path / "study" / "two.txt", other)
    with pytest.raises(BimlError, match=r"different grammars.*named after the items"):
        put(read_episode_files(tmp_path / "study"), tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.*"))


def test_items_may_have_different_study_sets(tmp_path: Path) -> None:
    one = write_text(tmp_path / "study" / "one.txt")
    other = STUDY.replace("wug then blick OUT: ▲ ■", "wug then blick OUT: ■ ▲")
    other = other.replace("x1 then x2 -> [x2] [x1]", "x1 then x2 -> [x1] [x2]")
    other = other.replace("IN: blick then toma OUT: ● ▲", "IN: blick then toma OUT: ▲ ●")
    write_text(tmp_path / "study" / "two.txt", other)
    data = put(read_response_table(write_table(tmp_path / "r.csv"), one.parent), tmp_path / "data")
    people = people_few_shot(data)
    assert people["correct"].tolist() == [True, False, False, True]
    grammars = few_shot_grammars(data)
    again = few_shot.annotate_errors(
        people.drop(columns=["target", "correct", "error_type"]), grammars
    )
    assert again["correct"].tolist() == [True, False, False, True]
    errors = few_shot.error_rates(people, grammars, by=("item",)).set_index("item")
    assert errors["reversing_errors"].to_dict() == {"one": 0, "two": 0}
    with pytest.raises(UsageError, match="no grammar for the item 'two'"):
        few_shot.item_accuracy(people, {"one": grammars["one"]})
    drawn = sample_few_shot(
        symbolic_model("oracle").build(), data, model="oracle", samples_per_response=1
    )
    assert drawn.query("item == 'two'")["response"].tolist() == ["▲ ●"] * 2
    assert drawn["correct"].all()


def test_open_ended_responses_from_a_table(tmp_path: Path) -> None:
    study = write_text(tmp_path / "open.txt", OPEN)
    data = put(
        read_response_table(write_table(tmp_path / "r.csv", RESPONSE_SETS), study),
        tmp_path / "data",
    )
    people = people_open_ended(data)
    assert people["participant"].unique().tolist() == [f"P{n}" for n in range(6)]
    assert open_ended.pattern_rates(people)["perfect"].tolist() == [6]
    evaluation = episode_type("open_end_human_cross2").open_evaluation(data, 0)
    scores = log_likelihoods(network(), evaluation, model="net", task="open_ended")
    assert scores["participant"].unique().tolist() == ["P1"]
    assert sorted(scores["item"]) == ["blick toma", "wug", "wug blick"]
    drawn = sample_open_ended(network(), data, model="net", n_sets=2)
    assert sorted(drawn["item"].unique()) == ["blick toma", "wug", "wug blick"]
    training = episode_type("open_end_human_cross2").open_training(data, 0)
    assert training[0].queries


def test_probe_trials_from_a_table(tmp_path: Path) -> None:
    write_text(tmp_path / "study" / "me.txt", TRIAL)
    rows = [("A", "me", "blick", "▲"), ("B", "me", "blick", "■")]
    data = put(
        read_response_table(write_table(tmp_path / "r.csv", rows), tmp_path / "study"),
        tmp_path / "data",
    )
    assert probes.consistency_rates(people_probes(data))["percent"].tolist() == [50]
    alone = read_response_table(
        write_table(tmp_path / "r.csv", rows), tmp_path / "study" / "me.txt"
    )
    assert alone.task == "probes"


def test_few_shot_responses_from_episode_files(tmp_path: Path) -> None:
    query = STUDY[: STUDY.index("IN: blick twice")] + "IN: blick twice OUT: ▲ ▲\n" * 3
    query += "IN: blick twice OUT: ■\n\n*GRAMMAR*\n" + STUDY.split("*GRAMMAR*\n")[1]
    write_text(tmp_path / "answers" / "a.txt", query)
    data = put(read_episode_files(tmp_path / "answers"), tmp_path / "data")
    assert people_few_shot(data)["correct"].tolist() == [True, True, True, False]
    assert people_few_shot(data)["sample"].tolist() == [0, 1, 2, 3]
    gold = episode_type("few_shot_gold").open_evaluation(data, 0).episodes[0]
    assert gold.queries[0].output == ("▲", "▲")


def test_the_written_responses_csv_is_a_table_of_responses(own: DataFolders) -> None:
    path = own.require("data_human") / "few_shot" / "val_behavior" / "responses.csv"
    table = responses.read_responses(path)
    assert table["participant"].tolist() == ["Ann", "Bo/b"] * 2
    assert table["correct"].tolist() == [True, False, True, False]


def test_responses_are_read_unchanged(own: DataFolders) -> None:
    people = people_few_shot(own)
    given = sorted((row[0], row[1], row[3]) for row in ANSWERS)
    found = sorted(zip(people["participant"], people["item"], people["response"], strict=True))
    assert found == given


@pytest.mark.published_data
def test_a_custom_experiment_is_not_compared_with_published_values(
    own: DataFolders, shared
) -> None:
    assert is_custom_experiment(own)
    assert not is_custom_experiment(DataFolders(shared))
    # Nor without the file that marks an imported experiment.
    (own.require("data_human") / "few_shot" / "val_behavior" / "responses.csv").unlink()
    assert is_custom_experiment(own)
    tables = {
        "accuracy_by_complexity": pd.DataFrame(
            [{"model": "people", "complexity": "all", "accuracy": 50.0}]
        ),
        "accuracies": pd.DataFrame(
            [
                {"model": "net", "task": task, "kind": "novel", "mean": 90.0, "sd": 1.0, "n": 9}
                for task in ("validation", "novel_rules")
            ]
        ),
    }
    columns = {"people": "people", "net": episode_type("algebraic+biases").paper_model}
    for imported in (False, True):
        found = compare_with_published(tables, columns, ("few-shot", "novel-rules"), imported)
        stated = found.dropna(subset="published")
        assert len(found) == 3
        assert set(found["model"]) == {"people", "net"}
        # Validation episodes, too, are of the language that is studied.
        assert len(stated) == (1 if imported else 3)
        assert "greedy, held-out rules (%)" in set(stated["statistic"])


@pytest.mark.published_data
@pytest.mark.parametrize("task", [FEW_SHOT_FOLDER, "open_ended_all/val", PROBE_FOLDER])
def test_published_data_are_recognised_by_their_responses(shared, tmp_path, task: str) -> None:
    folder = tmp_path / "data_human" / task
    shutil.copytree(shared / "data_human" / task, folder)
    data = DataFolders(tmp_path, defaults=())
    first, *_ = sorted(folder.iterdir())
    lines = first.read_text("utf-8").splitlines()
    first.unlink()
    start, end = lines.index("*QUERY*") + 1, lines.index("*GRAMMAR*") - 1
    lines[start:end] = reversed(lines[start:end])
    (folder / "moved.txt").write_text("\r\n".join(lines), "utf-8", newline="")
    assert not is_custom_experiment(data)
    del lines[start]
    (folder / "moved.txt").write_text("\n".join(lines), "utf-8")
    assert is_custom_experiment(data)
