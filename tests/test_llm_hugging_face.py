"""Local language models through transformers, on a tiny one made here (`make test-llm`)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip(
    "transformers", reason="needs the extra llm (make test-llm)", exc_type=ImportError
)

from biml.episodes.episode import Episode, Example  # noqa: E402
from biml.errors import BimlError, UsageError  # noqa: E402
from biml.llm import hugging_face  # noqa: E402
from biml.llm.load import open_language_model  # noqa: E402
from biml.llm.responder import LanguageModel  # noqa: E402
from biml.networks import devices  # noqa: E402

EPISODE = Episode(
    (Example(("dax",), ("RED",)), Example(("wif",), ("BLUE",))),
    (Example(("wif", "dax"), ("BLUE", "RED")), Example(("dax",), ("RED",))),
)
CHAT = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}<s>assistant:"


def save_tiny_model(
    folder: Path, tokenizer: Any, chat: str | None = CHAT, length: int = 2048
) -> str:
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.chat_template = chat
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(fast),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=length,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        initializer_range=0.5,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return f"hf:{folder}"


def byte_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["dax -> RED\nwif -> BLUE\nwif dax -> BLUE RED\n"] * 9, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"), byte_tokenizer())


def open_model(name: str, folder: Path, **options: Any) -> LanguageModel:
    return open_language_model(name, "cpu", log=folder, **options)


@pytest.mark.parametrize("prompt", ["plain", "chat", "rules-first"])
def test_a_model_answers_and_scores(tiny: str, tmp_path: Path, prompt: str) -> None:
    model = open_model(tiny, tmp_path, prompt=prompt)
    assert [len(of_it) for of_it in model.respond([EPISODE])] == [2]
    assert [len(of_it) for of_it in model.sample([EPISODE], seed=0, n=3)[0]] == [3, 3]
    ((first, second),) = model.log_prob([EPISODE])
    assert (len(first), len(second)) == (3, 2)
    assert (first < 0).all()


@pytest.mark.parametrize("prompt", ["plain", "chat"])
def test_log_probabilities_are_those_of_the_whole_text(
    tiny: str, tmp_path: Path, prompt: str
) -> None:
    model = open_model(tiny, tmp_path, prompt=prompt)
    backend = model.backend
    assert isinstance(backend, hugging_face.HuggingFaceBackend)
    found = model.log_prob([EPISODE])[0]
    for query, log_probs in zip(EPISODE.queries, found, strict=True):
        shown = model.template.render(EPISODE.study, query.input, model.symbols, None)
        before = backend._text(shown, "")
        answer = " ".join(query.output)
        text = f"{before} {answer}\n" if prompt == "plain" else f"{before}{answer}"
        ids = backend._encode(text)
        ids += [] if prompt == "plain" else [backend.tokenizer.eos_token_id]
        start = len(backend._encode(before))
        with torch.inference_mode():
            following = backend.network(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = sum(following[i - 1, ids[i]].item() for i in range(start, len(ids)))
        assert log_probs.sum() == pytest.approx(expected, abs=1e-3)


def test_answers_do_not_depend_on_the_batch(tiny: str, tmp_path: Path) -> None:
    apart = [replace(EPISODE, queries=(query,)) for query in EPISODE.queries]
    together = open_model(tiny, tmp_path / "a")
    alone = open_model(tiny, tmp_path / "b")
    assert together.respond(apart) == [alone.respond([one])[0] for one in apart]
    sampled = together.sample(apart, seed=1, n=4)
    assert sampled == [alone.sample([one], seed=1, n=4)[0] for one in apart]
    assert len({response for of_it in sampled for one in of_it for response in one}) > 1


def test_samples_have_the_probabilities_of_the_model() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    noise = hugging_face._GumbelNoise(list(range(3000)))
    drawn = noise(torch.empty(0), logits.repeat(3000, 1)).argmax(-1)
    shares = torch.bincount(drawn, minlength=3) / 3000
    assert shares.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


def test_a_model_that_does_not_fit_is_not_loaded(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hugging_face, "available_memory", lambda _: 1000)
    with pytest.raises(UsageError, match=r"parameters.*GB.*smaller"):
        open_model(tiny, tmp_path)


def test_a_tokenizer_without_the_separator_is_an_error(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = "<s> </s> <unk> dax wif RED BLUE GREEN Each line translates words into the symbols"
    vocabulary = {word: number for number, word in enumerate(words.split())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    name = save_tiny_model(tmp_path / "words", tokenizer)
    template = tmp_path / "short.jinja"
    template.write_text("dax {{ query }} ->")
    with pytest.raises(UsageError, match="no token for '->'"):
        open_model(name, tmp_path, prompt=str(template)).respond([EPISODE])


def test_a_model_without_a_chat_template_is_no_chat(tmp_path: Path) -> None:
    name = save_tiny_model(tmp_path / "base", byte_tokenizer(), chat=None)
    with pytest.raises(BimlError, match="--prompt plain"):
        open_model(name, tmp_path, prompt="chat").respond([EPISODE])


def test_a_prompt_longer_than_the_model_reads_is_an_error(tmp_path: Path) -> None:
    name = save_tiny_model(tmp_path / "short", byte_tokenizer(), length=64)
    with pytest.raises(BimlError, match="64 tokens"):
        open_model(name, tmp_path).respond([EPISODE])


@pytest.mark.parametrize("name", ["hf:", "hf:./nowhere", "hf:/nowhere.gguf", "hf:{folder}"])
def test_a_name_without_a_model_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"hf:"):
        open_model(name.format(folder=tmp_path), tmp_path)


def test_a_busy_machine_leaves_one_thread(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More threads than idle cores took ten times as long."""
    monkeypatch.setattr(devices, "_idle_cores", lambda: 1)
    model = open_model(tiny, tmp_path)
    threads: list[int] = []
    model.backend.network.register_forward_hook(lambda *_: threads.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model.respond([EPISODE], max_length=2)
        model.log_prob([EPISODE])
        assert (set(threads), torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)
