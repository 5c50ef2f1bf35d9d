"""Comparison of models with people and with each other.

`item_correlation` correlates item accuracies with people's (paper, Fig. 2);
`likelihood_differences` compares summed log-likelihoods of models, with bootstrap intervals.
"""

from itertools import combinations, islice, permutations
from math import factorial

import numpy as np
import pandas as pd
from jaxtyping import Float

from biml.analysis.few_shot import GrammarOrGrammars, annotate_errors, item_accuracy
from biml.analysis.responses import PEOPLE
from biml.analysis.scoring import RESPONSE_KEYS
from biml.errors import UsageError
from biml.evaluation.intervals import PARTICIPANTS, resampling_counts, unit_of
from biml.grammar import GOLD

MAX_EXACT_PERMUTATION_ITEMS = 8
"""With more items, permutations are sampled instead of enumerated."""

N_RANDOM_PERMUTATIONS = 100_000

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
    """Pearson's r between the item accuracies of each model and of people (Fig. 2).

    Sampling error in accuracies of few responses lowers r. The interval is for the mean r of
    studies with as many responses: not for the r of a single study, which has sampling error of its
    own, nor for accuracies without sampling error, whose r is often above it.

    Args:
        responses: of people and models to the same items.
        reference: the model that the others are correlated with.
        resamples, level: of the bootstrap, whose interval is for `level` of the resamples.
    Returns:
        A row per model: the number of `items`; `r`; `p`, the share of `permutations` of the items
        with an absolute r at least as large (two-sided; all permutations, or 100,000 random
        ones); the percentile interval `low` to `high` from resampling responses within items,
        people's and the model's, or participants where all are known; and `noise_ceiling`, the
        median r of people's accuracies with those of as many responses resampled from them, with
        the percentiles `noise_ceiling_low` and `…_high`. Missing (NaN) without variance. The `unit`
        is that which people's accuracies are resampled over.
    """
    accuracies = item_accuracy(responses, grammar)
    annotated = annotate_errors(responses, grammar)
    people = accuracies[accuracies["model"] == reference].set_index("item")
    if people.empty:
        raise UsageError(f"there are no responses of {reference!r} to compare with")
    x = people["accuracy"].to_numpy(float)
    by_model = dict(list(annotated.groupby("model", sort=False)))
    resampled = _resampled_accuracies(
        people, by_model[reference], resamples, np.random.default_rng(seed)
    )
    known = correlations(x, resampled)
    known = known[~np.isnan(known)]
    ceiling = float(np.median(known)) if len(known) else float("nan")
    ends = percentile_interval(known, level)
    unit = unit_of(by_model[reference]["participant"].fillna("").tolist())
    rows = []
    for name, group in accuracies.groupby("model", sort=False):
        if name == reference:
            continue
        model = group.set_index("item")
        if set(model.index) != set(people.index):
            raise UsageError(f"{name} and {reference} responded to different items")
        model = model.loc[people.index]
        rng = np.random.default_rng(seed)
        y = model["accuracy"].to_numpy(float)
        p, n_permutations = permutation_p(x, y, rng)
        bootstrap = correlations(
            _resampled_accuracies(people, by_model[reference], resamples, rng),
            _resampled_accuracies(model, by_model[name], resamples, rng),
        )
        low, high = percentile_interval(bootstrap[~np.isnan(bootstrap)], level)
        r = float(correlations(x, y))
        row = (name, reference, len(x), r, p, n_permutations, low, high, ceiling, *ends, unit)
        rows.append(row)
    names = ["model", "reference", "items", "r", "p", "permutations", "low", "high"]
    names += ["noise_ceiling", "noise_ceiling_low", "noise_ceiling_high", "unit"]
    return pd.DataFrame(rows, columns=names)


def permutation_p(
    x: Float[np.ndarray, " items"], y: Float[np.ndarray, " items"], rng: np.random.Generator
) -> tuple[float, int]:
    """Two-sided permutation p of Pearson's r, and the number of permutations.

    Among random permutations the observed order counts as one more, so that p is never zero; p is
    missing (NaN) without variance.
    """
    n = len(x)
    observed = abs(float(correlations(x, y)))
    exact = n <= MAX_EXACT_PERMUTATION_ITEMS
    total = factorial(n) if exact else N_RANDOM_PERMUTATIONS
    if np.isnan(observed):
        return float("nan"), total
    orders = permutations(y.tolist())
    n_extreme = 0
    for start in range(0, total, _PERMUTATIONS_PER_CHUNK):
        size = min(_PERMUTATIONS_PER_CHUNK, total - start)
        if exact:
            permuted = np.array(list(islice(orders, size)))
        else:
            permuted = rng.permuted(np.tile(y, (size, 1)), axis=1)
        n_extreme += int((np.abs(correlations(x, permuted)) >= observed - 1e-9).sum())
    return (n_extreme / total if exact else (n_extreme + 1) / (total + 1)), total


def correlations(
    x: Float[np.ndarray, "*batch items"], y: Float[np.ndarray, "*batch items"]
) -> Float[np.ndarray, "*batch"]:
    """Pearson's r along the last axis; missing (NaN) without variance."""
    x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    scale = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    products = (x * y).sum(axis=-1)
    return np.divide(products, scale, out=np.full(products.shape, np.nan), where=scale > 1e-9)


def percentile_interval(
    values: Float[np.ndarray, " resamples"], level: float
) -> tuple[float, float]:
    """The central interval of bootstrap values; missing (NaN) without values."""
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled_accuracies(
    items: pd.DataFrame, responses: pd.DataFrame, resamples: int, rng: np.random.Generator
) -> Float[np.ndarray, "resamples items"]:
    """Accuracies of resampled participants, or of responses, whose correct counts are binomial."""
    people = responses["participant"].fillna("").tolist()
    if unit_of(people) == PARTICIPANTS:
        counts = resampling_counts(people, people, resamples, rng)
        of_item = np.equal.outer(responses["item"].to_numpy(), items.index.to_numpy()).astype(int)
        right = of_item * responses["correct"].to_numpy(int)[:, None]
        with np.errstate(invalid="ignore"):  # an item without a response
            return 100 * (counts @ right) / (counts @ of_item)
    n = items["responses"].to_numpy()
    share = items["correct"].to_numpy() / n
    return 100 * rng.binomial(n, share, size=(resamples, len(n))) / n


def likelihood_differences(
    log_likelihoods: pd.DataFrame,
    *,
    bootstrap_unit: str | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Differences of summed log-likelihood (nats) between all pairs of models.

    Args:
        log_likelihoods: the rows of `scoring.log_likelihoods` of several models, for the same
            responses.
        bootstrap_unit: resample `participants`, or `responses` within each item; by default, for
            each task, participants if all are known.
        seed: of the resamples, which are the same for each pair.
    Returns:
        A row per pair: `model`, `other`, `difference` (positive if `model` is better), the
        percentile interval `low` to `high`, the share `better` of resamples in which `model` is
        better, the bootstrap `unit` and the number of `units`. Interval and share are missing (NaN)
        if no item or task has more than one unit.
    """
    models = list(dict.fromkeys(log_likelihoods["model"]))
    if bootstrap_unit not in (None, "participants", "responses"):
        raise UsageError(
            f"unknown bootstrap unit {bootstrap_unit!r}; choose participants or responses"
        )
    # In a table read from CSV unknown participants are missing values.
    log_likelihoods = log_likelihoods.fillna({"participant": ""})
    is_known = log_likelihoods["participant"] != ""
    known = is_known.groupby(log_likelihoods["task"], sort=False).all()
    if bootstrap_unit == "participants" and not known.all():
        raise UsageError("some of these responses have no participant; resample responses instead")
    unit_of = {
        task: bootstrap_unit or ("participants" if all_known else "responses")
        for task, all_known in known.items()
    }
    scores = _align_models(log_likelihoods, models)
    rows = []
    for model, other in combinations(models, 2):
        change = scores[model] - scores[other]
        rng = np.random.default_rng(seed)
        sums, n_units, largest = np.zeros(resamples), 0, 0
        for task, of_task in change.groupby(level="task", sort=False):
            if unit_of[task] == "participants":
                strata = [of_task.groupby(level="participant", sort=False).sum()]
            else:
                strata = [of_item for _, of_item in of_task.groupby(level="item", sort=False)]
            for stratum in strata:
                n = len(stratum)
                drawn = rng.integers(0, n, (resamples, n))
                sums += stratum.to_numpy()[drawn].sum(axis=1)
                n_units += n
                largest = max(largest, n)
        low = high = better = float("nan")
        if largest > 1:
            low, high = percentile_interval(sums, level)
            better = float((sums > 0).mean())
        unit = " and ".join(dict.fromkeys(unit_of.values()))
        rows.append((model, other, float(change.sum()), low, high, better, unit, n_units))
    names = ["model", "other", "difference", "low", "high", "better", "unit", "units"]
    return pd.DataFrame(rows, columns=names)


def _align_models(log_likelihoods: pd.DataFrame, models: list[str]) -> pd.DataFrame:
    """A column per model, a row per response."""
    if log_likelihoods.duplicated(["model", *RESPONSE_KEYS]).any():
        raise UsageError("a response is scored twice for one model; give each model another name")
    scores = log_likelihoods.pivot(index=RESPONSE_KEYS, columns="model", values="log_likelihood")
    n_responses = log_likelihoods.groupby(RESPONSE_KEYS, sort=False)["response"].nunique()
    if scores.isna().to_numpy().any() or (n_responses > 1).any():
        raise UsageError("the models were scored on different responses; score all on the same")
    for model in models:
        if np.isinf(scores[model]).any():
            raise UsageError(
                f"some responses are impossible for {model} (log-likelihood -inf); set a lapse rate"
            )
    return scores
