"""`biml play`: a page on which to teach models words and see their responses."""

import argparse

from biml.cli import add_address, add_data_dir, add_dir_model, find_model
from biml.errors import UsageError
from biml.paths import DataFolders, strip_suffix

DEFAULT_MODELS = ("net-BIML-top", "net-BIML-algebraic-top")


def configure(parser: argparse.ArgumentParser) -> None:
    help = (
        "a model file or name, or a symbolic model such as oracle "
        f"(default: {' '.join(DEFAULT_MODELS)})"
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=help)
    add_address(parser, 8100)
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    add_dir_model(parser, "folder of the models")
    add_data_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Load the models once, print the address and serve until a signal ends the process."""
    import webbrowser

    from biml.evaluation.api import load
    from biml.evaluation.registry import is_language_model
    from biml.web.people import People
    from biml.web.play_api import Playground
    from biml.web.play_app import LOCAL_HOSTS, make_play_app
    from biml.web.server import ANY_HOST, address_of, listen, serve

    if language := [name for name in args.models or () if is_language_model(name)]:
        raise UsageError(
            f"`biml play` takes no language models, such as {language[0]}: after each change its "
            "page shows the probabilities of hundreds of responses, which would take minutes; use "
            "`biml ask` or `biml eval`"
        )
    names = dict.fromkeys(args.models or DEFAULT_MODELS)
    models = {strip_suffix(name): load(find_model(name, args)) for name in names}
    with listen(args.host, args.port) as listening:
        playground = Playground(models, People(DataFolders(args.data_dir)))
        playground.warm_up()
        app = make_play_app(
            playground, None if args.host in ANY_HOST else LOCAL_HOSTS | {args.host}
        )
        address = address_of(listening, args.host)
        print(f"{', '.join(models)}: {address}/ (Ctrl-C ends the server)", flush=True)
        if args.open:
            webbrowser.open(address)
        serve(app, listening)
