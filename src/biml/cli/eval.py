"""`biml eval`, and the published command `python eval.py`."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biml.arguments import check_probability, whole_number
from biml.cli import add_data_dir, add_dir_model, from_plugins, language_models
from biml.errors import UsageError
from biml.io import check_writable, write_file
from biml.paths import model_file
from biml.progress import progress_bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biml.cli.eval_output import EvalConsole, EvalTask
    from biml.evaluation.likelihood import ScoredResponse

TABLE_SUFFIXES = (".csv", ".parquet")

MODES = ("ll", "fit_lapse", "max", "sample", "sample_html", "sample_iterative", "dashboard")

Metrics = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    help = "file name of the model, or the name of a symbolic, registered or language model"
    parser.add_argument("--fn_out_model", required=True, metavar="NAME.pt", help=help)
    add_dir_model(parser, "folder of models")
    parser.add_argument(
        "--episode_type",
        metavar="TYPE",
        help="episodes to evaluate on (default: those that it was trained on); any wrong name "
        "lists them all" + from_plugins("episode type"),
    )
    help = "evaluate on a corpus of your own (default: the one that the model was trained on)"
    parser.add_argument("--corpus", metavar="FILE.toml", help=help)
    help = "evaluate on human responses in the format of Psych-101 (`biml data export`)"
    parser.add_argument("--transcripts", type=Path, metavar="FILE.jsonl", help=help)
    help = "accept test inputs of --corpus that are trained on"
    parser.add_argument("--allow_overlap", action="store_true", help=help)
    add_data_dir(parser)

    mode = parser.add_argument_group("what to compute (one or more)").add_argument
    mode("--ll", action="store_true", help="log-likelihood of the responses in the data")
    help = (
        "log-likelihood at the best lapse rate: of 0.01-0.09 and 0.1-0.9 (grid, the default), "
        "or of all by a bounded optimiser"
    )
    mode("--fit_lapse", nargs="?", const="grid", choices=("grid", "bounded"), help=help)
    help = "accuracy of greedy responses, or their agreement with human ones"
    mode("--max", action="store_true", help=help)
    mode("--sample", action="store_true", help="accuracy or agreement of sampled ones")
    help = "a page of samples in the few-shot task, ten per human response, beside the model"
    mode("--sample_html", action="store_true", help=help)
    help = "sample response sets query by query, each response becoming a study example "
    mode("--sample_iterative", action="store_true", help=help + "(open-ended task)")
    mode("--dashboard", action="store_true", help="plot the learning curves to NAME.png")

    language_models.add_options(parser)
    option = parser.add_argument_group("details").add_argument
    help = "longest response in symbols (10, or as the longest target)"
    option("--max_length_eval", type=int, metavar="N", help=help)
    help = "at most N episodes at once (-1, as by default: as many as fit)"
    option("--batch_size", type=int, metavar="N", help=help)
    help = "queries that share a study set (SCAN, COGS, --corpus; default: as in training)"
    option("--n_queries", type=int, metavar="N", help=help)
    help = "repeats with random orders and remappings that --ll averages over (%(default)s)"
    option("--ll_nrep", type=int, default=1, metavar="N", help=help)
    help = "only the first N episodes (--limit: the same)"
    option("--episodes", "--limit", type=int, metavar="N", help=help)
    help = "lapse rate of --ll (%(default)g)"
    option("--ll_p_lapse", type=float, default=0.0, metavar="P", help=help)
    help = "list the log-likelihood by item or participant (--by: the same)"
    option("--ll_by", "--by", choices=("item", "participant"), help=help)
    help = (
        "likelihood of probe types: as published, with study examples and over all symbols "
        "(%(default)s), or of people's responses over the allowed outputs"
    )
    option("--ll_probes", choices=("published", "allowed"), default="published", help=help)
    for name, help in (
        ("ll_out", "log-likelihood of each response"),
        ("samples_out", "samples of --sample_html or --sample_iterative"),
    ):
        help = f"write the {help} as a table (.csv or .parquet); a missing folder is made"
        option(f"--{name}", type=Path, metavar="FILE", help=help)
    help = "write an apostrophe before cells that spreadsheets take for formulas (=, +, -, @)"
    option("--safe_cells", action="store_true", help=help)
    option("--verbose", action="store_true", help="list every episode with its responses")
    help = "no effect; accepted as in the published code for SCAN and COGS"
    option("--debug", action="store_true", help=help)
    help = "write the results as one JSON object (-: to stdout); a missing folder is made"
    option("--json", metavar="PATH", help=help)
    help = "seed of remappings, orders and samples (%(default)s)"
    option("--seed", type=int, default=0, metavar="N", help=help)
    help = "auto, cpu, cuda, cuda:N or mps (default: %(default)s)"
    option("--device", default="auto", metavar="NAME", help=help)
    help = "precision of matrix products (%(default)s)"
    option("--precision", choices=("fp32", "bf16"), default="fp32", help=help)


_LIKELIHOOD, _SAMPLES = ("ll", "fit_lapse"), ("sample_html", "sample_iterative")

MODES_OF = {
    "ll_by": (None, _LIKELIHOOD),
    "ll_probes": ("published", _LIKELIHOOD),
    "ll_out": (None, _LIKELIHOOD),
    "samples_out": (None, _SAMPLES),
    "safe_cells": (False, (*_LIKELIHOOD, *_SAMPLES)),
}
"""Options that change only some modes: their defaults, and these modes. (Published ones may stand
where they have no effect.)"""


def check_options(args: argparse.Namespace) -> None:
    """Raise UsageError for combinations of options without a meaning."""
    if not any(getattr(args, mode) for mode in MODES):
        names = [f"--{mode}" for mode in MODES]
        raise UsageError(f"nothing to compute; give {', '.join(names[:-1])} or {names[-1]}")
    for name, (default, modes) in MODES_OF.items():
        if getattr(args, name) != default and not any(getattr(args, mode) for mode in modes):
            raise UsageError(f"--{name} is for --{' or --'.join(modes)}; add one of them")
    for name in ("ll_out", "samples_out"):
        path = getattr(args, name)
        if path is not None and path.suffix.lower() not in TABLE_SUFFIXES:
            raise UsageError(f"--{name} {path}: a table ends in {' or '.join(TABLE_SUFFIXES)}")
    named = [
        f"--{name}" for name in ("episode_type", "corpus", "transcripts") if getattr(args, name)
    ]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} name different episodes; give one of them")
    language_models.check_options(args)
    if args.allow_overlap and not args.corpus:
        raise UsageError("--allow_overlap has no effect without --corpus; leave it out")
    for path in (args.ll_out, args.samples_out, None if args.json == "-" else args.json):
        if path is not None:
            check_writable(path)
    check_probability("--ll_p_lapse", args.ll_p_lapse)
    for name in ("batch_size", "episodes", "n_queries", "ll_nrep", "max_length_eval"):
        if (value := getattr(args, name)) is not None:
            whole_number(f"--{name}", value, 1)


def run(args: argparse.Namespace) -> int:
    """Evaluate and report."""
    if args.batch_size == -1:  # the published default
        args.batch_size = None
    check_options(args)
    if args.ll_by or args.ll_out or args.samples_out or args.fit_lapse == "bounded":
        import biml.analysis  # noqa: F401  (reports a missing pandas before the work)
    from biml.cli.eval_output import EvalConsole, load_eval_task

    console = EvalConsole(to_stderr=args.json == "-")
    task = load_eval_task(args, console)
    metrics: Metrics = {"model": model_file(task.path), "episode_type": task.episode_type.name}
    metrics |= {"architecture": task.model.architecture, **task.model.data_use.as_json()}
    metrics |= {"uses_of_these_episodes": list(task.uses), **task.prompt}
    if cost := language_models.cost(args, task):
        console.warn(cost)
    if args.dashboard:
        _plot_curves(task, console)
    if args.ll or args.fit_lapse:
        metrics |= _report_likelihood(args, task, console)
    if args.max:
        metrics |= _report_accuracy(args, task, console)
    if args.sample:
        sampled = _report_accuracy(args, task, console, seed=args.seed)
        metrics |= {f"sampled_{name}": v for name, v in sampled.items()} if args.max else sampled
    if args.sample_iterative:
        _sample_autoregressively(args, task, console)
    if args.sample_html:
        _write_samples_page(args, task, console)
    metrics |= language_models.report_no_sequences(task, console)
    text = json.dumps(metrics, indent=2) + "\n"
    if args.json == "-":
        sys.stdout.write(text)
    elif args.json is not None:
        write_file(args.json, text)
        console.print(f"Results: {args.json}")
    return 0


def _report_likelihood(
    args: argparse.Namespace, task: "EvalTask", console: "EvalConsole"
) -> Metrics:
    from biml.episodes.episode_type import PROBES
    from biml.episodes.registry import PROBE_SCORING, with_probe_scoring
    from biml.evaluation.intervals import finite_or_none
    from biml.evaluation.likelihood import (
        FINE_LAPSE_GRID,
        LAPSE_GRID,
        fit_lapse,
        likelihood,
        score_responses,
        token_scores,
        with_cross_validation,
        with_standard_error,
    )

    if args.ll_by == "participant" and not task.has_participants:
        raise UsageError(
            "--ll_by participant: these responses have no participants; an experiment of your own "
            "can have them (biml data import, column participant)"
        )
    evaluation = with_probe_scoring(task.episode_type, task.evaluation, args.ll_probes)
    task = replace(task, evaluation=evaluation)
    with progress_bars(transient=True) as progress:
        scored = score_responses(
            task.reporting(progress), task.evaluation, repeats=args.ll_nrep, progress=progress
        )
    copies = task.evaluation.query_repeats
    scores = token_scores(scored, copies)
    result = given = with_standard_error(likelihood(scores, args.ll_p_lapse), scored, copies)
    metrics: Metrics = {}
    if args.fit_lapse and args.ll:
        console.likelihood(given, task, fitted=False)
        metrics |= {"loglike_given": finite_or_none(given.mean), "p_lapse_given": given.p_lapse}
        metrics["loglike_given_se"] = finite_or_none(given.standard_error)
    if args.fit_lapse:
        fitted, grid = fit_lapse(scores), LAPSE_GRID
        if args.fit_lapse == "bounded":
            from biml.analysis.scoring import fit_lapse_bounded

            fitted, grid = fit_lapse_bounded(scores), FINE_LAPSE_GRID
        result = with_cross_validation(
            with_standard_error(fitted, scored, copies),
            *(scored, task.model.responder, task.evaluation),
            task=task.episode_type.evaluation_task,
            grid=grid,
        )
    console.likelihood(result, task, fitted=bool(args.fit_lapse))
    if task.episode_type.evaluation_task == PROBES:
        metrics["ll_probes"] = args.ll_probes
        console.print(f"{PROBE_SCORING[args.ll_probes]} (--ll_probes {args.ll_probes})")
    metrics |= result.as_json(fitted=bool(args.fit_lapse))
    if args.ll_by or args.ll_out:
        metrics |= _report_sums(args, task, console, scored, result.p_lapse)
    if args.verbose and not (args.max or args.sample):
        episodes = task.evaluation.repeat(0)
        console.list_scores(episodes, task.model.responder.log_prob(episodes))
    return metrics


def _report_sums(
    args: argparse.Namespace,
    task: "EvalTask",
    console: "EvalConsole",
    scored: "Sequence[ScoredResponse]",
    p_lapse: float,
) -> Metrics:
    """Write the log-likelihood of each response, and list its sums by item or participant."""
    from biml.analysis.scoring import summed_by, to_table
    from biml.evaluation.intervals import finite_or_none

    kind = task.episode_type.evaluation_task or task.episode_type.name
    table = to_table(scored, model=task.name, task=kind, p_lapse=p_lapse)
    if args.ll_out:
        console.write_table(table, args.ll_out, "Log-likelihoods", args.safe_cells)
    if not args.ll_by:
        return {}
    if (copies := task.evaluation.query_repeats) > 1:
        console.print(f"Each response counts {copies} times above, and once below.")
    # The query is the same throughout an item, and explains its name.
    sums = summed_by(table, ["item", "query"] if args.ll_by == "item" else ["participant"])
    console.list_sums(sums, args.ll_by)
    metrics: Metrics = {}
    for column, end in (("log_likelihood", ""), ("standard_error", "_se")):
        values = zip(sums[args.ll_by], sums[column], strict=True)
        metrics[f"loglike_by_{args.ll_by}{end}"] = {
            str(name): finite_or_none(value) for name, value in values
        }
    return metrics


def _report_accuracy(
    args: argparse.Namespace, task: "EvalTask", console: "EvalConsole", seed: int | None = None
) -> Metrics:
    """Report the accuracy of greedy responses, or with a seed of sampled ones."""
    from biml.evaluation.accuracy import (
        error_rates,
        max_target_length,
        mean_error_rate,
        single_responses,
        study_and_novel,
        total_error_rate,
    )

    episodes = task.evaluation.repeat(0)
    max_length = task.max_response_length(args.max_length_eval, episodes)
    length, name = max_target_length(episodes)
    if length > max_length:
        raise UsageError(
            f"{name or 'an episode'}: has a target of {length} symbols, but --max_length_eval "
            f"{max_length} is shorter; give {length} or leave it out"
        )
    with progress_bars(transient=True) as progress:
        responses = single_responses(
            task.reporting(progress), episodes, max_length, seed=seed, progress=progress
        )
    if args.verbose:
        of_people = task.episode_type.has_human_targets
        console.list_responses(episodes, responses, of_people=of_people)
    study, novel = study_and_novel(task.evaluation, episodes, responses)
    console.accuracy("greedy" if seed is None else "sampled", study, novel, task)
    # The names of accuracies are also those of agreement with people, as they were before.
    names = ("accuracy", "agreement") if task.episode_type.has_human_targets else ("accuracy",)
    metrics: Metrics = {}
    for kind, result in (("retrieve", study), ("novel", novel)):
        if result is not None:
            for name in names:
                metrics |= result.as_json(f"{name}_{kind}")
            metrics |= {"episodes": result.n_episodes, "accuracy_over": result.unit}
    if novel is not None and task.episode_type.is_corpus:
        rates = error_rates(episodes, responses)
        console.error_rates(rates)
        total = total_error_rate(rates.values())
        metrics |= {"error_rate": total.percent, "error_rate_interval": total.interval}
        if len(rates) > 1:
            metrics["error_rate_by_item"] = {item: r.percent for item, r in rates.items()}
            intervals = {item: r.interval for item, r in rates.items()}
            metrics["error_rate_by_item_interval"] = intervals
            mean, interval = mean_error_rate(rates.values())
            metrics |= {"error_rate_mean": mean, "error_rate_mean_interval": interval}
    return metrics


def _sample_autoregressively(
    args: argparse.Namespace, task: "EvalTask", console: "EvalConsole"
) -> None:
    from biml.evaluation.accuracy import sample_autoregressively

    episodes = task.response_sets()
    with progress_bars(transient=True) as progress:
        responses = sample_autoregressively(
            task.reporting(progress),
            episodes,
            task.max_response_length(args.max_length_eval),
            seed=args.seed,
            progress=progress,
        )
    if args.samples_out:
        from biml.analysis.scoring import open_ended_table

        table = open_ended_table(episodes, responses, model=task.name, seed=args.seed)
        console.write_table(table, args.samples_out, "Samples", args.safe_cells)
    console.list_samples(episodes, responses)


def _write_samples_page(args: argparse.Namespace, task: "EvalTask", console: "EvalConsole") -> None:
    from biml.evaluation.sample_page import sample_items, samples_html

    try:
        with progress_bars(transient=True) as progress:
            items = sample_items(
                task.reporting(progress),
                task.evaluation,
                seed=args.seed,
                max_length=task.max_response_length(args.max_length_eval),
                progress=progress,
            )
    except UsageError as error:
        raise UsageError(f"--sample_html: {error}") from None
    path = task.output.with_name(f"{task.output.stem}_{task.episode_type.name}_samples.html")
    write_file(path, samples_html(items, f"{task.path.name}: {task.episode_type.summary}"))
    console.print(f"Samples: {path}")
    if args.samples_out:
        from biml.analysis.scoring import item_table

        kind = task.episode_type.name
        table = item_table(items, task.evaluation, model=task.name, seed=args.seed, kind=kind)
        console.write_table(table, args.samples_out, "Samples", args.safe_cells)


def _plot_curves(task: "EvalTask", console: "EvalConsole") -> None:
    from biml.evaluation.cards import learning_curves, training_segments
    from biml.training.logger import Dashboard
    from biml.training.run_files import RunPaths

    if not task.path.is_file():
        raise UsageError(f"--dashboard: {task.name} was not trained, so it has no learning curves")
    path = RunPaths(task.output).curves_image
    learning_curves(task.path)  # an error where there are none
    runs = training_segments(task.path)
    log = [
        {**entry, "episodes": run.episodes_before + (entry["episodes"] or 0)}
        for run in runs
        for entry in run.log
    ]
    Dashboard(path, task.path.name).plot(log)
    several = f" (of {len(runs)} training runs, one after another)" if len(runs) > 1 else ""
    console.print(f"Learning curves: {path}{several}")
    if lost := [str(number) for number, run in enumerate(runs, 1) if not run.log]:
        console.warn(f"The curves of training run {', '.join(lost)} of {len(runs)} are lost.")
