"""Safe reading of PyTorch's `.pt` files: the archive is checked, and nothing of its pickle is run.

A pickle may name any function to be called when it is read. PyTorch's restricted reader accepts
tensors and plain containers only. Stand-ins are added for the two plain classes of published
checkpoints, for NumPy scalars, which become numbers, and for paths, which become texts. A file that
names anything else is refused.
"""

import argparse
import io
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.serialization import safe_globals

from biml.errors import BimlError, FormatError, first_line
from biml.io import read_bytes

MIN_UNPACKED = 2**26
"""Bytes that compressed records may always unpack to; else four times those of the file."""

_DAMAGED = "is damaged, truncated or not a checkpoint; copy or download it again"


class Lang:
    """Stands in for the class in which published checkpoints keep their vocabularies."""

    symbols: list[str]
    symbol2index: dict[str, int]


Lang.__module__ = "datasets"  # the name in the pickles


class _NumPyType:
    """Stands in for the type of a NumPy scalar."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


def _numpy_scalar(kind: _NumPyType, data: bytes) -> bool | int | float | str:
    if not re.fullmatch(r"b1|[iu][1248]|f[248]|U\d{1,4}", kind.code) or kind.order not in "<>=|":
        raise ValueError(f"a NumPy scalar of type {kind.code!r}")
    value: bool | int | float | str = np.frombuffer(data, kind.order + kind.code).item()
    return value


def _path(*parts: str) -> str:
    return "/".join(map(str, parts)).replace("//", "/", 1)


_STAND_INS: list[Any] = [
    Lang,
    argparse.Namespace,
    (_NumPyType, "numpy.dtype"),
    *((_numpy_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(
        (_path, f"pathlib{module}.{kind}Path")
        for module in ("", "._local")
        for kind in ("", "Posix", "Windows", "PurePosix", "PureWindows")
    ),
    (_path, "pathlib.PurePath"),
]
"""What pickles may name beside tensors and plain containers, with the names there."""


def safe_torch_load(path: str | Path) -> dict[str, Any]:
    """Read the dictionary in a `.pt` file, with its tensors on the CPU.

    Raises:
        FormatError: the file is damaged (by the checksums of its archive), or not a checkpoint, or
            names something to be called, or is far larger unpacked.
        BimlError: there is no such file, or it cannot be opened.
    """
    path = Path(path)
    if not path.exists():
        raise BimlError(f"{path}: there is no such checkpoint")
    data = read_bytes(path)
    try:
        with safe_globals(_STAND_INS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about a hostile file are of no interest
            _check_archive(data)
            contents = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FormatError(_refusal_message(str(error)), source=str(path)) from None
    except Exception as error:
        # Damaged files fail anywhere in the unpickler, with any exception.
        reason = first_line(error)[:120]
        raise FormatError(f"{_DAMAGED} ({reason})", source=str(path)) from None
    if not isinstance(contents, dict):
        raise FormatError("is not a checkpoint of a model", source=str(path))
    return contents


def _check_archive(data: bytes) -> None:
    """Compare the records of an archive with their checksums, which PyTorch ignores.

    Files of PyTorch before 1.6 are no archives, and have no checksums.
    """
    if not data.startswith(b"PK"):
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        unpacked = sum(record.file_size for record in records)
        if unpacked > max(4 * len(data), MIN_UNPACKED):
            raise ValueError(f"its {len(data):,} bytes would unpack to {unpacked:,}")
        if not any(record.CRC for record in records):
            return  # saved with `set_crc32_options(False)`
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of its record {damaged} is wrong")


def _refusal_message(reason: str) -> str:
    if (named := re.search(r"GLOBAL ([\w.]+)", reason)) is None:
        return f"{_DAMAGED}; nothing of it was run"
    return (
        f"refused: the file names {named[1]!r} to be called while it is read; nothing of it was "
        "run. biml reads tensors, numbers, texts and paths; if you trust its author, load it with "
        "PyTorch and save its `state_dict()` and plain values"
    )
