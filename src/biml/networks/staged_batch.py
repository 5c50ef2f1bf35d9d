"""Episodes as the staged network reads them: study examples, then queries, then answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from biml.episodes.episode import Episode, GrammarLabels, SourcePositions
from biml.errors import UsageError
from biml.grammar import Rule
from biml.networks.base import to_device
from biml.networks.batching import (
    RaggedRows,
    balanced_micro_batches,
    flatten,
    pad_array,
    pad_tensor,
    ragged_index,
)
from biml.vocabulary import IO, TokenVocab, Vocabulary

NO_SLOT = -1
"""The entry of a token that is no word of a study example."""


@dataclass
class LexiconIndex:
    """Which tokens of a batch are uses of which word; the last entry, of no word, is spare.

    Attributes:
        uses: study tokens, a row for each word; that of the spare entry is empty, and its
            last place is where all tokens are sent that are no word.
        study: LongTensor [study tokens], the entry of each, one after another.
        asked: LongTensor [words], the entry of each word of the queries, one after another.
    """

    uses: RaggedRows
    study_slots: Tensor
    query_slots: Tensor

    def to(self, device: torch.device) -> "LexiconIndex":
        return to_device(self, device)


def build_lexicon_index(
    study_slots: Sequence[Sequence[int]],
    query_slots: Sequence[Sequence[int]],
    n_padding: tuple[int, int] = (0, 0),
) -> LexiconIndex:
    """The entries of a batch.

    Args:
        study: for each study token of each episode the number of its word among those of the
            episode, in the order in which they first occur, or NONE.
        asked: the same for each word of the queries.
        spare_tokens: how many rows follow the study tokens, and the words; they are no word.
    """
    counts = [max(numbers, default=NO_SLOT) + 1 for numbers in study_slots]
    starts = np.cumsum([0, *counts])
    spare = starts[-1]

    entry, of_asked = (
        np.where(numbers == NO_SLOT, spare, numbers + np.repeat(starts[:-1], [*map(len, parts)]))
        for parts, numbers in (
            (study_slots, flatten(study_slots)),
            (query_slots, flatten(query_slots)),
        )
    )
    lengths = np.bincount(entry[entry < spare], minlength=spare + 1)
    row, column = ragged_index(lengths)
    order = np.argsort(entry, kind="stable")[: len(row)]
    uses = np.zeros((spare + 1, max(1, int(lengths.max(initial=0)))), dtype=np.int64)
    uses[row, column] = order
    back = np.full(entry.size, uses.size - 1, dtype=np.int64)
    back[order] = row * uses.shape[1] + column
    return LexiconIndex(
        uses=RaggedRows(
            torch.from_numpy(lengths),
            torch.from_numpy(uses),
            torch.from_numpy(back),
            n_padding[0],
        ),
        study_slots=F.pad(torch.from_numpy(entry), (0, n_padding[0]), value=spare),
        query_slots=F.pad(torch.from_numpy(of_asked), (0, n_padding[1]), value=spare),
    )


# === What episodes' grammars tell a network in training, as numbers beside their tokens.


IGNORE_INDEX = -1

MAX_RHS = 8
"""Items of a right side that are told; the meta-grammar's have no more."""

MAX_ARGS = 2
"""Variables of a left side that are told."""

LABEL_SIZE = 1 + MAX_RHS + MAX_ARGS
"""Numbers that say what a word means."""


@dataclass
class AuxLabels:
    """Where attention should look, and what words mean.

    Attributes:
        study: LongTensor [3, n], for output symbols of known origin in study examples the episode,
            the token, and the token that it stands for.
        answers: LongTensor [3, n], for target symbols and EOS the query, the place in its answer
            (IO first) of the token that predicts it, and what it stands for: the place of a word
            in the query, or for EOS that of IO, which comes after the words of the longest query.
        meanings: LongTensor [entries, MEANING], the meaning of each word of the
            lexicon: its output symbol; the items of its right side, 0 for none, else the number of
            the variable from 1; for each variable 0 if it stands for one word, 1 for any string.
            UNKNOWN, -1, for what a word does not have.
    """

    study_alignment: Tensor
    answer_alignment: Tensor
    meanings: Tensor

    def to(self, device: torch.device) -> "AuxLabels":
        return to_device(self, device)


@dataclass(frozen=True)
class EpisodeAuxLabels:
    """The guides of one episode.

    Attributes:
        study: for each study token the one that it stands for, or UNKNOWN.
        answers: for each target symbol and EOS the token of the query that it stands for.
        meanings: the rows of `Guides.meanings`.
    """

    study_alignment: list[int]
    answer_alignment: list[int]
    meanings: list[list[int]]


def encode_aux_labels(
    episode: Episode, slot_words: Iterable[str], vocabulary: Vocabulary
) -> EpisodeAuxLabels:
    """Number what an episode's grammar tells, in the order of `encoded.encode`.

    Args:
        entries: the words of its study examples, as the lexicon has them.

    Raises:
        UsageError: an output symbol is not in the vocabulary.
    """
    nothing = GrammarLabels((None,) * len(episode.study), (None,) * len(episode.queries), {})
    told = episode.grammar_labels or nothing
    meanings = [rule_label(told.rules.get(word), vocabulary.output) for word in slot_words]
    guides = EpisodeAuxLabels([IGNORE_INDEX], [], meanings)
    for (words, symbols, *_), origins in zip(episode.study, told.study, strict=True):
        start = len(guides.study_alignment)
        guides.study_alignment.extend([IGNORE_INDEX] * (len(words) + 1))
        guides.study_alignment.extend(_alignment(origins, len(symbols), start))
        guides.study_alignment.append(IGNORE_INDEX)
    for (words, symbols, *_), origins in zip(episode.queries, told.queries, strict=True):
        guides.answer_alignment.extend(_alignment(origins, len(symbols)))
        guides.answer_alignment.append(IGNORE_INDEX if origins is None else len(words))
    return guides


def _alignment(source_positions: SourcePositions, n_symbols: int, start: int = 0) -> list[int]:
    return (
        [IGNORE_INDEX] * n_symbols
        if source_positions is None
        else [start + place for place in source_positions]
    )


def rule_label(rule: Rule | None, language: TokenVocab) -> list[int]:
    """A row of `Guides.meanings`; all UNKNOWN for no rule, and for those that it cannot hold.

    Raises:
        UsageError: its output symbol is not in the language.

    >>> from biml.vocabulary import TokenVocab
    >>> rule_label(Rule.parse("dax -> BLUE"), TokenVocab(("RED", "BLUE")))[0]
    1
    >>> rule_label(Rule.parse("u1 fep x1 -> [x1] [u1]"), TokenVocab(("RED", "BLUE")))
    [-1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    """
    row = [IGNORE_INDEX] * LABEL_SIZE
    if rule is None:
        return row
    if rule.lhs_pattern == ".":
        if len(rule.rhs) == 1:
            row[:1] = language.encode(rule.rhs)
        return row
    items = [place + 1 for place in rule.rhs_template if isinstance(place, int)]
    kinds = [int(kind == "x") for kind in rule.lhs_pattern if kind != "."]
    if len(items) == len(rule.rhs_template) <= MAX_RHS and len(kinds) <= MAX_ARGS:
        row[1 : 1 + MAX_RHS] = items + [0] * (MAX_RHS - len(items))
        row[1 + MAX_RHS : 1 + MAX_RHS + len(kinds)] = kinds
    return row


def pack_aux_labels(
    labels: Sequence[EpisodeAuxLabels], words: RaggedRows, answers: RaggedRows
) -> AuxLabels | None:
    """The guides of a batch; None if no grammar tells anything.

    Args:
        guides: of all its episodes.
        words, answers: the words of each query, and IO and the symbols of each answer.
    """
    study = pad_array([each.study_alignment for each in labels], IGNORE_INDEX)
    sought = flatten([each.answer_alignment for each in labels])
    meanings = flatten([row for each in labels for row in each.meanings]).reshape(-1, LABEL_SIZE)
    if all((numbers == IGNORE_INDEX).all() for numbers in (study, sought, meanings)):
        return None
    told = np.nonzero(study != IGNORE_INDEX)
    row, column = ragged_index(answers.lengths.numpy())
    after = sought == words.lengths.numpy()[row]
    sought = np.where(after, words.unpack.shape[1], sought)
    return AuxLabels(
        study_alignment=torch.from_numpy(np.stack((*told, study[told]))),
        answer_alignment=torch.from_numpy(
            np.stack((row, column, sought))[:, sought != IGNORE_INDEX]
        ),
        meanings=torch.from_numpy(meanings),
    )


# === One episode as the staged network numbers it.


MAX_POSITION = 20
"""Inputs, and outputs, whose tokens have places of their own; later ones share the last."""

IO_POSITION, SEP_POSITION, N_POSITIONS = (
    2 * MAX_POSITION,
    2 * MAX_POSITION + 1,
    2 * MAX_POSITION + 2,
)
"""The places of IO and of what separates study examples, and how many places there are."""


@dataclass(frozen=True)
class EncodedEpisode:
    """One episode as numbers.

    Attributes:
        number: of the episode among those that are collated.
        study: tokens of the study examples.
        study_places: where in its input or output each of them stands.
        example: the number of the study example that each belongs to.
        asked: tokens of all queries, one after another.
        asked_places: as in `StagedBatch`.
        words: input words of each query.
        targets: target symbols of each query, in the output language.
        study_entries: for each study token the number of its word among those of the study inputs,
            or NONE.
        asked_entries: the same for each word of the queries.
        guides: what its grammar tells.
    """

    index: int
    study_tokens: list[int]
    study_positions: list[int]
    example_ids: list[int]
    query_tokens: list[int]
    query_positions: list[int]
    query_lengths: list[int]
    targets: list[list[int]]
    study_slots: list[int]
    query_slots: list[int]
    aux_labels: EpisodeAuxLabels


def encode_episode(index: int, episode: Episode, vocabulary: Vocabulary) -> EncodedEpisode:
    """Number the symbols of an episode.

    Raises:
        UsageError: a symbol is not in the vocabulary.
    """
    read, write = vocabulary.input, vocabulary.output
    try:
        shown = dict.fromkeys(word for example in episode.study for word in example.input)
        known = {word: entry for entry, word in enumerate(shown)}
        guides = encode_aux_labels(episode, known, vocabulary)
        encoded = EncodedEpisode(
            index, [read.sos], [SEP_POSITION], [0], [], [], [], [], [NO_SLOT], [], guides
        )
        for place, (words, symbols, *_) in enumerate(episode.study):
            encoded.study_tokens.extend(read.encode((*words, IO, *symbols)))
            encoded.study_tokens.append(read.sos)
            encoded.study_positions.extend(_example_positions(len(words), len(symbols)))
            encoded.study_positions.append(SEP_POSITION)
            entries = [known[word] for word in words]
            encoded.study_slots.extend([*entries, *[NO_SLOT] * (len(symbols) + 2)])
            encoded.example_ids.extend([place] * (len(words) + len(symbols) + 2))
        for words, symbols, *_ in episode.queries:
            encoded.query_tokens.extend(read.encode((*words, IO, *symbols)))
            encoded.query_positions.extend(query_positions(len(words), len(symbols) + 1))
            encoded.query_slots.extend([known.get(word, NO_SLOT) for word in words])
            encoded.query_lengths.append(len(words))
            encoded.targets.append(write.encode(symbols))
    except UsageError as error:
        raise UsageError(f"{episode.name or f'episode {index}'}: {error}") from None
    return encoded


def _example_positions(n_words: int, n_symbols: int) -> list[int]:
    """Places of the tokens of a study example."""
    before = [min(i, MAX_POSITION - 1) for i in range(n_words)]
    after = [MAX_POSITION + min(i, MAX_POSITION - 1) for i in range(n_symbols)]
    return [*before, IO_POSITION, *after]


def query_positions(n_words: int, n_symbols: int) -> list[int]:
    """Places of the tokens of a query, and of the symbols that it is answered with.

    A token that predicts the i-th symbol of the answer has the place of the i-th symbol of a study
    example's output, so that it finds what was answered there.
    """
    places = _example_positions(n_words, n_symbols)
    return [*places[:n_words], *places[n_words + 1 :]]


def output_to_input_ids(vocabulary: Vocabulary) -> list[int]:
    """For each number of the output language, that of the same symbol in the input language.

    What a network answers it reads again as it reads the outputs of study examples. A
    symbol of answers alone, SOS or PAD among them, is read as the one of that name.
    """
    read = vocabulary.input
    return [*read.encode(vocabulary.output.symbols), read.sos, read.eos, read.pad]


def split_episodes(
    episodes: Sequence[EncodedEpisode], max_tokens: int, min_batches: int = 1
) -> list[list[EncodedEpisode]]:
    """Episodes of like length in pieces of at most `max_tokens` tokens with padding."""

    def size(episode: EncodedEpisode) -> int:
        return len(episode.study_tokens) + len(episode.query_tokens)

    in_order = sorted(episodes, key=lambda e: (size(e), len(e.study_tokens), e.index))
    return balanced_micro_batches(in_order, size, max_tokens, min_batches)


# === Episodes as the staged network reads them: study examples, then queries, then answers.


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
