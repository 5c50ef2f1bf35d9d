"""Putting downloaded or imported data where every command finds them."""

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from biml.checkpoints.shipped import MODEL_SUFFIXES
from biml.data.archive import FileSource, merge_into, open_source, unpack
from biml.data.fetch import ByteCallback, fetch
from biml.data.kinds import RESOURCES, DataResource, identify
from biml.episodes.locate import user_cache_folder
from biml.errors import BimlError, FormatError, UsageError
from biml.files import atomic_directory

ProgressFactory = Callable[[str, str], ByteCallback]
"""Told the stage that begins and its unit (bytes, files); answers with what to report to."""


def _no_progress(stage: str, unit: str) -> ByteCallback:
    return lambda done, total: None


@dataclass(frozen=True)
class InstallResult:
    """What was put in place.

    Attributes:
        kind: which data.
        folder: where they are now.
        files: how many files were written.
        kept: names of files that were there already and were left alone.
    """

    resource: DataResource
    folder: Path
    files: int
    kept: tuple[str, ...] = ()


def download(
    resource: DataResource,
    destination: Path,
    *,
    url: str | None = None,
    overwrite: bool = False,
    progress_factory: ProgressFactory = _no_progress,
) -> InstallResult:
    """Fetch the archive of `kind` and unpack it into `destination / kind.folder`.

    Raises:
        UsageError: it is there already and `overwrite` is not set, or no web address is given.
        BimlError: no connection, not found, wrong checksum, unsafe archive, disk full.
    """
    _check_absent(resource, destination, overwrite)
    address = url or resource.url
    name = blake2b(address.encode(), digest_size=8).hexdigest()
    archive = user_cache_folder() / "downloads" / f"{resource.name}-{name}.zip"
    # A checksum belongs to the published archive; a mirror may have packed the same files anew.
    checksum = resource.sha256 if url is None else None
    fetch(
        address,
        archive,
        sha256=checksum,
        max_bytes=resource.max_download,
        progress=progress_factory(f"fetching {resource.name}", "bytes"),
    )
    try:
        return import_path(
            archive,
            destination,
            expected=resource,
            overwrite=overwrite,
            progress_factory=progress_factory,
            source_name=address,
        )
    finally:
        archive.unlink(missing_ok=True)


def import_path(
    path: Path,
    destination: Path,
    *,
    expected: DataResource | None = None,
    overwrite: bool = False,
    progress_factory: ProgressFactory = _no_progress,
    source_name: str | None = None,
) -> InstallResult:
    """Put a local zip archive, folder or checkpoint in place, telling by its contents what it is.

    Args:
        expected: what it has to be; anything where None.
        shown: how messages call it, where that is not its path.

    Raises:
        FormatError: not recognised, damaged or unsafe, or a model in it cannot be read; nothing was
            put in place.
        UsageError: the data are there already and `overwrite` is not set.
    """
    with closing(open_source(path, source_name)) as source:
        found = identify(source.files())
        if found is None or expected not in (None, found[0]):
            raise FormatError(_unrecognised_error(expected), source=source.name)
        kind, root = found
        _check_absent(kind, destination, overwrite)
        folder = destination / kind.folder
        progress = progress_factory(f"unpacking {kind.name}", "files")
        if kind.merge:
            return _install(source, kind, root, folder, overwrite, progress)
        with atomic_directory(folder, overwrite=overwrite) as made:
            files = unpack(source, kind, root, made, progress)
        return InstallResult(kind, folder, files)


def _install(
    source: FileSource,
    kind: DataResource,
    root: PurePosixPath,
    folder: Path,
    overwrite: bool,
    progress: ByteCallback,
) -> InstallResult:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as made:
            unpack(source, kind, root, Path(made), progress)
            _check_models(Path(made), source.name)
            moved, kept = merge_into(Path(made), folder, overwrite=overwrite)
    except OSError as error:
        raise BimlError(
            f"{folder}: could not be written ({error.strerror or error}). "
            "Free some space or choose another folder with --dest."
        ) from error
    return InstallResult(kind, folder, moved, kept)


def _check_models(folder: Path, source: str) -> None:
    """Make sure that the models in a folder, unpacked from `source`, can be read.

    Raises:
        FormatError: one of them cannot; the message names it.
    """
    from biml.checkpoints.model import load_checkpoint  # loads PyTorch, which data do without

    for file in sorted(folder.rglob("*")):
        if file.suffix in MODEL_SUFFIXES:
            try:
                load_checkpoint(file)
            except BimlError as error:
                problem = str(error).replace(f"{folder}{os.sep}", "")
                raise FormatError(f"nothing was put in place; {problem}", source=source) from None


def _unrecognised_error(expected: DataResource | None) -> str:
    if expected is not None:
        return (
            f"holds no {expected.description} ({expected.folder}); nothing was put in place. "
            "Check the address or the file."
        )
    known = "; ".join(f"{kind.folder}: {kind.description}" for kind in RESOURCES.values())
    return (
        f"not recognised; what can be imported is: {known}; an experiment of your own: a table of "
        "answers (.csv, with --study) or a folder of episode files"
    )


def _check_absent(kind: DataResource, destination: Path, overwrite: bool) -> None:
    folder = destination / kind.folder
    if folder.exists() and not overwrite and not kind.merge:
        raise UsageError(f"{folder} is there already; --overwrite replaces it")
