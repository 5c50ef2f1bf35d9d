"""Damaged, hostile and foreign model files: read as they are meant, or rejected by name."""

import argparse
import io
import json
import pathlib
import resource
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from biml.cli.main import main
from biml.errors import FormatError
from biml.networks import checkpoint, torch_file
from biml.networks.checkpoint import load_checkpoint, load_model, save_checkpoint
from biml.networks.registry import ARCHITECTURES
from biml.networks.weights import _check_explained
from biml.paths import list_pretrained
from fakes.networks import small_network
from fakes.released_checkpoint import write_pickle

PUBLISHED_CODE = "net-legacy-vanilla.pt"


def contents_of(**changes: Any) -> dict[str, Any]:
    return checkpoint.checkpoint_of(small_network(), "algebraic") | changes


def saved(folder: Path, **changes: Any) -> Path:
    torch.save(contents_of(**changes), folder / "net.pt")
    return folder / "net.pt"


Change = Callable[[str, Tensor], tuple[str, Any]]


def changed(weights: dict[str, Tensor], change: Change) -> dict[str, Any]:
    return dict(change(name, values) for name, values in weights.items())


def released(shared: Path) -> dict[str, Any]:
    return torch_file.safe_torch_load(shared / "legacy" / PUBLISHED_CODE)


def same_network(path: Path, original: Path | None = None, tolerance: float = 0) -> None:
    """Check that a file has the weights of another, by default those of the small network."""
    state = load_model(path).network.state_dict()
    expected = (load_model(original).network if original else small_network()).state_dict()
    assert state.keys() == expected.keys()
    for name, weights in expected.items():
        assert state[name].dtype == torch.float32
        torch.testing.assert_close(state[name], weights, atol=tolerance, rtol=tolerance)


def read_if_changed(
    shared: Path, folder: Path, change: Change, tolerance: float = 0, of_released: float = 0
) -> None:
    """Check that a checkpoint of ours and a released one are read with changed weights."""
    same_network(saved(folder, weights=changed(contents_of()["weights"], change)), None, tolerance)
    given = released(shared)
    given["nets_state_dict"] = changed(given["nets_state_dict"], change)
    write_pickle(given, folder / "released.pt")
    same_network(folder / "released.pt", shared / "legacy" / PUBLISHED_CODE, of_released)


@contextmanager
def compressed(path: Path) -> Iterator[zipfile.ZipFile]:
    """Replace a file by one with compressed records, and add others."""
    with (
        zipfile.ZipFile(io.BytesIO(path.read_bytes())) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for record in source.infolist():
            made.writestr(record.filename, source.read(record))
        yield made


# --- checkpoints of other people


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_any_floating_type_are_read(shared: Path, tmp_path: Path, dtype) -> None:
    read_if_changed(shared, tmp_path, lambda name, weights: (name, weights.to(dtype)), 0.01, 0.02)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrapped_networks_are_removed(
    shared: Path, tmp_path: Path, prefix: str
) -> None:
    read_if_changed(shared, tmp_path, lambda name, weights: (f"{prefix}{name}", weights))


def test_numpy_scalars_and_paths_in_pickles_become_plain_values(
    shared: Path, tmp_path: Path
) -> None:
    given = released(shared) | {"best_val_loss": np.float64(2.5), "step": np.int64(320)}
    given["train_tracker"][0]["val_loss"] = torch.tensor(2.25)
    args = {
        "dir_model": (pathlib.PurePosixPath("/home/me/out_models"), "/home/me/out_models"),
        "here": (pathlib.Path("out_models"), "out_models"),
        "flag": (np.bool_(True), True),
        "half": (np.float16(0.5), 0.5),
        "name": (np.str_("dax"), "dax"),
    }
    stored = {name: value for name, (value, _) in args.items()}
    stored["windows"] = pathlib.PureWindowsPath("C:\\models")
    given["args"] = argparse.Namespace(**(vars(given["args"]) | stored))
    write_pickle(given, tmp_path / "net.pt")
    info = load_model(tmp_path / "net.pt").metadata
    assert (info["best_val_loss"], info["step"]) == (2.5, 320)
    assert type(info["best_val_loss"]) is float
    assert info["train_tracker"][0]["val_loss"] == 2.25
    assert {name: info["args"][name] for name in args} == {n: read for n, (_, read) in args.items()}
    assert "models" in info["args"]["windows"]


def test_numpy_objects_in_pickles_are_rejected(tmp_path: Path) -> None:
    hostile = np.array([print], dtype=object)
    torch.save({"format": "biml checkpoint", "info": hostile}, tmp_path / "net.pt")
    with pytest.raises(FormatError, match="nothing of it was run"):
        load_model(tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("encoder.lstm.weight_ih_l0", "LSTM"),
        ("bert.encoder.layer.0.attention.self.query.weight", "BERT"),
        ("transformer.h.0.attn.c_attn.weight", "GPT-2"),
        ("layer1.0.conv1.weight", "convolutional"),
        ("something.else", "another network"),
    ],
)
def test_networks_of_another_family_are_named(tmp_path: Path, name: str, kind: str) -> None:
    weights = {f"{name}{n}": torch.zeros(4, 4) for n in ["", *range(1000)]}
    for number, contents in enumerate((weights, {"state_dict": weights, "epoch": 3})):
        torch.save(contents, tmp_path / f"{number}.pt")
        with pytest.raises(FormatError, match=f"neither a biml nor a released.*{kind}"):
            load_model(tmp_path / f"{number}.pt")
    with pytest.raises(FormatError) as caught:
        load_model(saved(tmp_path, weights=weights))
    assert "missing" in str(caught.value)
    assert "unknown" in str(caught.value)
    assert len(caught.value.problem) < 500


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors", "net.json"])
def test_pointers_of_git_lfs_are_named(tmp_path: Path, name: str, capsys) -> None:
    checkpoint.write_safetensors(tmp_path / "net.safetensors", contents_of())
    (tmp_path / name).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234567\n"
    )
    model = "net.pt" if name == "net.pt" else "net.safetensors"
    assert main(["eval", "--max", "--fn_out_model", str(tmp_path / model)]) == 1
    error = capsys.readouterr().err
    assert name in error
    assert "git lfs pull" in error


# --- damage


def test_a_flipped_bit_of_a_tensor_is_found_by_its_checksum(tmp_path: Path, capsys) -> None:
    path = saved(tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(contents_of()["weights"]["out.weight"].numpy().tobytes()) + 3] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"net\.pt.*damaged.*checksum"):
        load_model(path)
    command = ["eval", "--ll", "--episode_type", "few_shot_gold", "--fn_out_model", str(path)]
    assert main(command) == 1
    assert "checksum" in capsys.readouterr().err


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_that_differ_from_their_digest_are_rejected(tmp_path: Path, zipped: bool) -> None:
    save_checkpoint(tmp_path / "net.pt", contents_of())
    load_model(tmp_path / "net.pt")
    stored = torch.load(tmp_path / "net.pt", weights_only=True)
    assert "digest" not in load_checkpoint(tmp_path / "net.pt")
    stored["weights"]["out.weight"][0, 0] += 1e-3
    torch.save(stored, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(FormatError, match=r"net\.pt.*digest"):
        load_model(tmp_path / "net.pt")


def test_archives_without_checksums_are_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path)
    finally:
        torch.serialization.set_crc32_options(True)
    same_network(path)


def test_files_of_old_versions_of_pytorch_are_read(tmp_path: Path) -> None:
    torch.save(contents_of(), tmp_path / "net.pt", _use_new_zipfile_serialization=False)
    same_network(tmp_path / "net.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_that_are_not_finite_are_rejected(
    tmp_path: Path, value: float, suffix: str, capsys
) -> None:
    weights = changed(contents_of()["weights"], lambda name, w: (name, w.clone()))
    weights["out.bias"][0] = value
    path = saved(tmp_path, weights=weights)
    if suffix == ".safetensors":
        path = path.with_suffix(suffix)
        checkpoint.write_safetensors(path, contents_of(weights=weights))
    command = ["eval", "--ll", "--episode_type", "few_shot_gold", "--fn_out_model", str(path)]
    assert main([*command, "--fit_lapse"]) == 1
    output = capsys.readouterr()
    assert "out.bias has infinite numbers or NaN" in output.err
    assert "nan" not in output.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.to(torch.int64), "int64"),
        (lambda w: w.to(torch.complex64), "complex64"),
        (lambda w: w.tolist(), "not a tensor"),
        (lambda w: w.to_sparse(), "type float32"),
        (lambda w: w.new_zeros(1).expand(w.shape), "more numbers than the file"),
    ],
)
def test_weights_that_are_no_plain_tensors_are_rejected(
    tmp_path: Path, change: Callable[[Tensor], Any], message: str
) -> None:
    weights = changed(contents_of()["weights"], lambda name, w: (name, change(w)))
    with pytest.raises(FormatError, match=message):
        load_model(saved(tmp_path, weights=weights))


# --- small files that would take the machine


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_sizes_of_real_networks_are_explained_by_their_weights(arch: str) -> None:
    row = ARCHITECTURES[arch]
    vocabulary = small_network().vocabulary
    for sizes in ({}, {"emb_size": 8, "nheads": 4, "ff_mult": 1}, {"ff_mult": 7}):
        config = row.config(**sizes)
        network = row.network(config, vocabulary, 0)
        _check_explained(config, network.state_dict())


def test_pretrained_networks_are_explained_by_their_weights() -> None:
    for path in list_pretrained():
        network = load_model(path).network
        _check_explained(network.config, network.state_dict())


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(
    "sizes",
    [
        *({"nlayers_encoder": 10**6}, {"nlayers_decoder": 10**12}, {"ff_mult": 10**7}),
        *({"emb_size": 2**20, "nheads": 8}, {"emb_size": 2**60, "nheads": 8}),
        *({"max_positions": 10**9}, {"max_study": 10**9}),
    ],
)
def test_sizes_far_beyond_the_file_are_rejected_before_anything_is_built(
    tmp_path: Path, arch: str, sizes: dict[str, int], monkeypatch
) -> None:
    known = set(ARCHITECTURES[arch].config.__dataclass_fields__)
    if not sizes.keys() <= known:
        pytest.skip("the architecture has no such size")
    contents = contents_of(architecture=arch, config=sizes)
    checkpoint.write_safetensors(tmp_path / "net.safetensors", contents)
    monkeypatch.setattr("biml.networks.weights.build_network", lambda *_: pytest.fail("built"))
    with pytest.raises(FormatError, match="need far more than"):
        load_model(tmp_path / "net.safetensors")


def test_records_are_bounded_before_they_are_inflated(tmp_path: Path, capsys) -> None:
    path = saved(tmp_path)
    with compressed(path) as bomb, bomb.open("net/data/bomb", "w") as stream:
        for _ in range(300):
            stream.write(bytes(2**20))
    before = peak_megabytes()
    with pytest.raises(FormatError, match="would unpack to"):
        load_model(path)
    assert main(["data", "import", str(path), "--dest", str(tmp_path / "dest")]) == 1
    assert "would unpack to" in capsys.readouterr().err
    assert peak_megabytes() - before < 100


def test_compressed_records_of_a_usual_size_are_read(tmp_path: Path) -> None:
    with compressed(saved(tmp_path)):
        pass
    same_network(tmp_path / "net.pt")


def test_facts_that_are_shared_endlessly_are_rejected(tmp_path: Path) -> None:
    facts: list[Any] = [1.0]
    for _ in range(40):
        facts = [facts] * 10
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"more": deep}
    for info in ({"train": facts}, {"train": deep}):
        with pytest.raises(FormatError, match="nested too deeply, or too many"):
            load_model(saved(tmp_path, info=info))


# --- facts of the wrong kind

LOG_LINE = {"step": 1, "episodes": 2, "val_loss": 0.5}

WRONG_FACTS: list[tuple[dict[str, Any], str]] = [
    ({"info": 5}, "info is 5"),
    ({"info": {"step": "many"}}, "info.step is 'many'"),
    ({"info": {"options": [1]}}, "info.options is"),
    ({"info": {"options": {"corpus": 3}}}, "info.options.corpus is 3"),
    ({"info": {"ancestors": [5]}}, r"info.ancestors\[0\] is 5"),
    ({"info": {"train_tracker": [{}]}}, "step is missing"),
    ({"info": {"batch_size": float("inf")}}, "info.batch_size is inf"),
    ({"card": [1]}, r"card is \[1\]"),
    ({"card": {"started_from": [5]}}, r"card.started_from\[0\] is 5"),
    ({"card": {"parents": {"file": "a"}}}, "should be a list"),
    ({"card": {"minutes": "long"}}, "card.minutes is 'long'"),
    ({"card": {"seed": 10**30}}, "card.seed is 1000"),
    ({"card": {"metrics": {"gold": 3}}}, "card.metrics.gold is 3"),
    ({"history": [{}]}, r"history\[0\].step is missing"),
    ({"history": [{**LOG_LINE, "val_loss": "low"}]}, "val_loss is 'low'"),
    ({"history": 3}, "history is 3"),
    ({"vocabulary": {"input": ["a", 3], "output": ["b"]}}, r"vocabulary.input\[1\] is 3"),
    ({"vocabulary": [1]}, "vocabulary is"),
    ({"vocabulary": {"input": ["a"]}}, "vocabulary.output is missing"),
    ({"vocabulary": {"input": ["a" * 10**6], "output": ["b"]}}, "should be a text"),
    ({"episode_type": ["algebraic"]}, "episode_type is"),
    ({"config": [1]}, "config is"),
    ({"config": {"dropout": "none"}}, "dropout is 'none'"),
    ({"config": {"emb_size": 16.0}}, "emb_size is 16.0"),
    ({"config": {"nheads": True}}, "nheads is True"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_FACTS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_facts_of_the_wrong_kind_are_named(
    tmp_path: Path, changes: dict[str, Any], message: str, suffix: str
) -> None:
    path = saved(tmp_path, **changes)
    if suffix == ".safetensors":
        path = path.with_suffix(suffix)
        checkpoint.write_safetensors(path, contents_of())
        card = json.loads(path.with_suffix(".json").read_text())
        path.with_suffix(".json").write_text(json.dumps(card | changes))
    with pytest.raises(FormatError, match=message) as caught:
        load_checkpoint(path)
    assert caught.value.source in (str(path), str(path.with_suffix(".json")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"info": {"step": torch.zeros(3)}}, "info.step is a Tensor"),
        ({"config": {"emb_size": torch.tensor(16)}}, "config.emb_size is a Tensor"),
        ({"card": {"minutes": torch.zeros(2)}}, "card.minutes is a Tensor"),
        ({"vocabulary": {"input": torch.zeros(2), "output": ["b"]}}, "vocabulary.input is a Ten"),
        ({"info": {3: 4}}, "info.3 is a key, but no text"),
    ],
)
def test_tensors_in_place_of_facts_are_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        load_checkpoint(saved(tmp_path, **changes))


@pytest.mark.parametrize(
    "command",
    [
        ("eval", "--max", "--episode_type", "few_shot_gold", "--fn_out_model", "net.pt"),
        ("train", "--quiet", "--init_from", "net.pt", "--fn_out_model", "new.pt"),
        ("export", "net.pt", "new.safetensors"),
        ("reproduce", "few-shot", "--quick", "--models", "net.pt", "--out", "r", "--data_dir"),
    ],
)
@pytest.mark.parametrize("changes", [{"info": 5}, {"card": {"started_from": [5]}}])
def test_every_command_names_wrong_facts(
    shared: Path, tmp_path: Path, monkeypatch, capsys, command: tuple[str, ...], changes: dict
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, **changes)
    assert main([*command, *([str(shared)] if command[-1] == "--data_dir" else [])]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "is 5, but should be" in error
    assert "net.pt" in error


def test_several_wrong_facts_are_named_together(tmp_path: Path) -> None:
    info = {"step": "a", "seconds": "b", "torch": 3}
    with pytest.raises(FormatError, match=r"info\.step.*; info\.seconds.*; info\.torch"):
        load_checkpoint(saved(tmp_path, info=info))


def test_cards_of_deep_brackets_are_rejected(tmp_path: Path) -> None:
    checkpoint.write_safetensors(tmp_path / "net.safetensors", contents_of())
    (tmp_path / "net.json").write_text("[" * 100_000)
    with pytest.raises(FormatError, match=r"net\.json.*not JSON"):
        load_model(tmp_path / "net.safetensors")
