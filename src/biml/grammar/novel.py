"""Rules that no training grammar has, to ask whether a rule is learned that is wholly new.

The supplement tells of 26 rules with a right side of 8 symbols, the longest that the meta-grammar
draws. Which they were is not published. These are 26 of the 255 patterns that such a right side can
have, drawn once by `generator(0, "novel rules").sample`. A pattern says which argument stands
where, and not what kind of variable holds it: `12212122` is
`u1 lug x1 -> [u1] [x1] [x1] [u1] [x1] [u1] [x1] [x1]` as well as the same of `x1 lug x2`.
"""

from biml.grammar.grammar import Grammar
from biml.grammar.rules import Rule

HELD_OUT_PATTERNS = (
    *("11111222", "11112122", "11112221", "11221112", "11222122", "12111112", "12111211"),
    *("12111212", "12122112", "12212122", "12212211", "12212212", "12221211", "12222211"),
    *("21112122", "21122112", "21211211", "21221121", "21221212", "22111121", "22112221"),
    *("22122111", "22122112", "22212121", "22212221", "22221112"),
)
"""The patterns that are asked for: 1 for the first argument, 2 for the second."""

_RHS_LENGTH = 8
_SWAP_DIGITS = str.maketrans("12", "21")

# Biased targets exchange the arguments of a rule, so a held-out rule could come in through its
# mirror image: that is held out as well.
_HELD_OUT_TEMPLATES = frozenset(
    tuple([int(place) - 1 for place in pattern])
    for rule in HELD_OUT_PATTERNS
    for pattern in (rule, rule.translate(_SWAP_DIGITS))
)


def has_held_out_rule(grammar: Grammar) -> bool:
    """Whether one of its rules is held out from training, as it is or with arguments exchanged.

    >>> has_held_out_rule(Grammar.parse("x1 fep u1 -> [x1] [u1] [u1] [x1] [u1] [x1] [u1] [u1]"))
    True
    >>> has_held_out_rule(Grammar.parse("x1 fep u1 -> [x1] [u1] [u1] [x1] [u1] [x1] [u1]"))
    False
    """
    return any(
        len(rule.rhs) == _RHS_LENGTH and rule.rhs_template in _HELD_OUT_TEMPLATES
        for rule in grammar.rules
    )


def with_rhs_pattern(rule: Rule, pattern: str) -> Rule:
    """The rule with a right side of that pattern, its left side as it is.

    >>> print(with_rhs_pattern(Rule.parse("u1 lug x1 -> [x1] [u1]"), "112"))
    u1 lug x1 -> [u1] [u1] [x1]
    """
    return Rule(rule.lhs, tuple([f"[{rule.variables[int(place) - 1]}]" for place in pattern]))
