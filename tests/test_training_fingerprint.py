"""The fingerprint of a run: `--resume` refuses to continue when data or schedule changed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from biml.episodes.registry import episode_type
from biml.errors import UsageError
from biml.paths import DataFolders
from biml.training import run_files, schedule
from biml.training.config import RuntimeConfig, TrainingConfig
from biml.training.run_files import fingerprint
from biml.training.setup import resolve_options
from biml.training.trainer import RunResult, train
from fakes.training import OPTIONS, SmallDataset, open_data, weights_of

PAPER = TrainingConfig(episode_type="algebraic+biases", nsteps=1000)
FAST = TrainingConfig(**resolve_options({"preset": "fast", "episode_type": "algebraic+biases"}))


def longer_stages() -> tuple:
    return tuple(replace(one, n_episodes=one.n_episodes + 1) for one in run_files.STAGES)


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        (schedule, "SECOND_CYCLE_LR_FACTOR", 0.3),
        (schedule, "WARMUP_FRACTION", 0.01),
        (run_files, "MUON_LR_FACTOR", 20.0),
        (run_files, "STAGES", longer_stages()),
    ],
    ids=["second cycle", "warm-up", "learning rate of matrices", "curriculum stages"],
)
def test_a_changed_schedule_changes_the_fingerprint_of_runs_that_use_it(
    where, name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SmallDataset(0)
    before = [fingerprint(config, source) for config in (PAPER, FAST)]
    monkeypatch.setattr(where, name, value)
    paper, fast = (fingerprint(config, source) for config in (PAPER, FAST))
    assert paper == before[0]
    assert fast.schedule != before[1].schedule
    assert fast.data == before[1].data


def test_other_curriculum_stages_change_the_schedule_fingerprint() -> None:
    kind, clean = episode_type("algebraic+biases"), 9000
    with_lessons = kind.open_curriculum(DataFolders(), 0, clean)
    without = kind.open_curriculum(DataFolders(), 0, clean, with_stages=False)
    config = replace(FAST, nsteps=250)
    one, other = fingerprint(config, with_lessons), fingerprint(config, without)
    assert one.data == other.data
    assert one.schedule != other.schedule


def test_other_episodes_change_the_data_fingerprint() -> None:
    assert fingerprint(PAPER, SmallDataset(0)).data != fingerprint(PAPER, SmallDataset(1)).data
    assert fingerprint(PAPER, SmallDataset(0)).data != fingerprint(PAPER, SmallDataset(0, 9)).data


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    model = tmp_path / "net.pt"
    train(model, OPTIONS, runtime=RuntimeConfig(workers=1), open_training_data=open_data)
    return model


def resume_run(model: Path) -> RunResult:
    return train(
        model, {}, runtime=RuntimeConfig(workers=1), resume=True, open_training_data=open_data
    )


def test_a_run_with_an_unchanged_fingerprint_resumes(begun: Path) -> None:
    before = weights_of(begun)
    assert resume_run(begun).step == OPTIONS["nsteps"]
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(begun).items())


def test_resume_rejects_a_run_with_another_schedule(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = begun.read_bytes()
    monkeypatch.setattr(schedule, "WARMUP_START", 0.5)
    with pytest.raises(UsageError, match=r"--init_from \S+net\.pt"):
        resume_run(begun)
    assert begun.read_bytes() == before


def test_resume_rejects_a_run_without_a_schedule_fingerprint(begun: Path) -> None:
    contents = torch.load(begun, weights_only=True)
    del contents["training"]["recipe"]
    torch.save(contents, begun)
    with pytest.raises(UsageError, match=r"fingerprint.*--init_from \S+net\.pt"):
        resume_run(begun)
