"""docs/custom-experiment.md: its files are written and its commands run, in their order."""

import re
import shlex
from pathlib import Path

import pytest

from biml.analysis import responses
from biml.cli.main import main
from biml.networks import checkpoint
from fakes.networks import small_network

DOCUMENT = Path(__file__).parents[1] / "docs" / "custom-experiment.md"

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

FILES = {"text": "study.txt", "csv": "responses.csv"}
"""What the blocks that are files are called, by their kind."""


def follow(kind: str, text: str) -> list[str]:
    """Do what one block says; returns the commands that were run."""
    if kind in FILES:
        Path(FILES[kind]).write_text(text, "utf-8")
        return []
    if kind == "python":
        exec(text, {})
        return []
    run = []
    for line in text.strip().splitlines():
        program, command, *options = shlex.split(line)
        assert program == "biml", line
        if command == "train":
            # Training takes a minute, so here an untrained network stands for what it makes.
            name = options[options.index("--fn_out_model") + 1]
            contents = checkpoint.checkpoint_of(small_network(), "algebraic+biases")
            checkpoint.save_checkpoint(Path("out_models") / name, contents)
        else:
            alone = ["--workers", "1"] if command in ("generate", "reproduce") else []
            assert main([command, *options, *alone]) == 0, line
        run.append(command)
    return run


def test_the_commands_of_the_document_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIML_DATA", raising=False)
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "user"))
    run = [
        command
        for kind, text in BLOCK.findall(DOCUMENT.read_text("utf-8"))
        for command in follow(kind, text)
    ]
    assert run == ["interpret", "generate", "train", "data", "eval", "eval", "eval", "reproduce"]
    shown = capsys.readouterr().out
    assert "● ▲ ▲" in shown
    assert "12 responses of 3 participants to 4 items" in shown
    assert "By participant:" in shown
    assert "reversing_errors" in shown
    assert len(responses.read_responses("samples.csv")) == 120
    assert "P2" in Path("loglikes.csv").read_text("utf-8")
    assert Path("my-report/index.html").is_file()
