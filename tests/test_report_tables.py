"""Results folders edited by hand: read where possible, else rejected."""

import json
from pathlib import Path

import pandas as pd
import pytest

from biml.analysis.responses import response_table
from biml.cli.main import main
from biml.errors import FormatError
from biml.report.results import read_results
from biml.report.schemas import TABLES
from fakes.results import number_tables, write_results_folder

GROUPS = "accuracy_by_complexity"


def test_tables_saved_by_a_spreadsheet_are_read(tmp_path: Path) -> None:
    row = {"task": "few_shot", "item": "q", "query": "q", "target": "R"}
    answers = response_table([{**row, "response": "R"}, {**row, "response": "TRUE"}])
    folder = write_results_folder(tmp_path / "r", {"responses": answers, **number_tables()})
    before = read_results(folder).tables
    for path in (folder / "tables").iterdir():
        text = path.read_text().replace(",True", ",TRUE").replace(",False", ",false")
        path.write_text(text.replace("\n", "\r\n"), "utf-8-sig", newline="")
    assert read_results(folder).edited == ()
    after = read_results(folder).tables
    for name, frame in before.items():
        pd.testing.assert_frame_equal(after[name], frame)
    assert after["responses"]["correct"].tolist() == [True, False]
    assert after["responses"]["response"].tolist() == ["R", "TRUE"]


def test_edited_tables_are_named(tmp_path: Path, capsys) -> None:
    folder = write_results_folder(tmp_path / "r", number_tables())
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().err == ""
    assert "Edited tables" not in (folder / "index.html").read_text()
    table, (removed, added) = folder / "tables" / "likelihoods.csv", ("comparisons", "accuracies")
    rows = pd.read_csv(table)
    rows.assign(log_likelihood=rows["log_likelihood"] + 100).to_csv(table, index=False)
    (folder / "tables" / f"{removed}.csv").unlink()
    about = json.loads((folder / "results.json").read_bytes())
    del about["digests"][added]
    (folder / "results.json").write_text(json.dumps(about))
    assert read_results(folder).edited == (added, removed, "likelihoods")
    assert main(["report", str(folder)]) == 0
    page, warning = (folder / "index.html").read_text(), capsys.readouterr().err
    assert "Edited tables" in page
    for name in (added, removed, "likelihoods"):
        assert f"tables/{name}.csv" in warning
        assert f"tables/{name}.csv" in page
    (folder / "results.json").write_text(json.dumps(about | {"digests": [1]}))
    assert main(["report", str(folder)]) == 1
    assert "'digests'" in capsys.readouterr().err


def test_results_without_columns_that_were_added_later_are_read(tmp_path: Path) -> None:
    folder = write_results_folder(tmp_path / "r", number_tables())
    for name in ("likelihoods", "likelihoods_by_item", "statistics"):
        path = folder / "tables" / f"{name}.csv"
        optional = TABLES[name].optional
        assert "standard_error" in optional
        pd.read_csv(path).drop(columns=list(optional)).to_csv(path, index=False)
    about = json.loads((folder / "results.json").read_bytes())
    for model in about["models"]:
        for key in ("fitted_to", "chosen_by", "architecture", "trained_on"):
            del model[key]
    del about["digests"]
    (folder / "results.json").write_text(json.dumps(about))
    assert read_results(folder).tables["likelihoods"]["standard_error"].isna().all()
    assert main(["report", str(folder)]) == 0


@pytest.mark.parametrize("name", [name for name in number_tables() if TABLES[name].keys])
def test_two_rows_with_the_same_keys_are_rejected(tmp_path: Path, name: str) -> None:
    folder = write_results_folder(tmp_path / "r", {name: number_tables()[name]})
    path = folder / "tables" / f"{name}.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, "", *rows, rows[0]]))
    last = len(rows) + 3
    with pytest.raises(FormatError, match=rf"{name}\.csv, line {last}: .* \(first on line 3\)"):
        read_results(folder)


def test_line_numbers_are_those_of_an_editor(tmp_path: Path) -> None:
    folder = write_results_folder(
        tmp_path / "r", {"accuracy_by_complexity": number_tables()["accuracy_by_complexity"]}
    )
    path = folder / "tables" / "accuracy_by_complexity.csv"
    path.write_text('model,complexity,accuracy\n\n"two\nlines",all,50\nnet,all,many\n')
    with pytest.raises(FormatError, match=r"csv, line 5: the accuracy 'many' is not"):
        read_results(folder)


def damage(folder: Path, how: str) -> None:
    tables, about = folder / "tables", folder / "results.json"
    if how == "another format":
        about.write_text(json.dumps({**json.loads(about.read_text()), "format": 99}))
    elif how == "broken json":
        about.write_text("{")
    elif how == "deep brackets":
        about.write_text("[" * 100_000)
    elif how == "format as text":
        about.write_text(about.read_text().replace('"format": 4', '"format": "4"'))
    elif how == "label as number":
        about.write_text(about.read_text().replace('"Symbolic (oracle)"', "5"))
    elif how == "a number as a model":
        about.write_text(json.dumps({**json.loads(about.read_text()), "models": [1.5]}))
    elif how == "no models":
        about.write_text(about.read_text().replace('"models"', '"model"'))
    elif how == "an answer twice":
        text = (tables / "responses.csv").read_text()
        (tables / "responses.csv").write_text(text + text.splitlines()[1])
    elif how == "no json":
        about.unlink()
    elif how == "no tables":
        for path in tables.iterdir():
            path.unlink()
    elif how == "broken csv":
        (tables / "accuracy_by_complexity.csv").write_text('model,complexity,accuracy\n"net,all\n')
    elif how == "no number":
        (tables / "accuracy_by_complexity.csv").write_text(
            "model,complexity,accuracy\nnet,all,many\n"
        )
    elif how == "no whole number":
        text = (tables / "response_patterns.csv").read_text()
        (tables / "response_patterns.csv").write_text(text.replace(",65,100,", ",65.5,100,"))
    elif how == "no flag":
        text = (tables / "item_accuracies.csv").read_text()
        (tables / "item_accuracies.csv").write_text(text.replace("False,94", "maybe,94"))
    elif how == "twice":
        text = (tables / "item_accuracies.csv").read_text()
        (tables / "item_accuracies.csv").write_text(text + text.splitlines()[1])
    elif how == "no column":
        (tables / "accuracy_by_complexity.csv").write_text("model,accuracy\nnet,50\n")
    elif how == "study":
        frame = pd.read_csv(tables / "responses.csv", keep_default_na=False)
        frame.assign(study="p1 and c1").to_csv(tables / "responses.csv", index=False)


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("another format", 1, ("results.json", "format 99", "biml reproduce")),
        ("broken json", 1, ("results.json", "damaged")),
        ("deep brackets", 1, ("results.json", "damaged")),
        ("format as text", 1, ("results.json", "'format' is \"4\", but should be a whole number")),
        ("label as number", 1, ("results.json", "'label' is 5, but should be a text", "mend it")),
        ("a number as a model", 1, ("results.json", "'name' is missing")),
        ("no models", 1, ("results.json", "'models' is missing")),
        ("an answer twice", 1, ("responses.csv, line 3", "task 'probes', item 't'", "on line 2")),
        ("no json", 2, ("not a results folder", "biml reproduce")),
        ("no tables", 1, ("tables", "no table", "biml reproduce")),
        ("broken csv", 1, ("accuracy_by_complexity.csv", "biml reproduce")),
        ("no number", 1, ("accuracy_by_complexity.csv, line 2", "many", "biml reproduce")),
        ("no whole number", 1, ("response_patterns.csv, line 4", "count '65.5'", "biml reproduce")),
        ("no flag", 1, ("item_accuracies.csv, line 3", "long_output 'maybe'", "biml reproduce")),
        (
            "twice",
            1,
            ("item_accuracies.csv, line 5", "model 'people', item 'DAX thrice'", "first on line 2"),
        ),
        ("no column", 1, ("accuracy_by_complexity.csv", "lacks the column complexity")),
        ("study", 1, ("responses.csv", "p1 and c1")),
    ],
)
def test_damaged_results_are_rejected_and_the_previous_page_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture, how: str, code: int, message: tuple[str, ...]
) -> None:
    row = {"task": "probes", "item": "t", "query": "p2", "study": "p1 -> c1", "response": "c2"}
    folder = write_results_folder(
        tmp_path / "r", {"responses": response_table([row]), **number_tables()}
    )
    (folder / "index.html").write_text("before")
    damage(folder, how)
    assert main(["report", str(folder)]) == code
    error = capsys.readouterr().err
    assert all(part in error for part in message), error
    assert (folder / "index.html").read_text() == "before"
    assert not (folder / "figures").exists()
