"""`biml reproduce` and `biml report`."""

import argparse
import sys
from pathlib import Path

from biml.cli import add_data_dir, add_dir_model
from biml.errors import UsageError
from biml.evaluation.symbolic import SYMBOLIC
from biml.reproduce.experiments import ALL_EXPERIMENTS, EXPERIMENTS

SUMMARY = "Reproduce the paper's behavioural results and write a report."

REPORT_SUMMARY = "Make the page and figures of a results folder again from its tables."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `biml reproduce`."""
    option = parser.add_argument
    option(
        "experiments",
        nargs="*",
        metavar="EXPERIMENT",
        help=f"{', '.join(EXPERIMENTS)} or {ALL_EXPERIMENTS} (the default)",
    )
    option(
        "--models",
        nargs="+",
        metavar="NAME",
        help=f"model files, and the symbolic models {', '.join(SYMBOLIC)} "
        "(default: the installed models of the paper, and all symbolic ones)",
    )
    option("--quick", action="store_true", help="takes a minute: fewer repeats and samples")
    option(
        "--out",
        type=Path,
        default=Path("reproduction"),
        metavar="FOLDER",
        help="for the page, figures and tables, made if it is missing (%(default)s)",
    )
    option("--seed", type=int, default=0, metavar="N", help="of remappings, orders, samples (0)")
    option(
        "--lapse_samples",
        action="store_true",
        help="let networks lapse in samples too, at the rate fitted to people; the published "
        "samples do not lapse, and those of symbolic models always do",
    )
    add_dir_model(parser, "folder to search first for models")
    add_data_dir(parser)
    option("--workers", type=int, metavar="N", help="processes (one for each core)")


def run(args: argparse.Namespace) -> None:
    """Run `biml reproduce`."""
    from biml.cli.reproduce_console import print_results
    from biml.reproduce import run_experiments

    try:
        results = run_experiments(
            args.experiments,
            models=args.models,
            out=args.out,
            quick=args.quick,
            seed=args.seed,
            lapse_samples=args.lapse_samples,
            dir_model=args.dir_model,
            data_dir=args.data_dir,
            workers=args.workers,
        )
    except UsageError:
        if misplaced := [n for n in args.models or () if n in (*EXPERIMENTS, ALL_EXPERIMENTS)]:
            raise UsageError(
                f"{misplaced[0]!r} is an experiment, not a model; name experiments before "
                f"--models: biml reproduce {misplaced[0]} --models …"
            ) from None
        raise
    except KeyboardInterrupt:
        print(
            "Interrupted. Complete measurements are cached: the same command continues there.",
            file=sys.stderr,
        )
        raise
    print_results(results, args.out)


def configure_report(parser: argparse.ArgumentParser) -> None:
    """Add the options of `biml report`."""
    parser.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="results of `biml reproduce`: results.json and tables/",
    )


def run_report(args: argparse.Namespace) -> None:
    """Run `biml report`."""
    from biml.report.page import PAGE_FILE, write_report

    write_report(args.folder)
    print(f"Report: {args.folder / PAGE_FILE}")
