"""`biml models` and `biml export`: pretrained models, their cards, and their conversion."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biml.cli import add_data_dir, add_dir_model
from biml.errors import BimlError, UsageError, unknown_name
from biml.io import read_bytes
from biml.paths import (
    MODEL_SUFFIXES,
    DataFolders,
    card_path,
    list_pretrained,
    pretrained_path,
    read_card,
    resolve_model,
    upgrade_card,
    verify_checksum,
)

if TYPE_CHECKING:
    from rich.console import Console

    from biml.episodes.data_use import DataUse

# Names and labels of `evaluation.measure.CARD_MEASUREMENTS`, which would load PyTorch.
METRIC_NAMES = {
    "gold": "gold few-shot queries, exact matches",
    "validation": "validation episodes, exact matches",
    "novel_rules": "held-out rules, exact matches",
    "few_shot_human": "human few-shot responses",
    "open_ended": "human open-ended responses",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="show the card of this model")
    parser.add_argument("--json", action="store_true", help="print the card as JSON")


def run(args: argparse.Namespace) -> int:
    """List the models, or show one; the exit code is 1 if one is damaged."""
    from rich.console import Console

    console = Console(highlight=False)
    if args.name is not None:
        return _show_model(args.name, args.json, console)
    if args.json:
        raise UsageError("--json shows one card; name a model")
    paths = list_pretrained()
    if not paths:
        console.print(
            "This installation of biml has no pretrained models. Train one with `biml train`, or "
            "download the published ones with `biml data download models`."
        )
        return 0
    problems = _list_models(paths, console)
    _list_responders(console)
    return 1 if problems else 0


def _list_models(paths: list[Path], console: "Console") -> list[str]:
    """Print a table of the models; return what is wrong with damaged ones."""
    from rich.table import Table
    from rich.text import Text

    from biml.episodes.data_use import CAVEAT_MARK

    # Narrow enough for 80 columns.
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    for heading in ("model", "network", "trained on"):
        table.add_column(heading, no_wrap=True)
    narrow = console.is_terminal and console.width < 76
    headings = ("gold", "novel", "held out", "log lik.")[: 1 if narrow else 4]
    for heading in headings:
        table.add_column(heading, justify="right")
    benchmarks = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "trained on", "errors in % (95% interval)"):
        benchmarks.add_column(heading)
    problems, used = [], False
    for path in paths:
        try:
            contents = _verified_card(path)
        except BimlError as error:
            problems.append(str(error))
            table.add_row(path.stem, Text("damaged", "bold red"))
            continue
        metrics = upgrade_card(contents.get("card")).get("metrics", {})
        uses, kind = _uses_of_metrics(contents), str(contents.get("episode_type", "?"))
        used |= any(uses.values())
        errors = [
            f"{'' if name == kind else f'{name} '}{_format_errors(one)}"
            f"{CAVEAT_MARK * bool(uses.get(name))}"
            for name, one in metrics.items()
            if "error_rate" in one
        ]
        if errors:
            benchmarks.add_row(path.stem, kind, "\n".join(errors))
            continue
        human = metrics.get("few_shot_human", {})
        percents = (
            _format_percent(metrics.get(name, {}).get(kind)) + CAVEAT_MARK * bool(uses.get(name))
            for name, kind in (
                ("gold", "novel"),
                ("validation", "novel"),
                ("novel_rules", "novel"),
            )
        )
        mark = CAVEAT_MARK * bool(uses.get("few_shot_human"))
        figures = (*percents, f"{human['log_likelihood']:.0f}{mark}" if human else "–")
        table.add_row(
            path.stem,
            str(contents.get("architecture", "?")),
            str(contents.get("episode_type", "?")),
            *figures[: len(headings)],
        )
    console.print(table)
    console.print(
        "\nExact matches of greedy responses in percent: gold few-shot queries, novel queries of "
        "validation episodes, and held-out rules. Log-likelihood of human few-shot responses at "
        "the lapse rate that fits them best. `biml models NAME` shows more. The published models "
        "of these names have other weights, and the network `paper`.",
        style="dim",
    )
    if benchmarks.rows:
        console.print()
        console.print(benchmarks)
    if used:
        console.print(
            f"{CAVEAT_MARK} The model was trained on, fitted to or chosen by these data, so this "
            "is not a test of generalisation; its card says which.",
            style="dim",
        )
    for problem in problems:
        console.print(f"error: {problem}", style="red", markup=False)
    return problems


def _list_responders(console: "Console") -> None:
    """Models without a file, and names that plugins have registered."""
    from rich.markup import escape
    from rich.table import Table

    from biml import plugins
    from biml.evaluation.registry import SYMBOLIC

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("without training", no_wrap=True)
    table.add_column("(`biml reproduce --models NAME`)")
    for row in SYMBOLIC.values():
        table.add_row(escape(row.name), escape(row.summary))
    console.print()
    console.print(table)
    if architectures := plugins.registered("architecture"):
        console.print(f"\nArchitectures of plugins: {', '.join(architectures)}", markup=False)


def _show_model(name: str, as_json: bool, console: "Console") -> int:
    from rich.table import Table
    from rich.text import Text

    path = pretrained_path(name)
    if path is None:
        raise unknown_name("pretrained model", name, [p.stem for p in list_pretrained()])
    contents = _verified_card(path)
    if as_json:
        print(json.dumps(contents, indent=2))
        return 0
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _card_lines(path, contents):
        table.add_row(key, Text(value))
    console.print(table)
    return 0


def _verified_card(path: Path) -> dict[str, Any]:
    """The card of a model after checking its weights."""
    card = read_card(path)
    verify_checksum(read_bytes(path), card, path)
    return card


def _card_lines(path: Path, contents: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Labels and values of a card, in order."""
    card = upgrade_card(contents.get("card"))
    metrics, not_measured = card.get("metrics", {}), _as_mapping(card.get("not_measured"))
    uses_of_metrics = _uses_of_metrics(contents)
    sizes = ", ".join(f"{k} {v}" for k, v in _as_mapping(contents.get("config")).items())
    lines = [
        ("model", str(card.get("name", path.stem))),
        ("file", str(path)),
        *_data_use(contents).parts().items(),
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
    for name, label in METRIC_NAMES.items():
        if name in metrics:
            if uses := uses_of_metrics.get(name):
                label += f", {' and '.join(uses)} these"
            lines.append((name, f"{_format_metrics(metrics[name])} ({label})"))
        elif name in not_measured:
            lines.append((name, f"not measured: {not_measured[name]}"))
    lines += [
        ("errors", f"{name} {_format_errors(one)}")
        for name, one in metrics.items()
        if "error_rate" in one
    ]
    if card.get("p_lapse") is not None:
        lines.append(("lapse", f"{card['p_lapse']:g} fits human responses best (--ll_p_lapse)"))
    if rounding := _as_mapping(card.get("rounding")):
        changed, total = rounding["changed_answers"], rounding["answers"]
        lines.append(("float16", f"changed {changed:,} of {total:,} greedy responses"))
    lines.append(("sha256", str(contents.get("sha256"))))
    return lines


def _format_errors(metrics: Mapping[str, Any]) -> str:
    low, high = metrics["interval"]
    return f"{metrics['error_rate']:.2f} ({low:.2f} to {high:.2f})"


def _data_use(contents: Mapping[str, Any]) -> "DataUse":
    from biml.episodes.data_use import DataUse

    info, card = _as_mapping(contents.get("info")), upgrade_card(contents.get("card"))
    return DataUse.of_network(str(contents.get("episode_type") or ""), info, card)


def _uses_of_metrics(contents: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """For each metric of a card how the model was made with the data that it was measured on."""
    from biml.episodes.registry import EPISODE_TYPES

    data_use = _data_use(contents)
    metrics = upgrade_card(contents.get("card")).get("metrics", {})
    kinds = {name: EPISODE_TYPES.get(str(of.get("episode_type"))) for name, of in metrics.items()}
    return {name: data_use.uses(kind) for name, kind in kinds.items() if kind}


def _format_metrics(metrics: Mapping[str, Any]) -> str:
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
        f"{name} {_format_percent(metrics[name])}%"
        for name in ("novel", "study")
        if name in metrics
    ]
    return f"{', '.join(accuracies)}, {metrics['episodes']} episodes"


def _format_percent(value: Any) -> str:
    return "–" if not isinstance(value, int | float) else f"{value:.1f}"


def _as_mapping(value: Any) -> Mapping[str, Any]:
    """The value, or an empty mapping if a card is malformed."""
    return value if isinstance(value, Mapping) else {}


def configure_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SRC",
        help="a trained model, .pt (also the published ones) or .safetensors, searched as by "
        "`biml eval`",
    )
    parser.add_argument(
        "destination",
        metavar="DEST",
        help="NAME.safetensors (with the card NAME.json) or NAME.pt; a missing folder is made",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="default: %(default)s"
    )
    parser.add_argument(
        "--to",
        choices=("biml", "released"),
        default="biml",
        help="format of DEST: biml (the default), or released, a NAME.pt for the published "
        "eval.py (--arch paper)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DEST if it exists")
    add_dir_model(parser, "folder to search first")
    add_data_dir(parser)


def run_export(args: argparse.Namespace) -> None:
    from biml.networks import checkpoint, released

    destination = Path(args.destination)
    if destination.suffix not in MODEL_SUFFIXES:
        raise UsageError(f"{destination}: the name must end in .safetensors or .pt")
    if args.to == "released" and (destination.suffix != ".pt" or args.dtype != "float32"):
        raise UsageError("--to released writes NAME.pt in float32; change DEST or --dtype")
    written = [destination]
    if destination.suffix == ".safetensors":
        written.append(card_path(destination))
    for path in written:
        if path.exists() and not args.overwrite:
            raise UsageError(f"{path} exists; add --overwrite to replace it")
    source = resolve_model(args.source, args.dir_model, DataFolders(args.data_dir))
    if any(path.exists() and path.samefile(source) for path in written):
        raise UsageError(f"{source} would be replaced by its own export; choose another name")
    contents, dtype = checkpoint.load_checkpoint(source), checkpoint.DTYPES[args.dtype]
    checkpoint.network_from_checkpoint(contents, str(source))  # fails if it cannot be loaded
    if args.to == "released":
        released.write_released(destination, contents)
    elif destination.suffix == ".safetensors":
        checkpoint.write_safetensors(destination, contents, dtype)
    else:
        contents.pop("training", None)
        contents["weights"] = checkpoint.cast_weights(contents["weights"], dtype)
        checkpoint.save_checkpoint(destination, contents)
    print(f"wrote {' and '.join(map(str, written))} from {source}")
