"""A custom experiment: human responses to one task, its grammars, and its episode files."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from biml.episodes.episode import EXAMPLE_SEP, PAIR_SEP, Episode, Example
from biml.episodes.episode_type import (
    FEW_SHOT,
    FEW_SHOT_FOLDER,
    FOLDS,
    OPEN_ENDED,
    PROBE_FOLDER,
    PROBES,
)
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
from biml.io import atomic_directory, check_creatable, check_replaceable, read_text
from biml.vocabulary import UNDEFINED

TASK_EPISODE_TYPES = {
    FEW_SHOT: ("few_shot_human", "few_shot_gold"),
    OPEN_ENDED: ("open_end_human_all", "open_end_freeform"),
    PROBES: ("probe_human",),
}
"""The episode types that evaluate a model on each task."""


@dataclass(frozen=True)
class HumanExperiment:
    """Human responses to one task.

    Attributes:
        task: `few_shot`, `open_ended` or `probes`.
        episodes: one for each item, or each participant of the open-ended task; the queries are the
            responses with their items and participants, and the name is that of the file to write.
        study_episodes: few-shot: the correct responses for each study set; open-ended: one episode
            from which models sample free-form responses; empty for probes.
        unanswered: items without responses.
        ignored: columns of the table that were not read.
        notes: what was recognised and changed in the table.
    """

    task: str
    episodes: tuple[Episode, ...]
    study_episodes: tuple[Episode, ...] = ()
    unanswered: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def responses(self) -> list[Example]:
        return [query for episode in self.episodes for query in episode.queries]

    @property
    def participants(self) -> tuple[str, ...]:
        """The known participants, in order of their first responses."""
        return tuple(dict.fromkeys(q.participant for q in self.responses if q.participant))

    @property
    def n_anonymous(self) -> int:
        """The number of responses without a participant."""
        return sum(not query.participant for query in self.responses)

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(query.item for query in self.responses))

    @property
    def vocabulary_overflow(self) -> str:
        """Why models with the published vocabulary cannot be evaluated; empty if they can."""
        for episode in self.episodes:
            words, symbols = symbols_used(episode)
            for used, known, kind in ((words, WORDS, "words"), (symbols, COLOURS, "symbols")):
                if len(used) > len(known):
                    fewer = f" ({len(COLOURS) - 1} symbols if responses contain {UNDEFINED})"
                    return (
                        f"{episode.name}.txt has {len(used)} {kind} ({' '.join(used)}), more than "
                        f"the {len(WORDS)} words and {len(COLOURS)} colours of models with the "
                        f"published vocabulary{fewer if UNDEFINED in used else ''}"
                    )
        return ""


def check_reserved_tokens(episode: Episode) -> None:
    """Make sure that a file does not use the separators of the column `study` as tokens."""
    words, symbols = symbols_used(episode)
    for separator in (PAIR_SEP, EXAMPLE_SEP):
        if separator in (*words, *symbols):
            lines = [line.split() for line in read_text(episode.name).splitlines()]
            numbers = [number for number, items in enumerate(lines, 1) if separator in items]
            # Rules contain arrows too; examples stand above them, and allowed outputs below.
            examples = [number for number in numbers if lines[number - 1][0] == "IN:"]
            raise FormatError(
                f"'{separator}' cannot be a word or symbol, because it separates study examples in "
                "tables; give it another name, here and in the responses",
                source=episode.name,
                line=next(iter([*examples, *reversed(numbers)]), None),
            )


def with_target_grammars(study: Sequence[Episode]) -> list[Episode]:
    """The study files of a few-shot task, each with a grammar that gives its examples.

    Files without a grammar get one that lists their pairs as rules without variables: those of all
    files, so that the task has one grammar, unless they contradict each other or exceed the
    vocabulary of a model.

    Raises:
        FormatError: a grammar does not give an example of its file, or pairs contradict each other.
    """
    for episode in study:
        if episode.grammar is not None:
            check_grammar(episode, (*episode.study, *episode.queries))
    if all(episode.grammar is not None for episode in study):
        return list(study)
    pairs = tuple(pair for e in study for pair in (*e.study, *e.queries))
    words, symbols = symbols_used(Episode((), pairs))
    consistent = len({p.input for p in pairs}) == len({(p.input, p.output) for p in pairs})
    joint = consistent and len(words) <= len(WORDS) and len(symbols) <= len(COLOURS)
    return [
        replace(e, grammar=e.grammar or lookup_grammar(pairs if joint else own, e.name))
        for e, own in ((e, (*e.study, *e.queries)) for e in study)
    ]


def lookup_grammar(pairs: Iterable[Example], source: str) -> Grammar:
    """A grammar with one rule per pair.

    Raises:
        FormatError: two pairs contradict each other, or a word is not allowed in a rule.

    >>> print(lookup_grammar([Example(("wug", "twice"), ("■", "■"))], "here"))
    wug twice -> ■ ■
    """
    outputs: dict[tuple[str, ...], tuple[str, ...]] = {}
    for words, symbols, *_ in pairs:
        if outputs.setdefault(words, symbols) != symbols:
            raise FormatError(
                f"'{' '.join(words)}' has the outputs '{' '.join(outputs[words])}' and "
                f"'{' '.join(symbols)}'; keep the correct one",
                source=source,
            )
    try:
        rules = tuple(Rule(words, symbols) for words, symbols in outputs.items())
    except GrammarError as error:
        raise FormatError(str(error), source=source) from None
    for rule in rules:
        if rule.variables:
            raise FormatError(
                f"the word '{rule.variables[0]}' looks like a variable (u or x and a number); "
                "rename it",
                source=source,
            )
    return Grammar(rules)


def check_grammar(episode: Episode, pairs: Iterable[Example]) -> None:
    """Make sure that the grammar of a file gives these pairs."""
    for words, symbols, *_ in pairs:
        target = target_of(episode, words)
        if target != symbols:
            raise FormatError(
                f"its grammar gives '{' '.join(target)}' for '{' '.join(words)}', not "
                f"'{' '.join(symbols)}'; correct the rules or the example",
                source=episode.name,
            )


def target_of(episode: Episode, words: Sequence[str]) -> tuple[str, ...]:
    """The output of a file's grammar; a FormatError if it has none, or one that never ends."""
    if episode.grammar is None:
        raise FormatError(
            "the correct responses are unknown; write the rules below *GRAMMAR*, or import a table "
            "of responses with --study",
            source=episode.name,
        )
    try:
        return episode.grammar.interpret(words)
    except GrammarError as error:
        raise FormatError(f"'{' '.join(words)}': {error}", source=episode.name) from None


def write_experiment(
    experiment: HumanExperiment, destination: Path, *, overwrite: bool = False
) -> Path:
    """Write the folder `destination/data_human`, which `--data_dir destination` finds.

    Other tasks in that folder stay unchanged.

    Raises:
        UsageError: the task exists and `overwrite` is not set, or `destination` cannot be used.
        BimlError: the folder cannot be written, and is unchanged; or an item has two grammars.
    """
    folder = destination / "data_human"
    check_creatable(folder)
    replaced = _task_folders(experiment.task)
    for name in replaced:
        if (folder / name).exists() and not overwrite:
            raise UsageError(
                f"{folder / name} exists already; --overwrite replaces it, --dest names another "
                "folder"
            )
        check_replaceable(folder / name, _is_task_file, "episodes")
    targets = _targets(experiment)
    with atomic_directory(folder, overwrite=True) as new:
        if folder.is_dir():
            shutil.copytree(
                folder,
                new,
                dirs_exist_ok=True,
                ignore=lambda at, names: replaced if Path(at) == folder else (),
            )
        for name, episodes in _episode_folders(experiment):
            _write_folder(new / name, episodes, targets)
    return folder


def _is_task_file(path: str) -> bool:
    return path.endswith((".txt", RESPONSES_FILE))


def _task_folders(task: str) -> list[str]:
    """The folders of `data_human` that belong to a task."""
    if task == OPEN_ENDED:
        return ["open_ended_all", *(f"open_ended_cross{fold}" for fold in FOLDS)]
    return [(FEW_SHOT_FOLDER if task == FEW_SHOT else PROBE_FOLDER).split("/")[0]]


def _episode_folders(experiment: HumanExperiment) -> Iterator[tuple[str, Sequence[Episode]]]:
    episodes = experiment.episodes
    study = [replace(e, name=f"{n:02}") for n, e in enumerate(experiment.study_episodes)]
    if experiment.task == FEW_SHOT:
        yield FEW_SHOT_FOLDER, episodes
        yield "few_shot/val_gold", study
    elif experiment.task == PROBES:
        yield PROBE_FOLDER, episodes
    else:
        folds = [("open_ended_all", episodes, episodes)]
        for n, fold in enumerate(FOLDS if len(episodes) >= len(FOLDS) else ()):
            held_out = episodes[n :: len(FOLDS)]
            train = tuple(e for i, e in enumerate(episodes) if i % len(FOLDS) != n)
            folds.append((f"open_ended_cross{fold}", train, held_out))
        for name, train, val in folds:
            yield f"{name}/mock", study
            yield f"{name}/train", train
            yield f"{name}/val", val


def _write_folder(folder: Path, episodes: Sequence[Episode], targets: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for episode in episodes:
        (folder / f"{episode.name}.txt").write_text(format_episode(episode), "utf-8")
    if any(query.item for episode in episodes for query in episode.queries):
        text = format_responses(((f"{e.name}.txt", e) for e in episodes), targets)
        (folder / RESPONSES_FILE).write_text(text, "utf-8", newline="")


def _targets(experiment: HumanExperiment) -> dict[str, str]:
    """The correct response to each item of a few-shot task."""
    targets: dict[str, str] = {}
    grammars: dict[str, str] = {}
    for episode in experiment.episodes if experiment.task == FEW_SHOT else ():
        if episode.grammar is None:
            raise BimlError(f"{episode.name}: a few-shot item without a grammar")
        query = episode.queries[0]
        if grammars.setdefault(query.item, str(episode.grammar)) != str(episode.grammar):
            raise ambiguous_item_error(query.item, episode.name)
        targets[query.item] = " ".join(episode.grammar.interpret(query.input))
    return targets
