"""Readers of custom experiments: a table of responses, or episode files with responses."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from biml.analysis.responses import FileRow, check_rows, read_rows
from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import FEW_SHOT, OPEN_ENDED, PROBES
from biml.episodes.packed import read_episodes
from biml.episodes.text_format import QUERY, SUPPORT, read_episode
from biml.episodes.transforms import symbols_used
from biml.errors import BimlError, FormatError
from biml.human.experiment import (
    HumanExperiment,
    check_grammar,
    check_reserved_tokens,
    target_of,
    with_target_grammars,
)
from biml.io import read_text
from biml.vocabulary import UNDEFINED

RESPONSE_TABLE_COLUMNS = ("item", "participant", "query", "response")
"""The columns that are imported."""

MAX_RESPONSE_LENGTH = 50
"""In symbols; a longer response is more likely a typing error."""

_INCOMPLETE_HINT = (
    "in an open-ended task each participant responds to all queries, which are analysed together; "
    "add the missing responses, or leave the participant out"
)


def read_response_table(path: Path, study: Path) -> HumanExperiment:
    """Read a CSV or Parquet table of responses with its study examples.

    Args:
        path: has the columns item, query, response and, where known (in the open-ended task
            always), participant.
        study: an episode file, or a folder of episode files named after the items.
    Raises:
        FormatError: either is malformed, or they do not fit each other; the message names file,
            line and remedy.
        BimlError: a file cannot be read.
    """
    table, columns = read_rows(path)
    rows = [
        replace(row, cells={n: c for n, c in row.cells.items() if n in RESPONSE_TABLE_COLUMNS})
        for row in table
    ]
    for row in rows:
        if not row.item:
            raise row.error("the item is empty; name it, for example by its query")
    if study.is_dir():
        episodes = read_episodes(study)
        for episode in episodes:
            check_reserved_tokens(episode)
        experiment = _with_study_per_item(rows, episodes, study)
    else:
        episode = read_episode(study)
        check_reserved_tokens(episode)
        open_ended = not episode.study and episode.pool is None
        experiment = (_open_ended if open_ended else _with_one_study)(rows, episode)
    ignored = tuple(name for name in columns if name and name not in RESPONSE_TABLE_COLUMNS)
    return replace(experiment, ignored=ignored)


def _with_study_per_item(
    rows: Sequence[FileRow], study: Sequence[Episode], folder: Path
) -> HumanExperiment:
    task = _task_of_study(study)
    if task == FEW_SHOT:
        study = with_target_grammars(study)
    by_item = {Path(episode.name).stem: episode for episode in study}
    _first_rows_by_query(rows, unique_queries=False)
    for row in rows:
        if row.item not in by_item:
            raise row.error(
                f"there is no study file {row.item}.txt for the item '{row.item}' in {folder}, "
                f"which has {_preview(f'{name}.txt' for name in by_item)}; "
                "name the item after its file, or add the file"
            )
    episodes = []
    for item, episode in by_item.items():
        of_item = [row for row in rows if row.item == item]
        _check_against_study(of_item, episode)
        episodes.append(_response_episode(item, episode, of_item))
    return HumanExperiment(
        task,
        tuple(episode for episode in episodes if episode.queries),
        tuple(study) if task == FEW_SHOT else (),
        tuple(episode.name for episode in episodes if not episode.queries),
    )


def _task_of_study(study: Sequence[Episode]) -> str:
    for episode in study:
        if (episode.pool is None) != (study[0].pool is None):
            raise FormatError(
                "only one of this file and the first one of its folder lists 'allowed outputs:'; "
                "import items with and without allowed outputs separately",
                source=episode.name,
            )
        if not episode.study and episode.pool is None:
            raise FormatError(
                "there is no study example; for an open-ended task name one file in --study, "
                "not a folder",
                source=episode.name,
            )
    return FEW_SHOT if study[0].pool is None else PROBES


def _with_one_study(rows: Sequence[FileRow], study: Episode) -> HumanExperiment:
    task = FEW_SHOT if study.pool is None else PROBES
    if task == FEW_SHOT:
        (study,) = with_target_grammars([study])
    answered = _first_rows_by_query(rows)
    _check_against_study(rows, study)
    queries = dict.fromkeys(query.input for query in study.queries)
    episodes = [
        _response_episode(f"{number:02}", study, [row for row in rows if row.input == query])
        for number, query in enumerate(query for query in queries if query in answered)
    ]
    unanswered = tuple(" ".join(query) for query in queries if query not in answered)
    return HumanExperiment(task, tuple(episodes), (study,) if task == FEW_SHOT else (), unanswered)


def _open_ended(rows: Sequence[FileRow], study: Episode) -> HumanExperiment:
    for row in rows:
        if not row.participant:
            raise row.error(
                "there is no participant; in an open-ended task (a study file without study "
                "examples) the responses of each participant are analysed together"
            )
    _first_rows_by_query(rows)
    _check_against_study(rows, study)
    episodes = [
        _response_episode(f"{number:03}", study, [row for row in rows if row.participant == name])
        for number, name in enumerate(dict.fromkeys(row.participant for row in rows))
    ]
    queries = dict.fromkeys(query.input for query in study.queries)
    gaps = []
    for episode in episodes:
        answered = {query.input for query in episode.queries}
        if missing := [" ".join(query) for query in queries if query not in answered]:
            gaps.append(f"{episode.queries[0].participant} does not answer {_preview(missing)}")
    if gaps:
        more = f"; {len(gaps) - 5} more lack responses" if len(gaps) > 5 else ""
        raise FormatError(
            f"{'; '.join(gaps[:5])}{more}; {_INCOMPLETE_HINT}, or remove from {study.name} a query "
            "that participants did not see",
            source=rows[0].source,
        )
    return HumanExperiment(OPEN_ENDED, tuple(episodes), (study,))


def _first_rows_by_query(
    rows: Sequence[FileRow], *, unique_queries: bool = True
) -> dict[tuple[str, ...], FileRow]:
    """The first row of each query, after checking that an item has one query.

    Args:
        unique_queries: two items must not have the same query, as they share a study set.
    """
    by_item: dict[str, FileRow] = {}
    by_query: dict[tuple[str, ...], FileRow] = {}
    for row in rows:
        first = by_item.setdefault(row.item, row)
        query = " ".join(row.input)
        if first.input != row.input:
            raise row.error(
                f"the item '{row.item}' has the query '{query}' here and '{' '.join(first.input)}' "
                f"on {row.unit} {first.number}; an item is one query: correct the query, or name "
                "another item"
            )
        other = by_query.setdefault(row.input, row)
        if unique_queries and other.item != row.item:
            raise row.error(
                f"the items '{other.item}' ({row.unit} {other.number}) and '{row.item}' have the "
                f"same query '{query}'; give them one name"
            )
    return by_query


def _check_against_study(rows: Sequence[FileRow], study: Episode) -> None:
    """Make sure that rows are possible responses to the queries of a study file."""
    words, symbols = symbols_used(study)
    check_rows(
        rows,
        words=words,
        symbols=(*symbols, UNDEFINED) if study.pool is None else study.pool,
        max_length=MAX_RESPONSE_LENGTH,
        remedy="correct it, or make sure that every possible symbol occurs in an output or rule of "
        f"{study.name}",
    )
    queries = dict.fromkeys(query.input for query in study.queries)
    for row in rows:
        if row.input not in queries:
            raise row.error(
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
            for file in sorted(path.glob("*.txt"))
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
