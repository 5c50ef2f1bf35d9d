"""The database of an experiment: tables, migrations, connections to SQLite and PostgreSQL."""

import secrets
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from biml.errors import FormatError, UsageError, check_extra
from biml.experiment.design_types import Design
from biml.version import __version__

SCHEMA_VERSION = 1

MIGRATIONS: dict[int, tuple[str, ...]] = {}
"""SQL statements that turn a database of each earlier schema version into one of the next."""

LOCK_SECONDS = 10.0
"""How long a transaction waits for another process that holds the lock of an SQLite file."""

TABLES = sql.MetaData()

FACTS = sql.Table(
    "facts",
    TABLES,
    sql.Column("name", sql.String(40), primary_key=True),
    sql.Column("value", sql.Text, nullable=False),
)
"""Facts about the database: its schema version, its experiment, its secrets."""

PARTICIPANTS = sql.Table(
    "participants",
    TABLES,
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("id", sql.String(20), nullable=False, unique=True),
    sql.Column("token_hash", sql.String(64), nullable=False, unique=True),
    sql.Column("external_id", sql.Text, unique=True),
    sql.Column("parameters", sql.Text, nullable=False),
    sql.Column("seed", sql.BigInteger, nullable=False),
    sql.Column("condition", sql.Text),
    sql.Column("status", sql.String(40), nullable=False),
    sql.Column("stage", sql.Text, nullable=False),
    sql.Column("answered", sql.Integer, nullable=False),
    sql.Column("started", sql.Float, nullable=False),
    sql.Column("updated", sql.Float, nullable=False),
    sql.Column("biml_version", sql.String(40), nullable=False),
    sql.Column("design_digest", sql.String(64), nullable=False),
    sqlite_autoincrement=True,  # so that a number is never given twice
)

ANSWERS = sql.Table(
    "answers",
    TABLES,
    sql.Column("participant", sql.ForeignKey("participants.number"), primary_key=True),
    sql.Column("screen", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("payload", sql.Text, nullable=False),
    sql.Column("saved", sql.Float, nullable=False),
    sql.Column("rt_ms", sql.Integer),
    sql.Column("changes", sql.Integer),
    sql.Column("focus_lost", sql.Integer),
    sql.Column("biml_version", sql.String(40), nullable=False),
    sql.Column("design_digest", sql.String(64), nullable=False),
)
"""The primary key lets one answer to each screen in, however often it is sent."""


def connect(database: str, *, create: bool) -> tuple[sql.Engine, str]:
    """Return connections to a database, and its name in messages, without the password.

    `create` says whether a file may be new.
    """
    if "://" not in database:
        return _connect_sqlite(Path(database), create=create), database
    scheme = database.partition("://")[0]
    if scheme not in ("postgresql", "postgres"):
        raise UsageError(
            f"--database {scheme}://…: name a file, or an address that begins with postgresql://"
        )
    check_extra("postgresql", "a PostgreSQL database needs", "psycopg")
    try:
        url = sql.make_url(database).set(drivername="postgresql+psycopg")
    except (sql.exc.ArgumentError, ValueError):
        raise UsageError(
            f"--database {scheme}://…: is not an address of a database; an example is "
            "postgresql://user:password@localhost:5432/experiment"
        ) from None
    engine = sql.create_engine(
        url, pool_size=20, pool_pre_ping=True, connect_args={"connect_timeout": 5}
    )
    return engine, url.set(drivername="postgresql").render_as_string(hide_password=True)


def _connect_sqlite(path: Path, *, create: bool) -> sql.Engine:
    if not create and not path.is_file():
        raise UsageError(
            f"{path}: there is no such database; `biml experiment serve` makes one, and --database "
            "names another"
        )
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"--database {path}: name a file in a folder that exists")
    url = sql.URL.create("sqlite", database=str(path))
    engine = sql.create_engine(url, pool_size=40, connect_args={"timeout": LOCK_SECONDS})

    @sql.event.listens_for(engine, "connect")
    def set_up(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin below
        # FULL: a commit returns when it is on disk. Deleted data are overwritten.
        for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute("PRAGMA secure_delete=ON")

    @sql.event.listens_for(engine, "begin")
    def begin(connection: sql.Connection) -> None:
        # A transaction that reads first and writes later could fail between. Those that only read
        # are one statement, which needs none.
        if connection.get_execution_options().get("biml_write"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def prepare(connection: sql.Connection, name: str, design: Design | None) -> dict[str, str]:
    """Create or migrate the tables, check whose database it is and return its facts."""
    tables = sql.inspect(connection).get_table_names()
    if FACTS.name not in tables:
        if tables or design is None:
            raise UsageError(
                f"{name} is not an experiment's database; name another with --database"
            )
        _create(connection, design)
    facts = {row.name: row.value for row in connection.execute(sql.select(FACTS))}
    text = facts.get("design_text", "")
    if not (
        facts.keys() >= _FACT_NAMES
        and facts["schema_version"].isdecimal()
        and facts["design_digest"] == sha256(text.encode()).hexdigest()
    ):
        problem = "the facts about its experiment are not complete, or were changed; it is damaged"
        raise FormatError(problem, source=name)
    _migrate(connection, name, facts)
    if design is not None and facts["design_digest"] != design.digest:
        whose = f"another experiment, {facts['experiment']!r}"
        if facts["experiment"] == design.name:
            whose = f"{design.name!r} with other contents of its file"
        raise UsageError(
            f"{name} belongs to {whose}; name another by --database, since all participants of a "
            "database go through the same experiment"
        )
    return facts


_FACT_NAMES = {
    *("schema_version", "biml_version", "experiment", "design_digest", "design_text"),
    *("server_key", "researcher_token"),
}


def _create(connection: sql.Connection, design: Design) -> None:
    TABLES.create_all(connection)
    facts = {
        "schema_version": str(SCHEMA_VERSION),
        "biml_version": __version__,
        "experiment": design.name,
        "design_digest": design.digest,
        "design_text": design.text,
        "server_key": secrets.token_hex(32),
        "researcher_token": secrets.token_urlsafe(24),
    }
    connection.execute(FACTS.insert(), [{"name": k, "value": v} for k, v in facts.items()])


def _migrate(connection: sql.Connection, name: str, facts: Mapping[str, str]) -> None:
    version = int(facts["schema_version"])
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{name} has the schema {version} of a later version of biml, and this one knows "
            f"{SCHEMA_VERSION}; upgrade biml"
        )
    for earlier in range(version, SCHEMA_VERSION):
        for statement in MIGRATIONS[earlier]:
            connection.execute(sql.text(statement))
    if version < SCHEMA_VERSION:
        where = FACTS.c.name == "schema_version"
        connection.execute(FACTS.update().where(where).values(value=str(SCHEMA_VERSION)))
