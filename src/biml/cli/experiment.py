"""`biml experiment`: the paper's experiments, or your own, with people in the browser."""

import argparse

SUMMARY = "Run experiments with people in the browser; follow, simulate and export them."

DATABASE = "experiment.db"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    serve = actions.add_parser("serve", help="let participants in")
    _add_design(serve)
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="the network address to listen on; 0.0.0.0 lets other machines in "
        "(default: %(default)s)",
    )
    serve.add_argument(
        "--port", type=int, default=8000, help="0 for any that is free (default: %(default)s)"
    )
    serve.add_argument(
        "--root_path",
        default="",
        metavar="/PATH",
        help="the path under which a reverse proxy passes the pages on",
    )
    _add_database(serve)

    status = actions.add_parser("status", help="print who is where, and how many have finished")
    _add_database(status)

    withdraw = actions.add_parser("withdraw", help="delete all data of a participant")
    withdraw.add_argument(
        "id",
        metavar="ID",
        help="the id that `status` prints, or the identifier of the recruiting service",
    )
    _add_database(withdraw)


def _add_design(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "design",
        metavar="few-shot|open-ended|probes|FILE.toml",
        help="an experiment of the paper, or a file that `biml experiment new` began",
    )


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database",
        default=DATABASE,
        metavar="FILE",
        help="a file (SQLite), or postgresql://user:password@host/name (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    actions = {"serve": _serve, "status": _status, "withdraw": _withdraw}
    actions[args.action](args)


def _serve(args: argparse.Namespace) -> None:
    from biml.web.server import serve_experiment

    serve_experiment(
        args.design, args.database, host=args.host, port=args.port, root_path=args.root_path
    )


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
