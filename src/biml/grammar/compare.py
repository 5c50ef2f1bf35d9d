"""When two grammars are the same: the exclusions between training, validation and gold."""

from collections import Counter
from collections.abc import Sequence

from biml.grammar.grammar import Grammar
from biml.grammar.rules import RuleKey


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
    keys_a, keys_b = a.canonical(), b.canonical()
    # Nearly every comparison ends here, at the kinds of the left sides.
    if sorted([key[0] for key in keys_a]) != sorted([key[0] for key in keys_b]):
        return False
    shapes = {key: _shape(key) for key in keys_a | keys_b}
    count = Counter(shapes[key] for key in keys_a)
    if count != Counter(shapes[key] for key in keys_b):
        return False
    # Rules of a rare shape first: they leave the fewest choices to the others.
    rules = sorted(keys_a, key=lambda key: count[shapes[key]])
    partners = [[key for key in keys_b if shapes[key] == shapes[rule]] for rule in rules]
    return _pair_up(rules, partners, {}, {})


def _shape(key: RuleKey) -> tuple[tuple[object, ...], ...]:
    """A rule with words and symbols numbered in order of mention: what renaming cannot change."""
    kinds, words, places = key
    word_numbers: dict[str, int] = {}
    symbol_numbers: dict[str, int] = {}
    return (
        tuple(kinds),
        tuple([word_numbers.setdefault(word, len(word_numbers)) for word in words]),
        tuple(
            [
                ("symbol", symbol_numbers.setdefault(item, len(symbol_numbers)))
                if isinstance(item, str)
                else ("variable", item)
                for item in places
            ]
        ),
    )


def _pair_up(
    rules: Sequence[RuleKey],
    partners: Sequence[Sequence[RuleKey]],
    words: dict[str, str],
    symbols: dict[str, str],
) -> bool:
    """Whether the renaming so far can be extended to send every rule to a partner of its own."""
    if not rules:
        return True
    for partner in partners[0]:
        more_words = _extend(words, rules[0][1], partner[1])
        more_symbols = _extend(symbols, _symbols(rules[0]), _symbols(partner))
        if (
            more_words is not None
            and more_symbols is not None
            and _pair_up(rules[1:], partners[1:], more_words, more_symbols)
        ):
            return True
    return False


def _symbols(key: RuleKey) -> list[str]:
    return [item for item in key[2] if isinstance(item, str)]


def _extend(
    renaming: dict[str, str], old: Sequence[str], new: Sequence[str]
) -> dict[str, str] | None:
    """The renaming with `old` sent to `new` as well, or None where it would not be one-to-one."""
    extended = dict(renaming)
    for before, after in zip(old, new, strict=True):
        if extended.setdefault(before, after) != after:
            return None
    return extended if len(set(extended.values())) == len(extended) else None
