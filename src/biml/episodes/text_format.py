"""The published text format of episodes, and `responses.csv` of imported experiments.

An episode file has no place for items and participants; the table beside the files of an imported
experiment has.
"""

import csv
import io
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from biml.episodes.episode import Episode, Example
from biml.errors import BimlError, FormatError
from biml.grammar import Grammar
from biml.io import StrPath, read_text, write_file

SUPPORT, QUERY, GRAMMAR = "*SUPPORT*", "*QUERY*", "*GRAMMAR*"

ALLOWED_OUTPUTS = "allowed outputs:"

RESPONSES_FILE = "responses.csv"

RESPONSE_COLUMNS = ("file", "item", "participant", "query", "response", "target")
"""A row for each response, in the order of the files and of their queries."""

Names = Collection[str] | None
"""The known words or symbols of a file; None for any."""

_REIMPORT_HINT = "import the experiment again: biml data import, with --overwrite"


def read_episode(
    path: StrPath, *, words: Names = None, symbols: Names = None, needs_queries: bool = True
) -> Episode:
    """Read an episode file; see `parse_episode`."""
    text = read_text(path)
    options = {"words": words, "symbols": symbols}
    return parse_episode(text, source=str(path), needs_queries=needs_queries, **options)


def write_episode(path: StrPath, episode: Episode) -> None:
    """Write an episode file atomically."""
    write_file(path, format_episode(episode))


def parse_episode(
    text: str,
    *,
    source: str = "<text>",
    words: Names = None,
    symbols: Names = None,
    needs_queries: bool = True,
) -> Episode:
    """Read an episode in the published format.

    The study section may be empty. The grammar section may be empty, hold the rules, or hold
    `allowed outputs:` and a line of symbols (the episode's pool). Blank lines do not matter.
    `source` becomes the episode's name. A FormatError names the line.
    """
    lines = [line.strip() for line in text.splitlines()]
    return _Parser(lines, source, words, symbols).episode(needs_queries)


def format_episode(episode: Episode) -> str:
    """Return the episode in the published format, which `parse_episode` reads.

    Without its name, remapping, items and participants. A transformed episode may hold what
    `parse_episode` refuses, such as a study example without input.
    """
    lines = [SUPPORT, *map(_format_example, episode.study), ""]
    lines += [QUERY, *map(_format_example, episode.queries), "", GRAMMAR]
    if episode.grammar is not None:
        lines.append(str(episode.grammar))
    if episode.pool is not None:
        lines += [ALLOWED_OUTPUTS, " ".join(episode.pool)]
    return "\n".join(lines) + "\n"


def _format_example(example: Example) -> str:
    return f"IN: {' '.join(example.input)} OUT: {' '.join(example.output)}"


@dataclass(frozen=True)
class _Parser:
    """The lines of an episode file; numbers of lines count from 0."""

    lines: list[str]
    source: str
    words: Names
    symbols: Names

    def error(self, problem: str, number: int | None = None) -> FormatError:
        line = None if number is None else number + 1
        return FormatError(problem, source=self.source, line=line)

    def episode(self, needs_queries: bool) -> Episode:
        support, query, grammar = self.headings()
        study, queries = self.examples(support, query), self.examples(query, grammar)
        if needs_queries and not queries:
            raise self.error("no query; write at least one line 'IN: … OUT: …' below it", query)
        rules, pool = self.grammar_section(grammar)
        return Episode(study, queries, grammar=rules, pool=pool, name=self.source)

    def headings(self) -> tuple[int, int, int]:
        """Return the lines of the three headings, each once and in order."""
        lines = self.lines
        if not any(lines):
            raise self.error("the file is empty; an episode is expected")
        for heading in (SUPPORT, QUERY, GRAMMAR):
            if lines.count(heading) != 1:
                problem = "occurs twice" if heading in lines else "is missing"
                raise self.error(
                    f"the line '{heading}' {problem}; an episode file has the sections {SUPPORT}, "
                    f"{QUERY} and {GRAMMAR}, and this one may be cut off or be something else"
                )
        support, query, grammar = map(lines.index, (SUPPORT, QUERY, GRAMMAR))
        if not support < query < grammar:
            order = f"{SUPPORT}, {QUERY}, {GRAMMAR}"
            raise self.error(f"the sections must come in the order {order}", min(query, grammar))
        for number in range(support):
            if lines[number]:
                raise self.error(f"text before '{SUPPORT}'; remove it", number)
        return support, query, grammar

    def examples(self, start: int, end: int) -> tuple[Example, ...]:
        """Return the examples between two headings."""
        examples = []
        for number in range(start + 1, end):
            if items := self.lines[number].split():
                if problem := self.example_problem(items):
                    raise self.error(problem, number)
                out = items.index("OUT:")
                examples.append(Example(tuple(items[1:out]), tuple(items[out + 1 :])))
        return tuple(examples)

    def example_problem(self, items: list[str]) -> str | None:
        """What is wrong with a line `IN: … OUT: …`, or None."""
        if items[0] != "IN:" or items.count("IN:") != 1:
            return f"expected one 'IN:' at the start of the line, found '{' '.join(items)[:60]}'"
        if items.count("OUT:") != 1:
            return "expected one 'OUT:' between the input and the output; write 'IN: dax OUT: RED'"
        out = items.index("OUT:")
        if out == 1:
            return "the input is empty; write words between 'IN:' and 'OUT:'"
        if out == len(items) - 1:
            return "the output is empty; write symbols after 'OUT:'"
        sides = ((self.words, "word", items[1:out]), (self.symbols, "symbol", items[out + 1 :]))
        for known, kind, names in sides:
            for name in names:
                if known is not None and name not in known:
                    return f"unknown {kind} '{name}'; known are: {' '.join(known)}"
        return None

    def grammar_section(self, heading: int) -> tuple[Grammar | None, tuple[str, ...] | None]:
        """Return the grammar and the pool below the last heading, where there are any."""
        lines = self.lines
        numbers = range(heading + 1, len(lines))
        end = next((n for n in numbers if lines[n].startswith(ALLOWED_OUTPUTS)), len(lines))
        pool = None
        if end < len(lines):
            first = lines[end].removeprefix(ALLOWED_OUTPUTS)
            pool = tuple(" ".join([first, *lines[end + 1 :]]).split())
            if not pool or len(set(pool)) != len(pool):
                problem = "names a symbol twice" if pool else "is empty"
                raise self.error(
                    f"the list after '{ALLOWED_OUTPUTS}' {problem}; name each symbol once", end
                )
        rules = "\n".join(lines[heading + 1 : end])
        if not rules.strip():
            return None, pool
        return Grammar.parse(rules, source=self.source, first_line=heading + 2), pool


def read_responses(folder: Path, episodes: Iterable[Episode]) -> tuple[Episode, ...]:
    """Return a folder's episodes with items and participants from its `responses.csv`."""
    path = folder / RESPONSES_FILE
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if missing := [name for name in RESPONSE_COLUMNS if name not in (reader.fieldnames or ())]:
        problem = f"lacks the column {missing[0]}; {_REIMPORT_HINT}"
        raise FormatError(problem, source=str(path), line=1)
    rows_by_file: dict[str, list[dict[str, str]]] = {}
    try:
        for row in reader:
            if None in row or None in row.values():
                problem = f"as many cells are needed as there are columns; {_REIMPORT_HINT}"
                raise FormatError(problem, source=str(path), line=reader.line_num)
            rows_by_file.setdefault(row["file"], []).append(row)
    except csv.Error as error:
        problem = f"not a well-formed CSV row ({error}); {_REIMPORT_HINT}"
        raise FormatError(problem, source=str(path), line=reader.line_num) from None
    identified = []
    for episode in episodes:
        file = Path(episode.name).name
        rows = rows_by_file.get(file, [])
        given = [(" ".join(q.input), " ".join(q.output)) for q in episode.queries]
        if given != [(row["query"], row["response"]) for row in rows]:
            problem = f"its responses differ from those of {file}; {_REIMPORT_HINT}"
            raise FormatError(problem, source=str(path))
        queries = tuple(
            query._replace(item=row["item"], participant=row["participant"])
            for query, row in zip(episode.queries, rows, strict=True)
        )
        identified.append(replace(episode, queries=queries))
    return tuple(identified)


def format_responses(files: Iterable[tuple[str, Episode]], targets: Mapping[str, str]) -> str:
    """Return the text of `responses.csv`: episodes by file, the correct responses by item."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(RESPONSE_COLUMNS)
    for file, episode in files:
        for query in episode.queries:
            words, symbols = " ".join(query.input), " ".join(query.output)
            target = targets.get(query.item, "")
            writer.writerow((file, query.item, query.participant, words, symbols, target))
    return out.getvalue()


def ambiguous_item_error(item: str, file: str) -> BimlError:
    return BimlError(
        f"the item {item!r} is in files of different grammars, of which {file} is one; give it "
        "one name for each: biml data import TABLE --study FOLDER, with the files named after the "
        "items"
    )
