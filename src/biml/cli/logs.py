"""`biml logs` and `biml rescore`: the log of a language model as a page, and scored again."""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from biml.arguments import whole_number
from biml.cli import count
from biml.errors import BimlError, UsageError, unknown_name
from biml.io import atomic_write, check_writable, write_file

if TYPE_CHECKING:
    from biml.llm.log import Record
    from biml.llm.outcomes import TaskOutcomes

MAX_LISTED = 20
"""Changed answers that `biml rescore` prints."""

WIDE = 120
"""Columns of an output that is no terminal."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `biml logs`."""
    _add_log(parser)
    option = parser.add_argument
    help = "the page (default: LOG with .html; for a model's name in the current folder)"
    option("--out", type=Path, metavar="FILE.html", help=help)
    option("--task", metavar="TYPE", help="only the questions of this episode type")
    option("--outcome", metavar="NAME", help="only questions with this outcome, such as wrong")
    help = "questions of each task and outcome on the page (%(default)s); all are counted"
    option("--max_records", type=int, default=50, metavar="N", help=help)


def configure_rescore(parser: argparse.ArgumentParser) -> None:
    """Add the options of `biml rescore`."""
    _add_log(parser)
    option = parser.add_argument
    help = "the log with the new scores (default: LOG-rescored.jsonl, in the same place)"
    option("--out", type=Path, metavar="FILE.jsonl", help=help)
    help = "write what changed as JSON; a missing folder is made"
    option("--json", type=Path, metavar="FILE", help=help)


def _add_log(parser: argparse.ArgumentParser) -> None:
    help = "log of a language model (.jsonl), or the model's name, such as hf:NAME"
    parser.add_argument("log", metavar="LOG", help=help)


def _find(log: str, ending: str) -> tuple[Path, Path]:
    """The path of a log, and that of a file that is made of it."""
    from biml.evaluation.registry import is_language_model
    from biml.llm.load import log_path

    if not is_language_model(log):
        return Path(log), Path(log).with_suffix("").with_name(f"{Path(log).stem}{ending}")
    path = log_path(log)
    if not path.is_file():
        raise UsageError(
            f"{log} has no log in {path.parent}; run `biml eval` or `biml reproduce` with it, or "
            "give the path of its log"
        )
    return path, Path(f"{path.stem}{ending}")


def _read(path: Path) -> "list[Record]":
    from biml.llm.log import read_log

    if records := read_log(path):
        return records
    raise BimlError(f"{path}: there is no question in it; give the log of a run with answers")


def run(args: argparse.Namespace) -> None:
    """Run `biml logs`."""
    from biml.llm.outcomes import OUTCOMES, outcome, summarize
    from biml.report.log_page import log_page

    whole_number("--max_records", args.max_records, 1)
    if args.outcome is not None and args.outcome not in OUTCOMES:
        raise unknown_name("outcome", args.outcome, OUTCOMES, "--outcome")
    path, out = _find(args.log, ".html")
    out = args.out or out
    if out.resolve() == path.resolve():
        raise UsageError(f"--out {out} is the log itself; name another file")
    check_writable(out)
    records = _read(path)
    tasks = dict.fromkeys(one.task for one in records)
    if args.task is not None and args.task not in tasks:
        raise unknown_name("task of this log", args.task, filter(None, tasks), "--task")
    records = [
        one
        for one in records
        if args.task in (None, one.task) and args.outcome in (None, outcome(one))
    ]
    if not records:
        of_task = f" of {args.task}" if args.task else ""
        raise UsageError(f"{path}: no question{of_task} has the outcome {args.outcome}")
    models = ", ".join(dict.fromkeys(one.model for one in records))
    page = log_page(records, f"Log of {models}", max_records=args.max_records)
    write_file(out, page)
    print_outcomes(summarize(records), "Outcomes")
    print(f"Page: {out} ({count(len(records), 'question')})")


def print_outcomes(rows: "Sequence[TaskOutcomes]", title: str) -> None:
    """Print a line for each task and kind of question, and below the table the kinds of error."""

    from biml.llm.answers import ERROR_KINDS

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    unlimited = console.options.update(max_width=10_000)
    for layout in (_wide_table, _narrow_table, _narrowest_table):
        if Measurement.get(console, unlimited, layout(rows)).maximum <= console.width:
            break
    console.print(
        "95% intervals in brackets, over answers. What the model was trained on is unknown, and "
        "may hold these questions.",
        style="dim",
        soft_wrap=True,
    )
    for model in dict.fromkeys(row.model_and_prompt for row in rows):
        of_model = [row for row in rows if row.model_and_prompt == model]
        console.print(f"{title}: {model}", style="italic", markup=False, soft_wrap=True)
        console.print(layout(of_model))
        for row in of_model:
            kinds = [f"{name} {row.counts[name]:,}" for name in ERROR_KINDS if row.counts[name]]
            if kinds:
                text = f"{row.task or '–'}, {row.kind}: {', '.join(kinds)}"
                console.print(text, style="dim", markup=False, soft_wrap=True)
        console.print()


def _wide_table(rows: "Sequence[TaskOutcomes]") -> Table:
    heads = ("task", "question", "n", "right (%)", "no sequence (%)", "tokens in + out", "seconds")
    return _table(heads, 2, [(row.task or "–", row.kind, *_figures(row, " ")) for row in rows])


def _narrow_table(rows: "Sequence[TaskOutcomes]") -> Table:
    """Without costs, and with intervals below the figures."""
    heads = ("task", "question", "n", "right (%)", "no sequence (%)")
    cells = [(row.task or "–", row.kind, *_figures(row, "\n")[:3]) for row in rows]
    return _table(heads, 2, cells)


def _narrowest_table(rows: "Sequence[TaskOutcomes]") -> Table:
    """As the narrow one, with the question below its task."""
    heads = ("task, question", "n", "right (%)", "no seq. (%)")
    cells = [(f"{row.task or '–'}\n  {row.kind}", *_figures(row, "\n")[:3]) for row in rows]
    return _table(heads, 1, cells)


def _table(heads: "Sequence[str]", n_texts: int, cells: "Iterable[Sequence[str]]") -> Table:
    """A table whose first columns have texts, the others figures."""
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number < n_texts else "right", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def _figures(row: "TaskOutcomes", between: str) -> tuple[str, ...]:
    """Questions, right, no sequence, tokens and seconds."""
    percentages = [
        "–" if isnan(value) else f"{value:.1f}{between}[{low:.1f}, {high:.1f}]"
        for value, low, high in (row.right, row.invalid)
    ]
    tokens = f"{row.tokens_in:,} + {row.tokens_out:,}"
    return f"{row.n_questions:,}", *percentages, tokens, f"{row.seconds:,.0f}"


def run_rescore(args: argparse.Namespace) -> None:
    """Run `biml rescore`."""
    from biml.llm.outcomes import outcome, rescore

    path, out = _find(args.log, "-rescored.jsonl")
    out = args.out or out
    if out.resolve() == path.resolve():
        raise UsageError(f"--out {out} is the log itself, which stays as it is; name another file")
    for written in filter(None, (out, args.json)):
        check_writable(written)
    found = rescore(_read(path))
    with atomic_write(out) as file:
        for one in found.records:
            file.write(f"{json.dumps(asdict(one), ensure_ascii=False)}\n".encode())
    print_outcomes(found.before, "Before")
    if found.changed:
        print_outcomes(found.after, "After")
    for (old, new), n in sorted(found.transitions.items()):
        same = " (another response)" if old == new else ""
        print(f"{old} -> {new}{same}: {n:,}")
    for number, before, after in found.changed[:MAX_LISTED]:
        print(
            f"  question {number}, {before.original_query!r}: {before.original_response!r} -> "
            f"{after.original_response!r} ({outcome(before)} -> {outcome(after)})"
        )
    if len(found.changed) > MAX_LISTED:
        print(f"  and {len(found.changed) - MAX_LISTED:,} more")
    if args.json:
        write_file(args.json, f"{json.dumps(_as_json(found.changed), indent=2)}\n")
    changed = count(len(found.changed), "question")
    print(f"Changed: {changed} of {len(found.records):,}. Log: {out}")


def _as_json(changed: "Sequence[tuple[int, Record, Record]]") -> list[dict[str, object]]:
    names = ("response", "original_response", "error", "correct")
    return [
        {"question": number, "key": old.key, "query": old.original_query}
        | {name: [getattr(old, name), getattr(new, name)] for name in names}
        for number, old, new in changed
    ]
