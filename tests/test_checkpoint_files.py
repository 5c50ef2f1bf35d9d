"""Native checkpoints: round trips, older versions, and damaged or inconsistent files."""

import errno
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biml.cli.main import main
from biml.errors import BimlError, FormatError, UsageError
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.networks import checkpoint
from biml.networks.checkpoint import load_model, write_safetensors
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer
from biml.vocabulary import Vocabulary

PUBLISHED = Vocabulary.from_words_and_symbols(WORDS, COLOURS)
SMALL = Seq2SeqConfig(1, 1, 2, 16, 2)


def small_network() -> Seq2SeqTransformer:
    return Seq2SeqTransformer(SMALL, PUBLISHED, seed=4)


def test_a_saved_network_loads_with_its_metadata(tmp_path: Path) -> None:
    network, path = small_network(), tmp_path / "deep" / "net.pt"
    checkpoint.save_checkpoint(
        path, checkpoint.checkpoint_of(network, "algebraic", info={"step": 7})
    )
    model = load_model(path)
    assert (model.episode_type, model.metadata) == ("algebraic", {"step": 7})
    assert model.network.config == SMALL
    assert model.network.vocabulary == PUBLISHED
    assert not model.network.training
    for name, weights in network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], weights)


def test_training_state_is_saved_and_readable_with_weights_only(tmp_path: Path) -> None:
    network, path = small_network(), tmp_path / "net.pt"
    optimizer = torch.optim.AdamW(network.parameters())
    sum(weights.sum() for weights in network.parameters()).backward()
    optimizer.step()
    state = {"optimizer": optimizer.state_dict(), "step": 1, "history": [{"loss": 0.5}]}
    checkpoint.save_checkpoint(path, checkpoint.checkpoint_of(network, "algebraic", training=state))
    plain = torch.load(path, weights_only=True)
    assert (plain["format"], plain["version"], plain["architecture"]) == (
        checkpoint.FORMAT,
        checkpoint.VERSION,
        "paper",
    )
    again = torch.optim.AdamW(network.parameters())
    again.load_state_dict(checkpoint.load_checkpoint(path)["training"]["optimizer"])
    for a, b in zip(optimizer.state.values(), again.state.values(), strict=True):
        assert torch.equal(a["exp_avg"], b["exp_avg"])


def test_a_full_disk_is_reported_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pt"
    checkpoint.save_checkpoint(path, checkpoint.checkpoint_of(small_network(), "algebraic"))
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BimlError, match=r"net\.pt.*No space left"):
        checkpoint.save_checkpoint(path, checkpoint.checkpoint_of(small_network(), "retrieve"))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "nothing half-written may be left"


def test_error_for_a_missing_checkpoint_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(BimlError, match=r"nowhere\.pt"):
        load_model(tmp_path / "nowhere.pt")
    with pytest.raises(BimlError, match="cannot be read"):
        load_model(tmp_path)


def saved(folder: Path, changes: dict[str, Any]) -> Path:
    path = folder / "changed.pt"
    torch.save(checkpoint.checkpoint_of(small_network(), "algebraic") | changes, path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 3}, "update biml"),
        ({"format": "other"}, "neither a biml nor a released"),
        ({"architecture": "papre"}, "papre"),
        ({"config": {"width": 16}}, "width"),
        ({"config": {"emb_size": 32, "nheads": 2}}, "do not fit"),
        ({"config": {"emb_size": "16"}}, "emb_size is '16', but should be a whole number"),
        ({"vocabulary": {"input": ["a", "a"], "output": ["b"]}}, "twice"),
        ({"vocabulary": {"input": ["a", "b"], "output": ["b"]}}, "do not fit"),
        ({"weights": {}}, "do not fit"),
        ({"weights": 3}, "not a dictionary"),
    ],
)
def test_inconsistent_checkpoint_contents_are_rejected(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        load_model(saved(tmp_path, changes))


def test_error_for_a_removed_architecture_names_it(tmp_path: Path, capsys) -> None:
    contents = checkpoint.checkpoint_of(small_network(), "algebraic", training={"options": {}})
    contents["architecture"] = "fast"
    checkpoint.save_checkpoint(tmp_path / "old.pt", contents)
    write_safetensors(tmp_path / "export.safetensors", contents)
    train = ("train", "--quiet", "--fn_out_model")
    for name, command in (
        ("old.pt", ("eval", "--max", "--fn_out_model", "old.pt")),
        ("export.safetensors", ("eval", "--max", "--fn_out_model", "export.safetensors")),
        ("old.pt", (*train, "new.pt", "--init", "old.pt")),
        ("export.safetensors", (*train, "new.pt", "--init", "export", "--preset", "fast")),
        ("old.pt", (*train, "old.pt", "--resume")),
    ):
        assert main([*command, "--dir_model", str(tmp_path)]) == 1
        error = " ".join(capsys.readouterr().err.split())
        assert str(tmp_path / name) in error
        assert "'fast'" in error
        assert "--preset fast" in error


def test_a_checkpoint_without_weights_is_rejected(tmp_path: Path) -> None:
    contents = checkpoint.checkpoint_of(small_network(), "algebraic")
    del contents["weights"]
    torch.save(contents, tmp_path / "net.pt")
    with pytest.raises(FormatError, match="lacks weights"):
        load_model(tmp_path / "net.pt")


def test_a_model_without_the_words_of_a_vocabulary_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    checkpoint.save_checkpoint(path, checkpoint.checkpoint_of(small_network(), "algebraic"))
    part = Vocabulary.from_words_and_symbols(WORDS[:3], COLOURS[:2])
    vocabulary = load_model(path).network.vocabulary
    for contained in (PUBLISHED, part):
        vocabulary.require(contained, str(path))
    other = Vocabulary.from_words_and_symbols(["dax", "thrice"], ["RED", "1"])
    with pytest.raises(UsageError, match=r"net\.pt.*lacks 1 thrice"):
        vocabulary.require(other, str(path))


def test_parameter_names_of_version_1_checkpoints_are_translated() -> None:
    path = Path(__file__).parent / "data" / "golden" / "training" / "staged" / "net.pt"
    before = torch.load(path, weights_only=True)
    assert before["version"] == 1
    assert "reader.0.own.query" in before["weights"]
    contents = checkpoint.load_checkpoint(path)
    network = checkpoint.network_from_checkpoint(contents)
    assert list(contents["weights"]) == list(network.state_dict())
    assert contents["config"] == asdict(network.config)
    for old, new in zip(before["weights"].values(), network.state_dict().values(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("text", [b"", b"hello", b"PK\x03\x04", b"\x80\x02}q\x00.", bytes(1000)])
def test_a_file_that_is_no_checkpoint_is_rejected(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(text)
    with pytest.raises(FormatError, match=r"net\.pt.*checkpoint"):
        load_model(path)


def test_a_saved_tensor_is_not_a_checkpoint(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "net.pt")
    with pytest.raises(FormatError, match="not a checkpoint"):
        load_model(tmp_path / "net.pt")


@settings(max_examples=40)
@given(st.data())
def test_truncated_or_damaged_checkpoints_load_or_raise_a_biml_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    checkpoint.save_checkpoint(
        folder / "net.pt", checkpoint.checkpoint_of(small_network(), "algebraic")
    )
    text = bytearray((folder / "net.pt").read_bytes())
    if data.draw(st.booleans()):
        text = text[: data.draw(st.integers(0, len(text) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 5))):
            text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    (folder / "bad.pt").write_bytes(text)
    try:
        weights = load_model(folder / "bad.pt").network.state_dict()
    except BimlError as error:
        message = str(error)
        assert "bad.pt" in message
    else:
        assert weights.keys() == small_network().state_dict().keys()
