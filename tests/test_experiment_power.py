"""The power of a design, estimated from simulated participants."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the extra web is not installed")

from biml.cli.main import main
from biml.experiment.power import estimate_power


def spread(mean: float, sd: float, n: int = 100) -> np.ndarray:
    """A group with exactly this mean and standard deviation."""
    values = np.random.default_rng(0).standard_normal(n)
    return mean + sd * (values - values.mean()) / values.std()


@pytest.mark.parametrize(
    ("difference", "n"),
    [(0.8, 26), (0.5, 64), (1.5, 9)],  # Cohen (1988), table 2.4.1
)
def test_sample_sizes_are_those_of_the_tables(difference: float, n: int) -> None:
    found = estimate_power(spread(0, 1), spread(difference, 1), np.random.default_rng(1))
    assert found.n_for_target == pytest.approx(n, rel=0.12)
    assert found.power > 0.9


def test_without_a_difference_the_power_is_the_level_of_the_test() -> None:
    found = estimate_power(spread(0, 1), spread(0, 1), np.random.default_rng(1))
    assert found.power == pytest.approx(0.05, abs=0.03)
    assert found.n_for_target is None
    low, high = found.interval
    assert low <= found.power <= high


def test_groups_without_variance_differ_or_not() -> None:
    same = estimate_power(np.ones(5), np.ones(5), np.random.default_rng(1))
    assert (same.power, same.n_for_target) == (0, None)
    other = estimate_power(np.ones(5), np.zeros(5), np.random.default_rng(1))
    assert (other.power, other.n_for_target) == (1, 2)


def test_simulate_prints_the_power_of_models_and_databases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["experiment", "simulate", "few-shot", "--participants", "3", "--p_lapse", "0.02"]
    assert main([*given, "--model", "oracle"]) == 0
    assert "power" not in capsys.readouterr().out
    assert main([*given, "--model", "oracle-biases"]) == 0
    printed = capsys.readouterr().out
    assert "proportion correct: oracle " in printed
    assert "power" in printed
    other = ["--model", "oracle", "--database", "other.db", "--against"]
    assert main([*given, *other, "few-shot-simulated.db"]) == 0
    assert "other.db oracle" in capsys.readouterr().out
    assert main([*given, *other, "missing.db"]) == 2
