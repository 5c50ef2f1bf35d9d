"""What a JSON file says, each value of the kind that it should be."""

import json
from dataclasses import fields
from typing import TypeVar

T = TypeVar("T")

_KINDS = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
}
"""What is told of a value in the file that is something else."""


def told(about: object, name: str, kind: type[T]) -> T:
    """What the file, or a part of it, says under a name.

    Raises:
        ValueError: nothing, or something of another kind.
    """
    if not isinstance(about, dict) or name not in about:
        raise ValueError(f"'{name}' is missing")
    value = about[name]
    if type(value) is not kind:
        raise ValueError(f"'{name}' is {json.dumps(value)}, but should be {_KINDS[kind]}")
    return value


def rows(about: object, name: str, kind: type[T]) -> tuple[T, ...]:
    """The rows of a list, each as a dataclass of texts."""
    names = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    found = told(about, name, list)
    return tuple(kind(**{name: told(row, name, str) for name in names}) for row in found)
