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
from biml.checkpoints.shipped import is_shipped
from biml.episodes.episode import Episode
from biml.episodes.render import terminal_symbols
from biml.episodes.transforms import unmap_symbols
from biml.episodes.types import EpisodeType
from biml.evaluation.accuracy import Accuracy
from biml.evaluation.likelihood import Likelihood
from biml.evaluation.responder import Answer
from biml.version import __version__


class EvalConsole:
    """Talks to a person; figures and listings to standard output unless that is for JSON.

    Args:
        to_stderr: standard output is for a JSON object and nothing else.
    """

    def __init__(self, *, to_stderr: bool = False) -> None:
        self._out = Console(stderr=to_stderr, highlight=False, soft_wrap=True)
        self._aside = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str | Text) -> None:
        self._out.print(text, markup=False)

    def note(self, text: str) -> None:
        """Say something that is not a result."""
        self._aside.print(text, markup=False)

    def begin(self, path: Path, model: LoadedModel, kind: EpisodeType) -> None:
        trained = (
            f"trained on {model.episode_type}" if model.episode_type else "of unknown training"
        )
        if is_shipped(path):
            trained = f"shipped with biml {__version__}, {trained}"
        self.say(f"Model: {path} ({trained})")
        self.say(f"Episodes: {kind.name}, {kind.summary}")

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
        shown = self._aside.is_terminal
        with Progress(*columns, console=self._aside, transient=True, disable=not shown) as bar:
            task = bar.add_task(verb, total=total)
            yield lambda done: bar.update(task, completed=done)

    def likelihood(self, found: Likelihood, *, fitted: bool) -> None:
        sd = f" (SD {found.sd:.4f} over {len(found.passes)} passes)" if found.sd else ""
        each = found.mean / max(found.symbols, 1)
        rate = f"lapse {found.p_lapse:g}{' (fitted)' if fitted else ''}"
        self.say(
            f"Log-likelihood: {found.mean:.4f}{sd}, {found.symbols} symbols, "
            f"{each:.4f} a symbol, {rate}"
        )

    def accuracy(self, kind: str, retrieve: Accuracy | None, novel: Accuracy | None) -> None:
        for name, found in (("copied (retrieve)", retrieve), ("novel", novel)):
            if found is not None:
                self.say(
                    f"Accuracy on {name} queries, {kind} answers: {found.mean:.2f}% "
                    f"(SD {found.sd:.2f} over {_count(found.episodes, 'episode')})"
                )

    # --- listings

    def list_answers(
        self, episodes: Sequence[Episode], answers: Sequence[Sequence[Answer]]
    ) -> None:
        """Study examples and queries; wrong answers are marked and followed by their targets."""
        for number, (episode, given) in enumerate(zip(episodes, answers, strict=True), 1):
            self._heading(number, episode)
            lines = Counter(zip(episode.queries, given, strict=True))
            for (query, answer), times in lines.items():
                right = answer == query.symbols
                line = _line(episode, "copied" if query.copied else "novel", query.words)
                line.append("✓ " if right else "✗ ", "green" if right else "bold red")
                line.append(self._symbols(episode, answer))
                if not right:
                    line.append("   target: ", "dim")
                    line.append(self._symbols(episode, query.symbols))
                self.say(_times(line, times))

    def list_scores(
        self, episodes: Sequence[Episode], log_probs: Sequence[Sequence[np.ndarray]]
    ) -> None:
        """Study examples and the given answers, each with its log-probability."""
        for number, (episode, scores) in enumerate(zip(episodes, log_probs, strict=True), 1):
            self._heading(number, episode)
            totals = [float(score.sum()) for score in scores]
            for (query, total), times in Counter(zip(episode.queries, totals, strict=True)).items():
                line = _line(episode, "copied" if query.copied else "novel", query.words)
                line.append(self._symbols(episode, query.symbols))
                self.say(_times(line.append(f"   log-probability {total:.2f}", "dim"), times))

    def list_drawn(self, episodes: Sequence[Episode], answers: Sequence[Sequence[Answer]]) -> None:
        """Queries with drawn answers that cannot be right or wrong."""
        for number, (episode, given) in enumerate(zip(episodes, answers, strict=True), 1):
            self._heading(number, episode)
            for query, answer in zip(episode.queries, given, strict=True):
                line = _line(episode, "query", query.words)
                self.say(line.append(self._symbols(episode, answer)))

    def _heading(self, number: int, episode: Episode) -> None:
        self.say("")
        self.say(Text(f"{number}. {episode.name}", "bold"))
        for example in episode.study:
            line = _line(episode, "study", example.words)
            self.say(line.append(self._symbols(episode, example.symbols)))
        if episode.pool is not None:
            line = Text("  pool    ", "dim")
            self.say(line.append(self._symbols(episode, episode.pool)))

    def _symbols(self, episode: Episode, symbols: Sequence[str]) -> Text:
        """Symbols in the episode's own names, with coloured circles on a terminal."""
        if not symbols:
            return Text("(nothing)", "dim")
        own = unmap_symbols(episode, symbols)
        if self._out.is_terminal:
            return Text.from_ansi(terminal_symbols(own))
        return Text(" ".join(own))


def _line(episode: Episode, kind: str, words: Sequence[str]) -> Text:
    """The start of a listing's line: what it is, and the words in the episode's own names."""
    back = {new: old for old, new in episode.remapping.words.items()} if episode.remapping else {}
    own = " ".join(back.get(word, word) for word in words) or "(nothing)"
    return Text.assemble((f"  {kind:<7} ", "dim"), f"{own:<34} ", ("→ ", "dim"))


def _times(line: Text, times: int) -> Text:
    return line.append(f"   × {times}", "dim") if times > 1 else line


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"
