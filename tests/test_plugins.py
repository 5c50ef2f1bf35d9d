"""Plugins register extensions in the command line, in worker processes and from packages."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import biml
from biml import plugins
from biml.cli.main import load_plugins, main
from biml.episodes.episode_type import EpisodeType
from biml.episodes.registry import EPISODE_TYPES
from biml.errors import BimlError, UsageError

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

PLUGIN = """
import dataclasses
import biml

row = dataclasses.replace(biml.episode_type("algebraic"), name="{name}", summary="from a plugin")
biml.register_episode_type(row)
"""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No plugin is loaded before a test, and none is left after it."""
    for name in ("_loaded", "_origins", "_needed"):
        monkeypatch.setattr(plugins, name, {})
    types = dict(EPISODE_TYPES)
    yield
    EPISODE_TYPES.clear()
    EPISODE_TYPES.update(types)


def write(folder: Path, name: str = "mine", file: str = "my_types.py") -> Path:
    path = folder / file
    path.write_text(PLUGIN.format(name=name))
    return path


def test_a_plugin_file_is_run_once(tmp_path: Path) -> None:
    path = write(tmp_path)
    plugins.load(path)
    plugins.load(str(path))
    assert biml.episode_type("mine").summary == "from a plugin"
    assert plugins.loaded() == (str(path),)
    assert plugins.registered("episode type") == ("mine",)


def test_a_plugin_may_be_an_importable_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, file="my_lab_types.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.load("my_lab_types")
    assert biml.episode_type("mine")
    assert plugins.loaded() == ("my_lab_types",)


@pytest.mark.parametrize("option", [["--plugin", "FILE"], ["--plugin=FILE"]])
def test_the_option_is_taken_out_wherever_it_stands(tmp_path: Path, option: list[str]) -> None:
    path = str(write(tmp_path))
    option = [word.replace("FILE", path) for word in option]
    assert load_plugins(["data", *option, "status"]) == ["data", "status"]
    assert "mine" in EPISODE_TYPES
    assert load_plugins(["interpret", "--", "--plugin"]) == ["interpret", "--", "--plugin"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--plugin"], "--plugin"),
        (["--plugin", "no_such_file.py"], "no_such_file.py"),
        (["--plugin", "no_such_module_of_mine"], "no_such_module_of_mine"),
    ],
)
def test_a_missing_plugin_is_named(words: list[str], named: str, capsys: Any) -> None:
    assert main(["models", *words]) == 2
    assert named in capsys.readouterr().err


def test_a_broken_plugin_is_named_with_its_line(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import json\n\njson.loads('{')\n")
    assert main(["models", "--plugin", str(path)]) == 1
    message = capsys.readouterr().err
    assert "broken.py" in message
    assert "line 3" in message
    assert "Traceback" not in message


def test_built_in_names_and_those_of_other_plugins_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="algebraic"):
        plugins.load(write(tmp_path, name="algebraic"))
    plugins.load(write(tmp_path, file="first.py"))
    with pytest.raises(UsageError, match=r"second\.py.*mine.*first\.py"):
        plugins.load(write(tmp_path, file="second.py"))


def test_a_notebook_may_register_again() -> None:
    for summary in ("first version", "second version"):
        biml.register_episode_type(
            EpisodeType("mine", summary, evaluation=biml.episode_type("algebraic").evaluation)
        )
    assert biml.episode_type("mine").summary == "second version"


def test_plugins_of_installed_packages_are_loaded_when_a_name_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, file="installed_types.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("types", "installed_types", "biml.plugins")
    calls: list[str] = []

    def entry_points(group: str) -> list[EntryPoint]:
        calls.append(group)
        return [entry]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    monkeypatch.setattr(plugins, "_installed", [])
    assert biml.episode_type("mine").summary == "from a plugin"
    with pytest.raises(UsageError):
        biml.episode_type("another")
    assert calls == ["biml.plugins"]


def test_a_broken_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("types", "no_such_module_of_mine", "biml.plugins")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    monkeypatch.setattr(plugins, "_installed", [])
    with pytest.raises(BimlError, match="package no_such_module_of_mine"):
        plugins.load_installed()


def test_help_says_that_the_file_is_run() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "biml", "interpret", "--help"], capture_output=True, text=True
    ).stdout
    assert "--plugin" in shown
    assert "run" in shown[shown.index("--plugin FILE") :]
