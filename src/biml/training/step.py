"""One step of optimisation, computed alike by every process of a run."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from biml.episodes.datasets import EpisodeDataset
from biml.episodes.episode import Episode
from biml.errors import BimlError
from biml.networks.base import Batch, EpisodeNetwork
from biml.rng import derive_seed
from biml.training.config import TrainingConfig
from biml.training.distributed import ProcessGroup
from biml.training.optim import OPTIMIZERS
from biml.training.schedule import learning_rate


@dataclass(frozen=True)
class StepBatch:
    """What one step learns from.

    Attributes:
        step: its number, from 0.
        episodes: as presented.
        pieces: their queries, cut in batches small enough to compute one after another.
    """

    step: int
    episodes: tuple[Episode, ...]
    micro_batches: Sequence[Batch]


def build_step_batch(
    source: EpisodeDataset,
    network: EpisodeNetwork,
    step: int,
    indices: range,
    micro_batch_tokens: int,
    min_batches: int = 1,
) -> StepBatch:
    """The batch of a step: the presentations of these numbers.

    Every process assembles the same whole batch: with the paper's network that costs less than one
    percent of a step, and saves all communication about it.
    """
    episodes = tuple(source[index] for index in indices)
    return StepBatch(
        step, episodes, network.micro_batches(episodes, micro_batch_tokens, min_batches)
    )


def assign_micro_batches(micro_batches: Sequence[Batch], n_processes: int) -> list[list[int]]:
    """Numbers of the pieces for each of `size` processes, their costs in balance.

    The dearest piece goes first, each to the process that has least so far.
    """
    hands: list[list[int]] = [[] for _ in range(n_processes)]
    loads = [0] * n_processes
    for number in sorted(range(len(micro_batches)), key=lambda i: (-micro_batches[i].n_tokens, i)):
        least = loads.index(min(loads))
        hands[least].append(number)
        loads[least] += micro_batches[number].n_tokens
    return hands


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """The context of a forward pass: autocast to bfloat16, or nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


# === One step of optimisation, computed alike by every process of a run.


@dataclass(frozen=True)
class StepMetrics:
    """What a step was like.

    Attributes:
        loss: cross-entropy per target token, in nats, before the step.
        gradient_norm: Euclidean norm of the gradient of that loss, with guidance if there is any.
        lr: learning rate of the step.
        stop: whether some process of the run was asked to stop after this step.
    """

    loss: float
    gradient_norm: float
    lr: float
    stop: bool


class DivergedError(BimlError):
    """The loss or its gradient is no longer a finite number; the weights are as before the step.

    Attributes:
        batch: what the step was to learn from.
        figures: its loss and gradient norm.
    """

    def __init__(self, batch: StepBatch, metrics: StepMetrics) -> None:
        super().__init__(
            f"step {batch.step + 1}: the loss is {metrics.loss:g} and its gradient's norm "
            f"{metrics.gradient_norm:g}; a smaller --lr or --precision fp32 may help"
        )
        self.batch = batch
        self.metrics = metrics


class TrainStep:
    """A network, its optimiser, and how far they have come.

    The gradient of a step is the sum over pieces of the batch, divided by the batch's target
    tokens. Pieces are dealt to the processes; each draws its dropout from a generator named by
    seed, step and piece. So the result does not depend on how many processes there are, up to the
    order of summation, and a run that goes on from a checkpoint repeats what it would have done.

    Attributes:
        done: steps taken since the start of the run.
        total: steps of the whole run.
    """

    def __init__(
        self,
        network: EpisodeNetwork,
        source: EpisodeDataset,
        config: TrainingConfig,
        group: ProcessGroup,
    ) -> None:
        assert config.precision is not None
        assert config.max_tokens is not None
        self.network = network.to(group.device)
        self.steps_done = 0
        self.total_steps = config.total_steps(len(source))
        self._source = source
        self._config = config
        self._group = group
        self._max_tokens = config.max_tokens
        self._precision = config.precision
        self._dropout = torch.Generator(group.device)
        self._next_batch: StepBatch | None = None
        self._allocate_reduce_buffer()
        self._optimizer = OPTIMIZERS[config.optimizer](network, config, group)

    def _allocate_reduce_buffer(self) -> None:
        """One tensor for all that is added up over pieces and processes, in one all-reduce.

        The parameters' gradients are views of it; loss, target tokens and requests to stop follow.
        """
        parameters = list(self.network.parameters())
        count = sum(weights.numel() for weights in parameters)
        self._reduce_buffer = torch.zeros(count + 3, device=self._group.device)
        self._gradient = self._reduce_buffer[:count]
        self._loss, self._tokens, self._stop = self._reduce_buffer[count:].unbind()
        start = 0
        for weights in parameters:
            end = start + weights.numel()
            weights.grad = self._gradient[start:end].view_as(weights)
            start = end

    def step(self, stop_requested: Callable[[], bool] = lambda: False) -> StepMetrics:
        """Take the next step.

        Args:
            asked_to_stop: is called when this process's share is computed.

        Raises:
            DivergedError: loss or gradient is not finite; raised in every process alike.
        """
        batch = self._next_batch or self._build_batch(self.steps_done)
        lr = learning_rate(self.steps_done / self.total_steps, self._config)
        self._reduce_buffer.zero_()
        self._accumulate(batch)
        self._stop.fill_(stop_requested())
        # A GPU is still busy at this point, so the next batch costs it no time.
        self._next_batch = (
            self._build_batch(self.steps_done + 1)
            if self.steps_done + 1 < self.total_steps
            else None
        )
        self._group.all_reduce(self._reduce_buffer)
        self._gradient.div_(self._tokens)
        reported = torch.stack((self._loss / self._tokens, self._gradient.norm(), self._stop))
        loss, norm, stop = reported.tolist()
        figures = StepMetrics(loss, norm, lr, stop > 0)
        if not torch.isfinite(reported).all():
            raise DivergedError(batch, figures)
        self._optimizer.step(lr)
        self.steps_done += 1
        return figures

    def _build_batch(self, step: int) -> StepBatch:
        ends = (self._config.episodes_seen(steps, self.total_steps) for steps in (step, step + 1))
        # Dropout is drawn piece by piece, so it must be the same pieces for any team.
        at_least = 1 if self.network.config.dropout else self._group.size
        return build_step_batch(
            self._source, self.network, step, range(*ends), self._max_tokens, at_least
        )

    @property
    def episodes_seen(self) -> int:
        """Episodes shown so far."""
        return self._config.episodes_seen(self.steps_done, self.total_steps)

    @property
    def episodes_left(self) -> int:
        """Episodes that are still to be shown."""
        return self._config.episodes_seen(self.total_steps, self.total_steps) - self.episodes_seen

    def _accumulate(self, batch: StepBatch) -> None:
        """Add this process's share of the batch to the sums."""
        pad = self.network.vocabulary.output.pad
        self.network.train()
        for number in assign_micro_batches(batch.micro_batches, self._group.size)[self._group.rank]:
            piece = batch.micro_batches[number]
            self._tokens += int((piece.target != pad).sum())
            piece = piece.to(self._group.device)
            self._dropout.manual_seed(derive_seed(self._config.seed, "dropout", batch.step, number))
            with autocast(self._group.device, self._precision):
                logits = self.network(piece, self._dropout)
            loss = F.cross_entropy(
                logits.flatten(0, 1), piece.target.flatten(), ignore_index=pad, reduction="sum"
            )
            self._total_loss(loss).backward()
            self._loss += loss.detach()

    def _total_loss(self, loss: Tensor) -> Tensor:
        """The loss, with what its inner layers are told where that is asked for."""
        guidance = self.network.auxiliary_loss
        return loss if guidance is None else loss + self._config.guide * guidance

    def seek(self, step: int) -> None:
        """Take the step after this one next; weights and optimiser stay as they are."""
        self.steps_done = step
        self._next_batch = None

    def state_dict(self) -> dict[str, Any]:
        """What `load` needs to go on exactly from here, apart from the weights."""
        return {"step": self.steps_done, "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; the network must hold the weights of that moment."""
        self.seek(state["step"])
        self._optimizer.load_state_dict(state["optimizer"])
