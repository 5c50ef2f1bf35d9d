"""`biml reproduce`: plan the jobs, run those that are not cached, write the results folder."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from biml import plugins
from biml.analysis.people import (
    TASK_FOLDERS,
    few_shot_grammars,
    has_cv_folds,
    is_custom_experiment,
    lacks_task,
)
from biml.episodes.data_use import CHOSEN, FITTED, TASK_DATA, TRAINED
from biml.episodes.episode_type import CANONICAL_VOCAB, FEW_SHOT, PUBLISHED_VOCAB
from biml.errors import BimlError, FormatError, UsageError
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.io import atomic_directory
from biml.llm.estimate import estimate
from biml.llm.responder import LanguageModel
from biml.parallel import process_pool
from biml.paths import user_cache_folder
from biml.progress import Progress, no_progress
from biml.report.page import FIGURE_FILES, is_complete, write_report
from biml.report.results import (
    Exclusion,
    ModelInfo,
    Results,
    check_output_folder,
    is_up_to_date,
    write_results,
)
from biml.report.schemas import PEOPLE
from biml.reproduce.cache import ResultCache, cache_key, data_digest
from biml.reproduce.experiments import (
    BENCHMARKS,
    REGISTERED,
    Experiment,
    JobResult,
    JobResults,
    MeasurementContext,
    Tables,
    registered_digest,
    registered_types,
    vocabulary_overflow,
    workload,
)
from biml.reproduce.language import TABLE, questions_table
from biml.reproduce.measurements import MEASUREMENTS
from biml.reproduce.models import EvaluatedModel
from biml.reproduce.tables import ReproductionSpec, build_tables, incomparable_models
from biml.version import __version__


@dataclass(frozen=True)
class Job:
    """One measurement of one model."""

    measurement: str
    context: MeasurementContext
    depends_on: str = ""
    """The measurement of the same model whose lapse rate it needs, if any."""

    @property
    def key(self) -> tuple[str, str]:
        """Names of measurement and model."""
        return self.measurement, self.context.model.name

    @property
    def cost(self) -> float:
        return 0.1 if self.context.model.symbolic else MEASUREMENTS[self.measurement].cost

    def cache_key(self, digests: dict[str, str]) -> str:
        """A digest of everything that the result depends on; `digests` are of data folders."""
        row, context = MEASUREMENTS[self.measurement], self.context
        amounts = [(name, getattr(context.workload, name)) for name in (row.amount, "seed")]
        data = [(name, digests[name]) for name in row.data]
        about = (context.model.name, context.model.trained_on, context.model.identity)
        return cache_key(row.name, row.version, about, amounts, data, context.p_lapse)

    def run(self) -> Tables:
        """Compute the tables; an error names the model."""
        model = self.context.model
        try:
            language = model.language.open() if model.language else None
            n_before = len(language.log.session) if language else 0
            tables = MEASUREMENTS[self.measurement].run(self.context)
            if language:
                records = language.log.session[n_before:]
                tables[TABLE] = questions_table(model.name, language, records)
            return tables
        except BimlError as error:
            # A worker cannot return a `FormatError`, which does not unpickle.
            kind = UsageError if isinstance(error, UsageError) else BimlError
            raise kind(f"{model.name}: {error}") from None


def reproduce(
    spec: ReproductionSpec,
    out: Path,
    *,
    workers: int,
    progress: Progress = no_progress,
    cache: ResultCache | None = None,
) -> Results:
    """Compute what is not cached; then write the results folder `out`, which replaces an old one.

    Raises:
        UsageError: `out` holds something else, or all models are excluded.
        BimlError: there are no human data, or a model failed.
    """
    check_output_folder(out, FIGURE_FILES)
    if needs_human_data(spec.experiments):
        spec.data.require("data_human")
    models = tuple(model.with_language(progress=progress) for model in spec.models)
    spec = replace(spec, models=models)
    _announce(spec, progress)
    cache = cache or ResultCache(user_cache_folder() / "reproduce")
    jobs, exclusions = plan_jobs(spec)
    names = {name for experiment in spec.experiments for name in experiment.measurements}
    if "few_shot_samples" in names and not lacks_task(spec.data, FEW_SHOT):
        few_shot_grammars(spec.data)  # reports items of two grammars before the computation
    job_results = run_jobs(jobs, cache, workers, progress)
    progress(0, stage="Making statistics and figures")
    tables = build_tables(spec, job_results, cache)
    cache.prune()
    results = Results(
        version=__version__,
        quick=spec.quick,
        seed=spec.seed,
        models=_model_infos(spec),
        experiments=tuple(experiment.name for experiment in spec.experiments),
        exclusions=exclusions + incomparable_models(spec, job_results),
        imported=is_custom_experiment(spec.data),
        tables=tables,
    )
    if not (is_up_to_date(out, results) and is_complete(out)):
        with atomic_directory(out, overwrite=True) as folder:
            write_results(results, folder)
            try:
                write_report(folder)
            except FormatError as error:  # the folder is temporary: name the table only
                table = Path(error.source).name
                raise FormatError(error.problem, source=table, line=error.line) from None
    return results


def _model_infos(spec: ReproductionSpec) -> tuple[ModelInfo, ...]:
    """Those of the tables; networks of a benchmark that share a name there are one."""
    infos: dict[str, ModelInfo] = {}
    for model in spec.models:
        info = _model_info(model, is_custom_experiment(spec.data))
        before = infos.setdefault(info.name, info)
        infos[info.name] = replace(
            info,
            trained_on=_joined("; ", before.trained_on, info.trained_on),
            chosen_by=_joined(" ", before.chosen_by, info.chosen_by),
        )
    return tuple(infos.values())


def _joined(separator: str, *texts: str) -> str:
    parts = [part for text in texts for part in text.split(separator) if part]
    return separator.join(dict.fromkeys(parts))


def _model_info(model: EvaluatedModel, is_custom: bool) -> ModelInfo:
    uses = {task: model.uses(task, is_custom=is_custom) for task in TASK_DATA}
    chosen_by = [task for task, use in uses.items() if CHOSEN in use]
    if model.benchmark:
        chosen_by += [name for name in model.data_use.chosen_by if name not in TASK_DATA]
    return ModelInfo(
        model.table_name,
        model.label,
        model.kind,
        fitted_to=" ".join(t for t, use in uses.items() if {TRAINED, FITTED} & {*use}),
        chosen_by=" ".join(chosen_by),
        architecture=model.architecture,
        trained_on="unknown" if model.language else model.data_use.parts().get(TRAINED, ""),
    )


def _announce(spec: ReproductionSpec, progress: Progress) -> None:
    """Say which models are measured, and where the human data are."""
    names = [model.label if model.language else model.name for model in spec.models]
    progress(0, stage=f"Models: {', '.join(names)}")
    people = spec.data.get("data_human")
    if people is not None and needs_human_data(spec.experiments):
        note = spec.data.fallback_note("data_human")
        progress(0, stage=f"Human responses: {people}{note and f' ({note})'}")
    if spec.include_absent and all(model.symbolic for model in spec.models):
        progress(0, stage="None of the paper's networks is installed; name yours with --models.")


# --- planning


def needs_human_data(experiments: Sequence[Experiment]) -> bool:
    names = [name for experiment in experiments for name in experiment.measurements]
    return any("data_human" in MEASUREMENTS[name].data for name in names)


def plan_jobs(spec: ReproductionSpec) -> tuple[list[Job], tuple[Exclusion, ...]]:
    """The jobs of a reproduction, and the measurements that are not made, with reasons.

    A task that the data lack is an exclusion of people instead of one of every model.

    Raises:
        UsageError: every model is excluded from everything.
    """
    is_custom = is_custom_experiment(spec.data)
    overflows = {task: vocabulary_overflow(spec.data, task) for task in TASK_FOLDERS}
    jobs: dict[tuple[str, str], Job] = {}
    exclusions: list[Exclusion] = []

    def add(name: str, context: MeasurementContext) -> None:
        model = context.model
        lapses = model.symbolic or spec.lapse_samples
        if model.language and model.language.why_no_log_probs:
            lapses = False  # at an unknown rate
        job = Job(name, context, MEASUREMENTS[name].lapse_from if lapses else "")
        jobs[job.key] = job
        if job.depends_on and (job.depends_on, context.model.name) not in jobs:
            add(job.depends_on, context)

    for experiment in spec.experiments:
        absent = {
            name: f"these data have no {task.replace('_', '-')} task"
            for name in experiment.measurements
            if (task := MEASUREMENTS[name].task) and lacks_task(spec.data, task)
        }
        exclusions += _exclusions(PEOPLE, experiment, absent)
        for model in spec.models:
            if spec.include_absent and bool(model.benchmark) != (experiment == BENCHMARKS):
                continue  # the default models of another experiment
            amount = workload(spec.quick, spec.seed, language=model.language is not None)
            if model.language and model.language.limit:
                amount = amount.limited(model.language.limit)
            context = MeasurementContext(model, spec.data, amount)
            if experiment.name == REGISTERED:
                types = registered_types(context)
                if not all(types.values()):
                    add(REGISTERED, context)
                exclusions += _exclusions(model.name, experiment, types)
                continue
            eligible = {
                name: MEASUREMENTS[name].ineligible_reason(model)
                for name in experiment.measurements
                if name not in absent
            }
            reasons = {
                name: reason or _data_exclusion(name, context, is_custom, overflows)
                for name, reason in eligible.items()
                if reason is not None
            }
            for name, reason in reasons.items():
                if not reason:
                    add(name, context)
            exclusions += _exclusions(model.name, experiment, reasons)
    if not jobs:
        reasons_given = dict.fromkeys(
            one.reason if one.model == PEOPLE else f"{one.model} {one.reason}" for one in exclusions
        )
        raise UsageError(f"every model is excluded: {'; '.join(reasons_given)}")
    return list(jobs.values()), tuple(exclusions)


def _data_exclusion(
    name: str, context: MeasurementContext, is_custom: bool, overflows: Mapping[str, str]
) -> str:
    """Why an eligible model cannot be measured with these data, or an empty text.

    `overflows` says for each task what exceeds the published vocabulary.
    """
    model, task = context.model, MEASUREMENTS[name].task
    if model.has_any_words:
        return ""
    if is_custom and task and model.vocabulary == CANONICAL_VOCAB:
        return "knows only the words of the published task"
    if task and overflows[task] and model.vocabulary == PUBLISHED_VOCAB:
        return (
            f"knows {len(WORDS)} words and {len(COLOURS)} symbols, but the "
            f"{task.replace('_', '-')} task has {overflows[task]}"
        )
    if name == "open_ended_likelihood" and not model.network and not has_cv_folds(context.data):
        return "has fold models only, but these data have no folds"
    return model.lacks_corpus(context.data)


def _exclusions(model: str, experiment: Experiment, reasons: dict[str, str]) -> list[Exclusion]:
    summaries = {
        name: MEASUREMENTS[name].summary if name in MEASUREMENTS else name for name in reasons
    }
    every = [
        Exclusion(model, experiment.name, summaries[name], reason)
        for name, reason in reasons.items()
        if reason
    ]
    return list(dict.fromkeys(every))  # a test of a benchmark has several parts


# --- running


def run_jobs(
    jobs: Sequence[Job], cache: ResultCache, workers: int, progress: Progress = no_progress
) -> JobResults:
    """The results of all jobs; each is cached as soon as it is complete."""
    names = {name for job in jobs for name in MEASUREMENTS[job.measurement].data}
    data = jobs[0].context.data
    digests = {
        name: registered_digest(data) if name == REGISTERED else data_digest(data, name)
        for name in names
    }
    results = _load_cached(jobs, cache, digests)
    waiting = [job for job in jobs if job.key not in results]
    if not waiting:
        progress(0, stage="Nothing to compute: all measurements are cached")
        return results
    # Cached measurements count, so that a continued run does not begin at zero.
    summaries = {job.key: MEASUREMENTS[job.measurement].summary for job in jobs}
    totals = Counter(summaries.values())
    complete = Counter(summaries[key] for key in results)

    def report(job: Job) -> None:
        row = MEASUREMENTS[job.measurement]
        unit = "parts" if row.benchmark else "models"
        progress(complete[row.summary], totals[row.summary], stage=row.summary, unit=unit)

    caching = True
    for of_language, n_workers in ((False, workers), (True, 1)):
        # A language model is in the memory of one process, and takes all its cores.
        group = [job for job in waiting if (job.context.model.language is not None) == of_language]
        if not group:
            continue
        if of_language:
            _state_cost(group, progress)
        pool = process_pool(min(n_workers, len(group)), partial(_init_worker, plugins.loaded()))
        with pool as submit:
            running: dict[Future[Tables], Job] = {}
            while group or running:
                ready = [job for j in group if (job := _ready(j, results))]
                # The longest first, so that no worker idles at the end.
                ready.sort(key=lambda job: -job.cost)
                for job in ready[: n_workers - len(running)]:
                    report(job)
                    running[submit(job.run)] = job
                started = {job.key for job in running.values()}
                group = [job for job in group if job.key not in started]
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    result = JobResult(job.cache_key(digests), future.result())
                    results[job.key] = result
                    try:
                        if caching:
                            cache.save(result.cache_key, result.tables)
                    except BimlError as error:
                        caching = False
                        progress(0, stage=f"Results are not cached for the next call: {error}")
                    complete[summaries[job.key]] += 1
                    report(job)
    return results


def _load_cached(jobs: Sequence[Job], cache: ResultCache, digests: dict[str, str]) -> JobResults:
    """The results of cached jobs, and then of those that depend on them."""
    results: JobResults = {}
    n_before = -1
    while n_before != len(results):
        n_before = len(results)
        for job in [ready for j in jobs if (ready := _ready(j, results))]:
            key = job.cache_key(digests)
            if job.key not in results and (tables := cache.load(key)) is not None:
                results[job.key] = JobResult(key, tables)
    return results


def _state_cost(jobs: Sequence[Job], progress: Progress) -> None:
    """Report what the questions of each language model will cost."""
    for model in {job.context.model.name: job.context.model for job in jobs}.values():
        contexts = [(job.measurement, job.context) for job in jobs if job.context.model == model]

        def run(dry: LanguageModel, contexts: Any = contexts) -> None:
            for name, context in contexts:
                model = context.model.with_language(opened=dry)
                MEASUREMENTS[name].run(replace(context, model=model))

        if model.language:
            progress(0, stage=f"{model.label}: {estimate(model.language.open(), run)}")


def _ready(job: Job, results: JobResults) -> Job | None:
    """The job with the lapse rate that it depends on; None while that is unknown."""
    if not job.depends_on:
        return job
    fitted = results.get((job.depends_on, job.context.model.name))
    if fitted is None:
        return None
    p_lapse = float(fitted.tables["likelihoods"]["p_lapse"].iloc[0])
    return replace(job, context=replace(job.context, p_lapse=p_lapse), depends_on="")


def _init_worker(plugin_sources: Sequence[str]) -> None:
    """Set one thread: two processes with one each are faster than one process with two."""
    import torch

    from biml.training.hardware import prepare_cpu

    prepare_cpu()
    torch.set_num_threads(1)
    for source in plugin_sources:
        plugins.load(source)
