"""Figures that the paper and its supplement state, and where ours are found."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from biml.report.schemas import PEOPLE, TABLES

MLC, JOINT, ALGEBRAIC, COPY = "MLC", "MLC (joint)", "MLC (algebraic only)", "MLC (copy only)"

OPEN_ENDED, PROBES = "MLC (open-ended)", "MLC (probes)"

VANILLA, ORACLE = "basic seq2seq", "symbolic (oracle)"

PAPER_MODEL_OF = {
    "algebraic+biases": MLC,
    "algebraic+slips": MLC,
    "joint": JOINT,
    "algebraic_noise": ALGEBRAIC,
    "retrieve": COPY,
    "few_shot_vanilla": VANILLA,
    "probe_human_w_pool": PROBES,
    "open_end_human_all": OPEN_ENDED,
    "open_end_human_cross": OPEN_ENDED,
    "joint_cross": JOINT,
}
"""Which of the paper's models one is, by what it was trained on."""


@dataclass(frozen=True)
class PublishedValue:
    """What the paper states of one model: a number, or a range that was read off a graph.

    Attributes:
        number: the mean where there were several runs; None for a range.
        low, high: ends of the range; None for a number.
        sd, best: standard deviation over the runs and the best of them, where it states them.
    """

    number: float | None = None
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    best: float | None = None

    def difference(self, reproduced: float) -> float | None:
        """How much ours is above the number or outside the range; None where nothing is stated."""
        if self.number is not None:
            return reproduced - self.number
        if self.low is None or self.high is None:
            return None
        return reproduced - min(max(reproduced, self.low), self.high)


@dataclass(frozen=True)
class PublishedStatistic:
    """One figure of the paper.

    Attributes:
        experiment: that it belongs to.
        name: of the figure, with its unit.
        table: of a results folder that has ours.
        where: which row it is, by columns.
        column: which cell of it.
        published: what the paper states, by model; models that are not in it have ours alone.
    """

    experiment: str
    name: str
    table: str
    row_filter: Mapping[str, object]
    column: str
    values: Mapping[str, float | PublishedValue]


def _accuracy_statistic(
    experiment: str, name: str, task: str, **published: float | PublishedValue
) -> PublishedStatistic:
    where = {"task": task, "kind": "novel"}
    named = {_PAPER_MODELS[word]: value for word, value in published.items()}
    return PublishedStatistic(experiment, name, "accuracies", where, "mean", named)


def _mean_over_runs(mean: float, sd: float, best: float | None = None) -> PublishedValue:
    return PublishedValue(mean, sd=sd, best=best)


def _group_statistic(name: str, group: str, people: float, mlc: float) -> PublishedStatistic:
    published = {PEOPLE: people, MLC: mlc}
    return PublishedStatistic("few-shot", name, "groups", {"group": group}, "accuracy", published)


def _pattern_statistic(
    experiment: str, task: str, name: str, pattern: str, published: Mapping[str, float]
) -> PublishedStatistic:
    where = {"task": task, "pattern": pattern}
    return PublishedStatistic(experiment, name, "patterns", where, "percent", published)


_PAPER_MODELS = {"mlc": MLC, "joint": JOINT, "algebraic": ALGEBRAIC, "vanilla": VANILLA}

STATISTICS = (
    PublishedStatistic(
        "table1",
        "log-likelihood of few-shot responses",
        "likelihoods",
        {"task": "few_shot"},
        "log_likelihood",
        {
            ORACLE: -536.1,
            MLC: PublishedValue(low=-380.0, high=-360.0),
            ALGEBRAIC: PublishedValue(low=-500.0, high=-400.0),
            PEOPLE: -154.1,
        },
    ),
    PublishedStatistic(
        "table1",
        "lapse rate of few-shot responses",
        "likelihoods",
        {"task": "few_shot"},
        "lapse",
        {ORACLE: 0.13, VANILLA: 0.9, COPY: 0.5, ALGEBRAIC: 0.1, JOINT: 0.03, MLC: 0.03},
    ),
    PublishedStatistic(
        "table1",
        "log-likelihood of open-ended responses",
        "likelihoods",
        # Missing where nobody knows, as with imported people.
        {"task": "open_ended", "fold": ("all", ""), "within_sample": (False, pd.NA)},
        "log_likelihood",
        {},
    ),
    PublishedStatistic(
        "table1",
        "log-likelihood of open-ended responses seen in training",
        "likelihoods",
        {"task": "open_ended", "fold": ("all", ""), "within_sample": True},
        "log_likelihood",
        {},
    ),
    _accuracy_statistic(
        "few-shot",
        "greedy, gold queries (%)",
        "few_shot_gold",
        mlc=_mean_over_runs(92.9, 8.2, best=100.0),
        joint=_mean_over_runs(96.8, 5.2),
        algebraic=_mean_over_runs(93.6, 9.0),
        vanilla=0.0,
    ),
    _accuracy_statistic(
        "few-shot",
        "greedy, novel validation queries (%)",
        "validation",
        mlc=_mean_over_runs(95.3, 0.4),
        joint=_mean_over_runs(95.8, 0.4),
        algebraic=_mean_over_runs(94.7, 2.4),
    ),
    _group_statistic("samples, mean over items (%)", "all", 80.7, 82.4),
    _group_statistic("samples, simple items (%)", "simple", 85.5, 86.3),
    _group_statistic("samples, complex items (%)", "complex", 76.0, 78.5),
    _group_statistic("samples, six-long items (%)", "six_long", 72.5, 77.8),
    _pattern_statistic(
        "few-shot",
        "few_shot",
        "errors that are one-to-one (%)",
        "one_to_one",
        {PEOPLE: 24.4, MLC: 56.3},
    ),
    _pattern_statistic(
        "few-shot",
        "few_shot",
        "errors that are iconic, where a rule reverses (%)",
        "iconic",
        {PEOPLE: 23.3, MLC: 13.8},
    ),
    PublishedStatistic("few-shot", "item correlation r", "agreement", {}, "r", {MLC: 0.788}),
    PublishedStatistic("few-shot", "its permutation p", "agreement", {}, "p", {MLC: 0.031}),
    _pattern_statistic(
        "open-ended",
        "open_ended",
        "sheets that are perfect (%)",
        "perfect",
        {PEOPLE: 58.6, OPEN_ENDED: 65},
    ),
    _pattern_statistic(
        "open-ended",
        "open_ended",
        "sheets that are one-to-one (%)",
        "one_to_one",
        {PEOPLE: 62.1, OPEN_ENDED: 66},
    ),
    _pattern_statistic(
        "open-ended",
        "open_ended",
        "sheets with iconic concatenation (%)",
        "iconic",
        {PEOPLE: 79.3, OPEN_ENDED: 85},
    ),
    _pattern_statistic(
        "open-ended",
        "open_ended",
        "sheets with mutual exclusivity (%)",
        "mutual_exclusivity",
        {PEOPLE: 93.1, OPEN_ENDED: 99},
    ),
    _pattern_statistic(
        "probes",
        "probes",
        "mutual exclusivity (%)",
        "mutual_exclusivity",
        {PEOPLE: 68.2, PROBES: 68.6, JOINT: 98.0},
    ),
    _pattern_statistic(
        "probes",
        "probes",
        "iconic concatenation (%)",
        "iconic",
        {PEOPLE: 93.9, PROBES: 93.8, JOINT: 66.7},
    ),
    _pattern_statistic(
        "probes",
        "probes",
        "one-to-one over mutual exclusivity (%)",
        "one_to_one",
        {PEOPLE: 50.0, PROBES: 53.2, JOINT: 56.2},
    ),
    _accuracy_statistic(
        "novel-rules",
        "greedy, rules never met in training (%)",
        "novel_rules",
        mlc=99.3,
        joint=99.8,
        algebraic=99.4,
    ),
)

TASKS_WITHOUT_PEOPLE = ("novel_rules",)
"""Tasks that are the same whoever the people are; validation is not, which is drawn for them."""


def compare_with_published(
    tables: Mapping[str, pd.DataFrame],
    paper_models: Mapping[str, str],
    experiments: Iterable[str],
    is_custom: bool = False,
    other_validation: bool = False,
    include_absent: bool = False,
) -> pd.DataFrame:
    """The table `figures`: every published figure of the experiments beside ours.

    Args:
        tables: of a results folder.
        columns: for each model, and people, which of the paper's it is; else empty.
        experiments: those that ran.
        imported: the people are of another experiment, so that only what is asked without them
            can be compared.
        other_validation: the validation episodes are not drawn as the published ones.
        every: figures that there are none of ours for have a row too, of the model that has the
            paper's column, or of the paper's own where there is none.
    """
    ran = set(experiments)
    rows = [
        row
        for figure in STATISTICS
        if figure.experiment in ran
        for row in _statistic_rows(
            figure
            if _is_comparable(figure, is_custom, other_validation)
            else without_published(figure),
            tables.get(figure.table),
            paper_models,
            include_absent,
        )
    ]
    return pd.DataFrame(rows, columns=list(TABLES["figures"].columns))


def _is_comparable(statistic: PublishedStatistic, is_custom: bool, other_validation: bool) -> bool:
    task = statistic.row_filter.get("task")
    return not (is_custom and task not in TASKS_WITHOUT_PEOPLE) and not (
        other_validation and task == "validation"
    )


def without_published(statistic: PublishedStatistic) -> PublishedStatistic:
    """The figure without what the paper states."""
    return replace(statistic, values={})


def _statistic_rows(
    statistic: PublishedStatistic,
    table: pd.DataFrame | None,
    columns: Mapping[str, str],
    include_absent: bool,
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    absent = [name for name in statistic.values if include_absent and name not in columns.values()]
    for model, column in {**columns, **{name: name for name in absent}}.items():
        ours = None if table is None else _reproduced_value(statistic, table, model)
        if ours is None and not (include_absent and column in statistic.values):
            continue
        stated = statistic.values.get(column, PublishedValue())
        published = stated if isinstance(stated, PublishedValue) else PublishedValue(stated)
        rows.append(
            {
                "experiment": statistic.experiment,
                "figure": statistic.name,
                "model": model,
                "published": published.number,
                "published_low": published.low,
                "published_high": published.high,
                "published_sd": published.sd,
                "published_best": published.best,
                "ours": ours,
                "difference": None if ours is None else published.difference(ours),
            }
        )
    return rows


def _reproduced_value(
    statistic: PublishedStatistic, table: pd.DataFrame, model: str
) -> float | None:
    found = table[table["model"] == model]
    for name, wanted in statistic.row_filter.items():
        accepted = wanted if isinstance(wanted, tuple) else (wanted,)
        found = found[found[name].isin(accepted)]
    if found.empty or pd.isna(found[statistic.column].iloc[0]):
        return None
    return float(found[statistic.column].iloc[0])
