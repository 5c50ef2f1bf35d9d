"""Pretrained models: how they are found, listed and checked."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import biml
from biml import paths
from biml.cli.main import main
from biml.errors import BimlError, UsageError
from biml.networks import checkpoint
from biml.networks.checkpoint import load_model, write_safetensors
from biml.paths import DataFolders, read_card, resolve_model
from fakes.networks import small_network

FIGURES = {
    "gold": {"episode_type": "few_shot_gold", "novel": 100.0, "copied": 99.5, "episodes": 100},
    "validation": {"episode_type": "algebraic", "novel": 97.25, "copied": 99.9, "episodes": 200},
    "few_shot_human": {
        "log_likelihood": -351.25,
        "sd": 4.0,
        "p_lapse": 0.03,
        "passes": 10,
        "symbols": 990,
    },
}
CARD = {
    "name": "net-BIML-top",
    "command": "biml train --preset fast --seed 3",
    "data": "episodes of the meta-grammar",
    "seed": 3,
    "minutes": 61.5,
    "figures": FIGURES,
    "skipped": {"open_ended": "it is shy"},
    "p_lapse": 0.03,
    "rounding": {"changed_answers": 2, "answers": 9280},
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and a biml that no models came with."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.delenv("BIML_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(paths, "PRETRAINED_FOLDER", tmp_path / "installed" / "models")
    return tmp_path / "home"


@pytest.fixture
def top() -> Path:
    """The file of an installed `net-BIML-top`."""
    path = paths.PRETRAINED_FOLDER / "net-BIML-top.safetensors"
    contents = checkpoint.checkpoint_of(small_network(), "algebraic+biases")
    write_safetensors(path, {**contents, "card": CARD}, torch.float16)
    return path


# --- finding them


@pytest.mark.parametrize("name", ["net-BIML-top.pt", "net-BIML-top", "net-BIML-top.safetensors"])
def test_a_pretrained_model_is_found_by_name(top: Path, name: str) -> None:
    assert resolve_model(name) == top


def test_a_file_of_the_same_name_takes_precedence(top: Path, home: Path, tmp_path: Path) -> None:
    released = tmp_path / "data" / "out_models" / "net-BIML-top.pt"
    mine = home / "mine" / "net-BIML-top.pt"
    for path in (released, mine):
        checkpoint.save_checkpoint(path, checkpoint.checkpoint_of(small_network(), "algebraic"))
    data = DataFolders(tmp_path / "data")
    assert resolve_model("net-BIML-top.pt", home / "mine", data) == mine
    assert resolve_model("net-BIML-top.pt", home / "empty", data) == released
    assert resolve_model("net-BIML-top.pt", home / "empty", DataFolders()) == top


def test_a_path_does_not_resolve_to_a_pretrained_model(top: Path) -> None:
    with pytest.raises(UsageError, match="With biml comes net-BIML-top"):
        resolve_model("elsewhere/net-BIML-top.pt")


def test_evaluation_reports_that_it_uses_the_pretrained_model(top: Path, capsys) -> None:
    options = ["--episode_type", "few_shot_gold", "--max", "--episodes", "2"]
    assert main(["eval", "--fn_out_model", "net-BIML-top.pt", *options]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert str(top) in first
    assert f"biml {biml.__version__}" in first
    checkpoint.save_checkpoint(
        Path("out_models/net-BIML-top.pt"), checkpoint.checkpoint_of(small_network(), "algebraic")
    )
    assert main(["eval", "--fn_out_model", "net-BIML-top.pt", *options]) == 0
    assert "shipped" not in capsys.readouterr().out


def test_the_library_loads_a_pretrained_model_with_its_card(top: Path) -> None:
    model = biml.load("net-BIML-top.pt")
    assert model.card["p_lapse"] == 0.03
    assert model.episode_type == "algebraic+biases"
    assert isinstance(model.respond([("dax", "RED")], "dax"), str)


def test_evaluation_writes_no_files_into_the_installation(
    top: Path, home: Path, shared: Path
) -> None:
    before = sorted(top.parent.iterdir())
    assert main([
        *("eval", "--fn_out_model", "net-BIML-top.pt", "--sample_html"),
        *("--episode_type", "few_shot_human", "--data_dir", str(shared), "--episodes", "1"),
    ]) == 0  # fmt: skip
    assert sorted(top.parent.iterdir()) == before
    assert (home / "out_models" / "net-BIML-top_few_shot_human_samples.html").is_file()


@pytest.mark.usefixtures("few_validation_episodes")
def test_training_can_start_from_a_pretrained_model(top: Path, home: Path) -> None:
    assert main([
        *("train", "--init", "net-BIML-top.pt", "--fn_out_model", "mine.pt", "--quiet"),
        *("--nsteps", "1", "--batch_size", "2", "--workers", "1"),
    ]) == 0  # fmt: skip
    (ancestor,) = checkpoint.load_checkpoint(home / "out_models" / "mine.pt")["info"]["ancestors"]
    assert ancestor["file"] == "net-BIML-top.safetensors"
    assert ancestor["sha256"] == read_card(top)["sha256"]


# --- damage


def test_a_file_with_another_checksum_is_rejected(top: Path, capsys) -> None:
    weights = bytearray(top.read_bytes())
    weights[-1] ^= 1
    top.write_bytes(bytes(weights))
    assert main(["eval", "--fn_out_model", "net-BIML-top.pt", "--max"]) == 1
    error = capsys.readouterr().err
    assert f"{top}: " in error
    assert "net-BIML-top.json" in error
    with pytest.raises(BimlError, match="checksum"):
        biml.load("net-BIML-top")


def test_a_pretrained_card_without_checksum_is_rejected(top: Path) -> None:
    card = json.loads(top.with_suffix(".json").read_text())
    del card["sha256"]
    top.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(BimlError, match="checksum"):
        biml.load("net-BIML-top")


def test_error_for_a_missing_card_names_it(top: Path) -> None:
    top.with_suffix(".json").unlink()
    with pytest.raises(BimlError, match=r"its card net-BIML-top\.json is missing"):
        biml.load("net-BIML-top")


def test_error_for_an_invalid_card_names_it(top: Path, capsys) -> None:
    top.with_suffix(".json").write_text("{")
    assert main(["models", "net-BIML-top"]) == 1
    assert "net-BIML-top.json: " in capsys.readouterr().err


def test_checksums_of_exported_models_are_verified(home: Path) -> None:
    write_safetensors(
        home / "net.safetensors", checkpoint.checkpoint_of(small_network(), "algebraic")
    )
    text = (home / "net.safetensors").read_bytes()
    load_model(home / "net.safetensors")
    (home / "net.safetensors").write_bytes(text[:-3])
    with pytest.raises(BimlError, match="checksum"):
        load_model(home / "net.safetensors")


# --- listing them


def test_models_are_listed_with_their_metrics(top: Path, capsys) -> None:
    copy = top.with_name("net-BIML-copy-top.safetensors")
    write_safetensors(copy, checkpoint.checkpoint_of(small_network(), "retrieve"))
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["model", "network", "trained", "on"]
    assert lines[1].split() == [
        *("net-BIML-top", "paper", "algebraic+biases", "100.0", "97.2", "–", "-351"),
    ]
    assert lines[2].split() == ["net-BIML-copy-top", "paper", "retrieve", *"––––"]


def test_a_damaged_model_does_not_hide_the_others(top: Path, capsys) -> None:
    bad = top.with_name("net-BIML-joint-top.safetensors")
    shutil.copy(top, bad)
    assert main(["models"]) == 1
    output = capsys.readouterr().out
    assert "100.0" in output
    assert "net-BIML-joint-top" in output
    assert "damaged" in output
    assert "net-BIML-joint-top.json is missing" in " ".join(output.split())


def test_a_card_is_described_in_words(top: Path, capsys) -> None:
    assert main(["models", "net-BIML-top.pt"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    for text in (
        "biml train --preset fast --seed 3",
        "minutes 61.5",
        "novel 97.2%, study 99.9%, 200 episodes",
        "log-likelihood -351.2 (SD 4.0, 10 repeats), 990 symbols, lapse 0.03",
        "open_ended not measured: it is shy",
        "nlayers_encoder 1",
        "changed 2 of 9,280",
    ):
        assert text in output


def test_metrics_on_data_seen_in_training_are_marked(top: Path, capsys) -> None:
    joint = top.with_name("net-BIML-joint-top.safetensors")
    metrics = {"open_ended": FIGURES["few_shot_human"] | {"episode_type": "open_end_human_all"}}
    contents = checkpoint.checkpoint_of(small_network(), "joint")
    write_safetensors(joint, {**contents, "card": {**CARD, "figures": metrics}})
    assert main(["models", "net-BIML-joint-top"]) == 0
    assert "open-ended responses, trained on these" in " ".join(capsys.readouterr().out.split())
    assert main(["models", "net-BIML-top"]) == 0
    assert "trained on these" not in capsys.readouterr().out


def test_metrics_that_a_model_was_fitted_to_or_chosen_by_are_marked(top: Path, capsys) -> None:
    slips = top.with_name("net-BIML-joint-top.safetensors")
    contents = checkpoint.checkpoint_of(small_network(), "algebraic+slips")
    human = FIGURES["few_shot_human"] | {"episode_type": "few_shot_human"}
    figures = FIGURES | {"few_shot_human": human}
    card = CARD | {"chosen_by": ["few_shot_gold", "few_shot"], "figures": figures}
    write_safetensors(slips, {**contents, "card": card})
    assert main(["models", "net-BIML-joint-top"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "chosen by the gold few-shot queries, people's answers in the few-shot task" in output
    assert "human few-shot responses, fitted to and chosen by these" in output
    assert "gold few-shot queries, exact matches, chosen by these" in output
    assert main(["models"]) == 0
    (line,) = (li for li in capsys.readouterr().out.splitlines() if "joint-top" in li)
    assert line.split()[3:] == ["100.0†", "97.2", "–", "-351†"]


def test_a_card_is_printed_as_json(top: Path, capsys) -> None:
    assert main(["models", "net-BIML-top", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == read_card(top)


def test_an_empty_list_of_models_is_reported(capsys) -> None:
    assert main(["models"]) == 0
    assert "no pretrained models" in capsys.readouterr().out
    assert main(["models", "net-BIML-top"]) == 2
    assert "choose one of none" in capsys.readouterr().err


def test_error_for_an_unknown_model_lists_the_known_ones(top: Path, capsys) -> None:
    assert main(["models", "net-MLC"]) == 2
    assert "one of net-BIML-top" in capsys.readouterr().err
