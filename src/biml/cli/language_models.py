"""Options of `biml eval` for language models, and the estimate of what a run of one costs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from biml.errors import UsageError
from biml.evaluation.registry import is_language_model

if TYPE_CHECKING:
    from biml.cli.eval_output import EvalTask

OPTIONS = ("prompt", "normalise", "llm_log")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the group of options for language models."""
    option = parser.add_argument_group("language models (hf:…, openai:…)").add_argument
    option(
        "--prompt",
        metavar="NAME",
        help="template of prompts: plain (the default), chat, rules-first, or a file of your own",
    )
    option(
        "--normalise",
        action="store_true",
        help="likelihoods among the possible answers of each item only: those that people gave, "
        "and the right one",
    )
    option(
        "--llm_log",
        type=Path,
        metavar="FOLDER",
        help="for the log of all questions and answers, which is also their cache (default: in the "
        "user's cache folder)",
    )


def check_options(args: argparse.Namespace) -> None:
    """Raise a UsageError for options of language models with another model."""
    for name in OPTIONS:
        if getattr(args, name) and not is_language_model(args.fn_out_model):
            raise UsageError(
                f"--{name} is for language models (--fn_out_model hf:… or openai:…); leave it out"
            )


def cost(args: argparse.Namespace, task: "EvalTask") -> str:
    """What the questions of the chosen modes cost; empty for other models than language models."""
    from biml.llm.estimate import Work, estimate
    from biml.llm.log import LOG_PROB, RESPOND, SAMPLE
    from biml.llm.responder import LanguageModel

    if not isinstance(task.responder, LanguageModel):
        return ""
    works: list[Work] = []
    episodes = task.evaluation.repeat(0)
    if args.ll or args.fit_lapse:
        repeats = args.ll_nrep if task.evaluation.varies else 1
        works.append((LOG_PROB, episodes, repeats))
    if args.max:
        works.append((RESPOND, episodes, 1))
    if args.sample:
        works.append((SAMPLE, episodes, 1))
    if args.sample_iterative:
        works.append((SAMPLE, task.response_sets(), 1))
    if args.sample_html:
        n_responses = sum(len(episode.queries) for episode in task.evaluation.episodes)
        works.append((SAMPLE, episodes, round(10 * n_responses / max(1, len(episodes)))))
    return estimate(task.responder, works) if works else ""
