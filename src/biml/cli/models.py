"""`biml models` and `biml export`: pretrained models, their cards, and their conversion."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from biml.cli import add_data_dir, add_dir_model
from biml.errors import BimlError, UsageError, unknown_name
from biml.io import atomic_directory, check_replaceable, read_bytes
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


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="show the card of this model")
    parser.add_argument("--json", action="store_true", help="print the card as JSON")


def run(args: argparse.Namespace) -> int:
    """List the models, or show one; the exit code is 1 if one is damaged."""
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


def _list_models(paths: list[Path], console: Console) -> list[str]:
    """Print a table of the models; return what is wrong with damaged ones."""

    from biml.episodes.data_use import CAVEAT_MARK
    from biml.evaluation.card_text import format_errors, format_percent, uses_of_metrics

    # Narrow enough for 80 columns.
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    for heading in ("model", "network"):
        table.add_column(heading, no_wrap=True)
    table.add_column("trained on", overflow="fold")
    headings = ("gold", "novel", "held out", "log lik.")[: 1 if console.width < 76 else 4]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    benchmarks = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "trained on", "errors in % (95% interval)"):
        benchmarks.add_column(heading, no_wrap=heading == "model", overflow="fold")
    problems, used = [], False
    for path in paths:
        try:
            contents = _verified_card(path)
        except BimlError as error:
            problems.append(str(error))
            table.add_row(path.stem, Text("damaged", "bold red"))
            continue
        metrics = upgrade_card(contents.get("card")).get("metrics", {})
        kind = str(contents.get("episode_type", "?"))
        marks = {name: CAVEAT_MARK for name, use in uses_of_metrics(contents).items() if use}
        used |= bool(marks)
        errors = [
            f"{'' if name == kind else f'{name} '}{format_errors(one)}{marks.get(name, '')}"
            for name, one in metrics.items()
            if "error_rate" in one
        ]
        if errors:
            benchmarks.add_row(path.stem, kind, "\n".join(errors))
            continue
        human = metrics.get("few_shot_human", {})
        figures = [
            format_percent(metrics.get(name, {}).get("novel")) + marks.get(name, "")
            for name in ("gold", "validation", "novel_rules")
        ]
        mark = marks.get("few_shot_human", "")
        figures.append(f"{human['log_likelihood']:.0f}{mark}" if human else "–")
        network = str(contents.get("architecture", "?"))
        table.add_row(path.stem, network, kind, *figures[: len(headings)])
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


def _list_responders(console: Console) -> None:
    """Models without a file, and names that plugins have registered."""

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


def _show_model(name: str, as_json: bool, console: Console) -> int:
    from biml.evaluation.card_text import card_lines

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
    lines = card_lines(contents, path.stem)
    for key, value in (lines[0], ("file", str(path)), *lines[1:]):
        table.add_row(key, Text(value))
    console.print(table)
    return 0


def _verified_card(path: Path) -> dict[str, Any]:
    """The card of a model after checking its weights."""
    card = read_card(path)
    verify_checksum(read_bytes(path), card, path)
    return card


def configure_export(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option(
        "source",
        metavar="SRC",
        help="a trained model, .pt (also the published ones) or .safetensors, searched as by "
        "`biml eval`",
    )
    option(
        "destination",
        metavar="DEST",
        help="NAME.safetensors (with the card NAME.json), NAME.pt or, with --to hf, a folder; a "
        "missing folder is made",
    )
    option(
        "--dtype", choices=("float32", "float16"), default="float32", help="default: %(default)s"
    )
    help = (
        "format of DEST: biml (the default); released, a NAME.pt for the published eval.py "
        "(--arch paper); or hf, a folder for the Hugging Face Hub with a model card"
    )
    option("--to", choices=("biml", "released", "hf"), default="biml", help=help)
    option(
        "--license",
        metavar="NAME",
        help="licence for --to hf, by the Hub's names, such as cc-by-4.0",
    )
    option("--overwrite", action="store_true", help="replace DEST if it exists")
    add_dir_model(parser, "folder to search first")
    add_data_dir(parser)


def run_export(args: argparse.Namespace) -> None:
    from biml.networks import checkpoint, released

    destination = Path(args.destination)
    if args.license and args.to != "hf":
        raise UsageError("--license goes with --to hf")
    if args.to == "hf":
        _export_for_hub(args, destination)
        return
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


def _export_for_hub(args: argparse.Namespace, folder: Path) -> None:
    from biml.evaluation.hub import HUB_CARD, HUB_CONFIG, HUB_WEIGHTS, write_hub_folder
    from biml.networks import checkpoint

    if folder.suffix in MODEL_SUFFIXES:
        raise UsageError(f"{folder}: --to hf writes a folder; leave out {folder.suffix}")
    files = (HUB_WEIGHTS, HUB_CONFIG, HUB_CARD)
    check_replaceable(folder, lambda path: path in files, "an exported model")
    source = resolve_model(args.source, args.dir_model, DataFolders(args.data_dir))
    contents, dtype = checkpoint.load_checkpoint(source), checkpoint.DTYPES[args.dtype]
    checkpoint.network_from_checkpoint(contents, str(source))
    with atomic_directory(folder, overwrite=args.overwrite) as made:
        write_hub_folder(made, contents, source.stem, dtype, license=args.license or "")
    print(f"wrote {folder} ({', '.join(files)}) from {source}")
