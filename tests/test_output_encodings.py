"""Every command writes to terminals and pipes of any encoding."""

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from biml.cli.main import accept_any_text, main
from biml.cli.reproduce import print_results
from biml.networks import checkpoint
from biml.report.results import read_results
from fakes.experiments import write_table, write_text
from fakes.networks import small_network

RULES = "dax -> ▲\nu1 lug -> [u1] → [u1]\n"

COMMANDS = (
    "--help",
    *(f"{name} --help" for name in ("train", "eval", "generate", "data import", "reproduce")),
    "models",
    "models net-BIML-top",
    "episode-types",
    "interpret --grammar rules.txt 'dax lug'",
    "data import good.csv --study study.txt --dest mine",
    "data import bad.csv --study study.txt --dest mine",
    "data status --data_dir mine",
    "generate --train 2 --val 2 --workers 1 --out ▲/data_algebraic",
    "train --fn_out_model net.pt --episode_type algebraic --nsteps 1 --emb_size 8 --batch_size 2 "
    "--nlayers_encoder 1 --nlayers_decoder 1 --workers 1 --device cpu --data_dir ▲",
    "eval --fn_out_model toy.pt --episode_type few_shot_gold --max --verbose --episodes 2",
    "eval --fn_out_model oracle --episode_type few_shot_human --data_dir mine --ll --ll_nrep 1 "
    "--ll_by item --verbose --episodes 1",
    "ask --query 'DAX thrice' --model oracle --remappings 1",
    "attention --model net-BIML-copy-top --query 'DAX thrice'",
    "experiment new ▲",
    "experiment simulate ▲.toml --model oracle --participants 1 --database ▲.db",
    "experiment status --database ▲.db",
    "experiment export --database ▲.db --out ▲-data",
    "eval --fn_out_model oracle --transcripts ▲-data/psych101.jsonl --ll",
    "eval --fn_out_model ▲.pt --max",
    "nonsense ▲",
)


class Output:
    """Standard output and error in one encoding."""

    def __init__(self, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.encoding = encoding
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict", write_through=True)
            setattr(self, name, stream)
            monkeypatch.setattr(sys, name, stream)

    def text(self, name: str = "stdout") -> str:
        """What was written since the last call."""
        buffer = getattr(self, name).buffer
        written = buffer.getvalue().decode(self.encoding)
        buffer.seek(0)
        buffer.truncate()
        return written


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_every_command_writes_in_any_encoding(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    output = Output(encoding, monkeypatch)
    Path("rules.txt").write_text(RULES, "utf-8")
    write_text(Path("study.txt"))
    write_table(Path("good.csv"))
    write_table(Path("bad.csv"), [("Zoë", "one", "blick twice", "★")])
    toy = checkpoint.checkpoint_of(small_network(), "few_shot_gold")
    checkpoint.save_checkpoint(Path("out_models/toy.pt"), toy)
    codes = {}
    for command in COMMANDS:
        try:
            codes[command] = main(shlex.split(command))
        except SystemExit as error:
            codes[command] = int(error.code or 0)
        written = output.text() + output.text("stderr")
        assert written
        assert "Traceback" not in written
        if "rules.txt" in command:
            assert written == r"\u25b2 -> \u25b2" + "\n"
        if "toy.pt" in command:
            assert " -> " in written
            assert " x " in written
    failed = [command for command, code in codes.items() if code]
    assert failed == [each for each in COMMANDS if "bad.csv" in each or each in COMMANDS[-2:]]


def test_results_are_printed_in_ascii(report_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output("ascii", monkeypatch)
    accept_any_text(sys.stdout)
    print_results(read_results(report_folder), report_folder)
    assert "net" in output.text()


def test_the_encoding_of_a_pipe_is_the_one_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text(RULES, "utf-8")
    words = ["-m", "biml", "interpret", "--grammar", "rules.txt", "dax"]
    for encoding, expected in (
        ("cp1252", b"\\u25b2"),
        ("ascii:replace", b"?"),
        ("utf-8", "▲".encode()),
    ):
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        ended = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True
        )
        assert (ended.stdout.strip(), ended.stderr) == (expected, b"")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_list_of_models_is_whole_at_any_width(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if "…" in line or len(line) > columns]
