"""One episode as the staged network numbers it."""

from collections.abc import Sequence
from dataclasses import dataclass

from biml.episodes.episode import Episode
from biml.errors import UsageError
from biml.networks.entries import NO_SLOT
from biml.networks.guides import EpisodeAuxLabels, encode_aux_labels
from biml.networks.pieces import balanced_micro_batches
from biml.vocabulary import IO, Vocabulary

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
        shown = dict.fromkeys(word for words, _, _ in episode.study for word in words)
        known = {word: entry for entry, word in enumerate(shown)}
        guides = encode_aux_labels(episode, known, vocabulary)
        encoded = EncodedEpisode(
            index, [read.sos], [SEP_POSITION], [0], [], [], [], [], [NO_SLOT], [], guides
        )
        for place, (words, symbols, _) in enumerate(episode.study):
            encoded.study_tokens.extend(read.encode((*words, IO, *symbols)))
            encoded.study_tokens.append(read.sos)
            encoded.study_positions.extend(_example_positions(len(words), len(symbols)))
            encoded.study_positions.append(SEP_POSITION)
            entries = [known[word] for word in words]
            encoded.study_slots.extend([*entries, *[NO_SLOT] * (len(symbols) + 2)])
            encoded.example_ids.extend([place] * (len(words) + len(symbols) + 2))
        for words, symbols, _ in episode.queries:
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
