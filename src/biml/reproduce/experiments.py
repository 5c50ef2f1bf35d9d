"""The paper's experiments: one row each, made of measurements."""

from dataclasses import dataclass

from biml.errors import UsageError


@dataclass(frozen=True)
class Experiment:
    """One experiment: its name on the command line, a summary and its measurements."""

    name: str
    summary: str
    measurements: tuple[str, ...]


_EXPERIMENTS = (
    Experiment(
        "table1",
        "log-likelihood of people's responses, few-shot and open-ended (Table 1)",
        ("few_shot_likelihood", "open_ended_likelihood"),
    ),
    Experiment(
        "few-shot",
        "accuracy, errors and item correlations in the few-shot task (Fig. 2)",
        ("gold", "validation", "few_shot_samples"),
    ),
    Experiment(
        "open-ended",
        "patterns of the open-ended task (Fig. 4)",
        ("open_ended_samples",),
    ),
    Experiment(
        "probes",
        "mutual exclusivity and concatenation in the probe trials (supplement)",
        ("probe_likelihood", "probe_samples"),
    ),
    Experiment(
        "novel-rules",
        "accuracy on held-out rules (supplement)",
        ("novel_rules",),
    ),
)

EXPERIMENTS: dict[str, Experiment] = {row.name: row for row in _EXPERIMENTS}
"""By name."""

ALL_EXPERIMENTS = "all"


def select_experiments(names: list[str] | None) -> tuple[Experiment, ...]:
    """The named experiments in the order of the table; all if none is named."""
    for name in names or ():
        if name != ALL_EXPERIMENTS and name not in EXPERIMENTS:
            raise UsageError(
                f"unknown experiment {name!r}; choose one or more of {', '.join(EXPERIMENTS)}, "
                f"or {ALL_EXPERIMENTS}"
            )
    if not names or ALL_EXPERIMENTS in names:
        return tuple(EXPERIMENTS.values())
    return tuple(row for row in EXPERIMENTS.values() if row.name in names)
