"""Published statistics of the human responses, exactly, from the published data."""

from pathlib import Path

import pandas as pd
import pytest

from biml.analysis import few_shot, open_ended, probes
from biml.analysis.people import people_few_shot, people_open_ended, people_probes
from biml.analysis.responses import RESPONSE_COLUMNS
from biml.errors import BimlError
from biml.paths import DataFolders, SearchPath


@pytest.fixture(scope="module")
def data(shared: Path) -> DataFolders:
    return DataFolders(shared)


def by_kind(table: pd.DataFrame) -> dict[str, tuple[int, int]]:
    return {row.kind: (row.consistent, row.responses) for row in table.itertuples()}


@pytest.mark.published_data
def test_few_shot_accuracies(data: DataFolders) -> None:
    responses = people_few_shot(data)
    assert list(responses.columns) == list(RESPONSE_COLUMNS)
    assert len(responses) == 217
    (row,) = few_shot.accuracy_by_complexity(responses).to_dict("records")
    assert row["all"] == pytest.approx(80.739, abs=5e-4)
    assert row["simple"] == pytest.approx(85.479, abs=5e-4)
    assert row["complex"] == pytest.approx(76.0)
    assert row["long_output"] == pytest.approx(72.5)


@pytest.mark.published_data
def test_few_shot_items(data: DataFolders) -> None:
    items = few_shot.item_accuracy(people_few_shot(data)).set_index("item")
    assert len(items) == 10
    assert items["responses"].sum() == 217
    assert items.loc["DAX thrice", ["functions", "outputs", "correct"]].tolist() == [1, 3, 22]
    long = items[items["outputs"] == 6]
    assert list(long["functions"]) == [3, 3]


@pytest.mark.published_data
def test_few_shot_errors(data: DataFolders) -> None:
    (row,) = few_shot.error_rates(people_few_shot(data)).to_dict("records")
    assert (row["one_to_one"], row["errors"]) == (10, 41)
    assert (row["iconic"], row["reversing_errors"]) == (7, 30)
    assert row["one_to_one_percent"] == pytest.approx(24.4, abs=0.05)
    assert row["iconic_percent"] == pytest.approx(23.3, abs=0.05)
    each = few_shot.error_rates(people_few_shot(data), by=("participant",))
    assert (each["errors"].sum(), each["iconic"].sum()) == (41, 7)


@pytest.mark.published_data
def test_human_responses_have_error_types(data: DataFolders) -> None:
    errors = people_few_shot(data).query("not correct")["error_type"]
    counts = errors.value_counts().to_dict()
    assert counts == {"other": 25, "one-to-one": 9, "iconic": 6, "one-to-one iconic": 1}


@pytest.mark.published_data
def test_open_ended_patterns(data: DataFolders) -> None:
    responses = people_open_ended(data)
    assert responses["participant"].nunique() == 29
    (row,) = open_ended.pattern_rates(responses).to_dict("records")
    assert row["response_sets"] == 29
    assert row["perfect"] == 17
    assert row["one_to_one"] == 18
    assert row["iconic"] == 23
    assert row["mutual_exclusivity"] == 27


@pytest.mark.published_data
def test_probes(data: DataFolders) -> None:
    responses = people_probes(data)
    assert by_kind(probes.consistency_rates(responses)) == {
        "mutual exclusivity": (90, 132),
        "concatenation": (62, 66),
        "trade-off": (33, 66),
    }
    percent = probes.consistency_rates(responses).set_index("kind")["percent"]
    assert percent["mutual exclusivity"] == pytest.approx(68.2, abs=0.05)
    assert percent["concatenation"] == pytest.approx(93.9, abs=0.05)
    assert percent["trade-off"] == 50


@pytest.mark.published_data
def test_only_concatenation_trials_have_targets(data: DataFolders) -> None:
    responses = people_probes(data)
    right = responses[responses["target"] != ""]
    assert right["item"].unique().tolist() == [
        "concat_11_testp1p2",
        "concat_11_testp2p1p1",
        "concat_32",
    ]
    assert right["correct"].sum() == 62
    assert (right["error_type"] == "other").sum() == 4
    assert responses["correct"].isna().sum() == 9 * 22
    twice = pd.concat([responses, responses])
    assert probes.annotate_targets(twice)["correct"].sum() == 124


@pytest.mark.published_data
def test_mutual_exclusivity_decreases_with_counter_examples_and_pool_size(
    data: DataFolders,
) -> None:
    responses = people_probes(data)
    cells = probes.mutual_exclusivity(responses).set_index(["counter_examples", "pool_size"])
    consistent = cells["consistent"].to_dict()
    assert consistent == {(0, 2): 20, (0, 6): 18, (1, 2): 16, (1, 6): 12, (2, 2): 15, (2, 6): 9}
    terms = probes.mutual_exclusivity_regression(responses).set_index("term")
    assert (terms.loc[["counter_examples", "pool_size"], "estimate"] < 0).all()
    assert (terms.loc[["counter_examples", "pool_size"], "p"] < 0.05).all()


def test_without_human_data_the_error_names_the_download_command(
    tmp_path: Path,
) -> None:
    with pytest.raises(BimlError, match="biml data download human"):
        people_few_shot(DataFolders(None, (SearchPath(tmp_path, "nowhere"),)))
