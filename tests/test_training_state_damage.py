"""Training states that are damaged or of the wrong kind: `--resume` names the file and the key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biml.errors import FormatError
from biml.training.config import RuntimeConfig
from biml.training.run_files import read_log
from biml.training.trainer import train
from fakes.training import OPTIONS, open_data

ALONE = RuntimeConfig(workers=1)
MUON = {"optimizer": "muon", "lr_schedule": "quadratic"}


def resume(model: Path) -> None:
    train(model, {}, runtime=ALONE, resume=True, open_training_data=open_data)


@pytest.fixture(scope="module", params=["adamw", "muon"])
def contents(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    model = tmp_path_factory.mktemp("run") / "net.pt"
    options = OPTIONS | (MUON if request.param == "muon" else {})
    train(model, options, runtime=ALONE, open_training_data=open_data)
    return model.read_bytes()


def changed(model: Path, contents: bytes, keys: tuple[Any, ...], value: Any) -> None:
    """Write the checkpoint with one fact of its training state replaced, or removed for `...`."""
    model.write_bytes(contents)
    checkpoint = torch.load(model, weights_only=True)
    facts = checkpoint["training"]
    for key in keys[:-1]:
        facts = facts[key]
    if value is ...:
        del facts[keys[-1]]
    else:
        facts[keys[-1]] = value(facts[keys[-1]]) if callable(value) else value
    torch.save(checkpoint, model)


WRONG_FACTS: list[tuple[tuple[str, ...], Any, str]] = [
    (("step",), "many", r"training\.step is 'many'"),
    (("step",), ..., r"training\.step is missing"),
    (("step",), None, r"training\.step is missing"),
    (("options",), [1], r"training\.options is \[1\]"),
    (("options", "lr"), [0.1], r"training\.options\.lr is \[0\.1\]"),
    (("options", "lr"), "fast", "--lr"),
    (("options", "lr"), -1.0, "--lr"),
    (("options", "seed"), torch.ones(1), r"options\.seed is a Tensor"),
    (("options", "later"), 1, "later"),
    (("data",), 5, r"training\.data is 5"),
    (("recipe",), [5], r"training\.recipe is \[5\]"),
    (("record",), 5, r"training\.record is 5"),
    (("record", "history"), [{}], r"history\[0\]\.step is missing"),
    (("record", "history"), [5], r"history\[0\] is 5"),
    (("record", "history"), ..., r"history is missing"),
    (("record", "seconds"), "long", r"record\.seconds is 'long'"),
    (("record", "seconds"), float("inf"), r"record\.seconds is inf"),
    (("record", "best"), [1], r"record\.best is \[1\]"),
    (("record", "loss_sum"), float("nan"), r"record\.loss_sum is nan"),
    (("record", "loss_count"), 0.5, r"record\.loss_count is 0\.5"),
    (("record", "ancestors"), [5], r"ancestors\[0\] is 5"),
    (("record", "later"), 1, "later"),
    (("optimizer",), 5, r"training\.optimizer is 5"),
    (("optimizer",), {}, r"state\[0\]\.\w+ is not a tensor"),
]


@pytest.mark.parametrize(("keys", "value", "message"), WRONG_FACTS)
def test_facts_of_the_wrong_kind_are_named(
    tmp_path: Path, contents: bytes, keys: tuple[str, ...], value: Any, message: str
) -> None:
    model = tmp_path / "net.pt"
    changed(model, contents, keys, value)
    before = model.read_bytes()
    with pytest.raises(FormatError, match=rf"net\.pt: .*{message}"):
        resume(model)
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: 5,
        lambda _: None,
        lambda tensor: tensor.tolist(),
        lambda tensor: tensor.int(),
        lambda tensor: tensor.unsqueeze(0),
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor * float("nan"),
    ],
)
def test_tensors_of_the_optimizer_that_do_not_fit_are_named(
    tmp_path: Path, contents: bytes, damage: Callable[[torch.Tensor], Any]
) -> None:
    model = tmp_path / "net.pt"
    model.write_bytes(contents)
    optimizer = torch.load(model, weights_only=True)["training"]["optimizer"]
    for part in ((), ("muon",), ("adamw",)):
        state = optimizer.get(part[0], {}) if part else optimizer
        for name in state.get("state", {}).get(1, {}):
            changed(model, contents, ("optimizer", *part, "state", 1, name), damage)
            with pytest.raises(FormatError, match=rf"net\.pt: .*state\[1\]\.{name}"):
                resume(model)


def test_negative_second_moments_are_rejected(tmp_path: Path, contents: bytes) -> None:
    model = tmp_path / "net.pt"
    model.write_bytes(contents)
    muon = "muon" in torch.load(model, weights_only=True)["training"]["optimizer"]
    keys = ("optimizer", *(["adamw"] if muon else []), "state", 0, "exp_avg_sq")
    changed(model, contents, keys, lambda tensor: tensor - 1)
    with pytest.raises(FormatError, match=r"state\[0\]\.exp_avg_sq"):
        resume(model)


def test_tensors_that_share_memory_are_read_as_separate_ones(
    tmp_path: Path, contents: bytes
) -> None:
    model = tmp_path / "net.pt"
    model.write_bytes(contents)
    muon = "muon" in torch.load(model, weights_only=True)["training"]["optimizer"]
    keys = ("optimizer", *(["adamw"] if muon else []), "state", 0, "exp_avg")
    changed(model, contents, ("step",), 1)
    changed(model, model.read_bytes(), keys, lambda old: torch.zeros(1).expand(old.shape))
    resume(model)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"step": 1}', "line 2: episodes is missing"),
        ('{"step": 1, "episodes": 2, "lr": "x"}', "line 2: lr is 'x'"),
        ('{"step": [1], "episodes": 2}', "line 2: step is"),
        ("[" * 100_000, "line 2: not a line"),
        ("9" * 5_000, "line 2: not a line"),
        ("\xff", "line 2: not UTF-8"),
    ],
)
def test_wrong_lines_of_a_log_are_named(tmp_path: Path, line: str, message: str) -> None:
    entry = '{"step": 1, "episodes": 2}\n'
    (tmp_path / "net.history.jsonl").write_bytes(f"{entry}{line}\n{entry}".encode("latin-1"))
    with pytest.raises(FormatError, match=message):
        read_log(tmp_path / "net.history.jsonl")
