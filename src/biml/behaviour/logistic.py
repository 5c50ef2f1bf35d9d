"""Logistic regression, also with an intercept of its own for each participant."""

import warnings

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import norm

# Not from statsmodels.api, which takes eight times as long to import.
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.tools.numdiff import approx_hess

NODES = 31
"""Points of the quadrature over participants' intercepts."""

GROUP_SD = "sd(group)"
"""The term that is the standard deviation of groups' intercepts."""

_UNBOUNDED = 50.0
"""A standard error above this, in log-odds, says that the data do not bound the estimate."""


def logistic_regression(
    outcome: pd.Series, predictors: pd.DataFrame, *, groups: pd.Series | None = None
) -> pd.DataFrame:
    """Fit log-odds = intercept + predictors, by maximum likelihood.

    Args:
        outcome: whether it happened, a row each.
        predictors: numbers, a column each.
        groups: who gave each row; their intercepts are drawn from one normal distribution, whose
            standard deviation is fitted too. The likelihood integrates over them by Gauss-Hermite
            quadrature.
    Returns:
        A row for each `term` (`intercept`, the predictors, and `sd(group)`): `estimate` and
        `standard_error` in log-odds, `z`, two-sided `p` of Wald's test, and the 95% interval `low`
        to `high`. A standard deviation has no `z` and `p`, as Wald's test fails at its bound of
        zero, and its interval ends there. All are missing (NaN) for data that bound no estimate,
        such as an outcome that never changes.
    """
    y = outcome.to_numpy(dtype=float)
    x = np.column_stack([np.ones(len(y)), predictors.to_numpy(dtype=float)])
    terms = ["intercept", *map(str, predictors.columns)]
    if groups is not None:
        terms.append(GROUP_SD)
    empty = np.full(len(terms), np.nan)
    if len(set(y.tolist())) < 2:
        return _table(terms, empty, empty)
    # Separated data are told by missing values, not by warnings.
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        plain = GLM(y, x, family=Binomial()).fit()
    estimates, errors = np.asarray(plain.params), np.asarray(plain.bse)
    if not np.all(errors < _UNBOUNDED):
        return _table(terms, empty, empty)
    if groups is not None:
        codes, _ = pd.factorize(groups)
        estimates, errors = _with_groups(y, x, codes, estimates)
    return _table(terms, estimates, errors)


def _with_groups(
    y: np.ndarray, x: np.ndarray, group: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and standard errors of the coefficients and of the groups' standard deviation."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    log_weights = np.log(weights / weights.sum())
    sign = np.where(y > 0, 1.0, -1.0)

    def cost(parameters: np.ndarray) -> float:
        log_odds = (x @ parameters[:-1])[:, None] + parameters[-1] * nodes
        by_row = -np.logaddexp(0, -sign[:, None] * log_odds)
        by_group = np.zeros((group.max() + 1, NODES))
        np.add.at(by_group, group, by_row)
        return -float(logsumexp(by_group + log_weights, axis=1).sum())

    found = minimize(cost, np.append(start, 0.5), method="BFGS").x
    found[-1] = abs(found[-1])  # Nodes are symmetric, so that its sign means nothing.
    variances = np.diag(np.linalg.pinv(approx_hess(found, cost)))
    return found, np.sqrt(np.where(variances > 0, variances, np.nan))


def _table(terms: list[str], estimates: np.ndarray, errors: np.ndarray) -> pd.DataFrame:
    bounded = np.array(terms) == GROUP_SD
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
