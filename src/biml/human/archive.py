"""Reading zip archives and local folders alike, trusting neither."""

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

from biml.errors import BimlError, FormatError
from biml.human.resources import ByteCallback, DataResource
from biml.paths import card_path

_COPY_CHUNK = 2**18


class FileSource(Protocol):
    """Named files that can be read: a zip archive, a folder or a single file."""

    name: str

    def files(self) -> list[PurePosixPath]:
        """Relative paths of all plain files, sorted, none of them leading out."""
        ...

    def open(self, file: PurePosixPath) -> BinaryIO: ...

    def close(self) -> None: ...


class ZipSource:
    """The plain files of a zip archive.

    Raises:
        FormatError: damaged, encrypted, or with a path that leads out of the target.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise FormatError(f"not a readable zip archive ({error})", source=self.name) from error
        self._infos = {self._checked(info): info for info in self._zip.infolist()}

    def _checked(self, info: zipfile.ZipInfo) -> PurePosixPath:
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in info.filename:
            raise FormatError(
                f"the archive has a file {info.filename!r} that would land outside the target "
                "folder; nothing was unpacked. Do not trust where it came from.",
                source=self.name,
            )
        return path

    def files(self) -> list[PurePosixPath]:
        return sorted(path for path, info in self._infos.items() if _is_regular(info, path))

    def open(self, file: PurePosixPath) -> BinaryIO:
        return cast(BinaryIO, self._zip.open(self._infos[file]))

    def close(self) -> None:
        self._zip.close()


def _is_regular(info: zipfile.ZipInfo, path: PurePosixPath) -> bool:
    """False for folders, symbolic links, devices, and what macOS adds to archives."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    odd = path.parts[:1] == ("__MACOSX",) or path.name.startswith("._")
    return not info.is_dir() and kind in (0, stat.S_IFREG) and not odd


class DirectorySource:
    """The plain files of a local folder, or one local file; an exported network with its card.

    Raises:
        BimlError: a network in safetensors format has no card beside it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        path = path.resolve()
        self._only = _with_model_card(path) if path.is_file() else None
        self._root = path.parent if path.is_file() else path

    def files(self) -> list[PurePosixPath]:
        if self._only is not None:
            return [PurePosixPath(file.name) for file in self._only]
        found = []
        for folder, _, names in os.walk(self._root):
            inside = Path(folder).relative_to(self._root)
            found += [
                PurePosixPath(self._root.name, *inside.parts, name)
                for name in names
                if not os.path.islink(os.path.join(folder, name))
            ]
        return sorted(found)

    def open(self, file: PurePosixPath) -> BinaryIO:
        # Paths begin with the folder's own name, by which some contents are told apart.
        parts = file.parts if self._only is not None else file.parts[1:]
        return open(self._root.joinpath(*parts), "rb")

    def close(self) -> None:
        pass


def _with_model_card(path: Path) -> list[Path]:
    if path.suffix != ".safetensors":
        return [path]
    card = card_path(path)
    if not card.is_file():
        raise BimlError(
            f"{path}: its card {card.name} is missing, which says what network this is; "
            "copy it here too (`biml export` writes both)"
        )
    return [card, path]


def open_source(path: Path, name: str | None = None) -> FileSource:
    """A zip archive, a folder, or a single checkpoint (itself a zip, which is not unpacked).

    Args:
        name: how messages call it, where that is not its path.

    Raises:
        BimlError: nothing is there, it is not readable, or a network's card is missing.
    """
    if not path.exists():
        raise BimlError(f"{path}: no such file or folder")
    made = ZipSource if path.suffix.lower() == ".zip" else DirectorySource
    return made(path, name or str(path))


def unpack(
    source: FileSource,
    kind: DataResource,
    root: PurePosixPath,
    target: Path,
    progress: ByteCallback = lambda done, total: None,
) -> int:
    """Write the files of `kind` that lie under `root` into the empty folder `target`.

    Sizes are counted while reading, whatever the archive says of itself.

    Returns:
        The number of files.

    Raises:
        FormatError: too many files, too large, or damaged.
        BimlError: cannot be written.
    """
    wanted = [
        file
        for file in source.files()
        if file.is_relative_to(root) and file.suffix in kind.suffixes
    ]
    if len(wanted) > kind.max_files:
        raise _too_large_error(source, f"{len(wanted):,} files, more than the {kind.max_files:,}")
    left = kind.max_bytes
    for done, file in enumerate(wanted):
        place = target.joinpath(*file.relative_to(root).parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        with _read_errors(source, file) as stream, open(place, "xb") as out:
            while piece := stream.read(_COPY_CHUNK):
                left -= len(piece)
                if left < 0:
                    raise _too_large_error(source, f"more than the {kind.max_bytes:,} bytes")
                out.write(piece)
        progress(done + 1, len(wanted))
    return len(wanted)


@contextmanager
def _read_errors(source: FileSource, file: PurePosixPath) -> Iterator[BinaryIO]:
    try:
        with source.open(file) as stream:
            yield stream
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise FormatError(
            f"{file} in it cannot be unpacked ({error}); fetch the archive again",
            source=source.name,
        ) from error


def _too_large_error(source: FileSource, what: str) -> FormatError:
    return FormatError(f"{what} that it may hold; nothing was unpacked", source=source.name)


def merge_into(made: Path, target: Path, *, overwrite: bool) -> tuple[int, tuple[str, ...]]:
    """Move the files of `made` into `target`, which may hold others.

    Returns:
        How many were moved, and the names of those that were there already and stay as they are.
    """
    kept = []
    moved = 0
    for file in sorted(path for path in made.rglob("*") if path.is_file()):
        place = target / file.relative_to(made)
        if place.exists() and not overwrite:
            kept.append(str(file.relative_to(made)))
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)
        moved += 1
    return moved, tuple(kept)
