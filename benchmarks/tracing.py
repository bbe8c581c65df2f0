"""Time tracing against another version of this package, and compare the graphs.

    git archive COMMIT | tar -x -C OLD
    python benchmarks/tracing.py OLD [--repeats N] [--every N] [--save]

Each network is traced in new processes, the old version and the new one in turn; seconds of the processor count, so that other
programs disturb little. Exits with 1 when a graph differs.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
NETWORKS = (
    "resnet50", "efficientnet_b0", "efficientnet_b3", "efficientnet_b7", "mobilenetv3_large_100", "densenet121", "convnext_tiny",
    "vit_base_patch16_224", "swin_tiny_patch4_window7_224", "regnety_032", "inception_v3", "torchvision:resnet50", "torchvision:vit_b_16",
)  # fmt: skip
STEPS = {"zoos": "import of the zoo", "build": "name to module", "record": "module to graph", "all": "name to graph, import included"}

_TRACE = """
import hashlib, json, sys, time
import torch
torch.set_num_threads(1)
started = time.process_time()
from roofline.tracing import models
from roofline.tracing.spec import ModelSpec
from roofline.tracing.trace import record
for name in sys.argv[1:]:
    times = [started, 0.0, 0.0, 0.0]
    try:
        getattr(models, "resolve", getattr(models, "_resolve", None))(name)
        times[1] = time.process_time()
        built = models.build(ModelSpec(name))
        times[2] = time.process_time()
        graph = record(built.module, built.inputs, name=name, verify=False)
        times[3] = time.process_time()
        text = graph.to_json()
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
    print(json.dumps([name, hashlib.sha256(text.encode()).hexdigest(), *(b - a for a, b in zip(times, times[1:]))]), flush=True)
    started = time.process_time()
"""
"""Prints a line for each network: its name, a hash of its graph or of its error, and the seconds of the three steps."""


def main() -> int:
    """Time and compare, print the tables, and return the exit status."""
    parser = argparse.ArgumentParser(description="Time tracing against another version of this package, and compare the graphs.")
    parser.add_argument("old", type=Path, help="folder of the other version")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of each measurement")
    parser.add_argument("--every", type=int, default=12, help="compare the graph of every so manieth classifier")
    parser.add_argument("--save", action="store_true", help="write results/tracing.md")
    options = parser.parse_args()
    ratios = {name: measured(options.old, name, options.repeats) for name in NETWORKS}
    names = sample(options.every)
    differing = [a[0] for a, b in zip(run(options.old, names), run(ROOT, names), strict=True) if a[:2] != b[:2]]
    text = report(ratios, names, differing, options.repeats)
    print(text)
    if options.save:
        (ROOT / "benchmarks" / "results" / "tracing.md").write_text(text)
    return 1 if differing else 0


def measured(old: Path, name: str, repeats: int) -> dict[str, list[float]]:
    """Trace the network called *name* in turn with both versions; return the ratios, old over new, of each step."""
    found: dict[str, list[float]] = {step: [] for step in STEPS}
    for _ in range(repeats):
        before, after = (next(run(tree, (name,)))[2:] for tree in (old, ROOT))
        for step, a, b in zip(STEPS, (*before, sum(before)), (*after, sum(after)), strict=True):
            found[step].append(a / b)
    return found


def run(tree: Path, names: Sequence[str]) -> Iterator[list[object]]:
    """Trace the networks called *names* in one new process with the version in *tree*, and give what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run([sys.executable, "-c", _TRACE, *names], cwd=tree, env=environment, check=True, capture_output=True, text=True)
    return map(json.loads, done.stdout.splitlines())


def sample(every: int) -> tuple[str, ...]:
    """Choose every so manieth classifier of timm and torchvision, in the order of `results/coverage.csv`."""
    with (ROOT / "benchmarks" / "results" / "coverage.csv").open(newline="") as file:
        return tuple(row["model"] for row in csv.DictReader(file))[::every]


def report(ratios: Mapping[str, Mapping[str, Sequence[float]]], names: Sequence[str], differing: Sequence[str], repeats: int) -> str:
    """Write all results as Markdown."""
    rows = [[name, *(_spread(values) for values in steps.values())] for name, steps in ratios.items()]
    rows.append(["median", *(f"{statistics.median(statistics.median(r[step]) for r in ratios.values()):.2f}" for step in STEPS)])
    table = [f"| {' | '.join(cells)} |" for cells in (("Network", *STEPS.values()), ["---"] * (len(STEPS) + 1), *rows)]
    same = f"{len(names) - len(differing)} of {len(names)} graphs of timm and torchvision are equal"
    return "\n".join([
        "# Tracing",
        "",
        f"Processor time of the version before over this one (above 1: faster now), median (least to most) of {repeats} runs in new",
        f"processes; torch {version('torch')}, timm {version('timm')}. The import of PyTorch itself, the same for both, is left out.",
        "",
        *table,
        "",
        f"{same}{': not ' + ', '.join(differing) if differing else ''}.",
        "",
    ])  # fmt: skip


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
