"""Tables of `biml eval`: log-likelihoods by item or participant, and samples."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import biml
from biml.analysis import few_shot, open_ended, probes, responses
from biml.analysis.people import few_shot_grammars
from biml.cli.main import main
from biml.networks import checkpoint
from biml.paths import DataFolders
from fakes.experiments import OPEN, RESPONSE_SETS, write_table, write_text
from fakes.networks import small_network


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a small model and an imported experiment `mine`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("BIML_DATA", raising=False)
    checkpoint.save_checkpoint(
        Path("out_models/toy.pt"), checkpoint.checkpoint_of(small_network(), "few_shot_gold")
    )
    write_table(Path("r.csv"))
    write_text(Path("study.txt"))
    assert main(["data", "import", "r.csv", "--study", "study.txt", "--dest", "mine"]) == 0
    write_table(Path("sets.csv"), RESPONSE_SETS)
    write_text(Path("open.txt"), OPEN)
    assert main(["data", "import", "sets.csv", "--study", "open.txt", "--dest", "mine"]) == 0
    return tmp_path


def evaluate(*options: object, data: object = "mine", kind: str = "few_shot_human") -> int:
    where = ("--data_dir", data, "--episode_type", kind)
    return main(["eval", "--fn_out_model", "toy.pt", *map(str, (*where, *options))])


def figures(capsys: pytest.CaptureFixture[str], *options: object, **named: object) -> dict:
    capsys.readouterr()
    assert evaluate(*options, "--json", "-", **named) == 0
    return json.loads(capsys.readouterr().out)


def test_log_likelihoods_by_item_or_participant_sum_to_the_total(folder, capsys) -> None:
    options = ("--ll", "--ll_nrep", 3, "--ll_p_lapse", 0.1)
    plain = figures(capsys, *options)
    by_item = figures(capsys, *options, "--by", "item", "--ll_out", "ll.csv")
    by_person = figures(capsys, *options, "--by", "participant")
    assert list(by_item["loglike_by_item"]) == ["one", "two"]
    assert list(by_person["loglike_by_participant"]) == ["Ann", "Bo/b"]
    assert plain["loglike_over"] == "participants"
    sums = by_person["loglike_by_participant"].values()
    # The standard error of a sum over two people.
    assert plain["loglike_se"] == pytest.approx(abs(np.subtract(*sums)), abs=1e-3)
    assert set(by_person["loglike_by_participant_se"]) == {"Ann", "Bo/b"}
    for found in (by_item["loglike_by_item"], by_person["loglike_by_participant"]):
        assert sum(found.values()) == pytest.approx(plain["loglike"], abs=1e-4)
    assert by_item["loglike"] == pytest.approx(plain["loglike"], abs=1e-4)
    assert by_item["loglike_sd"] == pytest.approx(plain["loglike_sd"], abs=1e-4)
    table = responses.pd.read_csv("ll.csv")
    assert table["participant"].tolist() == ["Ann", "Bo/b"] * 2
    assert table["log_likelihood"].sum() == pytest.approx(plain["loglike"], abs=1e-4)


def test_open_ended_log_likelihood_by_participant(folder, capsys) -> None:
    found = figures(capsys, "--ll", "--by", "participant", kind="open_end_human_cross1")
    assert list(found["loglike_by_participant"]) == ["P0", "P5"]
    assert evaluate("--ll", "--by", "item", kind="open_end_human_all") == 0
    assert "6 responses, 18 symbols" in capsys.readouterr().out


def test_queries_repeated_ten_times_have_one_row_per_item(folder, shared, capsys) -> None:
    options = ("--ll", "--by", "item", "--episodes", 2, "--ll_out", "ll.csv")
    options = (*options, "--ll_probes", "allowed")
    assert evaluate(*options, kind="probe_human", data=shared) == 0
    output = capsys.readouterr().out
    assert "10 times" in output
    assert "22 responses" in output
    assert len(pd.read_csv("ll.csv")) == 44


@pytest.mark.published_data
@pytest.mark.parametrize("kind", ["probe_human", "probe_human_w_pool"])
def test_probe_likelihoods_are_as_published_or_over_the_allowed_outputs(
    folder, shared, capsys, kind: str
) -> None:
    published = figures(capsys, "--ll", kind=kind, data=shared)
    assert (published["symbols"], published["ll_probes"]) == (8490, "published")
    allowed = figures(capsys, "--ll", "--ll_probes", "allowed", kind=kind, data=shared)
    assert (allowed["symbols"], allowed["ll_probes"]) == (7980, "allowed")
    assert published["loglike"] < allowed["loglike"]
    library = biml.evaluate("out_models/toy.pt", kind, repeats=1, data_dir=shared)
    assert library.probes == "published"
    assert library.likelihood.mean == pytest.approx(published["loglike"], rel=1e-6)
    assert evaluate("--ll", kind=kind, data=shared) == 0
    assert "Probes as published: study examples are scored too" in capsys.readouterr().out


def test_the_bounded_lapse_fit_is_at_least_as_good_as_the_grid(folder, capsys) -> None:
    grid = figures(capsys, "--fit_lapse")
    assert figures(capsys, "--fit_lapse", "grid") == grid
    bounded = figures(capsys, "--fit_lapse", "bounded")
    assert bounded["loglike"] >= grid["loglike"] - 1e-6
    assert bounded["p_lapse"] != grid["p_lapse"]


def test_sampled_few_shot_responses_as_a_table(folder, capsys) -> None:
    assert evaluate("--sample_html", "--samples_out", "s.csv") == 0
    assert "s.csv (40 rows)" in capsys.readouterr().out
    table = responses.read_responses("s.csv")
    assert table["item"].value_counts().to_dict() == {"one": 20, "two": 20}
    assert set(table["model"]) == {"toy"}
    grammar = few_shot_grammars(DataFolders(folder / "mine"))
    assert len(few_shot.item_accuracy(table, grammar)) == 2


def test_sampled_response_sets_and_probe_trials_as_tables(folder, shared, capsys) -> None:
    options = ("--sample_iterative", "--samples_out", "s.parquet", "--episodes", 3)
    assert evaluate(*options, kind="open_end_freeform") == 0
    assert open_ended.pattern_rates(responses.read_responses("s.parquet"))[
        "response_sets"
    ].tolist() == [3]
    options = ("--sample_html", "--samples_out", "p.csv", "--episodes", 2)
    assert evaluate(*options, kind="probe_human", data=shared) == 0
    assert probes.consistency_rates(responses.read_responses("p.csv"))["responses"].tolist() == [
        2 * 220
    ]
    page = (folder / "out_models" / "toy_probe_human_samples.html").read_text()
    assert page.count('<div class="pool">from ') == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max", "--by", "item"), "is for --ll or --fit_lapse"),
        (("--max", "--ll_out", "x.csv"), "is for --ll or --fit_lapse"),
        (("--ll", "--samples_out", "x.csv"), "--samples_out is for --sample_html"),
        (("--ll", "--ll_out", "x.txt"), "--ll_out x.txt: a table ends in .csv or .parquet"),
    ],
)
def test_options_of_tables_that_do_not_apply_are_usage_errors(
    folder, capsys, options, message
) -> None:
    assert evaluate(*options) == 2
    assert message in capsys.readouterr().err


def test_breakdown_by_participant_requires_known_participants(folder, shared, capsys) -> None:
    assert evaluate("--ll", "--by", "participant", "--ll_nrep", 50, data=shared) == 2
    assert "--ll_by participant" in capsys.readouterr().err
