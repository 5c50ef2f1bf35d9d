"""Interpretation grammars: an ordered list of rewrite rules (paper, Methods)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from biml.errors import FormatError
from biml.grammar.interpreter import Interpreter
from biml.grammar.rules import GrammarError, Rule, CanonicalRule


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
