"""Behaviour in the few-shot task: accuracy and errors (paper, Fig. 2 and Methods).

Every measure compares responses with a grammar (by default that of the human task), whatever the
columns `target`, `correct` and `error_type` hold; if items have study sets of different grammars,
with the grammar of each item (`people.few_shot_grammars`). Accuracies are in percent.

>>> from biml.analysis.responses import response_table
>>> answers = {"3 after DAX": "DAX 3", "DAX thrice": "DAX DAX", "DAX after 1": "DAX 1"}
>>> rows = ({"item": q, "query": q, "response": r} for q, r in answers.items())
>>> responses = response_table(rows)
>>> item_accuracy(responses)["accuracy"].tolist()
[100.0, 0.0, 0.0]
>>> annotate_errors(responses)["error_type"].tolist()
['', 'one-to-one', 'iconic']
>>> error_rates(responses)[["errors", "reversing_errors", "iconic_percent"]].values.tolist()
[[2.0, 1.0, 100.0]]
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from biml.analysis.responses import equal_responses, tokens, with_targets
from biml.analysis.stats import share_intervals
from biml.errors import UsageError
from biml.evaluation.intervals import (
    PARTICIPANTS,
    mean_of_shares_error,
    percent_interval,
    standard_error_of_sum,
    unit_of,
)
from biml.grammar import GOLD, Grammar
from biml.grammar.perturbations import iconic_grammar, is_argument_reversing
from biml.vocabulary import NO_SYMBOL

GrammarOrGrammars = Grammar | Mapping[str, Grammar]
"""One grammar for all items, or the grammar of each item."""

LONG_OUTPUT = 6
"""Symbols from which on a target counts as long."""

GROUP_KEYS = ("model",)


def is_one_to_one(query: Sequence[str], response: Sequence[str], grammar: Grammar) -> bool:
    """Whether a response translates the query word by word.

    It is as long as the query, and each primitive word has its symbol in the same position; the
    symbols for function words do not matter.

    >>> is_one_to_one("3 after DAX".split(), "3 2 DAX".split(), GOLD)
    True
    """
    meanings = {rule.lhs[0]: rule.rhs for rule in grammar.primitives}
    return is_word_by_word(query, response, meanings)


def is_word_by_word(
    query: Sequence[str], response: Sequence[str], meanings: Mapping[str, tuple[str, ...]]
) -> bool:
    """Whether a response has one symbol per word, which is the word's meaning where known."""
    return (
        len(query) == len(response)
        and NO_SYMBOL not in response
        and all(
            meanings.get(word, (symbol,)) == (symbol,)
            for word, symbol in zip(query, response, strict=True)
        )
    )


def is_iconic(query: Sequence[str], response: Sequence[str], grammar: Grammar) -> bool:
    """Whether a wrong response keeps the order of the input where a function would reverse it.

    It is the output of the grammar with the arguments of every argument-reversing function swapped.

    >>> is_iconic("3 after DAX thrice".split(), "3 DAX DAX DAX".split(), GOLD)
    True
    >>> is_iconic("DAX surround 3 after 1".split(), "3 DAX 3 1".split(), GOLD)
    False
    """
    swapped = iconic_grammar(grammar).interpret(query)
    return tuple(response) == swapped != grammar.interpret(query)


def annotate_errors(responses: pd.DataFrame, grammar: GrammarOrGrammars = GOLD) -> pd.DataFrame:
    """Add `target`, `correct` and `error_type` according to the grammar.

    The error type of a wrong response is `one-to-one`, `iconic`, `one-to-one iconic` if it is both,
    or `other`. A UsageError names an item without a grammar.
    """
    keys = list(zip(responses["item"], responses["query"], responses["response"], strict=True))
    known: dict[tuple[str, str, str], tuple[str, str]] = {}
    for key in dict.fromkeys(keys):
        item, query, response = key
        known[key] = _error_type(tokens(query), tokens(response), _item_grammar(grammar, item))
    targets, errors = ([known[key][n] for key in keys] for n in (0, 1))
    annotated = with_targets(responses, targets, errors)
    return annotated.assign(correct=equal_responses(annotated))


def item_accuracy(
    responses: pd.DataFrame, grammar: GrammarOrGrammars = GOLD, *, by: Sequence[str] = GROUP_KEYS
) -> pd.DataFrame:
    """Percent of correct responses to each item (Fig. 2), in order of first occurrence.

    A row has the numbers of `functions` (function words in the query), `outputs` (symbols of the
    target), `responses` and `correct` ones, the `complexity` (see there), the `accuracy`, and its
    95% interval from `low` to `high`.
    """
    annotated = annotate_errors(responses, grammar)
    items = (
        annotated.groupby([*by, "item"], sort=False, dropna=False)
        .agg(
            query=("query", "first"),
            target=("target", "first"),
            responses=("correct", "size"),
            correct=("correct", "sum"),
        )
        .reset_index()
    )
    queries = zip(items["item"], items["query"], strict=True)
    items["functions"] = [
        sum(
            any(word in rule.words for rule in _item_grammar(grammar, item).functions)
            for word in tokens(query)
        )
        for item, query in queries
    ]
    items["complexity"] = items["functions"].map(complexity).astype("string")
    items["outputs"] = [len(tokens(target)) for target in items["target"]]
    items["correct"] = items["correct"].astype("int64")
    items["accuracy"] = 100 * items["correct"] / items["responses"]
    ends = share_intervals(annotated, [*by, "item"], "correct")
    items[["low", "high"]] = ends[["low", "high"]]
    names = ["functions", "complexity", "outputs", "responses", "correct", "accuracy"]
    return items[[*by, "item", *names, "low", "high"]]


def complexity(functions: int) -> str:
    """`simple` for one function word, `complex` for several; empty without any.

    >>> [complexity(n) for n in (0, 1, 3)]
    ['', 'simple', 'complex']
    """
    return "" if functions == 0 else "simple" if functions == 1 else "complex"


def accuracy_by_complexity(
    responses: pd.DataFrame, grammar: GrammarOrGrammars = GOLD, *, by: Sequence[str] = GROUP_KEYS
) -> pd.DataFrame:
    """Mean accuracy over items (Fig. 2): `all`, `simple`, `complex` and `long_output`.

    Items with `long_output` have a target of at least six symbols. A group without items is
    missing (NaN).
    """
    items = item_accuracy(responses, grammar, by=by)
    means = {
        name: items[member].groupby(list(by), sort=False, dropna=False)["accuracy"].mean()
        for name, member in _item_groups(items).items()
    }
    return pd.DataFrame(means, index=means["all"].index).reset_index()


def _item_groups(items: pd.DataFrame) -> dict[str, pd.Series]:
    """Which rows of `item_accuracy` belong to each group of `accuracy_by_complexity`."""
    return {
        "all": items["functions"] >= 0,
        "simple": items["complexity"] == "simple",
        "complex": items["complexity"] == "complex",
        "long_output": items["outputs"] >= LONG_OUTPUT,
    }


def accuracy_intervals(
    responses: pd.DataFrame, grammar: GrammarOrGrammars = GOLD, *, by: Sequence[str] = GROUP_KEYS
) -> pd.DataFrame:
    """`accuracy_by_complexity` in long form, with `standard_error` and 95% interval.

    A row has the `complexity`, the `accuracy`, and the `unit` that its error and the interval from
    `low` to `high` are over: participants where all are known, else responses within items. Both
    are for other people and the same items.
    """
    annotated = annotate_errors(responses, grammar)
    rows = []
    for key, of_group in annotated.groupby(list(by), sort=False, dropna=False):
        items = item_accuracy(of_group, grammar, by=())
        unit = unit_of(of_group["participant"].fillna("").tolist())
        for name, member in _item_groups(items).items():
            chosen = items[member].set_index("item")
            mean = error = float("nan")
            if len(chosen):
                counted = of_group[of_group["item"].isin(chosen.index)]
                mean = float(chosen["accuracy"].mean())
                error = _mean_accuracy_error(counted, chosen)
            low, high = percent_interval(mean, error)
            about = dict(zip(by, key, strict=True)) | {"complexity": name, "accuracy": mean}
            rows.append(about | {"standard_error": error, "low": low, "high": high, "unit": unit})
    return pd.DataFrame(rows)


def _mean_accuracy_error(responses: pd.DataFrame, items: pd.DataFrame) -> float:
    """Standard error of the mean accuracy over items."""
    people = responses["participant"].fillna("").tolist()
    share = responses["item"].map(items["accuracy"]).to_numpy(float) / 100
    residuals = responses["correct"].to_numpy(float) - share
    weights = responses["item"].map(items["responses"]).to_numpy(float) * len(items)
    if unit_of(people) == PARTICIPANTS and (residuals != 0).any():
        return 100 * standard_error_of_sum((residuals / weights).tolist(), people, people)
    return mean_of_shares_error(items["correct"].tolist(), items["responses"].tolist())


def error_rates(
    responses: pd.DataFrame, grammar: GrammarOrGrammars = GOLD, *, by: Sequence[str] = GROUP_KEYS
) -> pd.DataFrame:
    """Percent of errors that are one-to-one, and of potentially iconic errors that are iconic.

    An error is potentially iconic if the query has an argument-reversing function (`after`), even
    if swapped arguments would not change the output.

    A row counts `errors`, `one_to_one`, `reversing_errors` (to queries with such a function)
    and `iconic`, and two percentages with their 95% intervals (`…_low`, `…_high`), which are
    missing (NaN) without any errors; `unit` is that of the intervals.
    """
    annotated = annotate_errors(responses, grammar)
    keys = list(zip(annotated["item"], annotated["query"], strict=True))
    reverses = {
        (item, query): any(
            is_argument_reversing(rule) and not set(rule.words).isdisjoint(tokens(query))
            for rule in _item_grammar(grammar, item).rules
        )
        for item, query in dict.fromkeys(keys)
    }
    wrong = ~annotated["correct"].astype(bool)
    counted = annotated[list(dict.fromkeys((*by, "participant")))].assign(
        errors=wrong,
        one_to_one=annotated["error_type"].str.contains("one-to-one").astype(bool),
        reversing_errors=wrong
        & pd.Series([reverses[key] for key in keys], wrong.index, dtype=bool),
        iconic=annotated["error_type"].str.contains("iconic").astype(bool),
    )
    kinds = ["errors", "one_to_one", "reversing_errors", "iconic"]
    table = counted.groupby(list(by), sort=False, dropna=False)[kinds].sum().reset_index()
    names = list(by)
    for name, among in (("one_to_one", "errors"), ("iconic", "reversing_errors")):
        table[f"{name}_percent"] = percent(table[name], table[among])
        ends = [f"{name}_low", f"{name}_high"]
        table[[*ends, "unit"]] = share_intervals(counted, by, name, among).to_numpy()
        table = table.astype(dict.fromkeys(ends, "float64"))
        names += [among, name, f"{name}_percent", *ends]
    return table[[*names, "unit"]]


def percent(part: pd.Series, whole: pd.Series) -> pd.Series:
    """A percentage; of nothing it is missing (NaN)."""
    return 100 * part / whole.where(whole > 0)


def _item_grammar(grammar: GrammarOrGrammars, item: str) -> Grammar:
    if isinstance(grammar, Grammar):
        return grammar
    if item not in grammar:
        raise UsageError(f"no grammar for the item {item!r}; `people.few_shot_grammars` has all")
    return grammar[item]


def _error_type(
    query: tuple[str, ...], response: tuple[str, ...], grammar: Grammar
) -> tuple[str, str]:
    """The target, and the type of the error; empty if the response is correct."""
    target = grammar.interpret(query)
    kinds = [
        name
        for name, applies in (("one-to-one", is_one_to_one), ("iconic", is_iconic))
        if response != target and applies(query, response, grammar)
    ]
    return " ".join(target), " ".join(kinds) or ("" if response == target else "other")
