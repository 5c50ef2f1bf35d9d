"""Schemas of the tables of a results folder.

`biml reproduce` writes each table to `FOLDER/tables/NAME.csv`, and a report reads nothing else. A
table is absent where its experiment did not run. Percentages are from 0 to 100, log-likelihoods in
nats. Tasks are `few_shot`, `open_ended` and `probes`; people are the model `people`. Networks for
SCAN and COGS that differ in their seeds only are one model. Intervals from `low` to `high` are of
95%, and `unit` says what they and the standard error are over: participants where all are known,
else responses within items (`biml.evaluation.intervals`), response sets, episodes, remappings, or
seeds.
"""

from dataclasses import dataclass
from typing import Final

from biml.analysis import responses

PEOPLE: Final = responses.PEOPLE

_COUNTS = (
    "sample repeats symbols responses n count pool_size counter_examples segment step episodes "
    "seed networks output_length total strings questions answers"
)
_FLAGS = "within_sample long_output uncertain"
_NUMBERS = (
    "p_lapse log_likelihood sd difference low high mean accuracy r p noise_ceiling percent "
    "estimate standard_error z train_loss val_loss value published published_low published_high "
    "published_sd published_best reproduced error_rate ratio cross_validated cross_validated_error "
    "readings readings_low readings_high gold gold_low gold_high probability spread variation "
    "probability_low probability_high spread_low spread_high variation_low variation_high "
    "p_lapse_low p_lapse_high ratio_low ratio_high noise_ceiling_low noise_ceiling_high"
)
_TYPES = {
    name: kind
    for kind, names in (("Int64", _COUNTS), ("boolean", _FLAGS), ("float64", _NUMBERS))
    for name in names.split()
}


@dataclass(frozen=True)
class Table:
    """A table: its name (that of the file), what a row is, and its columns.

    Attributes:
        columns: pandas type of each column; missing values are empty cells.
        keys: columns that no two rows have in common; none where rows may be alike.
        optional: columns that earlier results lack; missing values there.
    """

    name: str
    summary: str
    columns: dict[str, str]
    keys: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def column_type(name: str) -> str:
    """The pandas type of a column, which depends on its name alone.

    >>> column_type("n"), column_type("percent"), column_type("model")
    ('Int64', 'float64', 'string')
    """
    return _TYPES.get(name, "string")


def _table(name: str, n_keys: int, columns: str, summary: str) -> Table:
    """The table whose first `n_keys` columns are its keys; a question mark: optional."""
    names = columns.replace("?", "").split()
    types = {column: column_type(column) for column in names}
    optional = tuple(name[:-1] for name in columns.split() if name.endswith("?"))
    return Table(name, summary, types, tuple(names[:n_keys]), optional)


_TABLES = (
    Table(
        "responses",
        "a response of a person or a model, in canonical names",
        {name: kind for name, (kind, _) in responses.RESPONSE_COLUMNS.items()},
        ("model", "seed", "task", "item", "participant", "sample"),
    ),
    _table(
        "likelihoods",
        3,
        "model task fold repeats p_lapse log_likelihood sd symbols responses within_sample "
        "standard_error? cross_validated? cross_validated_error? p_lapse_low? p_lapse_high? unit?",
        "log-likelihood of people's responses at the fitted lapse rate, of probes over the allowed "
        "outputs; fold is empty, 1 to 5, or "
        "`all` for the sum of the folds; sd is over repeats; within_sample: the model was trained "
        "on these responses or its error rates were fitted to them (empty where unknown); "
        "cross_validated: the lapse rate, and the error rates of a symbolic model, fitted to one "
        "half of the responses and scored on the other, mean of random halvings, with its standard "
        "error; the interval of p_lapse is from a bootstrap",
    ),
    _table(
        "likelihoods_by_item",
        4,
        "model task item query responses log_likelihood standard_error?",
        "the same for the responses to one query",
    ),
    _table(
        "likelihoods_by_participant",
        3,
        "model task participant responses log_likelihood standard_error?",
        "the same for the responses of one participant, where the data identify participants; its "
        "standard error is over them",
    ),
    _table(
        "comparisons",
        3,
        "model_a model_b task difference low high bootstrap_unit",
        "log-likelihood of model_a minus that of model_b, with a bootstrap interval of 95%; the "
        "bootstrap resamples participants, or responses within items (no interval for one unit)",
    ),
    _table(
        "accuracies",
        3,
        "model task kind mean sd n low? high?",
        "exact matches of greedy responses in percent; task is few_shot_gold, validation or "
        "novel_rules, kind is novel or study (study-example queries); n, sd and interval are of "
        "episodes (of one episode, the interval is over its queries)",
    ),
    _table(
        "error_rates",
        3,
        "model task kind networks architecture trained_on n total error_rate sd low high ratio "
        "ratio_low? ratio_high?",
        "percent of the test items of SCAN or COGS that networks answer wrongly, mean and SD over "
        "seeds, with an interval of 95% (Student's t; of one network Wilson's); task is scan_SPLIT "
        "or an episode type of COGS, kind a type of generalisation or `all`, the mean of the "
        "types; n of total test items were measured; ratio is the error rate of a model without "
        "study examples over that of the model with them",
    ),
    _table(
        "error_counts",
        5,
        "model task network kind output_length seed architecture trained_on count n total",
        "the wrong answers of one network to test items with outputs of one length: count of n",
    ),
    _table(
        "item_accuracies",
        2,
        "model item query complexity long_output accuracy n low? high?",
        "percent of correct responses to one few-shot query; complexity is simple, complex or "
        "empty (no function word)",
    ),
    _table(
        "accuracy_by_complexity",
        2,
        "model complexity accuracy standard_error? low? high? unit?",
        "mean accuracy over few-shot items; complexity is all, simple, complex or long_output",
    ),
    _table(
        "item_correlation",
        1,
        "model r p low high noise_ceiling noise_ceiling_low? noise_ceiling_high? unit?",
        "correlation of item accuracies with people's: permutation p, bootstrap interval of 95%; "
        "noise_ceiling is the median r of people's resampled responses",
    ),
    _table(
        "response_patterns",
        3,
        "model task pattern count n percent low? high? unit?",
        "how often a pattern occurs: in few_shot among errors (one_to_one, iconic), in open_ended "
        "among response sets (perfect, one_to_one, iconic, mutual_exclusivity), in probes among "
        "responses (mutual_exclusivity, iconic, one_to_one over mutual exclusivity)",
    ),
    _table(
        "mutual_exclusivity",
        3,
        "model pool_size counter_examples percent low high n unit?",
        "probe responses consistent with mutual exclusivity, with Wilson's interval of 95%",
    ),
    _table(
        "exclusivity_regression",
        2,
        "model term estimate standard_error z p low high",
        "logistic regression of that on counter-examples and pool size, in log-odds",
    ),
    _table(
        "measures",
        4,
        "measure task model group label value standard_error?",
        "a value of a registered measure of behaviour; group tells its values apart; the standard "
        "error is that of a bootstrap over participants, response sets or responses within items",
    ),
    _table(
        "systematicity",
        2,
        "model kind strings n readings readings_low readings_high gold gold_low gold_high "
        "probability spread variation probability_low? probability_high? spread_low? spread_high? "
        "variation_low? variation_high?",
        "answers to the strings of the suite of one kind, in percent of n: readings, which the "
        "study examples allow; gold, those of the gold grammar (of a string outside it, the most "
        "probable reading); probability is what the model gives to readings, spread the range of "
        "readings over symbols of the held-out word, variation the answers that differ from the "
        "most frequent one to their string",
    ),
    _table(
        "language_models",
        2,
        "model task family template template_hash questions answers count percent low high "
        "likelihood?",
        "questions to a language model in a task, by the name and hash of the prompt's template: "
        "count of the answers are no sequence of symbols that the item allows, in percent with "
        "Wilson's interval; log-probabilities of given answers are questions without answers; "
        "likelihood says whether these are of the text or among the possible answers to an item",
    ),
    _table(
        "learning_curves",
        0,
        "model segment step episodes train_loss val_loss",
        "a line of a model's training log; segment numbers the runs where one continued from the "
        "weights of another; step counts within it, episodes over all segments so far",
    ),
    _table(
        "statistics",
        3,
        "experiment statistic model published published_low published_high published_sd "
        "published_best reproduced difference standard_error? low? high? cross_validated? uses? "
        "uncertain? cross_validated_error? unit?",
        "a published statistic and the reproduced one: the published value, with its SD over runs "
        "and the best run where stated, or a range read off a graph; difference is to the value, "
        "or to the nearer end of the range; reproduced is empty for a model that was not run; "
        "standard_error and the 95% interval from low to high are those of the reproduced "
        "statistic, cross_validated a likelihood at rates fitted to other responses; uses says "
        "whether the model was trained on, fitted to or chosen by the data of the statistic, and "
        "uncertain whether there were too few samples to tell anything",
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _TABLES}
"""By name."""

SCORED_TABLE = _table(
    "scored",
    0,
    "model task item participant sample query response symbols log_likelihood",
    "log-likelihood of one response at the fitted lapse rate; cached, not in a results folder",
)

# How results of format 3 (biml 0.1.0) named the same things.
FORMAT_3_TABLES = {
    "statistics": "figures",
    "item_correlation": "agreement",
    "accuracy_by_complexity": "groups",
    "response_patterns": "patterns",
}
FORMAT_3_COLUMNS = {
    "statistic": "figure",
    "reproduced": "ours",
    "complexity": "group",
    "p_lapse": "lapse",
    "bootstrap_unit": "unit",
    "segment": "part",
    "long_output": "six_long",
    "allowed_outputs": "pool",
}
FORMAT_3_CELLS = {"kind": {"copied": "study"}, "complexity": {"six_long": "long_output"}}
