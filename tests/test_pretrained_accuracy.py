"""Pretrained models load and have the accuracy of their cards."""

import statistics

import pytest

from biml.episodes.registry import episode_type
from biml.evaluation.network import teacher_forced_exact_match
from biml.networks.checkpoint import load_model
from biml.paths import PRETRAINED, DataFolders, read_card, resolve_model

RENAMINGS = 20


@pytest.mark.parametrize("name", PRETRAINED)
def test_accuracy_on_gold_queries_is_that_of_the_card(name: str) -> None:
    path = resolve_model(f"{name}.pt", "nowhere", DataFolders())
    figure = read_card(path)["card"]["figures"]["gold"]
    kind = episode_type(figure["episode_type"])
    episodes = kind.open_evaluation(DataFolders(), 1).repeat(0)[:RENAMINGS]
    shares = [
        100 * statistics.mean(right for query, right in answered if not query.in_study)
        for episode, verdicts in zip(
            episodes, teacher_forced_exact_match(load_model(path).network, episodes), strict=True
        )
        for answered in [list(zip(episode.queries, verdicts, strict=True))]
    ]
    # Other renamings than the card's, of which single ones differ by this much.
    expected = 4 * figure["novel_sd"] * len(shares) ** -0.5 + 3
    assert abs(statistics.mean(shares) - figure["novel"]) <= expected
