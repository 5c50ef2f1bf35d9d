"""The curves of a run: JSON lines beside the model, and TensorBoard event files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biml.errors import BimlError, FormatError
from biml.files import atomic_write

LogEntry = dict[str, float | int | None]
"""One moment of a run: step, episodes, lr, train_loss, gradient_norm, episodes_per_second, seconds,
and where it was validated val_loss, accuracy_copied and accuracy_novel (percent)."""

_TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "accuracy_copied": "accuracy/copied",
    "accuracy_novel": "accuracy/novel",
    "lr": "optimiser/learning_rate",
    "gradient_norm": "optimiser/gradient_norm",
    "episodes_per_second": "speed/episodes_per_second",
}


class MetricsLogger:
    """The lines of a run so far, kept in step with the files.

    Args:
        path: the JSON-lines file; it is rewritten to hold exactly `lines`, so that a run that goes
            on from an older checkpoint has no step twice.
        events: folder of the TensorBoard files.
        lines: what was there before, from the checkpoint.
    """

    def __init__(self, path: Path, events: Path, entries: Sequence[LogEntry] = ()) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.entries = list(entries)
        with atomic_write(path) as file:
            file.write("".join(map(_to_json_line, self.entries)).encode())
        self._path = path
        last = int(self.entries[-1]["step"] or 0) if self.entries else 0
        if not self.entries and events.is_dir():
            for old in events.glob("events.out.tfevents.*"):
                old.unlink()
        self._writer = SummaryWriter(str(events), purge_step=last + 1, flush_secs=30)

    def add(self, entry: LogEntry) -> None:
        """Append one line.

        Raises:
            BimlError: the file cannot be written, as when the disk is full.
        """
        self.entries.append(entry)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_to_json_line(entry))
        except OSError as error:
            raise BimlError(f"{self._path}: could not be written ({error.strerror})") from error
        for name, tag in _TAGS.items():
            value = entry.get(name)
            if value is not None:
                self._writer.add_scalar(tag, value, entry["step"])

    def close(self) -> None:
        self._writer.close()


def read_metrics(path: Path) -> list[LogEntry]:
    """The lines of a history file; a last line that was cut short is left out.

    Raises:
        FormatError: another line is not a JSON object.
    """
    lines: list[LogEntry] = []
    texts = path.read_text(encoding="utf-8").splitlines()
    for number, text in enumerate(texts, 1):
        try:
            value: Any = json.loads(text)
        except json.JSONDecodeError:
            value = None
        if isinstance(value, dict):
            lines.append(value)
        elif number < len(texts):
            raise FormatError("not a line of a training history", source=str(path), line=number)
    return lines


def _to_json_line(entry: LogEntry) -> str:
    return json.dumps(entry) + "\n"
