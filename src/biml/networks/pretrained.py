"""Models as safetensors with a JSON card, for other tools and for sharing.

`NAME.safetensors` holds the weights; `NAME.json`, the card, holds the rest of a checkpoint's
contents: architecture, config, vocabulary, episode type and facts, and a checksum of the weights.
Training state is left out.
"""

import json
import math
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from biml.errors import BimlError, FormatError
from biml.io import atomic_write
from biml.paths import card_path, is_pretrained

DTYPES = {"float32": torch.float32, "float16": torch.float16}


def read_card(path: str | Path) -> dict[str, Any]:
    """The card of the model in the file `path`.

    Raises:
        BimlError: there is no card beside it, or it cannot be opened.
        FormatError: it is damaged.
    """
    card = card_path(path)
    if not card.is_file():
        raise BimlError(f"{path}: its card {card.name} is missing; it belongs beside this file")
    try:
        contents = json.loads(read_bytes(card))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"is not a model card in JSON ({error})", source=str(card)) from None
    if not isinstance(contents, dict):
        raise FormatError("is not a model card", source=str(card))
    return contents


_NEW_CARD_KEYS = {"started_from": "parents", "skipped": "not_measured", "figures": "metrics"}


def upgrade_card(card: Any) -> dict[str, Any]:
    """The entry `card` of a checkpoint or card file under today's keys; {} if it is no mapping."""
    if not isinstance(card, Mapping):
        return {}
    return {_NEW_CARD_KEYS.get(key, str(key)): value for key, value in card.items()}


def verify_checksum(weights: bytes, card: Mapping[str, Any], path: str | Path) -> None:
    """Check weights against the checksum of their card, which pretrained models must have.

    Raises:
        FormatError: they are not those that the card was made for.
    """
    if "sha256" not in card and not is_pretrained(Path(path)):
        return
    if card.get("sha256") != sha256(weights).hexdigest():
        raise FormatError(
            f"is damaged: its checksum is not that of its card {card_path(path).name}; "
            "copy both files again, or install biml again if they came with it",
            source=str(path),
        )


def read_bytes(path: str | Path) -> bytes:
    """Read a file, or raise a BimlError that says why it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BimlError(f"{path}: cannot be read ({error.strerror or error})") from error


def write_safetensors(
    path: str | Path, contents: Mapping[str, Any], dtype: torch.dtype = torch.float32
) -> None:
    """Write a checkpoint's contents as `path` and its card beside it.

    Raises:
        BimlError: the folder cannot be written or the disk is full.
    """
    weights = save(cast_weights(contents["weights"], dtype), metadata={"format": "pt"})
    card = {key: value for key, value in contents.items() if key not in ("weights", "training")}
    with atomic_write(path) as file:
        file.write(weights)
    card["sha256"] = sha256(weights).hexdigest()
    with atomic_write(card_path(path)) as file:
        file.write((json.dumps(_to_json(card), indent=2, allow_nan=False) + "\n").encode())


def read_safetensors(path: str | Path) -> dict[str, Any]:
    """A checkpoint's contents from an exported model and its card; weights in float32.

    Raises:
        FormatError: one of the two files is damaged.
        BimlError: one of the two files is missing or cannot be opened.
    """
    data, contents = read_bytes(path), read_card(path)
    verify_checksum(data, contents, path)
    try:
        weights = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        problem = f"is damaged, truncated or not in safetensors format ({error})"
        raise FormatError(problem, source=str(path)) from None
    contents.pop("sha256", None)
    return contents | {"weights": cast_weights(weights, torch.float32)}


def cast_weights(
    weights: Mapping[str, torch.Tensor], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    return {name: value.to(dtype).contiguous() for name, value in weights.items()}


def _to_json(value: Any) -> Any:
    """The value in JSON: infinities and NaN become null, other unknown values text."""
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
