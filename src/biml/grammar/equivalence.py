"""Equality of grammars up to rule order and renaming, to exclude those of evaluation."""

from collections import Counter
from collections.abc import Mapping, Sequence

from biml.grammar.grammar import CanonicalRule, Grammar


def equivalent(a: Grammar, b: Grammar) -> bool:
    """Whether two grammars differ at most in the order of rules and the names of variables."""
    return a.canonical() == b.canonical()


def isomorphic(a: Grammar, b: Grammar) -> bool:
    """Whether one-to-one renamings of words and of symbols make two grammars equivalent.

    Words and symbols have separate renamings: the word `1` and the symbol `1` are unrelated.

    >>> a = Grammar.parse("dax -> RED\\nu1 lug -> [u1] [u1]")
    >>> isomorphic(a, Grammar.parse("u1 fep -> [u1] [u1]\\nkiki -> PINK"))
    True
    >>> isomorphic(a, Grammar.parse("u1 fep -> [u1]\\nkiki -> PINK"))
    False
    """
    keys_a, keys_b = a.canonical(), b.canonical()
    # Nearly every comparison ends here, at the patterns of the left-hand sides.
    if sorted([key[0] for key in keys_a]) != sorted([key[0] for key in keys_b]):
        return False
    shapes = {key: _rule_shape(key) for key in keys_a | keys_b}
    if Counter(shapes[key] for key in keys_a) != Counter(shapes[key] for key in keys_b):
        return False
    candidates = {rule: [key for key in keys_b if shapes[key] == shapes[rule]] for rule in keys_a}
    return _match_rules(candidates, {}, {})


def _rule_shape(rule: CanonicalRule) -> tuple[object, ...]:
    """A rule with words and symbols numbered in order of mention, invariant under renaming."""
    pattern, words, template = rule
    word_ids = {word: i for i, word in enumerate(dict.fromkeys(words))}
    symbol_ids = {symbol: i for i, symbol in enumerate(dict.fromkeys(_rule_symbols(rule)))}
    rhs = [("symbol", symbol_ids[x]) if isinstance(x, str) else ("variable", x) for x in template]
    return pattern, tuple([word_ids[word] for word in words]), tuple(rhs)


def _match_rules(
    candidates: Mapping[CanonicalRule, Sequence[CanonicalRule]],
    word_map: dict[str, str],
    symbol_map: dict[str, str],
) -> bool:
    """Whether the renamings so far extend to ones that map every rule to one of its candidates."""
    if not candidates:
        return True
    consistent = {
        rule: [
            other
            for other in others
            if _stays_bijective(word_map, rule[1], other[1])
            and _stays_bijective(symbol_map, _rule_symbols(rule), _rule_symbols(other))
        ]
        for rule, others in candidates.items()
    }
    # The rule with the fewest choices first, so that a wrong choice shows early.
    rule = min(consistent, key=lambda rule: len(consistent[rule]))
    rest = {key: others for key, others in consistent.items() if key != rule}
    return any(
        _match_rules(
            rest,
            word_map | dict(zip(rule[1], other[1], strict=True)),
            symbol_map | dict(zip(_rule_symbols(rule), _rule_symbols(other), strict=True)),
        )
        for other in consistent[rule]
    )


def _stays_bijective(mapping: dict[str, str], old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether a one-to-one mapping stays so when it maps `old` to `new` as well."""
    taken = mapping.values()
    return all(
        mapping[a] == b if a in mapping else b not in taken for a, b in zip(old, new, strict=True)
    )


def _rule_symbols(rule: CanonicalRule) -> list[str]:
    return [item for item in rule[2] if isinstance(item, str)]
