"""`biml.train`: training from Python."""

import os
import shlex
import time
from contextlib import closing, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

from biml.arguments import check_type
from biml.errors import UsageError, unknown_name
from biml.paths import DataFolders, resolve_model
from biml.training import trainer
from biml.training.config import RuntimeConfig, TrainingConfig, cli_name, current_options
from biml.training.console import TrainingConsole
from biml.training.distributed import process_rank
from biml.training.run_files import RunPaths
from biml.training.setup import warm_episode_cache, with_corpus_type
from biml.training.trainer import RunResult


def train(
    fn_out_model: str | Path,
    *,
    dir_model: str | Path = "out_models",
    data_dir: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    started: float | None = None,
    **options: Any,
) -> RunResult:
    """Train a model, or resume its run; `biml train` from Python.

        result = biml.train("net.pt", preset="fast", episode_type="algebraic", time_budget=30)
        result.load().respond([("dax", "RED"), ("wif", "BLUE")], "wif")

    Interrupting (Ctrl-C, or a notebook's stop button) saves after the current step;
    `biml.train("net.pt", resume=True)` continues.

    Args:
        fn_out_model: name of the model's file, in `dir_model`.
        data_dir: folder that is searched first for data folders.
        resume: continue the run of an existing file, with the options that it had.
        started: value of `time.perf_counter()` when a `time_budget` began, by default now.
        options: those of `biml train` by their names without dashes: the fields of
            `TrainingConfig` (such as `episode_type`, `preset`, `nsteps`, `seed`, `lr`) and of
            `RuntimeConfig` (such as `device`, `workers`).

    Raises:
        UsageError: an option is unknown, cannot work or has no effect, or the file exists.
        BimlError: data are missing, a file cannot be written, or training diverges.
    """
    started = time.perf_counter() if started is None else started
    model = Path(dir_model) / fn_out_model
    if ".." in Path(fn_out_model).parts:
        raise UsageError(
            f"--fn_out_model {fn_out_model} leads out of the folder {dir_model}; give "
            f"--fn_out_model {shlex.quote(model.name)} and --dir_model "
            f"{shlex.quote(os.path.normpath(model.parent))}"
        )
    folder = Path(data_dir) if data_dir is not None else None
    given = current_options({name: v for name, v in options.items() if v is not None})
    runtime_names = [field.name for field in fields(RuntimeConfig)]
    known = {each.name: each.type for each in (*fields(TrainingConfig), *fields(RuntimeConfig))}
    known |= dict.fromkeys(("corpus", "init_from"), str | Path)
    for name, value in given.items():
        if name not in known:
            raise unknown_name("training option", name, known)
        check_type(cli_name(name), value, known[name])
    runtime = RuntimeConfig(**{name: given.pop(name) for name in runtime_names if name in given})
    if given.get("init_from") is not None:
        path = resolve_model(str(given["init_from"]), Path(dir_model), DataFolders(folder))
        given["init_from"] = str(path)
    given = with_corpus_type(given)
    first = process_rank() == 0
    if first and not resume:
        check_model_name(model)
        for path in existing_models(model, bool(given.get("save_best"))):
            if not overwrite:
                raise UsageError(
                    f"{path} exists: replace it with --overwrite, continue its run with --resume, "
                    "or choose another --fn_out_model"
                )
    with closing(TrainingConsole()) if progress and first else nullcontext() as console:
        if first and not resume and console:
            if not ({"episode_type", "init_from"} & given.keys()):
                console.on_message(DEFAULT_TYPE_NOTE)
            name = given.get("episode_type", TrainingConfig.episode_type)
            warm_episode_cache(name, folder, console.on_message)
        result = trainer.train(
            model,
            given,
            runtime=runtime,
            data_dir=folder,
            resume=resume,
            callback=console,
            started=started,
        )
    if console:
        console.on_end(result)
    return result


DEFAULT_TYPE_NOTE = (
    "No --episode_type is given: training on retrieve, the published default, whose model copies "
    "study examples and does not generalise. For a model that does, give --episode_type "
    "algebraic+biases"
)


def existing_models(model: Path, save_best: bool) -> list[Path]:
    """The files that a new run would replace."""
    paths = [model, RunPaths(model).best] if save_best else [model]
    return [path for path in paths if path.exists()]


def check_model_name(model: Path) -> None:
    """Check that a model of this name can be read again."""
    if model.suffix == ".safetensors":
        raise UsageError(
            f"--fn_out_model: {model.name} is the name of an export, which `biml export` writes; "
            f"name it {model.stem}.pt"
        )
    if model.is_dir():
        raise UsageError(f"--fn_out_model: {model} is a folder; name a file such as net.pt")
    if RunPaths(model).events.is_symlink():
        raise UsageError(
            f"{RunPaths(model).events} is a link, in whose folder event files would be deleted; "
            "remove it, or choose another --fn_out_model"
        )
