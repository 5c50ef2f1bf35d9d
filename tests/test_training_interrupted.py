"""`biml train` interrupted: a resumed run ends with the weights of an uninterrupted one."""

import json
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from biml.cli.main import run_single_command
from biml.networks import checkpoint
from biml.training.run_files import read_log
from fakes.processes import PATIENCE, await_file, python
from fakes.training import same_weights, write_episodes

DOOR = Path(__file__).parents[1] / "train.py"
STEPS = 100
NARROW = [
    *("--emb_size", "16", "--nlayers_encoder", "1", "--nlayers_decoder", "1", "--ff_mult", "1"),
    *("--episode_type", "algebraic+biases", "--batch_size", "1", "--nsteps", str(STEPS)),
    *("--precision", "fp32", "--seed", "5"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_episodes(tmp_path_factory.mktemp("data"))


def options(folder: Path, data: Path, more: Sequence[str] = NARROW) -> list[str]:
    where = ["--fn_out_model", "net.pt", "--dir_model", str(folder), "--data_dir", str(data)]
    return [*where, "--workers", "1", *more]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The model of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_single_command("train", [*options(folder, data), "--quiet"]) == 0
    return folder / "net.pt"


def steps_done(model: Path) -> int:
    return torch.load(model, weights_only=True)["training"]["step"]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=["ctrl-c", "sigterm", "kill-9"],
)
def test_an_interrupted_run_resumes_to_the_very_same_weights(
    number: signal.Signals, code: int, tmp_path: Path, data: Path, whole: Path
) -> None:
    model = tmp_path / "net.pt"
    killed = number == signal.SIGKILL
    # On a signal a run saves by itself; before a kill something must have been saved.
    every = "0" if killed else "60"
    with python(str(DOOR), *options(tmp_path, data), "--save_every", every) as run:
        await_file(model if killed else tmp_path / "net.history.jsonl", run)
        run.send_signal(number)
        output, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == code, output
    assert 1 <= steps_done(model) < STEPS
    if not killed:
        assert f"biml train --fn_out_model net.pt --dir_model {tmp_path}" in output
        assert "--resume" in output
    assert run_single_command("train", [*options(tmp_path, data, ["--resume", "--quiet"])]) == 0
    assert steps_done(model) == STEPS
    assert same_weights(model, whole)
    steps = [line["step"] for line in read_log(tmp_path / "net.history.jsonl")]
    assert steps == [1, 25, 50, 75, 100]


@pytest.mark.parametrize("to", ["| head -n 1", "> /dev/full"], ids=["head", "full disk"])
def test_a_run_whose_output_cannot_be_written_is_saved(to: str, tmp_path: Path, data: Path) -> None:
    command = shlex.join([sys.executable, str(DOOR), *options(tmp_path, data), "--nsteps=100000"])
    script = f"{command} {to}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 128 + signal.SIGPIPE, done.stderr
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert steps_done(tmp_path / "net.pt") >= 1


def test_a_run_without_standard_output_is_trained(tmp_path: Path, data: Path) -> None:
    command = shlex.join([sys.executable, str(DOOR), *options(tmp_path, data), "--nsteps=2"])
    done = subprocess.run(["bash", "-c", f"{command} >&-"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert steps_done(tmp_path / "net.pt") == 2


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, data: Path) -> None:
    long_steps = ["--batch_size", "400", "--nsteps", "2"]
    with python(str(DOOR), *options(tmp_path, data), *long_steps) as run:
        assert run.stdout is not None
        while "steps of" not in run.stdout.readline():
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        while "Ctrl-C again" not in run.stdout.readline():
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        output, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130
    assert "Traceback" not in output
    assert not (tmp_path / "net.pt").exists()


def test_a_second_ctrl_c_keeps_the_checkpoint_intact(tmp_path: Path, data: Path) -> None:
    always_saving = ["--nsteps", "100000", "--save_every", "0"]
    with python(str(DOOR), *options(tmp_path, data), *always_saving) as run:
        await_file(tmp_path / "net.pt", run)
        for _ in range(2):
            run.send_signal(signal.SIGINT)
            time.sleep(0.05)
        output, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130
    assert "Traceback" not in output
    assert steps_done(tmp_path / "net.pt") >= 1


def test_ctrl_c_at_exit_prints_no_traceback(tmp_path: Path, data: Path) -> None:
    with python(str(DOOR), *options(tmp_path, data), "--nsteps", "100000") as run:
        assert run.stdout is not None
        await_file(tmp_path / "net.history.jsonl", run)
        run.send_signal(signal.SIGINT)
        while "Resume with" not in (line := run.stdout.readline()):
            assert line, "it ended without a message"
        time.sleep(0.05)  # The command is done, and Python takes longer to end.
        run.send_signal(signal.SIGINT)
        output, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130
    assert "Traceback" not in output
    assert steps_done(tmp_path / "net.pt") >= 1


def test_a_complete_run_has_nothing_to_resume(whole: Path, data: Path, capsys) -> None:
    before = whole.read_bytes()
    assert run_single_command("train", options(whole.parent, data, ["--resume"])) == 0
    assert "complete already" in capsys.readouterr().out
    assert whole.read_bytes() == before


def test_error_for_resuming_with_another_option_names_it(whole: Path, data: Path, capsys) -> None:
    other = ["--resume", "--batch_size", "25", "--lr", "0.001"]
    assert run_single_command("train", options(whole.parent, data, other)) == 2
    error = capsys.readouterr().err
    assert "batch_size: 1 in the run, 25 given" in error
    assert "lr:" not in error


def test_resuming_without_the_data_of_the_run_is_rejected(
    whole: Path, tmp_path: Path, capsys
) -> None:
    assert run_single_command("train", options(whole.parent, tmp_path, ["--resume"])) == 2
    assert "--data_dir" in capsys.readouterr().err


def test_an_existing_model_is_not_overwritten_by_default(whole: Path, data: Path, capsys) -> None:
    before = whole.read_bytes()
    assert run_single_command("train", options(whole.parent, data)) == 2
    error = capsys.readouterr().err
    assert "--overwrite" in error
    assert "--resume" in error
    assert whole.read_bytes() == before


def test_an_existing_best_model_is_not_overwritten_by_default(
    tmp_path: Path, data: Path, capsys
) -> None:
    best = tmp_path / "net_best.pt"
    best.write_bytes(b"of an earlier run")
    assert run_single_command("train", options(tmp_path, data, ["--save_best", *NARROW])) == 2
    assert f"{best} exists" in capsys.readouterr().err
    assert best.read_bytes() == b"of an earlier run"


@pytest.mark.parametrize("damage", [{}, {"state": {}, "param_groups": []}, 5])
def test_error_for_a_damaged_training_state_names_it(
    whole: Path, data: Path, tmp_path: Path, capsys, damage: object
) -> None:
    contents = checkpoint.load_checkpoint(whole)
    contents["training"]["optimizer"] = damage
    checkpoint.save_checkpoint(tmp_path / "net.pt", contents)
    before = (tmp_path / "net.pt").read_bytes()
    assert run_single_command("train", options(tmp_path, data, ["--resume"])) == 1
    assert "net.pt: " in capsys.readouterr().err
    assert (tmp_path / "net.pt").read_bytes() == before


def test_a_full_disk_is_reported_and_the_old_model_kept(tmp_path: Path, data: Path) -> None:
    def little_space() -> None:  # stands for a full disk: no file may grow beyond this
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    model = tmp_path / "net.pt"
    model.write_bytes(b"the old model")
    every_step = ["--overwrite", "--save_every", "0"]
    with python(str(DOOR), *options(tmp_path, data), *every_step, prepare=little_space) as run:
        output, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, output
    assert f"{model}: could not be written" in output
    assert "Traceback" not in output
    assert model.read_bytes() == b"the old model"
    assert list(tmp_path.glob(".net.pt*")) == []


def test_the_default_episode_type_is_announced_where_none_is_named(
    tmp_path: Path, data: Path, capsys
) -> None:
    named = [*options(tmp_path, data), "--nsteps", "1"]
    assert run_single_command("train", named) == 0
    assert "does not generalise" not in capsys.readouterr().out
    place = named.index("--episode_type")
    assert run_single_command("train", [*named[:place], *named[place + 2 :], "--overwrite"]) == 0
    assert "retrieve, the published default" in capsys.readouterr().out


def test_output_to_a_file_has_plain_lines(tmp_path: Path, data: Path, capsys) -> None:
    short = [*options(tmp_path, data), "--nsteps", "3"]
    assert run_single_command("train", short) == 0
    output = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("step ") for line in output) == 2
    assert "\x1b" not in "".join(output)
    assert output[-1].startswith("See responses: biml eval --fn_out_model net.pt")
    assert run_single_command("train", [*short, "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    json.loads((tmp_path / "net.history.jsonl").read_text().splitlines()[-1])
