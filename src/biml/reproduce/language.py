"""Language models under evaluation: what is known before one is loaded, and its questions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import pandas as pd

from biml.evaluation.intervals import wilson_interval
from biml.llm.answers import PARSER_VERSION
from biml.llm.load import open_language_model
from biml.llm.log import Record
from biml.llm.outcomes import summarize
from biml.llm.prompts import DEFAULT_TEMPLATE
from biml.llm.responder import LanguageModel
from biml.progress import Progress, no_progress
from biml.report.schemas import TABLES

LANGUAGE_MODEL = "language model"
"""The kind of a language model in results."""

TABLE = "language_models"


@dataclass(frozen=True)
class LanguageModelSource:
    """A language model by its name, such as `hf:NAME`, and how it is measured.

    Attributes:
        prompt: the template of its prompts.
        normalise: its likelihoods are among the possible answers to an item.
        limit: the most of each amount of the workload.
        opened: stands for the model.
    """

    name: str = ""
    prompt: str = DEFAULT_TEMPLATE
    normalise: bool = False
    limit: int | None = None
    opened: LanguageModel | None = field(default=None, compare=False, repr=False)
    progress: Progress = field(default=no_progress, compare=False, repr=False)

    def open(self) -> LanguageModel:
        """The model, which is loaded once per process."""
        return self.opened or _open(self.name, self.prompt, self.normalise)

    @property
    def identity(self) -> tuple[str, ...]:
        """Everything that its answers and their reading depend on."""
        model = self.open()
        settings = repr(sorted(model.backend.settings.items()))
        return LANGUAGE_MODEL, model.name, settings, f"parser {PARSER_VERSION}", _likelihood(model)

    @property
    def why_no_log_probs(self) -> str:
        """Why it can be sampled only; empty where it gives log-probabilities."""
        return self.open().why_no_log_probs


@cache
def _open(name: str, prompt: str, normalise: bool) -> LanguageModel:
    return open_language_model(name, prompt=prompt, normalise=normalise)


def _likelihood(model: LanguageModel) -> str:
    """What its log-probabilities are of."""
    return "among possible answers" if model.normalise else "of the text"


def questions_table(name: str, model: LanguageModel, records: Sequence[Record]) -> pd.DataFrame:
    """The table `language_models` of some questions to one model."""
    rows = [
        {
            "model": name,
            "task": row.task,
            "family": model.backend.family,
            "template": row.template,
            "template_hash": row.template_hash,
            "questions": row.n_questions,
            "answers": row.n_answers,
            "count": row.n_invalid,
            "likelihood": _likelihood(model),
        }
        for row in summarize(records)
    ]
    return pd.DataFrame(rows, columns=list(TABLES[TABLE].columns))


def merged_questions(results: Iterable[Mapping[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """The questions of all measurements, by model and task; nothing without language models."""
    parts = [tables[TABLE] for tables in results if TABLE in tables and len(tables[TABLE])]
    if not parts:
        return {}
    every = pd.concat(parts, ignore_index=True)
    keys = ["model", "task", "family", "template", "template_hash", "likelihood"]
    groups = every.fillna({"family": ""}).groupby(keys)
    sums = groups[["questions", "answers", "count"]].sum().reset_index()
    answers = sums["answers"].astype(float)
    shares = sums["count"].astype(float) / answers.where(answers > 0)
    ends = [wilson_interval(*row) for row in zip(shares, answers, strict=True)]
    low, high = zip(*ends, strict=True)
    return {TABLE: sums.assign(percent=100 * shares, low=low, high=high)}
