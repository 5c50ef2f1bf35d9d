"""Symbolic (oracle/biases) for the few-shot task: the gold grammar with people's biases."""

from collections.abc import Iterator
from dataclasses import dataclass

from biml.grammar import Grammar
from biml.grammar.flip import all_argument_swaps
from biml.symbolic.mixed import MixtureOracle


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
