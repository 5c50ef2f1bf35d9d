"""Requests of the Python API: study examples and queries in the forms that users give."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from biml.arguments import check_type
from biml.episodes.episode import Episode, Example
from biml.episodes.transforms import undo_remapping
from biml.errors import UsageError, check_extra
from biml.evaluation.responder import Responder, Response

if TYPE_CHECKING:
    import pandas as pd

Query = str | tuple[str, ...]
"""`"dax fep"` or `("dax", "fep")`; responses come in the same form."""

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """Queries as a model gets them (`episode`) and as they were given."""

    responder: Responder
    episode: Episode
    original: Episode
    given: list[Query]
    single: bool

    def restore(self, number: int, response: Response) -> Query:
        """A response in the symbols and in the form of its query."""
        if self.episode is not self.original:
            response = undo_remapping(self.episode, response)
        return " ".join(response) if isinstance(self.given[number], str) else response

    def results(
        self, found: list[T], rows: Sequence[Sequence[Mapping[str, Any]]], as_table: bool
    ) -> "T | list[T] | pd.DataFrame":
        """What was found for each query, or the rows of each query as a table."""
        if not as_table:
            return found[0] if self.single else found
        check_extra("analysis", "tables of results need", "pandas")
        import pandas as pd

        return pd.DataFrame(
            {"query": " ".join(query.input)}
            | {key: " ".join(v) if isinstance(v, tuple) else v for key, v in row.items()}
            for query, of_query in zip(self.original.queries, rows, strict=True)
            for row in of_query
        )


def is_episodes(study: Any, query: Any, as_table: bool) -> bool:
    """Whether the arguments are those of `Responder`: episodes and no query."""
    several = query is None and isinstance(study, list | tuple)
    if not several or not all(isinstance(one, Episode) for one in study):
        return False
    for number, episode in enumerate(study):
        check_type(f"study[{number}]", episode, Episode)
    if as_table:
        raise UsageError("as_table takes the study examples of one episode; for several, join them")
    return True


def entries(name: str, value: Any) -> list[Any]:
    check_type(name, value, Iterable)
    return list(value)


def tokens_of(symbols: str | Sequence[str]) -> tuple[str, ...]:
    check_type("an input or output", symbols, str | Sequence[str])
    return tuple(symbols.split()) if isinstance(symbols, str) else tuple(symbols)


def pair_of(pair: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if isinstance(pair, Example):
        return tokens_of(pair.input), tokens_of(pair.output)
    if isinstance(pair, str) or not hasattr(pair, "__len__") or len(pair) != 2:
        raise UsageError(
            f"{pair!r} is not a study example; give pairs such as ('dax fep', 'RED RED')"
        )
    return tokens_of(pair[0]), tokens_of(pair[1])
