"""Trained models for other programs: plain Python pairs in, plain Python answers out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from biml.episodes.episode import Episode, Example
from biml.errors import UsageError
from biml.evaluation.likelihood import apply_lapse
from biml.evaluation.network import NetworkResponder
from biml.evaluation.responder import DEFAULT_MAX_LENGTH
from biml.networks.checkpoint import load_model
from biml.paths import resolve_model
from biml.vocabulary import Vocabulary

SymbolsLike = str | Sequence[str]
"""`"dax fep"` or `["dax", "fep"]`."""

QueryLike = TypeVar("QueryLike", str, list[str])
"""A query, whose answers come in the same form."""

StudyLike = Iterable[Sequence[SymbolsLike]]
"""Pairs such as `("dax fep", "RED GREEN")`; more than a pair's two parts is not looked at."""


def load(name_or_path: str | Path, device: str = "cpu") -> "Model":
    """A trained model, ready to answer.

    Args:
        name_or_path: a path, or the name of a file in `out_models` or of a model that comes with
            biml, with or without its ending.
        device: "cpu" or "cuda".
    Raises:
        UsageError: there is no such file; the message says where was looked.
        FormatError: the file is damaged or not a model.

    Example:
        model = biml.load("net-BIML-top.pt")
        model.respond([("dax", "RED"), ("wif", "BLUE"), ("dax fep", "RED RED RED")], "wif fep")
    """
    path = resolve_model(str(name_or_path))
    loaded = load_model(path, device)
    responder = NetworkResponder(loaded.network)
    return Model(responder, loaded.episode_type, path.name, loaded.metadata, loaded.card)


@dataclass(frozen=True)
class Model:
    """A trained model that answers queries, given study examples.

    A query is one string of words (`"wif fep"`) or a sequence of them; its answers come in the
    form in which the query was given. The study examples are read in the order given, and may be
    none.

    Attributes:
        responder: what answers whole episodes at once.
        episode_type: what it was trained on, where known.
        name: of its file.
        info: plain facts of its training.
        card: of a model that comes with biml, more of them and its figures.
    """

    responder: NetworkResponder
    episode_type: str
    name: str
    info: dict[str, Any]
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def vocabulary(self) -> Vocabulary:
        """The words and symbols that it knows."""
        return self.responder.network.vocabulary

    def respond(
        self, study: StudyLike, query: QueryLike, max_length: int = DEFAULT_MAX_LENGTH
    ) -> QueryLike:
        """The answer of the likeliest symbol at each step, cut at `max_length` symbols.

        Raises:
            UsageError: a word or symbol that the model does not know, or no word at all.
        """
        return self.respond_all(study, [query], max_length)[0]

    def respond_all(
        self, study: StudyLike, queries: Iterable[QueryLike], max_length: int = DEFAULT_MAX_LENGTH
    ) -> list[QueryLike]:
        """The answers to several queries about the same study examples, computed together."""
        queries = list(queries)
        episode = self._episode(study, [(query, ()) for query in queries])
        (answers,) = self.responder.respond([episode], max_length=max_length)
        return [
            _same_form_as(query, answer) for query, answer in zip(queries, answers, strict=True)
        ]

    def sample(
        self,
        study: StudyLike,
        query: QueryLike,
        n: int = 1,
        seed: int = 0,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> list[QueryLike]:
        """`n` answers drawn from the model's probabilities; the same for the same seed.

        Raises:
            UsageError: a word or symbol that the model does not know, or no word at all.
        """
        episode = self._episode(study, [(query, ())])
        ((answers,),) = self.responder.sample([episode], seed=seed, n=n, max_length=max_length)
        return [_same_form_as(query, answer) for answer in answers]

    def log_prob(
        self, study: StudyLike, query: SymbolsLike, response: SymbolsLike, p_lapse: float = 0.0
    ) -> float:
        """The natural log-probability of a whole response, its end included.

        Args:
            p_lapse: probability that a symbol is none of the model's choosing but any one.
        Raises:
            UsageError: a word or symbol that the model does not know, or no word at all.
        """
        episode = self._episode(study, [(query, response)])
        ((log_probs,),) = self.responder.log_prob([episode])
        return float(apply_lapse(log_probs, p_lapse, len(self.responder.symbols) + 1).sum())

    def __repr__(self) -> str:
        words = " ".join(self.vocabulary.input.symbols)
        return f"Model({self.name!r}, trained on {self.episode_type or '?'}, knows {words})"

    def _episode(
        self, study: StudyLike, queries: Sequence[tuple[SymbolsLike, SymbolsLike]]
    ) -> Episode:
        examples = [self._example(*_pair(pair)) for pair in study]
        asked = [self._example(words, symbols) for words, symbols in queries]
        if not all(example.input for example in asked):
            raise UsageError("a query must have at least one word")
        return Episode(tuple(examples), tuple(asked))

    def _example(self, words: SymbolsLike, symbols: SymbolsLike) -> Example:
        example = Example(_tokens(words), _tokens(symbols))
        known = self.vocabulary
        for word in example.input:
            if word not in known.input.symbols:
                raise UsageError(
                    f"the word {word!r} is not known to this model; {self._known_symbols}"
                )
        for symbol in example.output:
            if symbol not in known.output.symbols:
                raise UsageError(
                    f"the symbol {symbol!r} is not known to this model; {self._known_symbols}"
                )
        return example

    @property
    def _known_symbols(self) -> str:
        symbols = self.vocabulary.output.symbols
        words = [w for w in self.vocabulary.input.symbols if w not in symbols]
        return f"words: {' '.join(words)}; output symbols: {' '.join(symbols)}"


def _tokens(symbols: SymbolsLike) -> tuple[str, ...]:
    return tuple(symbols.split()) if isinstance(symbols, str) else tuple(symbols)


def _pair(pair: Sequence[SymbolsLike]) -> tuple[SymbolsLike, SymbolsLike]:
    if isinstance(pair, str) or len(pair) < 2:
        raise UsageError(
            f"{pair!r} is not a study example; give pairs such as ('dax fep', 'RED RED')"
        )
    return pair[0], pair[1]


def _same_form_as(query: QueryLike, answer: tuple[str, ...]) -> QueryLike:
    return " ".join(answer) if isinstance(query, str) else list(answer)
