"""Training ends with the weights of biml 0.1.0, also when it resumes a run of 0.1.0."""

import json
import signal
import time
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pytest

from fakes import golden_access as access
from fakes.golden_files import GOLDEN, WRITES, check_arrays, known
from fakes.processes import PATIENCE, python

SIZES = "--emb_size 16 --ff_mult 1 --nlayers_encoder 1 --nlayers_decoder 1"
ALIKE = "--episode_type algebraic_noise --seed 5 --precision fp32 --max_tokens 1000"
STEPS = 40
RUNS = {
    "paper": f"{SIZES} {ALIKE} --nsteps {STEPS} --batch_size 2 --save_best",
    "staged": f"{SIZES} {ALIKE} --nsteps {STEPS} --batch_size 2 --preset fast --nlayers_query 1",
}
TIMES = ("second", "minutes")
"""Parts of the names of those numbers of a history that no two runs share."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    access.write_drawn(folder, {"train": 20, "val": 2})
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def words(folder: Path, data: Path, options: str) -> list[str]:
    where = ["--fn_out_model", "net.pt", "--dir_model", str(folder), "--data_dir", str(data)]
    return ["train", *where, "--device", "cpu", "--workers", "1", "--quiet", *options.split()]


def history(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "net.history.jsonl").read_text().splitlines()
    return [
        {name: v for name, v in json.loads(line).items() if not any(t in name for t in TIMES)}
        for line in lines
    ]


def check_end(arch: str, folder: Path) -> None:
    contents = access.checkpoint(folder / "net.pt")
    assert contents["training"]["step"] == STEPS
    weights = {name: weight.numpy() for name, weight in contents["weights"].items()}
    check_arrays(f"training/{arch}-end.npz", weights, atol=1e-3)
    found = history(folder)
    golden = known("training/history.json", arch, found)
    assert [line["step"] for line in found] == [line["step"] for line in golden]
    for line, before in zip(found, golden, strict=True):
        now = {name: line[access.DEST_RENAMES.get(name, name)] for name in before}
        assert now == pytest.approx(before, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("arch", RUNS)
def test_a_complete_run(arch: str, tmp_path: Path, data: Path) -> None:
    assert access.main(words(tmp_path, data, RUNS[arch])) == 0
    check_end(arch, tmp_path)


@pytest.mark.parametrize("arch", RUNS)
def test_a_run_interrupted_in_0_1_0_resumes(arch: str, tmp_path: Path, data: Path) -> None:
    state = GOLDEN / "training" / arch
    if WRITES:
        interrupt(words(tmp_path, data, f"{RUNS[arch]} --save_every 0"), state, tmp_path)
    for path in state.iterdir():
        copy(path, tmp_path)
    assert 1 <= access.checkpoint(tmp_path / "net.pt")["training"]["step"] < STEPS
    network = access.weights(access.loaded(tmp_path / "net.pt"))
    saved = access.checkpoint(tmp_path / "net.pt")["weights"]
    assert all(np.array_equal(network[name], weight) for name, weight in saved.items())
    assert access.main(words(tmp_path, data, "--resume")) == 0
    check_end(arch, tmp_path)


def interrupt(command: list[str], state: Path, folder: Path) -> None:
    """Keep what a run leaves that is killed between two steps."""
    model = folder / "net.pt"
    with python("-m", "biml", *command) as run:
        while not model.exists() or access.checkpoint(model)["training"]["step"] < STEPS // 2:
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait(timeout=PATIENCE)
    state.mkdir(parents=True, exist_ok=True)
    for path in (*folder.glob("net*.pt"), *folder.glob("net*.jsonl")):
        copy(path, state)
