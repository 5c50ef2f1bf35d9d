"""Loss and exact-match accuracy on the validation episodes, computed by all processes of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from biml.episodes.episode import Episode
from biml.networks.base import Batch, EpisodeNetwork, exact_match, output_mask
from biml.training.config import TrainingConfig
from biml.training.distributed import ProcessGroup
from biml.training.step import assign_micro_batches, autocast


@dataclass(frozen=True)
class ValidationMetrics:
    """Cross-entropy per target token (nats), and percent of queries answered exactly.

    An accuracy is None where the episodes have no study-example (or no novel) queries.
    """

    loss: float
    study_accuracy: float | None
    novel_accuracy: float | None


@dataclass(frozen=True)
class _MicroBatch:
    batch: Batch
    in_study: Bool[Tensor, " query"]
    mask: Bool[Tensor, "query symbol"]


class Validation:
    """The validation episodes in micro-batches, of which this process evaluates its share.

    Accuracies are those of greedy decoding, computed from the logits of the loss (`exact_match`).
    """

    def __init__(
        self,
        network: EpisodeNetwork,
        episodes: Sequence[Episode],
        config: TrainingConfig,
        group: ProcessGroup,
    ) -> None:
        assert config.micro_batch_tokens is not None
        assert config.precision is not None
        micro_batches = network.micro_batches(episodes, config.micro_batch_tokens, group.size)
        self._group = group
        self._precision = config.precision
        self._micro_batches = [
            _annotate(micro_batches[number], episodes, network)
            for number in assign_micro_batches(micro_batches, group.size)[group.rank]
        ]

    @torch.no_grad()
    def measure(self, network: EpisodeNetwork) -> ValidationMetrics:
        """Evaluate the network; every process of the group must call this."""
        # Loss and tokens; exact answers and queries, first of novel, then of study-example queries.
        sums = torch.zeros(6, dtype=torch.float64, device=self._group.device)
        network.eval()
        output = network.vocabulary.output
        for micro_batch in self._micro_batches:
            batch = micro_batch.batch.to(self._group.device)
            with autocast(self._group.device, self._precision):
                logits = network(batch)
            targets = batch.target.flatten()
            sums[0] += F.cross_entropy(
                logits.flatten(0, 1), targets, ignore_index=output.pad, reduction="sum"
            )
            sums[1] += (targets != output.pad).sum()
            mask = micro_batch.mask.to(self._group.device)
            exact = exact_match(logits, batch.target, mask, output)
            in_study = micro_batch.in_study.to(self._group.device)
            for column, queries in ((2, ~in_study), (4, in_study)):
                sums[column] += (exact & queries).sum()
                sums[column + 1] += queries.sum()
        self._group.all_reduce(sums)
        loss, tokens, novel_exact, n_novel, study_exact, n_study = sums.tolist()
        return ValidationMetrics(
            loss / max(tokens, 1), _percent(study_exact, n_study), _percent(novel_exact, n_novel)
        )


def _annotate(batch: Batch, episodes: Sequence[Episode], network: EpisodeNetwork) -> _MicroBatch:
    pools = [episodes[episode].pool for episode, _ in batch.indices]
    in_study = [episodes[episode].queries[query].in_study for episode, query in batch.indices]
    return _MicroBatch(
        batch, torch.tensor(in_study, dtype=torch.bool), output_mask(pools, network.vocabulary)
    )


def _percent(correct: float, total: float) -> float | None:
    return 100 * correct / total if total else None
