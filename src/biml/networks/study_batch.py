"""What batches of both networks that read study examples once have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from biml.networks.encoded import AT_BREAK, Encoded
from biml.networks.guides import Guides, pack_guides
from biml.networks.moving import moved
from biml.networks.ragged import flat, ragged, table
from biml.vocabulary import Language, Vocabulary


@dataclass(kw_only=True)
class StudyBatch:
    """Episodes, a row each for study examples, and their queries.

    Attributes:
        study: LongTensor [episodes, S], `SOS in IO out SOS in IO out SOS …`, PAD behind.
        study_places: LongTensor [episodes, S], where in its input or output each token stands.
        example: LongTensor [episodes, S], the study example of each token; that of padding is 0.
        lengths: LongTensor [episodes], tokens of `study` that are not PAD.
        asked: LongTensor, `in IO out` of the queries, as each network reads them.
        asked_places: LongTensor, as `asked`, where in its input each word stands, and in the output
            what IO and each symbol of the answer predict.
        episode: LongTensor [queries], the episode of each query, by its row of `study`.
        guides: what grammars tell, by queries and the places of their tokens; None where nothing
            is told.
        decoder_input: LongTensor [queries, T], SOS and the target symbols, PAD behind.
        target: LongTensor [queries, T], the target symbols and EOS, PAD behind.
        origin: for each query its (episode, query) numbers in the episodes that were collated.
    """

    study: Tensor
    study_places: Tensor
    example: Tensor
    lengths: Tensor
    asked: Tensor
    asked_places: Tensor
    episode: Tensor
    guides: Guides | None
    decoder_input: Tensor
    target: Tensor
    origin: list[tuple[int, int]]

    def to(self, device: torch.device) -> Self:
        return moved(self, device)

    @property
    def cost(self) -> int:
        """Work of a training pass, in tokens with padding."""
        return self.study.numel() + self.asked.numel()


@dataclass(frozen=True)
class Queries:
    """The queries of some episodes, one after another.

    Attributes:
        words: [queries], input words of each.
        symbols: [queries], target symbols of each.
        episode: [queries], the place of the episode of each.
    """

    words: np.ndarray
    symbols: np.ndarray
    episode: np.ndarray

    @classmethod
    def of(cls, episodes: Sequence[Encoded]) -> "Queries":
        counts = np.array([len(e.words) for e in episodes], dtype=np.int64)
        return cls(
            flat([e.words for e in episodes]),
            flat([e.symbols for e in episodes]),
            np.repeat(np.arange(len(episodes)), counts),
        )


def in_common(
    episodes: Sequence[Encoded], queries: Queries, vocabulary: Vocabulary
) -> dict[str, Any]:
    """The fields of `StudyBatch` that do not depend on the network; `asked` does."""
    read = vocabulary.input
    numbers = flat([e.targets for e in episodes])
    decoder_input, target = _targets(queries.symbols, numbers, vocabulary.output)
    return {
        "study": torch.from_numpy(table([e.study for e in episodes], read.pad)[0]),
        "study_places": torch.from_numpy(table([e.study_places for e in episodes], AT_BREAK)[0]),
        "example": torch.from_numpy(table([e.example for e in episodes], 0)[0]),
        "lengths": torch.tensor([len(e.study) for e in episodes], dtype=torch.int64),
        "episode": torch.from_numpy(queries.episode),
        "guides": pack_guides([e.guides for e in episodes], queries.words, queries.symbols),
        "decoder_input": torch.from_numpy(decoder_input),
        "target": torch.from_numpy(target),
        "origin": [(e.number, q) for e in episodes for q in range(len(e.words))],
    }


def _targets(
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
