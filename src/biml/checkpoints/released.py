"""Checkpoints that the published code wrote, translated into our own format."""

from typing import Any

import torch
from torch import Tensor

from biml.checkpoints import own
from biml.checkpoints.restricted import Lang
from biml.errors import FormatError, UsageError
from biml.networks.paper import Seq2SeqConfig, sinusoidal_positions
from biml.vocabulary import TokenVocab, Vocabulary

POSITIONS_KEY = "positional_encoding.pos_embedding"
NHEADS = 8
"""Released checkpoints do not say how many heads they have; the published code always has 8."""

METADATA_KEYS = ("epoch", "step", "nepochs", "batch_size", "best_val_loss", "train_tracker")


def is_mlc_checkpoint(contents: dict[str, Any]) -> bool:
    return "nets_state_dict" in contents


def convert_mlc_checkpoint(contents: dict[str, Any], source: str) -> dict[str, Any]:
    """The contents of a released checkpoint as those of one of ours (without training state).

    Args:
        contents: the dictionary in the file.
        source: its name, for messages.

    Raises:
        FormatError: something is missing or does not fit together.
    """
    try:
        vocabulary = Vocabulary(
            *(_token_vocab(contents["langs"][key]) for key in ("input", "output"))
        )
        config = Seq2SeqConfig(
            nlayers_encoder=contents["nlayers_encoder"],
            nlayers_decoder=contents["nlayers_decoder"],
            nheads=NHEADS,
            emb_size=contents["emb_size"],
            ff_mult=contents["ff_mult"],
            dropout=contents["dropout"],
            activation=contents["activation"],
        )
        args = dict(vars(contents["args"])) if "args" in contents else {}
        return own.checkpoint_dict(
            "paper",
            config,
            vocabulary,
            contents.get("episode_type") or args.get("episode_type", ""),
            _convert_weights(contents["nets_state_dict"], config.emb_size),
            info={key: contents[key] for key in METADATA_KEYS if key in contents} | {"args": args},
        )
    except KeyError as error:
        raise FormatError(f"the checkpoint lacks {error}", source=source) from None
    except (TypeError, AttributeError, ValueError, UsageError) as error:
        raise FormatError(f"not what the published code writes ({error})", source=source) from None


def _token_vocab(lang: Lang) -> TokenVocab:
    language = TokenVocab(tuple(lang.symbols))
    if lang.symbol2index != language.index:
        raise ValueError("its symbols are not numbered in order with SOS, EOS, PAD behind")
    return language


def _convert_weights(weights: dict[str, Any], width: int) -> dict[str, Tensor]:
    weights = dict(weights.get("net", weights))
    positions = weights.pop(POSITIONS_KEY, None)
    if positions is not None:
        table = positions.reshape(-1, width)
        if not torch.allclose(table, sinusoidal_positions(len(table), width), atol=1e-4):
            raise ValueError("its positions are not sinusoids")
    return weights
