"""Language models on servers with the OpenAI-compatible API."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from biml.episodes.episode import Episode, Example
from biml.errors import BimlError, UsageError
from biml.llm.backend import Request
from biml.llm.log import AnswerLog, read_log
from biml.llm.openai import KEY_VARIABLE, WHOLE_DISTRIBUTION, OpenAIBackend
from biml.llm.prompts import Prompt, open_template
from biml.llm.responder import LanguageModel
from fakes.language_model import FakeServer, Reply, completion, fake_server

EPISODE = Episode(
    (Example(("dax",), ("RED",)), Example(("wif",), ("BLUE",))),
    (Example(("wif", "dax"), ("BLUE", "RED")), Example(("dax",), ("RED",))),
)


@pytest.fixture(scope="module")
def running_server() -> Iterator[FakeServer]:
    with fake_server() as fake:
        yield fake


@pytest.fixture
def server(running_server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    running_server.requests.clear()
    running_server.reply = completion
    return running_server


def model(server: FakeServer, template: str = "plain", path: Path | None = None) -> LanguageModel:
    backend = OpenAIBackend.from_name(server.name, waits=(0.0, 0.0))
    return LanguageModel(backend, open_template(template), AnswerLog(path))


@pytest.mark.parametrize(
    ("template", "path"), [("plain", "/v1/completions"), ("chat", "/v1/chat/completions")]
)
def test_queries_are_answered(server: FakeServer, template: str, path: str) -> None:
    assert model(server, template).respond([EPISODE]) == [[("BLUE", "RED"), ("RED",)]]
    assert {request[0] for request in server.requests} == {path}
    assert {request[1]["model"] for request in server.requests} == {"tiny"}


def test_answers_are_those_of_the_whole_distribution(server: FakeServer) -> None:
    """Servers by default leave out rare tokens, and make repeated symbols less probable."""
    model(server).respond([EPISODE])
    model(server).sample([EPISODE], seed=0)
    for _, body, _ in server.requests:
        assert {name: body[name] for name in WHOLE_DISTRIBUTION} == WHOLE_DISTRIBUTION
        assert body["temperature"] == 0 or body["top_p"] == 1


def test_settings_that_a_server_does_not_know_are_left_out(server: FakeServer) -> None:
    def hosted(path: str, body: dict[str, Any]) -> Reply:
        if unknown := WHOLE_DISTRIBUTION.keys() & body:
            return 400, {"error": {"message": f"Unrecognized argument: {min(unknown)}"}}, {}
        return completion(path, body)

    server.reply = hosted
    asked = model(server)
    assert asked.respond([EPISODE]) == [[("BLUE", "RED"), ("RED",)]]
    server.requests.clear()
    asked.sample([EPISODE], seed=0)
    assert len(server.requests) == 2


def test_the_key_comes_from_the_environment(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model(server).respond([EPISODE])
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    model(server).respond([EPISODE])
    assert sorted({request[2] for request in server.requests}) == ["", "Bearer secret"]


def test_log_probabilities_come_from_echo(server: FakeServer) -> None:
    ((first, second),) = model(server).log_prob([EPISODE])
    assert first.tolist() == [-1.0, -0.75, 0.0]
    assert second.tolist() == [-0.75, 0.0]


def without_log_probs(path: str, body: dict[str, Any]) -> Reply:
    return completion(path, {k: v for k, v in body.items() if k != "echo"})


def without_echo(path: str, body: dict[str, Any]) -> Reply:
    if body.get("echo"):
        return 400, {"error": {"message": "echo is not supported"}}, {}
    return completion(path, body)


def with_those_of_other_tokens(path: str, body: dict[str, Any]) -> Reply:
    status, answer, headers = completion(path, body)
    if body.get("echo"):
        values = answer["choices"][0]["logprobs"]["token_logprobs"]
        values[1:] = [value - 1 for value in values[1:]]
    return status, answer, headers


@pytest.mark.parametrize("usage", [None, [1], {"prompt_tokens": -5, "completion_tokens": 10**30}])
def test_a_log_is_read_again_whatever_a_server_counts(
    server: FakeServer, usage: object, tmp_path: Path
) -> None:
    def reply(path: str, body: dict[str, Any]) -> Reply:
        status, answer, headers = completion(path, body)
        return status, answer | {"usage": usage}, headers

    server.reply = reply
    path = tmp_path / "log.jsonl"
    model(server, path=path).respond([EPISODE])
    assert [one.tokens_in for one in read_log(path)] == [0, 0]


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 0.5, "x", [1], True])
def test_numbers_that_are_no_log_probabilities_end_the_run(
    server: FakeServer, value: object, tmp_path: Path
) -> None:
    def reply(path: str, body: dict[str, Any]) -> Reply:
        status, answer, headers = completion(path, body)
        if body.get("echo") and len(server.requests) > 2:  # after the trial
            answer["choices"][0]["logprobs"]["token_logprobs"][1:] = [value] * (
                len(answer["choices"][0]["logprobs"]["token_logprobs"]) - 1
            )
        return status, answer, headers

    server.reply = reply
    path = tmp_path / "log.jsonl"
    with pytest.raises(BimlError, match="log-probabilities"):
        model(server, path=path).log_prob([EPISODE])
    assert not path.exists() or read_log(path) is not None


@pytest.mark.parametrize("reply", [without_log_probs, without_echo, with_those_of_other_tokens])
def test_a_server_without_log_probabilities_is_sampled_only(
    server: FakeServer, reply: Callable[..., Reply]
) -> None:
    server.reply = reply
    responder = model(server)
    assert "log-probabilities of given texts" in responder.why_no_log_probs
    n_asked = len(server.requests)
    assert responder.why_no_log_probs
    assert len(server.requests) == n_asked
    with pytest.raises(UsageError, match="log-probabilities of given texts"):
        responder.log_prob([EPISODE])
    assert responder.sample([EPISODE], seed=0)[0][1]


def test_a_chat_has_no_log_probabilities(server: FakeServer) -> None:
    assert "--prompt plain" in model(server, "chat").why_no_log_probs
    assert server.requests == []


def test_samples_have_a_seed_and_a_temperature(server: FakeServer) -> None:
    model(server).sample([EPISODE], seed=0, n=2)
    bodies = [body for _, body, _ in server.requests]
    assert {body["temperature"] for body in bodies} == {1}
    assert len({body["seed"] for body in bodies}) == 4
    server.requests.clear()
    model(server).respond([EPISODE])
    assert {(body["temperature"], "seed" in body) for _, body, _ in server.requests} == {(0, False)}


def test_a_lapse_is_continued_in_a_chat(server: FakeServer) -> None:
    model(server, "chat").sample([EPISODE], seed=0, n=20, p_lapse=0.5)
    last = [body["messages"][-1] for _, body, _ in server.requests]
    assert {"role": "assistant", "content": "RED"} in last


def test_an_answer_cut_inside_a_character_is_kept(server: FakeServer, tmp_path: Path) -> None:
    def reply(path: str, body: dict[str, Any]) -> Reply:
        return 200, {"choices": [{"text": " RED \ud83d"}]}, {}

    server.reply = reply
    model(server, path=tmp_path / "log.jsonl").respond([EPISODE])
    assert {one.error for one in read_log(tmp_path / "log.jsonl")} == {"unknown symbol"}


@pytest.mark.parametrize("failure", [429, 500, 503, 0])
def test_passing_failures_are_retried(server: FakeServer, failure: int) -> None:
    failures = iter([failure, failure])

    def reply(path: str, body: dict[str, Any]) -> Reply:
        if status := next(failures, None):
            return status, {"error": {"message": "busy"}}, {"Retry-After": "0"}
        return completion(path, body)

    if failure == 0:
        failures = iter([])
        broken = iter([0, 0])
        server.reply = lambda path, body: (
            (0, b"", {}) if next(broken, None) == 0 else completion(path, body)
        )
    else:
        server.reply = reply
    assert model(server).respond([EPISODE]) == [[("BLUE", "RED"), ("RED",)]]
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("reply", "words", "n_requests"),
    [
        ((401, {"error": {"message": "bad key"}}, {}), (KEY_VARIABLE, "bad key"), 1),
        ((403, b"forbidden", {}), (KEY_VARIABLE,), 1),
        ((200, b"<!doctype html><html>welcome</html>", {}), ("HTML", "/v1"), 1),
        ((429, {"error": {"message": "slow down"}}, {}), ("429", "slow down", "3 attempts"), 3),
        ((503, b"<html><h1>Bad gateway</h1></html>", {}), ("503", "Bad gateway"), 3),
        ((200, b"", {}), ("empty answer", "3 attempts"), 3),
        ((0, b"", {}), ("does not answer", "3 attempts"), 3),
        ((404, {"detail": "Not Found"}, {}), ("404", "Not Found", "--prompt chat", "tiny"), 1),
        ((400, {"error": {"message": "too long"}}, {}), ("400", "too long"), 2),
        ((200, b"[1, 2", {}), ("not JSON",), 1),
        ((200, {"choices": []}, {}), ("no choice",), 1),
        ((200, {"error": "overloaded"}, {}), ("overloaded",), 1),
        ((200, {"choices": [{"text": 5}]}, {}), ("no text",), 1),
    ],
)
def test_a_failure_says_what_to_do(
    server: FakeServer, reply: Reply, words: tuple[str, ...], n_requests: int
) -> None:
    server.reply = lambda *_: reply
    responder = model(server)
    episode = replace(EPISODE, queries=EPISODE.queries[:1])
    with pytest.raises(BimlError) as caught:
        responder.respond([episode])
    assert caught.value.exit_code == 1
    for word in (server.url, *words):
        assert word in str(caught.value)
    assert len(server.requests) == n_requests


def unanswered(path: str, body: dict[str, Any]) -> Reply:
    return 200, {"choices": [{"text": None, "message": {"content": None}}]}, {}


@pytest.mark.parametrize("template", ["plain", "chat", "rules-first"])
def test_a_server_that_never_gives_a_text_is_an_error(
    server: FakeServer, template: str, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    server.reply = unanswered
    for n_runs in (1, 2):  # the second one puts the questions again
        with pytest.raises(BimlError, match=rf"{server.url}.* 2 questions") as caught:
            model(server, template, path).respond([EPISODE])
        assert caught.value.exit_code == 1
        assert len(server.requests) == 2 * n_runs
    assert [one.error for one in read_log(path)] == ["no answer"] * 2
    server.reply = completion
    assert model(server, "plain", path).respond([EPISODE]) == [[("BLUE", "RED"), ("RED",)]]


def test_questions_without_an_answer_are_counted_and_put_again(
    server: FakeServer, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"

    def reply(route: str, body: dict[str, Any]) -> Reply:
        return (unanswered if "wif dax ->" in body["prompt"] else completion)(route, body)

    server.reply = reply
    assert model(server, path=path).respond([EPISODE]) == [[("no_symbol",), ("RED",)]]
    assert sorted(one.error for one in read_log(path)) == ["", "no answer"]
    server.reply = completion
    server.requests.clear()
    again = model(server, path=path)
    assert again.respond([EPISODE]) == [[("BLUE", "RED"), ("RED",)]]
    assert len(server.requests) == 1
    assert [one.error for one in read_log(path)] == ["", ""]
    assert len(again.log) == 2


def test_a_server_that_is_not_there_is_named() -> None:
    backend = OpenAIBackend.from_name("openai:http://127.0.0.1:9/v1#m", waits=())
    with pytest.raises(BimlError, match=r"127\.0\.0\.1:9.*does not answer"):
        LanguageModel(backend, open_template()).respond([EPISODE])


@pytest.mark.parametrize(
    "name",
    [
        *("openai:", "openai:#m", "openai:http://x/v1", "openai:x/v1#m", "openai:http://#m"),
        *("openai:http://x:port/v1#m", "openai:http://[::1/v1#m", "openai:http://x y/v1#m"),
    ],
)
def test_a_name_without_server_or_model_is_an_error(name: str) -> None:
    with pytest.raises(UsageError, match="http://localhost:8000/v1#model"):
        OpenAIBackend.from_name(name)


def test_a_server_that_dies_midway_loses_nothing(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    episodes = [
        Episode((*EPISODE.study, Example(("fep",) * n, ("GREEN",))), EPISODE.queries[:1])
        for n in range(1, 21)
    ]
    given = iter(range(5))
    server.reply = lambda p, body: (
        completion(p, body) if next(given, None) is not None else (0, b"", {})
    )
    with pytest.raises(BimlError, match=r"5 answers.*log\.jsonl"):
        model(server, path=path).respond(episodes)
    assert len(read_log(path)) == 5
    server.reply = completion
    server.requests.clear()
    assert model(server, path=path).respond(episodes) == [[("BLUE", "RED")]] * 20
    assert len(server.requests) == 15


def test_after_a_failure_no_further_question_is_put(server: FakeServer) -> None:
    """Else each of the server's connections would wait through all attempts again."""
    server.reply = lambda path, body: (0, b"", {})
    question = Request(Prompt("dax ->"), "", 1, "\n", None)
    backend = OpenAIBackend.from_name(server.name, waits=(0.0, 0.0), n_parallel=4)
    with pytest.raises(BimlError, match="3 attempts"):
        list(backend.complete([question] * 40))
    assert len(server.requests) <= 4 * 3
