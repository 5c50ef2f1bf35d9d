"""Micro-batches: equal shares for the processes of a run."""

import pytest

from biml.episodes.episode_type import PUBLISHED_VOCAB
from biml.episodes.registry import episode_type
from biml.networks.batching import balanced_micro_batches
from biml.networks.staged import StagedNetwork
from biml.networks.staged_layers import StagedConfig
from biml.paths import DataFolders
from biml.training.step import assign_micro_batches


def cut(sizes: list[int], max_tokens: int, at_least: int = 1) -> list[list[int]]:
    return balanced_micro_batches(sizes, lambda size: size, max_tokens, at_least)


@pytest.mark.parametrize("processes", [2, 3, 5, 8])
def test_there_is_a_micro_batch_for_every_process(processes: int) -> None:
    sizes = list(range(30, 62))
    micro_batches = cut(sizes, 10**6, processes)
    assert [size for micro_batch in micro_batches for size in micro_batch] == sizes
    assert len(micro_batches) in (2, 4, 8)
    assert len(micro_batches) >= processes
    totals = [sum(micro_batch) for micro_batch in micro_batches]
    assert max(totals) - min(totals) <= 2 * max(sizes)


def test_padding_does_not_leave_a_small_remainder() -> None:
    # 960 tokens fit one piece, but with padding to the longest they do not.
    sizes = [20] * 16 + [40] * 16
    micro_batches = cut(sizes, 1000)
    assert [len(micro_batch) for micro_batch in micro_batches] == [20, 12]
    assert cut(sizes, 1280) == [sizes]


def test_fewer_items_than_micro_batches_get_one_each() -> None:
    assert cut([5, 6], 100, 8) == [[5], [6]]
    assert cut([], 100, 8) == []


def test_a_small_batch_of_the_staged_network_is_shared_evenly() -> None:
    network = StagedNetwork(StagedConfig(), PUBLISHED_VOCAB)
    source = episode_type("algebraic").open_training(DataFolders(), seed=3)
    several = [source[index] for index in range(32)]
    for max_tokens in (5120, 7000, 8000, 10240):
        chunks = network.micro_batches(several, max_tokens, 2)
        hands = assign_micro_batches(chunks, 2)
        loads = [sum(chunks[number].n_tokens for number in hand) for hand in hands]
        assert max(loads) < 1.2 * min(loads), max_tokens
