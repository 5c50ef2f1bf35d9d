"""What every network answers, whatever its architecture."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from biml.episodes.episode import Episode
from biml.vocabulary import TokenVocab, Vocabulary


class Batch(Protocol):
    """Presented episodes as tensors; each architecture has its own further fields.

    Rows are the queries of all episodes, one each, possibly reordered (see `origin`).

    Attributes:
        decoder_input: LongTensor [rows, T], SOS and the target symbols, PAD behind.
        target: LongTensor [rows, T], the target symbols and EOS, PAD behind.
        origin: for each row its (episode, query) numbers in the episodes that were collated.
        cost: work of a training pass over it, in tokens, to share batches out among processes.
    """

    decoder_input: Tensor
    target: Tensor
    indices: list[tuple[int, int]]

    @property
    def n_tokens(self) -> int: ...

    def to(self, device: torch.device) -> "Batch": ...


@dataclass
class DecoderState:
    """What a network keeps between decoding steps; architectures add their cached keys and values.

    Attributes of a subclass are tensors whose first dimension is the rows of the batch, numbers,
    None, or lists, tuples and dataclasses of those; an architecture that keeps anything else (such
    as one study memory for several rows) overrides `take`.
    """

    def select(self, rows: Tensor) -> Self:
        """The memory of these rows [n], in this order; a row may be left out or come repeatedly.

        Decoding leaves finished rows out, and repeats rows whose answer goes on in several ways.
        """
        return _select_rows(self, rows)


def _select_rows(value: Any, rows: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value.index_select(0, rows) if value.ndim else value
    if isinstance(value, list | tuple):
        return type(value)(_select_rows(item, rows) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        taken = {
            field.name: _select_rows(getattr(value, field.name), rows) for field in fields(value)
        }
        return replace(value, **taken)
    return value


class EpisodeNetwork(nn.Module, ABC):
    """A network that reads study examples and answers queries.

    Attributes:
        config: a frozen dataclass with every size; checkpoints hold `dataclasses.asdict` of it.
        vocabulary: the symbols it knows.
        guidance: of the latest forward pass in training mode, how far inner layers were from what
            the episodes' grammars tell: a weighted sum of cross-entropies in nats. None where
            nothing was told, or where an architecture has no use for it.
    """

    config: Any
    vocabulary: Vocabulary
    auxiliary_loss: Tensor | None = None

    @abstractmethod
    def embedding_parameters(self) -> tuple[str, ...]:
        """Names of the embeddings and the read-out, whose rows each belong to one symbol."""

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
        """The same rows as `collate`, cut in batches of like length of about `max_tokens` tokens.

        There are `at_least` so many, where that many can be cut. Depends on nothing but its
        arguments, so that every process of a run cuts alike.
        """

    @abstractmethod
    def forward(self, batch: Any, generator: torch.Generator | None = None) -> Tensor:
        """Teacher-forced logits [rows, T, output vocabulary], of one of its own batches, in fp32.

        `generator` draws the dropout (on `batch`'s device); it is only used in training mode.
        """

    @abstractmethod
    def encode(self, batch: Any) -> Any:
        """Read study examples and queries once; the memory that `next_logits` extends."""

    @abstractmethod
    def decode_step(self, state: Any, tokens: Tensor) -> Tensor:
        """Logits [rows, output vocabulary] after one more decoder token [rows] (SOS first).

        Keys and values are cached in `memory`, which is changed in place.
        """


# === Batches on their way to the device that computes.


T = TypeVar("T")


def to_device(batch: T, device: torch.device) -> T:
    """A dataclass of tensors, and of such dataclasses, on a device; whatever else it has stays."""
    there: dict[str, Any] = {}
    for field in fields(batch):  # type: ignore[arg-type]
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            there[field.name] = value.to(device, non_blocking=True)
        elif hasattr(value, "to"):
            there[field.name] = value.to(device)
    return replace(batch, **there)  # type: ignore[type-var]


def output_mask(
    pools: Sequence[tuple[str, ...] | None], vocabulary: Vocabulary, *, special: bool = True
) -> Bool[Tensor, "rows symbols"]:
    """Mask the output entries that a response must not use (True: masked).

    Args:
        pools: for each row the symbols that its response may use; None: any.
        special: mask SOS and PAD too, to which the softmax leaves a trace of probability.
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
