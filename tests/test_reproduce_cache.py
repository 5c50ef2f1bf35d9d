"""The cache of `biml reproduce`."""

import os
from pathlib import Path

import pandas as pd
import pytest

from biml.report.schemas import TABLES
from biml.reproduce.cache import MANIFEST, ResultCache

GROUPS = pd.DataFrame([("net", "all", 50.0)], columns=["model", "complexity", "accuracy"])


def test_cache_entries_unused_for_long_are_removed(tmp_path: Path) -> None:
    store = ResultCache(tmp_path / "cache")
    store.prune()  # nothing is there yet
    for name in ("used", "unused"):
        store.save(name, {"accuracy_by_complexity": GROUPS})
        os.utime(tmp_path / "cache" / name, (0, 0))
    kept = store.load("used")
    store.prune()
    assert kept is not None
    assert kept["accuracy_by_complexity"]["accuracy"].tolist() == [50]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["used"]


@pytest.mark.parametrize("lost", ["accuracy_by_complexity.csv", "item_correlation.csv", MANIFEST])
def test_an_incomplete_cache_entry_is_recomputed(tmp_path: Path, lost: str) -> None:
    store = ResultCache(tmp_path)
    numbers = {"model": ["net"], **dict.fromkeys(list(TABLES["item_correlation"].columns)[1:], 0.5)}
    frames = {"accuracy_by_complexity": GROUPS, "item_correlation": pd.DataFrame(numbers)}
    store.save("unit", frames)
    assert set(store.load("unit") or ()) == set(frames)
    (tmp_path / "unit" / lost).unlink()
    assert store.load("unit") is None
    store.save("unit", frames)
    assert set(store.load("unit") or ()) == set(frames)
