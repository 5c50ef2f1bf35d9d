"""An experiment of one's own: what people answered and what they had studied.

`experiment_table` reads it from a table of answers, `experiment_texts` from episode files, and
`experiment_folder` writes it as a folder like that of the published human data.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from biml.episodes.answerers import Respondent
from biml.episodes.episode import EXAMPLE_SEP, COLOURS, PAIR_SEP, WORDS, Episode
from biml.episodes.text import read_text
from biml.episodes.transforms import UNDEFINED, symbols_used
from biml.errors import FormatError

FEW_SHOT, OPEN_ENDED, PROBES = "few-shot", "open-ended", "probes"

MAX_RESPONSE_LENGTH = 50
"""Symbols of an answer; a longer one is more likely a slip than an answer."""


@dataclass(frozen=True)
class ResponseFile:
    """One episode file of people's answers.

    Attributes:
        name: of the file, without its ending.
        episode: study examples, and the answers as queries.
        answerers: item and participant of each answer.
    """

    name: str
    episode: Episode
    respondents: tuple[Respondent, ...]


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
        names = (who.participant for sheet in self.files for who in sheet.respondents)
        return tuple(dict.fromkeys(filter(None, names)))

    @property
    def n_anonymous(self) -> int:
        """How many answers do not say who gave them."""
        return sum(not who.participant for sheet in self.files for who in sheet.respondents)

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(who.item for sheet in self.files for who in sheet.respondents))

    @property
    def n_responses(self) -> int:
        return sum(len(sheet.respondents) for sheet in self.files)

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
