"""Progress in terminals of any width, and where standard error is no terminal."""

import io
import re
import sys

import pytest
from rich.console import Console

from biml.progress import progress_bars
from biml.training.config import TrainingConfig
from biml.training.console import TrainingConsole
from biml.training.logger import RunInfo, StepInfo


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


def last_line(text: str) -> str:
    """The last line that was drawn, without ANSI codes."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return [line.rstrip() for line in re.split("[\r\n]", plain) if line.strip()][-1]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_bars_have_the_count_at_any_width(width: int, capsys, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bars() as progress:
        stage = "log-likelihoods of the human responses to novel queries"
        progress(12_345, 100_000, stage=stage, unit="episodes")
    line = last_line(capsys.readouterr().err)
    assert len(line) <= width
    assert line.startswith("log-like")
    assert "━━━━" in line
    assert "12,345/100,000 episodes" in line
    assert ("-:--" in line) == (width >= 80)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_training_shows_step_bar_and_time_left_at_any_width(width: int) -> None:
    out = io.StringIO()
    console = TrainingConsole(Console(file=out, force_terminal=True, width=width, _environ={}))
    console.on_start(RunInfo(TrainingConfig(), "cpu", 2, 1_000_000, 0, 100_000, "data"))
    entry = {"train_loss": 0.5, "val_loss": 0.25, "accuracy_study": 99.5, "accuracy_novel": 93.1}
    console.on_step(StepInfo(12_345, 100_000, 0.123, 2.4, 8000, entry))
    console.close()
    drawn = [line for line in re.split("[\r\n]", out.getvalue()) if "12,345" in line]
    line = last_line(drawn[-1])
    assert len(line) <= width
    for part in ("step 12,345/100,000", "━━", "2 h 13 min left"):
        assert part in line
    for part, needed in (("loss 0.123", 60), ("novel 93.1%", 80), ("episodes/s", 120)):
        assert (part in line) == (width >= needed), part
