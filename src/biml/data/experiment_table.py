"""An experiment from a table of answers and the study examples, checked line by line.

The study tells the design: one episode file is a few-shot task of several items; a folder has a
study set for each item, named after it; `allowed outputs:` make them probes; one file without study
examples is an open-ended task.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from biml.behaviour.files import Rows, read_rows
from biml.behaviour.responses import check
from biml.data.experiment import (
    FEW_SHOT,
    OPEN_ENDED,
    PROBES,
    WHOLE,
    Experiment,
    Line,
    Sheet,
    check_marks,
    check_response,
    some,
)
from biml.data.right_answers import with_grammars
from biml.episodes.answerers import Answerer
from biml.episodes.episode import Episode, Example
from biml.episodes.folder import read_folder
from biml.episodes.text import QUERY, read_episode
from biml.episodes.transforms import own_names
from biml.errors import FormatError

USED = ("item", "participant", "query", "response")
"""Columns of a table of answers that an import reads."""


def from_table(path: Path, study: Path) -> Experiment:
    """Read a table of answers.

    Args:
        path: a CSV or Parquet file with the columns item, query, response and, where it is known
            who answered (in the open-ended task always), participant.
        study: an episode file, or a folder of them named after the items.
    Raises:
        FormatError: either is malformed, or they do not fit each other; the message names file,
            line and remedy.
        BimlError: a file cannot be read.
    """
    rows = read_rows(path)
    ignored = tuple(name for name in rows.columns if name and name not in USED)
    return replace(_experiment(_lines(rows, str(path)), str(path), study), ignored=ignored)


def _lines(rows: Rows, source: str) -> list[Line]:
    lines = []
    for number, row in rows.numbered:
        item, who, query, response = (str(row.get(name) or "") for name in USED)
        line = Line(rows.place, number, item, who, tuple(query.split()), tuple(response.split()))
        if not line.item:
            raise line.wrong(source, "the item is empty; name it, for example by its query")
        lines.append(line)
    return lines


def _experiment(lines: Sequence[Line], source: str, study: Path) -> Experiment:
    if study.is_dir():
        episodes = read_folder(study)
        for episode in episodes:
            check_marks(episode)
        return _study_for_each_item(lines, source, episodes, study)
    shown = read_episode(study)
    check_marks(shown)
    if not shown.study and shown.pool is None:
        return _sheets(lines, source, shown)
    return _one_study(lines, source, shown)


def _study_for_each_item(
    lines: Sequence[Line], source: str, study: Sequence[Episode], folder: Path
) -> Experiment:
    task = _task(study)
    if task == FEW_SHOT:
        study = with_grammars(study)
    shown = {Path(episode.name).stem: episode for episode in study}
    _items(lines, source, one_each=False)
    for line in lines:
        if line.item not in shown:
            raise line.wrong(
                source,
                f"there is no study file {line.item}.txt for the item '{line.item}' in {folder}, "
                f"which has {some(f'{name}.txt' for name in shown)}; "
                "name the item after its file, or add the file",
            )
    sheets = []
    for name, episode in shown.items():
        mine = [line for line in lines if line.item == name]
        _check(mine, source, episode)
        sheets.append(_sheet(name, episode, mine))
    unanswered = tuple(sheet.name for sheet in sheets if not sheet.answerers)
    answered = tuple(sheet for sheet in sheets if sheet.answerers)
    return Experiment(task, answered, tuple(study) if task == FEW_SHOT else (), unanswered)


def _task(study: Sequence[Episode]) -> str:
    for episode in study:
        if (episode.pool is None) != (study[0].pool is None):
            raise FormatError(
                "only one of this file and the first one of its folder lists 'allowed outputs:'; "
                "import items with a pool and items without one apart",
                source=episode.name,
            )
        if not episode.study and episode.pool is None:
            raise FormatError(
                "there is no study example; for an open-ended task name one file in --study, "
                "not a folder",
                source=episode.name,
            )
    return FEW_SHOT if study[0].pool is None else PROBES


def _one_study(lines: Sequence[Line], source: str, shown: Episode) -> Experiment:
    task = FEW_SHOT if shown.pool is None else PROBES
    if task == FEW_SHOT:
        (shown,) = with_grammars([shown])
    asked = _items(lines, source)
    _check(lines, source, shown)
    answered = [words for words in dict.fromkeys(q.words for q in shown.queries) if words in asked]
    sheets = [
        _sheet(f"{number:02}", shown, [line for line in lines if line.words == words])
        for number, words in enumerate(answered)
    ]
    right = (shown,) if task == FEW_SHOT else ()
    return Experiment(task, tuple(sheets), right, _unanswered(shown, asked))


def _sheets(lines: Sequence[Line], source: str, shown: Episode) -> Experiment:
    """The open-ended task, in which the answers of a participant are one sheet."""
    for line in lines:
        if not line.participant:
            raise line.wrong(
                source,
                "there is no participant; in an open-ended task (a study file without study "
                "examples) the answers of each belong together",
            )
    _items(lines, source)
    _check(lines, source, shown)
    people = dict.fromkeys(line.participant for line in lines)
    sheets = [
        _sheet(f"{number:03}", shown, [line for line in lines if line.participant == who])
        for number, who in enumerate(people)
    ]
    _check_complete(sheets, source, shown)
    return Experiment(OPEN_ENDED, tuple(sheets), (shown,))


def _check_complete(sheets: Sequence[Sheet], source: str, shown: Episode) -> None:
    """Make sure that every participant answers each query of the study file."""
    queries = dict.fromkeys(query.words for query in shown.queries)
    gaps = []
    for sheet in sheets:
        answered = {query.words for query in sheet.episode.queries}
        if missing := [" ".join(words) for words in queries if words not in answered]:
            gaps.append(f"{sheet.answerers[0].participant} does not answer {some(missing)}")
    if gaps:
        more = f"; {len(gaps) - 5} more lack answers" if len(gaps) > 5 else ""
        raise FormatError(
            f"{'; '.join(gaps[:5])}{more}; {WHOLE}, or take a query that was not asked out of "
            f"{shown.name}",
            source=source,
        )


def _items(
    lines: Sequence[Line], source: str, *, one_each: bool = True
) -> dict[tuple[str, ...], Line]:
    """The first line of each query; an item asks one query.

    Args:
        one_each: two items cannot ask the same query, as nothing else tells them apart.
    """
    queries: dict[str, Line] = {}
    items: dict[tuple[str, ...], Line] = {}
    for line in lines:
        first = queries.setdefault(line.item, line)
        if first.words != line.words:
            raise line.wrong(
                source,
                f"the item '{line.item}' asks '{line.query}' here and '{first.query}' on "
                f"{line.place} {first.number}; an item is one query: mend the query, or name "
                "another item",
            )
        other = items.setdefault(line.words, line)
        if one_each and other.item != line.item:
            raise line.wrong(
                source,
                f"the items '{other.item}' ({line.place} {other.number}) and '{line.item}' ask the "
                f"same query '{line.query}'; give them one name",
            )
    return items


def _check(lines: Sequence[Line], source: str, shown: Episode) -> None:
    """Make sure that answers can be answers to what was shown."""
    words, symbols = own_names(shown)
    rows = [
        {
            "item": line.item,
            "participant": line.participant,
            "query": line.query,
            "response": " ".join(line.symbols),
        }
        for line in lines
    ]
    numbers = [line.number for line in lines]
    place = lines[0].place if lines else ""
    check(
        zip(numbers, rows, strict=True),
        source=source,
        place=place,
        words=words,
        symbols=symbols,
        remedy="mend it, or let every symbol that people could use stand in an output or rule of "
        f"{shown.name}",
    )
    asked = dict.fromkeys(query.words for query in shown.queries)
    for line in lines:
        if line.words not in asked:
            raise line.wrong(
                source,
                f"'{line.query}' is no query of {shown.name}, which asks "
                f"{some(' '.join(words) for words in asked)}; mend it, or add it there below "
                f"{QUERY}",
            )
        check_response(line, source, shown.pool)


def _sheet(name: str, shown: Episode, lines: Sequence[Line]) -> Sheet:
    answers = tuple(Example(line.words, line.symbols) for line in lines)
    who = tuple(Answerer(line.item, line.participant) for line in lines)
    grammar = shown.grammar if shown.study else None
    return Sheet(name, replace(shown, queries=answers, grammar=grammar), who)


def _unanswered(shown: Episode, asked: dict[tuple[str, ...], Line]) -> tuple[str, ...]:
    return tuple(" ".join(query.words) for query in shown.queries if query.words not in asked)
