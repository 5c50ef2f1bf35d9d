"""The interface of every network: batches, decoder states and `EpisodeNetwork`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from biml.episodes.episode import Episode
from biml.errors import UsageError
from biml.vocabulary import TokenVocab, Vocabulary


class Batch(Protocol):
    """Episodes as tensors, a row for each query; architectures add fields of their own."""

    decoder_input: Int[Tensor, "query out"]  # SOS and the target symbols, then PAD
    target: Int[Tensor, "query out"]  # the target symbols and EOS, then PAD
    indices: list[tuple[int, int]]  # (episode, query) of each row; rows may be reordered

    @property
    def n_tokens(self) -> int:
        """Cost of a training pass in tokens, by which processes share micro-batches."""
        ...

    def to(self, device: torch.device) -> "Batch": ...


def check_sizes(config: Any, *counts: str) -> None:
    """Check what the configs of both architectures have in common."""
    for name in (*counts, "nheads", "emb_size", "ff_mult"):
        if getattr(config, name) < 1:
            raise UsageError(f"{name} is {getattr(config, name)}, but must be at least 1")
    if config.emb_size % config.nheads:
        raise UsageError(f"emb_size {config.emb_size} is no multiple of nheads {config.nheads}")
    if not 0 <= config.dropout < 1:
        raise UsageError(f"dropout is {config.dropout}, but must be at least 0 and below 1")
    if config.activation not in ("gelu", "relu"):
        raise UsageError(f"activation {config.activation!r} is neither 'gelu' nor 'relu'")


@dataclass
class TensorData:
    """A dataclass of tensors, and of such dataclasses; whatever else it has stays as it is."""

    def to(self, device: torch.device) -> Self:
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                moved[field.name] = value.to(device, non_blocking=True)
            elif isinstance(value, TensorData):
                moved[field.name] = value.to(device)
        return replace(self, **moved)


@dataclass
class DecoderState:
    """What a network keeps between decoding steps; architectures add their key-value caches.

    Fields are tensors whose first dimension is the rows of the batch, numbers, None, or lists,
    tuples and dataclasses of those. An architecture that keeps anything else (such as one study
    memory for several rows) overrides `select`.
    """

    def select(self, rows: Int[Tensor, " n"]) -> Self:
        """The state of these rows, which may be left out, reordered or repeated.

        Decoding drops finished rows, and repeats rows to sample several responses.
        """
        return _select_rows(self, rows)


def _select_rows(value: Any, rows: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value.index_select(0, rows) if value.ndim else value
    if isinstance(value, list | tuple):
        return type(value)(_select_rows(item, rows) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        every = ((field.name, getattr(value, field.name)) for field in fields(value))
        return replace(value, **{name: _select_rows(item, rows) for name, item in every})
    return value


class EpisodeNetwork(nn.Module, ABC):
    """A network that reads the study examples of episodes and answers their queries.

    To add an architecture, write a frozen dataclass of its sizes, all with defaults, and a subclass
    of this class that is made from `(config, vocabulary, seed)`, draws its initial weights from
    `seed` alone and implements the methods below; then register both
    (`biml.networks.registry.register_architecture`). From then on it is trained with `--arch NAME`,
    saved, loaded, evaluated and reported like the built-in ones:

    - `collate` and `micro_batches` turn episodes into batches on the CPU: dataclasses derived from
      `TensorData` with the fields of `Batch`.
    - `forward` gives teacher-forced logits for training and scoring.
    - `encode` and `decode_step` answer one symbol at a time; `DecoderState` carries the caches.
      Both must give the logits of `forward`.
    - `embedding_parameters` names the parameters that Muon leaves to AdamW.

    Config fields named `nlayers_encoder`, `nlayers_query`, `nlayers_decoder`, `emb_size`,
    `ff_mult`, `activation` and `dropout` (which a config must have) are set from the options of
    `biml train`; checkpoints keep all fields.
    """

    config: Any
    vocabulary: Vocabulary
    auxiliary_loss: Float[Tensor, ""] | None = None
    """Of the latest training pass, in nats; None without labels or where not supported."""

    @abstractmethod
    def embedding_parameters(self) -> tuple[str, ...]:
        """Names of the embeddings and the output matrix, whose rows each belong to one symbol."""

    @abstractmethod
    def collate(self, episodes: Sequence[Episode]) -> Batch:
        """One batch (on the CPU) of all queries of the episodes.

        Raises:
            UsageError: a symbol is not in the vocabulary.
        """

    @abstractmethod
    def micro_batches(
        self, episodes: Sequence[Episode], max_tokens: int, min_batches: int = 1
    ) -> Sequence[Batch]:
        """The rows of `collate` in batches of similar length and about `max_tokens` tokens.

        There are at least `min_batches` if there are enough rows. Depends on nothing but the
        arguments, so that every process of a run makes the same batches.
        """

    @abstractmethod
    def forward(
        self, batch: Any, generator: torch.Generator | None = None
    ) -> Float[Tensor, "query out vocab"]:
        """Teacher-forced logits in float32; `generator` (on the batch's device) draws dropout."""

    @abstractmethod
    def encode(self, batch: Any) -> Any:
        """Read study examples and queries once; return the state that `decode_step` extends."""

    @abstractmethod
    def decode_step(
        self, state: Any, tokens: Int[Tensor, " query"]
    ) -> Float[Tensor, "query vocab"]:
        """Logits after one more decoder token (SOS first); `state` is changed in place."""


def output_mask(
    pools: Sequence[tuple[str, ...] | None], vocabulary: Vocabulary, *, special: bool = True
) -> Bool[Tensor, "rows symbols"]:
    """Mask the output entries that the response of each row must not use (True: masked).

    They are those outside its pool (None: any symbol), and with `special` SOS and PAD, to which the
    softmax leaves a trace of probability.
    """
    output = vocabulary.output
    masks: dict[tuple[str, ...] | None, Tensor] = {}
    for pool in dict.fromkeys(pools):
        masks[pool] = torch.full((len(output),), pool is not None)
        if pool is not None:
            masks[pool][[*output.encode(pool), output.eos]] = False
        if special:
            masks[pool][[output.sos, output.pad]] = True
    return torch.stack([masks[pool] for pool in pools])


def exact_match(
    logits: Float[Tensor, "rows time symbols"],
    target: Int[Tensor, "rows time"],
    mask: Bool[Tensor, "rows symbols"],
    output: TokenVocab,
    max_length: int | None = None,
) -> Bool[Tensor, " rows"]:
    """Whether greedy decoding would give each target, from teacher-forced logits.

    It would if and only if the most probable symbol is right after every correct prefix. A response
    is cut at `max_length` symbols, where it needs no EOS.
    """
    best = logits.masked_fill(mask[:, None], -torch.inf).argmax(-1)
    ignored = target == output.pad
    if max_length is not None:
        positions = torch.arange(target.shape[1], device=target.device)
        ignored = ignored | ((positions == max_length) & (target == output.eos))
        best[:, max_length:] = output.pad
    return ((best == target) | ignored).all(1)
