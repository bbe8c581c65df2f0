"""How far off a ratio of two predictions may be: of two devices, of two networks, or of one network before and after a change."""

import csv
import math
from collections.abc import Mapping
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.hardware import load_hardware
from trials.verdict import Estimate

LEFT_OUT = Path(__file__).parents[2] / "benchmarks" / "results" / "left_out.csv"
"""Published timings beside what fits predicted that had not seen the network, or the device: benchmarks/fit.py writes it."""

ALIKE = ("dataset", "device", "family", "mode", "precision", "layout", "batch")
"""What two timings share whose networks are of one family."""

UNTIMED = {("cpu", "eager"): "compiled", ("cpu", "ideal"): "engine", ("gpu", "ideal"): "engine"}
"""Ways to run of which no timings were published, and the way whose spread stands for them."""

Key = tuple[str, str, str]


def time_of(analysis: Analysis) -> Estimate:
    """Predicted seconds of a batch with their interval."""
    return Estimate(analysis.latency, *analysis.interval)


def ratio(a: Analysis, b: Analysis) -> Estimate:
    """Divide the time an item of *a* by that of *b*.

    Two predictions for one device, one mode and one precision are off in the same direction: there the interval is that of the
    ratio of two networks of one family. Else the errors of both are taken to be independent.
    """
    same = a.hardware.id == b.hardware.id and a.mode == b.mode and a.precision == b.precision
    if not same:
        return time_of(a) / time_of(b) * (b.batch / a.batch)
    value, off = a.latency / a.batch / (b.latency / b.batch), siblings(a)
    return Estimate(value, value / off, value * off)


def siblings(analysis: Analysis) -> float:
    """The factor by which 80 % of ratios of two networks of one family were off at most, run as *analysis* is."""
    known = analysis.calibration.measured and analysis.precision in analysis.calibration.precisions
    kind, mode = analysis.hardware.kind, analysis.mode
    return factors()["network" if known else "device", kind, UNTIMED.get((kind, mode), mode)][0]


@cache
def factors() -> Mapping[Key, tuple[float, int]]:
    """Map what was left out, processor and mode to that factor and the number of pairs it was taken from."""
    groups: dict[Key, dict[tuple[str, ...], list[float]]] = {}
    with LEFT_OUT.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["excluded"] != "0":
                continue
            for left_out in ("network", "device"):
                key = (left_out, _kind(row["device"]), row["mode"])
                error = math.log(float(row["measured_s"]) / float(row[f"{left_out}_left_out_s"]))
                groups.setdefault(key, {}).setdefault(tuple(row[name] for name in ALIKE), []).append(error)
    return {key: _factor(found) for key, found in groups.items()}


def _factor(groups: Mapping[tuple[str, ...], list[float]]) -> tuple[float, int]:
    """Take the 80 % quantile of the differences of errors within groups, both ways round, and count the pairs."""
    differences = [a - b for errors in groups.values() for a, b in permutations(errors, 2)]
    return math.exp(float(np.quantile(np.abs(differences), 0.8))), len(differences) // 2


@cache
def _kind(device: str) -> str:
    return load_hardware(device).kind
