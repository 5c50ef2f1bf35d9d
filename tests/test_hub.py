"""Models in the form of the Hugging Face Hub: written, loaded and pushed, without a network."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import biml
from biml.cli.main import main
from biml.episodes.episode_type import PUBLISHED_VOCAB
from biml.errors import BimlError, FormatError, UsageError
from biml.networks import checkpoint
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer

pytest.importorskip("huggingface_hub", reason="needs the extra hub")

from huggingface_hub import ModelCard

from biml import BimlModel
from biml.evaluation import hub

STUDY = [("dax", "RED"), ("wif", "BLUE"), ("dax fep", "RED RED RED")]


def metadata(folder: Path) -> dict[str, Any]:
    return dict(ModelCard.load(folder / "README.md").data.to_dict())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "top"
    command = ["export", "net-BIML-top", str(folder), "--to", "hf", "--dtype", "float16"]
    assert main(command) == 0
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A checkpoint of a model of one's own."""
    network = Seq2SeqTransformer(Seq2SeqConfig(1, 1, 2, 16, 2), PUBLISHED_VOCAB, seed=4)
    info = {"step": 7, "options": {"episode_type": "algebraic", "nsteps": 7}}
    contents = checkpoint.checkpoint_of(network, "algebraic", info=info, training={"optimizer": {}})
    checkpoint.save_checkpoint(tmp_path / "own.pt", contents)
    return tmp_path / "own.pt"


def test_an_exported_model_answers_as_before(exported: Path) -> None:
    before = biml.load("net-BIML-top", "cpu")
    model = BimlModel.from_pretrained(exported, device="cpu")
    assert model.name == "net-BIML-top"
    assert model.data_use == before.data_use
    assert model.card == before.card
    assert model.respond(STUDY, "wif fep") == "BLUE BLUE BLUE"
    score = model.log_prob(STUDY, "wif fep", "BLUE BLUE BLUE")
    assert score == before.log_prob(STUDY, "wif fep", "BLUE BLUE BLUE")


def test_a_folder_is_found_by_name_like_a_file(exported: Path) -> None:
    model = biml.load(exported, "cpu")
    assert (model.name, model.episode_type) == ("top", "algebraic+slips+strings")
    command = ["eval", "--fn_out_model", "top", "--dir_model", str(exported.parent)]
    assert main([*command, "--max", "--episode_type", "few_shot_gold", "--episodes", "1"]) == 0


def test_the_card_has_licence_metrics_and_use_of_data(exported: Path) -> None:
    front, card = metadata(exported), biml.load("net-BIML-top", "cpu").card
    assert (front["license"], front["library_name"]) == ("mit", "biml")
    (index,) = front["model-index"]
    results = {one["dataset"]["type"]: one["metrics"][0] for one in index["results"]}
    assert results["few_shot_gold"]["value"] == card["metrics"]["gold"]["novel"]
    human = results["few_shot_human"]
    assert human["value"] == card["metrics"]["few_shot_human"]["log_likelihood"]
    assert human["name"].endswith("†")
    assert not results["open_end_human_all"]["name"].endswith("†")
    text = (exported / "README.md").read_text("utf-8")
    for part in ("fitted to", "chosen by", "people's answers in the few-shot task", "biml train"):
        assert part in text


def test_a_model_of_ones_own_is_saved_and_pushed(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: dict[str, bytes] = {}

    class Api:
        def __init__(self, token: str | None) -> None: ...

        def create_repo(self, repo_id: str, **options: Any) -> Any:
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, folder_path: Path, **options: Any) -> str:
            pushed.update({file.name: file.read_bytes() for file in Path(folder_path).iterdir()})
            return "address"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    model = BimlModel.of(biml.load(own, "cpu"))
    model.save_pretrained(tmp_path / "saved")
    assert model.push_to_hub("me/own") == "address"
    files = {file.name: file.read_bytes() for file in (tmp_path / "saved").iterdir()}
    assert files == pushed
    assert set(files) == {"model.safetensors", "config.json", "README.md"}
    assert "license" not in metadata(tmp_path / "saved")
    assert "biml train --episode_type algebraic --nsteps 7" in files["README.md"].decode()
    again = BimlModel.from_pretrained(tmp_path / "saved", device="cpu")
    for name, value in model.responder.network.state_dict().items():  # type: ignore[attr-defined]
        assert torch.equal(again.responder.network.state_dict()[name], value)  # type: ignore[attr-defined]
    assert again.info["step"] == 7


def test_a_model_of_the_hub_is_downloaded(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(name: str, **options: Any) -> str:
        asked.append((name, options["revision"], options["allow_patterns"]))
        return str(exported)

    monkeypatch.setattr(hub, "snapshot_download", download)
    model = BimlModel.from_pretrained("lab/net", revision="v1", device="cpu")
    assert model.respond(STUDY, "dax") == "RED"
    assert asked == [("lab/net", "v1", ["model.safetensors", "config.json"])]

    def fail(name: str, **options: Any) -> str:
        raise ConnectionError("no route\nto the host")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(BimlError, match=r"lab/none: .*no route"):
        BimlModel.from_pretrained("lab/none")


def test_export_replaces_its_own_folder_only(own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    command = ["export", str(own), str(folder), "--to", "hf", "--license", "cc-by-4.0"]
    assert main(command) == 0
    assert metadata(folder)["license"] == "cc-by-4.0"
    assert main(command) == 2
    assert main([*command, "--overwrite"]) == 0
    (folder / "notes.txt").write_text("mine")
    assert main([*command, "--overwrite"]) == 2
    assert (folder / "notes.txt").is_file()
    assert main(["export", str(own), str(tmp_path / "a.pt"), "--license", "mit"]) == 2
    assert main(["export", str(own), str(tmp_path / "a.safetensors"), "--to", "hf"]) == 2


@pytest.mark.parametrize("name", ["README.md", "config.json"])
def test_saving_replaces_only_models_of_biml(name: str, own: Path, tmp_path: Path) -> None:
    model = BimlModel.of(biml.load(own))
    mine = tmp_path / "mine" / name
    mine.parent.mkdir()
    mine.write_text("# My project\n")
    with pytest.raises(UsageError, match=name):
        model.save_pretrained(mine.parent)
    assert [path.name for path in mine.parent.iterdir()] == [name]
    assert mine.read_text() == "# My project\n"
    model.save_pretrained(tmp_path / "new")
    model.save_pretrained(tmp_path / "new")


def test_symbolic_models_have_nothing_to_save() -> None:
    with pytest.raises(UsageError, match="oracle"):
        BimlModel.of(biml.symbolic("oracle"))


def config(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], object]:
    def damage(folder: Path) -> object:
        file = folder / "config.json"
        contents = json.loads(file.read_text())
        changed = change(contents)
        return file.write_text(json.dumps(contents if changed is None else changed))

    return damage


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "deep nesting": lambda folder: (folder / "config.json").write_text("[" * 100_000),
    "no object": config(lambda _: [1]),
    "missing": lambda folder: (folder / "config.json").unlink(),
    "of another library": config(lambda _: {"model_type": "bert", "hidden_size": 768}),
    "huge sizes": config(lambda contents: contents["config"].update(emb_size=10**9)),
    "sizes of another kind": config(lambda contents: contents["config"].update(emb_size="x")),
    "an unknown architecture": config(lambda contents: contents.update(architecture="os.system")),
    "a path as a vocabulary": config(lambda contents: contents.update(vocabulary="/etc/passwd")),
    "other weights": config(lambda contents: contents.update(sha256="0" * 64)),
    "cut weights": lambda folder: (folder / "model.safetensors").write_bytes(b"\x08"),
    "a pickle": lambda folder: (folder / "model.safetensors").write_bytes(pickle.dumps({"a": 1})),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_and_hostile_folders_are_named(damage: str, own: Path, tmp_path: Path) -> None:
    assert main(["export", str(own), str(tmp_path / "made"), "--to", "hf"]) == 0
    DAMAGES[damage](tmp_path / "made")
    with pytest.raises(BimlError, match="made"):
        BimlModel.from_pretrained(tmp_path / "made")


def test_pickles_are_never_read(own: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    shutil.copy(own, tmp_path / "made" / "pytorch_model.bin")
    (tmp_path / "made" / "config.json").write_text("{}")
    with pytest.raises(BimlError, match=r"model\.safetensors"):
        BimlModel.from_pretrained(tmp_path / "made")
    shutil.copy(own, tmp_path / "made" / "model.safetensors")
    with pytest.raises(FormatError):
        BimlModel.from_pretrained(tmp_path / "made")
