"""`biml reproduce --quick` gives the tables of biml 0.1.0; its results folders are read."""

import csv
import io
from hashlib import sha256
from pathlib import Path

import pytest

from fakes import golden_access as access
from fakes.golden_files import EXACT, known

MODELS = (
    *("net-BIML-top", "net-BIML-open-ended-top", "net-basic-seq2seq-top"),
    *("oracle", "oracle-slips", "biases"),
)
STORE = "reproduce.json.gz"
PEOPLE = ",people,"
EXPERIMENTS = ("table1", "few-shot", "open-ended", "probes", "novel-rules")
"""All of biml 0.1.0."""

FITTED = [("net-BIML-top", "few_shot"), ("oracle-slips", "few_shot")]
"""Models whose error rates were fitted to the responses, which 0.1.0 did not say."""


def without_people(text: str) -> str:
    """The answers of models in the table of all answers; those of people are not ours to keep."""
    return "".join(line for line in text.splitlines(True) if PEOPLE not in f",{line}")


def check_cells(table: str, now: str, before: str) -> None:
    """Compare two tables as texts; a column may have another name or place, or be new."""
    rows, old = (list(csv.DictReader(io.StringIO(text))) for text in (now, before))
    assert len(rows) == len(old), table
    for number, (row, old_row) in enumerate(zip(rows, old, strict=True), 2):
        for column, cell in old_row.items():
            found = row[access.COLUMN_RENAMES.get(column, column)]
            wanted = access.CELL_RENAMES.get((column, cell), cell)
            if column == "difference" and old_row.get("figure", "").endswith("permutation p"):
                wanted = ""  # of two p-values
            if column == "within_sample" and (old_row["model"], old_row["task"]) in FITTED:
                wanted = "True"
            assert same(found, wanted), f"{table}, line {number}, {column}: {found} != {wanted}"


def same(found: str, golden: str) -> bool:
    if found == golden or EXACT:
        return found == golden
    try:
        return float(found) == pytest.approx(float(golden), rel=1e-5, abs=1e-6)
    except ValueError:
        return False


@pytest.mark.published_data
def test_the_tables_of_a_quick_reproduction(shared: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "out"
    command = ["reproduce", *EXPERIMENTS, "--quick", "--models", *MODELS, "--workers", "1"]
    assert access.main([*command, "--data_dir", str(shared), "--out", str(out)]) == 0
    tables = {path.stem: path.read_bytes().decode() for path in (out / "tables").glob("*.csv")}
    people = [line for line in tables["responses"].splitlines() if PEOPLE in f",{line}"]
    tables["responses"] = without_people(tables["responses"])
    known(STORE, "results.json", (out / "results.json").read_bytes().decode())
    golden = known(STORE, "tables", tables)
    for name, before in golden.items():
        check_cells(name, tables[access.TABLE_RENAMES.get(name, name)], before)
    digest = sha256("\n".join(people).encode()).hexdigest()
    assert digest == known(STORE, "people", digest) or access.COLUMN_RENAMES


def test_results_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    """The folder is as biml 0.1.0 wrote it, but for people's answers."""
    tables = known(STORE, "tables", None)
    (tmp_path / "tables").mkdir()
    for name, text in tables.items():
        (tmp_path / "tables" / f"{name}.csv").write_bytes(text.encode())
    (tmp_path / "results.json").write_bytes(known(STORE, "results.json", None).encode())
    found = access.results(tmp_path)
    assert [model.name for model in found.models] == list(MODELS)
    for name, text in tables.items():
        new_name = access.TABLE_RENAMES.get(name, name)
        assert len(found.tables[new_name]) == len(list(csv.reader(io.StringIO(text)))) - 1
    access.write_page(tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert all(model.label in page for model in found.models)
