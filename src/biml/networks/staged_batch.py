"""Episodes as the staged network reads them: study examples, then queries, then answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biml.networks.entries import Entries, pack_entries
from biml.networks.guides import Guides, pack_guides
from biml.networks.moving import moved
from biml.networks.packed import AT_BREAK, Encoded, targets
from biml.networks.ragged import flat, ragged, table
from biml.networks.rows import Rows
from biml.vocabulary import Vocabulary


@dataclass
class StagedBatch:
    """Episodes: a row each for study examples, all words and all answers one after another.

    Attributes:
        study, study_places, example, lengths, guides, decoder_input, target, origin: as in
            `PackedBatch`.
        asked: LongTensor [tokens], `in IO out` of all queries one after another.
        asked_places: LongTensor [tokens], as in `PackedBatch`.
        row, column: LongTensor [tokens], the query of each token, and its place in it.
        at_words: LongTensor [words], the input words among the tokens.
        at_answers: LongTensor [answers], IO and the symbols of answers among the tokens.
        words: the words of each query.
        answers: IO and the symbols of each query.
        words_of_episode, answers_of_episode: the same of each episode.
        entries: which tokens are uses of which word; `entries.asked` is [words].
        episode: LongTensor [queries], the episode of each query.
        predicting: LongTensor [queries, T], the answer token that predicts each target symbol.
    """

    study: Tensor
    study_places: Tensor
    example: Tensor
    lengths: Tensor
    asked: Tensor
    asked_places: Tensor
    row: Tensor
    column: Tensor
    at_words: Tensor
    at_answers: Tensor
    words: Rows
    answers: Rows
    words_of_episode: Rows
    answers_of_episode: Rows
    entries: Entries
    episode: Tensor
    predicting: Tensor
    guides: Guides | None
    decoder_input: Tensor
    target: Tensor
    origin: list[tuple[int, int]]

    def to(self, device: torch.device) -> "StagedBatch":
        return moved(self, device)

    @property
    def cost(self) -> int:
        """Work of a training pass, in tokens with padding."""
        return self.study.numel() + self.asked.numel()


def pack_stages(episodes: Sequence[Encoded], vocabulary: Vocabulary) -> StagedBatch:
    """Pad and index encoded episodes (see `StagedBatch`)."""
    read, write = vocabulary.input, vocabulary.output
    words = flat([e.words for e in episodes])
    symbols = flat([e.symbols for e in episodes])
    row, column = ragged(words + 1 + symbols)
    is_word = column < words[row]
    per_episode = np.array([len(e.words) for e in episodes], dtype=np.int64)
    episode = np.repeat(np.arange(len(episodes)), per_episode)
    answers = Rows.of(symbols + 1)
    decoder_input, target = targets(symbols, flat([e.targets for e in episodes]), write)
    predicting = np.zeros(target.shape, dtype=np.int64)
    predicting[ragged(symbols + 1)] = np.arange((symbols + 1).sum())
    return StagedBatch(
        study=torch.from_numpy(table([e.study for e in episodes], read.pad)[0]),
        study_places=torch.from_numpy(table([e.study_places for e in episodes], AT_BREAK)[0]),
        example=torch.from_numpy(table([e.example for e in episodes], 0)[0]),
        lengths=torch.tensor([len(e.study) for e in episodes], dtype=torch.int64),
        asked=torch.from_numpy(flat([e.asked for e in episodes])),
        asked_places=torch.from_numpy(flat([e.asked_places for e in episodes])),
        row=torch.from_numpy(row),
        column=torch.from_numpy(column),
        at_words=torch.from_numpy(np.nonzero(is_word)[0]),
        at_answers=torch.from_numpy(np.nonzero(~is_word)[0]),
        words=Rows.of(words),
        answers=answers,
        words_of_episode=Rows.of(_sums(words, episode, len(episodes))),
        answers_of_episode=Rows.of(_sums(symbols + 1, episode, len(episodes))),
        entries=pack_entries(
            [e.study_entries for e in episodes], [e.asked_entries for e in episodes]
        ),
        episode=torch.from_numpy(episode),
        predicting=torch.from_numpy(predicting),
        guides=pack_guides([e.guides for e in episodes], words, symbols),
        decoder_input=torch.from_numpy(decoder_input),
        target=torch.from_numpy(target),
        origin=[(e.number, q) for e in episodes for q in range(len(e.words))],
    )


def _sums(numbers: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    return np.bincount(group, weights=numbers, minlength=groups).astype(np.int64)
