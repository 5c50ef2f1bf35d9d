"""The optimisers of a run, as one thing with one learning rate."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.nn import Parameter

from biml.networks.base import EpisodeNetwork
from biml.training.config import TrainingConfig
from biml.training.muon import Muon
from biml.training.workers import Team

MATRIX_RATE = 12.0
"""Muon's learning rate, in those of AdamW beside it; docs/fast.md has what others gave."""

CLIP = 1.0
"""Largest norm of the gradient beside Muon, whose steps do not depend on the gradient's size."""


class StepOptimizer(Protocol):
    """What the learner needs of an optimiser."""

    def step(self, lr: float) -> None:
        """Change the weights by one step at this learning rate."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class AdamW:
    """The published optimiser (paper, Methods): betas 0.9 and 0.95, weight decay 0.01."""

    def __init__(self, network: EpisodeNetwork, config: TrainingConfig, team: Team) -> None:
        self._all = torch.optim.AdamW(
            network.parameters(), lr=config.lr, betas=(0.9, 0.95), weight_decay=0.01, fused=True
        )

    def step(self, lr: float) -> None:
        _run(self._all, lr)

    def state_dict(self) -> dict[str, Any]:
        return self._all.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._all.load_state_dict(state)


class MuonBesideAdamW:
    """Muon for the matrices of the layers; AdamW for embeddings, norms and the read-out."""

    def __init__(self, network: EpisodeNetwork, config: TrainingConfig, team: Team) -> None:
        matrices, rest = split(network)
        self._rest = rest
        self._muon = Muon(
            matrices,
            config.lr * MATRIX_RATE,
            within=torch.bfloat16 if config.precision == "bf16" else torch.float32,
            share=(team.rank, team.size),
            add_up=team.add_up,
        )
        self._adamw = torch.optim.AdamW(
            rest, lr=config.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )

    def step(self, lr: float) -> None:
        torch.nn.utils.clip_grad_norm_(self._rest, CLIP)
        _run(self._muon, lr * MATRIX_RATE)
        _run(self._adamw, lr)

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


OPTIMIZERS: dict[str, Callable[[EpisodeNetwork, TrainingConfig, Team], StepOptimizer]] = {
    "adamw": AdamW,
    "muon": MuonBesideAdamW,
}
"""By the name that `--optimizer` takes."""


def split(network: EpisodeNetwork) -> tuple[list[Parameter], list[Parameter]]:
    """Weight matrices between hidden layers, and all other parameters.

    Embeddings and the read-out are matrices too, but each of their rows is a symbol's own.
    """
    matrices: list[Parameter] = []
    rest: list[Parameter] = []
    ends = set(network.outer_parameters())
    for name, weights in network.named_parameters():
        (matrices if weights.ndim == 2 and name not in ends else rest).append(weights)
    return matrices, rest


def _run(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
