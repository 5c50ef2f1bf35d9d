"""What the page of `biml play` shows: requests, and the results of models, people and search.

Requests and results are the JSON of its addresses below `/api`.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from biml.episodes.episode import EXAMPLE_SEP, PAIR_SEP, Episode, Example
from biml.episodes.episode_type import gold_episode
from biml.episodes.palette import Palette, text_colour
from biml.episodes.sampling import sample_episode
from biml.episodes.text_format import parse_episode
from biml.episodes.transforms import rename
from biml.errors import BimlError, UsageError, unknown_name
from biml.evaluation.api import Model
from biml.evaluation.intervals import finite_or_none
from biml.evaluation.network import NetworkResponder
from biml.evaluation.readings import find_readings
from biml.evaluation.trace import Trace
from biml.grammar import Grammar
from biml.grammar.meta_grammar import COLOURS
from biml.parallel import available_cores
from biml.web.people import People

Text = Annotated[str, Field(max_length=300)]
"""Words or symbols with blanks between."""

MAX_TOKENS = 20
"""Words of an input, or symbols of an output."""

GOLD_NAMES = (
    dict(
        zip(
            ("1", "2", "3", "DAX", "thrice", "surround", "after"),
            ("dax", "wif", "lug", "zup", "fep", "blicket", "kiki"),
            strict=True,
        )
    ),
    dict(zip(("1", "2", "3", "DAX"), ("RED", "GREEN", "BLUE", "YELLOW"), strict=True)),
)
"""Words and colours of the gold episode as in the paper's Fig. 2."""


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Task(Request):
    """Study examples and a query."""

    study: list[tuple[Text, Text]] = Field(
        max_length=60, description="pairs of an input and its output, such as ['dax', 'RED']"
    )
    query: Text = Field(description="words, such as 'dax fep'")
    pool: Text | None = Field(
        default=None, description="the symbols that a response may use; by default all"
    )

    def episode(self, *responses: str) -> Episode:
        """The task as an episode, with a query for each response; a UsageError if impossible."""
        study = [
            Example(_tokens(words, f"input {i}"), _tokens(symbols, f"output {i}"))
            for i, (words, symbols) in enumerate(self.study, 1)
        ]
        words = _tokens(self.query, "query")
        queries = [Example(words, _tokens(text, "response", least=0)) for text in responses or [""]]
        pool = tuple(dict.fromkeys(_tokens(self.pool, "pool"))) if self.pool else None
        return Episode(tuple(study), tuple(queries), pool=pool)


class ModelTask(Task):
    models: list[Text] | None = Field(default=None, max_length=20, description="by default all")
    grammar: str | None = Field(
        default=None, max_length=5000, description="rules, one a line; only for symbolic models"
    )

    def episode(self, *responses: str) -> Episode:
        grammar = Grammar.parse(self.grammar, source="grammar") if self.grammar else None
        return replace(super().episode(*responses), grammar=grammar)


class RespondRequest(ModelTask):
    k: int = Field(default=5, ge=1, le=20, description="number of responses")
    least: float = Field(
        default=0.0, ge=0, le=1, description="less probable ones are left out if there are others"
    )
    attention: bool = Field(default=False, description="add the attention of the first response")
    max_length: int = Field(default=10, ge=1, le=MAX_TOKENS, description="symbols of a response")


class SampleRequest(ModelTask):
    n: int = Field(default=10, ge=1, le=1000, description="number of samples")
    seed: int = Field(default=0, ge=0, le=2**31)
    p_lapse: float = Field(default=0.0, ge=0, le=1, description="lapse rate")
    max_length: int = Field(default=10, ge=1, le=MAX_TOKENS, description="symbols of a response")


class LogProbRequest(ModelTask):
    responses: list[Text] = Field(min_length=1, max_length=100)
    p_lapse: float = Field(default=0.0, ge=0, le=1, description="lapse rate")


class ReadingsRequest(Task):
    seconds: float = Field(default=2.0, gt=0, le=10, description="time limit of the search")


class EpisodeRequest(Request):
    """The gold episode, a random one, or one in the text of an episode file."""

    source: Literal["gold", "random", "text"]
    seed: int = Field(default=0, ge=0, le=2**31)
    text: str = Field(default="", max_length=100_000)


class ResponseProbability(BaseModel):
    response: str
    probability: float


class Attention(BaseModel):
    """Attention of the decoder, a row for each symbol and the end.

    The tokens are those that it is over, with the number of their study example, or -1. `weights`
    are averaged over layers and heads; `by_layer` has those of each head.
    """

    rows: list[str]
    tokens: list[tuple[str, int]]
    weights: list[list[float]]
    by_layer: dict[int, list[list[list[float]]]]


class ModelResponses(BaseModel):
    """The most probable responses of a model; or why there are none."""

    model: str
    responses: list[ResponseProbability] = []
    attention: Attention | None = None
    problem: str | None = None


class ModelSamples(BaseModel):
    model: str
    samples: list[str] = []
    problem: str | None = None


class ModelLogProbs(BaseModel):
    """Natural log-probabilities of whole responses; null is minus infinity."""

    model: str
    log_probs: list[float | None] = []
    problem: str | None = None


class ReadingResult(BaseModel):
    output: str
    probability: float
    grammar: str


class ReadingsResult(BaseModel):
    """Outputs that grammars of the meta-grammar give to the query, the most probable first.

    Only grammars that give all study examples count. `probability` is posterior. `new_words` of the
    query are in no study example, and taken for primitives with unused symbols. Unless `complete`
    the time limit ended the search, and there may be other readings.
    """

    readings: list[ReadingResult]
    n_grammars: int
    complete: bool
    new_words: list[str]


class PeopleCount(BaseModel):
    response: str
    count: int


class PeopleResult(BaseModel):
    """Human responses to this item, where people answered it."""

    task: str | None = None
    responses: list[PeopleCount] = []


class EpisodeResult(BaseModel):
    title: str
    study: list[tuple[str, str]]
    queries: list[tuple[str, str]]
    pool: str | None
    grammar: str | None


class SymbolLook(BaseModel):
    colour: str
    ink: str
    letters: str
    name: str


@dataclass
class Playground:
    """Models, loaded once, and human responses, for the requests of the page.

    Each model does one thing at a time; several work side by side.
    """

    models: Mapping[str, Model]
    people: People
    _locks: dict[str, Lock] = field(init=False)
    _workers: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        for model in self.models.values():
            if isinstance(model.responder, NetworkResponder):
                model.responder.network.remembers_study = True  # often only the query changes
        self._locks = {name: Lock() for name in self.models}
        self._workers = ThreadPoolExecutor(max(1, min(available_cores(), len(self.models))))

    @property
    def networks(self) -> list[str]:
        """The models that are networks, and so have attention."""
        return [n for n, m in self.models.items() if isinstance(m.responder, NetworkResponder)]

    def warm_up(self) -> None:
        """Do what takes longer the first time."""
        gold = load_episode(EpisodeRequest(source="gold"))
        query, _ = gold.queries[0]
        self.respond(RespondRequest(study=gold.study, query=query, attention=True))
        self.readings(ReadingsRequest(study=gold.study, query=query))

    def respond(self, request: RespondRequest) -> list[ModelResponses]:
        """The most probable responses of each model, with their probabilities."""
        episode = request.episode()

        def compute(model: Model) -> dict[str, Any]:
            options: dict[str, Any] = {"k": request.k, "max_length": request.max_length}
            (found,) = model.probabilities(episode, least=request.least, **options)
            if not found:
                (found,) = model.probabilities(episode, **options)
            responses = [ResponseProbability(response=" ".join(r), probability=p) for r, p in found]
            attention = None
            if request.attention:
                (query,) = episode.queries
                best = replace(episode, queries=(query._replace(output=found[0][0]),))
                with suppress(UsageError):  # a model without attention
                    attention = attention_result(model.trace(best))
            return {"responses": responses, "attention": attention}

        return self._of_each_model(request, ModelResponses, compute)

    def trace(self, request: LogProbRequest) -> list[ModelResponses]:
        """The attention of each model while it gives the first of the responses."""
        episode = request.episode(request.responses[0])

        def compute(model: Model) -> dict[str, Any]:
            return {"attention": attention_result(model.trace(episode))}

        return self._of_each_model(request, ModelResponses, compute)

    def sample(self, request: SampleRequest) -> list[ModelSamples]:
        """Sampled responses of each model, the same for the same seed."""
        episode = request.episode()
        options = request.model_dump(include={"n", "seed", "p_lapse", "max_length"})

        def compute(model: Model) -> dict[str, Any]:
            (samples,) = model.sample(episode, **options)
            return {"samples": [" ".join(sample) for sample in samples]}

        return self._of_each_model(request, ModelSamples, compute)

    def log_prob(self, request: LogProbRequest) -> list[ModelLogProbs]:
        """The log-probabilities of responses under each model."""
        episode = request.episode(*request.responses)

        def compute(model: Model) -> dict[str, Any]:
            values = model.log_prob(episode, p_lapse=request.p_lapse)
            return {"log_probs": list(map(finite_or_none, values))}

        return self._of_each_model(request, ModelLogProbs, compute)

    def readings(self, request: ReadingsRequest) -> ReadingsResult:
        """The outputs that the study examples allow under the meta-grammar."""
        episode = request.episode()
        (query,) = episode.queries
        own = [symbol for example in episode.study for symbol in example.output]
        symbols = episode.pool or (COLOURS if set(own) <= set(COLOURS) else tuple(own))
        found = find_readings(episode.study, query.input, symbols, request.seconds)
        return ReadingsResult(
            readings=[
                ReadingResult(
                    output=" ".join(r.output), probability=r.probability, grammar=str(r.grammar)
                )
                for r in found.readings[:20]
            ],
            n_grammars=found.n_grammars,
            complete=found.complete,
            new_words=list(found.new_words),
        )

    def people_responses(self, request: Task) -> PeopleResult:
        """People's responses to this item; empty if the human data lack it."""
        episode = request.episode()
        found = self.people.find(episode.study, episode.queries[0].input, episode.pool)
        if found is None:
            return PeopleResult()
        task, counts = found
        responses = [PeopleCount(response=" ".join(r), count=n) for r, n in counts.most_common()]
        return PeopleResult(task=task, responses=responses)

    def _of_each_model(
        self, request: ModelTask, result: Any, compute: Callable[[Model], dict[str, Any]]
    ) -> list[Any]:
        names = list(self.models) if request.models is None else request.models
        for name in names:
            if name not in self.models:
                raise unknown_name("model", name, self.models)

        def work(name: str) -> Any:
            with self._locks[name]:
                try:
                    return result(model=name, **compute(self.models[name]))
                except BimlError as error:
                    return result(model=name, problem=str(error))

        return list(self._workers.map(work, dict.fromkeys(names)))


def load_episode(request: EpisodeRequest) -> EpisodeResult:
    """Study examples and queries of the gold task, a random episode, or an episode file."""
    if request.source == "gold":
        episode = replace(rename(gold_episode(), *GOLD_NAMES), name="Gold few-shot task")
    elif request.source == "random":
        episode = replace(sample_episode(seed=request.seed), name=f"Random episode {request.seed}")
    else:
        episode = replace(parse_episode(request.text, source="the file"), name="")
    queries = {" ".join(q.input): " ".join(q.output) for q in episode.queries}
    return EpisodeResult(
        title=episode.name,
        study=[(" ".join(e.input), " ".join(e.output)) for e in episode.study],
        queries=list(queries.items()),
        pool=" ".join(episode.pool) if episode.pool else None,
        grammar=None if episode.grammar is None else str(episode.grammar),
    )


def symbol_looks(symbols: list[str]) -> dict[str, SymbolLook]:
    """How symbols appear as circles; all of them have a colour, up to eight without one by name."""
    styles = Palette.for_symbols(symbols, symbols).styles
    return {
        symbol: SymbolLook(
            colour=f"#{style.colour}",
            ink=text_colour(style.colour),
            letters=style.letters,
            name=style.name.lower(),
        )
        for symbol, style in styles.items()
    }


def attention_result(trace: Trace) -> Attention:
    if any(" " in label for label in (*trace.response, *trace.tokens("encoder"))):
        raise UsageError("its tokens stand for several symbols, whose attention is not shown")
    by_layer = {
        layer: trace[f"decoder.{layer}.cross_attention"].astype(float).round(4).tolist()
        for layer in trace.decoder_layers
    }
    return Attention(
        rows=list(trace.response),
        tokens=[(token.label, token.example) for token in trace.sources],
        weights=trace.decoder_attention().astype(float).round(4).tolist(),
        by_layer=by_layer,
    )


def _tokens(text: str, where: str, least: int = 1) -> tuple[str, ...]:
    tokens = tuple(text.split())
    if len(tokens) < least:
        raise UsageError(f"{where} is empty; write words or symbols with blanks between")
    if len(tokens) > MAX_TOKENS:
        raise UsageError(f"{where} has {len(tokens)} words or symbols; at most {MAX_TOKENS}")
    if wrong := {PAIR_SEP, EXAMPLE_SEP}.intersection(tokens):
        raise UsageError(f"{where}: {wrong.pop()!r} can be neither a word nor a symbol")
    return tokens
