"""The tables of `biml eval`: log-likelihoods one by one, their sums in parts, drawn answers.

They need the `analysis` extra, so that this is imported only when a table is asked for.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from biml.behaviour import files
from biml.behaviour.likelihoods import ScoredResponse, breakdown, tabulate
from biml.behaviour.people import FEW_SHOT, OPEN_ENDED, PROBES
from biml.behaviour.samples import tabulate_few_shot, tabulate_open_ended, tabulate_probes
from biml.commands.eval_console import EvalConsole
from biml.commands.eval_task import Task
from biml.episodes.episode import Episode
from biml.errors import UsageError
from biml.evaluation.responder import Answer
from biml.evaluation.sample_page import Item


def log_likelihoods(task: Task, scored: Sequence[ScoredResponse], p_lapse: float) -> pd.DataFrame:
    """A row for each given answer."""
    name = FEW_SHOT
    if task.evaluation.by_name:
        name = OPEN_ENDED
    elif task.kind.masked_pool:
        name = PROBES
    return tabulate(scored, model=task.path.stem, task=name, p_lapse=p_lapse)


def check_known(task: Task) -> None:
    """Make sure that the data say who answered.

    Raises:
        UsageError: they do not.
    """
    told = [who for answers in task.evaluation.answerers.values() for who in answers]
    if not (task.evaluation.by_name or (told and all(who.participant for who in told))):
        raise UsageError(
            "--by participant needs to know who answered, which these data do not say; "
            "an experiment of your own can (biml data import, column participant)"
        )


def sums(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Log-likelihood summed by item or by participant."""
    # The query is the same throughout an item, and tells what its name means.
    return breakdown(table, [by, "query"] if by == "item" else [by])


def show(console: EvalConsole, found: pd.DataFrame, by: str) -> None:
    console.say(f"By {by}:")
    for row in found.to_dict("records"):
        name = str(row[by])
        if by == "item" and row["query"] != name:
            name = f"{name}: {row['query']}"
        console.say(
            f"  {name:<40} {row['log_likelihood']:>10.4f}   {row['responses']} answers, "
            f"{row['symbols']} symbols"
        )


def write(console: EvalConsole, table: pd.DataFrame, path: Path, what: str) -> None:
    """Write a table.

    Raises:
        UsageError: its name ends in neither `.csv` nor `.parquet`.
        BimlError: it cannot be written.
    """
    files.write(table, path)
    console.say(f"{what}: {path} ({len(table):,} rows)")


def drawn_items(task: Task, items: Sequence[Item], seed: int) -> pd.DataFrame:
    """Drawn answers to the few-shot or the probe task."""
    tabulate_items = tabulate_probes if task.kind.masked_pool else tabulate_few_shot
    return tabulate_items(items, task.evaluation, model=task.path.stem, seed=seed)


def drawn_sheets(
    task: Task, sheets: Sequence[Episode], answers: Sequence[Sequence[Answer]], seed: int
) -> pd.DataFrame:
    """Answer sheets of the open-ended task."""
    return tabulate_open_ended(sheets, answers, model=task.path.stem, seed=seed)
