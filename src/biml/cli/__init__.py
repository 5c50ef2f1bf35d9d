"""The commands of biml, and the options that several of them have."""

from pathlib import Path
from typing import Any

from biml import plugins


def add_dir_model(parser: Any, help: str = "folder of the model") -> None:
    """Add `--dir_model FOLDER`."""
    help += " (default: %(default)s)"
    parser.add_argument("--dir_model", default="out_models", metavar="FOLDER", help=help)


def add_data_dir(parser: Any) -> None:
    """Add `--data_dir FOLDER`."""
    help = "searched first for data folders"
    parser.add_argument("--data_dir", type=Path, metavar="FOLDER", help=help)


def add_address(parser: Any, port: int) -> None:
    """Add `--host ADDRESS` and `--port N` of a server."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the network address to listen on; 0.0.0.0 lets other machines in "
        "(default: %(default)s)",
    )
    help = "port of the server; 0 for a free one (default: %(default)s)"
    parser.add_argument("--port", type=int, default=port, help=help)


def find_model(name: str, args: Any) -> str | Path:
    """What `biml.load` takes for a model: its file, unless it has none."""
    from biml.evaluation.registry import SYMBOLIC, is_language_model
    from biml.paths import DataFolders, resolve_model

    if name in SYMBOLIC or is_language_model(name):
        return name
    return resolve_model(name, args.dir_model, DataFolders(args.data_dir), SYMBOLIC)


def from_plugins(kind: str) -> str:
    """The end of a help text that lists the names of a kind that plugins have registered."""
    names = plugins.registered(kind)
    return f"; from plugins: {', '.join(names)}" if names else ""


def count(n: int, noun: str) -> str:
    """A number with its noun in the singular or plural.

    >>> count(1, "participant"), count(1200, "response")
    ('1 participant', '1,200 responses')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
