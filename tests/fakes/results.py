"""A small results folder: human responses, a model's samples and hand-made numbers."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from biml.analysis.people import people_few_shot, people_open_ended, people_probes
from biml.analysis.responses import response_table
from biml.analysis.scoring import sample_open_ended
from biml.evaluation.registry import symbolic_model
from biml.paths import DataFolders
from biml.report.page import write_report
from biml.report.results import Exclusion, ModelInfo, Results, write_results
from biml.report.schemas import TABLES

HOSTILE = "<script>alert(1)</script>"

MODELS = (
    ModelInfo("net", f"Net & {HOSTILE} $x", "network"),
    ModelInfo("oracle", "Symbolic (oracle)", "symbolic"),
)

NUMBERS: dict[str, list[tuple[object, ...]]] = {
    "likelihoods": [
        ("net", "few_shot", "", 100, 0.03, -400.5, 6.25, 990, 217, False),
        ("oracle", "few_shot", "", 1, 0.13, -536.08, 0.0, 990, 217, False),
        ("net", "open_ended", "1", 200, 0.03, -180.0, 3.0, 250, 42, True),
        ("net", "open_ended", "all", 200, 0.03, -925.0, 7.0, 1250, 203, True),
    ],
    "likelihoods_by_item": [("net", "few_shot", "DAX thrice", "DAX thrice", 25, -31.5)],
    "likelihoods_by_participant": [("net", "open_ended", "P7", 7, -12.5)],
    "comparisons": [("net", "oracle", "few_shot", 135.5, 90.0, 180.25, "responses")],
    "accuracies": [("net", "validation", "novel", 95.25, 0.5, 200)],
    "error_rates": [
        ("net", task, kind, 2, "staged", "length_actions", 200, 18000, 0.5, sd, 0.1, 2.8, None)
        for task, kind, sd in (
            ("scan_length", "all", 0.25),
            ("cogs_gen_lex", "all", None),
            ("cogs_gen_lex", "prim_to_subj_proper", None),
        )
    ],
    "error_counts": [
        ("net", "scan_length", "net-s0", "all", length, 0, "staged", "length_actions", 5, 40, 40)
        for length in (24, 32)
    ],
    "item_accuracies": [
        ("people", "DAX thrice", "DAX thrice", "simple", False, 88.0, 25),
        ("net", "DAX thrice", "DAX thrice", "simple", False, 94.0, 250),
        ("oracle", "DAX thrice", "DAX thrice", "simple", False, 100.0, 250),
    ],
    "accuracy_by_complexity": [
        ("people", "all", 80.739),
        ("net", "all", 82.5),
        ("oracle", "all", 100.0),
    ],
    "item_correlation": [
        ("net", 0.788, 0.031, 0.2, 0.9, 0.74),
        ("oracle", None, None, None, None, 0.74),
    ],
    "response_patterns": [
        ("people", "few_shot", "one_to_one", 10, 41, 24.39),
        ("people", "open_ended", "perfect", 17, 29, 58.62),
        ("net", "open_ended", "perfect", 65, 100, 65.0),
        ("people", "probes", "mutual_exclusivity", 90, 132, 68.18),
    ],
    "mutual_exclusivity": [
        ("people", 2, 0, 90.9, 72.2, 97.5, 22),
        ("people", 2, 1, 72.7, 51.8, 86.8, 22),
    ],
    "exclusivity_regression": [("people", "pool_size", -0.23, 0.1, -2.3, 0.0001, -0.43, -0.03)],
    "learning_curves": [
        ("net", 1, 1, 25, 2.2, 2.1),
        ("net", 1, 100, 2500, 0.5, None),
        ("net", 2, 100, 5000, 0.25, 0.3),
    ],
    "statistics": [
        ("table1", "log-likelihood", "net", None, -380, -360, None, None, -400.5, -20.5),
        ("few-shot", "gold (%)", "net", 92.9, None, None, 8.2, 100, 99.8, 6.9),
        ("few-shot", "samples (%)", "people", 80.7, None, None, None, None, 80.739, 0.039),
        ("few-shot", "samples (%)", "net", 82.4, None, None, None, None, 82.5, 0.1),
        ("few-shot", "item correlation r", "net", 0.788, None, None, None, None, 0.779, -0.009),
    ],
}


def number_tables() -> dict[str, pd.DataFrame]:
    """Tables of numbers that nobody computed."""
    return {
        name: pd.DataFrame(rows, columns=list(TABLES[name].columns)[: len(rows[0])])
        for name, rows in NUMBERS.items()
    }


def answers(shared: Path) -> pd.DataFrame:
    """People's answers to all tasks, a few hostile ones, and a symbolic model's response sets."""
    data = DataFolders(shared)
    few_shot = people_few_shot(data)
    hostile = {"model": "net", "task": "few_shot", "item": "DAX thrice", "query": "DAX thrice"}
    theirs = [{**hostile, "target": "DAX DAX DAX", "response": r} for r in _RESPONSES]
    response_sets = sample_open_ended(
        symbolic_model("biases").build(), data, model="net", n_sets=15
    )
    tables = [
        few_shot,
        response_table(theirs),
        people_open_ended(data),
        response_sets,
        people_probes(data),
    ]
    return pd.concat(tables, ignore_index=True)


_RESPONSES = [HOSTILE, f'"><img/src=x/onerror=alert(2)> {HOSTILE}', "DAX DAX DAX", "", "1 2 3"]


def write_results_folder(folder: Path, tables: Mapping[str, pd.DataFrame]) -> Path:
    """A results folder with these tables."""
    results = Results(
        version="0.1.0",
        quick=True,
        seed=3,
        models=MODELS,
        experiments=("few-shot", "open-ended", "probes"),
        exclusions=(
            Exclusion(
                "oracle", "open-ended", "samples, open-ended", f"is for another task {HOSTILE}"
            ),
        ),
        tables=tables,
    )
    write_results(results, folder)
    return folder


@pytest.fixture(scope="session")
def report_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder of every table with its report."""
    folder = tmp_path_factory.mktemp("report") / "results"
    write_results_folder(folder, {"responses": answers(shared), **number_tables()})
    write_report(folder)
    return folder
