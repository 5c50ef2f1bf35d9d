"""Models without a file by name: the symbolic ones, and responders of plugins."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from biml import plugins
from biml.arguments import check_arguments
from biml.errors import unknown_name
from biml.evaluation.responder import Responder


@dataclass(frozen=True)
class SymbolicModel:
    """A responder with a name: a symbolic model, or one added by `biml.register_responder`."""

    name: str
    title: str
    summary: str
    tasks: tuple[str, ...]
    factory: Callable[..., Responder] | str
    """Makes the responder; or the name of a class in `biml.evaluation.symbolic`."""
    uses_grammar: bool = False

    @property
    def build(self) -> Callable[..., Responder]:
        """The factory, whose module is imported only now: lists of models need no NumPy."""
        if isinstance(self.factory, str):
            build: Callable[..., Responder]
            build = getattr(import_module("biml.evaluation.symbolic"), self.factory)
            return build
        return self.factory


_FEW_SHOT, _GOLD = ("few-shot",), "the gold grammar's output"
_BUILTIN = (
    SymbolicModel("oracle", "Symbolic (oracle)", _GOLD, _FEW_SHOT, "Oracle", True),
    SymbolicModel(
        "oracle-biases",
        "Symbolic (oracle/biases)",
        f"{_GOLD}, mixed with one-to-one and argument-swapped responses",
        _FEW_SHOT,
        "BiasOracle",
        uses_grammar=True,
    ),
    SymbolicModel(
        "oracle-slips",
        "Symbolic (oracle/slips)",
        f"{_GOLD}, with rule-level errors that are likelier in longer queries",
        _FEW_SHOT,
        "SlipOracle",
        uses_grammar=True,
    ),
    SymbolicModel(
        "biases",
        "Symbolic (biases)",
        "the open-ended task: one colour per word, an unused colour for a new word",
        ("open-ended",),
        "OpenEndedBiasModel",
    ),
)

_LANGUAGE_MODELS = "biml.llm.load"
"""The module that opens language models, a later one than this."""


def is_language_model(name: object) -> bool:
    """Whether a name is that of a language model, such as `hf:folder`."""
    return str(name).startswith(("hf:", "openai:"))


def open_language_model(name: str, device: str, **options: Any) -> Any:
    """Open one; see `biml.llm.load.open_language_model`."""
    opener = import_module(_LANGUAGE_MODELS).open_language_model
    check_arguments(f"language model {name!r}", opener, name, device, **options)
    return opener(name, device, **options)


SYMBOLIC = {row.name: row for row in _BUILTIN}
"""Responders by name; files of networks are found by `biml.paths.resolve_model`."""


def register_responder(
    name: str,
    factory: Callable[..., Responder],
    summary: str,
    *,
    title: str = "",
    tasks: Iterable[str] = ("few-shot", "open-ended"),
    uses_grammar: bool = False,
) -> None:
    """Make a responder available by name to `biml.load`, `--fn_out_model` and `--models`.

    Args:
        factory: makes the responder; it must accept `symbols=`, the output symbols to respond in
            where the data have others than the published colours.
        summary: one line for listings.
        title: for reports; by default the name.
        tasks: the tasks that it can do, of `few-shot` and `open-ended`.
        uses_grammar: whether it reads `Episode.grammar`, which makes its accuracy on new grammars
            meaningless; it is then not reported.
    """
    row = SymbolicModel(name, title or name, summary, tuple(tasks), factory, uses_grammar)
    plugins.register(SYMBOLIC, "responder", name, row)


def symbolic_model(name: str) -> SymbolicModel:
    """Return the row called `name`; a UsageError lists them all."""
    if name not in SYMBOLIC:
        plugins.load_installed()
    if name not in SYMBOLIC:
        raise unknown_name("symbolic model", name, SYMBOLIC)
    return SYMBOLIC[name]
