"""Human responses in the three tasks, of the published data or of an imported experiment.

Each function raises a BimlError if there are no human data; the message names the command that
downloads them.
"""

from contextlib import suppress

import pandas as pd

from biml.analysis import few_shot, probes
from biml.analysis.responses import file_stem, responses_from_episodes
from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode_type import (
    FEW_SHOT,
    FEW_SHOT_FOLDER,
    FOLDS,
    OPEN_ENDED,
    PROBE_FOLDER,
    PROBES,
)
from biml.episodes.packed import PUBLISHED_DIGESTS, responses_digest
from biml.episodes.registry import evaluation_type
from biml.episodes.text_format import ambiguous_item_error
from biml.errors import BimlError
from biml.grammar import GOLD, Grammar
from biml.paths import DataFolders

TASK_FOLDERS = {FEW_SHOT: FEW_SHOT_FOLDER, OPEN_ENDED: "open_ended_all", PROBES: PROBE_FOLDER}
"""The folder of each task in `data_human`; an imported experiment has some of them."""


def lacks_task(data: DataFolders, task: str) -> bool:
    """Whether there are human data, but not of this task."""
    human = data.get("data_human")
    return human is not None and not (human / TASK_FOLDERS[task]).is_dir()


def has_cv_folds(data: DataFolders) -> bool:
    """Whether the open-ended data have cross-validation folds; of fewer than five people, none."""
    human = data.get("data_human")
    return human is not None and all((human / f"open_ended_cross{k}").is_dir() for k in FOLDS)


def people_few_shot(data: DataFolders) -> pd.DataFrame:
    """Responses to the queries of the few-shot task (published: 217 responses to 10 queries).

    `target`, `correct` and `error_type` follow the grammar of each file, or the gold grammar.
    """
    evaluation = _evaluation_set(FEW_SHOT, data)
    responses = _human_table(evaluation, FEW_SHOT)
    return few_shot.annotate_errors(responses, grammars_by_item(evaluation))


def few_shot_grammars(data: DataFolders) -> dict[str, Grammar]:
    """The grammar of each item of the few-shot task, for measures."""
    return grammars_by_item(_evaluation_set(FEW_SHOT, data))


def grammars_by_item(evaluation: EvaluationSet) -> dict[str, Grammar]:
    """The grammar of each item's file, or else the gold grammar; a BimlError if it has two."""
    grammars: dict[str, Grammar] = {}
    for episode in evaluation.episodes:
        grammar = episode.grammar or GOLD
        for item in dict.fromkeys(q.item or " ".join(q.input) for q in episode.queries):
            if str(grammars.setdefault(item, grammar)) != str(grammar):
                raise ambiguous_item_error(item, file_stem(episode.name))
    return grammars


def people_open_ended(data: DataFolders) -> pd.DataFrame:
    """Responses of the open-ended task (published: 29 participants with 7 each)."""
    return _human_table(_evaluation_set(OPEN_ENDED, data), OPEN_ENDED)


def people_probes(data: DataFolders) -> pd.DataFrame:
    """Responses to the probe trials (published: 22 to each of 12)."""
    return probes.annotate_targets(_human_table(_evaluation_set(PROBES, data), PROBES))


def is_custom_experiment(data: DataFolders) -> bool:
    """Whether the human data are a custom experiment (`biml data import`).

    They are unless all responses are the published ones, because a copied or edited folder may have
    lost its `responses.csv`.
    """
    for task, published in PUBLISHED_DIGESTS.items():
        with suppress(BimlError):
            evaluation = _evaluation_set(task, data)
            if evaluation.is_imported or responses_digest(evaluation.episodes) != published:
                return True
    return False


def _evaluation_set(task: str, data: DataFolders) -> EvaluationSet:
    row = evaluation_type(task)
    assert row is not None
    return row.open_evaluation(data, 0)


def _human_table(evaluation: EvaluationSet, task: str) -> pd.DataFrame:
    return responses_from_episodes(
        evaluation.episodes,
        task,
        with_study=task == PROBES or (task == FEW_SHOT and evaluation.is_imported),
        sample_per_episode=evaluation.autoregressive,
    )
