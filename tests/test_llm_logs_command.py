"""`biml logs` and `biml rescore`: the log of a language model as a page, and scored again."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from biml.cli.logs import print_outcomes
from biml.cli.main import main
from biml.evaluation.intervals import wilson_interval
from biml.llm.load import log_path
from biml.llm.log import Record, read_log
from biml.llm.outcomes import judge, rescore, summarize
from biml.report.log_page import log_page
from fakes.results import HOSTILE

ABOUT = {
    "model": "openai:http://127.0.0.1:1#toy",
    "template": "plain",
    "template_hash": "0a1b",
    "settings": {},
    "kind": "respond",
    "task": "few_shot_human",
    "query": "wif fep",
    "original_query": "dax thrice",
    "symbols": "RED BLUE GREEN",
    "original_symbols": "1 2 3",
    "max_length": 8,
    "prompt": "wif fep ->",
    "target": "RED RED RED",
    "original_target": "1 1 1",
    "tokens_in": 10,
    "tokens_out": 3,
}


def record(number: int, answer: str, **changes: object) -> Record:
    """A record as a run writes it: judged when it was answered."""
    about = {"key": str(number), "response": "", "original_response": ""}
    return judge(Record(**(ABOUT | about | {"answer": answer} | changes)))


def records() -> list[Record]:
    answers = ["RED RED RED"] * 6 + ["RED"] * 2 + ["I do not know", HOSTILE]
    scored = record(10, "RED", kind="log_prob", response="RED", log_probs=[-0.5, -0.25])
    more = [scored, record(11, "BLUE", task="open_ended", target=None, original_target=None)]
    return [record(n, answer) for n, answer in enumerate(answers)] + more


def write(path: Path, given: list[Record]) -> Path:
    path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in given))
    return path


def test_outcomes_are_counted_by_task_and_kind_of_question() -> None:
    few_shot, scored, open_ended = summarize(records())
    assert few_shot.counts == {"right": 6, "wrong": 2, "no symbols": 2}
    assert few_shot.right == (60.0, *wilson_interval(0.6, 10))
    assert few_shot.invalid == (20.0, *wilson_interval(0.2, 10))
    assert (few_shot.tokens_in, few_shot.tokens_out) == (100, 30)
    assert scored.counts == {"log_prob": 1}
    assert scored.n_answers == 0
    assert open_ended.counts == {"no target": 1}
    known = replace(records()[0], cached=True)
    (row,) = summarize([records()[0], known])
    assert (row.n_questions, row.n_cached, row.tokens_in) == (2, 1, 10)


@pytest.mark.parametrize(
    ("columns", "is_terminal", "head"),
    [
        (60, True, "task, question n right (%) no seq. (%)"),
        (80, True, "task question n right (%) no sequence (%)"),
        (120, True, "task question n right (%) no sequence (%) tokens in + out seconds"),
        (60, False, "task question n right (%) no sequence (%) tokens in + out seconds"),
    ],
)
def test_no_column_wraps_at_any_width(
    columns: int, is_terminal: bool, head: str, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("TTY_COMPATIBLE", str(int(is_terminal)))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    given = [*records(), record(12, "BLUE", task="open_ended_freeform")]
    print_outcomes(summarize(given), "Outcomes")
    _, title, *lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert title == "Outcomes: openai:http://127.0.0.1:1#toy, prompt plain 0a1b"
    assert " ".join(lines[0].split()) == head
    text = " ".join("\n".join(lines).split())
    for whole in ("few_shot_human", "log_prob", "[31.3, 83.2]", "[5.7, 51.0]"):
        assert whole in text
    assert "few_shot_human, respond: no symbols 2" in lines
    assert max(map(len, lines)) <= max(columns, 0 if is_terminal else 120)


def test_the_page_lists_questions_by_outcome_and_escapes_their_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    hostile = record(12, "RED", prompt=f"<pre>{HOSTILE}", model=HOSTILE, target=None)
    monkeypatch.setenv("COLUMNS", "160")
    log = write(tmp_path / "run.jsonl", [*records(), hostile])
    assert main(["logs", str(log)]) == 0
    page = (tmp_path / "run.html").read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert page.count('<details class="record"') == 13
    assert "few_shot_human: no symbols" in page
    assert 'href="#group-1">6<' in page
    assert "wif fep -&gt;" in page
    output = capsys.readouterr().out
    assert "60.0 [31.3, 83.2]" in output
    assert "no symbols 2" in output


def test_a_large_log_shows_some_questions_of_each_outcome_and_counts_all() -> None:
    many = [record(n, "RED RED RED" if n % 2 else "RED") for n in range(1000)]
    page = log_page([*many, record(1000, "x" * 50_000)], "Log", max_records=20)
    assert page.count('<details class="record"') == 41
    assert "500 questions, of which 20 evenly spaced ones are shown" in page
    assert "30,000 more letters" in page
    assert len(page) < 200_000


def test_questions_of_one_task_and_outcome_are_chosen(tmp_path: Path, capsys) -> None:
    log = write(tmp_path / "run.jsonl", records())
    out = tmp_path / "wrong.html"
    chosen = ("--task", "few_shot_human", "--outcome", "wrong", "--out", str(out))
    assert main(["logs", str(log), *chosen]) == 0
    assert out.read_text().count('<details class="record"') == 2
    capsys.readouterr()
    for options, named in (
        (("--outcome", "wrnog"), "did you mean wrong"),
        (("--task", "few"), "few_shot_human"),
        (("--max_records", "0"), "--max_records"),
        (("--out", str(log)), "the log itself"),
        (("--task", "open_ended", "--outcome", "right"), "no question of open_ended"),
    ):
        assert main(["logs", str(log), *options]) == 2
        assert named in capsys.readouterr().err
    assert main(["logs", "hf:never/used"]) == 2
    assert "hf:never/used has no log" in capsys.readouterr().err
    assert main(["logs", str(write(tmp_path / "empty.jsonl", []))]) == 1
    assert "there is no question in it" in capsys.readouterr().err


def test_a_question_that_two_runs_asked_counts_once(tmp_path: Path, capsys) -> None:
    log = write(tmp_path / "run.jsonl", [*records(), *records()])
    assert main(["logs", str(log)]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "(12 questions)" in output
    assert "trained on is unknown" in output


def test_answers_are_scored_again_after_the_parser_changed(tmp_path: Path, capsys) -> None:
    """The old parser took the first symbol only; the model is not there any more."""
    old = [replace(one, response="RED", original_response="1", correct=False) for one in records()]
    log = write(tmp_path / "run.jsonl", old)
    before = log.read_bytes()
    changes = tmp_path / "changes.json"
    assert main(["rescore", str(log), "--json", str(changes)]) == 0
    output = capsys.readouterr().out
    assert "wrong -> right: 6" in output
    assert "Changed: 9 questions of 12" in " ".join(output.split())
    assert log.read_bytes() == before
    new = read_log(tmp_path / "run-rescored.jsonl")
    assert [one.correct for one in new[:8]] == [True] * 6 + [False] * 2
    assert new[0].original_response == "1 1 1"
    first = json.loads(changes.read_text())[0]
    assert first["correct"] == [False, True]
    assert first["response"] == ["RED", "RED RED RED"]
    assert main(["rescore", str(log), "--out", str(log)]) == 2


def test_the_log_of_a_model_is_found_by_its_name(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    path = log_path("hf:toy")
    path.parent.mkdir(parents=True)
    write(path, records())
    assert main(["logs", "hf:toy"]) == 0
    assert main(["rescore", "hf:toy"]) == 0
    assert (tmp_path / f"{path.stem}.html").is_file()
    assert (tmp_path / f"{path.stem}-rescored.jsonl").is_file()


def test_a_log_that_agrees_with_the_rules_does_not_change(tmp_path: Path, capsys) -> None:
    assert rescore(records()).changed == ()
    log = write(tmp_path / "run.jsonl", records())
    assert main(["rescore", str(log), "--out", str(tmp_path / "new.jsonl")]) == 0
    assert "Changed: 0 questions of 12" in capsys.readouterr().out
    assert read_log(tmp_path / "new.jsonl") == records()
