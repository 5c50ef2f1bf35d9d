"""Local language models on a network and a tokenizer made here, without transformers."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from biml.episodes.episode import Episode, Example
from biml.errors import BimlError, UsageError
from biml.llm import hugging_face
from biml.llm.hugging_face import HuggingFaceBackend
from biml.llm.load import open_language_model
from biml.llm.prompts import open_template
from biml.llm.responder import LanguageModel

EPISODE = Episode(
    (Example(("dax",), ("RED",)), Example(("wif",), ("BLUE",))),
    (Example(("wif", "dax"), ("BLUE", "RED")), Example(("dax",), ("RED",))),
)
END, UNKNOWN = 128, 129


class LetterTokenizer:
    """A token for each letter that is not `missing`."""

    pad_token_id = eos_token_id = END
    unk_token_id, bos_token, is_fast = UNKNOWN, None, True

    def __init__(self, missing: str = "", chat_template: str | None = "a chat") -> None:
        self.missing, self.chat_template = missing, chat_template

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        ids = [UNKNOWN if letter in self.missing else ord(letter) for letter in text]
        return {"input_ids": ids, "offset_mapping": [(i, i + 1) for i in range(len(text))]}

    def decode(self, ids: Any, **_: Any) -> str:
        return "".join(chr(int(i)) for i in ids if int(i) < END)

    def apply_chat_template(self, chat: list[dict[str, str]], **_: Any) -> str:
        return "".join(f"[{one['role']}]{one['content']}" for one in chat) + "[assistant]"


class Cache(SimpleNamespace):
    def batch_repeat_interleave(self, n: int) -> None:
        self.n = n


class LetterNetwork:
    """Gives each next letter a probability that depends on the last one only."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, length: int = 2048) -> None:
        self.config = SimpleNamespace(max_position_embeddings=length)
        generator = torch.Generator().manual_seed(0)
        self.logits = torch.randn(130, 130, generator=generator)
        letters = [ord(letter) for letter in " \nREDBLU"]
        self.logits[:, letters] += 6
        self.n_read = 0

    def forward(self, ids: Any, past_key_values: Any = None, use_cache: bool = True) -> Any:
        self.n_read += ids.numel()
        if past_key_values is not None:
            assert past_key_values.n == len(ids)
        return SimpleNamespace(logits=self.logits[ids], past_key_values=Cache())

    __call__ = forward

    def generate(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        max_new_tokens: int,
        logits_processor: Any,
        stopping_criteria: Any,
        pad_token_id: int,
        **_: Any,
    ) -> torch.Tensor:
        assert (input_ids[attention_mask == 0] == pad_token_id).all()
        ids, ended = input_ids, torch.zeros(len(input_ids), dtype=torch.bool)
        for _step in range(max_new_tokens):
            scores = self.logits[ids[:, -1]]
            for processor in logits_processor:
                scores = processor(ids, scores)
            tokens = scores.argmax(-1).masked_fill(ended, pad_token_id)
            ids = torch.cat([ids, tokens[:, None]], 1)
            ended |= tokens == END
            for criterion in stopping_criteria:
                ended |= criterion(ids, None)
        return ids


def model(prompt: str = "plain", length: int = 2048, **tokenizer: Any) -> LanguageModel:
    network = LetterNetwork(length)
    backend = HuggingFaceBackend("hf:letters", network, LetterTokenizer(**tokenizer), {})
    return LanguageModel(backend, open_template(prompt))


@pytest.mark.parametrize("prompt", ["plain", "chat"])
def test_log_probabilities_are_sums_over_tokens(prompt: str) -> None:
    responder = model(prompt)
    ((first, second),) = responder.log_prob([EPISODE])
    logs = responder.backend.network.logits.log_softmax(-1)  # type: ignore[attr-defined]

    def total(before: str, text: str, end: int) -> float:
        ids = [ord(letter) for letter in before + text] + [end]
        return sum(logs[a, b].item() for a, b in pairwise(ids))

    before, space, end = (">", " ", ord("\n")) if prompt == "plain" else ("]", "", END)
    assert first.sum() == pytest.approx(total(before, f"{space}BLUE RED", end), abs=1e-4)
    assert second.sum() == pytest.approx(total(before, f"{space}RED", end), abs=1e-4)
    assert second[-1] == pytest.approx(logs[ord("D"), end].item(), abs=1e-4)


def test_a_prompt_with_many_answers_is_read_once() -> None:
    responder = model()
    symbols = responder.symbols
    answers = tuple(EPISODE.queries[0]._replace(output=(a, b)) for a in symbols for b in symbols)
    responder.log_prob([replace(EPISODE, queries=answers)])
    prompt = responder.backend.count_tokens(
        responder.template.render(EPISODE.study, ("wif", "dax"), symbols, None)
    )
    read = responder.backend.network.n_read  # type: ignore[attr-defined]
    assert prompt < read < prompt + 36 * 20


def test_answers_end_at_the_line_and_do_not_depend_on_the_batch() -> None:
    apart = [replace(EPISODE, queries=(query,)) for query in EPISODE.queries]
    responder = model()
    sampled = responder.sample(apart, seed=1, n=5)
    assert sampled == [model().sample([one], seed=1, n=5)[0] for one in apart]
    records = list(responder.log._by_key.values())
    assert all("\n" not in record.answer for record in records)
    assert len({record.answer for record in records}) > 2
    assert responder.respond(apart) == [model().respond([one])[0] for one in apart]


def test_the_most_probable_token_plus_noise_is_a_sample() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().repeat(3000, 1)
    drawn = hugging_face._GumbelNoise(range(3000))(torch.empty(0), logits).argmax(-1)
    shares = torch.bincount(drawn, minlength=3) / 3000
    assert shares.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    assert hugging_face._GumbelNoise([None])(torch.empty(0), logits[:1]).argmax() == 0


def test_batches_hold_so_many_tokens() -> None:
    batches = list(hugging_face._batches([9, 3, 30, 9, 4], 20))
    assert sorted(number for batch in batches for number in batch) == [0, 1, 2, 3, 4]
    assert [2] in batches
    assert max(map(len, batches)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": ">"}, "no token for '->'"),
        ({"missing": "\n"}, r"no token for '\\n'"),
        ({"prompt": "chat", "chat_template": None}, "--prompt plain"),
        ({"length": 64}, "64 tokens"),
    ],
)
def test_a_model_that_cannot_read_the_prompt_is_an_error(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        model(**options).respond([EPISODE])


def test_a_token_over_the_end_of_the_prompt_is_an_error() -> None:
    class Joining(LetterTokenizer):
        def __call__(self, text: str, **options: Any) -> dict[str, Any]:
            return super().__call__(text.replace("> R", "\x01").replace("> B", "\x02"))

    backend = HuggingFaceBackend("hf:letters", LetterNetwork(), Joining(), {})
    with pytest.raises(BimlError, match="joins the end of the prompt"):
        LanguageModel(backend, open_template()).log_prob([EPISODE])


def test_a_model_that_does_not_fit_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = SimpleNamespace(from_config=lambda _: torch.nn.Linear(1000, 1000))
    monkeypatch.setitem(
        sys.modules,
        "transformers",
        SimpleNamespace(AutoModelForCausalLM=loader),  # type: ignore[arg-type]
    )
    config, device = SimpleNamespace(dtype=torch.float32), torch.device("cpu")
    monkeypatch.setattr(hugging_face, "available_memory", lambda _: 5_000_000)
    hugging_face._check_memory("hf:x", config, device)
    monkeypatch.setattr(hugging_face, "available_memory", lambda _: 3_000_000)
    with pytest.raises(UsageError, match=r"hf:x.*parameters.*GB.*openai:"):
        hugging_face._check_memory("hf:x", config, device)


def test_the_memory_of_this_machine_is_known() -> None:
    available = hugging_face.available_memory(torch.device("cpu"))
    assert available is None or available > 1_000_000


@pytest.mark.parametrize("name", ["hf:", "hf:./nowhere", "hf:/nowhere.gguf", "hf:x.gguf"])
def test_a_name_without_a_model_is_an_error(name: str) -> None:
    with pytest.raises(UsageError, match="hf:"):
        hugging_face.split_name(name)


def test_names_are_files_or_have_a_revision(tmp_path: Path) -> None:
    assert hugging_face.split_name(f"hf:{tmp_path}") == (str(tmp_path), "")
    assert hugging_face.split_name("hf:owner/name@v2") == ("owner/name", "v2")


@pytest.mark.skipif("transformers" in sys.modules, reason="transformers is installed")
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BimlError, match=r"biml\[llm\]"):
        open_language_model("hf:owner/name", log=tmp_path)


@pytest.mark.parametrize("name", ["hf:", "hf:nofile.gguf", "openai:http://x:port/v1#m"])
def test_a_wrong_name_is_reported_before_a_missing_package(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=name):
        open_language_model(name, log=tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "tokenizer.json", "model.safetensors"])
def test_a_local_model_with_another_file_is_another_model(tmp_path: Path, name: str) -> None:
    """Else the log would answer for it."""
    network = SimpleNamespace(config=SimpleNamespace())
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_text("1")
    before = hugging_face._digest(tmp_path, network)
    (tmp_path / name).write_text("2")
    assert hugging_face._digest(tmp_path, network) != before
