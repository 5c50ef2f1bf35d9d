"""Statistical power of a comparison of two groups, estimated from simulated participants.

The effect is the difference of the mean proportion of right responses to test queries per
participant; the test is Welch's t-test, two-sided. Excluded participants are left out.

>>> rng = np.random.default_rng(0)
>>> low, high = rng.binomial(10, 0.5, 30) / 10, rng.binomial(10, 0.8, 30) / 10
>>> found = estimate_power(low, high, rng)
>>> found.power > 0.95, found.n_for_target < 15
(True, True)
"""

import warnings
from collections import defaultdict
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from biml.errors import UsageError, check_extra
from biml.experiment.records import read_records
from biml.experiment.store import Store

ALPHA = 0.05
TARGET = 0.8
"""The power that a design should have."""

MAX_PER_GROUP = 1000
N_TESTS = 1000
N_BOOTSTRAP = 200

Proportions: TypeAlias = Float[np.ndarray, " participant"]


@dataclass(frozen=True)
class Power:
    """The power of a test with as many participants as were simulated.

    Attributes:
        interval: 95%, by resampling the simulated participants.
        n_for_target: participants per group for a power of `TARGET`; None if more than
            `MAX_PER_GROUP`.
    """

    power: float
    interval: tuple[float, float]
    n_for_target: int | None


def groups_of(*stores: Store) -> dict[str, Proportions]:
    """The proportion of right responses of each participant, by database, model and condition.

    Raises:
        UsageError: there are several stores, and one has nobody with right or wrong responses.
    """
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for store in stores:
        n_before = len(groups)
        for record in read_records(store)[1]:
            outcomes = [
                step.outcome.correct is True
                for step in record.session.history
                if step.screen.kind == "test" and not step.screen.catch and step.screen.target
            ]
            if outcomes and not record.exclusion:
                of = store.name if len(stores) > 1 else ""
                names = filter(None, (of, record.simulated, record.session.condition))
                groups[" ".join(names)].append(float(np.mean(outcomes)))
        if len(stores) > 1 and len(groups) == n_before:
            raise UsageError(f"{store.name} has no participant with right or wrong responses")
    return {name: np.array(values) for name, values in groups.items()}


def estimate_power(a: Proportions, b: Proportions, rng: np.random.Generator) -> Power:
    """Estimate the power by drawing participants of both groups anew."""
    check_extra("analysis", "the power of a design needs", "scipy")
    powers = []
    for _ in range(N_BOOTSTRAP):
        x, y = rng.choice(a, len(a)), rng.choice(b, len(b))
        powers.append(_share_significant(x, y, len(a), len(b), N_TESTS // 4, rng))
    low, high = np.percentile(powers, (2.5, 97.5))
    power = _share_significant(a, b, len(a), len(b), N_TESTS, rng)
    return Power(power, (float(low), float(high)), _n_for_target(a, b, rng))


def _n_for_target(a: Proportions, b: Proportions, rng: np.random.Generator) -> int | None:
    def suffices(n: int) -> bool:
        return _share_significant(a, b, n, n, N_TESTS, rng) >= TARGET

    if not suffices(MAX_PER_GROUP):
        return None
    low, high = 1, MAX_PER_GROUP
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _share_significant(
    a: Proportions, b: Proportions, n_a: int, n_b: int, n_tests: int, rng: np.random.Generator
) -> float:
    """The share of tests that are significant, each of participants drawn with replacement."""
    from scipy.stats import ttest_ind

    x, y = rng.choice(a, (n_tests, n_a)), rng.choice(b, (n_tests, n_b))
    with warnings.catch_warnings(action="ignore"):  # without any variance the groups differ or not
        p = ttest_ind(x, y, axis=1, equal_var=False).pvalue
    return float(np.where(np.isnan(p), x.mean(1) != y.mean(1), p < ALPHA).mean())
