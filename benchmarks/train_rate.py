"""Rate of `biml train` on this whole machine, by default with the published network.

Steps of `algebraic+biases` episodes (25, or as many as the preset has) are taken by one process and
by one for each core, in fp32 and bf16, in alternation, all in one run. Printed are episodes a
second, the share of a step that assembling the batch takes, and the peak memory of all processes
together. Validation and checkpoints are left out (every 100 steps and 5 minutes). A CPU without
instructions for bf16 takes minutes over it: `--precision fp32` leaves it out.

    python benchmarks/train_rate.py [--steps 3] [--rounds 2] [--preset paper] [--precision fp32]
"""

import argparse
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from biml.training.config import PRECISIONS, PRESETS, TrainingConfig
from biml.training.distributed import ProcessGroup, init_process_group
from biml.training.hardware import physical_cores
from biml.training.setup import open_training_data, preset_architecture, resolve_options
from biml.training.step import TrainStep
from biml.training.trainer import default_micro_batch_tokens

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Rate:
    """What one process found: seconds and episodes a step, seconds of assembling a batch; and of
    all processes together the seconds of computing a step, and peak bytes."""

    step: float
    episodes: float
    assembly: float
    computing: float
    peak: float


@dataclass(frozen=True)
class Job:
    """Take some steps; the first is not counted, since it reserves memory and compiles."""

    config: TrainingConfig
    steps: int
    data_dir: Path | None = None

    def run(self, group: ProcessGroup) -> None:
        self.measure(group)

    def measure(self, group: ProcessGroup) -> Rate:
        material = open_training_data(self.config, self.data_dir)
        learner = TrainStep(material.network, material.dataset, self.config, group)
        learner.steps_done = learner.total_steps * 9 // 10  # beyond any curriculum: full episodes
        learner.step()
        first = learner.steps_done
        began, computing = time.perf_counter(), time.process_time()
        for _ in range(self.steps):
            learner.step()
        taken = (time.perf_counter() - began) / self.steps
        computing = (time.process_time() - computing) / self.steps
        shown = [
            self.config.episodes_seen(done, learner.total_steps)
            for done in (first, learner.steps_done)
        ]
        began = time.thread_time()
        learner._build_batch(learner.steps_done)
        assembly = time.thread_time() - began
        summed = torch.tensor([computing, peak_memory()], dtype=torch.float64)
        group.all_reduce(summed)
        return Rate(taken, (shown[1] - shown[0]) / self.steps, assembly, *summed.tolist())


def peak_memory() -> float:
    """Most bytes that this process held."""
    try:
        with open("/proc/self/status") as status:
            return next(float(line.split()[1]) * 1024 for line in status if "VmHWM" in line)
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--preset", default="paper", choices=PRESETS)
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--max-tokens", type=int, help="(as in training)")
    parser.add_argument("--workers", type=int, nargs="+", default=sorted({1, physical_cores()}))
    args = parser.parse_args()
    best: dict[tuple[str, int], Rate] = {}
    for _ in range(args.rounds):
        for precision in args.precision:
            tokens = args.max_tokens or default_micro_batch_tokens(
                preset_architecture(args.preset), CPU, precision
            )
            config = TrainingConfig(
                **resolve_options({"preset": args.preset, "episode_type": "algebraic+biases"})
                | {"precision": precision, "micro_batch_tokens": tokens}
            )
            for workers in args.workers:
                job = Job(config, args.steps)
                with init_process_group(job, CPU, workers) as team:
                    rate = job.measure(team)
                case = (precision, workers)
                best[case] = min(rate, best.get(case, rate), key=lambda found: found.step)
    each = next(iter(best.values())).episodes
    print(f"{args.preset} preset, {each:.0f} episodes a step")
    for (precision, workers), rate in best.items():
        alone = best[precision, args.workers[0]]
        print(
            f"{precision}  {workers} process(es)  {rate.episodes / rate.step:6.2f} episodes/s"
            f"  {alone.step / rate.step:4.2f} x {args.workers[0]} process"
            f"  assembly {100 * rate.assembly / rate.step:3.1f}%"
            f"  peak memory {rate.peak / 2**30:.2f} GB"
        )


if __name__ == "__main__":
    # The processes that are started find `Job` in this module's name, which `__main__` is not.
    from train_rate import main as run

    run()
