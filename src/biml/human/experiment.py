"""An experiment of one's own: what people answered and what they had studied.

`experiment_table` reads it from a table of answers, `experiment_texts` from episode files, and
`experiment_folder` writes it as a folder like that of the published human data.
"""

import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from biml.episodes.episode import EXAMPLE_SEP, PAIR_SEP, Episode, Example
from biml.episodes.sources import FEW_SHOT_FOLDER, PROBE_FOLDER
from biml.episodes.text_format import (
    RESPONSES_FILE,
    ambiguous_item_error,
    format_episode,
    format_responses,
)
from biml.episodes.transforms import symbols_used
from biml.errors import BimlError, FormatError, UsageError
from biml.grammar import Grammar, GrammarError, Rule
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.io import atomic_directory, check_creatable, read_text
from biml.vocabulary import UNDEFINED

FEW_SHOT, OPEN_ENDED, PROBES = "few-shot", "open-ended", "probes"

MAX_RESPONSE_LENGTH = 50
"""Symbols of an answer; a longer one is more likely a slip than an answer."""


@dataclass(frozen=True)
class ResponseFile:
    """One episode file of people's answers.

    Attributes:
        name: of the file, without its ending.
        episode: study examples, and the responses as queries with their items and participants.
    """

    name: str
    episode: Episode

    @property
    def responses(self) -> tuple[Example, ...]:
        return self.episode.queries


@dataclass(frozen=True)
class HumanExperiment:
    """People's answers in one task.

    Attributes:
        task: `few-shot`, `open-ended` or `probes`.
        sheets: one for each item, or in the open-ended task for each participant.
        shown: the right answers of the few-shot task, a file for each study set; what free-form
            sampling of the open-ended task starts from, one file; nothing for probes.
        unanswered: items that nobody answered.
        ignored: columns of the table of answers that nothing was read from.
    """

    task: str
    files: tuple[ResponseFile, ...]
    study_episodes: tuple[Episode, ...] = ()
    unanswered: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def participants(self) -> tuple[str, ...]:
        """Those who are known, in order of their first answers."""
        names = (who.participant for sheet in self.files for who in sheet.responses)
        return tuple(dict.fromkeys(filter(None, names)))

    @property
    def n_anonymous(self) -> int:
        """How many answers do not say who gave them."""
        return sum(not who.participant for sheet in self.files for who in sheet.responses)

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(who.item for sheet in self.files for who in sheet.responses))

    @property
    def n_responses(self) -> int:
        return sum(len(sheet.responses) for sheet in self.files)

    @property
    def vocabulary_overflow(self) -> str:
        """Why models of the published words and symbols cannot take it; empty if they can."""
        for sheet in self.files:
            words, symbols = symbols_used(sheet.episode)
            for names, most, kind in ((words, WORDS, "words"), (symbols, COLOURS, "symbols")):
                if len(names) > len(most):
                    fewer = f" ({len(most) - 1} symbols where somebody answers {UNDEFINED})"
                    return (
                        f"{sheet.name}.txt has {len(names)} {kind} ({' '.join(names)}), more than "
                        f"models of the published {len(WORDS)} words and {len(COLOURS)} colours "
                        f"can take{fewer if UNDEFINED in names else ''}"
                    )
        return ""


@dataclass(frozen=True)
class ResponseRow:
    """One answer, and where it stands.

    Attributes:
        place, number: such as `line`, 3.
        item, participant: their names; empty where unknown.
        words, symbols: the query and the response.
    """

    unit: str
    number: int
    item: str
    participant: str
    input: tuple[str, ...]
    output: tuple[str, ...]

    @property
    def query(self) -> str:
        return " ".join(self.input)

    def as_query(self) -> Example:
        return Example(self.input, self.output, item=self.item, participant=self.participant)

    def error(self, source: str, problem: str) -> FormatError:
        """An error that says where this answer stands."""
        return FormatError(problem, source=source, line=self.number, unit=self.unit)


def check_response(row: ResponseRow, source: str, known: Collection[str] | None) -> None:
    """Make sure that a response has a length that it can have, and known symbols.

    Args:
        known: the symbols that it may have; any if None.
    Raises:
        FormatError: it has not; the message names the line.
    """
    if not row.output:
        raise row.error(
            source,
            f"the response is empty; leave the row out, or write {UNDEFINED} for an answer that "
            "is no symbol",
        )
    if len(row.output) > MAX_RESPONSE_LENGTH:
        raise row.error(
            source,
            f"the response has {len(row.output)} symbols, more than the {MAX_RESPONSE_LENGTH} that an answer "
            "may have; mend it or leave it out",
        )
    for symbol in row.output:
        if known is not None and symbol not in known:
            raise row.error(source, f"unknown symbol '{symbol}'; known are: {' '.join(known)}")


INCOMPLETE_HINT = (
    "in an open-ended task each participant answers all queries, and is judged by the whole sheet; "
    "add what is missing, or leave the participant out"
)
"""What to do about a sheet that lacks answers, for messages."""


def check_reserved_tokens(episode: Episode) -> None:
    """Make sure that no word or symbol of a file is what tables part study examples by.

    Raises:
        FormatError: one is; the message names the line.
    """
    words, symbols = symbols_used(episode)
    for mark in (PAIR_SEP, EXAMPLE_SEP):
        if mark in (*words, *symbols):
            lines = [line.split() for line in read_text(episode.name).splitlines()]
            places = [number for number, items in enumerate(lines, 1) if mark in items]
            # Rules have arrows too; examples stand above them, and allowed outputs below.
            examples = [number for number in places if lines[number - 1][0] == "IN:"]
            raise FormatError(
                f"'{mark}' cannot be a word or symbol, as study examples in tables are parted by "
                "it; give it another name, here and in the answers",
                source=episode.name,
                line=next(iter([*examples, *reversed(places)]), None),
            )


def preview(names: Iterable[str], limit: int = 10) -> str:
    """The first few names, for messages."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(f"'{name}'" for name in listed[:limit]) + more


# === What is right in a few-shot task of one's own: its grammar, or one that lists the right an


def with_target_grammars(study: Sequence[Episode]) -> list[Episode]:
    """The study files of a few-shot task, each with a grammar that gives its examples.

    Files without a grammar get one that lists their pairs as rules without variables: those of all
    files, so that the task has one grammar, unless they contradict each other or are too many names
    for a model.

    Raises:
        FormatError: a grammar does not give an example of its file, or pairs contradict each other.
    """
    for episode in study:
        if episode.grammar is not None:
            check_grammar(episode, (*episode.study, *episode.queries))
    if all(episode.grammar is not None for episode in study):
        return list(study)
    every = Episode((), tuple(pair for e in study for pair in (*e.study, *e.queries)))
    words, symbols = symbols_used(every)
    agree = len({pair.input for pair in every.queries}) == len(set(every.queries))
    joint = agree and len(words) <= len(WORDS) and len(symbols) <= len(COLOURS)
    return [
        replace(
            episode,
            grammar=episode.grammar
            or lookup_grammar(
                every.queries if joint else (*episode.study, *episode.queries), episode.name
            ),
        )
        for episode in study
    ]


def lookup_grammar(pairs: Iterable[Example], source: str) -> Grammar:
    """A grammar of one rule a pair.

    Raises:
        FormatError: two pairs contradict each other, or a word cannot stand in a rule.

    >>> print(lookup_grammar([Example(("wug", "twice"), ("■", "■"))], "here"))
    wug twice -> ■ ■
    """
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for words, symbols, *_ in pairs:
        if known.setdefault(words, symbols) != symbols:
            raise FormatError(
                f"'{' '.join(words)}' stands for '{' '.join(known[words])}' and for "
                f"'{' '.join(symbols)}'; keep the right one",
                source=source,
            )
    try:
        rules = tuple(Rule(words, symbols) for words, symbols in known.items())
    except GrammarError as error:
        raise FormatError(str(error), source=source) from None
    for rule in rules:
        if rule.variables:
            raise FormatError(
                f"the word '{rule.variables[0]}' looks like a variable, u or x and a number; "
                "rename it",
                source=source,
            )
    return Grammar(rules)


def check_grammar(episode: Episode, pairs: Iterable[Example]) -> None:
    """Make sure that the grammar of a file gives its pairs.

    Raises:
        FormatError: it has none, or gives other answers.
    """
    for words, symbols, *_ in pairs:
        made = target_of(episode, words)
        if made != symbols:
            raise FormatError(
                f"its grammar makes '{' '.join(made)}' of '{' '.join(words)}', not "
                f"'{' '.join(symbols)}'; mend the rules or the example",
                source=episode.name,
            )


def target_of(episode: Episode, words: Sequence[str]) -> tuple[str, ...]:
    """What the grammar of a file makes of an input.

    Raises:
        FormatError: it has none, or one that does not come to an end.
    """
    if episode.grammar is None:
        raise FormatError(
            "nothing tells which answers are right; write the rules below *GRAMMAR*, or import a "
            "table of answers with --study",
            source=episode.name,
        )
    try:
        return episode.grammar.interpret(words)
    except GrammarError as error:
        raise FormatError(f"'{' '.join(words)}': {error}", source=episode.name) from None


# === Writing an experiment as a folder of episode files like that of the published human data.


N_FOLDS = 5
"""Parts of the open-ended participants, each held out from one training (paper, Methods)."""

TASK_EPISODE_TYPES = {
    FEW_SHOT: ("few_shot_human", "few_shot_gold"),
    OPEN_ENDED: ("open_end_human_all", "open_end_freeform"),
    PROBES: ("probe_human",),
}
"""The episode types by which each task is asked."""


@dataclass(frozen=True)
class EpisodeFolder:
    """One folder of episode files inside `data_human`, and its files."""

    folder: str
    files: tuple[ResponseFile, ...]


def write_experiment(
    experiment: HumanExperiment, destination: Path, *, overwrite: bool = False
) -> Path:
    """Write `destination/data_human/…`, where every command finds it with `--data_dir destination`.

    Other tasks that are in that folder already stay as they are.

    Returns:
        The folder `data_human`.
    Raises:
        UsageError: the task is there already and `overwrite` is not set, or nothing can be put
            there.
        BimlError: the folder cannot be written; what was there is unchanged.
    """
    folder = destination / "data_human"
    check_creatable(folder)
    ours = _task_folders(experiment.task)
    for name in ours:
        if (folder / name).exists() and not overwrite:
            raise UsageError(
                f"{folder / name} is there already; --overwrite replaces it, --dest names another "
                "folder"
            )
    with atomic_directory(folder, overwrite=True) as made:
        if folder.is_dir():
            shutil.copytree(
                folder,
                made,
                dirs_exist_ok=True,
                ignore=lambda at, names: ours if Path(at) == folder else (),
            )
        for part in _episode_folders(experiment):
            _write_folder(part, made, experiment)
    return folder


def _task_folders(task: str) -> list[str]:
    """The folders of `data_human` that belong to a task."""
    if task == OPEN_ENDED:
        return ["open_ended_all", *(f"open_ended_cross{n + 1}" for n in range(N_FOLDS))]
    return [(FEW_SHOT_FOLDER if task == FEW_SHOT else PROBE_FOLDER).split("/")[0]]


def _episode_folders(experiment: HumanExperiment) -> Iterator[EpisodeFolder]:
    sheets = experiment.files
    shown = tuple(
        ResponseFile(f"{n:02}", episode) for n, episode in enumerate(experiment.study_episodes)
    )
    if experiment.task == FEW_SHOT:
        yield EpisodeFolder(FEW_SHOT_FOLDER, sheets)
        yield EpisodeFolder("few_shot/val_gold", shown)
    elif experiment.task == PROBES:
        yield EpisodeFolder(PROBE_FOLDER, sheets)
    else:
        yield from _train_val_folders("open_ended_all", shown, sheets, sheets)
        for fold in range(N_FOLDS if len(sheets) >= N_FOLDS else 0):
            held = sheets[fold::N_FOLDS]
            train = tuple(sheet for sheet in sheets if sheet not in held)
            yield from _train_val_folders(f"open_ended_cross{fold + 1}", shown, train, held)


def _train_val_folders(
    folder: str,
    mock: tuple[ResponseFile, ...],
    train: tuple[ResponseFile, ...],
    val: tuple[ResponseFile, ...],
) -> list[EpisodeFolder]:
    return [
        EpisodeFolder(f"{folder}/{n}", s)
        for n, s in (("mock", mock), ("train", train), ("val", val))
    ]


def _write_folder(folder: EpisodeFolder, made: Path, experiment: HumanExperiment) -> None:
    target = made / folder.folder
    target.mkdir(parents=True)
    for sheet in folder.files:
        (target / f"{sheet.name}.txt").write_text(format_episode(sheet.episode), "utf-8")
    if any(query.item for sheet in folder.files for query in sheet.responses):
        rows = [(f"{sheet.name}.txt", sheet.episode) for sheet in folder.files]
        text = format_responses(rows, _targets(folder.files, experiment.task))
        (target / RESPONSES_FILE).write_text(text, "utf-8", newline="")


def _targets(files: Sequence[ResponseFile], task: str) -> dict[str, str]:
    """The right answer to each item of a few-shot task.

    Raises:
        BimlError: a file has no grammar, or an item stands in files of different grammars.
    """
    found: dict[str, str] = {}
    grammars: dict[str, str] = {}
    for sheet in files if task == FEW_SHOT else ():
        if sheet.episode.grammar is None:
            raise BimlError(f"{sheet.name}: a few-shot item without a grammar")
        answer = sheet.episode.grammar.interpret(sheet.episode.queries[0].input)
        item, grammar = sheet.responses[0].item, str(sheet.episode.grammar)
        if grammars.setdefault(item, grammar) != grammar:
            raise ambiguous_item_error(item, sheet.name)
        found[item] = " ".join(answer)
    return found
