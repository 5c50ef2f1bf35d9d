"""Logs of a run in Weights & Biases or trackio (`--log_to`), by their own libraries."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from biml.errors import BimlError, first_line
from biml.io import read_text, write_file
from biml.training.run_files import LogEntry, RunPaths

METRIC_TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "accuracy_study": "accuracy/study",
    "accuracy_novel": "accuracy/novel",
    "lr": "optimiser/learning_rate",
    "gradient_norm": "optimiser/gradient_norm",
    "episodes_per_second": "speed/episodes_per_second",
}
"""Names of the metrics of a log entry in trackers and TensorBoard files."""

PROJECT = "biml"
"""Unless `WANDB_PROJECT` or `TRACKIO_PROJECT` names another one."""


class Tracker:
    """A run in such a library, which a resumed run of biml goes on with.

    Where the library fails after the start, training goes on without it.
    """

    def __init__(
        self,
        library: str,
        paths: RunPaths,
        options: Mapping[str, Any],
        *,
        resumed: bool,
        report: Callable[[str], None],
    ) -> None:
        """Start the run; a BimlError if the library does not start it.

        Args:
            report: takes a message if the library fails later.
        """
        self._library, self._report = library, report
        about: dict[str, Any] = {
            "project": os.environ.get(f"{library.upper()}_PROJECT", PROJECT),
            "name": paths.model.stem,
            "config": dict(options),
            "resume": "allow" if resumed else "never",
        }
        if library == "wandb":  # whose runs have identifiers
            about |= {"id": _identifier(paths.tracker_id, resumed), "dir": str(paths.model.parent)}
        try:
            self._run: Any = import_module(library).init(**about)
        except Exception as error:  # each library has errors of its own
            raise BimlError(
                f"--log_to {library}: the run could not be started ({first_line(error)}); mend "
                "this, or leave out --log_to"
            ) from error

    def add(self, entry: LogEntry) -> None:
        """Add the metrics of a log entry."""
        found = {tag: entry.get(key) for key, tag in METRIC_TAGS.items()}
        metrics = {tag: value for tag, value in found.items() if value is not None}
        with self._ended_by_errors():
            if self._run:
                self._run.log({"episodes": entry["episodes"], **metrics}, step=entry["step"])

    def close(self) -> None:
        with self._ended_by_errors():
            if self._run:
                self._run.finish()

    @contextmanager
    def _ended_by_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._run = None
            self._report(f"{self._library} failed ({first_line(error)}); its log ends here")


def _identifier(file: Path, resumed: bool) -> str:
    """The identifier of a run in a file beside its model, made anew for a new run."""
    if resumed and file.is_file():
        return read_text(file).strip()
    made = uuid4().hex[:12]
    write_file(file, made)
    return made
