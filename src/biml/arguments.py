"""Checks of calls of the Python API: names, types and ranges of arguments, by their annotations."""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache, wraps
from inspect import Parameter, Signature, isclass, signature
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from biml.errors import BimlError, UsageError

Function = TypeVar("Function", bound=Callable[..., Any])

MAX_INTEGER = 2**63 - 1

MAX_FILE_NAME = 255
"""Bytes of one part of a path, on most file systems."""


def python_api(function: Function) -> Function:
    """Check the arguments of each call; name them in errors as in Python, not as options."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            check_arguments(function.__name__, function, *args, **kwargs)
            return function(*args, **kwargs)
        except BimlError as error:
            error.args = (_as_in_python(str(error)),)
            raise

    return call  # type: ignore[return-value]


def check_arguments(of: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
    """Raise a UsageError, naming the argument, unless a function can be called with these.

    >>> check_arguments("count", lambda n: n, m=1)
    Traceback (most recent call last):
    biml.errors.UsageError: count: missing a required argument: 'n'; its arguments are n
    """
    parameters = _signature(function)
    try:
        given = parameters.bind(*args, **kwargs).arguments
    except TypeError as error:
        known = ", ".join(parameters.parameters) or "none"
        raise UsageError(f"{of}: {error}; its arguments are {known}") from None
    for name, value in given.items():
        if parameters.parameters[name].kind not in (
            Parameter.VAR_POSITIONAL,
            Parameter.VAR_KEYWORD,
        ):
            check_type(name, value, parameters.parameters[name].annotation)


_signature = lru_cache(maxsize=256)(signature)


def check_type(name: str, value: Any, annotation: Any) -> None:
    """Raise a UsageError unless a value fits an annotation, with all that is in it.

    Whole numbers must have at most 64 bits, other numbers be finite, and paths be possible.
    """
    if not _fits(value, annotation):
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        names = [name for name in dict.fromkeys(_described(annotation)) if name != "None"]
        wanted = " or ".join(names)
        raise UsageError(f"{name} is {shown}, but should be {wanted}")
    if isinstance(value, str | os.PathLike) and os.PathLike in map(_base, _options(annotation)):
        try:
            path = os.fsencode(value)
        except UnicodeEncodeError:
            path = b"\0"
        if b"\0" in path or max(map(len, path.split(os.fsencode(os.sep)))) > MAX_FILE_NAME:
            raise UsageError(f"{name} is not a possible path: {str(value)[:80]!r}…")


def whole_number(name: str, value: Any, least: int | None = None, most: int = MAX_INTEGER) -> int:
    """Return a whole number; a UsageError unless it is one, and from `least` to `most`."""
    if isinstance(value, int) and abs(value) > most:
        raise UsageError(f"{name} is {value}, but must be at most {most}")
    check_type(name, value, int)
    if least is not None and value < least:
        raise UsageError(f"{name} is {value}, but must be at least {least}")
    return int(value)


def check_probability(name: str, value: Any) -> None:
    """Raise a UsageError unless a value is a number from 0 to 1."""
    check_type(name, value, float)
    if not 0 <= value <= 1:
        raise UsageError(f"{name} is {value}, but must be from 0 to 1")


_NAMES = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    bool: "True or False",
    type(None): "None",
    os.PathLike: "a path",
}


def _options(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the only one."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _base(annotation: Any) -> Any:
    """A class without its parameters; `os.PathLike` for all paths."""
    base = get_origin(annotation) or annotation
    return os.PathLike if isclass(base) and issubclass(base, os.PathLike) else base


def _described(annotation: Any) -> list[str]:
    names = []
    for one in _options(annotation):
        base = _base(one)
        inside = [name for arg in get_args(one) if arg is not ... for name in _described(arg)]
        if base is Literal:
            names += [repr(choice) for choice in get_args(one)]
        elif isclass(base) and issubclass(base, Mapping):
            names.append("a mapping")
        elif isclass(base) and issubclass(base, Iterable) and inside:
            names.append(f"a sequence of {'/'.join(dict.fromkeys(inside))}")
        else:
            names.append(_NAMES.get(base, f"a {getattr(base, '__name__', base)}"))
    return names


def _fits(value: Any, annotation: Any) -> bool:
    if isinstance(annotation, str | TypeVar) or annotation in (Any, Signature.empty):
        return True
    return any(_fits_one(value, one) for one in _options(annotation))


def _fits_one(value: Any, annotation: Any) -> bool:
    base, args = _base(annotation), get_args(annotation)
    if isinstance(annotation, str | TypeVar) or annotation is Any:
        return True
    if base is Literal:
        return value in args
    if base is int:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        return whole and abs(int(value)) <= MAX_INTEGER
    if base is float:
        number = isinstance(value, Real) and not isinstance(value, bool)
        return number and math.isfinite(value)
    if not isclass(base):
        return annotation is not None or value is None
    if getattr(base, "_is_protocol", False) and base.__module__.startswith("biml."):
        return all(hasattr(value, name) for name in vars(base) if name[0] != "_")
    if not isinstance(value, base):
        return False
    if is_dataclass(base):
        return all(_fits(getattr(value, one.name), one.type) for one in fields(base))
    if issubclass(base, tuple) and "_fields" in vars(base):
        return all(_fits(getattr(value, name), of) for name, of in base.__annotations__.items())
    return _fits_inside(value, args)


def _fits_inside(value: Any, args: tuple[Any, ...]) -> bool:
    """Whether the entries of a collection fit; those of an iterator are not looked at."""
    if isinstance(value, str) and args:
        return _fits("", args[0])
    if not args or not hasattr(value, "__len__"):
        return True
    if isinstance(value, Mapping):
        return all(
            all(_fits(one, arg) for one, arg in zip(item, args, strict=False))
            for item in value.items()
        )
    if isinstance(value, tuple) and ... not in args and len(args) > 1:
        return len(value) == len(args) and all(map(_fits, value, args))
    return all(_fits(one, args[0]) for one in value)


def _as_in_python(message: str) -> str:
    """
    >>> _as_in_python("out_models exists; add --overwrite, change --fn_out_model or `biml x --y`")
    'out_models exists; add overwrite=True, change fn_out_model or `biml x --y`'
    """
    for option, argument in _SPECIAL_OPTIONS.items():
        message = message.replace(option, argument)
    return re.sub(r"`[^`]*`|--(\w+)(?![\w-])", lambda found: found[1] or found[0], message)


_SPECIAL_OPTIONS = {
    "add --plugin": "import",
    "--no_lr_warmup": "lr_warmup",
    "--overwrite": "overwrite=True",
    "--resume": "resume=True",
}
