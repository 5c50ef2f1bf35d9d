"""One progress protocol for everything that takes a while.

Functions take `progress: Progress = no_progress` and call it with the amount of work done so far,
`progress(done, total, stage="scoring", unit="repeats")`. Commands and notebooks show it:

    with progress_bars() as progress:
        generate(spec, folder, progress=progress)
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Progress(Protocol):
    """Receives the progress of some work.

    `total` is None where unknown. Each `stage` counts from zero, in a `unit` such as "files". A
    call with a stage alone, without total and unit, is a message.
    """

    def __call__(
        self, done: int, total: int | None = None, *, stage: str = "", unit: str = ""
    ) -> None: ...


def no_progress(done: int, total: int | None = None, *, stage: str = "", unit: str = "") -> None:
    """Ignore progress."""


def stage_lines(write: Callable[[str], object]) -> Progress:
    """Return a listener that writes one line when a new stage begins.

    >>> progress = stage_lines(print)
    >>> progress(0, 9, stage="reading"); progress(9, 9, stage="reading"); progress(0, stage="done")
    reading
    done
    """
    seen: set[str] = set()

    def show(done: int, total: int | None = None, *, stage: str = "", unit: str = "") -> None:
        if stage and stage not in seen:
            seen.add(stage)
            write(stage)

    return show


@contextmanager
def progress_bars(*, transient: bool = False) -> Iterator[Progress]:
    """Show a bar on standard error for each stage; transient ones vanish at the end.

    Without a terminal, write messages and a line when a stage begins; transient: messages only.
    """
    if not sys.stderr.isatty():  # rich would draw bars wherever FORCE_COLOR is set, as in notebooks
        lines = stage_lines(lambda text: print(text, file=sys.stderr, flush=True))

        def write(done: int, total: int | None = None, *, stage: str = "", unit: str = "") -> None:
            if not transient or (total is None and not unit):
                lines(done, stage=stage)

        yield write
        return
    from rich import progress
    from rich.console import Console
    from rich.table import Column

    console = Console(stderr=True, highlight=False)
    # Narrow terminals have shorter bars and names, and no time, but always the count.
    wide, bar_width = console.width >= 80, max(4, min(40, console.width // 2 - 22))
    name_column = Column(no_wrap=True, max_width=max(8, console.width - bar_width - 34))
    bars = progress.Progress(
        progress.TextColumn("{task.description}", markup=False, table_column=name_column),
        progress.BarColumn(bar_width),
        progress.TextColumn("{task.fields[count]}", table_column=Column(no_wrap=True)),
        *([progress.TimeRemainingColumn()] if wide else []),
        console=console,
        transient=transient,
    )
    tasks: dict[str, Any] = {}

    def show(done: int, total: int | None = None, *, stage: str = "", unit: str = "") -> None:
        if total is None and not unit:
            bars.console.print(stage, markup=False, soft_wrap=True)
            return
        if stage not in tasks:
            bars.start()
            tasks[stage] = bars.add_task(stage, total=total, count="")
        count = f"{done:,}{'' if total is None else f'/{total:,}'} {unit}".rstrip()
        if unit == "bytes":
            count = f"{done / 1e6:,.1f} MB"
        bars.update(tasks[stage], completed=done, total=total, count=count)

    try:
        yield show
    finally:
        if tasks:  # else stopping would print an empty line
            bars.stop()
