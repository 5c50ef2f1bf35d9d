"""Differences of log-likelihood between models, with bootstrap intervals."""

from itertools import combinations

import numpy as np
import pandas as pd

from biml.behaviour.agreement import percentile_interval
from biml.behaviour.likelihoods import RESPONSE_KEYS
from biml.errors import UsageError

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
