"""Predict published timings of single operators, none of which was fitted: how far off is a single kernel?

    python benchmarks/operators.py [--save]

The operators of benchmarks/published/ops_*.csv are traced and priced in eager mode, each as its launch and the time the device is at
work: who times an operator does not wait for the host between two.
"""

import argparse
import csv
import hashlib
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import roofline
from roofline.costmodel.analyze import analyze_grid
from roofline.graph import Graph
from roofline.tracing.source import trace

RESULTS = Path(__file__).parent / "results"

PUBLISHED = Path(__file__).parent / "published"
DEVICES = {
    "NVIDIA T4": ("t4", "t4"), "Tesla T4": ("t4", "t4"), "NVIDIA V100-PCIE-32GB": ("v100-pcie", "v100"),
    "NVIDIA V100 (DGX-1)": ("v100", "v100"),
}  # fmt: skip
"""Device of each row, and the device whose parameters it tells about."""
SHORTEST = {"NeuSight": 150e-6, "DeepBench": 20e-6}
"""Seconds below which a row tells of launch gaps (NeuSight keeps them in) or of the resolution of 1 us (DeepBench)."""
PER_OPERATOR = 60
"""Rows taken of each operator, type and device, chosen by a hash."""


def main() -> int:
    """Price every operator, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description="Predict published timings of single operators.")
    parser.add_argument("--save", action="store_true", help="write results/operators.md")
    options = parser.parse_args()
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for operator in read():
        found[operator.source, operator.device, operator.precision].append(operator.seconds / predicted(operator))
    text = report(found)
    print(text)
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "operators.md").write_text(text)
    return 0


def predicted(operator: "Operator") -> float:
    """Seconds of the launch, and those in which the device is at work."""
    hardware = roofline.load_hardware(operator.device)
    (analysis,) = analyze_grid(operator.graph, [hardware], [operator.graph.inputs[0].shape[0]], precisions=[operator.precision])
    return float((analysis.times.seconds - analysis.times.overhead).sum()) + hardware.overheads.launch


def report(found: dict[tuple[str, str, str], list[float]]) -> str:
    """Write percentiles of measured over predicted time as Markdown."""
    lines = [
        f"Measured over predicted time of single operators, none of them fitted; {time.strftime('%Y-%m-%d')}",
        "",
        "| source and operator | device | precision | timings | 10th percentile | median | 90th |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [_row(" | ".join(key), ratios) for key, ratios in sorted(found.items())]
    lines.append(_row("**all** | | ", [ratio for ratios in found.values() for ratio in ratios]))
    return "\n".join(lines) + "\n"


def _row(label: str, ratios: Iterable[float]) -> str:
    values = list(ratios)
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return f"| {label} | {len(values)} | {low:.2f} | {middle:.2f} | {high:.2f} |"


@dataclass(frozen=True, slots=True)
class Operator:
    """One published timing of one operator: *graph* took *seconds* on *device*, in *precision*."""

    source: str
    device: str
    family: str
    label: str
    graph: Graph
    precision: str
    seconds: float


def read() -> Iterator[Operator]:
    """Trace a sample of every table; rows of padded or unusual operators are left out."""
    chosen: dict[tuple[str, ...], list[tuple[str, dict[str, str]]]] = defaultdict(list)
    for path in sorted(PUBLISHED.glob("ops_*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if float(row["latency_ms"] or 0) * 1e-3 >= SHORTEST[row["source"]] and row["hw"] in DEVICES and _useful(row):
                    chosen[row["source"], row["hw"], row["op"], _precision(row)].append((_hash(row), row))
    for (source, device, op, precision), rows in sorted(chosen.items()):
        for _, row in sorted(rows, key=lambda pair: pair[0])[:PER_OPERATOR]:
            module, shapes = _built(op, row)
            graph = trace(module, shapes)
            label = " ".join(f"{k}={v}" for k, v in row.items() if k in _SHAPE and v)
            yield Operator(f"{source.lower()}-{op}", *DEVICES[device], f"{op} {label}", graph, precision, float(row["latency_ms"]) * 1e-3)


_SHAPE = ("batch", "c_in", "c_out", "kernel", "kernel_h", "h_in", "w_in", "rows", "cols", "m", "n", "k")


def _hash(row: dict[str, str]) -> str:
    return hashlib.sha256("|".join(row.values()).encode()).hexdigest()


def _precision(row: dict[str, str]) -> str:
    return row["dtype"] or "fp32"


def _useful(row: dict[str, str]) -> bool:
    """Leave out padded rows and types that eager networks do not run in."""
    if row["source"] == "DeepBench":
        return row["padded"] != "1" and row["dtype"] in ("fp32", "fp16")
    return row["op"] in ("conv", "linear", "bmm", "add", "mul", "relu", "gelu", "tanh", "softmax", "ln")


def _built(op: str, row: dict[str, str]) -> tuple[nn.Module, Any]:
    """Build a module of the one operator, and the shapes of its inputs."""

    def number(name: str) -> int:
        return int(float(row[name]))

    if op == "conv":
        conv = nn.Conv2d(number("c_in"), number("c_out"), number("kernel"), number("stride"), number("padding"), bias=False, device="meta")
        return conv, (number("batch"), number("c_in"), number("h_in"), number("w_in"))
    if op == "conv_fwd":
        kernel, stride, padding = ((number(f"{name}_h"), number(f"{name}_w")) for name in ("kernel", "stride", "pad"))
        conv = nn.Conv2d(number("c_in"), number("c_out"), kernel, stride, padding, groups=number("groups") or 1, bias=False, device="meta")
        return conv, (number("batch"), number("c_in"), number("h_in"), number("w_in"))
    if op in ("linear", "gemm"):
        rows, columns = (number("n"), number("m")) if op == "gemm" else (number("m"), number("n"))  # BLAS keeps columns together
        return nn.Linear(number("k"), columns, bias=False, device="meta"), (rows, number("k"))
    if op == "bmm":
        batch, m, n, k = (number(name) for name in ("batch", "m", "n", "k"))
        return _Function(torch.bmm), ((batch, m, k), (batch, k, n))
    shape = (number("rows"), number("cols"))
    if op in ("add", "mul"):
        return _Function(getattr(torch, op)), (shape, shape)
    if op == "ln":
        return nn.LayerNorm(shape[1], device="meta"), shape
    functions = {"relu": torch.relu, "gelu": functional.gelu, "tanh": torch.tanh, "softmax": lambda x: torch.softmax(x, -1)}
    return _Function(functions[op]), shape


class _Function(nn.Module):
    """Run a function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Apply the function."""
        return self.function(*inputs)


if __name__ == "__main__":
    sys.exit(main())
