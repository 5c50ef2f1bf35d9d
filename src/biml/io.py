"""What a JSON file says, each value of the kind that it should be."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import BinaryIO, TypeVar

from biml.errors import BimlError, FormatError, UsageError


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; on success rename it to `path`, else remove it.

    Raises:
        BimlError: the folder cannot be written or the disk is full; `path` is as it was.
    """
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
        raise BimlError(
            f"{target}: could not be written ({error.strerror or error}); "
            "what was there before is unchanged. Free some space or choose another folder."
        ) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Make sure that a file can be written, before the work whose result it is to hold.

    Raises:
        UsageError: something else than a file is there, or its folder can be neither made nor
            written.
    """
    target = Path(path).absolute()
    if os.path.lexists(target) and not os.path.isfile(target):
        raise UsageError(f"{path} is there and is not a file; give another name")
    check_creatable(path)


def check_creatable(path: str | os.PathLike[str]) -> None:
    """Make sure that something can be put at a path, as far as its folder goes.

    Raises:
        UsageError: the folder can be neither made nor written.
    """
    target = Path(path).absolute()
    nearest = next(folder for folder in target.parents if os.path.lexists(folder))
    if not nearest.is_dir():
        raise UsageError(f"{path} cannot be written: {nearest} is not a folder; name another")
    try:
        # Permissions do not tell: root has them everywhere.
        os.rmdir(tempfile.mkdtemp(dir=nearest, prefix=".biml."))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {nearest} may not be changed "
            f"({error.strerror or error}); name another"
        ) from None


@contextmanager
def atomic_directory(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it takes the place of `path`, else it goes.

    Raises:
        UsageError: something is at `path` already and `overwrite` is not set.
        BimlError: the folder cannot be written or the disk is full; `path` is as it was.
    """
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
        raise BimlError(
            f"{target}: could not be written ({error.strerror or error}); "
            "what was there before is unchanged. Free some space or choose another folder."
        ) from error
    finally:
        if temporary is not None:
            if os.path.lexists(temporary / "old") and not os.path.lexists(target):
                os.replace(temporary / "old", target)
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# === What a JSON file says, each value of the kind that it should be.


T = TypeVar("T")

_KIND_NAMES = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
}
"""What is told of a value in the file that is something else."""


def typed_field(mapping: object, name: str, kind: type[T]) -> T:
    """What the file, or a part of it, says under a name.

    Raises:
        ValueError: nothing, or something of another kind.
    """
    if not isinstance(mapping, dict) or name not in mapping:
        raise ValueError(f"'{name}' is missing")
    value = mapping[name]
    if type(value) is not kind:
        raise ValueError(f"'{name}' is {json.dumps(value)}, but should be {_KIND_NAMES[kind]}")
    return value


def typed_rows(mapping: object, name: str, kind: type[T]) -> tuple[T, ...]:
    """The rows of a list, each as a dataclass of texts."""
    names = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    found = typed_field(mapping, name, list)
    return tuple(kind(**{name: typed_field(row, name, str) for name in names}) for row in found)


# === biml.episodes.text_format


def read_text(path: str | os.PathLike[str]) -> str:
    """What a UTF-8 text file holds.

    Raises:
        FormatError: the file is not UTF-8.
        BimlError: the file cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BimlError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(
            "not UTF-8 text; name a text file, or save this one as UTF-8",
            source=str(path),
            line=data.count(b"\n", 0, error.start) + 1,
        ) from None
