"""Plugins: files and installed packages that register episode types, networks, models or measures.

A plugin is Python code that calls `biml.register_episode_type`, `register_architecture`,
`register_responder` or `register_measure` when it is imported. Commands load the files named by
`--plugin`; packages with an entry point in the group `biml.plugins` are loaded without it, once.
"""

import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, TypeVar

from biml.errors import BimlError, UsageError

Row = TypeVar("Row")

GROUP = "biml.plugins"

_loaded: dict[str, None] = {}
"""Absolute paths and module names of the plugins loaded by name."""
_origins: dict[tuple[str, str], str] = {}
"""What registered each (kind, name), such as `plugin my.py`; "" where it was no plugin."""
_needed: dict[tuple[str, str], str] = {}
"""The same for names in checkpoints that were read."""
_running: list[str] = [""]
_installed: list[str] = []


def load(source: str | Path) -> str:
    """Run a plugin, given as a file or as the name of a module, unless it was loaded before."""
    path = Path(source)
    is_file = path.suffix == ".py" or path.exists()
    key = str(path.resolve() if is_file else source)
    if not path.is_file() and (is_file or find_spec(key.partition(".")[0]) is None):
        raise UsageError(f"--plugin {source}: there is no Python file and no module of this name")
    if key not in _loaded:
        name = path.name if is_file else key
        _run(f"plugin {name}", lambda: (_import_file if is_file else import_module)(key))
        _loaded[key] = None
    return key


def load_installed() -> None:
    """Load the plugins of installed packages, at the first call."""
    if not _installed:
        _installed.append(GROUP)
        if _is_group_installed():
            from importlib.metadata import entry_points

            for entry in entry_points(group=GROUP):
                _run(f"package {entry.dist.name if entry.dist else entry.value}", entry.load)


def _is_group_installed() -> bool:
    """Whether a package has our entry points, without the slow import of `importlib.metadata`."""
    files = [f for folder in sys.path for f in Path(folder).glob("*-info/entry_points.txt")]
    return any(f"[{GROUP}]" in file.read_text("utf-8", "replace") for file in files)


def loaded() -> tuple[str, ...]:
    """What `load` takes to give another process the plugins of this one."""
    return tuple(_loaded)


def register(
    table: MutableMapping[str, Row], kind: str, name: str, row: Row, *, by: str = ""
) -> None:
    """Add a row to a registry; the same plugin (or notebook) may replace its own.

    What registers it is the running plugin, unless `by` says otherwise.
    """
    owner, by = _origins.get((kind, name)), by or _running[-1]
    if name in table and owner != by:
        whose = "built in" if owner is None else f"registered by {owner or 'the program'}"
        raise UsageError(f"there is a {kind} {name!r} already ({whose}); choose another name")
    table[name] = row
    _origins[kind, name] = by


def registered(kind: str) -> tuple[str, ...]:
    """The names of one kind that were registered, in order."""
    return tuple(name for one, name in _origins if one == kind)


def origins(names: Mapping[str, str]) -> dict[str, str]:
    """The plugins that registered these names, by kind, to be kept in a checkpoint."""
    return {kind: by for kind, name in names.items() if (by := _origins.get((kind, name)))}


def remember(names: Mapping[str, str], kept: object) -> None:
    """Note the `origins` that a checkpoint has kept, if it has any, for `hint`."""
    if isinstance(kept, dict):
        _needed.update({(k, name): str(kept[k]) for k, name in names.items() if k in kept})


def hint(kind: str, name: str) -> str:
    """What to do about a name that is unknown, as far as a checkpoint says it; else empty."""
    by = _needed.get((kind, name), "")
    remedy = f"add --{by}" if by.startswith(("plugin ", "corpus ")) else "install it"
    return by and f"{kind} {name!r} is not known; it was registered by {by}: {remedy}"


def _run(name: str, run: Callable[[], Any]) -> None:
    _running.append(name)
    try:
        run()
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    except Exception as error:
        lines = traceback.extract_tb(error.__traceback__)
        at = next((x for x in lines[::-1] if name.endswith(f" {Path(x.filename).name}")), lines[-1])
        what = f"{type(error).__name__}: {error}"
        if not isinstance(error, SyntaxError):  # whose message names file and line
            what += f" (line {at.lineno} of {at.filename})"
        raise BimlError(f"{name} failed: {what}") from error
    finally:
        _running.pop()


def _import_file(path: str) -> None:
    spec = spec_from_file_location(f"biml_plugin_{len(_loaded)}_{Path(path).stem}", path)
    if not (spec and spec.loader):
        raise UsageError("a plugin is a Python file (.py)")
    module = sys.modules[spec.name] = module_from_spec(spec)  # for dataclasses and pickle
    spec.loader.exec_module(module)
