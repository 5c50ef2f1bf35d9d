"""The learning curves that a checkpoint remembers, ours or a released one."""

from pathlib import Path
from typing import Any

from biml.checkpoints.model import read_contents
from biml.errors import BimlError
from biml.training.history import Line, read_history
from biml.training.outputs import Outputs


def learning_curves(path: Path) -> list[Line]:
    """The lines of a model's history: from the file itself, else from the history file beside it.

    Raises:
        BimlError: neither holds any, or the model cannot be read.
    """
    contents = read_contents(path)
    record = contents.get("training", {}).get("record", {})
    lines: list[Line] = list(record.get("history", ())) or list(contents.get("history", ()))
    if not lines:
        lines = _published(contents.get("info") or {})
    beside = Outputs(path).history
    if not lines and beside.is_file():
        lines = read_history(beside)
    if not lines:
        raise BimlError(f"{path}: holds no learning curves, and there is no file {beside.name}")
    return lines


def _published(info: dict[str, Any]) -> list[Line]:
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
