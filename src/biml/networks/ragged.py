"""Rows of unlike length as arrays of whole numbers."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


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
