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
from biml.networks.batching import RaggedRows, balanced_micro_batches
from biml.networks.hooks import NO_HOOKS, HookPoints, active_hooks
from biml.vocabulary import TokenVocab, Vocabulary


class TokenizedItem(Protocol):
    """What goes into a micro-batch as a whole, as numbers: a query, or an episode."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Its number of tokens, and other lengths by which micro-batches are sorted."""
        ...


class Batch(Protocol):
    """Episodes as tensors, a row for each query; architectures add fields of their own."""

    decoder_input: Int[Tensor, "query out"]  # SOS and the target symbols, then PAD
    target: Int[Tensor, "query out"]  # the target symbols and EOS, then PAD
    indices: list[tuple[int, int]]  # (episode, query) of each row; rows may be reordered

    @property
    def n_tokens(self) -> int:
        """Cost of a training pass, by which micro-batches are assigned to processes."""
        ...

    def to(self, device: torch.device) -> "Batch": ...


def check_sizes(config: Any, *counts: str) -> None:
    """Check what the configs of both architectures have in common."""
    for name in (*counts, "nheads", "emb_size", "ff_mult"):
        if getattr(config, name) < 1:
            raise UsageError(f"{name} is {getattr(config, name)}, but must be at least 1")
    if config.emb_size % config.nheads:
        raise UsageError(f"emb_size {config.emb_size} is not a multiple of nheads {config.nheads}")
    if not 0 <= config.dropout < 1:
        raise UsageError(f"dropout is {config.dropout}, but must be at least 0 and below 1")
    if config.activation not in ("gelu", "relu"):
        raise UsageError(f"activation {config.activation!r} is neither 'gelu' nor 'relu'")


@dataclass
class DecoderState:
    """What a network keeps between decoding steps; architectures add their key-value caches.

    Fields are tensors with a first dimension of rows, numbers, None, or lists, tuples and
    dataclasses of those. An architecture that keeps anything else overrides `select`.
    """

    def select(self, rows: Int[Tensor, " n"]) -> Self:
        """The state of these rows: decoding drops finished rows and repeats rows for samples."""
        return _select_rows(self, rows)


def _select_rows(value: Any, rows: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value.index_select(0, rows) if value.ndim else value
    if isinstance(value, list | tuple):
        return type(value)(_select_rows(item, rows) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in fields(value))
        return replace(value, **{n: _select_rows(getattr(value, n), rows) for n in names})
    return value


class EpisodeNetwork(nn.Module, ABC):
    """A network that reads the study examples of episodes and answers their queries.

    To add an architecture, write a frozen dataclass of its sizes, all with defaults, and a subclass
    of this class that is made from `(config, vocabulary, seed)`, draws its initial weights from
    `seed` alone and implements the abstract methods; then register both
    (`biml.networks.registry.register_architecture`). It is then trained with `--arch NAME`, saved,
    loaded, evaluated and reported like the built-in ones.

    Config fields named `nlayers_encoder`, `nlayers_query`, `nlayers_decoder`, `emb_size`,
    `ff_mult`, `activation` and `dropout` are set from the options of `biml train`, and
    `max_positions` from the longest sequences of the episode type; checkpoints keep all fields.
    What a network passes through `at` can be traced and changed (`biml.networks.hooks`).
    """

    config: Any
    vocabulary: Vocabulary
    remembers_study: bool = False
    """Whether study examples equal to those of the batch before need not be encoded again; for
    weights that do not change. Only an architecture that encodes them without the query can."""

    auxiliary_loss: Float[Tensor, ""] | None = None
    """Of the latest training pass, in nats; None without labels or where not supported."""

    @abstractmethod
    def embedding_parameters(self) -> tuple[str, ...]:
        """Names of the embeddings and the output matrix, which Muon leaves to AdamW."""

    @abstractmethod
    def tokenize(self, index: int, episode: Episode) -> Sequence[TokenizedItem]:
        """Number the tokens of the episode at `index` of a batch; raise UsageError if unknown."""

    @abstractmethod
    def pad(self, items: Sequence[Any]) -> Any:
        """Make a `Batch`, derived from `TensorData`, of tokenized items (on the CPU)."""

    def collate(self, episodes: Sequence[Episode]) -> Any:
        """Make one batch of all queries of the episodes."""
        return self.pad(self._tokenize_all(episodes))

    def micro_batches(
        self, episodes: Sequence[Episode], max_tokens: int, min_batches: int = 1
    ) -> list[Any]:
        """Split the rows of `collate` into batches of similar length (`balanced_micro_batches`).

        The result depends on the arguments alone: all processes of a run make the same batches.
        """
        items = sorted(self._tokenize_all(episodes), key=lambda item: item.lengths)
        batches = balanced_micro_batches(
            items, lambda item: item.lengths[0], max_tokens, min_batches
        )
        return [self.pad(batch) for batch in batches]

    def _tokenize_all(self, episodes: Sequence[Episode]) -> list[TokenizedItem]:
        items: list[TokenizedItem] = []
        for index, episode in enumerate(episodes):
            try:
                items.extend(self.tokenize(index, episode))
            except UsageError as error:
                raise UsageError(f"{episode.name or f'episode {index}'}: {error}") from None
        return items

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
        """Logits, as of `forward`, after one more decoder token (SOS first); changes `state`."""

    def at(self, part: str, rows: RaggedRows | None = None, start: int = 0) -> HookPoints:
        """Where hooks act in a part of the network; `start` is the position of its first token.

        The names of a network's activations are those that its `forward` passes through here.
        """
        find = active_hooks(self)
        return HookPoints(part, find, rows, start) if find else NO_HOOKS

    def source_tokens(self, batch: Any) -> tuple[Tensor, Tensor]:
        """What the decoder attends to in the first row, and the study example of each, or -1.

        Tokens are numbered as in the input vocabulary; -1 stands for the query.
        """
        raise UsageError("the tokens that this architecture attends to have no names")


def output_mask(
    pools: Sequence[tuple[str, ...] | None], vocabulary: Vocabulary, *, special: bool = True
) -> Bool[Tensor, "rows symbols"]:
    """Mask output entries outside each row's pool (None: all symbols) (True: masked).

    With `special`, SOS and PAD are masked too, to which the softmax leaves a trace of probability.
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

    It would if the most probable symbol is right after every correct prefix. Responses end at
    `max_length` symbols, there without EOS.
    """
    best = logits.masked_fill(mask[:, None], -torch.inf).argmax(-1)
    ignored = target == output.pad
    if max_length is not None:
        positions = torch.arange(target.shape[1], device=target.device)
        ignored = ignored | ((positions == max_length) & (target == output.eos))
        best[:, max_length:] = output.pad
    return ((best == target) | ignored).all(1)
