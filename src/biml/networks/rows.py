"""Tokens one after another, and the same tokens as rows of unlike length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from biml.networks.moving import to_device
from biml.networks.ragged import ragged_index


@dataclass
class RaggedRows:
    """Where each token of a list lies in a table whose rows have these lengths, and back.

    Attributes:
        lengths: LongTensor [rows].
        unpack: LongTensor [rows, W], the token of each place; 0 behind a row's end.
        pack: LongTensor [tokens], the place (flat) of each token; that of one which is in no row
            is behind a row's end.
        spare: rows of a token list behind all tokens, which are in no row.
    """

    lengths: Tensor
    unpack: Tensor
    pack: Tensor
    n_padding: int = 0

    @classmethod
    def from_lengths(cls, lengths: Sequence[int] | np.ndarray, n_padding: int = 0) -> "RaggedRows":
        """Rows of tokens that stand one after another."""
        lengths = np.asarray(lengths, dtype=np.int64)
        row, column = ragged_index(lengths)
        longest = max(1, int(lengths.max(initial=0)))
        unpack = np.zeros((len(lengths), longest), dtype=np.int64)
        unpack[row, column] = np.arange(len(row))
        pack = row * longest + column
        tensors = torch.from_numpy(lengths), torch.from_numpy(unpack), torch.from_numpy(pack)
        return cls(*tensors, n_padding)

    def to(self, device: torch.device) -> "RaggedRows":
        return to_device(self, device)

    @property
    def mask(self) -> Tensor:
        """BoolTensor [rows, W], which places hold a token."""
        place = torch.arange(self.unpack.shape[1], device=self.lengths.device)
        return place < self.lengths[:, None]

    @property
    def position(self) -> Tensor:
        """LongTensor [tokens], where in its row each token stands; 0 for spare ones."""
        return F.pad(self.pack % self.unpack.shape[1], (0, self.n_padding))

    def to_padded(self, x: Tensor) -> Tensor:
        """Tokens [tokens, width] as a table [rows, W, width]; behind a row's end stands any."""
        table: Tensor = _ToPadded.apply(x, self.unpack.flatten(), self.pack)
        return table.view(*self.unpack.shape, x.shape[1])

    def to_packed(self, padded: Tensor) -> Tensor:
        """The tokens [tokens, width] of a table [rows, W, width]; spare ones are 0."""
        tokens: Tensor = _ToPacked.apply(padded.flatten(0, 1), self.pack, self.n_padding)
        return tokens


class _ToPadded(torch.autograd.Function):
    """A gather whose gradient is one too: each token has one place, and what else is filled counts
    for nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, unpack: Tensor, pack: Tensor) -> Tensor:
        ctx.save_for_backward(pack)
        ctx.spare = len(x) - len(pack)
        # Rows that are all empty have places, but no token to put there.
        return x.index_select(0, unpack) if len(x) else x.new_zeros(len(unpack), x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (pack,) = ctx.saved_tensors
        return _select_rows(gradients[0], pack, ctx.spare), None, None


class _ToPacked(torch.autograd.Function):
    """A gather from places that differ, so that its gradient is copied there."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, pack: Tensor, n_padding: int) -> Tensor:
        ctx.save_for_backward(pack)
        ctx.places = len(table)
        return _select_rows(table, pack, n_padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (pack,) = ctx.saved_tensors
        g = gradients[0].new_zeros(ctx.places, gradients[0].shape[1])
        return g.index_copy_(0, pack, gradients[0][: len(pack)]), None, None


def _select_rows(table: Tensor, rows: Tensor, n_padding: int) -> Tensor:
    """These rows of a table, and zeros behind them."""
    if not n_padding:
        return table.index_select(0, rows)
    out = table.new_empty(len(rows) + n_padding, table.shape[1])
    torch.index_select(table, 0, rows, out=out[: len(rows)])
    out[len(rows) :] = 0
    return out
