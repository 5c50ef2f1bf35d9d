"""Language models wherever a model is named: `biml.load`, `biml eval`, `biml ask`, `biml play`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import biml
from biml.cli.main import main
from biml.errors import UsageError
from biml.llm.load import log_path
from biml.llm.log import read_log
from fakes.language_model import FakeServer, Reply, completion, fake_server

STUDY = [("dax", "RED"), ("wif", "BLUE")]


@pytest.fixture(scope="module")
def running_server() -> Iterator[FakeServer]:
    with fake_server() as fake:
        yield fake


@pytest.fixture
def server(running_server: FakeServer) -> FakeServer:
    running_server.requests.clear()
    running_server.reply = completion
    return running_server


def test_a_language_model_is_loaded_and_queried_in_any_symbols(
    server: FakeServer, tmp_path: Path
) -> None:
    model = biml.load(server.name, log=tmp_path)
    assert model.respond(STUDY, "wif dax") == "BLUE RED"
    assert model.respond([("wug", "■"), ("blick", "▲")], ["blick", "wug wug"]) == ["▲", "■ ■"]
    assert model.log_prob(STUDY, "wif", "BLUE") == -1.0
    assert len(model.sample(STUDY, "wif", n=2)) == 2
    assert model.info["prompt"] == "plain"
    assert len(model.info["prompt_hash"]) == 12
    assert "not known" in str(model.data_use)
    assert len(read_log(log_path(server.name, tmp_path))) == 6


def test_evaluate_states_the_hash_of_the_prompt(server: FakeServer, tmp_path: Path) -> None:
    model = biml.load(server.name, log=tmp_path)
    found = biml.evaluate(model, "few_shot_gold", repeats=1, episodes=1)
    assert set(found.table()["prompt_hash"]) == {model.info["prompt_hash"]}
    assert {one.task for one in read_log(log_path(server.name, tmp_path))} == {"few_shot_gold"}


@pytest.mark.parametrize(
    ("name", "options"),
    [("net-BIML-top", {"prompt": "chat"}), ("openai:http://x/v1#m", {"prompts": "chat"})],
)
def test_options_that_a_model_lacks_are_errors(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        biml.load(name, **options)


def evaluate(server: FakeServer, folder: Path, *options: str) -> dict[str, Any]:
    arguments = ["eval", "--fn_out_model", server.name, "--llm_log", str(folder / "log")]
    path = folder / "results.json"
    assert main([*arguments, "--json", str(path), *options]) == 0
    results: dict[str, Any] = json.loads(path.read_text())
    return results


GOLD = ("--episode_type", "few_shot_gold", "--limit", "1")


def test_eval_measures_a_language_model(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = evaluate(server, tmp_path, *GOLD, "--max", "--ll", "--sample")
    output = capsys.readouterr()
    assert results["model"] == server.name
    assert results["prompt"] == "plain"
    assert results["prompt_hash"] in output.out
    assert results["loglike"] < 0
    assert "questions" in output.err
    assert "tokens" in output.err
    n_asked = len(server.requests)
    assert evaluate(server, tmp_path, *GOLD, "--max", "--ll", "--sample") == results
    assert len(server.requests) == n_asked
    (path,) = (tmp_path / "log").iterdir()
    assert {record.task for record in read_log(path)} == {"few_shot_gold"}


def test_eval_counts_answers_that_are_no_sequence_of_symbols(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.reply = lambda path, body: (200, {"choices": [{"text": "It means RED"}]}, {})
    results = evaluate(server, tmp_path, *GOLD, "--max")
    answers = {"answers": 24, "percent": 100.0}
    assert results["no_sequence_of_symbols"] == {"respond": answers}
    assert "100.00%" in capsys.readouterr().out
    server.reply = completion
    results = evaluate(server, tmp_path / "other", *GOLD, "--max")
    assert results["no_sequence_of_symbols"] == {"respond": {"answers": 24, "percent": 0.0}}


def test_eval_normalises_among_the_possible_answers(server: FakeServer, tmp_path: Path) -> None:
    results = evaluate(server, tmp_path, *GOLD, "--ll", "--normalise")
    assert results["loglike"] == pytest.approx(0.0)  # the right one is the only one


def test_eval_says_that_a_server_gives_no_log_probabilities(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def reply(path: str, body: dict[str, Any]) -> Reply:
        body.pop("echo", None)
        return completion(path, body)

    server.reply = reply
    options = ["--fn_out_model", server.name, "--llm_log", str(tmp_path)]
    assert main(["eval", *options, *GOLD, "--ll"]) == 2
    assert "no log-probabilities" in capsys.readouterr().err


def test_eval_takes_a_template_of_the_users(server: FakeServer, tmp_path: Path) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text("symbols: {{ symbols[0] }}\n\n{{ query }} ->")
    results = evaluate(server, tmp_path, *GOLD, "--max", "--prompt", str(template))
    assert results["prompt"] == "mine"
    assert all("\n\n" in body["prompt"] for _, body, _ in server.requests)


@pytest.mark.parametrize(
    "options",
    [
        ("--fn_out_model", "net-BIML-top", "--prompt", "chat"),
        ("--fn_out_model", "oracle", "--normalise"),
        ("--fn_out_model", "openai:http://x/v1"),
        ("--fn_out_model", "openai:http://x/v1#m", "--prompt", "none"),
    ],
)
def test_misuse_exits_with_code_2(
    options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *options, "--max"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_play_takes_no_language_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "net-BIML-top", "hf:x"]) == 2
    message = capsys.readouterr().err
    for named in ("`biml play` takes no language models", "hf:x", "biml ask"):
        assert named in message


def test_the_estimate_counts_the_questions_that_are_put(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(server, tmp_path, *GOLD, "--max")
    assert "24 questions, " in capsys.readouterr().err
    # One question was timed before.
    assert len(server.requests) == 25
    evaluate(server, tmp_path, *GOLD, "--max")
    assert "No questions" in capsys.readouterr().err
