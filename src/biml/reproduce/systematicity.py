"""The experiment `systematicity`: strings beyond the paper's queries (`biml ask --suite`).

Strings, study examples and remappings are biml's own; people answered none of them.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from biml.episodes.episode_type import SYSTEMATICITY, gold_episode
from biml.evaluation.api import Model
from biml.evaluation.strings import ask, suite_strings, summarise
from biml.report.schemas import TABLES
from biml.reproduce.experiments import MeasurementContext, Tables

_STATISTICS = {
    "readings": "answers that are readings (%)",
    "gold": "answers that are the gold reading (%)",
    "spread": "spread of readings over held-out colours (% points)",
    "variation": "answers that vary with the remapping (%)",
}


def answers_to_suite(context: MeasurementContext) -> Tables:
    """Figures of the answers to the strings of each kind."""
    model, workload = context.model, context.workload
    responding = Model(model.responder(), model.trained_on, model.name)
    answers = ask(responding, gold_episode(), suite_strings(), workload.remappings, workload.seed)
    found = summarise(answers, ["kind"]).assign(model=model.name)
    return {SYSTEMATICITY: found[list(TABLES[SYSTEMATICITY].columns)]}


def suite_statistics(tables: Tables) -> Iterator[pd.DataFrame]:
    """Statistics of each kind of strings."""
    if SYSTEMATICITY not in tables:
        return
    rows = tables[SYSTEMATICITY].assign(
        experiment=SYSTEMATICITY, task=SYSTEMATICITY, unit="remappings"
    )
    for name, about in _STATISTICS.items():
        yield rows.assign(
            statistic=rows["kind"] + ": " + about,
            reproduced=rows[name],
            low=rows.get(f"{name}_low", np.nan),
            high=rows.get(f"{name}_high", np.nan),
        )
