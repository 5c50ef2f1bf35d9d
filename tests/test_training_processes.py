"""Training in several processes, local and under torchrun."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from biml.episodes.datasets import EpisodeDataset
from biml.errors import BimlError
from biml.training.config import RuntimeConfig, TrainingConfig
from biml.training.setup import TrainingData
from biml.training.trainer import train
from fakes.processes import await_end, await_file, children_of
from fakes.training import OPTIONS, open_data, weights_of

TWO = RuntimeConfig(workers=2)
MANY_BATCHES = OPTIONS | {
    "micro_batch_tokens": 200,
    "nsteps": 4,
    "lr": 1e-4,
    "lr_warmup": False,
}

UNDER_TORCHRUN = """
import sys
from pathlib import Path
from test_training_processes import MANY_BATCHES
from fakes.training import open_data
from biml.training.config import RuntimeConfig
from biml.training.trainer import train
model = Path(sys.argv[1])
result = train(model, MANY_BATCHES, runtime=RuntimeConfig(), open_training_data=open_data)
print("steps:", result.step)
"""


def far_apart(one: Path, other: Path) -> float:
    a, b = weights_of(one), weights_of(other)
    return max((a[name] - b[name]).abs().max().item() for name in a)


def test_two_processes_train_the_same_weights_as_one(tmp_path: Path) -> None:
    train(
        tmp_path / "one.pt",
        MANY_BATCHES,
        runtime=RuntimeConfig(workers=1),
        open_training_data=open_data,
    )
    train(tmp_path / "two.pt", MANY_BATCHES, runtime=TWO, open_training_data=open_data)
    assert far_apart(tmp_path / "one.pt", tmp_path / "two.pt") < 2e-5
    # Rounding could hide a difference only if differences were small; other dropout leads further.
    other = MANY_BATCHES | {"dropout": 0.2}
    train(
        tmp_path / "other.pt",
        other,
        runtime=RuntimeConfig(workers=1),
        open_training_data=open_data,
    )
    assert far_apart(tmp_path / "one.pt", tmp_path / "other.pt") > 1e-4


def test_workers_do_not_import_from_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('a file of the user was run')\n")
    monkeypatch.chdir(tmp_path)
    train(tmp_path / "two.pt", MANY_BATCHES, runtime=TWO, open_training_data=open_data)
    assert (tmp_path / "two.pt").is_file()


def test_two_processes_with_muon_train_the_same_weights_as_one(tmp_path: Path) -> None:
    muon = {name: value for name, value in MANY_BATCHES.items() if name != "lr_warmup"}
    muon |= {"optimizer": "muon", "lr_schedule": "quadratic"}
    train(
        tmp_path / "one.pt",
        muon,
        runtime=RuntimeConfig(workers=1),
        open_training_data=open_data,
    )
    train(tmp_path / "two.pt", muon, runtime=TWO, open_training_data=open_data)
    other = muon | {"seed": 1}
    train(
        tmp_path / "other.pt",
        other,
        runtime=RuntimeConfig(workers=1),
        open_training_data=open_data,
    )
    # Muon makes updates orthogonal in bfloat16, which rounds another sum to another last digit.
    far = far_apart(tmp_path / "one.pt", tmp_path / "other.pt")
    assert far_apart(tmp_path / "one.pt", tmp_path / "two.pt") < 0.01 * far


def under_torchrun(script: Path, text: str, model: Path) -> str:
    """What two processes of torchrun write."""
    script.write_text(text)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launch += ["--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [*launch, str(script), str(model)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_torchrun_trains_the_same_weights_as_one_process(tmp_path: Path) -> None:
    under_torchrun(tmp_path / "job.py", UNDER_TORCHRUN, tmp_path / "two.pt")
    train(
        tmp_path / "one.pt",
        MANY_BATCHES,
        runtime=RuntimeConfig(workers=1),
        open_training_data=open_data,
    )
    assert far_apart(tmp_path / "one.pt", tmp_path / "two.pt") < 2e-5
    assert len((tmp_path / "two.history.jsonl").read_text().splitlines()) == 2


UNLIKE_MACHINES = """
import os
import sys
from pathlib import Path
from test_training_processes import MANY_BATCHES
from fakes.training import open_data
from biml.training import trainer
first = os.environ["RANK"] == "0"
trainer.pick_precision = lambda device: "bf16" if first else "fp32"
trainer.default_micro_batch_tokens = lambda arch, device, precision: 200 if first else 100_000
for unsaid in ("precision", "micro_batch_tokens"):
    del MANY_BATCHES[unsaid]
result = trainer.train(Path(sys.argv[1]), MANY_BATCHES, open_training_data=open_data)
sys.stdout.write(f"{result.config.precision} {result.config.micro_batch_tokens}\\n")
"""


def test_torchrun_uses_the_precision_and_micro_batches_of_rank_0(tmp_path: Path) -> None:
    output = under_torchrun(tmp_path / "job.py", UNLIKE_MACHINES, tmp_path / "two.pt")
    assert output.splitlines() == ["bf16 200"] * 2


STOPPED_AND_RESUMED = """
import os
import signal
import sys
from pathlib import Path
from test_training_processes import LONGER
from fakes.training import open_data
from biml.training.step import TrainStep
from biml.training.trainer import train

accumulate = TrainStep.accumulate

def signalled(train_step, batch):
    if train_step.steps_done == 1 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    accumulate(train_step, batch)

model = Path(sys.argv[1])
resume = model.exists()
if not resume:
    TrainStep.accumulate = signalled
result = train(model, LONGER, resume=resume, open_training_data=open_data)
sys.stdout.write(f"{result.step}\\n")
"""
LONGER = MANY_BATCHES | {"nsteps": 12}


def test_a_torchrun_run_stopped_by_a_signal_to_one_process_resumes(tmp_path: Path) -> None:
    job, model = tmp_path / "job.py", tmp_path / "two.pt"
    first, other = map(int, under_torchrun(job, STOPPED_AND_RESUMED, model).split())
    assert 1 < first == other < 12
    assert under_torchrun(job, STOPPED_AND_RESUMED, model).split() == ["12", "12"]
    train(
        tmp_path / "one.pt",
        LONGER,
        runtime=RuntimeConfig(workers=1),
        open_training_data=open_data,
    )
    assert far_apart(tmp_path / "one.pt", model) < 5e-5


@dataclass(frozen=True)
class FailsElsewhere:
    """Ends every process but that of the tests when it reads an episode of a later step."""

    source: EpisodeDataset
    home: int
    how: str
    description: str = "toys"

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int):
        if index >= 4 and os.getpid() != self.home:
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "memory":
                torch.empty(2**60, dtype=torch.uint8)
            raise ValueError("a worker's own mistake")
        return self.source[index]


@dataclass(frozen=True)
class OpenFailing:
    home: int
    how: str

    def __call__(self, config: TrainingConfig, data_dir: Path | None) -> TrainingData:
        toys = open_data(config, data_dir)
        source = FailsElsewhere(toys.dataset, self.home, self.how)
        return TrainingData(toys.network, source, toys.validation)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", "a worker's own mistake"),
        ("kill", "ended by signal 9"),
        ("memory", "failed:\nout of memory"),
    ],
)
def test_a_failing_process_ends_the_run_with_its_error(
    tmp_path: Path, how: str, message: str
) -> None:
    failing = OpenFailing(os.getpid(), how)
    with pytest.raises(BimlError, match=message):
        train(tmp_path / "net.pt", MANY_BATCHES, runtime=TWO, open_training_data=failing)
    assert not torch.distributed.is_initialized()


def test_no_process_outlives_a_run_that_was_killed(tmp_path: Path) -> None:
    script = UNDER_TORCHRUN.replace("RuntimeConfig()", "RuntimeConfig(workers=2)").replace(
        "MANY_BATCHES,", "MANY_BATCHES | {'nsteps': 100_000},"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "net.pt")],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        await_file(tmp_path / "net.history.jsonl", run)
        children = children_of(run.pid)
        assert len(children) == 1
    finally:
        run.kill()
        run.wait()
    await_end(children, 10)
