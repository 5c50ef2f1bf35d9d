"""`biml play`: a page to teach models words and to see what they make of them."""

import argparse

from biml.cli import add_data_dir, add_dir_model
from biml.paths import DataFolders, resolve_model, strip_suffix

DEFAULT_MODELS = ("net-BIML-top", "net-BIML-algebraic-top")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="a model file or name, or a symbolic model such as oracle "
        f"(default: {' '.join(DEFAULT_MODELS)})",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the network address to listen on; 0.0.0.0 lets other machines in "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--port", type=int, default=8100, help="0 for any that is free (default: %(default)s)"
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    add_dir_model(parser, "folder of the models")
    add_data_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Load the models once, print the address and serve until a signal ends the process."""
    import webbrowser

    from biml.evaluation.api import load
    from biml.evaluation.registry import SYMBOLIC
    from biml.web.people import People
    from biml.web.play_api import Playground
    from biml.web.play_app import LOCAL_HOSTS, make_play_app
    from biml.web.server import serve

    data = DataFolders(args.data_dir)
    models = {
        strip_suffix(name): load(
            name if name in SYMBOLIC else resolve_model(name, args.dir_model, data, SYMBOLIC)
        )
        for name in dict.fromkeys(args.models or DEFAULT_MODELS)
    }
    any_host = args.host in ("0.0.0.0", "::")
    playground = Playground(models, People(data))
    playground.warm_up()
    app = make_play_app(playground, None if any_host else LOCAL_HOSTS | {args.host})

    def announce(address: str) -> None:
        print(f"{', '.join(models)}: {address}/ (Ctrl-C ends the server)", flush=True)
        if args.open:
            webbrowser.open(address)

    serve(app, args.host, args.port, announce)
