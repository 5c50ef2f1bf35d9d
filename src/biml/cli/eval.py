"""`biml eval`, and the published command `python eval.py`."""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biml.errors import UsageError
from biml.io import check_writable

if TYPE_CHECKING:
    from biml.cli.eval_output import EvalConsole, EvalTask
    from biml.evaluation.likelihood import ScoredResponse

SUMMARY = "Evaluate a model: likelihood of responses, accuracy, samples."

TABLE_SUFFIXES = (".csv", ".parquet")

MODES = ("ll", "fit_lapse", "max", "sample", "sample_html", "sample_iterative", "dashboard")

Metrics = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    option = parser.add_argument
    option(
        "--fn_out_model",
        required=True,
        metavar="NAME.pt",
        help="file name of the model, or the name of a symbolic or registered model",
    )
    option(
        "--dir_model", default="out_models", metavar="FOLDER", help="folder of models (%(default)s)"
    )
    option(
        "--episode_type",
        metavar="TYPE",
        help="episodes to evaluate on (default: those that it was trained on); any wrong name "
        "lists them all",
    )
    option("--data_dir", type=Path, metavar="FOLDER", help="where to look for data folders first")
    _configure_modes(parser.add_argument_group("what to compute (one or more)"))
    _configure_details(parser.add_argument_group("details"))


def _configure_modes(group: Any) -> None:
    option = group.add_argument
    option("--ll", action="store_true", help="log-likelihood of the responses in the data")
    option(
        "--fit_lapse",
        nargs="?",
        const="grid",
        choices=("grid", "bounded"),
        help="log-likelihood at the best lapse rate: of 0.01-0.09 and 0.1-0.9 (grid, the default), "
        "or of all by a bounded optimiser",
    )
    option("--max", action="store_true", help="accuracy of greedy responses")
    option("--sample", action="store_true", help="accuracy of sampled responses")
    option(
        "--sample_html",
        action="store_true",
        help="a page of samples in the few-shot task, ten per human response, beside the model",
    )
    option(
        "--sample_iterative",
        action="store_true",
        help="sample response sets query by query, each response becoming a study example "
        "(open-ended task)",
    )
    option("--dashboard", action="store_true", help="plot the learning curves to NAME.png")


def _configure_details(group: Any) -> None:
    option = group.add_argument
    option(
        "--max_length_eval",
        type=int,
        metavar="N",
        help="longest response in symbols (10, or as many as the longest target)",
    )
    option("--batch_size", type=int, metavar="N", help="at most N episodes at once")
    option("--episodes", type=int, metavar="N", help="only the first N episodes")
    option(
        "--ll_nrep",
        type=int,
        default=1,
        metavar="N",
        help="repeats with random orders and remappings that --ll averages over (%(default)s)",
    )
    option(
        "--ll_p_lapse",
        type=float,
        default=0.0,
        metavar="P",
        help="lapse rate of --ll (%(default)g)",
    )
    option(
        "--ll_by",
        "--by",
        choices=("item", "participant"),
        help="list the log-likelihood by item or participant (--by: the same)",
    )
    option(
        "--ll_out",
        type=Path,
        metavar="FILE",
        help="write the log-likelihood of each response as a table (.csv or .parquet)",
    )
    option(
        "--samples_out",
        type=Path,
        metavar="FILE",
        help="write the samples of --sample_html or --sample_iterative as a table (.csv or "
        ".parquet)",
    )
    option("--verbose", action="store_true", help="list every episode with its responses")
    option("--json", metavar="PATH", help="write the results as one JSON object (-: to stdout)")
    option("--seed", type=int, default=0, metavar="N", help="of remappings, orders and samples (0)")
    option("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    option(
        "--precision",
        choices=("fp32", "bf16"),
        default="fp32",
        help="of matrix products (%(default)s)",
    )


def check_options(args: argparse.Namespace) -> None:
    """Raise UsageError for combinations of options without a meaning."""
    scores = args.ll or args.fit_lapse
    if not any(getattr(args, mode) for mode in MODES):
        names = [f"--{mode}" for mode in MODES]
        raise UsageError(f"nothing to compute; give {', '.join(names[:-1])} or {names[-1]}")
    if args.max and args.sample:
        raise UsageError("--max and --sample are two kinds of responses; give one of them")
    if not scores and (args.ll_nrep != 1 or args.ll_p_lapse):
        raise UsageError("--ll_nrep and --ll_p_lapse are for --ll or --fit_lapse; add one of them")
    if not scores and (args.ll_by or args.ll_out):
        raise UsageError("--ll_by and --ll_out are for --ll or --fit_lapse; add one of them")
    if args.samples_out and not (args.sample_html or args.sample_iterative):
        raise UsageError(
            "--samples_out is for --sample_html or --sample_iterative; add one of them"
        )
    for name in ("ll_out", "samples_out"):
        path = getattr(args, name)
        if path is not None and path.suffix.lower() not in TABLE_SUFFIXES:
            raise UsageError(f"--{name} {path}: a table ends in {' or '.join(TABLE_SUFFIXES)}")
    for path in (args.ll_out, args.samples_out, None if args.json == "-" else args.json):
        if path is not None:
            check_writable(path)
    if args.fit_lapse and args.ll_p_lapse:
        raise UsageError("--fit_lapse fits the lapse rate that --ll_p_lapse sets; give one only")
    if not 0 <= args.ll_p_lapse <= 1:
        raise UsageError(f"--ll_p_lapse is {args.ll_p_lapse}, but must be from 0 to 1")
    for name in ("batch_size", "episodes", "ll_nrep", "max_length_eval"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} is {value}, but must be at least 1")


def run(args: argparse.Namespace) -> int:
    """Evaluate and report."""
    check_options(args)
    if args.ll_by or args.ll_out or args.samples_out or args.fit_lapse == "bounded":
        import biml.analysis  # noqa: F401  (reports a missing pandas before the work)
    from biml.cli.eval_output import EvalConsole, load_eval_task

    console = EvalConsole(to_stderr=args.json == "-")
    task = load_eval_task(args, console)
    metrics: Metrics = {"model": task.path.name, "episode_type": task.episode_type.name}
    if args.dashboard:
        _plot_curves(task, console)
    if args.ll or args.fit_lapse:
        metrics |= _report_likelihood(args, task, console)
    if args.max or args.sample:
        metrics |= _report_accuracy(args, task, console)
    if args.sample_iterative:
        _sample_autoregressively(args, task, console)
    if args.sample_html:
        _write_samples_page(args, task, console)
    if args.json is not None:
        _write_metrics(metrics, args.json)
    return 0


def _report_likelihood(
    args: argparse.Namespace, task: "EvalTask", console: "EvalConsole"
) -> Metrics:
    from biml.evaluation.likelihood import fit_lapse, likelihood, score_responses, token_scores

    if args.ll_by == "participant":
        task.require_participants()
    repeats = args.ll_nrep if task.evaluation.varies else 1
    with console.progress("scoring", repeats, "repeats") as progress:
        scored = score_responses(
            task.responder, task.evaluation, repeats=repeats, progress=progress
        )
    scores = token_scores(scored, task.evaluation.query_repeats)
    if args.fit_lapse == "bounded":
        from biml.analysis.scoring import fit_lapse_bounded

        result = fit_lapse_bounded(scores)
    else:
        result = fit_lapse(scores) if args.fit_lapse else likelihood(scores, args.ll_p_lapse)
    console.likelihood(result, task, fitted=bool(args.fit_lapse))
    parts = _tabulate_likelihood(args, task, console, scored, result.p_lapse)
    if args.verbose and not (args.max or args.sample):
        episodes = task.evaluation.repeat(0)
        console.list_scores(episodes, task.responder.log_prob(episodes))
    return {
        "loglike": _finite(result.mean),
        "loglike_sd": _finite(result.sd),
        "symbols": result.n_symbols,
        "p_lapse": result.p_lapse,
        **parts,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _tabulate_likelihood(
    args: argparse.Namespace,
    task: "EvalTask",
    console: "EvalConsole",
    scored: "list[ScoredResponse]",
    p_lapse: float,
) -> Metrics:
    if not (args.ll_by or args.ll_out):
        return {}
    from biml.analysis.scoring import summed_by, to_table

    table = to_table(
        scored,
        model=task.name,
        task=task.episode_type.evaluation_task or task.episode_type.name,
        p_lapse=p_lapse,
    )
    if args.ll_out:
        console.write_table(table, args.ll_out, "Log-likelihoods")
    if not args.ll_by:
        return {}
    if task.evaluation.query_repeats > 1:
        console.print(
            f"Each response counts {task.evaluation.query_repeats} times above, and once below."
        )
    # The query is the same throughout an item, and explains its name.
    sums = summed_by(table, ["item", "query"] if args.ll_by == "item" else ["participant"])
    console.list_sums(sums, args.ll_by)
    values = zip(sums[args.ll_by], sums["log_likelihood"], strict=True)
    return {f"loglike_by_{args.ll_by}": {str(name): _finite(value) for name, value in values}}


def _report_accuracy(args: argparse.Namespace, task: "EvalTask", console: "EvalConsole") -> Metrics:
    from biml.evaluation.accuracy import (
        accuracy,
        greedy_responses,
        max_target_length,
        sampled_responses,
    )

    episodes = task.evaluation.repeat(0)
    max_length = task.max_response_length(args.max_length_eval)
    length, name = max_target_length(episodes)
    if length > max_length:
        raise UsageError(
            f"{name or 'an episode'}: has a target of {length} symbols, but --max_length_eval "
            f"{max_length} cuts responses before; give {length} or leave it out"
        )
    with console.progress("responding", len(episodes), "episodes") as progress:
        if args.max:
            responses = greedy_responses(task.responder, episodes, max_length, progress=progress)
        else:
            responses = sampled_responses(
                task.responder, episodes, max_length, seed=args.seed, progress=progress
            )
    if args.verbose:
        console.list_responses(episodes, responses)
    grouped = task.evaluation.autoregressive
    study, novel = (
        accuracy(episodes, responses, in_study=in_study, group_by_participant=grouped)
        for in_study in (True, False)
    )
    console.accuracy("greedy" if args.max else "sampled", study, novel, task)
    metrics: Metrics = {}
    if study is not None:
        metrics |= {"accuracy_retrieve": study.mean, "episodes": study.n_episodes}
    if novel is not None:
        metrics |= {"accuracy_novel": novel.mean, "accuracy_novel_sd": novel.sd}
        metrics |= {"episodes": novel.n_episodes}
    return metrics


def _sample_autoregressively(
    args: argparse.Namespace, task: "EvalTask", console: "EvalConsole"
) -> None:
    from biml.evaluation.accuracy import sample_autoregressively

    episodes = task.response_sets()
    n_turns = max((len(episode.queries) for episode in episodes), default=0)
    with console.progress("sampling", n_turns, "queries in turn") as progress:
        responses = sample_autoregressively(
            task.responder,
            episodes,
            task.max_response_length(args.max_length_eval),
            seed=args.seed,
            progress=progress,
        )
    if args.samples_out:
        from biml.analysis.scoring import open_ended_table

        table = open_ended_table(episodes, responses, model=task.name, seed=args.seed)
        console.write_table(table, args.samples_out, "Samples")
    console.list_samples(episodes, responses)


def _write_samples_page(args: argparse.Namespace, task: "EvalTask", console: "EvalConsole") -> None:
    from biml.evaluation.sample_page import SAMPLES_PER_RESPONSE, sample_items, samples_html
    from biml.io import atomic_write

    n_responses = sum(len(episode.queries) for episode in task.evaluation.episodes)
    try:
        with console.progress("sampling", SAMPLES_PER_RESPONSE * n_responses, "responses") as bar:
            items = sample_items(
                task.responder,
                task.evaluation,
                seed=args.seed,
                max_length=task.max_response_length(args.max_length_eval),
                progress=bar,
            )
    except UsageError as error:
        raise UsageError(f"--sample_html: {error}") from None
    path = task.output.with_name(f"{task.output.stem}_{task.episode_type.name}_samples.html")
    with atomic_write(path) as file:
        file.write(samples_html(items, f"{task.path.name}: {task.episode_type.summary}").encode())
    console.print(f"Samples: {path}")
    if args.samples_out:
        from biml.analysis.scoring import few_shot_table, probe_table
        from biml.episodes.episode_type import PROBES

        tabulate = probe_table if task.episode_type.evaluation_task == PROBES else few_shot_table
        table = tabulate(items, task.evaluation, model=task.name, seed=args.seed)
        console.write_table(table, args.samples_out, "Samples")


def _plot_curves(task: "EvalTask", console: "EvalConsole") -> None:
    from biml.evaluation.cards import learning_curves
    from biml.training.logger import Dashboard
    from biml.training.run_files import RunPaths

    if not task.path.is_file():
        raise UsageError(f"--dashboard: {task.name} was not trained, so it has no learning curves")
    path = RunPaths(task.output).curves_image
    Dashboard(path, task.path.name).plot(learning_curves(task.path))
    console.print(f"Learning curves: {path}")


def _write_metrics(metrics: Metrics, path: str) -> None:
    from biml.io import atomic_write

    text = json.dumps(metrics, indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    with atomic_write(path) as file:
        file.write(text.encode())
