"""`biml reproduce benchmarks`: error rates on SCAN and COGS, with tiny networks."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from biml.cli.main import main
from biml.cli.reproduce import print_results
from biml.episodes.data_use import DataUse
from biml.episodes.episode_type import CANONICAL_VOCAB
from biml.episodes.registry import EPISODE_TYPES
from biml.errors import UsageError
from biml.networks import checkpoint
from biml.networks.pairwise import PairwiseConfig, PairwiseTransformer
from biml.paths import DataFolders
from biml.report.benchmarks import TESTS, error_rate_table
from biml.report.html_tables import model_columns
from biml.report.results import Results, read_results
from biml.report.schemas import TABLES
from biml.reproduce.benchmarks import error_rate_tables
from biml.reproduce.experiments import (
    BENCHMARK_TESTS,
    BENCHMARKS,
    Workload,
    select_experiments,
)
from biml.reproduce.models import (
    EvaluatedModel,
    NetworkFile,
    find_models,
    installed_benchmark_models,
)
from biml.reproduce.published import published_statistics
from biml.reproduce.run import plan_jobs, reproduce
from biml.reproduce.tables import ReproductionSpec
from fakes.corpora import write_cogs
from fakes.reproduction import RecordingProgress, cache_in

SMALL = PairwiseConfig(nlayers_encoder=1, nlayers_decoder=1, nheads=2, emb_size=8, ff_mult=1)

MODELS = {
    "jump-s0": "addprim_jump_actions",
    "jump-s1": "addprim_jump_actions",
    "vanilla": "addprim_jump_actions_vanilla",
    "length": "length_actions+parts",
    "cogs": "cogs_train_targeted",
    "simple": "simple_actions",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataFolders:
    folder = tmp_path_factory.mktemp("corpora")
    write_cogs(folder)
    return DataFolders(folder, ())


@pytest.fixture(scope="module")
def folder(data: DataFolders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks whose responses are empty, so that all are wrong."""
    folder = tmp_path_factory.mktemp("models")
    for seed, (name, kind) in enumerate(MODELS.items()):
        network = PairwiseTransformer(SMALL, EPISODE_TYPES[kind].open_vocabulary(data), seed)
        network.out.weight.data.zero_()
        network.out.bias.data[network.vocabulary.output.eos] = 1.0
        contents = checkpoint.checkpoint_of(network, kind, info={"options": {"seed": seed}})
        checkpoint.save_checkpoint(folder / f"{name}.pt", contents)
    return folder


def spec_of(names: list[str], folder: Path, data: DataFolders) -> ReproductionSpec:
    models = find_models(names, folder, data)
    return ReproductionSpec(models, (BENCHMARKS,), data, quick=True)


@pytest.fixture
def twenty_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "biml.reproduce.run.workload", lambda *_, **options: Workload(test_items=20)
    )


@pytest.fixture(scope="module")
def out(folder: Path, data: DataFolders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("benchmarks")
    spec = spec_of(["jump-s0", "jump-s1", "vanilla", "length", "cogs"], folder, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("biml.reproduce.run.workload", lambda *_, **options: Workload(test_items=20))
        reproduce(spec, out / "out", workers=1, cache=cache_in(out))
    return out / "out"


@pytest.fixture(scope="module")
def results(out: Path) -> Results:
    return read_results(out)


def test_networks_of_one_type_are_seeds_of_one_model(results: Results) -> None:
    rates = results.tables["error_rates"].set_index(["model", "task", "kind"])
    by_parts = "BIML (pairwise, answers by parts)"
    names = ["BIML (pairwise)", "Basic seq2seq (pairwise)", by_parts]
    assert [model.name for model in results.models] == names
    jump = rates.loc[("BIML (pairwise)", "scan_addprim_jump", "all")]
    assert (jump["networks"], jump["n"], jump["total"], jump["error_rate"]) == (2, 20, 7706, 100)
    assert jump["trained_on"] == "addprim_jump_actions"
    assert rates.loc[("Basic seq2seq (pairwise)", "scan_addprim_jump", "all"), "ratio"] == 1
    assert rates.loc[(by_parts, "scan_length", "all"), "trained_on"] == "length_actions+parts"
    tested = rates.loc["BIML (pairwise)"].index
    for test in ("cogs_iid", "cogs_gen_lex"):
        assert (test, "all") in tested
    assert ("cogs_gen_struct", "obj_pp_to_subj_pp") in tested
    counts = results.tables["error_counts"]
    assert set(counts["network"]) == {"jump-s0", "jump-s1", "vanilla", "length", "cogs"}
    assert counts[counts["network"] == "jump-s1"]["seed"].unique().tolist() == [1]


def test_errors_of_models_that_were_chosen_by_a_test_are_marked(results: Results) -> None:
    first = results.models[0]
    assert first.trained_on == "addprim_jump_actions (SCAN); cogs_train_targeted (COGS)"
    chosen = replace(first, chosen_by="addprim_jump_actions cogs_gen_lex")
    columns = model_columns(replace(results, models=(chosen, *results.models[1:])))
    (grid,) = error_rate_table(dict(results.tables), columns)
    marked = [row[0].text for row in grid.rows if row[4].text.endswith("†")]
    assert marked == ["SCAN add-primitive jump", "COGS lexical (mean of 18 types)"]
    assert "†" in grid.note


def test_published_error_rates_stand_beside_ours(results: Results) -> None:
    found = results.tables["statistics"].set_index(["statistic", "model"])
    jump = found.loc[("SCAN add-primitive jump: errors (%)", "BIML (pairwise)")]
    assert (jump["published_high"], jump["difference"]) == (0.22, pytest.approx(99.78))
    lexical = found.loc[("COGS lexical (mean of 18 types): errors (%)", "BIML (pairwise)")]
    assert (lexical["published"], lexical["difference"]) == (0.87, pytest.approx(99.13))
    ratio = found.loc[("SCAN add-primitive jump: errors over MLC's", "Basic seq2seq (pairwise)")]
    assert (ratio["published_low"], ratio["difference"]) == (7, -6)


def test_page_figures_and_console_say_how_many_test_items_were_measured(
    results: Results, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    page = (out / "index.html").read_text()
    assert "<h1>SCAN and COGS</h1>" in page
    for text in ("SCAN add-primitive jump", "trained on addprim_jump_actions", "of 7,706"):
        assert text in page
    figures = out / "figures"
    assert "COGS i.i.d.: 4 test items" in (figures / "errors_by_length.svg").read_text()
    assert "SCAN length: 20 of 3,920 test items" in (figures / "errors_by_length.svg").read_text()
    assert "prim to subj proper" in (figures / "errors_by_type.svg").read_text()
    monkeypatch.setenv("COLUMNS", "120")
    print_results(results, out)
    printed = capsys.readouterr().out
    assert "SCAN length" in printed
    assert "BIML (pairwise, answers by parts)" in printed
    assert "≤ 0.22" in printed


COUNTS = list(TABLES["error_counts"].columns)


def counts(network: str, wrong: int, n: int, kind: str = "all", **about: object) -> dict:
    row = {"model": "BIML (staged)", "task": "scan_simple", "network": network, "kind": kind}
    row |= {"output_length": 1, "seed": 0, "architecture": "staged", "count": wrong, "n": n}
    return row | {"trained_on": "simple_actions", "total": n} | about


def rates_of(*rows: dict) -> pd.DataFrame:
    found = error_rate_tables(pd.DataFrame(rows, columns=COUNTS))["error_rates"]
    return found.set_index(["model", "kind"])


def test_intervals_are_over_seeds_or_of_one_network() -> None:
    rates = rates_of(counts("a", 1, 100), counts("b", 2, 100), counts("c", 3, 100))
    three = rates.loc[("BIML (staged)", "all")]
    assert (three["error_rate"], three["sd"], three["networks"]) == (pytest.approx(2), 1, 3)
    # Student's t of 2 degrees of freedom is 4.303; below 0 is no error rate.
    assert (three["low"], three["high"]) == (0, pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3))
    one = rates_of(counts("a", 1, 100), counts("a", 0, 100, output_length=2)).iloc[0]
    assert (one["error_rate"], one["n"]) == (0.5, 200)
    assert (one["low"], one["high"]) == (
        pytest.approx(0.09, abs=0.01),
        pytest.approx(2.78, abs=0.01),
    )
    equal = rates_of(counts("a", 0, 100), counts("b", 0, 100)).iloc[0]
    assert (equal["sd"], equal["low"], equal["high"]) == (0, 0, pytest.approx(3.7, abs=0.01))


def test_the_mean_of_types_and_ratios_to_models_with_study_examples() -> None:
    lexical = {"task": "cogs_gen_lex", "trained_on": "cogs_train_targeted"}
    plain = {"model": "Basic seq2seq (staged)", "trained_on": "cogs_train_vanilla"}
    rates = rates_of(
        counts("a", 1, 10, "x", **lexical),
        counts("a", 1, 100, "y", **lexical),
        counts("v", 5, 10, "x", **lexical | plain),
        counts("v", 60, 100, "y", **lexical | plain),
    )
    assert rates["error_rate"].to_dict() == pytest.approx(
        {
            ("BIML (staged)", "all"): 5.5,
            ("BIML (staged)", "x"): 10,
            ("BIML (staged)", "y"): 1,
            ("Basic seq2seq (staged)", "all"): 55,
            ("Basic seq2seq (staged)", "x"): 50,
            ("Basic seq2seq (staged)", "y"): 60,
        }
    )
    assert rates["ratio"].loc["Basic seq2seq (staged)"].tolist() == [10, 5, 60]
    assert rates["ratio"].loc["BIML (staged)"].isna().all()


def test_published_statistics_have_the_names_of_the_tests() -> None:
    stated = [rows[0] for rows in published_statistics() if rows[0]["experiment"] == "benchmarks"]
    errors = {(row["task"], row["kind"]): row for row in stated if row["column"] == "error_rate"}
    assert {key: row["statistic"] for key, row in errors.items()} == {
        key: f"{name}: errors (%)" for key, name in TESTS.items()
    }


def test_parts_cover_all_test_items_with_the_same_study_examples(data: DataFolders) -> None:
    evaluation = EPISODE_TYPES["addprim_left_actions"].open_evaluation(data, 0)
    every, n_parts = evaluation.repeat(0), BENCHMARK_TESTS["scan"].n_parts
    for part in range(n_parts):
        assert evaluation.repeat(0, slice(part, None, n_parts)) == every[part::n_parts]


@pytest.mark.parametrize(
    ("trained_on", "expected"),
    [
        ("cogs_train_targeted", "cogs_gen_lex"),
        ("cogs_train+phrases", "cogs_gen_lex+phrases"),
        ("cogs_train_vanilla", "cogs_gen_lex_vanilla"),
        ("length_actions+parts", ""),
    ],
)
def test_tests_of_cogs_have_study_sets_as_in_training(trained_on: str, expected: str) -> None:
    network = NetworkFile(Path("net.pt"), "", trained_on, CANONICAL_VOCAB, "staged", DataUse())
    model = EvaluatedModel("net", "net", network=network)
    assert model.test_type("cogs_gen_lex") == expected
    assert not expected or expected in EPISODE_TYPES


def test_an_interruption_keeps_complete_parts(
    folder: Path, data: DataFolders, tmp_path: Path, twenty_items: None
) -> None:
    spec = spec_of(["jump-s0"], folder, data)
    first = RecordingProgress(interrupt_after=3)
    with pytest.raises(KeyboardInterrupt):
        reproduce(spec, tmp_path / "out", workers=1, progress=first, cache=cache_in(tmp_path))
    second = RecordingProgress()
    reproduce(spec, tmp_path / "out", workers=1, progress=second, cache=cache_in(tmp_path))
    assert second.totals == {"errors, SCAN": 1}


def test_without_files_models_of_the_simple_split_and_cogs_are_excluded(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    nowhere = DataFolders(tmp_path, ())
    jobs, exclusions = plan_jobs(spec_of(["jump-s0", "simple", "cogs"], folder, nowhere))
    assert {job.context.model.name for job in jobs} == {"jump-s0"}
    reasons = {(one.model, one.measurement): one.reason for one in exclusions}
    assert "`biml data download scan`" in reasons["simple", "errors, SCAN"]
    assert "`biml data download cogs`" in reasons["cogs", "errors, COGS lexical"]
    assert len(exclusions) == 4
    with pytest.raises(UsageError, match="every model is excluded"):
        plan_jobs(spec_of(["cogs"], folder, nowhere))
    with pytest.raises(UsageError, match="oracle was not trained on SCAN or COGS"):
        plan_jobs(spec_of(["oracle"], folder, nowhere))
    monkeypatch.setattr("biml.paths.PRETRAINED_FOLDER", tmp_path)
    assert main(["reproduce", "benchmarks", "--out", str(tmp_path / "out")]) == 2
    assert "--models" in capsys.readouterr().err


def test_models_that_come_with_biml_are_found_by_their_cards(
    folder: Path, data: DataFolders, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("biml.paths.PRETRAINED_FOLDER", tmp_path)
    for name in ("vanilla", "jump-s0"):
        contents = checkpoint.load_checkpoint(folder / f"{name}.pt")
        contents["card"] = {"name": name, "seed": 7}
        checkpoint.write_safetensors(tmp_path / f"a-{name}.safetensors", contents)
    names = installed_benchmark_models()
    assert [Path(name).stem for name in names] == ["a-jump-s0", "a-vanilla"]
    (jump, _) = find_models(names, "nowhere", data)
    assert jump.network is not None
    assert jump.network.seed == 7


def test_the_benchmarks_run_only_when_named() -> None:
    assert BENCHMARKS not in select_experiments(None)
    assert BENCHMARKS not in select_experiments(["all"])
    assert select_experiments(["benchmarks"]) == (BENCHMARKS,)
    assert select_experiments(["benchmarks", "all"]) == (*select_experiments(None), BENCHMARKS)
