"""Downloading, importing and listing data: resumable HTTP, safe unpacking, verification."""

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

from biml.episodes.generate import is_episode_set_file
from biml.errors import BimlError, FormatError, UsageError
from biml.human.archive import FileSource, merge_into, open_source, unpack
from biml.human.resources import RESOURCES, DataResource, identify
from biml.io import (
    atomic_directory,
    check_replaceable,
    exclusive_lock,
    partial_directory,
    write_file,
)
from biml.paths import MODEL_SUFFIXES, DataFolders, user_cache_folder
from biml.progress import Progress, no_progress

_DOWNLOAD_CHUNK = 2**18


class _ConnectionLostError(Exception):
    """The connection ended early; the bytes received so far are kept."""


@dataclass(frozen=True)
class _PartialDownload:
    """An unfinished download, with its address and version in a JSON file beside it."""

    file: Path
    url: str

    @property
    def validator_file(self) -> Path:
        return self.file.with_name(self.file.name + ".json")

    def resumable(self) -> tuple[int, str]:
        """Bytes received and the validator of their version; (0, "") to start anew."""
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
        write_file(self.validator_file, json.dumps({"url": self.url, "validator": validator}))

    def check_size(self, size: int, max_bytes: int) -> None:
        if size > max_bytes:
            self.discard()
            raise BimlError(
                f"{self.url}: more than {max_bytes:,} bytes, far larger than expected; "
                "check the address given in --url"
            )

    def check_sha256(self, expected: str | None) -> None:
        if expected is None:
            return
        with open(self.file, "rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != expected:
            self.discard()
            raise BimlError(
                f"{self.url}: the file has the checksum {actual}, not {expected}; it was removed. "
                "Try again, or give another address in --url."
            )

    def discard(self) -> None:
        self.file.unlink(missing_ok=True)
        self.validator_file.unlink(missing_ok=True)


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    max_bytes: int,
    progress: Progress = no_progress,
    attempts: int = 4,
    pause: float = 1.0,
    timeout: float = 30.0,
) -> None:
    """Download `url` to the file `target`, resuming an earlier attempt where that is safe.

    It is safe where the server gave a strong ETag or a date by which it can tell that the file is
    unchanged (`If-Range`); otherwise the download starts anew.

    Args:
        attempts: give up after so many consecutive connections that brought nothing.
        pause: seconds before the second attempt; doubled each time.
        timeout: seconds.
    Raises:
        UsageError: the address is not http or https.
        BimlError: no connection, the server refuses, too large, wrong checksum, or the folder of
            `target` cannot be written.
    """
    if not _is_web_address(url):
        raise UsageError(
            f"{url}: not a web address; write http://HOST/PATH or https://HOST/PATH, with %-codes "
            "for blanks and non-ASCII letters; for a local file use `biml data import PATH`"
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
                    f"{url}: {error}. Run the same command again to resume, or download the file "
                    "in another way and run `biml data import FILE`."
                ) from error
            time.sleep(pause * 2 ** (failures - 1))
    part.check_sha256(sha256)
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
    """Report failing local files apart from failing connections."""
    try:
        yield
    except OSError as error:
        raise BimlError(
            f"{path}: could not be written ({error.strerror or error}). Free some space there, or "
            "set the environment variable XDG_CACHE_HOME to another folder for unfinished "
            "downloads, and run the same command again."
        ) from error


def _resume(part: _PartialDownload, max_bytes: int, progress: Progress, timeout: float) -> None:
    done, validator = part.resumable()
    headers = {"User-Agent": "biml", "Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": validator}
    try:
        request = urllib.request.Request(part.url, headers=headers)
        opener = urllib.request.build_opener(_WebRedirects)
        with opener.open(request, timeout=timeout) as reply:
            offset = reply.headers.get("Content-Range") or ""
            if not (reply.status == 206 and offset.startswith(f"bytes {done}-")):
                done = 0
                part.begin(_validator(reply))
            length = reply.headers.get("Content-Length", "")
            total = done + int(length[:18]) if length.isdecimal() else None
            part.check_size(total or 0, max_bytes)
            _receive(reply, part, done, total, max_bytes, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            part.discard()
            raise _ConnectionLostError("the file on the server has changed") from error
        reason = f"the server replied {error.code} {error.reason}"
        if error.code >= 500:
            raise _ConnectionLostError(reason) from error
        raise BimlError(
            f"{part.url}: {reason}. If the file has moved, give its address in --url, or download "
            "it and run `biml data import FILE`."
        ) from error
    except ValueError as error:  # of an address that a redirection leads to
        raise BimlError(f"{part.url}: redirects to no web address ({error})") from error
    except urllib.error.URLError as error:
        raise _ConnectionLostError(f"no connection ({error.reason})") from error
    except (http.client.HTTPException, OSError) as error:
        raise _ConnectionLostError(f"the connection was lost ({error})") from error


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirections to http and https alone, where the standard library also takes ftp."""

    def redirect_request(self, *details: Any) -> Any:
        if not _is_web_address(details[-1]):
            raise ValueError(details[-1][:80])
        return super().redirect_request(*details)


def _receive(
    reply: http.client.HTTPResponse,
    part: _PartialDownload,
    done: int,
    total: int | None,
    max_bytes: int,
    progress: Progress,
) -> None:
    progress(done, total, stage="downloading", unit="bytes")
    while chunk := reply.read(_DOWNLOAD_CHUNK):
        with _write_errors(part.file), open(part.file, "ab") as file:
            file.write(chunk)
        done += len(chunk)
        part.check_size(done, max_bytes)
        progress(done, total, stage="downloading", unit="bytes")
    if total is not None and done < total:
        raise _ConnectionLostError(f"the connection was lost after {done:,} of {total:,} bytes")


def _validator(reply: http.client.HTTPResponse) -> str:
    """The header that identifies the file's version; empty where none is safe (RFC 9110)."""
    tag = reply.headers.get("ETag") or ""
    return tag if tag.startswith('"') else reply.headers.get("Last-Modified") or ""


@dataclass(frozen=True)
class InstallResult:
    """The folder of an installed resource, the number of new files, and the files left as is."""

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
    progress: Progress = no_progress,
) -> InstallResult:
    """Fetch the archives of a resource and unpack them into `destination / resource.folder`.

    Nothing is unpacked before all of them are there. `url` is that of one archive with everything.

    Raises:
        UsageError: the folder exists and `overwrite` is not set, or the address is not http(s).
        BimlError: no connection, not found, wrong checksum, unsafe archive, disk full.
    """
    _check_absent(resource, destination, overwrite)
    cache = user_cache_folder() / "downloads"
    archives = {}
    for address in resource.urls if url is None else (url,):
        digest = blake2b(address.encode(), digest_size=8).hexdigest()
        archives[address] = cache / f"{resource.name}-{digest}.zip"
    files, kept = 0, set[str]()
    with ExitStack() as stack:
        for address, archive in archives.items():
            with _write_errors(cache):
                cache.mkdir(parents=True, exist_ok=True)
            busy = f"another process is downloading {address}; wait until it is done"
            stack.enter_context(exclusive_lock(archive, busy))
            fetch(
                address,
                archive,
                # A checksum belongs to the published archive; a mirror may have repacked the files.
                sha256=resource.sha256 if url is None else None,
                max_bytes=resource.max_download,
                progress=progress,
            )
            stack.callback(archive.unlink, missing_ok=True)
        for address, archive in archives.items():
            result = import_path(
                archive,
                destination,
                expected=resource,
                overwrite=overwrite,
                progress=progress,
                source_name=address,
            )
            files += result.files
            kept.update(result.kept)
    return replace(result, files=files, kept=tuple(sorted(kept)))


def import_path(
    path: Path,
    destination: Path,
    *,
    expected: DataResource | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
    source_name: str | None = None,
) -> InstallResult:
    """Install a local zip archive, folder or file, recognised by its contents.

    Args:
        source_name: for messages, instead of the path.
    Raises:
        FormatError: not recognised or not `expected`, damaged or unsafe, or with an unreadable
            model; nothing was installed.
        UsageError: the folder exists and `overwrite` is not set.
    """
    with open_source(path, source_name) as source:
        match = identify(list(source.files))
        if match is None or expected not in (None, match[0]):
            raise FormatError(_unrecognised(expected), source=source.name)
        resource, root = match
        _check_absent(resource, destination, overwrite)
        folder = destination / resource.folder
        if resource.merge:
            return _merge(source, resource, root, folder, overwrite, progress)
        if overwrite:
            check_replaceable(folder, partial(_is_unpacked, resource), resource.description)
        with atomic_directory(folder, overwrite=overwrite) as new:
            files = unpack(source, resource, root, new, progress)
        return InstallResult(resource, folder, files)


def _merge(
    source: FileSource,
    resource: DataResource,
    root: PurePosixPath,
    folder: Path,
    overwrite: bool,
    progress: Progress,
) -> InstallResult:
    try:
        with partial_directory(folder) as new:
            unpack(source, resource, root, new, progress)
            _check_models(new, source.name)
            moved, kept = merge_into(new, folder, overwrite=overwrite)
    except OSError as error:
        raise BimlError(
            f"{folder}: could not be written ({error.strerror or error}). "
            "Free some space or choose another folder with --dest."
        ) from error
    return InstallResult(resource, folder, moved, kept)


def _is_unpacked(resource: DataResource, path: str) -> bool:
    """Whether a file in the folder of a resource is one that an import would have put there."""
    in_folder = "/" in path and path.endswith(resource.suffixes)
    return in_folder or (resource.name == "episodes" and is_episode_set_file(path))


def _check_models(folder: Path, source: str) -> None:
    """Make sure that every model in a folder can be read; a FormatError names the first failure."""
    from biml.networks.checkpoint import load_checkpoint  # loads PyTorch

    for file in sorted(folder.rglob("*")):
        if file.suffix in MODEL_SUFFIXES:
            try:
                load_checkpoint(file)
            except BimlError as error:
                problem = str(error).replace(f"{folder}{os.sep}", "")
                raise FormatError(f"nothing was installed; {problem}", source=source) from None


def _unrecognised(expected: DataResource | None) -> str:
    if expected is not None:
        return (
            f"contains no {expected.description} ({expected.folder}); nothing was installed. "
            "Check the address or the file."
        )
    known = "; ".join(f"{row.folder}: {row.description}" for row in RESOURCES.values())
    return (
        f"not recognised; can import {known}; a custom experiment: a table of responses (.csv or "
        ".parquet, with --study) or a folder of episode files"
    )


def _check_absent(resource: DataResource, destination: Path, overwrite: bool) -> None:
    folder = destination / resource.folder
    if folder.exists() and not overwrite and not resource.merge:
        raise UsageError(f"{folder} exists already; --overwrite replaces it")


@dataclass(frozen=True)
class ResourceStatus:
    """The folder in use for a resource (None if missing), its number of files and their bytes."""

    resource: DataResource
    folder: Path | None
    files: int = 0
    size: int = 0


def resource_status(data: DataFolders) -> list[ResourceStatus]:
    """The status of each resource, in the search order of every command."""
    return [_status_of(row, data.get(row.folder)) for row in RESOURCES.values()]


def _status_of(resource: DataResource, folder: Path | None) -> ResourceStatus:
    if folder is None:
        return ResourceStatus(resource, None)
    sizes = []
    for inside, _, _ in os.walk(folder):
        with os.scandir(inside) as entries:
            sizes += [
                entry.stat().st_size
                for entry in entries
                if entry.is_file() and entry.name.endswith(resource.suffixes)
            ]
    return ResourceStatus(resource, folder, len(sizes), sum(sizes))
