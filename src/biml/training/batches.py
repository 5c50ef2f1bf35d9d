"""The episodes of a step, and which process computes what of them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch

from biml.episodes.episode import Episode
from biml.networks.base import Batch, EpisodeNetwork


class Source(Protocol):
    """An endless sequence of presented episodes, each a pure function of its number."""

    @property
    def per_epoch(self) -> int: ...

    def episode(self, index: int) -> Episode: ...


@dataclass(frozen=True)
class StepBatch:
    """What one step learns from.

    Attributes:
        step: its number, from 0.
        episodes: as presented.
        pieces: their queries, cut in batches small enough to compute one after another.
    """

    step: int
    episodes: tuple[Episode, ...]
    micro_batches: Sequence[Batch]


def build_step_batch(
    source: Source,
    network: EpisodeNetwork,
    step: int,
    indices: range,
    micro_batch_tokens: int,
    min_batches: int = 1,
) -> StepBatch:
    """The batch of a step: the presentations of these numbers.

    Every process assembles the same whole batch: with the paper's network that costs less than one
    percent of a step, and saves all communication about it.
    """
    episodes = tuple(source.episode(index) for index in indices)
    return StepBatch(
        step, episodes, network.micro_batches(episodes, micro_batch_tokens, min_batches)
    )


def assign_micro_batches(micro_batches: Sequence[Batch], n_processes: int) -> list[list[int]]:
    """Numbers of the pieces for each of `size` processes, their costs in balance.

    The dearest piece goes first, each to the process that has least so far.
    """
    hands: list[list[int]] = [[] for _ in range(n_processes)]
    loads = [0] * n_processes
    for number in sorted(range(len(micro_batches)), key=lambda i: (-micro_batches[i].n_tokens, i)):
        least = loads.index(min(loads))
        hands[least].append(number)
        loads[least] += micro_batches[number].n_tokens
    return hands


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """The context of a forward pass: autocast to bfloat16, or nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
