"""Priced devices and a network whose time can be worked out by hand, for the tests of studies."""

from dataclasses import replace

from devices import device, level
from torch import nn

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import analyze_grid
from roofline.costmodel.device import Hardware, Price
from roofline.graph import Graph
from roofline.tracing.source import trace

MILLION = 1_000_000


def relu(name: str = "relu") -> Graph:
    """A million fp32 numbers an item, read and written: 8 MB and a million FLOPs."""
    return replace(trace(nn.ReLU(), (1, MILLION)), name=name)


def rented(name: str, bandwidth: float, usd: float | None, **more: object) -> Hardware:
    """A device that copies so many B/s, launches in 1 us in an engine, and costs *usd* an hour."""
    price = None if usd is None else Price(usd, "hand.xlarge", "nowhere", "2026", "hand")
    made = device(launch=1e-6, memory=(level("dram", 1e9, 2 * bandwidth, bandwidth),))
    return replace(made, id=name, price=price, **more)  # type: ignore[arg-type]


CHEAP = rented("cheap", 80e9, 0.1)  # 8 MB take 100 us, and 1 us to launch
FAST = rented("fast", 320e9, 1.0)  # 25 us, and 1 us
UNPRICED = rented("unpriced", 160e9, None)  # 50 us, and 1 us


def analyzed(hardware: Hardware, batch: int = 1, name: str = "relu", **more: object) -> Analysis:
    """Analyze the network on *hardware* at its sourced figures alone, run by an engine."""
    return analyze_grid(relu(name), [hardware], [batch], mode="engine", calibrated=False, **more)[0]  # type: ignore[arg-type]
