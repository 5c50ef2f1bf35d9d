"""Symbolic (oracle/slips) for the few-shot task: the gold grammar, misread now and then."""

from collections.abc import Iterator
from dataclasses import dataclass

from biml.grammar import Grammar
from biml.grammar.slips import HUMAN_RATES, SlipRates, enumerate_perturbed_grammars
from biml.symbolic.mixed import MixtureOracle


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
