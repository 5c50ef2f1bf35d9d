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
    pieces: Sequence[Batch]


def assemble(
    source: Source,
    network: EpisodeNetwork,
    step: int,
    numbers: range,
    max_tokens: int,
    at_least: int = 1,
) -> StepBatch:
    """The batch of a step: the presentations of these numbers.

    Every process assembles the same whole batch: with the paper's network that costs less than one
    percent of a step, and saves all communication about it.
    """
    episodes = tuple(source.episode(index) for index in numbers)
    return StepBatch(step, episodes, network.chunks(episodes, max_tokens, at_least))


def deal(pieces: Sequence[Batch], size: int) -> list[list[int]]:
    """Numbers of the pieces for each of `size` processes, their costs in balance.

    The dearest piece goes first, each to the process that has least so far.
    """
    hands: list[list[int]] = [[] for _ in range(size)]
    loads = [0] * size
    for number in sorted(range(len(pieces)), key=lambda i: (-pieces[i].cost, i)):
        least = loads.index(min(loads))
        hands[least].append(number)
        loads[least] += pieces[number].cost
    return hands


def computing(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """The context of a forward pass: autocast to bfloat16, or nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
