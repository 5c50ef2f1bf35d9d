"""Safe reading and unpacking of zip archives and local folders from untrusted sources."""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from biml.errors import BimlError, FormatError, UsageError
from biml.human.resources import DataResource
from biml.paths import card_path
from biml.progress import Progress, no_progress

OpenFile = Callable[[], BinaryIO]

_COPY_CHUNK = 2**18


@dataclass(frozen=True)
class FileSource:
    """The regular files of a zip archive, a folder, or a single file.

    Attributes:
        name: for messages.
        files: functions that open each file, by relative path, sorted; none leads outside.
    """

    name: str
    files: Mapping[PurePosixPath, OpenFile]


@contextmanager
def open_source(path: Path, name: str | None = None) -> Iterator[FileSource]:
    """Open a zip archive, a folder, or a single checkpoint (itself a zip, but never unpacked).

    Raises:
        FormatError: the archive is damaged, or has a path that leads outside the target folder.
        UsageError: there is no such file.
        BimlError: a network in safetensors format has no card beside it.
    """
    name = name or str(path)
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if not (path.is_file() or path.is_dir()):
        raise UsageError(f"{path}: neither a file nor a folder, but a pipe or device")
    if path.suffix.lower() != ".zip":
        yield FileSource(name, {file: partial(_open, p) for file, p in _local_files(path)})
        return
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # damaged directories of archives fail in many ways
        raise FormatError(f"not a readable zip archive ({error})", source=name) from error
    with archive:
        members = {_safe_path(info, name): info for info in archive.infolist()}
        yield FileSource(
            name,
            {
                file: cast(OpenFile, partial(archive.open, info))
                for file, info in sorted(members.items())
                if _is_regular(info, file)
            },
        )


def _safe_path(info: zipfile.ZipInfo, source: str) -> PurePosixPath:
    path = PurePosixPath(info.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in info.filename:
        raise FormatError(
            f"the archive contains {info.filename!r}, which would be written outside the target "
            "folder; nothing was unpacked. Do not trust its origin.",
            source=source,
        )
    return path


def _is_regular(info: zipfile.ZipInfo, path: PurePosixPath) -> bool:
    """False for folders, links, devices, nameless members, and what macOS adds to archives."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    from_macos = path.parts[:1] == ("__MACOSX",) or path.name.startswith("._")
    return bool(path.name) and not info.is_dir() and kind in (0, stat.S_IFREG) and not from_macos


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _local_files(path: Path) -> list[tuple[PurePosixPath, Path]]:
    """Regular files, sorted; the relative paths of a folder's files begin with its own name."""
    path = path.resolve()
    if path.is_dir():
        walked = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
        files = sorted(file for file in walked if file.is_file() and not file.is_symlink())
    else:
        files = [path]
        if path.suffix == ".safetensors":
            files.insert(0, card_path(path))
            if not files[0].is_file():
                raise BimlError(
                    f"{path}: its card {files[0].name} is missing, which describes the network; "
                    "copy it here too (`biml export` writes both)"
                )
    return [(PurePosixPath(file.relative_to(path.parent).as_posix()), file) for file in files]


def unpack(
    source: FileSource,
    resource: DataResource,
    root: PurePosixPath,
    target: Path,
    progress: Progress = no_progress,
) -> int:
    """Write a resource's files under `root` into the empty folder `target`; return their number.

    Sizes are counted while reading, whatever the archive declares.

    Raises:
        FormatError: too many files, too large, or damaged.
    """
    inside = [file for file in source.files if file.is_relative_to(root)]
    files = [file for file in inside if file.name.endswith(resource.suffixes)]
    if len(files) > resource.max_files:
        raise _too_large_error(source, f"{len(files):,} files", resource.max_files)
    left = resource.max_bytes
    for done, file in enumerate(files, 1):
        path = target / (file.name if resource.flat else file.relative_to(root))
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as out:
            for chunk in _read_chunks(source, file):
                left -= len(chunk)
                if left < 0:
                    raise _too_large_error(source, "too many bytes", resource.max_bytes)
                out.write(chunk)
        progress(done, len(files), stage=f"unpacking {resource.name}", unit="files")
    return len(files)


def _read_chunks(source: FileSource, file: PurePosixPath) -> Iterator[bytes]:
    try:
        with source.files[file]() as stream:
            while chunk := stream.read(_COPY_CHUNK):
                yield chunk
    except Exception as error:  # each kind of compression fails in its own ways
        raise FormatError(
            f"{file} in it cannot be read ({error}); fetch or copy it again", source=source.name
        ) from error


def _too_large_error(source: FileSource, what: str, limit: int) -> FormatError:
    return FormatError(
        f"{what}, more than the {limit:,} allowed; nothing was unpacked", source=source.name
    )


def merge_into(new: Path, target: Path, *, overwrite: bool) -> tuple[int, tuple[str, ...]]:
    """Move the files of `new` into `target`, which may hold others.

    Returns:
        How many were moved, and the names of existing files that were left unchanged.
    """
    kept = []
    moved = 0
    for file in sorted(path for path in new.rglob("*") if path.is_file()):
        path = target / file.relative_to(new)
        if path.exists() and not overwrite:
            kept.append(str(file.relative_to(new)))
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, path)
        moved += 1
    return moved, tuple(kept)
