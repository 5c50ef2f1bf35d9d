"""Errors that a user can mend; the command line prints their text without a traceback."""


class BimlError(Exception):
    """Something failed: a damaged file, a grammar that never ends, a full disk. Exit code 1."""

    exit_code = 1


class UsageError(BimlError):
    """Something was asked for in a way that cannot work, such as a wrong value. Exit code 2."""

    exit_code = 2


class FormatError(BimlError):
    """A file or text does not have its format; the message names file, line and remedy.

    Args:
        place: what `line` counts, where that is not lines.
    """

    def __init__(
        self, problem: str, *, source: str = "<text>", line: int | None = None, unit: str = "line"
    ) -> None:
        where = source if line is None else f"{source}, {unit} {line}"
        super().__init__(f"{where}: {problem}")
        self.problem = problem
        self.source = source
        self.line = line


OUT_OF_MEMORY = (
    "memory does not suffice; a smaller --max_tokens or, on a CPU, fewer --workers need less, "
    "and so does a smaller --batch_size or network"
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is Python's or PyTorch's of too little memory, on a CPU or a GPU."""
    told = "allocate memory" in str(error) or "out of memory" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and told)
