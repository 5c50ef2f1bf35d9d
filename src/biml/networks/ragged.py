"""Rows of unlike length as arrays of whole numbers."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def flat(parts: Sequence[Sequence[int]]) -> np.ndarray:
    """All numbers of all parts, one after another."""
    return np.array([number for part in parts for number in part], dtype=np.int64)


def ragged(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every element of a table whose rows have these lengths."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def table(sequences: Sequence[Sequence[int]], pad: int) -> np.ndarray:
    """The sequences as rows, padded behind."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    rows = np.full((len(lengths), int(lengths.max(initial=0))), pad, dtype=np.int64)
    rows[ragged(lengths)] = flat(sequences)
    return rows


def padded(sequences: Sequence[Sequence[int]], pad: int) -> Tensor:
    """The same as a tensor."""
    return torch.from_numpy(table(sequences, pad))
