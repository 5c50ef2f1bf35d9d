"""The lexicon of an episode: one state for each word of its study examples, shared by all its uses.

What one example tells about a word reaches the others through its entry, at once, where attention
would have to find every other use of the word by itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.networks.entries import LexiconIndex
from biml.networks.layers import (
    MLP_INIT_SCALE,
    OUT_INIT_SCALE,
    FeedForward,
    RMSNormLinear,
    rms_normalize,
    fan_in_init,
)
from biml.networks.staged_config import StagedConfig

LEXICON_INIT_SCALE = 0.5
"""How much of an entry is added to the uses of its word at first."""


class LexiconExchange(nn.Module):
    """The uses of each word add to its entry what they have found, and learn what it holds.

    Each head takes a weighted mean over a word's uses, at first nearly alike, so that those that
    tell more can count for more. Nothing is dropped here in training.
    """

    def __init__(self, config: StagedConfig) -> None:
        super().__init__()
        width = config.emb_size
        self.norm_uses = RMSNormLinear(width)
        self.weigh = nn.Parameter(fan_in_init(config.nheads, width) * MLP_INIT_SCALE)
        rotation = torch.linalg.qr(torch.randn(width, width))[0].contiguous()
        self.value = nn.Parameter(rotation)
        self.out = nn.Parameter(rotation.t().contiguous() * OUT_INIT_SCALE)
        self.norm_feed = RMSNormLinear(width)
        self.feed = FeedForward(config)
        self.norm_told = RMSNormLinear(width)
        self.told = nn.Parameter(torch.eye(width) * LEXICON_INIT_SCALE)

    def aggregate(self, x: Tensor, slots: Tensor, index: LexiconIndex) -> Tensor:
        """The entries with what the uses of their words have found.

        Args:
            x: study tokens [tokens, width].
            held: entries so far [entries + 1, width].
        """
        tokens = rms_normalize(index.uses.to_padded(x))
        used = index.uses.mask[..., None]
        weights = F.linear(tokens, self.norm_uses.fold_scale(self.weigh)).float()
        weights = weights.masked_fill(~used, -1e9).softmax(1)
        weights = (weights * used).to(tokens.dtype)
        values = F.linear(tokens, self.norm_uses.fold_scale(self.value))
        values = values.unflatten(-1, (weights.shape[-1], -1))
        slots = slots + F.linear((values * weights[..., None]).sum(1).flatten(1), self.out)
        return slots + self.feed(slots, self.norm_feed)

    def broadcast(self, slots: Tensor, index: LexiconIndex) -> Tensor:
        """What the entries tell each study token [tokens, width]; 0 for those of no word."""
        return slot_lookup(self.norm_told(slots, self.told), index.study_slots)


def slot_lookup(slots: Tensor, slot_ids: Tensor) -> Tensor:
    """Rows of entries [entries + 1, width] for tokens [..]; 0 for those of no word."""
    return F.embedding(slot_ids, slots * _used_slot_mask(slots), padding_idx=len(slots) - 1)


def _used_slot_mask(slots: Tensor) -> Tensor:
    """1 for each entry, 0 for the spare one."""
    there = torch.ones(len(slots), 1, dtype=slots.dtype, device=slots.device)
    there[-1] = 0
    return there
