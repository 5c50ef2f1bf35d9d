"""Who is shown: people and the models, in the order of their columns."""

from collections.abc import Collection
from dataclasses import dataclass

from biml.results.folder import Results
from biml.results.tables import PEOPLE

_MODEL_COLUMNS = ("model", "model_a", "model_b")


@dataclass(frozen=True)
class ModelColumn:
    """People or a model.

    Attributes:
        name: in the tables.
        label: for people.
        kind: `people`, `network` or `symbolic`.
        number: of its column, people's being 0; decides its colour and mark in figures.
    """

    name: str
    label: str
    kind: str
    number: int


def model_columns(results: Results) -> tuple[ModelColumn, ...]:
    """People, the models that `results.json` lists, then any other that a table names."""
    listed = {model.name: (model.label, model.kind) for model in results.models}
    named = {
        str(name)
        for table in results.tables.values()
        for key in _MODEL_COLUMNS
        if key in table
        for name in table[key].unique()
    }
    everyone = {PEOPLE: ("People", PEOPLE), **listed}
    everyone |= {name: (name, "network") for name in sorted(named - everyone.keys())}
    return tuple(
        ModelColumn(name, label or name, kind, number)
        for number, (name, (label, kind)) in enumerate(everyone.items())
    )


def select(columns: tuple[ModelColumn, ...], names: Collection[str]) -> tuple[ModelColumn, ...]:
    """Those that a table names, in the order of all."""
    return tuple(column for column in columns if column.name in names)
