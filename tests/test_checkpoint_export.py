"""`biml export`: to safetensors with a card, and back."""

import argparse
import errno
import json
import shutil
from pathlib import Path

import pytest
import torch

from biml.cli import models
from biml.episodes.episode import Episode, Example
from biml.errors import BimlError, FormatError, UsageError
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.networks import checkpoint
from biml.networks.checkpoint import load_model
from biml.networks.released import lang_in_datasets
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer, source_symbols
from biml.paths import PRETRAINED, list_pretrained
from biml.vocabulary import Vocabulary
from fakes.released_checkpoint import ReleasedSeq2Seq


def run(*argv: object) -> None:
    parser = argparse.ArgumentParser()
    models.configure_export(parser)
    models.run_export(parser.parse_args([str(value) for value in argv]))


@pytest.fixture
def net(tmp_path: Path) -> Path:
    network = Seq2SeqTransformer(
        Seq2SeqConfig(1, 1, 2, 16, 2), Vocabulary.from_words_and_symbols(WORDS, COLOURS), seed=4
    )
    info = {"step": 7, "best_val_loss": float("inf")}
    checkpoint.save_checkpoint(
        tmp_path / "net.pt",
        checkpoint.checkpoint_of(network, "algebraic", info=info, training={"optimizer": {}}),
    )
    return tmp_path / "net.pt"


def test_export_and_import_give_the_same_network_without_training_state(net: Path) -> None:
    folder = net.parent / "shared"
    run(net, folder / "net.safetensors")
    run(folder / "net.safetensors", folder / "back.pt")
    first, there, back = (
        load_model(path) for path in (net, folder / "net.safetensors", folder / "back.pt")
    )
    for model in (there, back):
        assert model.episode_type == "algebraic"
        assert model.metadata["step"] == 7
        assert model.network.config == first.network.config
        assert model.network.vocabulary == first.network.vocabulary
        for name, weights in first.network.state_dict().items():
            assert torch.equal(model.network.state_dict()[name], weights)
    assert "training" not in checkpoint.load_checkpoint(folder / "back.pt")


def test_export_does_not_overwrite_the_checkpoint_of_the_run(net: Path) -> None:
    with pytest.raises(UsageError, match="another name"):
        run(net, net.parent / "." / net.name, "--overwrite")
    assert "training" in checkpoint.load_checkpoint(net)


def test_the_card_is_plain_json_that_describes_the_network(net: Path) -> None:
    run(net, net.with_suffix(".safetensors"))
    card = json.loads(net.with_suffix(".json").read_text(), parse_constant=pytest.fail)
    assert card["architecture"] == "paper"
    assert card["config"]["emb_size"] == 16
    assert card["vocabulary"]["output"] == list(COLOURS)
    assert card["info"] == {"step": 7, "best_val_loss": None}


def test_float16_export_halves_the_file_and_loads_as_float32(net: Path) -> None:
    run(net, net.parent / "full.safetensors")
    run(net, net.parent / "half.safetensors", "--dtype", "float16")
    full, half = (net.parent / f"{name}.safetensors" for name in ("full", "half"))
    assert half.stat().st_size < 0.6 * full.stat().st_size
    weights = load_model(half).network.state_dict()
    for name, exact in load_model(full).network.state_dict().items():
        assert weights[name].dtype == torch.float32
        torch.testing.assert_close(weights[name], exact, atol=1e-3, rtol=1e-3)


def test_a_released_checkpoint_can_be_exported(shared: Path, tmp_path: Path) -> None:
    released = shared / "legacy" / "net-legacy-vanilla.pt"
    run(released, tmp_path / "vanilla.safetensors")
    model = load_model(tmp_path / "vanilla.safetensors")
    assert model.episode_type == "few_shot_vanilla"
    assert model.metadata["args"]["batch_size"] == 25


def test_export_finds_models_by_name_like_evaluation(
    net: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(net.parent)
    monkeypatch.delenv("BIML_DATA", raising=False)
    for path in ("mine/a.pt", "data/out_models/b.pt"):
        Path(path).parent.mkdir(parents=True)
        shutil.copy(net, path)
    for name, options, found in (
        ("a", ("--dir_model", "mine"), Path("mine/a.pt")),
        ("b.pt", ("--data_dir", "data"), Path("data/out_models/b.pt")),
        ("net.pt", (), Path("net.pt")),
    ):
        run(name, f"new-{found.name}", *options)
        assert f"from {found}" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"no model 'nobody.pt' in .*--dir_model"):
        run("nobody.pt", "new.pt")


def test_a_pretrained_model_can_be_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not list_pretrained():
        pytest.skip("no trained models come with this installation")
    monkeypatch.chdir(tmp_path)
    run(list_pretrained()[0].stem, "shipped.pt")
    assert load_model("shipped.pt").episode_type == PRETRAINED[list_pretrained()[0].stem]


def test_an_export_whose_card_does_not_fit_leaves_nothing_new(
    net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = net.parent / "export" / "net.safetensors"
    run(net, target)
    before = {path.name: path.read_bytes() for path in target.parent.iterdir()}
    target.with_suffix(".json").unlink()
    target.unlink()
    for kept in ({}, before):
        for name, contents in kept.items():
            (target.parent / name).write_bytes(contents)
        with monkeypatch.context() as full_disk:
            # The weights fit, but the card does not: fsync of the latter comes first.
            full_disk.setattr("biml.io.os.fsync", no_space)
            with pytest.raises(BimlError, match=r"net\.json: could not be written \(No space"):
                run(net, target, "--overwrite")
        assert {path.name: path.read_bytes() for path in target.parent.iterdir()} == kept


def no_space(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_export_for_the_published_code_is_read_as_it_reads(tmp_path: Path) -> None:
    network = Seq2SeqTransformer(
        Seq2SeqConfig(2, 1, 8, 16, 2), Vocabulary.from_words_and_symbols(WORDS, COLOURS), seed=4
    )
    log = [{"step": 1, "episodes": 5, "lr": 0.1, "train_loss": 2.0, "val_loss": 3.0}]
    log += [{"step": 2, "episodes": 10, "lr": 0.1}]
    info = {"step": 7, "best_val_loss": None, "options": {"nepochs": 3, "batch_size": 5}}
    training = {"optimizer": {}, "record": {"history": log}}
    contents = checkpoint.checkpoint_of(network, "algebraic", info=info, training=training)
    checkpoint.save_checkpoint(tmp_path / "net.pt", contents)
    run(tmp_path / "net.pt", tmp_path / "mlc.pt", "--to", "released")
    with lang_in_datasets():
        found = torch.load(tmp_path / "mlc.pt", weights_only=False)
    assert (found["batch_size"], found["epoch"], found["nepochs"], found["step"]) == (5, 0, 3, 7)
    assert (found["args"].episode_type, found["args"].act) == ("algebraic", "gelu")
    assert f"{found['best_val_loss']:.4f}" == "inf"
    assert [one["avg_train_loss"] for one in found["train_tracker"]] == [2.0]
    assert (found["input_size"], found["output_size"]) == (19, 9)
    study, query = [Example(("dax",), ("RED",))], Example(("dax", "wif"), ("RED", "BLUE"))
    source = [*map(str, source_symbols(query, study))]
    (ours,) = network.eval()(network.collate([Episode(tuple(study), (query,))]))
    torch.testing.assert_close(ReleasedSeq2Seq(found)(source, query.output), ours)
    back = load_model(tmp_path / "mlc.pt")
    assert (back.episode_type, back.metadata["step"]) == ("algebraic", 7)
    for name, weights in network.state_dict().items():
        assert torch.equal(back.network.state_dict()[name], weights)


def test_only_the_published_network_is_exported_for_the_published_code(
    net: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="8 attention heads, this one 2"):
        run(net, tmp_path / "mlc.pt", "--to", "released")
    with pytest.raises(UsageError, match="no staged network"):
        run("net-BIML-top", tmp_path / "mlc.pt", "--to", "released")
    for options in (("mlc.safetensors",), ("mlc.pt", "--dtype", "float16")):
        with pytest.raises(UsageError, match="--to released"):
            run(net, tmp_path / options[0], *options[1:], "--to", "released")


def test_existing_files_are_overwritten_only_on_request(net: Path) -> None:
    target = net.parent / "other.safetensors"
    target.write_text("precious")
    with pytest.raises(UsageError, match="--overwrite"):
        run(net, target)
    assert target.read_text() == "precious"
    run(net, target, "--overwrite")
    assert load_model(target).episode_type == "algebraic"
    card_only = net.parent / "third.json"
    card_only.write_text("precious")
    with pytest.raises(UsageError, match=r"third\.json"):
        run(net, net.parent / "third.safetensors")


def test_export_requires_the_suffix_safetensors(net: Path) -> None:
    with pytest.raises(UsageError, match=r"\.safetensors or \.pt"):
        run(net, net.parent / "net.onnx")


@pytest.mark.parametrize("damage", ["no card", "bad card", "list card", "cut", "not tensors"])
def test_damaged_exports_are_rejected(net: Path, damage: str) -> None:
    target = net.with_suffix(".safetensors")
    run(net, target)
    card = target.with_suffix(".json")
    match damage:
        case "no card":
            card.unlink()
        case "bad card":
            card.write_text("{")
        case "list card":
            card.write_text("[]")
        case "cut":
            target.write_bytes(target.read_bytes()[:-100])
        case "not tensors":
            target.write_bytes(b"hello")
    with pytest.raises(BimlError, match=card.name if "card" in damage else target.name) as caught:
        load_model(target)
    assert isinstance(caught.value, FormatError) or damage == "no card"
