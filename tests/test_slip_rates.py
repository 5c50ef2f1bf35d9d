"""Rates fitted to one half of the answers are scored on the other half alone."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def slip_rates(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return import_module("slip_rates")


def test_each_answer_is_scored_by_what_fits_the_half_that_it_is_not_in(slip_rates: Any) -> None:
    rng = np.random.default_rng(0)
    models = {name: rng.normal(size=(3, 9)) for name in "ab"}
    rows = np.concatenate(list(models.values()))
    for seed in range(5):
        first = np.random.default_rng(seed).permutation(9) < 4
        expected = 0.0
        for fitted, held in ((first, ~first), (~first, first)):
            best = max(rows, key=lambda row: row[fitted].sum())
            expected += best[held].sum()
        assert slip_rates.held_out(models, seed) == pytest.approx(expected)


def test_more_freedom_gains_nothing_where_all_models_are_noise(slip_rates: Any) -> None:
    gains = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        few, many = {0: rng.normal(size=(1, 60))}, {0: rng.normal(size=(200, 60))}
        gains.append(slip_rates.gain(many, few, seed))
    standard_error = np.std(gains) / len(gains) ** 0.5
    assert abs(np.mean(gains)) < 4 * standard_error
