"""`biml.train`: training from Python."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

import biml
from biml.episodes.data_use import validation_caveat
from biml.training import console as console_module
from biml.training.config import TrainingConfig
from biml.training.console import TrainingConsole
from biml.training.logger import RunInfo, StepInfo
from biml.training.run_files import read_log

SMALL = {
    "episode_type": "algebraic",
    "nsteps": 2,
    "batch_size": 1,
    "emb_size": 16,
    "nlayers_encoder": 1,
    "nlayers_decoder": 1,
    "precision": "fp32",
    "workers": 1,
}
INFO = RunInfo(TrainingConfig(), "cpu", 1, 5000, 0, total_steps=1000, data_description="a stream")
VALIDATED = {"val_loss": 1.234, "accuracy_study": 10.0, "accuracy_novel": 20.0, "step": 1}


@pytest.mark.usefixtures("few_validation_episodes")
def test_a_trained_model_can_be_loaded_and_resumed(tmp_path: Path, capsys) -> None:
    result = biml.train("net.pt", dir_model=str(tmp_path), **SMALL)
    assert result.model_path == tmp_path / "net.pt"
    assert f"Model: {result.model_path}" in capsys.readouterr().out
    answer = result.load().respond([("dax", "RED")], "dax")
    assert set(answer.split()) <= set(biml.COLOURS)
    resumed = biml.train("net.pt", dir_model=tmp_path, resume=True, progress=False, workers=1)
    assert (resumed.step, resumed.total_steps) == (2, 2)
    assert capsys.readouterr().out == ""
    with pytest.raises(biml.UsageError, match=r"overwrite=True, .* resume=True"):
        biml.train("net.pt", dir_model=tmp_path, progress=False, **SMALL)


def test_validation_on_the_responses_trained_on_is_announced(
    shared: Path, tmp_path: Path, capsys
) -> None:
    options = SMALL | {"nsteps": 1, "data_dir": shared, "dir_model": tmp_path}
    result = biml.train("net.pt", **options | {"episode_type": "probe_human_w_pool"})
    assert "trained on" in result.validation_caveat
    assert f"Warning: {result.validation_caveat}" in capsys.readouterr().out
    assert [entry.get("val_in_training") for entry in read_log(result.paths.history)] == [1]
    folds = [f"{kind}_cross3" for kind in ("open_end_human", "joint")]
    assert [validation_caveat(fold, []) for fold in folds] == ["", ""]
    for parent in ("joint", "open_end_human_all", "joint_cross1"):
        assert all(validation_caveat(fold, [{"episode_type": parent}]) for fold in folds)
    assert validation_caveat("open_end_human_all", [])
    for other in ("algebraic+slips", "joint", "few_shot_vanilla"):
        assert validation_caveat(other, [{"episode_type": "joint"}]) == ""


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"batchsize": 3}, "did you mean batch_size"),
        ({"lr_shape": "cubic"}, "^lr_schedule must be linear or quadratic"),
        ({"device": "mps"}, "'mps'.*auto or cpu"),
        ({"device": "cuda:99"}, "'cuda:99'.*auto or cpu"),
        ({"init_from": "nowhere"}, "no model 'nowhere'"),
        ({"data_dir": "nowhere"}, "^data_dir: nowhere is not a folder"),
        ({"arch": "stagged"}, r"\(arch\); did you mean staged\?"),
        ({"episode_type": "algebra"}, r"\(episode_type\); did you mean algebraic"),
    ],
)
def test_error_for_an_invalid_option_names_it(tmp_path: Path, options: dict, named: str) -> None:
    with pytest.raises(biml.UsageError, match=named):
        biml.train("net.pt", dir_model=tmp_path, progress=False, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_remaining_time_is_displayed_at_any_terminal_width(width: int) -> None:
    terminal = io.StringIO()
    training_console = TrainingConsole(Console(file=terminal, force_terminal=True, width=width))
    training_console.on_start(INFO)
    training_console.on_step(StepInfo(7, 1000, 2.0, 31.5, 5000.0, VALIDATED))
    training_console.close()
    assert "1 h 23 min left" in terminal.getvalue()


def test_a_notebook_shows_one_line_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    handle = SimpleNamespace(update=lines.append)

    def display(text: str, display_id: bool) -> SimpleNamespace:
        lines.append(text)
        return handle

    ipython = SimpleNamespace(display=display, Pretty=str)
    monkeypatch.setattr(console_module, "import_module", lambda name: ipython)
    training_console = TrainingConsole(Console(file=io.StringIO(), force_jupyter=False))
    training_console._bar = console_module._NotebookLine()
    for step in (1, 2):
        training_console.on_step(StepInfo(step, 9, 2.0, 31.5, 5000.0, None))
    assert [line.split("  ")[0] for line in lines] == ["step 1/9", "step 2/9"]
