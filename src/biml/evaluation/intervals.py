"""Standard errors and 95% intervals: of shares, means over episodes, and sums over responses.

The unit is the participant wherever all participants are known, because the responses of one person
resemble each other; else the response to an item. Both are about other people and the same items.
Where each item has one response, the unit is the item.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

Z_95 = 1.959964
"""Of the 95% interval."""

RESAMPLES, _RESAMPLES_PER_CHUNK = 1000, 100
"""Of the bootstrap of a lapse rate."""

PARTICIPANTS, RESPONSES, ITEMS = "participants", "responses within items", "items"
"""The units of a standard error."""


def unit_of(participants: Sequence[str], items: Sequence[str] = ()) -> str:
    """`PARTICIPANTS` where there are several and all are known, else `RESPONSES`.

    Where each item has one response, as in sampled episodes, the units are `ITEMS`.

    >>> unit_of(["p", "q", "p"]), unit_of(["p", "p"]), unit_of(["p", ""], ["a", "b"])
    ('participants', 'responses within items', 'items')
    """
    if all(participants) and len(set(participants)) > 1:
        return PARTICIPANTS
    return ITEMS if len(set(items)) == len(items) > 1 else RESPONSES


def finite_or_none(value: float) -> float | None:
    """A number for JSON, which has no infinity."""
    return value if np.isfinite(value) else None


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """The 95% interval of a share of `n`, in percent; NaN of nothing."""
    if not (n > 0 and share >= 0):
        return float("nan"), float("nan")
    centre = share + Z_95**2 / (2 * n)
    spread = Z_95 * (share * (1 - share) / n + Z_95**2 / (4 * n**2)) ** 0.5
    scale = 100 / (1 + Z_95**2 / n)
    low = scale * (centre - spread) if share > 0 else 0.0
    high = scale * (centre + spread) if share < 1 else 100.0
    return low, high


def share_interval(hits: Sequence[bool], participants: Sequence[str] = ()) -> tuple[float, float]:
    """Wilson's 95% interval of the percentage of hits, over participants where all are known.

    Responses of one participant count as the number of independent ones with the same variance
    (design effect; Dean & Pagano 2015), but as one where everybody is alike.

    >>> [round(end, 1) for end in share_interval([True] * 8 + [False] * 2)]
    [49.0, 94.3]
    >>> people = ["p"] * 4 + ["q"] * 4 + ["r"] * 2
    >>> [round(end, 1) for end in share_interval([True] * 8 + [False] * 2, people)]
    [29.2, 97.5]
    """
    x, n = np.asarray(hits, dtype=float), len(hits)
    share = float(x.mean()) if n else 0.0
    effective = float(n)
    if len(participants) and unit_of(participants) == PARTICIPANTS:
        codes = np.unique(participants, return_inverse=True)[1]
        residuals = np.bincount(codes, x - share)
        k = len(residuals)
        variance = k / (k - 1) * float((residuals**2).sum()) / n**2
        if share in (0, 1):
            effective = float(k)
        elif variance > 0:
            effective = min(n, n / (n - 1) * share * (1 - share) / variance)
    return wilson_interval(share, effective)


def mean_interval(mean: float, sd: float, n_episodes: int) -> tuple[float, float]:
    """95% interval of a mean percentage over episodes; NaN for one episode.

    Where all episodes are alike, Wilson's interval, as if each were one response.

    >>> [round(end, 1) for end in mean_interval(100.0, 0.0, 25)]
    [86.7, 100.0]
    """
    if n_episodes < 2:
        return float("nan"), float("nan")
    if sd == 0:
        return wilson_interval(mean / 100, n_episodes)
    return percent_interval(mean, sd / n_episodes**0.5)


def percent_interval(mean: float, standard_error: float) -> tuple[float, float]:
    """95% interval of a percentage, at most from 0 to 100."""
    margin = Z_95 * standard_error
    return max(mean - margin, 0.0), min(mean + margin, 100.0)


def mean_of_shares_error(counts: Sequence[float], totals: Sequence[float]) -> float:
    """Standard error of the mean of percentages, such as those of items, with independent counts.

    Agresti and Coull's correction keeps it above zero where all are 0% or 100%.

    >>> round(mean_of_shares_error([5, 10], [10, 10]), 2)
    8.16
    """
    n = np.asarray(totals, dtype=float) + 4
    p = (np.asarray(counts, dtype=float) + 2) / n
    return 100 * float(np.sqrt((p * (1 - p) / n).sum())) / len(n)


def standard_error_of_sum(
    values: Sequence[float], participants: Sequence[str], items: Sequence[str]
) -> float:
    """Standard error of the sum of the values of responses, for other people and the same items.

    Over the units of `unit_of`; where these are items, for other items. NaN for one response.

    >>> standard_error_of_sum([-1.0, -3.0, -9.0], ["", "", ""], ["a", "a", "b"])
    2.0
    """
    unit = unit_of(participants, items)
    strata: dict[str, dict[object, float]] = defaultdict(lambda: defaultdict(float))
    for n, (value, name, item) in enumerate(zip(values, participants, items, strict=True)):
        stratum = item if unit == RESPONSES else ""
        strata[stratum][name if unit == PARTICIPANTS else n] += value
    units = [list(unit.values()) for unit in strata.values() if len(unit) > 1]
    with np.errstate(invalid="ignore"):  # impossible responses
        variances = [len(unit) * np.var(unit, ddof=1) for unit in units]
    return float(np.sqrt(sum(variances))) if variances else float("nan")


def resampling_counts(
    participants: Sequence[str],
    items: Sequence[str],
    resamples: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, "resamples responses"]:
    """How often each response is in each bootstrap sample of units; see `unit_of`."""
    kind = unit_of(participants, items)
    if kind == PARTICIPANTS:
        names, unit = np.unique(participants, return_inverse=True)
        k = len(names)
        counts: np.ndarray = rng.multinomial(k, np.full(k, 1 / k), size=resamples)[:, unit]
        return counts
    counts = np.zeros((resamples, len(items)), dtype=np.int64)
    strata = items if kind == RESPONSES else [""] * len(items)
    stratum = np.unique(strata, return_inverse=True)[1]
    for of_item in (np.flatnonzero(stratum == n) for n in range(stratum.max(initial=-1) + 1)):
        k = len(of_item)
        counts[:, of_item] = rng.multinomial(k, np.full(k, 1 / k), size=resamples)
    return counts


def interval_of_best(
    values: Float[np.ndarray, "fits responses"],
    parameters: Sequence[float],
    participants: Sequence[str],
    items: Sequence[str],
) -> tuple[float, float]:
    """95% bootstrap interval of the parameter whose `values` of the responses sum to the most.

    NaN for a single response.
    """
    if len(items) < 2:
        return float("nan"), float("nan")
    rng, best = np.random.default_rng(0), []
    for _ in range(RESAMPLES // _RESAMPLES_PER_CHUNK):
        counts = resampling_counts(participants, items, _RESAMPLES_PER_CHUNK, rng)
        best.append((counts @ values.T).argmax(axis=1))
    parameter = np.asarray(parameters)[np.concatenate(best)]
    low, high = np.quantile(parameter, [0.025, 0.975], method="nearest")
    return float(low), float(high)
