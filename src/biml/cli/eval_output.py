"""The task of `biml eval` (a model and its evaluation episodes) and its console output."""

import argparse
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from rich.console import Console
from rich.text import Text

from biml.cli import count
from biml.episodes.corpus_file import register_corpus, register_corpus_of_model
from biml.episodes.data_use import CAVEAT_MARK, FITTED, TRAINED, caveat
from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode, Example, terminal_symbols
from biml.episodes.episode_type import OPEN_ENDED, PUBLISHED_VOCAB, EpisodeType
from biml.episodes.palette import colour_name
from biml.episodes.registry import episode_type, transcripts_type
from biml.episodes.transforms import original_words, undo_remapping
from biml.errors import UsageError
from biml.evaluation.accuracy import (
    Accuracy,
    ErrorRate,
    max_response_length,
    mean_error_rate,
    total_error_rate,
)
from biml.evaluation.api import Model, load
from biml.evaluation.likelihood import CV_SPLITS, Likelihood
from biml.evaluation.network import NetworkResponder
from biml.evaluation.registry import SYMBOLIC, is_language_model
from biml.evaluation.responder import Responder, Response
from biml.io import check_writable
from biml.llm.responder import LanguageModel
from biml.networks.checkpoint import queries_per_study_set
from biml.networks.devices import pick_device
from biml.paths import DataFolders, is_pretrained, model_file, resolve_model, strip_suffix
from biml.progress import Progress, stage_lines
from biml.version import __version__

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


@dataclass(frozen=True)
class EvalTask:
    """A model and the episodes that it is evaluated on."""

    path: Path
    """The model's file; for a symbolic or registered model its name."""
    output: Path
    """Written files are named after it and stand beside it."""
    model: Model
    episode_type: EpisodeType
    evaluation: EvaluationSet

    @property
    def name(self) -> str:
        """The model's name in tables."""
        return strip_suffix(model_file(self.path))

    @property
    def uses(self) -> tuple[str, ...]:
        """Whether the model was trained on, fitted to or chosen by these episodes."""
        imported = self.evaluation.is_imported
        return self.model.data_use.uses(self.episode_type, is_imported=imported)

    @property
    def prompt(self) -> dict[str, str]:
        """Of a language model: `model` with its weights, `prompt` and `prompt_hash`."""
        if isinstance(language := self.model.responder, LanguageModel):
            return {"model": language.backend.model, **self.model.info}
        return {}

    def reporting(self, progress: Progress) -> Responder:
        """The model; a language model reports each of its questions."""
        if isinstance(language := self.model.responder, LanguageModel):
            return replace(language, progress=progress)
        return self.model.responder

    def max_response_length(self, requested: int | None, presented: Sequence[Episode] = ()) -> int:
        """The requested limit, or as many symbols as the data need.

        Episodes as presented may query their study examples too.
        """
        episodes = [*self.evaluation.episodes, *presented]
        return requested or max_response_length(episodes, self.episode_type.max_output)

    @property
    def has_participants(self) -> bool:
        """Whether every response has a participant."""
        return all(query.participant for e in self.evaluation.episodes for query in e.queries)

    def response_sets(self) -> list[Episode]:
        """Episodes of the open-ended task as participants saw them: all queries, no examples."""
        if self.episode_type.evaluation_task != OPEN_ENDED:
            raise UsageError(
                "--sample_iterative is for the open-ended task, such as "
                f"--episode_type open_end_freeform, not for {self.episode_type.name}"
            )
        return replace(self.evaluation, autoregressive=False).repeat(0)


def load_eval_task(args: argparse.Namespace, console: "EvalConsole") -> EvalTask:
    """Load the model and open the episodes that the options name."""
    kind = episode_type(args.episode_type) if args.episode_type else None
    if args.corpus:
        kind = register_corpus(args.corpus, allow_overlap=args.allow_overlap)
    pick_device(args.device)  # an error before anything is read
    data = DataFolders(args.data_dir, progress=stage_lines(console.warn))
    path, model = _load_model(args, data)
    kind = _choose_type(args, kind, path, model, data)
    responder = model.responder
    title: Path | str = path
    if isinstance(responder, NetworkResponder):
        responder = replace(responder, batch_size=args.batch_size, precision=args.precision)
        origin = f"architecture {model.architecture}"
        if is_pretrained(path):
            origin += f"; comes with biml {__version__}, not the published weights"
    elif isinstance(responder, LanguageModel):
        responder, title = replace(responder, task=kind.name), responder.backend.model
        origin = f"prompt {' '.join(model.info.values())}; log {responder.log.path}"
    else:
        row = SYMBOLIC[args.fn_out_model]
        origin = f"{row.title}: {row.summary}"
    model = replace(model, responder=responder)
    evaluation = kind.open_evaluation(data, args.seed)
    if args.episodes is not None:
        evaluation = replace(evaluation, episodes=evaluation.episodes[: args.episodes])
    shared = ""
    if kind.is_corpus and kind.uses_study:
        n_queries = args.n_queries or queries_per_study_set(model.info)
        evaluation = evaluation.with_shared_study(n_queries)
        shared = f"; {n_queries} queries share a study set" if n_queries > 1 else ""
    elif args.n_queries:
        raise UsageError(f"--n_queries has no effect with --episode_type {kind.name}; leave it out")
    console.print(f"Model: {title} ({origin})")
    console.print(f"The model was {model.provenance}.")
    console.print(f"Episodes: {kind.name}, {kind.summary}{shared}")
    if evaluation.description and (why := data.fallback_note("data_human")):
        console.warn(f"Episodes are from {evaluation.description}, as {why}")
    if not kind.has_targets and (args.ll or args.fit_lapse or args.max or args.sample):
        console.warn(
            f"{kind.name} has placeholders for targets, so likelihood and accuracy mean little; "
            "use --sample_iterative"
        )
    # The folder of pretrained models belongs to the installation.
    own_file = path.is_file() and not is_pretrained(path)
    output = path if own_file else Path(args.dir_model) / f"{path.stem}.pt"
    if args.sample_html:
        check_writable(output)
    task = EvalTask(path, output, model, kind, evaluation)
    if TRAINED in task.uses:
        console.warn(f"warning: {caveat([TRAINED])}")
    return task


def _load_model(args: argparse.Namespace, data: DataFolders) -> tuple[Path, Model]:
    """The model, and the path of its file or of one that would have its name."""
    name = args.fn_out_model
    if is_language_model(name):
        options = {"prompt": args.prompt, "normalise": args.normalise, "log": args.llm_log}
        given = {key: value for key, value in options.items() if value}
        return Path(re.sub(r"[/:#@]+", "-", name)), load(name, args.device, **given)
    if name in SYMBOLIC:
        return Path(name), load(name)
    path = resolve_model(name, args.dir_model, data, SYMBOLIC)
    return path, load(path.absolute(), args.device)


def _choose_type(
    args: argparse.Namespace, kind: EpisodeType | None, path: Path, model: Model, data: DataFolders
) -> EpisodeType:
    """The episode type that the options name, or by default that of the model's training."""
    is_network = isinstance(model.responder, NetworkResponder)
    if args.transcripts:
        known = model.vocabulary if is_network else PUBLISHED_VOCAB
        return transcripts_type(args.transcripts, known, model.episode_type)
    if not is_network:
        row = SYMBOLIC.get(model.name)
        few_shot = row is None or "few-shot" in row.tasks
        return kind or episode_type("few_shot_human" if few_shot else "open_end_human_all")
    if kind is None:
        if not model.episode_type:
            problem = "does not state the episode type that it was trained on"
            raise UsageError(f"{path} {problem}; give --episode_type")
        register_corpus_of_model(model.info)
        kind = episode_type(model.episode_type)
    model.vocabulary.require(kind.open_vocabulary(data), str(path))
    return kind


class EvalConsole:
    """Results and listings on standard output, warnings on standard error.

    `to_stderr` keeps standard output for a JSON object and nothing else.
    """

    def __init__(self, *, to_stderr: bool = False) -> None:
        self._stdout = Console(stderr=to_stderr, highlight=False, soft_wrap=True)
        self._stderr = Console(stderr=True, highlight=False, soft_wrap=True)

    def print(self, text: str | Text) -> None:
        self._stdout.print(text, markup=False)

    def warn(self, text: str) -> None:
        self._stderr.print(text, markup=False)

    def likelihood(self, result: Likelihood, task: EvalTask, *, fitted: bool) -> None:
        n = len(result.by_repeat)
        spread = [f"SD {result.sd:.4f} over {n} repeats"] if n > 1 else []
        if n == 1 and task.evaluation.varies:
            spread = ["1 repeat; --ll_nrep N for mean and SD"]
        if math.isfinite(result.standard_error):
            spread.append(f"SE {result.standard_error:.2f} over {result.unit}")
        spread_text = f" ({', '.join(spread)})" if spread else ""
        n_symbols = max(result.n_symbols, 1)
        per_symbol = f"{result.mean / n_symbols:.4f}"
        if math.isfinite(result.standard_error):
            per_symbol += f" (SE {result.standard_error / n_symbols:.4f})"
        fit = "fitted to these responses"
        if math.isfinite(result.p_lapse_interval[0]):
            low, high = result.p_lapse_interval
            fit += f"; 95% interval {low:g} to {high:g}"
        self.print(
            f"Log-likelihood: {result.mean:.4f}{_mark(task)}{spread_text}, {result.n_symbols} "
            f"symbols, {per_symbol} per symbol, lapse {result.p_lapse:g}{f' ({fit})' * fitted}"
        )
        if math.isfinite(result.cross_validated):
            rates, halves, mark = "lapse rate", "responses to each item", _mark(task)
            if FITTED in task.uses and hasattr(task.model.responder, "fit_candidates"):
                rates, mark = "error rates and lapse rate", ""
            if task.has_participants:
                halves = "participants"
            value = f"{result.cross_validated:.4f}{mark}"
            if math.isfinite(result.cross_validated_error):
                value += f" (SE {result.cross_validated_error:.2f} over {result.unit})"
            self.print(
                f"Cross-validated: {value}; {rates} fitted to one half of the {halves}, scored on "
                f"the other; mean of {CV_SPLITS} random halvings"
            )
        self._caveat(task)

    def accuracy(
        self, kind: str, study: Accuracy | None, novel: Accuracy | None, task: EvalTask
    ) -> None:
        for name, result in (("study-example", study), ("novel", novel)):
            if result is not None:
                n, (low, high) = result.n_episodes, result.interval
                spread = f"95% interval {low:.2f} to {high:.2f}"
                if n > 1:
                    error, over = result.standard_error, count(n, result.unit.removesuffix("s"))
                    spread = f"SE {error:.2f}, {spread}, SD {result.sd:.2f} over {over}"
                else:
                    queries = "query" if result.n_queries == 1 else "queries"
                    spread += f" over {result.n_queries} {queries} of 1 episode"
                what = "Accuracy"
                if task.episode_type.has_human_targets:
                    what = "Agreement with human responses"
                self.print(
                    f"{what} on {name} queries, {kind} responses: {result.mean:.2f}%{_mark(task)} "
                    f"({spread})"
                )
        self._caveat(task)

    def _caveat(self, task: EvalTask) -> None:
        if task.uses:
            self.print(f"{CAVEAT_MARK} {caveat(task.uses)}")

    def error_rates(self, rates: Mapping[str, ErrorRate]) -> None:
        """Print the error rate and, where there are several items, that of each."""
        self.print(f"Error rate on novel queries: {_error_rate(total_error_rate(rates.values()))}")
        if len(rates) > 1:
            width = max(map(len, rates))
            for item, rate in rates.items():
                self.print(f"  {item:<{width}}  {_error_rate(rate)}")
            mean, (low, high) = mean_error_rate(rates.values())
            spread = f"(95% interval {low:.2f} to {high:.2f})"
            self.print(f"  {f'mean of {len(rates)}':<{width}}  {mean:.2f}% {spread}")

    def write_table(self, table: "pd.DataFrame", path: Path, what: str, safe_cells: bool) -> None:
        """Write a table as `.csv` or `.parquet`."""
        from biml.analysis.responses import write_responses

        write_responses(table, path, safe_cells=safe_cells)
        self.print(f"{what}: {path} ({len(table):,} rows)")

    def list_sums(self, sums: "pd.DataFrame", by: str) -> None:
        self.print(f"By {by}:")
        for row in sums.to_dict("records"):
            name = str(row[by])
            if by == "item" and row["query"] != name:
                name = f"{name}: {row['query']}"
            error = row["standard_error"]
            spread = f" (SE {error:.2f})" if math.isfinite(error) else ""
            self.print(
                f"  {name:<40} {row['log_likelihood']:>10.4f}{spread}   "
                f"{count(row['responses'], 'response')}, {count(row['symbols'], 'symbol')}"
            )

    def list_responses(
        self,
        episodes: Sequence[Episode],
        responses: Sequence[Sequence[Response]],
        *,
        of_people: bool,
    ) -> None:
        """List study examples and queries; responses other than the target are followed by it."""
        for episode, query, response, line in self._each_query(episodes, responses):
            right = response == query.output
            line.append("✓ " if right else "✗ ", "green" if right else "bold red")
            line.append(self._symbols(episode, response))
            if not right:
                line.append("   person: " if of_people else "   target: ", "dim")
                line.append(self._symbols(episode, query.output))

    def list_scores(
        self, episodes: Sequence[Episode], log_probs: Sequence[Sequence[np.ndarray]]
    ) -> None:
        """List study examples and the responses in the data, each with its log-probability."""
        totals = [[float(score.sum()) for score in of_episode] for of_episode in log_probs]
        for episode, query, total, line in self._each_query(episodes, totals):
            line.append(self._symbols(episode, query.output))
            line.append(f"   log-probability {total:.2f}", "dim")

    def list_samples(
        self, episodes: Sequence[Episode], responses: Sequence[Sequence[Response]]
    ) -> None:
        """List queries with samples that cannot be right or wrong."""
        for episode, _, response, line in self._each_query(episodes, responses, "query"):
            line.append(self._symbols(episode, response))

    def _each_query(
        self, episodes: Sequence[Episode], values: Sequence[Sequence[T]], kind: str = ""
    ) -> Iterator[tuple[Episode, Example, T, Text]]:
        """Print episodes with their queries, each by a line that the caller completes.

        Equal queries of an episode with equal values are one line with a count.
        """
        for number, (episode, of_episode) in enumerate(zip(episodes, values, strict=True), 1):
            self.print("")
            self.print(Text(f"{number}. {episode.name}", "bold"))
            for example in episode.study:
                line = _line(episode, "example", example.input)
                self.print(line.append(self._symbols(episode, example.output)))
            if episode.pool is not None:
                line = Text("  pool    ", "dim")
                self.print(line.append(self._symbols(episode, episode.pool)))
            counts = Counter(zip(episode.queries, of_episode, strict=True))
            for (query, value), times in counts.items():
                line = _line(episode, kind or ("study" if query.in_study else "novel"), query.input)
                yield episode, query, value, line
                self.print(line.append(f"   × {times}", "dim") if times > 1 else line)

    def _symbols(self, episode: Episode, symbols: Sequence[str]) -> Text:
        """Symbols in their original names, with coloured circles on a terminal."""
        if not symbols:
            return Text("(nothing)", "dim")
        original = undo_remapping(episode, symbols)
        if self._stdout.is_terminal and not self._stdout.options.ascii_only:
            return Text.from_ansi(terminal_symbols(original))
        return Text(" ".join(map(colour_name, original)))


def _mark(task: EvalTask) -> str:
    return CAVEAT_MARK if task.uses else ""


def _error_rate(rate: ErrorRate) -> str:
    low, high = rate.interval
    counts = f"{rate.n_wrong:,} of {rate.n_queries:,}"
    return f"{rate.percent:.2f}% ({counts}; 95% interval {low:.2f} to {high:.2f})"


def _line(episode: Episode, kind: str, words: tuple[str, ...]) -> Text:
    """The start of a listing's line, with the words in their original names."""
    original = " ".join(original_words(episode, words)) or "(nothing)"
    return Text.assemble((f"  {kind:<7} ", "dim"), f"{original:<34} ", ("→ ", "dim"))
