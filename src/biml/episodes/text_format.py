"""The published text format of episodes, and `responses.csv` of imported experiments.

An episode file has no place for items and participants; the table beside the files of an imported
experiment has.
"""

import csv
import io
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from biml.episodes.episode import Episode, Example
from biml.errors import BimlError, FormatError
from biml.grammar import Grammar
from biml.io import atomic_write, read_text

SUPPORT, QUERY, GRAMMAR = "*SUPPORT*", "*QUERY*", "*GRAMMAR*"

ALLOWED_OUTPUTS = "allowed outputs:"

RESPONSES_FILE = "responses.csv"

RESPONSE_COLUMNS = ("file", "item", "participant", "query", "response", "target")
"""A row for each response, in the order of the files and of their queries."""

_REIMPORT_HINT = "import the experiment again: biml data import, with --overwrite"


def read_episode(
    path: str | os.PathLike[str],
    *,
    words: Collection[str] | None = None,
    symbols: Collection[str] | None = None,
) -> Episode:
    """Read an episode file; see `parse_episode`.

    Raises:
        FormatError: the file is not UTF-8 or malformed.
        BimlError: the file cannot be read.
    """
    return parse_episode(read_text(path), source=str(path), words=words, symbols=symbols)


def write_episode(path: str | os.PathLike[str], episode: Episode) -> None:
    """Write an episode file atomically."""
    with atomic_write(path) as file:
        file.write(format_episode(episode).encode())


def parse_episode(
    text: str,
    *,
    source: str = "<text>",
    words: Collection[str] | None = None,
    symbols: Collection[str] | None = None,
) -> Episode:
    """Read an episode in the published format.

    The study section may be empty. The grammar section may be empty, hold the rules, or hold
    `allowed outputs:` and a line of symbols (the episode's pool). Blank lines do not matter.

    Args:
        source: the file's name, for messages and as the episode's name.
        words, symbols: the known ones; any if None.

    Raises:
        FormatError: a heading is missing or misplaced, an example is malformed, a word or symbol
            is unknown, a rule is invalid, or there is no query.
    """
    lines = [line.strip() for line in text.splitlines()]
    support, query, grammar = _find_headings(lines, source)
    study = _parse_examples(lines, support, query, source, words, symbols)
    queries = _parse_examples(lines, query, grammar, source, words, symbols)
    if not queries:
        raise FormatError(
            "no query; write at least one line 'IN: … OUT: …' below it",
            source=source,
            line=query + 1,
        )
    rules, pool = _parse_grammar_section(lines, grammar, source)
    return Episode(tuple(study), tuple(queries), grammar=rules, pool=pool, name=source)


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


def _find_headings(lines: list[str], source: str) -> tuple[int, int, int]:
    """Line numbers (from 0) of the three headings, each once and in order."""
    if not any(lines):
        raise FormatError("the file is empty; an episode is expected", source=source)
    positions = []
    for heading in (SUPPORT, QUERY, GRAMMAR):
        if lines.count(heading) != 1:
            problem = "occurs twice" if heading in lines else "is missing"
            raise FormatError(
                f"the line '{heading}' {problem}; an episode file has the sections {SUPPORT}, "
                f"{QUERY} and {GRAMMAR}, and this one may be cut off or be something else",
                source=source,
            )
        positions.append(lines.index(heading))
    support, query, grammar = positions
    if not support < query < grammar:
        raise FormatError(
            f"the sections must come in the order {SUPPORT}, {QUERY}, {GRAMMAR}",
            source=source,
            line=min(query, grammar) + 1,
        )
    for number in range(support):
        if lines[number]:
            raise FormatError(f"text before '{SUPPORT}'; remove it", source=source, line=number + 1)
    return support, query, grammar


def _parse_examples(
    lines: list[str],
    start: int,
    end: int,
    source: str,
    words: Collection[str] | None,
    symbols: Collection[str] | None,
) -> list[Example]:
    examples = []
    for number in range(start + 1, end):
        items = lines[number].split()
        if not items:
            continue
        problem = _example_problem(items, words, symbols)
        if problem:
            raise FormatError(problem, source=source, line=number + 1)
        out = items.index("OUT:")
        examples.append(Example(tuple(items[1:out]), tuple(items[out + 1 :])))
    return examples


def _example_problem(
    items: list[str], words: Collection[str] | None, symbols: Collection[str] | None
) -> str | None:
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
    sides = ((words, "word", items[1:out]), (symbols, "symbol", items[out + 1 :]))
    for known, kind, names in sides:
        for name in names:
            if known is not None and name not in known:
                return f"unknown {kind} '{name}'; known are: {' '.join(known)}"
    return None


def _parse_grammar_section(
    lines: list[str], heading: int, source: str
) -> tuple[Grammar | None, tuple[str, ...] | None]:
    end, pool = len(lines), None
    for number in range(heading + 1, len(lines)):
        if lines[number].startswith(ALLOWED_OUTPUTS):
            end = number
            first = lines[number].removeprefix(ALLOWED_OUTPUTS)
            pool = tuple(" ".join([first, *lines[number + 1 :]]).split())
            if not pool or len(set(pool)) != len(pool):
                problem = "names a symbol twice" if pool else "is empty"
                raise FormatError(
                    f"the list after '{ALLOWED_OUTPUTS}' {problem}; name each symbol once",
                    source=source,
                    line=number + 1,
                )
            break
    rules = "\n".join(lines[heading + 1 : end])
    if not rules.strip():
        return None, pool
    return Grammar.parse(rules, source=source, first_line=heading + 2), pool


def read_responses(folder: Path, episodes: Iterable[Episode]) -> tuple[Episode, ...]:
    """Return a folder's episodes with items and participants from its `responses.csv`.

    Raises:
        FormatError: the table is malformed, or its responses are not those of the episode files.
    """
    path = folder / RESPONSES_FILE
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if missing := [name for name in RESPONSE_COLUMNS if name not in (reader.fieldnames or ())]:
        raise FormatError(
            f"lacks the column {missing[0]}; {_REIMPORT_HINT}", source=str(path), line=1
        )
    rows_by_file: dict[str, list[dict[str, str]]] = {}
    for row in reader:
        rows_by_file.setdefault(str(row["file"]), []).append(row)
    identified = []
    for episode in episodes:
        file = Path(episode.name).name
        rows = rows_by_file.get(file, [])
        given = [(" ".join(q.input), " ".join(q.output)) for q in episode.queries]
        if given != [(row["query"], row["response"]) for row in rows]:
            raise FormatError(
                f"its responses differ from those of {file}; {_REIMPORT_HINT}", source=str(path)
            )
        queries = tuple(
            query._replace(item=row["item"], participant=row["participant"])
            for query, row in zip(episode.queries, rows, strict=True)
        )
        identified.append(replace(episode, queries=queries))
    return tuple(identified)


def format_responses(files: Iterable[tuple[str, Episode]], targets: Mapping[str, str]) -> str:
    """Return the text of `responses.csv`, given file names with their episodes.

    Args:
        targets: the correct response to each item, where there is one.
    """
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
