"""Which data are on this machine, and where."""

import os
from dataclasses import dataclass
from pathlib import Path

from biml.data.kinds import RESOURCES, DataResource
from biml.episodes.locate import DataFolders


@dataclass(frozen=True)
class ResourceStatus:
    """Whether one kind of data is found.

    Attributes:
        folder: the folder that commands use; None where there is none.
        files: how many of its files belong to this kind.
        size: their size together, in bytes.
    """

    kind: DataResource
    folder: Path | None
    files: int = 0
    size: int = 0


def resource_status(data: DataFolders) -> list[ResourceStatus]:
    """One row for each kind of data, found in the order in which every command searches."""
    return [_status_of(kind, data.get(kind.folder)) for kind in RESOURCES.values()]


def _status_of(kind: DataResource, folder: Path | None) -> ResourceStatus:
    if folder is None:
        return ResourceStatus(kind, None)
    sizes = []
    for inside, _, _ in os.walk(folder):
        with os.scandir(inside) as entries:
            sizes += [
                entry.stat().st_size
                for entry in entries
                if entry.is_file() and entry.name.endswith(kind.suffixes)
            ]
    return ResourceStatus(kind, folder, len(sizes), sum(sizes))
