"""AdamW over one flat gradient (Loshchilov & Hutter, 2019)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class AdamW:
    """The published optimiser, for weights whose gradients lie side by side in one tensor.

    It computes what `torch.optim.AdamW` computes; but that imports PyTorch's compiler on the way,
    which costs every process of a run a second at the start and 70 MB.

    Args:
        weights: what is optimised.
        gradient: [n], the gradients of all weights one after another.
        betas: decay of the running means of the gradient and of its square.
        weight_decay: share of each weight that goes at every step, times the learning rate.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        gradient: Tensor,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.01,
        eps: float = 1e-8,
    ) -> None:
        self._gradient = gradient
        self._mean = torch.zeros_like(gradient)
        self._square = torch.zeros_like(gradient)
        self._update = torch.zeros_like(gradient)
        self._steps = 0
        self._betas, self._weight_decay, self._eps = betas, weight_decay, eps
        parts = self._update.split([tensor.numel() for tensor in weights])
        self._parts = [
            (tensor, part.view_as(tensor)) for tensor, part in zip(weights, parts, strict=True)
        ]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Change the weights by the gradient that is there now."""
        self._steps += 1
        beta, beta2 = self._betas
        self._mean.lerp_(self._gradient, 1 - beta)
        self._square.mul_(beta2).addcmul_(self._gradient, self._gradient, value=1 - beta2)
        root = torch.sqrt(self._square, out=self._update)
        root.div_((1 - beta2**self._steps) ** 0.5).add_(self._eps)
        torch.div(self._mean, root, out=self._update).mul_(-lr / (1 - beta**self._steps))
        for weights, update in self._parts:
            weights.mul_(1 - lr * self._weight_decay).add_(update)

    def state(self) -> dict[str, Any]:
        """What `load` needs; the tensors are not copied."""
        return {"steps": self._steps, "mean": self._mean, "square": self._square}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state of an optimiser of the same weights."""
        self._steps = state["steps"]
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])
