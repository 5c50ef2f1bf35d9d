"""What a run tells to whoever shows it; the library itself prints nothing."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from biml.training.config import TrainingConfig
from biml.training.history import LogEntry


@dataclass(frozen=True)
class RunInfo:
    """What is about to run.

    Attributes:
        config: its options, every one settled.
        device: where it computes, such as `cpu`.
        processes: how many share each step.
        parameters: weights of the network.
        done: steps taken before, in a resumed run.
        total: steps of the whole run.
        data: where the training episodes come from, in words.
        seconds: how long it will take, measured; None in a resumed run.
    """

    config: TrainingConfig
    device: str
    processes: int
    parameters: int
    steps_done: int
    total_steps: int
    data_description: str
    estimated_seconds: float | None = None


@dataclass(frozen=True)
class StepInfo:
    """Where a run stands after a step.

    Attributes:
        step: steps done, of `total`.
        loss: of this step, per target symbol, in nats.
        rate: episodes a second, over the last steps.
        seconds_left: at that rate.
        line: the latest line of the history, or None.
    """

    step: int
    total_steps: int
    loss: float
    episodes_per_second: float
    seconds_left: float
    entry: LogEntry | None


class TrainingCallback:
    """Is told what happens; this one keeps it to itself."""

    def on_start(self, info: RunInfo) -> None: ...

    def on_step(self, info: StepInfo) -> None: ...

    def on_log(self, entry: LogEntry, total: int) -> None: ...

    def on_checkpoint(self, path: Path) -> None: ...

    def on_message(self, text: str) -> None:
        """Something for the user that is not a figure."""


class Throughput:
    """Episodes a second over the latest steps.

    Args:
        presented: episodes shown before the first of them.
        now: the moment (seconds) at which it begins.
        over: how many of the latest steps count.
    """

    def __init__(self, episodes_seen: int, now: float, window: int = 200) -> None:
        self._ends = deque([(now, episodes_seen)], maxlen=window + 1)

    def update(self, episodes_seen: int, now: float) -> float:
        """Note that a step ended at this moment, with so many episodes shown in all; the rate."""
        self._ends.append((now, episodes_seen))
        (begin, first), (end, last) = self._ends[0], self._ends[-1]
        return (last - first) / max(end - begin, 1e-9)
