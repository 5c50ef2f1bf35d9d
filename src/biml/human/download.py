"""Which data are on this machine, and where."""

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from biml.errors import BimlError, FormatError, UsageError
from biml.human.archive import FileSource, merge_into, open_source, unpack
from biml.human.resources import RESOURCES, ByteCallback, DataResource, identify
from biml.io import atomic_directory, atomic_write
from biml.paths import MODEL_SUFFIXES, DataFolders, user_cache_folder

_DOWNLOAD_CHUNK = 2**18


class _ConnectionLostError(Exception):
    """The connection ended early; what has come is kept."""


@dataclass(frozen=True)
class _PartialDownload:
    """An unfinished download: its bytes, and beside them what they are the beginning of."""

    file: Path
    url: str

    @property
    def validator_file(self) -> Path:
        return self.file.with_name(self.file.name + ".json")

    def resumable(self) -> tuple[int, str]:
        """Bytes at hand and the validator of the version they belong to; (0, "") to start anew."""
        try:
            note = json.loads(self.validator_file.read_text("utf-8"))
            if note["url"] == self.url and note["validator"]:
                return self.file.stat().st_size, str(note["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return 0, ""

    def begin(self, validator: str) -> None:
        with _write_errors(self.file):
            self.discard()
            self.file.touch()
        with atomic_write(self.validator_file) as note:
            note.write(json.dumps({"url": self.url, "validator": validator}).encode())

    def discard(self) -> None:
        self.file.unlink(missing_ok=True)
        self.validator_file.unlink(missing_ok=True)


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    max_bytes: int,
    progress: ByteCallback = lambda done, total: None,
    attempts: int = 4,
    pause: float = 1.0,
    timeout: float = 30.0,
) -> None:
    """Download `url` to the file `target`, going on with an earlier attempt where that is safe.

    An earlier attempt is only continued where the server gave a strong ETag or a date by which it
    can tell that the file is still the same (`If-Range`); otherwise it starts anew.

    Args:
        sha256: what the file must have, where known.
        max_bytes: a larger file is refused.
        attempts: how many connections in a row may break off without bringing anything.
        pause: seconds before the second attempt; doubled each time.

    Raises:
        UsageError: the address is not one of http or https.
        BimlError: no connection, the server refuses, the file is not the expected one, disk full,
            the folder of `target` cannot be used.
    """
    if not _is_web_address(url):
        raise UsageError(
            f"{url}: not a web address; write one as http://HOST/PATH or https://HOST/PATH, with "
            "%-codes for blanks and foreign letters; for a local file use `biml data import PATH`"
        )
    part = _PartialDownload(target.with_name(target.name + ".part"), url)
    with _write_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        before = part.resumable()[0]
        try:
            _resume(part, max_bytes, progress, timeout)
            break
        except _ConnectionLostError as error:
            failures = 1 if part.resumable()[0] > before else failures + 1
            if failures >= attempts:
                raise BimlError(
                    f"{url}: {error}. Run the same command again to go on from there, or download "
                    "it in another way and run `biml data import FILE`."
                ) from error
            time.sleep(pause * 2 ** (failures - 1))
    _verify(part, sha256)
    os.replace(part.file, target)
    part.discard()


def _is_web_address(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return known and url.isascii() and url.isprintable() and " " not in url


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Tell what is wrong with files on this machine apart from what is wrong with a connection."""
    try:
        yield
    except OSError as error:
        raise BimlError(
            f"{path}: could not be written ({error.strerror or error}). Free some space there, or "
            "name another folder for unfinished downloads in the environment variable "
            "XDG_CACHE_HOME, and run the same command again."
        ) from error


def _resume(part: _PartialDownload, max_bytes: int, progress: ByteCallback, timeout: float) -> None:
    have, validator = part.resumable()
    headers = {"User-Agent": "biml", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    try:
        request = urllib.request.Request(part.url, headers=headers)
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            if not (answer.status == 206 and _check_offset(answer, have)):
                have = 0
                part.begin(_validator(answer))
            length = answer.headers.get("Content-Length", "")
            total = have + int(length) if length.isdecimal() else None
            _check_size(total or 0, max_bytes, part)
            _receive(answer, part, have, total, max_bytes, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            part.discard()
            raise _ConnectionLostError(
                "the server has another version than the one begun"
            ) from error
        if error.code >= 500:
            raise _ConnectionLostError(f"the server answers {error.code} {error.reason}") from error
        raise BimlError(
            f"{part.url}: the server answers {error.code} {error.reason}. If the file has moved, "
            "give its address in --url, or download it and run `biml data import FILE`."
        ) from error
    except urllib.error.URLError as error:
        raise _ConnectionLostError(f"no connection ({error.reason})") from error
    except (http.client.HTTPException, OSError) as error:
        raise _ConnectionLostError(f"the connection broke off ({error})") from error


def _receive(
    answer: http.client.HTTPResponse,
    part: _PartialDownload,
    have: int,
    total: int | None,
    max_bytes: int,
    progress: ByteCallback,
) -> None:
    progress(have, total)
    while piece := answer.read(_DOWNLOAD_CHUNK):
        with _write_errors(part.file), open(part.file, "ab") as file:
            file.write(piece)
        have += len(piece)
        _check_size(have, max_bytes, part)
        progress(have, total)
    if total is not None and have < total:
        raise _ConnectionLostError(f"the connection broke off after {have:,} of {total:,} bytes")


def _check_offset(answer: http.client.HTTPResponse, have: int) -> bool:
    return (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-")


def _validator(answer: http.client.HTTPResponse) -> str:
    """What tells versions of the file apart; empty where nothing does so safely (RFC 9110)."""
    tag = answer.headers.get("ETag") or ""
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified") or ""


def _check_size(size: int, max_bytes: int, part: _PartialDownload) -> None:
    if size > max_bytes:
        part.discard()
        raise BimlError(
            f"{part.url}: more than {max_bytes:,} bytes, far larger than expected; "
            "check the address given in --url"
        )


def _verify(part: _PartialDownload, sha256: str | None) -> None:
    if sha256 is None:
        return
    with open(part.file, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        part.discard()
        raise BimlError(
            f"{part.url}: what came has the checksum {found}, not {sha256}; it was removed. "
            "Try again, or another address in --url."
        )


# === Putting downloaded or imported data where every command finds them.


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
    from biml.networks.checkpoint import load_checkpoint  # loads PyTorch, which data do without

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


# === Which data are on this machine, and where.


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
