"""The items of the human data that equal a study set and query, up to renaming."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from biml.episodes.episode import SIMULATED_PREFIX, Episode, Example
from biml.episodes.episode_type import FEW_SHOT, PROBES
from biml.episodes.registry import episode_type
from biml.episodes.transforms import symbols_used
from biml.errors import BimlError
from biml.paths import DataFolders
from biml.vocabulary import UNDEFINED

Names = dict[str, str]


class People:
    """The human responses of the few-shot task and the probes, by item."""

    def __init__(self, data: DataFolders) -> None:
        self.episodes: list[tuple[str, Episode]] = []
        for task, name in ((FEW_SHOT, "few_shot_human"), (PROBES, "probe_human")):
            with suppress(BimlError):  # the data, or those of this task, are not there
                found = episode_type(name).open_evaluation(data, 0).episodes
                self.episodes += [(task, episode) for episode in found]

    def find(
        self, study: Sequence[Example], query: tuple[str, ...], pool: Sequence[str] | None
    ) -> tuple[str, Counter[tuple[str, ...]]] | None:
        """The task and the responses, in these symbols, to the item that people answered."""
        for task, episode in self.episodes:
            if len(episode.study) != len(study) or not study:
                continue
            if len(episode.pool or ()) != len(pool or ()):
                continue
            for words in dict.fromkeys(each.input for each in episode.queries):
                renaming = find_renaming(
                    [*episode.study, Example(words, ())], [*study, Example(query, ())]
                )
                if renaming is not None:
                    symbols = dict(renaming[1])
                    # Symbols that no study example has are all alike: those of the pool, in order.
                    others = [s for s in symbols_used(episode)[1] if s not in symbols]
                    free = [symbol for symbol in pool or () if symbol not in symbols.values()]
                    symbols |= zip(others, free, strict=False)
                    counts = Counter(
                        tuple(symbols.get(symbol, UNDEFINED) for symbol in each.output)
                        for each in episode.queries
                        if each.input == words and not each.participant.startswith(SIMULATED_PREFIX)
                    )
                    return (task, counts) if counts else None
        return None


def find_renaming(
    a: Sequence[Example],
    b: Sequence[Example],
    words: Names | None = None,
    symbols: Names | None = None,
) -> tuple[Names, Names] | None:
    """One-to-one renamings of words and symbols that make the examples `a` those of `b`.

    The order of the examples does not matter. Returns None if there are no such renamings.

    >>> a = [Example(("1",), ("R",)), Example(("1", "thrice"), ("R", "R", "R"))]
    >>> b = [Example(("dax", "fep"), ("RED", "RED", "RED")), Example(("dax",), ("RED",))]
    >>> find_renaming(a, b)
    ({'1': 'dax', 'thrice': 'fep'}, {'R': 'RED'})
    """
    words, symbols = words or {}, symbols or {}
    if not a:
        return words, symbols
    # Long ones, which have the fewest partners, first.
    first, *rest = sorted(a, key=lambda each: len(each.input + each.output), reverse=True)
    for number, other in enumerate(b):
        more_words = _extended(words, first.input, other.input)
        more_symbols = _extended(symbols, first.output, other.output)
        if more_words is not None and more_symbols is not None:
            remaining = [*b[:number], *b[number + 1 :]]
            found = find_renaming(rest, remaining, more_words, more_symbols)
            if found is not None:
                return found
    return None


def _extended(known: Mapping[str, str], old: Sequence[str], new: Sequence[str]) -> Names | None:
    """The renaming with these pairs as well; None if it is not one-to-one then."""
    if len(old) != len(new):
        return None
    renaming = dict(known)
    for one, other in zip(old, new, strict=True):
        if renaming.setdefault(one, other) != other:
            return None
    return renaming if len(set(renaming.values())) == len(renaming) else None
