"""`biml report`: the page of a results folder, made again from its tables."""

import argparse
from pathlib import Path

REPORT_SUMMARY = "Make the page and figures of a results folder again from its tables."


def configure_report(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="results of `biml reproduce`: results.json and tables/",
    )


def run_report(args: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    from biml.report import PAGE_FILE, write_report

    write_report(args.folder)
    print(f"Report: {args.folder / PAGE_FILE}")
