"""Import of archives and folders: recognised by contents, malicious ones rejected."""

import dataclasses
import os
import stat
import zipfile
from pathlib import Path

import pytest
import torch

from biml.errors import BimlError, FormatError, UsageError
from biml.human.download import import_path
from biml.human.resources import RESOURCES
from biml.networks import checkpoint
from biml.networks.checkpoint import load_model, write_safetensors
from biml.paths import DataFolders, resolve_model
from fakes.networks import small_network

EPISODES = {"data/train/000001.txt": "a", "data/val/000001.txt": "b"}


def make_zip(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    "bad_path", ["../out.txt", "data/../../out.txt", "/tmp/out.txt", "..\\out.txt", "C:/out.txt"]
)
def test_an_archive_with_a_path_outside_the_target_is_rejected(
    tmp_path: Path, bad_path: str
) -> None:
    archive = make_zip(tmp_path / "x.zip", {**EPISODES, bad_path: "gotcha"})
    with pytest.raises(FormatError, match="outside"):
        import_path(archive, tmp_path / "dest")
    assert not list(tmp_path.rglob("out.txt"))
    assert not (tmp_path / "dest").exists()


def test_symbolic_links_are_not_unpacked(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x.zip", EPISODES)
    with zipfile.ZipFile(archive, "a") as more:
        link = zipfile.ZipInfo("data/train/000002.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        more.writestr(link, "/etc/passwd")
    assert import_path(archive, tmp_path / "dest").files == 2
    assert not (tmp_path / "dest" / "data_algebraic" / "train" / "000002.txt").exists()


def test_an_archive_that_unpacks_to_too_much_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = dataclasses.replace(RESOURCES["episodes"], max_bytes=100_000, max_files=3)
    monkeypatch.setitem(RESOURCES, "episodes", small)
    bomb = make_zip(tmp_path / "x.zip", {**EPISODES, "data/train/000002.txt": "0" * 10**7})
    assert bomb.stat().st_size < 20_000
    many = make_zip(
        tmp_path / "y.zip", {**EPISODES, **{f"data/train/{i:06}.txt": "" for i in range(2, 9)}}
    )
    for archive in (bomb, many):
        with pytest.raises(FormatError, match="nothing was unpacked"):
            import_path(archive, tmp_path / "dest")
        assert not list((tmp_path / "dest").iterdir())


def test_a_damaged_archive_leaves_existing_data_unchanged(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x.zip", {**EPISODES, "data/val/000002.txt": "xyz" * 1000})
    import_path(archive, tmp_path / "dest")
    whole = archive.read_bytes()
    at = whole.index(b"data/val/000002.txt") + len("data/val/000002.txt") + 2
    archive.write_bytes(whole[:at] + b"\xff\xff\xff" + whole[at + 3 :])
    with pytest.raises(FormatError, match=r"000002\.txt"):
        import_path(archive, tmp_path / "dest", overwrite=True)
    assert len(list((tmp_path / "dest" / "data_algebraic").rglob("*.txt"))) == 3
    assert [path.name for path in (tmp_path / "dest").iterdir()] == ["data_algebraic"]


def test_existing_data_are_replaced_only_with_overwrite(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x.zip", EPISODES)
    placed = import_path(archive, tmp_path / "dest")
    (placed.folder / "train" / "000009.txt").write_text("mine")
    with pytest.raises(UsageError, match="--overwrite"):
        import_path(archive, tmp_path / "dest")
    assert (placed.folder / "train" / "000009.txt").exists()
    import_path(archive, tmp_path / "dest", overwrite=True)
    assert not (placed.folder / "train" / "000009.txt").exists()


def test_human_data_are_recognised_at_any_depth(shared: Path, tmp_path: Path) -> None:
    for given in (shared / "data_human", shared):
        placed = import_path(given, tmp_path / given.name)
        assert placed.resource.name == "human"
        assert (placed.folder / "few_shot" / "val_gold" / "mini_scan.txt").exists()
        assert (placed.folder / "open_ended_cross5" / "val").is_dir()


def test_a_folder_of_episodes_is_recognised(shared: Path, tmp_path: Path) -> None:
    placed = import_path(shared / "data_algebraic_sample", tmp_path)
    assert (placed.resource.name, placed.files) == ("episodes", 80)


def test_checkpoints_are_added_to_existing_ones(shared: Path, tmp_path: Path) -> None:
    name = "net-legacy-vanilla.pt"
    placed = import_path(shared / "legacy" / name, tmp_path)
    assert (placed.resource.name, placed.files) == ("models", 1)
    (tmp_path / "out_models" / "mine.pt").write_bytes(b"mine")
    again = import_path(shared / "legacy", tmp_path)
    assert name in again.kept
    assert (tmp_path / "out_models" / "mine.pt").exists()
    assert (tmp_path / "out_models" / name).exists()


@pytest.mark.published_data
def test_the_published_models_of_both_benchmarks_are_found_by_name(
    shared: Path, tmp_path: Path
) -> None:
    """Their archive has a folder of SCAN and one of COGS, with records of responses beside."""
    archive = tmp_path / "BIML_ml_models.zip"
    names = {"scan": "net_addprim_jump_actions_rep1.pt", "cogs": "net_cogs_rep1.pt"}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for corpus, name in names.items():
            folder = f"BIML_ml_models/out_models_{corpus}"
            out.write(shared / "scale" / f"net-scale-{corpus}.pt", f"{folder}/{name}")
            out.writestr(f"{folder}/{name.removesuffix('.pt')}_eval.txt", "responses")
    placed = import_path(archive, tmp_path)
    assert (placed.resource.name, placed.files) == ("benchmark-models", 2)
    for corpus, name in names.items():
        found = resolve_model(name, f"out_models_{corpus}", DataFolders(tmp_path))
        assert found.read_bytes() == (shared / "scale" / f"net-scale-{corpus}.pt").read_bytes()


def test_an_exported_network_is_imported_with_its_card(tmp_path: Path) -> None:
    contents = checkpoint.checkpoint_of(small_network(), "algebraic")
    write_safetensors(tmp_path / "net.safetensors", contents, torch.float32)
    (tmp_path / "other.json").write_text("{}")
    placed = import_path(tmp_path / "net.safetensors", tmp_path / "dest")
    assert (placed.resource.name, placed.files) == ("models", 2)
    assert {path.name for path in placed.folder.iterdir()} == {"net.safetensors", "net.json"}
    assert load_model(placed.folder / "net.safetensors").episode_type == "algebraic"


def test_an_exported_network_without_its_card_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_text("weights")
    with pytest.raises(BimlError, match=r"net\.json"):
        import_path(tmp_path / "net.safetensors", tmp_path / "dest")
    assert not (tmp_path / "dest").exists()


def test_a_file_that_is_not_a_model_is_rejected(tmp_path: Path) -> None:
    alone = tmp_path / "models" / "garbage.pt"
    alone.parent.mkdir()
    alone.write_bytes(bytes(range(256)) * 20)
    archive = make_zip(tmp_path / "models.zip", {"garbage.pt": "no model"})
    refusal = r"nothing was installed; garbage\.pt"
    for given in (alone, alone.parent, archive):
        with pytest.raises(FormatError, match=refusal) as caught:
            import_path(given, tmp_path / "dest")
        assert caught.value.source == str(given)
        assert not list((tmp_path / "dest").iterdir())


def test_unknown_missing_and_broken_files_give_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(BimlError, match="no such file"):
        import_path(tmp_path / "absent", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="data_human"):
        import_path(tmp_path / "empty", tmp_path)
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(FormatError, match="not a readable zip"):
        import_path(tmp_path / "x.zip", tmp_path)


@pytest.mark.parametrize(
    "method",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
)
def test_damaged_members_of_every_compression_are_named(tmp_path: Path, method: int) -> None:
    archive, name = tmp_path / "x.zip", "data/val/000001.txt"
    with zipfile.ZipFile(archive, "w", method) as new:
        new.writestr("data/train/000001.txt", "a")
        new.writestr(name, os.urandom(3000))
    data = bytearray(archive.read_bytes())
    begin = data.index(name.encode()) + len(name)
    for position in range(begin + 20, begin + 70, 7):  # behind the headers
        damaged = data.copy()
        damaged[position] ^= 0xFF
        archive.write_bytes(damaged)
        with pytest.raises(FormatError, match=f"{name} in it cannot be read"):
            import_path(archive, tmp_path / "dest")
        assert not list((tmp_path / "dest").iterdir())


@pytest.mark.parametrize(("offset", "value"), [(6, 200), (8, 1), (8, 0x20), (10, 97)])
def test_members_of_unknown_versions_and_methods_are_rejected(
    tmp_path: Path, offset: int, value: int
) -> None:
    archive = make_zip(tmp_path / "x.zip", EPISODES)
    data = bytearray(archive.read_bytes())
    data[data.rindex(b"PK\x01\x02") + offset] = value
    archive.write_bytes(data)
    with pytest.raises(FormatError, match=r"x\.zip"):
        import_path(archive, tmp_path / "dest")


def test_members_without_a_name_are_ignored(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x.zip", EPISODES)
    with zipfile.ZipFile(archive, "a") as more:
        nameless = zipfile.ZipInfo("x")
        nameless.filename = ""
        more.writestr(nameless, "text")
    assert import_path(archive, tmp_path / "dest").files == 2


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / "mine" / part).mkdir(parents=True)
        (tmp_path / "mine" / part / "000001.txt").write_text("a")
    os.mkfifo(tmp_path / "mine" / "train" / "000002.txt")
    assert import_path(tmp_path / "mine", tmp_path / "dest").files == 2
    os.mkfifo(tmp_path / "net.pt")
    for path in (tmp_path / "net.pt", tmp_path / "mine" / "train" / "000002.txt"):
        with pytest.raises(UsageError, match="pipe"):
            import_path(path, tmp_path / "dest")
