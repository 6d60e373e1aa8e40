"""Write results as JSON and as Markdown tables."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from relfunc.files.netcdf import replacing

Rows = Sequence[Mapping[str, Any]]


def machine() -> dict[str, Any]:
    """Describe what the numbers depend on."""
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in ("torch", "torchvision", "zennit", "corelay")},
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def write(results: Mapping[str, Rows], out: Path) -> str:
    """Write ``results.json`` and ``results.md`` to a directory, and return the Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    about = machine()
    lines = [f"{key} {value}" for key, value in about.items()]
    tables = [f"## {name}\n\n{table(rows)}" for name, rows in results.items()]
    text = "\n\n".join(["# Benchmarks", ", ".join(lines), *tables]) + "\n"
    _write(out / "results.json", json.dumps({"machine": about, "results": results}, indent=1))
    _write(out / "results.md", text)
    return text


def table(rows: Rows) -> str:
    """Return rows as a Markdown table of all columns that are a number, text or yes/no.

    Examples
    --------
    >>> print(table([{"model": "vgg16", "s": 0.12345, "met": True}, {"model": "resnet50", "s": 2.0}]))
    | model | s | met |
    | --- | --- | --- |
    | vgg16 | 0.123 | yes |
    | resnet50 | 2 |  |
    """
    columns = list(dict.fromkeys(key for row in rows for key, value in row.items() if not isinstance(value, dict)))
    cells = [columns, ["---"] * len(columns), *([_cell(row.get(key, "")) for key in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
