"""Optimisers: AdamW, and Muon with AdamW, each driven by one learning rate."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from biml.networks.base import EpisodeNetwork
from biml.training.config import TrainingConfig
from biml.training.distributed import ProcessGroup

NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, for fast growth of small singular values (Jordan et al. 2024)."""

NS_STEPS = 5

STACK_SIZE = 8
"""Matrices orthogonalised together: few enough for a core's cache, a quarter faster than all."""

MUON_LR_FACTOR = 12.0
"""Muon's learning rate relative to AdamW's (docs/training-log.md compares others)."""

MAX_GRAD_NORM = 1.0
"""Clips the gradient of what AdamW updates beside Muon, whose steps have a fixed norm anyway."""


class Muon(Optimizer):
    """Muon for many small matrices: stacked by shape, and shared among processes.

    Each process orthogonalises its share of the matrices; one all-reduce gives all of them all
    updates. The state (momentum) is equal in every process. `torch.optim.Muon` takes the same steps
    one matrix at a time, in half as much time again, and in every process.

    An update of an m x n matrix has spectral norm `lr * sqrt(max(1, m/n))`. `compute_dtype` is that
    of the orthogonalisation: bfloat16 is exact enough, but 25 times slower where a CPU emulates it.
    """

    def __init__(
        self,
        matrices: Iterable[Parameter],
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
        for group in self.param_groups:
            matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
            updates = self._updates(matrices, group["momentum"])
            for matrix, update in zip(matrices, updates, strict=True):
                rows, columns = matrix.shape
                matrix.add_(update, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    def _updates(self, matrices: list[Parameter], momentum: float) -> list[Tensor]:
        updates = []
        for matrix in matrices:
            assert matrix.grad is not None
            mean = self.state[matrix].setdefault("momentum_buffer", torch.zeros_like(matrix))
            mean.lerp_(matrix.grad, 1 - momentum)
            updates.append(matrix.grad.lerp(mean, momentum))
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, update in enumerate(updates):
            by_shape[tuple(sorted(update.shape))].append(number)
        flat = torch.zeros(sum(update.numel() for update in updates), device=updates[0].device)
        parts = flat.split([update.numel() for update in updates])
        results = [part.view_as(update) for part, update in zip(parts, updates, strict=True)]
        for numbers in by_shape.values():
            # Every process gets an equal share of each shape.
            share = numbers[self._rank :: self._size]
            for start in range(0, len(share), STACK_SIZE):
                chosen = share[start : start + STACK_SIZE]
                stack = torch.stack([_wide(updates[n]) for n in chosen]).to(self._compute_dtype)
                for number, result in zip(chosen, newton_schulz(stack), strict=True):
                    tall = results[number].shape[0] > results[number].shape[1]
                    results[number].copy_(result.mT if tall else result)
        self._all_reduce(flat)
        return results


def _wide(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT


def newton_schulz(
    matrices: Float[Tensor, "n rows columns"],
) -> Float[Tensor, "n rows columns"]:
    """Approximate the nearest matrices with orthonormal rows, for rows <= columns.

    Singular values end between 0.7 and 1.2, near enough to train with. Each iteration multiplies by
    a polynomial in `x @ x.mT`, and these commute, so that for long rows their product is computed
    first, on rows x rows matrices only.
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
    """The product of all iterations' polynomials, from `x @ x.mT`."""
    a, b, c = NS_COEFFICIENTS
    total: Any = None
    for iteration in range(NS_STEPS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        total = factor if total is None else factor @ total
        if iteration + 1 < NS_STEPS:
            gram = factor @ gram @ factor
    return total


class AdamW:
    """AdamW with the published betas and weight decay (paper, Methods)."""

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

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        _restore(self._adamw, state, _ADAMW_STATE)


class MuonAdamW:
    """Muon for the matrices of hidden layers; AdamW for embeddings, norms and the output layer."""

    def __init__(
        self, network: EpisodeNetwork, config: TrainingConfig, group: ProcessGroup
    ) -> None:
        matrices, self._rest = muon_param_groups(network)
        self._muon = Muon(
            matrices,
            config.lr * MUON_LR_FACTOR,
            compute_dtype=torch.bfloat16 if config.precision == "bf16" else torch.float32,
            rank_and_size=(group.rank, group.size),
            all_reduce=group.all_reduce,
        )
        self._adamw = torch.optim.AdamW(
            self._rest, lr=config.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )

    def step(self, lr: float) -> None:
        torch.nn.utils.clip_grad_norm_(self._rest, MAX_GRAD_NORM)
        _step_with_lr(self._muon, lr * MUON_LR_FACTOR)
        _step_with_lr(self._adamw, lr)

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        _restore(self._muon, state.get("muon"), ("momentum_buffer",))
        _restore(self._adamw, state.get("adamw"), _ADAMW_STATE)


OPTIMIZERS: dict[str, type[AdamW] | type[MuonAdamW]] = {"adamw": AdamW, "muon": MuonAdamW}
"""By the name that `--optimizer` takes."""


def muon_param_groups(network: EpisodeNetwork) -> tuple[list[Parameter], list[Parameter]]:
    """The matrices of hidden layers, and all other parameters.

    Embeddings and the output layer are matrices too, but each of their rows belongs to one token.
    """
    matrices, rest = list[Parameter](), list[Parameter]()
    ends = set(network.embedding_parameters())
    for name, weights in network.named_parameters():
        (matrices if weights.ndim == 2 and name not in ends else rest).append(weights)
    return matrices, rest


_ADAMW_STATE = ("step", "exp_avg", "exp_avg_sq")


def _restore(optimizer: Optimizer, saved: Any, names: Sequence[str]) -> None:
    """Restore the state of each parameter; a ValueError names a tensor that does not fit.

    The settings of the groups are those of the run's options, so that saved ones are not read.
    """
    parameters = [weights for group in optimizer.param_groups for weights in group["params"]]
    state: dict[int, dict[str, Tensor]] = {number: {} for number in range(len(parameters))}
    for number, weights in enumerate(parameters):
        for name in names:
            value = saved
            for key in ("state", number, name):
                value = value.get(key) if isinstance(value, Mapping) else None
            shape = torch.Size() if name == "step" else weights.shape
            if not _fits(value, shape, signed=name not in ("step", "exp_avg_sq")):
                raise ValueError(
                    f"optimizer: state[{number}].{name} is not a tensor of {list(shape)} finite "
                    "numbers that fit the network"
                )
            state[number][name] = value.clone(memory_format=torch.contiguous_format)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _fits(value: Any, shape: torch.Size, *, signed: bool) -> bool:
    plain = isinstance(value, Tensor) and value.layout == torch.strided
    if not plain or value.shape != shape or not value.is_floating_point():
        return False
    return bool(value.isfinite().all()) and (signed or bool((value >= 0).all()))


def _step_with_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
