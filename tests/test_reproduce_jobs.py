"""Jobs of `biml reproduce`: recomputation, interruption and processes."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from biml.errors import BimlError
from biml.networks import checkpoint
from biml.paths import DataFolders, SearchPath
from biml.report.results import Results, coerce_types
from biml.report.schemas import TABLES
from biml.reproduce import cache as store_of_units
from biml.reproduce.experiments import select_experiments
from biml.reproduce.measurements import MEASUREMENTS
from biml.reproduce.models import find_models
from biml.reproduce.run import plan_jobs, reproduce
from biml.reproduce.tables import ReproductionSpec, build_tables
from fakes.networks import small_network
from fakes.reproduction import RecordingProgress, cache_in


def test_a_second_call_computes_nothing_and_keeps_the_folder(
    results: Results, quick_spec: ReproductionSpec, run_folder: Path
) -> None:
    before = (run_folder / "out" / "index.html").stat()
    progress = RecordingProgress()
    again = reproduce(
        quick_spec, run_folder / "out", workers=1, progress=progress, cache=cache_in(run_folder)
    )
    assert progress.totals == {}
    after = (run_folder / "out" / "index.html").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    for name, frame in again.tables.items():
        pd.testing.assert_frame_equal(coerce_types(frame, TABLES[name]), results.tables[name])


def test_only_changed_inputs_are_recomputed(
    results: Results, quick_spec: ReproductionSpec, run_folder: Path, models: Path, tmp_path: Path
) -> None:
    checkpoint.save_checkpoint(
        models / "mlc.pt", checkpoint.checkpoint_of(small_network(77), "algebraic+biases")
    )
    try:
        changed = find_models(["mlc", "oracle"], models, quick_spec.data)
        progress = RecordingProgress()
        reproduce(
            ReproductionSpec(
                changed, select_experiments(["novel-rules", "table1"]), quick_spec.data, quick=True
            ),
            tmp_path / "out",
            workers=1,
            progress=progress,
            cache=cache_in(run_folder),
        )
        assert progress.totals == {
            "likelihood, few-shot": 1,
            "greedy responses, held-out rules": 1,
        }
    finally:
        checkpoint.save_checkpoint(
            models / "mlc.pt", checkpoint.checkpoint_of(small_network(0), "algebraic+biases")
        )


def test_a_new_version_of_a_measurement_is_recomputed(
    results: Results, quick_spec: ReproductionSpec, run_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    row = MEASUREMENTS["gold"]
    monkeypatch.setitem(MEASUREMENTS, "gold", replace(row, version=row.version + 1))
    mlc = tuple(model for model in quick_spec.models if model.name == "mlc")
    spec = ReproductionSpec(mlc, select_experiments(["few-shot"]), quick_spec.data, quick=True)
    progress = RecordingProgress()
    reproduce(spec, tmp_path / "out", workers=1, progress=progress, cache=cache_in(run_folder))
    assert set(progress.totals) == {"greedy responses, gold"}


def test_an_interruption_loses_only_the_running_job(shared: Path, tmp_path: Path) -> None:
    data = DataFolders(shared)
    subjects = find_models(["oracle", "oracle-biases", "biases"], tmp_path, data)
    spec = ReproductionSpec(
        subjects, select_experiments(["table1", "open-ended"]), data, quick=True
    )
    first = RecordingProgress(interrupt_after=2)
    with pytest.raises(KeyboardInterrupt):
        reproduce(spec, tmp_path / "out", workers=1, progress=first, cache=cache_in(tmp_path))
    assert not (tmp_path / "out").exists()
    second = RecordingProgress()
    reproduce(spec, tmp_path / "out", workers=1, progress=second, cache=cache_in(tmp_path))
    assert sum(second.totals.values()) == len(plan_jobs(spec)[0]) - 2


def test_another_version_of_biml_recomputes_everything(monkeypatch) -> None:
    before = store_of_units.cache_key("gold", 1)
    monkeypatch.setattr(store_of_units, "__version__", "0.0.0")
    assert store_of_units.cache_key("gold", 1) != before


def test_error_for_an_unusable_table_names_it_without_the_temporary_folder(
    quick_spec: ReproductionSpec, tmp_path: Path, monkeypatch
) -> None:
    def twice(*of: object) -> dict[str, pd.DataFrame]:
        return {name: pd.concat([frame, frame]) for name, frame in build_tables(*of).items()}

    monkeypatch.setattr("biml.reproduce.run.build_tables", twice)
    oracle = tuple(s for s in quick_spec.models if s.name == "oracle")
    spec = ReproductionSpec(oracle, select_experiments(["table1"]), quick_spec.data, quick=True)
    with pytest.raises(BimlError, match=r"^likelihoods\.csv, line 3: a second row") as caught:
        reproduce(
            spec,
            tmp_path / "out",
            workers=1,
            cache=cache_in(tmp_path),
        )
    assert str(tmp_path) not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_error_in_a_job_names_the_model(quick_spec: ReproductionSpec, tmp_path: Path) -> None:
    spec = ReproductionSpec(
        quick_spec.models, select_experiments(["few-shot"]), quick_spec.data, quick=True
    )
    unit = next(u for u in plan_jobs(spec)[0] if u.key == ("few_shot_samples", "mlc"))
    nowhere = DataFolders(None, (SearchPath(tmp_path, "nowhere"),))
    lost = replace(unit, context=replace(unit.context, data=nowhere))
    with pytest.raises(BimlError, match=r"^mlc: no folder data_human"):
        lost.run()
