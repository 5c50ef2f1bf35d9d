"""`biml eval`, and the published command `python eval.py`."""

import argparse
import json
import math
import sys
from typing import TYPE_CHECKING, Any

from biml.commands.eval_options import check_options, configure
from biml.errors import UsageError

if TYPE_CHECKING:
    from biml.behaviour.likelihoods import ScoredResponse
    from biml.commands.eval_console import EvalConsole
    from biml.commands.eval_task import EvalTask

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Evaluate a model: likelihood of given answers, accuracy of its own, samples."


def run(args: argparse.Namespace) -> int:
    """Evaluate and report."""
    check_options(args)
    if args.by or args.ll_out or args.samples_out or args.fit_lapse == "bounded":
        import biml.behaviour  # noqa: F401  (says at once what to install where pandas is missing)
    from biml.commands.eval_console import EvalConsole
    from biml.commands.eval_task import load_eval_task

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
        from biml.commands import eval_tables

        eval_tables.require_participants(task)
    # Where every pass is the same, one is enough.
    repeats = args.ll_nrep if task.evaluation.varies else 1
    scored: list[ScoredResponse] = []
    with console.progress("scoring", repeats, "passes") as progress:
        if args.by or args.ll_out:
            from biml.behaviour.likelihoods import token_scores, score_responses

            scored = score_responses(
                task.responder, task.evaluation, repeats=repeats, progress=progress
            )
            scores = token_scores(scored, task.evaluation.query_repeats)
        else:
            scores = score_repeats(
                task.responder, task.evaluation.repeat, repeats, progress=progress
            )
    if args.fit_lapse == "bounded":
        from biml.behaviour.likelihoods import fit_lapse_bounded

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
    from biml.commands import eval_tables

    table = eval_tables.log_likelihood_table(task, scored, p_lapse)
    if args.ll_out:
        eval_tables.write_table(console, table, args.ll_out, "Log-likelihoods")
    figures = {}
    if args.by:
        if task.evaluation.query_repeats > 1:
            console.print(
                f"Each answer counts {task.evaluation.query_repeats} times above, and once below."
            )
        sums = eval_tables.group_sums(table, args.by)
        eval_tables.print_group_sums(console, sums, args.by)
        values = zip(sums[args.by], sums["log_likelihood"], strict=True)
        figures[f"loglike_by_{args.by}"] = {
            str(name): value if math.isfinite(value) else None for name, value in values
        }
    return figures


def _report_accuracy(
    args: argparse.Namespace, task: "EvalTask", console: "EvalConsole"
) -> dict[str, float | int]:
    from biml.evaluation.accuracy import accuracy
    from biml.evaluation.answers import greedy_responses, sampled_responses, max_target_length

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
    by_name = task.evaluation.group_by_participant
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
    from biml.evaluation.answers import sample_autoregressively

    episodes = task.response_sets()
    most = task.max_response_length(args.max_length_eval)
    turns = max((len(episode.queries) for episode in episodes), default=0)
    with console.progress("answering", turns, "queries in turn") as progress:
        answers = sample_autoregressively(
            task.responder, episodes, most, seed=args.seed, progress=progress
        )
    if args.samples_out:
        from biml.commands import eval_tables

        table = eval_tables.sampled_set_table(task, episodes, answers, args.seed)
        eval_tables.write_table(console, table, args.samples_out, "Samples")
    console.list_samples(episodes, answers)


def _write_samples_page(args: argparse.Namespace, task: "EvalTask", console: "EvalConsole") -> None:
    from biml.evaluation.sample_page import SAMPLES_PER_RESPONSE, sample_items, samples_html
    from biml.files import atomic_write

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
        from biml.commands import eval_tables

        table = eval_tables.sampled_item_table(task, items, args.seed)
        eval_tables.write_table(console, table, args.samples_out, "Samples")


def _plot_curves(task: "EvalTask", console: "EvalConsole") -> None:
    from biml.lineage.curves import learning_curves
    from biml.training.dashboard import Dashboard
    from biml.training.outputs import RunPaths

    path = RunPaths(task.output).curves_image
    Dashboard(path, task.path.name).plot(learning_curves(task.path))
    console.print(f"Learning curves: {path}")


def _write_metrics(figures: dict[str, Any], path: str) -> None:
    from biml.files import atomic_write

    text = json.dumps(figures, indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    with atomic_write(path) as file:
        file.write(text.encode())
