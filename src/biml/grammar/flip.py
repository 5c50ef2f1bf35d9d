"""Rules whose two arguments exchange roles: how people misread order (paper, Methods)."""

from collections.abc import Iterator
from itertools import product

from biml.grammar.grammar import Grammar
from biml.grammar.rules import Rule


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
