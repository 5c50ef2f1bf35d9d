"""The symbolic models of the paper, and an ideal learner of slips.

`Oracle` gives the output of the grammar; `BiasOracle` and `SlipOracle` mix it with erroneous
responses, whose probabilities are enumerated exactly; `OpenEndedBiasModel` translates word by word.
All are `TokenwiseModel`s: they define the probabilities of the next symbol, and nothing else.
"""

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
from jaxtyping import Float

from biml.arguments import check_probability
from biml.episodes.episode import Episode
from biml.episodes.episode_type import FEW_SHOT
from biml.episodes.transforms import primitive_meanings
from biml.errors import UsageError
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Response, check_lapse
from biml.grammar import GOLD, Grammar
from biml.grammar.meta_grammar import COLOURS
from biml.grammar.perturbations import (
    CANDIDATE_RATES,
    HUMAN_RATES,
    Pattern,
    SlipRates,
    all_argument_swaps,
    enumerate_slips,
    open_patterns,
)
from biml.rng import derive_seed

NextTokenFn = Callable[[tuple[int, ...]], Float[np.ndarray, " choices+1"]]
"""Prefix of a response -> probabilities of the next symbol: each choice, and the end last.

A prefix has the numbers of its symbols; one that is no choice has the number after that of the end.
"""


class TokenwiseModel(ABC):
    """A `Responder` defined by one method, `next_token_fn`.

    The choices are the symbols of the episode's pool, or `symbols` where it has none.
    """

    symbols: tuple[str, ...] = COLOURS

    @abstractmethod
    def next_token_fn(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]
    ) -> NextTokenFn:
        """The probabilities of the next symbol (in the order of `choices`) for one query.

        The episode's targets must not be used; a UsageError says why the model cannot respond.
        """

    def log_prob(self, episodes: Sequence[Episode], /) -> list[list[np.ndarray]]:
        with np.errstate(divide="ignore"):
            return [
                [
                    np.log(self._response_probabilities(following, choices, query.output))
                    for following, query in zip(functions, episode.queries, strict=True)
                ]
                for episode in episodes
                for choices, functions in [self._next_token_fns(episode)]
            ]

    def respond(
        self, episodes: Sequence[Episode], /, *, max_length: int = DEFAULT_MAX_LENGTH
    ) -> list[list[Response]]:
        """See `Responder`; of equally probable symbols the first is taken."""
        return [
            [_generate(fn, choices, max_length, lambda p: int(p.argmax())) for fn in functions]
            for choices, functions in map(self._next_token_fns, episodes)
        ]

    def sample(
        self,
        episodes: Sequence[Episode],
        /,
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
        p_lapse: float = 0.0,
    ) -> list[list[list[Response]]]:
        check_lapse(p_lapse)
        rng = np.random.default_rng(derive_seed(seed, "symbolic"))

        def draw(probabilities: np.ndarray) -> int:
            cumulative = ((1 - p_lapse) * probabilities + p_lapse / len(probabilities)).cumsum()
            return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))

        return [
            [[_generate(fn, choices, max_length, draw) for _ in range(n)] for fn in functions]
            for choices, functions in map(self._next_token_fns, episodes)
        ]

    def _next_token_fns(self, episode: Episode) -> tuple[tuple[str, ...], list[NextTokenFn]]:
        """The choices, and a function per query; equal queries share one, with its cache."""
        choices = self.symbols if episode.pool is None else episode.pool
        functions = {
            words: cache(self.next_token_fn(episode, words, choices))
            for words in dict.fromkeys(query.input for query in episode.queries)
        }
        return choices, [functions[query.input] for query in episode.queries]

    def _response_probabilities(
        self, following: NextTokenFn, choices: tuple[str, ...], response: Response
    ) -> list[float]:
        end = len(choices)
        numbers = {symbol: i for i, symbol in enumerate(choices)}
        for symbol in response:
            if symbol not in numbers and symbol not in self.symbols:
                raise UsageError(
                    f"the symbol {symbol!r} is not among those of this model "
                    f"({' '.join(self.symbols)}); remap the episode or build the model with its "
                    "symbols"
                )
        ids = (*[numbers.get(symbol, end + 1) for symbol in response], end)
        return [following(ids[:i])[n] if n <= end else 0.0 for i, n in enumerate(ids)]


def _generate(
    following: NextTokenFn,
    choices: tuple[str, ...],
    max_length: int,
    choose: Callable[[np.ndarray], int],
) -> Response:
    prefix: tuple[int, ...] = ()
    while len(prefix) < max_length:
        number = choose(following(prefix))
        if number == len(choices):
            break
        prefix = (*prefix, number)
    return tuple(choices[number] for number in prefix)


_PAST_END, _ANY = -1, -2
"""Token numbers of positions behind the end of a response, and of None in a pattern."""


class ResponseMixture:
    """P(next symbol | prefix) of patterns with weights above zero, marginalised exactly.

    That is the weight of all responses that continue the prefix with the symbol, over the weight of
    all that begin with the prefix. Past the end of a response every choice is equally likely.

    Where no response begins with the prefix, which only a lapse can bring about, those count that
    differ from it in the fewest positions, ends included, each the less the more of the prefix is
    past its end: the limit of a mixture with lapses as the lapse rate goes to zero. With a single
    response this is the published oracle, which expects its own symbol whatever the prefix.

    >>> mixture = ResponseMixture({("RED", "RED"): 0.9, ("RED", "BLUE"): 0.1}, ("RED", "BLUE"))
    >>> mixture(()).tolist(), mixture((0,)).tolist()  # RED, BLUE and the end
    ([1.0, 0.0, 0.0], [0.9, 0.1, 0.0])
    """

    def __init__(self, weights: Mapping[Pattern, float], choices: tuple[str, ...]) -> None:
        self.n_choices, self.n_symbols = len(choices), len(choices) + 1
        number = dict(zip([*choices, None], [*range(len(choices)), _ANY], strict=True))
        self.weights = np.array(list(weights.values()), dtype=float)
        self.token_ids = np.full((len(weights), max(map(len, weights)) + 1), _PAST_END)
        if unknown := {symbol for response in weights for symbol in response} - set(number):
            names = " ".join(sorted(map(str, unknown)))
            raise UsageError(f"{names}: not among those to choose from ({' '.join(choices)})")
        for row, response in enumerate(weights):
            ids = [*[number[symbol] for symbol in response], len(choices)]
            self.token_ids[row, : len(ids)] = ids

    def __call__(self, prefix: tuple[int, ...]) -> Float[np.ndarray, " choices+1"]:
        if len(prefix) >= self.token_ids.shape[1]:
            return np.full(self.n_symbols, 1 / self.n_symbols)
        before = self.token_ids[:, : len(prefix)]
        ended = before == _PAST_END
        drawn = (before == _ANY) & (np.array(prefix, dtype=int) < self.n_choices)
        n_different = ((before != prefix) & ~ended & ~drawn).sum(axis=1)
        chance = self.weights / float(self.n_symbols) ** ended.sum(axis=1)
        chance /= float(self.n_choices) ** drawn.sum(axis=1)
        weights = np.where(n_different == n_different.min(), chance, 0.0)
        following = self.token_ids[:, len(prefix)]
        given = np.bincount(np.maximum(following, 0), weights * (following >= 0), self.n_symbols)
        given += weights[following == _PAST_END].sum() / self.n_symbols
        given[:-1] += weights[following == _ANY].sum() / self.n_choices
        return np.asarray(given / weights.sum())


@dataclass(frozen=True)
class Oracle(TokenwiseModel):
    """Symbolic (oracle): the output of the gold grammar (paper, Methods).

    With a lapse (`likelihood.apply_lapse`) this is the published model: λ/|S| for a symbol other
    than the gold one, and 1/|S| past its end. Subclasses mix in erroneous responses.

    `grammar`, in canonical names, is for episodes without one, such as the human few-shot files.
    An altered grammar's output of more than `max_output` symbols is replaced by the correct one.

    >>> from biml.episodes.episode_type import gold_episode
    >>> (responses,) = Oracle(symbols=GOLD.symbols).respond([gold_episode()])
    >>> responses[0]
    ('DAX', '3')
    """

    grammar: Grammar = GOLD
    symbols: tuple[str, ...] = COLOURS
    max_output: int = 8

    def p_one_to_one(self, words: tuple[str, ...]) -> float:
        """The probability of a one-to-one response to a query."""
        return 0.0

    def one_to_one_patterns(
        self, words: tuple[str, ...], known: Mapping[str, str], symbols: tuple[str, ...]
    ) -> Iterator[Pattern]:
        """Yield equally likely translations: a word's known meaning, else any symbol."""
        yield tuple([known.get(word) for word in words])

    def grammar_responses(
        self, grammar: Grammar, words: tuple[str, ...], symbols: tuple[str, ...]
    ) -> Iterator[tuple[Pattern, float]]:
        """Yield all other responses with their probabilities; one may recur."""
        yield grammar.interpret(words), 1.0

    def next_token_fn(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]
    ) -> NextTokenFn:
        return ResponseMixture(self._patterns(episode, words, choices), choices)

    def response_distribution(
        self, episode: Episode, words: tuple[str, ...]
    ) -> dict[Response, float]:
        """Every possible response with its probability."""
        choices = episode.pool or self.symbols
        weights: dict[Response, float] = defaultdict(float)
        for pattern, weight in self._patterns(episode, words, choices).items():
            share = weight / len(choices) ** pattern.count(None)
            for response in product(*[(s,) if s is not None else choices for s in pattern]):
                weights[response] += share
        return dict(weights)

    def _patterns(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]
    ) -> dict[Pattern, float]:
        grammar = episode_grammar(episode, self.grammar)
        correct, share = grammar.interpret(words), self.p_one_to_one(words)
        weights: dict[Pattern, float] = defaultdict(float)
        known = primitive_meanings(episode.study)
        one_to_one = list(self.one_to_one_patterns(words, known, choices)) if share else []
        for pattern in one_to_one:
            weights[pattern] += share / len(one_to_one)
        for pattern, p in self.grammar_responses(grammar, words, choices):
            weights[pattern if len(pattern) <= self.max_output else correct] += (1 - share) * p
        return {pattern: weight for pattern, weight in weights.items() if weight > 0}


@dataclass(frozen=True)
class BiasOracle(Oracle):
    """Symbolic (oracle/biases): the mixture that `transforms.add_biases` samples targets from.

    The algebraic output with probability 1 - p; with p/2 a one-to-one response; with p/2 the output
    of the grammar whose two-argument functions each swap their arguments with probability 0.5.
    """

    p: float = 0.2

    def __post_init__(self) -> None:
        check_probability("p", self.p)

    def p_one_to_one(self, words: tuple[str, ...]) -> float:
        return self.p / 2

    def grammar_responses(
        self, grammar: Grammar, words: tuple[str, ...], symbols: tuple[str, ...]
    ) -> Iterator[tuple[Pattern, float]]:
        yield grammar.interpret(words), (1 - self.p) / (1 - self.p / 2)
        for altered in (swapped := list(all_argument_swaps(grammar, words))):
            yield altered.interpret(words), self.p / 2 / len(swapped) / (1 - self.p / 2)


@dataclass(frozen=True)
class SlipOracle(Oracle):
    """Symbolic (oracle/slips): the mixture that `transforms.add_slips` samples targets from."""

    rates: SlipRates = HUMAN_RATES

    @property
    def fitted_to(self) -> tuple[str, ...]:
        """The tasks to whose published human responses its rates were fitted."""
        return (FEW_SHOT,) if self.rates == HUMAN_RATES else ()

    def fit_candidates(self) -> list["SlipOracle"]:
        """The same model with all rates that the fit chose among."""
        return [replace(self, rates=rates) for rates in CANDIDATE_RATES]

    def p_one_to_one(self, words: tuple[str, ...]) -> float:
        return self.rates.one_to_one_probability(words)

    def one_to_one_patterns(
        self, words: tuple[str, ...], known: Mapping[str, str], symbols: tuple[str, ...]
    ) -> Iterator[Pattern]:
        """Yield translations in which a word without a known meaning has one symbol throughout."""
        return open_patterns([known.get(word, words.index(word)) for word in words], symbols)

    def grammar_responses(
        self, grammar: Grammar, words: tuple[str, ...], symbols: tuple[str, ...]
    ) -> Iterator[tuple[Pattern, float]]:
        return enumerate_slips(grammar, words, symbols).probabilities(self.rates)


def episode_grammar(episode: Episode, default: Grammar) -> Grammar:
    """The grammar of an episode in its words and symbols; else `default`, in canonical names."""
    if episode.grammar is not None:
        return episode.grammar
    remapping = episode.remapping
    grammar = default.remap(remapping.words, remapping.symbols) if remapping else default
    for example in episode.study:
        if grammar.interpret(example.input) != example.output:
            raise UsageError(
                f"{episode.name or 'the episode'} has no grammar, and that of the symbolic model "
                f"contradicts its study example {' '.join(example.input)!r}; give the episode "
                "its grammar"
            )
    return grammar


@dataclass(frozen=True)
class OpenEndedBiasModel(TokenwiseModel):
    """Symbolic (biases) of the open-ended task: one word, one colour, and no colour twice.

    The paper says: each word in proportion to the colours that it was aligned with before, a new
    word to an unused colour. This is read as follows:

    - A word is *aligned* with the symbol at its own position in the output of a study example; what
      an output has beyond its input is aligned with nothing.
    - *Before* includes earlier positions of the same response, so `fep fep` is two equal colours.
    - A word without any alignment is new. A colour is *unused* if no study example's output and no
      earlier position of this response has it. Unused colours are equally likely; if none is left,
      all colours are.
    - The response ends with the input; beyond that (after a lapse) every symbol is equally likely.

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

        def following(prefix: tuple[int, ...]) -> np.ndarray:
            # A symbol outside the pool is aligned too, with "", which nothing else has.
            response = [choices[n] if n < len(choices) else "" for n in prefix]
            if len(response) > len(words):
                return np.full(len(choices) + 1, 1 / (len(choices) + 1))
            if len(response) == len(words):
                return np.eye(len(choices) + 1)[-1]
            before = aligned + Counter(zip(words, response, strict=False))
            counts = [before[words[len(response)], symbol] for symbol in choices]
            if not any(counts):
                unused = set(choices).difference(used, response) or choices
                counts = [int(symbol in unused) for symbol in choices]
            return np.array([*counts, 0]) / sum(counts)

        return following
