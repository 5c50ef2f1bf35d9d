"""Tokens one after another, and the same tokens as rows of unlike length."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from biml.networks.base import to_device

Item = TypeVar("Item")


def balanced_micro_batches(
    items: Sequence[Item], size: Callable[[Item], int], max_tokens: int, min_batches: int = 1
) -> list[list[Item]]:
    """Items, sorted by size, in pieces of at most `max_tokens` tokens with padding.

    Items of like length stand together, because padding to the longest of a training batch would
    waste a fifth of the work. The pieces are of equal size, and there are 1, 2, 4 or a multiple of
    8 of them, so that as many processes have equal shares; a longer item stands alone.

    Args:
        items: sorted by size.
        size: tokens of an item.
        max_tokens: of a piece, with padding.
        at_least: how many pieces there are to be, if there are as many items.
    """
    total = sum(map(size, items))
    count = max(min_batches, -(-total // max_tokens))
    while True:
        shares = min(8, 1 << max(0, count - 1).bit_length())
        planned = -(-count // shares) * shares
        pieces = _split(items, size, max_tokens, total / planned)
        # Padding can fill pieces early. Of many one more does no harm; of few, it is a small rest
        # that all but one process would wait for.
        if len(pieces) <= planned or planned >= min(8, len(items)):
            return pieces
        count = planned + 1


def _split(
    items: Sequence[Item], size: Callable[[Item], int], max_tokens: int, target_tokens: float
) -> list[list[Item]]:
    """Pieces of about `share` tokens."""
    pieces: list[list[Item]] = [[]]
    tokens = 0
    for item in items:
        longest = size(item)
        if pieces[-1] and (
            tokens + longest / 2 > target_tokens * len(pieces)
            or (len(pieces[-1]) + 1) * longest > max_tokens
        ):
            pieces.append([])
        pieces[-1].append(item)
        tokens += longest
    return pieces if items else []


# === Rows of unlike length as arrays of whole numbers.


def flatten(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """All numbers of all parts, one after another."""
    return np.array([number for part in sequences for number in part], dtype=np.int64)


def ragged_index(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every element of a table whose rows have these lengths."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def pad_array(sequences: Sequence[Sequence[int]], pad: int) -> np.ndarray:
    """The sequences as rows, padded behind."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    rows = np.full((len(lengths), int(lengths.max(initial=0))), pad, dtype=np.int64)
    rows[ragged_index(lengths)] = flatten(sequences)
    return rows


def pad_tensor(sequences: Sequence[Sequence[int]], pad: int) -> Tensor:
    """The same as a tensor."""
    return torch.from_numpy(pad_array(sequences, pad))


# === Tokens one after another, and the same tokens as rows of unlike length.


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
