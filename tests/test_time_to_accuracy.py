"""Training from scratch to the published accuracy: fine-tuning runs and stopping criterion."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch

import time_to_accuracy
from biml.episodes.episode_type import PUBLISHED_VOCAB
from biml.networks import checkpoint
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer

ROW = {"seed": 0, "finetuning": 0, "minutes": 10.0, "novel": 90.0, "gold": 50.0}


def test_both_accuracies_are_required() -> None:
    assert time_to_accuracy.reaches_criteria(ROW | {"novel": 95.3, "gold": 99.0}, 95.3)
    assert not time_to_accuracy.reaches_criteria(ROW | {"novel": 95.3, "gold": 98.9}, 95.3)
    assert not time_to_accuracy.reaches_criteria(ROW | {"novel": 95.2, "gold": 100.0}, 95.3)


def test_a_seed_short_of_a_criterion_counts_as_infinite() -> None:
    curves = [
        ROW | {"seed": 0, "minutes": 60.0, "novel": 95.3},
        ROW | {"seed": 0, "minutes": 70.0, "novel": 96.0},
        ROW | {"seed": 1, "minutes": 50.0, "novel": 96.0},
        ROW | {"seed": 2, "minutes": 66.0, "novel": 94.0},
    ]
    ends = [
        ROW | {"seed": 0, "minutes": 70.0, "novel": 96.0, "gold": 99.5},
        ROW | {"seed": 1, "minutes": 50.0, "novel": 96.0, "gold": 98.0},
        ROW | {"seed": 2, "minutes": 66.0, "novel": 94.0, "gold": 99.5},
    ]
    found = time_to_accuracy.medians([0, 1, 2], curves, ends, 95.3)
    assert list(found.values()) == [60.0, None]
    assert list(time_to_accuracy.medians([0], curves, ends, 95.3).values()) == [60.0, 70.0]


def test_fine_tuning_starts_from_averaged_weights_and_counts_all_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def train(arguments: list[str]) -> int:
        """Write a model whose weights are 2, 4, 8 …, and a history of ten minutes."""
        calls.append(arguments)
        model = tmp_path / arguments[arguments.index("--fn_out_model") + 1]
        checkpoint.save_checkpoint(model, constant_network(float(2 ** len(calls))))
        history = time_to_accuracy.RunPaths(model).history
        history.write_text(
            '{"step": 1, "episodes": 1000, "seconds": 600, "train_loss": 1, "val_loss": 1,'
            ' "accuracy_copied": 90, "accuracy_novel": 80}\n'
        )
        return 0

    monkeypatch.setattr(time_to_accuracy, "biml", train)
    monkeypatch.setattr(time_to_accuracy, "gold", lambda model: 50.0)
    args = argparse.Namespace(
        minutes=10.0,
        finetune_minutes=[5.0, 5.0],
        episode_type="algebraic+biases",
        micro_batch_tokens=10240,
        out=tmp_path,
    )
    ends = [end for _, end in time_to_accuracy.run_seed(3, args)]
    assert [end["minutes"] for end in ends] == [10, 20, 30]
    assert [end["episodes"] for end in ends] == [1000, 2000, 3000]
    assert [(end["seed"], end["finetuning"]) for end in ends] == [(3, 0), (3, 1), (3, 2)]
    assert [call[call.index("--micro_batch_tokens") + 1] for call in calls] == ["10240"] * 3
    began = [Path(call[call.index("--init_from") + 1]) for call in calls[1:]]
    assert began[0] == tmp_path / "seed3.pt"
    assert "--init_from" not in calls[0]
    assert {
        value.mean().item() for value in checkpoint.load_checkpoint(began[1])["weights"].values()
    } == {3.0}
    assert len({call[call.index("--seed") + 1] for call in calls}) == 3

    calls.clear()
    assert [end["minutes"] for _, end in time_to_accuracy.run_seed(3, args)] == [10, 20, 30]
    assert all("--resume" in call and "--init_from" not in call for call in calls)


def constant_network(weight: float) -> dict[str, Any]:
    """A checkpoint with all weights equal."""
    network = Seq2SeqTransformer(
        Seq2SeqConfig(1, 1, emb_size=8, nheads=2, ff_mult=1), PUBLISHED_VOCAB
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(weight)
    return checkpoint.checkpoint_of(network, "algebraic+biases")
