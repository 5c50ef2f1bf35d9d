"""Golden values under `tests/data/golden`, made by biml 0.1.0.

With `BIML_WRITE_GOLDEN=1` in the environment the tests write these files instead; with
`BIML_GOLDEN_EXACT=1` they compare numbers to the last digit, in which processors differ.
"""

import gzip
import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
WRITES = os.environ.get("BIML_WRITE_GOLDEN") == "1"
EXACT = os.environ.get("BIML_GOLDEN_EXACT") == "1"


def marked(texts: list[str], *, secret: bool = False) -> dict[str, Any]:
    """A short hash of each text, and the first in full unless it holds people's answers."""
    shown = [] if secret else texts[:1]
    return {"first": shown, "hashes": [sha256(text.encode()).hexdigest()[:12] for text in texts]}


def known(name: str, key: str, found: Any) -> Any:
    """The value under `key` in the golden file `name` (`.json` or `.json.gz`).

    Args:
        found: the value here, to be written where golden files are written; None is not.
    """
    path = GOLDEN / name
    opened = gzip.open if path.suffix == ".gz" else open
    values: dict[str, Any] = {}
    if path.exists() or not WRITES:
        with opened(path, "rt", encoding="utf-8") as file:
            values = json.load(file)
    if WRITES and found is not None:
        values[key] = found
        data = (json.dumps(values, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
        return json.loads(json.dumps(found))
    return values[key]


def check_arrays(name: str, found: Mapping[str, np.ndarray], atol: float = 1e-5) -> None:
    """Compare arrays with those of the golden file `name` (`.npz`)."""
    path = GOLDEN / name
    if WRITES:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **found)
    with np.load(path) as arrays:
        assert set(found) >= set(arrays)
        for key in arrays:
            rtol, atol = (0, 0) if EXACT else (1e-4, atol)
            np.testing.assert_allclose(found[key], arrays[key], rtol, atol, err_msg=key)
