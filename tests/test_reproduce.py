"""The paper's results: experiments, models and their folds, published statistics."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from biml.episodes.generate import DatasetSpec, generate
from biml.errors import BimlError, UsageError
from biml.grammar import MetaGrammar
from biml.networks import checkpoint
from biml.paths import DataFolders, SearchPath
from biml.report.results import Results, coerce_types
from biml.report.schemas import TABLES
from biml.reproduce.experiments import select_experiments
from biml.reproduce.models import find_models
from biml.reproduce.published import compare_with_published
from biml.reproduce.run import plan_jobs, reproduce
from biml.reproduce.tables import ReproductionSpec
from fakes.networks import small_network
from fakes.reproduction import cache_in


@pytest.mark.published_data
def test_published_sds_and_best_runs_are_listed(results: Results) -> None:
    columns = ["published", "published_sd", "published_best"]
    mlc = figures(results, "mlc")[columns]
    assert mlc.loc["greedy, gold queries (%)"].tolist() == [92.9, 8.2, 100]
    joint = figures(results, "joint-top")[columns].fillna(-1)
    assert joint.loc["greedy, novel validation queries (%)"].tolist() == [95.8, 0.4, -1]


def figures(results: Results, model: str) -> pd.DataFrame:
    table = results.tables["statistics"]
    return table[table["model"] == model].set_index("statistic")


@pytest.mark.published_data
def test_statistics_of_human_responses_are_the_published_ones(results: Results) -> None:
    people = figures(results, "people")
    assert len(people) == 14
    assert (people["difference"].abs() < 0.05).all()


@pytest.mark.published_data
def test_statistics_of_symbolic_models_are_the_published_ones(results: Results) -> None:
    oracle = figures(results, "oracle")
    assert oracle.loc["log-likelihood of few-shot responses", "reproduced"] == pytest.approx(
        -536.1, abs=0.05
    )
    assert oracle.loc["lapse rate of few-shot responses", "reproduced"] == 0.13
    biased = figures(results, "oracle-biases")
    row = biased.loc["log-likelihood of few-shot responses"]
    assert row["reproduced"] == pytest.approx(-363.2, abs=0.05)
    assert row["standard_error"] == pytest.approx(50.2, abs=0.1)


def test_every_table_exists_with_its_columns_and_people_first(results: Results) -> None:
    # Of plugins, of the benchmarks, and of language models.
    others = {"measures", "error_rates", "error_counts", "language_models"}
    assert set(results.tables) == set(TABLES) - others
    for name, frame in results.tables.items():
        assert list(frame.columns) == list(TABLES[name].columns), name
    order = ["people", "mlc", "joint-top", "vanilla", "probed", "oracle", "oracle-biases"]
    assert results.tables["accuracy_by_complexity"]["model"].drop_duplicates().tolist() == [
        name for name in order if name not in ("vanilla", "probed")
    ]


@pytest.mark.published_data
def test_folds_are_scored_by_held_out_models_and_summed(results: Results) -> None:
    table = results.tables["likelihoods"]
    folds = table[(table["task"] == "open_ended") & (table["model"] == "joint-top")]
    assert folds["fold"].tolist() == ["1", "2", "3", "4", "5", "all"]
    assert not folds["within_sample"].any()
    assert folds["p_lapse"].nunique() == 1
    total = folds["log_likelihood"].iloc[5]
    assert folds["log_likelihood"].iloc[:5].sum() == pytest.approx(total)
    assert folds["responses"].tolist()[5] == 29 * 7
    assert folds["symbols"].tolist()[5] == 795
    people = results.tables["likelihoods_by_participant"]
    people = people[people["model"] == "joint-top"]
    assert len(people) == 29
    assert people["log_likelihood"].sum() == pytest.approx(total)


def test_without_folds_all_participants_are_scored_within_sample(
    models: Path, shared: Path, run_folder: Path, tmp_path: Path
) -> None:
    data = DataFolders(shared)
    spec = ReproductionSpec(
        find_models(["opened"], models, data), select_experiments(["table1"]), data, quick=True
    )
    found = reproduce(spec, tmp_path / "out", workers=1, cache=cache_in(run_folder))
    (row,) = found.tables["likelihoods"].to_dict("records")
    assert (row["fold"], row["within_sample"], row["responses"]) == ("", True, 203)
    (line,) = found.tables["statistics"].to_dict("records")
    assert line["statistic"] == "log-likelihood of open-ended responses, fitted to them"
    assert "comparisons" not in found.tables


@pytest.mark.published_data
def test_models_scored_on_other_responses_are_not_compared(results: Results) -> None:
    table = results.tables["likelihoods"].set_index(["model", "task", "fold"])
    assert table.loc[("vanilla", "few_shot", ""), "responses"] == 215
    pairs = results.tables["comparisons"]
    few_shot = pairs[pairs["task"] == "few_shot"]
    assert "vanilla" not in {*few_shot["model_a"], *few_shot["model_b"]}
    (row,) = few_shot[(few_shot["model_a"] == "oracle")].to_dict("records")
    assert row["model_b"] == "oracle-biases"
    assert row["difference"] == pytest.approx(-172.9, abs=0.1)
    assert row["low"] < row["difference"] < row["high"] < 0


@pytest.mark.published_data
def test_models_scored_on_other_responses_are_listed(results: Results) -> None:
    listed = [one for one in results.exclusions if "other responses" in one.reason]
    assert [(one.model, one.experiment, one.measurement) for one in listed] == [
        ("vanilla", "table1", "differences, few-shot")
    ]


def test_models_scored_on_different_participants_are_not_compared(
    models: Path, shared: Path, run_folder: Path, tmp_path: Path
) -> None:
    for fold in (1, 2):
        held_out = checkpoint.checkpoint_of(small_network(fold), f"open_end_human_cross{fold}")
        checkpoint.save_checkpoint(tmp_path / f"fold{fold}.pt", held_out)
    data = DataFolders(shared)
    subjects = find_models(["fold1", "fold2"], tmp_path, data)
    spec = ReproductionSpec(subjects, select_experiments(["table1"]), data, quick=True)
    found = reproduce(spec, tmp_path / "out", workers=1, cache=cache_in(run_folder))
    assert found.tables["likelihoods"]["responses"].tolist() == [42, 42]
    assert "comparisons" not in found.tables
    assert [one.model for one in found.exclusions if "other responses" in one.reason] == ["fold2"]


def test_the_difference_to_a_published_range_is_zero_inside_it() -> None:
    ours = {"a": -350.0, "b": -370.0, "c": -390.0}
    rows = [{"model": m, "task": "few_shot", "log_likelihood": of} for m, of in ours.items()]
    table = pd.DataFrame(rows, columns=list(TABLES["likelihoods"].columns))
    columns = dict.fromkeys("abc", "MLC")
    found = compare_with_published({"likelihoods": table}, columns, ["table1"]).set_index("model")
    assert found["published"].isna().all()
    assert found.loc["a", ["published_low", "published_high"]].tolist() == [-380, -360]
    assert found["difference"].tolist() == [10, 0, -10]


def test_published_values_of_absent_models_can_be_listed() -> None:
    columns = {"people": "people", "mine": "MLC (joint)"}
    rows = [{"model": "mine", "task": "probes", "pattern": "iconic", "percent": 60.0}]
    table = pd.DataFrame(rows, columns=list(TABLES["response_patterns"].columns))
    lines = compare_with_published(
        {"response_patterns": table}, columns, ["probes"], include_absent=True
    )
    assert not lines.duplicated(list(TABLES["statistics"].keys)).any()
    found = coerce_types(lines, TABLES["statistics"]).set_index(["statistic", "model"])
    probed = found.xs("MLC (probes)", level="model")
    assert probed["published"].tolist() == [68.6, 93.8, 53.2]
    assert probed[["reproduced", "difference"]].isna().all(axis=None)
    mine = found.xs("mine", level="model")["reproduced"]
    assert mine.fillna(-1).tolist() == [-1, 60, -1]
    assert len(found) == 9
    # No statistic is listed that imported people cannot have.
    assert (
        len(
            compare_with_published(
                {"response_patterns": table}, columns, ["probes"], True, include_absent=True
            )
        )
        == 1
    )
    assert len(compare_with_published({"response_patterns": table}, columns, ["probes"])) == 1


@pytest.mark.published_data
def test_the_page_shows_published_values_of_absent_models(
    quick_spec: ReproductionSpec, tmp_path: Path
) -> None:
    some = tuple(s for s in quick_spec.models if s.name in ("joint-top", "oracle"))
    spec = ReproductionSpec(
        some, select_experiments(["probes"]), quick_spec.data, quick=True, include_absent=True
    )
    found = reproduce(spec, tmp_path / "out", workers=1, cache=cache_in(tmp_path))
    lines = figures(found, "MLC (probes)")
    assert lines["reproduced"].isna().all()
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert re.search(r">–\s*<[^>]*>\s*paper 93\.8\s*<", page)


def test_probe_responses_are_scored(results: Results) -> None:
    table = results.tables["likelihoods"]
    rows = table[table["task"] == "probes"].set_index("model")
    assert rows.index.tolist() == ["joint-top", "probed"]
    assert rows["responses"].tolist() == [264, 264]
    assert rows["within_sample"].tolist() == [False, True]
    pairs = results.tables["comparisons"].set_index("task")
    assert pairs.loc["probes", ["model_a", "model_b"]].tolist() == ["joint-top", "probed"]


@pytest.mark.published_data
def test_exclusions_have_reasons(results: Results) -> None:
    why = {(one.model, one.experiment, one.measurement): one.reason for one in results.exclusions}
    assert "not trained for the open-ended task" in why["mlc", "open-ended", "samples, open-ended"]
    assert "vocabulary" in why["vanilla", "novel-rules", "greedy responses, held-out rules"]
    assert not any(model == "joint-top" for model, _, _ in why)
    assert ("vanilla", "few-shot", "greedy responses, gold") not in why
    assert ("vanilla", "few-shot", "greedy responses, validation") in why
    assert ("oracle", "few-shot", "greedy responses, gold") in why
    assert ("mlc", "table1", "likelihood, open-ended") in why


@pytest.mark.published_data
def test_greedy_accuracies_and_samples_of_every_task(results: Results) -> None:
    found = results.tables["accuracies"]
    assert set(zip(found["model"], found["task"], strict=True)) == {
        *((m, t) for m in ("mlc", "joint-top") for t in ("validation", "novel_rules")),
        *((m, "few_shot_gold") for m in ("mlc", "joint-top", "vanilla")),
    }
    answers = results.tables["responses"].groupby(["task", "model"]).size()
    assert answers["few_shot"].to_dict() == dict.fromkeys(
        ["people", "mlc", "joint-top", "oracle", "oracle-biases"], 217
    )
    assert answers["open_ended"].drop("people").eq(210).all()
    assert answers["probes"].to_dict() == dict.fromkeys(["people", "joint-top", "probed"], 264)


def test_the_page_and_run_metadata_are_beside_the_tables(
    results: Results, run_folder: Path
) -> None:
    about = json.loads((run_folder / "out" / "results.json").read_bytes())
    assert about["format"] == 4
    assert about["quick"] is True
    assert about["experiments"] == [row.name for row in select_experiments(None)]
    first = {
        **{"name": "mlc", "label": "BIML", "kind": "network", "fitted_to": "", "chosen_by": ""},
        "architecture": "paper",
        "trained_on": "algebraic+biases (episodes of the meta-grammar)",
    }
    assert about["models"][0] == first
    fitted = {model["name"]: model["fitted_to"] for model in about["models"]}
    assert (fitted["joint-top"], fitted["probed"]) == ("open_ended", "probes")
    assert about["models"][-1]["kind"] == "symbolic"
    assert (run_folder / "out" / "index.html").stat().st_size > 10_000


def test_samples_of_networks_have_lapses_only_with_lapse_samples(
    quick_spec: ReproductionSpec,
) -> None:
    def needs(lapsing: bool) -> dict[tuple[str, str], str]:
        spec = ReproductionSpec(
            quick_spec.models, select_experiments(["few-shot"]), quick_spec.data, True, 0, lapsing
        )
        return {unit.key: unit.depends_on for unit in plan_jobs(spec)[0]}

    assert needs(False)["few_shot_samples", "mlc"] == ""
    assert needs(True)["few_shot_samples", "mlc"] == "few_shot_likelihood"
    assert needs(False)["few_shot_samples", "oracle"] == "few_shot_likelihood"
    assert ("few_shot_likelihood", "oracle") in needs(False)


def test_without_human_data_novel_rules_run_and_the_error_names_the_download_command(
    models: Path, tmp_path: Path
) -> None:
    nowhere = DataFolders(None, (SearchPath(tmp_path, "nowhere"),))
    subjects = find_models(["mlc"], models, nowhere)
    spec = ReproductionSpec(subjects, select_experiments(["table1"]), nowhere, quick=True)
    with pytest.raises(BimlError, match="biml data download human"):
        reproduce(
            spec,
            tmp_path / "out",
            workers=1,
            cache=cache_in(tmp_path),
        )
    assert not (tmp_path / "out").exists()
    spec = ReproductionSpec(subjects, select_experiments(["novel-rules"]), nowhere, quick=True)
    reproduce(spec, tmp_path / "out", workers=1, cache=cache_in(tmp_path))
    assert (tmp_path / "out" / "tables" / "accuracies.csv").is_file()


@pytest.mark.published_data
def test_accuracy_on_other_validation_episodes_has_no_published_value(
    results: Results, models: Path, shared: Path, tmp_path: Path
) -> None:
    def stated(found: Results) -> set[str]:
        return set(figures(found, "mlc").dropna(subset="published").index)

    validation, gold = "greedy, novel validation queries (%)", "greedy, gold queries (%)"
    assert {validation, gold} <= stated(results)
    meta = MetaGrammar(n_primitives=3)
    folder = tmp_path / "data_algebraic"
    generate(DatasetSpec(train=1, val=200, meta_grammar=meta), folder, workers=1)
    data = DataFolders(tmp_path, (SearchPath(shared, "shared"),))
    spec = ReproductionSpec(
        find_models(["mlc"], models, data), select_experiments(["few-shot"]), data, quick=True
    )
    found = reproduce(spec, tmp_path / "out", workers=1, cache=cache_in(tmp_path))
    assert stated(found) == stated(results) & set(figures(found, "mlc").index) - {validation}
    assert figures(found, "mlc").loc[validation, "reproduced"] >= 0


def test_a_network_of_another_vocabulary_is_excluded(shared: Path, tmp_path: Path) -> None:
    from biml.networks.seq2seq import Seq2SeqTransformer
    from biml.vocabulary import Vocabulary
    from fakes.networks import SMALL

    other = Seq2SeqTransformer(
        SMALL, Vocabulary.from_words_and_symbols(("wug", "blick"), ("■", "▲"))
    )
    data = DataFolders(shared)
    for kind in ("algebraic", "joint", "probe_human_w_pool"):
        checkpoint.save_checkpoint(tmp_path / "other.pt", checkpoint.checkpoint_of(other, kind))
        subjects = find_models(["other"], tmp_path, data)
        with pytest.raises(UsageError, match="other knows another vocabulary"):
            plan_jobs(ReproductionSpec(subjects, select_experiments(None), data))
