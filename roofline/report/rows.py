"""Turn an analysis, or a group of its kernels, into the cells of a table."""

from roofline import units
from roofline.costmodel.analysis import Analysis, Row

SUMMARY = ("model", "device", "batch", "precision", "mode", "latency", "items/s", "limit", "reached", "bound", "memory")
LAYER = ("layer", "kind", "time", "share", "MACs", "MB", "FLOP/B", "bound")


def summary_row(analysis: Analysis) -> tuple[str, ...]:
    """Write one analysis as the cells of SUMMARY."""
    return (
        analysis.model, analysis.hardware.id, str(analysis.batch), analysis.precision, analysis.mode, units.seconds(analysis.latency),
        units.significant(analysis.throughput), units.seconds(analysis.lower_bound), units.percent(analysis.lower_bound / analysis.latency),
        analysis.bound, units.scaled(analysis.peak_memory, "B"),
    )  # fmt: skip


def layer_row(row: Row) -> tuple[str, ...]:
    """Write a group of kernels as the cells of LAYER."""
    return (
        row.name, row.kind, units.seconds(row.seconds), units.percent(row.share), units.scaled(row.cost.macs, "").strip(),
        units.significant(row.cost.bytes / 1e6), units.significant(row.cost.intensity, 2), row.bound,
    )  # fmt: skip


def printable(name: str) -> str:
    """Keep control characters, which a module's name may hold, from reaching the terminal or a figure."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def shorten(name: str, width: int) -> str:
    """Cut the middle out of a name longer than *width*: the block and the last part tell layers apart."""
    if len(name) <= width:
        return name
    tail = (width - 1) * 2 // 3
    return f"{name[: width - 1 - tail]}…{name[-tail:]}"
