"""`biml play`: requests as JSON, refusals, human responses, and the command."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biml.cli.main import main
from biml.episodes.episode import Example
from biml.paths import DataFolders

pytest.importorskip("fastapi", reason="the extra web is not installed")

from starlette.testclient import TestClient

import biml
from biml.evaluation.api import Model
from biml.evaluation.network import NetworkResponder
from biml.web.people import People, find_renaming
from biml.web.play_api import EpisodeRequest, Playground, load_episode
from biml.web.play_app import make_play_app
from fakes.networks import small_network

STUDY = [["dax", "RED"], ["wif", "BLUE"], ["dax fep", "RED RED RED"]]


def small_model() -> Model:
    return Model(NetworkResponder(small_network()), "", "small")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    models = {"small": small_model(), "oracle": biml.load("oracle")}
    app = make_play_app(Playground(models, People(DataFolders(Path(__file__).parent))))
    with TestClient(app, base_url="http://127.0.0.1") as started:
        yield started


def post(client: TestClient, path: str, **body: Any) -> Any:
    response = client.post(f"/api/{path}", json={"study": STUDY, "query": "wif fep"} | body)
    assert response.status_code == 200, response.text
    return response.json()


def test_responses_and_their_probabilities_are_those_of_the_model(client: TestClient) -> None:
    study = [tuple(pair) for pair in STUDY]
    model = small_model()
    small, oracle = post(client, "respond", k=3, attention=True)
    expected = model.probabilities(study, "wif fep", k=3, max_length=10)
    assert [each["response"] for each in small["responses"]] == [r for r, _ in expected]
    assert [each["probability"] for each in small["responses"]] == pytest.approx(
        [p for _, p in expected]
    )
    rows = expected[0][0].split()
    assert small["attention"]["rows"] == [*rows, "EOS"]
    assert {example for _, example in small["attention"]["tokens"]} == {-1, 0, 1, 2}
    assert "grammar" in oracle["problem"]

    (samples,) = post(client, "sample", models=["small"], n=4, seed=3)
    assert samples["samples"] == model.sample(study, "wif fep", n=4, seed=3, max_length=10)
    (scores,) = post(client, "log_prob", models=["small"], responses=["BLUE BLUE", ""])
    expected_scores = model.log_prob(study, ["wif fep"] * 2, ["BLUE BLUE", ""])
    assert scores["log_probs"] == pytest.approx(expected_scores)
    (traced,) = post(client, "trace", models=["small"], responses=["BLUE RED"])
    assert traced["attention"]["rows"] == ["BLUE", "RED", "EOS"]
    by_layer = traced["attention"]["by_layer"]
    assert list(by_layer) == ["0", "1"]
    heads = [head for layer in by_layer.values() for head in layer]
    assert np.allclose(np.mean(heads, 0), traced["attention"]["weights"], atol=1e-3)
    for row in traced["attention"]["weights"]:
        assert sum(row) == pytest.approx(1, abs=0.01)


def test_less_probable_responses_are_left_out_if_there_are_others(client: TestClient) -> None:
    (every,) = post(client, "respond", models=["small"], k=6)
    least = every["responses"][2]["probability"] * 0.999
    (few,) = post(client, "respond", models=["small"], k=6, least=least)
    assert [each["response"] for each in few["responses"]] == [
        each["response"] for each in every["responses"] if each["probability"] >= least
    ]
    (all_left_out,) = post(client, "respond", models=["small"], k=6, least=1)
    assert all_left_out == every


def test_symbolic_models_take_the_grammar_of_the_episode(client: TestClient) -> None:
    grammar = "dax -> RED\nwif -> BLUE\nu1 fep -> [u1] [u1] [u1]"
    (oracle,) = post(client, "respond", models=["oracle"], grammar=grammar)
    assert oracle["responses"] == [{"response": "BLUE BLUE BLUE", "probability": 1}]
    (scores,) = post(
        client, "log_prob", models=["oracle"], grammar=grammar, responses=["BLUE BLUE BLUE", "RED"]
    )
    assert scores["log_probs"] == [0, None]


def test_readings_are_listed_with_their_grammars(client: TestClient) -> None:
    found = post(client, "readings", seconds=10)
    assert found["complete"]
    (reading,) = found["readings"]
    assert (reading["output"], reading["probability"]) == ("BLUE BLUE BLUE", 1)
    assert "fep -> [" in reading["grammar"]


def test_an_episode_is_the_gold_task_a_random_one_or_a_file(client: TestClient) -> None:
    gold = client.post("/api/episode", json={"source": "gold"}).json()
    assert (len(gold["study"]), len(gold["queries"])) == (14, 10)
    assert ["dax fep", "RED RED RED"] in gold["study"]
    once, again = (client.post("/api/episode", json={"source": "random", "seed": 5}) for _ in "ab")
    assert once.json() == again.json()
    text = "*SUPPORT*\nIN: a OUT: B\n*QUERY*\nIN: a a OUT: B B\n*GRAMMAR*\nallowed outputs:\nB C\n"
    loaded = client.post("/api/episode", json={"source": "text", "text": text}).json()
    assert (loaded["study"], loaded["pool"]) == ([["a", "B"]], "B C")
    wrong = client.post("/api/episode", json={"source": "text", "text": "hello"})
    assert wrong.status_code == 422
    assert "*SUPPORT*" in wrong.json()["detail"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"study": [["dax", ""]]}, "output 1"),
        ({"study": [["dax"]]}, "study.0"),
        ({"study": [["a", "B"]] * 61}, "study"),
        ({"query": " "}, "query"),
        ({"query": "dax " * 21}, "query"),
        ({"query": "dax ->"}, "query"),
        ({"k": 1000}, "k"),
        ({"models": ["smal"]}, "small"),
        ({"colour": "RED"}, "colour"),
        ({"grammar": "dax RED"}, "grammar"),
        ({"study": [["w" * 301, "B"]]}, "study.0.0"),
    ],
)
def test_impossible_requests_are_refused_with_what_is_wrong(
    client: TestClient, body: dict[str, Any], named: str
) -> None:
    response = client.post("/api/respond", json={"study": STUDY, "query": "wif fep"} | body)
    assert response.status_code == 422
    assert named in response.json()["detail"]


@pytest.mark.parametrize(
    ("content", "type", "named"),
    [
        ("{'study': []}", "application/json", "JSON"),
        ("{}", "text/plain", "Content-Type"),
        ("", "", "JSON"),
    ],
)
def test_bodies_that_are_no_json_are_refused(
    client: TestClient, content: str, type: str, named: str
) -> None:
    response = client.post("/api/respond", content=content, headers={"Content-Type": type})
    assert response.status_code == 422
    assert named in response.json()["detail"]


def test_what_one_model_cannot_do_does_not_hinder_the_others(client: TestClient) -> None:
    many = [[f"w{i}", "RED"] for i in range(12)]
    small, _ = post(client, "respond", study=many, query="w1")
    assert "words" in small["problem"]


def test_requests_of_other_sites_and_large_ones_are_refused(client: TestClient) -> None:
    body = {"study": STUDY, "query": "wif"}
    assert client.post("/api/respond", json=body).status_code == 200
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        assert client.post("/api/respond", json=body, headers=headers).status_code in (400, 403)
    assert client.post("/api/episode", content=b"x" * 2_000_000).status_code == 413
    policy = client.get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_api_describes_itself(client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    paths = {f"/api/{name}" for name in ("respond", "sample", "log_prob", "trace", "readings")}
    assert paths <= set(description["paths"])
    assert client.get("/docs").status_code == 404  # it would fetch scripts from the network
    looks = client.get("/api/symbols", params={"symbols": "RED square"}).json()
    assert looks["RED"]["letters"] == "R"
    assert looks["square"]["colour"].startswith("#")


def test_pages_hold_no_markup_of_the_settings(client: TestClient) -> None:
    page = client.get("/").text
    start = page.index('type="application/json">') + len('type="application/json">')
    settings = json.loads(page[start : page.index("</script>", start)])
    assert settings["models"] == ["small", "oracle"]


@pytest.mark.published_data
def test_people_answered_the_gold_items_in_any_order_and_any_words(shared: Path) -> None:
    people = People(DataFolders(shared))
    gold = load_episode(EpisodeRequest(source="gold"))
    study = [Example(tuple(a.split()), tuple(b.split())) for a, b in gold.study]
    total = 0
    for query, target in gold.queries:
        found = people.find(study[::-1], tuple(query.split()), None)
        assert found is not None
        _, counts = found
        total += counts.total()
        assert counts.most_common(1)[0][0] == tuple(target.split())
    assert total == 217
    assert people.find(study, ("dax", "dax"), None) is None
    assert people.find(study[1:], tuple(gold.queries[0][0].split()), None) is None
    probe = [Example(("blip",), ("square",))]
    found = people.find(probe, ("blop",), ["square", "star"])
    assert found is not None
    task, counts = found
    assert task == "probes"
    assert {symbol for response in counts for symbol in response} <= {"square", "star"}


def test_simulated_participants_are_no_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database = "few-shot-simulated.db"
    commands = (
        "experiment simulate few-shot --model oracle --participants 1",
        f"experiment export --database {database}",
        "data import few-shot-export/responses.csv --study few-shot-export/study.txt --dest mine",
    )
    assert [main(command.split()) for command in commands] == [0, 0, 0]
    people = People(DataFolders("mine"))
    gold = load_episode(EpisodeRequest(source="gold"))
    study = [Example(tuple(a.split()), tuple(b.split())) for a, b in gold.study]
    assert people.episodes
    assert people.find(study, tuple(gold.queries[0][0].split()), None) is None


def test_renamings_are_one_to_one() -> None:
    a = [Example(("p", "q"), ("A", "B")), Example(("p",), ("A",))]
    assert find_renaming(a, [Example(("x", "x"), ("C", "D")), Example(("x",), ("C",))]) is None
    assert find_renaming(a, [Example(("x", "y"), ("C", "C")), Example(("x",), ("C",))]) is None


def test_misuse_of_the_command_ends_with_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, named in (
        (["play", "net-BIML-tpo"], "net-BIML-top"),
        (["play", "biases", "--port", "99999"], "99999"),
    ):
        assert main(argv) == 2
        assert named in capsys.readouterr().err
