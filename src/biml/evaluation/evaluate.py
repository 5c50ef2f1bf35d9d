"""`biml.evaluate`: accuracy and likelihood of one model on one episode type."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biml.arguments import whole_number
from biml.episodes import registry
from biml.episodes.data_use import TRAINED, DataUse
from biml.episodes.episode_type import PROBES, PUBLISHED_VOCAB
from biml.errors import UsageError, check_extra
from biml.evaluation.accuracy import (
    Accuracy,
    ErrorRate,
    error_rates,
    max_response_length,
    single_responses,
    study_and_novel,
)
from biml.evaluation.api import Model, load
from biml.evaluation.intervals import Z_95
from biml.evaluation.likelihood import (
    CV_SPLITS,
    Likelihood,
    fit_lapse,
    likelihood,
    score_responses,
    token_scores,
    with_cross_validation,
    with_standard_error,
)
from biml.evaluation.network import NetworkResponder
from biml.evaluation.registry import is_language_model
from biml.evaluation.responder import Responder
from biml.networks.checkpoint import queries_per_study_set
from biml.paths import DataFolders, strip_suffix

if TYPE_CHECKING:
    import pandas as pd


DEFAULT_REPEATS = 10
"""Repeats with random orders and remappings that log-likelihoods are averaged over."""


@dataclass(frozen=True)
class Evaluation:
    """Accuracy and likelihood of a model on the evaluation of an episode type.

    Accuracies are of greedy responses, None without such queries; where the data hold human
    responses, they are the agreement with these. Likelihoods are of the responses in the data,
    without a lapse and (`fitted`) at the best lapse rate, with a cross-validated value.
    """

    model: str
    episode_type: str
    study: Accuracy | None
    novel: Accuracy | None
    likelihood: Likelihood
    fitted: Likelihood
    uses: tuple[str, ...]
    """Whether the model was `trained on`, `fitted to` or `chosen by` these data."""
    data_use: DataUse
    """All that it was trained on, fitted to and chosen by."""
    errors: Mapping[str, ErrorRate] = field(default_factory=dict)
    """Error rates on novel queries by `Example.item`, of SCAN, COGS and corpora."""
    agreement: bool = False
    """Whether accuracies are the agreement with human responses."""
    prompt_hash: str = ""
    """Of the template of a language model's prompts."""
    probes: str = ""
    """What likelihoods of a probe type count, a key of `registry.PROBE_SCORING`; else empty."""

    @property
    def seen(self) -> bool:
        """Whether the model was trained on these data."""
        return TRAINED in self.uses

    def table(self) -> "pd.DataFrame":
        """One row per measure: `measure`, `value`, `standard_error`, `low`, `high`, `unit`, …

        The 95% interval from `low` to `high` and the standard error are over the `unit`. `n` is the
        number of episodes, repeats of a likelihood, halvings of a cross-validation, or queries of
        an error rate; `sd` is over episodes or repeats. `uses` says whether the model was trained
        on, fitted to or chosen by these data, `data_use` what else it was.
        """
        check_extra("analysis", "tables of results need", "pandas")
        import pandas as pd

        kind = "agreement" if self.agreement else "accuracy"
        accuracies = ((f"{kind}_study", self.study), (f"{kind}_novel", self.novel))
        rows: list[tuple[object, ...]]
        rows = [
            (name, a.mean, a.standard_error, *a.interval, a.unit, a.sd, a.n_episodes, None)
            for name, a in accuracies
            if a
        ]

        def add_likelihood(name: str, value: float, error: float, *others: object) -> None:
            margin = Z_95 * error
            rows.append((name, value, error, value - margin, value + margin, fit.unit, *others))

        fit = self.fitted
        for name, one in (("log_likelihood", self.likelihood), ("fitted", fit)):
            n = len(one.by_repeat)
            add_likelihood(name, one.mean, one.standard_error, one.sd, n, one.p_lapse)
        held_out = fit.cross_validated, fit.cross_validated_error
        add_likelihood("cross_validated", *held_out, None, CV_SPLITS, None)
        rows.append(
            ("p_lapse", fit.p_lapse, None, *fit.p_lapse_interval, fit.unit, None, None, None)
        )
        for item, rate in self.errors.items():
            name = f"error_rate {item}".rstrip()
            rows.append(
                (name, rate.percent, None, *rate.interval, "queries", None, rate.n_queries, None)
            )
        names = ["measure", "value", "standard_error", "low", "high", "unit", "sd", "n", "p_lapse"]
        table = pd.DataFrame(rows, columns=names)
        about = {"uses": ", ".join(self.uses), "data_use": str(self.data_use)}
        about |= {"probes": self.probes} if self.probes else {}
        about |= {"prompt_hash": self.prompt_hash} if self.prompt_hash else {}
        return table.assign(
            model=self.model, episode_type=self.episode_type, seen=self.seen, **about
        )

    def _repr_html_(self) -> str:
        return str(self.table().to_html(index=False))


def evaluate(
    model: Responder | str | Path,
    episode_type: str = "",
    *,
    repeats: int = DEFAULT_REPEATS,
    episodes: int | None = None,
    data_dir: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    probes: str = "published",
    transcripts: str | Path | None = None,
) -> Evaluation:
    """Evaluate a model as `biml eval --max --ll --fit_lapse` does.

    Args:
        model: a `Model`, another responder, or what `load` takes.
        episode_type: by default that the model was trained on.
        repeats: with random orders and remappings, for the likelihood.
        episodes: only the first so many.
        data_dir: searched first for data folders.
        probes: what likelihoods of probe types count, a key of `registry.PROBE_SCORING`.
        transcripts: a file of human responses in the format of Psych-101, in place of an episode
            type (`biml.episodes.transcripts`).

    >>> evaluate("oracle", "few_shot_gold", repeats=1, episodes=2).novel.mean
    100.0
    """
    if isinstance(model, str | Path):
        model = load(model, device)
    elif not isinstance(model, Model):
        model = Model(model, "", type(model).__name__)
    responder, trained_on, name = model.responder, model.episode_type, strip_suffix(model.name)
    is_network = isinstance(responder, NetworkResponder)
    if transcripts is not None:
        if episode_type:
            raise UsageError(
                "episode_type and transcripts both name the episodes; give one of them"
            )
        known = model.vocabulary if is_network else PUBLISHED_VOCAB
        row = registry.transcripts_type(transcripts, known, trained_on)
    elif episode_type or trained_on:
        row = registry.episode_type(episode_type or trained_on)
    else:
        raise UsageError(f"{name} was not trained on an episode type; give episode_type")
    if is_language_model(model.name):
        language: Any = responder
        responder = replace(language, task=row.name)
    if not row.has_targets:
        raise UsageError(f"{row.name} has no targets to evaluate a model with")
    data = DataFolders(Path(data_dir) if data_dir else None)
    if is_network:
        model.vocabulary.require(row.open_vocabulary(data), name)
    evaluation = row.open_evaluation(data, whole_number("seed", seed, 0))
    if episodes is not None:
        first = evaluation.episodes[: whole_number("episodes", episodes, 1)]
        evaluation = replace(evaluation, episodes=first)
    if row.is_corpus and row.uses_study:
        evaluation = evaluation.with_shared_study(queries_per_study_set(model.info))
    presented = evaluation.repeat(0)
    limit = max_response_length([*evaluation.episodes, *presented], row.max_output)
    responses = single_responses(responder, presented, limit)
    study, novel = study_and_novel(evaluation, presented, responses)
    evaluation = registry.with_probe_scoring(row, evaluation, probes)
    scored = score_responses(responder, evaluation, repeats=whole_number("repeats", repeats, 1))
    scores = token_scores(scored, evaluation.query_repeats)
    errors = error_rates(presented, responses) if row.is_corpus else {}
    plain, fitted = (
        with_standard_error(one, scored, evaluation.query_repeats)
        for one in (likelihood(scores), fit_lapse(scores))
    )
    fitted = with_cross_validation(fitted, scored, responder, evaluation, task=row.evaluation_task)
    return Evaluation(
        name,
        row.name,
        study,
        novel,
        plain,
        fitted,
        model.data_use.uses(row, is_imported=evaluation.is_imported),
        model.data_use,
        errors,
        row.has_human_targets,
        str(model.info.get("prompt_hash", "")),
        probes if row.evaluation_task == PROBES else "",
    )
