"""Which data are on this machine, and where."""

import os
from dataclasses import dataclass
from pathlib import Path

from biml.data.kinds import KINDS, Kind
from biml.episodes.locate import DataFolders


@dataclass(frozen=True)
class Status:
    """Whether one kind of data is found.

    Attributes:
        folder: the folder that commands use; None where there is none.
        files: how many of its files belong to this kind.
        size: their size together, in bytes.
    """

    kind: Kind
    folder: Path | None
    files: int = 0
    size: int = 0


def status(data: DataFolders) -> list[Status]:
    """One row for each kind of data, found in the order in which every command searches."""
    return [_one(kind, data.look(kind.folder)) for kind in KINDS.values()]


def _one(kind: Kind, folder: Path | None) -> Status:
    if folder is None:
        return Status(kind, None)
    sizes = []
    for inside, _, _ in os.walk(folder):
        with os.scandir(inside) as entries:
            sizes += [
                entry.stat().st_size
                for entry in entries
                if entry.is_file() and entry.name.endswith(kind.suffixes)
            ]
    return Status(kind, folder, len(sizes), sum(sizes))
