"""One step of optimisation, computed alike by every process of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from biml.errors import BimlError
from biml.networks.base import EpisodeNetwork
from biml.rng import derive_seed
from biml.training.batches import Source, StepBatch, assemble, computing, deal
from biml.training.config import TrainingConfig
from biml.training.optimizers import OPTIMIZERS
from biml.training.schedule import learning_rate
from biml.training.workers import Team


@dataclass(frozen=True)
class StepFigures:
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

    def __init__(self, batch: StepBatch, figures: StepFigures) -> None:
        super().__init__(
            f"step {batch.step + 1}: the loss is {figures.loss:g} and its gradient's norm "
            f"{figures.gradient_norm:g}; a smaller --lr or --precision fp32 may help"
        )
        self.batch = batch
        self.figures = figures


class Learner:
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
        self, network: EpisodeNetwork, source: Source, config: TrainingConfig, team: Team
    ) -> None:
        assert config.precision is not None
        assert config.max_tokens is not None
        self.network = network.to(team.device)
        self.done = 0
        self.total = config.total_steps(source.per_epoch)
        self._source = source
        self._config = config
        self._team = team
        self._max_tokens = config.max_tokens
        self._precision = config.precision
        self._dropout = torch.Generator(team.device)
        self._upcoming: StepBatch | None = None
        self._make_sums()
        self._optimizer = OPTIMIZERS[config.optimizer](network, config, team)

    def _make_sums(self) -> None:
        """One tensor for all that is added up over pieces and processes, in one all-reduce.

        The parameters' gradients are views of it; loss, target tokens and requests to stop follow.
        """
        parameters = list(self.network.parameters())
        count = sum(weights.numel() for weights in parameters)
        self._sums = torch.zeros(count + 3, device=self._team.device)
        self._gradient = self._sums[:count]
        self._loss, self._tokens, self._stop = self._sums[count:].unbind()
        start = 0
        for weights in parameters:
            end = start + weights.numel()
            weights.grad = self._gradient[start:end].view_as(weights)
            start = end

    def step(self, asked_to_stop: Callable[[], bool] = lambda: False) -> StepFigures:
        """Take the next step.

        Args:
            asked_to_stop: is called when this process's share is computed.

        Raises:
            DivergedError: loss or gradient is not finite; raised in every process alike.
        """
        batch = self._upcoming or self._assemble(self.done)
        lr = learning_rate(self.done / self.total, self._config)
        self._sums.zero_()
        self._accumulate(batch)
        self._stop.fill_(asked_to_stop())
        # A GPU is still busy at this point, so the next batch costs it no time.
        self._upcoming = self._assemble(self.done + 1) if self.done + 1 < self.total else None
        self._team.add_up(self._sums)
        self._gradient.div_(self._tokens)
        reported = torch.stack((self._loss / self._tokens, self._gradient.norm(), self._stop))
        loss, norm, stop = reported.tolist()
        figures = StepFigures(loss, norm, lr, stop > 0)
        if not torch.isfinite(reported).all():
            raise DivergedError(batch, figures)
        self._optimizer.step(lr)
        self.done += 1
        return figures

    def _assemble(self, step: int) -> StepBatch:
        ends = (self._config.presentations(steps, self.total) for steps in (step, step + 1))
        # Dropout is drawn piece by piece, so it must be the same pieces for any team.
        at_least = 1 if self.network.config.dropout else self._team.size
        return assemble(self._source, self.network, step, range(*ends), self._max_tokens, at_least)

    @property
    def presented(self) -> int:
        """Episodes shown so far."""
        return self._config.presentations(self.done, self.total)

    @property
    def remaining(self) -> int:
        """Episodes that are still to be shown."""
        return self._config.presentations(self.total, self.total) - self.presented

    def _accumulate(self, batch: StepBatch) -> None:
        """Add this process's share of the batch to the sums."""
        pad = self.network.vocabulary.output.pad
        self.network.train()
        for number in deal(batch.pieces, self._team.size)[self._team.rank]:
            piece = batch.pieces[number]
            self._tokens += int((piece.target != pad).sum())
            piece = piece.to(self._team.device)
            self._dropout.manual_seed(derive_seed(self._config.seed, "dropout", batch.step, number))
            with computing(self._team.device, self._precision):
                logits = self.network(piece, self._dropout)
            loss = F.cross_entropy(
                logits.flatten(0, 1), piece.target.flatten(), ignore_index=pad, reduction="sum"
            )
            self._guided(loss).backward()
            self._loss += loss.detach()

    def _guided(self, loss: Tensor) -> Tensor:
        """The loss, with what its inner layers are told where that is asked for."""
        guidance = self.network.guidance
        return loss if guidance is None else loss + self._config.guide * guidance

    def go_to(self, step: int) -> None:
        """Take the step after this one next; weights and optimiser stay as they are."""
        self.done = step
        self._upcoming = None

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on exactly from here, apart from the weights."""
        return {"step": self.done, "optimizer": self._optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a state; the network must hold the weights of that moment."""
        self.go_to(state["step"])
        self._optimizer.load_state_dict(state["optimizer"])
