"""The learning curves that a checkpoint remembers, ours or a released one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from biml.checkpoints.cards import read_bytes
from biml.checkpoints.model import load_checkpoint
from biml.checkpoints.shipped import list_pretrained
from biml.errors import BimlError
from biml.training.history import LogEntry, read_metrics
from biml.training.outputs import RunPaths


@dataclass(frozen=True)
class RunSegment:
    """One of the runs that made a model, each from the weights of the one before.

    Attributes:
        before: episodes that were shown in earlier parts.
        lines: of its history; none where nobody has them.
    """

    episodes_before: int
    log: Sequence[LogEntry]


def learning_curves(path: Path) -> list[LogEntry]:
    """The lines of a model's last run: from the file itself, else from the history file beside it.

    Those of `NAME_best.pt` are those of `NAME.pt`, where that is beside it.

    Raises:
        BimlError: neither holds any, or the model cannot be read.
    """
    lines = _stored_log(load_checkpoint(path))
    beside = RunPaths(path).history
    whole_run = path.with_name(path.name.replace("_best", ""))
    if not lines and beside.is_file():
        lines = read_metrics(beside)
    if not lines and whole_run != path and whole_run.is_file():
        lines = learning_curves(whole_run)
    if not lines:
        raise BimlError(f"{path}: holds no learning curves, and there is no file {beside.name}")
    return lines


def training_segments(path: Path) -> list[RunSegment]:
    """The curves of all runs that made a model, the first one first.

    Those of the models that it started from are taken from their files, found by their checksums
    beside it or among the models that come with biml, or from its card.

    Raises:
        BimlError: the model cannot be read.
    """
    contents = load_checkpoint(path)
    card = contents.get("card") or {}
    ancestors = (contents.get("info") or {}).get("ancestors") or card.get("started_from") or ()
    parts: list[RunSegment] = []
    before = 0
    for one in ancestors:
        file = _find_parent_file(one, path)
        if file and not parts:
            # It may know of earlier ones itself.
            parts = training_segments(file)
            before = parts.pop().episodes_before
        lines = _curves_or_empty(file) if file else list(one.get("history") or ())
        shown = one.get("episodes")
        if shown is None:
            shown = lines[-1]["episodes"] if lines else 0
        parts.append(
            RunSegment(before, [line for line in lines if (line["episodes"] or 0) <= shown])
        )
        before += int(shown)
    return [*parts, RunSegment(before, _curves_or_empty(path))]


def _curves_or_empty(path: Path) -> list[LogEntry]:
    try:
        return learning_curves(path)
    except BimlError:
        return []


def _find_parent_file(parent: Mapping[str, Any], path: Path) -> Path | None:
    """The file of a model that the one at `path` started from, if that is still there."""
    for file in (path.with_name(str(parent["file"])), *list_pretrained()):
        if file.is_file() and sha256(read_bytes(file)).hexdigest() == parent.get("sha256"):
            return file
    return None


def _stored_log(contents: Mapping[str, Any]) -> list[LogEntry]:
    """The lines in a checkpoint."""
    record = contents.get("training", {}).get("record", {})
    found = record.get("history") or contents.get("history")
    return list(found or _mlc_log(contents.get("info") or {}))


def _mlc_log(info: Mapping[str, Any]) -> list[LogEntry]:
    """A released checkpoint's `train_tracker` in our words."""
    batch_size = int(info.get("batch_size") or 1)
    return [
        {
            "step": line["step"],
            "episodes": line["step"] * batch_size,
            "lr": line["lr"],
            "train_loss": line["avg_train_loss"],
            "val_loss": line["val_loss"],
        }
        for line in info.get("train_tracker") or ()
    ]
