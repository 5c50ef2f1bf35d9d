"""Episodes as the staged network reads them: study examples, then queries, then answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biml.networks.encoded import Encoded
from biml.networks.entries import Entries, pack_entries
from biml.networks.ragged import flat, ragged
from biml.networks.rows import Rows
from biml.networks.study_batch import Queries, StudyBatch, in_common
from biml.vocabulary import Vocabulary


@dataclass(kw_only=True)
class StagedBatch(StudyBatch):
    """All words and all answers one after another: `asked` is [tokens], `in IO out` of each query.

    Attributes:
        row, column: LongTensor [tokens], the query of each token, and its place in it.
        at_words: LongTensor [words], the input words among the tokens.
        at_answers: LongTensor [answers], IO and the symbols of answers among the tokens.
        words: the words of each query.
        answers: IO and the symbols of each query.
        words_of_episode, answers_of_episode: the same of each episode.
        entries: which tokens are uses of which word; `entries.asked` is [words].
        predicting: LongTensor [queries, T], the answer token that predicts each target symbol.
    """

    row: Tensor
    column: Tensor
    at_words: Tensor
    at_answers: Tensor
    words: Rows
    answers: Rows
    words_of_episode: Rows
    answers_of_episode: Rows
    entries: Entries
    predicting: Tensor


def pack_stages(episodes: Sequence[Encoded], vocabulary: Vocabulary) -> StagedBatch:
    """Pad and index encoded episodes (see `StagedBatch`)."""
    queries = Queries.of(episodes)
    words, answered = queries.words, queries.symbols + 1
    row, column = ragged(words + answered)
    is_word = column < words[row]
    common = in_common(episodes, queries, vocabulary)
    predicting = np.zeros(common["target"].shape, dtype=np.int64)
    predicting[ragged(answered)] = np.arange(answered.sum())
    return StagedBatch(
        **common,
        asked=torch.from_numpy(flat([e.asked for e in episodes])),
        asked_places=torch.from_numpy(flat([e.asked_places for e in episodes])),
        row=torch.from_numpy(row),
        column=torch.from_numpy(column),
        at_words=torch.from_numpy(np.nonzero(is_word)[0]),
        at_answers=torch.from_numpy(np.nonzero(~is_word)[0]),
        words=Rows.of(words),
        answers=Rows.of(answered),
        words_of_episode=Rows.of(_sums(words, queries.episode, len(episodes))),
        answers_of_episode=Rows.of(_sums(answered, queries.episode, len(episodes))),
        entries=pack_entries(
            [e.study_entries for e in episodes], [e.asked_entries for e in episodes]
        ),
        predicting=torch.from_numpy(predicting),
    )


def _sums(numbers: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    return np.bincount(group, weights=numbers, minlength=groups).astype(np.int64)
