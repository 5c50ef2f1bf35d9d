"""Options of `biml eval` for language models, and the estimate of what a run of one costs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biml.errors import UsageError
from biml.evaluation.registry import is_language_model

if TYPE_CHECKING:
    from biml.cli.eval_output import EvalConsole, EvalTask

OPTIONS = ("prompt", "normalise", "llm_log")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the group of options for language models."""
    option = parser.add_argument_group("language models (hf:…, openai:…)").add_argument
    help = "template of prompts: plain (the default), chat, rules-first, or a file of your own"
    option("--prompt", metavar="NAME", help=help)
    option(
        "--normalise",
        action="store_true",
        help="likelihoods among the possible answers of each item only: those that people gave, "
        "and the right one",
    )
    help = (
        "folder of the log of all questions and answers, also their cache (default: in the "
        "user's cache folder)"
    )
    option("--llm_log", type=Path, metavar="FOLDER", help=help)


def check_options(args: argparse.Namespace) -> None:
    """Raise a UsageError for options of language models with another model."""
    for name in OPTIONS:
        if getattr(args, name) and not is_language_model(args.fn_out_model):
            raise UsageError(
                f"--{name} is for language models (--fn_out_model hf:… or openai:…); leave it out"
            )


def cost(args: argparse.Namespace, task: "EvalTask") -> str:
    """What the questions of the chosen modes cost; empty for other models than language models."""
    from biml.evaluation.accuracy import sample_autoregressively, single_responses
    from biml.evaluation.likelihood import score_responses
    from biml.evaluation.sample_page import sample_items
    from biml.llm.estimate import estimate
    from biml.llm.responder import LanguageModel

    if not isinstance(task.model.responder, LanguageModel):
        return ""

    def run(model: LanguageModel) -> None:
        episodes = task.evaluation.repeat(0)
        limit = task.max_response_length(args.max_length_eval, episodes)
        if args.ll or args.fit_lapse:
            score_responses(model, task.evaluation, repeats=args.ll_nrep)
        if args.max:
            single_responses(model, episodes, limit)
        if args.sample:
            single_responses(model, episodes, limit, seed=args.seed)
        if args.sample_iterative:
            sample_autoregressively(model, task.response_sets(), limit, seed=args.seed)
        if args.sample_html:
            sample_items(model, task.evaluation, seed=args.seed, max_length=limit)

    return estimate(task.model.responder, run)


def report_no_sequences(task: "EvalTask", console: "EvalConsole") -> dict[str, Any]:
    """Print how many answers are no sequence of symbols, by kind of question and of error."""
    from biml.llm.answers import ERROR_KINDS
    from biml.llm.log import RESPOND
    from biml.llm.outcomes import summarize
    from biml.llm.responder import LanguageModel

    model = task.model.responder
    if not isinstance(model, LanguageModel):
        return {}
    found = {}
    for row in summarize(model.log.session):
        if row.n_answers:
            percent, low, high = row.invalid
            kinds = [f"{row.counts[name]:,} {name}" for name in ERROR_KINDS if row.counts[name]]
            how = "greedy" if row.kind == RESPOND else "sampled"
            console.print(
                f"No sequence of symbols, {how} answers: "
                f"{percent:.2f}% (95% interval {low:.2f} to {high:.2f} over {row.n_answers:,} "
                f"answers{': ' * bool(kinds)}{', '.join(kinds)})"
            )
            found[row.kind] = {"answers": row.n_answers, "percent": percent}
    return {"no_sequence_of_symbols": found}
