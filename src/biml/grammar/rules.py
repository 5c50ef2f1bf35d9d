"""One rewrite rule of an interpretation grammar, and what makes it valid (paper, Methods)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from biml.errors import BimlError

ARROW = "->"
CanonicalRule = tuple[str, tuple[str, ...], tuple[int | str, ...]]

_VARIABLE = re.compile(r"[ux][0-9]+")


class GrammarError(BimlError):
    """A rule that cannot be one, or a grammar that does not come to an end."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rewrite rule such as `u1 lug x1 -> [x1] [u1]`.

    `u1 u2 …` on the left match exactly one word, `x1 x2 …` one or more; anything else there is a
    word. On the right `[v]` stands for the interpretation of what `v` matched; anything else is
    an output symbol.

    Attributes:
        lhs: words and variable names.
        rhs: output symbols and bracketed variable names.
        kinds: one character for each item of `lhs`: `u` or `x` for a variable, `.` for a word.
        variables: the variables of `lhs`, in their order.
        words: the words of `lhs`, in their order.
        places: `rhs` with each bracketed variable replaced by its number in `variables`.

    Raises:
        GrammarError: a side is empty, a variable stands twice on the left, or the right names a
            variable that the left lacks.

    >>> rule = Rule(("u1", "lug", "x1"), ("[x1]", "[u1]"))
    >>> print(rule.lhs_pattern, rule.words, rule.variables, rule.rhs_template)
    u.x ('lug',) ('u1', 'x1') (1, 0)
    """

    lhs: tuple[str, ...]
    rhs: tuple[str, ...]
    lhs_pattern: str = field(init=False, repr=False, compare=False)
    variables: tuple[str, ...] = field(init=False, repr=False, compare=False)
    words: tuple[str, ...] = field(init=False, repr=False, compare=False)
    rhs_template: tuple[int | str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.lhs or not self.rhs:
            side = "right" if self.lhs else "left"
            raise GrammarError(f"the {side} side is empty; write both, as in 'dax {ARROW} RED'")
        kinds = "".join(map(_pattern_character, self.lhs))
        items = list(zip(self.lhs, kinds, strict=True))
        variables = tuple([item for item, kind in items if kind != "."])
        if len(set(variables)) < len(variables):
            raise GrammarError(
                f"a variable stands twice on the left of '{self}'; give each its own number"
            )
        numbers = {f"[{variable}]": number for number, variable in enumerate(variables)}
        places = tuple([numbers[i] if i in numbers else self._check_symbol(i) for i in self.rhs])
        object.__setattr__(self, "lhs_pattern", kinds)
        object.__setattr__(self, "variables", variables)
        object.__setattr__(self, "words", tuple([item for item, kind in items if kind == "."]))
        object.__setattr__(self, "rhs_template", places)

    def _check_symbol(self, item: str) -> str:
        """The item itself, if it can be an output symbol of this rule."""
        if _VARIABLE.fullmatch(item):
            raise GrammarError(f"'{item}' on the right of '{self}' is a variable; write '[{item}]'")
        if item == f"[{item[1:-1]}]" and _VARIABLE.fullmatch(item[1:-1]):
            raise GrammarError(
                f"the right side of '{self}' names {item}, which its left side lacks"
            )
        _check_token(item)
        return item

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """The rule written as `LHS -> RHS`, with blanks between items.

        Raises:
            GrammarError: there is not exactly one arrow, or the rule is invalid.
        """
        items = text.split()
        if items.count(ARROW) != 1:
            raise GrammarError(
                f"'{' '.join(items)}' is not a rule; write one '{ARROW}' with blanks around it, "
                f"as in 'dax {ARROW} RED'"
            )
        arrow = items.index(ARROW)
        return cls(tuple(items[:arrow]), tuple(items[arrow + 1 :]))

    def __str__(self) -> str:
        return f"{' '.join(self.lhs)} {ARROW} {' '.join(self.rhs)}"

    @property
    def symbols(self) -> tuple[str, ...]:
        """The output symbols of the right side, in their order, without bracketed variables."""
        return tuple([item for item in self.rhs_template if isinstance(item, str)])

    @property
    def canonical_key(self) -> CanonicalRule:
        """What two rules share exactly if they differ only in the names of variables."""
        return self.lhs_pattern, self.words, self.rhs_template

    def remap(self, words: Mapping[str, str], symbols: Mapping[str, str]) -> "Rule":
        """The rule with other input words and output symbols; those not named stay."""
        lhs = [
            words.get(w, w) if k == "." else w
            for w, k in zip(self.lhs, self.lhs_pattern, strict=True)
        ]
        rhs = [item if item[0] == "[" else symbols.get(item, item) for item in self.rhs]
        return Rule(tuple(lhs), tuple(rhs))


@lru_cache(maxsize=4096)
def _pattern_character(item: str) -> str:
    """`u` or `x` for a variable of the left side, `.` for a word."""
    if _VARIABLE.fullmatch(item):
        return item[0]
    _check_token(item)
    return "."


def _check_token(name: str) -> None:
    if name == ARROW or not name or name.split() != [name] or "[" in name or "]" in name:
        raise GrammarError(
            f"{name!r} can be neither a word nor a symbol; leave blanks between items and use "
            "brackets only around one variable of the right side, as in [u1]"
        )
