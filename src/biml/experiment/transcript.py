"""Transcripts of sessions in the format of Psych-101: text with responses between << and >>."""

from collections.abc import Iterator, Sequence

from biml.experiment.records import Record
from biml.experiment.screens import StudyItem
from biml.experiment.session import Step

COVERED = "(covered)"


def transcript(record: Record) -> dict[str, str]:
    """The line of a participant; practice, quiz and questions are left out.

    The words and colours are those on the participant's screen.
    """
    design = record.session.design
    model = f" (simulated: {record.simulated})" if record.simulated else ""
    instructions = (" ".join(part.split()) for part in design.instructions.split("\n\n"))
    paragraphs = [*instructions, *_paragraphs(record.session.history)]
    return {
        "text": "\n\n".join(paragraphs),
        "experiment": f"{design.name}{model}",
        "participant": record.id,
    }


def _paragraphs(history: Sequence[Step]) -> Iterator[str]:
    """A paragraph for each trial; the study examples again where they have changed."""
    shown: set[StudyItem] = set()
    for step in history:
        screen, payload = step.screen, step.payload
        if screen.kind == "sheet":
            yield "The phrases are: " + ", ".join(f"'{query}'" for query in screen.queries) + "."
            for query, response in zip(screen.queries, payload["responses"], strict=True):
                yield _response(query, response)
        elif screen.kind in ("study", "test"):
            lines = []
            if set(screen.study) != shown:
                lines += [_study_line(item) for item in screen.study]
                shown = set(screen.study)
            yield "\n".join([*lines, _response(screen.query or "", payload["response"])])
        elif screen.kind == "feedback" and screen.feedback:
            expected = " ".join(screen.feedback.expected or ())
            yield f"{screen.feedback.message} '{screen.query}' stands for {expected}."


def _study_line(item: StudyItem) -> str:
    return f"'{item.words}' stands for {COVERED if item.covered else ' '.join(item.symbols)}."


def _response(query: str, response: Sequence[str]) -> str:
    return f"For '{query}' you put together <<{' '.join(response)}>>."
