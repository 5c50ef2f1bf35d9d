"""Simulated participants, exports, and their way back into `biml data import`."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from biml.cli.main import main
from biml.errors import UsageError
from biml.evaluation.symbolic import BiasOracle, OpenEndedBiasModel, Oracle
from biml.experiment.design import read_design
from biml.experiment.export import PARTICIPANT_COLUMNS, TRIAL_COLUMNS, export, harmless
from biml.experiment.new_design import write_design
from biml.experiment.session import Session
from biml.experiment.simulate import simulate
from biml.experiment.store import Store, Timing
from biml.grammar import GOLD
from biml.human.readers import read_response_table
from test_experiment_session import an_answer

SIMULATED = {"few-shot": BiasOracle(), "open-ended": OpenEndedBiasModel()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def add_person(store: Store, answers: dict[str, Any], *, miss: int = 0, stop: int = 999) -> str:
    """Let a person go through an experiment without mistakes, except in `miss` catch trials."""
    assert store.design
    person = store.create_participant({"PROLIFIC_PID": "=1+1"})
    session = Session(store.design, person.seed, person.condition)
    while session.status == "running" and session.screen.number < stop:
        screen = session.screen
        answer = an_answer(store.design, screen, Random(0))
        if screen.catch and session.missed_catch_trials < miss:
            answer = {"response": [screen.pool[0]] * 7}
        if screen.kind == "questions":
            answer["answers"] |= answers
        session.answer(answer)
        timing = Timing(rt_ms=1200, changes=3, focus_lost=0)
        store.save_answer(person, screen.number, answer, timing, status=session.status)
    return person.id


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "people.db", read_design("few-shot"))


def test_the_papers_exclusions(store: Store, tmp_path: Path) -> None:
    kept = [add_person(store, {}), add_person(store, {"comments": "=cmd()"}, miss=1)]
    add_person(store, {}, miss=2)
    add_person(store, {"notes": "Yes"})
    add_person(store, {}, stop=30)
    withdrawn = add_person(store, {})
    store.withdraw(withdrawn)
    found = export(store, tmp_path / "out")
    assert found == {"participants": 5, "excluded": 3, "simulated": 0, "responses": 20}
    responses = rows(tmp_path / "out/responses.csv")
    assert list(dict.fromkeys(row["participant"] for row in responses)) == kept
    assert [row["participant"] for row in lines(tmp_path / "out/psych101.jsonl")] == kept
    people = rows(tmp_path / "out/participants.csv")
    assert [row["excluded"] for row in people] == [
        "",
        "",
        "missed catch trials",
        "notes",
        "not finished",
    ]
    assert people[1]["answer_comments"] == "'=cmd()"
    export(store, tmp_path / "out", exclusions="mark", overwrite=True)
    marked = rows(tmp_path / "out/responses.csv")
    assert {row["excluded"] for row in marked} == {row["excluded"] for row in people}
    text = "".join(path.read_text() for path in (tmp_path / "out").iterdir() if path.is_file())
    assert withdrawn not in text


def test_an_export_replaces_nothing_else(store: Store, tmp_path: Path) -> None:
    add_person(store, {})
    export(store, tmp_path / "out")
    for folder, name in (("out", "thesis.txt"), ("mine", "responses.csv")):
        mine = tmp_path / folder / name
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")
        with pytest.raises(UsageError, match=name):
            export(store, tmp_path / folder, overwrite=True)
        assert mine.read_text() == "mine"


def test_responses_are_in_canonical_names(store: Store, tmp_path: Path) -> None:
    add_person(store, {})
    export(store, tmp_path / "out")
    responses = rows(tmp_path / "out/responses.csv")
    assert len(responses) == 10
    for row in responses:
        assert row["item"] == row["query"]
        assert tuple(row["response"].split()) == GOLD.interpret(row["query"])


def test_trials_have_what_the_codebook_describes(store: Store, tmp_path: Path) -> None:
    add_person(store, {"comments": "=HYPERLINK(1)"})
    export(store, tmp_path / "out")
    trials, typed = rows(tmp_path / "out/trials.csv"), lines(tmp_path / "out/trials.jsonl")
    assert len(trials) == len(typed) == store.participants()[0].answered
    assert list(trials[0]) == list(typed[0]) == list(TRIAL_COLUMNS)
    codebook = (tmp_path / "out/codebook.md").read_text()
    people = rows(tmp_path / "out/participants.csv")
    for name in (*TRIAL_COLUMNS, *people[0], "SESSION_ID"):
        assert f"| `{name}` | " in codebook
    assert set(PARTICIPANT_COLUMNS) <= set(people[0])
    tests = [row for row in typed if row["kind"] == "test"]
    assert sum(row["catch"] for row in tests) == 5
    assert all(row["correct"] is True and row["rt_ms"] == 1200 for row in tests)
    assert all(len(row["response_shown"].split()) == len(row["target"].split()) for row in tests)
    identifiers = rows(tmp_path / "out/identifiers.csv")
    none = {"STUDY_ID": "", "SESSION_ID": ""}
    own = {"participant": people[0]["participant"], "PROLIFIC_PID": "'=1+1"}
    assert identifiers == [own | none]
    shared = [path for path in (tmp_path / "out").iterdir() if path.name != "identifiers.csv"]
    assert not any("=1+1" in path.read_text() for path in shared)


def test_transcripts_have_a_mark_for_every_response(store: Store, tmp_path: Path) -> None:
    add_person(store, {})
    export(store, tmp_path / "out")
    (line,) = lines(tmp_path / "out/psych101.jsonl")
    assert set(line) == {"text", "experiment", "participant", "items", "names"}
    assert len(line["items"]) == 16 + 15
    assert line["items"].count(None) == 16 + 5  # study trials and catch trials
    assert line["text"].count("<<") == line["text"].count(">>") == 16 + 15
    assert "'" in line["text"]
    instructions = line["text"].split("\n\n")[:4]
    assert not any("\n" in paragraph for paragraph in instructions)


@pytest.mark.parametrize("cell", ["=1", "+1a", "-x", "@a", "\t=1", "\r=1", " =1", "\n=1"])
def test_cells_are_no_formulas(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"


@pytest.mark.parametrize("name", SIMULATED)
def test_simulated_participants_come_back_as_an_experiment(name: str, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "simulated.db", read_design(name))
    simulate(store, SIMULATED[name], "some-model", 3, p_lapse=0.05, seed=1)
    found = export(store, tmp_path / "out", exclusions="mark")
    assert found["simulated"] == found["participants"] == 3
    experiment = read_response_table(tmp_path / "out/responses.csv", tmp_path / "out/study.txt")
    assert len(experiment.participants) == 3
    assert all(each.startswith("simulated-") for each in experiment.participants)
    trials = rows(tmp_path / "out/trials.csv")
    assert {row["simulated"] for row in trials} == {"some-model"}
    assert all("simulated" in line["experiment"] for line in lines(tmp_path / "out/psych101.jsonl"))


def test_an_oracle_is_never_excluded(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "simulated.db", read_design("few-shot"))
    simulate(store, Oracle(), "oracle", 2)
    assert export(store, tmp_path / "out") == {
        "participants": 2,
        "excluded": 0,
        "simulated": 2,
        "responses": 20,
    }


def test_a_simulation_repeats_with_its_seed(tmp_path: Path) -> None:
    texts = []
    for number in range(2):
        store = Store.open(tmp_path / f"{number}.db", read_design("few-shot"))
        simulate(store, BiasOracle(), "oracle-biases", 2, p_lapse=0.2, seed=5)
        payloads = [[a.payload for a in store.answers(p)] for p in store.participants()]
        texts.append(payloads)
    assert texts[0] == texts[1]


def test_a_simulation_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "x.db", replace(read_design("few-shot"), participants=3))
    store.create_participants(1, {"simulated": "oracle"})  # and then the process was ended
    simulate(store, Oracle(), "oracle", 2)
    with pytest.raises(UsageError, match="places"):
        simulate(store, Oracle(), "oracle", 2)
    assert [person.status for person in store.participants()] == ["finished", "finished"]
    simulate(store, Oracle(), "oracle", 1)
    assert len(store.participants()) == 3


def test_models_never_mix_with_people(store: Store) -> None:
    add_person(store, {}, stop=1)
    with pytest.raises(UsageError, match="people"):
        simulate(store, Oracle(), "oracle", 2)


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "simulated.db", read_design("probes"))
    with pytest.raises(UsageError, match="probes"):
        simulate(store, Oracle(), "oracle", 2)


def test_a_custom_language_by_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a study file to an imported experiment, as the tutorial does it."""
    monkeypatch.chdir(tmp_path)
    Path("study.txt").write_text(
        "*SUPPORT*\nIN: wug OUT: ■\nIN: toma OUT: ●\nIN: wug twice OUT: ■ ■\n\n"
        "*QUERY*\nIN: toma twice OUT: ● ●\n\n"
        "*GRAMMAR*\nwug -> ■\ntoma -> ●\nu1 twice -> [u1] [u1]\n"
    )
    assert main(["experiment", "new", "mine", "--from", "study.txt"]) == 0
    assert main(["experiment", "new", "mine", "--from", "study.txt"]) == 2
    simulating = ["experiment", "simulate", "mine.toml", "--model", "oracle"]
    assert main([*simulating, "--participants", "2", "--p_lapse", "0"]) == 0
    exporting = ["experiment", "export", "--database", "mine-simulated.db"]
    assert main(exporting) == 0
    assert main(exporting) == 2
    assert main([*exporting, "--overwrite"]) == 0
    table = ["mine-export/responses.csv", "--study", "mine-export/study.txt"]
    assert main(["data", "import", *table, "--dest", "data"]) == 0
    assert "2 participants" in capsys.readouterr().out
    assert rows(Path("mine-export/responses.csv"))[0]["response"] == "● ●"


def test_words_that_models_do_not_know_are_remapped(tmp_path: Path) -> None:
    path = write_design(str(tmp_path / "mine"))
    text = path.read_text().replace('"dax", "lug"', '"oto", "ipi"').replace('"PINK"]', '"#ff8c00"]')
    path.write_text(text)
    store = Store.open(tmp_path / "simulated.db", read_design(path))
    simulate(store, Oracle(), "oracle", 2)
    assert export(store, tmp_path / "out")["excluded"] == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--participants", "0"],
        ["--participants", "1000000000"],
        ["--p_lapse", "2"],
        ["--model", "orakle"],
    ],
)
def test_misuse_of_simulate(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["experiment", "simulate", "few-shot", "--model", "oracle", *options]
    assert main(given) == 2
    assert not list(tmp_path.iterdir())


def test_no_more_are_simulated_than_the_design_lets_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_design("mine")
    path.write_text(path.read_text().replace("# participants = 100", "participants = 1"))
    given = ["experiment", "simulate", str(path), "--model", "oracle", "--participants"]
    assert main([*given, "2"]) == 2
    assert "--participants" in capsys.readouterr().err
    assert main([*given, "1"]) == 0
