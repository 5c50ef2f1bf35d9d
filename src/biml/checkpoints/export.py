"""Networks as safetensors with a JSON card, for other tools and for sharing.

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

from biml.checkpoints.cards import card_path, verify_checksum, read_bytes, read_card
from biml.errors import FormatError
from biml.files import atomic_write

DTYPES = {"float32": torch.float32, "float16": torch.float16}


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
    """The contents of a checkpoint from an exported network and its card; weights in fp32.

    Raises:
        FormatError: one of the two files is damaged.
        BimlError: one of the two files is missing or cannot be opened.
    """
    text, contents = read_bytes(path), read_card(path)
    verify_checksum(text, contents, path)
    try:
        weights = load(text)
    except (SafetensorError, ValueError, KeyError) as error:
        problem = f"is damaged, truncated or not in safetensors format ({error})"
        raise FormatError(problem, source=str(path)) from None
    contents.pop("sha256", None)
    return contents | {"weights": cast_weights(weights, torch.float32)}


def cast_weights(
    weights: Mapping[str, torch.Tensor], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """The weights in another precision."""
    return {name: value.to(dtype).contiguous() for name, value in weights.items()}


def _to_json(value: Any) -> Any:
    """The value as JSON has it: what it has no word for becomes null or text."""
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
