"""Episodes as the staged network reads them: study examples, then queries, then answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from biml.networks.encoded import SEP_POSITION, EncodedEpisode
from biml.networks.entries import LexiconIndex, build_lexicon_index
from biml.networks.guides import AuxLabels, pack_aux_labels
from biml.networks.moving import to_device
from biml.networks.ragged import flatten, pad_tensor, ragged_index
from biml.networks.rows import RaggedRows
from biml.vocabulary import Vocabulary

PAD_TOKENS_TO_MULTIPLE = 64
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

    study_tokens: Tensor
    study_positions: Tensor
    example_ids: Tensor
    study_rows: RaggedRows
    query_tokens: Tensor
    query_positions: Tensor
    query_id: Tensor
    offset: Tensor
    word_index: Tensor
    answer_index: Tensor
    word_rows: RaggedRows
    answer_rows: RaggedRows
    episode_word_rows: RaggedRows
    episode_answer_rows: RaggedRows
    lexicon_index: LexiconIndex
    episode_id: Tensor
    aux_labels: AuxLabels | None
    decoder_input: Tensor
    target: Tensor
    indices: list[tuple[int, int]]

    def to(self, device: torch.device) -> "StagedBatch":
        return to_device(self, device)

    @property
    def n_tokens(self) -> int:
        """Work of a training pass, in tokens with padding."""
        return self.study_tokens.numel() + self.query_tokens.numel()


def collate_staged(episodes: Sequence[EncodedEpisode], vocabulary: Vocabulary) -> StagedBatch:
    """Pad and index encoded episodes (see `StagedBatch`).

    All rows at once: with an array operation for each row this would take a tenth of a step.
    """
    targets = [target for e in episodes for target in e.targets]
    words = flatten([e.query_lengths for e in episodes])
    answered = np.array([len(target) + 1 for target in targets], dtype=np.int64)
    row, column = ragged_index(words + answered)
    is_word = column < words[row]
    of_study = np.array([len(e.study_tokens) for e in episodes], dtype=np.int64)
    counts = (of_study.sum(), words.sum(), answered.sum())
    spare_study, spare_words, spare_answers = (
        -int(count) % PAD_TOKENS_TO_MULTIPLE for count in counts
    )
    of_words, of_answers = (
        RaggedRows.from_lengths(words, spare_words),
        RaggedRows.from_lengths(answered, spare_answers),
    )
    write = vocabulary.output
    return StagedBatch(
        study_tokens=pad_tensor([e.study_tokens for e in episodes], vocabulary.input.pad),
        study_positions=pad_tensor([e.study_positions for e in episodes], SEP_POSITION),
        example_ids=pad_tensor([e.example_ids for e in episodes], 0),
        study_rows=RaggedRows.from_lengths(of_study, spare_study),
        query_tokens=torch.from_numpy(flatten([e.query_tokens for e in episodes])),
        query_positions=torch.from_numpy(flatten([e.query_positions for e in episodes])),
        query_id=torch.from_numpy(row),
        offset=torch.from_numpy(column),
        word_index=F.pad(torch.from_numpy(np.nonzero(is_word)[0]), (0, spare_words)),
        answer_index=F.pad(torch.from_numpy(np.nonzero(~is_word)[0]), (0, spare_answers)),
        word_rows=of_words,
        answer_rows=of_answers,
        episode_word_rows=RaggedRows.from_lengths(
            [sum(e.query_lengths) for e in episodes], spare_words
        ),
        episode_answer_rows=RaggedRows.from_lengths(
            [sum(map(len, e.targets)) + len(e.targets) for e in episodes], spare_answers
        ),
        lexicon_index=build_lexicon_index(
            [e.study_slots for e in episodes],
            [e.query_slots for e in episodes],
            (spare_study, spare_words),
        ),
        episode_id=torch.from_numpy(
            flatten([[i] * len(e.query_lengths) for i, e in enumerate(episodes)])
        ),
        aux_labels=pack_aux_labels([e.aux_labels for e in episodes], of_words, of_answers),
        decoder_input=pad_tensor([[write.sos, *target] for target in targets], write.pad),
        target=pad_tensor([[*target, write.eos] for target in targets], write.pad),
        indices=[(e.index, q) for e in episodes for q in range(len(e.query_lengths))],
    )
