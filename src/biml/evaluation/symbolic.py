"""The symbolic models by name: one row each."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from biml.episodes.episode import Episode, Example
from biml.episodes.transforms import primitive_meanings
from biml.errors import UsageError
from biml.evaluation.likelihood import check_lapse
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Responder, Response
from biml.grammar import GOLD, Grammar
from biml.grammar.meta_grammar import COLOURS
from biml.grammar.perturbations import (
    HUMAN_RATES,
    SlipRates,
    all_argument_swaps,
    enumerate_perturbed_grammars,
)
from biml.rng import derive_seed

NextTokenFn = Callable[[tuple[int, ...]], np.ndarray]
"""Numbers of the symbols so far -> probabilities of each choice and, last, of the end.

A symbol so far that is none of the choices has a number of its own, that behind the end.
"""


class TokenwiseModel(ABC):
    """A `Responder` made of one method, `reader`: the probabilities of each next symbol.

    The choices are the symbols of the episode's pool, or the responder's where it has none. No
    lapse is in the probabilities: it is put on top, as on those of a network.

    Attributes:
        symbols: the output symbols it chooses from.
    """

    symbols: tuple[str, ...] = COLOURS

    @abstractmethod
    def next_token_fn(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]
    ) -> NextTokenFn:
        """Ready to answer one query of an episode, whose targets are not to be looked at.

        Args:
            episode: gives study examples, grammar and renaming.
            words: the query.
            choices: the symbols to choose from; `Next` numbers them in this order.
        Raises:
            UsageError: this model cannot answer such an episode; the message says why.
        """

    def log_prob(self, episodes: Sequence[Episode]) -> list[list[np.ndarray]]:
        """See `Responder`; a probability of zero has the logarithm -inf."""
        with np.errstate(divide="ignore"):
            return [
                [np.log(self._response_probabilities(read, query.output)) for read, query in asked]
                for episode in episodes
                for asked in [
                    list(zip(self._next_token_fns(episode), episode.queries, strict=True))
                ]
            ]

    def respond(
        self, episodes: Sequence[Episode], max_length: int = DEFAULT_MAX_LENGTH
    ) -> list[list[Response]]:
        """See `Responder`; of symbols that are as likely the first one is taken."""
        return [
            [
                self._generate(read, max_length, lambda probabilities: int(probabilities.argmax()))
                for read in self._next_token_fns(episode)
            ]
            for episode in episodes
        ]

    def sample(
        self,
        episodes: Sequence[Episode],
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> list[list[list[Response]]]:
        """See `Responder`."""
        return self.sample_with_lapse(episodes, 0.0, seed=seed, n=n, max_length=max_length)

    def sample_with_lapse(
        self,
        episodes: Sequence[Episode],
        p_lapse: float,
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> list[list[list[Response]]]:
        """See `biml.evaluation.likelihood.SamplesLapsing`."""
        check_lapse(p_lapse)
        rng = np.random.default_rng(derive_seed(seed, "symbolic"))

        def draw(probabilities: np.ndarray) -> int:
            reached = ((1 - p_lapse) * probabilities + p_lapse / len(probabilities)).cumsum()
            return int(np.searchsorted(reached, rng.random() * reached[-1], side="right"))

        return [
            [
                [self._generate(read, max_length, draw) for _ in range(n)]
                for read in self._next_token_fns(episode)
            ]
            for episode in episodes
        ]

    def _next_token_fns(self, episode: Episode) -> list["_Memo"]:
        """A reader for each query; queries of the same words share one."""
        choices = self.symbols if episode.pool is None else episode.pool
        made: dict[tuple[str, ...], _Memo] = {}
        for query in episode.queries:
            if query.input not in made:
                made[query.input] = _Memo(
                    self.next_token_fn(episode, query.input, choices), choices
                )
        return [made[query.input] for query in episode.queries]

    def _response_probabilities(
        self, next_probabilities: "_Memo", response: Response
    ) -> np.ndarray:
        for symbol in response:
            if symbol not in (*self.symbols, *next_probabilities.choices):
                raise UsageError(
                    f"the symbol {symbol!r} is not among those of this model "
                    f"({' '.join(self.symbols)}); rename the episode or name its symbols"
                )
        numbers = next_probabilities.encode(response)
        end = len(next_probabilities.choices)
        return np.array(
            [next_probabilities(numbers[:i])[n] if n <= end else 0.0 for i, n in enumerate(numbers)]
        )

    def _generate(
        self, next_probabilities: "_Memo", max_length: int, choose: Callable[[np.ndarray], int]
    ) -> Response:
        answer: tuple[int, ...] = ()
        while len(answer) < max_length:
            number = choose(next_probabilities(answer))
            if number == len(next_probabilities.choices):
                break
            answer = (*answer, number)
        return tuple(next_probabilities.choices[number] for number in answer)


class _Memo:
    """The next-symbol probabilities of one query, each beginning computed once."""

    def __init__(self, compute: NextTokenFn, choices: tuple[str, ...]) -> None:
        self.choices = choices
        self._compute = compute
        self._cache: dict[tuple[int, ...], np.ndarray] = {}

    def __call__(self, begun: tuple[int, ...]) -> np.ndarray:
        if begun not in self._cache:
            self._cache[begun] = self._compute(begun)
        return self._cache[begun]

    def encode(self, response: Response) -> tuple[int, ...]:
        """Numbers of the symbols, that of the end last."""
        end = len(self.choices)
        number = {symbol: i for i, symbol in enumerate(self.choices)}
        return (*[number.get(symbol, end + 1) for symbol in response], end)


# === Symbolic (oracle): the gold grammar, which answers every query rightly (paper, Methods).


@dataclass(frozen=True)
class Oracle(TokenwiseModel):
    """Gives the grammar's output; past its end every symbol is as likely.

    At each place it expects its own symbol whatever came before. With the lapse of
    `biml.evaluation.likelihood.lapse` this is the published model: λ/|S| for a symbol that is not
    the gold one, and 1/|S| past the end.

    Attributes:
        grammar: of episodes that do not hold their own, in canonical names (the human few-shot
            files do not).
        symbols: the output symbols that a lapse picks from.

    >>> from biml.episodes.registry import gold_episode
    >>> (answers,) = Oracle(symbols=GOLD.symbols).respond([gold_episode()])
    >>> answers[0]
    ('DAX', '3')
    """

    grammar: Grammar = GOLD
    symbols: tuple[str, ...] = COLOURS

    def next_token_fn(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]
    ) -> NextTokenFn:
        grammar = episode_grammar(episode, self.grammar)
        return ResponseMixture({grammar.interpret(words): 1.0}, choices)


def episode_grammar(episode: Episode, default: Grammar) -> Grammar:
    """The grammar of an episode in the episode's names.

    Args:
        otherwise: in canonical names, for an episode without a grammar.
    Raises:
        UsageError: the episode has none, and the other one does not give its study examples.
    """
    if episode.grammar is not None:
        return episode.grammar
    grammar = default
    if episode.remapping is not None:
        grammar = default.remap(episode.remapping.words, episode.remapping.symbols)
    for example in episode.study:
        if grammar.interpret(example.input) != example.output:
            raise UsageError(
                f"{episode.name or 'the episode'} holds no grammar, and the one of the symbolic "
                f"model does not give its study example {' '.join(example.input)!r}; "
                "give the model the grammar of this task"
            )
    return grammar


# === A mixture of whole answers, read symbol by symbol.


_PAST_END = -1
"""Stands behind the end of an answer."""


class ResponseMixture:
    """Answers and how probable each is: P(next symbol | symbols so far), marginalised exactly.

    The conditional probability of a symbol is the weight of all answers that go on with it over
    the weight of all answers that begin as given. Behind the end of an answer it leaves every
    choice as likely.

    Where no answer begins as given, as only a lapse can bring about, those answers count that
    differ from it in the fewest places, their ends among them, and each the less the more symbols
    stand behind its end, as it leaves them to chance: the limit of what a mixture with lapses would
    believe when lapses are rare. With a single answer this is the rule of the published oracle,
    which goes on with its own symbol at each place whatever came before.

    >>> mixture = ResponseMixture({("RED", "RED"): 0.9, ("RED", "BLUE"): 0.1}, ("RED", "BLUE"))
    >>> mixture(()).tolist(), mixture((0,)).tolist()  # RED, BLUE and the end
    ([1.0, 0.0, 0.0], [0.9, 0.1, 0.0])
    """

    def __init__(
        self, weights_by_response: Mapping[Response, float], choices: tuple[str, ...]
    ) -> None:
        """Take answers and weights.

        Args:
            answers: whole answers and their probabilities, all above zero; any sum.
            choices: the symbols they are made of, in the order of the probabilities given.
        Raises:
            UsageError: an answer has a symbol that is not a choice.
        """
        self.n_symbols = len(choices) + 1
        number = {symbol: i for i, symbol in enumerate(choices)}
        self.weights = np.array(list(weights_by_response.values()), dtype=float)
        longest = max(map(len, weights_by_response))
        self.token_ids = np.full((len(weights_by_response), longest + 1), _PAST_END)
        for row, answer in enumerate(weights_by_response):
            for place, symbol in enumerate(answer):
                if symbol not in number:
                    raise UsageError(
                        f"the answer '{' '.join(answer)}' has the symbol {symbol!r}, which is not "
                        f"among those to choose from ({' '.join(choices)})"
                    )
                self.token_ids[row, place] = number[symbol]
            self.token_ids[row, len(answer)] = len(choices)

    def __call__(self, prefix: tuple[int, ...]) -> np.ndarray:
        """Probabilities of the choices and of the end, given the numbers of the symbols so far."""
        places = min(len(prefix), self.token_ids.shape[1])
        so_far = self.token_ids[:, :places]
        ended = so_far == _PAST_END
        differ = ((so_far != prefix[:places]) & ~ended).sum(axis=1)
        chance = self.weights / float(self.n_symbols) ** ended.sum(axis=1)
        weights = np.where(differ == differ.min(), chance, 0.0)
        if len(prefix) >= self.token_ids.shape[1]:
            return np.full(self.n_symbols, 1 / self.n_symbols)
        following = self.token_ids[:, len(prefix)]
        past = following == _PAST_END
        given = np.bincount(following[~past], weights[~past], minlength=self.n_symbols)
        return (given + weights[past].sum() / self.n_symbols) / weights.sum()


def sum_duplicates(weighted: Iterable[tuple[Response, float]]) -> dict[Response, float]:
    """Answers with the summed weights of those that are the same; impossible ones are left out."""
    answers: dict[Response, float] = {}
    for answer, weight in weighted:
        if weight > 0:
            answers[answer] = answers.get(answer, 0.0) + weight
    return answers


# === An oracle that errs in ways that can be counted: the gold grammar's answer and others, mix


@dataclass(frozen=True)
class MixtureOracle(TokenwiseModel):
    """Answers that changed targets of training have, with every draw of them enumerated.

    The probability of a symbol follows from the mixture of whole answers; see `Mixture` for answers
    that are none of its. A subclass says which answers there are.

    Attributes:
        grammar: of episodes that do not hold their own, in canonical names.
        symbols: the output symbols that errors and a lapse pick from.
        max_output: outputs of changed rules are not used where they are longer than this.
    """

    grammar: Grammar = GOLD
    symbols: tuple[str, ...] = COLOURS
    max_output: int = 8

    @abstractmethod
    def p_one_to_one(self, words: tuple[str, ...]) -> float:
        """The probability that a query is translated one-to-one."""

    @abstractmethod
    def grammar_distribution(
        self, grammar: Grammar, words: tuple[str, ...], symbols: tuple[str, ...]
    ) -> Iterator[tuple[Grammar, float]]:
        """The grammars that give all other answers, and how likely each of them is then."""

    def next_token_fn(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]
    ) -> NextTokenFn:
        return ResponseMixture(self.response_distribution(episode, words, choices), choices)

    def response_distribution(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...] | None = None
    ) -> dict[Response, float]:
        """Every answer that the mixture gives, and its probability.

        Args:
            choices: the symbols to choose from; those of the episode's pool, or of this model.
        Raises:
            UsageError: there is no grammar that fits the episode.
        """
        grammar = episode_grammar(episode, self.grammar)
        choices = choices or episode.pool or self.symbols
        right, share = grammar.interpret(words), self.p_one_to_one(words)
        translations = list(one_to_one_responses(words, episode.study, choices))
        read = [
            (g.interpret(words), p) for g, p in self.grammar_distribution(grammar, words, choices)
        ]
        return sum_duplicates(
            [
                *((answer, share / len(translations)) for answer in translations),
                *(
                    (answer if len(answer) <= self.max_output else right, (1 - share) * p)
                    for answer, p in read
                ),
            ]
        )


def one_to_one_responses(
    words: Sequence[str], study: Sequence[Example], symbols: Sequence[str]
) -> Iterator[Response]:
    """Each word's symbol where a one-word study example shows it, else any one for that word.

    All answers are equally likely; k different unknown words make len(symbols)^k of them.
    """
    known = primitive_meanings(study)
    unknown = [word for word in dict.fromkeys(words) if word not in known]
    for drawn in product(symbols, repeat=len(unknown)):
        meanings = known | dict(zip(unknown, drawn, strict=True))
        yield tuple([meanings[word] for word in words])


# === Symbolic (oracle/biases) for the few-shot task: the gold grammar with people's biases.


@dataclass(frozen=True)
class BiasOracle(MixtureOracle):
    """The mixture of algebraic, one-to-one and flipped-rule answers that biased episodes show.

    It is what `biml.episodes.transforms.add_biases` draws from: the algebraic output with
    probability 1 - p; with p/2 the one-to-one translation, in which words of no known meaning have
    each of the symbols as likely; with p/2 the output of the grammar whose two-argument functions
    are each flipped with probability 0.5 (the algebraic output where that would be too long).

    Attributes:
        p: the probability of a biased answer.
    """

    p: float = 0.2

    def p_one_to_one(self, words: tuple[str, ...]) -> float:
        return self.p / 2

    def grammar_distribution(
        self, grammar: Grammar, words: tuple[str, ...], symbols: tuple[str, ...]
    ) -> Iterator[tuple[Grammar, float]]:
        yield grammar, (1 - self.p) / (1 - self.p / 2)
        flipped = list(all_argument_swaps(grammar))
        for each in flipped:
            yield each, self.p / 2 / len(flipped) / (1 - self.p / 2)


# === Symbolic (oracle/slips) for the few-shot task: the gold grammar, misread now and then.


@dataclass(frozen=True)
class SlipOracle(MixtureOracle):
    """The mixture of answers that `biml.episodes.transforms.add_slips` draws from.

    Attributes:
        rates: of each kind of slip.
    """

    rates: SlipRates = HUMAN_RATES

    def p_one_to_one(self, words: tuple[str, ...]) -> float:
        return self.rates.one_to_one_probability(words)

    def grammar_distribution(
        self, grammar: Grammar, words: tuple[str, ...], symbols: tuple[str, ...]
    ) -> Iterator[tuple[Grammar, float]]:
        readings = self.rates.rule_variants(grammar, symbols)
        for number, rule in enumerate(grammar.rules):
            if not set(rule.words) <= set(words):
                readings[number] = ((rule, 1.0),)  # not used, however it is read
        return enumerate_perturbed_grammars(readings)


# === The *biases* model of the open-ended task: one word, one colour, and no colour twice.


@dataclass(frozen=True)
class OpenEndedBiasModel(TokenwiseModel):
    """Translates word by word from left to right, each word to the colours it had before.

    The paper's sentence is: each word in proportion to the colours that it was aligned with
    before, a new word to an unused colour. It is read so:

    - A word is *aligned* with the symbol at its own place in the output, for every study example
      in which there is such a place; what an output has beyond its input is aligned with nothing.
    - *Before* includes the places before this one in the same answer: in `fep fep` the second
      word is translated as the first one was.
    - A word without any alignment is new. A colour is *unused* if no study example's output and
      no place before in this answer has it, aligned or not. Unused colours are equally likely; if
      none is left, all colours are.
    - The answer ends where the input ends. Beyond that (after a lapse) every symbol is as likely,
      as it is past the end of the oracle's answer.

    Attributes:
        symbols: the output symbols.

    >>> from biml.episodes.episode import Example
    >>> study = (Example(("dax",), ("RED",)),)
    >>> model = OpenEndedBiasModel(symbols=("RED", "BLUE"))
    >>> model.respond([Episode(study, (Example(("lug", "dax", "lug"), ()),))])
    [[('BLUE', 'RED', 'BLUE')]]
    """

    symbols: tuple[str, ...] = COLOURS

    def next_token_fn(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]
    ) -> NextTokenFn:
        aligned = Counter(
            pair
            for example in episode.study
            for pair in zip(example.input, example.output, strict=False)
        )
        used = {symbol for example in episode.study for symbol in example.output}

        def following(begun: tuple[int, ...]) -> np.ndarray:
            # What is outside a pool is aligned as it stands, with a symbol that nothing else has.
            answer = [choices[n] if n < len(choices) else "" for n in begun]
            if len(answer) > len(words):
                return np.full(len(choices) + 1, 1 / (len(choices) + 1))
            if len(answer) == len(words):
                return _normalised([0] * len(choices) + [1])
            before = aligned + Counter(zip(words, answer, strict=False))
            counts = [before[words[len(answer)], symbol] for symbol in choices]
            if not any(counts):
                counts = _unused(choices, used.union(answer))
            return _normalised([*counts, 0])

        return following


def _unused(choices: Sequence[str], used: Iterable[str]) -> list[int]:
    """One for each choice that is not used; for every choice if all are."""
    unused = set(choices).difference(used) or choices
    return [int(symbol in unused) for symbol in choices]


def _normalised(counts: Sequence[int]) -> np.ndarray:
    return np.array(counts) / sum(counts)


# === The symbolic models by name: one row each.


@dataclass(frozen=True)
class SymbolicModel:
    """A symbolic model: those of the paper, and one more.

    Attributes:
        name: for the command line.
        title: as the paper calls it, or would.
        summary: one line for people.
        tasks: the tasks it can answer: `few-shot`, `open-ended`.
        make: makes the responder; given `symbols`, one that answers in these.
    """

    name: str
    title: str
    summary: str
    tasks: tuple[str, ...]
    build: Callable[..., Responder]


_SYMBOLIC_MODELS = (
    SymbolicModel(
        "oracle",
        "Symbolic (oracle)",
        "the gold grammar's output",
        ("few-shot",),
        Oracle,
    ),
    SymbolicModel(
        "oracle-biases",
        "Symbolic (oracle/biases)",
        "the gold grammar's output, one-to-one and flipped-rule answers mixed",
        ("few-shot",),
        BiasOracle,
    ),
    SymbolicModel(
        "oracle-slips",
        "Symbolic (oracle/slips)",
        "the gold grammar's output, its rules misread one by one, more often in longer queries",
        ("few-shot",),
        SlipOracle,
    ),
    SymbolicModel(
        "biases",
        "Symbolic (biases)",
        "each word as it was translated before, a new word to an unused colour",
        ("open-ended",),
        OpenEndedBiasModel,
    ),
)

SYMBOLIC: dict[str, SymbolicModel] = {row.name: row for row in _SYMBOLIC_MODELS}
"""By name."""


def symbolic_model(name: str) -> SymbolicModel:
    """The row called `name`.

    Raises:
        UsageError: there is none; the message lists them all.
    """
    if name not in SYMBOLIC:
        raise UsageError(f"unknown symbolic model {name!r}; choose one of {', '.join(SYMBOLIC)}")
    return SYMBOLIC[name]
