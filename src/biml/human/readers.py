"""An experiment from episode files that hold people's answers as queries."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from biml.analysis.responses import RawRows, read_rows, validate_rows
from biml.episodes.episode import Episode, Example
from biml.episodes.packed import read_episodes
from biml.episodes.text_format import QUERY, SUPPORT, read_episode
from biml.episodes.transforms import symbols_used
from biml.errors import BimlError, FormatError
from biml.human.experiment import (
    FEW_SHOT,
    INCOMPLETE_HINT,
    OPEN_ENDED,
    PROBES,
    HumanExperiment,
    ResponseFile,
    ResponseRow,
    check_grammar,
    check_reserved_tokens,
    check_response,
    preview,
    target_of,
    with_target_grammars,
)
from biml.io import read_text
from biml.vocabulary import UNDEFINED

RESPONSE_TABLE_COLUMNS = ("item", "participant", "query", "response")
"""Columns of a table of answers that an import reads."""


def read_response_table(path: Path, study: Path) -> HumanExperiment:
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
    ignored = tuple(name for name in rows.columns if name and name not in RESPONSE_TABLE_COLUMNS)
    return replace(
        _build_experiment(_table_rows(rows, str(path)), str(path), study), ignored=ignored
    )


def _table_rows(rows: RawRows, source: str) -> list[ResponseRow]:
    lines = []
    for number, row in rows.numbered:
        item, who, query, response = (str(row.get(name) or "") for name in RESPONSE_TABLE_COLUMNS)
        line = ResponseRow(
            rows.unit, number, item, who, tuple(query.split()), tuple(response.split())
        )
        if not line.item:
            raise line.error(source, "the item is empty; name it, for example by its query")
        lines.append(line)
    return lines


def _build_experiment(
    responses: Sequence[ResponseRow], source: str, study: Path
) -> HumanExperiment:
    if study.is_dir():
        episodes = read_episodes(study)
        for episode in episodes:
            check_reserved_tokens(episode)
        return _experiment_with_study_per_item(responses, source, episodes, study)
    shown = read_episode(study)
    check_reserved_tokens(shown)
    if not shown.study and shown.pool is None:
        return _open_ended_experiment(responses, source, shown)
    return _experiment_with_one_study(responses, source, shown)


def _experiment_with_study_per_item(
    responses: Sequence[ResponseRow], source: str, study: Sequence[Episode], folder: Path
) -> HumanExperiment:
    task = _task_of_study(study)
    if task == FEW_SHOT:
        study = with_target_grammars(study)
    shown = {Path(episode.name).stem: episode for episode in study}
    _first_rows_by_query(responses, source, unique_queries=False)
    for line in responses:
        if line.item not in shown:
            raise line.error(
                source,
                f"there is no study file {line.item}.txt for the item '{line.item}' in {folder}, "
                f"which has {preview(f'{name}.txt' for name in shown)}; "
                "name the item after its file, or add the file",
            )
    sheets = []
    for name, episode in shown.items():
        mine = [line for line in responses if line.item == name]
        _check_rows(mine, source, episode)
        sheets.append(_response_file(name, episode, mine))
    unanswered = tuple(sheet.name for sheet in sheets if not sheet.responses)
    answered = tuple(sheet for sheet in sheets if sheet.responses)
    return HumanExperiment(task, answered, tuple(study) if task == FEW_SHOT else (), unanswered)


def _task_of_study(study: Sequence[Episode]) -> str:
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


def _experiment_with_one_study(
    responses: Sequence[ResponseRow], source: str, study_episode: Episode
) -> HumanExperiment:
    task = FEW_SHOT if study_episode.pool is None else PROBES
    if task == FEW_SHOT:
        (study_episode,) = with_target_grammars([study_episode])
    asked = _first_rows_by_query(responses, source)
    _check_rows(responses, source, study_episode)
    answered = [
        words for words in dict.fromkeys(q.input for q in study_episode.queries) if words in asked
    ]
    sheets = [
        _response_file(
            f"{number:02}", study_episode, [line for line in responses if line.input == words]
        )
        for number, words in enumerate(answered)
    ]
    right = (study_episode,) if task == FEW_SHOT else ()
    return HumanExperiment(task, tuple(sheets), right, _unanswered_queries(study_episode, asked))


def _open_ended_experiment(
    responses: Sequence[ResponseRow], source: str, study_episode: Episode
) -> HumanExperiment:
    """The open-ended task, in which the answers of a participant are one sheet."""
    for line in responses:
        if not line.participant:
            raise line.error(
                source,
                "there is no participant; in an open-ended task (a study file without study "
                "examples) the answers of each belong together",
            )
    _first_rows_by_query(responses, source)
    _check_rows(responses, source, study_episode)
    people = dict.fromkeys(line.participant for line in responses)
    sheets = [
        _response_file(
            f"{number:03}", study_episode, [line for line in responses if line.participant == who]
        )
        for number, who in enumerate(people)
    ]
    _check_all_queries_answered(sheets, source, study_episode)
    return HumanExperiment(OPEN_ENDED, tuple(sheets), (study_episode,))


def _check_all_queries_answered(
    files: Sequence[ResponseFile], source: str, study_episode: Episode
) -> None:
    """Make sure that every participant answers each query of the study file."""
    queries = dict.fromkeys(query.input for query in study_episode.queries)
    gaps = []
    for sheet in files:
        answered = {query.input for query in sheet.episode.queries}
        if missing := [" ".join(words) for words in queries if words not in answered]:
            gaps.append(f"{sheet.responses[0].participant} does not answer {preview(missing)}")
    if gaps:
        more = f"; {len(gaps) - 5} more lack answers" if len(gaps) > 5 else ""
        raise FormatError(
            f"{'; '.join(gaps[:5])}{more}; {INCOMPLETE_HINT}, or take a query that was not asked out of "
            f"{study_episode.name}",
            source=source,
        )


def _first_rows_by_query(
    responses: Sequence[ResponseRow], source: str, *, unique_queries: bool = True
) -> dict[tuple[str, ...], ResponseRow]:
    """The first line of each query; an item asks one query.

    Args:
        one_each: two items cannot ask the same query, as nothing else tells them apart.
    """
    queries: dict[str, ResponseRow] = {}
    items: dict[tuple[str, ...], ResponseRow] = {}
    for line in responses:
        first = queries.setdefault(line.item, line)
        if first.input != line.input:
            raise line.error(
                source,
                f"the item '{line.item}' asks '{line.query}' here and '{first.query}' on "
                f"{line.unit} {first.number}; an item is one query: mend the query, or name "
                "another item",
            )
        other = items.setdefault(line.input, line)
        if unique_queries and other.item != line.item:
            raise line.error(
                source,
                f"the items '{other.item}' ({line.unit} {other.number}) and '{line.item}' ask the "
                f"same query '{line.query}'; give them one name",
            )
    return items


def _check_rows(responses: Sequence[ResponseRow], source: str, study_episode: Episode) -> None:
    """Make sure that answers can be answers to what was shown."""
    words, symbols = symbols_used(study_episode)
    rows = [
        {
            "item": line.item,
            "participant": line.participant,
            "query": line.query,
            "response": " ".join(line.output),
        }
        for line in responses
    ]
    numbers = [line.number for line in responses]
    place = responses[0].unit if responses else ""
    validate_rows(
        zip(numbers, rows, strict=True),
        source=source,
        unit=place,
        words=words,
        symbols=symbols,
        remedy="mend it, or let every symbol that people could use stand in an output or rule of "
        f"{study_episode.name}",
    )
    asked = dict.fromkeys(query.input for query in study_episode.queries)
    for line in responses:
        if line.input not in asked:
            raise line.error(
                source,
                f"'{line.query}' is no query of {study_episode.name}, which asks "
                f"{preview(' '.join(words) for words in asked)}; mend it, or add it there below "
                f"{QUERY}",
            )
        check_response(line, source, study_episode.pool)


def _response_file(
    name: str, study_episode: Episode, responses: Sequence[ResponseRow]
) -> ResponseFile:
    answers = tuple(line.as_query() for line in responses)
    grammar = study_episode.grammar if study_episode.study else None
    return ResponseFile(name, replace(study_episode, queries=answers, grammar=grammar))


def _unanswered_queries(
    study_episode: Episode, answered: dict[tuple[str, ...], ResponseRow]
) -> tuple[str, ...]:
    return tuple(
        " ".join(query.input) for query in study_episode.queries if query.input not in answered
    )


# === An experiment from episode files that hold people's answers as queries.


def is_episode_folder(path: Path) -> bool:
    """Whether a path is a folder with episode files right in it."""
    try:
        return path.is_dir() and any(
            file.read_bytes().lstrip(b"\xef\xbb\xbf \t\r\n").startswith(SUPPORT.encode())
            for file in sorted(path.glob("*.txt"))
        )
    except OSError as error:
        raise BimlError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_episode_files(folder: Path) -> HumanExperiment:
    """Read a folder of episode files that hold answers as queries.

    In files with study examples nobody knows who answered, and each file asks one query. In the
    open-ended task, whose files have no study examples, a file is one participant's sheet and has
    its name.

    Raises:
        FormatError: a file is malformed, the files are of several kinds, or a sheet lacks answers.
        BimlError: a file cannot be read.
    """
    episodes = read_episodes(folder)
    task = _common_task(episodes)
    sheets = []
    for episode in episodes:
        check_reserved_tokens(episode)
        lines = _episode_rows(episode, task)
        known = _known_symbols(episode, task)
        for line in lines:
            check_response(line, episode.name, known)
        answers = tuple(line.as_query() for line in lines)
        sheets.append(ResponseFile(Path(episode.name).stem, replace(episode, queries=answers)))
    if task == FEW_SHOT:
        return HumanExperiment(task, tuple(sheets), tuple(map(_with_target, episodes)))
    if task == PROBES:
        return HumanExperiment(task, tuple(sheets))
    _check_equal_query_counts(episodes)
    return HumanExperiment(task, tuple(sheets), episodes[:1])


def _common_task(episodes: Sequence[Episode]) -> str:
    tasks = [
        PROBES if e.pool is not None else FEW_SHOT if e.study else OPEN_ENDED for e in episodes
    ]
    for episode, task in zip(episodes, tasks, strict=True):
        if task != tasks[0]:
            raise FormatError(
                f"is of the {task} task, by its study examples and 'allowed outputs:', but "
                f"{Path(episodes[0].name).name} is of the {tasks[0]} task; import the two apart",
                source=episode.name,
            )
    return tasks[0]


def _check_equal_query_counts(episodes: Sequence[Episode]) -> None:
    """Make sure that no sheet has fewer answers than another; each may have words of its own."""
    most = max(len(sheet.queries) for sheet in episodes)
    for sheet in episodes:
        if len(sheet.queries) < most:
            raise FormatError(
                f"the participant answers {len(sheet.queries)} of the {most} queries that others "
                f"answer; {INCOMPLETE_HINT}",
                source=sheet.name,
            )


def _episode_rows(episode: Episode, task: str) -> list[ResponseRow]:
    """The answers of a file, with the lines on which they stand."""
    texts = [line.strip() for line in read_text(episode.name).splitlines()]
    start = texts.index(QUERY)
    numbers = [n for n, text in enumerate(texts, 1) if n > start and text.startswith("IN:")]
    name = Path(episode.name).stem
    firsts: dict[tuple[str, ...], ResponseRow] = {}
    lines = []
    for number, (words, symbols, *_) in zip(numbers, episode.queries, strict=True):
        item = name if task == PROBES else " ".join(words)
        who = name if task == OPEN_ENDED else ""
        line = ResponseRow("line", number, item, who, words, symbols)
        first = firsts.setdefault(words, line)
        if task == OPEN_ENDED and first is not line:
            raise line.error(
                episode.name,
                f"the participant answers '{item}' a second time (first on line {first.number}); "
                "keep one of the two",
            )
        if task != OPEN_ENDED and len(firsts) > 1:
            raise line.error(
                episode.name, "a second query; an item is a file of its own, with one query"
            )
        lines.append(line)
    return lines


def _known_symbols(episode: Episode, task: str) -> tuple[str, ...] | None:
    """The symbols that answers may have; None where nothing tells."""
    if task == FEW_SHOT:
        check_grammar(episode, episode.study)
        return (*symbols_used(replace(episode, queries=()))[1], UNDEFINED)
    return episode.pool


def _with_target(episode: Episode) -> Episode:
    """The file's query with its right answer."""
    words = episode.queries[0].input
    return replace(episode, queries=(Example(words, target_of(episode, words)),))
