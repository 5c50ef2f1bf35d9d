"""What can be downloaded or imported: one row each, and how its contents are told apart."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from biml.errors import UsageError

_LARGE_FILES = "https://www.cs.princeton.edu/~bl8144/supplemental/BIML-large-files"

_MEGABYTE = 2**20


def _human_root(files: Sequence[PurePosixPath]) -> PurePosixPath | None:
    """The folder that holds `few_shot/val_behavior` and `open_ended_all`, wherever it lies."""
    for file in files:
        if file.parts[-3:-1] == ("few_shot", "val_behavior"):
            root = file.parents[2]
            if any(other.is_relative_to(root / "open_ended_all") for other in files):
                return root
    return None


def _episodes_root(files: Sequence[PurePosixPath]) -> PurePosixPath | None:
    """The folder whose `train` and `val` hold files numbered as `000001.txt`."""
    seen: dict[str, set[PurePosixPath]] = {"train": set(), "val": set()}
    for file in files:
        part = file.parent.name
        if part in seen and re.fullmatch(r"\d{5,}\.txt", file.name):
            seen[part].add(file.parents[1])
            both = seen["train"] & seen["val"]
            if both:
                return both.pop()
    return None


def _models_root(files: Sequence[PurePosixPath]) -> PurePosixPath | None:
    """The first folder that holds checkpoints."""
    for file in files:
        if file.suffix in (".pt", ".safetensors"):
            return file.parent
    return None


@dataclass(frozen=True)
class DataResource:
    """One thing that can be put in place.

    Attributes:
        name: as on the command line.
        folder: the folder it becomes, inside the user's data folder or `--dest`.
        what: one line for people.
        url: the published address of a zip archive.
        suffixes: endings of the files that belong to it; nothing else is unpacked.
        root: finds the folder inside an archive (or a local folder) that becomes `folder`.
        max_files, max_bytes: an archive that would unpack to more is refused.
        max_download: an archive larger than this is not fetched.
        merge: files join those that are there (checkpoints) instead of replacing the whole folder.
        sha256: of the archive, where its publisher or we know it.
    """

    name: str
    folder: str
    description: str
    url: str
    suffixes: tuple[str, ...]
    root: Callable[[Sequence[PurePosixPath]], PurePosixPath | None]
    max_files: int
    max_bytes: int
    merge: bool = False
    max_download: int = 2_000 * _MEGABYTE
    sha256: str | None = None


RESOURCES = {
    kind.name: kind
    for kind in (
        # The repository's archive is packed anew by its host from time to time, so that its
        # checksum says nothing; each member's CRC is checked when it is unpacked.
        DataResource(
            name="human",
            folder="data_human",
            description="people's answers: few-shot, open-ended and probe tasks",
            url="https://codeload.github.com/brendenlake/MLC/zip/HEAD",
            suffixes=(".txt",),
            root=_human_root,
            max_files=5_000,
            max_bytes=50 * _MEGABYTE,
        ),
        DataResource(
            name="episodes",
            folder="data_algebraic",
            description="the published 100,000 + 200 meta-training episodes",
            url=f"{_LARGE_FILES}/data_algebraic.zip",
            suffixes=(".txt",),
            root=_episodes_root,
            max_files=250_000,
            max_bytes=1_000 * _MEGABYTE,
        ),
        DataResource(
            name="models",
            folder="out_models",
            description="the published trained networks",
            url=f"{_LARGE_FILES}/BIML_top_models.zip",
            suffixes=(".pt", ".safetensors", ".json"),
            root=_models_root,
            max_files=500,
            max_bytes=4_000 * _MEGABYTE,
            merge=True,
        ),
    )
}
"""By name, in the order in which contents are recognised: human data hold folders that could pass
for episodes, and either could lie beside checkpoints."""


def resource(name: str) -> DataResource:
    """The row called `name`.

    Raises:
        UsageError: there is none; the message lists them.
    """
    if name not in RESOURCES:
        raise UsageError(f"{name!r} is not known; choose one of {', '.join(RESOURCES)}")
    return RESOURCES[name]


def identify(files: Sequence[PurePosixPath]) -> tuple[DataResource, PurePosixPath] | None:
    """What the files are, with the folder among them that matters, or None.

    >>> files = [f"sets/mine/{part}/000001.txt" for part in ("train", "val")]
    >>> row, root = identify([PurePosixPath(file) for file in files])
    >>> row.name, str(root)
    ('episodes', 'sets/mine')
    """
    for row in RESOURCES.values():
        root = row.root(files)
        if root is not None:
            return row, root
    return None


# === biml.human.download


ByteCallback = Callable[[int, int | None], None]
"""Called with how much is done and how much there is in all, where that is known."""
