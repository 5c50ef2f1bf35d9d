"""Files: atomic writes of files and directories, text, and type-checked fields of JSON."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from biml.errors import BimlError, FormatError, UsageError

StrPath = str | os.PathLike[str]

T = TypeVar("T")


@contextmanager
def atomic_write(path: StrPath) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; rename it to `path` on success, else remove it."""
    target = Path(path)
    temporary: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        raise _write_error(target, error) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


@contextmanager
def atomic_directory(path: StrPath, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `path`; rename it to `path` on success, else remove it."""
    target = Path(path)
    if os.path.lexists(target) and not overwrite:
        raise UsageError(f"{target} exists already; --overwrite replaces it")
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        made = temporary / "new"
        made.mkdir()
        yield made
        if os.path.lexists(target):
            os.replace(target, temporary / "old")
        os.replace(made, target)
    except OSError as error:
        raise _write_error(target, error) from error
    finally:
        if temporary is not None:
            if os.path.lexists(temporary / "old") and not os.path.lexists(target):
                os.replace(temporary / "old", target)
            shutil.rmtree(temporary, ignore_errors=True)


def check_writable(path: StrPath) -> None:
    """Check that a file can be written, before the work whose result it will hold."""
    target = Path(path).absolute()
    if os.path.lexists(target) and not os.path.isfile(target):
        raise UsageError(f"{path} is not a file; choose another name")
    check_creatable(path)


def check_creatable(path: StrPath) -> None:
    """Check that something can be created at a path, as far as its parent folders go."""
    target = Path(path).absolute()
    nearest = next(folder for folder in target.parents if os.path.lexists(folder))
    if not nearest.is_dir():
        raise UsageError(f"{path} cannot be written: {nearest} is not a folder; choose another")
    try:
        # Not by permission bits, which mean nothing for root.
        os.rmdir(tempfile.mkdtemp(dir=nearest, prefix=".biml."))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {nearest} is not writable ({error.strerror or error}); "
            "choose another folder"
        ) from None


def read_bytes(path: StrPath) -> bytes:
    """Read a file; a UsageError if there is none, a BimlError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        absent = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
        kind = UsageError if absent else BimlError
        raise kind(f"{path}: cannot be read ({error.strerror or error})") from error


def read_text(path: StrPath) -> str:
    """Read a UTF-8 text file, with or without a byte-order mark."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = "not UTF-8 text; choose a text file, or save this one as UTF-8"
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(problem, source=str(path), line=line) from None


_KIND_NAMES = {str: "a text", int: "a whole number", bool: "true or false", list: "a list"}


def typed_field(mapping: object, name: str, kind: type[T]) -> T:
    """Return a field of a JSON object; a ValueError if it is missing or of another type."""
    if not isinstance(mapping, dict) or name not in mapping:
        raise ValueError(f"'{name}' is missing")
    value = mapping[name]
    if type(value) is not kind:
        raise ValueError(f"'{name}' is {json.dumps(value)}, but should be {_KIND_NAMES[kind]}")
    return value


def _write_error(target: Path, error: OSError) -> BimlError:
    return BimlError(
        f"{target}: could not be written ({error.strerror or error}); the previous version is "
        "unchanged. Free some space or choose another folder."
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
