"""Episodes as the staged network reads them: study examples, then queries, then answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from biml.networks.encoded import AT_BREAK, Encoded
from biml.networks.entries import Entries, pack_entries
from biml.networks.guides import Guides, pack_guides
from biml.networks.moving import moved
from biml.networks.ragged import flat, padded, ragged
from biml.networks.rows import Rows
from biml.vocabulary import Vocabulary

ROUNDED = 64
"""Numbers of tokens are rounded up to this, by spare ones: in bf16, PyTorch compiles code on CPUs
for products of each new shape, and so they recur. That is one percent more to compute."""


@dataclass
class StagedBatch:
    """Episodes, a row each for study examples, and their queries, one token after another.

    Attributes:
        study: LongTensor [episodes, S], `SOS in IO out SOS in IO out SOS …`, PAD behind.
        study_places: LongTensor [episodes, S], where in its input or output each token stands.
        example: LongTensor [episodes, S], the study example of each token; that of padding is 0.
        examples: the study tokens of each episode, without PAD one after another.
        asked: LongTensor [tokens], `in IO out` of all queries.
        asked_places: LongTensor [tokens], where in its input each word stands, and in the output
            what IO and each symbol of the answer predict.
        row, column: LongTensor [tokens], the query of each token, and its place in it.
        at_words: LongTensor [words], the input words among the tokens; spare words follow.
        at_answers: LongTensor [answers], IO and the symbols of answers among the tokens; spare
            ones follow.
        words: the words of each query.
        answers: IO and the symbols of each query; each predicts a target symbol or EOS.
        words_of_episode, answers_of_episode: the same of each episode.
        entries: which tokens are uses of which word; `entries.asked` is [words].
        episode: LongTensor [queries], the episode of each query, by its row of `study`.
        guides: what grammars tell; None where nothing is told.
        decoder_input: LongTensor [queries, T], SOS and the target symbols, PAD behind.
        target: LongTensor [queries, T], the target symbols and EOS, PAD behind.
        origin: for each query its (episode, query) numbers in the episodes that were collated.
    """

    study: Tensor
    study_places: Tensor
    example: Tensor
    examples: Rows
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
    """Pad and index encoded episodes (see `StagedBatch`).

    All rows at once: with an array operation for each row this would take a tenth of a step.
    """
    targets = [target for e in episodes for target in e.targets]
    words = flat([e.words for e in episodes])
    answered = np.array([len(target) + 1 for target in targets], dtype=np.int64)
    row, column = ragged(words + answered)
    is_word = column < words[row]
    of_study = np.array([len(e.study) for e in episodes], dtype=np.int64)
    counts = (of_study.sum(), words.sum(), answered.sum())
    spare_study, spare_words, spare_answers = (-int(count) % ROUNDED for count in counts)
    of_words, of_answers = Rows.of(words, spare_words), Rows.of(answered, spare_answers)
    write = vocabulary.output
    return StagedBatch(
        study=padded([e.study for e in episodes], vocabulary.input.pad),
        study_places=padded([e.study_places for e in episodes], AT_BREAK),
        example=padded([e.example for e in episodes], 0),
        examples=Rows.of(of_study, spare_study),
        asked=torch.from_numpy(flat([e.asked for e in episodes])),
        asked_places=torch.from_numpy(flat([e.asked_places for e in episodes])),
        row=torch.from_numpy(row),
        column=torch.from_numpy(column),
        at_words=F.pad(torch.from_numpy(np.nonzero(is_word)[0]), (0, spare_words)),
        at_answers=F.pad(torch.from_numpy(np.nonzero(~is_word)[0]), (0, spare_answers)),
        words=of_words,
        answers=of_answers,
        words_of_episode=Rows.of([sum(e.words) for e in episodes], spare_words),
        answers_of_episode=Rows.of(
            [sum(map(len, e.targets)) + len(e.targets) for e in episodes], spare_answers
        ),
        entries=pack_entries(
            [e.study_entries for e in episodes],
            [e.asked_entries for e in episodes],
            (spare_study, spare_words),
        ),
        episode=torch.from_numpy(flat([[i] * len(e.words) for i, e in enumerate(episodes)])),
        guides=pack_guides([e.guides for e in episodes], of_words, of_answers),
        decoder_input=padded([[write.sos, *target] for target in targets], write.pad),
        target=padded([[*target, write.eos] for target in targets], write.pad),
        origin=[(e.number, q) for e in episodes for q in range(len(e.words))],
    )
