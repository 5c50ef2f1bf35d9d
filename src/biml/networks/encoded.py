"""One episode as the staged network numbers it."""

from collections.abc import Sequence
from dataclasses import dataclass

from biml.episodes.episode import Episode
from biml.errors import UsageError
from biml.networks.entries import NONE
from biml.networks.guides import EpisodeGuides, encode_guides
from biml.networks.pieces import equal_pieces
from biml.vocabulary import IO, Vocabulary

LONGEST = 20
"""Inputs, and outputs, whose tokens have places of their own; later ones share the last."""

AT_IO, AT_BREAK, PLACES = 2 * LONGEST, 2 * LONGEST + 1, 2 * LONGEST + 2
"""The places of IO and of what separates study examples, and how many places there are."""


@dataclass(frozen=True)
class Encoded:
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

    number: int
    study: list[int]
    study_places: list[int]
    example: list[int]
    asked: list[int]
    asked_places: list[int]
    words: list[int]
    targets: list[list[int]]
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
        shown = dict.fromkeys(word for words, _, _ in episode.study for word in words)
        known = {word: entry for entry, word in enumerate(shown)}
        guides = encode_guides(episode, known, vocabulary)
        encoded = Encoded(number, [read.sos], [AT_BREAK], [0], [], [], [], [], [NONE], [], guides)
        for place, (words, symbols, _) in enumerate(episode.study):
            encoded.study.extend(read.encode((*words, IO, *symbols)))
            encoded.study.append(read.sos)
            encoded.study_places.extend(_places(len(words), len(symbols)))
            encoded.study_places.append(AT_BREAK)
            entries = [known[word] for word in words]
            encoded.study_entries.extend([*entries, *[NONE] * (len(symbols) + 2)])
            encoded.example.extend([place] * (len(words) + len(symbols) + 2))
        for words, symbols, _ in episode.queries:
            encoded.asked.extend(read.encode((*words, IO, *symbols)))
            encoded.asked_places.extend(places_asked(len(words), len(symbols) + 1))
            encoded.asked_entries.extend([known.get(word, NONE) for word in words])
            encoded.words.append(len(words))
            encoded.targets.append(write.encode(symbols))
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


def answer_symbols(vocabulary: Vocabulary) -> list[int]:
    """For each number of the output language, that of the same symbol in the input language.

    What a network answers it reads again as it reads the outputs of study examples. A
    symbol of answers alone, SOS or PAD among them, is read as the one of that name.
    """
    read = vocabulary.input
    return [*read.encode(vocabulary.output.symbols), read.sos, read.eos, read.pad]


def cut_episodes(
    episodes: Sequence[Encoded], max_tokens: int, at_least: int = 1
) -> list[list[Encoded]]:
    """Episodes of like length in pieces of at most `max_tokens` tokens with padding."""

    def size(episode: Encoded) -> int:
        return len(episode.study) + len(episode.asked)

    in_order = sorted(episodes, key=lambda e: (size(e), len(e.study), e.number))
    return equal_pieces(in_order, size, max_tokens, at_least)
