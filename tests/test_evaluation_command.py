"""`biml eval`: statistics, JSON, listings, sample pages and usage errors."""

import json
import os
from pathlib import Path

import pytest

from biml.analysis.responses import read_responses
from biml.cli.main import main
from biml.episodes.episode_type import FEW_SHOT, FEW_SHOT_GOLD, OPEN_ENDED, PROBES, PUBLISHED_VOCAB
from biml.episodes.registry import EPISODE_TYPES
from biml.human.experiment import write_experiment
from biml.human.readers import read_response_table
from biml.networks import checkpoint
from fakes.experiments import STUDY, write_table, write_text
from fakes.networks import small_network


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with `out_models/toy.pt`, which was trained on few_shot_gold."""
    checkpoint.save_checkpoint(
        tmp_path / "out_models" / "toy.pt",
        checkpoint.checkpoint_of(small_network(), "few_shot_gold"),
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIML_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    return tmp_path


DATA_USE = ("trained_on", "fitted_to", "chosen_by", "uses_of_these_episodes")


def evaluate(*options: object, model: str = "toy.pt") -> int:
    return main(["eval", "--fn_out_model", model, *map(str, options)])


def figures(capsys: pytest.CaptureFixture[str], *options: object, **kinds: str) -> dict:
    capsys.readouterr()
    assert evaluate(*options, "--json", "-", **kinds) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.published_data
def test_json_output_has_one_flat_key_per_statistic(folder, shared, capsys) -> None:
    human = ("--episode_type", "few_shot_human", "--data_dir", shared)
    found = figures(capsys, *human, "--ll", "--ll_nrep", 3)
    about = {"model", "episode_type", "architecture", *DATA_USE}
    likelihood = {"loglike", "loglike_sd", "loglike_se", "loglike_over", "symbols", "p_lapse"}
    assert set(found) == about | likelihood
    assert found["loglike_over"] == "responses within items"
    assert found["model"] == "toy.pt"
    assert (found["episode_type"], found["symbols"], found["p_lapse"]) == ("few_shot_human", 990, 0)
    assert found["loglike"] < 0 < found["loglike_sd"]
    lapsed = figures(capsys, *human, "--ll", "--ll_nrep", 3, "--ll_p_lapse", 0.5)
    fitted = figures(capsys, *human, "--fit_lapse", "--ll_nrep", 3)
    assert found["loglike"] < lapsed["loglike"] <= fitted["loglike"]
    assert fitted["loglike_cross_validated"] <= fitted["loglike"]
    assert fitted["loglike_cross_validated_se"] > 0
    low, high = fitted["p_lapse_interval"]
    assert low <= fitted["p_lapse"] <= high
    answers = figures(capsys, *human, "--max")
    ends = ("", "_sd", "_se", "_interval")
    names = {f"{kind}_novel{end}" for kind in ("accuracy", "agreement") for end in ends}
    assert set(answers) == about | names | {"episodes", "accuracy_over"}
    assert answers["episodes"] == 10
    assert answers["agreement_novel"] == answers["accuracy_novel"]


def test_published_combinations_of_options_run(folder, shared, capsys) -> None:
    human = ("--episode_type", "few_shot_human", "--data_dir", shared)
    rates = figures(capsys, *human, "--ll", "--fit_lapse", "--ll_p_lapse", 0.2)
    given = figures(capsys, *human, "--ll", "--ll_p_lapse", 0.2)
    fitted = figures(capsys, *human, "--fit_lapse", "--ll_p_lapse", 0.2)
    extra = {"loglike_given": given["loglike"], "loglike_given_se": given["loglike_se"]}
    assert rates == fitted | extra | {"p_lapse_given": 0.2}
    few = ("--episodes", 3)
    greedy = figures(capsys, *few, "--max", "--ll_nrep", 5, "--batch_size", -1)
    sampled = figures(capsys, *few, "--sample", "--ll_p_lapse", 0.1)
    both = figures(capsys, *few, "--max", "--sample")
    assert greedy == figures(capsys, *few, "--max")
    measured = ("accuracy", "agreement", "episodes")
    assert both == greedy | {
        f"sampled_{name}": value for name, value in sampled.items() if name.startswith(measured)
    }


def test_json_is_written_to_a_file_and_the_summary_to_the_terminal(folder, capsys) -> None:
    assert evaluate("--max", "--json", "out.json") == 0
    output = capsys.readouterr().out
    found = json.loads(Path("out.json").read_text())
    assert found["episode_type"] == "few_shot_gold"
    assert found["episodes"] == 100
    assert f"{found['accuracy_retrieve']:.2f}%" in output
    assert f"{found['accuracy_novel']:.2f}%" in output


def test_the_same_seed_gives_the_same_statistics(folder, shared, capsys) -> None:
    options = ("--episode_type", "few_shot_human", "--data_dir", shared, "--ll", "--sample")
    first = figures(capsys, *options)
    assert figures(capsys, *options) == first
    assert figures(capsys, *options, "--seed", 1)["loglike"] != first["loglike"]
    split = figures(capsys, *options, "--batch_size", 7)
    near = {name: pytest.approx(first[name], abs=1e-2) for name in ("loglike", "loglike_se")}
    assert split == first | near


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, row in EPISODE_TYPES.items()
        if row.evaluation_task in (FEW_SHOT, FEW_SHOT_GOLD, OPEN_ENDED, PROBES) and row.uses_study
    ],
)
def test_every_human_episode_type_is_evaluated(folder, shared, capsys, name: str) -> None:
    data = ("--data_dir", shared, "--episode_type", name)
    found = figures(capsys, *data, "--ll", "--max")
    assert found["symbols"] > 0
    assert 0 <= found["accuracy_novel"] <= 100


@pytest.mark.published_data
def test_the_listing_of_errors_has_targets_in_canonical_names(shared, capsys, tmp_path) -> None:
    legacy = ("--dir_model", shared / "legacy", "--data_dir", shared)
    main(
        ["eval", "--fn_out_model", "net-legacy-vanilla.pt", "--max", "--verbose", *map(str, legacy)]
    )
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "novel DAX after 1 → ✓ 1 DAX" in lines
    assert "novel DAX surround 2 → ✗ 2 3 2 target: DAX 2 DAX" in lines
    assert (
        "Accuracy on novel queries, greedy responses: 10.00% (95% interval 1.79 to 40.42 over "
        "10 queries of 1 episode)"
    ) in lines


@pytest.mark.published_data
def test_the_listing_of_remapped_episodes_is_in_canonical_names(folder, shared, capsys) -> None:
    human = ("--episode_type", "few_shot_human", "--data_dir", shared, "--verbose")
    assert evaluate(*human, "--max") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "example 2 surround 3 → 2 3 2" in lines
    assert any(line.startswith("novel DAX thrice →") for line in lines)
    assert any(line.endswith("person: DAX DAX DAX × 22") for line in lines)
    assert not any("dax" in line or "RED" in line for line in lines[2:])
    assert evaluate(*human, "--ll") == 0
    output = capsys.readouterr().out
    assert "log-probability" in output
    assert "× 19" in output


def test_open_ended_responses_are_sampled_autoregressively(folder, shared, capsys) -> None:
    data = ("--data_dir", shared, "--sample_iterative")
    assert evaluate("--episode_type", "open_end_freeform", *data) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("query" in line and "→" in line for line in lines) == 700
    assert evaluate("--episode_type", "open_end_human_all", *data) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("query" in line and "→" in line for line in lines) == 29 * 7
    assert evaluate("--episode_type", "few_shot_human", *data) == 2
    assert "open_end_freeform" in capsys.readouterr().err


def test_the_sample_page_has_ten_samples_per_human_response(folder, shared, capsys) -> None:
    human = ("--episode_type", "few_shot_human", "--data_dir", shared)
    assert evaluate(*human, "--sample_html") == 0
    name = "toy_few_shot_human_samples.html"
    assert name in capsys.readouterr().out
    page = (folder / "out_models" / name).read_text()
    assert page.count('<th scope="row">') == 10
    assert "http" not in page
    assert "<script" not in page
    assert "19 (86.4%)" in page
    assert evaluate("--episode_type", "few_shot_gold", "--sample_html") == 2
    assert "few_shot_human" in capsys.readouterr().err


def test_samples_may_be_as_long_as_the_longest_human_response(folder, shared, tmp_path) -> None:
    endless = small_network()
    endless.out.bias.data[PUBLISHED_VOCAB.output.eos] = -1000
    checkpoint.save_checkpoint(
        tmp_path / "out_models" / "endless.pt", checkpoint.checkpoint_of(endless, "few_shot_human")
    )

    def drawn(*options: object) -> set[int]:
        assert evaluate(*options, "--samples_out", "drawn.csv", model="endless.pt") == 0
        return {len(text.split()) for text in read_responses("drawn.csv")["response"]}

    published = ("--data_dir", shared)
    assert drawn("--sample_html", *published) == {10}
    people = ("--episode_type", "open_end_human_all", "--sample_iterative", *published)
    assert drawn(*people) == {14}
    assert drawn(*people, "--max_length_eval", 3) == {3}
    rows = [("Ann", "long", "blick twice", "▲ " * 12)]
    made = read_response_table(
        write_table(folder / "r.csv", rows), write_text(folder / "study.txt")
    )
    write_experiment(made, folder / "data")
    imported = ("--data_dir", folder / "data")
    assert drawn("--sample_html", *imported) == {12}
    assert drawn("--sample_html", *imported, "--max_length_eval", 11) == {11}


def test_note_on_data_from_elsewhere_names_both_folders(
    folder, shared, monkeypatch, capsys
) -> None:
    def noted(kind: str, where: Path) -> str:
        few = ("--episodes", 1, "--max", "--data_dir", where)
        assert evaluate("--episode_type", kind, *few) == 0
        return capsys.readouterr().err

    human = shared / "data_human"
    inside = human / "few_shot"
    missed = f"as there is no data_human in {inside}\n"
    assert noted("few_shot_gold", inside) == f"Episodes are from the published task, {missed}"
    monkeypatch.setenv("BIML_DATA", str(shared))
    for kind, where in (
        ("few_shot_gold", human),
        ("few_shot_human", human / "few_shot/val_behavior"),
        ("open_end_human_cross1", human / "open_ended_cross1/val"),
    ):
        assert noted(kind, inside) == f"Episodes are from {where}, {missed}"
        assert noted(kind, shared) == ""
    assert noted("novel_rules", inside) == ""


def test_text_from_files_is_escaped_in_html() -> None:
    from collections import Counter

    from biml.evaluation.sample_page import SampledItem, samples_html

    bad = ("<script>alert(1)</script>",)
    output = samples_html(
        [SampledItem((((*bad,), bad),), bad, Counter([bad]), Counter([bad]))], bad[0]
    )
    assert "<script" not in output
    assert "&lt;script&gt;" in output


def test_study_examples_are_in_the_sidebar_only_if_all_items_share_them() -> None:
    from collections import Counter

    from biml.evaluation.sample_page import SampledItem, samples_html

    def item(word: str, *study: tuple[str, str]) -> SampledItem:
        pairs = tuple(((words,), (symbol,)) for words, symbol in study)
        return SampledItem(pairs, (word,), Counter([("RED",)]), Counter([("RED",)]))

    one, two = ("wug", "RED"), ("toma", "BLUE")
    shared = samples_html([item("a", one, two), item("b", two, one)], "shared")
    assert shared.count("<aside>") == 1
    assert shared.count("<td>wug") == 1
    apart = samples_html([item("a", one), item("b", two)], "apart")
    assert "<aside>" not in apart
    first, second = apart.split('<th scope="row">')[1:]
    assert ("wug" in first, "toma" in first) == (True, False)
    assert ("wug" in second, "toma" in second) == (False, True)


def test_the_default_length_limit_counts_study_examples_as_queries(folder, capsys) -> None:
    long = STUDY.replace("IN: toma OUT: ●", "IN: toma OUT: ● " + "■ " * 11)
    study = write_text(folder / "long.txt", long[: long.index("*GRAMMAR")] + "*GRAMMAR*\n")
    imported = read_response_table(write_table(folder / "long.csv"), study)
    write_experiment(imported, folder / "mine")
    options = ("--episode_type", "few_shot_gold", "--data_dir", folder / "mine", "--max")
    assert evaluate(*options) == 0
    assert "study-example queries" in capsys.readouterr().out
    assert evaluate(*options, "--max_length_eval", 11) == 2
    assert "give 12 or leave it out" in capsys.readouterr().err


def test_samples_of_the_open_ended_task_have_names_of_colours(folder, shared, capsys) -> None:
    options = ("--episode_type", "open_end_freeform", "--data_dir", shared, "--episodes", 1)
    assert evaluate("--sample_iterative", *options) == 0
    output = capsys.readouterr().out
    assert "#" not in output
    assert {"red", "green", "blue", "olive", "teal", "lilac"} & set(output.split())


def test_the_dashboard_plots_learning_curves_of_a_released_model(folder, shared, capsys) -> None:
    copy = folder / "out_models" / "legacy.pt"
    copy.write_bytes((shared / "legacy" / "net-legacy-vanilla.pt").read_bytes())
    assert evaluate("--dashboard", "--data_dir", shared, model="legacy.pt") == 0
    assert copy.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert evaluate("--dashboard") == 1
    assert "no learning curves" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--ll, --fit_lapse, --max"),
        (("--verbose",), "nothing to compute"),
        (("--max", "--ll_by", "item"), "--ll or --fit_lapse"),
        (("--ll", "--ll_p_lapse", 1.5), "from 0 to 1"),
        (("--ll", "--ll_nrep", 0), "--ll_nrep is 0"),
        (("--ll", "--ll_nrep", 10**9), "--ll_nrep"),
        (("--max", "--batch_size", 0), "--batch_size is 0"),
        (("--max", "--episodes", 0), "--episodes is 0"),
        (("--max", "--max_length_eval", 0), "--max_length_eval is 0"),
        (("--max", "--episode_type", "teapot"), "few_shot_human_mult10"),
        (("--max", "--device", "teapot"), "--device"),
        (("--max", "--episode_type", "few_shot_vanilla"), "vocabulary lacks"),
        (("--max", "--max_length_eval", 3), "--max_length_eval 3 is shorter; give 6"),
    ],
)
def test_usage_errors_of_eval_name_the_remedy(folder, capsys, options, message: str) -> None:
    assert evaluate(*options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ll", "--ll_out", "out_models/toy.pt/t.csv"), "toy.pt is not a folder"),
        (("--ll", "--ll_out", "folder.csv"), "folder.csv is not a file"),
        (("--sample_html", "--samples_out", "folder.csv/link/t.csv"), "link is not a folder"),
        (("--max", "--json", "folder.csv"), "folder.csv is not a file"),
        (("--max", "--json", "pipe"), "pipe is not a file"),
        (
            ("--sample_html", "--fn_out_model", "net-BIML-top", "--dir_model", "blocked/models"),
            "blocked is not a folder",
        ),
    ],
)
def test_an_unwritable_output_file_is_rejected_before_evaluation(
    folder, shared, capsys, monkeypatch, options, message: str
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    for name in ("log_prob", "respond", "sample"):
        monkeypatch.setattr(f"biml.evaluation.network.NetworkResponder.{name}", work)
    Path("folder.csv").mkdir()
    Path("folder.csv/link").symlink_to("nowhere")
    Path("blocked").write_text("a file")
    os.mkfifo("pipe")
    assert evaluate("--episode_type", "few_shot_human", "--data_dir", shared, *options) == 2
    assert message in capsys.readouterr().err


def test_every_output_option_makes_its_folder_and_says_where(folder, shared, capsys) -> None:
    outputs = {"--json": "a/b/out.json", "--ll_out": "a/c/out.csv", "--samples_out": "d/out.csv"}
    options = [word for pair in outputs.items() for word in pair]
    human = ("--episode_type", "few_shot_human", "--data_dir", shared)
    assert evaluate("--ll", "--sample_html", *human, *options) == 0
    printed = capsys.readouterr().out
    for path in outputs.values():
        assert Path(path).is_file()
        assert f": {path}" in printed


def test_error_for_a_missing_model_lists_the_searched_folders(folder, capsys) -> None:
    assert evaluate("--max", model="net-of-mine.pt") == 2
    error = capsys.readouterr().err
    assert str(folder / "out_models") in error
    assert "toy.pt" in error
    assert evaluate("--max", "--dir_model", "elsewhere", model="other") == 2
    assert "no folder elsewhere" in capsys.readouterr().err


def test_error_for_missing_data_names_the_download_command(folder, capsys) -> None:
    assert evaluate("--ll", "--episode_type", "few_shot_human") == 1
    assert "biml data download human" in capsys.readouterr().err


def test_responses_may_be_as_long_as_targets_unless_max_length_is_given(
    folder, shared, capsys
) -> None:
    options = ("--episode_type", "open_end_human_all", "--data_dir", shared)
    assert evaluate(*options, "--max") == 0
    capsys.readouterr()
    assert evaluate(*options, "--max", "--max_length_eval", 13) == 2
    error = capsys.readouterr().err
    assert "14 symbols" in error
    assert "give 14 or leave it out" in error
    assert evaluate(*options, "--ll", "--max_length_eval", 13) == 0


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 cut"])
def test_a_damaged_model_is_an_error_without_a_traceback(folder, capsys, content: bytes) -> None:
    (folder / "out_models" / "bad.pt").write_bytes(content)
    assert evaluate("--max", model="bad.pt") == 1
    error = capsys.readouterr().err
    assert "bad.pt" in error
    assert "Traceback" not in error


def test_help_needs_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from biml.cli.main import run_single_command\n"
        "try: run_single_command('eval', ['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    for option in ("--max_length_eval", "--ll_p_lapse", "--sample_iterative", "--fit_lapse"):
        assert option in output.stdout
