"""The server process of `biml experiment serve`: addresses, misuse, and kills under load."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

import experiment_load
from biml.cli.main import main
from biml.experiment.design import read_design
from biml.experiment.store import Store


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database in which one participant has started."""
    path = str(tmp_path / "experiment.db")
    store = Store.open(path, read_design("few-shot"))
    store.create_participant(external_id="anna")
    store.close()
    return path


def test_acknowledged_answers_survive_kills_of_the_server(experiment_database: str) -> None:
    people, lost = experiment_load.run(
        "open-ended", experiment_database, n_people=5, think=0.1, kills=3, seconds=1000
    )
    assert lost == 0
    assert all(len(person.acknowledged) > 5 for person in people)
    assert sum(person.retries for person in people) > 0


def test_status_prints_who_is_where(database: str, capsys) -> None:
    assert main(["experiment", "status"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("few-shot: 1 running, 0 finished")
    assert "anna" in printed


def test_withdraw_deletes_a_person(database: str, capsys) -> None:
    assert main(["experiment", "withdraw", "anna"]) == 0
    assert main(["experiment", "withdraw", "anna"]) == 2
    assert "anna" in capsys.readouterr().err
    (person,) = Store.open(database).participants()
    assert person.status == "withdrawn"


def test_a_port_in_use_is_an_error_before_anybody_is_let_in(capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["experiment", "serve", "few-shot", "--port", port]) == 1
    output = capsys.readouterr()
    assert f"--port {port}" in output.err
    assert output.out == ""
    assert not Path("experiment.db").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["few-shto"], "did you mean few-shot"),
        (["no-such-file.toml"], "no-such-file.toml"),
        (["few-shot", "--port", "99999"], "--port 99999"),
        (["few-shot", "--host", "no.such.host.invalid"], "--host no.such.host.invalid"),
        (["few-shot", "--root_path", "study/"], "--root_path study/"),
        (["few-shot", "--database", "mysql://x/y"], "postgresql://"),
        (["few-shot", "--database", "no-folder/x.db"], "no-folder"),
        (["open-ended", "--database", "experiment.db"], "'few-shot'"),
    ],
    ids=" ".join,
)
def test_misuse_is_named(words: list[str], named: str, database: str, capsys) -> None:
    assert main(["experiment", "serve", *words]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("words", [["status"], ["export"], ["withdraw", "x"]], ids=" ".join)
def test_a_missing_database_is_named(words: list[str], capsys) -> None:
    assert main(["experiment", *words]) == 2
    assert "experiment.db" in capsys.readouterr().err
    assert not Path("experiment.db").exists()


def test_a_server_of_postgresql_that_does_not_answer_is_named(capsys) -> None:
    address = "postgresql://user:geheim@127.0.0.1:1/x"
    assert main(["experiment", "serve", "few-shot", "--database", address]) == 1
    message = capsys.readouterr().err
    assert "127.0.0.1" in message
    assert "geheim" not in message


@pytest.mark.parametrize("module", ["sqlalchemy", "uvicorn"])
def test_without_the_extra_only_new_works_and_the_others_name_it(module: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from biml.cli.main import main; assert main(['experiment', 'new', 'mine']) == 0\n"
        "sys.exit(main(['experiment', 'serve', 'mine.toml']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert f"{module}; install what is missing with: pip install 'biml[web]'" in ended.stderr
    assert "Traceback" not in ended.stderr
