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
    """Episodes a second over the latest steps.

    Args:
        presented: episodes shown before the first of them.
        now: the moment (seconds) at which it begins.
        over: how many of the latest steps count.
    """

    def __init__(self, presented: int, now: float, over: int = 200) -> None:
        self._ends = deque([(now, presented)], maxlen=over + 1)

    def tick(self, presented: int, now: float) -> float:
        """Note that a step ended at this moment, with so many episodes shown in all; the rate."""
        self._ends.append((now, presented))
        (begin, first), (end, last) = self._ends[0], self._ends[-1]
        return (last - first) / max(end - begin, 1e-9)
