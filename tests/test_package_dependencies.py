"""Import order of the packages of biml, import cycles between modules, extras, and file lengths."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import biml

ROOT = Path(biml.__file__).parent
FILES = {
    ".".join(["biml", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(
        ".__init__"
    ): path
    for path in sorted(ROOT.rglob("*.py"))
}
ORDER = (
    "grammar",
    "episodes",
    "networks",
    "training",
    "evaluation",
    "llm",
    "analysis",
    "human",
    "report",
    "reproduce",
    "experiment",
    "web",
    "cli",
)
"""A package imports from those before it, and from the modules beside the packages."""
FOUNDATIONS = {path.stem for path in ROOT.glob("*.py")} - {"__init__", "__main__"}
LAZY = {"plugins": set(ORDER)}
"""Modules beside the packages that may import packages inside functions: registries."""
MAX_LINES = 420


def imports(module: str, *, at_top: bool = False) -> Iterator[str]:
    """Modules of biml that a module imports, inside functions as well unless `at_top`."""
    tree = ast.parse(FILES[module].read_text("utf-8"))
    for node in tree.body if at_top else ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [a.value for a in node.args if isinstance(a, ast.Constant)]
        else:
            continue
        for name in names:
            if name == "biml" or name.startswith("biml."):
                yield name if name in FILES else name.rpartition(".")[0]


def package(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", [m for m in FILES if package(m) in ORDER])
def test_a_package_imports_only_from_packages_before_it(module: str) -> None:
    own = ORDER.index(package(module))
    for name in imports(module):
        used = package(name)
        assert used in FOUNDATIONS or used == "" or ORDER.index(used) <= own, f"{module}: {name}"


@pytest.mark.parametrize("module", sorted(FOUNDATIONS))
def test_modules_beside_the_packages_import_no_package(module: str) -> None:
    used = {package(name) for name in imports(f"biml.{module}")}
    assert used - LAZY.get(module, set()) <= FOUNDATIONS
    assert {package(name) for name in imports(f"biml.{module}", at_top=True)} <= FOUNDATIONS


def test_no_modules_import_each_other() -> None:
    graph = {m: set(imports(m)) - {m, "biml"} for m in FILES if m != "biml"}
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def test_grammars_and_episodes_do_not_need_torch() -> None:
    modules = [m for m in FILES if package(m) in ("grammar", "episodes")]
    for module in modules:
        assert "torch" not in re.findall(r"(?:import|from) (\w+)", FILES[module].read_text("utf-8"))
    code = f"import {', '.join(modules)}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def run_without(packages: Iterable[str], code: str) -> subprocess.CompletedProcess[str]:
    """Run code as in an installation that lacks these packages."""
    code = f"import sys\nsys.modules.update(dict.fromkeys({[*packages]}))\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


TABLES = ("pandas", "pyarrow", "scipy", "statsmodels")


def test_pages_in_the_browser_need_no_tables() -> None:
    modules = ("experiment.export", "experiment.power", "experiment.simulate", "web.server")
    names = [f"biml.{name}" for name in (*modules, "web.play_app", "cli.experiment", "cli.play")]
    run = run_without(TABLES, f"import {', '.join(names)}")
    assert run.returncode == 0, run.stderr


def test_a_missing_extra_is_named() -> None:
    commands = {
        "ask --query DAX": "analysis",
        "attention": "analysis",
        "report x": "analysis",
        "eval --fn_out_model hf:x --max": "llm",
        "experiment status": "web",
        "play": "web",
        "export net-BIML-top x --to hf": "hub",
    }
    code = f"from biml.cli.main import main\nfor c in {[*commands]}: print(main(c.split()))"
    missing = (*TABLES, "jinja2", "transformers", "sqlalchemy", "fastapi", "huggingface_hub")
    run = run_without(missing, code)
    assert run.stdout.split() == ["1"] * len(commands), run.stderr
    named = re.findall(r"pip install 'biml\[(\w+)\]'", run.stderr)
    assert named == list(commands.values())


@pytest.mark.parametrize("command", ["--help", "models"])
def test_help_and_the_list_of_models_load_no_large_package(command: str) -> None:
    code = (
        "import sys, biml.cli.main as commands\n"
        "try: commands.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "large = {'torch', 'numpy', 'pandas', 'jaxtyping', 'asyncio', 'importlib.metadata'}\n"
        "own = {f'biml.cli.{name}' for name in commands.COMMANDS} - {'biml.cli.models'}\n"
        "assert not (large | own) & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "models" in run.stdout


def test_no_file_is_long() -> None:
    lengths = {module: len(path.read_text("utf-8").splitlines()) for module, path in FILES.items()}
    assert {m: n for m, n in lengths.items() if n > MAX_LINES} == {}
