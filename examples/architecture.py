"""An architecture: an encoder-decoder of gated recurrent units (GRU) with attention.

    biml train --plugin examples/architecture.py --arch gru --episode_type algebraic \
        --fn_out_model net-gru.pt
    biml eval --plugin examples/architecture.py --max --fn_out_model net-gru.pt

A bidirectional GRU reads the query and the study examples as one sequence, a second GRU writes the
response, and dot-product attention looks at the encoded sequence at each step (Luong et al. 2015).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import biml
from biml.networks.attention import NO_DROPOUT, Dropout
from biml.networks.base import DecoderState
from biml.networks.registry import Architecture
from biml.networks.seq2seq import Seq2SeqBatch, SourceSequenceNetwork
from biml.vocabulary import Vocabulary


@dataclass(frozen=True)
class GRUConfig:
    """Sizes; options of `biml train` with these names set them, checkpoints keep them."""

    nlayers_encoder: int = 2
    emb_size: int = 128
    dropout: float = 0.1


@dataclass
class GRUState(DecoderState):
    """What decoding needs at each step; the first dimension of every tensor is the query."""

    memory: Tensor  # [query, src, emb]
    lengths: Tensor  # [query], source tokens without padding
    hidden: Tensor  # [query, emb]


class GRUNetwork(SourceSequenceNetwork):
    def __init__(self, config: GRUConfig, vocabulary: Vocabulary, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        emb = config.emb_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.input_embedding = nn.Embedding(len(vocabulary.input), emb)
            self.output_embedding = nn.Embedding(len(vocabulary.output), emb)
            self.encoder = nn.GRU(
                emb, emb // 2, config.nlayers_encoder, batch_first=True, bidirectional=True
            )
            self.decoder = nn.GRU(emb, emb, batch_first=True)
            self.combine = nn.Linear(2 * emb, emb)
            self.out = nn.Linear(emb, len(vocabulary.output))

    def embedding_parameters(self) -> tuple[str, ...]:
        return ("input_embedding.weight", "output_embedding.weight", "out.weight")

    def forward(self, batch: Seq2SeqBatch, generator: torch.Generator | None = None) -> Tensor:
        drop = Dropout(self.config.dropout, generator) if self.training else NO_DROPOUT
        memory, hidden = self._read(batch, drop)
        y, _ = self.decoder(drop(self.output_embedding(batch.decoder_input)), hidden[None])
        return self._logits(y, memory, batch.lengths, drop)

    def encode(self, batch: Seq2SeqBatch) -> GRUState:
        memory, hidden = self._read(batch, NO_DROPOUT)
        return GRUState(memory, batch.lengths, hidden)

    def decode_step(self, state: GRUState, tokens: Tensor) -> Tensor:
        y, hidden = self.decoder(self.output_embedding(tokens[:, None]), state.hidden[None])
        state.hidden = hidden[0]
        return self._logits(y, state.memory, state.lengths, NO_DROPOUT)[:, 0]

    def _read(self, batch: Seq2SeqBatch, drop: Dropout) -> tuple[Tensor, Tensor]:
        """Encode the source; return its encoding and the first hidden state of the decoder."""
        x = drop(self.input_embedding(batch.source))
        lengths = batch.lengths.cpu()
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, last = self.encoder(packed)
        memory, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
        return memory, torch.cat((last[-2], last[-1]), dim=1)

    def _logits(self, y: Tensor, memory: Tensor, lengths: Tensor, drop: Dropout) -> Tensor:
        """Attend from decoder outputs [query, out, emb] to the memory; return the logits."""
        scores = y @ memory.transpose(1, 2)
        padding = torch.arange(memory.shape[1], device=y.device) >= lengths[:, None]
        weights = scores.masked_fill(padding[:, None], -torch.inf).softmax(-1)
        combined = torch.tanh(self.combine(torch.cat((weights @ memory, y), dim=-1)))
        return self.out(drop(combined)).float()


biml.register_architecture(
    Architecture("gru", GRUConfig, GRUNetwork, "recurrent encoder-decoder with attention")
)
