"""`biml models`: the trained models that come with biml, and their cards."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biml.errors import BimlError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

SUMMARY = "List the trained models that come with biml, or show the card of one."

# The labels stand here too because `evaluation.measure` would load PyTorch.
FIGURES = {
    "gold": "gold few-shot queries, exact answers",
    "validation": "validation episodes, exact answers",
    "novel_rules": "rules never met in training, exact answers",
    "few_shot_human": "people's few-shot answers",
    "open_ended": "people's open-ended answers",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="show the card of this model")
    parser.add_argument("--json", action="store_true", help="the card as it is in its file")


def run(args: argparse.Namespace) -> int:
    """List the models, or show one; exit code 1 where one is damaged."""
    from rich.console import Console

    from biml.checkpoints.shipped import installed

    console = Console(highlight=False)
    if args.name is not None:
        return _show(args.name, args.json, console)
    if args.json:
        raise UsageError("--json shows one card; name a model")
    paths = installed()
    if not paths:
        console.print(
            "No trained models come with this installation of biml. Train one with `biml train`, "
            "or fetch the released ones with `biml data download models`."
        )
        return 0
    return _list(paths, console)


def _list(paths: list[Path], console: "Console") -> int:
    from rich.table import Table
    from rich.text import Text

    # Narrow enough for 80 columns.
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    for heading in ("model", "trained on"):
        table.add_column(heading, no_wrap=True)
    for heading in ("gold", "novel", "copied", "new rules", "log lik.", "lapse"):
        table.add_column(heading, justify="right")
    problems = []
    for path in paths:
        try:
            contents = _checked(path)
        except BimlError as error:
            problems.append(str(error))
            table.add_row(path.stem, Text("damaged", "bold red"))
            continue
        figures = _mapping(_mapping(contents.get("card")).get("figures"))
        validation = _mapping(figures.get("validation"))
        table.add_row(
            path.stem,
            str(contents.get("episode_type", "?")),
            _percent(_mapping(figures.get("gold")).get("novel")),
            _percent(validation.get("novel")),
            _percent(validation.get("copied")),
            _percent(_mapping(figures.get("novel_rules")).get("novel")),
            *_likelihood(_mapping(figures.get("few_shot_human"))),
        )
    console.print(table)
    console.print(
        "\nPercent of the likeliest answers that are exact: to gold few-shot queries, to novel and "
        "copied queries of validation episodes, and about rules never met in training. "
        "Log-likelihood of people's few-shot answers, and its lapse rate. "
        "`biml models NAME` shows more.",
        style="dim",
    )
    for problem in problems:
        console.print(f"error: {problem}", style="red", markup=False)
    return 1 if problems else 0


def _show(name: str, as_json: bool, console: "Console") -> int:
    from rich.table import Table
    from rich.text import Text

    from biml.checkpoints.shipped import installed, shipped_model

    path = shipped_model(name)
    if path is None:
        known = ", ".join(path.stem for path in installed()) or "none"
        raise UsageError(f"no model {name!r} comes with biml; installed are: {known}")
    contents = _checked(path)
    if as_json:
        print(json.dumps(contents, indent=2))
        return 0
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _lines(path, contents):
        table.add_row(key, Text(value))
    console.print(table)
    return 0


def _checked(path: Path) -> dict[str, Any]:
    """The card of a model whose weights are sound."""
    from biml.checkpoints.cards import check_weights, read_bytes, read_card

    card = read_card(path)
    check_weights(read_bytes(path), card, path)
    return card


def _lines(path: Path, contents: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is shown of a card, in order."""
    card = _mapping(contents.get("card"))
    sizes = ", ".join(f"{k} {v}" for k, v in _mapping(contents.get("config")).items())
    lines = [
        ("model", str(card.get("name", path.stem))),
        ("file", str(path)),
        ("trained on", f"{contents.get('episode_type')}: {card.get('data') or 'unknown data'}"),
        ("network", f"{contents.get('architecture')} ({sizes})"),
        ("command", str(card.get("command") or "unknown")),
    ]
    lines += [
        ("started from", f"{one['file']}: {one.get('command') or one.get('episode_type')}")
        for one in card.get("started_from") or ()
    ]
    lines += [
        (label, f"{card[key]:,}" if isinstance(card[key], int | float) else str(card[key]))
        for key, label in (
            ("seed", "seed"),
            ("minutes", "minutes"),
            ("episodes", "episodes"),
            ("hardware", "hardware"),
            ("torch", "PyTorch"),
            ("biml", "biml"),
            ("note", "note"),
        )
        if card.get(key) is not None
    ]
    figures, skipped = _mapping(card.get("figures")), _mapping(card.get("skipped"))
    for name, label in FIGURES.items():
        if name in figures:
            lines.append((name, f"{_figure(figures[name])} ({label})"))
        elif name in skipped:
            lines.append((name, f"not measured: {skipped[name]}"))
    if card.get("p_lapse") is not None:
        lines.append(("lapse", f"{card['p_lapse']:g} fits people best (--ll_p_lapse)"))
    rounding = _mapping(card.get("rounding"))
    if rounding:
        changed, answers = rounding["changed_answers"], rounding["answers"]
        lines.append(("float16", f"changed {changed:,} of {answers:,} of the likeliest answers"))
    lines.append(("sha256", str(contents.get("sha256"))))
    return lines


def _figure(figure: Mapping[str, Any]) -> str:
    if "log_likelihood" in figure:
        return (
            f"log-likelihood {figure['log_likelihood']:.1f} (SD {figure['sd']:.1f}, "
            f"{figure['passes']} passes), {figure['symbols']} symbols, lapse {figure['p_lapse']:g}"
        )
    shares = [f"{name} {_percent(figure[name])}%" for name in ("novel", "copied") if name in figure]
    return f"{', '.join(shares)}, {figure['episodes']} episodes"


def _percent(value: Any) -> str:
    return "–" if not isinstance(value, int | float) else f"{value:.1f}"


def _likelihood(figure: Mapping[str, Any]) -> tuple[str, str]:
    if "log_likelihood" not in figure:
        return "–", "–"
    return f"{figure['log_likelihood']:.0f}", f"{figure['p_lapse']:g}"


def _mapping(value: Any) -> Mapping[str, Any]:
    """The value, or nothing where a card is not as it should be."""
    return value if isinstance(value, Mapping) else {}
