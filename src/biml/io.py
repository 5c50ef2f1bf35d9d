"""Files: atomic writes of files and directories, locks, text, and type-checked fields of JSON."""

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from biml.errors import BimlError, FormatError, UsageError

StrPath = str | os.PathLike[str]

T = TypeVar("T")

_GIT_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


@contextmanager
def atomic_write(path: StrPath) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; rename it to `path` on success, else remove it."""
    target = Path(path)
    temporary: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = _make_partial(target)
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


def write_file(path: StrPath, contents: str | bytes) -> None:
    """Write a whole file atomically; texts in UTF-8."""
    with atomic_write(path) as file:
        file.write(contents.encode() if isinstance(contents, str) else contents)


@contextmanager
def atomic_directory(path: StrPath, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `path`; rename it to `path` on success, else remove it."""
    target = Path(path)
    try:
        with partial_directory(target) as temporary:
            _check_vacant(target, overwrite)
            made = temporary / "new"
            made.mkdir()
            yield made
            # Another lock than that of a command that makes the folder.
            with exclusive_lock(target.with_name(f"{target.name}.replace")):
                _check_vacant(target, overwrite)  # another process may have made it meanwhile
                if target.exists():
                    os.replace(target, temporary / _REPLACED)
                os.replace(made, target)
    except OSError as error:
        raise _write_error(target, error) from error


def _check_vacant(target: Path, overwrite: bool) -> None:
    if os.path.lexists(target) and not overwrite:
        raise UsageError(f"{target} exists already; --overwrite replaces it")
    if target.is_symlink():
        raise UsageError(f"{target} is a link, which is not replaced; name another folder")


_REPLACED = ".replaced"
"""Where a temporary folder keeps the folder that is about to be replaced."""


@contextmanager
def partial_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, removed at the end; those of killed processes too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_partials(path)
    descriptor, temporary = _make_partial(path, directory=True)
    try:
        yield Path(temporary)
    finally:
        _discard_directory(Path(temporary), path)
        os.close(descriptor)


def remove_partials(path: StrPath) -> None:
    """Remove the temporary files and folders for `path` that killed processes have left."""
    target = Path(path)
    pattern = re.compile(re.escape(f".{target.name}.") + r"[a-z0-9_]{8}\.partial")
    with suppress(OSError), os.scandir(target.parent) as entries:
        for name in [entry.path for entry in entries if pattern.fullmatch(entry.name)]:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if not _lock(descriptor, wait=False):
                    continue  # the process that writes it still runs
                if os.path.isdir(name):
                    _discard_directory(Path(name), target)
                else:
                    os.unlink(name)
            finally:
                os.close(descriptor)


def _discard_directory(temporary: Path, target: Path) -> None:
    if (temporary / _REPLACED).exists() and not os.path.lexists(target):
        os.replace(temporary / _REPLACED, target)
    shutil.rmtree(temporary, ignore_errors=True)


def _make_partial(target: Path, *, directory: bool = False) -> tuple[int, str]:
    """Make a temporary file or folder, locked as long as its descriptor is open."""
    while True:
        names: dict[str, Any] = {"dir": target.parent, "prefix": f".{target.name}."}
        if directory:
            path = tempfile.mkdtemp(suffix=".partial", **names)
            descriptor = os.open(path, os.O_RDONLY)
        else:
            descriptor, path = tempfile.mkstemp(suffix=".partial", **names)
        _lock(descriptor, wait=True)
        if _is_open_at(descriptor, path):
            return descriptor, path
        os.close(descriptor)  # `remove_partials` was faster


@contextmanager
def exclusive_lock(path: StrPath, busy: str = "") -> Iterator[None]:
    """Hold a lock on `path`, in a hidden file beside it; killing this process releases it.

    While another process holds the lock, wait; with `busy`, raise a UsageError of that text.
    """
    file = Path(path).with_name(f".{Path(path).name}.lock")
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise _write_error(Path(path), error) from error
        if _lock(descriptor, wait=not busy) is False:
            os.close(descriptor)
            raise UsageError(busy)
        if _is_open_at(descriptor, file):
            break
        os.close(descriptor)  # its holder has removed it
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool | None:
    """Lock an open file; False if another process has, None on file systems without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_open_at(descriptor: int, path: StrPath) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


OS_FILES = (".ds_store", "thumbs.db", "desktop.ini")
"""Lower-case names of files that file managers leave in any folder."""


def check_replaceable(
    folder: Path, is_own: Callable[[str], bool], contents: str, *, marker: str = ""
) -> None:
    """Raise UsageError unless a folder is absent, or biml made all that is in it.

    `is_own` takes the path of a file inside the folder, with slashes; `contents` names what they
    are, such as "results". In a folder without the file `marker` nothing is biml's.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the {contents}")
    for problem, applies in (
        ("is a link", folder.is_symlink()),
        ("is the current folder, or holds it", Path.cwd().is_relative_to(folder.resolve())),
        ("is a mount point", folder.is_mount()),
    ):
        if applies:
            raise UsageError(
                f"{folder} {problem}, so that {contents} cannot replace it; name another folder, "
                f"such as {folder / 'new'}"
            )
    check_creatable(folder)
    foreign = []
    is_marked = not marker or (folder / marker).is_file()
    for inside, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(inside, name))]
        names = [name for name in (*files, *links) if name.lower() not in OS_FILES]
        paths = [Path(inside, name).relative_to(folder).as_posix() for name in names]
        foreign += [path for path in paths if not (is_marked and is_own(path))]
    if foreign:
        raise UsageError(
            f"{folder} holds other files than {contents} ({', '.join(sorted(foreign)[:3])}), "
            "which would be lost; name another folder"
        )


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
    """Read a file; a UsageError if there is none, a BimlError if it cannot be read.

    Repositories of models and data often keep pointers of Git LFS in place of large files.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        absent = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
        kind = UsageError if absent else BimlError
        raise kind(f"{path}: cannot be read ({error.strerror or error})") from error
    if data.startswith(_GIT_LFS_POINTER):
        problem = "is a pointer of Git LFS, not the file itself; run `git lfs pull` in its folder"
        raise FormatError(problem, source=str(path))
    return data


def parse_json(text: str) -> Any:
    r"""Parse JSON whose texts can be written as UTF-8.

    >>> parse_json('"\\ud83d"')
    Traceback (most recent call last):
    ValueError: half of a surrogate pair (\ud83d) is no text

    Raises:
        ValueError: it is not such JSON, or nested too deeply.
    """
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])[1:-1]
        raise ValueError(f"half of a surrogate pair ({half}) is no text") from None
    return value


def read_json(path: StrPath) -> dict[str, Any]:
    """Read a JSON object; a FormatError if the file holds none."""
    try:
        contents = parse_json(read_bytes(path).decode("utf-8-sig"))
    except ValueError as error:
        raise FormatError(f"is damaged, or not JSON ({error})", source=str(path)) from None
    if not isinstance(contents, dict):
        raise FormatError("is not a JSON object", source=str(path))
    return contents


def read_text(path: StrPath) -> str:
    """Read a UTF-8 text file, with or without a byte-order mark."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = "not UTF-8 text; choose a text file, or save this one as UTF-8"
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(problem, source=str(path), line=line) from None


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""First characters of cells that spreadsheets may run as formulas."""


def harmless(cell: Any) -> Any:
    """A cell that no spreadsheet runs: an apostrophe before texts that look like formulas.

    >>> harmless("=HYPERLINK(1)"), harmless("-5.5"), harmless(" @x"), harmless("a=b")
    ("'=HYPERLINK(1)", '-5.5', "' @x", 'a=b')
    """
    if not isinstance(cell, str) or not cell.lstrip(" \n").startswith(FORMULA_STARTS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def markdown_row(*cells: str) -> str:
    """A row of a table in Markdown."""
    texts = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(texts)} |"


_KIND_NAMES = {str: "a text", int: "a whole number", bool: "true or false", list: "a list"}


def typed_field(mapping: object, name: str, kind: type[T]) -> T:
    """Return a field of a JSON object; a ValueError if it is missing or of another type."""
    if not isinstance(mapping, dict) or name not in mapping:
        raise ValueError(f"'{name}' is missing")
    value = mapping[name]
    if type(value) is not kind:
        shown = json.dumps(value)[:80]
        raise ValueError(f"'{name}' is {shown}, but should be {_KIND_NAMES[kind]}")
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
