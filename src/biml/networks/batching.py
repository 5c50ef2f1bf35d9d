"""Micro-batches of similar lengths, and ragged rows: packed tokens with their padded layout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Item = TypeVar("Item")


def balanced_micro_batches(
    items: Sequence[Item], size: Callable[[Item], int], max_tokens: int, min_batches: int = 1
) -> list[list[Item]]:
    """Split items, sorted by size, into micro-batches of at most `max_tokens` padded tokens.

    Padding to the longest of a training batch would waste a fifth of the work. The micro-batches
    are of equal size, and there are 1, 2, 4 or a multiple of 8 of them (at least `min_batches`,
    given as many items), so that processes get equal shares. An item longer than `max_tokens` gets
    a micro-batch of its own.
    """
    total = sum(map(size, items))
    count = max(min_batches, -(-total // max_tokens))
    while True:
        shares = min(8, 1 << max(0, count - 1).bit_length())
        planned = -(-count // shares) * shares
        batches = _split(items, size, max_tokens, total / planned)
        # Padding can fill micro-batches early. Among few, one more than planned is a small
        # remainder, for which all processes but one would wait.
        if len(batches) <= planned or planned >= min(8, len(items)):
            return batches
        count = planned + 1


def _split(
    items: Sequence[Item], size: Callable[[Item], int], max_tokens: int, target_tokens: float
) -> list[list[Item]]:
    batches: list[list[Item]] = [[]]
    tokens = 0
    for item in items:
        longest = size(item)
        if batches[-1] and (
            tokens + longest / 2 > target_tokens * len(batches)
            or (len(batches[-1]) + 1) * longest > max_tokens
        ):
            batches.append([])
        batches[-1].append(item)
        tokens += longest
    return batches if items else []


def flatten(sequences: Sequence[Sequence[int]]) -> Int[np.ndarray, " n"]:
    return np.array([number for part in sequences for number in part], dtype=np.int64)


def ragged_index(
    lengths: Int[np.ndarray, " row"],
) -> tuple[Int[np.ndarray, " tok"], Int[np.ndarray, " tok"]]:
    """Row and column of every element of a table whose rows have these lengths."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def pad_array(sequences: Sequence[Sequence[int]], pad: int) -> Int[np.ndarray, "row col"]:
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    rows = np.full((len(lengths), int(lengths.max(initial=0))), pad, dtype=np.int64)
    rows[ragged_index(lengths)] = flatten(sequences)
    return rows


def pad_tensor(sequences: Sequence[Sequence[int]], pad: int) -> Int[Tensor, "row col"]:
    return torch.from_numpy(pad_array(sequences, pad))


@dataclass
class TensorData:
    """A dataclass of tensors, of such dataclasses, and of lists of them; others stay the same."""

    def to(self, device: torch.device) -> Self:
        names = (field.name for field in fields(self))
        return replace(self, **{name: _moved(getattr(self, name), device) for name in names})


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, TensorData):
        return value.to(device)
    return [_moved(one, device) for one in value] if isinstance(value, list) else value


@dataclass
class RaggedRows(TensorData):
    """Indices between packed tokens (one after another) and padded rows of these lengths.

    Attention needs rows; other layers compute packed tokens, and so nothing for padding.
    """

    lengths: Int[Tensor, " row"]
    unpack: Int[Tensor, "row col"]  # the token at each position; 0 past the end of a row
    pack: Int[Tensor, " tok"]  # flat position of each token; if in no row, past the end of one
    n_padding: int = 0  # padding tokens after the packed ones, in no row

    @classmethod
    def from_lengths(cls, lengths: Sequence[int] | np.ndarray, n_padding: int = 0) -> "RaggedRows":
        lengths = np.asarray(lengths, dtype=np.int64)
        row, column = ragged_index(lengths)
        longest = max(1, int(lengths.max(initial=0)))
        unpack = np.zeros((len(lengths), longest), dtype=np.int64)
        unpack[row, column] = np.arange(len(row))
        pack = row * longest + column
        tensors = torch.from_numpy(lengths), torch.from_numpy(unpack), torch.from_numpy(pack)
        return cls(*tensors, n_padding)

    @property
    def mask(self) -> Bool[Tensor, "row col"]:
        column = torch.arange(self.unpack.shape[1], device=self.lengths.device)
        return column < self.lengths[:, None]

    @property
    def position(self) -> Int[Tensor, " tok"]:
        """The position of each token in its row; 0 for padding tokens."""
        return F.pad(self.pack % self.unpack.shape[1], (0, self.n_padding))

    def to_padded(self, x: Float[Tensor, "tok emb"]) -> Float[Tensor, "row col emb"]:
        """Spread tokens over rows; values past the end of a row are arbitrary."""
        padded: Tensor = _ToPadded.apply(x, self.unpack.flatten(), self.pack)
        return padded.view(*self.unpack.shape, x.shape[1])

    def to_packed(self, padded: Float[Tensor, "row col emb"]) -> Float[Tensor, "tok emb"]:
        """Collect the tokens of rows; padding tokens are 0."""
        tokens: Tensor = _ToPacked.apply(padded.flatten(0, 1), self.pack, self.n_padding)
        return tokens


class _ToPadded(torch.autograd.Function):
    """A gather whose gradient is a gather too: each token has one position in the rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, unpack: Tensor, pack: Tensor) -> Tensor:
        ctx.save_for_backward(pack)
        ctx.n_padding = len(x) - len(pack)
        # Rows that are all empty have positions, but no token to put there.
        return x.index_select(0, unpack) if len(x) else x.new_zeros(len(unpack), x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (pack,) = ctx.saved_tensors
        return _gather(gradients[0], pack, ctx.n_padding), None, None


class _ToPacked(torch.autograd.Function):
    """A gather from distinct positions, so that its gradient is a plain copy to them."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, pack: Tensor, n_padding: int) -> Tensor:
        ctx.save_for_backward(pack)
        ctx.positions = len(padded)
        return _gather(padded, pack, n_padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (pack,) = ctx.saved_tensors
        g = gradients[0].new_zeros(ctx.positions, gradients[0].shape[1])
        return g.index_copy_(0, pack, gradients[0][: len(pack)]), None, None


def _gather(x: Tensor, rows: Tensor, n_padding: int) -> Tensor:
    """These rows of `x`, then rows of zeros."""
    if not n_padding:
        return x.index_select(0, rows)
    out = x.new_empty(len(rows) + n_padding, x.shape[1])
    torch.index_select(x, 0, rows, out=out[: len(rows)])
    out[len(rows) :] = 0
    return out
