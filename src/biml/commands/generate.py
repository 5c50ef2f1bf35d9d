"""`biml generate`: write a meta-training set."""

import argparse
from pathlib import Path

from biml.episodes.sources import PER_EPOCH, VALIDATION_EPISODES
from biml.errors import UsageError
from biml.grammar import MetaGrammar
from biml.grammar.meta import LOWEST

PUBLISHED = MetaGrammar()
MOST_WORDS, MOST_SYMBOLS = len(PUBLISHED.words), len(PUBLISHED.symbols)
HIGHEST = {
    "n_primitives": MOST_SYMBOLS,
    "n_functions": MOST_WORDS - LOWEST["n_primitives"],
}

META = (
    ("--primitives", "n_primitives", "words with a symbol of their own"),
    ("--functions", "n_functions", "function words"),
    ("--max_rhs", "max_rhs", "longest right side of a function"),
    ("--max_input", "max_input", "longest input in words"),
    ("--max_output", "max_output", "longest output in symbols"),
    ("--study", "n_study", "study examples of an episode"),
    ("--queries", "n_query", "queries of an episode"),
)
"""Options, the fields of `MetaGrammar` that they set, and what they mean."""

SUMMARY = "Write a set of meta-training and validation episodes, drawn from the meta-grammar."


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("data_algebraic"),
        metavar="FOLDER",
        help="the folder to write; training finds it by the name data_algebraic "
        "(default: %(default)s in the current directory)",
    )
    for part, number, what in (
        ("train", PER_EPOCH, "training"),
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
        f"With the published words, --primitives and --functions are at most {MOST_WORDS} "
        "together.",
    )
    for option, name, what in META:
        meta.add_argument(
            option,
            type=int,
            default=getattr(PUBLISHED, name),
            metavar="N",
            help=f"{what}, {_range(name)} (%(default)s)",
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


def run(args: argparse.Namespace) -> int | None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from biml.episodes.generate import GeneratedSet, generate
    from biml.episodes.text import read_episode

    _check(args)
    meta = MetaGrammar(**{name: getattr(args, option[2:]) for option, name, _ in META})
    apart = tuple(map(read_episode, args.apart))
    wanted = GeneratedSet(args.train, args.val, args.seed, meta, apart)
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


def _check(args: argparse.Namespace) -> None:
    """Refuse numbers that no grammar has.

    Raises:
        UsageError: names the option and what it can be.
    """
    for option, name, _ in META:
        value = getattr(args, option[2:])
        if not LOWEST[name] <= value <= HIGHEST.get(name, value):
            raise UsageError(f"{option} is {value}, but must be {_range(name)}")
    needed = args.primitives + args.functions
    if needed > MOST_WORDS:
        raise UsageError(
            f"--primitives {args.primitives} and --functions {args.functions} need {needed} words, "
            f"but there are {MOST_WORDS}; lower one of the two"
        )


def _range(name: str) -> str:
    low = LOWEST[name]
    return f"{low} to {HIGHEST[name]}" if name in HIGHEST else f"at least {low}"
