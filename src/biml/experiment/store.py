"""The store of an experiment: its participants and their answers, saved to disk first."""

import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sql
from sqlalchemy.exc import DBAPIError

from biml.arguments import check_type
from biml.errors import BimlError, FormatError, UsageError
from biml.experiment import database
from biml.experiment.database import ANSWERS, FACTS, PARTICIPANTS
from biml.experiment.design import Design
from biml.io import parse_json
from biml.rng import derive_seed
from biml.version import __version__

T = TypeVar("T")

WITHDRAWN = "withdrawn"

ABANDONED_AFTER = 2 * 3600
"""Seconds without an answer after which a participant's place is free again."""


# Statements of every request, built once: building one takes as long as executing it.
_OWN = PARTICIPANTS.c.number == sql.bindparam("who")
_PROGRESS = sql.select(PARTICIPANTS.c.answered, PARTICIPANTS.c.status).where(_OWN)
_UPDATE = PARTICIPANTS.update().where(_OWN)
_ADVANCE = _UPDATE.where(
    PARTICIPANTS.c.answered == sql.bindparam("screen"), PARTICIPANTS.c.status != WITHDRAWN
)
_INSERT = ANSWERS.insert()
_FIND = {
    name: sql.select(PARTICIPANTS).where(PARTICIPANTS.c[name] == sql.bindparam("value"))
    for name in ("token_hash", "external_id")
}


@dataclass(frozen=True)
class Timing:
    """What a browser measured on one screen; None where it sent nothing usable.

    Attributes:
        rt_ms: milliseconds from the first display of the screen to its answer.
        changes: circles added, moved and removed, and fields changed.
        focus_lost: how often the page lost the focus.
    """

    rt_ms: int | None = None
    changes: int | None = None
    focus_lost: int | None = None


@dataclass(frozen=True)
class Participant:
    """A participant as the database has them; times are in seconds since 1970, UTC.

    Attributes:
        number: from 1, in the order of arrival; never given twice.
        id: a random name, which exported data have.
        external_id: the identifier of the recruiting service, or None.
        status: that of `Session`, or `withdrawn`.
        stage: of the screen that the participant sees.
        answered: the number of answers.
    """

    number: int
    id: str
    external_id: str | None
    parameters: Mapping[str, str]
    seed: int
    condition: str | None
    status: str
    stage: str
    answered: int
    started: float
    updated: float
    biml_version: str
    design_digest: str


@dataclass(frozen=True)
class Answer:
    """An accepted answer to one screen."""

    screen: int
    payload: dict[str, Any]
    saved: float
    biml_version: str
    timing: Timing = field(default=Timing())


class ExperimentFullError(BimlError):
    """All places of the experiment are taken."""


class AlreadyStartedError(BimlError):
    """The identifier of a participant is in the database already."""


class StorageError(BimlError):
    """The database cannot be read or written now: a full disk, a lock, a lost connection."""


class Store:
    """Participants and answers of one experiment.

    Every method is one transaction, and returns after its data are on disk. Threads, processes
    and, with PostgreSQL, machines can share a database.

    Attributes:
        facts: `experiment`, `design_digest`, `design_text`, `biml_version`, `server_key` and
            `researcher_token`.
    """

    def __init__(self, engine: sql.Engine, name: str, design: Design | None) -> None:
        self.name = name
        self.design = design
        self._engine = engine
        self._engines = {
            write: engine.execution_options(biml_write=write) for write in (False, True)
        }
        # SQLite itself waits for a lock by sleeping up to 100 ms.
        self._write_lock = threading.Lock() if engine.dialect.name == "sqlite" else None
        with self._transaction(write=True) as connection:
            self.facts = database.prepare(connection, name, design)

    @classmethod
    def open(cls, address: str | Path, design: Design | None = None) -> "Store":
        """Open a database; create it where there is none and a design is given.

        Args:
            address: a file (SQLite), or `postgresql://user:password@host:port/name`.
            design: the experiment that the database must belong to; None for any.

        Raises:
            UsageError: the database belongs to another experiment or a later version of biml, or is
                no database of an experiment.
            StorageError: the database cannot be opened.
        """
        engine, name = database.connect(str(address), create=design is not None)
        try:
            return cls(engine, name, design)
        except BaseException:
            engine.dispose()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[sql.Connection]:
        """A transaction, on disk at its end; a StorageError names the cause of a failure."""
        if write and self._write_lock:
            self._write_lock.acquire()
        try:
            with self._engines[write].begin() as connection:
                yield connection
        except (DBAPIError, sql.exc.TimeoutError) as error:
            cause = str(getattr(error, "orig", error)).strip().splitlines()[0]
            raise StorageError(f"{self.name}: {cause}") from error
        finally:
            if write and self._write_lock:
                self._write_lock.release()

    def create_participant(
        self,
        parameters: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
        external_id: str | None = None,
    ) -> Participant:
        """Add a participant, in the condition that has the smallest share of its places taken.

        Args:
            parameters: of the address, such as `STUDY_ID`.
            token: the secret by which the participant's browser is known; its hash is stored.
            external_id: an identifier that no other participant may have.

        Raises:
            AlreadyStartedError: the identifier is there already, whether places are left or not.
            ExperimentFullError: no place is left.
        """
        with self._transaction(write=True) as connection:
            return self._create_participant(connection, parameters or {}, token, external_id)

    def create_participants(self, n: int, parameters: Mapping[str, str]) -> list[Participant]:
        """Add `n` participants, or none if there are not so many places (ExperimentFullError)."""
        with self._transaction(write=True) as connection:
            return [self._create_participant(connection, parameters) for _ in range(n)]

    def _create_participant(
        self,
        connection: sql.Connection,
        parameters: Mapping[str, str],
        token: str | None = None,
        external_id: str | None = None,
    ) -> Participant:
        assert self.design is not None
        now = time.time()
        row: dict[str, Any] = {
            "id": secrets.token_hex(5),
            "token_hash": hash_token(token or secrets.token_urlsafe()),
            "external_id": external_id,
            "parameters": json.dumps(dict(parameters), ensure_ascii=False),
            "seed": 0,
            "status": "running",
            "stage": "",
            "answered": 0,
            "started": now,
            "updated": now,
            "biml_version": __version__,
            "design_digest": self.design.digest,
        }
        # One at a time, so that no place is taken twice; SQLite has only one writer.
        connection.execute(sql.select(FACTS.c.name).with_for_update()).all()
        same = sql.select(PARTICIPANTS.c.number).where(PARTICIPANTS.c.external_id == external_id)
        if external_id is not None and connection.execute(same).first():
            raise AlreadyStartedError(f"{external_id} has started")
        row["condition"] = self._free_condition(connection, self.design, now)
        inserting = PARTICIPANTS.insert().returning(PARTICIPANTS.c.number)
        number = connection.execute(inserting, row).scalar_one()
        row["seed"] = seed_of(self.design, number)
        connection.execute(_UPDATE, {"who": number, "seed": row["seed"]})
        return self._participant({**row, "number": number})

    @staticmethod
    def _free_condition(connection: sql.Connection, design: Design, now: float) -> str | None:
        present = (PARTICIPANTS.c.status == "finished") | (
            (PARTICIPANTS.c.status == "running") & (PARTICIPANTS.c.updated > now - ABANDONED_AFTER)
        )
        counts = dict.fromkeys((c.name for c in design.conditions), 0)
        query = sql.select(PARTICIPANTS.c.condition, sql.func.count()).where(present)
        total = 0
        for name, number in connection.execute(query.group_by(PARTICIPANTS.c.condition)):
            total += number
            if name in counts:
                counts[name] = number
        free = {
            c.name: counts[c.name] / (c.quota or 1)
            for c in design.conditions
            if c.quota is None or counts[c.name] < c.quota
        }
        if (design.conditions and not free) or total >= (design.participants or total + 1):
            raise ExperimentFullError("all places of the experiment are taken")
        return min(free, key=lambda name: free[name]) if free else None

    def save_answer(
        self,
        participant: Participant,
        screen: int,
        payload: Mapping[str, Any],
        timing: Timing = Timing(),
        *,
        status: str = "running",
        stage: str = "",
    ) -> bool:
        """Save an answer; False, changing nothing, if the screen has been answered already.

        Args:
            status: of the participant after this answer.
            stage: of the screen that follows.

        Raises:
            BimlError: the participant has withdrawn, or an earlier screen has no answer.
        """
        now = time.time()
        with self._transaction(write=True) as connection:
            values = {"answered": screen + 1, "status": status, "stage": stage, "updated": now}
            who = {"who": participant.number}
            if connection.execute(_ADVANCE, {**who, "screen": screen, **values}).rowcount:
                row = _answer_row(participant, screen, payload, now) | vars(timing)
                connection.execute(_INSERT, row)
                return True
            found = connection.execute(_PROGRESS, who).one()
            if found.status == WITHDRAWN:
                raise BimlError(f"participant {participant.id} has withdrawn")
            if screen > found.answered:
                raise BimlError(
                    f"participant {participant.id}: screen {found.answered} has no answer yet"
                )
        return False

    def save_session(
        self, participant: Participant, payloads: Sequence[Mapping[str, Any]], *, status: str
    ) -> None:
        """Save all answers of a new participant at once, such as a simulated one."""
        now = time.time()
        rows = [_answer_row(participant, n, payload, now) for n, payload in enumerate(payloads)]
        values = {"answered": len(rows), "status": status, "stage": "end", "updated": now}
        with self._transaction(write=True) as connection:
            connection.execute(_INSERT, rows)
            connection.execute(_UPDATE, {"who": participant.number, **values})

    def answers(self, participant: Participant, first: int = 0) -> list[Answer]:
        """The answers of a participant, from screen `first` on."""
        own = (ANSWERS.c.participant == participant.number) & (ANSWERS.c.screen >= first)
        query = sql.select(ANSWERS).where(own).order_by(ANSWERS.c.screen)
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        who = f"{self.name}: an answer of participant {participant.id}"
        return [
            _checked(
                who,
                Answer(
                    row.screen,
                    _json_object(who, row.payload),
                    row.saved,
                    row.biml_version,
                    Timing(row.rt_ms, row.changes, row.focus_lost),
                ),
            )
            for row in rows
        ]

    def participants(self) -> list[Participant]:
        """All participants, withdrawn ones too, in the order of arrival."""
        query = sql.select(PARTICIPANTS).order_by(PARTICIPANTS.c.number)
        with self._transaction() as connection:
            return [self._participant(row) for row in connection.execute(query).mappings()]

    def find(
        self, *, token: str | None = None, external_id: str | None = None
    ) -> Participant | None:
        """The participant with this secret, or this identifier of the recruiting service."""
        name, value = "external_id", external_id
        if token is not None:
            name, value = "token_hash", hash_token(token)
        with self._transaction() as connection:
            row = connection.execute(_FIND[name], {"value": value}).mappings().first()
        return None if row is None else self._participant(row)

    def _participant(self, row: Mapping[Any, Any]) -> Participant:
        where = f"{self.name}: participant {row['id']}"
        values = {name: row[name] for name in Participant.__dataclass_fields__}
        parameters = _json_object(where, row["parameters"])
        return _checked(where, Participant(**{**values, "parameters": parameters}))

    def replace_token(self, participant: Participant, token: str) -> None:
        """Move a participant's session to another browser."""
        with self._transaction(write=True) as connection:
            values = {"token_hash": hash_token(token)}
            connection.execute(_UPDATE, {"who": participant.number, **values})

    def withdraw(self, id: str) -> int:
        """Delete all data of a participant; return the number of their answers.

        An empty row stays, so that the browser cannot start anew.

        Args:
            id: the participant's id, or the identifier of the recruiting service.

        Raises:
            UsageError: there is no such participant.
        """
        names = (PARTICIPANTS.c.id == id) | (PARTICIPANTS.c.external_id == id)
        with self._transaction(write=True) as connection:
            number = connection.execute(sql.select(PARTICIPANTS.c.number).where(names)).scalar()
            if number is None:
                raise UsageError(f"{self.name}: there is no participant {id!r}")
            deleted = connection.execute(ANSWERS.delete().where(ANSWERS.c.participant == number))
            emptied = {"external_id": None, "parameters": "{}", "stage": "", "answered": 0}
            connection.execute(_UPDATE, {"who": number, **emptied, "status": WITHDRAWN})
        if self._engine.dialect.name == "sqlite":
            # What was deleted is still in the write-ahead log.
            with suppress(DBAPIError), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return deleted.rowcount


def seed_of(design: Design, number: int) -> int:
    """The seed of a participant, from which words, colours and orders follow."""
    return derive_seed(int(design.digest[:15], 16), number)


def hash_token(token: str) -> str:
    """What the database keeps of a secret."""
    return sha256(token.encode()).hexdigest()


def _answer_row(
    participant: Participant, screen: int, payload: Mapping[str, Any], saved: float
) -> dict[str, Any]:
    return {
        "participant": participant.number,
        "screen": screen,
        "payload": json.dumps(payload, ensure_ascii=False),
        "saved": saved,
        "biml_version": __version__,
        "design_digest": participant.design_digest,
    }


def _json_object(where: str, text: str) -> dict[str, Any]:
    with suppress(ValueError, TypeError):
        if isinstance(value := parse_json(text), dict):
            return value
    raise FormatError("holds no JSON object; the database is damaged", source=where)


def _checked(where: str, record: T) -> T:
    """A record of a database; a FormatError unless all its values are of the right types."""
    try:
        check_type("record", record, type(record))
    except UsageError:
        problem = "has a value of a wrong type; the database is damaged"
        raise FormatError(problem, source=where) from None
    return record
