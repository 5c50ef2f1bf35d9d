"""`--init_from`: training from the weights of a trained model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from biml.cli.main import main
from biml.episodes.curriculum import STAGES
from biml.episodes.episode_type import CANONICAL_VOCAB
from biml.episodes.registry import episode_type
from biml.errors import UsageError
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.networks import checkpoint
from biml.networks.base import EpisodeNetwork
from biml.networks.checkpoint import load_checkpoint, write_safetensors
from biml.networks.registry import ARCHITECTURES, Architecture, build_network
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer
from biml.networks.staged import StagedNetwork
from biml.networks.staged_layers import StagedConfig
from biml.paths import DataFolders, list_pretrained, upgrade_card
from biml.training.config import RuntimeConfig, TrainingConfig
from biml.training.logger import StepInfo, TrainingCallback
from biml.training.run_files import RunStart, RunState, provenance
from biml.training.setup import options_from_checkpoint
from biml.training.trainer import train
from biml.vocabulary import Vocabulary
from fakes.training import OPTIONS, open_data, same_weights, weights_of

ALONE = RuntimeConfig(workers=1, save_every=0)
FREE = {
    name: value for name, value in OPTIONS.items() if name in ("batch_size", "micro_batch_tokens")
} | {
    "precision": "fp32",
    "nepochs": 3,
}
"""The toy options but for sizes, which the model has."""


SMALL = StagedConfig(nlayers_encoder=1, nlayers_query=1, nlayers_decoder=1, nheads=2, emb_size=32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A toy that was trained for three steps."""
    path = tmp_path / "first.pt"
    train(path, OPTIONS | {"nsteps": 3, "seed": 5}, runtime=ALONE, open_training_data=open_data)
    return path


def initial_network(path: Path, vocabulary: Vocabulary) -> EpisodeNetwork:
    start = RunStart(TrainingConfig(dropout=0.1), RunState(), path, load_checkpoint(path))
    network = start.network(vocabulary)
    assert network is not None
    return network


def options_from(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    return options_from_checkpoint(path, load_checkpoint(path), given)


def test_the_first_step_starts_from_the_models_weights(model: Path, tmp_path: Path) -> None:
    options = FREE | {"init_from": str(model), "nsteps": 1, "lr": 1e-12, "seed": 9}
    train(tmp_path / "second.pt", options, runtime=ALONE, open_training_data=open_data)
    had, now = weights_of(model), weights_of(tmp_path / "second.pt")
    assert all(torch.allclose(had[name], now[name], atol=1e-6) for name in had)
    fresh = tmp_path / "fresh.pt"
    train(fresh, OPTIONS | {"nsteps": 1, "seed": 9}, runtime=ALONE, open_training_data=open_data)
    name = max(had, key=lambda name: had[name].numel())
    assert not torch.allclose(had[name], weights_of(fresh)[name], atol=1e-3)


def test_sizes_come_from_the_model_and_dropout_from_the_run(model: Path, tmp_path: Path) -> None:
    options = FREE | {"init_from": str(model), "nsteps": 1, "dropout": 0.25}
    result = train(tmp_path / "second.pt", options, runtime=ALONE, open_training_data=open_data)
    assert (result.config.emb_size, result.config.nlayers_encoder) == (16, 1)
    sizes = checkpoint.load_checkpoint(tmp_path / "second.pt")["config"]
    assert (sizes["emb_size"], sizes["ff_mult"], sizes["dropout"]) == (16, 1, 0.25)


def test_the_number_of_heads_comes_from_the_initial_model(tmp_path: Path) -> None:
    network = StagedNetwork(SMALL, Vocabulary.from_words_and_symbols(WORDS, COLOURS))
    checkpoint.save_checkpoint(tmp_path / "net.pt", checkpoint.checkpoint_of(network, "algebraic"))
    again = initial_network(tmp_path / "net.pt", network.vocabulary)
    assert (again.config.nheads, again.config.dropout) == (2, 0.1)


@dataclass(frozen=True)
class ConfigWithoutDropout:
    nlayers_encoder: int = 1
    nlayers_decoder: int = 1
    nheads: int = 2
    emb_size: int = 8
    ff_mult: int = 1
    activation: str = "gelu"


class NetworkWithoutDropout(Seq2SeqTransformer):
    """An architecture whose config has no dropout, as a plugin's may."""


def test_an_initial_network_need_not_have_dropout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Architecture("dry", ConfigWithoutDropout, NetworkWithoutDropout, "no dropout")
    monkeypatch.setitem(ARCHITECTURES, row.name, row)
    vocabulary = Vocabulary.from_words_and_symbols(WORDS, COLOURS)
    network = build_network("dry", {"emb_size": 16}, vocabulary)
    checkpoint.save_checkpoint(tmp_path / "net.pt", checkpoint.checkpoint_of(network, "algebraic"))
    again = initial_network(tmp_path / "net.pt", vocabulary)
    assert again.config == ConfigWithoutDropout(emb_size=16)


def test_a_checkpoint_records_its_initial_model(model: Path, tmp_path: Path) -> None:
    second, third = tmp_path / "second.pt", tmp_path / "third.pt"
    for one, before, seed in ((second, model, 6), (third, second, 7)):
        options = FREE | {"init_from": str(before), "nsteps": 2, "seed": seed}
        train(one, options, runtime=ALONE, open_training_data=open_data)
    info = checkpoint.load_checkpoint(third)["info"]
    assert [ancestor["file"] for ancestor in info["ancestors"]] == ["first.pt", "second.pt"]
    assert [ancestor["options"]["seed"] for ancestor in info["ancestors"]] == [5, 6]
    assert [ancestor["step"] for ancestor in info["ancestors"]] == [3, 2]
    assert info["options"]["init_from"] == str(second)
    assert info["hardware"]
    assert info["torch"] == torch.__version__


class EnoughError(Exception):
    pass


class StopHalfway(TrainingCallback):
    def on_step(self, info: StepInfo) -> None:
        if info.step == 3:
            raise EnoughError


@pytest.mark.parametrize("path", list_pretrained(), ids=lambda path: path.stem)
def test_provenance_of_pretrained_models_sums_to_their_cards(path: Path) -> None:
    contents = load_checkpoint(path)
    card, line = upgrade_card(contents["card"]), provenance(path, contents)
    assert [one["file"] for one in line] == [*(one["file"] for one in card["parents"]), path.name]
    assert sum(one["episodes"] for one in line) == card["episodes"]
    assert sum(one["seconds"] for one in line) == pytest.approx(60 * card["minutes"])
    assert all(one["command"].startswith("biml train") for one in line)


def test_a_resumed_run_does_not_need_its_initial_model(model: Path, tmp_path: Path) -> None:
    options = FREE | {"init_from": str(model), "nsteps": 6}
    whole, parted = tmp_path / "whole.pt", tmp_path / "parted.pt"
    train(whole, options, runtime=ALONE, open_training_data=open_data)
    with pytest.raises(EnoughError):
        train(
            parted,
            options,
            runtime=ALONE,
            callback=StopHalfway(),
            open_training_data=open_data,
        )
    model.unlink()
    train(parted, {}, runtime=ALONE, resume=True, open_training_data=open_data)
    assert same_weights(whole, parted)
    assert checkpoint.load_checkpoint(parted)["info"]["ancestors"][0]["file"] == "first.pt"


def test_a_trained_model_skips_curriculum_stages_but_starts_without_biases() -> None:
    kind, clean = episode_type("algebraic+biases"), 50
    source = kind.open_curriculum(DataFolders(), 0, clean, with_stages=False)
    plain = kind.open_training(DataFolders(), 0)
    episodes = [source[index] for index in range(clean)]
    assert clean < STAGES[0].n_episodes
    assert all(e.grammar is not None and len(e.grammar.functions) == 3 for e in episodes)
    assert all(
        query.output == e.grammar.interpret(query.input)
        for e in episodes
        if e.grammar
        for query in e.queries
    )
    assert source[51].study == plain[17].study


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"emb_size": 64}, r"--emb_size 64 \(it has 16\)"),
        ({"act": "relu", "ff_mult": 2}, r"--ff_mult 2 \(it has 1\), --act relu \(it has gelu\)"),
        ({"nlayers_query": 4}, "--nlayers_query"),
        ({"arch": "staged"}, "--arch staged"),
        ({"preset": "fast"}, "--preset fast"),
    ],
)
def test_options_that_contradict_the_initial_model_are_named(
    model: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        options_from(model, {"init_from": str(model), **given})


def test_a_given_preset_must_fit_the_initial_models_architecture(tmp_path: Path) -> None:
    network = StagedNetwork(SMALL, Vocabulary.from_words_and_symbols(WORDS, COLOURS))
    checkpoint.save_checkpoint(tmp_path / "net.pt", checkpoint.checkpoint_of(network, "algebraic"))
    assert options_from(tmp_path / "net.pt", {})["arch"] == "staged"
    assert options_from(tmp_path / "net.pt", {"preset": "fast"})["nlayers_decoder"] == 1
    with pytest.raises(UsageError, match="--preset paper"):
        options_from(tmp_path / "net.pt", {"preset": "paper"})


def test_sizes_equal_to_those_of_the_initial_model_may_be_given(model: Path) -> None:
    given = {"emb_size": 16, "arch": "paper", "preset": "paper"}
    assert options_from(model, given) == {
        "arch": "paper",
        "nlayers_encoder": 1,
        "nlayers_decoder": 1,
        "emb_size": 16,
        "ff_mult": 1,
        "act": "gelu",
    }


def run(tmp_path: Path, *options: str) -> int:
    where = ["--fn_out_model", "net.pt", "--dir_model", str(tmp_path), "--quiet", "--workers", "1"]
    return main(["train", *where, *options])


def small(tmp_path: Path, vocabulary: Vocabulary) -> Path:
    path = tmp_path / "old.pt"
    network = Seq2SeqTransformer(Seq2SeqConfig(1, 1, 2, 16, 1), vocabulary, seed=4)
    checkpoint.save_checkpoint(path, checkpoint.checkpoint_of(network, "algebraic"))
    return path


@pytest.mark.usefixtures("few_validation_episodes")
def test_the_command_finds_the_model_as_evaluation_does(tmp_path: Path) -> None:
    old = small(tmp_path, Vocabulary.from_words_and_symbols(WORDS, COLOURS))
    write_safetensors(tmp_path / "other.safetensors", checkpoint.load_checkpoint(old))
    options = ("--init_from", "other", "--nsteps", "1", "--batch_size", "2")
    assert run(tmp_path, *options, "--episode_type", "algebraic") == 0
    contents = checkpoint.load_checkpoint(tmp_path / "net.pt")
    assert contents["config"]["nheads"] == 2
    assert contents["info"]["ancestors"][0]["file"] == "other.safetensors"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--init_from", "nowhere"), "no model 'nowhere' in"),
        (("--init_from", "old.pt", "--episode_type", "few_shot_vanilla"), "vocabulary lacks"),
        (("--init_from", "old.pt", "--nlayers_decoder", "3"), "--nlayers_decoder 3 (it has 1)"),
    ],
)
def test_usage_errors_name_the_option(
    tmp_path: Path, capsys, options: tuple[str, ...], message: str
) -> None:
    small(tmp_path, Vocabulary.from_words_and_symbols(WORDS, COLOURS))
    assert run(tmp_path, *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "net.pt").exists()


def test_an_initial_model_without_the_vocabulary_of_the_type_is_rejected(tmp_path: Path) -> None:
    old = small(tmp_path, CANONICAL_VOCAB)
    with pytest.raises(UsageError, match="vocabulary lacks"):
        initial_network(old, Vocabulary.from_words_and_symbols(WORDS, COLOURS))


def test_a_run_cannot_overwrite_its_initial_model(tmp_path: Path, capsys) -> None:
    small(tmp_path, Vocabulary.from_words_and_symbols(WORDS, COLOURS)).rename(tmp_path / "net.pt")
    assert run(tmp_path, "--init_from", "net.pt", "--overwrite") == 2
    assert "--fn_out_model" in capsys.readouterr().err
