"""Exported data of an experiment: responses to import, all trials, participants, transcripts."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from biml.episodes.episode import Episode, Example
from biml.episodes.text_format import format_episode
from biml.episodes.transcripts import Trial, transcript
from biml.experiment.design_types import FEW_SHOT, OPEN_ENDED, PROBES, Design
from biml.experiment.records import Record, read_records, responses_of, utc
from biml.experiment.store import Store
from biml.io import atomic_directory, check_replaceable, harmless, markdown_row

RESPONSE_COLUMNS = {
    "participant": "a random name; begins with `simulated-` if a model gave the responses",
    "item": "the query, or the name of the probe",
    "query": "in the words of the study file, whatever words the participant saw",
    "response": "in the symbols of the study file; `undefined_action` is a colour that stands for "
    "none of them",
}

EXCLUDED = {"excluded": "why the participant is left out of `responses.csv`; empty if not"}

TRIAL_COLUMNS = {
    "participant": RESPONSE_COLUMNS["participant"],
    "simulated": "the model that gave the responses; empty for people",
    "condition": "of the participant, where the design has several",
    **EXCLUDED,
    "screen": "number of answers before this one",
    "kind": "information, practice, quiz, study (a covered study item), feedback, test, sheet (all "
    "queries on one page), questions or debriefing",
    "stage": "part of the experiment, or name of the probe",
    "cycle": "pass through the covered study items, from 1",
    "catch": "whether it is a catch trial",
    **{name: RESPONSE_COLUMNS[name] for name in ("item", "query", "response")},
    "target": "the right response, in the symbols of the study file",
    "correct": "whether the answer was right; empty where nothing is right or wrong",
    "query_shown": "the query as the participant saw it",
    "response_shown": "the response in the colours that the participant saw",
    "answers": "to the questions of a quiz or at the end, and consent, as JSON",
    "rt_ms": "milliseconds from the first display of the screen to its answer, by the browser",
    "changes": "changes of the answer before it was sent",
    "focus_lost": "how often the page lost the focus",
    "saved": "time at which the answer was saved (UTC)",
    "biml_version": "version that showed the screen",
}

PARTICIPANT_COLUMNS = {
    **{name: TRIAL_COLUMNS[name] for name in ("participant", "simulated", "condition")},
    "status": "running, finished, missed catch trials, failed quiz or declined",
    **EXCLUDED,
    "missed_catch_trials": "how many were answered wrongly",
    "quiz_attempts": "how often the quiz was answered",
    "started": "time of arrival (UTC)",
    "minutes": "from arrival to the last answer",
    "seed": "from which words, colours and orders follow",
    "biml_version": "version at arrival",
    "design": "name of the experiment",
    "design_digest": "SHA-256 of the experiment's file",
}


def export(
    store: Store, folder: Path, *, exclusions: str = "apply", overwrite: bool = False
) -> dict[str, int]:
    """Write the data of an experiment to a folder.

    `responses.csv` with `study.txt` (or the folder `study`) is what `biml data import` takes.

    Args:
        exclusions: `apply` leaves excluded participants out of `responses.csv` and the transcripts;
            `mark` leaves them in, with a column `excluded`. The other files have everybody.
    Returns:
        The numbers of participants, excluded and simulated ones, and responses.
    Raises:
        UsageError: the folder exists and `overwrite` is not set, or holds something else.
        BimlError: the folder cannot be written, or the records cannot be read.
    """
    check_replaceable(folder, _is_own, "exported data", marker="codebook.md")
    design, records = read_records(store)
    kept = records if exclusions == "mark" else [one for one in records if not one.exclusion]
    responses = list(_responses(kept))
    columns = [*RESPONSE_COLUMNS, *(EXCLUDED if exclusions == "mark" else ())]
    trials = list(_trials(records))
    people = [_participant(record) for record in records]
    first = ["participant", *design.parameters]
    identifiers = [{**one.participant.parameters, "participant": one.id} for one in records]
    texts = {
        "responses.csv": _csv(columns, responses),
        "trials.csv": _csv(TRIAL_COLUMNS, trials, safe=True),
        "trials.jsonl": _json_lines(trials),
        "participants.csv": _csv(_columns(PARTICIPANT_COLUMNS, people), people, safe=True),
        "identifiers.csv": _csv(_columns(first, identifiers), identifiers, safe=True),
        "psych101.jsonl": _json_lines(map(session_transcript, kept)),
        "codebook.md": _codebook(design, columns, people),
        "design.toml": design.text,
    }
    texts |= _study_files(design)
    with atomic_directory(folder, overwrite=overwrite) as new:
        for name, text in texts.items():
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_text(text, "utf-8", newline="")
    return {
        "participants": len(records),
        "excluded": sum(bool(record.exclusion) for record in records),
        "simulated": sum(bool(record.simulated) for record in records),
        "responses": len(responses),
    }


def _is_own(path: str) -> bool:
    return path in _FILES or re.fullmatch(r"study/[^/]+\.txt", path) is not None


_FILES = (
    *("responses.csv", "trials.csv", "trials.jsonl", "participants.csv", "identifiers.csv"),
    *("psych101.jsonl", "codebook.md", "design.toml", "study.txt"),
)


def _responses(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """The rows of `responses.csv`: tests and sheets, without catch trials."""
    for record in records:
        for step in record.session.history:
            if step.screen.kind == "study" or step.screen.catch:
                continue
            for found in responses_of(step.screen, step.payload):
                yield {
                    "participant": record.id,
                    "item": found.item,
                    "query": " ".join(found.query),
                    "response": " ".join(found.response),
                    "excluded": record.exclusion,
                }


def _trials(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Rows of `TRIAL_COLUMNS`; a sheet has one for each query."""
    for record in records:
        for step, answer in zip(record.session.history, record.answers, strict=True):
            screen = step.screen
            given = {k: v for k, v in step.payload.items() if k in ("answers", "consent")}
            common = {
                "participant": record.id,
                "simulated": record.simulated,
                "condition": record.participant.condition or "",
                "excluded": record.exclusion,
                "screen": screen.number,
                "kind": screen.kind,
                "stage": screen.stage,
                "cycle": screen.cycle,
                "catch": screen.catch,
                "correct": step.outcome.correct,
                "answers": given or None,
                "rt_ms": answer.timing.rt_ms,
                "changes": answer.timing.changes,
                "focus_lost": answer.timing.focus_lost,
                "saved": utc(answer.saved),
                "biml_version": answer.biml_version,
            }
            rows: list[dict[str, Any]] = [
                {
                    "item": found.item,
                    "query": " ".join(found.query),
                    "response": " ".join(found.response),
                    "target": " ".join(found.target) or None,
                    "query_shown": found.query_shown,
                    "response_shown": " ".join(found.response_shown),
                }
                for found in responses_of(screen, step.payload)
            ]
            if screen.kind == "practice":
                rows = [{"response_shown": " ".join(step.payload["response"])}]
            for row in rows or [{}]:
                yield {name: (common | row).get(name) for name in TRIAL_COLUMNS}


def session_transcript(record: Record) -> dict[str, Any]:
    """The line of a participant; practice, quiz and questions are left out.

    The words and colours of the text are those on the participant's screen.
    """
    design = record.session.design
    model = f" (simulated: {record.simulated})" if record.simulated else ""
    return transcript(
        _transcript_trials(record),
        instructions=design.instructions,
        experiment=f"{design.name}{model}",
        participant=record.id,
    )


def _transcript_trials(record: Record) -> Iterator[Trial]:
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


def _participant(record: Record) -> dict[str, Any]:
    history = record.session.history
    person = record.participant
    last = record.answers[-1].saved if record.answers else person.started
    facts = {
        "participant": record.id,
        "simulated": record.simulated,
        "condition": person.condition,
        "status": record.session.status,
        "excluded": record.exclusion,
        "missed_catch_trials": record.session.missed_catch_trials,
        "quiz_attempts": sum(step.screen.kind == "quiz" for step in history),
        "started": utc(person.started),
        "minutes": round((last - person.started) / 60, 2),
        "seed": person.seed,
        "biml_version": person.biml_version,
        "design": record.session.design.name,
        "design_digest": person.design_digest,
    }
    return facts | {f"answer_{name}": reply for name, reply in record.replies.items()}


def _columns(first: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The first columns, and after them all others that rows have."""
    return list(dict.fromkeys([*first, *(name for row in rows for name in row)]))


def _study_files(design: Design) -> dict[str, str]:
    """The episode files that `biml data import --study` takes, with their names."""
    if design.task == PROBES:
        return {
            f"study/{stage.name}.txt": format_episode(
                Episode(stage.study, _placeholders([stage.test[0].input], pool), pool=pool)
            )
            for stage in design.stages
            for pool in [stage.pool or ()]
        }
    if design.task == OPEN_ENDED:
        episode = Episode((), _placeholders(design.queries, design.colours))
    else:
        queries = tuple(query for stage in design.stages for query in stage.test)
        episode = Episode(design.study, queries, design.grammar)
    return {"study.txt": format_episode(episode)}


def _placeholders(
    queries: Sequence[tuple[str, ...]], symbols: Sequence[str]
) -> tuple[Example, ...]:
    """Queries without right responses; the first names all symbols."""
    outputs = [tuple(symbols), *[tuple(symbols[:1])] * (len(queries) - 1)]
    return tuple(map(Example, queries, outputs))


def _csv(columns: Iterable[str], rows: Iterable[Mapping[str, Any]], *, safe: bool = False) -> str:
    """A table as CSV, objects as JSON; with `safe` no spreadsheet takes a cell for a formula."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    names = list(columns)
    table: list[list[Any]] = [names, *([row.get(name) for name in names] for row in rows)]
    for cells in table:
        texts = [_json(cell) if isinstance(cell, dict) else cell for cell in cells]
        writer.writerow(map(harmless, texts) if safe else texts)
    return out.getvalue()


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f"{_json(row)}\n" for row in rows)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _codebook(design: Design, columns: Iterable[str], people: Iterable[Mapping[str, Any]]) -> str:
    """What the files and their columns hold, in Markdown."""
    study = "study" if design.task == PROBES else "study.txt"
    types = {FEW_SHOT: "few_shot_human", OPEN_ENDED: "open_end_human_all", PROBES: "probe_human"}
    about = {
        **PARTICIPANT_COLUMNS,
        **{f"answer_{question.name}": question.text for question in design.questions},
    }
    sections = {
        "responses.csv": (
            f"The responses to analyse. `biml data import responses.csv --study {study} --dest "
            "mine` imports them, `biml eval --data_dir mine --episode_type "
            f"{types[design.task]}` scores models on them, and `biml reproduce --data_dir mine` "
            "compares models with the participants.",
            {name: (RESPONSE_COLUMNS | EXCLUDED)[name] for name in columns},
        ),
        "trials.csv, trials.jsonl": (
            "One row for each answer; in a sheet for each query. In the CSV files an apostrophe "
            "stands before texts that a spreadsheet would take for formulas.",
            TRIAL_COLUMNS,
        ),
        "participants.csv": (
            "One row for each participant.",
            {name: about.get(name, "") for name in _columns(PARTICIPANT_COLUMNS, people)},
        ),
        "identifiers.csv": (
            "What the address of the experiment brought along, such as identifiers of the "
            "recruiting service. Keep it apart from data that you publish.",
            {"participant": RESPONSE_COLUMNS["participant"]}
            | dict.fromkeys(design.parameters, "a value of the address"),
        ),
        "psych101.jsonl": (
            "A transcript of each session of `responses.csv` in the format of Psych-101, in the "
            "words and colours that the participant saw, with responses between `<<` and `>>`. "
            "`biml eval --transcripts` scores models on it.",
            {
                "text": "the transcript",
                "experiment": "name of the experiment",
                "participant": RESPONSE_COLUMNS["participant"],
                "items": "the item of each response; null for study examples and catch trials",
                "names": "the words and symbols of the study file in place of those in the text, "
                "and its grammar, from response `first_response` (counted from 0) on",
            },
        ),
    }
    lines = [f"# {design.title}", "", f"Experiment `{design.name}`, file digest `{design.digest}`."]
    for title, (text, described) in sections.items():
        lines += ["", f"## {title}", "", text, "", "| column | meaning |", "| --- | --- |"]
        lines += [markdown_row(f"`{name}`", meaning) for name, meaning in described.items()]
    lines += ["", f"`design.toml` is the file of the experiment, and `{study}` its study examples."]
    return "\n".join(lines) + "\n"
