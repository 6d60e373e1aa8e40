"""The command line: ``relfunc demo`` and ``relfunc view``. Each command imports what it needs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import RelfuncError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default the process's own.

    Returns
    -------
    int
        0 for success, 1 for an error of the user's that the message explains, 130 after an interrupt. (Arguments that
        do not parse exit with 2.)
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except KeyboardInterrupt:
        print("relfunc: interrupted", file=sys.stderr)
        return 130
    except (RelfuncError, OSError) as error:
        print(f"relfunc: error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="relfunc", description="Find out which strategies a neural network uses across a whole dataset."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="find a planted watermark in handwritten digits, from training to the viewer",
        description="Train a small network on digits, some of one class with a watermark; attribute, analyse, and "
        "show which cluster of samples the watermark explains. A second run reuses the first one's files.",
    )
    demo.add_argument(
        "--out", type=Path, default=Path("relfunc-demo"), metavar="DIR", help="where the files go [%(default)s]"
    )
    demo.add_argument("--seed", type=int, default=0, help="of everything random [%(default)s]")
    _add_server_options(demo)
    demo.set_defaults(command=_demo)

    view = commands.add_parser(
        "view",
        help="explore attributions and their analysis in the browser",
        description="Serve the viewer on this machine, for one or several folders.",
    )
    view.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="folder with attributions.nc and analysis.nc")
    _add_server_options(view)
    view.set_defaults(command=_view)
    return parser


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="of the viewer [the first free one from 5006]")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    if parser.prog.endswith("demo"):
        parser.add_argument("--no-serve", action="store_true", help="stop before the viewer")


def _demo(arguments: argparse.Namespace) -> None:
    from . import demo

    folder = demo.run(arguments.out, demo.Setting(seed=arguments.seed))
    if not arguments.no_serve:
        _serve([folder], arguments)


def _view(arguments: argparse.Namespace) -> None:
    _serve(arguments.paths, arguments)


def _serve(paths: list[Path], arguments: argparse.Namespace) -> None:
    import viewer

    viewer.serve([str(path) for path in paths], port=arguments.port, show=not arguments.no_browser)


if __name__ == "__main__":
    sys.exit(main())
