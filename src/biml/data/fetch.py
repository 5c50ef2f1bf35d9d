"""Downloading one file so that an interrupted download goes on where it stopped."""

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from biml.errors import BimlError, UsageError
from biml.files import atomic_write

ByteCallback = Callable[[int, int | None], None]
"""Called with how much is done and how much there is in all, where that is known."""

_DOWNLOAD_CHUNK = 2**18


class _ConnectionLost(Exception):
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
        except _ConnectionLost as error:
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
            raise _ConnectionLost("the server has another version than the one begun") from error
        if error.code >= 500:
            raise _ConnectionLost(f"the server answers {error.code} {error.reason}") from error
        raise BimlError(
            f"{part.url}: the server answers {error.code} {error.reason}. If the file has moved, "
            "give its address in --url, or download it and run `biml data import FILE`."
        ) from error
    except urllib.error.URLError as error:
        raise _ConnectionLost(f"no connection ({error.reason})") from error
    except (http.client.HTTPException, OSError) as error:
        raise _ConnectionLost(f"the connection broke off ({error})") from error


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
        raise _ConnectionLost(f"the connection broke off after {have:,} of {total:,} bytes")


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
