"""Writing an experiment as a folder of episode files like that of the published human data."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from biml.data.experiment import FEW_SHOT, OPEN_ENDED, PROBES, Experiment, Sheet
from biml.episodes.answerers import FILE, format_answerers, of_two_grammars
from biml.episodes.recipes import HUMAN
from biml.episodes.recipes import PROBES as PROBE_FOLDER
from biml.episodes.text import format_episode
from biml.errors import BimlError, UsageError
from biml.files import check_parent, folder_aside

FOLDS = 5
"""Parts of the open-ended participants, each held out from one training (paper, Methods)."""

TYPES = {
    FEW_SHOT: ("few_shot_human", "few_shot_gold"),
    OPEN_ENDED: ("open_end_human_all", "open_end_freeform"),
    PROBES: ("probe_human",),
}
"""The episode types by which each task is asked."""


@dataclass(frozen=True)
class Part:
    """One folder of episode files inside `data_human`, and its files."""

    folder: str
    sheets: tuple[Sheet, ...]


def write(experiment: Experiment, destination: Path, *, overwrite: bool = False) -> Path:
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
    check_parent(folder)
    ours = _folders(experiment.task)
    for name in ours:
        if (folder / name).exists() and not overwrite:
            raise UsageError(
                f"{folder / name} is there already; --overwrite replaces it, --dest names another "
                "folder"
            )
    with folder_aside(folder, overwrite=True) as made:
        if folder.is_dir():
            shutil.copytree(
                folder,
                made,
                dirs_exist_ok=True,
                ignore=lambda at, names: ours if Path(at) == folder else (),
            )
        for part in _parts(experiment):
            _write_part(part, made, experiment)
    return folder


def _folders(task: str) -> list[str]:
    """The folders of `data_human` that belong to a task."""
    if task == OPEN_ENDED:
        return ["open_ended_all", *(f"open_ended_cross{n + 1}" for n in range(FOLDS))]
    return [(HUMAN if task == FEW_SHOT else PROBE_FOLDER).split("/")[0]]


def _parts(experiment: Experiment) -> Iterator[Part]:
    sheets = experiment.sheets
    shown = tuple(Sheet(f"{n:02}", episode, ()) for n, episode in enumerate(experiment.shown))
    if experiment.task == FEW_SHOT:
        yield Part(HUMAN, sheets)
        yield Part("few_shot/val_gold", shown)
    elif experiment.task == PROBES:
        yield Part(PROBE_FOLDER, sheets)
    else:
        yield from _split("open_ended_all", shown, sheets, sheets)
        for fold in range(FOLDS if len(sheets) >= FOLDS else 0):
            held = sheets[fold::FOLDS]
            train = tuple(sheet for sheet in sheets if sheet not in held)
            yield from _split(f"open_ended_cross{fold + 1}", shown, train, held)


def _split(
    folder: str, mock: tuple[Sheet, ...], train: tuple[Sheet, ...], val: tuple[Sheet, ...]
) -> list[Part]:
    return [Part(f"{folder}/{n}", s) for n, s in (("mock", mock), ("train", train), ("val", val))]


def _write_part(part: Part, made: Path, experiment: Experiment) -> None:
    folder = made / part.folder
    folder.mkdir(parents=True)
    for sheet in part.sheets:
        (folder / f"{sheet.name}.txt").write_text(format_episode(sheet.episode), "utf-8")
    if any(sheet.answerers for sheet in part.sheets):
        rows = [(f"{sheet.name}.txt", sheet.episode, sheet.answerers) for sheet in part.sheets]
        text = format_answerers(rows, _targets(part.sheets, experiment.task))
        (folder / FILE).write_text(text, "utf-8", newline="")


def _targets(sheets: Sequence[Sheet], task: str) -> dict[str, str]:
    """The right answer to each item of a few-shot task.

    Raises:
        BimlError: a file has no grammar, or an item stands in files of different grammars.
    """
    found: dict[str, str] = {}
    grammars: dict[str, str] = {}
    for sheet in sheets if task == FEW_SHOT else ():
        if sheet.episode.grammar is None:
            raise BimlError(f"{sheet.name}: a few-shot item without a grammar")
        answer = sheet.episode.grammar.interpret(sheet.episode.queries[0].words)
        item, grammar = sheet.answerers[0].item, str(sheet.episode.grammar)
        if grammars.setdefault(item, grammar) != grammar:
            raise of_two_grammars(item, sheet.name)
        found[item] = " ".join(answer)
    return found
