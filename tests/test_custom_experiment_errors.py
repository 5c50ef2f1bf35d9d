"""Errors of `biml data import`: each names file, line and remedy, and nothing is written."""

import re
from pathlib import Path

import pytest

from biml.cli.main import main
from biml.episodes.registry import episode_type
from biml.errors import BimlError, FormatError
from biml.paths import DataFolders
from fakes.experiments import (
    ANSWERS,
    HEADER,
    OPEN,
    RESPONSE_SETS,
    STUDY,
    TRIAL,
    write_table,
    write_text,
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_text(Path("study.txt"))
    write_text(Path("open.txt"), OPEN)
    write_text(Path("trials") / "me.txt", TRIAL)
    return tmp_path


def refused(capsys, *options: str, code: int = 1) -> str:
    before = sorted(Path().rglob("*"))
    assert main(["data", "import", *options, "--dest", "out"]) == code
    assert sorted(Path().rglob("*")) == before
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    return error


def table(*rows: tuple[str, ...], header: tuple[str, ...] = HEADER) -> str:
    return str(write_table(Path("r.csv"), rows, header))


GOOD = ANSWERS[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("Ann", "two", "blick then toma", "★ ▲"), "'★'.* ■ ▲ ●"),
        (("Ann", "two", "blik then toma", "● ▲"), "unknown word 'blik'"),
        (("Ann", "one", "blick twice", "▲"), r"Ann .*'one'.*line 2"),
        (("Ann", "two", "toma twice", "● ●"), r"'toma twice'.*study.txt"),
        (("Bob", "one", "blick then toma", "●"), "'one'.* line 2"),
        (("Bob", "other", "blick twice", "▲"), "'one' .line 2. .*'other'"),
        (("Ann", "", "blick then toma", "● ▲"), "the item is empty"),
        (("Ann", "two", "", "● ▲"), "the query is empty"),
        (("Ann", "two", "blick then toma", ""), "response is empty"),
        (("Ann", "two", "blick then toma", "▲ " * 51), "51 symbols"),
    ],
)
def test_an_invalid_response_is_reported_with_its_line(capsys, row, message) -> None:
    error = refused(capsys, table(GOOD, row), "--study", "study.txt")
    assert error.startswith("error: r.csv, line 3: ")
    assert re.search(message, error)


def test_missing_columns_empty_files_and_encodings(capsys) -> None:
    study = ("--study", "study.txt")
    path = table(GOOD[:3], header=HEADER[:3])
    assert "line 1: lacks the column response" in refused(capsys, path, *study)
    assert "there is no response in it" in refused(capsys, table(), *study)
    Path("r.csv").write_bytes(b"")
    assert "lacks the columns query, response" in refused(capsys, "r.csv", *study)
    Path("r.csv").write_bytes("item,query,response\none,blick twice,caf\xe9\n".encode("latin-1"))
    assert "line 2: unknown symbol 'café'" in refused(capsys, "r.csv", *study)
    assert "missing.csv: cannot be read" in refused(capsys, "missing.csv", *study, code=2)
    assert "no.txt: cannot be read" in refused(capsys, table(GOOD), "--study", "no.txt", code=2)


def test_the_study_option_goes_with_a_table_only(capsys) -> None:
    assert "give --study" in refused(capsys, table(GOOD), code=2)
    assert "--study goes with a table" in refused(capsys, "trials", "--study", "study.txt", code=2)


def test_an_open_ended_task_needs_participants(capsys) -> None:
    rows = [row[1:] for row in RESPONSE_SETS]
    path = table(*rows, header=HEADER[1:])
    error = refused(capsys, path, "--study", "open.txt")
    assert "line 2: there is no participant" in error


def test_missing_open_ended_responses_are_listed(capsys) -> None:
    path = table(*RESPONSE_SETS[:4], *RESPONSE_SETS[6:8])
    error = refused(capsys, path, "--study", "open.txt")
    assert re.search(r"r\.csv: P1 .*'wug blick', 'blick toma'; P2 ", error)
    assert "open.txt" in error
    many = [row for row in RESPONSE_SETS if row[1] != "wug"]
    error = refused(capsys, table(*many), "--study", "open.txt")
    assert re.search("P4 .*'wug'; 1 more", error)
    write_text(Path("sets") / "one.txt", OPEN)
    write_text(Path("sets") / "two.txt", OPEN.replace("IN: wug OUT: ■\n", ""))
    error = refused(capsys, "sets")
    assert re.search(r"two\.txt: .* 2 of the 3 queries", error)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (STUDY.replace("●", "|"), 4),
        (STUDY.replace("toma -> ●", "toma -> ●\nfep -> |"), 16),
        (STUDY[: STUDY.index("wug ->")].replace("▲", "->"), 3),
        (STUDY[: STUDY.index("wug ->")].replace("twice", "->"), 5),
        (TRIAL.replace("■ ▲", "■ ▲ |"), 9),
        (TRIAL.replace("■ ▲", "■ ▲ ->"), 9),
        (OPEN.replace("toma", "|"), 6),
    ],
)
def test_separators_of_the_study_column_are_not_allowed_as_tokens(capsys, text, line) -> None:
    write_text(Path("trials") / "me.txt", text)
    for study in ("trials/me.txt", "trials"):
        error = refused(capsys, table(GOOD), "--study", study)
        assert f"me.txt, line {line}: '" in error
        assert "cannot be a word or symbol" in error
        assert "another name" in error


def test_separators_are_not_allowed_in_episode_files_either(capsys) -> None:
    write_text(Path("answers") / "one.txt", TRIAL.replace("▲", "|"))
    assert "one.txt, line 5: '|'" in refused(capsys, "answers")


def test_a_symbol_missing_from_the_study_file_is_reported_with_the_remedy(capsys) -> None:
    write_text(Path("open.txt"), OPEN.replace("■", "X").replace("▲", "X").replace("●", "X"))
    path = table(("P", "q", "wug", "RED"))
    error = refused(capsys, path, "--study", "open.txt")
    assert "'RED'; known are: X undefined_action" in error
    assert "in an output or rule of open.txt" in error


def test_each_item_needs_a_study_file_of_its_name(capsys) -> None:
    path = table(("A", "you", "blick", "▲"))
    error = refused(capsys, path, "--study", "trials")
    assert re.search(r"line 2: .*you\.txt", error)
    assert "'me.txt'" in error
    path = table(("A", "me", "blick", "undefined_action"))
    assert "unknown symbol 'undefined_action'" in refused(capsys, path, "--study", "trials")


def test_a_study_that_contradicts_itself(capsys) -> None:
    write_text(
        Path("study.txt"), STUDY.replace("IN: blick twice OUT: ▲ ▲", "IN: blick twice OUT: ▲")
    )
    error = refused(capsys, table(GOOD), "--study", "study.txt")
    assert "its grammar gives '▲ ▲' for 'blick twice', not '▲'" in error
    no_rules = STUDY[: STUDY.index("wug ->")].replace(
        "IN: toma OUT: ●", "IN: toma OUT: ●\nIN: toma OUT: ■"
    )
    write_text(Path("study.txt"), no_rules)
    error = refused(capsys, table(GOOD), "--study", "study.txt")
    assert "'toma' has the outputs '●' and '■'" in error
    write_text(Path("trials") / "few.txt", STUDY)
    error = refused(capsys, table(GOOD), "--study", "trials")
    assert "allowed outputs" in error


def test_an_endless_grammar_is_reported_with_its_file(capsys) -> None:
    endless = STUDY.replace("u1 x1 -> [u1] [x1]", "x1 -> [x1]")
    write_text(Path("study.txt"), endless.replace("IN: wug OUT", "IN: wug wug OUT"))
    error = refused(capsys, table(GOOD), "--study", "study.txt")
    assert "study.txt: 'wug wug': the rule 'x1 -> [x1]'" in error
    answers = endless.replace("IN: blick then toma OUT: ● ▲", "").replace("IN: blick tw", "IN: tw")
    write_text(Path("answers") / "a.txt", answers)
    assert "a.txt: 'twice': the rule 'x1 -> [x1]'" in refused(capsys, "answers")


def test_episode_files_of_different_tasks_are_rejected(capsys) -> None:
    answers = STUDY.replace("IN: blick then toma OUT: ● ▲", "")
    write_text(Path("answers") / "a.txt", answers)
    write_text(Path("answers") / "b.txt", OPEN)
    assert "belongs to the open_ended task" in refused(capsys, "answers")
    write_text(Path("answers") / "b.txt", STUDY)
    assert "b.txt, line 10: a second query" in refused(capsys, "answers")
    write_text(Path("answers") / "b.txt", answers[: answers.index("wug ->")])
    assert "b.txt: " in refused(capsys, "answers")
    write_text(Path("answers") / "b.txt", answers.replace("twice OUT: ▲ ▲", "twice OUT: ★"))
    assert "b.txt, line 9: unknown symbol '★'" in refused(capsys, "answers")
    for file in Path("answers").iterdir():
        file.unlink()
    write_text(Path("answers") / "p.txt", OPEN.replace("IN: wug blick", "IN: wug"))
    assert "p.txt, line 5: participant p" in refused(capsys, "answers")


def test_an_existing_experiment_is_not_overwritten(capsys) -> None:
    path = table(*ANSWERS)
    assert main(["data", "import", path, "--study", "study.txt", "--dest", "out"]) == 0
    kept = Path("out/data_human/few_shot/val_behavior/responses.csv")
    text = kept.read_text("utf-8")
    table(GOOD)
    assert "exists already" in refused(capsys, path, "--study", "study.txt", code=2)
    Path("file").write_text("x")
    capsys.readouterr()
    assert main(["data", "import", path, "--study", "study.txt", "--dest", "file"]) == 2
    assert "file is not a folder" in capsys.readouterr().err
    # A bad table does not replace a good folder either.
    table(GOOD, (*GOOD[:3], "● ●"))
    assert "second time" in refused(capsys, path, "--study", "study.txt", "--overwrite")
    assert kept.read_text("utf-8") == text


def test_a_responses_csv_that_differs_from_its_files_is_rejected(capsys) -> None:
    path = table(*ANSWERS)
    assert main(["data", "import", path, "--study", "study.txt", "--dest", "out"]) == 0
    file = Path("out/data_human/few_shot/val_behavior/00.txt")
    file.write_text(file.read_text("utf-8").replace("twice OUT: ▲ ■", "twice OUT: ■"), "utf-8")
    with pytest.raises(FormatError, match=r"responses\.csv: .*00\.txt; ") as caught:
        episode_type("few_shot_human").open_evaluation(DataFolders(Path("out"), defaults=()), 0)
    remedy = "import the experiment again: biml data import, with --overwrite"
    assert str(caught.value).endswith(remedy)


@pytest.mark.parametrize("kind", ["probe_human", "open_end_human_all", "open_end_human_cross1"])
def test_a_task_that_was_not_imported_is_reported(kind: str) -> None:
    path = table(*ANSWERS)
    assert main(["data", "import", path, "--study", "study.txt", "--dest", "out"]) == 0
    with pytest.raises(BimlError, match="imported experiment"):
        episode_type(kind).open_evaluation(DataFolders(Path("out"), defaults=()), 0)
