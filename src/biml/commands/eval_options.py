"""The options of `biml eval`, and which of them can be meant together."""

import argparse
from pathlib import Path
from typing import Any

from biml.errors import UsageError
from biml.files import check_writable

TABLE_OPTIONS = (".csv", ".parquet")

MODES = ("ll", "fit_lapse", "max", "sample", "sample_html", "sample_iterative", "dashboard")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    _configure_model(parser)
    _configure_modes(parser.add_argument_group("what to find out (one or more)"))
    _configure_details(parser.add_argument_group("how"))


def _configure_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fn_out_model", required=True, metavar="NAME.pt", help="file name of the model"
    )
    parser.add_argument(
        "--dir_model", default="out_models", metavar="FOLDER", help="its folder (%(default)s)"
    )
    parser.add_argument(
        "--episode_type",
        metavar="TYPE",
        help="what it is asked (the kind it was trained on); any wrong name lists them all",
    )
    parser.add_argument(
        "--data_dir", type=Path, metavar="FOLDER", help="where to look for data folders first"
    )


def _configure_modes(group: Any) -> None:
    option = group.add_argument
    option("--ll", action="store_true", help="log-likelihood of the given answers")
    option(
        "--fit_lapse",
        nargs="?",
        const="grid",
        choices=("grid", "bounded"),
        help="log-likelihood at the lapse rate that fits best: of 0.01-0.09 and 0.1-0.9 (grid, the "
        "default), or of all by a bounded optimiser",
    )
    option("--max", action="store_true", help="accuracy of its likeliest answers")
    option("--sample", action="store_true", help="accuracy of drawn answers")
    option(
        "--sample_html",
        action="store_true",
        help="a page of drawn answers to the few-shot task, ten for each of a person's, "
        "written beside the model",
    )
    option(
        "--sample_iterative",
        action="store_true",
        help="draw answers to one query after another, each becoming a study example",
    )
    option("--dashboard", action="store_true", help="draw the learning curves to NAME.png")


def _configure_details(group: Any) -> None:
    option = group.add_argument
    option(
        "--max_length_eval",
        type=int,
        metavar="N",
        help="symbols that an answer may have (10, or as many as the longest answer in the data)",
    )
    option("--batch_size", type=int, metavar="N", help="at most so many episodes at once")
    option("--episodes", type=int, metavar="N", help="only the first N episodes")
    option(
        "--ll_nrep",
        type=int,
        default=1,
        metavar="N",
        help="passes with fresh orders and names that --ll averages over (%(default)s)",
    )
    option(
        "--ll_p_lapse",
        type=float,
        default=0.0,
        metavar="P",
        help="lapse rate of --ll (%(default)g)",
    )
    option(
        "--by",
        choices=("item", "participant"),
        help="show the log-likelihood of --ll or --fit_lapse for each",
    )
    option(
        "--ll_out",
        type=Path,
        metavar="FILE",
        help="write the log-likelihood of each answer as a table (.csv or .parquet)",
    )
    option(
        "--samples_out",
        type=Path,
        metavar="FILE",
        help="write what --sample_html or --sample_iterative draws as a table (.csv or .parquet)",
    )
    option("--verbose", action="store_true", help="list every episode with its answers")
    option("--json", metavar="PATH", help="write the figures as one JSON object (-: to stdout)")
    option("--seed", type=int, default=0, metavar="N", help="of names, orders and draws (0)")
    option("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    option(
        "--precision",
        choices=("fp32", "bf16"),
        default="fp32",
        help="of matrix products (%(default)s)",
    )


def check_options(args: argparse.Namespace) -> None:
    """Refuse what cannot be meant.

    Raises:
        UsageError: says which options.
    """
    if not any(getattr(args, mode) for mode in MODES):
        raise UsageError(f"nothing was asked for; give {_option_list(MODES)}")
    if args.max and args.sample:
        raise UsageError("--max and --sample ask for two kinds of answers; give one of them")
    if not (args.ll or args.fit_lapse) and (args.ll_nrep != 1 or args.ll_p_lapse):
        raise UsageError("--ll_nrep and --ll_p_lapse are for --ll or --fit_lapse; add one of them")
    if not (args.ll or args.fit_lapse) and (args.by or args.ll_out):
        raise UsageError("--by and --ll_out are for --ll or --fit_lapse; add one of them")
    if args.samples_out and not (args.sample_html or args.sample_iterative):
        raise UsageError(
            "--samples_out is for --sample_html or --sample_iterative; add one of them"
        )
    for name in ("ll_out", "samples_out"):
        path = getattr(args, name)
        if path is not None and path.suffix.lower() not in TABLE_OPTIONS:
            raise UsageError(f"--{name} {path}: a table ends in {' or '.join(TABLE_OPTIONS)}")
    for path in (args.ll_out, args.samples_out, None if args.json == "-" else args.json):
        if path is not None:
            check_writable(path)
    if args.fit_lapse and args.ll_p_lapse:
        raise UsageError("--fit_lapse finds the lapse rate that --ll_p_lapse gives; give one only")
    if not 0 <= args.ll_p_lapse <= 1:
        raise UsageError(f"--ll_p_lapse is {args.ll_p_lapse}, but a probability is from 0 to 1")
    for name in ("batch_size", "episodes", "ll_nrep", "max_length_eval"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} is {value}, but must be at least 1")


def _option_list(modes: tuple[str, ...]) -> str:
    names = [f"--{mode}" for mode in modes]
    return f"{', '.join(names[:-1])} or {names[-1]}"
