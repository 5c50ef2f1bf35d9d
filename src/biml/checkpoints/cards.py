"""Model cards: the JSON file beside weights in safetensors format, which says what they are.

A card holds all of a checkpoint but its weights (see `own`), the weights' `sha256` and, for a model
that comes with biml, under `card` how it was trained and how well it answers. Reading a card takes
no PyTorch, so that models are listed at once.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from biml.checkpoints.shipped import is_pretrained
from biml.errors import BimlError, FormatError


def card_path(path: str | Path) -> Path:
    """Where the card of an exported network stands.

    >>> card_path("models/net.safetensors").as_posix()
    'models/net.json'
    """
    return Path(path).with_suffix(".json")


def read_card(path: str | Path) -> dict[str, Any]:
    """The card of the network in the file `path`.

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


def verify_checksum(weights: bytes, card: Mapping[str, Any], path: str | Path) -> None:
    """Make sure that a file of weights is the one that its card was made for.

    Raises:
        FormatError: its checksum is another one. (A card without checksum is not checked, but for
            those that come with biml, which all have one.)
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
    """What is in a file.

    Raises:
        BimlError: it cannot be opened.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BimlError(f"{path}: cannot be read ({error.strerror or error})") from error
