"""Behaviour in the probe trials: mutual exclusivity, concatenation, and the trade-off between them.

What a trial asks is seen from its study examples, its pool and its query, so that new trials are
measured like the published ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from biml.analysis.few_shot import percent
from biml.analysis.responses import equal_responses, study_examples, tokens
from biml.analysis.stats import logistic_regression
from biml.episodes.episode import Example
from biml.errors import UsageError

EXCLUSIVITY, CONCATENATION, TRADE_OFF = "mutual exclusivity", "concatenation", "trade-off"

TRIAL_KINDS = (EXCLUSIVITY, CONCATENATION, TRADE_OFF)

TRIAL_COLUMNS = ("study", "pool", "query", "response")
"""What a measure of trials reads."""


@dataclass(frozen=True)
class Trial:
    """One probe trial.

    Attributes:
        study: the study examples.
        pool: the symbols that an answer may use; empty if any may be used.
        query: its words.
    """

    study: tuple[Example, ...]
    pool: tuple[str, ...]
    query: tuple[str, ...]

    @property
    def kind(self) -> str:
        """What is asked; empty where no measure applies.

        - mutual exclusivity: a new word alone, and a symbol that no study example shows is left;
        - trade-off: a new word, alone or with others, and no such symbol is left, so that an answer
          with one symbol a word must use one for the second time;
        - concatenation: study examples show every word of the query alone.
        In all of them the study examples are single words.
        """
        if not self.study or any(len(example.input) != 1 for example in self.study):
            return ""
        if set(self.query) <= set(self.meanings):
            return CONCATENATION
        shown = {symbol for example in self.study for symbol in example.output}
        if self.pool and shown.issuperset(self.pool):
            return TRADE_OFF
        return EXCLUSIVITY if len(self.query) == 1 else ""

    @property
    def meanings(self) -> dict[str, tuple[str, ...]]:
        """The output of each single word that study examples show."""
        return {example.input[0]: example.output for example in self.study}

    @property
    def counter_examples(self) -> int:
        """Study examples whose output is that of another word, against mutual exclusivity."""
        shown = {(example.input, example.output) for example in self.study}
        return len(shown) - len({symbols for _, symbols in shown})

    @property
    def concatenation(self) -> tuple[str, ...]:
        """What the words of the query stand for, in their order."""
        return tuple(symbol for word in self.query for symbol in self.meanings[word])

    def is_consistent(self, response: tuple[str, ...]) -> bool:
        """Whether a response is as the trial's kind has it.

        - mutual exclusivity: it is the output of no study example, however long, but not empty;
        - concatenation: it is the outputs of the query's words in their order;
        - trade-off: it is one-to-one, as long as the query with known words in place.
        """
        if self.kind == CONCATENATION:
            return response == self.concatenation
        if self.kind == TRADE_OFF:
            return len(response) == len(self.query) and all(
                self.meanings.get(word, (symbol,)) == (symbol,)
                for word, symbol in zip(self.query, response, strict=True)
            )
        return bool(response) and response not in self.meanings.values()


def annotate_trials(responses: pd.DataFrame) -> pd.DataFrame:
    """The responses to trials that a measure applies to, with what it makes of them.

    Returns:
        The rows of the table with the columns `kind`, `counter_examples`, `pool_size` (0 where any
        symbol may be used) and `consistent`.
    Raises:
        FormatError: the column `study` cannot be read.
    """
    known: dict[tuple[str, str, str], Trial] = {}
    keys = list(zip(responses["study"], responses["pool"], responses["query"], strict=True))
    for study, pool, query in set(keys):
        known[study, pool, query] = Trial(study_examples(study), tokens(pool), tokens(query))
    found = [known[key] for key in keys]
    answers = map(tokens, responses["response"])
    measured = responses.assign(
        kind=[trial.kind for trial in found],
        counter_examples=[trial.counter_examples for trial in found],
        pool_size=[len(trial.pool) for trial in found],
        consistent=[trial.is_consistent(a) for trial, a in zip(found, answers, strict=True)],
    )
    return measured[measured["kind"] != ""]


def annotate_targets(responses: pd.DataFrame) -> pd.DataFrame:
    """The table with `target`, `correct` and `error_type` where there is a right answer."""
    targets, errors = [], []
    for columns in zip(*(responses[name] for name in TRIAL_COLUMNS), strict=True):
        study, pool, query, response = columns
        trial = Trial(study_examples(study), tokens(pool), tokens(query))
        target = trial.concatenation if trial.kind == CONCATENATION else ()
        targets.append(" ".join(target))
        errors.append("other" if target and tokens(response) != target else "")
    labelled = responses.copy()
    labelled["target"] = pd.Series(targets, responses.index, dtype="string")
    labelled["error_type"] = pd.Series(errors, responses.index, dtype="string")
    labelled["correct"] = equal_responses(labelled).mask(labelled["target"] == "")
    return labelled


def consistency_rates(responses: pd.DataFrame, *, by: Sequence[str] = ("model",)) -> pd.DataFrame:
    """Share of answers that are as each kind of trial has it.

    Over the trade-off trials it is the share that prefers one-to-one over mutual exclusivity.

    Returns:
        A row for each model and `kind`: `responses`, `consistent` (how many), `percent`.
    """
    return _consistency_counts(annotate_trials(responses), [*by, "kind"])


def mutual_exclusivity(responses: pd.DataFrame, *, by: Sequence[str] = ("model",)) -> pd.DataFrame:
    """Share of answers consistent with mutual exclusivity, by counter-examples and pool size."""
    measured = annotate_trials(responses)
    measured = measured[measured["kind"] == EXCLUSIVITY]
    return _consistency_counts(measured, [*by, "counter_examples", "pool_size"])


def mutual_exclusivity_regression(
    responses: pd.DataFrame, *, participant_effect: bool = False
) -> pd.DataFrame:
    """Logistic regression of consistency with mutual exclusivity on counter-examples and pool size.

    Args:
        responses: of one model or of people.
        participant_effect: give each participant an intercept of their own, as the supplement does;
            the published files do not say who answered, new data can.
    Returns:
        See `logistic_regression`; the predictors are `counter_examples` and `pool_size`.
    Raises:
        UsageError: several models, or unknown participants where their effect is asked for.
    """
    if responses["model"].nunique() > 1:
        raise UsageError("a regression is for one model; choose the rows of one")
    measured = annotate_trials(responses)
    measured = measured[measured["kind"] == EXCLUSIVITY]
    if participant_effect and (measured["participant"] == "").any():
        raise UsageError(
            "a participant effect needs the column 'participant', which is empty in these responses"
        )
    return logistic_regression(
        measured["consistent"],
        measured[["counter_examples", "pool_size"]],
        groups=measured["participant"] if participant_effect else None,
    )


def _consistency_counts(annotated: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    grouped = annotated.groupby(by, sort=False, dropna=False)["consistent"]
    table = grouped.agg(responses="size", consistent="sum").reset_index()
    table["consistent"] = table["consistent"].astype("int64")
    table["percent"] = percent(table["consistent"], table["responses"])
    return table
