"""The server process: an address to listen on, and the application behind it."""

import socket
from errno import EADDRNOTAVAIL
from os import strerror

import uvicorn

from biml.errors import BimlError, UsageError
from biml.experiment.design import read_design
from biml.experiment.store import Store
from biml.web.experiment_app import make_app
from biml.web.security import App

ANY_HOST = ("0.0.0.0", "::")
"""Addresses to listen on by which other machines get in."""


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
    with listen(host, port) as listening:  # before a database is made
        store = Store.open(database, design)
        address = address_of(listening, host) + root_path
        print(f"{design.name}: participants start at {address}/")
        print(f"researcher: {address}/researcher?token={store.facts['researcher_token']}")
        print(f"answers are saved in {store.name}; Ctrl-C ends the server", flush=True)
        try:
            serve(make_app(design, store, root_path), listening)
        finally:
            store.close()


def serve(app: App, listening: socket.socket) -> None:
    """Serve an application until a signal ends the process."""
    # An access log would keep the addresses of participants.
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=30,  # longer than most screens take
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listening])


def address_of(listening: socket.socket, host: str) -> str:
    """The address of a socket as one types it into a browser."""
    shown = socket.gethostname() if host in ANY_HOST else host
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{listening.getsockname()[1]}"


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
