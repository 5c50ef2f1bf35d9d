"""The Python API of models: load one, query it in any words and symbols, evaluate it.

>>> import biml
>>> model = biml.load("net-BIML-top", device="cpu")
>>> study = [("wug", "■"), ("blick", "▲"), ("wug twice", "■ ■")]
>>> model.respond(study, "blick twice")
'▲ ▲'
>>> model.respond(study, ["blick twice", ("wug",)])
['▲ ▲', ('■',)]
>>> [(response, round(p, 2)) for response, p in model.probabilities(study, "blick twice", k=1)]
[('▲ ▲', 0.92)]
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from biml import plugins
from biml.arguments import check_arguments, check_type, python_api, whole_number
from biml.episodes.corpus_file import register_corpus_of_model
from biml.episodes.data_use import DataUse
from biml.episodes.episode import Episode, Example
from biml.episodes.registry import EPISODE_TYPES, has_fixed_names
from biml.episodes.transforms import rename, symbols_used
from biml.errors import BimlError, UsageError
from biml.evaluation.best_responses import best_responses
from biml.evaluation.likelihood import apply_lapse
from biml.evaluation.network import NetworkResponder
from biml.evaluation.registry import (
    SYMBOLIC,
    is_language_model,
    open_language_model,
    symbolic_model,
)
from biml.evaluation.request import (
    Query,
    Request,
    entries,
    is_episodes,
    pair_of,
    tokens_of,
)
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Responder
from biml.evaluation.trace import Trace, activation_names, network_of, trace_response
from biml.networks.checkpoint import load_model
from biml.networks.hooks import Hook, by_name, check_reached, use_hooks
from biml.networks.registry import architecture_name
from biml.paths import model_file, resolve_model
from biml.rng import generator
from biml.vocabulary import Vocabulary

Study = Iterable[Sequence[str | Sequence[str]]]
"""Study examples: pairs such as `("dax fep", "RED GREEN")`; further entries are ignored."""


def load(name_or_path: str | Path, device: str = "auto", **options: Any) -> "Model":
    """Load a trained model, build a symbolic or registered one, or open a language model.

    Args:
        name_or_path: a path; the name of a file in `out_models` or of a model that comes with biml,
            with or without its ending; a name such as `oracle`; or that of a language model, such
            as `hf:folder` or `openai:http://localhost:8000/v1#model`.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        options: of a language model: `prompt`, `log` and others of
            `biml.llm.load.open_language_model`.
    """
    plugins.load_installed()
    if is_language_model(name_or_path):
        answering = open_language_model(str(name_or_path), device, **options)
        return Model(
            answering,
            "",
            str(name_or_path),
            {"prompt": answering.template.name, "prompt_hash": answering.template.digest},
            build=lambda symbols: replace(answering, **symbols),
        )
    if options:
        raise UsageError(
            f"load: unexpected {', '.join(map(repr, options))}; its arguments are name_or_path, "
            "device; only language models have others"
        )
    if name_or_path in SYMBOLIC:
        return symbolic(str(name_or_path))
    path = resolve_model(str(name_or_path), without_file=SYMBOLIC)
    loaded = load_model(path, device)
    with suppress(BimlError):  # the model works without its corpus
        register_corpus_of_model(loaded.metadata)
    responder = NetworkResponder(loaded.network)
    return Model(responder, loaded.episode_type, model_file(path), loaded.metadata, loaded.card)


def symbolic(name: str, **options: Any) -> "Model":
    """Build a symbolic or registered model by name, such as `oracle`.

    The options are those of its class, such as `grammar`, `symbols` or `p`; see
    `biml.evaluation.symbolic`.
    """
    build = symbolic_model(name).build
    check_arguments(f"symbolic model {name!r}", build, **options)
    return Model(build(**options), "", name, build=lambda symbols: build(**options | symbols))


@dataclass(frozen=True)
class Model:
    """A model that responds to queries, given study examples; itself a `Responder`.

    Every method takes study examples and one query, study examples and a list of queries, or an
    `Episode`, whose results are a list with one entry per query. Methods of `Responder` also take a
    list of episodes, as they are.

    Words and symbols may be any, up to as many as the model knows (most: 9 words and 6 symbols).
    Unless the model knows them all, they are remapped to its own at random (by `remapping_seed`),
    and responses back; a symbol of a response that was in no example becomes `undefined_action`.

    Attributes:
        episode_type: that it was trained on; "" where unknown.
        info: plain facts of its training.
        card: of a model that comes with biml: provenance and metrics.
        build: makes a symbolic model anew from `{"symbols": …}`.
    """

    responder: Responder
    episode_type: str
    name: str
    info: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    build: Callable[[dict[str, Any]], Responder] | None = None
    remapping_seed: int = 0

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.responder.symbols

    @property
    def data_use(self) -> DataUse:
        """What it was trained on, fitted to and chosen by."""
        if isinstance(self.responder, NetworkResponder):
            return DataUse.of_network(self.episode_type, self.info, self.card)
        return DataUse.of_responder(self.responder)

    @property
    def architecture(self) -> str:
        """The architecture of a network; else `language model` or `symbolic`."""
        if isinstance(self.responder, NetworkResponder):
            return architecture_name(self.responder.network)
        return "language model" if is_language_model(self.name) else "symbolic"

    @property
    def provenance(self) -> str:
        """What it was trained on, fitted to and chosen by, in words."""
        unknown = self.architecture != "symbolic" and not self.data_use.trained_on
        return "trained on unknown data" if unknown else str(self.data_use)

    @property
    def vocabulary(self) -> Vocabulary:
        """The words and symbols of a network."""
        if not isinstance(self.responder, NetworkResponder):
            raise UsageError(f"{self.name} has no vocabulary: it takes any words")
        return self.responder.network.vocabulary

    @python_api
    def respond(
        self,
        study: Any,
        query: Any = None,
        *,
        max_length: int | None = None,
        as_table: bool = False,
    ) -> Any:
        """The most probable symbol at each step, cut at `max_length` symbols."""
        limit = self._limit(max_length)
        if is_episodes(study, query, as_table):
            return self.responder.respond(study, max_length=limit)
        request = self._request(study, query)
        (responses,) = request.responder.respond([request.episode], max_length=limit)
        found = [request.restore(i, r) for i, r in enumerate(responses)]
        rows = [[{"response": text}] for text in found]
        if isinstance(study, Episode):
            for (row,), query in zip(rows, study.queries, strict=True):
                row |= {"target": query.output, "correct": row["response"] == query.output}
        return request.results(found, rows, as_table)

    @python_api
    def respond_all(self, study: Study, queries: Iterable[Any], max_length: int = 10) -> list[Any]:
        """The same as `respond` with a list of queries, each a string or a list of words."""
        queries = entries("queries", queries)
        found = self.respond(
            study,
            [q if isinstance(q, str) else tokens_of(q) for q in queries],
            max_length=max_length,
        )
        return [list(r) if isinstance(q, list) else r for q, r in zip(queries, found, strict=True)]

    @python_api
    def sample(
        self,
        study: Any,
        query: Any = None,
        n: int = 1,
        seed: int = 0,
        *,
        max_length: int | None = None,
        p_lapse: float = 0.0,
        as_table: bool = False,
    ) -> Any:
        """`n` responses per query sampled from the model's probabilities; the same for a seed."""
        options: dict[str, Any] = {
            "seed": whole_number("seed", seed, 0),
            "n": whole_number("n", n, 1),
            "p_lapse": p_lapse,
        }
        limit = self._limit(max_length)
        if is_episodes(study, query, as_table):
            return self.responder.sample(study, max_length=limit, **options)
        request = self._request(study, query)
        (samples,) = request.responder.sample([request.episode], max_length=limit, **options)
        found = [[request.restore(i, r) for r in several] for i, several in enumerate(samples)]
        rows = [[{"sample": i, "response": r} for i, r in enumerate(several)] for several in found]
        return request.results(found, rows, as_table)

    @python_api
    def log_prob(
        self,
        study: Any,
        query: Any = None,
        response: Any = None,
        p_lapse: float = 0.0,
        *,
        as_table: bool = False,
    ) -> Any:
        """Natural log-probability of whole responses, their ends included.

        Args:
            response: one per query; those of an `Episode` are its targets.
            p_lapse: probability that a symbol is a random one instead of the model's.
        """
        if is_episodes(study, query, as_table):
            return [
                [apply_lapse(one, p_lapse, len(episode.pool or self.symbols) + 1) for one in of_it]
                for episode, of_it in zip(study, self.responder.log_prob(study), strict=True)
            ]
        if response is None and not isinstance(study, Episode):
            raise UsageError("log_prob takes study examples, a query and a response")
        request = self._request(study, query, response)
        (scores,) = request.responder.log_prob([request.episode])
        n_symbols = len(request.episode.pool or request.responder.symbols) + 1
        found = [float(apply_lapse(one, p_lapse, n_symbols).sum()) for one in scores]
        pairs = zip(request.original.queries, found, strict=True)
        rows = [[{"response": query.output, "log_prob": value}] for query, value in pairs]
        return request.results(found, rows, as_table)

    @python_api
    def probabilities(
        self,
        study: Any,
        query: Any = None,
        k: int = 5,
        *,
        max_length: int | None = None,
        least: float = 0.0,
        as_table: bool = False,
    ) -> Any:
        """The `k` most probable responses per query, with the model's probabilities of them.

        The probabilities are exp(`log_prob`) of whole responses, not normalised over the `k`: what
        is missing from 1 belongs to others, longer than `max_length` or less probable than `least`.
        """
        request = self._request(study, query)
        # Several symbols of the model may be one `undefined_action`.
        n = whole_number("k", k, 1) * (1 if request.episode is request.original else 4)
        limit = self._limit(max_length)
        best = best_responses(request.responder, request.episode, n, limit, least)
        found = []
        for i, pairs in enumerate(best):
            summed: Counter[Query] = Counter()
            for response, p in pairs:
                summed[request.restore(i, response)] += p  # type: ignore[assignment]
            found.append(summed.most_common(k))
        rows = [
            [{"rank": i, "response": r, "probability": p} for i, (r, p) in enumerate(pairs, 1)]
            for pairs in found
        ]
        return request.results(found, rows, as_table)

    @python_api
    def trace(
        self, study: Study | Episode, query: Query | None = None, response: Query | None = None
    ) -> Trace:
        """The activations and the attention of a network while it gives a response, by name.

        Args:
            study: study examples; or an episode of one query, whose target is the response.
            response: any response; by default the model's own.
        """
        if response is None and not isinstance(study, Episode):
            response = self.respond(study, query)
        request = self._request(study, query, response)
        return trace_response(request.responder, request.episode, request.original)

    @property
    def trace_names(self) -> tuple[str, ...]:
        """The names of a network's activations, for `trace` and `hooks`."""
        return activation_names(network_of(self.responder))

    @contextmanager
    def hooks(self, hooks: Mapping[str, Hook]) -> Iterator[None]:
        """Let functions read or change activations in all that the model computes in a `with`.

        Args:
            hooks: `ablate(…)`, `patch(…)` or your own (`biml.networks.hooks`), by the names in
                `trace_names`; `decoder.*.heads` stands for every layer's.
        Raises:
            UsageError: the model is no network, or has no activation of a name; at the end, no
                token was at a position of a patch.
        """
        check_type("hooks", hooks, Mapping)
        network = network_of(self.responder)
        with use_hooks(network, by_name(hooks, activation_names(network))):
            yield
        check_reached(hooks)

    def __repr__(self) -> str:
        if not isinstance(self.responder, NetworkResponder):
            return f"Model({self.name!r}, any words; symbols: {' '.join(self.symbols)})"
        words = " ".join(self.words)
        trained = self.episode_type or "unknown episodes"
        return f"Model({self.name!r}, trained on {trained}; words: {words})"

    @property
    def words(self) -> tuple[str, ...]:
        """The words that a network knows, without symbols."""
        words, symbols = self.vocabulary.input.symbols, self.vocabulary.output.symbols
        return tuple(word for word in words if word not in symbols) or words

    def _limit(self, max_length: int | None) -> int:
        if max_length is not None:
            return whole_number("max_length", max_length, 1)
        row = EPISODE_TYPES.get(self.episode_type)
        return row.max_output if row else DEFAULT_MAX_LENGTH

    def _request(self, study: Any, query: Any, response: Any = None) -> Request:
        if isinstance(study, Episode):
            check_type("study", study, Episode)
            if query is not None:
                raise UsageError("an Episode has queries of its own; leave out the query")
            return self._fit(study, [example.input for example in study.queries], single=False)
        if query is None:
            raise UsageError("give study examples and a query, such as 'dax fep', or an Episode")
        single = isinstance(query, str | tuple)
        given = [query] if single else entries("query", query)
        responses = [()] * len(given)
        if response is not None:
            responses = [response] if single else entries("response", response)
        if len(responses) != len(given):
            raise UsageError(f"{len(given)} queries need as many responses, not {len(responses)}")
        queries = [
            Example(tokens_of(q), tokens_of(r)) for q, r in zip(given, responses, strict=True)
        ]
        if not all(example.input for example in queries):
            raise UsageError("a query must have at least one word")
        examples = tuple(Example(*pair_of(pair)) for pair in entries("study", study))
        return self._fit(Episode(examples, tuple(queries)), given, single)

    def _fit(self, episode: Episode, given: list[Query], single: bool) -> Request:
        """The episode in words and symbols that the model knows."""
        used = symbols_used(episode)
        if not isinstance(self.responder, NetworkResponder):
            symbols = used[1]
            if episode.grammar is None and (grammar := getattr(self.responder, "grammar", None)):
                symbols = list(dict.fromkeys([*symbols, *grammar.symbols]))
            responder = self.responder
            if self.build is not None and not set(used[1]) <= set(self.symbols):
                responder = self.build({"symbols": tuple(symbols)})
            return Request(responder, episode, episode, given, single)
        allowed = self.vocabulary.input.symbols, self.symbols
        if all(set(own) <= set(known) for own, known in zip(used, allowed, strict=True)):
            return Request(self.responder, episode, episode, given, single)
        fixed = has_fixed_names(self.episode_type)
        maps, names = [], (self.words, self.symbols)
        for kind, own, free in zip(("words", "symbols"), used, names, strict=True):
            if len(own) > len(free) or fixed:
                raise UsageError(
                    f"{self.name} knows the {len(free)} {kind} {' '.join(free)}, but is given "
                    f"{' '.join(own)}; use {'the same' if fixed else 'at most as many'}"
                )
            order = generator(self.remapping_seed, "remap", kind).sample(free, len(free))
            maps.append(dict(zip(own, order, strict=False)))
        return Request(self.responder, rename(episode, *maps), episode, given, single)
