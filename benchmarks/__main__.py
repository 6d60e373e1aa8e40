"""Command line of the benchmarks: run those named, print a Markdown table, keep it and the JSON in a folder."""

import argparse
from collections.abc import Callable
from importlib import import_module, util
from pathlib import Path
from typing import Any, Final

import torch

from .report import table, write

BENCHMARKS: Final[dict[str, str]] = {
    "attribution": "time of one attribution, beside the plain gradient and Zennit",
    "memory": "peak memory of one attribution, likewise",
    "attention": "time and memory of attributions of transformers, beside the plain gradient and LXT",
    "capture": "time to capture a model",
    "classes": "relevance of ten classes in one call, beside ten calls",
    "compiled": "torch.compile beside eager",
    "streaming": "time and memory of writing a dataset's attributions, beside computing them",
    "analysis": "time and memory of the analysis, beside CoRelAy, and as the samples grow",
    "conservation": "how much of the seed reaches the input, by model",
    "zoo": "which models of torchvision, timm and transformers are captured and accounted for",
    "chance": "how often classes without groups are named as suspicious, and planted ones found",
    "categories": "writing, opening and looking at an analysis of up to 1,000 categories",
    "minilm": "what makes two sentences similar, for a trained MiniLM, beside shuffled weights",
    "viewer": "the viewer at one and ten million points, in the server and in a browser",
}
NAMED: Final = {"chance", "minilm", "zoo"}
"""Those that run only where they are named: they need packages of their own, or an hour."""
NEEDS_ZENNIT: Final = {"attribution", "memory"}


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    names = options.names or [name for name in BENCHMARKS if name not in NAMED]
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        raise SystemExit(f"no benchmark {unknown[0]!r}: there are {', '.join(BENCHMARKS)}")
    if NEEDS_ZENNIT.intersection(names) and util.find_spec("zennit") is None:
        raise SystemExit("Zennit is not installed: pip install 'relfunc[bench]', or name other benchmarks")
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if len(devices) == 1:
        print("No GPU is at hand: its rows are left out.\n")
    results: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        print(f"## {name}: {BENCHMARKS[name]}\n", flush=True)
        results[name] = _rows(name, options.quick, devices)
        print(f"{table(results[name])}\n", flush=True)
        write(results, options.out)  # what is done is kept if a later one fails
    print(f"Kept in {options.out}")


def _rows(name: str, quick: bool, devices: list[str]) -> list[dict[str, Any]]:
    run: Callable[..., list[dict[str, Any]]] = import_module(f"{__package__}.{name}").run
    if name == "zoo":
        return import_module(f"{__package__}.zoo").run(quick)
    if name == "conservation":  # a matter of arithmetic, the same on any device
        return run(("resnet18", "vgg11")) if quick else run()
    return [row for device in devices for row in run(quick, device)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="; ".join(f"{k}: {v}" for k, v in BENCHMARKS.items()))
    parser.add_argument("--quick", action="store_true", help="batch 1, 64×64, few rounds: minutes, and less telling")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    parser.add_argument("--threads", type=int, help="threads of torch")
    return parser


if __name__ == "__main__":
    main()
