"""Rules that no training grammar has, to ask whether a rule is learned that is wholly new.

The supplement tells of 26 rules with a right side of 8 symbols, the longest that the meta-grammar
draws. Which they were is not published. These are 26 of the 255 patterns that such a right side can
have, drawn once by `generator(0, "novel rules").sample`. A pattern says which argument stands
where, and not what kind of variable holds it: `12212122` is
`u1 lug x1 -> [u1] [x1] [x1] [u1] [x1] [u1] [x1] [x1]` as well as the same of `x1 lug x2`.
"""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

from biml.errors import UsageError
from biml.grammar.grammar import Grammar, GrammarError, Rule

WORDS = ("dax", "lug", "wif", "zup", "fep", "blicket", "kiki", "tufa", "gazzer")
"""The nine input words of the published episodes."""

COLOURS = ("RED", "YELLOW", "GREEN", "BLUE", "PURPLE", "PINK")
"""The six output symbols of the published episodes, drawn as coloured circles."""

CONCATENATION = Rule(("u1", "x1"), ("[u1]", "[x1]"))
"""The last rule of every grammar: iconic concatenation."""


@dataclass(frozen=True)
class MetaGrammar:
    """How grammars and their episodes are drawn; the defaults are the published ones.

    Attributes:
        words: input words to choose from.
        symbols: output symbols to choose from.
        n_primitives: rules of one word and one symbol.
        n_functions: rules of one further word and one or two arguments.
        p_one_argument: probability that a function has one argument.
        p_stop: probability to stop lengthening a right side that has two symbols or more.
        max_rhs: longest right side of a function.
        max_input: longest input in words.
        max_output: longest output in symbols.
        n_study: study examples of an episode.
        n_query: query examples of an episode.

    Raises:
        UsageError: the numbers cannot be had together.
    """

    words: tuple[str, ...] = WORDS
    symbols: tuple[str, ...] = COLOURS
    n_primitives: int = 4
    n_functions: int = 3
    p_one_argument: float = 0.5
    p_stop: float = 0.6
    max_rhs: int = 8
    max_input: int = 8
    max_output: int = 8
    n_study: int = 14
    n_query: int = 10

    def __post_init__(self) -> None:
        for name, low in MIN_VALUES.items():
            if getattr(self, name) < low:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        for name in ("p_one_argument", "p_stop"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
        for name, needed in (
            ("words", self.n_primitives + self.n_functions),
            ("symbols", self.n_primitives),
        ):
            had = getattr(self, name)
            if len(set(had)) < max(needed, len(had)):
                raise UsageError(
                    f"{name} are {' '.join(had)}: {needed} different ones are needed, none twice"
                )
        try:
            if any(Rule((word,), self.symbols).variables for word in self.words):
                raise UsageError("a word looks like a variable, u or x and a number; rename it")
        except GrammarError as error:
            raise UsageError(f"words and symbols: {error}") from None

    def sample_grammar(self, rng: Random) -> Grammar:
        """Draw primitives, then functions, then the concatenation rule.

        >>> print(MetaGrammar().sample_grammar(Random(3)).rules[-1])
        u1 x1 -> [u1] [x1]
        """
        words = rng.sample(self.words, self.n_primitives + self.n_functions)
        symbols = rng.sample(self.symbols, self.n_primitives)
        primitives = [_cached_rule((w,), (s,)) for w, s in zip(words, symbols, strict=False)]
        functions = [self._sample_function(w, rng) for w in words[self.n_primitives :]]
        return Grammar((*primitives, *functions, CONCATENATION))

    def _sample_function(self, word: str, rng: Random) -> Rule:
        random = rng.random
        variables: tuple[str, ...]
        lhs: tuple[str, ...]
        if random() < self.p_one_argument:
            variables = ("u1",) if random() < 0.5 else ("x1",)
            lhs = (*variables, word)
        else:
            # u1 u2 and x1 x2 interleaved by fair coins.
            variables = first, second = _VARIABLE_PAIRS[int(random() * 4)]
            lhs = (first, word, second)
        rhs = [f"[{v}]" for v in variables]
        while len(rhs) < self.max_rhs and not (len(rhs) >= 2 and random() < self.p_stop):
            rhs.append(rhs[int(random() * len(variables))])
        rng.shuffle(rhs)
        return _cached_rule(lhs, tuple(rhs))


_cached_rule = lru_cache(maxsize=4096)(Rule)
"""Most rules are drawn again and again; one object for all of them saves making each."""

_VARIABLE_PAIRS = (("u1", "u2"), ("u1", "x1"), ("x1", "u1"), ("x1", "x2"))

MIN_VALUES = {
    "n_primitives": 1,
    "n_functions": 0,
    "max_rhs": 2,
    "max_input": 1,
    "max_output": 1,
    "n_study": 0,
    "n_query": 1,
}
"""The least that these fields can be."""


# === Rules that no training grammar has, to ask whether a rule is learned that is wholly new.


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
