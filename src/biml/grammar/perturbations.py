"""Grammars with errors: swapped arguments (paper, Methods) and rule-level response errors.

The published biases change all of a query's output, equally often in short and long queries.
People also err in one rule only, with another symbol for a word or swapped arguments of one
function, and more often in longer queries: slips model that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from random import Random

from biml.grammar.grammar import Grammar, Rule


def is_binary_function(rule: Rule) -> bool:
    """Whether the rule is a function with two arguments."""
    return "." in rule.lhs_pattern and len(rule.variables) == 2


def swap_arguments(rule: Rule) -> Rule:
    """Exchange the two variables on the right-hand side.

    >>> print(swap_arguments(Rule.parse("u1 lug x1 -> [x1] [u1] [u1]")))
    u1 lug x1 -> [u1] [x1] [x1]
    """
    first, second = (f"[{variable}]" for variable in rule.variables)
    swap = {first: second, second: first}
    return Rule(rule.lhs, tuple([swap.get(item, item) for item in rule.rhs]))


def all_argument_swaps(grammar: Grammar) -> Iterator[Grammar]:
    """Yield the 2^k variants with any subset of k binary functions swapped, the original first."""
    choices = [(r, swap_arguments(r)) if is_binary_function(r) else (r,) for r in grammar.rules]
    return (Grammar(rules) for rules in product(*choices))


def is_argument_reversing(rule: Rule) -> bool:
    """Whether a binary function outputs its second argument first.

    >>> is_argument_reversing(Rule.parse("x1 after x2 -> [x2] [x1]"))
    True
    >>> is_argument_reversing(Rule.parse("u1 surround u2 -> [u1] [u2] [u1]"))
    False
    """
    arguments = [item for item in rule.rhs_template if isinstance(item, int)]
    return is_binary_function(rule) and bool(arguments) and arguments[0] == 1


def iconic_grammar(grammar: Grammar) -> Grammar:
    """Swap the arguments of every argument-reversing function (iconic concatenation)."""
    rules = [swap_arguments(r) if is_argument_reversing(r) else r for r in grammar.rules]
    return Grammar(tuple(rules))


RuleVariants = tuple[tuple[Rule, float], ...]
"""Readings of one rule with their probabilities, the rule itself first."""


@dataclass(frozen=True)
class SlipRates:
    """Probabilities of three kinds of error in a response."""

    p_substitute: float = 0.01  #: for each word: any symbol replaces its own (by chance the same)
    p_swap: float = 0.06  #: for each binary function: its arguments are swapped
    p_one_to_one: float = 0.01  #: for each word of a query: the whole response is one-to-one

    def one_to_one_probability(self, words: Sequence[str]) -> float:
        """Return the probability of a one-to-one response to a query.

        >>> round(SlipRates(p_one_to_one=0.1).one_to_one_probability(["dax", "fep"]), 9)
        0.19
        """
        return 1 - (1 - self.p_one_to_one) ** len(words)

    def rule_variants(self, grammar: Grammar, symbols: Sequence[str]) -> list[RuleVariants]:
        """Return the readings of each rule, with any of `symbols` for substituted words.

        >>> grammar = Grammar.parse("dax -> RED\\nu1 lug u2 -> [u2] [u1]\\nu1 fep -> [u1] [u1]")
        >>> for variants in SlipRates(0.5, 0.25).rule_variants(grammar, ["BLUE"]):
        ...     print([(str(rule), p) for rule, p in variants])
        [('dax -> RED', 0.5), ('dax -> BLUE', 0.5)]
        [('u1 lug u2 -> [u2] [u1]', 0.75), ('u1 lug u2 -> [u1] [u2]', 0.25)]
        [('u1 fep -> [u1] [u1]', 1.0)]
        """
        every: list[RuleVariants] = []
        for rule in grammar.rules:
            if rule.lhs_pattern == ".":
                others = [(Rule(rule.lhs, (s,)), self.p_substitute / len(symbols)) for s in symbols]
                every.append(((rule, 1 - self.p_substitute), *others))
            elif is_binary_function(rule):
                every.append(((rule, 1 - self.p_swap), (swap_arguments(rule), self.p_swap)))
            else:
                every.append(((rule, 1.0),))
        return every


HUMAN_RATES = SlipRates()
"""Maximum-likelihood rates of the human few-shot responses (`benchmarks/fit_slip_rates.py`)."""


def sample_perturbed_grammar(variants: Sequence[RuleVariants], rng: Random) -> Grammar | None:
    """Sample one reading of each rule; None if every one is the rule itself."""
    picks = [_pick_variant(each, rng.random()) for each in variants]
    if not any(picks):
        return None
    return Grammar(tuple([each[pick][0] for each, pick in zip(variants, picks, strict=True)]))


def enumerate_perturbed_grammars(
    variants: Sequence[RuleVariants],
) -> Iterator[tuple[Grammar, float]]:
    """Yield every combination of readings with its probability, the original grammar first."""
    for readings in product(*variants):
        yield Grammar(tuple([rule for rule, _ in readings])), prod(p for _, p in readings)


def _pick_variant(variants: RuleVariants, u: float) -> int:
    for number, (_, probability) in enumerate(variants[:-1]):
        u -= probability
        if u < 0:
            return number
    return len(variants) - 1
