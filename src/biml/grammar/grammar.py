"""Interpretation grammars: ordered rewrite rules from words to output symbols (paper, Methods).

The interpreter encodes words and symbols as single characters. One regular expression of all
left-hand sides finds the first rule that matches a string, and a memo table keeps its output.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property, lru_cache
from math import comb

from biml.arguments import check_type
from biml.errors import BimlError, FormatError

ARROW = "->"

MAX_WORDS = 300
"""Longest input. The published episodes have at most 8 words, and need fewer than 50 rules."""

MAX_SPLITS = 5_000_000
"""Ways to divide an input among the `x` variables of one rule, all of which may be tried."""

MAX_SYMBOLS = 10_000
"""Longest output. A rule that doubles its argument gets there in 14 applications."""

CanonicalRule = tuple[str, tuple[str, ...], tuple[int | str, ...]]
"""Pattern of the left-hand side, its words, and the template of the right-hand side."""

_VARIABLE = re.compile(r"[ux][0-9]+")


class GrammarError(BimlError):
    """An invalid rule, or a grammar whose interpretation does not end."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rewrite rule such as `u1 lug x1 -> [x1] [u1]`.

    On the left `u1 u2 …` match exactly one word and `x1 x2 …` one or more; any other item is a
    word. On the right `[v]` is the interpretation of what `v` matched; any other item is an
    output symbol. `lhs_pattern` has for each item of `lhs` its kind of variable, or `.` for a word;
    `rhs_template` is `rhs` with each bracketed variable replaced by its index in `variables`.

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
        try:
            if not (isinstance(self.lhs, tuple) and isinstance(self.rhs, tuple)):
                raise TypeError
            self._derive()
        except TypeError:
            check_type("lhs", self.lhs, tuple[str, ...])
            check_type("rhs", self.rhs, tuple[str, ...])
            raise

    def _derive(self) -> None:
        if not self.lhs or not self.rhs:
            side = "right" if self.lhs else "left"
            raise GrammarError(f"the {side} side is empty; write both, as in 'dax {ARROW} RED'")
        pattern = "".join(map(_pattern_character, self.lhs))
        items = list(zip(self.lhs, pattern, strict=True))
        variables = tuple([item for item, kind in items if kind != "."])
        if len(set(variables)) < len(variables):
            raise GrammarError(
                f"a variable occurs twice on the left of '{self}'; give each its own number"
            )
        indices = {f"[{variable}]": index for index, variable in enumerate(variables)}
        template = tuple([indices[i] if i in indices else self._check_symbol(i) for i in self.rhs])
        object.__setattr__(self, "lhs_pattern", pattern)
        object.__setattr__(self, "variables", variables)
        object.__setattr__(self, "words", tuple([item for item, kind in items if kind == "."]))
        object.__setattr__(self, "rhs_template", template)

    def _check_symbol(self, item: str) -> str:
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
        """Read a rule written as `LHS -> RHS`, with blanks between items."""
        if not isinstance(text, str):
            check_type("text", text, str)
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
        """The output symbols of the right-hand side."""
        return tuple([item for item in self.rhs_template if isinstance(item, str)])

    def remap(self, words: Mapping[str, str], symbols: Mapping[str, str]) -> "Rule":
        """Rename words and output symbols; unmentioned ones stay."""
        items = zip(self.lhs, self.lhs_pattern, strict=True)
        lhs = [words.get(item, item) if kind == "." else item for item, kind in items]
        rhs = [item if item[0] == "[" else symbols.get(item, item) for item in self.rhs]
        return Rule(tuple(lhs), tuple(rhs))


@lru_cache(maxsize=4096)
def _pattern_character(item: str) -> str:
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
        """Read rules written one a line, as `str(grammar)` writes them.

        A FormatError names the `source` and the line, counted from `first_line`.
        """
        if not isinstance(text, str):  # a check of all arguments takes as long as reading them
            check_type("text", text, str)
        check_type("first_line", first_line, int)
        rules = []
        for number, line in enumerate(text.splitlines(), first_line):
            if line.strip():
                try:
                    rules.append(Rule.parse(line))
                except GrammarError as error:
                    raise FormatError(str(error), source=source, line=number) from None
        if not rules:
            problem = "there is no rule; write one a line, such as 'dax -> RED'"
            raise FormatError(problem, source=source)
        return cls(tuple(rules))

    def __str__(self) -> str:
        return "\n".join(map(str, self.rules))

    def interpret(self, words: str | Sequence[str], *, strict: bool = False) -> tuple[str, ...]:
        """Return the output symbols of an input; a word without a rule stands for itself.

        Args:
            words: or a string of words with blanks between.
            strict: raise a GrammarError that names the words to which no rule applies instead.
        """
        words = words.split() if isinstance(words, str) else words
        try:
            "".join(words)  # checking their type otherwise takes as long as interpreting them
            output = self.interpreter.interpret(words)
        except TypeError:
            check_type("words", words, str | Sequence[str])
            raise
        if strict:
            unknown = [word for word in words if word not in self.words]
            unknown += [symbol for symbol in output if symbol not in self.symbols]
            if unknown:
                names = ", ".join(map(repr, dict.fromkeys(unknown)))
                close = get_close_matches(unknown[0], self.words, 3)
                hint = f"; did you mean {' or '.join(close)}?" if close else ""
                raise GrammarError(f"no rule applies to {names} in {' '.join(words)!r}{hint}")
        return output

    @cached_property
    def interpreter(self) -> "Interpreter":
        """The compiled grammar."""
        return Interpreter(self.rules)

    def __reduce__(self) -> tuple[type["Grammar"], tuple[tuple[Rule, ...]]]:
        # Without the interpreter, which another process can compile itself.
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
        """The words of its rules, in order of mention."""
        return tuple(dict.fromkeys(word for rule in self.rules for word in rule.words))

    @property
    def symbols(self) -> tuple[str, ...]:
        """The output symbols of its rules, in order of mention."""
        return tuple(dict.fromkeys(symbol for rule in self.rules for symbol in rule.symbols))

    def remap(self, words: Mapping[str, str], symbols: Mapping[str, str]) -> "Grammar":
        """Rename words and output symbols; unmentioned ones stay."""
        check_type("words", words, Mapping[str, str])
        check_type("symbols", symbols, Mapping[str, str])
        return Grammar(tuple([rule.remap(words, symbols) for rule in self.rules]))

    def canonical(self) -> frozenset[CanonicalRule]:
        """Return a key that ignores the order of rules and the numbers of variables.

        >>> a = Grammar.parse("dax -> RED\\nx2 lug u2 -> [u2] [x2]")
        >>> b = Grammar.parse("x1 lug u1 -> [u1] [x1]\\ndax -> RED")
        >>> a.canonical() == b.canonical()
        True
        """
        return frozenset([(r.lhs_pattern, r.words, r.rhs_template) for r in self.rules])


MatchFunction = Callable[[str], re.Match[str] | None]
RhsTemplates = dict[int, tuple[int | str, ...]]


class Interpreter:
    """A compiled grammar, which interprets strings of one character a word.

    `codes` has these characters; `lhs_codes` are left-hand sides with `U` and `X` for variables.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.codes = CharCodes()
        # Left-hand sides first, so that grammars with similar ones share a regular expression.
        self.lhs_codes = tuple([self._lhs_code(rule) for rule in rules])
        self._match, first_groups, end_groups = _compile_matcher(self.lhs_codes)
        self._primitives = {r.lhs[0] for r in rules if r.lhs_pattern == "." and len(r.rhs) == 1}
        self._rules = dict(zip(end_groups, rules, strict=True))
        templates = map(self._template, rules, first_groups)
        self._templates: RhsTemplates = dict(zip(end_groups, templates, strict=True))

    def memo_table(self, max_symbols: int = MAX_SYMBOLS) -> "InterpretationMemo":
        """Return an empty table, which interprets a string of codes by `table[string]`."""
        return InterpretationMemo(self._match, self._templates, self._rules, max_symbols)

    def interpret(self, words: Sequence[str]) -> tuple[str, ...]:
        if len(words) > MAX_WORDS:
            raise GrammarError(
                f"an input of {len(words)} words is too long; at most {MAX_WORDS} are interpreted"
            )
        most = max(code.count("X") for code in self.lhs_codes)
        if comb(len(words), most) > MAX_SPLITS:
            raise GrammarError(
                f"an input of {len(words)} words is too long for a rule with {most} variables x; "
                "shorten it, or use variables u where one word is meant"
            )
        codes = CharCodes(self.codes)  # a copy, so that unknown words do not accumulate
        string = "".join([codes[word] for word in words])
        output = self.memo_table()[string]
        if len(output) > MAX_SYMBOLS:
            raise GrammarError(f"the output runs over {MAX_SYMBOLS:,} symbols; is that intended?")
        names = {code: name for name, code in codes.items()}
        return tuple([names[code] for code in output])

    def source_positions(self, inputs: Iterable[Sequence[str]]) -> list[tuple[int, ...] | None]:
        """Return for each input the positions of the words that its output symbols stand for.

        None where a symbol stands for no single primitive word. Works by interpreting primitive
        words as codes of their positions.
        """
        table = self.memo_table()
        base = 0xE000  # Unicode reserves it for private use
        positions = []
        for words in inputs:
            codes = [
                chr(base + i) if word in self._primitives else self.codes.get(word, "?")
                for i, word in enumerate(words)
            ]
            sources = tuple([ord(code) - base for code in table["".join(codes)]])
            positions.append(None if any(source < 0 for source in sources) else sources)
        return positions

    def _lhs_code(self, rule: Rule) -> str:
        items = zip(rule.lhs, rule.lhs_pattern.upper(), strict=True)
        return "".join([self.codes[item] if kind == "." else kind for item, kind in items])

    def _template(self, rule: Rule, first_group: int) -> tuple[int | str, ...]:
        """The right-hand side as groups to interpret and codes of symbols."""
        arguments = [i for i in rule.rhs_template if isinstance(i, int)]
        if arguments and rule.lhs_pattern in ("u", "x"):
            return ()  # Its argument is the very string that it matched: endless.
        items = rule.rhs_template
        return tuple([i + first_group if isinstance(i, int) else self.codes[i] for i in items])


class CharCodes(dict[str, str]):
    """A character for each word and symbol, assigned on first access."""

    def __missing__(self, name: str) -> str:
        # After the capitals, so that U and X are free to stand for variables.
        code = self[name] = chr(ord("a") + len(self))
        return code


class InterpretationMemo(dict[str, str]):
    """Outputs of strings of codes, computed on first access.

    An output is cut after `max_symbols + 1` symbols, which bounds the work, since every rule gives
    at least one symbol. Input length bounds the depth, since a bracket holds less than its rule
    matched (the one exception raises a GrammarError).
    """

    __slots__ = ("_end", "_match", "_rules", "_templates")

    def __init__(
        self,
        match: MatchFunction,
        templates: RhsTemplates,
        rules: dict[int, Rule],
        max_symbols: int,
    ) -> None:
        self._match, self._templates, self._rules = match, templates, rules
        self._end = max_symbols + 1

    def __missing__(self, string: str) -> str:
        output = string
        if match := self._match(string):
            template = self._templates[match.lastindex]  # type: ignore[index]
            if not template:
                rule = self._rules[match.lastindex]  # type: ignore[index]
                raise GrammarError(
                    f"the rule '{rule}' calls itself without end; leave it out, or write a word on "
                    "its left side too"
                )
            output = ""
            for part in template:
                output += part if isinstance(part, str) else self[match[part]]
            output = output[: self._end]
        self[string] = output
        return output


# The meta-grammar has 216 sets of left-hand sides, and compiling one takes longer than sampling
# an episode.
@lru_cache(maxsize=2048)
def _compile_matcher(
    lhs_codes: tuple[str, ...],
) -> tuple[MatchFunction, tuple[int, ...], tuple[int, ...]]:
    """Compile all left-hand sides; return the matcher and each one's first and end group.

    The end group is empty: as the last group to match, it identifies the rule.
    """
    alternatives, first_groups, end_groups = [], [], []
    group = 1
    for lhs in lhs_codes:
        first_groups.append(group)
        pattern = "".join([{"U": "(.)", "X": "(.+)"}.get(c) or re.escape(c) for c in lhs])
        group += lhs.count("U") + lhs.count("X")
        end_groups.append(group)
        group += 1
        alternatives.append(f"{pattern}()")
    expression = re.compile("|".join(alternatives), re.DOTALL)
    return expression.fullmatch, tuple(first_groups), tuple(end_groups)
