"""Human responses as transcripts in the format of Psych-101: JSON lines with text for a reader.

A line has the keys `text`, `experiment` and `participant`. In the text each response stands between
`<<` and `>>`, below what the participant saw:

    'dax' stands for RED.
    'dax fep' stands for RED RED RED.
    For 'wif fep' you put together <<BLUE BLUE BLUE>>.

Study examples in successive lines are those of all responses that follow, up to the next ones; the
symbols of a covered one are `(covered)`. `The phrases are: 'dax', 'wif'.` begins the open-ended
task, `You can use: RED BLUE.` lists the allowed outputs of a probe. Any other line is free text.

biml adds two keys, which the text does without: `items` names the item of each response, null for a
response to a study example or a catch trial, which is not scored; `names` gives the words and
symbols of the data in place of those on the participant's screen.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from biml.episodes.episode import Episode, Example, Remapping
from biml.episodes.episode_type import FEW_SHOT, OPEN_ENDED, PROBES
from biml.episodes.transforms import remap, symbols_used
from biml.errors import BimlError, FormatError, merge_errors
from biml.facts import COUNT, SCALAR, TEXT, Kind, check_facts
from biml.grammar import Grammar
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.io import StrPath, parse_json, read_text
from biml.rng import generator
from biml.vocabulary import UNDEFINED

COVERED = "(covered)"

INSTRUCTIONS = {
    FEW_SHOT: "You learn a small language. Each phrase stands for a row of coloured circles. After "
    "some examples you put together the circles of a new phrase.",
    OPEN_ENDED: "In a small language that you do not know each phrase stands for a row of coloured "
    "circles. You put together the circles that you think each phrase stands for.",
    PROBES: "You see a few phrases of a small language, each with its row of coloured circles, and "
    "put together the circles of a new phrase.",
}
"""What the transcripts of published and imported responses begin with, by task."""


@dataclass(frozen=True)
class Trial:
    """A query with a participant's response, in the words and symbols on the screen.

    Attributes:
        study: phrases with their symbols, None for a covered one.
        pool: the allowed outputs, where they are restricted.
        sheet: all queries on the page, in the open-ended task.
        item: None where the response is to a study example or a catch trial.
        feedback: given after the response.
        remapping: from the words and symbols of the data to those on the screen.
        grammar: that of the language, in the words and symbols of the data, where there is one.
    """

    query: str
    response: Sequence[str]
    study: Sequence[tuple[str, Sequence[str] | None]] = ()
    pool: Sequence[str] = ()
    sheet: Sequence[str] = ()
    item: str | None = None
    feedback: str = ""
    remapping: Remapping = field(default=Remapping({}, {}))
    grammar: Grammar | None = None


def transcript(
    trials: Iterable[Trial], *, instructions: str, experiment: str, participant: str
) -> dict[str, Any]:
    """The line of a participant; study examples are repeated where they have changed."""
    paragraphs = [" ".join(part.split()) for part in instructions.split("\n\n")]
    items: list[str | None] = []
    names: list[dict[str, Any]] = []
    shown: tuple[object, ...] = ()
    present: dict[str, Any] = {"words": [], "symbols": [], "grammar": ""}
    for trial in trials:
        language = {
            "words": [[new, old] for old, new in trial.remapping.words.items()],
            "symbols": [[new, old] for old, new in trial.remapping.symbols.items()],
            "grammar": str(trial.grammar or ""),
        }
        if language != present:
            present = language
            names.append({"first_response": len(items), **language})
        lines: list[str] = []
        study = {(phrase, symbols and tuple(symbols)) for phrase, symbols in trial.study}
        seen = (study, set(trial.pool), trial.sheet)
        if seen != shown:
            shown = seen
            lines += _context_lines(trial)
        lines.append(f"For '{trial.query}' you put together <<{' '.join(trial.response)}>>.")
        paragraphs.append("\n".join(lines))
        if trial.feedback:
            paragraphs.append(trial.feedback)
        items.append(trial.item)
    line = {"text": "\n\n".join(paragraphs), "experiment": experiment, "participant": participant}
    return line | {"items": items, "names": names}


def _context_lines(trial: Trial) -> Iterator[str]:
    for phrase, symbols in trial.study:
        yield f"'{phrase}' stands for {COVERED if symbols is None else ' '.join(symbols)}."
    if trial.sheet:
        yield "The phrases are: " + ", ".join(f"'{query}'" for query in trial.sheet) + "."
    if trial.pool:
        yield f"You can use: {' '.join(trial.pool)}."


def transcripts_of_episodes(
    episodes: Iterable[Episode], task: str, *, experiment: str, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Human responses to a task as transcripts: one for each participant.

    Responses of unknown participants have one each. Every participant has words and colours drawn
    at random, since those of the data can have a meaning, such as `thrice`; a language of more than
    the published nine and six keeps its own.
    """
    by_participant: dict[object, list[tuple[Episode, Example]]] = {}
    for number, episode in enumerate(episodes):
        for place, query in enumerate(episode.queries):
            anonymous = (number,) if task == OPEN_ENDED else (number, place)
            by_participant.setdefault(query.participant or anonymous, []).append((episode, query))
    for number, responses in enumerate(by_participant.values()):
        rng = generator(seed, "transcript", number)
        renamed: dict[object, Episode] = {}
        trials = []
        for episode, query in responses:
            context = (episode.study, episode.pool)
            if context not in renamed:
                own = [q for e, q in responses if (e.study, e.pool) == context]
                shown = replace(episode, queries=tuple(own), grammar=None, remapping=None)
                words, symbols = symbols_used(shown)
                if len(words) <= len(WORDS) and len(symbols) <= len(COLOURS):
                    shown = remap(shown, rng)
                renamed[context] = shown
            trial = _trial(renamed[context], query, task)
            trials.append(replace(trial, grammar=episode.grammar))
        yield transcript(
            trials,
            instructions=INSTRUCTIONS[task],
            experiment=experiment,
            participant=responses[0][1].participant,
        )


def _trial(shown: Episode, query: Example, task: str) -> Trial:
    """A response in the names of an episode as it was shown."""
    remapping = shown.remapping or Remapping({}, {})

    def phrase(words: Sequence[str]) -> str:
        return " ".join(remapping.words.get(word, word) for word in words)

    return Trial(
        phrase(query.input),
        [remapping.symbols.get(symbol, symbol) for symbol in query.output],
        [(" ".join(example.input), example.output) for example in shown.study],
        shown.pool or (),
        [" ".join(one.input) for one in shown.queries] if task == OPEN_ENDED else (),
        query.item or " ".join(query.input),
        remapping=remapping,
    )


@dataclass(frozen=True)
class Transcripts:
    """The responses of a file of transcripts, all to one task.

    Attributes:
        episodes: one for each query with the same study examples, or each participant of the
            open-ended task, as folders of human responses have them.
        n_unscored: responses to covered study examples and catch trials, which are left out.
    """

    task: str
    episodes: tuple[Episode, ...]
    n_unscored: int
    experiments: frozenset[str]


@dataclass(frozen=True)
class _Response:
    """A response in the names of the data; `item` is None where it is not scored."""

    query: Example
    study: tuple[Example, ...]
    pool: tuple[str, ...] | None
    grammar: Grammar | None
    item: str | None
    task: str
    line: int
    experiment: str


def read_transcripts(path: StrPath) -> Transcripts:
    """Read a file of transcripts; a FormatError lists all that does not parse, by its lines."""
    source = str(path)
    errors: list[FormatError] = []
    responses: list[_Response] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            reader = _Reader(source, number)
            reader.read(line)
            earlier = first_line.setdefault(line, number)
            # A participant can give one response twice, but not all those of a session.
            if earlier < number and reader.participant and reader.n_read > 1:
                reader.error(f"line {earlier} again; remove one of them")
            errors += reader.errors
            responses += reader.responses
    scored = [one for one in responses if one.item is not None]
    first = {one.task: one for one in reversed(responses)}
    if len(first) > 1:
        one, other = sorted(first.values(), key=lambda one: one.line)[:2]
        problem = (
            f"a response in the {other.task} task, but on line {one.line} in the {one.task} task; "
            "put the tasks into files of their own"
        )
        errors.append(FormatError(problem, source=source, line=other.line))
    if not (errors or scored):
        errors.append(FormatError("there is no response to score in it", source=source))
    if errors:
        raise merge_errors(errors)
    task = scored[0].task
    group = _by_participant if task == OPEN_ENDED else _by_query
    episodes, n_unscored = group(scored, Path(source).name), len(responses) - len(scored)
    return Transcripts(task, episodes, n_unscored, frozenset(one.experiment for one in scored))


def _by_participant(responses: Sequence[_Response], file: str) -> tuple[Episode, ...]:
    sets: dict[int, list[Example]] = {}
    for one in responses:
        item = one.item or " ".join(one.query.input)
        sets.setdefault(one.line, []).append(one.query._replace(item=item))
    return tuple(Episode((), tuple(q), name=f"{file} line {line}") for line, q in sets.items())


def _by_query(responses: Sequence[_Response], file: str) -> tuple[Episode, ...]:
    """Items of the same name are numbered where their study examples differ."""
    groups: dict[object, list[_Response]] = {}
    for one in responses:
        pool = None if one.pool is None else frozenset(one.pool)
        context = (one.item, one.query.input, frozenset(one.study), pool, str(one.grammar))
        groups.setdefault(context, []).append(one)
    n_of_name: Counter[str] = Counter()
    episodes = []
    for group in groups.values():
        item = group[0].item or " ".join(group[0].query.input)
        n_of_name[item] += 1
        item += f" ({n_of_name[item]})" if n_of_name[item] > 1 else ""
        queries = tuple(one.query._replace(item=item) for one in group)
        name = f"{file} line {group[0].line}"
        first = group[0]
        episodes.append(Episode(first.study, queries, first.grammar, first.pool, name))
    return tuple(episodes)


_STUDY = re.compile(r"'(.+)' stands for (.+)\.")
_RESPONSE = re.compile(r"For '(.+)' you put together <<(.*)>>\.")
_SHEET = re.compile(r"The phrases are: '(.+)'\.")
_POOL = re.compile(r"You can use: (.+)\.")

_PAIR = Kind(
    "a pair of texts",
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(TEXT.accepts, value)),
)

_KEYS = {
    "text!": Kind("a text", lambda value: isinstance(value, str)),
    "experiment": TEXT,
    "participant": SCALAR,
    "items": [Kind("a text or null", lambda value: value is None or TEXT.accepts(value))],
    "names": [{"first_response!": COUNT, "words!": [_PAIR], "symbols!": [_PAIR], "grammar": TEXT}],
}


class _Names(NamedTuple):
    """The names of the data by those in the text, from a number of responses on, and a grammar."""

    first_response: int
    words: Mapping[str, str]
    symbols: Mapping[str, str]
    grammar: Grammar | None


class _Reader:
    """One transcript, a line of the file; its present study examples, pool or phrases."""

    def __init__(self, source: str, number: int) -> None:
        self.source, self.number = source, number
        self.errors: list[FormatError] = []
        self.responses: list[_Response] = []
        self.names: list[_Names] = []
        self.participant = self.experiment = ""
        self.items: list[str | None] | None = None
        self.n_read = 0
        self.study: list[tuple[str, str]] = []
        self.pool: list[str] | None = None
        self.sheet: list[str] | None = None

    def error(self, problem: str, line: int | None = None) -> None:
        where = "" if line is None else f"line {line} of its text: "
        self.errors.append(FormatError(where + problem, source=self.source, line=self.number))

    def read(self, line: str) -> None:
        try:
            row = parse_json(line)
            check_facts(row, _KEYS, "")
        except FormatError as error:
            self.error(f"not a transcript: {error.problem}")
            return
        except ValueError as error:
            self.error(f"not JSON ({error}); each line is an object with the key 'text'")
            return
        self.participant = str("" if row.get("participant") is None else row["participant"])
        self.experiment = row.get("experiment") or ""
        self.items = row.get("items")
        for names in row.get("names") or ():
            for key in ("words", "symbols"):
                if any(len(set(side)) < len(side) for side in zip(*names[key], strict=True)):
                    self.error(f"'names' has one of its {key} twice, {names[key]}")
                    return
            words, symbols = (dict(map(tuple, names[key])) for key in ("words", "symbols"))
            rules = names.get("grammar")
            try:
                grammar = Grammar.parse(rules) if rules else None
            except BimlError as error:
                self.error(f"the grammar of 'names': {getattr(error, 'problem', error)}")
                return
            self.names.append(_Names(names["first_response"], words, symbols, grammar))
        after_study = False
        for number, text in enumerate(map(str.strip, row["text"].splitlines()), 1):
            after_study = self._read_line(text, number, after_study)
        if not self.n_read:
            self.error("there is no response between << and >> in its text")
        elif self.items is not None and len(self.items) != self.n_read:
            self.error(f"'items' has {len(self.items)} names for {self.n_read} responses")

    def _read_line(self, line: str, number: int, after_study: bool) -> bool:
        """Read a line of the text; return whether it is a study example."""
        if found := _STUDY.fullmatch(line):
            if not after_study:
                self.study, self.pool, self.sheet = [], None, None
            self.study.append((found[1], found[2]))
            return True
        if found := _POOL.fullmatch(line):
            self.study = self.study if after_study else []
            self.pool, self.sheet = found[1].split(), None
        elif found := _SHEET.fullmatch(line):
            self.study, self.pool, self.sheet = [], None, found[1].split("', '")
        elif found := _RESPONSE.fullmatch(line):
            try:
                self.responses.append(self._response(found[1], found[2].split()))
            except KeyError as error:
                self.error(f"'names' lacks {error}, which its text has", number)
            except ValueError as error:
                self.error(str(error), number)
            self.n_read += 1
        elif "<<" in line or ">>" in line:
            self.error(
                f"'{line[:80]}' does not read like \"For 'dax fep' you put together <<RED RED>>."
                '"; write each response as such a line',
                number,
            )
            self.n_read += 1
        return False

    def _response(self, query: str, response: Sequence[str]) -> _Response:
        """A response below the present study examples, allowed outputs or phrases.

        Raises:
            KeyError: `names` lacks a word or symbol.
            ValueError: the response is impossible here.
        """
        if not response:
            raise ValueError("the response is empty")
        if self.sheet is not None and query not in self.sheet:
            raise ValueError(f"'{query}' is none of the phrases in the list above it")
        if self.pool is not None and (outside := sorted(set(response) - set(self.pool))):
            raise ValueError(f"{outside[0]} is not in the list 'You can use:' above it")
        if not self.study and self.pool is None and self.sheet is None:
            raise ValueError(
                "above this response is no study example, as in \"'dax' stands for RED.\", nor the "
                "list of phrases of the open-ended task, as in \"The phrases are: 'dax', 'wif'.\""
            )
        item: str | None = ""
        if self.items is not None and self.n_read < len(self.items):
            item = self.items[self.n_read]
        elif any(phrase == query and symbols == COVERED for phrase, symbols in self.study):
            item = None
        known = [one for one in self.names if one.first_response <= self.n_read]
        _, words, symbols, grammar = known[-1] if known else _Names(0, {}, {}, None)
        if symbols:  # a participant can use colours that stand for nothing
            symbols = dict.fromkeys(response, UNDEFINED) | dict(symbols)
        pairs = [(phrase, shown) for phrase, shown in self.study if shown != COVERED]
        return _Response(
            Example(
                _named(query, words),
                _named(" ".join(response), symbols),
                participant=self.participant,
            ),
            tuple(Example(_named(a, words), _named(b, symbols)) for a, b in pairs),
            None if self.pool is None else _named(" ".join(self.pool), symbols),
            grammar,
            item,
            OPEN_ENDED if self.sheet is not None else FEW_SHOT if self.pool is None else PROBES,
            self.number,
            self.experiment,
        )


def _named(text: str, names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple([names[token] if names else token for token in text.split()])
