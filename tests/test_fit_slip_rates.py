"""Two-fold cross-validation of slip rates (`benchmarks/fit_slip_rates.py`)."""

import numpy as np
import pytest

import fit_slip_rates


def test_each_half_of_the_participants_is_scored_with_rates_fitted_to_the_other() -> None:
    rng = np.random.default_rng(0)
    models = {name: rng.normal(size=(3, 9)) for name in "ab"}
    rows = np.concatenate(list(models.values()))
    for seed in range(5):
        first = np.random.default_rng(seed).permutation(9) < 4
        expected = 0.0
        for fitted, held in ((first, ~first), (~first, first)):
            best = max(rows, key=lambda row: row[fitted].sum())
            expected += best[held].sum()
        assert fit_slip_rates.held_out(models, seed) == pytest.approx(expected)


def test_more_parameters_do_not_improve_the_cross_validated_fit_to_noise() -> None:
    gains = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        few, many = {0: rng.normal(size=(1, 60))}, {0: rng.normal(size=(200, 60))}
        gains.append(fit_slip_rates.gain(many, few, seed))
    standard_error = np.std(gains) / len(gains) ** 0.5
    assert abs(np.mean(gains)) < 4 * standard_error
