"""What `biml eval` shows: figures, progress and listings."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from biml.checkpoints.model import LoadedModel
from biml.checkpoints.shipped import is_pretrained
from biml.episodes.episode import Episode
from biml.episodes.render import terminal_symbols
from biml.episodes.transforms import undo_remapping
from biml.episodes.types import EpisodeType
from biml.evaluation.accuracy import Accuracy
from biml.evaluation.likelihood import Likelihood
from biml.evaluation.responder import Response
from biml.version import __version__


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
            lines = Counter(zip(episode.queries, given, strict=True))
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
