"""Episodes as the fast network reads them: study examples once, all queries in one row behind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biml.episodes.episode import Episode
from biml.errors import UsageError
from biml.networks.entries import NONE
from biml.networks.guides import EpisodeGuides, Guides, encode_guides, pack_guides
from biml.networks.moving import moved
from biml.networks.pieces import equal_pieces
from biml.networks.ragged import flat, ragged, table
from biml.vocabulary import IO, Language, Vocabulary

LONGEST = 20
"""Inputs, and outputs, whose tokens have places of their own; later ones share the last."""

AT_IO, AT_BREAK, PLACES = 2 * LONGEST, 2 * LONGEST + 1, 2 * LONGEST + 2
"""The places of IO and of what separates study examples, and how many places there are."""


@dataclass
class PackedBatch:
    """Episodes, one row each for study and for queries, and where each query lies.

    A query is read as `in IO out`, as a study example is.
    Attention among its own tokens wants a row for each query; `unpack` and `pack` go there and
    back. The last of those rows is spare, so that whatever is padding has somewhere to point to.

    Attributes:
        study: LongTensor [episodes, S], `SOS in IO out SOS in IO out SOS …`, PAD behind.
        study_places: LongTensor [episodes, S], where in its input or output each token stands.
        example: LongTensor [episodes, S], the study example of each token; that of padding is 0.
        lengths: LongTensor [episodes], tokens of `study` that are not PAD.
        asked: LongTensor [episodes, P], `in IO out` of all queries one after another, PAD behind.
        asked_places: LongTensor [episodes, P], where in its input each word stands, and in the
            output what IO and each symbol of the answer predict.
        unpack: LongTensor [rows + 1, W], the place in `asked` (flat) of each token of each query.
        pack: LongTensor [episodes * P], the place in `unpack` (flat) of each token of `asked`.
        words: LongTensor [rows + 1], input words of each query.
        tokens: LongTensor [rows + 1], tokens of each query.
        episode: LongTensor [rows], the episode of each query, by its row of `study`.
        answers: LongTensor [rows, T], the place in `asked` (flat) that predicts each target symbol.
        guides: what grammars tell, with rows and columns of `unpack` as queries and their tokens;
            None where nothing is told.
        decoder_input: LongTensor [rows, T], SOS and the target symbols, PAD behind.
        target: LongTensor [rows, T], the target symbols and EOS, PAD behind.
        origin: for each row its (episode, query) numbers in the episodes that were collated.
    """

    study: Tensor
    study_places: Tensor
    example: Tensor
    lengths: Tensor
    asked: Tensor
    asked_places: Tensor
    unpack: Tensor
    pack: Tensor
    words: Tensor
    tokens: Tensor
    episode: Tensor
    answers: Tensor
    guides: Guides | None
    decoder_input: Tensor
    target: Tensor
    origin: list[tuple[int, int]]

    def to(self, device: torch.device) -> "PackedBatch":
        return moved(self, device)

    @property
    def cost(self) -> int:
        """Work of a training pass, in tokens with padding."""
        return self.study.numel() + self.asked.numel()


@dataclass(frozen=True)
class Encoded:
    """One episode as numbers.

    Attributes:
        number: of the episode among those that are collated.
        study: tokens of the study examples.
        study_places: where in its input or output each of them stands.
        example: the number of the study example that each belongs to.
        asked: tokens of all queries, one after another.
        asked_places: as in `PackedBatch`.
        words: input words of each query.
        symbols: target symbols of each query.
        targets: target symbols of all queries, one after another, in the output language.
        study_entries: for each study token the number of its word among those of the study inputs,
            or NONE.
        asked_entries: the same for each word of the queries.
        guides: what its grammar tells.
    """

    number: int
    study: list[int]
    study_places: list[int]
    example: list[int]
    asked: list[int]
    asked_places: list[int]
    words: list[int]
    symbols: list[int]
    targets: list[int]
    study_entries: list[int]
    asked_entries: list[int]
    guides: EpisodeGuides


def encode(number: int, episode: Episode, vocabulary: Vocabulary) -> Encoded:
    """Number the symbols of an episode.

    Raises:
        UsageError: a symbol is not in the vocabulary.
    """
    read, write = vocabulary.input, vocabulary.output
    try:
        guides = encode_guides(episode, vocabulary)
        encoded = Encoded(
            number, [read.sos], [AT_BREAK], [0], [], [], [], [], [], [NONE], [], guides
        )
        known: dict[str, int] = {}
        for place, (words, symbols, _) in enumerate(episode.study):
            encoded.study.extend(read.encode((*words, IO, *symbols)))
            encoded.study.append(read.sos)
            encoded.study_places.extend(_places(len(words), len(symbols)))
            encoded.study_places.append(AT_BREAK)
            entry = [known.setdefault(word, len(known)) for word in words]
            encoded.study_entries.extend([*entry, *[NONE] * (len(symbols) + 2)])
            encoded.example.extend([place] * (len(words) + len(symbols) + 2))
        for words, symbols, _ in episode.queries:
            encoded.asked.extend(read.encode((*words, IO, *symbols)))
            encoded.asked_places.extend(places_asked(len(words), len(symbols) + 1))
            encoded.asked_entries.extend([known.get(word, NONE) for word in words])
            encoded.words.append(len(words))
            encoded.symbols.append(len(symbols))
            encoded.targets.extend(write.encode(symbols))
    except UsageError as error:
        raise UsageError(f"{episode.name or f'episode {number}'}: {error}") from None
    return encoded


def _places(words: int, symbols: int) -> list[int]:
    """Places of the tokens of a study example."""
    before = [min(i, LONGEST - 1) for i in range(words)]
    after = [LONGEST + min(i, LONGEST - 1) for i in range(symbols)]
    return [*before, AT_IO, *after]


def places_asked(words: int, answers: int) -> list[int]:
    """Places of the tokens of a query, and of the symbols that it is answered with.

    A token that predicts the i-th symbol of the answer has the place of the i-th symbol of a study
    example's output, so that it finds what was answered there.
    """
    places = _places(words, answers)
    return [*places[:words], *places[words + 1 :]]


def pack_episodes(episodes: Sequence[Encoded], vocabulary: Vocabulary) -> PackedBatch:
    """Pad and index encoded episodes (see `PackedBatch`).

    All rows at once: with an array operation for each row this would take a tenth of a step.
    """
    read, write = vocabulary.input, vocabulary.output
    words = flat([e.words for e in episodes])
    symbols = flat([e.symbols for e in episodes])
    tokens = words + 1 + symbols
    longest = int(tokens.max(initial=1))
    per_episode = np.array([len(e.words) for e in episodes], dtype=np.int64)
    episode = np.repeat(np.arange(len(episodes)), per_episode)
    asked, place = table([e.asked for e in episodes], read.pad)
    row, column = ragged(tokens)
    unpack = np.zeros((len(words) + 1, longest), dtype=np.int64)
    unpack[row, column] = place
    pack = np.full(asked.size, len(words) * longest, dtype=np.int64)
    pack[place] = row * longest + column
    decoder_input, target = targets(symbols, flat([e.targets for e in episodes]), write)
    answer_row, answer_column = ragged(symbols + 1)
    answers = np.zeros(target.shape, dtype=np.int64)
    answers[answer_row, answer_column] = unpack[answer_row, words[answer_row] + answer_column]
    return PackedBatch(
        study=torch.from_numpy(table([e.study for e in episodes], read.pad)[0]),
        study_places=torch.from_numpy(table([e.study_places for e in episodes], AT_BREAK)[0]),
        example=torch.from_numpy(table([e.example for e in episodes], 0)[0]),
        lengths=torch.tensor([len(e.study) for e in episodes], dtype=torch.int64),
        asked=torch.from_numpy(asked),
        asked_places=torch.from_numpy(
            table([e.asked_places for e in episodes], AT_BREAK)[0],
        ),
        unpack=torch.from_numpy(unpack),
        pack=torch.from_numpy(pack),
        words=torch.from_numpy(np.append(words, 0)),
        tokens=torch.from_numpy(np.append(tokens, 0)),
        episode=torch.from_numpy(episode),
        answers=torch.from_numpy(answers),
        guides=pack_guides([e.guides for e in episodes], words, symbols),
        decoder_input=torch.from_numpy(decoder_input),
        target=torch.from_numpy(target),
        origin=[(e.number, q) for e in episodes for q in range(len(e.words))],
    )


def targets(
    symbols: np.ndarray, numbers: np.ndarray, write: Language
) -> tuple[np.ndarray, np.ndarray]:
    """`decoder_input` and `target` of a batch.

    Args:
        symbols: target symbols of each query.
        numbers: target symbols of all queries, one after another.
        write: the output language.
    """
    row, column = ragged(symbols)
    target = np.full((len(symbols), int(symbols.max(initial=0)) + 1), write.pad, dtype=np.int64)
    decoder_input = target.copy()
    target[row, column] = numbers
    target[np.arange(len(symbols)), symbols] = write.eos
    decoder_input[:, 0] = write.sos
    decoder_input[row, column + 1] = numbers
    return decoder_input, target


def answer_symbols(vocabulary: Vocabulary) -> list[int]:
    """For each number of the output language, that of the same symbol in the input language.

    What the fast network answers it reads again as it reads the outputs of study examples. A
    symbol of answers alone, SOS or PAD among them, is read as the one of that name.
    """
    read = vocabulary.input
    return [*read.encode(vocabulary.output.symbols), read.sos, read.eos, read.pad]


def cut_episodes(episodes: Sequence[Encoded], max_tokens: int) -> list[list[Encoded]]:
    """Episodes of like length in pieces of at most `max_tokens` tokens with padding."""

    def size(episode: Encoded) -> int:
        return len(episode.study) + len(episode.asked)

    in_order = sorted(episodes, key=lambda e: (size(e), len(e.study), e.number))
    return equal_pieces(in_order, size, max_tokens)
