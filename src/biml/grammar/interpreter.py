"""Interpretation: what a grammar says that a string of words stands for (paper, Methods).

Every word and symbol becomes one character, so that a string of words is a Python string, and all
left sides together become one regular expression. Its alternatives are the rules in their order,
its greedy groups the variables: the first alternative that matches the whole string is the rule to
apply, and `x1 f x2` splits at the last `f`, exactly as the method says.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from biml.grammar.rules import GrammarError, Rule

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
