"""The transcript of a session, as `biml.episodes.transcripts` writes it."""

from collections.abc import Iterator
from typing import Any

from biml.episodes.transcripts import Trial, transcript
from biml.experiment.design_types import PROBES
from biml.experiment.records import Record, responses_of


def session_transcript(record: Record) -> dict[str, Any]:
    """The line of a participant; practice, quiz and questions are left out.

    The words and colours of the text are those on the participant's screen.
    """
    design = record.session.design
    model = f" (simulated: {record.simulated})" if record.simulated else ""
    return transcript(
        _trials(record),
        instructions=design.instructions,
        experiment=f"{design.name}{model}",
        participant=record.id,
    )


def _trials(record: Record) -> Iterator[Trial]:
    """Responses to study examples, tests and sheets; an answer is followed by its feedback."""
    history = record.session.history
    design = record.session.design
    restricted = design.task == PROBES
    for step, after in zip(history, [*history[1:], None], strict=True):
        screen, feedback = step.screen, ""
        if after and after.screen.kind == "feedback" and after.screen.feedback:
            expected = " ".join(after.screen.feedback.expected or ())
            message = after.screen.feedback.message
            feedback = f"{message} '{screen.query}' stands for {expected}."
        for found in responses_of(screen, step.payload):
            yield Trial(
                found.query_shown,
                found.response_shown,
                study=[(x.words, None if x.covered else x.symbols) for x in screen.study],
                pool=screen.pool if restricted else (),
                sheet=screen.queries,
                item=None if screen.kind == "study" or screen.catch else found.item,
                feedback=feedback,
                remapping=screen.remapping,
                grammar=design.grammar,
            )
