"""Reproduction of the paper's results with any set of models.

Experiments (`experiments`) are made of measurements (`measurements`). Each measurement of one model
(`models`) is a job, cached by its content (`cache`) and shared over processes (`run`). The results
are analysed (`tables`), compared with published statistics (`published`) and written as a folder.
"""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from biml.arguments import python_api, whole_number
from biml.errors import UsageError
from biml.paths import DataFolders
from biml.progress import no_progress, progress_bars

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
    prompt: str = "plain",
    normalise: bool = False,
    limit: int | None = None,
    dir_model: str | Path = "out_models",
    data_dir: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> "Results":
    """Reproduce the paper's results, as `biml reproduce` does; also `biml.reproduce()`.

    Args:
        experiments: their names; by default those with people.
        models: names of models, and of language models as `hf:NAME` or `openai:URL#NAME`; by
            default the paper's that are on this machine and all symbolic, and for `benchmarks`
            those for SCAN and COGS that come with biml.
        out: the folder of results, replaced when all is complete; `index.html` is the report.
        quick: fewer repeats, samples and test items, under a minute.
        prompt: the template of the prompts of language models, by name or as a file.
        normalise: likelihoods of language models are among the possible answers to an item.
        limit: at most so many repeats, samples, response sets and episodes in each measurement of a
            language model.
        workers: processes; by default one per core.
        progress: show it on standard error.
    Returns:
        The results; `.tables` has pandas tables by name.
    Raises:
        UsageError: an unknown experiment or model.
        BimlError: data are missing, or a model failed.
    """
    from biml.reproduce.experiments import BENCHMARKS, select_experiments

    chosen = select_experiments([experiments] if isinstance(experiments, str) else experiments)
    for option, value in (("--workers", workers), ("--limit", limit)):
        if value is not None:
            whole_number(option, value, 1)
    whole_number("--seed", seed, 0)

    from biml.report.page import FIGURE_FILES
    from biml.report.results import check_output_folder

    check_output_folder(Path(out), FIGURE_FILES)

    from biml.evaluation.registry import is_language_model
    from biml.llm.prompts import DEFAULT_TEMPLATE
    from biml.reproduce.language import LanguageModelSource
    from biml.reproduce.models import (
        find_models,
        installed_benchmark_models,
        installed_models,
    )
    from biml.reproduce.run import needs_human_data, reproduce
    from biml.reproduce.tables import ReproductionSpec
    from biml.training.hardware import physical_cores

    data = DataFolders(Path(data_dir) if data_dir else None)
    if needs_human_data(chosen):
        data.require("data_human")
    names = list(models or ())
    if models is None and chosen != (BENCHMARKS,):
        names += installed_models(dir_model, data)
    if models is None and BENCHMARKS in chosen:
        names += installed_benchmark_models()
    given = {"prompt": prompt != DEFAULT_TEMPLATE, "normalise": normalise, "limit": limit}
    if (option := next(filter(given.get, given), "")) and not any(map(is_language_model, names)):
        raise UsageError(
            f"--{option} is for language models (--models hf:… or openai:…); leave it out"
        )
    spec = ReproductionSpec(
        find_models(names, dir_model, data, LanguageModelSource("", prompt, normalise, limit)),
        chosen,
        data,
        quick=quick,
        seed=seed,
        lapse_samples=lapse_samples,
        include_absent=models is None,
    )
    with progress_bars(transient=True) if progress else nullcontext(no_progress) as show:
        return reproduce(spec, Path(out), workers=workers or physical_cores(), progress=show)


class _Callable(ModuleType):
    """The package as a function: `biml.reproduce(quick=True)`."""

    __call__ = staticmethod(python_api(run_experiments))


sys.modules[__name__].__class__ = _Callable
