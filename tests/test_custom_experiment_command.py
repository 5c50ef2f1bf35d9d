"""`biml data import` of a custom experiment: where it goes and what the command prints."""

from pathlib import Path

import pytest

from biml.analysis.people import people_few_shot, people_open_ended
from biml.cli.main import main
from biml.paths import DataFolders
from fakes.experiments import ANSWERS, HEADER, OPEN, RESPONSE_SETS, write_table, write_text


def test_the_command_prints_the_folder_and_how_to_evaluate_models(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(Path("responses.csv"))
    write_text(Path("study.txt"))
    assert main(["data", "import", "responses.csv", "--study", "study.txt"]) == 0
    output = capsys.readouterr().out
    assert "few-shot: 4 responses of 2 participants to 2 items" in output
    assert "--data_dir responses-data --episode_type few_shot_human" in output
    open_study = write_text(Path("open.txt"), OPEN)
    write_table(Path("sets.csv"), RESPONSE_SETS)
    more = ["data", "import", "sets.csv", "--study", str(open_study), "--dest", "responses-data"]
    assert main(more) == 0
    data = DataFolders(Path("responses-data"), defaults=())
    assert len(people_few_shot(data)) == 4
    assert len(people_open_ended(data)) == 18
    assert main(more) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*more, "--overwrite"]) == 0
    assert len(people_few_shot(data)) == 4
    assert [p.name for p in Path("responses-data").iterdir()] == ["data_human"]


def test_responses_without_a_participant_are_counted_in_a_note(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(Path("study.txt"))
    write_table(Path("r.csv"), [("", *ANSWERS[0][1:]), *ANSWERS[1:]])
    assert main(["data", "import", "r.csv", "--study", "study.txt"]) == 0
    assert "note: 1 response without a participant" in capsys.readouterr().out


def test_ignored_columns_are_listed(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(Path("study.txt"))
    more = ["data", "import", "r.csv", "--study", "study.txt", "--overwrite"]
    for header, message in (
        (
            ("subject", "item", "query", "response"),
            "ignored columns: subject; --columns participant=NAME",
        ),
        ((*HEADER, "age", "", "target"), "ignored columns: age, target"),
    ):
        rows = [(*row, "30", "1", "")[: len(header)] for row in ANSWERS]
        write_table(Path("r.csv"), rows, header)
        assert main(more) == 0
        (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("ignored")]
        assert message in line
        assert ("--columns" in line) == (header[0] == "subject")
    write_table(Path("r.csv"))
    assert main(more) == 0
    assert "ignored" not in capsys.readouterr().out


def test_a_vocabulary_beyond_that_of_published_models_is_reported(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    words = " ".join(f"w{n}" for n in range(10))
    write_text(Path("open.txt"), OPEN.replace("wug blick", words).replace("blick toma", "w1"))
    rows = [("A", words, "■"), ("A", "wug", "■"), ("A", "w1", "■")]
    write_table(Path("r.csv"), [(who, query, query, answer) for who, query, answer in rows])
    assert main(["data", "import", "r.csv", "--study", "open.txt"]) == 0
    output = capsys.readouterr().out
    assert "11 words" in output
    assert "custom vocabulary" in output


def test_items_without_responses_are_listed(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(Path("study.txt"))
    write_table(Path("r.csv"), ANSWERS[:1])
    assert main(["data", "import", "r.csv", "--study", "study.txt"]) == 0
    assert "items without responses: blick then toma\n" in capsys.readouterr().out


def test_undefined_action_counts_as_a_symbol_of_the_vocabulary(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(Path("open.txt"), OPEN.replace("OUT: ▲ ●", "OUT: ▲ ● A B C D"))
    rest = [("P", "q2", "wug blick", "■"), ("P", "q3", "blick toma", "▲")]
    for answer, symbols in (("A B C D ▲ ■", 6), ("A B C D ▲ ■ undefined_action", 7)):
        write_table(Path("r.csv"), [("P", "q1", "wug", answer), *rest])
        assert main(["data", "import", "r.csv", "--study", "open.txt", "--overwrite"]) == 0
        output = capsys.readouterr().out
        if symbols == 6:
            assert "note:" not in output
        else:
            assert "7 symbols (A B C D ▲ ■ undefined_action)" in output
            assert "(5 symbols if responses contain undefined_action)" in output


def test_the_current_folder_is_imported_under_its_own_name(tmp_path, monkeypatch) -> None:
    write_text(tmp_path / "sets" / "one.txt", OPEN)
    monkeypatch.chdir(tmp_path / "sets")
    assert main(["data", "import", "."]) == 0
    assert Path("sets-data/data_human").is_dir()
    assert not Path("-data").exists()


def test_only_import_has_a_default_folder_named_after_the_file(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    for action, printed in (("download", False), ("import", True)):
        with pytest.raises(SystemExit):
            main(["data", action, "--help"])
        assert ("NAME-data" in capsys.readouterr().out) == printed
