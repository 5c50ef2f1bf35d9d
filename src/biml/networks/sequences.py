"""Episodes as the token sequences that the paper's network reads (paper, Methods)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from biml.episodes.episode import Episode, Example
from biml.errors import UsageError
from biml.networks.moving import to_device
from biml.networks.pieces import balanced_micro_batches
from biml.networks.ragged import pad_tensor
from biml.vocabulary import IO, SOS, Vocabulary


@dataclass
class Seq2SeqBatch:
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
    indices: list[tuple[int, int]]

    def to(self, device: torch.device) -> "Seq2SeqBatch":
        return to_device(self, device)

    @property
    def n_tokens(self) -> int:
        """Work of a training pass, in source tokens with padding."""
        return self.source.numel()


class EncodedQuery(NamedTuple):
    """One query as numbers, not yet padded."""

    source: list[int]
    target: list[int]
    indices: tuple[int, int]


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
    return [*query.input, SOS, *chain.from_iterable(shown), "EOS"]


def encode_queries(episodes: Sequence[Episode], vocabulary: Vocabulary) -> Iterator[EncodedQuery]:
    """All queries of the episodes; the study examples of each are numbered once.

    Raises:
        UsageError: a symbol is not in the vocabulary.
    """
    words, symbols = vocabulary.input, vocabulary.output
    for e, episode in enumerate(episodes):
        try:
            study = words.encode(source_symbols(Example((), ()), episode.study))
            for q, query in enumerate(episode.queries):
                source = words.encode(query.input) + study
                yield EncodedQuery(source, symbols.encode(query.output), (e, q))
        except UsageError as error:
            raise UsageError(f"{episode.name or f'episode {e}'}: {error}") from None


def pad_batch(rows: Sequence[EncodedQuery], vocabulary: Vocabulary) -> Seq2SeqBatch:
    """Pad the rows to the longest of them."""
    output = vocabulary.output
    lengths = [len(row.source) for row in rows]
    return Seq2SeqBatch(
        source=pad_tensor([row.source for row in rows], vocabulary.input.pad),
        lengths=torch.tensor(lengths, dtype=torch.int64),
        decoder_input=pad_tensor([[output.sos, *row.target] for row in rows], output.pad),
        target=pad_tensor([[*row.target, output.eos] for row in rows], output.pad),
        indices=[row.indices for row in rows],
    )


def split_by_length(
    rows: Sequence[EncodedQuery], max_tokens: int, min_batches: int = 1
) -> list[list[EncodedQuery]]:
    """Rows of like length in pieces of at most `max_tokens` source tokens with padding."""
    rows = sorted(rows, key=lambda row: (len(row.source), len(row.target)))
    return balanced_micro_batches(rows, lambda row: len(row.source), max_tokens, min_batches)
