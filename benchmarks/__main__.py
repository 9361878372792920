"""Run the benchmarks and write `benchmarks/results.json` and `docs/benchmarks.md`.

    python -m benchmarks [name ...] [--workspace DIR]

Run it on an otherwise idle machine.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.compare import matrix_product_rate
from benchmarks.report import page
from sonoseg.errors import UsageError, choices
from sonoseg.io.files import write_json, write_text
from sonoseg.runs.command_line import run_guarded
from sonoseg.runs.versions import versions

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS, PAGE = REPOSITORY / "benchmarks" / "results.json", REPOSITORY / "docs" / "benchmarks.md"

NAMES = ("stage2", "denoise", "training_step", "engines", "folder", "realtime", "loop", "start", "scale")
"""Modules of this package; each has `run(workspace)`, which yields figures."""


def run_benchmarks(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"benchmarks to run, of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--workspace", type=Path, help="folder of the benchmarks' images (default: a temporary folder)")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.names if name not in NAMES]
    if unknown:
        raise UsageError(f"{', '.join(unknown)}: no such benchmark; expected {choices(NAMES)}")
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    with tempfile.TemporaryDirectory() as temporary:
        workspace = arguments.workspace or Path(temporary)
        for name in arguments.names or NAMES:
            speed = round(matrix_product_rate() / 1e9)
            print(f"{name} ... (matrix product {speed} GFLOP/s)", flush=True)
            figures = []
            for figure in importlib.import_module(f"benchmarks.{name}").run(workspace):
                figures.append(figure)
                times = f"{figure.before:.4g} -> {figure.after:.4g} s ({figure.ratio:.2f}x)"
                print(f"  {figure.name}: {times} {figure.unit}", flush=True)
            results[name] = {
                "machine": {**machine(), "speed": speed},
                "figures": [figure.as_json() for figure in figures],
            }
            write_json(RESULTS, {key: results[key] for key in NAMES if key in results})
    write_text(PAGE, page(results))
    print(f"written to {RESULTS} and {PAGE}")
    return 0


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, date, versions."""
    model = next(
        (line.partition(":")[2].strip() for line in _read("/proc/cpuinfo").splitlines() if "model name" in line),
        platform.processor() or platform.machine(),
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": model, "cores": cores, "date": date.today().isoformat(), "versions": versions()}


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(run_guarded(run_benchmarks))
