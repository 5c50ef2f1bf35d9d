"""One optimisation step, and validation, shared by the processes of a run."""

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
from biml.networks.base import Batch, EpisodeNetwork, exact_match, output_mask
from biml.networks.devices import exact_float
from biml.rng import derive_seed
from biml.training.config import TrainingConfig
from biml.training.distributed import ProcessGroup
from biml.training.optim import OPTIMIZERS
from biml.training.schedule import learning_rate


@dataclass(frozen=True)
class StepBatch:
    """The episodes of a step (numbered from 0), and their queries in micro-batches."""

    step: int
    episodes: tuple[Episode, ...]
    micro_batches: Sequence[Batch]


@dataclass(frozen=True)
class StepMetrics:
    """Metrics of a step, in every process alike."""

    loss: float  # cross-entropy per target token, in nats, before the update
    gradient_norm: float  # Euclidean, with auxiliary losses if there are any
    lr: float
    stop: bool  # whether any process got a signal to stop after this step


class DivergedError(BimlError):
    """The loss or its gradient is not finite; the weights are as before the step."""

    def __init__(self, batch: StepBatch, metrics: StepMetrics) -> None:
        super().__init__(
            f"step {batch.step + 1}: the loss is {metrics.loss:g} and its gradient's norm "
            f"{metrics.gradient_norm:g}; try a smaller --lr, or --precision fp32"
        )
        self.batch = batch
        self.metrics = metrics


class TrainStep:
    """A network, its optimiser, and the number of steps done.

    The gradient of a step is summed over the micro-batches and divided by the batch's target
    tokens. Micro-batches are assigned to the processes; the dropout of each is seeded by run, step
    and micro-batch. So the result does not depend on the number of processes, up to the order of
    summation, and a resumed run repeats what the uninterrupted one would have done.
    """

    def __init__(
        self,
        network: EpisodeNetwork,
        dataset: EpisodeDataset,
        config: TrainingConfig,
        group: ProcessGroup,
    ) -> None:
        assert config.precision is not None
        assert config.micro_batch_tokens is not None
        self.network = network.to(group.device)
        self.steps_done = 0
        self.total_steps = config.total_steps(len(dataset))
        self._dataset = dataset
        self._config = config
        self._group = group
        self._precision = config.precision
        self._micro_batch_tokens = config.micro_batch_tokens
        self._dropout = torch.Generator(group.device)
        self._prefetched: StepBatch | None = None
        # One buffer for all that is summed over micro-batches and processes, by one all-reduce:
        # gradients (those of the parameters are views of it), loss, target tokens, stop requests.
        parameters = list(network.parameters())
        sizes = [weights.numel() for weights in parameters]
        self._reduce_buffer = torch.zeros(sum(sizes) + 3, device=group.device)
        self._gradient = self._reduce_buffer[: sum(sizes)]
        self._loss, self._tokens, self._stop = self._reduce_buffer[sum(sizes) :].unbind()
        for weights, gradient in zip(parameters, self._gradient.split(sizes), strict=True):
            weights.grad = gradient.view_as(weights)
        self._optimizer = OPTIMIZERS[config.optimizer](network, config, group)

    @property
    def finished(self) -> bool:
        return self.steps_done >= self.total_steps

    @property
    def episodes_seen(self) -> int:
        return self._config.episodes_seen(self.steps_done, self.total_steps)

    @property
    def episodes_left(self) -> int:
        return self._config.episodes_seen(self.total_steps, self.total_steps) - self.episodes_seen

    def next_batch(self) -> StepBatch:
        """The batch of the next step, whole in every process.

        Building it takes under one percent of a step, and saves all communication about it.
        """
        if self._prefetched is None or self._prefetched.step != self.steps_done:
            self._prefetched = self._build_batch(self.steps_done)
        return self._prefetched

    def accumulate(self, batch: StepBatch) -> None:
        """Sum gradient and loss over this process's micro-batches."""
        self._reduce_buffer.zero_()
        pad = self.network.vocabulary.output.pad
        self.network.train()
        for number in assign_micro_batches(batch.micro_batches, self._group.size)[self._group.rank]:
            micro_batch = batch.micro_batches[number]
            self._tokens += int((micro_batch.target != pad).sum())
            micro_batch = micro_batch.to(self._group.device)
            self._dropout.manual_seed(derive_seed(self._config.seed, "dropout", batch.step, number))
            with autocast(self._group.device, self._precision):
                logits = self.network(micro_batch, self._dropout)
            targets = micro_batch.target.flatten()
            loss = F.cross_entropy(logits.flatten(0, 1), targets, ignore_index=pad, reduction="sum")
            auxiliary = self.network.auxiliary_loss
            total = loss if auxiliary is None else loss + self._config.aux_loss_weight * auxiliary
            total.backward()
            self._loss += loss.detach()

    def reduce(self, batch: StepBatch, stop: bool = False) -> StepMetrics:
        """Sum over the processes, so that all of them have the gradient of the whole batch.

        If it is not finite, all of them raise `DivergedError`.
        """
        self._stop.fill_(stop)
        if self.steps_done + 1 < self.total_steps:
            # A GPU is still busy at this point, so that this takes no extra time.
            self._prefetched = self._build_batch(self.steps_done + 1)
        self._group.all_reduce(self._reduce_buffer)
        self._gradient.div_(self._tokens)
        summed = torch.stack((self._loss / self._tokens, self._gradient.norm(), self._stop))
        loss, norm, stops = summed.tolist()
        lr = learning_rate(self.steps_done / self.total_steps, self._config)
        metrics = StepMetrics(loss, norm, lr, stops > 0)
        if not torch.isfinite(summed).all():
            raise DivergedError(batch, metrics)
        return metrics

    def update(self, lr: float) -> None:
        """Change the weights."""
        self._optimizer.step(lr)
        self.steps_done += 1

    def step(self, stop_requested: Callable[[], bool] = lambda: False) -> StepMetrics:
        """Take one step as `trainer.train` does, without logging (to measure its time)."""
        batch = self.next_batch()
        self.accumulate(batch)
        metrics = self.reduce(batch, stop_requested())
        self.update(metrics.lr)
        return metrics

    def _build_batch(self, step: int) -> StepBatch:
        first, end = (
            self._config.episodes_seen(done, self.total_steps) for done in (step, step + 1)
        )
        # Dropout is seeded by micro-batch, so these must not depend on the number of processes.
        min_batches = 1 if getattr(self.network.config, "dropout", 0) else self._group.size
        episodes = tuple(self._dataset[index] for index in range(first, end))
        micro_batches = self.network.micro_batches(episodes, self._micro_batch_tokens, min_batches)
        return StepBatch(step, episodes, micro_batches)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to resume exactly here, apart from the weights."""
        return {"step": self.steps_done, "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state; the network must hold the weights of that step."""
        self.steps_done = state["step"]
        self._optimizer.load_state_dict(state["optimizer"])


class Validation:
    """The validation episodes in micro-batches, of which this process evaluates its share.

    Accuracies are those of greedy decoding, computed from the logits of the loss (`exact_match`).
    """

    def __init__(
        self,
        network: EpisodeNetwork,
        episodes: Sequence[Episode],
        config: TrainingConfig,
        group: ProcessGroup,
    ) -> None:
        assert config.precision is not None
        assert config.micro_batch_tokens is not None
        self._group = group
        self._precision = config.precision
        micro_batches = network.micro_batches(episodes, config.micro_batch_tokens, group.size)
        self._batches: list[tuple[Batch, Tensor, Tensor]] = []
        for number in assign_micro_batches(micro_batches, group.size)[group.rank]:
            batch = micro_batches[number]
            pools = [episodes[episode].pool for episode, _ in batch.indices]
            in_study = [
                episodes[episode].queries[query].in_study for episode, query in batch.indices
            ]
            mask = output_mask(pools, network.vocabulary)
            self._batches.append((batch, torch.tensor(in_study, dtype=torch.bool), mask))

    @torch.no_grad()
    def measure(self, network: EpisodeNetwork) -> dict[str, float | None]:
        """Loss per target token (nats), and percent of queries answered exactly, or None for none.

        Every process of the group must call this.
        """
        device, output = self._group.device, network.vocabulary.output
        # Loss and tokens; exact answers and queries, first of novel, then of study-example queries.
        sums = torch.zeros(6, dtype=exact_float(device), device=device)
        network.eval()
        for batch, in_study, mask in self._batches:
            batch, in_study = batch.to(device), in_study.to(device)
            with autocast(device, self._precision):
                logits = network(batch)
            targets = batch.target.flatten()
            sums[0] += F.cross_entropy(
                logits.flatten(0, 1), targets, ignore_index=output.pad, reduction="sum"
            )
            sums[1] += (targets != output.pad).sum()
            exact = exact_match(logits, batch.target, mask.to(device), output)
            for column, queries in ((2, ~in_study), (4, in_study)):
                sums[column] += (exact & queries).sum()
                sums[column + 1] += queries.sum()
        self._group.all_reduce(sums)
        loss, tokens, novel_exact, n_novel, study_exact, n_study = sums.tolist()
        return {
            "val_loss": loss / max(tokens, 1),
            "accuracy_study": 100 * study_exact / n_study if n_study else None,
            "accuracy_novel": 100 * novel_exact / n_novel if n_novel else None,
        }


def assign_micro_batches(micro_batches: Sequence[Batch], n_processes: int) -> list[list[int]]:
    """Indices of the micro-batches of each process: largest first, to the least loaded process."""
    assigned: list[list[int]] = [[] for _ in range(n_processes)]
    loads = [0] * n_processes
    for number in sorted(range(len(micro_batches)), key=lambda i: (-micro_batches[i].n_tokens, i)):
        least = loads.index(min(loads))
        assigned[least].append(number)
        loads[least] += micro_batches[number].n_tokens
    return assigned


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """The context of a forward pass: bfloat16 where that is the precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
