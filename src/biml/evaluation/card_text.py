"""A model's card as lines of text: provenance, use of data, and metrics.

Nothing here loads PyTorch, since `biml models` shows cards without it.
"""

from collections.abc import Mapping
from typing import Any

from biml.episodes.data_use import DataUse
from biml.episodes.registry import EPISODE_TYPES
from biml.paths import upgrade_card

METRIC_NAMES = {
    "gold": "gold few-shot queries, exact matches",
    "validation": "validation episodes, exact matches",
    "novel_rules": "held-out rules, exact matches",
    "few_shot_human": "human few-shot responses",
    "open_ended": "human open-ended responses",
}
"""Names and labels of the measurements of `benchmarks/release.py`."""


def card_lines(contents: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """Labels and values of a card, in order; `name` where the card has none."""
    card = upgrade_card(contents.get("card"))
    metrics, not_measured = card.get("metrics", {}), as_mapping(card.get("not_measured"))
    uses_by_metric = uses_of_metrics(contents)
    sizes = ", ".join(f"{k} {v}" for k, v in as_mapping(contents.get("config")).items())
    lines = [
        ("model", str(card.get("name", name))),
        *data_use_of(contents).parts().items(),
        ("network", f"{contents.get('architecture')} ({sizes})"),
        ("command", str(card.get("command") or "unknown")),
    ]
    lines += [
        ("started from", f"{one['file']}: {one.get('command') or one.get('episode_type')}")
        for one in card.get("parents") or ()
    ]
    lines += [
        (key, f"{card[key]:,}" if isinstance(card[key], int | float) else str(card[key]))
        for key in ("seed", "minutes", "episodes", "hardware", "torch", "biml", "note")
        if card.get(key) is not None
    ]
    for metric, label in METRIC_NAMES.items():
        if metric in metrics:
            if uses := uses_by_metric.get(metric):
                label += f", {' and '.join(uses)} these"
            lines.append((metric, f"{format_metrics(metrics[metric])} ({label})"))
        elif metric in not_measured:
            lines.append((metric, f"not measured: {not_measured[metric]}"))
    lines += [
        ("errors", f"{name} {format_errors(one)}")
        for name, one in metrics.items()
        if "error_rate" in one
    ]
    if card.get("p_lapse") is not None:
        lines.append(("lapse", f"{card['p_lapse']:g} fits human responses best (--ll_p_lapse)"))
    if rounding := as_mapping(card.get("rounding")):
        changed, total = rounding["changed_answers"], rounding["answers"]
        lines.append(("float16", f"changed {changed:,} of {total:,} greedy responses"))
    lines.append(("sha256", str(contents.get("sha256"))))
    return lines


def format_errors(metrics: Mapping[str, Any]) -> str:
    low, high = metrics["interval"]
    return f"{metrics['error_rate']:.2f} ({low:.2f} to {high:.2f})"


def data_use_of(contents: Mapping[str, Any]) -> DataUse:
    info, card = as_mapping(contents.get("info")), upgrade_card(contents.get("card"))
    return DataUse.of_network(str(contents.get("episode_type") or ""), info, card)


def uses_of_metrics(contents: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """For each metric of a card how the model was made with the data that it was measured on."""
    data_use = data_use_of(contents)
    metrics = upgrade_card(contents.get("card")).get("metrics", {})
    kinds = {name: EPISODE_TYPES.get(str(of.get("episode_type"))) for name, of in metrics.items()}
    return {name: data_use.uses(kind) for name, kind in kinds.items() if kind}


def format_metrics(metrics: Mapping[str, Any]) -> str:
    if "log_likelihood" in metrics:
        cross_validated = ""
        if "cross_validated" in metrics:
            value = metrics["cross_validated"]
            cross_validated = f"; {value:.1f} with the lapse rate fitted to other responses"
        return (
            f"log-likelihood {metrics['log_likelihood']:.1f} (SD {metrics['sd']:.1f}, "
            f"{metrics['repeats']} repeats), {metrics['symbols']} symbols, "
            f"lapse {metrics['p_lapse']:g}{cross_validated}"
        )
    accuracies = [
        f"{name} {format_percent(metrics[name])}%" for name in ("novel", "study") if name in metrics
    ]
    return f"{', '.join(accuracies)}, {metrics['episodes']} episodes"


def format_percent(value: Any) -> str:
    return "–" if not isinstance(value, int | float) else f"{value:.1f}"


def as_mapping(value: Any) -> Mapping[str, Any]:
    """The value, or an empty mapping if a card is malformed."""
    return value if isinstance(value, Mapping) else {}
