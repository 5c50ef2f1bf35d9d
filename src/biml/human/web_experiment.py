"""Records of the authors' own web experiment, nested in JSON: one for each trial of a participant.

A record has `phase` (`response_train` or `test`), `abs_input` and `abs_response` in canonical
names, `raw_input` and `raw_response` in the words and colours on the screen, the targets likewise,
`correct`, `cycle`, `learning_stage` and `rt`.
"""

from biml.human.foreign_tables import ForeignTable

WEB_EXPERIMENT_COLUMNS = {
    "query": ("abs_input", "raw_input"),
    "response": ("abs_response", "raw_response"),
    "participant": ("uniqueid", "workerid", "id"),
}
"""The names that records have for the columns of a table of responses, the best first."""

QUERY_NAMES = WEB_EXPERIMENT_COLUMNS["query"]

TEST_PHASE = "test"


def recognise_web_experiment(table: ForeignTable) -> bool:
    """Name the columns as in tables of responses, and keep the records of tests alone.

    Returns:
        Whether the table has records of the web experiment; if not, it stays as it is.
    """
    if "phase" not in table.columns or not any(name in table.columns for name in QUERY_NAMES):
        return False
    renamed = {}
    for name, others in WEB_EXPERIMENT_COLUMNS.items():
        found = next((other for other in others if other in table.columns), None)
        if found and name not in table.columns:
            renamed[found] = name
    tests = [(n, row) for n, row in table.rows if row["phase"] == TEST_PHASE]
    n_others = len(table.rows) - len(tests)
    table.notes.append(
        f"records of the authors' web experiment; {n_others:,} of other phases were left out"
    )
    table.columns = [renamed.get(name, name) for name in table.columns]
    table.rows = [(n, {renamed.get(k, k): v for k, v in row.items()}) for n, row in tests]
    return True
