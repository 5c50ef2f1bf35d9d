"""Answers of language models as texts, and the log of questions that is their cache."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from biml.errors import BimlError, FormatError
from biml.llm.answers import ERROR_KINDS, parse_answer
from biml.llm.log import AnswerLog, Record, question_key, read_log

COLOURS = ("RED", "BLUE", "GREEN")


@pytest.mark.parametrize(
    ("text", "response", "error"),
    [
        (" RED BLUE\n", "RED BLUE", ""),
        ("\n\n red, Blue.\nwif -> GREEN", "RED BLUE", ""),
        ("-> RED", "RED", ""),
        (None, "no_symbol", "no answer"),
        ("", "no_symbol", "empty"),
        (" \n\t\n", "no_symbol", "empty"),
        ("...", "no_symbol", "empty"),
        ("I cannot answer", "no_symbol " * 3, "no symbols"),
        ("RED banana BLUE", "RED no_symbol BLUE", "unknown symbol"),
        ("RED " * 9, "RED " * 8, "too long"),
        ("GREEN", "GREEN", "outside the pool"),
    ],
)
def test_an_answer_becomes_a_response_and_an_error_kind(
    text: str | None, response: str, error: str
) -> None:
    answer = parse_answer(text, COLOURS, pool=COLOURS[:2], max_length=8)
    assert answer == (tuple(response.split()), error)
    assert error in ("", *ERROR_KINDS)


def test_symbols_keep_punctuation_and_case_where_they_are_a_difference() -> None:
    symbols = ("x", "X", ":)", "->")
    assert parse_answer("x X :) ->", symbols, max_length=8).response == symbols
    assert parse_answer("Y", ("y", "Y"), max_length=8).response == ("Y",)


def test_after_reasoning_the_answer_follows_the_last_marker() -> None:
    text = "dax means RED.\nAnswer: no\nAnswer: BLUE RED"
    options = {"max_length": 8, "marker": "Answer:"}
    assert parse_answer(text, COLOURS, **options) == (("BLUE", "RED"), "")
    assert parse_answer("RED", COLOURS, **options) == (("no_symbol",), "no marker")


def record(**changes: object) -> Record:
    values: dict = {
        "key": question_key("m", "dax ->", {"max_tokens": 9}, "sample", 0),
        "model": "m",
        "template": "plain",
        "template_hash": "0a",
        "settings": {"max_tokens": 9},
        "kind": "sample",
        "query": "dax",
        "original_query": "dax",
        "symbols": "RED BLUE",
        "original_symbols": "RED BLUE",
        "max_length": 8,
        "prompt": "dax ->",
        "answer": " RED\u2028RED",
        "response": "RED",
        "original_response": "RED",
    }
    return Record(**values | changes)


def test_a_log_finds_answers_again_by_their_question(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    log = AnswerLog(path)
    log.add([record(), record(key="b", log_probs=[-1.5, -0.25])])
    again = AnswerLog(path)
    assert again.find(record().key) == record()
    assert again.find("b") == record(key="b", log_probs=[-1.5, -0.25])
    assert again.find("c") is None
    assert read_log(path) == [record(), record(key="b", log_probs=[-1.5, -0.25])]


def test_a_question_is_logged_once_in_each_context(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        log = AnswerLog(path)
        log.add([record(), record()])
        log.add([record(), record(task="probes", cached=True)])
    assert [one.task for one in read_log(path)] == ["", "probes"]
    assert len(AnswerLog(path)) == 1


@pytest.mark.parametrize("length", [1, 70_000])
def test_a_killed_run_leaves_a_log_that_goes_on(tmp_path: Path, length: int) -> None:
    path = tmp_path / "log.jsonl"
    AnswerLog(path).add([record()])
    with path.open("a") as file:
        file.write('{"key": "' + "x" * length)
    log = AnswerLog(path)
    assert log.find(record().key)
    log.add([record(key="b")])
    assert [one.key for one in read_log(path)] == [record().key, "b"]


def test_a_damaged_log_is_an_error_with_all_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    entry = asdict(record())
    lines = [
        json.dumps(entry),
        "no JSON",
        "[1]",
        json.dumps({k: v for k, v in entry.items() if k != "prompt"}),
        json.dumps(entry | {"seconds": "long"}),
        json.dumps(entry | {"kind": "guess"}),
        json.dumps(entry | {"error": "unheard"}),
        json.dumps(entry | {"tokens_in": -1}),
        json.dumps(entry | {"original_symbols": "RED"}),
        json.dumps(entry | {"answer": "\ud800"}),
    ]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(FormatError) as caught:
        AnswerLog(path)
    text = str(caught.value)
    named = ("JSON", "object", "prompt", "seconds", "guess", "unheard", "tokens_in")
    for number, word in enumerate((*named, "original_symbols", "surrogate"), 2):
        line = next(line for line in text.splitlines() if f"line {number}:" in line)
        assert str(path) in line
        assert word in line


def test_records_of_a_later_version_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(asdict(record()) | {"new": 1}) + "\n")
    assert read_log(path) == [record()]


def test_a_log_that_cannot_be_written_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BimlError, match="file/log"):
        AnswerLog(tmp_path / "file" / "log.jsonl").add([record()])


def test_a_key_depends_on_everything_but_the_order_of_settings() -> None:
    key = question_key("m", "p", {"a": 1, "b": 2}, "sample", 0)
    assert key == question_key("m", "p", {"b": 2, "a": 1}, "sample", 0)
    others = [
        question_key("n", "p", {"a": 1, "b": 2}, "sample", 0),
        question_key("m", "q", {"a": 1, "b": 2}, "sample", 0),
        question_key("m", "p", {"a": 1, "b": 3}, "sample", 0),
        question_key("m", "p", {"a": 1, "b": 2}, "respond", 0),
        question_key("m", "p", {"a": 1, "b": 2}, "sample", 1),
    ]
    assert len({key, *others}) == 6


def test_records_can_be_changed_by_a_new_parser() -> None:
    assert replace(record(), error="empty").context == record().context
