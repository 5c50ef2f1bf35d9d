"""Parts of the package depend on each other one way: no part needs what needs it."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import biml

ROOT = Path(biml.__file__).parent


def imports(file: Path) -> Iterator[str]:
    """Modules of biml that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "biml":
            yield from (f"biml.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("biml."):
            yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("biml."))


def part(module: str) -> str:
    return module.split(".")[1]


def dependencies() -> dict[str, set[str]]:
    """For each part of the package (a folder, or a file beside them) those that it imports."""
    found: dict[str, set[str]] = {}
    for file in sorted(ROOT.rglob("*.py")):
        own = file.relative_to(ROOT).with_suffix("").parts[0]
        if own != "__init__":
            found.setdefault(own, set()).update({part(name) for name in imports(file)} - {own})
    return found


def test_no_part_depends_on_itself_through_others() -> None:
    order = list(TopologicalSorter(dependencies()).static_order())

    assert order.index("grammar") < order.index("episodes") < order.index("networks")
    assert order.index("evaluation") < order.index("analysis") < order.index("report")


def test_grammars_and_episodes_know_nothing_of_torch() -> None:
    for folder in ("grammar", "episodes"):
        for file in (ROOT / folder).rglob("*.py"):
            assert "import torch" not in file.read_text(encoding="utf-8"), file
