"""Tables of responses: built, written, read, and rejected with line and remedy."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import biml.analysis
from biml.analysis.responses import (
    RESPONSE_COLUMNS,
    read_responses,
    response_table,
    study_examples,
    write_responses,
)
from biml.errors import BimlError, FormatError, UsageError
from biml.grammar.meta_grammar import COLOURS

SMALL = "participant,item,query,response\np1,a,dax fep,RED RED\np2,a,dax fep,BLUE\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "responses.csv"


def test_a_csv_needs_only_four_columns(path: Path) -> None:
    path.write_text(SMALL)
    found = read_responses(path)
    assert list(found.columns) == list(RESPONSE_COLUMNS)
    assert found["participant"].tolist() == ["p1", "p2"]
    assert found["sample"].tolist() == [0, 1]
    assert found["model"].tolist() == ["people", "people"]
    assert found["correct"].isna().all()


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_written_tables_are_read_back(tmp_path: Path, ending: str) -> None:
    rows = [
        {"item": "a", "query": "dax", "response": "RED", "target": "RED", "seed": 3, "model": "m"},
        {"item": "a", "query": "dax", "response": "", "target": "RED", "error_type": "other"},
        {"item": 'b, "c"', "query": "NA null", "response": "nan", "participant": "007"},
        {
            "item": "d",
            "query": "p2",
            "response": "é",
            "study": "p1 -> c1 | p3 -> c2",
            "allowed_outputs": "é",
        },
    ]
    made = response_table(rows)
    path = tmp_path / f"responses{ending}"
    write_responses(made, path)
    pd.testing.assert_frame_equal(read_responses(path), made)


def test_safe_cells_are_no_formulas(tmp_path: Path) -> None:
    cells = ["=1+1", "+cmd", "-x", "@SUM(A1)", "-0.5", "a=b", "'=1"]
    made = response_table({"item": str(n), "query": c, "response": c} for n, c in enumerate(cells))
    write_responses(made, tmp_path / "plain.csv")
    write_responses(made, tmp_path / "safe.csv", safe_cells=True)
    assert read_responses(tmp_path / "plain.csv")["query"].tolist() == cells
    safe = read_responses(tmp_path / "safe.csv")
    assert safe["response"].tolist() == [*(f"'{cell}" for cell in cells[:4]), *cells[4:]]
    assert safe["item"].tolist() == made["item"].tolist()


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.text("ab,\"'#é=", min_size=1, max_size=4),
            st.lists(st.sampled_from(COLOURS), max_size=3).map(" ".join),
            st.none() | st.integers(0, 10),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_table_survives_a_csv_round_trip(
    tmp_path_factory: pytest.TempPathFactory, rows: list
) -> None:  # type: ignore[type-arg]
    made = response_table({"item": i, "query": i, "response": r, "seed": s} for i, r, s in rows)
    path = tmp_path_factory.mktemp("csv") / "r.csv"
    write_responses(made, path)
    pd.testing.assert_frame_equal(read_responses(path), made)


def test_the_column_correct_is_computed_from_the_target(path: Path) -> None:
    path.write_text("item,query,response,target,correct\na,dax,RED,BLUE,True\n")
    assert read_responses(path)["correct"].tolist() == [False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("participant,item,answer\np1,a,RED\n", r"line 1: lacks the columns query, response"),
        ("item;query;response\na;dax;RED\n", "separated by something other than commas"),
        ("", "lacks the columns item, query, response; it has none"),
        ("item,query,response\n", "no response in it"),
        ("item,item,query,response\na,a,dax,RED\n", "two columns are named 'item'"),
        ("\n\nitem,answer\na,RED\n", "line 3: lacks the columns query, response"),
        ("sep=;\nitem;query;response\na;dax;RED\n", "separated by something other than commas"),
        ("Item,query,response\na,dax,RED\n", "named 'Item'; if it holds the item, name it 'item'"),
        (
            "PARTICIPANT ,item,query,response\np1,a,dax,RED\n",
            "line 1: a column is named 'PARTICIPANT'; .* name it 'participant', else something",
        ),
        ("item,query,response\na,dax,RED,BLUE\n", "line 2: 4 cells under 3 column names"),
        ("item,query,response\na,,RED\n", "line 2: the query is empty"),
        ("item,query,response\n ,dax,RED\n", "line 2: .*item"),
        ("item,query,response\na,dax,RED\n\na,dax,PUCE\n", "line 4: unknown symbol 'PUCE'; known"),
        ("item,query,response\na,dux,RED\n", "line 2: unknown word 'dux'; known are: dax"),
        ("item,query,response,seed\na,dax,RED,x\n", "line 2: the seed 'x' is not a whole number"),
        ('item,query,response\na,"dax,RED\n', "not a well-formed CSV row"),
        (
            SMALL + "p1,a,dax,RED\n",
            r"line 4: participant p1 answers item 'a' a second time \(first on line 2\)",
        ),
        (
            "item,query,response,sample\na,dax,RED,1\na,dax,RED,1\n",
            "line 3: sample 1 answers item 'a' a second time",
        ),
    ],
)
def test_errors_in_csv_files_name_line_and_remedy(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(FormatError, match=message) as caught:
        read_responses(path, words=("dax", "fep"), symbols=COLOURS)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("above", ["\n", " \n,,,\n", "sep=,\n", "\nsep=,\n\n", "sep=,,,\n"])
def test_blank_lines_above_the_header_are_skipped(path: Path, above: str) -> None:
    path.write_text(above + SMALL)
    assert read_responses(path)["participant"].tolist() == ["p1", "p2"]
    path.write_text(above + SMALL + "p3,,dax,RED\n")
    with pytest.raises(FormatError, match=f"line {above.count(chr(10)) + 4}: .*item"):
        read_responses(path)


def test_unknown_columns_are_ignored(path: Path) -> None:
    path.write_text("subject,item,query,response\np1,a,dax,RED\np2,a,dax,RED\n")
    assert read_responses(path)["participant"].tolist() == ["", ""]


def test_the_older_column_name_pool_is_read(path: Path) -> None:
    path.write_text("item,query,response,pool\na,p2,c2,c1 c2\n")
    assert read_responses(path)["allowed_outputs"].tolist() == ["c1 c2"]


def test_undefined_action_is_a_known_symbol(path: Path) -> None:
    path.write_text("item,query,response\na,dax,undefined_action\n")
    assert read_responses(path, symbols=COLOURS)["response"].tolist() == ["undefined_action"]


def test_unreadable_files_give_clear_errors(tmp_path: Path, path: Path) -> None:
    path.write_bytes(b"item,query,response\na,dax,\xff\n")
    with pytest.raises(FormatError, match="line 2: not UTF-8"):
        read_responses(path)
    parquet = tmp_path / "r.parquet"
    parquet.write_bytes(b"PAR1 and no more")
    with pytest.raises(FormatError, match="not a Parquet file"):
        read_responses(parquet)
    pd.DataFrame({"item": ["a"], "query": ["dax"]}).to_parquet(parquet)
    with pytest.raises(FormatError, match="lacks the column response"):
        read_responses(parquet)
    with pytest.raises(UsageError, match=r"\.csv or \.parquet"):
        read_responses(tmp_path / "r.xlsx")
    with pytest.raises(BimlError, match="cannot be read"):
        read_responses(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("item", None, "row 2: .*item"),
        ("item", " ", "row 2: .*item"),
        ("query", None, "row 2: the query is empty"),
        ("sample", "x", "row 2: the sample 'x' is not a whole number"),
        ("seed", "1.5", "row 2: the seed '1.5' is not a whole number"),
    ],
)
def test_errors_in_parquet_files_name_the_row(tmp_path: Path, column, cell, message) -> None:
    good: dict[str, object] = {"item": "a", "query": "dax", "response": "RED"}
    rows = [{"sample": "1", "seed": "1", **good}, {**good, column: cell}]
    pd.DataFrame(rows).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(FormatError, match=message):
        read_responses(tmp_path / "r.parquet")


def test_damaged_parquet_files_are_rejected_whatever_fails(tmp_path: Path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("columns")  # as pandas does for damaged metadata

    monkeypatch.setattr(pd, "read_parquet", fail)
    (tmp_path / "r.parquet").write_bytes(b"PAR1")
    with pytest.raises(FormatError, match=r"r\.parquet.*not a Parquet file, or a damaged one"):
        read_responses(tmp_path / "r.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item,query,response,seed\na,dax,RED,99999999999999999999\n", "line 2: .*whole number"),
        ("item,query,response\na,dax,RED,\n", "line 2: 4 cells under 3 column names"),
        ("item,query,response\na,dax," + "R" * 140_000, "line 2: not a well-formed CSV row"),
        ("item,query,response\na,dax," + "R" * 20_000, "line 2: the response has 20,000 letters"),
        (",".join(["c"] * 100_000), "lacks the columns"),
        ("item,query,response," + ",".join(["c"] * 100_000), "two columns are named 'c'"),
    ],
)
def test_tables_beyond_limits_are_rejected(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(FormatError, match=message) as caught:
        read_responses(path)
    assert len(str(caught.value)) < 1000


def test_misspelled_parquet_columns_are_rejected(tmp_path) -> None:
    rows = {" participant": ["p"], "item": ["a"], "query": ["dax"], "response": ["RED"]}
    pd.DataFrame(rows).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(FormatError, match=r"parquet.*' participant'"):
        read_responses(tmp_path / "r.parquet")


def test_parquet_columns_with_whole_numbers_stored_as_floats_are_read(tmp_path: Path) -> None:
    rows = {"item": [1, 2], "query": ["dax"] * 2, "response": ["RED", None], "seed": [3.0, None]}
    rows["participant"] = [7.0, None]
    pd.DataFrame(rows).to_parquet(tmp_path / "r.parquet")
    found = read_responses(tmp_path / "r.parquet")
    pd.DataFrame(rows | {"query": [1.5, 2.5]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(FormatError, match=r"row 1: the query .1\.5. is not text"):
        read_responses(tmp_path / "other.parquet")
    assert found["seed"].tolist() == [3, pd.NA]
    assert found["participant"].tolist() == ["7", ""]
    assert found["item"].tolist() == ["1", "2"]
    assert found["response"].tolist() == ["RED", ""]


def test_a_failed_write_leaves_no_partial_file(tmp_path: Path) -> None:
    made = response_table([{"item": "a", "query": "dax", "response": "RED"}])
    (tmp_path / "r.csv").mkdir()
    with pytest.raises(BimlError, match="could not be written"):
        write_responses(made, tmp_path / "r.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["r.csv"]


def test_malformed_study_examples_are_rejected() -> None:
    assert study_examples("") == ()
    for text in ("p1", "p1 -> ", " -> c1", "p1 -> c1 |  | p2 -> c2"):
        with pytest.raises(FormatError, match="should read like"):
            study_examples(text)


def test_without_pandas_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pandas" else find_spec(name)
    )
    with pytest.raises(BimlError, match=r"need pandas; .*pip install 'biml\[analysis\]'"):
        importlib.reload(biml.analysis)


@pytest.mark.parametrize(
    "words",
    [
        ("reproduce",),
        ("report", "results"),
        ("eval", "--fn_out_model", "x.pt", "--ll", "--by", "participant"),
        ("eval", "--fn_out_model", "x.pt", "--sample_iterative", "--samples_out", "s.csv"),
        ("eval", "--fn_out_model", "x.pt", "--fit_lapse", "bounded"),
    ],
)
def test_without_pandas_commands_say_at_once_what_to_install(words: tuple[str, ...]) -> None:
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        f"from biml.cli.main import main; sys.exit(main({list(words)!r}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "pip install 'biml[analysis]' (in a checkout: '.[analysis]')" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_jinja2_a_report_says_what_to_install() -> None:
    code = "import sys; sys.modules['jinja2'] = None; import biml.report"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'biml[analysis]' (in a checkout: '.[analysis]')" in ended.stderr
