"""The data that a model was trained on, fitted to and chosen by, stated beside its scores."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from biml.episodes.episode_type import (
    FEW_SHOT,
    FEW_SHOT_GOLD,
    NOVEL_RULES,
    OPEN_ENDED,
    PROBES,
    SYSTEMATICITY,
    VALIDATION,
    EpisodeType,
)
from biml.episodes.registry import EPISODE_TYPES, OPEN_ENDED_RESPONSES, PROBE_RESPONSES

TRAINED, FITTED, CHOSEN = USES = ("trained on", "fitted to", "chosen by")
"""How the data of an evaluation may have gone into a model."""

CAVEAT_MARK = "†"
"""Marks a score on data with any of these uses."""

TASK_DATA = {
    FEW_SHOT: "people's answers in the few-shot task",
    OPEN_ENDED: OPEN_ENDED_RESPONSES,
    PROBES: PROBE_RESPONSES,
    FEW_SHOT_GOLD: "the gold few-shot queries",
    VALIDATION: "the validation episodes",
    NOVEL_RULES: "the held-out rules",
    SYSTEMATICITY: "the strings of the systematicity suite",
}
"""What models are scored on, by task."""


@dataclass(frozen=True)
class DataUse:
    """The data that went into a model.

    Attributes:
        trained_on: names of episode types, those of the models that it started from first.
        fitted_to: tasks to whose published responses its error rates, or those of its training
            episodes, were fitted.
        chosen_by: tasks by whose scores it was chosen among other models, or among the steps of its
            run (`--save_best`); an episode type without a task by its name.
    """

    trained_on: tuple[str, ...] = ()
    fitted_to: tuple[str, ...] = ()
    chosen_by: tuple[str, ...] = ()

    @classmethod
    def of_network(
        cls, episode_type: str, info: Mapping[str, Any], card: Mapping[str, Any]
    ) -> "DataUse":
        """The data use of a trained network, from the facts in its file."""
        parents = info.get("ancestors") or card.get("parents") or ()
        names = [str(one.get("episode_type")) for one in parents if isinstance(one, Mapping)]
        trained_on = tuple(dict.fromkeys([*names, episode_type] if episode_type else names))
        chosen_by = tuple(map(str, card.get("chosen_by") or ()))
        row, best = EPISODE_TYPES.get(episode_type), info.get("best_val_loss")
        if row and not row.validation and best is not None and best == info.get("val_loss"):
            chosen_by = (row.evaluation_task or row.name,)
        rows = [EPISODE_TYPES[name] for name in trained_on if name in EPISODE_TYPES]
        fitted_to = dict.fromkeys(task for row in rows for task in row.fitted_to)
        return cls(trained_on, tuple(fitted_to), chosen_by)

    @classmethod
    def of_responder(cls, responder: object) -> "DataUse":
        """The data use of another model, from its attributes `trained_on` and `fitted_to`, if any.

        >>> from types import SimpleNamespace
        >>> print(DataUse.of_responder(SimpleNamespace(fitted_to=["few_shot"])))
        fitted to people's answers in the few-shot task
        """
        names = ("trained_on", "fitted_to")
        return cls(*(tuple(getattr(responder, name, ())) for name in names))

    def uses(self, evaluated_on: EpisodeType, *, is_imported: bool = False) -> tuple[str, ...]:
        """Those of `USES` that hold for the data of an evaluation.

        The responses of an imported experiment are not those that models were fitted to and chosen
        by. Whether a model was trained on them is not known: it counts as trained.

        >>> joint = DataUse(trained_on=("joint_cross1",))
        >>> folds = EPISODE_TYPES["open_end_human_cross1"], EPISODE_TYPES["open_end_human_cross2"]
        >>> [joint.uses(fold) for fold in folds]  # the first is held out
        [(), ('trained on',)]
        """
        if not evaluated_on.has_targets:
            return ()
        task = evaluated_on.evaluation_task or evaluated_on.name
        found = self.uses_of_task(task, fold=evaluated_on.fold, is_imported=is_imported)
        if evaluated_on.tests_training and evaluated_on.name in self.trained_on:
            return (TRAINED, *found)
        return found

    def uses_of_task(
        self, task: str, *, fold: int = 0, is_imported: bool = False
    ) -> tuple[str, ...]:
        """The same for the data of a task, or of one fold of its participants."""
        rows = [EPISODE_TYPES[name] for name in self.trained_on if name in EPISODE_TYPES]
        trained = any(
            TASK_DATA.get(task) in row.data_sources and not (row.fold and row.fold == fold)
            for row in rows
        )
        published = {FITTED: task in self.fitted_to, CHOSEN: task in self.chosen_by}
        every = {TRAINED: trained} | ({} if is_imported else published)
        return tuple(use for use, holds in every.items() if holds)

    def parts(self) -> dict[str, str]:
        """A text for each of `USES` that the model has."""
        rows = [EPISODE_TYPES[name] for name in self.trained_on if name in EPISODE_TYPES]
        sources = ", ".join(dict.fromkeys(source for row in rows for source in row.data_sources))
        trained_on = ", then ".join(self.trained_on) + (f" ({sources})" if sources else "")
        fitted_to, chosen_by = (
            ", ".join(TASK_DATA.get(task, task) for task in tasks)
            for tasks in (self.fitted_to, self.chosen_by)
        )
        texts = zip(USES, (trained_on, fitted_to, chosen_by), strict=True)
        return {use: text for use, text in texts if text}

    def __str__(self) -> str:
        texts = [f"{use} {text}" for use, text in self.parts().items()]
        return "; ".join(texts) or "trained on no data"

    def as_json(self) -> dict[str, list[str]]:
        """The three attributes as plain values."""
        return {name: list(value) for name, value in vars(self).items()}


def validation_caveat(episode_type: str, ancestors: Sequence[Mapping[str, Any]]) -> str:
    """A sentence if training on an episode type validates on responses that it trains on.

    `ancestors` are facts about the models whose weights the run starts from.

    >>> validation_caveat("joint_cross1", [])
    ''
    >>> validation_caveat("joint_cross1", [{"episode_type": "joint"}])[:52]
    "Validation uses people's answers in the open-ended t"
    """
    row = EPISODE_TYPES[episode_type]
    use = DataUse.of_network(episode_type, {"ancestors": ancestors}, {})
    if row.validation or TRAINED not in use.uses(row):
        return ""
    data = TASK_DATA.get(row.evaluation_task, "some training inputs")
    others = "participants" if row.evaluation_task else "inputs"
    return (
        f"Validation uses {data}, which this model is trained on: its loss and accuracy are no "
        f"test of generalisation to other {others}"
    )


def caveat(uses: Iterable[str]) -> str:
    """A sentence about a score on data with these `USES`; empty for none.

    >>> caveat(["fitted to", "chosen by"])
    'The model was fitted to and chosen by these data, so this is not a test of generalisation.'
    """
    text = " and ".join(uses)
    return text and f"The model was {text} these data, so this is not a test of generalisation."
