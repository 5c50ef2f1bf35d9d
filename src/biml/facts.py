"""Schemas of the plain facts that files hold: model cards, checkpoints and training logs.

A schema is a `Kind`, a list with the schema of its items, or a dictionary of schemas by key. A key
that ends in "!" is required, `EACH` stands for all keys that are not named, and keys without a
schema may have any value. Facts that are not required may be None (unknown).
"""

import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from biml.errors import FormatError

Schema = Any
"""A `Kind`, a list of one schema, or a dictionary of schemas; mypy has no recursive aliases."""

MAX_TEXT = 10_000
"""Letters of a text."""

MAX_DEPTH, MAX_VALUES = 50, 2_000_000
"""Of all facts of a file; a pickle of few bytes can hold far more."""

EACH = "*"


@dataclass(frozen=True)
class Kind:
    """A kind of single values, with its name in messages."""

    name: str
    accepts: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


TEXT = Kind("a text", lambda value: isinstance(value, str) and len(value) <= MAX_TEXT)
WHOLE = Kind("a whole number", _is_whole)
COUNT = Kind("a whole number, at least 0", lambda value: _is_whole(value) and value >= 0)
NUMBER = Kind("a number", lambda value: isinstance(value, float) or _is_whole(value))
AMOUNT = Kind(
    "a number, at least 0", lambda value: NUMBER.accepts(value) and 0 <= value < float("inf")
)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
SCALAR = Kind(
    "a number, a text, true or false",
    lambda value: any(kind.accepts(value) for kind in (TEXT, NUMBER, FLAG)),
)

LOG = [{"step!": COUNT, "episodes!": COUNT, EACH: NUMBER}]

OPTIONS = {
    **dict.fromkeys(("arch", "preset", "episode_type", "init_from", "corpus"), TEXT),
    "seed": WHOLE,
    EACH: SCALAR,
}

_COSTS = {"step": COUNT, "episodes": COUNT, "minutes": AMOUNT, "seconds": AMOUNT}

_MACHINE = {"hardware": TEXT, "torch": TEXT, "command": TEXT}

PARENTS = [
    {
        **dict.fromkeys(("file!", "sha256!", "episode_type!"), TEXT),
        **_COSTS,
        **_MACHINE,
        "options": OPTIONS,
        "history": LOG,
    }
]

METRICS = {
    EACH: {"episode_type": TEXT, "interval": [NUMBER], "by_item": {EACH: NUMBER}, EACH: NUMBER}
}

CARD = {
    **_COSTS,
    **_MACHINE,
    **dict.fromkeys(("name", "biml", "data", "note"), TEXT),
    "seed": WHOLE,
    "p_lapse": NUMBER,
    "parents": PARENTS,
    "started_from": PARENTS,
    "metrics": METRICS,
    "figures": METRICS,
    "not_measured": {EACH: TEXT},
    "skipped": {EACH: TEXT},
    "rounding": {"changed_answers!": COUNT, "answers!": COUNT},
}
"""With the keys of earlier versions; see `paths.upgrade_card`."""

INFO = {
    **_COSTS,
    **_MACHINE,
    **dict.fromkeys(("total_steps", "epoch", "nepochs", "batch_size", "n_queries"), COUNT),
    "best_val_loss": NUMBER,
    "options": OPTIONS,
    "ancestors": PARENTS,
    "args": {},
    "train_tracker": [
        {"step!": COUNT, **dict.fromkeys(("lr!", "avg_train_loss!", "val_loss!"), NUMBER)}
    ],
}

TRAINING = {
    "step!": COUNT,
    "optimizer!": {},
    "options!": OPTIONS,
    "data!": TEXT,
    "recipe": TEXT,
    "record!": {
        "history!": LOG,
        "loss_count": COUNT,
        **dict.fromkeys(("loss_sum", "best", "seconds"), AMOUNT),
        "ancestors": PARENTS,
    },
}
"""What a run is resumed from; the tensors of `optimizer` are checked against the network's."""

VOCABULARY = {"input!": [TEXT], "output!": [TEXT]}

CHECKPOINT = {
    **dict.fromkeys(("format", "architecture", "episode_type", "sha256"), TEXT),
    "version": WHOLE,
    "config": {EACH: SCALAR},
    "vocabulary": VOCABULARY,
    "plugins": {EACH: TEXT},
    "info": INFO,
    "card": CARD,
    "history": LOG,
    "training": {key.removesuffix("!"): kind for key, kind in TRAINING.items()},
}
"""What a card beside a safetensors file holds, and a native checkpoint beside its tensors."""


def check_facts(value: Any, schema: Schema, source: str) -> None:
    """Raise a FormatError that lists what does not agree with a schema.

    >>> check_facts({"step": 3, "episodes": 6, "lr": "x"}, LOG[0], "a.jsonl")
    Traceback (most recent call last):
    biml.errors.FormatError: a.jsonl: lr is 'x', but should be a number
    """
    problem = _size_problem(value) if isinstance(value, Mapping | list | tuple) else ""
    if found := [problem] if problem else list(_problems(value, schema, "")):
        more = f"; {len(found) - 5} more" if len(found) > 5 else ""
        raise FormatError("; ".join(found[:5]) + more, source=source)


def _problems(value: Any, schema: Schema, where: str) -> Iterator[str]:
    if isinstance(schema, Kind):
        if not schema.accepts(value):
            yield f"{where} is {_preview(value)}, but should be {schema.name}"
    elif isinstance(schema, list):
        if isinstance(value, list | tuple):
            for number, item in enumerate(value):
                yield from _problems(item, schema[0], f"{where}[{number}]")
        else:
            yield f"{where} is {_preview(value)}, but should be a list"
    elif not isinstance(value, Mapping):
        yield f"{where or 'it'} is {_preview(value)}, but should be an object with keys"
    else:
        yield from _problems_of_keys(value, schema, where)


def _problems_of_keys(
    value: Mapping[Any, Any], schema: dict[str, Schema], where: str
) -> Iterator[str]:
    prefix = f"{where}." if where else ""
    kinds = {key.removesuffix("!"): kind for key, kind in schema.items()}
    for key in schema:
        if key.endswith("!") and value.get(key[:-1]) is None:
            yield f"{prefix}{key[:-1]} is missing"
    for key, item in value.items():
        kind = kinds.get(key, kinds.get(EACH)) if isinstance(key, str) else None
        if not isinstance(key, str):
            yield f"{prefix}{_preview(key)} is a key, but no text"
        elif kind is None or item is None or (isinstance(kind, Kind) and kind.accepts(item)):
            continue
        else:
            yield from _problems(item, kind, prefix + _preview(key)[1:-1])


_PLAIN = (str, int, float, type(None))
"""Most values, told apart first: a check for an abstract type takes ten times as long."""

_CONTAINERS = (Mapping, list, tuple)


def _size_problem(value: Any) -> str:
    """What is wrong with the depth or number of values, which hostile pickles share."""
    left, count = [(value, 0)], 0
    while left:
        one, depth = left.pop()
        items = one.values() if isinstance(one, Mapping) else one
        count += len(items)
        if depth > MAX_DEPTH or count > MAX_VALUES:
            return "its facts are nested too deeply, or too many; it is damaged"
        nested = (item for item in items if not isinstance(item, _PLAIN))
        left += [(item, depth + 1) for item in nested if isinstance(item, _CONTAINERS)]
    return ""


def _preview(value: Any) -> str:
    plain = value is None or isinstance(value, str | int | float | list | tuple | dict)
    return reprlib.repr(value) if plain else f"a {type(value).__name__}"
