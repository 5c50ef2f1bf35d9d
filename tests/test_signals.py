"""Commands ended by a signal remove partial files."""

import signal
import subprocess
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from fakes.language_model import Reply, fake_server
from fakes.processes import PATIENCE, await_end, descendants_of, python

SIGNALS = {"sigterm": signal.SIGTERM, "sighup": signal.SIGHUP}


def await_half(folder: Path, run: subprocess.Popen) -> None:
    """Wait until episodes are written beside the place where they are to be."""
    deadline = time.monotonic() + PATIENCE
    while not list(folder.glob(".set.*/new/train/*.txt")):
        assert run.poll() is None, "the command ended before it was to"
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(0.02)


@pytest.mark.parametrize("number", SIGNALS.values(), ids=SIGNALS)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_terminated_command_removes_its_partial_files(
    tmp_path: Path, number: signal.Signals, workers: str
) -> None:
    many = ["--train", "1000000", "--workers", workers, "--out", str(tmp_path / "set")]
    with python("-m", "biml", "generate", *many) as run:
        await_half(tmp_path, run)
        others = descendants_of(run.pid)
        run.send_signal(number)
        output, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 128 + number
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []
    await_end(others)


def test_workers_end_when_the_command_is_killed(tmp_path: Path) -> None:
    many = ["--train", "1000000", "--workers", "2", "--out", str(tmp_path / "set")]
    with python("-m", "biml", "generate", *many) as run:
        await_half(tmp_path, run)
        workers = descendants_of(run.pid)
        assert len(workers) >= 2
        run.kill()
    await_end(workers)


def test_a_command_under_nohup_survives_a_hangup(tmp_path: Path) -> None:
    many = ["--train", "1000000", "--workers", "1", "--out", str(tmp_path / "set")]
    with python("-m", "biml", "generate", *many, before=["nohup"]) as run:
        await_half(tmp_path, run)
        run.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert run.poll() is None
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=PATIENCE)
    assert run.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_a_command_whose_server_does_not_answer(tmp_path: Path) -> None:
    got_request, ended = Event(), Event()

    def wait(path: str, body: dict[str, Any]) -> Reply:
        got_request.set()
        ended.wait(PATIENCE)
        return 0, b"", {}

    with fake_server() as server:
        server.reply = wait
        options = ["--episode_type", "few_shot_gold", "--max", "--llm_log", str(tmp_path)]
        with python("-m", "biml", "eval", "--fn_out_model", server.name, *options) as run:
            assert got_request.wait(PATIENCE)
            run.send_signal(signal.SIGINT)
            output, _ = run.communicate(timeout=PATIENCE / 2)
        ended.set()
    assert run.returncode == 128 + signal.SIGINT
    assert "Traceback" not in output
