"""Packaging pretrained models: metrics, cards and `benchmarks/package_model.py`."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import package_model
from biml import paths
from biml.cli.main import main
from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import CANONICAL_VOCAB, EpisodeType
from biml.episodes.registry import EPISODE_TYPES
from biml.errors import UsageError
from biml.evaluation.card_text import METRIC_NAMES
from biml.evaluation.cards import reproduction_command, training_segments
from biml.networks.checkpoint import load_model, write_safetensors
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer
from biml.paths import DataFolders, read_card
from biml.training.config import RuntimeConfig
from biml.training.trainer import train
from fakes.networks import small_network
from fakes.training import OPTIONS, open_data
from release import (
    CARD_MEASUREMENTS,
    build_release,
    count_changed_responses,
    evaluate_for_card,
    exact_match_metrics,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory without data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIML_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    return tmp_path


def test_pretrained_models_have_types_with_known_training_data() -> None:
    assert all(EPISODE_TYPES[kind].training for kind in paths.PRETRAINED.values())
    for row in EPISODE_TYPES.values():
        assert bool(row.data_sources) == bool(row.training)
    for name in ("joint", "open_end_human_cross3", "probe_human_w_pool"):
        assert "people's answers" in " ".join(EPISODE_TYPES[name].data_sources)
    assert "people" not in " ".join(EPISODE_TYPES["algebraic+biases"].data_sources)


@pytest.fixture
def checkpoint(home: Path) -> Path:
    """A toy that was trained, and a second one that started from it."""
    alone = RuntimeConfig(workers=1)
    first, second = home / "first.pt", home / "second.pt"
    options = OPTIONS | {"episode_type": "algebraic", "nsteps": 2}
    train(first, options, runtime=alone, open_training_data=open_data)
    options = {
        **{name: OPTIONS[name] for name in ("batch_size", "precision", "micro_batch_tokens")},
        **{"episode_type": "joint", "nsteps": 3, "init_from": str(first), "seed": 8},
    }
    train(second, options, runtime=alone, open_training_data=open_data)
    return second


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first episode of each evaluation, which is quicker."""
    opened = EpisodeType.open_evaluation

    def first(self: EpisodeType, data: DataFolders, seed: int) -> Any:
        evaluation = opened(self, data, seed)
        return replace(evaluation, episodes=evaluation.episodes[:1])

    monkeypatch.setattr(EpisodeType, "open_evaluation", first)


def test_a_card_has_the_training_provenance_and_metrics(
    checkpoint: Path, shared: Path, few: None
) -> None:
    contents = build_release(checkpoint, "net-BIML-joint-top", DataFolders(shared), repeats=2)
    card = contents["card"]
    assert card["data"] == "episodes of the meta-grammar; people's answers in the open-ended task"
    assert card["episodes"] == 2 * 2 + 3 * 2
    assert card["seed"] == 8
    assert card["command"].startswith("biml train --episode_type joint")
    assert "--init_from first.pt" in card["command"]
    assert str(checkpoint.parent) not in json.dumps(card)
    assert [one["file"] for one in card["parents"]] == ["first.pt"]
    assert set(card["metrics"]) == {
        *("gold", "validation", "novel_rules", "few_shot_human", "open_ended"),
    }
    assert card["metrics"]["few_shot_human"]["repeats"] == 2
    assert card["p_lapse"] == card["metrics"]["few_shot_human"]["p_lapse"]
    assert card["not_measured"] == {}
    assert contents["history"][-1]["step"] == 3
    assert card["parents"][0]["history"][-1]["step"] == 2


def test_learning_curves_of_consecutive_runs_are_concatenated(
    checkpoint: Path, shared: Path, few: None, home: Path, capsys
) -> None:
    first, second = training_segments(checkpoint)
    assert [line["episodes"] for line in first.log] == [2, 4]
    assert (first.episodes_before, second.episodes_before) == (0, 4)
    assert second.log[-1]["episodes"] == 6
    # A model that is shipped has them in its card; its parent's file is not needed any more.
    contents = build_release(checkpoint, "net-BIML-joint-top", DataFolders(shared), repeats=1)
    (home / "elsewhere").mkdir()
    write_safetensors(home / "elsewhere" / "net.safetensors", contents, torch.float16)
    shipped_parts = training_segments(home / "elsewhere" / "net.safetensors")
    assert [len(part.log) for part in shipped_parts] == [2, 2]
    assert [part.episodes_before for part in shipped_parts] == [0, 4]
    # Where its first part is lost, the second still begins where it did.
    dashboard = ["eval", "--fn_out_model", str(checkpoint), "--dashboard", "--data_dir"]
    dashboard += [str(shared), "--episode_type", "few_shot_gold"]
    assert main(dashboard) == 0
    assert "of 2 training runs, one after another" in capsys.readouterr().out
    (home / "first.pt").unlink()
    assert main(dashboard) == 0
    assert "curves of training run 1 of 2 are lost" in capsys.readouterr().err
    lost, kept = training_segments(checkpoint)
    assert not lost.log
    assert kept.episodes_before == 4


def test_metrics_are_measured_on_the_released_weights(
    checkpoint: Path, shared: Path, few: None, home: Path
) -> None:
    data = DataFolders(shared)
    contents = build_release(checkpoint, "net-BIML-joint-top", data, repeats=1)
    write_safetensors(home / "net.safetensors", contents, torch.float16)
    network = load_model(home / "net.safetensors").network
    assert evaluate_for_card(network, data, repeats=1)[0] == contents["card"]["metrics"]
    for name, value in network.state_dict().items():
        assert torch.equal(value, contents["weights"][name])


def test_metadata_missing_from_a_checkpoint_can_be_given(
    checkpoint: Path, shared: Path, few: None
) -> None:
    facts = {"minutes": 60.0, "note": "by hand"}
    data = DataFolders(shared)
    card = build_release(checkpoint, "net-BIML-joint-top", data, facts=facts, repeats=1)["card"]
    assert (card["minutes"], card["note"]) == (60.0, "by hand")
    with pytest.raises(UsageError, match="a card has no colour"):
        build_release(checkpoint, "net", data, facts={"colour": "red"})


def test_every_metric_of_a_card_is_printed() -> None:
    assert list(CARD_MEASUREMENTS) == list(METRIC_NAMES)


def test_benchmarks_that_do_not_apply_are_omitted_with_a_reason(shared: Path) -> None:
    network = Seq2SeqTransformer(Seq2SeqConfig(1, 1, 2, 16, 1), CANONICAL_VOCAB, seed=4)
    metrics, skipped = evaluate_for_card(network, DataFolders(shared), repeats=1)
    assert {name: figure["episode_type"] for name, figure in metrics.items()} == {
        "gold": "few_shot_vanilla",
        "few_shot_human": "human_vanilla",
    }
    assert set(skipped) == {"validation", "novel_rules", "open_ended"}
    assert all("it knows other words (1 2 3 DAX" in why for why in skipped.values())


def test_responses_changed_by_rounding_are_counted(few: None) -> None:
    one, other = small_network(1), small_network(2)
    assert count_changed_responses(one, one, DataFolders())[0] == 0
    changed, total = count_changed_responses(one, other, DataFolders())
    assert 0 < changed <= total


def test_exact_matches_may_be_longer_than_ten_symbols() -> None:
    network = small_network()
    network.out.bias.data[network.vocabulary.output.encode(["RED"])] = 1000
    episode = Episode((), (Example(("dax",), ("RED",) * 12),))
    found = exact_match_metrics(network, EvaluationSet((episode,), (), 0), 1)
    assert found["novel"] == 100


def test_package_model_writes_weights_and_card(
    checkpoint: Path, shared: Path, few: None, tmp_path: Path, monkeypatch, capsys
) -> None:
    def make(*argv: object) -> int:
        monkeypatch.setattr(sys, "argv", ["package_model.py", *map(str, argv)])
        return package_model.main()

    where = ("--folder", tmp_path / "made", "--data_dir", shared, "--passes", 1)
    assert make(checkpoint, "net-BIML-joint-top", *where) == 0
    made = tmp_path / "made" / "net-BIML-joint-top.safetensors"
    assert read_card(made)["card"]["name"] == "net-BIML-joint-top"
    assert load_model(made).episode_type == "joint"
    assert make(checkpoint, "net-BIML-joint-top", *where) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert make(checkpoint, "net-BIML-top", *where) == 2
    assert "net-BIML-top is trained on algebraic+slips" in capsys.readouterr().err
    assert make(checkpoint, "net-best", *where) == 2
    assert not (tmp_path / "made" / "net-BIML-top.safetensors").exists()


def test_the_reproduction_command_has_the_options_that_differ_from_defaults() -> None:
    options = {
        **{"preset": "fast", "arch": "staged", "optimizer": "muon", "lr_warmup": False},
        **{"minutes": 60.0, "nsteps": 4000, "init": "/somewhere/net.pt", "emb_size": 64},
        **{"episode_type": "joint", "save_best": True},
    }
    assert reproduction_command(options, "x.pt") == (
        "biml train --preset fast --episode_type joint --nsteps 4000 --init_from net.pt "
        "--no_lr_warmup --save_best --seed 0 --fn_out_model x.pt"
    )
