"""Interpretation grammars: an ordered list of rewrite rules (paper, Methods)."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from biml.errors import BimlError, FormatError

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


# === Interpretation: what a grammar says that a string of words stands for (paper, Methods).


MAX_WORDS = 300
"""Longest input. The published episodes stop at 8 words, which need fewer than 50 rules."""

MAX_SYMBOLS = 10_000
"""Longest output. A rule that doubles what it matched gets there in 14 applications."""

_POSITION_CODE_BASE = 0xE000
"""Codes from here on mark places of words; Unicode keeps them for private use."""

MatchFunction = Callable[[str], re.Match[str] | None]

RhsTemplates = dict[int, tuple[int | str, ...]]


class Interpreter:
    """A grammar made ready for interpreting strings of codes, one character a word or symbol.

    Attributes:
        codes: the code of each word and symbol of the grammar.
        forms: the left side of each rule in codes, with `U` and `X` for variables.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.codes = CharCodes()
        # Left sides first: then grammars whose left sides look alike share one expression.
        self.lhs_codes = tuple([self._lhs_code(rule) for rule in rules])
        self._match, first_groups, ends = _compile_matcher(self.lhs_codes)
        self._primitives = {r.lhs[0] for r in rules if r.lhs_pattern == "." and len(r.rhs) == 1}
        self._templates: RhsTemplates = {}
        self._rules = dict(zip(ends, rules, strict=True))
        for rule, first_group, end in zip(rules, first_groups, ends, strict=True):
            self._templates[end] = self._template(rule, first_group)

    def memo_table(self, max_symbols: int = MAX_SYMBOLS) -> "InterpretationMemo":
        """An empty table; `results()[string]` interprets a string of codes."""
        return InterpretationMemo(self._match, self._templates, self._rules, max_symbols)

    def interpret(self, words: Sequence[str]) -> tuple[str, ...]:
        """The output symbols that the words stand for.

        Raises:
            GrammarError: the input or the output is too long, or a rule would go on for ever.
        """
        if len(words) > MAX_WORDS:
            raise GrammarError(
                f"an input of {len(words)} words is too long; at most {MAX_WORDS} are interpreted"
            )
        codes = CharCodes(self.codes)  # A copy: unknown words are not to pile up in the grammar.
        string = "".join([codes[word] for word in words])
        output = self.memo_table()[string]
        if len(output) > MAX_SYMBOLS:
            raise GrammarError(f"the output runs over {MAX_SYMBOLS:,} symbols; is that intended?")
        names = {code: name for name, code in codes.items()}
        return tuple([names[code] for code in output])

    def source_positions(self, inputs: Iterable[Sequence[str]]) -> list[tuple[int, ...] | None]:
        """For each input, the numbers of the words that its output symbols stand for.

        Every word that has a symbol of its own is interpreted as a mark that says where it stands.

        Returns:
            for each input one number for each output symbol, or None where a symbol stands for no
            such word.

        Raises:
            GrammarError: as `interpret`.
        """
        results = self.memo_table()
        found = []
        for words in inputs:
            marks = [
                chr(_POSITION_CODE_BASE + place)
                if word in self._primitives
                else self.codes.get(word, "?")
                for place, word in enumerate(words)
            ]
            origins = tuple([ord(code) - _POSITION_CODE_BASE for code in results["".join(marks)]])
            found.append(None if any(place < 0 for place in origins) else origins)
        return found

    def _lhs_code(self, rule: Rule) -> str:
        items = zip(rule.lhs, rule.lhs_pattern.upper(), strict=True)
        return "".join([self.codes[item] if kind == "." else kind for item, kind in items])

    def _template(self, rule: Rule, first_group: int) -> tuple[int | str, ...]:
        """The right side as numbers of groups to interpret and codes of symbols."""
        numbered = [i for i in rule.rhs_template if isinstance(i, int)]
        if numbered and rule.lhs_pattern in ("u", "x"):
            return ()  # It would be applied to the very string that it matched, for ever.
        return tuple(
            [i + first_group if isinstance(i, int) else self.codes[i] for i in rule.rhs_template]
        )


class CharCodes(dict[str, str]):
    """The code of each word and symbol: one character, given when first asked for."""

    def __missing__(self, name: str) -> str:
        # Above the capitals, which leaves U and X free to stand for variables in a form.
        code = self[name] = chr(ord("a") + len(self))
        return code


class InterpretationMemo(dict[str, str]):
    """Strings of codes and what they stand for, worked out when first asked for.

    An output of more than `max_symbols` is cut after one symbol more, by which to know it. That
    bounds the work, since every rule gives at least one symbol; the depth is bounded by the
    length of the input, since what a bracket holds is shorter than what its rule matched (the
    one exception is caught).

    Raises:
        GrammarError: a rule calls itself on the very string that it matched.
    """

    __slots__ = ("_end", "_match", "_rules", "_templates")

    def __init__(
        self,
        match: MatchFunction,
        templates: RhsTemplates,
        rules: dict[int, Rule],
        max_symbols: int,
    ) -> None:
        self._match = match
        self._templates = templates
        self._rules = rules
        self._end = max_symbols + 1

    def __missing__(self, string: str) -> str:
        found = self._match(string)
        if found is None:
            output = string
        else:
            template = self._templates[found.lastindex]  # type: ignore[index]
            if not template:
                rule = self._rules[found.lastindex]  # type: ignore[index]
                raise GrammarError(
                    f"the rule '{rule}' calls itself without end; leave it out, or write a word on "
                    "its left side too"
                )
            output = ""
            for part in template:
                output += part if isinstance(part, str) else self[found[part]]
            output = output[: self._end]
        self[string] = output
        return output


@lru_cache(maxsize=2048)
def _compile_matcher(
    lhs_codes: tuple[str, ...],
) -> tuple[MatchFunction, tuple[int, ...], tuple[int, ...]]:
    """A matcher of all left sides, and for each its first and its closing group.

    The closing group is empty: being the last to match, it tells which rule did. The cache holds
    because the meta-grammar knows 216 sets of left sides, and compiling one takes longer than
    drawing an episode.
    """
    alternatives, first_groups, ends = [], [], []
    group = 1
    for form in lhs_codes:
        first_groups.append(group)
        pattern = "".join([_VARIABLE_GROUPS.get(c) or re.escape(c) for c in form])
        group += form.count("U") + form.count("X")
        ends.append(group)
        group += 1
        alternatives.append(f"{pattern}()")
    expression = re.compile("|".join(alternatives), re.DOTALL)
    return expression.fullmatch, tuple(first_groups), tuple(ends)


_VARIABLE_GROUPS = {"U": "(.)", "X": "(.+)"}


# === Interpretation grammars: an ordered list of rewrite rules (paper, Methods).


@dataclass(frozen=True)
class Grammar:
    """Rewrite rules in the order in which they are tried.

    >>> grammar = Grammar.parse('''
    ... dax -> RED
    ... u1 lug x1 -> [x1] [u1]
    ... u1 x1 -> [u1] [x1]
    ... ''')
    >>> grammar.interpret("dax lug wif dax".split())
    ('wif', 'RED', 'RED')
    >>> [str(rule) for rule in grammar.functions]
    ['u1 lug x1 -> [x1] [u1]']
    """

    rules: tuple[Rule, ...]

    @classmethod
    def parse(cls, text: str, *, source: str = "<text>", first_line: int = 1) -> "Grammar":
        """Read rules written one a line; blank lines and surrounding blanks do not matter.

        Args:
            text: the rules, such as `str(grammar)` gives.
            source: what to call the text in messages.
            first_line: the line of `source` on which `text` starts.

        Raises:
            FormatError: a line is not a valid rule, or there is none.
        """
        rules = []
        for number, line in enumerate(text.splitlines(), first_line):
            if line.strip():
                try:
                    rules.append(Rule.parse(line))
                except GrammarError as error:
                    raise FormatError(str(error), source=source, line=number) from None
        if not rules:
            raise FormatError(
                "there is no rule; write one a line, such as 'dax -> RED'", source=source
            )
        return cls(tuple(rules))

    def __str__(self) -> str:
        return "\n".join(map(str, self.rules))

    def interpret(self, words: Sequence[str]) -> tuple[str, ...]:
        """The output symbols of an input (paper, Methods: the first rule that matches it whole).

        Args:
            words: the input words; words that no rule names are allowed and stand for themselves.

        Raises:
            GrammarError: the grammar does not come to an end, or the input is too long.
        """
        return self.interpreter.interpret(words)

    @cached_property
    def interpreter(self) -> Interpreter:
        """The grammar made ready for interpreting many strings; made when first needed."""
        return Interpreter(self.rules)

    def __reduce__(self) -> tuple[type["Grammar"], tuple[tuple[Rule, ...]]]:
        # Another process gets the rules and not the interpreter, which it can make itself.
        return Grammar, (self.rules,)

    @property
    def primitives(self) -> tuple[Rule, ...]:
        """The rules of one word, such as `dax -> RED`."""
        return tuple([rule for rule in self.rules if rule.lhs_pattern == "."])

    @property
    def functions(self) -> tuple[Rule, ...]:
        """The rules of words and variables, such as `u1 lug -> [u1] [u1]`."""
        return tuple([r for r in self.rules if "." in r.lhs_pattern and r.lhs_pattern.strip(".")])

    @property
    def words(self) -> tuple[str, ...]:
        """The input words that its rules name, in order of mention."""
        return tuple(dict.fromkeys(word for rule in self.rules for word in rule.words))

    @property
    def symbols(self) -> tuple[str, ...]:
        """The output symbols that its rules name, in order of mention."""
        return tuple(dict.fromkeys(symbol for rule in self.rules for symbol in rule.symbols))

    def remap(self, words: Mapping[str, str], symbols: Mapping[str, str]) -> "Grammar":
        """The grammar with other input words and output symbols; those not named stay."""
        return Grammar(tuple([rule.remap(words, symbols) for rule in self.rules]))

    def canonical(self) -> frozenset[CanonicalRule]:
        """A key that two grammars share exactly if they differ only in the order of their rules
        and in the names of variables (`u` and `x` remain different).

        >>> a = Grammar.parse("dax -> RED\\nx2 lug u2 -> [u2] [x2]")
        >>> b = Grammar.parse("x1 lug u1 -> [u1] [x1]\\ndax -> RED")
        >>> a.canonical() == b.canonical()
        True
        """
        return frozenset([rule.canonical_key for rule in self.rules])
