"""The meta-grammar that generates grammars (paper, Methods), held-out rules, the gold grammar.

Held-out rules test whether a model learns a rule unlike any in training. The supplement has 26
rules with 8 symbols on the right-hand side, the longest that the meta-grammar generates, but does
not list them. `HELD_OUT_PATTERNS` are 26 of the 255 possible argument patterns, sampled once by
`generator(0, "novel rules").sample`. A pattern gives the argument at each position, whatever its
kind of variable: `12212122` is `u1 lug x1 -> [u1] [x1] [x1] [u1] [x1] [u1] [x1] [x1]` as well as
the same of `x1 lug x2`.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from random import Random

from biml.arguments import MAX_INTEGER, check_probability, check_type
from biml.errors import UsageError
from biml.grammar.grammar import MAX_SYMBOLS, MAX_WORDS, Grammar, GrammarError, Rule

WORDS = ("dax", "lug", "wif", "zup", "fep", "blicket", "kiki", "tufa", "gazzer")
COLOURS = ("RED", "YELLOW", "GREEN", "BLUE", "PURPLE", "PINK")
"""Words and output symbols of the published episodes; symbols appear as coloured circles."""

CONCATENATION = Rule(("u1", "x1"), ("[u1]", "[x1]"))
"""The last rule of every grammar: iconic concatenation."""


@dataclass(frozen=True)
class MetaGrammar:
    """The distribution of grammars and sizes of their episodes, by default the published ones."""

    words: tuple[str, ...] = WORDS
    symbols: tuple[str, ...] = COLOURS
    n_primitives: int = 4
    n_functions: int = 3
    p_one_argument: float = 0.5  #: that a function has one argument, else two
    p_stop: float = 0.6  #: to stop lengthening a right-hand side of two symbols or more
    max_rhs: int = 8  #: of a function
    max_input: int = 8  #: words
    max_output: int = 8  #: symbols
    n_study: int = 14
    n_query: int = 10

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if type(value) is not type(each.default):  # the quick check of the usual
                check_type(each.name, value, each.type)
        for name, low in MIN_VALUES.items():
            value, high = getattr(self, name), MAX_VALUES.get(name, MAX_INTEGER)
            if not low <= value <= high:
                limit = f"at least {low}" if value < low else f"at most {high:,}"
                raise UsageError(f"{name} is {value}; it must be {limit}")
        for name in ("p_one_argument", "p_stop"):
            check_probability(name, getattr(self, name))
        n_words = self.n_primitives + self.n_functions
        for name, needed in (("words", n_words), ("symbols", self.n_primitives)):
            given = getattr(self, name)
            if len(set(given)) < max(needed, len(given)):
                raise UsageError(
                    f"{name} are {' '.join(given)}: {needed} different ones are needed, none twice"
                )
        try:
            if any(Rule((word,), self.symbols).variables for word in self.words):
                raise UsageError("a word looks like a variable, u or x and a number; rename it")
        except GrammarError as error:
            raise UsageError(f"words and symbols: {error}") from None

    def sample_grammar(self, rng: Random) -> Grammar:
        """Sample primitives, then functions, then add the concatenation rule.

        >>> print(MetaGrammar().sample_grammar(Random(3)).rules[-1])
        u1 x1 -> [u1] [x1]
        """
        if not isinstance(rng, Random):
            check_type("rng", rng, Random)
        words = rng.sample(self.words, self.n_primitives + self.n_functions)
        symbols = rng.sample(self.symbols, self.n_primitives)
        primitives = [_cached_rule((w,), (s,)) for w, s in zip(words, symbols, strict=False)]
        functions = [self._sample_function(w, rng) for w in words[self.n_primitives :]]
        return Grammar((*primitives, *functions, CONCATENATION))

    def _sample_function(self, word: str, rng: Random) -> Rule:
        random = rng.random
        variables: tuple[str, ...]
        if random() < self.p_one_argument:
            variables = ("u1",) if random() < 0.5 else ("x1",)
        else:
            # Fair coins interleave u1 u2 and x1 x2.
            variables = _VARIABLE_PAIRS[int(random() * 4)]
        lhs = (variables[0], word, *variables[1:])
        rhs = [f"[{v}]" for v in variables]
        while len(rhs) < self.max_rhs and not (len(rhs) >= 2 and random() < self.p_stop):
            rhs.append(rhs[int(random() * len(variables))])
        rng.shuffle(rhs)
        return _cached_rule(lhs, tuple(rhs))


_cached_rule = lru_cache(maxsize=4096)(Rule)
"""Most rules recur; sharing them saves their construction."""

_VARIABLE_PAIRS = (("u1", "u2"), ("u1", "x1"), ("x1", "u1"), ("x1", "x2"))

MIN_VALUES = {"n_functions": 0, "n_study": 0, "max_rhs": 2} | dict.fromkeys(
    ("n_primitives", "max_input", "max_output", "n_query"), 1
)
"""Lower bounds of these fields."""

MAX_VALUES = {"max_rhs": 1000, "max_input": MAX_WORDS, "max_output": MAX_SYMBOLS} | dict.fromkeys(
    ("n_study", "n_query"), 5000
)
"""Upper bounds, far beyond what grammars have different inputs for."""

HELD_OUT_PATTERNS = (
    *("11111222", "11112122", "11112221", "11221112", "11222122", "12111112", "12111211"),
    *("12111212", "12122112", "12212122", "12212211", "12212212", "12221211", "12222211"),
    *("21112122", "21122112", "21211211", "21221121", "21221212", "22111121", "22112221"),
    *("22122111", "22122112", "22212121", "22212221", "22221112"),
)
"""Argument at each position of the right-hand side: 1 the first, 2 the second."""

# With swapped arguments too, because biased targets swap the arguments of rules.
_HELD_OUT_TEMPLATES = frozenset(
    tuple([int(digit) - 1 for digit in digits])
    for pattern in HELD_OUT_PATTERNS
    for digits in (pattern, pattern.translate(str.maketrans("12", "21")))
)


def has_held_out_rule(grammar: Grammar) -> bool:
    """Whether a rule is held out from training, as it is or with swapped arguments.

    >>> has_held_out_rule(Grammar.parse("x1 fep u1 -> [x1] [u1] [u1] [x1] [u1] [x1] [u1] [u1]"))
    True
    >>> has_held_out_rule(Grammar.parse("x1 fep u1 -> [x1] [u1] [u1] [x1] [u1] [x1] [u1]"))
    False
    """
    return any(rule.rhs_template in _HELD_OUT_TEMPLATES for rule in grammar.rules)


def with_rhs_pattern(rule: Rule, pattern: str) -> Rule:
    """Replace the right-hand side of a rule by an argument pattern.

    >>> print(with_rhs_pattern(Rule.parse("u1 lug x1 -> [x1] [u1]"), "112"))
    u1 lug x1 -> [u1] [u1] [x1]
    """
    return Rule(rule.lhs, tuple([f"[{rule.variables[int(digit) - 1]}]" for digit in pattern]))


GOLD = Grammar.parse(
    """
    1 -> 1
    2 -> 2
    3 -> 3
    DAX -> DAX
    u1 thrice -> [u1] [u1] [u1]
    u1 surround u2 -> [u1] [u2] [u1]
    x1 after x2 -> [x2] [x1]
    u1 x1 -> [u1] [x1]
    """,
    source="gold grammar",
)

GOLD_STUDY = (
    *("1", "2", "3", "DAX", "2 after 3", "1 after 2", "2 thrice", "2 surround 3", "1 thrice"),
    *("3 surround 1", "2 thrice after 3", "3 after 1 surround 2", "2 after 3 thrice"),
    "3 surround 1 after 2",
)

GOLD_SIMPLE = ("3 after DAX", "DAX after 1", "DAX thrice", "1 surround DAX", "DAX surround 2")
"""Queries with one function."""

GOLD_COMPLEX = (
    *("2 after 3 surround DAX", "DAX thrice after 2", "3 after DAX thrice"),
    *("DAX surround DAX after DAX thrice", "DAX surround 3 after 1 thrice"),
)
"""Queries with several functions; the outputs of the last two have six symbols."""

GOLD_QUERIES = GOLD_SIMPLE + GOLD_COMPLEX
