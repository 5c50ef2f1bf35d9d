"""Which tokens of a batch are uses of which word of their episode's study examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biml.networks.moving import moved
from biml.networks.ragged import flat, table

NONE = -1
"""The entry of a token that is no word of a study example."""


@dataclass
class Entries:
    """Which tokens of a batch are uses of which word; the last entry, of no word, is spare.

    Attributes:
        uses: LongTensor [entries + 1, U], the place in `study` (flat) of each use of each word; 0,
            which is no word's place, where there are no more.
        used: BoolTensor [entries + 1, U], which of these are uses.
        back: LongTensor [episodes * S], the place in `uses` (flat) of each study token; that of
            what is no word is the last.
        study: LongTensor [episodes, S], the entry of each study token.
        asked: LongTensor [words], the entry of each word of the queries, one after another.
    """

    uses: Tensor
    used: Tensor
    back: Tensor
    study: Tensor
    asked: Tensor

    def to(self, device: torch.device) -> "Entries":
        return moved(self, device)


def pack_entries(study: Sequence[Sequence[int]], asked: Sequence[Sequence[int]]) -> Entries:
    """The entries of a batch.

    Args:
        study: for each study token of each episode the number of its word among those of the
            episode, in the order in which they first occur, or NONE.
        asked: the same for each word of the queries.
    """
    counts = [max(numbers, default=NONE) + 1 for numbers in study]
    starts = np.cumsum([0, *counts])
    spare = starts[-1]

    numbers, _ = table(study, NONE)
    entry = np.where(numbers == NONE, spare, numbers + starts[:-1, None])
    of_words = flat(asked)
    start = np.repeat(starts[:-1], [len(numbers) for numbers in asked])
    order = np.argsort(entry, axis=None, kind="stable")
    order = order[: int((entry < spare).sum())]
    row = entry.flat[order]
    lengths = np.bincount(row, minlength=spare + 1)
    column = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    uses = np.zeros((spare + 1, max(1, int(lengths.max(initial=0)))), dtype=np.int64)
    uses[row, column] = order
    back = np.full(entry.size, uses.size - 1, dtype=np.int64)
    back[order] = row * uses.shape[1] + column
    return Entries(
        uses=torch.from_numpy(uses),
        used=torch.from_numpy(np.arange(uses.shape[1]) < lengths[:, None]),
        back=torch.from_numpy(back),
        study=torch.from_numpy(entry),
        asked=torch.from_numpy(np.where(of_words == NONE, spare, of_words + start)),
    )
