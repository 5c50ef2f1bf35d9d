"""Starting the weights of a run from a trained model instead of at random (`--init`)."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from biml.checkpoints import own
from biml.checkpoints.model import check_vocabulary, load_checkpoint
from biml.errors import FormatError, UsageError
from biml.networks.base import EpisodeNetwork
from biml.networks.table import architecture
from biml.training.config import cli_name
from biml.training.presets import preset_supports
from biml.vocabulary import Vocabulary

SIZE_OPTIONS = {
    "nlayers_encoder": "nlayers_encoder",
    "nlayers_query": "nlayers_query",
    "nlayers_decoder": "nlayers_decoder",
    "emb_size": "emb_size",
    "ff_mult": "ff_mult",
    "act": "activation",
}
"""Options that are fixed by a network's weights, and what its architecture's config calls them."""


def load_initial_network(path: Path, vocabulary: Vocabulary, dropout: float) -> EpisodeNetwork:
    """The network of a model, with the dropout of the run.

    Raises:
        UsageError: the model knows other symbols.
        FormatError: its file is damaged.
    """
    contents = load_checkpoint(path)
    sizes = {**contents["config"], "dropout": dropout}
    network = own.network_from_checkpoint({**contents, "config": sizes}, str(path))
    check_vocabulary(network, vocabulary, path, contents["episode_type"])
    return network


def options_from_checkpoint(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture and sizes of a model, as options of a run.

    Args:
        path: the model's file.
        given: the options that were asked for explicitly.

    Raises:
        UsageError: an option asks for another network than this one; the message names it.
        FormatError: the file is damaged.
    """
    contents = load_checkpoint(path)
    try:
        had = {"arch": contents["architecture"]} | {
            name: contents["config"][field]
            for name, field in SIZE_OPTIONS.items()
            if field in {one.name for one in fields(architecture(contents["architecture"]).config)}
        }
    except (KeyError, TypeError) as error:
        raise FormatError(f"its sizes cannot be read ({error})", source=str(path)) from None
    what = None
    if given.get("arch", had["arch"]) != had["arch"]:
        what = f"--arch {given['arch']}"
    elif "preset" in given and not preset_supports(given["preset"], had["arch"]):
        what = f"--preset {given['preset']}"
    if what is not None:
        raise UsageError(
            f"{what} trains another network than {path} is, whose architecture is {had['arch']}; "
            f"leave out --init or {what.split()[0]}"
        )
    idle = [cli_name(name) for name in SIZE_OPTIONS if name in given and name not in had]
    if idle:
        raise UsageError(f"the {had['arch']} network takes no {idle[0]}; leave it out")
    differing = [
        f"{cli_name(name)} {given[name]} (it has {value})"
        for name, value in had.items()
        if given.get(name, value) != value
    ]
    if differing:
        raise UsageError(
            f"{path} is a network of other sizes than {', '.join(differing)}; "
            "its sizes are taken where these options are left out"
        )
    return had


def provenance(path: Path) -> list[dict[str, Any]]:
    """What is known of a model that a run starts from, and of those that it started from itself.

    Returns:
        plain facts, the oldest model first: its file's name, checksum and episode type, and where
        it says so its options or command and how many steps, episodes and seconds it was trained.
    """
    contents = load_checkpoint(path)
    info, card = contents.get("info") or {}, contents.get("card") or {}
    before = info.get("ancestors") or [
        _facts_from_parent(one) for one in card.get("started_from") or ()
    ]
    kept = ("options", "step", "episodes", "seconds", "hardware", "torch")
    facts = {
        "file": path.name,
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "episode_type": contents["episode_type"],
        **_facts_from_card(card, before),
        **{name: info[name] for name in kept if name in info},
    }
    return [*before, facts]


def _facts_from_card(
    card: Mapping[str, Any], parents: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What a card, whose sums count the models before, tells of its own model's run."""
    known = {name: card[name] for name in ("command", "hardware", "torch") if card.get(name)}
    if card.get("minutes") is not None and all("seconds" in one for one in parents):
        known["seconds"] = 60 * card["minutes"] - sum(one["seconds"] for one in parents)
    return known


def _facts_from_parent(parent: Mapping[str, Any]) -> dict[str, Any]:
    """One of a card's models before, as checkpoints have it."""
    facts = {name: value for name, value in parent.items() if name != "minutes"}
    if parent.get("minutes") is not None:
        facts["seconds"] = 60 * parent["minutes"]
    return facts
