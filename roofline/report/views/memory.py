"""Draw what lies in memory while a network runs, and who holds it at the peak."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.memory import lifetimes, owners
from roofline.report.views.look import Look, blocks, figure, lines, look, text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

OWNERS = 6
"""Activations that are named at the peak."""

NEAR = 0.3
"""Share of the device's memory from which on its size is drawn."""


def memory(analysis: Analysis, *, dark: bool | None = None) -> "Figure":
    """Draw weights and live activations kernel by kernel, and name the layers whose results fill the memory at the peak."""
    style = look(dark)
    weights, device = analysis.columns.weight_storage_bytes, analysis.hardware.memory_size
    live = [float(size) for size in analysis.columns.live_bytes[analysis.index]]
    names = [analysis.layer(k) for k in range(analysis.columns.size)]
    at = max(range(len(live)), key=live.__getitem__)
    peak = weights + live[at]
    note = f"peak {units.scaled(peak, 'B')} of {units.scaled(device, 'B')}, in {text(names[at])}; workspace of libraries not included"
    held = _owners(analysis, at, style)
    found = figure(analysis, "Memory", style, height=560, note=note)
    found.add_traces([*_areas(names, live, weights, at, style), held])
    if peak > NEAR * device:
        line = {"color": style.bounds["overhead"], "dash": "dash"}
        found.add_shape(type="line", xref="x domain", x0=0, x1=1, y0=device, y1=device, line=line)
        found.add_annotation(
            xref="x domain", x=0, y=device, xanchor="left", yanchor="bottom", showarrow=False,
            text=f"memory of the device, {units.scaled(device, 'B')}", font={"size": 11, "color": style.ink},
        )  # fmt: skip
    positions, labels = blocks(names, most=20)
    grid, sizes = {"gridcolor": style.line, "automargin": True}, {"exponentformat": "SI", "ticksuffix": "B", "rangemode": "tozero"}
    right = [0, max(held["x"], default=1) * 1.15]
    return found.update_layout(
        xaxis={"tickvals": positions, "ticktext": labels, "tickangle": -45, "ticks": "outside", "showgrid": False, "anchor": "y"},
        yaxis={**sizes, "domain": [0.46, 1], "title": "in memory"},
        xaxis2={**grid, **sizes, "anchor": "y2", "title": "alive at the peak, by the layer that made it", "range": right},
        yaxis2={
            **grid, "domain": [0, 0.26], "anchor": "x2", "autorange": "reversed", "showgrid": False, "tickvals": held["y"],
            "ticktext": held["customdata"],
        },
    )  # fmt: skip


def _areas(names: Sequence[str], live: Sequence[float], weights: float, at: int, style: Look) -> list[dict[str, Any]]:
    """Stack activations on the weights, kernel by kernel, and mark the peak."""
    common = {"type": "scatter", "x": list(range(len(live)))}
    step = {"shape": "hv", "width": 1}
    facts = [f"activations {units.scaled(size, 'B')}, with weights {units.scaled(size + weights, 'B')}" for size in live]
    return [
        {
            **common, "y": [weights] * len(live), "stackgroup": "live", "name": f"weights {units.scaled(weights, 'B')}",
            "line": {**step, "color": style.soft}, "fillcolor": style.band, "hoverinfo": "skip",
        },
        {
            **common, "y": live, "stackgroup": "live", "name": f"activations, {units.scaled(live[at], 'B')} at the peak",
            "line": {**step, "color": style.bounds["memory"]}, "fillcolor": style.bounds["memory"],
            "hovertemplate": "%{text}<extra></extra>", "text": [lines(name, (fact,)) for name, fact in zip(names, facts, strict=True)],
        },
        {
            "type": "scatter", "x": [at], "y": [weights + live[at]], "mode": "markers", "name": "peak", "hoverinfo": "skip",
            "marker": {"color": style.bounds["overhead"], "size": 9, "symbol": "diamond"},
        },
    ]  # fmt: skip


def _owners(analysis: Analysis, at: int, style: Look) -> dict[str, Any]:
    """Draw a bar for each of the largest activations alive while kernel *at* runs, and one for the others together."""
    held = owners(lifetimes(analysis.graph), analysis.graph, at, analysis.batch)
    others = [(f"{len(held) - OWNERS} more", sum(size for _, size in held[OWNERS:]))] if len(held) > OWNERS else []
    shown = [*held[:OWNERS], *others]
    return {
        "type": "bar", "orientation": "h", "xaxis": "x2", "yaxis": "y2", "x": [size for _, size in shown], "y": list(range(len(shown))),
        "text": [units.scaled(size, "B") for _, size in shown], "textposition": "outside", "cliponaxis": False, "hoverinfo": "skip",
        "customdata": [text(name) for name, _ in shown], "marker": {"color": style.bounds["memory"]}, "showlegend": False,
    }  # fmt: skip
