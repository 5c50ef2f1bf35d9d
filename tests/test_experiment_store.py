"""The database of an experiment, as SQLite and as PostgreSQL."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy

from biml.errors import BimlError, UsageError
from biml.experiment import database
from biml.experiment.design import Design, read_design
from biml.experiment.design_types import Condition
from biml.experiment.export import export
from biml.experiment.store import (
    AlreadyStartedError,
    ExperimentFullError,
    StorageError,
    Store,
    Timing,
)

DESIGN = read_design("few-shot")


@pytest.fixture
def address(experiment_database: str) -> str:
    return experiment_database


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    opened = Store.open(address, DESIGN)
    yield opened
    opened.close()


def with_conditions(*quotas: int | None) -> Design:
    conditions = tuple(Condition(f"c{n}", quota) for n, quota in enumerate(quotas))
    return replace(DESIGN, conditions=conditions)


def test_answers_are_there_after_opening_again(store: Store, address: str) -> None:
    anna = store.create_participant({"STUDY_ID": "ü"}, external_id="anna")
    store.save_answer(anna, 0, {"consent": True}, Timing(1200, 3, 1), stage="practice")
    store.close()
    again = Store.open(address, DESIGN)
    (found,) = again.participants()
    assert (found.number, found.external_id, found.parameters) == (1, "anna", {"STUDY_ID": "ü"})
    assert (found.status, found.stage, found.answered) == ("running", "practice", 1)
    assert (found.biml_version, found.design_digest) == (anna.biml_version, DESIGN.digest)
    assert found.seed == anna.seed
    (answer,) = again.answers(found)
    assert (answer.screen, answer.payload) == (0, {"consent": True})
    assert answer.timing == Timing(1200, 3, 1)
    again.close()


def test_the_first_answer_to_a_screen_wins(store: Store) -> None:
    anna = store.create_participant()
    assert store.save_answer(anna, 0, {"response": ["RED"]})
    assert not store.save_answer(anna, 0, {"response": ["RED"]})
    assert not store.save_answer(anna, 0, {"response": ["BLUE"]}, status="finished")
    assert [answer.payload for answer in store.answers(anna)] == [{"response": ["RED"]}]
    assert [person.status for person in store.participants()] == ["running"]


def test_no_screen_is_left_out(store: Store) -> None:
    anna = store.create_participant()
    with pytest.raises(BimlError, match="screen 0"):
        store.save_answer(anna, 1, {})
    assert store.answers(anna) == []


def test_threads_neither_lose_nor_double_answers(store: Store) -> None:
    people = [store.create_participant() for _ in range(4)]

    def answer_all(n: int) -> list[bool]:
        return [store.save_answer(people[n % 4], screen, {"by": n}) for screen in range(10)]

    with ThreadPoolExecutor(8) as threads:
        # Two threads answer for each participant, each screen in order.
        saved = list(threads.map(answer_all, range(8)))
    for n, person in enumerate(people):
        answers = store.answers(person)
        assert [answer.screen for answer in answers] == list(range(10))
        for answer in answers:
            assert saved[answer.payload["by"]][answer.screen]
            assert [saved[n][answer.screen], saved[n + 4][answer.screen]].count(True) == 1


def test_an_identifier_starts_once_also_in_threads(store: Store) -> None:
    def start(_: int) -> str:
        try:
            return store.create_participant(external_id="anna").id
        except AlreadyStartedError:
            return ""

    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(start, range(8)))
    assert len([id for id in ids if id]) == len(store.participants()) == 1


def test_conditions_are_filled_in_balance_and_to_their_quotas(address: str) -> None:
    store = Store.open(address, with_conditions(4, 2, 2))

    def start(_: int) -> str | None:
        try:
            return store.create_participant().condition
        except ExperimentFullError:
            return "full"

    with ThreadPoolExecutor(6) as threads:
        given = list(threads.map(start, range(11)))
    assert {name: given.count(name) for name in ("c0", "c1", "c2", "full")} == {
        "c0": 4,
        "c1": 2,
        "c2": 2,
        "full": 3,
    }
    store.close()


def test_who_has_started_is_known_though_no_place_is_left(store: Store) -> None:
    store.design = replace(DESIGN, participants=1)
    store.create_participant(external_id="anna")
    with pytest.raises(AlreadyStartedError):
        store.create_participant(external_id="anna")
    with pytest.raises(ExperimentFullError):
        store.create_participant(external_id="berta")


def test_places_of_people_who_have_left_are_free_again(store: Store, monkeypatch) -> None:
    store.design = replace(DESIGN, participants=2)
    first, _ = store.create_participant(), store.create_participant()
    with pytest.raises(ExperimentFullError):
        store.create_participant()
    store.save_answer(first, 0, {}, status="failed quiz")
    store.create_participant()
    with pytest.raises(ExperimentFullError):
        store.create_participant()
    monkeypatch.setattr("biml.experiment.store.time.time", lambda: first.started + 24 * 3600)
    store.create_participant()


def test_a_withdrawn_person_leaves_nothing_and_cannot_go_on(store: Store, address: str) -> None:
    anna = store.create_participant({"comment": "annas secret"}, token="t", external_id="anna")
    store.save_answer(anna, 0, {"response": ["annas secret"]})
    assert store.withdraw("anna") == 1
    assert store.answers(anna) == []
    found = store.find(token="t")
    assert found is not None
    assert (found.status, found.external_id, found.parameters) == ("withdrawn", None, {})
    with pytest.raises(BimlError, match="withdrawn"):
        store.save_answer(anna, 0, {})
    with pytest.raises(UsageError, match="nobody"):
        store.withdraw("nobody")
    if "://" not in address:
        folder = Path(address).parent
        assert all(b"annas secret" not in file.read_bytes() for file in folder.iterdir())


def test_a_number_is_never_given_twice(store: Store) -> None:
    numbers = [store.create_participant().number for _ in range(2)]
    store.withdraw(store.participants()[-1].id)
    assert store.create_participant().number == numbers[-1] + 1


def test_secrets_are_not_in_the_database(store: Store, address: str) -> None:
    store.create_participant(token="very-secret")
    store.close()
    if "://" not in address:
        assert b"very-secret" not in Path(address).read_bytes()


def test_a_database_of_another_experiment_is_refused(store: Store, address: str) -> None:
    with pytest.raises(UsageError, match=r"another experiment, 'few-shot'.*--database"):
        Store.open(address, read_design("open-ended"))
    with pytest.raises(UsageError, match="other contents of its file"):
        Store.open(address, replace(DESIGN, digest="0" * 64))
    Store.open(address).close()


def test_a_database_of_a_later_version_is_refused(store: Store, address: str, monkeypatch) -> None:
    monkeypatch.setattr(database, "SCHEMA_VERSION", 0)
    with pytest.raises(UsageError, match="upgrade biml"):
        Store.open(address, DESIGN)


def test_a_database_of_an_earlier_version_is_migrated(
    store: Store, address: str, monkeypatch
) -> None:
    anna = store.create_participant()
    store.save_answer(anna, 0, {"consent": True})
    statement = "ALTER TABLE answers ADD COLUMN device TEXT DEFAULT 'unknown'"
    monkeypatch.setattr(database, "MIGRATIONS", {database.SCHEMA_VERSION: (statement,)})
    monkeypatch.setattr(database, "SCHEMA_VERSION", database.SCHEMA_VERSION + 1)
    for _ in range(2):
        again = Store.open(address, DESIGN)
        assert [answer.payload for answer in again.answers(anna)] == [{"consent": True}]
        with again._transaction() as connection:
            assert connection.execute(sqlalchemy.text("SELECT device FROM answers")).scalar()
        again.close()


def test_a_failing_migration_changes_nothing(store: Store, address: str, monkeypatch) -> None:
    version = database.SCHEMA_VERSION
    monkeypatch.setattr(database, "SCHEMA_VERSION", version + 1)
    statements = ("ALTER TABLE answers ADD COLUMN device TEXT", "ALTER TABLE nothing RENAME TO x")
    monkeypatch.setattr(database, "MIGRATIONS", {version: statements})
    with pytest.raises(BimlError):
        Store.open(address, DESIGN)
    monkeypatch.setattr(database, "SCHEMA_VERSION", version)
    again = Store.open(address, DESIGN)
    again.save_answer(again.create_participant(), 0, {})
    again.close()


@pytest.mark.parametrize("wrong", ["text", "other tables", "folder", "missing"])
def test_a_file_that_is_no_such_database_is_refused(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "x.db"
    if wrong == "text":
        path.write_text("a text, and no database at all\n" * 100)
    elif wrong == "other tables":
        sqlite3.connect(path).execute("CREATE TABLE cats (name TEXT)").connection.close()
    elif wrong == "folder":
        path = tmp_path / "no" / "x.db"
    with pytest.raises(BimlError, match=r"x\.db"):
        Store.open(path, None if wrong == "missing" else DESIGN)


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("mysql://localhost/x", "postgresql://"),
        ("postgresql://user:geheim@localhost:abc/x", "--database"),
        ("postgresql://user:geheim@127.0.0.1:1/x", "127.0.0.1"),
    ],
)
def test_an_address_that_is_wrong_is_named_without_the_password(address: str, named: str) -> None:
    with pytest.raises(BimlError, match=named) as caught:
        Store.open(address, DESIGN)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE facts SET value = 'x' WHERE name = 'schema_version'",
        "UPDATE facts SET value = value || ' ' WHERE name = 'design_text'",
        "DELETE FROM facts WHERE name = 'experiment'",
        "UPDATE participants SET parameters = '['",
        "UPDATE participants SET started = 'yesterday'",
        "UPDATE participants SET seed = 1",
        "UPDATE answers SET payload = '[1]'",
        "UPDATE answers SET saved = 1e300",
    ],
)
def test_damaged_values_are_an_error(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "experiment.db"
    store = Store.open(path, DESIGN)
    anna = store.create_participant()
    store.save_answer(anna, 0, {"consent": True})
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
    with pytest.raises(BimlError, match="damaged"):
        export(Store.open(path), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_locked_database_is_an_error_that_loses_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.05)
    store = Store.open(tmp_path / "x.db", DESIGN)
    anna = store.create_participant()
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"x\.db: database is locked"):
        store.save_answer(anna, 0, {})
    other.execute("ROLLBACK")
    assert store.save_answer(anna, 0, {})
    store.close()


def test_a_full_disk_is_an_error_that_loses_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "x.db", DESIGN)
    anna = store.create_participant()
    pages = [30]
    set_limit = sqlalchemy.event.listens_for(store._engine, "connect")
    set_limit(lambda connection, _: connection.execute(f"PRAGMA max_page_count = {pages[0]}"))
    store._engine.dispose()  # connects anew

    def save(first: int) -> None:
        for screen in range(first, 1000):
            store.save_answer(anna, screen, {"x": "y" * 1000})

    with pytest.raises(StorageError, match="full"):
        save(0)
    saved = store.answers(anna)
    assert [answer.screen for answer in saved] == list(range(len(saved)))
    assert saved
    pages[0] = 10_000
    store._engine.dispose()
    assert store.save_answer(anna, len(saved), {"after": "space was made"})
    store.close()


def test_a_clock_that_jumps_changes_no_order(store: Store, monkeypatch) -> None:
    clock = iter([5e9, 4e9, 1e9, 3e9])
    monkeypatch.setattr("biml.experiment.store.time.time", lambda: next(clock))
    anna = store.create_participant()
    for screen in range(3):
        store.save_answer(anna, screen, {})
    assert [answer.screen for answer in store.answers(anna)] == [0, 1, 2]
