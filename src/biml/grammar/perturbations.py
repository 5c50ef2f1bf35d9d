"""Grammars with errors: swapped arguments (paper, Methods) and rule-level response errors.

The published biases change all of a query's output, equally often in short and long queries.
People also err in one rule only, with another symbol for a word or swapped arguments of one
function, and more often in longer queries: slips model that.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import product
from math import prod
from random import Random

from biml.arguments import check_probability
from biml.errors import UsageError
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


def all_argument_swaps(grammar: Grammar, words: Sequence[str] = ()) -> Iterator[Grammar]:
    """Yield the 2^k variants with any subset of k binary functions swapped, the original first.

    With `words`, of the functions that a query of these words uses.

    Raises:
        UsageError: more than `MAX_READINGS`.
    """
    choices = [
        (r, swap_arguments(r))
        if is_binary_function(r) and (not words or set(r.words) <= set(words))
        else (r,)
        for r in grammar.rules
    ]
    _check_readings(prod(map(len, choices)), words)
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


MAX_READINGS = 2**13
"""Erroneous readings of a query that are enumerated, in some seconds."""

Pattern = tuple[str | None, ...]
"""A response; None stands for every symbol, equally likely and independent of the others."""

RuleVariants = tuple[tuple[Rule, float], ...]
"""Readings of one rule with their probabilities, the rule itself first."""


@dataclass(frozen=True)
class SlipRates:
    """Probabilities of three kinds of error in a response."""

    p_substitute: float = 0.01  #: for each word: any symbol replaces its own (by chance the same)
    p_swap: float = 0.06  #: for each binary function: its arguments are swapped
    p_one_to_one: float = 0.01  #: for each word of a query: the whole response is one-to-one

    def __post_init__(self) -> None:
        for each in fields(self):
            check_probability(each.name, getattr(self, each.name))

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

CANDIDATE_RATES = tuple(
    SlipRates(*rates)
    for rates in product(
        (0, 0.01, 0.02, 0.03, 0.04), (0, 0.02, 0.04, 0.06, 0.08, 0.1), (0, 0.005, 0.01, 0.02)
    )
)
"""The grid that `HUMAN_RATES` are from, for cross-validation."""


@dataclass(frozen=True)
class SlipOutputs:
    """Outputs of a grammar with slips, for any rates.

    `counts` says for each output, number of substituted words and number of swapped functions how
    many readings of the rules have them; the other fields count the words and functions that could.
    """

    counts: Mapping[tuple[Pattern, int, int], int]
    n_words: int
    n_functions: int
    n_symbols: int

    def probabilities(self, rates: SlipRates) -> Iterator[tuple[Pattern, float]]:
        """Yield outputs with their probabilities, which sum to 1; an output may recur."""
        for (output, substituted, swapped), count in self.counts.items():
            p = count * (rates.p_substitute / self.n_symbols) ** substituted
            p *= (1 - rates.p_substitute) ** (self.n_words - substituted)
            p *= rates.p_swap**swapped * (1 - rates.p_swap) ** (self.n_functions - swapped)
            yield output, p


@lru_cache(maxsize=256)
def enumerate_slips(
    grammar: Grammar, words: tuple[str, ...], symbols: tuple[str, ...]
) -> SlipOutputs:
    """Interpret a query under every reading of the rules that it uses.

    A substituted word is interpreted once, as a variable (`open_patterns`), not by each symbol.

    Raises:
        UsageError: more than `MAX_READINGS`.
    """
    n_words = n_functions = 0
    variables: dict[str, int] = {}
    variants: list[list[tuple[Rule, int, int]]] = []
    for number, rule in enumerate(grammar.rules):
        variants.append([(rule, 0, 0)])
        if not set(rule.words) <= set(words):
            continue
        if rule.lhs_pattern == ".":
            n_words += 1
            name = f"\0{number}"  # unlike any symbol
            variables[name] = number
            variants[-1].append((Rule(rule.lhs, (name,)), 1, 0))
        elif is_binary_function(rule):
            n_functions += 1
            variants[-1].append((swap_arguments(rule), 0, 1))
    _check_readings(2 ** (n_words + n_functions), words)
    counts: Counter[tuple[Pattern, int, int]] = Counter()
    for reading in product(*variants):
        rules, substituted, swapped = zip(*reading, strict=True)
        output = [variables.get(symbol, symbol) for symbol in Grammar(rules).interpret(words)]
        patterns = list(open_patterns(output, symbols))
        for pattern in patterns:
            key = pattern, sum(substituted), sum(swapped)
            counts[key] += len(symbols) ** sum(substituted) // len(patterns)
    return SlipOutputs(counts, n_words, n_functions, len(symbols))


def open_patterns(items: Sequence[str | int], symbols: Sequence[str]) -> Iterator[Pattern]:
    """Yield equally likely patterns of a response in which each number stands for any one symbol.

    A number that recurs takes each symbol in turn; the others become None.

    >>> list(open_patterns([1, "RED", 2, 2], ["RED", "BLUE"]))
    [(None, 'RED', 'RED', 'RED'), (None, 'RED', 'BLUE', 'BLUE')]

    Raises:
        UsageError: more than `MAX_READINGS`.
    """
    recurring = [item for item, n in Counter(items).items() if isinstance(item, int) and n > 1]
    _check_readings(len(symbols) ** len(recurring), items)
    for drawn in product(symbols, repeat=len(recurring)):
        meanings = dict(zip(recurring, drawn, strict=True))
        yield tuple([meanings.get(i) if isinstance(i, int) else i for i in items])


def _check_readings(count: int, words: Sequence[object]) -> None:
    if count > MAX_READINGS:
        raise UsageError(
            f"a query of {len(words)} words has {count:,} erroneous readings, more than the "
            f"{MAX_READINGS:,} that are enumerated; use shorter queries or another model"
        )


def sample_perturbed_grammar(variants: Sequence[RuleVariants], rng: Random) -> Grammar | None:
    """Sample one reading of each rule; None if every one is the rule itself."""
    picks = [_pick_variant(each, rng.random()) for each in variants]
    if not any(picks):
        return None
    return Grammar(tuple([each[pick][0] for each, pick in zip(variants, picks, strict=True)]))


def _pick_variant(variants: RuleVariants, u: float) -> int:
    for number, (_, probability) in enumerate(variants[:-1]):
        u -= probability
        if u < 0:
            return number
    return len(variants) - 1
