"""What a JSON file says, each value of the kind that it should be."""

import json
from dataclasses import fields
from typing import TypeVar

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
