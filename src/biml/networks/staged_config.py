"""Sizes of the staged network."""

from dataclasses import dataclass

from biml.errors import UsageError


@dataclass(frozen=True)
class StagedConfig:
    """Sizes of the staged network.

    Attributes:
        nlayers_encoder: layers that read the study examples.
        nlayers_query: layers that read the words of a query.
        nlayers_decoder: layers that find its answer.
        nheads: attention heads.
        emb_size: width of embeddings and layers.
        ff_mult: width of the feed-forward layers, in multiples of `emb_size`.
        kernel: neighbouring tokens that the convolution sees; odd.
        nheads_within: encoder heads that see the tokens of their own study example alone.
        dropout: of the residual branches.
        activation: of the feed-forward layers.
    """

    nlayers_encoder: int = 5
    nlayers_query: int = 4
    nlayers_decoder: int = 4
    nheads: int = 4
    emb_size: int = 128
    ff_mult: int = 4
    kernel: int = 5
    nheads_within: int = 2
    dropout: float = 0.0
    activation: str = "gelu"

    def __post_init__(self) -> None:
        layers = ("nlayers_encoder", "nlayers_query", "nlayers_decoder")
        for name in (*layers, "nheads", "emb_size", "ff_mult", "kernel"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, but must be at least 1")
        if self.emb_size % self.nheads:
            raise UsageError(f"emb_size {self.emb_size} is no multiple of nheads {self.nheads}")
        if not 0 <= self.nheads_within <= self.nheads:
            raise UsageError(
                f"nheads_within is {self.nheads_within}, but must be 0 to nheads, {self.nheads}"
            )
        if self.emb_size // self.nheads % 2:
            raise UsageError(
                f"emb_size / nheads is {self.emb_size // self.nheads}; it must be even"
            )
        if self.kernel % 2 == 0:
            raise UsageError(f"kernel is {self.kernel}, but must be odd")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}, but must be at least 0 and below 1")
        if self.activation not in ("gelu", "relu"):
            raise UsageError(f"activation {self.activation!r} is neither 'gelu' nor 'relu'")
