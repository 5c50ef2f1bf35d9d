"""Reading `.pt` files without ever running what is in them."""

import argparse
import io
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.serialization import safe_globals

from biml.errors import BimlError, FormatError


class Lang:
    """Stands in for the class that released checkpoints keep their vocabularies in."""

    symbols: list[str]
    symbol2index: dict[str, int]


# A pickle names its classes; under this name the released checkpoints have theirs.
Lang.__module__ = "datasets"

_DAMAGED_MESSAGE = "is damaged, truncated or not a checkpoint; copy or download it again"
_ALLOWED_CLASSES: list[Any] = [Lang, argparse.Namespace]


def safe_torch_load(path: str | Path) -> dict[str, Any]:
    """The dictionary in a `.pt` file, ours or a released one, with its tensors on the CPU.

    A `.pt` file is a pickle, and a pickle may name any function to be called when it is read.
    PyTorch's restricted reader knows tensors and plain containers only; the two plain classes of
    released checkpoints are added to it. A file that names anything else is refused.

    Raises:
        FormatError: the file is truncated, not a checkpoint, or names a function to be called.
        BimlError: the file cannot be opened.
    """
    path = Path(path)
    if not path.exists():
        raise BimlError(f"{path}: there is no such checkpoint")
    try:
        archive = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise BimlError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        with safe_globals(_ALLOWED_CLASSES), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd in a hostile file is of no interest
            contents = torch.load(archive, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FormatError(_refusal_message(str(error)), source=str(path)) from None
    except Exception as error:
        # Damaged files fail anywhere in the unpickler, with any exception.
        raise FormatError(f"{_DAMAGED_MESSAGE} ({_first_line(error)})", source=str(path)) from None
    if not isinstance(contents, dict):
        raise FormatError("is not a checkpoint of a model", source=str(path))
    return contents


def _refusal_message(reason: str) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    if named:
        return (
            f"refused: the file names {named[1]!r} to be called while it is read, which no "
            "checkpoint of a model needs; nothing of it was run"
        )
    return f"{_DAMAGED_MESSAGE}; nothing of it was run"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
