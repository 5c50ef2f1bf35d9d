"""Behaviour in a few-shot task: accuracy by item and kind of error (paper, Fig. 2 and Methods).

Every function takes a grammar, that of the human task if none is given, and works out from it what
is right; the columns `target`, `correct` and `error_type` of a table are not relied on. Where items
have study sets of different grammars, it takes one for each item (`people.few_shot_grammars`).
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from biml.analysis.responses import equal_responses, tokens
from biml.errors import UsageError
from biml.grammar import GOLD, Grammar
from biml.grammar.perturbations import iconic_grammar, is_argument_reversing

GrammarOrGrammars = Grammar | Mapping[str, Grammar]
"""One grammar for all items, or for each item its own."""

LONG_OUTPUT = 6
"""Symbols that an output must have for its item to be a long one."""

GROUP_KEYS = ("model",)


def is_one_to_one(query: Sequence[str], response: Sequence[str], grammar: Grammar) -> bool:
    """Whether a response translates word for word.

    That is: it is as long as the query, and the symbol of each primitive word stands in that word's
    place. What stands in the places of function words does not matter.

    >>> is_one_to_one("3 after DAX".split(), "3 2 DAX".split(), GOLD)
    True
    """
    meanings = {rule.lhs[0]: rule.rhs for rule in grammar.primitives}
    return len(query) == len(response) and all(
        meanings.get(word, (symbol,)) == (symbol,)
        for word, symbol in zip(query, response, strict=True)
    )


def is_iconic(query: Sequence[str], response: Sequence[str], grammar: Grammar) -> bool:
    """Whether a response keeps the order of the input where a function would reverse it.

    That is: it is the output of the grammar in which every function that says its second argument
    first is flipped, and differs from the right output.

    >>> is_iconic("3 after DAX thrice".split(), "3 DAX DAX DAX".split(), GOLD)
    True
    >>> is_iconic("DAX surround 3 after 1".split(), "3 DAX 3 1".split(), GOLD)
    False
    """
    found = tuple(response)
    flipped = iconic_grammar(grammar).interpret(query)
    return found == flipped != grammar.interpret(query)


def annotate_errors(responses: pd.DataFrame, grammar: GrammarOrGrammars = GOLD) -> pd.DataFrame:
    """The table with `target`, `correct` and `error_type` as the grammar has them.

    A wrong answer is `one-to-one`, `iconic`, `one-to-one iconic` if it is both, or `other`.

    Raises:
        UsageError: an item is without a grammar.
    """
    labelled = responses.copy()
    known: dict[tuple[str, str, str], tuple[str, str]] = {}
    keys = list(zip(responses["item"], responses["query"], responses["response"], strict=True))
    for key in keys:
        if key not in known:
            item, query, response = key
            known[key] = _error_type(tokens(query), tokens(response), _item_grammar(grammar, item))
    found = [known[key] for key in keys]
    index = responses.index
    labelled["target"] = pd.Series([target for target, _ in found], index, dtype="string")
    labelled["error_type"] = pd.Series([error for _, error in found], index, dtype="string")
    labelled["correct"] = equal_responses(labelled)
    return labelled


def item_accuracy(
    responses: pd.DataFrame, grammar: GrammarOrGrammars = GOLD, *, by: Sequence[str] = GROUP_KEYS
) -> pd.DataFrame:
    """Accuracy on each item, in the order in which items first come.

    Returns:
        A row for each model and item: `functions` (function words in the query), `group` (see
        `group_of`), `outputs` (symbols of the right answer), `responses`, `correct` (how many),
        `accuracy` (percent).
    """
    labelled = annotate_errors(responses, grammar)
    grouped = labelled.groupby([*by, "item"], sort=False, dropna=False)
    items = grouped.agg(
        query=("query", "first"),
        target=("target", "first"),
        responses=("correct", "size"),
        correct=("correct", "sum"),
    ).reset_index()
    items["functions"] = [
        _functions(tokens(query), _item_grammar(grammar, item))
        for item, query in zip(items["item"], items["query"], strict=True)
    ]
    items["group"] = items["functions"].map(complexity).astype("string")
    items["outputs"] = [len(tokens(target)) for target in items["target"]]
    items["correct"] = items["correct"].astype("int64")
    items["accuracy"] = 100 * items["correct"] / items["responses"]
    order = [*by, "item", "functions", "group", "outputs", "responses", "correct", "accuracy"]
    return items[order]


def complexity(functions: int) -> str:
    """`simple` with one function word, `complex` with several; empty without any.

    >>> [complexity(n) for n in (0, 1, 3)]
    ['', 'simple', 'complex']
    """
    return "" if functions == 0 else "simple" if functions == 1 else "complex"


def accuracy_by_group(
    responses: pd.DataFrame, grammar: GrammarOrGrammars = GOLD, *, by: Sequence[str] = GROUP_KEYS
) -> pd.DataFrame:
    """Mean accuracy over items, in percent: `all`, `simple`, `complex` and `six_long`.

    Simple and complex are as `group_of` has them; six-long items have a right answer of at least
    six symbols. A group without items is missing (NaN).
    """
    items = item_accuracy(responses, grammar, by=by)
    members = {
        "all": items["functions"] >= 0,
        "simple": items["group"] == "simple",
        "complex": items["group"] == "complex",
        "six_long": items["outputs"] >= LONG_OUTPUT,
    }
    means = {
        name: items[member].groupby(list(by), sort=False, dropna=False)["accuracy"].mean()
        for name, member in members.items()
    }
    return pd.DataFrame(means, index=means["all"].index).reset_index()


def error_rates(
    responses: pd.DataFrame, grammar: GrammarOrGrammars = GOLD, *, by: Sequence[str] = GROUP_KEYS
) -> pd.DataFrame:
    """How many errors are one-to-one, and how many that could be iconic are.

    An error can be iconic where the query names a function that says its second argument first
    (`after`), also if its output would not change.

    Returns:
        A row for each model: `errors`, `one_to_one` (how many) and `one_to_one_percent`;
        `reversing_errors` (on queries with such a function), `iconic` and `iconic_percent`.
        The percentage of nothing is missing (NaN).
    """
    labelled = annotate_errors(responses, grammar)
    asked = set(zip(labelled["item"], labelled["query"], strict=True))
    known = {(i, q): _has_reversing_rule(tokens(q), _item_grammar(grammar, i)) for i, q in asked}
    wrong = ~labelled["correct"].astype(bool)
    may_reverse = pd.Series(
        [known[key] for key in zip(labelled["item"], labelled["query"], strict=True)],
        labelled.index,
        dtype=bool,
    )
    counted = labelled[list(by)].assign(
        errors=wrong,
        one_to_one=labelled["error_type"].str.contains("one-to-one").astype(bool),
        reversing_errors=wrong & may_reverse,
        iconic=labelled["error_type"].str.contains("iconic").astype(bool),
    )
    table = counted.groupby(list(by), sort=False, dropna=False).sum().reset_index()
    table["one_to_one_percent"] = percent(table["one_to_one"], table["errors"])
    table["iconic_percent"] = percent(table["iconic"], table["reversing_errors"])
    one_to_one = ["errors", "one_to_one", "one_to_one_percent"]
    return table[[*by, *one_to_one, "reversing_errors", "iconic", "iconic_percent"]]


def percent(part: pd.Series, whole: pd.Series) -> pd.Series:
    """In percent; the percentage of nothing is missing (NaN)."""
    return 100 * part / whole.where(whole > 0)


def _item_grammar(grammar: GrammarOrGrammars, item: str) -> Grammar:
    if isinstance(grammar, Grammar):
        return grammar
    if item not in grammar:
        raise UsageError(f"there is no grammar for the item {item!r}")
    return grammar[item]


def _functions(query: tuple[str, ...], grammar: Grammar) -> int:
    names = {word for rule in grammar.functions for word in rule.words}
    return sum(word in names for word in query)


def _has_reversing_rule(query: tuple[str, ...], grammar: Grammar) -> bool:
    """Whether the query names a function that says its second argument first."""
    return any(
        not set(rule.words).isdisjoint(query)
        for rule in grammar.rules
        if is_argument_reversing(rule)
    )


def _error_type(
    query: tuple[str, ...], response: tuple[str, ...], grammar: Grammar
) -> tuple[str, str]:
    target = grammar.interpret(query)
    if response == target:
        return " ".join(target), ""
    kinds = [
        name
        for name, holds in (("one-to-one", is_one_to_one), ("iconic", is_iconic))
        if holds(query, response, grammar)
    ]
    return " ".join(target), " ".join(kinds) or "other"
