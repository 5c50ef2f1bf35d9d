"""Symbolic (oracle/slips) for the few-shot task: the gold grammar, misread now and then."""

from collections.abc import Iterator
from dataclasses import dataclass

from biml.grammar import Grammar
from biml.grammar.slips import PEOPLE, SlipRates, misread_grammars
from biml.symbolic.mixed import MixedOracle


@dataclass(frozen=True)
class SlippingOracle(MixedOracle):
    """The mixture of answers that `biml.episodes.transforms.add_slips` draws from.

    Attributes:
        rates: of each kind of slip.
    """

    rates: SlipRates = PEOPLE

    def translated(self, words: tuple[str, ...]) -> float:
        return self.rates.translated(words)

    def readings(
        self, grammar: Grammar, words: tuple[str, ...], symbols: tuple[str, ...]
    ) -> Iterator[tuple[Grammar, float]]:
        readings = self.rates.readings(grammar, symbols)
        for number, rule in enumerate(grammar.rules):
            if not set(rule.words) <= set(words):
                readings[number] = ((rule, 1.0),)  # not used, however it is read
        return misread_grammars(readings)
