"""`biml train --log_to`: metrics in trackers beside TensorBoard, by fakes of their libraries."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from biml.errors import BimlError, UsageError
from biml.training.config import RuntimeConfig
from biml.training.logger import TrainingCallback
from biml.training.run_files import read_log
from biml.training.trainer import train
from fakes.training import OPTIONS, open_data

LIBRARY = """
import json, sys
calls = []

class Run:
    def log(self, metrics, step):
        if fail_at is not None and step >= fail_at:
            raise RuntimeError("the server is gone\\nor so")
        calls.append(("log", metrics, step))

    def finish(self):
        calls.append(("finish",))

def init(**about):
    json.dumps(about)
    if fail_at == 0:
        raise ValueError("no key")
    calls.append(("init", about))
    return Run()

fail_at = None
"""


@pytest.fixture(params=["wandb", "trackio"])
def library(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / f"{request.param}.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.delitem(sys.modules, request.param, raising=False)
    module = import_module(request.param)
    yield module
    monkeypatch.delitem(sys.modules, request.param)


def run(model: Path, library: Any, resume: bool = False, **options: Any) -> list[str]:
    """Train a little; return the messages."""
    messages: list[str] = []
    callback = TrainingCallback()
    callback.on_message = messages.append  # type: ignore[method-assign, assignment]
    train(
        model,
        options if resume else OPTIONS | options,
        runtime=RuntimeConfig(workers=1, log_to=library.__name__),
        resume=resume,
        open_training_data=open_data,
        callback=callback,
    )
    return messages


def test_a_tracker_has_the_metrics_of_the_log(library: Any, tmp_path: Path) -> None:
    run(tmp_path / "net.pt", library, nsteps=3)
    (start, *logged, end) = library.calls
    about = start[1]
    assert (about["project"], about["name"], about["resume"]) == ("biml", "net", "never")
    assert about["config"]["nsteps"] == 3
    log = read_log(tmp_path / "net.history.jsonl")
    assert [step for _, _, step in logged] == [entry["step"] for entry in log]
    for (_, metrics, _), entry in zip(logged, log, strict=True):
        assert metrics["loss/train"] == entry["train_loss"]
        assert metrics["accuracy/novel"] == entry["accuracy_novel"]
        assert metrics["episodes"] == entry["episodes"]
    assert end == ("finish",)
    assert list((tmp_path / "net.tb").iterdir())


def test_only_a_resumed_run_goes_on_with_the_same_run(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopAt3(TrainingCallback):
        def on_step(self, info: Any) -> None:
            if info.step == 3:
                raise KeyboardInterrupt

    monkeypatch.setenv(f"{library.__name__.upper()}_PROJECT", "mine")
    with pytest.raises(KeyboardInterrupt):
        train(
            tmp_path / "net.pt",
            OPTIONS | {"nsteps": 4},
            runtime=RuntimeConfig(workers=1, save_every=0, log_to=library.__name__),
            callback=StopAt3(),
            open_training_data=open_data,
        )
    run(tmp_path / "net.pt", library, resume=True)
    run(tmp_path / "net.pt", library, nsteps=1)
    first, resumed, new = (call[1] for call in library.calls if call[0] == "init")
    assert library.calls.count(("finish",)) == 3
    assert [about["resume"] for about in (first, resumed, new)] == ["never", "allow", "never"]
    assert {about["project"] for about in (first, resumed, new)} == {"mine"}
    if library.__name__ == "wandb":
        assert first["id"] == resumed["id"] != new["id"]


def test_training_goes_on_when_a_tracker_fails(library: Any, tmp_path: Path) -> None:
    library.fail_at = 2
    messages = run(tmp_path / "net.pt", library, nsteps=3)
    assert len(read_log(tmp_path / "net.history.jsonl")) == 2
    assert [text for text in messages if "the server is gone" in text and "or so" not in text]
    assert len(messages) == 1


def test_a_tracker_that_does_not_start_is_an_error(library: Any, tmp_path: Path) -> None:
    library.fail_at = 0
    with pytest.raises(BimlError, match=rf"--log_to {library.__name__}: .*no key"):
        run(tmp_path / "net.pt", library, nsteps=2)


def test_missing_libraries_and_wrong_names_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BimlError, match=r"biml\[trackio\]"):
        RuntimeConfig(log_to="trackio")
    with pytest.raises(UsageError, match="--log_to"):
        RuntimeConfig(log_to="mlflow")
