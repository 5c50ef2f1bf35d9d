"""Which tokens of a batch are uses of which word of their episode's study examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from biml.networks.moving import moved
from biml.networks.ragged import flat, ragged
from biml.networks.rows import Rows

NONE = -1
"""The entry of a token that is no word of a study example."""


@dataclass
class Entries:
    """Which tokens of a batch are uses of which word; the last entry, of no word, is spare.

    Attributes:
        uses: study tokens, a row for each word; that of the spare entry is empty, and its
            last place is where all tokens are sent that are no word.
        study: LongTensor [study tokens], the entry of each, one after another.
        asked: LongTensor [words], the entry of each word of the queries, one after another.
    """

    uses: Rows
    study: Tensor
    asked: Tensor

    def to(self, device: torch.device) -> "Entries":
        return moved(self, device)


def pack_entries(
    study: Sequence[Sequence[int]],
    asked: Sequence[Sequence[int]],
    spare_tokens: tuple[int, int] = (0, 0),
) -> Entries:
    """The entries of a batch.

    Args:
        study: for each study token of each episode the number of its word among those of the
            episode, in the order in which they first occur, or NONE.
        asked: the same for each word of the queries.
        spare_tokens: how many rows follow the study tokens, and the words; they are no word.
    """
    counts = [max(numbers, default=NONE) + 1 for numbers in study]
    starts = np.cumsum([0, *counts])
    spare = starts[-1]

    entry, of_asked = (
        np.where(numbers == NONE, spare, numbers + np.repeat(starts[:-1], [*map(len, parts)]))
        for parts, numbers in ((study, flat(study)), (asked, flat(asked)))
    )
    lengths = np.bincount(entry[entry < spare], minlength=spare + 1)
    row, column = ragged(lengths)
    order = np.argsort(entry, kind="stable")[: len(row)]
    uses = np.zeros((spare + 1, max(1, int(lengths.max(initial=0)))), dtype=np.int64)
    uses[row, column] = order
    back = np.full(entry.size, uses.size - 1, dtype=np.int64)
    back[order] = row * uses.shape[1] + column
    return Entries(
        uses=Rows(
            torch.from_numpy(lengths),
            torch.from_numpy(uses),
            torch.from_numpy(back),
            spare_tokens[0],
        ),
        study=F.pad(torch.from_numpy(entry), (0, spare_tokens[0]), value=spare),
        asked=F.pad(torch.from_numpy(of_asked), (0, spare_tokens[1]), value=spare),
    )
