"""`biml data`: fetch, import and list human data, episodes and trained networks."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from biml.episodes.datasets import EPISODES_PER_EPOCH, VALIDATION_EPISODES
from biml.errors import UsageError
from biml.grammar import MetaGrammar
from biml.grammar.meta_grammar import MIN_VALUES
from biml.human.resources import RESOURCES, resource
from biml.paths import DataFolders, user_data_folder

if TYPE_CHECKING:
    from biml.human.download import InstallResult
    from biml.human.resources import ByteCallback

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
    from biml.human.download import import_path

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
    from biml.human.download import download

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
    from biml.human.readers import is_episode_folder

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
    from biml.human.experiment import TASK_EPISODE_TYPES, write_experiment

    if args.study is None:
        from biml.human.readers import read_episode_files

        found = read_episode_files(args.path)
    else:
        from biml.human.readers import read_response_table

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
    from biml.human.download import resource_status

    for row in resource_status(data):
        if row.folder is None:
            print(f"{row.resource.name:<9} missing: biml data download {row.resource.name}")
        else:
            print(
                f"{row.resource.name:<9} {row.files:,} files, {_megabytes(row.size)} in {row.folder}"
            )
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


# === `biml generate`: write a meta-training set.


PUBLISHED_META_GRAMMAR = MetaGrammar()

MAX_WORDS, MAX_SYMBOLS = len(PUBLISHED_META_GRAMMAR.words), len(PUBLISHED_META_GRAMMAR.symbols)

MAX_VALUES = {
    "n_primitives": MAX_SYMBOLS,
    "n_functions": MAX_WORDS - MIN_VALUES["n_primitives"],
}

META_GRAMMAR_OPTIONS = (
    ("--primitives", "n_primitives", "words with a symbol of their own"),
    ("--functions", "n_functions", "function words"),
    ("--max_rhs", "max_rhs", "longest right side of a function"),
    ("--max_input", "max_input", "longest input in words"),
    ("--max_output", "max_output", "longest output in symbols"),
    ("--study", "n_study", "study examples of an episode"),
    ("--queries", "n_query", "queries of an episode"),
)
"""Options, the fields of `MetaGrammar` that they set, and what they mean."""

GENERATE_SUMMARY = (
    "Write a set of meta-training and validation episodes, drawn from the meta-grammar."
)


def configure_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("data_algebraic"),
        metavar="FOLDER",
        help="the folder to write; training finds it by the name data_algebraic "
        "(default: %(default)s in the current directory)",
    )
    for part, number, what in (
        ("train", EPISODES_PER_EPOCH, "training"),
        ("val", VALIDATION_EPISODES, "validation"),
    ):
        parser.add_argument(
            f"--{part}",
            type=int,
            default=number,
            metavar="N",
            help=f"{what} episodes (default: %(default)s)",
        )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="the files depend on this and the options here, not on --workers (default: 0)",
    )
    meta = parser.add_argument_group(
        "the meta-grammar that grammars are drawn from",
        f"With the published words, --primitives and --functions are at most {MAX_WORDS} together.",
    )
    for option, name, what in META_GRAMMAR_OPTIONS:
        meta.add_argument(
            option,
            type=int,
            default=getattr(PUBLISHED_META_GRAMMAR, name),
            metavar="N",
            help=f"{what}, {_option_range(name)} (%(default)s)",
        )
    meta.add_argument(
        "--apart",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an episode file, such as the study file of an experiment, whose grammar is held out "
        "of training whatever its words and symbols are called; may be given several times",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one for each core)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there")


def run_generate(args: argparse.Namespace) -> int | None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from biml.episodes.generate import DatasetSpec, generate
    from biml.episodes.text_format import read_episode

    _check_meta_options(args)
    meta = MetaGrammar(
        **{name: getattr(args, option[2:]) for option, name, _ in META_GRAMMAR_OPTIONS}
    )
    apart = tuple(map(read_episode, args.apart))
    wanted = DatasetSpec(args.train, args.val, args.seed, meta, apart)
    columns = ("writing episodes", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=args.train + args.val)
        generate(
            wanted,
            args.out,
            workers=args.workers,
            overwrite=args.overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(f"{args.train:,} training and {args.val:,} validation episodes in {args.out.resolve()}")
    if args.out.name != "data_algebraic":
        print("training looks for a folder called data_algebraic; rename it to be found")
    return None


def _check_meta_options(args: argparse.Namespace) -> None:
    """Refuse numbers that no grammar has.

    Raises:
        UsageError: names the option and what it can be.
    """
    for option, name, _ in META_GRAMMAR_OPTIONS:
        value = getattr(args, option[2:])
        if not MIN_VALUES[name] <= value <= MAX_VALUES.get(name, value):
            raise UsageError(f"{option} is {value}, but must be {_option_range(name)}")
    needed = args.primitives + args.functions
    if needed > MAX_WORDS:
        raise UsageError(
            f"--primitives {args.primitives} and --functions {args.functions} need {needed} words, "
            f"but there are {MAX_WORDS}; lower one of the two"
        )


def _option_range(name: str) -> str:
    low = MIN_VALUES[name]
    return f"{low} to {MAX_VALUES[name]}" if name in MAX_VALUES else f"at least {low}"
