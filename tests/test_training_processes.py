"""Training in several processes, local and under torchrun."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from biml.episodes.datasets import EpisodeDataset
from biml.errors import BimlError
from biml.training.config import RuntimeConfig, TrainingConfig
from biml.training.run_files import read_log
from biml.training.setup import TrainingData
from biml.training.trainer import OpenTrainingData, train
from fakes.processes import PATIENCE, await_end, await_file, children_of
from fakes.training import OPTIONS, open_data, weights_of

MANY_BATCHES = OPTIONS | {
    "micro_batch_tokens": 200,
    "nsteps": 4,
    "lr": 1e-4,
    "lr_warmup": False,
}


def trained(
    model: Path, options: dict[str, Any], workers: int = 1, data: OpenTrainingData = open_data
) -> Path:
    train(model, options, runtime=RuntimeConfig(workers=workers), open_training_data=data)
    return model


def far_apart(one: Path, other: Path) -> float:
    a, b = weights_of(one), weights_of(other)
    return max((a[name] - b[name]).abs().max().item() for name in a)


def test_two_processes_train_the_same_weights_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers do not import from the current directory, in which a file could hide a module."""
    (tmp_path / "random.py").write_text("raise SystemExit('a file of the user was run')\n")
    monkeypatch.chdir(tmp_path)
    one = trained(tmp_path / "one.pt", MANY_BATCHES)
    two = trained(tmp_path / "two.pt", MANY_BATCHES, workers=2)
    assert far_apart(one, two) < 2e-5
    # Rounding could hide a difference only if differences were small; other dropout leads further.
    other = trained(tmp_path / "other.pt", MANY_BATCHES | {"dropout": 0.2})
    assert far_apart(one, other) > 1e-4


def test_two_processes_with_muon_train_the_same_weights_as_one(tmp_path: Path) -> None:
    muon = {name: value for name, value in MANY_BATCHES.items() if name != "lr_warmup"}
    muon |= {"optimizer": "muon", "lr_schedule": "quadratic"}
    one = trained(tmp_path / "one.pt", muon)
    two = trained(tmp_path / "two.pt", muon, workers=2)
    other = trained(tmp_path / "other.pt", muon | {"seed": 1})
    # Muon makes updates orthogonal in bfloat16, which rounds another sum to another last digit.
    far = far_apart(one, other)
    assert far_apart(one, two) < 0.01 * far


def start_torchrun(script: Path, text: str, model: Path) -> subprocess.Popen[str]:
    """Run a script in two processes of torchrun."""
    script.write_text(text)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launch += ["--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
    return subprocess.Popen(
        [*launch, str(script), str(model)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def under_torchrun(script: Path, text: str, model: Path) -> str:
    """What two processes of torchrun write."""
    with start_torchrun(script, text, model) as run:
        output, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, errors
    return output


UNLIKE_MACHINES = """
import os
import signal
import sys
from pathlib import Path
from test_training_processes import LONGER
from fakes.training import open_data
from biml.training import trainer
from biml.training.step import TrainStep

first = os.environ["RANK"] == "0"
trainer.pick_precision = lambda device: "fp32" if first else "bf16"
trainer.default_micro_batch_tokens = lambda arch, device, precision: 200 if first else 100_000
for unsaid in ("precision", "micro_batch_tokens"):
    del LONGER[unsaid]
accumulate = TrainStep.accumulate

def signalled(train_step, batch):
    if train_step.steps_done == 1 and not first:
        os.kill(os.getpid(), signal.SIGTERM)
    accumulate(train_step, batch)

model = Path(sys.argv[1])
resume = model.exists()
if not resume:
    TrainStep.accumulate = signalled
result = trainer.train(model, LONGER, resume=resume, open_training_data=open_data)
config = result.config
sys.stdout.write(f"{result.step} {config.precision} {config.micro_batch_tokens}\\n")
"""
LONGER = MANY_BATCHES | {"nsteps": 12}


def test_torchrun_trains_the_same_weights_as_one_process_after_a_signal_and_resuming(
    tmp_path: Path,
) -> None:
    """Rank 0 decides on precision and micro-batches; a signal to rank 1 stops both."""
    job, model = tmp_path / "job.py", tmp_path / "two.pt"
    stopped = under_torchrun(job, UNLIKE_MACHINES, model).splitlines()
    step = int(stopped[0].split()[0])
    assert 1 < step < 12
    assert stopped == [f"{step} fp32 200"] * 2
    assert under_torchrun(job, UNLIKE_MACHINES, model).splitlines() == ["12 fp32 200"] * 2
    one = trained(tmp_path / "one.pt", LONGER)
    assert far_apart(one, model) < 5e-5
    steps = [line["step"] for line in read_log(tmp_path / "two.history.jsonl")]
    assert steps == [1, 12]


LOST = """
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from biml.cli.main import main
from biml.training import distributed
from biml.training.step import TrainStep
from fakes.training import write_episodes

distributed.TIMEOUT = timedelta(seconds=10)
model, first = Path(sys.argv[1]), os.environ["RANK"] == "0"
how = model.stem
accumulate = TrainStep.accumulate

def leaving(train_step, batch):
    if train_step.steps_done == 2 and not first and how != "SIGCONT":
        os.kill(os.getpid(), getattr(signal, how))
    accumulate(train_step, batch)

TrainStep.accumulate = leaving
data = model.parent / os.environ["RANK"]
write_episodes(data)
options = f"--dir_model {model.parent} --data_dir {data} --fn_out_model {model.name}"
options += " --episode_type algebraic --nsteps 100000 --batch_size 2 --emb_size 16 --nepochs 3"
options += " --nlayers_encoder 1 --nlayers_decoder 1 --save_every 0 --device cpu"
sys.exit(main(["train", *options.split()]))
"""


@pytest.mark.parametrize(
    ("how", "message"), [("SIGKILL", "connection to it was lost"), ("SIGSTOP", "did not answer")]
)
def test_a_lost_process_of_torchrun_ends_the_run_with_one_message(
    tmp_path: Path, how: str, message: str
) -> None:
    model = tmp_path / f"{how}.pt"
    with start_torchrun(tmp_path / "job.py", LOST, model) as run:
        lines = list[str]()
        try:
            for line in run.stderr or ():
                lines.append(line)
                if "Resume with" in line:
                    break
        finally:
            for pid in children_of(run.pid):
                # torchrun gives a stopped process half a minute; others have ended by now.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        _, rest = run.communicate(timeout=PATIENCE)
    errors = "".join(lines) + rest
    assert run.returncode != 0
    assert message in errors
    assert errors.count("error: another process") == 1
    assert f"biml train --fn_out_model {model.name}" in errors
    assert "gloo" not in errors
    assert torch.load(model, weights_only=True)["training"]["step"] == 2


def test_no_process_outlives_a_torchrun_that_was_killed(tmp_path: Path) -> None:
    model = tmp_path / "SIGCONT.pt"
    with start_torchrun(tmp_path / "job.py", LOST, model) as run:
        await_file(tmp_path / "SIGCONT.history.jsonl", run)
        children = children_of(run.pid)
        run.kill()
    assert len(children) == 2
    await_end(children)
    assert torch.load(model, weights_only=True)["training"]["step"] > 0


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
        trained(tmp_path / "net.pt", MANY_BATCHES, workers=2, data=failing)
    assert not torch.distributed.is_initialized()


ENDLESS = """
import sys
from pathlib import Path
from fakes.training import OPTIONS, open_data
from biml.training.config import RuntimeConfig
from biml.training.trainer import train
endless = OPTIONS | {"nsteps": 100_000}
train(Path(sys.argv[1]), endless, runtime=RuntimeConfig(workers=2), open_training_data=open_data)
"""


def test_no_process_outlives_a_run_that_was_killed(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path / "net.pt")],
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
    await_end(children)
