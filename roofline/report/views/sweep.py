"""Draw latency and throughput against the batch size."""

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.sweep import sweep as at_batches
from roofline.costmodel.timemodel import BOUNDS
from roofline.report.views.look import Look, figure, lines, look

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def sweep(analysis: Analysis, *, batches: Sequence[int] = (), dark: bool | None = None) -> "Figure":
    """Draw latency and throughput at *batches* (default: 1, 2, 4, ... 1024), with the 80 % interval, the limit and the bound.

    Batch sizes whose weights and activations exceed the memory of the device are shaded. Raises RooflineError where the
    network is fixed at one batch size and others are asked for.
    """
    style = look(dark)
    runs = sorted(at_batches(analysis, batches), key=lambda run: run.batch)
    found = figure(analysis, "Batch sizes", style, height=520)
    fits = [run for run in runs if run.peak_memory <= run.hardware.memory_size]
    for axis in ("y", "y2"):
        found.add_traces([*_lines(runs, axis, style), *_markers(runs, axis, style)])
    batches = [run.batch for run in runs]
    log = {"type": "log", "gridcolor": style.line, "automargin": True}
    seconds = _ticks([s for run in runs for s in (*run.interval, run.lower_bound)])
    rates = _ticks([run.batch / s for run in runs for s in (*run.interval, run.lower_bound)])
    found.update_layout(
        xaxis={"type": "log", "tickvals": batches, "ticktext": [str(b) for b in batches], "title": "batch size", "anchor": "y2"},
        yaxis={**log, "tickvals": seconds, "ticktext": [units.seconds(s, digits=1) for s in seconds]},
        yaxis2={**log, "tickvals": rates, "ticktext": [units.scaled(r, "", digits=1) for r in rates], "title": "items/s"},
        xaxis_range=[log10(batches[0]) - 0.08, log10(batches[-1]) + 0.08],
    )
    found.update_layout(yaxis_domain=[0.54, 1], yaxis2_domain=[0, 0.46], yaxis_title="latency")
    if len(fits) < len(runs):
        size = units.scaled(analysis.hardware.memory_size, "B")
        _shade(found, [run.batch for run in fits], [run.batch for run in runs if run not in fits], style, size)
    return found


def _ticks(values: Sequence[float]) -> list[float]:
    """Choose round ticks for a logarithmic axis: powers of ten, and more between them where these are few."""
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    steps = (1, 2, 3, 5, 7) if max(values) < 8 * min(values) else (1, 2, 5) if high - low < 4 else (1,)
    return [
        float(f"{step}e{power}")
        for power in range(low, high + 1)
        for step in steps
        if 0.7 * min(values) <= step * 10.0**power <= 1.4 * max(values)
    ]


def _figures(runs: Sequence[Analysis], seconds: Sequence[float], axis: str) -> dict[str, Any]:
    """Give *seconds* of each run themselves on the first axis, and as throughput on the second."""
    values = [s if axis == "y" else run.batch / s for run, s in zip(runs, seconds, strict=True)]
    return {"type": "scatter", "x": [run.batch for run in runs], "y": values, "yaxis": axis}


def _lines(runs: Sequence[Analysis], axis: str, style: Look) -> list[dict[str, Any]]:
    """Draw the interval as a band, the limit and the latency, as seconds or as throughput."""
    common = {"mode": "lines", "hoverinfo": "skip"}
    low, high = ([run.interval[i] for run in runs] for i in (0, 1))
    legend = {"showlegend": axis == "y"}
    edge = {**common, "line": {"width": 0}, "legendgroup": "band"}
    limit = {"name": "datasheet limit", "legendgroup": "limit", "line": {"color": style.soft, "width": 1.2, "dash": "dash"}}
    return [
        {**_figures(runs, low, axis), **edge, "showlegend": False},
        {**_figures(runs, high, axis), **edge, **legend, "fill": "tonexty", "fillcolor": style.band, "name": "80 % interval"},
        {**_figures(runs, [run.lower_bound for run in runs], axis), **common, **limit, **legend},
        {**_figures(runs, [run.latency for run in runs], axis), **common, "line": {"color": style.ink, "width": 1.2}, "showlegend": False},
    ]


def _markers(runs: Sequence[Analysis], axis: str, style: Look) -> list[dict[str, Any]]:
    """Mark each batch size in the colour of its bound."""
    groups = {bound: own for bound in BOUNDS if (own := [run for run in runs if run.bound == bound])}
    return [
        {
            **_figures(own, [run.latency for run in own], axis), "mode": "markers", "name": f"bound by {bound}", "legendgroup": bound,
            "showlegend": axis == "y", "marker": {"color": style.bounds[bound], "size": 9}, "text": [_hover(run) for run in own],
            "hovertemplate": "%{text}<extra></extra>",
        }
        for bound, own in groups.items()
    ]  # fmt: skip


def _hover(run: Analysis) -> str:
    low, high = map(units.seconds, run.interval)
    shares = sorted(run.seconds_by_bound.items(), key=lambda item: -item[1])
    return lines(
        f"batch {run.batch}",
        (
            f"{units.seconds(run.latency)} (80 % between {low} and {high})",
            f"{units.significant(run.throughput)} items/s",
            f"limit {units.seconds(run.lower_bound)}, {units.percent(run.lower_bound / run.latency)} reached",
            "bound by " + ", ".join(f"{bound} {units.percent(s / run.latency)}" for bound, s in shares if s > 0.005 * run.latency),
            f"{units.scaled(run.peak_memory, 'B')} at the peak of {units.scaled(run.hardware.memory_size, 'B')}",
        ),
    )


def _shade(found: "Figure", fitting: Sequence[int], failing: Sequence[int], style: Look, size: str) -> None:
    """Shade the batch sizes from the first that does not fit on."""
    left = (failing[0] * fitting[-1]) ** 0.5 if fitting else failing[0] / 1.2
    found.add_shape(
        type="rect", xref="x", yref="paper", x0=left, x1=failing[-1] * 1.2, y0=0, y1=1, opacity=0.13, line={"width": 0}, layer="below",
        fillcolor=style.bounds["overhead"],
    )  # fmt: skip
    found.add_annotation(
        xref="paper", yref="paper", x=1, y=0.5, xanchor="right", yanchor="middle", showarrow=False, xshift=-4,
        text=f"batch {failing[0]} does not fit in {size}", font={"size": 11, "color": style.ink},
    )  # fmt: skip
