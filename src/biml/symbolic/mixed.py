"""An oracle that errs in ways that can be counted: the gold grammar's answer and others, mixed."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from biml.episodes.episode import COLOURS, Episode, Example
from biml.episodes.transforms import primitive_meanings
from biml.evaluation.responder import Response
from biml.grammar import GOLD, Grammar
from biml.symbolic.mixture import ResponseMixture, sum_duplicates
from biml.symbolic.oracle import episode_grammar
from biml.symbolic.stepwise import NextTokenFn, TokenwiseModel


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
