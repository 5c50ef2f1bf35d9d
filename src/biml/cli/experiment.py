"""`biml experiment`: the paper's experiments, or your own, with people in the browser."""

import argparse
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from biml.arguments import check_probability, whole_number
from biml.cli import add_address, count
from biml.errors import BimlError, UsageError, check_extra
from biml.progress import progress_bars
from biml.rng import derive_seed

DATABASE = "experiment.db"

MAX_SIMULATED = 100_000
"""Simulated participants of one run."""


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    serve = actions.add_parser("serve", help="let participants in")
    _add_design(serve)
    add_address(serve, 8000)
    help = "the path under which a reverse proxy passes the pages on"
    serve.add_argument("--root_path", default="", metavar="/PATH", help=help)
    _add_database(serve)

    new = actions.add_parser(
        "new",
        help="write a design to edit",
        description="Writes NAME.toml, a commented design: one of the paper, or one with the "
        "contents of study files.",
    )
    new.add_argument("name", metavar="NAME")
    new.add_argument(
        "--from",
        dest="source",
        default="few-shot",
        metavar="DESIGN|FILE|FOLDER",
        help="few-shot, open-ended, probes, an episode file, or for probes a folder of episode "
        "files with allowed outputs (default: %(default)s)",
    )
    new.add_argument("--overwrite", action="store_true", help="replace an existing file")

    simulate = actions.add_parser("simulate", help="let a model go through the experiment")
    _add_design(simulate)
    simulate.add_argument(
        "--model", required=True, metavar="NAME", help="a network, a symbolic or a language model"
    )
    simulate.add_argument(
        "--participants", type=int, default=30, metavar="N", help="(default: %(default)s)"
    )
    help = "lapse rate of the responses (default: that of the model's card, or 0)"
    simulate.add_argument("--p_lapse", type=float, metavar="P", help=help)
    simulate.add_argument("--seed", type=int, default=0, help="seed of the responses (default: 0)")
    simulate.add_argument(
        "--against",
        metavar="FILE",
        help="a database with the participants to compare with, for the power of the design "
        "(default: compare the models and conditions in this database)",
    )
    _add_database(simulate, None)

    export = actions.add_parser(
        "export",
        help="write responses, trials, participants and transcripts to a folder",
        description="Writes a folder with responses.csv, which `biml data import` takes, all "
        "trials as CSV and JSON lines, and a codebook.",
    )
    export.add_argument(
        "--out", type=Path, metavar="FOLDER", help="(default: NAME-export, after the experiment)"
    )
    help = (
        "excluded participants are left out of responses.csv and psych101.jsonl, or marked "
        "(default: %(default)s)"
    )
    export.add_argument("--exclusions", choices=("apply", "mark"), default="apply", help=help)
    export.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    _add_database(export)

    status = actions.add_parser("status", help="print each participant's progress")
    _add_database(status)

    withdraw = actions.add_parser("withdraw", help="delete all data of a participant")
    help = "the id that `status` prints, or the identifier of the recruiting service"
    withdraw.add_argument("id", metavar="ID", help=help)
    _add_database(withdraw)


def _add_design(parser: argparse.ArgumentParser) -> None:
    help = "an experiment of the paper, or a file made by `biml experiment new`"
    parser.add_argument("design", metavar="few-shot|open-ended|probes|FILE.toml", help=help)


def _add_database(parser: argparse.ArgumentParser, default: str | None = DATABASE) -> None:
    help = (
        "a file (SQLite), or postgresql://user:password@host/name "
        f"(default: {default or 'NAME-simulated.db'})"
    )
    parser.add_argument("--database", default=default, metavar="FILE", help=help)


def run(args: argparse.Namespace) -> None:
    actions = {
        "serve": _serve,
        "new": _new,
        "simulate": _simulate,
        "export": _export,
        "status": _status,
        "withdraw": _withdraw,
    }
    if args.action != "new":
        check_extra("web", "experiments with people need", "sqlalchemy")
    actions[args.action](args)


def _serve(args: argparse.Namespace) -> None:
    from biml.web.server import serve_experiment

    serve_experiment(
        args.design, args.database, host=args.host, port=args.port, root_path=args.root_path
    )


def _new(args: argparse.Namespace) -> None:
    from biml.experiment.new_design import write_design

    path = write_design(args.name, args.source, overwrite=args.overwrite)
    trial = f"biml experiment serve {path} --database trial.db"
    print(f"{path}: edit it, then try it with `{trial}`")


def _simulate(args: argparse.Namespace) -> None:
    from biml.evaluation.api import load
    from biml.experiment.design import read_design
    from biml.experiment.power import groups_of
    from biml.experiment.simulate import simulate
    from biml.experiment.store import Store

    whole_number("--participants", args.participants, 1, MAX_SIMULATED)
    if args.p_lapse is not None:
        check_probability("--p_lapse", args.p_lapse)
    design, model = read_design(args.design), load(args.model)
    if design.places is not None and args.participants > design.places:
        raise UsageError(
            f"--participants is {args.participants}, but {args.design} lets in {design.places}; "
            "change one of them"
        )
    p_lapse = model.card.get("p_lapse", 0.0) if args.p_lapse is None else args.p_lapse
    database = args.database or f"{design.name}-simulated.db"
    against = [Store.open(args.against)] if args.against else []
    store = Store.open(database, design)
    with progress_bars(transient=True) as progress:
        options = {"p_lapse": p_lapse, "seed": args.seed, "progress": progress}
        simulate(store, model.responder, Path(model.name).stem, args.participants, **options)
    print(
        f"{design.name}: {count(args.participants, 'participant')} simulated by {model.name}, "
        f"lapse rate {p_lapse:g}, in {database}"
    )
    _print_power(groups_of(store, *against), args.seed)
    print(f"write their data with `biml experiment export --database {database}`")


def _print_power(groups: Mapping[str, Any], seed: int) -> None:
    """Compare all groups in pairs."""
    import numpy as np

    from biml.experiment.power import MAX_PER_GROUP, TARGET, estimate_power

    for first, other in combinations(groups.items(), 2):
        shown = [
            f"{name} {values.mean():.1%} (n = {len(values)})" for name, values in (first, other)
        ]
        print(f"proportion correct: {', '.join(shown)}")
        if min(len(values) for _, values in (first, other)) < 2:
            print("power: too few participants who are not excluded")
            continue
        rng = np.random.default_rng(derive_seed(seed, "power", first[0], other[0]))
        try:
            found = estimate_power(first[1], other[1], rng)
        except BimlError as error:  # an extra is not installed
            print(f"power: {error}")
            return
        low, high = found.interval
        n = found.n_for_target
        needed = f"{n}" if n else f"more than {MAX_PER_GROUP:,}"
        print(
            f"power of Welch's t-test (two-sided, 5%): {found.power:.0%}, 95% interval {low:.0%} "
            f"to {high:.0%}; {TARGET:.0%} needs {needed} participants per group"
        )


def _export(args: argparse.Namespace) -> None:
    from biml.experiment.export import export
    from biml.experiment.store import Store

    store = Store.open(args.database)
    folder = args.out or Path(f"{store.facts['experiment']}-export")
    found = export(store, folder, exclusions=args.exclusions, overwrite=args.overwrite)
    people = count(found["participants"], "participant")
    simulated = f" ({found['simulated']:,} simulated)" if found["simulated"] else ""
    left_out = "left out of" if args.exclusions == "apply" else "marked in"
    print(
        f"{store.facts['experiment']}: {people}{simulated}, {found['excluded']:,} of them "
        f"{left_out} responses.csv; {count(found['responses'], 'response')} in {folder}"
    )
    if not found["responses"]:
        return
    study = next(folder.glob("study*"))
    print(f"import them with `biml data import {folder / 'responses.csv'} --study {study}`")


def _status(args: argparse.Namespace) -> None:
    from biml.experiment.store import Store

    store = Store.open(args.database)
    people = store.participants()
    counts = dict.fromkeys(("running", "finished"), 0)
    for person in people:
        counts[person.status] = counts.get(person.status, 0) + 1
    print(f"{store.facts['experiment']}: {', '.join(f'{n} {s}' for s, n in counts.items())}")
    for person in people:
        where = f"{person.stage}, {person.answered} answers" if person.stage else ""
        print("  ".join(filter(None, (person.id, person.external_id, person.status, where))))


def _withdraw(args: argparse.Namespace) -> None:
    from biml.experiment.store import Store

    deleted = Store.open(args.database).withdraw(args.id)
    print(f"{args.id}: {deleted} answers deleted")
