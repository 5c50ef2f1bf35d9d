"""Errors that a user can mend; the command line prints their text without a traceback."""

from collections.abc import Iterable, Sequence


class BimlError(Exception):
    """A failure: a damaged file, a grammar without end, a full disk. Exit code 1."""

    exit_code = 1


class UsageError(BimlError):
    """A misuse, such as an option's invalid value. Exit code 2."""

    exit_code = 2


class FormatError(BimlError):
    """A malformed file or text; the message names file, line (or other `unit`) and remedy."""

    def __init__(
        self, problem: str, *, source: str = "<text>", line: int | None = None, unit: str = "line"
    ) -> None:
        where = source if line is None else f"{source}, {unit} {line}"
        super().__init__(f"{where}: {problem}")
        self.problem = problem
        self.source = source
        self.line = line
        self.unit = unit


MAX_LISTED = 20
"""Problems that one message lists, and lines of each."""


def merge_errors(errors: Sequence[FormatError]) -> FormatError:
    """One error that lists several, each problem with all its lines; or the only one.

    >>> wrong = [FormatError("empty", source="a.csv", line=n) for n in (2, 5, 7)]
    >>> print(merge_errors([*wrong, FormatError("too long", source="a.csv", line=3)]))
    a.csv: 4 errors:
      a.csv, line 2: empty (also on lines 5, 7)
      a.csv, line 3: too long
    """
    if len(errors) == 1:
        return errors[0]
    alike: dict[tuple[str, str], list[FormatError]] = {}
    for error in errors:
        alike.setdefault((error.source, error.problem), []).append(error)
    lines = []
    for first, *others in list(alike.values())[:MAX_LISTED]:
        numbers = ", ".join(str(error.line) for error in others[:MAX_LISTED])
        more = f" and {len(others) - MAX_LISTED:,} more" if len(others) > MAX_LISTED else ""
        plural = "s" if len(others) > 1 else ""
        lines.append(
            f"{first} (also on {first.unit}{plural} {numbers}{more})" if others else f"{first}"
        )
    lines += [f"and {len(alike) - MAX_LISTED:,} more"] if len(alike) > MAX_LISTED else []
    merged = "\n  ".join([f"{len(errors):,} errors:", *lines])
    return FormatError(merged, source=errors[0].source)


def first_line(error: Exception) -> str:
    """The first line of what another library's error says, or its kind.

    >>> first_line(OSError("no route\\nto the host")), first_line(KeyError())
    ('no route', 'KeyError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


OUT_OF_MEMORY = "out of memory; reduce --micro_batch_tokens, --batch_size or (on a CPU) --workers"


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python or PyTorch ran out of memory, on a CPU or a GPU."""
    says_so = "allocate memory" in str(error) or "out of memory" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and says_so)


def check_extra(extra: str, what: str, *modules: str) -> None:
    """Raise a BimlError that names the optional dependencies to install, where modules are missing.

    >>> check_extra("web", "pages need", "no_such_module")
    Traceback (most recent call last):
    biml.errors.BimlError: pages need no_such_module; install what is missing with: pip install \
'biml[web]' (in a checkout: '.[web]')
    """
    from importlib.util import find_spec

    specs = {name: find_spec(name) for name in modules}
    # A folder of this name is a module of Python, without an origin.
    if missing := [name for name, spec in specs.items() if not (spec and spec.origin)]:
        raise BimlError(
            f"{what} {' and '.join(missing)}; install what is missing with: "
            f"pip install 'biml[{extra}]' (in a checkout: '.[{extra}]')"
        )


def system_problem(error: Exception) -> str:
    """What the system refuses: memory, processes, a file; empty for other errors."""
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    is_fork = isinstance(error, BlockingIOError) and error.filename is None
    if is_fork or (isinstance(error, RuntimeError) and "start new thread" in str(error)):
        return (
            "the system starts no more processes or threads for this user (ulimit -u); end others, "
            "or use --workers 1 and OMP_NUM_THREADS=1"
        )
    if isinstance(error, OSError):  # for example, a folder without read permission
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror or error}"
    return ""


def did_you_mean(name: str, known: Iterable[str], n: int = 1) -> str:
    """A question about the most similar names, at most `n`; empty where none is similar.

    >>> did_you_mean("queries", ["query", "study"]), did_you_mean("x", ["query"])
    ('did you mean query?', '')
    """
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n)
    return f"did you mean {' or '.join(close)}?" if close else ""


def unknown_name(kind: str, name: str, known: Iterable[str], option: str = "") -> UsageError:
    """An error that names the option, the most similar names and all of them.

    >>> str(unknown_name("task", "probe", ["few-shot", "probes"], "--task"))
    "unknown task 'probe' (--task); did you mean probes? Choose one of few-shot, probes"
    """
    names = list(known)
    close = did_you_mean(name, names, 3)
    hint = f"{close} Choose" if close else "choose"
    where = f" ({option})" if option else ""
    shown = repr(name if len(name) <= 80 else f"{name[:77]}...")
    return UsageError(f"unknown {kind} {shown}{where}; {hint} one of {', '.join(names) or 'none'}")
