"""What inner layers are told in training, as losses beside that of the answers."""

import torch
import torch.nn.functional as F
from torch import Tensor

from biml.networks.guides import TEMPLATE, UNKNOWN, VARIABLES, Guides
from biml.networks.layers import Norm

MEANING_WEIGHT = 3.0
"""Of what a word means, beside where attention looks: all its uses share one entry."""

TEMPLATE_WEIGHT = 0.25
"""Of each item of a function's meaning, beside that of an output symbol: it has up to ten."""

SIZES = (TEMPLATE * (VARIABLES + 1), VARIABLES * 2)
"""Logits for a function's right side, and for the kinds of its variables."""


def meaning_size(symbols: int) -> int:
    """Logits that say what a word means, in a language of so many output symbols."""
    return symbols + sum(SIZES)


class Guidance:
    """Adds up how far a network is from what the grammar tells.

    Attributes:
        guides: what the grammar tells.
        total: a weighted sum of cross-entropies in nats; None so far.
    """

    def __init__(self, guides: Guides) -> None:
        self.guides = guides
        self.total: Tensor | None = None

    def attention(self, q: Tensor, k: Tensor, hidden: Tensor, looks: Tensor) -> None:
        """An attention head is to look from some tokens at others.

        Args:
            q, k: its queries and keys [rows, W, head size].
            hidden: BoolTensor [rows, W, W], what each token must not see.
            looks: LongTensor [3, n], rows, tokens, and the token that each should look at.
        """
        if not looks.shape[1]:
            return
        row, column, sought = looks
        scores = torch.bmm(q, k.transpose(1, 2))[row, column].float() * q.shape[-1] ** -0.5
        scores = scores.masked_fill(hidden[row, column], float("-inf"))
        self._add(F.cross_entropy(scores, sought, reduction="sum"))

    def meaning(self, entries: Tensor, norm: Norm, read_out: Tensor) -> None:
        """Words are to say what they mean.

        Args:
            entries: what the lexicon holds [entries, width].
            norm: what is read of them.
            read_out: [meaning_size, width].
        """
        meanings = self.guides.meanings
        with torch.autocast(entries.device.type, enabled=False):
            logits = norm(entries.float(), read_out)
        symbol, items, kinds = logits.split((logits.shape[1] - sum(SIZES), *SIZES), -1)
        in_template = _entropy(items, meanings[:, 1 : 1 + TEMPLATE])
        of_variables = _entropy(kinds, meanings[:, 1 + TEMPLATE :])
        told = _entropy(symbol, meanings[:, :1])
        self._add(MEANING_WEIGHT * (told + TEMPLATE_WEIGHT * (in_template + of_variables)))

    def _add(self, loss: Tensor) -> None:
        self.total = loss if self.total is None else self.total + loss


def _entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Summed cross-entropy of logits [n, labels a row * classes] for labels [n, labels a row]."""
    classes = logits.unflatten(-1, (labels.shape[1], -1)).flatten(0, 1)
    return F.cross_entropy(classes, labels.flatten(), ignore_index=UNKNOWN, reduction="sum")
