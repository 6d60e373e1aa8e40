"""The command line: what it offers, and how it ends. Each command imports what it needs."""

import argparse
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from ..errors import RelfuncError
from .derived import add_options, derived, positive


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
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            arguments.command(arguments)
    except KeyboardInterrupt:
        print("relfunc: interrupted", file=sys.stderr)
        return 130
    except (RelfuncError, OSError) as error:
        print(f"relfunc: error: {error}", file=sys.stderr)
        return 1
    return 0


def _warn(message: Warning | str, *_: object) -> None:
    print(f"relfunc: warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="relfunc", description="Find out which strategies a neural network uses across a whole dataset."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_attribute(commands)
    _add_plan(commands)
    _add_audit(commands)
    _add_analyze(commands)
    _add_report(commands)
    _add_view(commands)
    return parser


def _commands() -> ModuleType:
    from . import commands

    return commands


# --- attribution --------------------------------------------------------------------------------------


def _add_attribute(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "attribute",
        "explain a model's output for every sample of a dataset",
        "Attribute a whole dataset. Results are written as they come, into files (shards) of the folder --out. "
        "Stopped at any moment and started again, the same command goes on behind the last whole file.",
        "relfunc attribute --model torchvision:resnet50 --weights DEFAULT --data photos --out run\n"
        "  relfunc attribute --model my_models:network --checkpoint network.pt --composite rules.toml \\\n"
        "    --data test.nc --target prediction --workers 4 --out run",
    )
    _add_model_options(parser)
    explanation = _add_composite_option(parser, f"{_DEFAULT} for --method lrp")
    explanation.add_argument(
        "--method",
        default="lrp",
        help="lrp, gradient, input_x_gradient, smoothgrad, integrated_gradients or occlusion, also with options, as in "
        "'smoothgrad(samples=10)'; with a --composite, of its relevance in place of the gradient [%(default)s]",
    )
    _add_target_option(explanation)
    _add_data_options(parser)
    results = parser.add_argument_group("results")
    results.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the results")
    add_options(results, _OF_RESULTS)
    running = parser.add_argument_group("running")
    add_options(running, [name for name in derived() if name not in _OF_RESULTS])
    running.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster, such as tcp://node1:8786, to compute on"
    )
    parser.set_defaults(command=lambda given: _commands().attribute(given))


_DEFAULT = "epsilon_plus_flat, of a model of transformers attnlrp,"
_OF_RESULTS = ("variables", "keep_input", "dtype", "shard_size")


def _add_plan(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "plan",
        "list the rule of every operation of a model, before anything runs",
        "List the operations of a model that carry relevance, in the order in which they run, and the rule that the "
        "composite gives each.",
        "relfunc plan --model torchvision:resnet50 --composite epsilon_plus_flat --out plan.csv",
    )
    _add_model_options(parser)
    _add_composite_option(parser, _DEFAULT)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the table there as CSV, in place of printing it"
    )
    parser.set_defaults(command=lambda given: _commands().plan(given))


def _add_audit(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "audit",
        "account for the relevance that enters and leaves every operation",
        "Attribute some samples, and say for every operation, from the output to the input, how much relevance it got "
        "and where that went: passed on, absorbed by the bias or by the stabilizer, or dropped.",
        "relfunc audit --model torchvision:resnet50 --weights DEFAULT --data photos --samples 4",
    )
    _add_model_options(parser)
    _add_target_option(_add_composite_option(parser, _DEFAULT))
    _add_data_options(parser)
    parser.add_argument("--samples", type=positive, default=8, metavar="N", help="the first so many [%(default)s]")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the table there as CSV, in place of printing it"
    )
    parser.set_defaults(command=lambda given: _commands().audit(given))


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    what: str,
    description: str,
    example: str,
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=what,
        description=textwrap.fill(description, 79),
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        required=True,
        help="torchvision:NAME, such as torchvision:resnet50; transformers:FOLDER, a classifier of texts that "
        "save_pretrained wrote there with its tokenizer, which is never looked for elsewhere; or MODULE:CALLABLE, a "
        "torch.nn.Module or a function that returns one, in a module that Python can import, also from the current "
        "folder",
    )
    group.add_argument("--weights", metavar="NAME", help="of a torchvision model, such as DEFAULT or IMAGENET1K_V1")
    group.add_argument("--checkpoint", type=Path, metavar="FILE", help="with the model's state dict, from torch.save")
    group.add_argument(
        "--example-inputs",
        type=_shape,
        metavar="SHAPE",
        help="shape of an input, such as 1,3,224,224, for models that torch.fx cannot trace",
    )


def _add_composite_option(parser: argparse.ArgumentParser, default: str) -> "argparse._ArgumentGroup":
    group = parser.add_argument_group("explanation")
    group.add_argument(
        "--composite",
        help="the rules of relevance: a name such as epsilon_plus_flat, also with options, as in "
        f"'epsilon_gamma_box(low=-2.2, high=2.7)', or a TOML file [{default}]",
    )
    return group


def _add_target_option(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--target",
        type=_target,
        default="label",
        help="the class to explain: label, prediction, or its index [%(default)s]",
    )


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="PATH",
        help="a folder of images, with a subfolder for each class or without classes; a netCDF file with 'input' "
        "and 'label'; or texts: one a line (.txt), or with columns or keys 'text' and 'label' (.csv, .jsonl)",
    )
    group.add_argument(
        "--transform",
        metavar="MODULE:CALLABLE",
        help="from an image (of netCDF: an array of them) to the model's input [that of --weights]",
    )
    group.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="text file with the model's class names, one a line [those of --weights, or of the data]",
    )


def _shape(text: str) -> tuple[int, ...]:
    return tuple(positive(size) for size in text.replace("x", ",").split(","))


_shape.__name__ = "shape"


def _target(text: str) -> str | int:
    if text in {"label", "prediction"}:
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is none of label, prediction, or the index of a class")
    return int(text)


# --- analysis -----------------------------------------------------------------------------------------


def _add_analyze(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "analyze",
        "find the strategies of every class in attributions, and rank the suspicious ones",
        "Run a plan, such as spectral relevance analysis (SpRAy), on the attributions of each class: embed the samples "
        "by how alike their heatmaps are, cluster them, and score how far the clusters stand apart. The result is one "
        "file, which relfunc view shows beside the attributions; classes are printed with the most suspicious first.",
        "relfunc analyze spray run --out run/analysis.nc\n"
        "  relfunc analyze 'spray(n_neighbors=20)' run --by prediction --store store --workers 4 --out run\n"
        "  relfunc analyze plan.toml run/attributions-*.nc --out analysis.nc --categories horse ship",
    )
    parser.add_argument(
        "plan",
        metavar="PLAN",
        help="spray, also with options, as in 'spray(n_neighbors=20, seed=1)'; or a TOML file, as "
        "analysis.plan.to_toml writes it",
    )
    parser.add_argument(
        "attributions",
        nargs="+",
        type=Path,
        metavar="ATTRIBUTIONS",
        help="the folder of relfunc attribute, or files of attributions",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="of the analysis; in a folder, analysis.nc"
    )
    parser.add_argument(
        "--by",
        default="label",
        metavar="VARIABLE",
        help="what samples are grouped by: label, prediction, another variable of the attributions, or none, to "
        "analyse all together [%(default)s]",
    )
    parser.add_argument("--categories", nargs="+", metavar="NAME", help="only these groups, such as names of classes")
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="folder that keeps results, so that nothing is computed twice"
    )
    parser.add_argument(
        "--workers", type=positive, default=1, metavar="N", help="processes on this machine [%(default)s]"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster, such as tcp://node1:8786, to compute on"
    )
    parser.set_defaults(command=lambda given: _commands().analyze(given))


def _add_report(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "report",
        "write what an analysis found as one page, to send to others",
        "Write one HTML file, which needs no other and no network and prints: what was analysed, the verdict on every "
        "class in words, the evidence for each finding with pictures, where the model fails, copies and leaks, what "
        "could not be judged, and how to compute it again. Its numbers are kept beside it, in a netCDF file of the "
        "same name.",
        "relfunc report run\n  relfunc report run --metadata patients.csv --split train --out for-the-auditor.html",
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="the folder of relfunc attribute, in which analysis.nc stands, too"
    )
    parser.add_argument(
        "--analysis", type=Path, metavar="FILE", help="another file that relfunc analyze wrote [RUN/analysis.nc]"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page [RUN/report.html]")
    parser.add_argument(
        "--metadata",
        type=Path,
        metavar="FILE",
        help="a table (.csv, .tsv, .parquet) of what else is known of the samples, which its column 'sample' names; "
        "without one, its rows are the samples in their order",
    )
    parser.add_argument(
        "--split",
        metavar="VARIABLE",
        help="of attributions or metadata: which part of the data a sample is in, such as training or test, across "
        "which copies are leaks",
    )
    parser.set_defaults(command=lambda given: _commands().report(given))


# --- demo and viewer ----------------------------------------------------------------------------------


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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


def _add_view(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    view = commands.add_parser(
        "view",
        help="explore attributions and their analysis in the browser",
        description="Serve the viewer on this machine, for one or several folders.",
    )
    view.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="folder with attributions.nc and analysis.nc")
    _add_server_options(view)
    view.set_defaults(command=_view)


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="of the viewer [the first free one from 5006]")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    if parser.prog.endswith("demo"):
        parser.add_argument("--no-serve", action="store_true", help="stop before the viewer")


def _demo(arguments: argparse.Namespace) -> None:
    from .. import demo

    folder = demo.make(arguments.out, demo.Setting(seed=arguments.seed))
    if not arguments.no_serve:
        _serve([folder], arguments)


def _view(arguments: argparse.Namespace) -> None:
    _serve(arguments.paths, arguments)


def _serve(paths: list[Path], arguments: argparse.Namespace) -> None:
    import viewer

    viewer.serve([str(path) for path in paths], port=arguments.port, show=not arguments.no_browser)


if __name__ == "__main__":
    sys.exit(main())
