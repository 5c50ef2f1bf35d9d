"""What a run tells to whoever shows it; the library itself prints nothing."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from biml.training.config import TrainingConfig
from biml.training.history import Line


@dataclass(frozen=True)
class Start:
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
    done: int
    total: int
    data: str
    seconds: float | None = None


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a step.

    Attributes:
        step: steps done, of `total`.
        loss: of this step, per target symbol, in nats.
        rate: episodes a second, over the last steps.
        seconds_left: at that rate.
        line: the latest line of the history, or None.
    """

    step: int
    total: int
    loss: float
    rate: float
    seconds_left: float
    line: Line | None


class Watch:
    """Is told what happens; this one keeps it to itself."""

    def started(self, start: Start) -> None: ...

    def stepped(self, progress: Progress) -> None: ...

    def logged(self, line: Line, total: int) -> None: ...

    def saved(self, path: Path) -> None: ...

    def said(self, text: str) -> None:
        """Something for the user that is not a figure."""


class Pace:
    """Episodes a second over the latest steps, and when a run will end.

    Args:
        batch_size: episodes a step.
        over: how many of the latest steps count.
    """

    def __init__(self, batch_size: int, now: float, over: int = 200) -> None:
        self._batch_size = batch_size
        self._moments = deque([now], maxlen=over + 1)

    def tick(self, now: float) -> float:
        """Note that a step ended at this moment (seconds); the rate in episodes a second."""
        self._moments.append(now)
        return self._batch_size / self.seconds_a_step

    @property
    def seconds_a_step(self) -> float:
        span = self._moments[-1] - self._moments[0]
        return max(span, 1e-9) / max(1, len(self._moments) - 1)
