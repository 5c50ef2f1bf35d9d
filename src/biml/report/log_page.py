"""The page of a language model's log: outcomes by task, and its questions with their answers."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from biml.episodes.palette import CSS, Palette
from biml.llm.answers import ERROR_KINDS
from biml.llm.log import KINDS, Record
from biml.llm.outcomes import OUTCOMES, outcome, summarize
from biml.report.html_tables import format_interval, format_number, page_templates
from biml.vocabulary import UNDEFINED

MAX_RECORDS = 50
"""Questions of one task and outcome that the page shows, unless more are wanted."""

MAX_TEXT = 20_000
"""Letters of a prompt or an answer that the page shows."""

_PAGE_CSS = """
.record { border-bottom: 1px solid var(--line); padding: .35rem 0 }
.record dl { display: grid; grid-template-columns: 8rem minmax(0, 1fr); gap: .4rem 1rem;
  margin: .6rem 0 }
.record dt { color: var(--soft) }
.record pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 24rem;
  overflow-y: auto; background: var(--wash); border-radius: .4rem; padding: .5rem .7rem }
.record .syms { white-space: normal }
.numbers td { white-space: nowrap }
"""


@dataclass(frozen=True)
class RecordGroup:
    """The questions of one task with one outcome, of which the page shows some."""

    id: str
    task: str
    outcome: str
    n: int
    shown: tuple[tuple[int, Record], ...]
    """With their numbers in the log, from 1."""


def log_page(records: Sequence[Record], title: str, *, max_records: int = MAX_RECORDS) -> str:
    """The page as HTML: no script, and all texts of the log are escaped."""
    symbols = {symbol for one in records for symbol in one.original_symbols.split()}
    palette = Palette.for_symbols([UNDEFINED], sorted(symbols))
    groups = tuple(_groups(records, max_records))
    environment, style, _ = page_templates()

    def circles(text: str) -> Markup:
        return Markup(palette.html(text.split()))

    environment.filters |= {"circles": circles, "cut": _cut}
    return environment.get_template("log.html").render(
        title=title,
        style=Markup(CSS + style + _PAGE_CSS + palette.css),
        rows=summarize(records),
        groups=groups,
        links={(group.task, group.outcome): group.id for group in groups},
        outcomes=[name for name in OUTCOMES if any(group.outcome == name for group in groups)],
        kinds=KINDS,
        meanings=ERROR_KINDS,
        share=_share,
        palette=palette,
    )


def _groups(records: Sequence[Record], max_records: int) -> Iterator[RecordGroup]:
    """By task, then outcome; those shown are evenly spaced over the log."""
    found: dict[tuple[str, str], list[tuple[int, Record]]] = defaultdict(list)
    for number, record in enumerate(records, 1):
        found[record.task, outcome(record)].append((number, record))
    tasks = list(dict.fromkeys(task for task, _ in found))
    keys = [(task, name) for task in tasks for name in OUTCOMES if (task, name) in found]
    for number, (task, name) in enumerate(keys, 1):
        members = found[task, name]
        step = max(1, len(members) / max_records)
        shown = tuple(members[int(k * step)] for k in range(min(len(members), max_records)))
        yield RecordGroup(f"group-{number}", task, name, len(members), shown)


def _share(percent: tuple[float, float, float]) -> str:
    """A percentage with its interval; empty of nothing."""
    value, low, high = percent
    interval = format_interval(low, high)
    return f"{format_number(value)} ({interval})" if interval else ""


def _cut(text: str) -> str:
    """A text of reasonable length."""
    left_out = len(text) - MAX_TEXT
    return text if left_out <= 0 else f"{text[:MAX_TEXT]}\n[… {left_out:,} more letters]"
