"""Tokens one after another, and the same tokens as rows of unlike length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from biml.networks.moving import moved
from biml.networks.ragged import ragged


@dataclass
class Rows:
    """Where each token of a list lies in a table whose rows have these lengths, and back.

    Attributes:
        lengths: LongTensor [rows].
        unpack: LongTensor [rows, W], the token of each place; 0 behind a row's end.
        pack: LongTensor [tokens], the place (flat) of each token; that of one which is in no row
            is behind a row's end.
    """

    lengths: Tensor
    unpack: Tensor
    pack: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int] | np.ndarray) -> "Rows":
        """Rows of tokens that stand one after another."""
        lengths = np.asarray(lengths, dtype=np.int64)
        row, column = ragged(lengths)
        longest = max(1, int(lengths.max(initial=0)))
        unpack = np.zeros((len(lengths), longest), dtype=np.int64)
        unpack[row, column] = np.arange(len(row))
        pack = row * longest + column
        return cls(*map(torch.from_numpy, (lengths, unpack, pack)))

    def to(self, device: torch.device) -> "Rows":
        return moved(self, device)

    @property
    def filled(self) -> Tensor:
        """BoolTensor [rows, W], which places hold a token."""
        place = torch.arange(self.unpack.shape[1], device=self.lengths.device)
        return place < self.lengths[:, None]

    @property
    def column(self) -> Tensor:
        """LongTensor [tokens], where in its row each token stands."""
        return self.pack % self.unpack.shape[1]

    def spread(self, x: Tensor) -> Tensor:
        """Tokens [tokens, width] as a table [rows, W, width]; behind a row's end stands any."""
        table: Tensor = _Spread.apply(x, self.unpack.flatten(), self.pack)
        return table.view(*self.unpack.shape, x.shape[1])

    def collect(self, table: Tensor) -> Tensor:
        """The tokens [tokens, width] of a table [rows, W, width]."""
        tokens: Tensor = _Collect.apply(table.flatten(0, 1), self.pack)
        return tokens


class _Spread(torch.autograd.Function):
    """A gather whose gradient is one too: each token has one place, and what else is filled counts
    for nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, unpack: Tensor, pack: Tensor) -> Tensor:
        ctx.save_for_backward(pack)
        # Rows that are all empty have places, but no token to put there.
        return x.index_select(0, unpack) if len(x) else x.new_zeros(len(unpack), x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (pack,) = ctx.saved_tensors
        return gradients[0].index_select(0, pack), None, None


class _Collect(torch.autograd.Function):
    """A gather from places that differ, so that its gradient is copied there."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, pack: Tensor) -> Tensor:
        ctx.save_for_backward(pack)
        ctx.places = len(table)
        return table.index_select(0, pack)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (pack,) = ctx.saved_tensors
        g = gradients[0].new_zeros(ctx.places, gradients[0].shape[1])
        return g.index_copy_(0, pack, gradients[0]), None
