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
    from biml.analysis.scoring import ScoredResponse
    from biml.cli.eval_output import EvalConsole, EvalTask

TABLE_OPTIONS = (".csv", ".parquet")

MODES = ("ll", "fit_lapse", "max", "sample", "sample_html", "sample_iterative", "dashboard")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    _configure_model(parser)
    _configure_modes(parser.add_argument_group("what to find out (one or more)"))
    _configure_details(parser.add_argument_group("how"))


def _configure_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fn_out_model", required=True, metavar="NAME.pt", help="file name of the model"
    )
    parser.add_argument(
        "--dir_model", default="out_models", metavar="FOLDER", help="its folder (%(default)s)"
    )
    parser.add_argument(
        "--episode_type",
        metavar="TYPE",
        help="what it is asked (the kind it was trained on); any wrong name lists them all",
    )
    parser.add_argument(
        "--data_dir", type=Path, metavar="FOLDER", help="where to look for data folders first"
    )


def _configure_modes(group: Any) -> None:
    option = group.add_argument
    option("--ll", action="store_true", help="log-likelihood of the given answers")
    option(
        "--fit_lapse",
        nargs="?",
        const="grid",
        choices=("grid", "bounded"),
        help="log-likelihood at the lapse rate that fits best: of 0.01-0.09 and 0.1-0.9 (grid, the "
        "default), or of all by a bounded optimiser",
    )
    option("--max", action="store_true", help="accuracy of its likeliest answers")
    option("--sample", action="store_true", help="accuracy of drawn answers")
    option(
        "--sample_html",
        action="store_true",
        help="a page of drawn answers to the few-shot task, ten for each of a person's, "
        "written beside the model",
    )
    option(
        "--sample_iterative",
        action="store_true",
        help="draw answers to one query after another, each becoming a study example",
    )
    option("--dashboard", action="store_true", help="draw the learning curves to NAME.png")


def _configure_details(group: Any) -> None:
    option = group.add_argument
    option(
        "--max_length_eval",
        type=int,
        metavar="N",
        help="symbols that an answer may have (10, or as many as the longest answer in the data)",
    )
    option("--batch_size", type=int, metavar="N", help="at most so many episodes at once")
    option("--episodes", type=int, metavar="N", help="only the first N episodes")
    option(
        "--ll_nrep",
        type=int,
        default=1,
        metavar="N",
        help="passes with fresh orders and names that --ll averages over (%(default)s)",
    )
    option(
        "--ll_p_lapse",
        type=float,
        default=0.0,
        metavar="P",
        help="lapse rate of --ll (%(default)g)",
    )
    option(
        "--by",
        choices=("item", "participant"),
        help="show the log-likelihood of --ll or --fit_lapse for each",
    )
    option(
        "--ll_out",
        type=Path,
        metavar="FILE",
        help="write the log-likelihood of each answer as a table (.csv or .parquet)",
    )
    option(
        "--samples_out",
        type=Path,
        metavar="FILE",
        help="write what --sample_html or --sample_iterative draws as a table (.csv or .parquet)",
    )
    option("--verbose", action="store_true", help="list every episode with its answers")
    option("--json", metavar="PATH", help="write the figures as one JSON object (-: to stdout)")
    option("--seed", type=int, default=0, metavar="N", help="of names, orders and draws (0)")
    option("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    option(
        "--precision",
        choices=("fp32", "bf16"),
        default="fp32",
        help="of matrix products (%(default)s)",
    )


def check_options(args: argparse.Namespace) -> None:
    """Refuse what cannot be meant.

    Raises:
        UsageError: says which options.
    """
    if not any(getattr(args, mode) for mode in MODES):
        raise UsageError(f"nothing was asked for; give {_option_list(MODES)}")
    if args.max and args.sample:
        raise UsageError("--max and --sample ask for two kinds of answers; give one of them")
    if not (args.ll or args.fit_lapse) and (args.ll_nrep != 1 or args.ll_p_lapse):
        raise UsageError("--ll_nrep and --ll_p_lapse are for --ll or --fit_lapse; add one of them")
    if not (args.ll or args.fit_lapse) and (args.by or args.ll_out):
        raise UsageError("--by and --ll_out are for --ll or --fit_lapse; add one of them")
    if args.samples_out and not (args.sample_html or args.sample_iterative):
        raise UsageError(
            "--samples_out is for --sample_html or --sample_iterative; add one of them"
        )
    for name in ("ll_out", "samples_out"):
        path = getattr(args, name)
        if path is not None and path.suffix.lower() not in TABLE_OPTIONS:
            raise UsageError(f"--{name} {path}: a table ends in {' or '.join(TABLE_OPTIONS)}")
    for path in (args.ll_out, args.samples_out, None if args.json == "-" else args.json):
        if path is not None:
            check_writable(path)
    if args.fit_lapse and args.ll_p_lapse:
        raise UsageError("--fit_lapse finds the lapse rate that --ll_p_lapse gives; give one only")
    if not 0 <= args.ll_p_lapse <= 1:
        raise UsageError(f"--ll_p_lapse is {args.ll_p_lapse}, but a probability is from 0 to 1")
    for name in ("batch_size", "episodes", "ll_nrep", "max_length_eval"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} is {value}, but must be at least 1")


def _option_list(modes: tuple[str, ...]) -> str:
    names = [f"--{mode}" for mode in modes]
    return f"{', '.join(names[:-1])} or {names[-1]}"


# === `biml eval`, and the published command `python eval.py`.


SUMMARY = "Evaluate a model: likelihood of given answers, accuracy of its own, samples."


def run(args: argparse.Namespace) -> int:
    """Evaluate and report."""
    check_options(args)
    if args.by or args.ll_out or args.samples_out or args.fit_lapse == "bounded":
        import biml.analysis  # noqa: F401  (says at once what to install where pandas is missing)
    from biml.cli.eval_output import EvalConsole, load_eval_task

    console = EvalConsole(to_stderr=args.json == "-")
    task = load_eval_task(args, console)
    figures: dict[str, Any] = {"model": task.path.name, "episode_type": task.episode_type.name}
    if args.dashboard:
        _plot_curves(task, console)
    if args.ll or args.fit_lapse:
        figures |= _report_likelihood(args, task, console)
    if args.max or args.sample:
        figures |= _report_accuracy(args, task, console)
    if args.sample_iterative:
        _sample_autoregressively(args, task, console)
    if args.sample_html:
        _write_samples_page(args, task, console)
    if args.json is not None:
        _write_metrics(figures, args.json)
    return 0


def _report_likelihood(
    args: argparse.Namespace, task: "EvalTask", console: "EvalConsole"
) -> dict[str, Any]:
    from biml.evaluation.likelihood import fit_lapse, likelihood, score_repeats

    if args.by == "participant":
        from biml.cli import eval_output

        eval_output.require_participants(task)
    # Where every pass is the same, one is enough.
    repeats = args.ll_nrep if task.evaluation.varies else 1
    scored: list[ScoredResponse] = []
    with console.progress("scoring", repeats, "passes") as progress:
        if args.by or args.ll_out:
            from biml.analysis.scoring import score_responses, token_scores

            scored = score_responses(
                task.responder, task.evaluation, repeats=repeats, progress=progress
            )
            scores = token_scores(scored, task.evaluation.query_repeats)
        else:
            scores = score_repeats(
                task.responder, task.evaluation.repeat, repeats, progress=progress
            )
    if args.fit_lapse == "bounded":
        from biml.analysis.scoring import fit_lapse_bounded

        found = fit_lapse_bounded(scores)
    else:
        found = fit_lapse(scores) if args.fit_lapse else likelihood(scores, args.ll_p_lapse)
    console.likelihood(found, fitted=bool(args.fit_lapse))
    parts = _write_likelihood_tables(args, task, console, scored, found.p_lapse) if scored else {}
    if args.verbose and not (args.max or args.sample):
        episodes = task.evaluation.repeat(0)
        console.list_scores(episodes, task.responder.log_prob(episodes))
    return {
        "loglike": found.mean if math.isfinite(found.mean) else None,
        "loglike_sd": found.sd if math.isfinite(found.sd) else None,
        "symbols": found.n_symbols,
        "p_lapse": found.p_lapse,
        **parts,
    }


def _write_likelihood_tables(
    args: argparse.Namespace,
    task: "EvalTask",
    console: "EvalConsole",
    scored: "list[ScoredResponse]",
    p_lapse: float,
) -> dict[str, Any]:

    from biml.cli import eval_output

    table = eval_output.log_likelihood_table(task, scored, p_lapse)
    if args.ll_out:
        eval_output.write_table(console, table, args.ll_out, "Log-likelihoods")
    figures = {}
    if args.by:
        if task.evaluation.query_repeats > 1:
            console.print(
                f"Each answer counts {task.evaluation.query_repeats} times above, and once below."
            )
        sums = eval_output.group_sums(table, args.by)
        eval_output.print_group_sums(console, sums, args.by)
        values = zip(sums[args.by], sums["log_likelihood"], strict=True)
        figures[f"loglike_by_{args.by}"] = {
            str(name): value if math.isfinite(value) else None for name, value in values
        }
    return figures


def _report_accuracy(
    args: argparse.Namespace, task: "EvalTask", console: "EvalConsole"
) -> dict[str, float | int]:
    from biml.evaluation.accuracy import (
        accuracy,
        greedy_responses,
        max_target_length,
        sampled_responses,
    )

    episodes = task.evaluation.repeat(0)
    most = task.max_response_length(args.max_length_eval)
    length, name = max_target_length(episodes)
    if length > most:
        raise UsageError(
            f"{name or 'an episode'}: has a target of {length} symbols, but --max_length_eval "
            f"{most} cuts answers before; give {length} or leave it out"
        )
    with console.progress("answering", len(episodes), "episodes") as progress:
        if args.max:
            answers = greedy_responses(task.responder, episodes, most, progress=progress)
        else:
            answers = sampled_responses(
                task.responder, episodes, most, seed=args.seed, progress=progress
            )
    if args.verbose:
        console.list_answers(episodes, answers)
    figures: dict[str, float | int] = {}
    by_name = task.evaluation.autoregressive
    retrieve = accuracy(episodes, answers, in_study=True, group_by_participant=by_name)
    novel = accuracy(episodes, answers, in_study=False, group_by_participant=by_name)
    if retrieve is not None:
        figures |= {"accuracy_retrieve": retrieve.mean, "episodes": retrieve.n_episodes}
    if novel is not None:
        figures |= {"accuracy_novel": novel.mean, "accuracy_novel_sd": novel.sd}
        figures |= {"episodes": novel.n_episodes}
    console.accuracy("greedy" if args.max else "drawn", retrieve, novel)
    return figures


def _sample_autoregressively(
    args: argparse.Namespace, task: "EvalTask", console: "EvalConsole"
) -> None:
    from biml.evaluation.accuracy import sample_autoregressively

    episodes = task.response_sets()
    most = task.max_response_length(args.max_length_eval)
    turns = max((len(episode.queries) for episode in episodes), default=0)
    with console.progress("answering", turns, "queries in turn") as progress:
        answers = sample_autoregressively(
            task.responder, episodes, most, seed=args.seed, progress=progress
        )
    if args.samples_out:
        from biml.cli import eval_output

        table = eval_output.sampled_set_table(task, episodes, answers, args.seed)
        eval_output.write_table(console, table, args.samples_out, "Samples")
    console.list_samples(episodes, answers)


def _write_samples_page(args: argparse.Namespace, task: "EvalTask", console: "EvalConsole") -> None:
    from biml.evaluation.sample_page import SAMPLES_PER_RESPONSE, sample_items, samples_html
    from biml.io import atomic_write

    answers = SAMPLES_PER_RESPONSE * sum(
        len(episode.queries) for episode in task.evaluation.episodes
    )
    try:
        with console.progress("drawing", answers, "answers") as progress:
            items = sample_items(
                task.responder,
                task.evaluation,
                seed=args.seed,
                max_length=task.max_response_length(args.max_length_eval),
                progress=progress,
            )
    except UsageError as error:
        raise UsageError(f"--sample_html: {error}") from None
    path = task.output.with_name(f"{task.output.stem}_{task.episode_type.name}_samples.html")
    with atomic_write(path) as file:
        file.write(samples_html(items, f"{task.path.name}: {task.episode_type.summary}").encode())
    console.print(f"Samples: {path}")
    if args.samples_out:
        from biml.cli import eval_output

        table = eval_output.sampled_item_table(task, items, args.seed)
        eval_output.write_table(console, table, args.samples_out, "Samples")


def _plot_curves(task: "EvalTask", console: "EvalConsole") -> None:
    from biml.evaluation.cards import learning_curves
    from biml.training.metrics import Dashboard
    from biml.training.resume import RunPaths

    path = RunPaths(task.output).curves_image
    Dashboard(path, task.path.name).plot(learning_curves(task.path))
    console.print(f"Learning curves: {path}")


def _write_metrics(figures: dict[str, Any], path: str) -> None:
    from biml.io import atomic_write

    text = json.dumps(figures, indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    with atomic_write(path) as file:
        file.write(text.encode())
