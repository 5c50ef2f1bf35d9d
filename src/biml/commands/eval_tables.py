"""The tables of `biml eval`: log-likelihoods one by one, their sums in parts, drawn answers.

They need the `analysis` extra, so that this is imported only when a table is asked for.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from biml.behaviour import files
from biml.behaviour.likelihoods import ScoredResponse, summed_by, to_table
from biml.behaviour.people import FEW_SHOT, OPEN_ENDED, PROBES
from biml.behaviour.samples import few_shot_table, open_ended_table, probe_table
from biml.commands.eval_console import EvalConsole
from biml.commands.eval_task import EvalTask
from biml.episodes.episode import Episode
from biml.errors import UsageError
from biml.evaluation.responder import Response
from biml.evaluation.sample_page import SampledItem


def log_likelihood_table(
    task: EvalTask, scored: Sequence[ScoredResponse], p_lapse: float
) -> pd.DataFrame:
    """A row for each given answer."""
    name = FEW_SHOT
    if task.evaluation.group_by_participant:
        name = OPEN_ENDED
    elif task.episode_type.restrict_to_pool:
        name = PROBES
    return to_table(scored, model=task.path.stem, task=name, p_lapse=p_lapse)


def require_participants(task: EvalTask) -> None:
    """Make sure that the data say who answered.

    Raises:
        UsageError: they do not.
    """
    told = [who for answers in task.evaluation.respondents.values() for who in answers]
    if not (
        task.evaluation.group_by_participant or (told and all(who.participant for who in told))
    ):
        raise UsageError(
            "--by participant needs to know who answered, which these data do not say; "
            "an experiment of your own can (biml data import, column participant)"
        )


def group_sums(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Log-likelihood summed by item or by participant."""
    # The query is the same throughout an item, and tells what its name means.
    return summed_by(table, [by, "query"] if by == "item" else [by])


def print_group_sums(console: EvalConsole, sums: pd.DataFrame, by: str) -> None:
    console.print(f"By {by}:")
    for row in sums.to_dict("records"):
        name = str(row[by])
        if by == "item" and row["query"] != name:
            name = f"{name}: {row['query']}"
        console.print(
            f"  {name:<40} {row['log_likelihood']:>10.4f}   {row['responses']} answers, "
            f"{row['symbols']} symbols"
        )


def write_table(console: EvalConsole, table: pd.DataFrame, path: Path, what: str) -> None:
    """Write a table.

    Raises:
        UsageError: its name ends in neither `.csv` nor `.parquet`.
        BimlError: it cannot be written.
    """
    files.write_responses(table, path)
    console.print(f"{what}: {path} ({len(table):,} rows)")


def sampled_item_table(task: EvalTask, items: Sequence[SampledItem], seed: int) -> pd.DataFrame:
    """Drawn answers to the few-shot or the probe task."""
    tabulate_items = probe_table if task.episode_type.restrict_to_pool else few_shot_table
    return tabulate_items(items, task.evaluation, model=task.path.stem, seed=seed)


def sampled_set_table(
    task: EvalTask, episodes: Sequence[Episode], answers: Sequence[Sequence[Response]], seed: int
) -> pd.DataFrame:
    """Answer sheets of the open-ended task."""
    return open_ended_table(episodes, answers, model=task.path.stem, seed=seed)
