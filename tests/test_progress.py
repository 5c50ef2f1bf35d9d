"""Progress where standard error is no terminal: lines, whatever rich would do by itself."""

import io
import sys

import pytest
from rich.console import Console

from biml.progress import progress_bars
from biml.training.console import TrainingConsole


@pytest.mark.parametrize("transient", [True, False])
def test_without_a_terminal_stages_are_lines(transient: bool, capsys, monkeypatch) -> None:
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):  # as in the shell of a notebook
        monkeypatch.setenv(name, "1")
    with progress_bars(transient=transient) as progress:
        progress(0, stage="Models: a")
        for done in range(500):
            progress(done, 500, stage="scoring", unit="repeats")
    assert capsys.readouterr().err == "Models: a\n" + ("" if transient else "scoring\n")


def test_training_without_a_terminal_draws_no_bar(monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert TrainingConsole()._bar is None
    assert TrainingConsole(Console(file=io.StringIO(), force_terminal=True))._bar is not None


def test_messages_stay_above_bars_that_vanish(capsys, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bars(transient=True) as progress:
        progress(1, 2, stage="scoring", unit="repeats")
        progress(0, stage="Models: [a]")
    lines = capsys.readouterr().err.splitlines()
    assert any("scoring" in line and "1/2 repeats" in line for line in lines)
    assert any(line.endswith("Models: [a]") for line in lines)
