"""Reproduction of the paper's behavioural results with any set of models.

Experiments (`experiments`) are made of measurements (`measurements`). Each measurement of one model
(`models`) is a job, cached by its content (`cache`) and shared over processes (`run`). The results
are analysed (`tables`), compared with published statistics (`published`) and written as a folder.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biml.report.results import Results


def run_experiments(
    experiments: Sequence[str] = (),
    *,
    models: Sequence[str] | None = None,
    out: str | Path = "reproduction",
    quick: bool = False,
    seed: int = 0,
    lapse_samples: bool = False,
    dir_model: str | Path = "out_models",
    data_dir: str | Path | None = None,
    workers: int = 0,
) -> "Results":
    """Reproduce the paper's behavioural results, as `biml reproduce` does; also `biml.reproduce()`.

    Args:
        experiments: their names; by default all.
        models: names of models; by default the paper's that are on this machine and all symbolic.
        out: the folder of results, replaced when all is complete; `index.html` is the report.
        quick: fewer repeats and samples, under a minute.
        workers: processes; 0: one per core.
    Returns:
        The results; `.tables` has pandas tables by name.
    Raises:
        UsageError: an unknown experiment or model.
        BimlError: data are missing, or a model failed.
    """
    from biml.paths import DataFolders
    from biml.reproduce.experiments import select_experiments
    from biml.reproduce.models import find_models
    from biml.reproduce.run import reproduce
    from biml.reproduce.tables import ReproductionSpec
    from biml.training.hardware import physical_cores

    data = DataFolders(Path(data_dir) if data_dir else None)
    names = [experiments] if isinstance(experiments, str) else list(experiments)
    spec = ReproductionSpec(
        find_models(models, dir_model, data),
        select_experiments(names),
        data,
        quick=quick,
        seed=seed,
        lapse_samples=lapse_samples,
        include_absent=models is None,
    )

    silent: Any = SimpleNamespace(
        **dict.fromkeys(("on_start", "on_running", "on_done", "on_message"), lambda _: None)
    )
    return reproduce(spec, Path(out), workers=workers or physical_cores(), listener=silent)


class _Callable(ModuleType):
    """The package as a function: `biml.reproduce(quick=True)`."""

    __call__ = staticmethod(run_experiments)


sys.modules[__name__].__class__ = _Callable
