"""`biml reproduce` on a custom experiment with some of the tasks."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from biml.analysis.scoring import sample_few_shot
from biml.cli.main import main
from biml.episodes.episode_type import FEW_SHOT_FOLDER
from biml.episodes.registry import episode_type
from biml.episodes.text_format import RESPONSES_FILE
from biml.errors import BimlError
from biml.evaluation.accuracy import max_response_length
from biml.evaluation.registry import symbolic_model
from biml.human.experiment import write_experiment
from biml.human.readers import read_episode_files, read_response_table
from biml.networks import checkpoint
from biml.paths import DataFolders
from biml.report.results import Results, read_results
from biml.report.schemas import PEOPLE
from biml.reproduce.cache import ResultCache
from biml.reproduce.experiments import select_experiments
from biml.reproduce.models import find_models
from biml.reproduce.run import plan_jobs, reproduce
from biml.reproduce.tables import ReproductionSpec
from fakes.experiments import ANSWERS, OPEN, RESPONSE_SETS, STUDY, write_table, write_text
from fakes.networks import small_network


def imported(folder: Path, study: Path, rows: Sequence[Sequence[str]] = ANSWERS) -> DataFolders:
    write_experiment(
        read_response_table(write_table(folder / "r.csv", rows), study), folder / "data"
    )
    return DataFolders(folder / "data", defaults=())


@pytest.fixture
def few_shot_only(tmp_path: Path) -> DataFolders:
    return imported(tmp_path, write_text(tmp_path / "study.txt"))


def spec_of(
    data: DataFolders, folder: Path, *names: str, of: Sequence[str] = ()
) -> ReproductionSpec:
    subjects = find_models(names, folder, data)
    return ReproductionSpec(subjects, select_experiments(list(of) or None), data, quick=True)


def results_of(spec: ReproductionSpec, folder: Path) -> Results:
    store = ResultCache(folder / "cache")
    reproduce(spec, folder / "out", workers=1, cache=store)
    return read_results(folder / "out")


def test_tasks_that_were_not_imported_are_listed_as_exclusions(few_shot_only, tmp_path) -> None:
    spec = spec_of(few_shot_only, tmp_path, "oracle", "biases")
    results = results_of(spec, tmp_path)
    assert set(results.tables["responses"]["task"]) == {"few_shot"}
    assert set(results.tables["accuracy_by_complexity"]["model"]) == {"people", "oracle"}
    absent = {
        (one.experiment, one.measurement) for one in results.exclusions if one.model == PEOPLE
    }
    assert absent == {
        ("table1", "likelihood, open-ended"),
        ("open-ended", "samples, open-ended"),
        ("probes", "likelihood, probes"),
        ("probes", "samples, probes"),
    }
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert "no open-ended task" in page
    assert results.imported
    for of_the_paper in ("the paper", "people’s data", "colour of", "held it out", "ong output"):
        assert of_the_paper not in page


def test_the_command_prints_exclusions(few_shot_only, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["--models", "oracle", "--data_dir", str(few_shot_only.data_dir), "--quick"]
    out = ["--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(["reproduce", "table1", "few-shot", *words, *out]) == 0
    error = capsys.readouterr().err
    assert "Not measured: table1: likelihood, open-ended" in error
    assert "few-shot: greedy responses, gold" in error


def test_differences_for_one_participant_have_no_interval(tmp_path) -> None:
    data = imported(tmp_path, write_text(tmp_path / "study.txt"), ANSWERS[:2])
    spec = spec_of(data, tmp_path, "oracle", "oracle-biases", of=["table1"])
    (row,) = results_of(spec, tmp_path).tables["comparisons"].to_dict("records")
    assert row["difference"] > 0
    assert pd.isna([row["low"], row["high"]]).all()
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    cells = page.rsplit("Differences between models", 1)[1].split("</tr>")[1]
    assert re.findall(r">\s*(–)\s*<", cells) == ["–", "–"]


@pytest.mark.parametrize(("people", "folds"), [(6, ["1", "2", "3", "4", "5", "all"]), (4, [""])])
def test_open_ended_responses_with_and_without_folds(tmp_path, people: int, folds) -> None:
    data = imported(tmp_path, write_text(tmp_path / "open.txt", OPEN), RESPONSE_SETS[: 3 * people])
    checkpoint.save_checkpoint(
        tmp_path / "net.pt", checkpoint.checkpoint_of(small_network(), "open_end_human_all")
    )
    spec = spec_of(data, tmp_path, "biases", "net", of=["table1"])
    table = results_of(spec, tmp_path).tables["likelihoods"].set_index("model")
    assert table.loc[["biases"], "fold"].tolist() == folds
    assert not table.loc[["biases"], "within_sample"].any()
    # Nobody knows whether the network was trained on these people.
    assert table.loc[["net"], "fold"].tolist() == [""]
    assert table.loc[["net"], "within_sample"].isna().all()


def test_each_item_is_scored_by_its_own_grammar(tmp_path) -> None:
    other = STUDY.replace("wug then blick OUT: ▲ ■", "wug then blick OUT: ■ ▲")
    other = other.replace("x1 then x2 -> [x2] [x1]", "x1 then x2 -> [x1] [x2]")
    other = other.replace("IN: blick then toma OUT: ● ▲", "IN: blick then toma OUT: ▲ ●")
    write_text(tmp_path / "study" / "one.txt")
    write_text(tmp_path / "study" / "two.txt", other)
    data = imported(tmp_path, tmp_path / "study")
    results = results_of(spec_of(data, tmp_path, "oracle", of=["few-shot"]), tmp_path)
    items = results.tables["item_accuracies"]
    assert items[items["model"] == "people"]["accuracy"].tolist() == [50, 50]
    answers = results.tables["responses"].set_index(["model", "item"]).sort_index()
    assert set(answers.loc[("people", "two"), "target"]) == {"▲ ●"}
    assert items["complexity"].tolist() == ["simple"] * 4


def test_an_item_with_two_grammars_is_rejected_before_any_computation(tmp_path) -> None:
    other = STUDY.replace("x1 then x2 -> [x2] [x1]", "x1 then x2 -> [x1] [x2]")
    other = other.replace("IN: wug then blick OUT: ▲ ■\n", "")
    for name, text in (("a", STUDY), ("b", other)):
        begun, _, rest = text.partition("*QUERY*\n")
        rules = rest[rest.index("*GRAMMAR*") :]
        text = f"{begun}*QUERY*\nIN: blick then toma OUT: ▲\n\n{rules}"
        write_text(tmp_path / name / f"{name}.txt", text)
    put = write_experiment(read_episode_files(tmp_path / "a"), tmp_path / "data")
    # The import refuses such files; here one is laid beside the other by hand.
    shutil.copy(tmp_path / "b" / "b.txt", put / FEW_SHOT_FOLDER)
    (put / FEW_SHOT_FOLDER / RESPONSES_FILE).unlink()
    data = DataFolders(tmp_path / "data", defaults=())
    with pytest.raises(BimlError, match="the item 'blick then toma' "):
        results_of(spec_of(data, tmp_path, "oracle", of=["few-shot"]), tmp_path)
    assert not (tmp_path / "cache").exists()


@pytest.mark.published_data
def test_basic_seq2seq_is_evaluated_on_the_published_task_only(
    few_shot_only, shared, tmp_path
) -> None:
    legacy = shared / "legacy" / "net-legacy-vanilla.pt"
    (tmp_path / "vanilla.pt").write_bytes(legacy.read_bytes())
    spec = spec_of(few_shot_only, tmp_path, "vanilla", "oracle", of=["table1", "few-shot"])
    units, skipped = plan_jobs(spec)
    assert {unit.context.model.name for unit in units} == {"oracle"}
    why = {one.measurement: one.reason for one in skipped if one.model == "vanilla"}
    assert why["likelihood, few-shot"] == "knows only the words of the published task"
    published = spec_of(DataFolders(shared), tmp_path, "vanilla", of=["table1", "few-shot"])
    assert {unit.measurement for unit in plan_jobs(published)[0]} == {"few_shot_likelihood", "gold"}


def test_long_responses_are_sampled_to_their_end(tmp_path) -> None:
    words = " then ".join(["blick twice", "toma twice"] * 3)
    study = STUDY.replace("IN: blick then toma OUT: ● ▲", f"IN: {words} OUT: {'● ● ▲ ▲ ' * 3}")
    rows = [("Ann", "long", words, "▲")]
    data = imported(tmp_path, write_text(tmp_path / "study.txt", study), rows)
    evaluation = episode_type("few_shot_human").open_evaluation(data, 0)
    assert max_response_length(evaluation.episodes) == 12
    drawn = sample_few_shot(
        symbolic_model("oracle").build(), data, model="oracle", samples_per_response=1
    )
    assert drawn["correct"].all()


def test_long_gold_responses_can_be_correct(tmp_path, monkeypatch) -> None:
    import biml.reproduce.measurements as measures

    asked_for = []
    exact = measures.teacher_forced_exact_match

    def watched(network, episodes, max_length):
        asked_for.append(max_length)
        return exact(network, episodes, max_length)

    monkeypatch.setattr(measures, "teacher_forced_exact_match", watched)
    study = STUDY.replace("IN: blick twice OUT: ▲ ▲", f"IN: {'blick ' * 12} OUT: {'▲ ' * 12}")
    rows = [("Ann", "long", " ".join(["blick"] * 12), "▲")]
    data = imported(tmp_path, write_text(tmp_path / "study.txt", study), rows)
    checkpoint.save_checkpoint(
        tmp_path / "net.pt", checkpoint.checkpoint_of(small_network(), "algebraic")
    )
    units, _ = plan_jobs(spec_of(data, tmp_path, "net", of=["few-shot"]))
    (gold,) = [unit for unit in units if unit.measurement == "gold"]
    gold.run()
    assert asked_for == [12]
