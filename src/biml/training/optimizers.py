"""The optimisers of a run, as one thing with one learning rate."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.nn import Parameter

from biml.networks.base import EpisodeNetwork
from biml.training.config import TrainingConfig
from biml.training.muon import Muon
from biml.training.workers import ProcessGroup

MUON_LR_FACTOR = 12.0
"""Muon's learning rate, in those of AdamW beside it; docs/fast.md has what others gave."""

MAX_GRAD_NORM = 1.0
"""Largest norm of the gradient beside Muon, whose steps do not depend on the gradient's size."""


class StepOptimizer(Protocol):
    """What the learner needs of an optimiser."""

    def step(self, lr: float) -> None:
        """Change the weights by one step at this learning rate."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class AdamWOptimizer:
    """The published optimiser (paper, Methods): betas 0.9 and 0.95, weight decay 0.01."""

    def __init__(
        self, network: EpisodeNetwork, config: TrainingConfig, group: ProcessGroup
    ) -> None:
        self._adamw = torch.optim.AdamW(
            network.parameters(), lr=config.lr, betas=(0.9, 0.95), weight_decay=0.01, fused=True
        )

    def step(self, lr: float) -> None:
        _step_with_lr(self._adamw, lr)

    def state_dict(self) -> dict[str, Any]:
        return self._adamw.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._adamw.load_state_dict(state)


class MuonAdamW:
    """Muon for the matrices of the layers; AdamW for embeddings, norms and the read-out."""

    def __init__(
        self, network: EpisodeNetwork, config: TrainingConfig, group: ProcessGroup
    ) -> None:
        matrices, rest = muon_param_groups(network)
        self._rest = rest
        self._muon = Muon(
            matrices,
            config.lr * MUON_LR_FACTOR,
            compute_dtype=torch.bfloat16 if config.precision == "bf16" else torch.float32,
            rank_and_size=(group.rank, group.size),
            all_reduce=group.all_reduce,
        )
        self._adamw = torch.optim.AdamW(
            rest, lr=config.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )

    def step(self, lr: float) -> None:
        torch.nn.utils.clip_grad_norm_(self._rest, MAX_GRAD_NORM)
        _step_with_lr(self._muon, lr * MUON_LR_FACTOR)
        _step_with_lr(self._adamw, lr)

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


OPTIMIZERS: dict[str, Callable[[EpisodeNetwork, TrainingConfig, ProcessGroup], StepOptimizer]] = {
    "adamw": AdamWOptimizer,
    "muon": MuonAdamW,
}
"""By the name that `--optimizer` takes."""


def muon_param_groups(network: EpisodeNetwork) -> tuple[list[Parameter], list[Parameter]]:
    """Weight matrices between hidden layers, and all other parameters.

    Embeddings and the read-out are matrices too, but each of their rows is a symbol's own.
    """
    matrices: list[Parameter] = []
    rest: list[Parameter] = []
    ends = set(network.embedding_parameters())
    for name, weights in network.named_parameters():
        (matrices if weights.ndim == 2 and name not in ends else rest).append(weights)
    return matrices, rest


def _step_with_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
