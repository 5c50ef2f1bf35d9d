"""The HTML page of a results folder."""

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from biml.analysis.responses import response_table
from biml.cli.main import main
from biml.report.figures import FIGURE_NAMES
from biml.report.page import write_report
from biml.report.schemas import TABLES
from fakes.results import number_tables, write_results_folder

VOID = {"meta", "link", "input", "br", "img"}


class Outline(HTMLParser):
    """Tags that are left open, scripts, ids, and links to other pages."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.scripts += tag == "script"
        self.wrong += [name for name in named if name.startswith("on")]
        self.ids += [str(named["id"])] if "id" in named else []
        self.links += [str(named[key]) for key in ("src", "href") if key in named]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def page(report_folder: Path) -> str:
    return (report_folder / "index.html").read_text()


def text_of(page: str) -> str:
    """Text between tags, with single blanks."""
    visible = re.sub(r"<(style|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", visible)).split())


def test_the_page_is_well_formed_and_self_contained(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    assert outline.wrong == []
    assert len(outline.ids) == len(set(outline.ids))
    assert all(link.startswith("#") or link == "data:," for link in outline.links)
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page
    assert len(page.encode()) < 2_000_000


def test_text_from_tables_and_names_is_escaped(page: str) -> None:
    assert Outline(page).scripts == 1
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "onerror" in text_of(page)


def test_figures_are_files_with_escaped_labels(report_folder: Path) -> None:
    files = sorted(path.name for path in (report_folder / "figures").iterdir())
    assert files == sorted(f"{name}.{ending}" for name in FIGURE_NAMES for ending in ("png", "svg"))
    for path in (report_folder / "figures").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    for path in (report_folder / "figures").glob("*.svg"):
        assert "<script>" not in path.read_text()
    assert "&lt;script&gt;" in (report_folder / "figures" / "likelihoods.svg").read_text()


@pytest.mark.published_data
def test_responses_are_counted_with_percentages_and_error_types(page: str) -> None:
    row = page[page.index('<span class="query">3 after DAX<') :]
    people = text_of(row[: row.index("</td>")])
    assert people.startswith("3 after DAX 86% ✓ of 22 responses, 67 to 95% D 3 19 86.4% ✓ correct")
    assert "3 D 2 9.1% iconic" in people
    assert "3 2 D 1 4.5% one-to-one" in people
    assert 'aria-label="DAX 3"' in row


def test_study_examples_are_in_the_sidebar(page: str) -> None:
    aside = page[page.index("<aside") : page.index("</aside>")]
    assert "3 surround 1 after 2 2 3 1 3" in text_of(aside)
    assert aside.count("<dt>") >= 14


@pytest.mark.published_data
def test_each_open_ended_response_set_is_a_card(page: str) -> None:
    assert page.count('<article class="card">') == 29 + 15
    first = page[page.index('<article class="card">') :]
    card = text_of(first[: first.index("</article>")])
    assert card.startswith("Participant 00 fep G fep fep G G")
    assert card.endswith("Perfect One-to-one Iconic Mutual exclusivity")
    assert (
        "29 response sets · perfect 59% (41 to 74) · one-to-one 62% (44 to 77) · "
        "iconic 79% (62 to 90) · mutual exclusivity 93% (78 to 98)"
    ) in text_of(page)


@pytest.mark.published_data
def test_probe_trials_list_study_examples_and_allowed_outputs(page: str) -> None:
    text = text_of(page)
    trial = "p1 → c1 p2 allowed: c1 c2 mutual exclusivity"
    assert f"{trial} 91% ✓ of 22 responses, 72 to 97% c2 18 81.8% ✓" in text


def test_published_values_are_below_reproduced_ones(page: str) -> None:
    text = text_of(page)
    assert "80.7 paper 80.7 (0.0)" in text
    assert "82.5 paper 82.4 (+0.1)" in text
    assert "0.779 paper 0.788 (−0.009)" in text
    assert "99.8 paper 92.9 (+6.9) SD 8.2, best run 100.0" in text
    assert "−400.5 paper −380 to −360 (−20.5)" in text


def test_the_page_has_the_numbers_of_the_tables(page: str) -> None:
    text = text_of(page)
    for number in ("−536.1", "135.5", "180.2", "0.031", "24.4 10 of 41", "−0.23", "p < 0.001"):
        assert number in text, number


def test_the_report_command_regenerates_the_same_bytes(
    report_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    files = [report_folder / "index.html", *sorted((report_folder / "figures").iterdir())]
    before = [path.read_bytes() for path in files]
    (report_folder / "index.html").write_text("old")
    assert main(["report", str(report_folder)]) == 0
    assert capsys.readouterr().out == f"Report: {report_folder / 'index.html'}\n"
    assert [path.read_bytes() for path in files] == before


@pytest.mark.parametrize(
    ("table", "gone"),
    [
        ("statistics", "Published statistics"),
        ("accuracies", "Exact matches"),
        ("learning_curves", "Training"),
    ],
)
def test_a_section_without_its_table_is_left_out(tmp_path: Path, table: str, gone: str) -> None:
    tables = {name: number_tables()[name] for name in (table, "accuracy_by_complexity")}
    write_report(write_results_folder(tmp_path / "r", tables))
    assert gone in (tmp_path / "r" / "index.html").read_text()
    (tmp_path / "r" / "tables" / f"{table}.csv").unlink()
    write_report(tmp_path / "r")
    page = (tmp_path / "r" / "index.html").read_text()
    assert gone not in page
    assert Outline(page).wrong == []
    # A figure of a table that is no longer there would be mistaken for one of this page.
    assert not (tmp_path / "r" / "figures" / f"{table}.png").exists()


@pytest.mark.parametrize("table", number_tables())
def test_the_page_can_be_made_from_any_single_table(tmp_path: Path, table: str) -> None:
    write_report(write_results_folder(tmp_path / "r", {table: number_tables()[table]}))
    assert Outline((tmp_path / "r" / "index.html").read_text()).wrong == []


def test_a_custom_task_has_its_own_section(tmp_path: Path) -> None:
    rows = [
        {"item": "q", "query": "wug twice", "response": r, "target": "A A", "study": "wug -> A"}
        for r in ("A A", "A <b>")
    ]
    named = [{**row, "task": task} for row in rows for task in ("my_task", "")]
    write_report(write_results_folder(tmp_path / "results", {"responses": response_table(named)}))
    page = (tmp_path / "results" / "index.html").read_text()
    assert '<a href="#task-1">My task</a>' in page
    assert '<a href="#task-2">Responses</a>' in page
    assert "50% ✓ of 2 responses" in text_of(page)
    assert "A <b>" in text_of(page)


def test_simulated_participants_are_told_apart(tmp_path: Path, page: str) -> None:
    row = {"task": "few_shot", "item": "q", "query": "dax", "response": "RED", "target": "RED"}
    people = response_table({**row, "participant": p} for p in ("simulated-1", "simulated-2", "P1"))
    write_results_folder(tmp_path / "out", {"responses": people})
    write_report(tmp_path / "out")
    assert "Simulated participants. 2 of" in text_of((tmp_path / "out/index.html").read_text())
    assert "Simulated participants" not in page


def test_many_different_responses_are_collapsed_and_the_rarest_only_counted(tmp_path: Path) -> None:
    from biml.analysis.responses import response_table

    row = {"model": "net", "task": "few_shot", "item": "q", "query": "q"}
    rows = [{**row, "response": f"R{n}"} for n in range(40)]
    write_report(
        write_results_folder(tmp_path / "r", {"responses": response_table([*rows, rows[0]])})
    )
    text = text_of((tmp_path / "r" / "index.html").read_text())
    assert "41 responses" in text
    assert "20 more" in text
    assert "and 16 rarer responses" in text


def test_a_query_of_unknown_output_length_is_plotted(tmp_path: Path) -> None:
    accuracies = {"item_accuracies": number_tables()["item_accuracies"]}
    folder = write_results_folder(tmp_path / "r", accuracies)
    path = folder / "tables" / "item_accuracies.csv"
    path.write_text(path.read_text().replace("simple,False", "complex,"))
    write_report(folder)
    assert (folder / "figures" / "item_accuracies.png").is_file()


def test_a_model_of_one_fold_is_labelled_with_its_fold(tmp_path: Path) -> None:
    tables = number_tables()
    lone = pd.DataFrame(
        [("lone", "open_ended", "3", 200, 0.03, -190.0, 3.0, 182, 42, False, 12.5, -191.5, 13.0)],
        columns=list(TABLES["likelihoods"].columns)[:13],
    )
    likelihoods = pd.concat([tables["likelihoods"], lone], ignore_index=True)
    folder = write_results_folder(tmp_path / "r", {"likelihoods": likelihoods})
    write_report(folder)
    text = text_of((folder / "index.html").read_text())
    assert "lone −190.0 SE 12.5 SD 3.0 over 200 repeats fold 3 only" in text
    assert text.count("fold 3 only") == 2  # in the figure, too
    figure = (folder / "figures" / "likelihoods.svg").read_text()
    assert ">−190 (SE 12) (fold 3 only)<" in figure
    assert "−191.5 SE 13.0" in text


def test_row_headers_identify_rows(page: str) -> None:
    heads = re.findall(r'<th scope="row">([^<]+)</th>', page)
    assert {"item correlation r", "P7", "1", "DAX thrice"} <= set(heads)
    assert not {"few-shot", "Few-shot task", "Open-ended task"} & set(heads)


def test_scores_of_a_model_trained_on_the_responses_are_marked(page: str) -> None:
    text = text_of(page)
    assert "−925.0†" in text  # its likelihood
    assert "65.0† 65 of 100 55 to 74" in text  # its patterns
    assert "−400.5†" not in text  # of another task
    assert "†: the model was trained on, fitted to or chosen by these data" in text
    assert "What the models were made with" in text


def test_exclusions_are_one_matrix_with_numbered_reasons(page: str) -> None:
    matrix = page[page.index('<table class="numbers exclusions">') :]
    assert "open-ended: samples" in text_of(matrix[: matrix.index("</thead>")])
    assert '<abbr title="The model is for another task &lt;script&gt;' in matrix
    assert "<li>The model is for another task &lt;script&gt;" in matrix


def test_values_of_registered_measures_are_shown(tmp_path: Path) -> None:
    about = {"measure": "length", "task": "few_shot", "group": "", "label": "symbols per response"}
    frame = pd.DataFrame(
        [
            {**about, "model": "a", "value": 2.5, "standard_error": 0.25},
            {**about, "model": "b", "value": 3},
        ]
    )
    write_report(write_results_folder(tmp_path / "r", {"measures": frame}))
    text = text_of((tmp_path / "r" / "index.html").read_text())
    assert "symbols per response" in text
    assert "a 2.50 SE 0.25 b 3.00" in text


def test_the_models_after_the_fourth_can_be_shown(tmp_path: Path) -> None:
    row = {"task": "few_shot", "item": "q", "query": "q", "response": "R"}
    rows = [{**row, "model": model} for model in ("people", *"abcdefg")]
    write_report(write_results_folder(tmp_path / "r", {"responses": response_table(rows)}))
    page = (tmp_path / "r" / "index.html").read_text()
    assert "Show 3 more models: e, f, g" in text_of(page)
    assert page.count('num extra"') == page.count(' extra" data-key') == 3
