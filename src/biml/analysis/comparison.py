"""Differences of log-likelihood between models, with bootstrap intervals."""

from collections.abc import Sequence
from itertools import combinations, islice, permutations
from math import factorial

import numpy as np
import pandas as pd

from biml.analysis.few_shot import GrammarOrGrammars, item_accuracy
from biml.analysis.responses import PEOPLE
from biml.analysis.scoring import RESPONSE_KEYS
from biml.errors import UsageError
from biml.grammar import GOLD

MAX_EXACT_PERMUTATION_ITEMS = 8
"""Items whose permutations are all looked at; of more items some are drawn."""

N_RANDOM_PERMUTATIONS = 100_000
"""Permutations drawn."""

_PERMUTATIONS_PER_CHUNK = 20_000


def item_correlation(
    responses: pd.DataFrame,
    grammar: GrammarOrGrammars = GOLD,
    *,
    reference: str = PEOPLE,
    seed: int = 0,
    resamples: int = 10_000,
    level: float = 0.95,
) -> pd.DataFrame:
    """Correlation of the item accuracies of each model with those of people.

    Args:
        responses: of people and of models, to the same items.
        grammar: of all items, or for each item its own.
        reference: what the others are compared with.
        seed: of the permutations and resamples.
        resamples: bootstrap resamples for the interval.
        level: of the interval.
    Returns:
        A row for each model: how many `items`; Pearson's `r`; `p`, the share of permutations of
        the items whose |r| is no smaller, all of them or 100,000 drawn ones (`permutations` says
        how many); the percentile interval `low` to `high` from resampling responses within
        items, people's and the model's; and `noise_ceiling`, the median r with people's accuracies
        of as many responses drawn from those same accuracies. Missing (NaN) where there is no
        variance.

        Chance in accuracies of a few responses lowers r. The interval is for the mean r of studies
        with as many responses: not for the r of one of them, which has chance of its own, nor for
        accuracies without chance, whose r is often above it.
    Raises:
        UsageError: there is no response of the reference, or a model was asked other items.
    """
    accuracies = item_accuracy(responses, grammar)
    theirs = accuracies[accuracies["model"] == reference].set_index("item")
    if theirs.empty:
        raise UsageError(f"there are no responses of {reference!r} to compare with")
    again = _resampled_accuracies(theirs, resamples, np.random.default_rng(seed))
    ceiling = _median_known(correlations(theirs["accuracy"].to_numpy(float), again))
    rows = []
    for model, found in accuracies.groupby("model", sort=False):
        if model == reference:
            continue
        ours = found.set_index("item")
        if set(ours.index) != set(theirs.index):
            raise UsageError(f"{model} and {reference} did not answer the same items")
        ours = ours.loc[theirs.index]
        rng = np.random.default_rng(seed)
        x, y = theirs["accuracy"].to_numpy(float), ours["accuracy"].to_numpy(float)
        p, tried = permutation_p(x, y, rng)
        draws = correlations(
            _resampled_accuracies(theirs, resamples, rng),
            _resampled_accuracies(ours, resamples, rng),
        )
        low, high = percentile_interval(draws[~np.isnan(draws)], level)
        rows.append((model, reference, len(x), _pearson(x, y), p, tried, low, high, ceiling))
    names = ["model", "reference", "items", "r", "p", "permutations", "low", "high"]
    return pd.DataFrame(rows, columns=[*names, "noise_ceiling"])


def permutation_p(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, int]:
    """Two-sided p of Pearson's r: how many permutations of `y` correlate with `x` as much.

    Of drawn permutations the one that was found counts as one more, so that p is never zero.

    Returns:
        p and the number of permutations looked at; p is missing (NaN) without variance.
    """
    n = len(x)
    observed = abs(_pearson(x, y))
    exact = n <= MAX_EXACT_PERMUTATION_ITEMS
    total = factorial(n) if exact else N_RANDOM_PERMUTATIONS
    if np.isnan(observed):
        return float("nan"), total
    every = permutations(y.tolist())
    as_much = 0
    for start in range(0, total, _PERMUTATIONS_PER_CHUNK):
        size = min(_PERMUTATIONS_PER_CHUNK, total - start)
        if exact:
            permuted = np.array(list(islice(every, size)))
        else:
            permuted = rng.permuted(np.tile(y, (size, 1)), axis=1)
        as_much += int((np.abs(correlations(x, permuted)) >= observed - 1e-9).sum())
    return (as_much / total if exact else (as_much + 1) / (total + 1)), total


def correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's r along the last axis; missing (NaN) without variance."""
    x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    scale = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    products = (x * y).sum(axis=-1)
    return np.divide(products, scale, out=np.full(products.shape, np.nan), where=scale > 1e-9)


def percentile_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """The middle share `level` of bootstrap values; missing (NaN) where there are none."""
    if not len(values):
        return float("nan"), float("nan")
    ends: Sequence[float] = ((1 - level) / 2, (1 + level) / 2)
    low, high = np.quantile(values, ends)
    return float(low), float(high)


def _median_known(values: np.ndarray) -> float:
    """Of those that are not missing; missing (NaN) where all are."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    return float(correlations(x, y))


def _resampled_accuracies(
    items: pd.DataFrame, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Accuracies of items whose responses are drawn again with replacement [resamples, items].

    How many of n drawn responses are correct has a binomial distribution.
    """
    n = items["responses"].to_numpy()
    share = items["correct"].to_numpy() / n
    return 100 * rng.binomial(n, share, size=(resamples, len(n))) / n


# === Differences of log-likelihood between models, with bootstrap intervals.


BOOTSTRAP_UNITS = ("participants", "responses")


def likelihood_differences(
    log_likelihoods: pd.DataFrame,
    *,
    bootstrap_unit: str | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """How much better each model explains the responses than each other one.

    Args:
        loglikes: rows of `log_likelihoods` of several models for the same responses.
        unit: what the bootstrap draws again: whole `participants`, or `responses` within each item,
            where nobody knows who answered. By default, for each task, participants where all of
            them are known.
        resamples: bootstrap resamples.
        level: of the interval.
        seed: of the resampling, which is the same for each pair of models.
    Returns:
        A row for each pair: `model`, `other`, `difference` (of summed log-likelihoods in nats;
        above zero where `model` is better), the percentile interval `low` to `high`, the share
        `better` of resamples in which `model` is better, `unit`, and how many `units` there are.
        Interval and share are missing (NaN) where there is one unit only, or one in each item: to
        draw it again tells nothing.
    Raises:
        UsageError: the models were not scored on the same responses, a response is impossible for
            one (log-likelihood -inf), or participants are asked for and not known.
    """
    models = list(dict.fromkeys(log_likelihoods["model"]))
    if bootstrap_unit is not None and bootstrap_unit not in BOOTSTRAP_UNITS:
        raise UsageError(
            f"unknown unit {bootstrap_unit!r}; choose one of {' or '.join(BOOTSTRAP_UNITS)}"
        )
    # A table that was written as CSV and read again has nothing where nobody knows.
    log_likelihoods = log_likelihoods.fillna({"participant": ""})
    known = (
        (log_likelihoods["participant"] != "").groupby(log_likelihoods["task"], sort=False).all()
    )
    if bootstrap_unit == "participants" and not known.all():
        raise UsageError("these responses do not all say which participant gave them")
    unit_of = {
        task: bootstrap_unit or ("participants" if of_all else "responses")
        for task, of_all in known.items()
    }
    units_drawn = " and ".join(dict.fromkeys(unit_of.values()))
    scores = _align_models(log_likelihoods, models)
    rows = []
    for model, other in combinations(models, 2):
        change = scores[model] - scores[other]
        rng = np.random.default_rng(seed)
        drawn, units, together = np.zeros(resamples), 0, 0
        for task, of_task in change.groupby(level="task", sort=False):
            if unit_of[task] == "participants":
                strata = [of_task.groupby(level="participant", sort=False).sum()]
            else:
                strata = [of_item for _, of_item in of_task.groupby(level="item", sort=False)]
            for stratum in strata:
                drawn += _bootstrap_sums(stratum.to_numpy(), resamples, rng)
                units += len(stratum)
                together = max(together, len(stratum))
        low = high = better = float("nan")
        if together > 1:
            low, high = percentile_interval(drawn, level)
            better = float((drawn > 0).mean())
        rows.append((model, other, float(change.sum()), low, high, better, units_drawn, units))
    names = ["model", "other", "difference", "low", "high", "better", "unit", "units"]
    return pd.DataFrame(rows, columns=names)


def _align_models(log_likelihoods: pd.DataFrame, models: list[str]) -> pd.DataFrame:
    """A column for each model, a row for each response."""
    if log_likelihoods.duplicated(["model", *RESPONSE_KEYS]).any():
        raise UsageError("a response is scored twice for one model; give each model another name")
    scores = log_likelihoods.pivot(index=RESPONSE_KEYS, columns="model", values="log_likelihood")
    answers = log_likelihoods.groupby(RESPONSE_KEYS, sort=False)["response"].nunique()
    if scores.isna().to_numpy().any() or (answers > 1).any():
        raise UsageError("the models were not scored on the same responses; score them all alike")
    for model in models:
        if np.isinf(scores[model]).any():
            raise UsageError(
                f"some responses are impossible for {model} (log-likelihood -inf); give it a lapse"
            )
    return scores


def _bootstrap_sums(values: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Sums of as many values drawn again with replacement [resamples]."""
    return values[rng.integers(0, len(values), (resamples, len(values)))].sum(axis=1)
