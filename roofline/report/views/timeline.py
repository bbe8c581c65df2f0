"""Draw where the time of a network goes, layer by layer in the order they run."""

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from roofline import units
from roofline.costmodel.analysis import Analysis, Row
from roofline.report.views.look import blocks, clock, figure, lines, look

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

STACK = ("compute", "memory", "occupancy", "overhead")
"""Parts of a bar, from its foot."""


def timeline(analysis: Analysis, *, depth: int | None = None, dark: bool | None = None) -> "Figure":
    """Draw the time of each layer in the order they run, parted without overlap into what it is spent on, and its running sum.

    With *depth*, layers are summed into modules of that many parts.
    """
    style = look(dark)
    rows = analysis.by_layer() if depth is None else analysis.by_module(depth)
    factor, unit = clock(max(row.seconds for row in rows))
    found = figure(analysis, "Time by layer" if depth is None else "Time by module", style, height=440)
    hover = [lines(row.name, row_facts(row)) for row in rows]
    for part in STACK:
        share = sum(row.split[part] for row in rows) / analysis.latency
        found.add_bar(
            x=list(range(len(rows))), y=[row.split[part] * factor for row in rows], name=f"{part} {units.percent(share)}",
            hoverinfo="skip", marker={"color": style.bounds[part], "line": {"width": 0}},
        )  # fmt: skip
    running = [100 * share for share in accumulate(row.share for row in rows)]
    found.add_scatter(
        x=list(range(len(rows))), y=running, name="running sum", yaxis="y2", mode="lines", text=hover,
        line={"color": style.ink, "width": 1.2}, hovertemplate="%{text}<br>%{y:.0f} % of the time up to here<extra></extra>",
    )  # fmt: skip
    positions, labels = blocks([row.name for row in rows], most=20)
    ticks = list(range(0, 101, 20))
    right = {"overlaying": "y", "side": "right", "range": [0, 100.5], "showgrid": False, "automargin": True, "tickvals": ticks}
    found.update_layout(barmode="stack", bargap=0, hovermode="x", yaxis2={**right, "ticktext": [f"{share} %" for share in ticks]})
    found.update_xaxes(tickvals=positions, ticktext=labels, tickangle=-45, ticks="outside", showgrid=False, range=[-0.6, len(rows) - 0.4])
    return found.update_layout(yaxis_title=f"{unit} a layer" if depth is None else f"{unit} a module")


def row_facts(row: Row) -> Iterator[str]:
    """Write what a group of kernels does and takes, a line each."""
    yield f"{row.kind}, {row.kernels} kernel{'s' if row.kernels > 1 else ''}, bound by {row.bound}"
    yield f"{units.seconds(row.seconds)}, {units.percent(row.share)} of all; limit {units.seconds(row.limit_seconds)}"
    yield ", ".join(f"{part} {units.seconds(row.split[part])}" for part in STACK if row.split[part] > 0.005 * row.seconds)
    cost = row.cost
    yield f"{units.scaled(cost.macs, 'MACs')}, {units.scaled(cost.flops, 'FLOPs')}, {units.scaled(row.params, 'parameters')}"
    yield f"{units.scaled(cost.bytes, 'B')} moved, {units.significant(cost.intensity, 2)} FLOP/byte"
