"""Pretrained models load and have the accuracy of their cards."""

import statistics

import pytest

from biml.episodes.registry import episode_type
from biml.evaluation.network import teacher_forced_exact_match
from biml.networks.checkpoint import load_model
from biml.paths import (
    PRETRAINED,
    DataFolders,
    list_pretrained,
    read_card,
    resolve_model,
    upgrade_card,
)

RENAMINGS = 20


PEOPLE = [name for name, kind in PRETRAINED.items() if not episode_type(kind).is_corpus]
SCAN = [path.stem for path in list_pretrained() if path.stem.startswith("net-SCAN")]


@pytest.mark.parametrize("name", SCAN)
def test_errors_on_scan_are_those_of_the_card(name: str) -> None:
    path = resolve_model(f"{name}.pt", "nowhere", DataFolders())
    kind, metrics = episode_type(PRETRAINED[name]), read_card(path)["card"]["metrics"]
    loaded = load_model(path)
    shared = kind.open_evaluation(DataFolders(), 0).with_shared_study(loaded.n_queries)
    every = shared.repeat(0, slice(0, None, 10))
    wrong = [
        not right for e in teacher_forced_exact_match(loaded.network, every, 50) for right in e
    ]
    (stated,) = metrics.values()
    assert sum(wrong) <= stated["wrong"]
    assert 100 * stated["wrong"] / stated["queries"] == pytest.approx(
        stated["error_rate"], abs=1e-3
    )


@pytest.mark.parametrize("name", PEOPLE)
def test_accuracy_on_gold_queries_is_that_of_the_card(name: str) -> None:
    path = resolve_model(f"{name}.pt", "nowhere", DataFolders())
    figure = upgrade_card(read_card(path)["card"])["metrics"]["gold"]
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
