"""What `biml eval` works on: a model, and what it is asked."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from biml.checkpoints.model import load_model
from biml.checkpoints.shipped import is_pretrained
from biml.commands.eval_console import EvalConsole
from biml.episodes.episode import Episode
from biml.episodes.locate import DataFolders
from biml.episodes.present import EvaluationSet
from biml.episodes.types import EpisodeType, episode_type
from biml.errors import UsageError
from biml.evaluation.answers import max_response_length
from biml.evaluation.find import resolve_model
from biml.evaluation.network_responder import NetworkResponder
from biml.files import check_writable
from biml.training.hardware import pick_device

WITHOUT_TARGETS = ("open_end_freeform",)
"""Episode types whose targets only say which names there are; no answer to them is right."""


@dataclass(frozen=True)
class EvalTask:
    """A model and what it is asked.

    Attributes:
        path: the model's file.
        output: what files that are written are named after, and beside which they go.
        responder: the model.
        kind: the episode type.
        evaluation: its evaluation episodes.
    """

    path: Path
    output: Path
    responder: NetworkResponder
    episode_type: EpisodeType
    evaluation: EvaluationSet

    def max_response_length(self, requested: int | None) -> int:
        """Symbols that an answer may have: as many as wanted, or as the data need."""
        return requested or max_response_length(self.evaluation.episodes)

    def response_sets(self) -> list[Episode]:
        """Episodes of the open-ended task as people saw them: all queries, nothing to study.

        Raises:
            UsageError: another task.
        """
        whole = replace(self.evaluation, expand=lambda episode: (episode,)).repeat(0)
        if not self.episode_type.remaps or any(episode.study for episode in whole):
            raise UsageError(
                "--sample_iterative is for the open-ended task, such as "
                f"--episode_type open_end_freeform, not for {self.episode_type.name}"
            )
        return whole


def load_eval_task(args: argparse.Namespace, console: EvalConsole) -> EvalTask:
    """Load the model and open the episodes that the options name.

    Raises:
        UsageError: no such model, device or episode type, or the model knows other symbols.
        FormatError: the model's file is damaged.
        BimlError: data are missing; the message says how to get them.
    """
    kind = episode_type(args.episode_type) if args.episode_type else None
    device = pick_device(args.device)
    data = DataFolders(args.data_dir, report=console.warn)
    path = resolve_model(args.fn_out_model, args.dir_model, data)
    loaded = load_model(path, device, vocabulary=kind.vocabulary if kind else None)
    if kind is None:
        if not loaded.episode_type:
            raise UsageError(f"{path} does not say what it was trained on; give --episode_type")
        kind = episode_type(loaded.episode_type)
        if loaded.network.vocabulary != kind.vocabulary:
            load_model(path, vocabulary=kind.vocabulary)  # says how they differ
    evaluation = kind.open_evaluation(data, args.seed)
    if args.episodes is not None:
        evaluation = replace(evaluation, episodes=evaluation.episodes[: args.episodes])
    responder = NetworkResponder(
        loaded.network, batch_size=args.batch_size, precision=args.precision
    )
    console.header(path, loaded, kind)
    if evaluation.origin and (why := data.fallback_note("data_human")):
        console.warn(f"Episodes are from {evaluation.origin}, as {why}")
    if kind.name in WITHOUT_TARGETS and (args.ll or args.fit_lapse or args.max or args.sample):
        console.warn(
            f"{kind.name} has placeholders for targets, so likelihood and accuracy mean little; "
            "--sample_iterative is made for it"
        )
    # The folder of shipped models belongs to the installation.
    output = Path(args.dir_model) / f"{path.stem}.pt" if is_pretrained(path) else path
    if args.sample_html:
        check_writable(output)
    return EvalTask(path, output, responder, kind, evaluation)
