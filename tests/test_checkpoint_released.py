"""Released checkpoints load and give the published numbers; hostile ones run nothing."""

import argparse
import builtins
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biml.episodes.episode import Episode, Example
from biml.errors import FormatError
from biml.networks.checkpoint import load_model
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer
from biml.networks.torch_file import Lang, safe_torch_load
from biml.vocabulary import Vocabulary
from fakes.released_checkpoint import write_pickle


@pytest.fixture(scope="module")
def legacy(shared: Path) -> Path:
    return shared / "legacy" / "net-legacy-vanilla.pt"


def examples(path: Path) -> list[Example]:
    """The query examples of an episode file."""
    queries = path.read_text().partition("*QUERY*")[2].partition("*GRAMMAR*")[0]
    lines = [line.removeprefix("IN:").split("OUT:") for line in queries.split("\n") if line.strip()]
    return [Example(tuple(words.split()), tuple(symbols.split())) for words, symbols in lines]


def test_a_released_checkpoint_loads_with_its_metadata(legacy: Path) -> None:
    model = load_model(legacy)
    assert isinstance(model.network, Seq2SeqTransformer)
    assert model.network.config == Seq2SeqConfig(nlayers_encoder=2, nlayers_decoder=1, emb_size=32)
    words = ["1", "2", "3", "DAX", "thrice", "surround", "after"]
    assert model.network.vocabulary == Vocabulary.from_words_and_symbols(words, words[:4])
    assert model.episode_type == "few_shot_vanilla"
    assert (model.metadata["step"], model.metadata["epoch"]) == (320, 40)
    assert model.metadata["args"]["lr_end_factor"] == 0.05


@pytest.mark.published_data
@pytest.mark.parametrize("p_lapse", [0.0, 0.9])
def test_released_checkpoint_has_the_published_log_likelihood_of_human_responses(
    shared: Path, legacy: Path, p_lapse: float
) -> None:
    expected = json.loads((legacy.parent / "expected.json").read_text())["checks"]
    (check,) = (check for check in expected if check.get("ll_p_lapse") == p_lapse)
    network = load_model(legacy).network
    files = sorted((shared / "data_human" / "few_shot" / "val_behavior").glob("*.txt"))
    given = [example for file in files for example in examples(file)]
    kept = tuple(example for example in given if "undefined_action" not in example.output)
    batch = network.collate([Episode((), kept)])
    with torch.no_grad():
        logp = network(batch).double().log_softmax(-1)
    real = batch.target != network.vocabulary.output.pad
    logp = logp.gather(-1, batch.target[..., None])[..., 0][real]
    outcomes = len(network.vocabulary.output.symbols) + 1
    logp = torch.log((1 - p_lapse) * logp.exp() + p_lapse / outcomes)
    assert len(logp) == check["symbols"]
    # The stated sums were accumulated in fp32, whose steps are 0.0005 at this size.
    assert logp.sum().item() == pytest.approx(check["loglike"], abs=6e-4)


@pytest.mark.published_data
def test_released_checkpoint_gives_the_published_greedy_responses(
    shared: Path, legacy: Path
) -> None:
    expected = json.loads((legacy.parent / "expected.json").read_text())["checks"][2]
    network = load_model(legacy).network
    (file,) = (shared / "data_human" / "few_shot" / "val_gold").glob("*.txt")
    queries = tuple(examples(file))
    memory = network.encode(network.collate([Episode((), queries)]))
    output = network.vocabulary.output
    tokens = torch.full((len(queries),), output.sos)
    chosen = []
    for _ in range(11):
        tokens = network.decode_step(memory, tokens).argmax(-1)
        chosen.append(tokens)
    answers = [" ".join(output.decode(row)) for row in torch.stack(chosen, 1).tolist()]
    assert (
        dict(zip((" ".join(q.input) for q in queries), answers, strict=True))
        == (expected["predictions"])
    )


def test_weights_nested_under_the_key_net_are_loaded(legacy: Path, tmp_path: Path) -> None:
    contents = safe_torch_load(legacy)
    contents["nets_state_dict"] = {"net": contents["nets_state_dict"]}
    del contents["args"]
    write_pickle(contents, tmp_path / "nested.pt")
    assert load_model(tmp_path / "nested.pt").episode_type == "few_shot_vanilla"


def drop(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda contents: contents.pop(key)


def swap_numbers(contents: dict[str, Any]) -> None:
    contents["langs"]["input"].symbol2index |= {"1": 1, "2": 0}


def shift_positions(contents: dict[str, Any]) -> None:
    contents["nets_state_dict"]["positional_encoding.pos_embedding"] += 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("langs"), "lacks 'langs'"),
        (drop("emb_size"), "lacks 'emb_size'"),
        (swap_numbers, "numbered in order"),
        (shift_positions, "sinusoids"),
        (lambda contents: contents.update(emb_size=64), "not sinusoids|shape|do not fit"),
        (lambda contents: contents.update(nlayers_encoder=3), "do not fit"),
        (lambda contents: contents.update(activation="tanh"), "tanh"),
        (lambda contents: contents.update(langs={"input": 3, "output": 4}), "published code"),
    ],
)
def test_inconsistent_released_checkpoints_are_rejected(
    legacy: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    contents = safe_torch_load(legacy)
    change(contents)
    write_pickle(contents, tmp_path / "changed.pt")
    with pytest.raises(FormatError, match=message):
        load_model(tmp_path / "changed.pt")


def test_truncated_released_checkpoints_are_rejected(legacy: Path, tmp_path: Path) -> None:
    text = legacy.read_bytes()
    for share in (0.01, 0.3, 0.7, 0.99):
        (tmp_path / "cut.pt").write_bytes(text[: int(len(text) * share)])
        with pytest.raises(FormatError, match=r"cut\.pt.*truncated"):
            load_model(tmp_path / "cut.pt")


class Payload:
    """Asks to be rebuilt by calling `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


def payloads(marker: Path) -> dict[str, Payload]:
    command = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w')"
    inner = pickle.dumps(Payload(os.system, command))
    return {
        "system": Payload(os.system, command),
        "eval": Payload(builtins.eval, code),
        "getattr": Payload(getattr, command, "upper"),
        "open": Payload(open, str(marker), "w"),
        "storage": Payload(torch.storage._load_from_bytes, inner),
        "load": Payload(torch.load, str(marker)),
        "loads": Payload(pickle.loads, inner),
    }


@pytest.mark.parametrize("name", payloads(Path()))
@pytest.mark.parametrize("location", ["plain pickle", "top", "weights", "args", "langs", "ours"])
def test_a_malicious_pickle_is_rejected_without_running_code(
    tmp_path: Path, name: str, location: str
) -> None:
    marker, path = tmp_path / "marker", tmp_path / "hostile.pt"
    payload = payloads(marker)[name]
    lang = Lang()
    lang.symbols = payload if location == "langs" else []  # type: ignore[assignment]
    contents: dict[str, Any] = {
        "nets_state_dict": {"net": {"out.bias": payload if location == "weights" else 0}},
        "langs": {"input": lang},
        "args": argparse.Namespace(lr=payload if location == "args" else 0),
    }
    if location == "top":
        contents["more"] = payload
    if location == "ours":
        contents = {"format": "biml checkpoint", "version": 1, "training": [payload]}
    if location == "plain pickle":
        path.write_bytes(pickle.dumps(payload))
    else:
        write_pickle(contents, path)
    with pytest.raises(FormatError, match=r"hostile\.pt") as caught:
        load_model(path)
    assert not marker.exists(), "code from the file ran"
    assert "nothing of it was run" in str(caught.value)


def test_a_tensor_larger_than_its_storage_is_rejected(tmp_path: Path) -> None:
    class Wide(Payload):
        pass

    storage = torch.zeros(4).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float, _internal=True)
    wide = Wide(torch._utils._rebuild_tensor_v2, typed, 0, (1000, 1000), (1000, 1), False, {})
    write_pickle({"nets_state_dict": {"out.bias": wide}}, tmp_path / "wide.pt")
    with pytest.raises(FormatError, match=r"wide\.pt"):
        load_model(tmp_path / "wide.pt")
