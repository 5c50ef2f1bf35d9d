"""The benchmark of training from scratch: its further falls, and what it counts as there."""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from biml.episodes.registry import PUBLISHED_VOCAB
from biml.networks import checkpoint
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer

ROW = {"seed": 0, "fall": 0, "minutes": 10.0, "novel": 90.0, "gold": 50.0}


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.delitem(sys.modules, "time_to_accuracy", raising=False)
    return import_module("time_to_accuracy")


def test_both_figures_are_needed_to_be_there(benchmark_module) -> None:
    assert benchmark_module.there(ROW | {"novel": 95.3, "gold": 99.0}, 95.3)
    assert not benchmark_module.there(ROW | {"novel": 95.3, "gold": 98.9}, 95.3)
    assert not benchmark_module.there(ROW | {"novel": 95.2, "gold": 100.0}, 95.3)


def test_a_seed_that_does_not_get_there_takes_for_ever(benchmark_module) -> None:
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
    found = benchmark_module.medians([0, 1, 2], curves, ends, 95.3)
    assert list(found.values()) == [60.0, None]
    assert list(benchmark_module.medians([0], curves, ends, 95.3).values()) == [60.0, 70.0]


def test_a_course_goes_on_from_means_of_its_ends_and_counts_from_its_beginning(
    benchmark_module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def train(arguments: list[str]) -> int:
        """Leave a model whose weights are 2, 4, 8 …, and a history of ten minutes."""
        asked.append(arguments)
        model = tmp_path / arguments[arguments.index("--fn_out_model") + 1]
        checkpoint.save_checkpoint(model, toy(float(2 ** len(asked))))
        history = benchmark_module.RunPaths(model).history
        history.write_text(
            '{"step": 1, "episodes": 1000, "seconds": 600, "train_loss": 1, "val_loss": 1,'
            ' "accuracy_copied": 90, "accuracy_novel": 80}\n'
        )
        return 0

    monkeypatch.setattr(benchmark_module, "biml", train)
    monkeypatch.setattr(benchmark_module, "gold", lambda model: 50.0)
    args = argparse.Namespace(
        minutes=10.0,
        falls=[5.0, 5.0],
        episode_type="algebraic+biases",
        max_tokens=10240,
        out=tmp_path,
    )
    ends = [end for _, end in benchmark_module.course(3, args)]
    assert [end["minutes"] for end in ends] == [10, 20, 30]
    assert [end["episodes"] for end in ends] == [1000, 2000, 3000]
    assert [(end["seed"], end["fall"]) for end in ends] == [(3, 0), (3, 1), (3, 2)]
    assert [call[call.index("--max_tokens") + 1] for call in asked] == ["10240"] * 3
    began = [Path(call[call.index("--init") + 1]) for call in asked[1:]]
    assert began[0] == tmp_path / "seed3.pt"
    assert "--init" not in asked[0]
    assert {
        value.mean().item()
        for value in checkpoint.load_native_checkpoint(began[1])["weights"].values()
    } == {3.0}
    assert len({call[call.index("--seed") + 1] for call in asked}) == 3

    asked.clear()
    assert [end["minutes"] for _, end in benchmark_module.course(3, args)] == [10, 20, 30]
    assert all("--resume" in call and "--init" not in call for call in asked)


def toy(weight: float) -> dict[str, Any]:
    """A checkpoint all of whose weights are the same."""
    network = Seq2SeqTransformer(
        Seq2SeqConfig(1, 1, emb_size=8, nheads=2, ff_mult=1), PUBLISHED_VOCAB
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(weight)
    return checkpoint.checkpoint_of(network, "algebraic+biases")
