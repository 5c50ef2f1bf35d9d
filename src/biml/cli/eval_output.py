"""The tables of `biml eval`: log-likelihoods one by one, their sums in parts, drawn answers.

They need the `analysis` extra, so that this is imported only when a table is asked for.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from biml.analysis import responses
from biml.analysis.scoring import (
    ScoredResponse,
    few_shot_table,
    open_ended_table,
    probe_table,
    summed_by,
    to_table,
)
from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode, terminal_symbols
from biml.episodes.episode_type import OPEN_ENDED, PROBES, EpisodeType
from biml.episodes.registry import episode_type
from biml.episodes.transforms import undo_remapping
from biml.errors import UsageError
from biml.evaluation.accuracy import Accuracy, max_response_length
from biml.evaluation.likelihood import Likelihood
from biml.evaluation.network import NetworkResponder
from biml.evaluation.responder import Response
from biml.evaluation.sample_page import SampledItem
from biml.io import check_writable
from biml.networks.checkpoint import LoadedModel, load_model
from biml.paths import DataFolders, is_pretrained, resolve_model
from biml.progress import stage_lines
from biml.training.hardware import pick_device
from biml.version import __version__


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
        return requested or max_response_length(
            self.evaluation.episodes, self.episode_type.max_output
        )

    def response_sets(self) -> list[Episode]:
        """Episodes of the open-ended task as people saw them: all queries, nothing to study.

        Raises:
            UsageError: another task.
        """
        if self.episode_type.evaluation_task != OPEN_ENDED:
            raise UsageError(
                "--sample_iterative is for the open-ended task, such as "
                f"--episode_type open_end_freeform, not for {self.episode_type.name}"
            )
        return replace(self.evaluation, autoregressive=False).repeat(0)


def load_eval_task(args: argparse.Namespace, console: "EvalConsole") -> EvalTask:
    """Load the model and open the episodes that the options name.

    Raises:
        UsageError: no such model, device or episode type, or the model knows other symbols.
        FormatError: the model's file is damaged.
        BimlError: data are missing; the message says how to get them.
    """
    kind = episode_type(args.episode_type) if args.episode_type else None
    device = pick_device(args.device)
    data = DataFolders(args.data_dir, progress=stage_lines(console.warn))
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
    if evaluation.description and (why := data.fallback_note("data_human")):
        console.warn(f"Episodes are from {evaluation.description}, as {why}")
    if not kind.has_targets and (args.ll or args.fit_lapse or args.max or args.sample):
        console.warn(
            f"{kind.name} has placeholders for targets, so likelihood and accuracy mean little; "
            "--sample_iterative is made for it"
        )
    # The folder of shipped models belongs to the installation.
    output = Path(args.dir_model) / f"{path.stem}.pt" if is_pretrained(path) else path
    if args.sample_html:
        check_writable(output)
    return EvalTask(path, output, responder, kind, evaluation)


# === What `biml eval` shows: figures, progress and listings.


class EvalConsole:
    """Talks to a person; figures and listings to standard output unless that is for JSON.

    Args:
        to_stderr: standard output is for a JSON object and nothing else.
    """

    def __init__(self, *, to_stderr: bool = False) -> None:
        self._stdout = Console(stderr=to_stderr, highlight=False, soft_wrap=True)
        self._stderr = Console(stderr=True, highlight=False, soft_wrap=True)

    def print(self, text: str | Text) -> None:
        self._stdout.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Say something that is not a result."""
        self._stderr.print(text, markup=False)

    def header(self, path: Path, model: LoadedModel, kind: EpisodeType) -> None:
        trained = (
            f"trained on {model.episode_type}" if model.episode_type else "of unknown training"
        )
        if is_pretrained(path):
            trained = f"shipped with biml {__version__}, {trained}"
        self.print(f"Model: {path} ({trained})")
        self.print(f"Episodes: {kind.name}, {kind.summary}")

    @contextmanager
    def progress(self, verb: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """A bar on standard error, where that is a terminal; called with how many are done."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
        )
        shown = self._stderr.is_terminal
        with Progress(*columns, console=self._stderr, transient=True, disable=not shown) as bar:
            task = bar.add_task(verb, total=total)
            yield lambda done: bar.update(task, completed=done)

    def likelihood(self, found: Likelihood, *, fitted: bool) -> None:
        sd = f" (SD {found.sd:.4f} over {len(found.passes)} passes)" if found.sd else ""
        each = found.mean / max(found.n_symbols, 1)
        rate = f"lapse {found.p_lapse:g}{' (fitted)' if fitted else ''}"
        self.print(
            f"Log-likelihood: {found.mean:.4f}{sd}, {found.n_symbols} symbols, "
            f"{each:.4f} a symbol, {rate}"
        )

    def accuracy(self, kind: str, retrieve: Accuracy | None, novel: Accuracy | None) -> None:
        for name, found in (("copied (retrieve)", retrieve), ("novel", novel)):
            if found is not None:
                self.print(
                    f"Accuracy on {name} queries, {kind} answers: {found.mean:.2f}% "
                    f"(SD {found.sd:.2f} over {_count(found.n_episodes, 'episode')})"
                )

    # --- listings

    def list_answers(
        self, episodes: Sequence[Episode], answers: Sequence[Sequence[Response]]
    ) -> None:
        """Study examples and queries; wrong answers are marked and followed by their targets."""
        for number, (episode, given) in enumerate(zip(episodes, answers, strict=True), 1):
            self._heading(number, episode)
            queries = [query._replace(item="", participant="") for query in episode.queries]
            lines = Counter(zip(queries, given, strict=True))
            for (query, answer), times in lines.items():
                right = answer == query.output
                line = _listing_line(episode, "copied" if query.in_study else "novel", query.input)
                line.append("✓ " if right else "✗ ", "green" if right else "bold red")
                line.append(self._symbols(episode, answer))
                if not right:
                    line.append("   target: ", "dim")
                    line.append(self._symbols(episode, query.output))
                self.print(_with_count(line, times))

    def list_scores(
        self, episodes: Sequence[Episode], log_probs: Sequence[Sequence[np.ndarray]]
    ) -> None:
        """Study examples and the given answers, each with its log-probability."""
        for number, (episode, scores) in enumerate(zip(episodes, log_probs, strict=True), 1):
            self._heading(number, episode)
            totals = [float(score.sum()) for score in scores]
            for (query, total), times in Counter(zip(episode.queries, totals, strict=True)).items():
                line = _listing_line(episode, "copied" if query.in_study else "novel", query.input)
                line.append(self._symbols(episode, query.output))
                self.print(
                    _with_count(line.append(f"   log-probability {total:.2f}", "dim"), times)
                )

    def list_samples(
        self, episodes: Sequence[Episode], answers: Sequence[Sequence[Response]]
    ) -> None:
        """Queries with drawn answers that cannot be right or wrong."""
        for number, (episode, given) in enumerate(zip(episodes, answers, strict=True), 1):
            self._heading(number, episode)
            for query, answer in zip(episode.queries, given, strict=True):
                line = _listing_line(episode, "query", query.input)
                self.print(line.append(self._symbols(episode, answer)))

    def _heading(self, number: int, episode: Episode) -> None:
        self.print("")
        self.print(Text(f"{number}. {episode.name}", "bold"))
        for example in episode.study:
            line = _listing_line(episode, "study", example.input)
            self.print(line.append(self._symbols(episode, example.output)))
        if episode.pool is not None:
            line = Text("  pool    ", "dim")
            self.print(line.append(self._symbols(episode, episode.pool)))

    def _symbols(self, episode: Episode, symbols: Sequence[str]) -> Text:
        """Symbols in the episode's own names, with coloured circles on a terminal."""
        if not symbols:
            return Text("(nothing)", "dim")
        own = undo_remapping(episode, symbols)
        if self._stdout.is_terminal:
            return Text.from_ansi(terminal_symbols(own))
        return Text(" ".join(own))


def _listing_line(episode: Episode, kind: str, words: Sequence[str]) -> Text:
    """The start of a listing's line: what it is, and the words in the episode's own names."""
    back = {new: old for old, new in episode.remapping.words.items()} if episode.remapping else {}
    own = " ".join(back.get(word, word) for word in words) or "(nothing)"
    return Text.assemble((f"  {kind:<7} ", "dim"), f"{own:<34} ", ("→ ", "dim"))


def _with_count(line: Text, count: int) -> Text:
    return line.append(f"   × {count}", "dim") if count > 1 else line


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


# === The tables of `biml eval`: log-likelihoods one by one, their sums in parts, drawn answers.


def log_likelihood_table(
    task: EvalTask, scored: Sequence[ScoredResponse], p_lapse: float
) -> pd.DataFrame:
    """A row for each given answer."""
    name = task.episode_type.evaluation_task or task.episode_type.name
    return to_table(scored, model=task.path.stem, task=name, p_lapse=p_lapse)


def require_participants(task: EvalTask) -> None:
    """Make sure that the data say who answered.

    Raises:
        UsageError: they do not.
    """
    if not all(query.participant for e in task.evaluation.episodes for query in e.queries):
        raise UsageError(
            "--by participant needs to know who answered, which these data do not say; "
            "an experiment of your own can (biml data import, column participant)"
        )


def group_sums(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Log-likelihood summed by item or by participant."""
    # The query is the same throughout an item, and tells what its name means.
    return summed_by(table, [by, "query"] if by == "item" else [by])


def print_group_sums(console: "EvalConsole", sums: pd.DataFrame, by: str) -> None:
    console.print(f"By {by}:")
    for row in sums.to_dict("records"):
        name = str(row[by])
        if by == "item" and row["query"] != name:
            name = f"{name}: {row['query']}"
        console.print(
            f"  {name:<40} {row['log_likelihood']:>10.4f}   {row['responses']} answers, "
            f"{row['symbols']} symbols"
        )


def write_table(console: "EvalConsole", table: pd.DataFrame, path: Path, what: str) -> None:
    """Write a table.

    Raises:
        UsageError: its name ends in neither `.csv` nor `.parquet`.
        BimlError: it cannot be written.
    """
    responses.write_responses(table, path)
    console.print(f"{what}: {path} ({len(table):,} rows)")


def sampled_item_table(task: EvalTask, items: Sequence[SampledItem], seed: int) -> pd.DataFrame:
    """Drawn answers to the few-shot or the probe task."""
    tabulate_items = probe_table if task.episode_type.evaluation_task == PROBES else few_shot_table
    return tabulate_items(items, task.evaluation, model=task.path.stem, seed=seed)


def sampled_set_table(
    task: EvalTask, episodes: Sequence[Episode], answers: Sequence[Sequence[Response]], seed: int
) -> pd.DataFrame:
    """Answer sheets of the open-ended task."""
    return open_ended_table(episodes, answers, model=task.path.stem, seed=seed)
