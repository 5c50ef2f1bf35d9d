"""Ctrl-C at any moment; `test_training_interrupted` tests the command itself."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from biml.training.config import TrainingConfig
from biml.training.console import TrainingConsole
from biml.training.distributed import graceful_shutdown
from biml.training.logger import RunInfo
from fakes.processes import PATIENCE


class StruckByCtrlC(io.RawIOBase):
    """A terminal or pipe in whose first write the process gets a Ctrl-C."""

    def __init__(self) -> None:
        self.written = b""

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        struck = bool(self.written)
        self.written += bytes(data)
        if not struck:
            signal.raise_signal(signal.SIGINT)
        return len(data)


def test_ctrl_c_during_output_requests_a_stop() -> None:
    terminal = StruckByCtrlC()
    console = Console(file=io.TextIOWrapper(io.BufferedWriter(terminal), write_through=True))
    with graceful_shutdown(console.print) as request:
        console.print("a line")
        await_request(request)
    console.file.flush()
    assert request.signal_number == signal.SIGINT
    lines = terminal.written.decode().splitlines()
    assert lines[0] == "a line"
    assert lines[1].startswith("stopping after this step")


@pytest.fixture
def sigint_raises() -> Iterator[None]:
    """As in a terminal; what a shell script starts in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint_raises")
def test_signal_handlers_are_restored_after_a_run() -> None:
    before = signal.getsignal(signal.SIGINT)
    with graceful_shutdown(lambda text: None) as request:
        signal.raise_signal(signal.SIGTERM)
        await_request(request)
    assert request.signal_number == signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_cursor_is_visible_during_training() -> None:
    terminal = io.StringIO()
    training_console = TrainingConsole(Console(file=terminal, force_terminal=True))
    training_console.on_start(
        RunInfo(
            TrainingConfig(), "cpu", 1, 5000, steps_done=0, total_steps=10, data_description="drawn"
        )
    )
    hidden_or_not = re.findall(r"\x1b\[\?25[hl]", terminal.getvalue())
    training_console.close()
    assert hidden_or_not[-1] == "\x1b[?25h"


WAITING = """
import threading
from datetime import timedelta
import torch
from torch import distributed as dist
from biml.training.distributed import graceful_shutdown

def join(rank):
    groups[rank] = dist.ProcessGroupGloo(store, rank, 2, timedelta(minutes=5))

store, groups = dist.HashStore(), {}
other = threading.Thread(target=join, args=(1,))
other.start()
join(0)
other.join()
with graceful_shutdown(lambda text: print(text, flush=True)):
    print("waiting", flush=True)
    groups[0].allreduce([torch.zeros(1)]).wait()  # which the other never joins
"""

UNREAD = """
import os
from biml.training.distributed import graceful_shutdown

def write():
    while True:
        os.write(unread, bytes(1000))

def tell(text):
    print(text, flush=True)
    write()

_, unread = os.pipe()
with graceful_shutdown(tell):
    print("waiting", flush=True)
    write()
"""


@pytest.mark.parametrize("script", [WAITING, UNREAD], ids=["another process", "a reader"])
def test_a_second_ctrl_c_ends_a_waiting_process(script: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    environment |= {"GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0"}
    run = subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with run:
        try:
            assert run.stdout is not None
            assert run.stdout.readline() == "waiting\n"
            run.send_signal(signal.SIGINT)
            assert "Ctrl-C again" in run.stdout.readline()
            run.send_signal(signal.SIGINT)
            _, complaints = run.communicate(timeout=PATIENCE)
        finally:
            run.kill()
    assert run.returncode == 130
    assert "Traceback" not in complaints


def await_request(request) -> None:
    deadline = time.monotonic() + PATIENCE
    while not request:
        assert time.monotonic() < deadline, "nobody heard the signal"
        time.sleep(0.01)
