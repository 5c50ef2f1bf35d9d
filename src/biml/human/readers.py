"""Readers of custom experiments: a table of responses, or episode files with responses."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from biml.analysis.responses import FileRow, check_rows, row_errors
from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import FEW_SHOT, OPEN_ENDED, PROBES
from biml.episodes.packed import read_episodes
from biml.episodes.text_format import QUERY, SUPPORT, read_episode
from biml.episodes.transforms import symbols_used
from biml.errors import BimlError, FormatError, merge_errors
from biml.human.experiment import (
    HumanExperiment,
    check_grammar,
    check_reserved_tokens,
    target_of,
    with_target_grammars,
)
from biml.human.response_columns import read_response_rows
from biml.io import read_text
from biml.vocabulary import UNDEFINED

MAX_RESPONSE_LENGTH = 50
"""In symbols; a longer response is more likely a typing error."""

_INCOMPLETE_HINT = (
    "in an open-ended task each participant responds to all queries, which are analysed together; "
    "add the missing responses, or leave the participant out"
)


_ANONYMOUS = (
    "there is no participant; in an open-ended task (a study file without study examples) the "
    "responses of each participant are analysed together"
)


def read_response_table(
    path: Path,
    study: Path,
    *,
    columns: Mapping[str, str] = MappingProxyType({}),
    missing: str = "error",
) -> HumanExperiment:
    """Read a table of responses, in any format of `foreign_tables`, with its study examples.

    Args:
        path: has the columns query, response and, where known (in the open-ended task always),
            participant; item, where several study files have the query. Or a column per query.
        study: an episode file, or a folder of episode files named after the items.
        columns: names of columns in the file that are not recognised, by name here or by query.
        missing: `error`, or `skip` to leave out rows without a response or a query, and in the
            open-ended task participants without all responses.
    Raises:
        FormatError: either is malformed, or they do not fit each other; the message lists all
            problems with file, lines and remedy.
        BimlError: a file cannot be read.
    """
    episodes = list(read_episodes(study)) if study.is_dir() else [read_episode(study)]
    for episode in episodes:
        check_reserved_tokens(episode)
    task = _task_of_study(episodes, study)
    if task == FEW_SHOT:
        episodes = with_target_grammars(episodes)
    per_item = study.is_dir()
    read = read_response_rows(path, episodes, per_item=per_item, columns=columns, missing=missing)
    rows, notes = read.rows, read.notes
    errors = [*read.errors, *_row_errors(rows, episodes, per_item=per_item)]
    if task == OPEN_ENDED:
        errors += [row.error(_ANONYMOUS) for row in rows if not row.participant]
        gaps = {} if errors else _unanswered_by_participant(rows, episodes[0])
        if gaps and missing == "skip":
            rows = [row for row in rows if row.participant not in gaps]
            if not rows:
                raise FormatError("no participant responds to all queries", source=str(path))
            notes.append(f"participants left out, as responses are missing: {_preview(gaps)}")
        elif gaps:
            errors.append(_incomplete_error(gaps, episodes[0].name, str(path)))
    if errors:
        raise merge_errors(sorted(errors, key=lambda error: error.line or 0))
    if per_item:
        experiment = _with_study_per_item(task, rows, episodes)
    elif task == OPEN_ENDED:
        experiment = _open_ended(rows, episodes[0])
    else:
        experiment = _with_one_study(task, rows, episodes[0])
    return replace(experiment, ignored=read.ignored, notes=tuple(notes))


def _with_study_per_item(
    task: str, rows: Sequence[FileRow], study: Sequence[Episode]
) -> HumanExperiment:
    episodes = []
    for episode in study:
        item = Path(episode.name).stem
        of_item = [row for row in rows if row.item == item]
        episodes.append(_response_episode(item, episode, of_item))
    return HumanExperiment(
        task,
        tuple(episode for episode in episodes if episode.queries),
        tuple(study) if task == FEW_SHOT else (),
        tuple(episode.name for episode in episodes if not episode.queries),
    )


def _task_of_study(study: Sequence[Episode], path: Path) -> str:
    for episode in study:
        if (episode.pool is None) != (study[0].pool is None):
            raise FormatError(
                "only one of this file and the first one of its folder lists 'allowed outputs:'; "
                "import items with and without allowed outputs separately",
                source=episode.name,
            )
        if not episode.study and episode.pool is None:
            if not path.is_dir():
                return OPEN_ENDED
            raise FormatError(
                "there is no study example; for an open-ended task name one file in --study, "
                "not a folder",
                source=episode.name,
            )
    return FEW_SHOT if study[0].pool is None else PROBES


def _with_one_study(task: str, rows: Sequence[FileRow], study: Episode) -> HumanExperiment:
    answered = {row.input for row in rows}
    queries = dict.fromkeys(query.input for query in study.queries)
    episodes = [
        _response_episode(f"{number:02}", study, [row for row in rows if row.input == query])
        for number, query in enumerate(query for query in queries if query in answered)
    ]
    unanswered = tuple(" ".join(query) for query in queries if query not in answered)
    return HumanExperiment(task, tuple(episodes), (study,) if task == FEW_SHOT else (), unanswered)


def _open_ended(rows: Sequence[FileRow], study: Episode) -> HumanExperiment:
    episodes = [
        _response_episode(f"{number:03}", study, [row for row in rows if row.participant == name])
        for number, name in enumerate(dict.fromkeys(row.participant for row in rows))
    ]
    return HumanExperiment(OPEN_ENDED, tuple(episodes), (study,))


def _unanswered_by_participant(rows: Sequence[FileRow], study: Episode) -> dict[str, list[str]]:
    """The queries that each participant who has not responded to all of them lacks."""
    answered: dict[str, set[tuple[str, ...]]] = {}
    for row in rows:
        answered.setdefault(row.participant, set()).add(row.input)
    queries = dict.fromkeys(query.input for query in study.queries)
    lacking = {
        participant: [" ".join(query) for query in queries if query not in given]
        for participant, given in answered.items()
    }
    return {participant: missing for participant, missing in lacking.items() if missing}


def _incomplete_error(gaps: Mapping[str, Iterable[str]], study: str, source: str) -> FormatError:
    named = [f"{who} does not answer {_preview(missing)}" for who, missing in gaps.items()]
    more = f"; {len(gaps) - 5} more lack responses" if len(gaps) > 5 else ""
    return FormatError(
        f"{'; '.join(named[:5])}{more}; {_INCOMPLETE_HINT} (--missing skip does), or remove from "
        f"{study} a query that participants did not see",
        source=source,
    )


def _row_errors(
    rows: Sequence[FileRow], study: Sequence[Episode], *, per_item: bool
) -> Iterator[FormatError]:
    """Rows that are no possible responses to the queries of their study files.

    Args:
        per_item: each item has a study file of its name, so that two may have the same query.
    """
    by_item = {Path(episode.name).stem: episode for episode in study}
    errors: list[FormatError] = []
    if per_item:
        errors += _unknown_item_errors(rows, by_item, Path(study[0].name).parent)
        for item, episode in by_item.items():
            errors += _study_errors([row for row in rows if row.item == item], episode)
    else:
        errors += _study_errors(rows, study[0])
    yield from errors
    wrong = {error.line for error in errors}
    others = [row for row in rows if row.number not in wrong]
    yield from _item_errors(others, unique_queries=not per_item)


def _unknown_item_errors(
    rows: Sequence[FileRow], known: Collection[str], folder: Path
) -> Iterator[FormatError]:
    files = _preview(f"{name}.txt" for name in known)
    for row in rows:
        if not row.item:
            yield row.error("the item is empty; name it after its study file")
        elif row.item not in known:
            yield row.error(
                f"there is no study file {row.item}.txt for the item '{row.item}' in {folder}, "
                f"which has {files}; name the item after its file, or add the file"
            )


def _item_errors(rows: Sequence[FileRow], *, unique_queries: bool) -> Iterator[FormatError]:
    """Items with more than one query, and queries with more than one item.

    Args:
        unique_queries: two items must not have the same query, as they share a study set.
    """
    by_item: dict[str, FileRow] = {}
    by_query: dict[tuple[str, ...], FileRow] = {}
    for row in rows:
        first = by_item.setdefault(row.item, row)
        query = " ".join(row.input)
        other = by_query.setdefault(row.input, row)
        if first.input != row.input:
            yield row.error(
                f"the item '{row.item}' has the query '{query}' here and '{' '.join(first.input)}' "
                f"on {row.unit} {first.number}; an item is one query: correct the query, or name "
                "another item"
            )
        elif unique_queries and other.item != row.item:
            yield row.error(
                f"the items '{other.item}' ({row.unit} {other.number}) and '{row.item}' have the "
                f"same query '{query}'; give them one name"
            )


def _study_errors(rows: Sequence[FileRow], study: Episode) -> Iterator[FormatError]:
    """Rows that are no possible responses to the queries of a study file."""
    words, symbols = symbols_used(study)
    wrong = list(
        row_errors(
            rows,
            words=words,
            symbols=(*symbols, UNDEFINED) if study.pool is None else study.pool,
            max_length=MAX_RESPONSE_LENGTH,
            remedy="correct it, or make sure that every possible symbol occurs in an output or "
            f"rule of {study.name}",
        )
    )
    yield from wrong
    reported = {error.line for error in wrong}
    queries = dict.fromkeys(query.input for query in study.queries)
    for row in rows:
        if row.input not in queries and row.number not in reported:
            yield row.error(
                f"'{' '.join(row.input)}' is no query of {study.name}, which has "
                f"{_preview(' '.join(query) for query in queries)}; correct it, or add it there "
                f"below {QUERY}"
            )


def _response_episode(name: str, study: Episode, rows: Sequence[FileRow]) -> Episode:
    grammar = study.grammar if study.study else None
    return replace(study, name=name, queries=tuple(map(_as_query, rows)), grammar=grammar)


def _as_query(row: FileRow) -> Example:
    return Example(row.input, row.output, item=row.item, participant=row.participant)


def _preview(names: Iterable[str], limit: int = 10) -> str:
    """The first few names, for messages."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(f"'{name}'" for name in listed[:limit]) + more


def is_episode_folder(path: Path) -> bool:
    """Whether a path is a folder that contains episode files."""
    try:
        return path.is_dir() and any(
            file.read_bytes().lstrip(b"\xef\xbb\xbf \t\r\n").startswith(SUPPORT.encode())
            for file in sorted(filter(Path.is_file, path.glob("*.txt")))
        )
    except OSError as error:
        raise BimlError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_episode_files(folder: Path) -> HumanExperiment:
    """Read a folder of episode files whose queries are the responses.

    In the open-ended task, whose files have no study examples, a file is one participant with its
    name. In the other tasks participants are unknown, and each file has one query.

    Raises:
        FormatError: a file is malformed, files belong to different tasks, or responses are missing.
        BimlError: a file cannot be read.
    """
    files = read_episodes(folder)
    task = _common_task(files)
    episodes = []
    for episode in files:
        check_reserved_tokens(episode)
        rows = _episode_rows(episode, task)
        symbols = episode.pool
        if task == FEW_SHOT:
            check_grammar(episode, episode.study)
            symbols = (*symbols_used(replace(episode, queries=()))[1], UNDEFINED)
        check_rows(rows, symbols=symbols, max_length=MAX_RESPONSE_LENGTH)
        name = Path(episode.name).stem
        episodes.append(replace(episode, name=name, queries=tuple(map(_as_query, rows))))
    study: Sequence[Episode] = ()
    if task == FEW_SHOT:
        study = [_with_target(episode) for episode in files]
    elif task == OPEN_ENDED:
        _check_equal_query_counts(files)
        study = files[:1]
    return HumanExperiment(task, tuple(episodes), tuple(study))


def _common_task(episodes: Sequence[Episode]) -> str:
    tasks = [
        PROBES if e.pool is not None else FEW_SHOT if e.study else OPEN_ENDED for e in episodes
    ]
    for episode, task in zip(episodes, tasks, strict=True):
        if task != tasks[0]:
            raise FormatError(
                f"belongs to the {task} task, by its study examples and 'allowed outputs:', but "
                f"{Path(episodes[0].name).name} to the {tasks[0]} task; import them separately",
                source=episode.name,
            )
    return tasks[0]


def _check_equal_query_counts(episodes: Sequence[Episode]) -> None:
    """Make sure that no participant has fewer responses; their words may differ."""
    most = max(len(episode.queries) for episode in episodes)
    for episode in episodes:
        if len(episode.queries) < most:
            raise FormatError(
                f"the participant answers {len(episode.queries)} of the {most} queries that others "
                f"answer; {_INCOMPLETE_HINT}",
                source=episode.name,
            )


def _episode_rows(episode: Episode, task: str) -> list[FileRow]:
    """The responses of a file with their lines."""
    lines = [line.strip() for line in read_text(episode.name).splitlines()]
    start = lines.index(QUERY)
    numbers = [n for n, line in enumerate(lines, 1) if n > start and line.startswith("IN:")]
    name = Path(episode.name).stem
    rows = []
    for number, query in zip(numbers, episode.queries, strict=True):
        words = " ".join(query.input)
        cells = {
            "item": name if task == PROBES else words,
            "participant": name if task == OPEN_ENDED else "",
            "query": words,
            "response": " ".join(query.output),
        }
        rows.append(FileRow(cells, episode.name, number))
        if task != OPEN_ENDED and query.input != episode.queries[0].input:
            raise rows[-1].error("a second query; each item is a file of its own, with one query")
    return rows


def _with_target(episode: Episode) -> Episode:
    """The file's query with its correct response."""
    words = episode.queries[0].input
    return replace(episode, queries=(Example(words, target_of(episode, words)),))
