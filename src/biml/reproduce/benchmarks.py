"""Error rates of networks on SCAN and COGS: their measurement, and means over seeds and types."""

from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from biml.episodes.registry import EPISODE_TYPES, episode_type
from biml.evaluation.accuracy import max_response_length
from biml.evaluation.intervals import wilson_interval
from biml.evaluation.network import teacher_forced_exact_match
from biml.networks.checkpoint import load_model
from biml.report.schemas import TABLES
from biml.reproduce.experiments import BENCHMARK_TESTS, MeasurementContext, Tables
from biml.reproduce.measurements import MEASUREMENTS, Measurement

ALL_KINDS = "all"
"""Instead of a type of generalisation: the mean over all."""

_NETWORK = ["model", "task", "network", "seed", "architecture", "trained_on"]


def error_counts(test: str, part: int, context: MeasurementContext) -> Tables:
    """Count wrong greedy responses to a part of the test items, by kind and output length.

    As many items share a study set as in training; it does not depend on which are measured.
    """
    model, n_parts = context.model, BENCHMARK_TESTS[test].n_parts
    assert model.network is not None
    tested = episode_type(model.test_type(test))
    evaluation = tested.open_evaluation(context.data, context.workload.seed)
    n_items = len(evaluation.episodes)
    if tested.uses_study:
        evaluation = evaluation.with_shared_study(model.network.n_queries)
    step = -(-n_items // context.workload.test_items)
    measured = slice(part * step, None, n_parts * step)
    episodes = evaluation.repeat(0, measured)
    network = load_model(model.network.path).network
    most = max_response_length(episodes, tested.max_output)
    exact = teacher_forced_exact_match(network, episodes, most) if episodes else []
    numbers = range(len(evaluation.episodes))
    is_exact = dict(zip(numbers[measured], exact, strict=True))
    about = {
        "model": model.table_name,
        "task": f"scan_{model.trained_on.partition('_actions')[0]}" if test == "scan" else test,
        "network": model.name,
        "seed": model.network.seed,
        "architecture": model.network.architecture,
        "trained_on": model.trained_on,
    }
    rows = [
        {
            **about,
            "kind": query.item if test.startswith("cogs_gen") else ALL_KINDS,
            "output_length": len(query.output),
            "count": number in is_exact and not is_exact[number][i],
            "n": number in is_exact,
            "total": 1,
        }
        for number in numbers
        if number // step % n_parts == part
        for i, query in enumerate(evaluation.episodes[number].queries)
    ]
    frame = pd.DataFrame(rows, columns=list(TABLES["error_counts"].columns))
    return {"error_counts": _summed(frame, "kind", "output_length")}


for _test, _row in BENCHMARK_TESTS.items():
    for _part in range(_row.n_parts):
        MEASUREMENTS[f"{_test}_{_part}"] = Measurement(
            f"{_test}_{_part}",
            f"errors, {_row.title}",
            1,
            partial(error_counts, _test, _part),
            presents="",
            amount="test_items",
            cost=30,
            data=(_test.partition("_")[0],),
            benchmark=_test,
        )


def error_rate_tables(parts: pd.DataFrame) -> Tables:
    """The tables `error_counts`, with the parts of each test added up, and `error_rates`."""
    counts = _summed(parts, "kind", "output_length")
    rates = _summed(counts, "kind")
    rates = rates[rates["n"] > 0].copy()
    rates["error_rate"] = 100 * rates["count"] / rates["n"]
    overall = _summed(rates).assign(kind=ALL_KINDS)
    means = rates.groupby(_NETWORK, dropna=False)["error_rate"].mean()
    overall["error_rate"] = means.to_numpy()
    every = pd.concat([overall, rates[rates["kind"] != ALL_KINDS]])
    groups = every.groupby(["model", "task", "kind"], sort=False)
    rows = pd.DataFrame([_over_seeds(of_one) for _, of_one in groups])
    return {"error_counts": counts, "error_rates": _with_ratios(rows)}


def _summed(frame: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """Counts of each network, by further columns."""
    groups = frame.groupby([*_NETWORK, *keys], as_index=False, dropna=False)
    return groups[["count", "n", "total"]].sum()


def _over_seeds(networks: pd.DataFrame) -> dict[str, object]:
    """Mean, SD and 95% interval over the networks of a model, given a row for each.

    The interval is Student's t, or Wilson's of one network where there is one or all are equal.
    """
    first, rates = networks.iloc[0].to_dict(), networks["error_rate"].to_numpy(float)
    k, mean = len(rates), rates.mean()
    sd = float(rates.std(ddof=1)) if k > 1 else np.nan
    if sd > 0:
        margin = student_t.ppf(0.975, k - 1) * sd / k**0.5
        low, high = max(0.0, mean - margin), min(100.0, mean + margin)
    else:
        low, high = wilson_interval(mean / 100, first["n"])
    return first | {"networks": k, "error_rate": mean, "sd": sd, "low": low, "high": high}


def _with_ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the error rates of basic seq2seq models over those of models with study examples.

    With a 95% interval by the method of variance estimates recovery for logarithms (Zou & Donner
    2008), from the intervals of both; where one of the rates is zero, from their ends.
    """
    uses_study = rows["trained_on"].map(lambda name: EPISODE_TYPES[name].uses_study)
    keys = ["architecture", "task", "kind"]
    standard = rows[uses_study & ~rows["trained_on"].str.contains("+", regex=False)]
    names = ["error_rate", "low", "high"]
    reference = standard.set_index(keys)[names].reindex(pd.MultiIndex.from_frame(rows[keys]))
    a, a_low, a_high = rows[names].to_numpy(float).T
    b, b_low, b_high = reference.to_numpy(float).T
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = a / b
        down = np.hypot(np.log(a / a_low), np.log(b_high / b))
        up = np.hypot(np.log(a_high / a), np.log(b / b_low))
        no_error = (a == 0) | (b == 0)
        low = np.where(no_error, a_low / b_high, ratio * np.exp(-down))
        high = np.where(no_error, a_high / b_low, ratio * np.exp(up))
    ends = {"ratio": ratio, "ratio_low": low, "ratio_high": high}
    return rows.assign(**{name: np.where(uses_study, np.nan, of) for name, of in ends.items()})
