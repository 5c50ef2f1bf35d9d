"""The tutorials of the documentation run from first to last cell."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import biml
from fakes.processes import PATIENCE

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = {
    "comparing": ["120 responses of 12 participants to 10 items", "net-BIML-top", "one_to_one"],
    "custom-experiment": [
        "● ▲ ▲",
        "12 responses of 3 participants to 4 items",
        "By participant:",
        "reversing_errors",
    ],
    "first-steps": ["BLUE BLUE BLUE", "True, True, True, True"],
    "inside": [
        "GREEN GREEN GREEN",
        "The colour of dax passes through head",
        "['GREEN', 'GREEN GREEN GREEN', 'BLUE GREEN']",
        "iconic",
        "encoder.4.output",
        "did you mean decoder.3.output",
    ],
    "own-corpus": [
        "LEFT LIFT LEFT LIFT",
        "new-word  0.00%",
        "line 6: expected",
        "'walk twice' (line 4)",
    ],
    "training": ["did you mean episode_type", "val_loss", "accuracy_novel"],
}
WRITTEN = {"custom-experiment": ["loglikes.csv", "samples.csv", "my-report/index.html"]}


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda page: page.stem)
def test_a_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, without data of the user, with this package as the command `biml`."""
    if page.stem == "inside":
        pytest.importorskip("sklearn", reason="the extra probes is not installed")
    command = tmp_path / "bin" / "biml"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m biml "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(biml.__file__).parents[1]))
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "user"))
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    monkeypatch.delenv("BIML_DATA", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    sources = CELL.findall(page.read_text("utf-8"))
    cells = [nbformat.v4.new_code_cell(source.rstrip("\n")) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": work}}
    NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3", resources=resources).execute()
    assert all(cell.execution_count for cell in notebook.cells)
    printed = "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain") or output.get("evalue", "")
        for cell in notebook.cells
        for output in cell.outputs
    )
    assert [text for text in EXPECTED[page.stem] if text not in printed] == []
    assert [name for name in WRITTEN.get(page.stem, []) if not (work / name).is_file()] == []
