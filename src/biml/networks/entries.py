"""Which tokens of a batch are uses of which word of their episode's study examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from biml.networks.moving import to_device
from biml.networks.ragged import flatten, ragged_index
from biml.networks.rows import RaggedRows

NO_SLOT = -1
"""The entry of a token that is no word of a study example."""


@dataclass
class LexiconIndex:
    """Which tokens of a batch are uses of which word; the last entry, of no word, is spare.

    Attributes:
        uses: study tokens, a row for each word; that of the spare entry is empty, and its
            last place is where all tokens are sent that are no word.
        study: LongTensor [study tokens], the entry of each, one after another.
        asked: LongTensor [words], the entry of each word of the queries, one after another.
    """

    uses: RaggedRows
    study_slots: Tensor
    query_slots: Tensor

    def to(self, device: torch.device) -> "LexiconIndex":
        return to_device(self, device)


def build_lexicon_index(
    study_slots: Sequence[Sequence[int]],
    query_slots: Sequence[Sequence[int]],
    n_padding: tuple[int, int] = (0, 0),
) -> LexiconIndex:
    """The entries of a batch.

    Args:
        study: for each study token of each episode the number of its word among those of the
            episode, in the order in which they first occur, or NONE.
        asked: the same for each word of the queries.
        spare_tokens: how many rows follow the study tokens, and the words; they are no word.
    """
    counts = [max(numbers, default=NO_SLOT) + 1 for numbers in study_slots]
    starts = np.cumsum([0, *counts])
    spare = starts[-1]

    entry, of_asked = (
        np.where(numbers == NO_SLOT, spare, numbers + np.repeat(starts[:-1], [*map(len, parts)]))
        for parts, numbers in (
            (study_slots, flatten(study_slots)),
            (query_slots, flatten(query_slots)),
        )
    )
    lengths = np.bincount(entry[entry < spare], minlength=spare + 1)
    row, column = ragged_index(lengths)
    order = np.argsort(entry, kind="stable")[: len(row)]
    uses = np.zeros((spare + 1, max(1, int(lengths.max(initial=0)))), dtype=np.int64)
    uses[row, column] = order
    back = np.full(entry.size, uses.size - 1, dtype=np.int64)
    back[order] = row * uses.shape[1] + column
    return LexiconIndex(
        uses=RaggedRows(
            torch.from_numpy(lengths),
            torch.from_numpy(uses),
            torch.from_numpy(back),
            n_padding[0],
        ),
        study_slots=F.pad(torch.from_numpy(entry), (0, n_padding[0]), value=spare),
        query_slots=F.pad(torch.from_numpy(of_asked), (0, n_padding[1]), value=spare),
    )
