"""Batches of the staged network: token numbers, positions and lexicon slots of episodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from biml.episodes.episode import Episode
from biml.networks.auxiliary_loss import (
    AuxLabels,
    EpisodeAuxLabels,
    encode_aux_labels,
    pack_aux_labels,
)
from biml.networks.batching import (
    RaggedRows,
    TensorData,
    flatten,
    pad_tensor,
    ragged_index,
)
from biml.networks.staged_layers import LexiconIndex
from biml.vocabulary import IO, Vocabulary

NO_SLOT = -1  # of a token that is not a word of a study input

PAD_TOKENS_TO_MULTIPLE = 64
"""Padding makes shapes recur: in bf16 on CPUs, PyTorch compiles products for each new shape."""


@dataclass(frozen=True)
class TokenizedEpisode:
    """One episode as numbers; `study_*` and `query_*` lists have an item for each token."""

    index: int  # of the episode among those that are collated
    study_tokens: list[int]  # SOS in IO out SOS in IO out SOS …
    study_positions: list[int]
    example_ids: list[int]  # the study example of each token
    query_tokens: list[int]  # in IO out in IO out …, of all queries
    query_positions: list[int]
    query_lengths: list[int]  # words of each query
    targets: list[list[int]]  # in the output vocabulary
    study_slots: list[int]  # number of each word among those of the study inputs, or NO_SLOT
    query_slots: list[int]  # the same for the words of the queries
    aux_labels: EpisodeAuxLabels

    @property
    def lengths(self) -> tuple[int, int]:
        return len(self.study_tokens) + len(self.query_tokens), len(self.study_tokens)


def tokenize_episode(
    index: int, episode: Episode, vocabulary: Vocabulary, max_positions: int
) -> TokenizedEpisode:
    read, write = vocabulary.input, vocabulary.output
    separator = 2 * max_positions + 1
    words_in_order = dict.fromkeys(word for example in episode.study for word in example.input)
    slots = {word: slot for slot, word in enumerate(words_in_order)}
    labels = encode_aux_labels(episode, slots, vocabulary)
    item = TokenizedEpisode(
        index, [read.sos], [separator], [0], [], [], [], [], [NO_SLOT], [], labels
    )
    for example_id, (words, symbols, *_) in enumerate(episode.study):
        tokens = read.encode((*words, IO, *symbols))
        n_symbols = len(tokens) - len(words) - 1  # of which tokens can stand for several
        positions = example_positions(len(words), n_symbols, max_positions)
        item.study_tokens.extend([*tokens, read.sos])
        item.study_positions.extend([*positions, separator])
        item.example_ids.extend([example_id] * (len(tokens) + 1))
        item.study_slots.extend(slots[word] for word in words)
        item.study_slots.extend([NO_SLOT] * (n_symbols + 2))
    for words, symbols, *_ in episode.queries:
        target = write.encode(symbols)
        item.query_tokens.extend(read.encode((*words, IO, *symbols)))
        item.query_positions.extend(query_positions(len(words), len(target) + 1, max_positions))
        item.query_slots.extend(slots.get(word, NO_SLOT) for word in words)
        item.query_lengths.append(len(words))
        item.targets.append(target)
    return item


# --- learned positions: inputs, outputs, IO, and the separator of study examples


def output_position(step: int, max_positions: int) -> int:
    """Number the positions of outputs after those of inputs; the last is shared."""
    return max_positions + min(step, max_positions - 1)


@lru_cache(maxsize=4096)
def example_positions(n_words: int, n_symbols: int, max_positions: int) -> tuple[int, ...]:
    """Number the positions of words, IO and output symbols.

    >>> example_positions(2, 3, max_positions=20)
    (0, 1, 40, 20, 21, 22)
    """
    words = [min(i, max_positions - 1) for i in range(n_words)]
    symbols = [output_position(i, max_positions) for i in range(n_symbols)]
    return (*words, 2 * max_positions, *symbols)


@lru_cache(maxsize=4096)
def query_positions(n_words: int, n_symbols: int, max_positions: int) -> tuple[int, ...]:
    """Number the positions of words and of the tokens that predict symbols.

    A token that predicts the i-th symbol has the position of the i-th symbol in study examples.
    """
    positions = example_positions(n_words, n_symbols, max_positions)
    return positions[:n_words] + positions[n_words + 1 :]


# --- the lexicon: one slot for each word type of an episode


def build_lexicon_index(
    study_slots: Sequence[Sequence[int]],
    query_slots: Sequence[Sequence[int]],
    n_padding: tuple[int, int] = (0, 0),
) -> LexiconIndex:
    """Number the slots of all episodes consecutively.

    `n_padding` tokens follow those of the study examples and those of the queries.
    """
    counts = [max(numbers, default=NO_SLOT) + 1 for numbers in study_slots]
    starts = np.cumsum([0, *counts])
    spare = starts[-1]

    def across_episodes(slots: Sequence[Sequence[int]]) -> Int[np.ndarray, " tok"]:
        numbers, first = flatten(slots), np.repeat(starts[:-1], [*map(len, slots)])
        return np.where(numbers == NO_SLOT, spare, numbers + first)

    slot = across_episodes(study_slots)
    lengths = np.bincount(slot[slot < spare], minlength=spare + 1)
    row, column = ragged_index(lengths)
    order = np.argsort(slot, kind="stable")[: len(row)]
    unpack = np.zeros((spare + 1, max(1, int(lengths.max(initial=0)))), dtype=np.int64)
    unpack[row, column] = order
    pack = np.full(slot.size, unpack.size - 1, dtype=np.int64)
    pack[order] = row * unpack.shape[1] + column
    query_slot = across_episodes(query_slots)
    uses = (torch.from_numpy(lengths), torch.from_numpy(unpack), torch.from_numpy(pack))
    return LexiconIndex(
        uses=RaggedRows(*uses, n_padding[0]),
        study_slots=F.pad(torch.from_numpy(slot), (0, n_padding[0]), value=spare),
        query_slots=F.pad(torch.from_numpy(query_slot), (0, n_padding[1]), value=spare),
    )


# --- batches


@dataclass
class StagedBatch(TensorData):
    """Padded rows of study examples, and packed tokens of all queries.

    `tok` are the tokens `in IO out` of all queries; `word` and `answer` are their words, and their
    IO and symbols (each predicts a target symbol or EOS), followed by padding tokens.
    """

    study_tokens: Int[Tensor, "episode study"]  # SOS in IO out SOS in IO out SOS …
    study_positions: Int[Tensor, "episode study"]  # any for padding
    example_ids: Int[Tensor, "episode study"]  # the study example of each token; 0 for padding
    study_rows: RaggedRows
    query_tokens: Int[Tensor, " tok"]
    query_positions: Int[Tensor, " tok"]
    query_id: Int[Tensor, " tok"]
    offset: Int[Tensor, " tok"]  # of each token in its query
    word_index: Int[Tensor, " word"]  # among `tok`
    answer_index: Int[Tensor, " answer"]
    word_rows: RaggedRows  # a row for each query
    answer_rows: RaggedRows
    episode_word_rows: RaggedRows  # a row for each episode
    episode_answer_rows: RaggedRows
    lexicon_index: LexiconIndex
    episode_id: Int[Tensor, " query"]
    aux_labels: AuxLabels | None
    decoder_input: Int[Tensor, "query out"]  # SOS and the target symbols
    target: Int[Tensor, "query out"]  # the target symbols and EOS
    indices: list[tuple[int, int]]  # (episode, query) of each row

    @property
    def n_tokens(self) -> int:
        return self.study_tokens.numel() + self.query_tokens.numel()


def pad_episodes(episodes: Sequence[TokenizedEpisode], vocabulary: Vocabulary) -> StagedBatch:
    """Pad and index all rows at once, as a loop over rows would take a tenth of a step."""
    write = vocabulary.output
    targets = [target for e in episodes for target in e.targets]
    n_words = flatten([e.query_lengths for e in episodes])
    n_answers = np.array([len(target) + 1 for target in targets], dtype=np.int64)
    n_study = np.array([len(e.study_tokens) for e in episodes], dtype=np.int64)
    pad_study, pad_words, pad_answers = (
        -int(counts.sum()) % PAD_TOKENS_TO_MULTIPLE for counts in (n_study, n_words, n_answers)
    )
    query_id, offset = ragged_index(n_words + n_answers)
    is_word = offset < n_words[query_id]
    word_rows = RaggedRows.from_lengths(n_words, pad_words)
    answer_rows = RaggedRows.from_lengths(n_answers, pad_answers)
    words_per_episode = [sum(e.query_lengths) for e in episodes]
    answers_per_episode = [sum(map(len, e.targets)) + len(e.targets) for e in episodes]
    return StagedBatch(
        study_tokens=pad_tensor([e.study_tokens for e in episodes], vocabulary.input.pad),
        study_positions=pad_tensor([e.study_positions for e in episodes], 0),
        example_ids=pad_tensor([e.example_ids for e in episodes], 0),
        study_rows=RaggedRows.from_lengths(n_study, pad_study),
        query_tokens=torch.from_numpy(flatten([e.query_tokens for e in episodes])),
        query_positions=torch.from_numpy(flatten([e.query_positions for e in episodes])),
        query_id=torch.from_numpy(query_id),
        offset=torch.from_numpy(offset),
        word_index=F.pad(torch.from_numpy(np.nonzero(is_word)[0]), (0, pad_words)),
        answer_index=F.pad(torch.from_numpy(np.nonzero(~is_word)[0]), (0, pad_answers)),
        word_rows=word_rows,
        answer_rows=answer_rows,
        episode_word_rows=RaggedRows.from_lengths(words_per_episode, pad_words),
        episode_answer_rows=RaggedRows.from_lengths(answers_per_episode, pad_answers),
        lexicon_index=build_lexicon_index(
            [e.study_slots for e in episodes],
            [e.query_slots for e in episodes],
            (pad_study, pad_words),
        ),
        episode_id=torch.from_numpy(
            np.repeat(np.arange(len(episodes)), [len(e.query_lengths) for e in episodes])
        ),
        aux_labels=pack_aux_labels([e.aux_labels for e in episodes], word_rows, answer_rows),
        decoder_input=pad_tensor([[write.sos, *target] for target in targets], write.pad),
        target=pad_tensor([[*target, write.eos] for target in targets], write.pad),
        indices=[(e.index, q) for e in episodes for q in range(len(e.query_lengths))],
    )
