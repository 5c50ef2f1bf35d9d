"""The human few-shot task (paper, Fig. 2) in canonical names: grammar, study and query inputs."""

from biml.grammar.grammar import Grammar

GOLD = Grammar.parse(
    """
    1 -> 1
    2 -> 2
    3 -> 3
    DAX -> DAX
    u1 thrice -> [u1] [u1] [u1]
    u1 surround u2 -> [u1] [u2] [u1]
    x1 after x2 -> [x2] [x1]
    u1 x1 -> [u1] [x1]
    """,
    source="gold grammar",
)

GOLD_STUDY = (
    *("1", "2", "3", "DAX", "2 after 3", "1 after 2", "2 thrice", "2 surround 3", "1 thrice"),
    *("3 surround 1", "2 thrice after 3", "3 after 1 surround 2", "2 after 3 thrice"),
    "3 surround 1 after 2",
)

GOLD_SIMPLE = ("3 after DAX", "DAX after 1", "DAX thrice", "1 surround DAX", "DAX surround 2")
"""Queries with one function."""

GOLD_COMPLEX = (
    *("2 after 3 surround DAX", "DAX thrice after 2", "3 after DAX thrice"),
    *("DAX surround DAX after DAX thrice", "DAX surround 3 after 1 thrice"),
)
"""Queries with several functions; the outputs of the last two have six symbols."""

GOLD_QUERIES = GOLD_SIMPLE + GOLD_COMPLEX
