"""Grammars as they are misread now and then, rule by rule: slips beside those of the paper.

The published biases change all that a query says at once, as often in short queries as in long
ones. People's answers in the few-shot task also have one thing wrong where the rest is right: a
word has another symbol, or one function has its arguments exchanged. And the longer a query is, the
more often they are wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from random import Random

from biml.grammar.grammar import Grammar, Rule


def is_binary_function(rule: Rule) -> bool:
    """Whether the rule is a function of two arguments, which is what can be flipped."""
    return "." in rule.lhs_pattern and len(rule.variables) == 2


def swap_arguments(rule: Rule) -> Rule:
    """The rule with the roles of its two variables exchanged on its right side.

    >>> print(swap_arguments(Rule.parse("u1 lug x1 -> [x1] [u1] [u1]")))
    u1 lug x1 -> [u1] [x1] [x1]
    """
    first, second = (f"[{variable}]" for variable in rule.variables)
    swap = {first: second, second: first}
    return Rule(rule.lhs, tuple([swap.get(item, item) for item in rule.rhs]))


def all_argument_swaps(grammar: Grammar) -> Iterator[Grammar]:
    """The grammar with each subset of its two-argument functions flipped, all equally likely.

    The first one is the grammar itself; k such functions make 2^k grammars.
    """
    choices = [
        (rule, swap_arguments(rule)) if is_binary_function(rule) else (rule,)
        for rule in grammar.rules
    ]
    return (Grammar(rules) for rules in product(*choices))


def is_argument_reversing(rule: Rule) -> bool:
    """Whether a function of two arguments says the second one first.

    >>> is_argument_reversing(Rule.parse("x1 after x2 -> [x2] [x1]"))
    True
    >>> is_argument_reversing(Rule.parse("u1 surround u2 -> [u1] [u2] [u1]"))
    False
    """
    places = [place for place in rule.rhs_template if isinstance(place, int)]
    return is_binary_function(rule) and bool(places) and places[0] == 1


def iconic_grammar(grammar: Grammar) -> Grammar:
    """The grammar as one reads it who keeps the order of the input.

    Every function that says its second argument first is flipped, and the others are left alone.
    """
    return Grammar(
        tuple(
            [
                swap_arguments(rule) if is_argument_reversing(rule) else rule
                for rule in grammar.rules
            ]
        )
    )


# === Grammars as they are misread now and then, rule by rule: slips beside those of the paper.


RuleVariants = tuple[tuple[Rule, float], ...]
"""Rules that one rule is read as, each with its probability, the rule itself first."""


@dataclass(frozen=True)
class SlipRates:
    """How often a reader of a query slips, in each of three ways.

    Attributes:
        misread: for each word, that its symbol is any of the symbols instead, by chance its own.
        flip: for each function of two arguments, that its two variables exchange their roles.
        one_to_one: for each word of a query, that the whole query is translated one-to-one.
    """

    p_substitute: float = 0.01
    p_swap: float = 0.06
    p_one_to_one: float = 0.01

    def one_to_one_probability(self, words: Sequence[str]) -> float:
        """The probability that a query is translated one-to-one.

        >>> round(SlipRates(p_one_to_one=0.1).one_to_one_probability(["dax", "fep"]), 9)
        0.19
        """
        return 1 - (1 - self.p_one_to_one) ** len(words)

    def rule_variants(self, grammar: Grammar, symbols: Sequence[str]) -> list[RuleVariants]:
        """What each rule of the grammar is read as.

        Args:
            symbols: what a misread word may stand for.

        >>> grammar = Grammar.parse("dax -> RED\\nu1 lug u2 -> [u2] [u1]\\nu1 fep -> [u1] [u1]")
        >>> for variants in SlipRates(0.5, 0.25).rule_variants(grammar, ["BLUE"]):
        ...     print([(str(rule), p) for rule, p in variants])
        [('dax -> RED', 0.5), ('dax -> BLUE', 0.5)]
        [('u1 lug u2 -> [u2] [u1]', 0.75), ('u1 lug u2 -> [u1] [u2]', 0.25)]
        [('u1 fep -> [u1] [u1]', 1.0)]
        """
        return [self._variants_of(rule, symbols) for rule in grammar.rules]

    def _variants_of(self, rule: Rule, symbols: Sequence[str]) -> RuleVariants:
        if rule.lhs_pattern == ".":
            others = [(Rule(rule.lhs, (s,)), self.p_substitute / len(symbols)) for s in symbols]
            return ((rule, 1 - self.p_substitute), *others)
        if is_binary_function(rule):
            return ((rule, 1 - self.p_swap), (swap_arguments(rule), self.p_swap))
        return ((rule, 1.0),)


HUMAN_RATES = SlipRates()
"""Rates at which people's few-shot answers are likeliest (`benchmarks/fit_slip_rates.py`)."""


def sample_perturbed_grammar(variants: Sequence[RuleVariants], rng: Random) -> Grammar | None:
    """A grammar of which each rule is one of its readings; None where each is the first."""
    picks = [_pick_variant(each, rng.random()) for each in variants]
    if not any(picks):
        return None
    return Grammar(tuple([each[pick][0] for each, pick in zip(variants, picks, strict=True)]))


def enumerate_perturbed_grammars(
    variants: Sequence[RuleVariants],
) -> Iterator[tuple[Grammar, float]]:
    """Every grammar that `misread` gives, that without a slip first, and its probability."""
    for picked in product(*variants):
        yield Grammar(tuple([rule for rule, _ in picked])), prod(p for _, p in picked)


def _pick_variant(variants: RuleVariants, u: float) -> int:
    for number, (_, probability) in enumerate(variants[:-1]):
        u -= probability
        if u < 0:
            return number
    return len(variants) - 1
