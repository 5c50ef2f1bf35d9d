"""An experiment from episode files that hold people's answers as queries."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from biml.data.experiment import (
    FEW_SHOT,
    OPEN_ENDED,
    PROBES,
    INCOMPLETE_HINT,
    HumanExperiment,
    ResponseRow,
    ResponseFile,
    check_reserved_tokens,
    check_response,
)
from biml.data.right_answers import check_grammar, target_of
from biml.episodes.answerers import Respondent
from biml.episodes.episode import Episode, Example
from biml.episodes.folder import read_episodes
from biml.episodes.text import QUERY, SUPPORT, read_text
from biml.episodes.transforms import UNDEFINED, symbols_used
from biml.errors import BimlError, FormatError


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
        who = tuple(Respondent(line.item, line.participant) for line in lines)
        sheets.append(ResponseFile(Path(episode.name).stem, episode, who))
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
    for number, (words, symbols, _) in zip(numbers, episode.queries, strict=True):
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
