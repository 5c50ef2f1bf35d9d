"""Weight averaging of several checkpoints (`benchmarks/average_weights.py`)."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import average_weights
from biml.networks import checkpoint
from biml.networks.checkpoint import DTYPES, load_checkpoint, write_safetensors
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer
from biml.training.config import RuntimeConfig
from biml.training.trainer import train
from fakes.training import OPTIONS, open_data, weights_of


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.pt" for name in ("one", "other")]
    for seed, path in enumerate(paths):
        options = OPTIONS | {"nsteps": 2, "seed": seed}
        train(path, options, runtime=RuntimeConfig(workers=1), open_training_data=open_data)
    return paths


def test_averaged_checkpoint_keeps_the_metadata_of_the_last_one(runs: list[Path]) -> None:
    contents = average_weights.average_weights(runs)
    one, other = map(weights_of, runs)
    for name, mean in contents["weights"].items():
        torch.testing.assert_close(mean, (one[name] + other[name]) / 2)
    last = checkpoint.load_checkpoint(runs[1])
    assert contents["info"] == last["info"]
    assert contents["history"] == last["training"]["record"]["history"] != []
    assert "training" not in contents


def test_a_checkpoint_given_twice_has_twice_the_weight_and_can_be_an_export(
    runs: list[Path], tmp_path: Path
) -> None:
    exported = tmp_path / "one.safetensors"
    write_safetensors(exported, load_checkpoint(runs[0]), DTYPES["float32"])
    contents = average_weights.average_weights([exported, runs[0], runs[1]])
    one, other = map(weights_of, runs)
    for name, mean in contents["weights"].items():
        torch.testing.assert_close(mean, (2 * one[name] + other[name]) / 3)


def test_checkpoints_of_different_networks_cannot_be_averaged(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    wider = Seq2SeqTransformer(Seq2SeqConfig(1, 1, emb_size=24, ff_mult=1), own_vocabulary(runs[0]))
    checkpoint.save_checkpoint(tmp_path / "wider.pt", checkpoint.checkpoint_of(wider, "algebraic"))
    arguments = [str(runs[0]), str(tmp_path / "wider.pt"), "--out", str(tmp_path / "mean.pt")]
    monkeypatch.setattr(sys, "argv", ["average_weights.py", *arguments])
    assert average_weights.main() == 2
    assert "wider.pt" in capsys.readouterr().err
    assert not (tmp_path / "mean.pt").exists()


def own_vocabulary(path: Path) -> Any:
    from biml.networks.checkpoint import load_model

    return load_model(path).network.vocabulary
