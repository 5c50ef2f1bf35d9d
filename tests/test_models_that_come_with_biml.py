"""Models that come with biml: how they are found, listed, checked and made."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import biml
from biml.checkpoints import own, shipped
from biml.checkpoints.cards import read_card
from biml.checkpoints.export import write_safetensors
from biml.checkpoints.model import load_model
from biml.commands.main import main
from biml.episodes.locate import DataFolders
from biml.episodes.types import CANONICAL, EPISODE_TYPES
from biml.errors import BimlError, UsageError
from biml.evaluation.card import ready_to_ship
from biml.evaluation.find import find_model
from biml.evaluation.measure import changed_answers, measure
from biml.networks.paper import PaperConfig, PaperNetwork
from biml.training.config import Conduct
from biml.training.recipe import command
from biml.training.run import train
from evaluation_toys import small_network
from training_toys import OPTIONS, open_toys

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

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
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and a biml that no models came with."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.delenv("BIML_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "installed" / "models")
    return tmp_path / "home"


@pytest.fixture
def top() -> Path:
    """The file of an installed `net-BIML-top`."""
    path = shipped.FOLDER / "net-BIML-top.safetensors"
    contents = own.contents_of(small_network(), "algebraic+biases")
    write_safetensors(path, {**contents, "card": CARD}, torch.float16)
    return path


# --- finding them


@pytest.mark.parametrize("name", ["net-BIML-top.pt", "net-BIML-top", "net-BIML-top.safetensors"])
def test_a_shipped_model_is_found_by_name(top: Path, name: str) -> None:
    assert find_model(name) == top


def test_a_file_of_that_name_goes_first(top: Path, home: Path, tmp_path: Path) -> None:
    released = tmp_path / "data" / "out_models" / "net-BIML-top.pt"
    mine = home / "mine" / "net-BIML-top.pt"
    for path in (released, mine):
        own.save(path, own.contents_of(small_network(), "algebraic"))
    data = DataFolders(tmp_path / "data")
    assert find_model("net-BIML-top.pt", home / "mine", data) == mine
    assert find_model("net-BIML-top.pt", home / "empty", data) == released
    assert find_model("net-BIML-top.pt", home / "empty", DataFolders()) == top


def test_a_path_never_means_a_shipped_model(top: Path) -> None:
    with pytest.raises(UsageError, match="With biml comes net-BIML-top"):
        find_model("elsewhere/net-BIML-top.pt")


def test_evaluation_says_that_it_took_the_shipped_model(top: Path, capsys) -> None:
    options = ["--episode_type", "few_shot_gold", "--max", "--episodes", "2"]
    assert main(["eval", "--fn_out_model", "net-BIML-top.pt", *options]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert str(top) in first
    assert f"shipped with biml {biml.__version__}" in first
    own.save(Path("out_models/net-BIML-top.pt"), own.contents_of(small_network(), "algebraic"))
    assert main(["eval", "--fn_out_model", "net-BIML-top.pt", *options]) == 0
    assert "shipped" not in capsys.readouterr().out


def test_the_library_loads_it_with_its_card(top: Path) -> None:
    model = biml.load("net-BIML-top.pt")
    assert model.card["p_lapse"] == 0.03
    assert model.episode_type == "algebraic+biases"
    assert isinstance(model.respond([("dax", "RED")], "dax"), str)


def test_files_that_evaluation_writes_do_not_go_into_the_installation(
    top: Path, home: Path, shared: Path
) -> None:
    before = sorted(top.parent.iterdir())
    assert main([
        *("eval", "--fn_out_model", "net-BIML-top.pt", "--sample_html"),
        *("--episode_type", "few_shot_human", "--data_dir", str(shared), "--episodes", "1"),
    ]) == 0  # fmt: skip
    assert sorted(top.parent.iterdir()) == before
    assert (home / "out_models" / "net-BIML-top_few_shot_human_samples.html").is_file()


def test_a_run_can_start_from_it(top: Path, home: Path) -> None:
    assert main([
        *("train", "--init", "net-BIML-top.pt", "--fn_out_model", "mine.pt", "--quiet"),
        *("--nsteps", "1", "--batch_size", "2", "--workers", "1"),
    ]) == 0  # fmt: skip
    (ancestor,) = own.load(home / "out_models" / "mine.pt")["info"]["ancestors"]
    assert ancestor["file"] == "net-BIML-top.safetensors"
    assert ancestor["sha256"] == read_card(top)["sha256"]


# --- damage


def test_a_changed_file_is_not_loaded(top: Path, capsys) -> None:
    weights = bytearray(top.read_bytes())
    weights[-1] ^= 1
    top.write_bytes(bytes(weights))
    assert main(["eval", "--fn_out_model", "net-BIML-top.pt", "--max"]) == 1
    told = capsys.readouterr().err
    assert f"{top}: is damaged: its checksum is not that of its card net-BIML-top.json" in told
    with pytest.raises(BimlError, match="checksum"):
        biml.load("net-BIML-top")


def test_a_missing_card_is_named(top: Path) -> None:
    top.with_suffix(".json").unlink()
    with pytest.raises(BimlError, match=r"its card net-BIML-top\.json is missing"):
        biml.load("net-BIML-top")


def test_a_card_that_is_no_json_is_named(top: Path, capsys) -> None:
    top.with_suffix(".json").write_text("{")
    assert main(["models", "net-BIML-top"]) == 1
    assert "net-BIML-top.json: is not a model card in JSON" in capsys.readouterr().err


def test_an_exported_model_is_checked_as_well(home: Path) -> None:
    write_safetensors(home / "net.safetensors", own.contents_of(small_network(), "algebraic"))
    text = (home / "net.safetensors").read_bytes()
    load_model(home / "net.safetensors")
    (home / "net.safetensors").write_bytes(text[:-3])
    with pytest.raises(BimlError, match="checksum"):
        load_model(home / "net.safetensors")


# --- listing them


def test_models_are_listed_with_their_figures(top: Path, capsys) -> None:
    copy = top.with_name("net-BIML-copy-top.safetensors")
    write_safetensors(copy, own.contents_of(small_network(), "retrieve"))
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["model", "trained", "on"]
    assert lines[1].split() == [
        *("net-BIML-top", "algebraic+biases", "100.0", "97.2", "99.9", "–", "-351.2", "(0.03)"),
    ]
    assert lines[2].split() == ["net-BIML-copy-top", "retrieve", *"–––––"]


def test_a_damaged_model_does_not_hide_the_others(top: Path, capsys) -> None:
    bad = top.with_name("net-BIML-joint-top.safetensors")
    shutil.copy(top, bad)
    assert main(["models"]) == 1
    told = capsys.readouterr().out
    assert "100.0" in told
    assert "net-BIML-joint-top" in told
    assert "damaged" in told
    assert "its card net-BIML-joint-top.json is missing" in " ".join(told.split())


def test_a_card_is_shown_in_words(top: Path, capsys) -> None:
    assert main(["models", "net-BIML-top.pt"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for text in (
        "biml train --preset fast --seed 3",
        "minutes 61.5",
        "novel 97.2%, copied 99.9%, 200 episodes",
        "log-likelihood -351.2 (SD 4.0, 10 passes), 990 symbols, lapse 0.03",
        "open_ended not measured: it is shy",
        "nlayers_encoder 1",
    ):
        assert text in told


def test_a_card_is_given_as_it_is(top: Path, capsys) -> None:
    assert main(["models", "net-BIML-top", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == read_card(top)


def test_it_says_when_there_are_none(capsys) -> None:
    assert main(["models"]) == 0
    assert "No trained models come with this installation" in capsys.readouterr().out
    assert main(["models", "net-BIML-top"]) == 2
    assert "installed are: none" in capsys.readouterr().err


def test_a_name_that_is_not_there_is_answered_with_those_that_are(top: Path, capsys) -> None:
    assert main(["models", "net-MLC"]) == 2
    assert "installed are: net-BIML-top" in capsys.readouterr().err


# --- making them


def test_the_six_models_have_trainable_types_with_known_data() -> None:
    assert len(shipped.SHIPPED) == 6
    assert all(EPISODE_TYPES[kind].training for kind in shipped.SHIPPED.values())
    for row in EPISODE_TYPES.values():
        assert bool(row.learns_from) == bool(row.training)
    for name in ("joint", "open_end_human_cross3", "probe_human_w_pool"):
        assert "people's answers" in EPISODE_TYPES[name].learns_from
    assert "people" not in EPISODE_TYPES["algebraic+biases"].learns_from


@pytest.fixture
def checkpoint(home: Path) -> Path:
    """A toy that was trained, and a second one that started from it."""
    alone = Conduct(workers=1)
    first, second = home / "first.pt", home / "second.pt"
    options = OPTIONS | {"episode_type": "algebraic", "nsteps": 2}
    train(first, options, conduct=alone, open_material=open_toys)
    options = {
        **{name: OPTIONS[name] for name in ("batch_size", "precision", "max_tokens")},
        **{"episode_type": "joint", "nsteps": 3, "init": str(first), "seed": 8},
    }
    train(second, options, conduct=alone, open_material=open_toys)
    return second


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first episode of each evaluation, which is quicker."""
    from dataclasses import replace

    from biml.episodes.types import EpisodeType

    opened = EpisodeType.open_evaluation

    def first(self: EpisodeType, data: DataFolders, seed: int) -> Any:
        evaluation = opened(self, data, seed)
        return replace(evaluation, episodes=evaluation.episodes[:1])

    monkeypatch.setattr(EpisodeType, "open_evaluation", first)


def test_a_card_tells_the_whole_training_and_its_figures(
    checkpoint: Path, shared: Path, few: None
) -> None:
    contents = ready_to_ship(checkpoint, "net-BIML-joint-top", DataFolders(shared), passes=2)
    card = contents["card"]
    assert card["data"] == "episodes of the meta-grammar; people's answers in the open-ended task"
    assert card["episodes"] == 2 * 2 + 3 * 2
    assert card["seed"] == 8
    assert card["command"].startswith("biml train --preset paper --episode_type joint")
    assert "--init first.pt" in card["command"]
    assert str(checkpoint.parent) not in json.dumps(card)
    assert [one["file"] for one in card["started_from"]] == ["first.pt"]
    assert set(card["figures"]) == {
        *("gold", "validation", "novel_rules", "few_shot_human", "open_ended"),
    }
    assert card["figures"]["few_shot_human"]["passes"] == 2
    assert card["p_lapse"] == card["figures"]["few_shot_human"]["p_lapse"]
    assert card["skipped"] == {}
    assert contents["history"][-1]["step"] == 3


def test_figures_are_those_of_the_weights_that_are_shipped(
    checkpoint: Path, shared: Path, few: None, home: Path
) -> None:
    data = DataFolders(shared)
    contents = ready_to_ship(checkpoint, "net-BIML-joint-top", data, passes=1)
    write_safetensors(home / "net.safetensors", contents, torch.float16)
    network = load_model(home / "net.safetensors").network
    assert measure(network, data, passes=1)[0] == contents["card"]["figures"]
    for name, value in network.state_dict().items():
        assert torch.equal(value, contents["weights"][name])


def test_facts_can_be_given_where_a_checkpoint_lacks_them(
    checkpoint: Path, shared: Path, few: None
) -> None:
    facts = {"minutes": 60.0, "note": "by hand"}
    data = DataFolders(shared)
    card = ready_to_ship(checkpoint, "net-BIML-joint-top", data, facts=facts, passes=1)["card"]
    assert (card["minutes"], card["note"]) == (60.0, "by hand")
    with pytest.raises(UsageError, match="a card has no colour"):
        ready_to_ship(checkpoint, "net", data, facts={"colour": "red"})


def test_what_cannot_be_asked_is_left_out_with_a_reason(shared: Path) -> None:
    network = PaperNetwork(PaperConfig(1, 1, 2, 16, 1), CANONICAL, seed=4)
    figures, skipped = measure(network, DataFolders(shared), passes=1)
    assert {name: figure["episode_type"] for name, figure in figures.items()} == {
        "gold": "few_shot_vanilla",
        "few_shot_human": "human_vanilla",
    }
    assert set(skipped) == {"validation", "novel_rules", "open_ended"}
    assert all("it knows other words (1 2 3 DAX" in why for why in skipped.values())


def test_answers_that_rounding_changes_are_counted(few: None) -> None:
    one, other = small_network(1), small_network(2)
    assert changed_answers(one, one, DataFolders())[0] == 0
    changed, asked = changed_answers(one, other, DataFolders())
    assert 0 < changed <= asked


def test_the_maintainers_script_writes_both_files(
    checkpoint: Path, shared: Path, few: None, tmp_path: Path, monkeypatch, capsys
) -> None:
    import make_model

    def make(*argv: object) -> int:
        monkeypatch.setattr(sys, "argv", ["make_model.py", *map(str, argv)])
        return make_model.main()

    where = ("--folder", tmp_path / "made", "--data_dir", shared, "--passes", 1)
    assert make(checkpoint, "net-BIML-joint-top", *where) == 0
    made = tmp_path / "made" / "net-BIML-joint-top.safetensors"
    assert read_card(made)["card"]["name"] == "net-BIML-joint-top"
    assert load_model(made).episode_type == "joint"
    assert make(checkpoint, "net-BIML-joint-top", *where) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert make(checkpoint, "net-BIML-top", *where) == 2
    assert "net-BIML-top is trained on algebraic+biases" in capsys.readouterr().err
    assert make(checkpoint, "net-best", *where) == 2
    assert not (tmp_path / "made" / "net-BIML-top.safetensors").exists()


def test_a_command_repeats_the_options_that_matter() -> None:
    options = {
        **{"preset": "fast", "arch": "fast", "optimizer": "muon", "lr_warmup": False},
        **{"minutes": 60.0, "nsteps": 4000, "init": "/somewhere/net.pt", "emb_size": 64},
        **{"episode_type": "joint", "save_best": True},
    }
    assert command(options, "x.pt") == (
        "biml train --preset fast --episode_type joint --nsteps 4000 --init net.pt "
        "--no_lr_warmup --save_best --seed 0 --fn_out_model x.pt"
    )
