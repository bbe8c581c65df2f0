"""Count predictions a second of one core: networks priced in bulk, prepared beforehand or not, beside one `analyze` after another.

    python benchmarks/predictions.py [--repeats N] [--save]

A prediction is the latency, interval and limit of one network on one device at one batch size, in one precision and mode.
*Prepared* times what is left when graphs are tabulated: the pricing itself. *Whole* adds precision, fusion and tabulating, which
are done once for all devices and batch sizes. Before anything is timed, bulk prices are compared with those of `analyze`.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import roofline
from roofline.costmodel.analyze import analyze_grid, fleet_of
from roofline.costmodel.bulk import parties, price_all
from roofline.costmodel.columns import tabulate
from roofline.costmodel.demand import demand
from roofline.costmodel.device import Hardware
from roofline.costmodel.timemodel import totals
from roofline.graph import Graph
from roofline.transforms.modes import Way, execute

RESULTS = Path(__file__).parent / "results"
NETWORKS = ("resnet50", "efficientnet_b0", "efficientnet_b3", "densenet121", "vit_base_patch16_224", "mobilenetv3_large_100")
MODES = ("eager", "engine")
FEW, MANY = (1, 8, 64, 256), tuple(range(1, 65))


@dataclass(frozen=True)
class Rate:
    """Predictions of one network in one mode: how many kernels, how many of them differ, and seconds a prediction by batch sizes."""

    network: str
    mode: str
    kernels: int
    distinct: int
    seconds: dict[str, float]


def main() -> int:
    """Compare, time, print, and return the exit status: 1 when a price differs from its analysis."""
    parser = argparse.ArgumentParser(description="Count predictions a second.")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, of which the fastest counts")
    parser.add_argument("--save", action="store_true", help="write results/predictions.md")
    options = parser.parse_args()
    devices = tuple(roofline.load_hardware(name) for name in roofline.hardware.names())
    graphs = [roofline.trace(name) for name in NETWORKS]
    if wrong := differing(graphs[:2], devices):
        print(f"{wrong} prices differ from analyze")
        return 1
    text = report([rate(graph, mode, devices, options.repeats) for graph in graphs for mode in MODES], len(devices))
    print(text)
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "predictions.md").write_text(text)
    return 0


def differing(graphs: Sequence[Graph], devices: Sequence[Hardware]) -> int:
    """Count the bulk prices that are not those of `analyze`, to the last bit."""
    found, wrong = price_all(graphs, devices, FEW, modes=MODES), 0
    for graph in graphs:
        for mode in MODES:
            for analysis in analyze_grid(graph, devices, FEW, mode=mode):
                cell = found.at(model=graph.name, device=analysis.hardware.id, batch=analysis.batch, mode=mode)
                wrong += (cell.latency.item(), cell.limit.item()) != (analysis.latency, analysis.lower_bound)
    return wrong


def rate(graph: Graph, mode: str, devices: Sequence[Hardware], repeats: int) -> Rate:
    """Time *graph* in one *mode* on all devices."""
    columns = tabulate(execute(graph, mode, 0.0), FEW)
    asked, _ = demand(columns, (-1.0,)).distinct()
    seconds: dict[str, float] = {}
    for name, batches in (("4", FEW), ("64", MANY)):
        count = len(devices) * len(batches)
        seconds[f"prepared, {name}"] = fastest(prepared(graph, mode, devices, batches), repeats) / count
        seconds[f"whole, {name}"] = fastest(lambda b=batches: price_all([graph], devices, b, modes=[mode]), repeats) / count
    one = devices[0]
    seconds["analyze"] = fastest(lambda: analyze_grid(graph, [one], (1,), mode=mode)[0].latency, repeats)
    return Rate(graph.name, mode, columns.size, asked.shape[1], seconds)


def prepared(graph: Graph, mode: str, devices: Sequence[Hardware], batches: Sequence[int]) -> Callable[[], object]:
    """Tabulate *graph*, and return what prices it on all devices from there."""
    way = Way(mode, "nchw")
    columns = tabulate(execute(graph, mode, 0.0), batches)
    fleets = [fleet_of([devices[i] for i in party], way) for party in parties(devices, range(len(devices)), columns.size * len(batches))]
    distances = sorted({distance for fleet in fleets for distance in fleet.distances})

    def price() -> list[np.ndarray]:
        few, which = demand(columns, distances).distinct()
        return [totals(few, which, fleet)[0] for fleet in fleets]

    return price


def fastest(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some runs, after one that fills caches."""
    run()
    taken: list[float] = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def report(rates: Sequence[Rate], devices: int) -> str:
    """Write predictions a second as Markdown."""
    names = list(rates[0].seconds)
    lines = [
        f"Predictions a second of one core: {devices} devices at once, 4 or 64 batch sizes; {time.strftime('%Y-%m-%d')}, "
        f"{platform.machine()} with {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
        f"| network | mode | kernels | distinct | {' | '.join(names)} |",
        f"| --- | --- | ---: | ---: |{' ---: |' * len(names)}",
    ]
    for r in rates:
        figures = " | ".join(f"{1 / seconds:,.0f}" for seconds in r.seconds.values())
        lines.append(f"| {r.network} | {r.mode} | {r.kernels} | {r.distinct} | {figures} |")
    medians = " | ".join(f"{1 / statistics.median(r.seconds[name] for r in rates):,.0f}" for name in names)
    return "\n".join([*lines, f"| median | | | | {medians} |"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
