"""Episodes as the token sequences that the paper's network reads (paper, Methods)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from biml.episodes.episode import Episode, Example
from biml.errors import UsageError
from biml.networks.moving import moved
from biml.networks.pieces import equal_pieces
from biml.networks.ragged import padded
from biml.vocabulary import IO, SOS, Vocabulary


@dataclass
class SequenceBatch:
    """Queries with their study examples, one row each, padded behind.

    Attributes:
        source: LongTensor [rows, S], `query | in IO out | in IO out | … EOS`, PAD behind.
        lengths: LongTensor [rows], tokens of `source` that are not PAD.
        decoder_input: LongTensor [rows, T], SOS and the target symbols, PAD behind.
        target: LongTensor [rows, T], the target symbols and EOS, PAD behind.
        origin: for each row its (episode, query) numbers in the episodes that were collated.
    """

    source: Tensor
    lengths: Tensor
    decoder_input: Tensor
    target: Tensor
    origin: list[tuple[int, int]]

    def to(self, device: torch.device) -> "SequenceBatch":
        return moved(self, device)

    @property
    def cost(self) -> int:
        """Work of a training pass, in source tokens with padding."""
        return self.source.numel()


class Row(NamedTuple):
    """One query as numbers, not yet padded."""

    source: list[int]
    target: list[int]
    origin: tuple[int, int]


def source_symbols(query: Example, study: Sequence[Example]) -> list[str]:
    """The source sequence: the query, then the study examples, each closed by the separator.

    SOS doubles as the separator `|`. It follows the query where there is no study example too, as
    in the basic seq2seq model; the released models were trained so.

    >>> dax, wif = Example(("dax",), ("RED",)), Example(("wif", "lug"), ("RED", "BLUE"))
    >>> " ".join(source_symbols(wif, [dax]))
    'wif lug SOS dax IO RED SOS EOS'
    >>> " ".join(source_symbols(wif, []))
    'wif lug SOS EOS'
    """
    shown = [[*words, IO, *symbols, SOS] for words, symbols, _ in study]
    return [*query.words, SOS, *chain.from_iterable(shown), "EOS"]


def encode_rows(episodes: Sequence[Episode], vocabulary: Vocabulary) -> Iterator[Row]:
    """All queries of the episodes; the study examples of each are numbered once.

    Raises:
        UsageError: a symbol is not in the vocabulary.
    """
    words, symbols = vocabulary.input, vocabulary.output
    for e, episode in enumerate(episodes):
        try:
            study = words.encode(source_symbols(Example((), ()), episode.study))
            for q, query in enumerate(episode.queries):
                source = words.encode(query.words) + study
                yield Row(source, symbols.encode(query.symbols), (e, q))
        except UsageError as error:
            raise UsageError(f"{episode.name or f'episode {e}'}: {error}") from None


def batch_of(rows: Sequence[Row], vocabulary: Vocabulary) -> SequenceBatch:
    """Pad the rows to the longest of them."""
    output = vocabulary.output
    lengths = [len(row.source) for row in rows]
    return SequenceBatch(
        source=padded([row.source for row in rows], vocabulary.input.pad),
        lengths=torch.tensor(lengths, dtype=torch.int64),
        decoder_input=padded([[output.sos, *row.target] for row in rows], output.pad),
        target=padded([[*row.target, output.eos] for row in rows], output.pad),
        origin=[row.origin for row in rows],
    )


def cut(rows: Sequence[Row], max_tokens: int, at_least: int = 1) -> list[list[Row]]:
    """Rows of like length in pieces of at most `max_tokens` source tokens with padding."""
    rows = sorted(rows, key=lambda row: (len(row.source), len(row.target)))
    return equal_pieces(rows, lambda row: len(row.source), max_tokens, at_least)
