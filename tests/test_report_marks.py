"""Marks and intervals of scores: what a reader of the page and the console learns from them."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from biml.cli.reproduce import print_results
from biml.evaluation.accuracy import Accuracy
from biml.evaluation.intervals import mean_interval
from biml.report.figures import render_all
from biml.report.html_tables import ModelColumn, ModelColumns
from biml.report.results import Results, coerce_types
from biml.report.schemas import TABLES
from biml.report.tables import make_tables
from biml.reproduce.published import compare_with_published
from fakes.results import number_tables

TASKS = frozenset({"few_shot", "open_ended", "probes", "validation", "scan_length", "cogs_gen_lex"})


def columns(kind: str = "network", **attributes: object) -> ModelColumns:
    net = ModelColumn("net", "Net", kind, 1, TASKS, TASKS)
    people = ModelColumn("people", "People", "people", 0)
    oracle = ModelColumn("oracle", "Oracle", "symbolic", 2)
    return (people, replace(net, **attributes), oracle)  # type: ignore[arg-type]


def typed_tables() -> dict[str, pd.DataFrame]:
    return {name: coerce_types(frame, TABLES[name]) for name, frame in number_tables().items()}


def test_every_score_of_a_model_that_was_made_with_the_data_is_marked() -> None:
    """In all tables but those of training; values that no fit touches have no mark."""
    tables = typed_tables()
    tables["statistics"] = tables["statistics"].assign(uses="fitted to")
    made = make_tables(tables, columns(chosen_by=TASKS))
    made.pop("training")
    seen = set()
    for table in (table for section in made.values() for table in section):
        heads = [head.label for head in table.heads]
        for row in table.rows:
            for head, cell in zip(heads, row, strict=True):
                is_score = head == "Net" or ("Net" in row[0].text and cell is not row[0])
                plain = head in ("Responses", "Noise ceiling")
                if is_score and not plain and cell.text != "–" and cell.key is not None:
                    assert "†" in row[0].text + cell.text, (table.title, head)
                    seen.add(table.title)
    assert {"Correct responses", "Item correlation with people", "Few-shot task"} <= seen
    assert {"Correct responses by query", "Patterns", "Exact matches"} <= seen


@pytest.mark.parametrize(("kind", "mark"), [("network", "†"), ("symbolic", "")])
def test_a_cross_validated_likelihood_is_marked_where_only_the_lapse_rate_is_fitted_anew(
    kind: str, mark: str
) -> None:
    tables = typed_tables()
    tables["likelihoods"] = tables["likelihoods"].assign(cross_validated=-500.0)
    table = make_tables(tables, columns(kind))["likelihoods"][0]
    number = [head.label for head in table.heads].index("Cross-validated")
    (net,) = (row for row in table.rows if row[0].text == "Net")
    assert net[number].text == f"−500.0{mark}"
    assert net[1].text == "−400.5†"


def test_figures_mark_models_and_describe_the_models_that_they_show() -> None:
    tables = typed_tables()
    figures = render_all(tables, columns())
    drawn = figures["item_accuracies"].svg.decode()
    assert "†" in drawn
    assert "0.20 to 0.90" in drawn
    assert "held it out" not in figures["likelihoods"].caption
    folds = render_all(tables, columns(within_sample=frozenset()))
    assert "held it out" in folds["likelihoods"].caption


def test_accuracies_without_spread_have_the_interval_of_their_episodes() -> None:
    low, high = mean_interval(100.0, 0.0, 25)
    assert 86 < low < 87
    assert high == pytest.approx(100)
    assert mean_interval(50.0, 10.0, 100) == pytest.approx((48.04, 51.96), abs=0.01)
    assert Accuracy(100.0, 0.0, 25).interval == (low, high)
    # Of one episode it is that of its queries.
    assert Accuracy(0.0, 0.0, 1, n_queries=10).interval == pytest.approx((0.0, 27.75), abs=0.01)
    row = {"model": "net", "task": "few_shot_gold", "kind": "novel", "mean": 100.0, "sd": 0.0}
    table = pd.DataFrame([row | {"n": 25, "low": low, "high": high}])
    found = compare_with_published({"accuracies": table}, {"net": "MLC"}, ["few-shot"])
    found = found[found["statistic"].str.contains("gold")].set_index("model")
    assert found.loc["net", ["low", "high", "unit"]].tolist() == [low, high, "episodes"]


def test_the_log_likelihood_of_people_is_marked_as_fitted_to_them(capsys) -> None:
    row = {"model": "people", "task": "few_shot", "fold": "", "log_likelihood": -154.1}
    net = row | {"model": "net", "log_likelihood": -350.0, "cross_validated": -360.0}
    net["cross_validated_error"] = 12.0
    table = pd.DataFrame([row, net]).assign(
        standard_error=[None, 10.0], within_sample=[None, False], p_lapse=[None, 0.1]
    )
    statistics = compare_with_published(
        {"likelihoods": table}, {"people": "people", "net": ""}, ["table1"]
    )
    frame = coerce_types(statistics, TABLES["statistics"])
    assert frame.iloc[0]["uses"] == "fitted to"
    assert (frame.iloc[1:]["uses"] == "").all()
    print_results(
        Results("0", True, 0, (), ("table1",), (), tables={"statistics": frame}), Path("out")
    )
    output = " ".join(capsys.readouterr().out.split())
    assert "-154.1†" in output
    assert "is a ceiling" in output
    # The interval stands at the value that it is of.
    assert "-350.0 – [-369.6, -330.4] cross-validated -360.0 ± 12.0" in output
    assert "Samples of symbolic models lapse" in output
