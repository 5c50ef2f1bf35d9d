"""Cache of computed tables in the user's cache folder, keyed by everything they depend on."""

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
from biml.paths import DataFolders
from biml.report.results import read_table, write_table
from biml.report.schemas import SCORED_TABLE, TABLES
from biml.version import __version__

MAX_AGE_DAYS = 90
"""Entries not used for so long are removed: results of other data, models and versions."""

MANIFEST = "tables.txt"
"""File of an entry with the names of its tables, one a line."""

_CACHED_TABLES = {**TABLES, SCORED_TABLE.name: SCORED_TABLE}


def cache_key(*parts: object) -> str:
    """A digest of this biml's version and the `repr` of each part, which must be complete."""
    return blake2b(repr((__version__, *parts)).encode(), digest_size=16).hexdigest()


def data_digest(data: DataFolders, name: str) -> str:
    """A digest of the files of a data folder, such as `data_human`; empty without such a folder."""
    root, _, inside = name.partition("/")
    folder = data.get(root)
    if folder is None:
        return ""
    digest = blake2b(digest_size=16)
    for path in sorted((folder / inside).rglob("*")):
        if path.is_file():
            digest.update(repr((path.relative_to(folder).as_posix(), path.stat().st_size)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class ResultCache:
    """Tables by key; each entry is a folder that appears when it is complete."""

    folder: Path

    def load(self, key: str) -> dict[str, pd.DataFrame] | None:
        """The tables of an entry; None where it is missing, damaged or incomplete."""
        folder = self.folder / key
        try:
            names = (folder / MANIFEST).read_text("utf-8").split()
            tables = {n: read_table(_CACHED_TABLES[n], folder / f"{n}.csv") for n in names}
        except (BimlError, OSError, KeyError, ValueError):
            return None
        with suppress(OSError):  # another user may own it
            os.utime(folder)
        return tables or None

    def save(self, key: str, tables: Mapping[str, pd.DataFrame]) -> None:
        """Store tables; a BimlError if the folder cannot be written."""
        with atomic_directory(self.folder / key, overwrite=True) as folder:
            for name, frame in tables.items():
                write_table(_CACHED_TABLES[name], frame, folder / f"{name}.csv")
            (folder / MANIFEST).write_text("\n".join(tables), "utf-8")

    def prune(self) -> None:
        """Remove entries that were neither saved nor loaded for `MAX_AGE_DAYS`."""
        with suppress(OSError):
            for folder in list(self.folder.iterdir()):
                if time.time() - folder.stat().st_mtime > MAX_AGE_DAYS * 24 * 3600:
                    # Moved away first, so that an interruption leaves no half of an entry.
                    with TemporaryDirectory(
                        dir=self.folder, prefix=".", ignore_cleanup_errors=True
                    ) as aside:
                        os.replace(folder, Path(aside) / folder.name)
