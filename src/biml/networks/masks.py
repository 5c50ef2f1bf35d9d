"""What tokens must not see of each other.

Each mask is true where a query must not see a key. What is padding sees itself, which keeps its
softmax finite.
"""

import torch
from torch import Tensor

from biml.networks.rows import RaggedRows


def within_example_mask(example: Tensor, heads: int, n_within: int) -> Tensor:
    """BoolTensor [episodes, heads, S, S], what lies outside a study token's own example.

    Args:
        example: LongTensor [episodes, S], the study example of each token.
        heads: attention heads.
        within: how many of them, the first ones, see their own example alone.
    """
    confined = (torch.arange(heads, device=example.device) < n_within)[:, None, None]
    return confined & (example[:, None, :, None] != example[:, None, None, :])


def padding_mask(words: RaggedRows) -> Tensor:
    """BoolTensor [queries, 1, W, W]: a word sees all words of its query."""
    width = words.unpack.shape[1]
    itself = torch.eye(width, dtype=torch.bool, device=words.lengths.device)
    return ~(words.mask[:, None, :] | itself)[:, None]


def causal_answer_mask(words: RaggedRows, answers: RaggedRows) -> Tensor:
    """BoolTensor [queries, 1, A, W + A], for IO and the symbols of each answer.

    They see all words of their query and what stands before them. What is behind a row's end
    sees the answer and itself.
    """
    place = torch.arange(answers.unpack.shape[1], device=answers.lengths.device)
    before = (place <= place[:, None]) & answers.mask[:, None, :]
    seen = before | (place == place[:, None])
    of_words = words.mask[:, None, :].expand(-1, len(place), -1)
    return ~torch.cat((of_words & answers.mask[:, :, None], seen), 2)[:, None]
