"""Which models take part in a measurement: each a function to the reason why not, or nothing."""

from biml.episodes.types import CANONICAL_VOCAB, PUBLISHED_VOCAB
from biml.reproduce.subjects import EvaluatedModel, has_vocabulary
from biml.symbolic import symbolic_model


def ineligible_for_few_shot(model: EvaluatedModel) -> str:
    """Models that learned to read study examples, those without them, and symbolic ones."""
    if model.symbolic:
        return (
            "" if "few-shot" in symbolic_model(model.name).tasks else "is for the open-ended task"
        )
    if has_vocabulary(model, CANONICAL_VOCAB):
        return ""
    return ineligible_for_sampled_grammars(model)


def ineligible_for_sampled_grammars(model: EvaluatedModel) -> str:
    """Networks that learned from episodes of drawn grammars."""
    if model.symbolic:
        return ineligible_for_few_shot(model) or "is given the rules"
    if has_vocabulary(model, CANONICAL_VOCAB):
        return "knows another vocabulary and reads no study examples"
    if not has_vocabulary(model, PUBLISHED_VOCAB):
        return "knows another vocabulary"
    if model.network is None:
        return "has models for folds only"
    if model.trained_on.startswith(("open_end", "probe")):
        return f"was trained on {model.trained_on}, not on few-shot episodes of a grammar"
    return ""


def ineligible_for_gold_accuracy(model: EvaluatedModel) -> str:
    """The same, and networks without study examples."""
    return (
        ""
        if has_vocabulary(model, CANONICAL_VOCAB) and not model.symbolic
        else ineligible_for_sampled_grammars(model)
    )


def ineligible_for_few_shot_samples(model: EvaluatedModel) -> str:
    """Networks that read study examples, and symbolic models."""
    return (
        ineligible_for_few_shot(model) if model.symbolic else ineligible_for_sampled_grammars(model)
    )


def ineligible_for_open_ended(model: EvaluatedModel) -> str:
    """Networks that learned from people's open-ended answers, and symbolic models."""
    if model.symbolic:
        return (
            "" if "open-ended" in symbolic_model(model.name).tasks else "is for the few-shot task"
        )
    if not model.trained_on.startswith(("open_end_human", "joint")):
        return f"was trained on {model.trained_on or 'what is unknown'}, not on the open-ended task"
    return "" if has_vocabulary(model, PUBLISHED_VOCAB) else "knows another vocabulary"


def ineligible_for_open_ended_samples(model: EvaluatedModel) -> str:
    """The same, but one network that answers for all."""
    why = ineligible_for_open_ended(model)
    if not why and not model.symbolic and model.network is None:
        return "has models for folds only"
    return why


def probe_episode_type(model: EvaluatedModel) -> str:
    """The episode type of the probes: with the pool shown to whom it was shown in training."""
    shown = model.trained_on == "probe_human_w_pool"
    return "probe_human_w_pool" if shown else "probe_human"


def ineligible_for_probes(model: EvaluatedModel) -> str:
    """Networks that learned from answers to few study examples, or from the probes themselves."""
    if model.symbolic:
        return "is not for the probe trials"
    if model.trained_on == "probe_human_w_pool":
        return "" if has_vocabulary(model, PUBLISHED_VOCAB) else "knows another vocabulary"
    return ineligible_for_open_ended_samples(model).replace(
        "the open-ended task", "open-ended tasks or probes"
    )
