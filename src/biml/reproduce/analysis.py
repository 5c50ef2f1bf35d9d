"""From measurements of models and people's responses to the tables of a results folder."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from biml.behaviour import few_shot, open_ended, probes
from biml.behaviour.agreement import item_correlation
from biml.behaviour.compare import likelihood_differences
from biml.behaviour.few_shot import GrammarOrGrammars, percent
from biml.behaviour.likelihoods import RESPONSE_KEYS
from biml.reproduce.asked import Tables
from biml.results.tables import PEOPLE

PROBE_PATTERNS = {
    probes.EXCLUSIVITY: "mutual_exclusivity",
    probes.CONCATENATION: "iconic",
    probes.TRADE_OFF: "one_to_one",
}


def likelihood_tables(tables_by_model: Mapping[str, Tables], seed: int, resamples: int) -> Tables:
    """Likelihoods of all models, and `comparisons` of those scored on the same responses.

    Args:
        measured: for each model what its likelihood gave, of one task.
    """
    tables = merge_tables(tables_by_model.values())
    tables.pop("scored", None)
    compared = []
    for models in comparable_groups(tables_by_model):
        if len(models) > 1:
            scored = concat(tables_by_model[model]["scored"] for model in models)
            found = likelihood_differences(scored, seed=seed, resamples=resamples)
            renamed = found.rename(columns={"model": "model_a", "other": "model_b"})
            compared.append(renamed.assign(task=scored["task"].iloc[0]))
    if compared:
        tables["comparisons"] = concat(compared)
    return tables


def comparable_groups(tables_by_model: Mapping[str, Tables]) -> list[list[str]]:
    """Models by the responses that they were scored on; the most models first."""
    found: dict[frozenset[tuple[object, ...]], list[str]] = {}
    for model, frames in tables_by_model.items():
        responses = frames["scored"][[*RESPONSE_KEYS, "response"]]
        found.setdefault(frozenset(responses.itertuples(index=False, name=None)), []).append(model)
    return sorted(found.values(), key=len, reverse=True)


def few_shot_tables(
    responses: pd.DataFrame, grammar: GrammarOrGrammars, seed: int, resamples: int
) -> Tables:
    """What people and models answered in the few-shot task."""
    items = few_shot.item_accuracy(responses, grammar)
    queries = responses.drop_duplicates("item").set_index("item")["query"]
    items = items.assign(
        query=items["item"].map(queries),
        six_long=items["outputs"] >= few_shot.LONG_OUTPUT,
        n=items["responses"],
    )
    groups = few_shot.accuracy_by_group(responses, grammar)
    names = ["all", "simple", "complex", "six_long"]
    tables = {
        "responses": responses,
        "item_accuracies": items,
        "groups": groups.melt("model", names, "group", "accuracy"),
        "patterns": _error_pattern_table(few_shot.error_rates(responses, grammar)),
    }
    if set(responses["model"]) != {PEOPLE}:
        tables["agreement"] = item_correlation(responses, grammar, seed=seed, resamples=resamples)
    return tables


def open_ended_tables(responses: pd.DataFrame) -> Tables:
    """What people and models answered in the open-ended task."""
    shares = open_ended.pattern_rates(responses)
    parts = [
        _pattern_table(shares, "open_ended", name, shares[name], shares["sheets"])
        for name in open_ended.PATTERNS
    ]
    return {"responses": responses, "patterns": concat(parts)}


def probe_tables(responses: pd.DataFrame) -> Tables:
    """What people and models answered in the probe trials."""
    shares = probes.consistency_rates(responses)
    patterns = shares.assign(
        task="probes",
        pattern=shares["kind"].map(PROBE_PATTERNS),
        count=shares["consistent"],
        n=shares["responses"],
    )
    cells = probes.mutual_exclusivity(responses)
    low, high = proportion_confint(cells["consistent"], cells["responses"], method="wilson")
    by_model = responses.groupby("model", sort=False)
    return {
        "responses": responses,
        "patterns": patterns,
        "mutual_exclusivity": cells.assign(low=100 * low, high=100 * high, n=cells["responses"]),
        "exclusivity_regression": concat(
            probes.mutual_exclusivity_regression(
                of_model, participant_effect=_has_repeated_participants(of_model)
            ).assign(model=model)
            for model, of_model in by_model
        ),
    }


def _has_repeated_participants(responses: pd.DataFrame) -> bool:
    """Whether it is known who answered, so that participants can be told apart from chance."""
    answerers = responses["participant"]
    return bool((answerers != "").all() and answerers.duplicated().any())


def concat(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One below another."""
    return pd.concat(list(tables), ignore_index=True)


def merge_tables(parts: Iterable[Tables]) -> Tables:
    """Tables of the same name one below another."""
    found: dict[str, list[pd.DataFrame]] = {}
    for frames in parts:
        for name, frame in frames.items():
            found.setdefault(name, []).append(frame)
    return {name: concat(frames) for name, frames in found.items()}


def _error_pattern_table(errors: pd.DataFrame) -> pd.DataFrame:
    return concat(
        [
            _pattern_table(
                errors, "few_shot", "one_to_one", errors["one_to_one"], errors["errors"]
            ),
            _pattern_table(
                errors, "few_shot", "iconic", errors["iconic"], errors["reversing_errors"]
            ),
        ]
    )


def _pattern_table(
    frame: pd.DataFrame, task: str, name: str, count: pd.Series, n: pd.Series
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": frame["model"],
            "task": task,
            "pattern": name,
            "count": count,
            "n": n,
            "percent": percent(count, n),
        }
    )


def order_models(frame: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Rows in the order of their models, people first."""
    places = {name: place for place, name in enumerate([PEOPLE, *models])}
    column = "model" if "model" in frame else "model_a"
    return frame.sort_values(column, key=lambda names: names.map(places), kind="stable")
