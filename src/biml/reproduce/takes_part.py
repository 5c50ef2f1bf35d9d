"""Which models take part in a measurement: each a function to the reason why not, or nothing."""

from biml.episodes.types import CANONICAL, PUBLISHED
from biml.reproduce.subjects import Subject, knows
from biml.symbolic import symbolic


def few_shot(subject: Subject) -> str:
    """Models that learned to read study examples, those without them, and symbolic ones."""
    if subject.symbolic:
        return "" if "few-shot" in symbolic(subject.name).tasks else "is for the open-ended task"
    if knows(subject, CANONICAL):
        return ""
    return drawn_grammars(subject)


def drawn_grammars(subject: Subject) -> str:
    """Networks that learned from episodes of drawn grammars."""
    if subject.symbolic:
        return few_shot(subject) or "is given the rules"
    if knows(subject, CANONICAL):
        return "knows another vocabulary and reads no study examples"
    if not knows(subject, PUBLISHED):
        return "knows another vocabulary"
    if subject.network is None:
        return "has models for folds only"
    if subject.trained_on.startswith(("open_end", "probe")):
        return f"was trained on {subject.trained_on}, not on few-shot episodes of a grammar"
    return ""


def greedy_gold(subject: Subject) -> str:
    """The same, and networks without study examples."""
    return "" if knows(subject, CANONICAL) and not subject.symbolic else drawn_grammars(subject)


def sampled_few_shot(subject: Subject) -> str:
    """Networks that read study examples, and symbolic models."""
    return few_shot(subject) if subject.symbolic else drawn_grammars(subject)


def open_ended(subject: Subject) -> str:
    """Networks that learned from people's open-ended answers, and symbolic models."""
    if subject.symbolic:
        return "" if "open-ended" in symbolic(subject.name).tasks else "is for the few-shot task"
    if not subject.trained_on.startswith(("open_end_human", "joint")):
        return (
            f"was trained on {subject.trained_on or 'what is unknown'}, not on the open-ended task"
        )
    return "" if knows(subject, PUBLISHED) else "knows another vocabulary"


def sampled_open_ended(subject: Subject) -> str:
    """The same, but one network that answers for all."""
    why = open_ended(subject)
    if not why and not subject.symbolic and subject.network is None:
        return "has models for folds only"
    return why


def probe_type(subject: Subject) -> str:
    """The episode type of the probes: with the pool shown to whom it was shown in training."""
    shown = subject.trained_on == "probe_human_w_pool"
    return "probe_human_w_pool" if shown else "probe_human"


def probes(subject: Subject) -> str:
    """Networks that learned from answers to few study examples, or from the probes themselves."""
    if subject.symbolic:
        return "is not for the probe trials"
    if subject.trained_on == "probe_human_w_pool":
        return "" if knows(subject, PUBLISHED) else "knows another vocabulary"
    return sampled_open_ended(subject).replace("the open-ended task", "open-ended tasks or probes")
