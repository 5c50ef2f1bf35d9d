"""From measurements of models and people's responses to the tables of a results folder."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from biml.behaviour import few_shot, open_ended, probes
from biml.behaviour.agreement import accuracy_agreement
from biml.behaviour.compare import differences
from biml.behaviour.few_shot import Grammars, percent
from biml.behaviour.likelihoods import RESPONSE
from biml.reproduce.asked import Frames
from biml.results.tables import PEOPLE

PROBE_PATTERNS = {
    probes.EXCLUSIVITY: "mutual_exclusivity",
    probes.CONCATENATION: "iconic",
    probes.TRADE_OFF: "one_to_one",
}


def likelihood_tables(measured: Mapping[str, Frames], seed: int, resamples: int) -> Frames:
    """Likelihoods of all models, and `comparisons` of those scored on the same responses.

    Args:
        measured: for each model what its likelihood gave, of one task.
    """
    tables = merge(measured.values())
    tables.pop("scored", None)
    compared = []
    for models in alike(measured):
        if len(models) > 1:
            scored = join(measured[model]["scored"] for model in models)
            found = differences(scored, seed=seed, resamples=resamples)
            renamed = found.rename(columns={"model": "model_a", "other": "model_b"})
            compared.append(renamed.assign(task=scored["task"].iloc[0]))
    if compared:
        tables["comparisons"] = join(compared)
    return tables


def alike(measured: Mapping[str, Frames]) -> list[list[str]]:
    """Models by the responses that they were scored on; the most models first."""
    found: dict[frozenset[tuple[object, ...]], list[str]] = {}
    for model, frames in measured.items():
        responses = frames["scored"][[*RESPONSE, "response"]]
        found.setdefault(frozenset(responses.itertuples(index=False, name=None)), []).append(model)
    return sorted(found.values(), key=len, reverse=True)


def few_shot_tables(
    responses: pd.DataFrame, grammar: Grammars, seed: int, resamples: int
) -> Frames:
    """What people and models answered in the few-shot task."""
    items = few_shot.item_accuracy(responses, grammar)
    queries = responses.drop_duplicates("item").set_index("item")["query"]
    items = items.assign(
        query=items["item"].map(queries),
        six_long=items["outputs"] >= few_shot.LONG,
        n=items["responses"],
    )
    groups = few_shot.groups(responses, grammar)
    names = ["all", "simple", "complex", "six_long"]
    tables = {
        "responses": responses,
        "item_accuracies": items,
        "groups": groups.melt("model", names, "group", "accuracy"),
        "patterns": _error_patterns(few_shot.errors(responses, grammar)),
    }
    if set(responses["model"]) != {PEOPLE}:
        tables["agreement"] = accuracy_agreement(responses, grammar, seed=seed, resamples=resamples)
    return tables


def open_ended_tables(responses: pd.DataFrame) -> Frames:
    """What people and models answered in the open-ended task."""
    shares = open_ended.shares(responses)
    parts = [
        _pattern(shares, "open_ended", name, shares[name], shares["sheets"])
        for name in open_ended.PATTERNS
    ]
    return {"responses": responses, "patterns": join(parts)}


def probe_tables(responses: pd.DataFrame) -> Frames:
    """What people and models answered in the probe trials."""
    shares = probes.shares(responses)
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
        "exclusivity_regression": join(
            probes.exclusivity_regression(
                of_model, participant_effect=_from_several_trials_each(of_model)
            ).assign(model=model)
            for model, of_model in by_model
        ),
    }


def _from_several_trials_each(responses: pd.DataFrame) -> bool:
    """Whether it is known who answered, so that participants can be told apart from chance."""
    answerers = responses["participant"]
    return bool((answerers != "").all() and answerers.duplicated().any())


def join(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One below another."""
    return pd.concat(list(frames), ignore_index=True)


def merge(parts: Iterable[Frames]) -> Frames:
    """Tables of the same name one below another."""
    found: dict[str, list[pd.DataFrame]] = {}
    for frames in parts:
        for name, frame in frames.items():
            found.setdefault(name, []).append(frame)
    return {name: join(frames) for name, frames in found.items()}


def _error_patterns(errors: pd.DataFrame) -> pd.DataFrame:
    return join(
        [
            _pattern(errors, "few_shot", "one_to_one", errors["one_to_one"], errors["errors"]),
            _pattern(errors, "few_shot", "iconic", errors["iconic"], errors["reversing_errors"]),
        ]
    )


def _pattern(
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


def in_order(frame: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Rows in the order of their models, people first."""
    places = {name: place for place, name in enumerate([PEOPLE, *models])}
    column = "model" if "model" in frame else "model_a"
    return frame.sort_values(column, key=lambda names: names.map(places), kind="stable")
