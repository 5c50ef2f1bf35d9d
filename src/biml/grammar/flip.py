"""Rules whose two arguments exchange roles: how people misread order (paper, Methods)."""

from collections.abc import Iterator
from itertools import product

from biml.grammar.grammar import Grammar
from biml.grammar.rules import Rule


def flips(rule: Rule) -> bool:
    """Whether the rule is a function of two arguments, which is what can be flipped."""
    return "." in rule.kinds and len(rule.variables) == 2


def flip(rule: Rule) -> Rule:
    """The rule with the roles of its two variables exchanged on its right side.

    >>> print(flip(Rule.parse("u1 lug x1 -> [x1] [u1] [u1]")))
    u1 lug x1 -> [u1] [x1] [x1]
    """
    first, second = (f"[{variable}]" for variable in rule.variables)
    swap = {first: second, second: first}
    return Rule(rule.lhs, tuple([swap.get(item, item) for item in rule.rhs]))


def flipped_grammars(grammar: Grammar) -> Iterator[Grammar]:
    """The grammar with each subset of its two-argument functions flipped, all equally likely.

    The first one is the grammar itself; k such functions make 2^k grammars.
    """
    choices = [(rule, flip(rule)) if flips(rule) else (rule,) for rule in grammar.rules]
    return (Grammar(rules) for rules in product(*choices))


def reverses(rule: Rule) -> bool:
    """Whether a function of two arguments says the second one first.

    >>> reverses(Rule.parse("x1 after x2 -> [x2] [x1]"))
    True
    >>> reverses(Rule.parse("u1 surround u2 -> [u1] [u2] [u1]"))
    False
    """
    places = [place for place in rule.places if isinstance(place, int)]
    return flips(rule) and bool(places) and places[0] == 1


def iconic_grammar(grammar: Grammar) -> Grammar:
    """The grammar as one reads it who keeps the order of the input.

    Every function that says its second argument first is flipped, and the others are left alone.
    """
    return Grammar(tuple([flip(rule) if reverses(rule) else rule for rule in grammar.rules]))
