"""Errors that a user can mend; the command line prints their text without a traceback."""

from collections.abc import Sequence


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


MAX_LISTED = 20
"""Errors that one message lists."""


def merge_errors(errors: Sequence[FormatError]) -> FormatError:
    """One error that lists several, or the only one."""
    if len(errors) == 1:
        return errors[0]
    lines = [str(error) for error in errors[:MAX_LISTED]]
    lines += [f"and {len(errors) - MAX_LISTED} more"] if len(errors) > MAX_LISTED else []
    return FormatError("\n  ".join([f"{len(errors)} errors:", *lines]), source=errors[0].source)


OUT_OF_MEMORY = "out of memory; reduce --micro_batch_tokens, --batch_size or (on a CPU) --workers"


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python or PyTorch ran out of memory, on a CPU or a GPU."""
    says_so = "allocate memory" in str(error) or "out of memory" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and says_so)
