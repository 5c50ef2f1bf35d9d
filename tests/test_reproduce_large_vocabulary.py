"""`biml reproduce` on vocabularies larger than the published one."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from biml.cli.main import main
from biml.human.experiment import write_experiment
from biml.human.readers import read_response_table
from biml.networks import checkpoint
from biml.paths import DataFolders
from biml.report.results import Results, read_results
from biml.report.schemas import PEOPLE
from biml.reproduce.experiments import select_experiments, vocabulary_overflow
from biml.reproduce.models import find_models
from biml.reproduce.run import plan_jobs
from biml.reproduce.tables import ReproductionSpec
from fakes.experiments import ANSWERS, OPEN, RESPONSE_SETS, STUDY, write_table, write_text
from fakes.networks import small_network

# Eleven words and nine symbols; in the open-ended task nine of both.
MORE = {"sib": "◆", "gep": "★", "lu": "◐", "mip": "◇", "dop": "◈", "zup": "◉"}
WIDE = STUDY.replace("IN: wug OUT: ■\n", "IN: wug OUT: ■\nIN: sib OUT: ◆\n").replace(
    "u1 twice", "\n".join([*(f"{word} -> {symbol}" for word, symbol in MORE.items()), "u1 twice"])
)
WIDE_OPEN = OPEN.replace(
    "\n*GRAMMAR*", f"IN: {' '.join(MORE)} OUT: {' '.join(MORE.values())}\n\n*GRAMMAR*"
)
WIDE_SHEETS = (
    *RESPONSE_SETS,
    *((f"P{n}", "all", " ".join(MORE), " ".join(MORE.values())) for n in range(6)),
)


def imported(folder: Path, study: str, rows: Sequence[Sequence[str]] = ANSWERS) -> DataFolders:
    table = write_table(folder / "r.csv", rows)
    write_experiment(
        read_response_table(table, write_text(folder / "study.txt", study)), folder / "data"
    )
    return DataFolders(folder / "data", defaults=())


def reproduced(folder: Path, *words: str) -> Results:
    where = ["--data_dir", str(folder / "data"), "--dir_model", str(folder)]
    how = ["--quick", "--workers", "1", "--out", str(folder / "out")]
    assert main(["reproduce", *words, *where, *how]) == 0
    return read_results(folder / "out")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_symbolic_models_use_the_symbols_of_the_experiment(tmp_path: Path) -> None:
    imported(tmp_path, WIDE)
    models = ["oracle", "oracle-biases", "oracle-slips"]
    results = reproduced(tmp_path, "table1", "few-shot", "--models", *models)
    table = results.tables["likelihoods"].set_index("model")
    assert table.index.tolist() == models
    lapse, found = table.loc["oracle", ["p_lapse", "log_likelihood"]]
    # Nine symbols and ends are as the oracle has them, three are not; a lapse has ten choices.
    assert found == pytest.approx(9 * math.log(1 - 0.9 * lapse) + 3 * math.log(lapse / 10))
    answers = results.tables["responses"]
    drawn = answers[answers["model"] != PEOPLE]
    assert set(drawn["query"]) == {"blick twice", "blick then toma"}
    assert {*" ".join(drawn["response"]).split()} <= {"■", "▲", "●", *MORE.values()}


def test_open_ended_responses_may_use_every_symbol(tmp_path: Path) -> None:
    imported(tmp_path, WIDE_OPEN, WIDE_SHEETS)
    results = reproduced(tmp_path, "table1", "open-ended", "--models", "biases")
    assert results.tables["likelihoods"]["fold"].tolist() == ["1", "2", "3", "4", "5", "all"]
    answers = results.tables["responses"]
    drawn = answers[answers["model"] == "biases"]
    assert {*" ".join(drawn["response"]).split()} == {"■", "▲", "●", *MORE.values()}


def test_networks_with_too_small_a_vocabulary_are_excluded(tmp_path: Path, capsys) -> None:
    imported(tmp_path, WIDE)
    checkpoint.save_checkpoint(
        tmp_path / "net.pt", checkpoint.checkpoint_of(small_network(), "algebraic")
    )
    results = reproduced(tmp_path, "table1", "--models", "net", "oracle")
    assert results.tables["likelihoods"]["model"].tolist() == ["oracle"]
    why = "knows 9 words and 6 symbols, but the few-shot task has 11 words"
    assert f"Excluded from table1: likelihood, few-shot: net ({why})" in capsys.readouterr().err
    assert why in (tmp_path / "out" / "index.html").read_text("utf-8")


def test_a_large_vocabulary_excludes_models_from_its_task_only(tmp_path: Path) -> None:
    imported(tmp_path, STUDY)
    data = imported(tmp_path, WIDE_OPEN, WIDE_SHEETS)
    checkpoint.save_checkpoint(
        tmp_path / "net.pt", checkpoint.checkpoint_of(small_network(), "joint")
    )
    subjects = find_models(["net"], tmp_path, data)
    units, _ = plan_jobs(
        ReproductionSpec(subjects, select_experiments(["table1", "open-ended"]), data, quick=True)
    )
    assert [unit.measurement for unit in units] == ["few_shot_likelihood"]
    assert vocabulary_overflow(data, "few_shot") == ""
    assert vocabulary_overflow(data, "open_ended") == "9 symbols"


def test_the_published_tasks_fit_the_published_vocabulary(shared: Path) -> None:
    tasks = ("few_shot", "open_ended", "probes")
    assert [vocabulary_overflow(DataFolders(shared), task) for task in tasks] == ["", "", ""]
