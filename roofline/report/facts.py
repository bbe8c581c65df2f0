"""The figures that open a report on screen: what was asked, the answer, and what to know about it."""

from dataclasses import dataclass

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.timemodel import BOUNDS


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure with its *name* in the page, label, value and a remark."""

    name: str
    label: str
    value: str
    note: str


def question(a: Analysis) -> str:
    """Say in a line what was asked: inputs, batch, precision, mode, layout and what-ifs."""
    changes = (f"what if {change}" for change in a.changes)
    return " · ".join([", ".join(a.inputs), f"batch {a.batch}", a.precision, a.mode, a.layout, *changes])


def facts(a: Analysis) -> tuple[Fact, ...]:
    """List the figures of a whole network."""
    low, high = a.interval
    limit, size = units.seconds(a.lower_bound), units.scaled(a.hardware.memory_size, "B")
    between = f"80 % between {units.seconds(low)} and {units.seconds(high)}; {a.calibration.status}"
    return (
        Fact("latency", "Latency", units.seconds(a.latency), between),
        Fact("throughput", "Throughput", f"{units.significant(a.throughput)} items/s", f"{units.seconds(a.latency / a.batch)} an item"),
        Fact("limit", "Physical limit", limit, f"datasheet roofline; {units.percent(a.lower_bound / a.latency)} reached"),
        Fact("work", "Work", units.scaled(a.macs, "MACs"), f"{units.scaled(a.flops, 'FLOPs')} with elementwise work"),
        Fact("traffic", "Traffic", units.scaled(a.bytes, "B"), f"{units.significant(a.intensity, 2)} FLOP/byte"),
        Fact("memory", "Memory", units.scaled(a.peak_memory, "B"), f"of {size}; {units.scaled(a.params, '')} parameters"),
    )  # fmt: skip


def shares(a: Analysis) -> tuple[tuple[str, float], ...]:
    """Share of the time that each bound holds."""
    return tuple((bound, a.seconds_by_bound[bound] / a.latency) for bound in BOUNDS)


def unknown(a: Analysis) -> str:
    """Name the ops without a cost rule; empty when there is none."""
    return f"Unknown ops, counted by their bytes only: {', '.join(a.unknown)}" if a.unknown else ""


def full(a: Analysis) -> str:
    """Say that the network is too large for the device; empty when it fits."""
    return "Does not fit in device memory." if a.peak_memory > a.hardware.memory_size else ""


def remarks(a: Analysis) -> str:
    """Say what a reader should know of the precision and the what-ifs; empty when there is nothing."""
    return "; ".join(a.remarks)
