"""Registered and built-in measures give tables for human responses and models."""

from collections.abc import Iterator

import pandas as pd
import pytest

import biml
from biml.analysis.measures import (
    MEASURES,
    bootstrap_errors,
    measure_table,
    measure_values,
    measures_of,
)
from biml.analysis.responses import response_table
from biml.grammar import GOLD
from biml.grammar.meta_grammar import GOLD_SIMPLE


@pytest.fixture(autouse=True)
def registry_restored() -> Iterator[None]:
    before = dict(MEASURES)
    yield
    MEASURES.clear()
    MEASURES.update(before)


@pytest.fixture
def responses() -> pd.DataFrame:
    answers = {"people": "1 1 1", "net": "1 1"}
    return response_table(
        {
            "model": model,
            "task": "few_shot",
            "item": "dax thrice",
            "query": "dax thrice",
            "response": response,
            "target": "1 1 1",
        }
        for model, response in answers.items()
    )


def test_a_number_per_model_becomes_one_value_per_model(responses: pd.DataFrame) -> None:
    @biml.register_measure("length", task="few_shot", label="symbols")
    def length(rows: pd.DataFrame) -> float:
        """Mean number of output symbols."""
        return float((rows["response"].str.count(" ") + 1).mean())

    (measure,) = measures_of("few_shot", builtin=False)
    assert (measure.label, measure.summary) == ("symbols", "Mean number of output symbols.")
    values = measure_values(measure, responses)
    assert values.to_dict("records") == [
        {"measure": "length", "task": "few_shot", "model": model, "group": "", "value": value}
        for model, value in (("people", 3.0), ("net", 2.0))
    ]


def test_a_table_gives_a_value_for_each_numeric_column_of_each_row(
    responses: pd.DataFrame,
) -> None:
    @biml.register_measure("by_item", task="few_shot")
    def by_item(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.groupby("item")["correct"].agg(["sum", "size"]).astype(int).reset_index()

    values = measure_values(MEASURES["by_item"], responses)
    assert values["group"].tolist() == ["dax thrice sum", "dax thrice size"] * 2
    assert values["value"].tolist() == [1.0, 1.0, 0.0, 1.0]


def test_a_measure_across_models_compares_each_model_with_people(responses: pd.DataFrame) -> None:
    @biml.register_measure("same", task="few_shot", across_models=True)
    def same(rows: pd.DataFrame) -> pd.DataFrame:
        people = rows.loc[rows["model"] == "people", "response"].iloc[0]
        return rows.assign(value=rows["response"] == people)[["model", "value"]]

    assert measure_values(MEASURES["same"], responses)["value"].tolist() == [1.0, 0.0]


def people(n_items: int, answers: str) -> pd.DataFrame:
    """Each participant's answers A or B to items 0, 1, …; a word per participant."""
    return response_table(
        {
            "model": "people",
            "task": "few_shot",
            "item": str(item),
            "query": "dax",
            "response": answer,
            "participant": f"P{number}",
        }
        for number, word in enumerate(answers.split())
        for item, answer in zip(range(n_items), word, strict=True)
    )


def test_the_standard_error_of_a_measure_is_over_participants_or_else_within_items() -> None:
    @biml.register_measure("share", task="few_shot")
    def share(rows: pd.DataFrame) -> float:
        if len(rows[rows["response"] == "A"]) == 0:
            raise ValueError("no A")  # such resamples are left out
        return float((rows["response"] == "A").mean())

    measure = MEASURES["share"]
    table = people(4, "AAAA BBBB AAAA BBBB")
    (error,) = bootstrap_errors(measure, table, resamples=150)["standard_error"]
    assert error == pytest.approx(0.25, rel=0.15)  # of four participants who are all or nothing
    (error,) = bootstrap_errors(measure, table.assign(participant=""), resamples=150)[
        "standard_error"
    ]
    assert error == pytest.approx(0.125, rel=0.15)  # of 16 responses
    same = people(4, "ABAB ABAB ABAB ABAB").assign(participant="")
    errors = bootstrap_errors(measure, same, resamples=50)["standard_error"]
    assert errors.tolist() == [0]  # items are the same


def test_a_registered_measure_cannot_replace_another() -> None:
    with pytest.raises(biml.UsageError, match="error_rates"):
        biml.register_measure("error_rates", task="few_shot")(len)


@pytest.mark.parametrize("compute", [lambda rows: rows["no_such_column"], lambda rows: "text"])
def test_an_error_of_a_registered_measure_names_it(
    responses: pd.DataFrame, compute: object
) -> None:
    biml.register_measure("faulty", task="few_shot")(compute)  # type: ignore[arg-type]
    with pytest.raises(biml.BimlError, match="faulty"):
        measure_table(MEASURES["faulty"], responses)


def test_every_built_in_few_shot_measure_has_a_row_per_model() -> None:
    rows = pd.concat(
        response_table(
            {
                "model": model,
                "task": "few_shot",
                "item": query,
                "query": query,
                "response": " ".join(GOLD.interpret(query.split())),
            }
            for query in GOLD_SIMPLE
        )
        for model in ("people", "net")
    )
    for measure in measures_of("few_shot", builtin=True):
        assert "net" in measure_table(measure, rows)["model"].tolist()
