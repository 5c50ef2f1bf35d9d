"""Episode types: what a model is trained on and evaluated on, one row each.

`register_episode_type` adds a row to those of the paper.
"""

from dataclasses import replace
from functools import partial

from biml import plugins
from biml.episodes.cogs import COGS_TYPES
from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode_type import (
    CANONICAL_VOCAB,
    FEW_SHOT,
    FEW_SHOT_FOLDER,
    FEW_SHOT_GOLD,
    FOLDS,
    NOVEL_RULES,
    OPEN_ENDED,
    PROBE_FOLDER,
    PROBES,
    PUBLISHED_VOCAB,
    VALIDATION,
    EpisodeType,
    EvaluationFactory,
    HumanResponses,
    TrainingFactory,
    gold_pairs_training,
    gold_set,
    gold_set_from_data,
    human_responses,
    interleaved,
    meta_training,
    novel_rules_evaluation,
    random_human_training,
    string_training,
    validation_set,
)
from biml.episodes.packed import PUBLISHED, PUBLISHED_DIGESTS, responses_digest
from biml.episodes.sampling import MAX_STRING_INPUT, MAX_STRING_OUTPUT
from biml.episodes.scan import SCAN_TYPES
from biml.episodes.transcripts import read_transcripts
from biml.episodes.transforms import (
    Transform,
    add_biases,
    add_noise,
    add_pool_to_study,
    add_slips,
    add_study_queries,
    drop_pool,
    drop_study,
    drop_undefined_responses,
    only_study_queries,
    random_study_query_split,
    remap,
    shuffle_queries,
    shuffle_study,
    subsample_study,
)
from biml.errors import UsageError, unknown_name
from biml.io import StrPath
from biml.vocabulary import Vocabulary

N_REMAPPINGS = 100
"""Remappings of the gold episode, and of free-form response sets, in one evaluation."""

META_GRAMMAR_EPISODES = "episodes of the meta-grammar"
OPEN_ENDED_RESPONSES = "people's answers in the open-ended task"
PROBE_RESPONSES = "people's answers in the probe task"

META_GRAMMAR_TASKS = (FEW_SHOT, FEW_SHOT_GOLD, VALIDATION, NOVEL_RULES)
"""Tasks of models that learned to infer a grammar from study examples."""

_ALGEBRAIC = meta_training(add_study_queries)
_BIASES_AND_NOISE: tuple[Transform, ...] = (add_biases, add_noise)
_SLIPS_AND_NOISE: tuple[Transform, ...] = (add_slips, partial(add_noise, p=0.03))
_STRING_SLIPS = (partial(add_slips, max_output=MAX_STRING_OUTPUT), _SLIPS_AND_NOISE[1])


def _open_ended_training(folder: str) -> TrainingFactory:
    transforms = (random_study_query_split, add_study_queries, remap)
    return random_human_training(f"{folder}/train", *transforms)


def _open_ended_responses(folder: str) -> EvaluationFactory:
    return human_responses(f"{folder}/val", shuffle_queries, remap, file_holds="participant")


def _probe_responses(*transforms: Transform) -> EvaluationFactory:
    return human_responses(PROBE_FOLDER, *transforms, query_repeats=10, file_holds="trial")


def _joint_training(folder: str, *transforms: Transform) -> TrainingFactory:
    return interleaved(
        mlc=meta_training(*transforms),
        any_study=meta_training(partial(subsample_study, max_n=14), *transforms),
        open_ended=_open_ended_training(folder),
    )


def _folder_of(fold: int) -> str:
    return f"open_ended_cross{fold}" if fold else "open_ended_all"


# Validated alike: right targets, study-example queries too.
_algebraic_type = partial(
    EpisodeType,
    algebraic_training=_ALGEBRAIC,
    evaluation=validation_set(add_study_queries),
    evaluation_task=VALIDATION,
    tasks=META_GRAMMAR_TASKS,
    data_sources=(META_GRAMMAR_EPISODES,),
)

_human_type = partial(EpisodeType, requirements=("data_human",))


def _open_ended_type(name: str, summary: str, fold: int = 0) -> EpisodeType:
    return _human_type(
        name,
        summary,
        training=_open_ended_training(_folder_of(fold)),
        evaluation=_open_ended_responses(_folder_of(fold)),
        evaluation_task=OPEN_ENDED,
        tasks=(OPEN_ENDED, PROBES),
        fold=fold,
        data_sources=(OPEN_ENDED_RESPONSES,),
        label="BIML (open-ended)",
        paper_model="MLC (open-ended)",
    )


def _joint_type(name: str, summary: str, fold: int = 0) -> EpisodeType:
    folder = _folder_of(fold)
    algebraic = validation_set(add_study_queries)
    return _human_type(
        name,
        summary,
        training=_joint_training(folder, add_study_queries, *_BIASES_AND_NOISE),
        algebraic_training=_joint_training(folder, add_study_queries),
        evaluation=_open_ended_responses(folder) if fold else algebraic,
        evaluation_task=OPEN_ENDED if fold else VALIDATION,
        tasks=(*META_GRAMMAR_TASKS, OPEN_ENDED, PROBES),
        fold=fold,
        data_sources=(META_GRAMMAR_EPISODES, OPEN_ENDED_RESPONSES),
        label="BIML (joint)",
        paper_model="MLC (joint)",
    )


def _held_out(fold: int) -> str:
    return f"fold {fold} held out from training, for evaluation"


_PEOPLE = "participants of the open-ended task"
_JOINT = "few-shot and open-ended training in one"

_ROWS = (
    _algebraic_type(
        "retrieve",
        "copy only: study-example queries",
        training=meta_training(only_study_queries),
        algebraic_training=meta_training(only_study_queries),
        study_queries_only=True,
        evaluation=validation_set(only_study_queries),
        evaluation_task="",
        label="BIML (copy only)",
        paper_model="MLC (copy only)",
    ),
    _algebraic_type(
        "algebraic", "algebraic outputs", training=_ALGEBRAIC, label="BIML (algebraic only)"
    ),
    _algebraic_type(
        "algebraic_noise",
        'algebraic outputs with noise ("MLC (algebraic only)")',
        training=meta_training(add_study_queries, add_noise),
        corruptions=(add_noise,),
        label="BIML (algebraic only)",
        paper_model="MLC (algebraic only)",
    ),
    _algebraic_type(
        "algebraic+biases",
        'algebraic outputs with human biases and noise ("MLC", "BIML")',
        training=meta_training(add_study_queries, *_BIASES_AND_NOISE),
        corruptions=_BIASES_AND_NOISE,
        label="BIML",
        paper_model="MLC",
    ),
    _algebraic_type(
        "algebraic+slips",
        "algebraic outputs with slips and noise at human rates",
        training=meta_training(add_study_queries, *_SLIPS_AND_NOISE),
        corruptions=_SLIPS_AND_NOISE,
        fitted_to=(FEW_SHOT,),
        label="BIML (slips)",
        paper_model="MLC",
    ),
    _algebraic_type(
        "algebraic+slips+strings",
        f"algebraic+slips, and queries that are any strings of up to {MAX_STRING_INPUT} words",
        training=interleaved(
            mlc=meta_training(add_study_queries, *_SLIPS_AND_NOISE),
            strings=string_training(*_STRING_SLIPS),
            more_strings=string_training(*_STRING_SLIPS),
        ),
        algebraic_training=interleaved(
            mlc=_ALGEBRAIC, strings=string_training(), more_strings=string_training()
        ),
        corruptions=_SLIPS_AND_NOISE,
        max_input=MAX_STRING_INPUT,
        max_output=MAX_STRING_OUTPUT + 2,
        fitted_to=(FEW_SHOT,),
        label="BIML (slips)",
        paper_model="MLC",
    ),
    EpisodeType(
        "novel_rules",
        "26 rules held out from training, 5 episodes each",
        evaluation=novel_rules_evaluation,
        evaluation_task=NOVEL_RULES,
    ),
    EpisodeType(
        "few_shot_gold",
        f"the correct answers of the human few-shot task, under {N_REMAPPINGS} remappings",
        evaluation=gold_set_from_data(
            shuffle_study, add_study_queries, remap, n_copies=N_REMAPPINGS
        ),
        evaluation_task=FEW_SHOT_GOLD,
    ),
    _human_type(
        "few_shot_human",
        "human responses in the few-shot task",
        evaluation=human_responses(FEW_SHOT_FOLDER, shuffle_study, remap),
        evaluation_task=FEW_SHOT,
    ),
    _human_type(
        "few_shot_human_mult10",
        "human responses in the few-shot task, each ten times",
        evaluation=human_responses(FEW_SHOT_FOLDER, shuffle_study, remap, query_repeats=10),
        evaluation_task=FEW_SHOT,
    ),
    EpisodeType(
        "few_shot_vanilla",
        "the few-shot task without study examples (basic seq2seq)",
        training=gold_pairs_training,
        evaluation=gold_set(drop_study),
        evaluation_task=FEW_SHOT_GOLD,
        tasks=(FEW_SHOT, FEW_SHOT_GOLD),
        uses_study=False,
        vocabulary=CANONICAL_VOCAB,
        data_sources=("the 14 study examples of the few-shot task",),
        label="Basic seq2seq",
        paper_model="basic seq2seq",
    ),
    _human_type(
        "human_vanilla",
        "human responses in the few-shot task without study examples",
        evaluation=human_responses(FEW_SHOT_FOLDER, drop_study, drop_undefined_responses),
        evaluation_task=FEW_SHOT,
        uses_study=False,
        vocabulary=CANONICAL_VOCAB,
    ),
    _open_ended_type("open_end_human_all", "all participants of the open-ended task"),
    *(_open_ended_type(f"open_end_human_cross{n}", f"{_PEOPLE}, {_held_out(n)}", n) for n in FOLDS),
    *(_joint_type(f"joint_cross{n}", f"{_JOINT}, {_held_out(n)}", n) for n in FOLDS),
    _joint_type("joint", f'{_JOINT}, every participant ("MLC (joint)")'),
    _human_type(
        "open_end_freeform",
        "the inputs of the open-ended task, answered one by one without study examples",
        evaluation=human_responses(
            "open_ended_all/mock", shuffle_queries, remap, n_copies=N_REMAPPINGS
        ),
        evaluation_task=OPEN_ENDED,
        has_targets=False,
    ),
    _human_type(
        "probe_human",
        "human responses in the probe task, each ten times, limited to a pool",
        evaluation=_probe_responses(shuffle_study, remap),
        evaluation_task=PROBES,
    ),
    # The supplement's probe fits are within-sample: the network learns from the answers of the same
    # 12 trials that it is scored on. So an episode is a random trial with all its responses.
    _human_type(
        "probe_human_w_pool",
        "the probe task with the pool as a study example, trained on human responses",
        training=random_human_training(
            PROBE_FOLDER, shuffle_study, add_study_queries, add_pool_to_study, remap
        ),
        evaluation=_probe_responses(shuffle_study, add_pool_to_study, remap),
        evaluation_task=PROBES,
        tasks=(PROBES,),
        data_sources=(PROBE_RESPONSES,),
        label="BIML (probes)",
        paper_model="MLC (probes)",
    ),
    *SCAN_TYPES,
    *COGS_TYPES,
)

EPISODE_TYPES: dict[str, EpisodeType] = {row.name: row for row in _ROWS}
"""By name: those of the paper in the order of its supplement, then registered ones."""


PROBE_SCORING = {
    "published": "Probes as published: study examples are scored too, and every symbol is possible",
    "allowed": "Probes: people's responses, limited to the allowed outputs of each trial",
}
"""What log-likelihoods of the probe task count."""


def with_probe_scoring(row: EpisodeType, evaluation: EvaluationSet, scoring: str) -> EvaluationSet:
    """The evaluation of a probe type as its likelihood counts it (a key of `PROBE_SCORING`).

    Evaluations of other types stay as they are.
    """
    if scoring not in PROBE_SCORING:
        raise unknown_name("scoring of probes", scoring, PROBE_SCORING, "--ll_probes")
    if row.evaluation_task != PROBES or scoring == "allowed":
        return evaluation
    before = list(evaluation.transforms)
    at = before.index(add_pool_to_study) if add_pool_to_study in before else len(before)
    transforms = (*before[:at], add_study_queries, *before[at:], drop_pool)
    return replace(evaluation, transforms=transforms)


def register_episode_type(row: EpisodeType) -> EpisodeType:
    """Add an episode type, so that every command and function knows it; see `biml.plugins`."""
    plugins.register(EPISODE_TYPES, "episode type", row.name, row)
    return row


def episode_type(name: str) -> EpisodeType:
    """The episode type of a name; a UsageError lists them all."""
    if name not in EPISODE_TYPES:
        plugins.load_installed()
    if name not in EPISODE_TYPES:
        if hint := plugins.hint("episode type", name):
            raise UsageError(hint)
        raise unknown_name("episode type", name, EPISODE_TYPES, "--episode_type")
    return EPISODE_TYPES[name]


def has_fixed_names(trained_on: str) -> bool:
    """Whether a model's words keep their meanings from training, so that none can be renamed."""
    row = EPISODE_TYPES.get(trained_on)
    return row is not None and (row.is_corpus or not row.uses_study)


def evaluation_type(
    task: str,
    vocabulary: Vocabulary = PUBLISHED_VOCAB,
    *,
    fold: int = 0,
    has_targets: bool = True,
    trained_on: str = "",
) -> EpisodeType | None:
    """The episode type that presents a task in a vocabulary; None where there is none.

    That is the type that the model was trained on if it presents the task, else the first.

    >>> evaluation_type(FEW_SHOT).name, evaluation_type(FEW_SHOT, CANONICAL_VOCAB).name
    ('few_shot_human', 'human_vanilla')
    """
    own = [EPISODE_TYPES[trained_on]] if trained_on in EPISODE_TYPES else []
    wanted = (task, vocabulary, fold, has_targets)
    for row in (*own, *EPISODE_TYPES.values()):
        if (row.evaluation_task, row.vocabulary, row.fold, row.has_targets) == wanted:
            return row
    return None


def transcripts_type(
    path: StrPath, vocabulary: Vocabulary = PUBLISHED_VOCAB, trained_on: str = ""
) -> EpisodeType:
    """The episode type of `evaluation_type` with the responses of a file of transcripts.

    A UsageError if there is none for models of this vocabulary.
    """
    found = read_transcripts(path)
    row = evaluation_type(found.task, vocabulary, trained_on=trained_on)
    if row is None or not isinstance(row.evaluation, HumanResponses):
        raise UsageError(
            f"{path}: no episode type presents the {found.task} task in the words of this model "
            f"({' '.join(vocabulary.input.symbols[:9])} …); choose another model"
        )
    # A part of the published responses is known by the experiment that its lines name.
    is_published = responses_digest(found.episodes) == PUBLISHED_DIGESTS[found.task] or any(
        name.endswith(PUBLISHED) for name in found.experiments
    )
    about = {"is_imported": not is_published, "description": str(path)}
    evaluation = row.evaluation
    left_out = f"; {found.n_unscored} responses in study left out" if found.n_unscored else ""
    return replace(
        row,
        summary=f"{row.summary}, from {path}{left_out}",
        evaluation=lambda data, seed: evaluation.of(found.episodes, seed, **about),
        requirements=(),
    )


def tasks_of(trained_on: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """The tasks that a model can be evaluated on.

    A model of unknown training has those of the first type that trains in its vocabulary.
    """
    own = EPISODE_TYPES.get(trained_on)
    rows = [own] if own is not None else [r for r in EPISODE_TYPES.values() if r.training]
    return next((row.tasks for row in rows if row.vocabulary == vocabulary), ())
