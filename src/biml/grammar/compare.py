"""When two grammars are the same: the exclusions between training, validation and gold."""

from collections import Counter
from collections.abc import Sequence

from biml.grammar.grammar import Grammar
from biml.grammar.rules import Rule


def same_grammar(a: Grammar, b: Grammar) -> bool:
    """Whether two grammars differ at most in the order of rules and the names of variables."""
    return a.canonical() == b.canonical()


def same_up_to_renaming(a: Grammar, b: Grammar) -> bool:
    """Whether some one-to-one renaming of input words and of output symbols makes them the same.

    Words and symbols are renamed apart: the `1` that is said and the `1` that is drawn need not
    get the same name. Order of rules and names of variables do not matter either.

    >>> a = Grammar.parse("dax -> RED\\nu1 lug -> [u1] [u1]")
    >>> same_up_to_renaming(a, Grammar.parse("u1 fep -> [u1] [u1]\\nkiki -> PINK"))
    True
    >>> same_up_to_renaming(a, Grammar.parse("u1 fep -> [u1]\\nkiki -> PINK"))
    False
    """
    if len(a.rules) != len(b.rules) and len(a.canonical()) != len(b.canonical()):
        return False
    shapes = {rule: _shape(rule) for rule in a.canonical() | b.canonical()}
    count = Counter(shapes[rule] for rule in a.canonical())
    if count != Counter(shapes[rule] for rule in b.canonical()):
        return False
    # Rules of a rare shape first: they leave the fewest choices to the others.
    rules = sorted(a.canonical(), key=lambda rule: count[shapes[rule]])
    partners = [[r for r in b.canonical() if shapes[r] == shapes[rule]] for rule in rules]
    return _pair_up(rules, partners, {}, {})


def _shape(rule: Rule) -> tuple[tuple[str | int, ...], ...]:
    """A rule with words and symbols numbered in order of mention: what renaming cannot change."""
    words: dict[str, int] = {}
    symbols: dict[str, int] = {}
    lhs = [
        words.setdefault(item, len(words)) if kind == "." else item
        for item, kind in zip(rule.lhs, rule.kinds, strict=True)
    ]
    rhs = [item if item[0] == "[" else symbols.setdefault(item, len(symbols)) for item in rule.rhs]
    return tuple(lhs), tuple(rhs)


def _pair_up(
    rules: Sequence[Rule],
    partners: Sequence[Sequence[Rule]],
    words: dict[str, str],
    symbols: dict[str, str],
) -> bool:
    """Whether the renaming so far can be extended to send every rule to a partner of its own."""
    if not rules:
        return True
    rule = rules[0]
    for partner in partners[0]:
        more_words = _extend(words, rule.words, partner.words)
        more_symbols = _extend(symbols, rule.symbols, partner.symbols)
        if (
            more_words is not None
            and more_symbols is not None
            and _pair_up(rules[1:], partners[1:], more_words, more_symbols)
        ):
            return True
    return False


def _extend(
    renaming: dict[str, str], old: Sequence[str], new: Sequence[str]
) -> dict[str, str] | None:
    """The renaming with `old` sent to `new` as well, or None where it would not be one-to-one."""
    extended = dict(renaming)
    for before, after in zip(old, new, strict=True):
        if extended.setdefault(before, after) != after:
            return None
    return extended if len(set(extended.values())) == len(extended) else None
