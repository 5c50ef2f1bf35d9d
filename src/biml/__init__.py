"""Behaviorally-Informed Meta-Learning (Lake & Baroni 2023, Nature 623:115-121).

    import biml

    model = biml.load("net-BIML-top.pt")
    model.respond([("dax", "RED"), ("wif", "BLUE"), ("dax fep", "RED RED RED")], "wif fep")

The parts, in the order in which data pass them: `biml.grammar`, `biml.episodes`, `biml.networks`,
`biml.training`, `biml.evaluation`. Names below are loaded when they are first used, so that
`import biml` takes no time and needs no PyTorch.
"""

import os
import sys
from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any

from biml.version import __version__

if TYPE_CHECKING:
    from biml.analysis.measures import register_measure
    from biml.episodes.corpus_file import register_corpus
    from biml.episodes.episode import Episode, Example
    from biml.episodes.registry import EPISODE_TYPES, episode_type, register_episode_type
    from biml.episodes.sampling import sample_episode
    from biml.episodes.text_format import format_episode, parse_episode, read_episode, write_episode
    from biml.errors import BimlError, FormatError, UsageError
    from biml.evaluation.api import Model, load, symbolic
    from biml.evaluation.evaluate import evaluate
    from biml.evaluation.hub import BimlModel
    from biml.evaluation.registry import register_responder
    from biml.evaluation.responder import Responder
    from biml.grammar import GOLD, Grammar, GrammarError, MetaGrammar, Rule
    from biml.grammar.meta_grammar import COLOURS, WORDS
    from biml.networks.registry import register_architecture
    from biml.rng import generator
    from biml.training.api import train

if sys.platform == "darwin":  # before PyTorch is imported, which reads it then
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

_EXPORTS = {
    "biml.analysis.measures": ("register_measure",),
    "biml.episodes.sampling": ("sample_episode",),
    "biml.episodes.corpus_file": ("register_corpus",),
    "biml.episodes.episode": ("Episode", "Example"),
    "biml.grammar.meta_grammar": ("COLOURS", "WORDS"),
    "biml.episodes.text_format": (
        "format_episode",
        "parse_episode",
        "read_episode",
        "write_episode",
    ),
    "biml.episodes.registry": ("EPISODE_TYPES", "episode_type", "register_episode_type"),
    "biml.errors": ("BimlError", "FormatError", "UsageError"),
    "biml.evaluation.api": ("Model", "load", "symbolic"),
    "biml.evaluation.evaluate": ("evaluate",),
    "biml.evaluation.hub": ("BimlModel",),
    "biml.evaluation.registry": ("register_responder",),
    "biml.evaluation.responder": ("Responder",),
    "biml.grammar": ("GOLD", "Grammar", "GrammarError", "MetaGrammar", "Rule"),
    "biml.networks.registry": ("register_architecture",),
    "biml.rng": ("generator",),
    "biml.training.api": ("train",),
}
_ALIASES = {"draw_episode": "sample_episode"}
"""Old names that still work."""

_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [
    "COLOURS",
    "EPISODE_TYPES",
    "GOLD",
    "WORDS",
    "BimlError",
    "BimlModel",
    "Episode",
    "Example",
    "FormatError",
    "Grammar",
    "GrammarError",
    "MetaGrammar",
    "Model",
    "Responder",
    "Rule",
    "UsageError",
    "__version__",
    "episode_type",
    "evaluate",
    "format_episode",
    "generator",
    "load",
    "parse_episode",
    "read_episode",
    "register_architecture",
    "register_corpus",
    "register_episode_type",
    "register_measure",
    "register_responder",
    "reproduce",
    "sample_episode",
    "symbolic",
    "train",
    "write_episode",
]


def __getattr__(name: str) -> Any:
    if name == "reproduce":
        return import_module("biml.reproduce")  # a package that can be called
    known = _ALIASES.get(name, name)
    if known not in _MODULE_OF:
        raise AttributeError(f"module 'biml' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[known]), known)
    if isinstance(value, FunctionType):
        value = import_module("biml.arguments").python_api(value)
    return globals().setdefault(known, value)


def __dir__() -> list[str]:
    return sorted(__all__)
