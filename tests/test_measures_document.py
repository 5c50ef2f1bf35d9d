"""docs/measures.md: its code examples run in order."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCUMENT = Path(__file__).parents[1] / "docs" / "measures.md"


@pytest.mark.published_data
def test_code_examples_of_the_document_run(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIML_DATA", str(shared))
    text = DOCUMENT.read_text("utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(block, names)
    found = names["scores"].groupby("model")["log_likelihood"].sum().round(1)
    assert found.to_dict() == {"oracle": -536.1, "oracle-biases": -363.2}
    for figure in found:
        assert f"| \N{MINUS SIGN}{abs(figure)} |" in text
