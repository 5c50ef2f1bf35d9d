"""Loss and accuracy on a fixed set of episodes, shared out over the processes of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from biml.episodes.episode import Episode
from biml.networks.base import Batch, EpisodeNetwork
from biml.training.batches import computing, deal
from biml.training.workers import Team


@dataclass(frozen=True)
class Validated:
    """Figures of one validation.

    Attributes:
        loss: cross-entropy per target token, in nats.
        copied: percent of queries that are also study examples answered exactly, or None if the
            episodes have no such queries.
        novel: the same of the other queries.
    """

    loss: float
    copied: float | None
    novel: float | None


@dataclass(frozen=True)
class _Piece:
    batch: Batch
    copied: Tensor  # [rows], whether the query is a study example too
    forbidden: Tensor  # [rows, output vocabulary], symbols that are never answered


class Validation:
    """The validation episodes as this process's share of batches, made once and kept.

    Accuracies are those of greedy decoding, without decoding: an answer is exact if and only if the
    likeliest symbol is right after every correct beginning, which the loss computes anyway. So
    all episodes count, at no further cost.

    Args:
        network: cuts the batches; its weights do not matter yet.
        episodes: the whole validation set, as presented.
        max_tokens: size of the pieces.
        precision: `fp32` or `bf16`.
        team: the processes it is shared by.
    """

    def __init__(
        self,
        network: EpisodeNetwork,
        episodes: Sequence[Episode],
        max_tokens: int,
        precision: str,
        team: Team,
    ) -> None:
        pieces = network.chunks(episodes, max_tokens, team.size)
        self._team = team
        self._precision = precision
        self._mine = [
            _annotated(pieces[number], episodes, network)
            for number in deal(pieces, team.size)[team.rank]
        ]

    @torch.no_grad()
    def measure(self, network: EpisodeNetwork) -> Validated:
        """The figures of the network as it is now; every process of the team must take part."""
        # Loss, tokens, and exact answers and queries: first novel, then copied.
        sums = torch.zeros(6, dtype=torch.float64, device=self._team.device)
        network.eval()
        for piece in self._mine:
            batch = piece.batch.to(self._team.device)
            with computing(self._team.device, self._precision):
                logits = network(batch)
            pad = network.vocabulary.output.pad
            sums[0] += F.cross_entropy(
                logits.flatten(0, 1), batch.target.flatten(), ignore_index=pad, reduction="sum"
            )
            beyond = batch.target == pad
            sums[1] += (~beyond).sum()
            forbidden = piece.forbidden.to(self._team.device)
            answers = logits.masked_fill(forbidden[:, None], -torch.inf).argmax(-1)
            exact = ((answers == batch.target) | beyond).all(1)
            copied = piece.copied.to(self._team.device)
            for place, kind in ((2, ~copied), (4, copied)):
                sums[place] += (exact & kind).sum()
                sums[place + 1] += kind.sum()
        self._team.add_up(sums)
        loss, tokens, novel, novels, copied_right, copies = sums.tolist()
        return Validated(
            loss / max(tokens, 1), _percent(copied_right, copies), _percent(novel, novels)
        )


def _annotated(batch: Batch, episodes: Sequence[Episode], network: EpisodeNetwork) -> _Piece:
    output = network.vocabulary.output
    forbidden = torch.zeros(len(batch.origin), len(output), dtype=torch.bool)
    forbidden[:, [output.sos, output.pad]] = True
    for row, (episode, _) in enumerate(batch.origin):
        pool = episodes[episode].pool
        if pool is not None:
            forbidden[row, : len(output.symbols)] = True
            forbidden[row, output.encode(pool)] = False
    copied = [episodes[episode].queries[query].copied for episode, query in batch.origin]
    return _Piece(batch, torch.tensor(copied, dtype=torch.bool), forbidden)


def _percent(right: float, asked: float) -> float | None:
    return 100 * right / asked if asked else None
