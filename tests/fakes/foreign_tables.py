"""Response tables as other programs write them, with the responses of `fakes.experiments`."""

import io
import json

import pandas as pd
import pytest

from fakes.experiments import ANSWERS, HEADER

COLOURS = {"■": "RED", "▲": "BLUE", "●": "GREEN"}
COLOUR_ANSWERS = tuple(
    (who, item, query, " ".join(COLOURS[symbol] for symbol in response.split()))
    for who, item, query, response in ANSWERS
)


def lines(separator: str, *rows: tuple[str, ...], end: str = "\n") -> str:
    return "".join(separator.join(row) + end for row in rows)


def quoted(*cells: object) -> str:
    return ",".join('"' + str(cell).replace('"', '""') + '"' for cell in cells) + "\n"


def semicolons() -> bytes:
    text = "sep=;\r\n" + lines(";", HEADER, *ANSWERS, end="\r\n")
    return text.encode("utf-8-sig")


def tabs_in_utf16() -> bytes:
    return lines("\t", HEADER, *ANSWERS).encode("utf-16")


def latin1_with_other_case() -> bytes:
    header = ("PARTICIPANT", "Item", "Query", "Response ", "Größe")
    rows = [
        (*row[:2], row[2].capitalize() + "?", row[3].lower() + ".", "ü") for row in COLOUR_ANSWERS
    ]
    return lines(",", header, *rows).encode("latin-1")


def missing_answers() -> bytes:
    other = [
        ("Cy", "one", "blick twice", text) for text in ("don't know", "NA", "", "DON’T KNOW!", "-")
    ]
    return lines(",", HEADER, *ANSWERS, *other).encode()


def qualtrics() -> bytes:
    """A column for each query."""
    names = ("StartDate", "ResponseId", "Q1", "Q2")
    questions = ("Start Date", "Response ID", "blick twice", "Blick then toma ")
    marks = tuple(json.dumps({"ImportId": name}).replace(" ", "") for name in names)
    rows = (("2024-01-01", "Ann", "▲ ▲", "● ▲"), ("2024-01-02", "Bo/b", "▲■", "▲●"))
    return "".join(quoted(*row) for row in (names, questions, marks, *rows)).encode()


def jspsych_cells() -> bytes:
    rows = [("rt", "subject", "stimulus", "response"), ("812", "Ann", "", "null")]
    for who, _, query, response in ANSWERS:
        shown = f"<p>{query}</p>"
        rows.append(("903", who, shown, json.dumps({"Q0": response}, ensure_ascii=False)))
    return "".join(quoted(*row) for row in rows).encode()


def whole_experiment_in_a_cell() -> bytes:
    text = quoted("id", "participant", "data")
    for who in ("Ann", "Bo/b"):
        trials = [
            {"trial_type": "survey-text", "query": query, "response": {"answer": response}}
            for name, _, query, response in ANSWERS
            if name == who
        ]
        text += quoted(1, who, json.dumps([{"trial_type": "instructions"}, *trials]))
    return text.encode()


def gorilla() -> bytes:
    header = ("Event Index", "Participant Private ID", "Trial Number", "Question", "Response")
    rows = [("3", who, item, query, response) for who, item, query, response in ANSWERS]
    text = lines(",", header, *rows) + "END OF FILE,,,,\n"
    return text.encode("utf-8-sig")


def smile() -> bytes:
    people = [
        {
            "participant": who,
            "browserEvents": [{"type": "blur"}],
            "studyData": [
                {"query": query, "response": response.split(), "rt": 3.5}
                for name, _, query, response in ANSWERS
                if name == who
            ],
        }
        for who in ("Ann", "Bo/b")
    ]
    return json.dumps(people).encode()


def web_experiment() -> bytes:
    """Nested records of the authors' web experiment, in the names of the study file."""

    def record(phase: str, query: str, response: str) -> dict[str, object]:
        return {
            "phase": phase,
            "abs_input": query,
            "raw_input": "zup fep",
            "abs_target": "■",
            "raw_target": "#ce9fcf",
            "abs_response": response,
            "raw_response": "color:#ce9fcf;",
            "correct": True,
            "cycle": 1 if phase == "response_train" else -1,
            "learning_stage": 0,
            "rt": 5715,
        }

    people = []
    for who in ("Ann", "Bo/b"):
        records = [record("test", query, text) for name, _, query, text in ANSWERS if name == who]
        records += [record("response_train", "wug twice", "■"), record("test", "wug", "■")]
        page = {"visit_0": {"data": records, "timestamps": [1, 2]}}
        quiz = {"visit_0": {"data": [{"phase": "instructionsQuiz", "questions": [{"id": "q1"}]}]}}
        data = {"seedID": "x", "trialNum": 0, "pageData_quiz": quiz, "pageData_exp": page}
        people.append({"id": who, "data": data})
    return json.dumps(people).encode()


def json_lines() -> bytes:
    rows = [dict(zip(HEADER, row, strict=True)) for row in ANSWERS]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def excel() -> bytes:
    pytest.importorskip("openpyxl")
    out = io.BytesIO()
    with pd.ExcelWriter(out) as writer:
        pd.DataFrame().to_excel(writer, sheet_name="Notes", index=False)
        frame = pd.DataFrame(ANSWERS, columns=["Participant", "Item", "Query", "Response"])
        frame.to_excel(writer, sheet_name="Data", index=False, startrow=2)
    return out.getvalue()


def excel_with_a_title() -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["README: the second sheet has the data"])
    sheet = book.create_sheet("Data")
    sheet["A1"] = "Experiment 3 – responses"
    sheet.merge_cells("A1:D1")
    for row in ([], [name.title() for name in HEADER], *map(list, ANSWERS), [], ["n = 2"]):
        sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def title_lines() -> bytes:
    """As of E-Prime, or of programs that write comments."""
    return ("C:\\data\\exp3.edat2\n# 4 rows, 2 people\n" + lines("\t", HEADER, *ANSWERS)).encode(
        "utf-16"
    )


def r_table() -> bytes:
    """Of `write.table`: blanks separate, and the numbers of the rows have no name."""
    rows = [(str(n), *row) for n, row in enumerate(ANSWERS, 1)]
    return "".join(" ".join(f'"{cell}"' for cell in row) + "\n" for row in (HEADER, *rows)).encode()


def a_row_for_each_symbol() -> bytes:
    rows = [
        (who, item, query, str(place), symbol)
        for who, item, query, response in ANSWERS
        for place, symbol in enumerate(response.split(), 1)
    ]
    header = ("participant", "item", "query", "pos", "response")
    return lines(",", header, *reversed(rows)).encode()


def files_put_together() -> bytes:
    return lines(",", HEADER, *ANSWERS[:2], HEADER, *ANSWERS[2:], *ANSWERS[2:]).encode()


def queries_with_more_text() -> bytes:
    """As of Google Forms, with other columns about the same queries."""
    header = ("ID", "What is this: Blick twice", "RT", "2. blick then toma?", "Score")
    rows = [("Ann", "▲-▲", "2.5", "●-▲", "2"), ("Bo/b", "▲-■", "2", "▲-●", "0")]
    return lines(",", header, *rows).encode()


def all_trials_of_jspsych() -> bytes:
    rows = [("rt", "participant", "query", "response")]
    rows.append(("12", "Ann", "<p>Welcome! Press any key.</p>", " "))
    rows += [("9", who, query, json.dumps({"Q0": answer})) for who, _, query, answer in ANSWERS]
    rows.append(("5", "Bo/b", "", json.dumps({"age": "25", "sex": "f"})))
    return "".join(quoted(*row) for row in rows).encode()
