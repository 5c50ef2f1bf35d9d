"""When two grammars are the same: the exclusions between training, validation and gold."""

from collections import Counter
from collections.abc import Mapping, Sequence

from biml.grammar.grammar import CanonicalRule, Grammar


def equivalent(a: Grammar, b: Grammar) -> bool:
    """Whether two grammars differ at most in the order of rules and the names of variables."""
    return a.canonical() == b.canonical()


def isomorphic(a: Grammar, b: Grammar) -> bool:
    """Whether some one-to-one renaming of input words and of output symbols makes them the same.

    Words and symbols are renamed apart: the `1` that is said and the `1` that is drawn need not
    get the same name. Order of rules and names of variables do not matter either.

    >>> a = Grammar.parse("dax -> RED\\nu1 lug -> [u1] [u1]")
    >>> isomorphic(a, Grammar.parse("u1 fep -> [u1] [u1]\\nkiki -> PINK"))
    True
    >>> isomorphic(a, Grammar.parse("u1 fep -> [u1]\\nkiki -> PINK"))
    False
    """
    keys_a, keys_b = a.canonical(), b.canonical()
    # Nearly every comparison ends here, at the kinds of the left sides.
    if sorted([key[0] for key in keys_a]) != sorted([key[0] for key in keys_b]):
        return False
    shapes = {key: _rule_shape(key) for key in keys_a | keys_b}
    count = Counter(shapes[key] for key in keys_a)
    if count != Counter(shapes[key] for key in keys_b):
        return False
    partners = {rule: [key for key in keys_b if shapes[key] == shapes[rule]] for rule in keys_a}
    return _match_rules(partners, {}, {})


def _rule_shape(rule: CanonicalRule) -> tuple[tuple[object, ...], ...]:
    """A rule with words and symbols numbered in order of mention: what renaming cannot change."""
    kinds, words, places = rule
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


def _match_rules(
    candidates: Mapping[CanonicalRule, Sequence[CanonicalRule]],
    word_map: dict[str, str],
    symbol_map: dict[str, str],
) -> bool:
    """Whether the renaming so far can be extended to send every rule to one of its partners."""
    if not candidates:
        return True
    left = {
        rule: [
            other
            for other in others
            if _consistent_bijection(word_map, rule[1], other[1])
            and _consistent_bijection(symbol_map, _rule_symbols(rule), _rule_symbols(other))
        ]
        for rule, others in candidates.items()
    }
    # The rule with the fewest choices first, which makes a wrong choice show early.
    rule = min(left, key=lambda rule: len(left[rule]))
    rest = {key: others for key, others in left.items() if key != rule}
    return any(
        _match_rules(
            rest,
            word_map | dict(zip(rule[1], other[1], strict=True)),
            symbol_map | dict(zip(_rule_symbols(rule), _rule_symbols(other), strict=True)),
        )
        for other in left[rule]
    )


def _consistent_bijection(
    bijection: dict[str, str], old: Sequence[str], new: Sequence[str]
) -> bool:
    """Whether the renaming stays one-to-one when `old` is sent to `new` as well."""
    taken = bijection.values()
    return all(
        bijection[a] == b if a in bijection else b not in taken
        for a, b in zip(old, new, strict=True)
    )


def _rule_symbols(rule: CanonicalRule) -> list[str]:
    return [item for item in rule[2] if isinstance(item, str)]
