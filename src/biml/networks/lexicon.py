"""The lexicon of an episode: one state for each word of its study examples, shared by all its uses.

What one example tells about a word reaches the others through its entry, at once, where attention
would have to find every other use of the word by itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.networks.entries import Entries
from biml.networks.layers import BRANCH, COPIED, FeedForward, Norm, normed, scaled
from biml.networks.staged_config import StagedConfig

SAID = 0.5
"""How much of an entry is added to the uses of its word at first."""


class Exchange(nn.Module):
    """The uses of each word add to its entry what they have found, and learn what it holds.

    Each head takes a weighted mean over a word's uses, at first nearly alike, so that those that
    tell more can count for more. Nothing is dropped here in training.
    """

    def __init__(self, config: StagedConfig) -> None:
        super().__init__()
        width = config.emb_size
        self.norm_uses = Norm(width)
        self.weigh = nn.Parameter(scaled(config.nheads, width) * BRANCH)
        rotation = torch.linalg.qr(torch.randn(width, width))[0].contiguous()
        self.value = nn.Parameter(rotation)
        self.out = nn.Parameter(rotation.t().contiguous() * COPIED)
        self.norm_feed = Norm(width)
        self.feed = FeedForward(config)
        self.norm_told = Norm(width)
        self.told = nn.Parameter(torch.eye(width) * SAID)

    def gather(self, x: Tensor, held: Tensor, entries: Entries) -> Tensor:
        """The entries with what the uses of their words have found.

        Args:
            x: study tokens [tokens, width].
            held: entries so far [entries + 1, width].
        """
        tokens = normed(entries.uses.spread(x))
        used = entries.uses.filled[..., None]
        weights = F.linear(tokens, self.norm_uses.weighed(self.weigh)).float()
        weights = weights.masked_fill(~used, -1e9).softmax(1)
        weights = (weights * used).to(tokens.dtype)
        values = F.linear(tokens, self.norm_uses.weighed(self.value))
        values = values.unflatten(-1, (weights.shape[-1], -1))
        held = held + F.linear((values * weights[..., None]).sum(1).flatten(1), self.out)
        return held + self.feed(held, self.norm_feed)

    def spread(self, held: Tensor, entries: Entries) -> Tensor:
        """What the entries tell each study token [tokens, width]; 0 for those of no word."""
        return look_up(self.norm_told(held, self.told), entries.study)


def look_up(held: Tensor, entry: Tensor) -> Tensor:
    """Rows of entries [entries + 1, width] for tokens [..]; 0 for those of no word."""
    return F.embedding(entry, held * _of_words(held), padding_idx=len(held) - 1)


def _of_words(held: Tensor) -> Tensor:
    """1 for each entry, 0 for the spare one."""
    there = torch.ones(len(held), 1, dtype=held.dtype, device=held.device)
    there[-1] = 0
    return there
