"""People's responses in the three tasks, from the published data."""

import pandas as pd

from biml.behaviour import few_shot, probes
from biml.behaviour.responses import from_episodes
from biml.episodes.episode import Episode
from biml.episodes.locate import DataFolders
from biml.episodes.types import episode_type
from biml.grammar import GOLD

FEW_SHOT, OPEN_ENDED, PROBES = "few-shot", "open-ended", "probes"


def people_few_shot(data: DataFolders) -> pd.DataFrame:
    """The 217 responses to the 10 queries of the few-shot task.

    Raises:
        BimlError: there are no human data; the message says how to get them.
    """
    return few_shot.label(from_episodes(_episodes("few_shot_human", data), FEW_SHOT), GOLD)


def people_open_ended(data: DataFolders) -> pd.DataFrame:
    """The seven answers of each of the 29 participants of the open-ended task.

    Raises:
        BimlError: there are no human data; the message says how to get them.
    """
    return from_episodes(_episodes("open_end_human_all", data), OPEN_ENDED, by="participant")


def people_probes(data: DataFolders) -> pd.DataFrame:
    """The 22 answers to each of the 12 probe trials.

    Raises:
        BimlError: there are no human data; the message says how to get them.
    """
    return probes.label(from_episodes(_episodes("probe_human", data), PROBES, by="trial"))


def _episodes(name: str, data: DataFolders) -> tuple[Episode, ...]:
    return episode_type(name).open_evaluation(data, 0).episodes
