"""What inner layers are told in training, as losses beside that of the answers."""

import torch
import torch.nn.functional as F
from torch import Tensor

from biml.networks.staged_batch import IGNORE_INDEX, MAX_ARGS, MAX_RHS, AuxLabels
from biml.networks.staged_layers import RMSNormLinear

MEANING_WEIGHT = 3.0
"""Of what a word means, beside where attention looks: all its uses share one entry."""

RHS_WEIGHT = 0.25
"""Of each item of a function's meaning, beside that of an output symbol: it has up to ten."""

RULE_LOGIT_SIZES = (MAX_RHS * (MAX_ARGS + 1), MAX_ARGS * 2)
"""Logits for a function's right side, and for the kinds of its variables."""


def n_meaning_logits(n_symbols: int) -> int:
    """Logits that say what a word means, in a language of so many output symbols."""
    return n_symbols + sum(RULE_LOGIT_SIZES)


class AuxiliaryLoss:
    """Adds up how far a network is from what the grammar tells.

    Attributes:
        guides: what the grammar tells.
        total: a weighted sum of cross-entropies in nats; None so far.
    """

    def __init__(self, labels: AuxLabels) -> None:
        self.labels = labels
        self.total: Tensor | None = None

    def add_attention_loss(self, q: Tensor, k: Tensor, blocked: Tensor, targets: Tensor) -> None:
        """An attention head is to look from some tokens at others.

        Args:
            q, k: its queries and keys [rows, W, head size].
            hidden: BoolTensor [rows, W, W], what each token must not see.
            looks: LongTensor [3, n], rows, tokens, and the token that each should look at.
        """
        if not targets.shape[1]:
            return
        row, column, sought = targets
        scores = torch.bmm(q, k.transpose(1, 2))[row, column].float() * q.shape[-1] ** -0.5
        scores = scores.masked_fill(blocked[row, column], float("-inf"))
        self._add(F.cross_entropy(scores, sought, reduction="sum"))

    def add_meaning_loss(self, slots: Tensor, norm: RMSNormLinear, out_weight: Tensor) -> None:
        """Words are to say what they mean.

        Args:
            entries: what the lexicon holds [entries, width].
            norm: what is read of them.
            read_out: [meaning_size, width].
        """
        meanings = self.labels.meanings
        with torch.autocast(slots.device.type, enabled=False):
            logits = norm(slots.float(), out_weight)
        symbol, items, kinds = logits.split(
            (logits.shape[1] - sum(RULE_LOGIT_SIZES), *RULE_LOGIT_SIZES), -1
        )
        in_template = _summed_cross_entropy(items, meanings[:, 1 : 1 + MAX_RHS])
        of_variables = _summed_cross_entropy(kinds, meanings[:, 1 + MAX_RHS :])
        told = _summed_cross_entropy(symbol, meanings[:, :1])
        self._add(MEANING_WEIGHT * (told + RHS_WEIGHT * (in_template + of_variables)))

    def _add(self, loss: Tensor) -> None:
        self.total = loss if self.total is None else self.total + loss


def _summed_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Summed cross-entropy of logits [n, labels a row * classes] for labels [n, labels a row]."""
    classes = logits.unflatten(-1, (labels.shape[1], -1)).flatten(0, 1)
    return F.cross_entropy(classes, labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
