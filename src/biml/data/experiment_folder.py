"""Writing an experiment as a folder of episode files like that of the published human data."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from biml.data.experiment import FEW_SHOT, OPEN_ENDED, PROBES, HumanExperiment, ResponseFile
from biml.episodes.answerers import RESPONSES_FILE, format_respondents, ambiguous_item_error
from biml.episodes.recipes import FEW_SHOT_FOLDER
from biml.episodes.recipes import PROBE_FOLDER as PROBE_FOLDER
from biml.episodes.text import format_episode
from biml.errors import BimlError, UsageError
from biml.files import check_creatable, atomic_directory

N_FOLDS = 5
"""Parts of the open-ended participants, each held out from one training (paper, Methods)."""

TASK_EPISODE_TYPES = {
    FEW_SHOT: ("few_shot_human", "few_shot_gold"),
    OPEN_ENDED: ("open_end_human_all", "open_end_freeform"),
    PROBES: ("probe_human",),
}
"""The episode types by which each task is asked."""


@dataclass(frozen=True)
class EpisodeFolder:
    """One folder of episode files inside `data_human`, and its files."""

    folder: str
    files: tuple[ResponseFile, ...]


def write_experiment(
    experiment: HumanExperiment, destination: Path, *, overwrite: bool = False
) -> Path:
    """Write `destination/data_human/…`, where every command finds it with `--data_dir destination`.

    Other tasks that are in that folder already stay as they are.

    Returns:
        The folder `data_human`.
    Raises:
        UsageError: the task is there already and `overwrite` is not set, or nothing can be put
            there.
        BimlError: the folder cannot be written; what was there is unchanged.
    """
    folder = destination / "data_human"
    check_creatable(folder)
    ours = _task_folders(experiment.task)
    for name in ours:
        if (folder / name).exists() and not overwrite:
            raise UsageError(
                f"{folder / name} is there already; --overwrite replaces it, --dest names another "
                "folder"
            )
    with atomic_directory(folder, overwrite=True) as made:
        if folder.is_dir():
            shutil.copytree(
                folder,
                made,
                dirs_exist_ok=True,
                ignore=lambda at, names: ours if Path(at) == folder else (),
            )
        for part in _episode_folders(experiment):
            _write_folder(part, made, experiment)
    return folder


def _task_folders(task: str) -> list[str]:
    """The folders of `data_human` that belong to a task."""
    if task == OPEN_ENDED:
        return ["open_ended_all", *(f"open_ended_cross{n + 1}" for n in range(N_FOLDS))]
    return [(FEW_SHOT_FOLDER if task == FEW_SHOT else PROBE_FOLDER).split("/")[0]]


def _episode_folders(experiment: HumanExperiment) -> Iterator[EpisodeFolder]:
    sheets = experiment.files
    shown = tuple(
        ResponseFile(f"{n:02}", episode, ()) for n, episode in enumerate(experiment.study_episodes)
    )
    if experiment.task == FEW_SHOT:
        yield EpisodeFolder(FEW_SHOT_FOLDER, sheets)
        yield EpisodeFolder("few_shot/val_gold", shown)
    elif experiment.task == PROBES:
        yield EpisodeFolder(PROBE_FOLDER, sheets)
    else:
        yield from _train_val_folders("open_ended_all", shown, sheets, sheets)
        for fold in range(N_FOLDS if len(sheets) >= N_FOLDS else 0):
            held = sheets[fold::N_FOLDS]
            train = tuple(sheet for sheet in sheets if sheet not in held)
            yield from _train_val_folders(f"open_ended_cross{fold + 1}", shown, train, held)


def _train_val_folders(
    folder: str,
    mock: tuple[ResponseFile, ...],
    train: tuple[ResponseFile, ...],
    val: tuple[ResponseFile, ...],
) -> list[EpisodeFolder]:
    return [
        EpisodeFolder(f"{folder}/{n}", s)
        for n, s in (("mock", mock), ("train", train), ("val", val))
    ]


def _write_folder(folder: EpisodeFolder, made: Path, experiment: HumanExperiment) -> None:
    target = made / folder.folder
    target.mkdir(parents=True)
    for sheet in folder.files:
        (target / f"{sheet.name}.txt").write_text(format_episode(sheet.episode), "utf-8")
    if any(sheet.respondents for sheet in folder.files):
        rows = [(f"{sheet.name}.txt", sheet.episode, sheet.respondents) for sheet in folder.files]
        text = format_respondents(rows, _targets(folder.files, experiment.task))
        (target / RESPONSES_FILE).write_text(text, "utf-8", newline="")


def _targets(files: Sequence[ResponseFile], task: str) -> dict[str, str]:
    """The right answer to each item of a few-shot task.

    Raises:
        BimlError: a file has no grammar, or an item stands in files of different grammars.
    """
    found: dict[str, str] = {}
    grammars: dict[str, str] = {}
    for sheet in files if task == FEW_SHOT else ():
        if sheet.episode.grammar is None:
            raise BimlError(f"{sheet.name}: a few-shot item without a grammar")
        answer = sheet.episode.grammar.interpret(sheet.episode.queries[0].input)
        item, grammar = sheet.respondents[0].item, str(sheet.episode.grammar)
        if grammars.setdefault(item, grammar) != grammar:
            raise ambiguous_item_error(item, sheet.name)
        found[item] = " ".join(answer)
    return found
