"""The optimisers of a run, as one thing with one learning rate."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from biml.networks.base import EpisodeNetwork
from biml.training.config import TrainingConfig
from biml.training.distributed import ProcessGroup

NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic that Newton-Schulz iterates, for speed near zero rather than exactness at one."""

NS_STEPS = 5

STACK_SIZE = 8
"""Matrices in a stack: so few of the usual width stay in a core's cache, which takes a quarter less
time than all at once."""


class Muon(Optimizer):
    """`torch.optim.Muon` with the matrices of one shape orthogonalised together, shared out.

    The network has many small matrices: one by one they take half again as long as in stacks, and
    every process would do it for all of them. Here each process orthogonalises its share, and one
    sum over the processes gives all of them all updates. What is kept (the momentum) stays the
    same in every process, so that any one of them can save it.

    Args:
        matrices: parameters with two dimensions.
        lr: learning rate; an update of an m x n matrix has spectral norm `lr * sqrt(max(1, m/n))`.
        momentum: of the running mean of gradients (Nesterov).
        within: what updates are made orthogonal in; bfloat16 is exact enough, but a machine that
            has to emulate it takes 25 times as long.
        share: (number of this process, how many there are).
        add_up: sums a tensor over the processes, in place.
    """

    def __init__(
        self,
        matrices: Iterable[torch.nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        compute_dtype: torch.dtype = torch.bfloat16,
        rank_and_size: tuple[int, int] = (0, 1),
        all_reduce: Callable[[Tensor], None] = lambda tensor: None,
    ) -> None:
        super().__init__(list(matrices), {"lr": lr, "momentum": momentum})
        self._compute_dtype = compute_dtype
        self._rank, self._size = rank_and_size
        self._all_reduce = all_reduce

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change the matrices by one step."""
        for group in self.param_groups:
            matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
            updates = self._updates(matrices, group["momentum"])
            for matrix, update in zip(matrices, updates, strict=True):
                rows, columns = matrix.shape
                matrix.add_(update, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    def _updates(self, matrices: list[torch.nn.Parameter], momentum: float) -> list[Tensor]:
        wanted = []
        for matrix in matrices:
            assert matrix.grad is not None
            mean = self.state[matrix].setdefault("momentum_buffer", torch.zeros_like(matrix))
            mean.lerp_(matrix.grad, 1 - momentum)
            wanted.append(matrix.grad.lerp(mean, momentum))
        stacks: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, update in enumerate(wanted):
            # Round by round within a shape, so that every process gets a like share of each.
            stacks[tuple(sorted(update.shape))].append(number)
        flat = torch.zeros(sum(update.numel() for update in wanted), device=wanted[0].device)
        parts = flat.split([update.numel() for update in wanted])
        results = [p.view_as(u) for p, u in zip(parts, wanted, strict=True)]
        for numbers in stacks.values():
            mine = numbers[self._rank :: self._size]
            for start in range(0, len(mine), STACK_SIZE):
                stacked = mine[start : start + STACK_SIZE]
                wide = [
                    w if w.shape[0] <= w.shape[1] else w.mT for w in (wanted[n] for n in stacked)
                ]
                stack = torch.stack(wide).to(self._compute_dtype)
                for number, result in zip(stacked, newton_schulz(stack), strict=True):
                    tall = results[number].shape[0] > results[number].shape[1]
                    results[number].copy_(result.mT if tall else result)
        self._all_reduce(flat)
        return results


def newton_schulz(matrices: Tensor) -> Tensor:
    """Nearly the nearest matrices with orthonormal rows [n, rows, columns], rows <= columns.

    Singular values end between 0.7 and 1.2, which is near enough to train by. Each iteration is a
    polynomial in the products of the rows, all of which commute: so what the iterations multiply a
    matrix with is found among [rows, rows] alone, which takes much less where rows are long.
    """
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    if 2 * x.shape[1] <= x.shape[2] and x.dtype != torch.bfloat16:
        return _newton_schulz_factor(x @ x.mT) @ x
    a, b, c = NS_COEFFICIENTS
    for _ in range(NS_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _newton_schulz_factor(gram: Tensor) -> Tensor:
    """What the iterations multiply a matrix with, from the products of its rows."""
    a, b, c = NS_COEFFICIENTS
    total: Tensor | None = None
    for iteration in range(NS_STEPS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        total = factor if total is None else factor @ total
        if iteration + 1 < NS_STEPS:
            gram = factor @ gram @ factor
    assert total is not None
    return total


# === The optimisers of a run, as one thing with one learning rate.


MUON_LR_FACTOR = 12.0
"""Muon's learning rate, in those of AdamW beside it; docs/training-log.md has what others gave."""

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
