"""Search paths of data folders."""

from pathlib import Path

import pytest

from biml import paths
from biml.errors import BimlError, UsageError
from biml.paths import DataFolders, SearchPath, default_search_paths, resolve_model


def places(*folders: Path) -> tuple[SearchPath, ...]:
    return tuple(SearchPath(folder, folder.name) for folder in folders)


def test_data_dir_is_searched_before_the_defaults(tmp_path: Path) -> None:
    for name in ("named", "usual"):
        (tmp_path / name / "data_human").mkdir(parents=True)
    usual = places(tmp_path / "usual")
    assert DataFolders(None, usual).require("data_human") == tmp_path / "usual" / "data_human"
    folders = DataFolders(tmp_path / "named", usual)
    assert folders.require("data_human") == tmp_path / "named" / "data_human"


def test_a_data_dir_without_the_data_falls_back_to_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "usual" / "data_human").mkdir(parents=True)
    (tmp_path / "named").mkdir()
    folders = DataFolders(tmp_path / "named", places(tmp_path / "usual"))
    assert folders.require("data_human") == tmp_path / "usual" / "data_human"
    assert folders.fallback_note("data_human") == f"there is no data_human in {tmp_path / 'named'}"


def test_no_fallback_note_without_data_dir_or_when_it_has_the_data(tmp_path: Path) -> None:
    (tmp_path / "data_human" / "few_shot").mkdir(parents=True)
    for named in (None, tmp_path, tmp_path / "data_human"):
        assert not DataFolders(named, ()).fallback_note("data_human")
    inside = DataFolders(tmp_path / "data_human" / "few_shot", places(tmp_path))
    assert inside.fallback_note("data_human")


def test_data_dir_may_be_the_data_folder_itself(tmp_path: Path) -> None:
    (tmp_path / "data_human").mkdir()
    assert DataFolders(tmp_path / "data_human", ()).require("data_human") == tmp_path / "data_human"


def test_defaults_are_environment_current_directory_and_user_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    whys = [path.origin for path in default_search_paths({"BIML_DATA": str(tmp_path)})]
    assert whys == ["BIML_DATA", "current directory", "user's data folder"]
    assert len(default_search_paths({})) == 2


def test_the_error_about_missing_data_names_the_download_command(tmp_path: Path) -> None:
    with pytest.raises(BimlError, match="biml data download human") as caught:
        DataFolders(None, places(tmp_path)).require("data_human")
    assert str(tmp_path) in str(caught.value)


def test_a_missing_data_dir_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--data_dir"):
        DataFolders(tmp_path / "absent", ())
    with pytest.raises(UsageError, match="BIML_DATA"):
        DataFolders(None, default_search_paths({"BIML_DATA": str(tmp_path / "absent")}))


def test_a_folder_of_models_found_under_two_names_is_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out_models").mkdir()
    with pytest.raises(UsageError, match="no model 'absent'") as caught:
        resolve_model("absent", "out_models", DataFolders(tmp_path, ()))
    assert str(caught.value).count("there is no model") == 1


def test_without_a_home_the_folders_are_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: str, **__: bool) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.chdir(tmp_path)
    for find in (fail, lambda *_, **__: "~/.local/share/biml"):
        monkeypatch.setattr("platformdirs.user_data_dir", find)
        monkeypatch.setattr("platformdirs.user_cache_dir", find)
        assert paths.user_data_folder() == tmp_path / ".biml/data"
        assert paths.user_cache_folder() == tmp_path / ".biml/cache"
