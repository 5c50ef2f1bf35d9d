"""`biml generate`: write a meta-training set."""

import argparse
from pathlib import Path

from biml.episodes.sources import PER_EPOCH, VALIDATION_EPISODES
from biml.errors import UsageError
from biml.grammar import MetaGrammar
from biml.grammar.meta import MIN_VALUES

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
    from biml.episodes.text import read_episode

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
