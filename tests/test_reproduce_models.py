"""Model files and names of `biml reproduce`."""

from pathlib import Path

import pytest

from biml.errors import UsageError
from biml.networks import checkpoint
from biml.paths import DataFolders, is_pretrained
from biml.reproduce.models import find_models
from fakes.networks import small_network


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    kinds = {"mlc": "algebraic+biases", "joint-top": "joint"}
    kinds |= {f"joint-cross{fold}": f"joint_cross{fold}" for fold in range(1, 6)}
    for name, kind in kinds.items():
        checkpoint.save_checkpoint(
            folder / f"{name}.pt", checkpoint.checkpoint_of(small_network(), kind)
        )
    return folder


def test_fold_models_are_checked(models: Path, shared: Path, tmp_path: Path) -> None:
    data = DataFolders(shared)
    with pytest.raises(UsageError, match="there is none for 2, 3, 4, 5"):
        find_models([str(models / "joint-cross1.pt")], tmp_path, data)
    copied = tmp_path / "other-cross2.pt"
    copied.write_bytes((models / "joint-cross1.pt").read_bytes())
    with pytest.raises(UsageError, match=r"other-cross2.*joint_cross1"):
        find_models(["other-cross2"], tmp_path, data)
    five = find_models([f"joint-cross{k}" for k in range(1, 6)], models, data)
    assert [(s.name, s.network, len(s.fold_models)) for s in five] == [("joint", None, 5)]


def test_named_fold_models_are_used_and_missing_ones_reported(
    models: Path, shared: Path, tmp_path
) -> None:
    data = DataFolders(shared)
    for name in ("joint-cross1", "joint-cross2", "joint-cross3"):
        (tmp_path / f"{name}.pt").write_bytes((models / f"{name}.pt").read_bytes())
    (tmp_path / "joint.pt").write_bytes((models / "joint-top.pt").read_bytes())
    named = ["joint", "joint-cross1", "joint-cross2"]
    with pytest.raises(UsageError, match="there is none for 4, 5"):
        find_models(named, tmp_path, data)
    assert [len(s.fold_models) for s in find_models(["joint"], tmp_path, data)] == [0]
    for name in ("joint-cross4", "joint-cross5"):
        (tmp_path / f"{name}.pt").write_bytes((models / f"{name}.pt").read_bytes())
    (subject,) = find_models(named, tmp_path, data)
    assert [network.path.stem for network in subject.fold_models] == [
        f"joint-cross{fold}" for fold in range(1, 6)
    ]


def test_fold_models_of_a_pretrained_model_are_found_in_the_user_folder(
    models: Path, shared: Path, tmp_path: Path
) -> None:
    for fold in range(1, 6):
        copied = tmp_path / f"net-BIML-joint-cross{fold}.pt"
        copied.write_bytes((models / f"joint-cross{fold}.pt").read_bytes())
    (subject,) = find_models(["net-BIML-joint-top"], tmp_path, DataFolders(shared, defaults=()))
    assert subject.network is not None
    assert is_pretrained(subject.network.path)
    assert [network.path.parent for network in subject.fold_models] == [tmp_path] * 5


@pytest.mark.parametrize("name", ["people", "oracle"])
def test_a_model_cannot_have_the_name_of_people_or_a_symbolic_model(
    name: str, models: Path, shared: Path, tmp_path: Path
) -> None:
    (tmp_path / f"{name}.pt").write_bytes((models / "mlc.pt").read_bytes())
    with pytest.raises(UsageError, match=f"the name {name} is taken by"):
        find_models([str(tmp_path / f"{name}.pt")], tmp_path, DataFolders(shared))
