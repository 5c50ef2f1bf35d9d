"""Symbolic (oracle/biases) for the few-shot task: the gold grammar with people's biases."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from biml.episodes.episode import COLOURS, Episode, Example
from biml.episodes.transforms import known_meanings
from biml.evaluation.responder import Answer
from biml.grammar import GOLD, Grammar
from biml.grammar.flip import flipped_grammars
from biml.symbolic.mixture import Mixture, collect
from biml.symbolic.oracle import grammar_of
from biml.symbolic.stepwise import Next, StepwiseResponder


@dataclass(frozen=True)
class BiasedOracle(StepwiseResponder):
    """The mixture of algebraic, one-to-one and flipped-rule answers that biased episodes show.

    It is what `biml.episodes.transforms.add_biases` draws from, with every draw enumerated: the
    algebraic output with probability 1 - p; with p/2 the one-to-one translation, in which words
    of no known meaning have each of the symbols as likely; with p/2 the output of the grammar
    whose two-argument functions are each flipped with probability 0.5 (the algebraic output where
    that would be too long). The probability of a symbol follows from the mixture of whole answers;
    see `Mixture` for answers that are none of its.

    Attributes:
        grammar: of episodes that do not hold their own, in canonical names.
        symbols: the output symbols that unknown words and a lapse pick from.
        p: the probability of a biased answer.
        max_output: flipped rules are not used where their output is longer than this.
    """

    grammar: Grammar = GOLD
    symbols: tuple[str, ...] = COLOURS
    p: float = 0.2
    max_output: int = 8

    def reader(self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]) -> Next:
        return Mixture(self.answers(episode, words, choices), choices)

    def answers(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...] | None = None
    ) -> dict[Answer, float]:
        """Every answer that the mixture gives, and its probability.

        Args:
            choices: the symbols to choose from; those of the episode's pool, or of this model.
        Raises:
            UsageError: there is no grammar that fits the episode.
        """
        grammar = grammar_of(episode, self.grammar)
        right = grammar.interpret(words)
        flipped = [each.interpret(words) for each in flipped_grammars(grammar)]
        translated = list(one_to_one(words, episode.study, choices or episode.pool or self.symbols))
        return collect(
            [
                (right, 1 - self.p),
                *((answer, self.p / 2 / len(translated)) for answer in translated),
                *(
                    (answer if len(answer) <= self.max_output else right, self.p / 2 / len(flipped))
                    for answer in flipped
                ),
            ]
        )


def one_to_one(
    words: Sequence[str], study: Sequence[Example], symbols: Sequence[str]
) -> Iterator[Answer]:
    """Each word's symbol where a one-word study example shows it, else any one for that word.

    All answers are equally likely; k different unknown words make len(symbols)^k of them.
    """
    known = known_meanings(study)
    unknown = [word for word in dict.fromkeys(words) if word not in known]
    for drawn in product(symbols, repeat=len(unknown)):
        meanings = known | dict(zip(unknown, drawn, strict=True))
        yield tuple([meanings[word] for word in words])
