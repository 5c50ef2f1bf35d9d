"""What things in the tables are called on the page, in its order."""

TASK_LABELS = {"few_shot": "Few-shot task", "open_ended": "Open-ended task", "probes": "Probes"}

PATTERN_LABELS = {
    "perfect": "Perfect",
    "one_to_one": "One-to-one",
    "iconic": "Iconic",
    "mutual_exclusivity": "Mutual exclusivity",
}
"""Of open-ended answer sheets."""

PATTERN_DESCRIPTIONS = {
    "perfect": "each word always stands for one colour of its own",
    "one_to_one": "every answer is as long as its query",
    "iconic": "one dictionary explains every answer from left to right",
    "mutual_exclusivity": "no two queries have the same answer",
}

ERROR_LABELS = {
    "one-to-one": "one symbol a word, each known word in its place",
    "iconic": "the order of the input kept where the rule would reverse it",
}
"""Kinds of error in the few-shot task, as the column `error_type` names them."""

PROBE_LABELS = {
    "mutual exclusivity": "an output that no study example has",
    "concatenation": "the outputs of the words in their order",
    "trade-off": "one symbol a word, known words in place, though a symbol comes twice",
}
"""Kinds of probe, and what an answer that follows them is."""

GROUP_LABELS = {
    "all": "All queries",
    "simple": "Simple",
    "complex": "Complex",
    "six_long": "Six symbols long",
}

ACCURACY_LABELS = {
    "few_shot_gold": "Few-shot task",
    "validation": "Validation",
    "novel_rules": "Novel rules",
}

QUERY_KIND_LABELS = {"novel": "new queries", "copied": "copied"}


LABELS = {"sd(group)": "SD of participants' intercepts"}
"""Names in tables that are no words."""


def label(name: str) -> str:
    """A name in a table for people.

    >>> label("six_long")
    'six long'
    """
    return LABELS.get(name, name.replace("_", " "))
