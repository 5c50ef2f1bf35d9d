"""Response tables as other programs write them: each is imported with at most one command."""

import re
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from biml.cli.main import main
from biml.errors import BimlError, FormatError, UsageError
from biml.human import excel_sheets
from biml.human.experiment import HumanExperiment
from biml.human.foreign_tables import read_foreign_table
from biml.human.readers import read_response_table
from fakes import foreign_tables as of
from fakes.experiments import ANSWERS, HEADER, OPEN, RESPONSE_SETS, STUDY, TRIAL, write_text
from fakes.foreign_tables import COLOUR_ANSWERS, lines, quoted

LETTERS = STUDY.replace("■", "RED").replace("▲", "BLUE").replace("●", "GREEN")

Table = tuple[Callable[[], bytes], dict[str, str], str, tuple[str, ...]]

TABLES: list[Table] = [
    (of.semicolons, {}, "error", ("semicolons",)),
    (of.tabs_in_utf16, {}, "error", ("UTF-16", "tabs")),
    (of.latin1_with_other_case, {}, "error", ("Windows-1252", "'Query'", "is 'blick twice'")),
    (of.missing_answers, {}, "skip", ("an empty response", "'don't know'", "'NA'")),
    (of.qualtrics, {"participant": "ResponseId"}, "error", ("2 further header rows", "'Q1'")),
    (of.jspsych_cells, {"participant": "subject", "query": "stimulus"}, "skip", ("4 responses",)),
    (of.whole_experiment_in_a_cell, {}, "error", ("4 records in JSON",)),
    (
        of.gorilla,
        {"participant": "Participant Private ID", "item": "trial number", "query": "question"},
        "error",
        ("END OF FILE", "'Participant Private ID'"),
    ),
    (of.smile, {}, "error", ("out of JSON",)),
    (of.json_lines, {}, "error", ()),
    (of.web_experiment, {}, "error", ("web experiment; 2 of other", "2 with a study example")),
    (of.excel, {}, "error", ("'Data'",)),
    (of.excel_with_a_title, {}, "skip", ("Experiment 3", "'Data'", "1 with an empty query")),
    (of.title_lines, {}, "error", ("exp3.edat2", "UTF-16", "tabs")),
    (of.r_table, {}, "error", ("blanks", "numbers of the rows")),
    (
        of.a_row_for_each_symbol,
        {"position": "pos"},
        "error",
        ("8 rows of symbols are 4 responses",),
    ),
    (of.files_put_together, {}, "error", ("1 that repeat the names", "2 with the cells of a row")),
    (of.queries_with_more_text, {"participant": "ID"}, "error", ("'2. blick then toma?'", "'▲-▲'")),
    (of.all_trials_of_jspsych, {}, "skip", ("'<p>Welcome! Press any key.</p>'", "empty query")),
]


def imported(contents: bytes, study: str = STUDY, **options: object) -> HumanExperiment:
    Path("table.txt").write_bytes(contents)
    write_text(Path("study.txt"), study)
    return read_response_table(Path("table.txt"), Path("study.txt"), **options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table[0].__name__)
def test_tables_of_other_programs_are_read_and_what_was_done_is_said(table: Table) -> None:
    write, columns, missing, said = table
    study = LETTERS if write is of.latin1_with_other_case else STUDY
    found = imported(write(), study, columns=columns, missing=missing)
    answers = COLOUR_ANSWERS if write is of.latin1_with_other_case else ANSWERS
    expected = sorted((who, query, response) for who, _, query, response in answers)
    responses = found.responses
    given = sorted((r.participant, " ".join(r.input), " ".join(r.output)) for r in responses)
    assert given == expected
    assert len(found.items) == 2
    notes = "\n".join(found.notes)
    for part in said:
        assert part in notes
    assert bool(notes) == bool(said)


def test_a_plain_table_gives_no_notes() -> None:
    assert imported(lines(",", HEADER, *ANSWERS).encode()).notes == ()


def test_all_problems_are_listed_at_once_with_counts_and_lines(capsys) -> None:
    rows = [
        *ANSWERS,
        *[(f"P{n}", "one", "blick twice", "★") for n in range(30)],
        ("Q1", "two", "blick then tomma", "▲"),
        ("Q2", "two", "blick then toma", "NA"),
        ("Q3", "two", "blick then toma", "▲", "▲"),
        ("Ann", "one", "blick twice", "▲"),
    ]
    Path("r.csv").write_text(lines(",", HEADER, *rows), "utf-8")
    write_text(Path("study.txt"))
    assert main(["data", "import", "r.csv", "--study", "study.txt"]) == 1
    problems = capsys.readouterr().err.splitlines()
    assert "34 errors" in problems[0]
    parts = ("6: unknown symbol '★'", "36: unknown word 'tomma'", "37: .*--missing skip")
    parts += ("38: 5 cells under", "39: .*second time")
    for part, line in zip(parts, problems[1:], strict=True):
        assert re.match(f"  r.csv, line {part}", line)
    assert "(also on lines 7, 8, " in problems[1]
    assert problems[1].endswith("and 9 more)")


def test_a_dry_run_writes_nothing(capsys) -> None:
    Path("r.tsv").write_text(lines("\t", HEADER, *ANSWERS), "utf-8")
    write_text(Path("study.txt"))
    before = sorted(Path().rglob("*"))
    words = ["data", "import", "r.tsv", "--study", "study.txt"]
    assert main([*words, "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "4 responses of 2 participants to 2 items would be imported" in output
    assert "note: the cells are separated by tabs" in output
    assert sorted(Path().rglob("*")) == before
    assert main([*words, "--dest", "my data"]) == 0
    assert "--data_dir 'my data'" in capsys.readouterr().out


def test_skipping_missing_responses_of_an_open_ended_task_leaves_participants_out() -> None:
    rows = [(*row[:3], "" if row[:2] == ("P2", "wug") else row[3]) for row in RESPONSE_SETS]
    table = lines(",", HEADER, *rows).encode()
    found = imported(table, OPEN, missing="skip")
    assert "P2" not in found.participants
    assert len(found.participants) == 5
    assert "participants left out, as responses are missing: 'P2'" in found.notes
    with pytest.raises(FormatError, match="line 8: the response is empty; --missing skip"):
        imported(table, OPEN)


def test_without_items_the_query_names_them() -> None:
    rows = [(who, query, response) for who, _, query, response in ANSWERS]
    table = lines(",", ("participant", "query", "response"), *rows).encode()
    assert set(imported(table).items) == {"blick twice", "blick then toma"}
    Path("table.csv").write_text("query,response\nblick,▲\n", "utf-8")
    write_text(Path("trials") / "one.txt", TRIAL)
    assert read_response_table(Path("table.csv"), Path("trials")).items == ("one",)
    write_text(Path("trials") / "two.txt", TRIAL)
    with pytest.raises(FormatError, match=r"lacks the column item; .*--columns item=\"NAME\""):
        read_response_table(Path("table.csv"), Path("trials"))


def test_missing_columns_are_named_with_the_likely_ones() -> None:
    table = b"subject,question,answer\nAnn,blick twice,x\n"
    with pytest.raises(FormatError, match="lacks the columns query, response") as caught:
        imported(table)
    assert '--columns query="question" response="answer"' in str(caught.value)
    with pytest.raises(FormatError, match=r"'query' and 'Query' may both.*--columns query='query'"):
        imported(b"query,Query,response\nblick twice,blick twice,x\n")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"qeury": "question"}, "unknown column or query 'qeury'.*did you mean query"),
        ({"query": "quest"}, "unknown column 'quest'.*did you mean question"),
    ],
)
def test_unknown_names_of_columns_are_reported(columns, message) -> None:
    with pytest.raises(UsageError, match=message):
        imported(b"subject,question,answer\nAnn,blick twice,x\n", columns=columns)


def test_malformed_values_of_the_columns_option_are_a_misuse(capsys) -> None:
    write_text(Path("study.txt"))
    Path("r.csv").write_bytes(b"")
    words = ["data", "import", "r.csv", "--study", "study.txt", "--columns"]
    assert main([*words, "query"]) == 2
    assert "write KEY=NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"%PDF-1.7 ...", "looks like a PDF document"),
        (b"PK\x03\x04....", "looks like a zip archive"),
        (b"\xd0\xcf\x11\xe0....", r"Excel file of the older kind"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x00\x01\x02\x03\x04\x05\x06", "not a text file"),
        (b"[" * 100_000, "nested too deeply|neither a record"),
        (b'{"query": "a"}\n{"query"', "line 2: neither a record in JSON"),
        (b"", "lacks the columns query, response; it has none"),
        (b"query,response\n", "there is no response in it"),
        (b'query,response\n\n"blick twice,x\n', "line 3: not a well-formed CSV row"),
        (b"PAR1 and no more", "not a Parquet file"),
    ],
)
def test_files_that_are_no_tables_are_named_by_what_they_look_like(contents, message) -> None:
    with pytest.raises(BimlError, match=message):
        imported(contents)


def test_symbols_that_look_like_missing_responses_are_kept() -> None:
    study = STUDY.replace("■", "NA").replace("▲", "none")
    table = "participant,query,response\nAnn,blick twice,NA none\nBob,blick twice,NA\n"
    found = imported(table.encode(), study)
    assert [query.output for query in found.responses] == [("NA", "none"), ("NA",)]


def test_stray_cells_far_away_cost_nothing() -> None:
    """A blank that was formatted makes the sheet of an Excel file as large as it can be."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (HEADER, *ANSWERS):
        book.active.append(row)
    book.active.cell(3, 6).value = "beside the table"
    book.active.cell(30_000, 16_384).value = " "
    book.save("table.txt")
    table = read_foreign_table("table.txt", ["query"])
    assert table.columns == [*HEADER, "", " (2)"]
    assert [tuple(row[name] for name in HEADER) for _, row in table.rows] == list(ANSWERS)


def test_excel_files_that_unpack_to_too_much_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(excel_sheets, "MAX_EXCEL_BYTES", 10**6)
    with zipfile.ZipFile("table.txt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
        archive.writestr("xl/worksheets/sheet1.xml", bytes(2 * 10**6))
    with pytest.raises(FormatError, match="unpacks to 2 MB"):
        read_foreign_table("table.txt", ["query"])


def test_symbols_of_one_letter_may_stand_without_blanks() -> None:
    study = STUDY.replace("■", "r").replace("▲", "g").replace("●", "b")
    table = "participant,query,response\nAnn,blick twice,\"['G', 'g']\"\nBob,blick twice,GR\n"
    found = imported(table.encode(), study)
    assert [query.output for query in found.responses] == [("g", "g"), ("g", "r")]
    with pytest.raises(FormatError, match="unknown symbol 'gone'"):
        imported(table.replace("GR", "gone").encode(), study)


def test_accents_are_the_same_however_they_are_encoded() -> None:
    study = unicodedata.normalize("NFC", STUDY.replace("■", "grün"))
    table = unicodedata.normalize("NFD", "participant,query,response\nAnn,blick twice,GRÜN\n")
    assert imported(table.encode(), study).responses[0].output == ("grün",)


def test_positions_of_symbols_are_checked() -> None:
    rows = "Ann,blick twice,1,▲\nAnn,blick twice,1,▲\nAnn,blick twice,last,▲\n"
    table = f"participant,query,pos,response\n{rows}".encode()
    with pytest.raises(FormatError, match="3: a second symbol at position 1") as caught:
        imported(table, columns={"position": "pos"})
    assert "'last' is not a number" in str(caught.value)


def test_queries_of_other_words_are_left_out_only_on_demand() -> None:
    table = "participant,query,response\nAnn,blick twice,▲ ▲\nAnn,Please wait,▲\n".encode()
    with pytest.raises(FormatError, match="'Please wait' has no word of the study set"):
        imported(table)
    assert len(imported(table, missing="skip").responses) == 1
    with pytest.raises(FormatError, match="unknown word 'twic'"):
        imported(table.replace(b"Please wait", b"blick twic"), missing="skip")


def test_a_hundred_thousand_columns_are_read_in_seconds() -> None:
    names = ["x"] * 50_000 + [f"c{n}" for n in range(50_000)]
    Path("t.csv").write_text(f"query,{','.join(names)}\nblick{',1' * 100_000}\n")
    table = read_foreign_table("t.csv", ["query"])
    assert table.columns[:4] == ["query", "x", "x (2)", "x (3)"]
    assert len(table.columns) == 100_001


def test_long_cells_and_odd_column_names_are_read(tmp_path: Path) -> None:
    text = quoted("a", "a", "", "query") + quoted("x" * 200_000, 1, "", "dax")
    Path("t.csv").write_text(text)
    table = read_foreign_table(tmp_path / "t.csv", ["query"])
    assert table.columns == ["a", "a (2)", "", "query"]
    assert table.rows[0][1]["query"] == "dax"
