"""Where data folders are looked for."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from biml.errors import BimlError, UsageError

FETCH_HINTS = {
    "data_human": "fetch it with `biml data download human`",
    "data_algebraic": "make it with `biml generate` or fetch it with `biml data download episodes`",
    "out_models": "fetch the released ones with `biml data download models`",
}
"""The one command that puts a folder in place, by the folder's name."""

StatusCallback = Callable[[str], None]
"""Told of work that takes a while, in one sentence."""


def ignore_status(line: str) -> None:
    """Report to nobody."""


def user_data_folder() -> Path:
    """Where downloads land unless another folder is named."""
    return Path(platformdirs.user_data_dir("biml", appauthor=False))


def user_cache_folder() -> Path:
    """Where files are kept that can be made again at any time."""
    return Path(platformdirs.user_cache_dir("biml", appauthor=False))


@dataclass(frozen=True)
class SearchPath:
    """One folder that is searched, and why."""

    folder: Path
    origin: str

    def find(self, name: str) -> Path | None:
        """The folder called `name` in this one, or this one where it is called so itself."""
        if (self.folder / name).is_dir():
            return self.folder / name
        return self.folder if self.folder.name == name and self.folder.is_dir() else None


def default_search_paths(environment: Mapping[str, str] | None = None) -> tuple[SearchPath, ...]:
    """`BIML_DATA` where set, the current directory, the user's data folder."""
    named = (os.environ if environment is None else environment).get("BIML_DATA")
    chosen = (SearchPath(Path(named), "BIML_DATA"),) if named else ()
    return (
        *chosen,
        SearchPath(Path.cwd(), "current directory"),
        SearchPath(user_data_folder(), "user's data folder"),
    )


@dataclass(frozen=True)
class DataFolders:
    """Finds `data_human`, `data_algebraic` and `out_models`.

    Attributes:
        data_dir: the folder named by `--data_dir`, searched before all others; it may also be the
            sought folder itself.
        usual: the places searched after it; fixed when this is made, so that a later change of
            directory has no effect.
        report: told when reading what was found is going to take a while.

    Raises:
        UsageError: `data_dir` or `BIML_DATA` names something that is not a folder.
    """

    data_dir: Path | None = None
    defaults: tuple[SearchPath, ...] = field(default_factory=default_search_paths)
    report: StatusCallback = field(default=ignore_status, compare=False, repr=False)

    def __post_init__(self) -> None:
        for place in self.search_paths:
            if place.origin in ("--data_dir", "BIML_DATA") and not place.folder.is_dir():
                raise UsageError(f"{place.origin}: {place.folder} is not a folder")

    @property
    def search_paths(self) -> tuple[SearchPath, ...]:
        """Every folder that is searched, in order."""
        if self.data_dir is None:
            return self.defaults
        return (SearchPath(Path(self.data_dir), "--data_dir"), *self.defaults)

    def get(self, name: str) -> Path | None:
        """The first folder called `name`, or None.

        A place that is itself called `name` counts too, so `--data_dir somewhere/data_human` works.
        """
        found = (place.find(name) for place in self.search_paths)
        return next((folder for folder in found if folder is not None), None)

    def fallback_note(self, name: str) -> str:
        """That `--data_dir` names a folder without `name`, in words; empty unless it does."""
        if self.data_dir is None or self.search_paths[0].find(name) is not None:
            return ""
        return f"there is no {name} in {self.data_dir}"

    def require(self, name: str) -> Path:
        """The first folder called `name`.

        Raises:
            BimlError: there is none; the message names the command that puts it in place.
        """
        found = self.get(name)
        if found is None:
            searched = ", ".join(f"{place.folder} ({place.origin})" for place in self.search_paths)
            raise BimlError(
                f"no folder {name} in {searched}; "
                f"{FETCH_HINTS.get(name, 'put it in one of these')}, or name its parent in --data_dir"
            )
        return found
