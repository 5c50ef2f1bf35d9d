"""The server process: an address to listen on, and the application behind it."""

import socket
from collections.abc import Callable
from errno import EADDRNOTAVAIL
from os import strerror

import uvicorn

from biml.errors import BimlError, UsageError
from biml.experiment.design import read_design
from biml.experiment.store import Store
from biml.web.experiment_app import make_app
from biml.web.security import App


def serve_experiment(
    source: str, database: str, *, host: str, port: int, root_path: str = ""
) -> None:
    """Run an experiment until a signal ends the process; print its addresses first.

    Raises:
        FormatError: the design file is wrong.
        UsageError: the port is in use, or the database is that of another experiment.
    """
    if root_path and (not root_path.startswith("/") or root_path.endswith("/")):
        raise UsageError(f"--root_path {root_path}: write it as /path")
    design = read_design(source)
    store = Store.open(database, design)

    def announce(address: str) -> None:
        token = store.facts["researcher_token"]
        print(f"{design.name}: participants start at {address}/")
        print(f"researcher: {address}/researcher?token={token}")
        print(f"answers are saved in {store.name}; Ctrl-C ends the server", flush=True)

    try:
        serve(make_app(design, store, root_path), host, port, lambda at: announce(at + root_path))
    finally:
        store.close()


def serve(app: App, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve an application; `announce` is called with its address when it listens."""
    listening = listen(host, port)
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    shown = f"[{shown}]" if ":" in shown else shown
    # An access log would keep the addresses of participants.
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=30,  # longer than most screens take
        timeout_graceful_shutdown=5,
    )
    announce(f"http://{shown}:{listening.getsockname()[1]}")
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; a UsageError where the port is in use or not allowed."""
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}: a port is a number from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        if error.errno is None or error.errno < 0 or error.errno == EADDRNOTAVAIL:
            raise UsageError(f"--host {host}: this machine has no such address") from None
        raise BimlError(
            f"--host {host} --port {port}: {strerror(error.errno)}; choose another --port, or 0 "
            "for any that is free"
        ) from None
