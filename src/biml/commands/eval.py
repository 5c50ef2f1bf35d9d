"""`biml eval`, and the published command `python eval.py`."""

import argparse
import json
import math
import sys
from typing import TYPE_CHECKING, Any

from biml.commands.eval_options import check, configure
from biml.errors import UsageError

if TYPE_CHECKING:
    from biml.behaviour.likelihoods import ScoredResponse
    from biml.commands.eval_console import EvalConsole
    from biml.commands.eval_task import Task

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Evaluate a model: likelihood of given answers, accuracy of its own, samples."


def run(args: argparse.Namespace) -> int:
    """Evaluate and report."""
    check(args)
    if args.by or args.ll_out or args.samples_out or args.fit_lapse == "bounded":
        import biml.behaviour  # noqa: F401  (says at once what to install where pandas is missing)
    from biml.commands.eval_console import EvalConsole
    from biml.commands.eval_task import open_task

    console = EvalConsole(to_stderr=args.json == "-")
    task = open_task(args, console)
    figures: dict[str, Any] = {"model": task.path.name, "episode_type": task.kind.name}
    if args.dashboard:
        _draw_curves(task, console)
    if args.ll or args.fit_lapse:
        figures |= _likelihood(args, task, console)
    if args.max or args.sample:
        figures |= _accuracy(args, task, console)
    if args.sample_iterative:
        _one_by_one(args, task, console)
    if args.sample_html:
        _page(args, task, console)
    if args.json is not None:
        _write(figures, args.json)
    return 0


def _likelihood(args: argparse.Namespace, task: "Task", console: "EvalConsole") -> dict[str, Any]:
    from biml.evaluation.likelihood import fit_lapse, likelihood, score_repeats

    if args.by == "participant":
        from biml.commands import eval_tables

        eval_tables.check_known(task)
    # Where every pass is the same, one is enough.
    repeats = args.ll_nrep if task.evaluation.stochastic else 1
    scored: list[ScoredResponse] = []
    with console.progress("scoring", repeats, "passes") as progress:
        if args.by or args.ll_out:
            from biml.behaviour.likelihoods import as_scores, score_responses

            scored = score_responses(
                task.responder, task.evaluation, repeats=repeats, progress=progress
            )
            scores = as_scores(scored, task.evaluation.times)
        else:
            scores = score_repeats(
                task.responder, task.evaluation.presented, repeats, progress=progress
            )
    if args.fit_lapse == "bounded":
        from biml.behaviour.likelihoods import best_lapse

        found = best_lapse(scores)
    else:
        found = fit_lapse(scores) if args.fit_lapse else likelihood(scores, args.ll_p_lapse)
    console.likelihood(found, fitted=bool(args.fit_lapse))
    parts = _likelihood_tables(args, task, console, scored, found.p_lapse) if scored else {}
    if args.verbose and not (args.max or args.sample):
        episodes = task.evaluation.presented(0)
        console.list_scores(episodes, task.responder.log_prob(episodes))
    return {
        "loglike": found.mean if math.isfinite(found.mean) else None,
        "loglike_sd": found.sd if math.isfinite(found.sd) else None,
        "symbols": found.symbols,
        "p_lapse": found.p_lapse,
        **parts,
    }


def _likelihood_tables(
    args: argparse.Namespace,
    task: "Task",
    console: "EvalConsole",
    scored: "list[ScoredResponse]",
    p_lapse: float,
) -> dict[str, Any]:
    from biml.commands import eval_tables

    table = eval_tables.log_likelihoods(task, scored, p_lapse)
    if args.ll_out:
        eval_tables.write(console, table, args.ll_out, "Log-likelihoods")
    figures = {}
    if args.by:
        if task.evaluation.times > 1:
            console.say(f"Each answer counts {task.evaluation.times} times above, and once below.")
        sums = eval_tables.sums(table, args.by)
        eval_tables.show(console, sums, args.by)
        values = zip(sums[args.by], sums["log_likelihood"], strict=True)
        figures[f"loglike_by_{args.by}"] = {
            str(name): value if math.isfinite(value) else None for name, value in values
        }
    return figures


def _accuracy(
    args: argparse.Namespace, task: "Task", console: "EvalConsole"
) -> dict[str, float | int]:
    from biml.evaluation.accuracy import accuracy
    from biml.evaluation.answers import best, drawn, longest_target

    episodes = task.evaluation.presented(0)
    most = task.longest_answer(args.max_length_eval)
    length, name = longest_target(episodes)
    if length > most:
        raise UsageError(
            f"{name or 'an episode'}: has a target of {length} symbols, but --max_length_eval "
            f"{most} cuts answers before; give {length} or leave it out"
        )
    with console.progress("answering", len(episodes), "episodes") as progress:
        if args.max:
            answers = best(task.responder, episodes, most, progress=progress)
        else:
            answers = drawn(task.responder, episodes, most, seed=args.seed, progress=progress)
    if args.verbose:
        console.list_answers(episodes, answers)
    figures: dict[str, float | int] = {}
    by_name = task.evaluation.by_name
    retrieve = accuracy(episodes, answers, copied=True, by_name=by_name)
    novel = accuracy(episodes, answers, copied=False, by_name=by_name)
    if retrieve is not None:
        figures |= {"accuracy_retrieve": retrieve.mean, "episodes": retrieve.episodes}
    if novel is not None:
        figures |= {"accuracy_novel": novel.mean, "accuracy_novel_sd": novel.sd}
        figures |= {"episodes": novel.episodes}
    console.accuracy("greedy" if args.max else "drawn", retrieve, novel)
    return figures


def _one_by_one(args: argparse.Namespace, task: "Task", console: "EvalConsole") -> None:
    from biml.evaluation.answers import drawn_one_by_one

    episodes = task.answer_sheets()
    most = task.longest_answer(args.max_length_eval)
    turns = max((len(episode.queries) for episode in episodes), default=0)
    with console.progress("answering", turns, "queries in turn") as progress:
        answers = drawn_one_by_one(
            task.responder, episodes, most, seed=args.seed, progress=progress
        )
    if args.samples_out:
        from biml.commands import eval_tables

        table = eval_tables.drawn_sheets(task, episodes, answers, args.seed)
        eval_tables.write(console, table, args.samples_out, "Samples")
    console.list_drawn(episodes, answers)


def _page(args: argparse.Namespace, task: "Task", console: "EvalConsole") -> None:
    from biml.evaluation.sample_page import TIMES, draw_items, page
    from biml.files import write_aside

    answers = TIMES * sum(len(episode.queries) for episode in task.evaluation.episodes)
    try:
        with console.progress("drawing", answers, "answers") as progress:
            items = draw_items(
                task.responder,
                task.evaluation,
                seed=args.seed,
                max_length=task.longest_answer(args.max_length_eval),
                progress=progress,
            )
    except UsageError as error:
        raise UsageError(f"--sample_html: {error}") from None
    path = task.output.with_name(f"{task.output.stem}_{task.kind.name}_samples.html")
    with write_aside(path) as file:
        file.write(page(items, f"{task.path.name}: {task.kind.summary}").encode())
    console.say(f"Samples: {path}")
    if args.samples_out:
        from biml.commands import eval_tables

        table = eval_tables.drawn_items(task, items, args.seed)
        eval_tables.write(console, table, args.samples_out, "Samples")


def _draw_curves(task: "Task", console: "EvalConsole") -> None:
    from biml.lineage.curves import learning_curves
    from biml.training.dashboard import Dashboard
    from biml.training.outputs import Outputs

    path = Outputs(task.output).curves
    Dashboard(path, task.path.name).draw(learning_curves(task.path))
    console.say(f"Learning curves: {path}")


def _write(figures: dict[str, Any], path: str) -> None:
    from biml.files import write_aside

    text = json.dumps(figures, indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    with write_aside(path) as file:
        file.write(text.encode())
