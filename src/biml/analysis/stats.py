"""Logistic regression, with an optional random intercept for each participant; intervals.

>>> happened = pd.Series([0, 0, 0, 1, 0, 1, 1, 1])
>>> predictors = pd.DataFrame({"x": [0, 0, 0, 0, 1, 1, 1, 1]})
>>> logistic_regression(happened, predictors)[["term", "estimate"]].round(2).values.tolist()
[['intercept', -1.1], ['x', 2.2]]
"""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit, logsumexp
from scipy.stats import norm
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.tools.numdiff import approx_hess

from biml.evaluation.intervals import share_interval, unit_of

QUADRATURE_NODES = 15
"""Points of the adaptive quadrature over random intercepts."""

MAX_NEWTON_STEPS = 100
"""For the mode of each random intercept; bisection alone would need fewer."""

RANDOM_INTERCEPT_SD = "sd(group)"
"""The term for the standard deviation of random intercepts."""

_MAX_STANDARD_ERROR = 50.0
"""In log-odds; above this the estimate is unbounded (separated data)."""


def share_intervals(
    rows: pd.DataFrame, by: Sequence[str], hit: str, among: str = ""
) -> pd.DataFrame:
    """95% intervals of the percentage of hits in each group, in order of first occurrence.

    Args:
        rows: responses with their `participant`.
        hit, among: flags; the share is of rows with `among`, by default of all.
    Returns:
        `low` and `high`, missing (NaN) of no row, and the `unit` (`intervals.share_interval`).
    """
    found = []
    for _, group in rows.groupby(list(by), sort=False, dropna=False):
        counted = group[group[among]] if among else group
        people = counted["participant"].fillna("").tolist()
        found.append((*share_interval(counted[hit].astype(bool).tolist(), people), unit_of(people)))
    return pd.DataFrame(found, columns=["low", "high", "unit"])


def logistic_regression(
    outcome: pd.Series, predictors: pd.DataFrame, *, groups: pd.Series | None = None
) -> pd.DataFrame:
    """Fit log-odds = intercept + predictors, by maximum likelihood.

    Args:
        outcome: whether the event happened, a row each.
        groups: of each row; their random intercepts have a normal distribution whose standard
            deviation is fitted too. The likelihood is integrated by adaptive Gauss-Hermite
            quadrature (Pinheiro & Bates 1995).
    Returns:
        A row per `term` (`intercept`, the predictors, and `sd(group)`): `estimate` and
        `standard_error` in log-odds, `z`, two-sided `p` of Wald's test, and the 95% interval `low`
        to `high`. A standard deviation has no `z` and `p`, because Wald's test fails at its bound
        of zero, where its interval ends. All are missing (NaN) for data that bound no estimate,
        such as a constant outcome; a constant predictor, or one that is a linear combination of
        those before it, is missing alone and is left out of the fit.
    """
    y = outcome.to_numpy(dtype=float)
    x = np.column_stack([np.ones(len(y)), predictors.to_numpy(dtype=float)])
    terms = ["intercept", *map(str, predictors.columns)]
    if groups is not None:
        terms.append(RANDOM_INTERCEPT_SD)
    fit = np.full((2, len(terms)), np.nan)
    used = np.ones(len(terms), dtype=bool)
    used[: x.shape[1]] = _independent_columns(x)
    if len(set(y.tolist())) > 1:
        fit[:, used] = _fit(y, x[:, used[: x.shape[1]]], groups)
    return _coefficient_table(terms, *fit)


def _independent_columns(x: np.ndarray) -> np.ndarray:
    """Which columns are linearly independent of those before them."""
    ranks = [np.linalg.matrix_rank(x[:, :columns]) for columns in range(x.shape[1] + 1)]
    return np.diff(ranks) > 0


def _fit(y: np.ndarray, x: np.ndarray, groups: pd.Series | None) -> np.ndarray:
    """Estimates and standard errors [2, terms]; NaN [2, 1] if the data do not bound one of them."""
    # Separated data give missing values, not warnings.
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        plain = GLM(y, x, family=Binomial()).fit()
    estimates, errors = np.asarray(plain.params), np.asarray(plain.bse)
    if np.all(errors < _MAX_STANDARD_ERROR) and groups is not None:
        codes, _ = pd.factorize(groups)
        estimates, errors = _fit_random_intercept(y, x, codes, estimates)
    if not np.all(errors < _MAX_STANDARD_ERROR):
        return np.full((2, 1), np.nan)
    return np.stack((estimates, errors))


def _fit_random_intercept(
    y: np.ndarray, x: np.ndarray, group: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and standard errors of the coefficients and of the standard deviation."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE_NODES)
    # Divide by the normal density around each group's mode, from which the nodes are.
    log_weights = np.log(weights / weights.sum()) + nodes**2 / 2

    def cost(parameters: np.ndarray) -> float:
        fixed, sd = x @ parameters[:-1], parameters[-1]
        mode, width = _posterior_modes(y, fixed, group, sd)
        likelihood = []
        for node, log_weight in zip(nodes, log_weights, strict=True):
            at = mode + width * node
            log_odds = fixed + sd * at[group]
            rows = y * log_odds - np.logaddexp(0, log_odds)
            likelihood.append(np.bincount(group, rows) - at**2 / 2 + log_weight)
        return -float((logsumexp(likelihood, axis=0) + np.log(width)).sum())

    estimates = minimize(cost, np.append(start, 0.5), method="BFGS").x
    estimates[-1] = abs(estimates[-1])  # nodes are symmetric, so its sign is arbitrary
    variances = np.diag(np.linalg.pinv(approx_hess(estimates, cost)))
    return estimates, np.sqrt(np.where(variances > 0, variances, np.nan))


def _posterior_modes(
    y: np.ndarray, fixed: np.ndarray, group: np.ndarray, sd: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mode and width of each group's standardised random intercept.

    Newton's method within bounds, because its steps diverge for groups with constant outcomes.
    """
    rows = np.bincount(group)
    high = abs(sd) * rows + 1.0
    low, mode = -high, np.zeros(len(rows))
    for _ in range(MAX_NEWTON_STEPS):
        p = expit(fixed + sd * mode[group])
        slope = np.bincount(group, sd * (y - p)) - mode
        curvature = np.bincount(group, sd**2 * p * (1 - p)) + 1
        low, high = np.where(slope > 0, mode, low), np.where(slope > 0, high, mode)
        to = mode + slope / curvature
        to = np.where((to > low) & (to < high), to, (low + high) / 2)
        done = np.abs(to - mode).max() < 1e-10
        mode = to
        if done:
            break
    return mode, curvature**-0.5


def _coefficient_table(terms: list[str], estimates: np.ndarray, errors: np.ndarray) -> pd.DataFrame:
    bounded = np.array(terms) == RANDOM_INTERCEPT_SD
    z = np.where(bounded, np.nan, estimates / errors)
    reach = norm.ppf(0.975) * errors
    low = estimates - reach
    return pd.DataFrame(
        {
            "term": terms,
            "estimate": estimates,
            "standard_error": errors,
            "z": z,
            "p": 2 * norm.sf(np.abs(z)),
            "low": np.where(bounded, np.maximum(low, 0), low),
            "high": estimates + reach,
        }
    )
