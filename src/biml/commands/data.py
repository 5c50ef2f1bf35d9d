"""`biml data`: fetch, import and list human data, episodes and trained networks."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from biml.data.kinds import RESOURCES, resource
from biml.episodes.locate import DataFolders, user_data_folder
from biml.errors import UsageError

if TYPE_CHECKING:
    from biml.data.fetch import ByteCallback
    from biml.data.place import InstallResult

SUMMARY = "Fetch, import and list human data, published episodes and trained networks."


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    fetch = actions.add_parser("download", help="fetch from the published address")
    fetch.add_argument(
        "kind",
        metavar="|".join(RESOURCES),
        choices=tuple(RESOURCES),
        help="; ".join(f"{row.name}: {row.description}" for row in RESOURCES.values()),
    )
    fetch.add_argument("--url", help="another address of the same zip archive")

    local = actions.add_parser(
        "import",
        help="take from a local zip archive, folder or checkpoint; or an experiment of your own",
        description="Takes a local zip archive, folder or checkpoint. An experiment of your own is "
        "a table of answers (CSV or Parquet with the columns participant, item, query, response) "
        "with --study, or a folder of episode files with answers as queries.",
    )
    local.add_argument("path", metavar="PATH", type=Path)
    local.add_argument(
        "--study",
        type=Path,
        metavar="PATH",
        help="for a table of answers: an episode file with the study examples and the queries, or "
        "a folder of them named after the items; a file without study examples makes an "
        "open-ended task",
    )

    place = f"where to put it (default: the user's data folder, {user_data_folder()}"
    for action, more in ((fetch, ")"), (local, "; for an experiment of your own NAME-data)")):
        action.add_argument("--dest", type=Path, metavar="FOLDER", help=place + more)
        action.add_argument("--overwrite", action="store_true", help="replace what is there")

    listing = actions.add_parser("status", help="show what is found where")
    listing.add_argument("--data_dir", type=Path, metavar="FOLDER", help="a folder to search first")


def run(args: argparse.Namespace) -> int | None:
    from biml.data.place import import_path

    if args.action == "status":
        _print_status(DataFolders(args.data_dir))
        return None
    if args.action == "import" and _is_custom_experiment(args):
        _import_experiment(args)
        return None
    destination = args.dest or user_data_folder()
    with _ProgressBars() as bars:
        if args.action == "download":
            placed = _download(args, destination, bars)
        else:
            placed = import_path(
                args.path, destination, overwrite=args.overwrite, progress_factory=bars.add
            )
    _print_installed(placed, args.dest)
    return None


def _download(
    args: argparse.Namespace, destination: Path, bars: "_ProgressBars"
) -> "InstallResult":
    from biml.data.place import download

    try:
        return download(
            resource(args.kind),
            destination,
            url=args.url,
            overwrite=args.overwrite,
            progress_factory=bars.add,
        )
    except KeyboardInterrupt:
        bars.stop()
        print(
            "stopped; the same command goes on from here where the server allows", file=sys.stderr
        )
        raise


def _print_installed(result: "InstallResult", dest: Path | None) -> None:
    print(f"{result.resource.name}: {result.files:,} files in {result.folder}")
    if result.kept:
        print(f"left as they were (--overwrite replaces them): {', '.join(result.kept)}")
    if dest is not None and DataFolders().get(result.resource.folder) != result.folder:
        print(f"other commands find it with --data_dir {dest} or BIML_DATA={dest}")


def _is_custom_experiment(args: argparse.Namespace) -> bool:
    """Whether it is an experiment of one's own that is imported.

    Raises:
        UsageError: a study is given without a table of answers, or a table without a study.
    """
    from biml.data.experiment_texts import is_episode_folder

    table = args.path.suffix.lower() in (".csv", ".parquet")
    if args.study is not None and not table:
        raise UsageError(
            "--study goes with a table of answers (.csv or .parquet); "
            "episode files hold their study examples"
        )
    if table and args.study is None:
        raise UsageError(
            f"{args.path}: to know what was studied, give --study an episode file (or a folder of "
            "them, one for each item); for an open-ended task one without study examples"
        )
    return table or is_episode_folder(args.path)


def _import_experiment(args: argparse.Namespace) -> None:
    from biml.data.experiment_folder import TASK_EPISODE_TYPES, write_experiment

    if args.study is None:
        from biml.data.experiment_texts import read_episode_files

        found = read_episode_files(args.path)
    else:
        from biml.data.experiment_table import read_response_table

        found = read_response_table(args.path, args.study)
    name = Path(os.path.abspath(args.path)).stem  # `.` has none of its own
    destination = args.dest or Path(f"{name}-data")
    folder = write_experiment(found, destination, overwrite=args.overwrite)
    who = f"{len(found.participants)} participants" if found.participants else "unknown people"
    items = f"{len(found.items)} items"
    print(f"{found.task}: {found.n_responses:,} answers of {who} to {items} in {folder}")
    if found.participants and found.n_anonymous:
        print(
            f"note: who answered is not told of {found.n_anonymous}, so that nothing can be broken "
            "down by participant"
        )
    if found.ignored:
        told = "" if found.participants else "; who answered is read from a column participant"
        print(f"ignored columns: {', '.join(found.ignored)}{told}")
    if found.unanswered:
        print(f"without any answer: {', '.join(found.unanswered)}")
    if found.vocabulary_overflow:
        print(f"note: {found.vocabulary_overflow}; train one with a vocabulary of your own")
    print(
        f"ask with --data_dir {destination} --episode_type {' or '.join(TASK_EPISODE_TYPES[found.task])}"
    )


def _print_status(data: DataFolders) -> None:
    from biml.data.status import resource_status

    for row in resource_status(data):
        if row.folder is None:
            print(f"{row.kind.name:<9} missing: biml data download {row.kind.name}")
        else:
            print(f"{row.kind.name:<9} {row.files:,} files, {_megabytes(row.size)} in {row.folder}")
    print("searched, in this order:")
    for place in data.search_paths:
        print(f"  {place.folder} ({place.origin})")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


class _ProgressBars:
    """One bar on standard error for each stage, in bytes while fetching, in files afterwards."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[done]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )

    def __enter__(self) -> "_ProgressBars":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def stop(self) -> None:
        self._bars.stop()

    def add(self, name: str, unit: str) -> "ByteCallback":
        task = self._bars.add_task(name, total=None, done="")
        shown = _megabytes if unit == "bytes" else f"{{:,}} {unit}".format

        def report(done: int, total: int | None) -> None:
            self._bars.update(task, completed=done, total=total, done=shown(done))

        return report
