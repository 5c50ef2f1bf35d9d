"""`biml interpret`."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from biml.cli.main import main

RULES = "dax -> RED\nu1 lug -> [u1] [u1]\nu1 x1 -> [u1] [x1]\n"


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.txt"
    path.write_text(RULES)
    return str(path)


def test_interpret_prints_one_output_per_line(
    rules: str, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = "--keep_unknown"
    inputs = ["dax lug", "dax dax lug", "wif"]
    assert main(["interpret", "--grammar", rules, keep, *inputs]) == 0
    assert capsys.readouterr().out == "RED RED\nRED RED RED\nwif\n"


def test_interpret_reads_standard_input_without_arguments(
    rules: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"dax lug\n\n  wif dax")))
    assert main(["interpret", "--grammar", rules, "--keep_unknown"]) == 0
    assert capsys.readouterr().out == "RED RED\n\nwif RED\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("wif dax lugg", ["'wif', 'lugg'", "'wif dax lugg'", "(input 2)"]),
        ("dax lgu", ["'lgu'", "did you mean lug?"]),
        ("lug dax", ["'lug' in 'lug dax'"]),  # a known word in a place without a meaning
    ],
)
def test_words_that_no_rule_applies_to_are_an_error_that_names_them(
    rules: str, capsys: pytest.CaptureFixture[str], text: str, named: list[str]
) -> None:
    assert main(["interpret", "--grammar", rules, "dax", text]) == 1
    streams = capsys.readouterr()
    assert streams.out == "RED\n"
    assert all(part in streams.err for part in named)
    assert main(["interpret", "--grammar", rules, "--keep_unknown", text]) == 0


def test_a_byte_order_mark_of_standard_input_is_skipped(
    rules: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "dax lug\r\ndax\n".encode("utf-8-sig")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert main(["interpret", "--grammar", rules]) == 0
    assert capsys.readouterr().out == "RED RED\nRED\n"


def test_standard_input_that_is_not_utf8_is_an_error_with_its_line(
    rules: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "dax\ncafé lug\n".encode("latin-1")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
    assert main(["interpret", "--grammar", rules]) == 1
    streams = capsys.readouterr()
    assert streams.out == "RED\n"
    assert "error: standard input, line 2: not UTF-8" in streams.err


def test_the_grammar_of_an_episode_file_is_used(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared / "data_human" / "few_shot" / "val_gold" / "mini_scan.txt"
    assert main(["interpret", "--grammar", str(path), "DAX after 1 thrice"]) == 0
    assert capsys.readouterr().out == "1 1 1 DAX\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dax -> RED\nu1 lug -> [x1]\n", "line 2: the right side"),
        ("", "no rule"),
        ("*SUPPORT*\n*QUERY*\n*GRAMMAR*\n\n", "line 3: there are no rules"),
        ("*SUPPORT*\n*QUERY*\n*GRAMMAR*\ndax RED\n", "line 4: 'dax RED' is not a rule"),
        ("x1 -> [x1]", "bad.txt: the rule 'x1 -> [x1]' calls itself without end; leave"),
        (f"x1 -> {'RED ' * 10_001}", "bad.txt: the output runs over 10,000 symbols"),
    ],
)
def test_error_for_an_invalid_grammar_gives_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(text)
    assert main(["interpret", "--grammar", str(path), "dax"]) == 1
    streams = capsys.readouterr()
    assert problem in streams.err
    assert streams.out == ""


def test_an_unreadable_file_is_named_in_the_error(
    rules: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/some/folder")

    monkeypatch.setattr("biml.cli.interpret.read_grammar", refuse)
    assert main(["interpret", "--grammar", rules, "dax"]) == 1
    assert capsys.readouterr().err == "error: /some/folder: Permission denied\n"


def test_python_dash_m_biml_runs_the_program(rules: str) -> None:
    command = [sys.executable, "-m", "biml", "interpret", "--grammar", rules, "dax lug"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "RED RED\n")
