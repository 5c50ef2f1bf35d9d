"""Start, list and await other processes (by `ps`, as on Linux and macOS)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 600
"""Seconds within which a process is to do what a test awaits, however busy the machine is."""


@contextmanager
def python(
    *arguments: str, before: Sequence[str] = (), prepare: Callable[[], None] = lambda: None
) -> Iterator[subprocess.Popen[str]]:
    """A Python process with one thread, which does not outlive its test.

    Args:
        before: a command that runs it, such as `nohup`.
        prepare: is called in the process first.
    """

    def begin() -> None:
        # Tests in the background or under nohup would hand on that these signals are ignored.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        prepare()

    run = subprocess.Popen(
        [*before, sys.executable, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=begin,
    )
    with run:
        try:
            yield run
        finally:
            run.kill()


def children_of(parent: int) -> list[int]:
    found = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout
    pairs = [tuple(map(int, line.split())) for line in found.splitlines()]
    return [pid for pid, ppid in pairs if ppid == parent]


def descendants_of(parent: int) -> list[int]:
    children = children_of(parent)
    return [*children, *(pid for child in children for pid in descendants_of(child))]


def await_end(pids: list[int]) -> None:
    """Wait until none of these processes runs any more."""
    deadline = time.monotonic() + PATIENCE
    while any(map(_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_alive, pids))


def await_file(path: Path, run: subprocess.Popen) -> None:
    """Wait until a run has written something into a file."""
    deadline = time.monotonic() + PATIENCE
    while not (path.exists() and path.stat().st_size):
        assert run.poll() is None, "the run ended before it was to"
        assert time.monotonic() < deadline, f"nothing in {path}"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return found.stdout.strip()[:1] not in ("", "Z")
