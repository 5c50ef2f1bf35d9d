"""Muon: momentum whose update of each weight matrix is made orthogonal (Jordan et al. 2024)."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

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
