"""Loss and accuracy on a fixed set of episodes, shared out over the processes of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from biml.episodes.episode import Episode
from biml.networks.base import Batch, EpisodeNetwork, exact_match, output_mask
from biml.training.distributed import ProcessGroup
from biml.training.step import assign_micro_batches, autocast


@dataclass(frozen=True)
class ValidationMetrics:
    """Figures of one validation.

    Attributes:
        loss: cross-entropy per target token, in nats.
        copied: percent of queries that are also study examples answered exactly, or None if the
            episodes have no such queries.
        novel: the same of the other queries.
    """

    loss: float
    study_accuracy: float | None
    novel_accuracy: float | None


@dataclass(frozen=True)
class _MicroBatch:
    batch: Batch
    in_study: Tensor  # [rows], whether the query is a study example too
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
        group: ProcessGroup,
    ) -> None:
        pieces = network.micro_batches(episodes, max_tokens, group.size)
        self._group = group
        self._precision = precision
        self._micro_batches = [
            _annotate(pieces[number], episodes, network)
            for number in assign_micro_batches(pieces, group.size)[group.rank]
        ]

    @torch.no_grad()
    def measure(self, network: EpisodeNetwork) -> ValidationMetrics:
        """The figures of the network as it is now; every process of the team must take part."""
        # Loss, tokens, and exact answers and queries: first novel, then copied.
        sums = torch.zeros(6, dtype=torch.float64, device=self._group.device)
        network.eval()
        for piece in self._micro_batches:
            batch = piece.batch.to(self._group.device)
            with autocast(self._group.device, self._precision):
                logits = network(batch)
            output = network.vocabulary.output
            sums[0] += F.cross_entropy(
                logits.flatten(0, 1),
                batch.target.flatten(),
                ignore_index=output.pad,
                reduction="sum",
            )
            sums[1] += (batch.target != output.pad).sum()
            forbidden = piece.forbidden.to(self._group.device)
            exact = exact_match(logits, batch.target, forbidden, output)
            copied = piece.in_study.to(self._group.device)
            for place, kind in ((2, ~copied), (4, copied)):
                sums[place] += (exact & kind).sum()
                sums[place + 1] += kind.sum()
        self._group.all_reduce(sums)
        loss, tokens, novel, novels, copied_right, copies = sums.tolist()
        return ValidationMetrics(
            loss / max(tokens, 1), _percent(copied_right, copies), _percent(novel, novels)
        )


def _annotate(batch: Batch, episodes: Sequence[Episode], network: EpisodeNetwork) -> _MicroBatch:
    pools = [episodes[episode].pool for episode, _ in batch.indices]
    forbidden = output_mask(pools, network.vocabulary)
    copied = [episodes[episode].queries[query].in_study for episode, query in batch.indices]
    return _MicroBatch(batch, torch.tensor(copied, dtype=torch.bool), forbidden)


def _percent(correct: float, total: float) -> float | None:
    return 100 * correct / total if total else None
