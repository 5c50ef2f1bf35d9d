"""Trained models for other programs: plain Python pairs in, plain Python answers out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from biml.checkpoints.model import load_model
from biml.episodes.episode import Episode, Example
from biml.errors import UsageError
from biml.evaluation.find import find_model
from biml.evaluation.likelihood import lapse
from biml.evaluation.network_responder import NetworkResponder
from biml.evaluation.responder import MAX_LENGTH
from biml.vocabulary import IO, Vocabulary

Symbols = str | Sequence[str]
"""`"dax fep"` or `["dax", "fep"]`."""

Query = TypeVar("Query", str, list[str])
"""A query, whose answers come in the same form."""

Study = Iterable[Sequence[Symbols]]
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
    path = find_model(str(name_or_path))
    loaded = load_model(path, device)
    responder = NetworkResponder(loaded.network)
    return Model(responder, loaded.episode_type, path.name, loaded.info, loaded.card)


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

    def respond(self, study: Study, query: Query, max_length: int = MAX_LENGTH) -> Query:
        """The answer of the likeliest symbol at each step, cut at `max_length` symbols.

        Raises:
            UsageError: a word or symbol that the model does not know, or no word at all.
        """
        return self.respond_all(study, [query], max_length)[0]

    def respond_all(
        self, study: Study, queries: Iterable[Query], max_length: int = MAX_LENGTH
    ) -> list[Query]:
        """The answers to several queries about the same study examples, computed together."""
        queries = list(queries)
        episode = self._episode(study, [(query, ()) for query in queries])
        (answers,) = self.responder.respond([episode], max_length)
        return [_like(query, answer) for query, answer in zip(queries, answers, strict=True)]

    def sample(
        self, study: Study, query: Query, n: int = 1, seed: int = 0, max_length: int = MAX_LENGTH
    ) -> list[Query]:
        """`n` answers drawn from the model's probabilities; the same for the same seed.

        Raises:
            UsageError: a word or symbol that the model does not know, or no word at all.
        """
        episode = self._episode(study, [(query, ())])
        ((answers,),) = self.responder.sample([episode], seed=seed, n=n, max_length=max_length)
        return [_like(query, answer) for answer in answers]

    def log_prob(
        self, study: Study, query: Symbols, response: Symbols, p_lapse: float = 0.0
    ) -> float:
        """The natural log-probability of a whole response, its end included.

        Args:
            p_lapse: probability that a symbol is none of the model's choosing but any one.
        Raises:
            UsageError: a word or symbol that the model does not know, or no word at all.
        """
        episode = self._episode(study, [(query, response)])
        ((log_probs,),) = self.responder.log_prob([episode])
        return float(lapse(log_probs, p_lapse, len(self.responder.symbols) + 1).sum())

    def __repr__(self) -> str:
        words = " ".join(self.vocabulary.input.symbols)
        return f"Model({self.name!r}, trained on {self.episode_type or '?'}, knows {words})"

    def _episode(self, study: Study, queries: Sequence[tuple[Symbols, Symbols]]) -> Episode:
        examples = [self._example(*_two(pair)) for pair in study]
        asked = [self._example(words, symbols) for words, symbols in queries]
        if not all(example.words for example in asked):
            raise UsageError("a query must have at least one word")
        return Episode(tuple(examples), tuple(asked))

    def _example(self, words: Symbols, symbols: Symbols) -> Example:
        example = Example(_split(words), _split(symbols))
        known = self.vocabulary
        for word in example.words:
            if word == IO or word not in known.input.symbols:
                raise UsageError(f"the word {word!r} is not known to this model; {self._known}")
        for symbol in example.symbols:
            if symbol not in known.output.symbols:
                raise UsageError(f"the symbol {symbol!r} is not known to this model; {self._known}")
        return example

    @property
    def _known(self) -> str:
        symbols = self.vocabulary.output.symbols
        words = [w for w in self.vocabulary.input.symbols if w != IO and w not in symbols]
        return f"words: {' '.join(words)}; output symbols: {' '.join(symbols)}"


def _split(symbols: Symbols) -> tuple[str, ...]:
    return tuple(symbols.split()) if isinstance(symbols, str) else tuple(symbols)


def _two(pair: Sequence[Symbols]) -> tuple[Symbols, Symbols]:
    if isinstance(pair, str) or len(pair) < 2:
        raise UsageError(
            f"{pair!r} is not a study example; give pairs such as ('dax fep', 'RED RED')"
        )
    return pair[0], pair[1]


def _like(query: Query, answer: tuple[str, ...]) -> Query:
    return " ".join(answer) if isinstance(query, str) else list(answer)
