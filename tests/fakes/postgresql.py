"""A PostgreSQL server for the tests, where the machine has the programs of one."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest


def _program(name: str) -> str | None:
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(debian[-1]) if debian else None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a server of its own, without a database for the tests."""
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("no PostgreSQL on this machine; on Debian: apt-get install postgresql")
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    prefix = [] if os.geteuid() else ["setpriv", "--reuid=postgres", "--regid=postgres"]
    prefix += [] if os.geteuid() else ["--clear-groups"]
    folder = Path(tempfile.mkdtemp(prefix="biml-pg", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")

    def call(*words: str) -> None:
        done = subprocess.run(
            [*prefix, *words], cwd=folder, capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            pytest.skip(f"{words[0]} does not work here: {done.stderr.strip()[-200:]}")

    data = str(folder / "data")
    options = f"-k {folder} -c listen_addresses= -c unix_socket_permissions=0777"
    try:
        call(initdb, "-D", data, "-A", "trust", "-E", "UTF8", "-U", user)
        call(pg_ctl, "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql:///postgres?host={folder}&user={user}"
        finally:
            call(pg_ctl, "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def experiment_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database that is not there yet, or is empty."""
    if request.param == "sqlite":
        return str(tmp_path / "experiment.db")
    import sqlalchemy

    server = str(request.getfixturevalue("postgresql"))
    name = f"test_{uuid4().hex}"
    url = sqlalchemy.make_url(server).set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")
