"""The tables of a results folder: one row each, with the type of every column.

`biml reproduce` writes them to `FOLDER/tables/NAME.csv`; a report reads nothing else. A table is
absent where its experiment did not run. Percentages are from 0 to 100, log-likelihoods in nats.
Tasks are called `few_shot`, `open_ended` and `probes`; people are the model `people`.
"""

from dataclasses import dataclass

from biml.analysis import responses

PEOPLE = responses.PEOPLE


@dataclass(frozen=True)
class Table:
    """One table of a results folder.

    Attributes:
        name: of its file, without `.csv`.
        summary: what a row is.
        columns: the pandas type of each column, in order; missing values are empty cells.
        keys: the columns that no two rows have in common; none where rows may be alike.
    """

    name: str
    summary: str
    columns: dict[str, str]
    keys: tuple[str, ...] = ()


_TEXT, _NUMBER, _COUNT, _FLAG = "string", "float64", "Int64", "boolean"

_TABLES = (
    Table(
        "responses",
        "an answer of a person or a model, in canonical names",
        {name: kind for name, (kind, _) in responses.RESPONSE_COLUMNS.items()},
        ("model", "seed", "task", "item", "participant", "sample"),
    ),
    Table(
        "likelihoods",
        "log-likelihood of people's responses at the fitted lapse rate; fold is empty, 1 to 5, or "
        "`all` for the sum of the folds; sd is over repeats; within_sample: trained on the answers "
        "of these people (empty where nobody knows)",
        {
            "model": _TEXT,
            "task": _TEXT,
            "fold": _TEXT,
            "repeats": _COUNT,
            "lapse": _NUMBER,
            "log_likelihood": _NUMBER,
            "sd": _NUMBER,
            "symbols": _COUNT,
            "responses": _COUNT,
            "within_sample": _FLAG,
        },
        ("model", "task", "fold"),
    ),
    Table(
        "likelihoods_by_item",
        "the same for the responses to one query",
        {
            "model": _TEXT,
            "task": _TEXT,
            "item": _TEXT,
            "query": _TEXT,
            "responses": _COUNT,
            "log_likelihood": _NUMBER,
        },
        ("model", "task", "item", "query"),
    ),
    Table(
        "likelihoods_by_participant",
        "the same for the responses of one participant, where the data say who answered",
        {
            "model": _TEXT,
            "task": _TEXT,
            "participant": _TEXT,
            "responses": _COUNT,
            "log_likelihood": _NUMBER,
        },
        ("model", "task", "participant"),
    ),
    Table(
        "comparisons",
        "log-likelihood of model_a less that of model_b, with a bootstrap interval of 95%; unit is "
        "what it draws again: participants, or responses within each item (of one, it has none)",
        {
            "model_a": _TEXT,
            "model_b": _TEXT,
            "task": _TEXT,
            "difference": _NUMBER,
            "low": _NUMBER,
            "high": _NUMBER,
            "unit": _TEXT,
        },
        ("model_a", "model_b", "task"),
    ),
    Table(
        "accuracies",
        "percent of queries answered exactly, greedily; task is few_shot_gold, validation or "
        "novel_rules, kind is novel or copied, n and sd are of episodes",
        {
            "model": _TEXT,
            "task": _TEXT,
            "kind": _TEXT,
            "mean": _NUMBER,
            "sd": _NUMBER,
            "n": _COUNT,
        },
        ("model", "task", "kind"),
    ),
    Table(
        "item_accuracies",
        "percent of answers to one few-shot query that are right; group is simple, complex or "
        "empty (no function word)",
        {
            "model": _TEXT,
            "item": _TEXT,
            "query": _TEXT,
            "group": _TEXT,
            "six_long": _FLAG,
            "accuracy": _NUMBER,
            "n": _COUNT,
        },
        ("model", "item"),
    ),
    Table(
        "groups",
        "mean accuracy over few-shot items; group is all, simple, complex or six_long",
        {"model": _TEXT, "group": _TEXT, "accuracy": _NUMBER},
        ("model", "group"),
    ),
    Table(
        "agreement",
        "correlation of item accuracies with people's: permutation p, bootstrap interval of 95%; "
        "median r of people's answers drawn again",
        {
            "model": _TEXT,
            "r": _NUMBER,
            "p": _NUMBER,
            "low": _NUMBER,
            "high": _NUMBER,
            "noise_ceiling": _NUMBER,
        },
        ("model",),
    ),
    Table(
        "patterns",
        "how often a pattern is there: in few_shot of errors (one_to_one, iconic), in open_ended "
        "of answer sheets (perfect, one_to_one, iconic, mutual_exclusivity), in probes of answers "
        "(mutual_exclusivity, iconic, one_to_one, which is over mutual exclusivity)",
        {
            "model": _TEXT,
            "task": _TEXT,
            "pattern": _TEXT,
            "count": _COUNT,
            "n": _COUNT,
            "percent": _NUMBER,
        },
        ("model", "task", "pattern"),
    ),
    Table(
        "mutual_exclusivity",
        "share of probe answers consistent with it, with Wilson's interval of 95%",
        {
            "model": _TEXT,
            "pool_size": _COUNT,
            "counter_examples": _COUNT,
            "percent": _NUMBER,
            "low": _NUMBER,
            "high": _NUMBER,
            "n": _COUNT,
        },
        ("model", "pool_size", "counter_examples"),
    ),
    Table(
        "exclusivity_regression",
        "logistic regression of that on counter-examples and pool size, in log-odds",
        {
            "model": _TEXT,
            "term": _TEXT,
            "estimate": _NUMBER,
            "standard_error": _NUMBER,
            "z": _NUMBER,
            "p": _NUMBER,
            "low": _NUMBER,
            "high": _NUMBER,
        },
        ("model", "term"),
    ),
    Table(
        "learning_curves",
        "a line of a model's training; part is the number of the run, where one went on from the "
        "weights of another; step counts in it, and episodes are those of all parts so far",
        {
            "model": _TEXT,
            "part": _COUNT,
            "step": _COUNT,
            "episodes": _COUNT,
            "train_loss": _NUMBER,
            "val_loss": _NUMBER,
        },
    ),
    Table(
        "figures",
        "a published figure beside ours: `published`, with its SD over runs and the best run where "
        "the paper has them, or a range that was read off a graph; difference is above the number, "
        "or outside the range; ours is empty where the paper's model is not among ours",
        {
            "experiment": _TEXT,
            "figure": _TEXT,
            "model": _TEXT,
            "published": _NUMBER,
            "published_low": _NUMBER,
            "published_high": _NUMBER,
            "published_sd": _NUMBER,
            "published_best": _NUMBER,
            "ours": _NUMBER,
            "difference": _NUMBER,
        },
        ("experiment", "figure", "model"),
    ),
)

TABLES: dict[str, Table] = {row.name: row for row in _TABLES}
"""By name."""
