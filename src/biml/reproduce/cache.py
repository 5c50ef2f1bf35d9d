"""Results of units of work, kept in the user's cache folder by all that they depend on."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from biml.errors import BimlError
from biml.io import atomic_directory
from biml.paths import DataFolders, user_cache_folder
from biml.report.results import read_table, write_table
from biml.report.schemas import Table
from biml.version import __version__

MAX_AGE_DAYS = 90
"""What was not used for so long is removed: results of other data, models and versions."""

MANIFEST = "tables.txt"
"""The names of the tables that were kept together, one a line."""


def cache_key(*parts: object) -> str:
    """A name for what is described and for this biml.

    Every part must say all that matters in its `repr`.
    """
    return blake2b(repr((__version__, *parts)).encode(), digest_size=16).hexdigest()


def data_digest(data: DataFolders, name: str) -> str:
    """A digest of the files of a data folder, such as `data_human`; empty where there is none."""
    root, _, inside = name.partition("/")
    folder = data.get(root)
    if folder is None:
        return ""
    found = blake2b(digest_size=16)
    for path in sorted((folder / inside).rglob("*")):
        if path.is_file():
            found.update(repr((path.relative_to(folder).as_posix(), path.stat().st_size)).encode())
            found.update(path.read_bytes())
    return found.hexdigest()


@dataclass(frozen=True)
class ResultCache:
    """Tables by key: a folder each, which appears when it is complete.

    Attributes:
        folder: where; it may be removed at any time.
        tables: every table that may be in it, by name.
    """

    tables: Mapping[str, Table]
    folder: Path

    @classmethod
    def in_user_folder(cls, tables: Mapping[str, Table]) -> "ResultCache":
        return cls(tables, user_cache_folder() / "reproduce")

    def load(self, key: str) -> dict[str, pd.DataFrame] | None:
        """What was kept; None where there is nothing, or it is damaged or not complete."""
        folder = self.folder / key
        try:
            names = (folder / MANIFEST).read_text("utf-8").split()
            found = {
                table: read_table(self.tables[table], folder / f"{table}.csv") for table in names
            }
        except (BimlError, OSError, KeyError, ValueError):
            return None
        with suppress(OSError):  # it may belong to somebody else
            os.utime(folder)
        return found or None

    def save(self, key: str, tables: Mapping[str, pd.DataFrame]) -> None:
        """Keep tables.

        Raises:
            BimlError: the folder cannot be written.
        """
        with atomic_directory(self.folder / key, overwrite=True) as made:
            for table, frame in tables.items():
                write_table(self.tables[table], frame, made / f"{table}.csv")
            (made / MANIFEST).write_text("\n".join(tables), "utf-8")

    def prune(self, days: float = MAX_AGE_DAYS) -> None:
        """Remove what was neither kept nor loaded for so many days."""
        with suppress(OSError):
            for folder in list(self.folder.iterdir()):
                if time.time() - folder.stat().st_mtime > days * 24 * 3600:
                    _remove(folder)


def _remove(folder: Path) -> None:
    """Out of the way first, so that a kill leaves no half of it in its place."""
    with (
        suppress(OSError),
        TemporaryDirectory(dir=folder.parent, prefix=".", ignore_cleanup_errors=True) as aside,
    ):
        os.replace(folder, Path(aside) / folder.name)
