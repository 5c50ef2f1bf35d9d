"""Where `biml reproduce` keeps what it computed."""

import os
from pathlib import Path

import pandas as pd

from biml.reproduce.store import Store
from biml.results.tables import TABLES


def test_what_was_not_used_for_long_is_removed(tmp_path: Path) -> None:
    store = Store(TABLES, tmp_path / "kept")
    store.prune()  # nothing is there yet
    frame = pd.DataFrame([("net", "all", 50.0)], columns=["model", "group", "accuracy"])
    for name in ("used", "unused"):
        store.save(name, {"groups": frame})
        os.utime(tmp_path / "kept" / name, (0, 0))
    kept = store.load("used")
    store.prune()
    assert kept is not None
    assert kept["groups"]["accuracy"].tolist() == [50]
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["used"]
