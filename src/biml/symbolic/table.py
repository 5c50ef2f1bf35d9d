"""The symbolic models by name: one row each."""

from collections.abc import Callable
from dataclasses import dataclass

from biml.errors import UsageError
from biml.evaluation.responder import Responder
from biml.symbolic.biased import BiasOracle
from biml.symbolic.open_ended import OpenEndedBiasModel
from biml.symbolic.oracle import Oracle
from biml.symbolic.slipping import SlipOracle


@dataclass(frozen=True)
class SymbolicModel:
    """A symbolic model: those of the paper, and one more.

    Attributes:
        name: for the command line.
        title: as the paper calls it, or would.
        summary: one line for people.
        tasks: the tasks it can answer: `few-shot`, `open-ended`.
        make: makes the responder; given `symbols`, one that answers in these.
    """

    name: str
    title: str
    summary: str
    tasks: tuple[str, ...]
    build: Callable[..., Responder]


_SYMBOLIC_MODELS = (
    SymbolicModel(
        "oracle",
        "Symbolic (oracle)",
        "the gold grammar's output",
        ("few-shot",),
        Oracle,
    ),
    SymbolicModel(
        "oracle-biases",
        "Symbolic (oracle/biases)",
        "the gold grammar's output, one-to-one and flipped-rule answers mixed",
        ("few-shot",),
        BiasOracle,
    ),
    SymbolicModel(
        "oracle-slips",
        "Symbolic (oracle/slips)",
        "the gold grammar's output, its rules misread one by one, more often in longer queries",
        ("few-shot",),
        SlipOracle,
    ),
    SymbolicModel(
        "biases",
        "Symbolic (biases)",
        "each word as it was translated before, a new word to an unused colour",
        ("open-ended",),
        OpenEndedBiasModel,
    ),
)

SYMBOLIC: dict[str, SymbolicModel] = {row.name: row for row in _SYMBOLIC_MODELS}
"""By name."""


def symbolic_model(name: str) -> SymbolicModel:
    """The row called `name`.

    Raises:
        UsageError: there is none; the message lists them all.
    """
    if name not in SYMBOLIC:
        raise UsageError(f"unknown symbolic model {name!r}; choose one of {', '.join(SYMBOLIC)}")
    return SYMBOLIC[name]
