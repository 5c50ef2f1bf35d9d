"""Behaviour in the probe trials: mutual exclusivity, concatenation, and their trade-off.

The kind of a trial follows from its study examples, allowed outputs and query, so that new trials
are measured like the published ones (paper, supplement).

>>> from biml.analysis.responses import response_table
>>> trial = {"item": "t", "query": "p2", "study": "p1 -> c1", "allowed_outputs": "c1 c2"}
>>> responses = response_table({**trial, "response": r} for r in ("c2", "c2", "c1"))
>>> mutual_exclusivity(responses)[["pool_size", "percent"]].round().values.tolist()
[[2.0, 67.0]]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from biml.analysis.few_shot import is_word_by_word, percent
from biml.analysis.responses import equal_responses, study_examples, tokens, with_targets
from biml.analysis.stats import logistic_regression, share_intervals
from biml.episodes.episode import Example
from biml.errors import UsageError
from biml.vocabulary import NO_SYMBOL

EXCLUSIVITY, CONCATENATION, TRADE_OFF = "mutual exclusivity", "concatenation", "trade-off"

TRIAL_COLUMNS = ("study", "allowed_outputs", "query")
"""Columns that define a trial."""


@dataclass(frozen=True)
class Trial:
    """One probe trial; any output symbol is allowed if `allowed_outputs` is empty."""

    study: tuple[Example, ...]
    allowed_outputs: tuple[str, ...]
    query: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The kind of the trial, whose study examples are single words; empty for others.

        - mutual exclusivity: the query is a new word, and a symbol is left that no study example
          has;
        - trade-off: a new word, alone or with others, and no such symbol is left, so that a
          response with one symbol per word must repeat one;
        - concatenation: every word of the query is a study example.
        """
        if not self.study or any(len(example.input) != 1 for example in self.study):
            return ""
        if set(self.query) <= set(self.meanings):
            return CONCATENATION
        used = {symbol for example in self.study for symbol in example.output}
        if self.allowed_outputs and used.issuperset(self.allowed_outputs):
            return TRADE_OFF
        return EXCLUSIVITY if len(self.query) == 1 else ""

    @property
    def meanings(self) -> dict[str, tuple[str, ...]]:
        """The output of each word among the study examples."""
        return {example.input[0]: example.output for example in self.study}

    @property
    def counter_examples(self) -> int:
        """The number of study examples that repeat an output, against mutual exclusivity."""
        pairs = {(example.input, example.output) for example in self.study}
        return len(pairs) - len({output for _, output in pairs})

    @property
    def concatenation(self) -> tuple[str, ...]:
        """The meanings of the words of the query, in their order."""
        return tuple(symbol for word in self.query for symbol in self.meanings[word])

    def is_consistent(self, response: tuple[str, ...]) -> bool:
        """Whether a response has the bias that the kind of trial probes.

        - mutual exclusivity: not empty, and not the output of a study example;
        - concatenation: the meanings of the words in their order;
        - trade-off: one-to-one, that is as long as the query, with known words in position.

        A response with what is not allowed, or no symbol, as language models give, has none.
        """
        allowed = set(self.allowed_outputs or response) - {NO_SYMBOL}
        if not allowed.issuperset(response):
            return False
        if self.kind == CONCATENATION:
            return response == self.concatenation
        if self.kind == TRADE_OFF:
            return is_word_by_word(self.query, response, self.meanings)
        return bool(response) and response not in self.meanings.values()


def _trials(responses: pd.DataFrame) -> list[Trial]:
    """The trial of each response; a FormatError if the column `study` is malformed."""
    keys = list(zip(*(responses[name] for name in TRIAL_COLUMNS), strict=True))
    known = {
        key: Trial(study_examples(key[0]), tokens(key[1]), tokens(key[2])) for key in set(keys)
    }
    return [known[key] for key in keys]


def annotate_trials(responses: pd.DataFrame) -> pd.DataFrame:
    """The responses to trials of a known kind, with columns for the measures.

    Adds `kind`, `counter_examples`, `pool_size` (number of allowed outputs, 0 for any) and
    `consistent`.
    """
    trials = _trials(responses)
    answers = map(tokens, responses["response"])
    annotated = responses.assign(
        kind=[trial.kind for trial in trials],
        counter_examples=[trial.counter_examples for trial in trials],
        pool_size=[len(trial.allowed_outputs) for trial in trials],
        consistent=[trial.is_consistent(a) for trial, a in zip(trials, answers, strict=True)],
    )
    return annotated[annotated["kind"] != ""]


def annotate_targets(responses: pd.DataFrame) -> pd.DataFrame:
    """Add `target`, `correct` and `error_type` where there is a correct response."""
    targets = [t.concatenation if t.kind == CONCATENATION else () for t in _trials(responses)]
    errors = [
        "other" if target and tokens(response) != target else ""
        for target, response in zip(targets, responses["response"], strict=True)
    ]
    annotated = with_targets(responses, list(map(" ".join, targets)), errors)
    return annotated.assign(correct=equal_responses(annotated).mask(annotated["target"] == ""))


def consistency_rates(responses: pd.DataFrame, *, by: Sequence[str] = ("model",)) -> pd.DataFrame:
    """Percent of responses with the bias that each `kind` of trial probes.

    Over the trade-off trials it is the preference of one-to-one over mutual exclusivity. `low` and
    `high` are the 95% interval over the `unit` (`intervals.share_interval`).
    """
    return _consistency_counts(annotate_trials(responses), [*by, "kind"])


def mutual_exclusivity(responses: pd.DataFrame, *, by: Sequence[str] = ("model",)) -> pd.DataFrame:
    """Percent consistent with mutual exclusivity, by counter-examples and pool size."""
    annotated = annotate_trials(responses)
    annotated = annotated[annotated["kind"] == EXCLUSIVITY]
    return _consistency_counts(annotated, [*by, "counter_examples", "pool_size"])


def mutual_exclusivity_regression(
    responses: pd.DataFrame, *, participant_effect: bool = False
) -> pd.DataFrame:
    """Logistic regression of mutual exclusivity on counter-examples and pool size, in log-odds.

    The responses are of one model, or of people. With `participant_effect` each participant has a
    random intercept, as in the supplement; the published files do not identify participants, new
    data can. The table is that of `logistic_regression`.
    """
    if responses["model"].nunique() > 1:
        raise UsageError("a regression is for one model; select its rows")
    annotated = annotate_trials(responses)
    annotated = annotated[annotated["kind"] == EXCLUSIVITY]
    if participant_effect and (annotated["participant"] == "").any():
        raise UsageError(
            "a participant effect needs the column 'participant', which is empty in these responses"
        )
    return logistic_regression(
        annotated["consistent"],
        annotated[["counter_examples", "pool_size"]],
        groups=annotated["participant"] if participant_effect else None,
    )


def _consistency_counts(annotated: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    grouped = annotated.groupby(by, sort=False, dropna=False)["consistent"]
    table = grouped.agg(responses="size", consistent="sum").reset_index()
    table["consistent"] = table["consistent"].astype("int64")
    table["percent"] = percent(table["consistent"], table["responses"])
    return table.join(share_intervals(annotated, by, "consistent"))
