"""Episodes as the fast network reads them: study examples once, all queries in one row behind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biml.networks.encoded import AT_BREAK, Encoded
from biml.networks.ragged import ragged, table
from biml.networks.study_batch import Queries, StudyBatch, in_common
from biml.vocabulary import Vocabulary


@dataclass(kw_only=True)
class PackedBatch(StudyBatch):
    """One row for the queries of each episode, and where each query lies in it.

    A query is read as `in IO out`, as a study example is: `asked` is [episodes, P], all queries
    one after another, PAD behind. Attention among its own tokens wants a row for each query;
    `unpack` and `pack` go there and back. The last of those rows is spare, so that whatever is
    padding has somewhere to point to.

    Attributes:
        unpack: LongTensor [rows + 1, W], the place in `asked` (flat) of each token of each query.
        pack: LongTensor [episodes * P], the place in `unpack` (flat) of each token of `asked`.
        words: LongTensor [rows + 1], input words of each query.
        tokens: LongTensor [rows + 1], tokens of each query.
        answers: LongTensor [rows, T], the place in `asked` (flat) that predicts each target symbol.
    """

    unpack: Tensor
    pack: Tensor
    words: Tensor
    tokens: Tensor
    answers: Tensor


def pack_episodes(episodes: Sequence[Encoded], vocabulary: Vocabulary) -> PackedBatch:
    """Pad and index encoded episodes (see `PackedBatch`).

    All rows at once: with an array operation for each row this would take a tenth of a step.
    """
    queries = Queries.of(episodes)
    words, tokens = queries.words, queries.words + 1 + queries.symbols
    longest = int(tokens.max(initial=1))
    asked, place = table([e.asked for e in episodes], vocabulary.input.pad)
    row, column = ragged(tokens)
    unpack = np.zeros((len(words) + 1, longest), dtype=np.int64)
    unpack[row, column] = place
    pack = np.full(asked.size, len(words) * longest, dtype=np.int64)
    pack[place] = row * longest + column
    common = in_common(episodes, queries, vocabulary)
    answer_row, answer_column = ragged(queries.symbols + 1)
    answers = np.zeros(common["target"].shape, dtype=np.int64)
    answers[answer_row, answer_column] = unpack[answer_row, words[answer_row] + answer_column]
    return PackedBatch(
        **common,
        asked=torch.from_numpy(asked),
        asked_places=torch.from_numpy(
            table([e.asked_places for e in episodes], AT_BREAK)[0],
        ),
        unpack=torch.from_numpy(unpack),
        pack=torch.from_numpy(pack),
        words=torch.from_numpy(np.append(words, 0)),
        tokens=torch.from_numpy(np.append(tokens, 0)),
        answers=torch.from_numpy(answers),
    )


def hidden_tokens(batch: PackedBatch) -> Tensor:
    """BoolTensor [rows + 1, 1, W, W], what each token of a query must not see.

    Words see all words; IO and the answer see what stands before them as well. Padding sees
    all of its row and itself, which keeps its softmax finite.
    """
    place = torch.arange(batch.unpack.shape[1], device=batch.unpack.device)
    horizon = torch.maximum(place, batch.words[:, None] - 1)
    seen = (place <= horizon[:, :, None]) & (place < batch.tokens[:, None, None])
    return ~(seen | (place == place[:, None]))[:, None]
