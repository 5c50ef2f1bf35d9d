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
    pieces = cut(sizes, 10**6, processes)
    assert [size for piece in pieces for size in piece] == sizes
    assert len(pieces) in (2, 4, 8)
    assert len(pieces) >= processes
    totals = [sum(piece) for piece in pieces]
    assert max(totals) - min(totals) <= 2 * max(sizes)


def test_padding_does_not_leave_a_small_remainder() -> None:
    # 960 tokens fit one piece, but with padding to the longest they do not.
    sizes = [20] * 16 + [40] * 16
    pieces = cut(sizes, 1000)
    assert [len(piece) for piece in pieces] == [20, 12]
    assert cut(sizes, 1280) == [sizes]


def test_fewer_items_than_micro_batches_get_one_each() -> None:
    assert cut([5, 6], 100, 8) == [[5], [6]]
    assert cut([], 100, 8) == []


def test_a_small_batch_of_the_staged_network_is_shared_evenly() -> None:
    network = StagedNetwork(StagedConfig(), PUBLISHED_VOCAB)
    source = episode_type("algebraic").open_training(DataFolders(), seed=3)
    shown = [source[index] for index in range(32)]
    for max_tokens in (5120, 7000, 8000, 10240):
        pieces = network.micro_batches(shown, max_tokens, 2)
        hands = assign_micro_batches(pieces, 2)
        loads = [sum(pieces[number].n_tokens for number in hand) for hand in hands]
        assert max(loads) < 1.2 * min(loads), max_tokens
