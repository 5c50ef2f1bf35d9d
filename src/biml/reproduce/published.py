"""Figures that the paper and its supplement state, and where ours are found."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from biml.results.tables import PEOPLE, TABLES

MLC, JOINT, ALGEBRAIC, COPY = "MLC", "MLC (joint)", "MLC (algebraic only)", "MLC (copy only)"
OPEN_ENDED, PROBES = "MLC (open-ended)", "MLC (probes)"
VANILLA, ORACLE = "basic seq2seq", "symbolic (oracle)"

COLUMNS = {
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
class Published:
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

    def difference(self, ours: float) -> float | None:
        """How much ours is above the number or outside the range; None where nothing is stated."""
        if self.number is not None:
            return ours - self.number
        if self.low is None or self.high is None:
            return None
        return ours - min(max(ours, self.low), self.high)


@dataclass(frozen=True)
class Figure:
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
    where: Mapping[str, object]
    column: str
    published: Mapping[str, float | Published]


def _accuracy(experiment: str, name: str, task: str, **published: float | Published) -> Figure:
    where = {"task": task, "kind": "novel"}
    named = {_BY_WORD[word]: value for word, value in published.items()}
    return Figure(experiment, name, "accuracies", where, "mean", named)


def _runs(mean: float, sd: float, best: float | None = None) -> Published:
    return Published(mean, sd=sd, best=best)


def _group(name: str, group: str, people: float, mlc: float) -> Figure:
    published = {PEOPLE: people, MLC: mlc}
    return Figure("few-shot", name, "groups", {"group": group}, "accuracy", published)


def _pattern(
    experiment: str, task: str, name: str, pattern: str, published: Mapping[str, float]
) -> Figure:
    where = {"task": task, "pattern": pattern}
    return Figure(experiment, name, "patterns", where, "percent", published)


_BY_WORD = {"mlc": MLC, "joint": JOINT, "algebraic": ALGEBRAIC, "vanilla": VANILLA}

FIGURES = (
    Figure(
        "table1",
        "log-likelihood of few-shot responses",
        "likelihoods",
        {"task": "few_shot"},
        "log_likelihood",
        {
            ORACLE: -536.1,
            MLC: Published(low=-380.0, high=-360.0),
            ALGEBRAIC: Published(low=-500.0, high=-400.0),
            PEOPLE: -154.1,
        },
    ),
    Figure(
        "table1",
        "lapse rate of few-shot responses",
        "likelihoods",
        {"task": "few_shot"},
        "lapse",
        {ORACLE: 0.13, VANILLA: 0.9, COPY: 0.5, ALGEBRAIC: 0.1, JOINT: 0.03, MLC: 0.03},
    ),
    Figure(
        "table1",
        "log-likelihood of open-ended responses",
        "likelihoods",
        # Missing where nobody knows, as with imported people.
        {"task": "open_ended", "fold": ("all", ""), "within_sample": (False, pd.NA)},
        "log_likelihood",
        {},
    ),
    Figure(
        "table1",
        "log-likelihood of open-ended responses seen in training",
        "likelihoods",
        {"task": "open_ended", "fold": ("all", ""), "within_sample": True},
        "log_likelihood",
        {},
    ),
    _accuracy(
        "few-shot",
        "greedy, gold queries (%)",
        "few_shot_gold",
        mlc=_runs(92.9, 8.2, best=100.0),
        joint=_runs(96.8, 5.2),
        algebraic=_runs(93.6, 9.0),
        vanilla=0.0,
    ),
    _accuracy(
        "few-shot",
        "greedy, novel validation queries (%)",
        "validation",
        mlc=_runs(95.3, 0.4),
        joint=_runs(95.8, 0.4),
        algebraic=_runs(94.7, 2.4),
    ),
    _group("samples, mean over items (%)", "all", 80.7, 82.4),
    _group("samples, simple items (%)", "simple", 85.5, 86.3),
    _group("samples, complex items (%)", "complex", 76.0, 78.5),
    _group("samples, six-long items (%)", "six_long", 72.5, 77.8),
    _pattern(
        "few-shot",
        "few_shot",
        "errors that are one-to-one (%)",
        "one_to_one",
        {PEOPLE: 24.4, MLC: 56.3},
    ),
    _pattern(
        "few-shot",
        "few_shot",
        "errors that are iconic, where a rule reverses (%)",
        "iconic",
        {PEOPLE: 23.3, MLC: 13.8},
    ),
    Figure("few-shot", "item correlation r", "agreement", {}, "r", {MLC: 0.788}),
    Figure("few-shot", "its permutation p", "agreement", {}, "p", {MLC: 0.031}),
    _pattern(
        "open-ended",
        "open_ended",
        "sheets that are perfect (%)",
        "perfect",
        {PEOPLE: 58.6, OPEN_ENDED: 65},
    ),
    _pattern(
        "open-ended",
        "open_ended",
        "sheets that are one-to-one (%)",
        "one_to_one",
        {PEOPLE: 62.1, OPEN_ENDED: 66},
    ),
    _pattern(
        "open-ended",
        "open_ended",
        "sheets with iconic concatenation (%)",
        "iconic",
        {PEOPLE: 79.3, OPEN_ENDED: 85},
    ),
    _pattern(
        "open-ended",
        "open_ended",
        "sheets with mutual exclusivity (%)",
        "mutual_exclusivity",
        {PEOPLE: 93.1, OPEN_ENDED: 99},
    ),
    _pattern(
        "probes",
        "probes",
        "mutual exclusivity (%)",
        "mutual_exclusivity",
        {PEOPLE: 68.2, PROBES: 68.6, JOINT: 98.0},
    ),
    _pattern(
        "probes",
        "probes",
        "iconic concatenation (%)",
        "iconic",
        {PEOPLE: 93.9, PROBES: 93.8, JOINT: 66.7},
    ),
    _pattern(
        "probes",
        "probes",
        "one-to-one over mutual exclusivity (%)",
        "one_to_one",
        {PEOPLE: 50.0, PROBES: 53.2, JOINT: 56.2},
    ),
    _accuracy(
        "novel-rules",
        "greedy, rules never met in training (%)",
        "novel_rules",
        mlc=99.3,
        joint=99.8,
        algebraic=99.4,
    ),
)


WITHOUT_PEOPLE = ("novel_rules",)
"""Tasks that are the same whoever the people are; validation is not, which is drawn for them."""


def beside_published(
    tables: Mapping[str, pd.DataFrame],
    columns: Mapping[str, str],
    experiments: Iterable[str],
    imported: bool = False,
    other_validation: bool = False,
    every: bool = False,
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
        for figure in FIGURES
        if figure.experiment in ran
        for row in _rows(
            figure if _comparable(figure, imported, other_validation) else ours_alone(figure),
            tables.get(figure.table),
            columns,
            every,
        )
    ]
    return pd.DataFrame(rows, columns=list(TABLES["figures"].columns))


def _comparable(figure: Figure, imported: bool, other_validation: bool) -> bool:
    task = figure.where.get("task")
    return not (imported and task not in WITHOUT_PEOPLE) and not (
        other_validation and task == "validation"
    )


def ours_alone(figure: Figure) -> Figure:
    """The figure without what the paper states."""
    return replace(figure, published={})


def _rows(
    figure: Figure, table: pd.DataFrame | None, columns: Mapping[str, str], every: bool
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    absent = [name for name in figure.published if every and name not in columns.values()]
    for model, column in {**columns, **{name: name for name in absent}}.items():
        ours = None if table is None else _ours(figure, table, model)
        if ours is None and not (every and column in figure.published):
            continue
        stated = figure.published.get(column, Published())
        published = stated if isinstance(stated, Published) else Published(stated)
        rows.append(
            {
                "experiment": figure.experiment,
                "figure": figure.name,
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


def _ours(figure: Figure, table: pd.DataFrame, model: str) -> float | None:
    found = table[table["model"] == model]
    for name, wanted in figure.where.items():
        accepted = wanted if isinstance(wanted, tuple) else (wanted,)
        found = found[found[name].isin(accepted)]
    if found.empty or pd.isna(found[figure.column].iloc[0]):
        return None
    return float(found[figure.column].iloc[0])
