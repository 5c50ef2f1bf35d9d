"""Language models that run here, through transformers: folders, names on the Hub, GGUF files."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from copy import deepcopy
from dataclasses import dataclass
from hashlib import blake2b
from inspect import signature
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from biml.errors import BimlError, UsageError, check_extra
from biml.llm.backend import JOINED, Completion, Request, ScoreRequest, Scores, sum_by_piece
from biml.llm.prompts import Prompt
from biml.networks.devices import inference_threads, pick_device
from biml.progress import Progress, no_progress

PREFIX = "hf:"

GGUF = ".gguf"

BATCH_TOKENS, CPU_BATCH_TOKENS = 8192, 2048
"""Tokens of prompts and answers computed together, on a GPU and on a CPU. A batch takes as long as
its longest answer, and is lost if the process is killed."""


@dataclass(frozen=True)
class HuggingFaceBackend:
    """A causal language model with its tokenizer, as a `Backend`.

    `network` and `tokenizer` are those of transformers. Sampling adds Gumbel noise of each
    request's own seed to the logits, so that samples do not depend on the batch.
    """

    model: str
    network: Any
    tokenizer: Any
    settings: Mapping[str, Any]

    @classmethod
    def from_name(
        cls, name: str, device: str = "auto", progress: Progress = no_progress
    ) -> "HuggingFaceBackend":
        """Load a model such as `hf:folder`, `hf:file.gguf` or `hf:name@revision`.

        Raises:
            UsageError: there is no such model, or it needs more memory than there is.
        """
        source, revision = split_name(name)
        check_extra("llm", "a local language model needs", "transformers", "jinja2")
        options: dict[str, Any] = {"revision": revision} if revision else {}
        if Path(source).suffix == GGUF:
            check_extra("llm", "a GGUF file needs", "gguf")
            options["gguf_file"] = Path(source).name
            source = str(Path(source).absolute().parent)
        progress(0, stage=f"Loading {name}")
        place = pick_device(device)
        network, tokenizer = _load(name, source, options, place)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        identity = name + _digest(Path(source) / options.get("gguf_file", ""), network)
        return cls(identity, network, tokenizer, {"dtype": str(network.dtype).split(".")[-1]})

    @property
    def family(self) -> str:
        return str(self.network.config.model_type)

    def complete(self, requests: Sequence[Request], /) -> Iterator[tuple[int, Completion]]:
        texts = [self._text(request.prompt, request.prefix) for request in requests]
        encoded = [self._encode(text) for text in texts]
        lengths = [
            len(ids) + request.max_tokens for ids, request in zip(encoded, requests, strict=True)
        ]
        self._check_length(max(lengths, default=0))
        for batch in _batches(lengths, self._batch_tokens):
            started = time.perf_counter()
            found = self._generate([encoded[i] for i in batch], [requests[i] for i in batch])
            seconds = (time.perf_counter() - started) / len(batch)
            for i, ids in zip(batch, found, strict=True):
                text = self.tokenizer.decode(ids, skip_special_tokens=True)
                stop = requests[i].stop
                text = text.partition(stop)[0] if stop else text
                yield i, Completion(text, len(encoded[i]), len(ids), seconds)

    def score(self, requests: Sequence[ScoreRequest], /) -> Iterator[tuple[int, Scores]]:
        by_prompt: dict[tuple[Prompt, str], list[int]] = {}
        for i, request in enumerate(requests):
            by_prompt.setdefault((request.prompt, request.prefix), []).append(i)
        for (prompt, prefix), numbers in by_prompt.items():
            started = time.perf_counter()
            before = self._text(prompt, prefix)
            answers = [self._answer_tokens(before, requests[i]) for i in numbers]
            shared = self._encode(before)
            scores = self._score_answers(shared, [ids for ids, _ in answers])
            seconds = (time.perf_counter() - started) / len(numbers)
            for i, (ids, spans), values in zip(numbers, answers, scores, strict=True):
                pieces = [*requests[i].pieces, requests[i].end or _END]
                tokens = [(*span, value) for span, value in zip(spans, values, strict=True)]
                sums = sum_by_piece(pieces, 0, tokens)
                yield i, Scores(sums, len(shared) // len(numbers), len(ids), seconds)

    def why_no_log_probs(self, template_is_chat: bool, /) -> str:
        return ""

    def count_tokens(self, prompt: Prompt, /) -> int:
        return len(self._encode(self._text(prompt, "")))

    # --- tokens

    def _text(self, prompt: Prompt, prefix: str) -> str:
        """What the model continues; the messages of a chat in the form of its tokenizer."""
        messages = prompt.messages
        if not messages:
            return prompt.text + prefix
        if not self.tokenizer.chat_template:
            raise UsageError(
                f"{self.model} is not a chat model: its tokenizer has no chat template; use a "
                "template of text, such as --prompt plain"
            )
        chat = [{"role": m.role, "content": m.text} for m in messages]
        options = {"tokenize": False, "add_generation_prompt": True}
        try:
            text = str(self.tokenizer.apply_chat_template(chat, **options))
        except Exception as error:  # of the template's own, such as one without a system role
            raise UsageError(f"{self.model}: its chat template fails: {error}") from None
        return text + prefix

    def _encode(self, text: str) -> list[int]:
        special = not text.startswith(self.tokenizer.bos_token or "\0")
        ids: list[int] = self.tokenizer(text, add_special_tokens=special)["input_ids"]
        unknown = self.tokenizer.unk_token_id
        if ids and ids[-1] == self.tokenizer.eos_token_id and special:
            ids = ids[:-1]  # some tokenizers end every text
        if unknown is not None and unknown in ids:
            raise UsageError(f"{self.model}: {self._unknown_part(text)}")
        return ids

    def _unknown_part(self, text: str) -> str:
        """Name the first word or sign that the tokenizer does not know."""
        unknown = self.tokenizer.unk_token_id
        for part in dict.fromkeys([*text.split(), "\n"]):
            if unknown in self.tokenizer(part, add_special_tokens=False)["input_ids"]:
                return (
                    f"its tokenizer has no token for {part!r}, which the prompt needs; use another "
                    "template (--prompt FILE) without it, or another model"
                )
        return "its tokenizer does not know a part of the prompt; use another template"

    def _answer_tokens(
        self, before: str, request: ScoreRequest
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """The tokens of an answer with its end, and where each begins and ends in it.

        The answer is read behind the prompt, since some tokenizers begin every text with a space.
        """
        answer = "".join(request.pieces) + request.end
        special = not before.startswith(self.tokenizer.bos_token or "\0")
        found = self.tokenizer(
            before + answer, add_special_tokens=special, return_offsets_mapping=True
        )
        shared = self._encode(before)
        ids = found["input_ids"][len(shared) :]
        if found["input_ids"][: len(shared)] != shared:
            raise BimlError(f"{self.model}: {JOINED}")
        # The begin of a token may be stated without its space, but never its end.
        offsets = found["offset_mapping"][len(shared) :]
        spans = [(max(a - len(before), 0), b - len(before)) for a, b in offsets]
        if ids and special and ids[-1] == self.tokenizer.eos_token_id:
            ids, spans = ids[:-1], spans[:-1]
        if not request.end:
            ids = [*ids, self._message_end]
            spans = [*spans, (len(answer), len(answer) + len(_END))]
        return ids, spans

    @property
    def _message_end(self) -> int:
        end = self.tokenizer.eos_token_id
        if end is None:
            raise UsageError(f"{self.model}: its tokenizer has no token that ends a message")
        return int(end)

    def _check_length(self, tokens: int) -> None:
        longest = getattr(self.network.config, "max_position_embeddings", None)
        if longest and tokens > longest:
            raise UsageError(
                f"{self.model} reads {longest:,} tokens, but a prompt with its answer has "
                f"{tokens:,}; use a shorter template or a smaller max_tokens in it"
            )

    # --- computation

    @property
    def _batch_tokens(self) -> int:
        return CPU_BATCH_TOKENS if self.network.device.type == "cpu" else BATCH_TOKENS

    def _generate(self, prompts: list[list[int]], requests: list[Request]) -> list[list[int]]:
        device, pad = self.network.device, self.tokenizer.pad_token_id
        width = max(map(len, prompts))
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
        noise = _GumbelNoise([request.seed for request in requests])
        stop = _StopText(self.tokenizer, width, [request.stop for request in requests])
        limit = max(request.max_tokens for request in requests)
        with inference_threads(), torch.inference_mode():
            out = self.network.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=limit,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                repetition_penalty=1.0,
                pad_token_id=pad,
                logits_processor=[noise],
                stopping_criteria=[stop],
            )
        ends = {self.tokenizer.eos_token_id, pad}
        found = []
        for row in out[:, width:].tolist():
            end = next((i for i, token in enumerate(row) if token in ends), len(row))
            found.append(row[:end])
        return found

    def _score_answers(self, shared: list[int], answers: list[list[int]]) -> list[list[float]]:
        """Log-probabilities of the tokens of answers to one prompt, which is read once."""
        device = self.network.device
        names = signature(self.network.forward).parameters  # which differ by version
        cache_name = "cache" if "cache" in names else "past_key_values"
        self._check_length(len(shared) + max(map(len, answers)))
        with inference_threads(), torch.inference_mode():
            first = self.network(torch.tensor([shared], device=device), use_cache=True)
            start = first.logits[0, -1].float().log_softmax(-1)
            size = max(1, self._batch_tokens // (len(shared) + max(map(len, answers))))
            scores: list[list[float]] = []
            for begin in range(0, len(answers), size):
                batch = answers[begin : begin + size]
                width = max(map(len, batch))
                pad = self.tokenizer.pad_token_id
                ids = torch.tensor([a + [pad] * (width - len(a)) for a in batch], device=device)
                cache = deepcopy(first.past_key_values)
                cache.batch_repeat_interleave(len(batch))
                logits = self.network(ids, **{cache_name: cache}, use_cache=True).logits
                following = logits.float().log_softmax(-1)
                for row, answer in enumerate(batch):
                    values = [start[answer[0]].item()]
                    values += [
                        following[row, i, token].item() for i, token in enumerate(answer[1:])
                    ]
                    scores.append(values)
        return scores


_END = "\n"
"""Stands for the end of a message, which has no text."""


class _GumbelNoise:
    """Makes the most probable token a sample, for the rows that have a seed."""

    def __init__(self, seeds: Sequence[int | None]) -> None:
        self.generators = [
            None if seed is None else torch.Generator().manual_seed(seed) for seed in seeds
        ]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.float().clone()
        for row, generator in enumerate(self.generators):
            if generator is not None:
                uniform = torch.rand(scores.shape[-1], generator=generator, dtype=torch.float64)
                noise = -torch.log(-torch.log(uniform.clamp_min(1e-300)))
                scores[row] += noise.to(scores)
        return scores


class _StopText:
    """Ends a row whose answer has its text in it."""

    def __init__(self, tokenizer: Any, width: int, stops: Sequence[str]) -> None:
        self.tokenizer, self.width, self.stops = tokenizer, width, stops

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        ends = [
            bool(stop) and stop in self.tokenizer.decode(row[self.width :])
            for row, stop in zip(input_ids, self.stops, strict=True)
        ]
        return torch.tensor(ends, device=input_ids.device)


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Numbers of similar lengths, at most so many tokens together."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) + 1) * lengths[number] > most:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


# --- loading


def split_name(name: str) -> tuple[str, str]:
    """The path or name of a model, and its revision if it has one; a UsageError without any."""
    source = name.removeprefix(PREFIX)
    if not source:
        raise UsageError(f"{name}: name a model, such as hf:folder, hf:file.gguf or hf:owner/name")
    if Path(source).expanduser().exists():
        return str(Path(source).expanduser()), ""
    source, _, revision = source.partition("@")
    if Path(source).suffix == GGUF or source.startswith((".", "/", "~")):
        raise UsageError(f"{name}: there is no file or folder {source}")
    return source, revision


def _load(name: str, source: str, options: Mapping[str, Any], device: torch.device) -> Any:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(StringIO()):  # bars of the reader of GGUF files
            return _open(name, source, options, device)
    except BimlError:
        raise
    except Exception as error:  # of many kinds, some of them the libraries' own
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        raise UsageError(f"{name} cannot be loaded as a language model: {reason}") from None


def _open(name: str, source: str, options: Mapping[str, Any], device: torch.device) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(source, **options)
    _check_memory(name, config, device)
    tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", **options)
    dtype = torch.float32 if device.type == "cpu" else "auto"
    network = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options)
    if not tokenizer.is_fast:
        raise UsageError(f"{name}: its tokenizer does not say where tokens begin (no fast one)")
    return network.to(device).eval(), tokenizer


def _check_memory(name: str, config: Any, device: torch.device) -> None:
    """Raise a UsageError where the weights do not fit, before they are read."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    n_parameters = sum(one.numel() for one in network.parameters())
    half = device.type != "cpu" and config.dtype in (torch.float16, torch.bfloat16)
    needed = n_parameters * (2 if half else 4)
    available = available_memory(device)
    if available is not None and needed > available:
        raise UsageError(
            f"{name} has {n_parameters / 1e9:.2f} billion parameters, which take "
            f"{needed / 1e9:.1f} GB, but {device} has {available / 1e9:.1f} GB; choose a smaller "
            "model, or a server (openai:BASE_URL#MODEL)"
        )


def available_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device; None where that is unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (free,) = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError):
        return None
    return int(free) * 1024


_MODEL_FILES = (GGUF, ".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")
"""Suffixes of files with weights, settings, the tokenizer and its chat template."""


def _digest(path: Path, network: Any) -> str:
    """What identifies a model: the revision of the Hub, or a digest of local files."""
    if commit := getattr(network.config, "_commit_hash", None):
        return f"#{commit[:12]}"
    files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    files = [one for one in files if one.suffix in _MODEL_FILES]
    digest = blake2b(digest_size=6)
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(1 << 24):
                digest.update(block)
    return f"#{digest.hexdigest()}" if files else ""
