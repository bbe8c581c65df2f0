"""Draw the kernels of a network under the roofs of its device: FLOP/s against FLOP per byte."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import atan, degrees, log10
from typing import TYPE_CHECKING, Any, Literal

from roofline import units
from roofline.costmodel.analysis import Analysis, Prediction
from roofline.costmodel.device import Engine, MemoryLevel
from roofline.costmodel.timemodel import BOUNDS
from roofline.report.views.look import Look, figure, lines, look, out_of, rank, text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LARGEST = 26
"""Pixels across the point of the slowest kernel; areas are proportional to time."""

PLOT = (720, 360)
"""Pixels of the axes in a notebook, by which labels are turned along their lines."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """The range of both axes, in FLOP/byte and FLOP/s."""

    left: float
    right: float
    bottom: float
    top: float


def roofline(analysis: Analysis, *, colour: Literal["bound", "kind"] = "bound", dark: bool | None = None) -> "Figure":
    """Draw each kernel as a point sized by its time, coloured by bound or by kind of op, under the roofs of what the kernels use.

    Solid roofs are achieved by tuned code, dashed ones are the datasheet's. Kernels without FLOPs cannot stand on these axes; a
    note says how many there are and how long they take.
    """
    style = look(dark)
    points = [p for p in analysis.predictions if p.cost.flops > 0 and p.cost.bytes > 0 and p.seconds > 0]
    found = figure(analysis, "Roofline", style, height=520, note=_note(analysis, points))
    engines, levels = used_engines(analysis), used_levels(analysis)
    frame = _frame(points, engines, levels)
    found.add_traces([*_roofs(engines, levels, frame, style), *_points(analysis, points, colour, style)])
    for label in _labels(engines, levels, points, frame, style):
        found.add_annotation(label)
    log: dict[str, Any] = {"type": "log", "dtick": 1, "exponentformat": "SI", "minor": {"ticks": ""}}
    found.update_xaxes(**log, title="FLOP per byte moved", range=[log10(frame.left), log10(frame.right)])
    found.update_yaxes(**log, title="FLOP/s achieved", range=[log10(frame.bottom), log10(frame.top)])
    return found.update_layout(legend={"itemsizing": "constant"})


def used_engines(analysis: Analysis) -> tuple[Engine, ...]:
    """List the engines that the kernels need, in the order of the device's profile."""
    device, columns = analysis.hardware, analysis.columns
    others = {d for d, flops in zip(columns.vector_dtype, columns.vector_flops[analysis.index], strict=True) if flops > 0}
    needed = [*(device.matmul_engine(d) for d in columns.product_types), *(device.vector_engine(d) for d in others)]
    return tuple(engine for engine in device.engines if engine in needed)


def used_levels(analysis: Analysis) -> tuple[MemoryLevel, ...]:
    """List the memory levels that serve some kernel, the farthest first."""
    served = analysis.times.level_bytes
    return tuple(m for m in analysis.hardware.memory if m.name in served and served[m.name][analysis.index].sum() > 0)


def kernel_facts(a: Analysis, p: Prediction) -> Iterator[str]:
    """Write all that is known of a kernel, a line each."""
    cost = p.cost
    low, high = map(units.seconds, p.interval)
    yield f"{p.kind}: {' + '.join(p.ops)}"
    yield f"{units.seconds(p.seconds)}, {units.percent(p.seconds / a.latency)} of all (80 % between {low} and {high})"
    parts = ((p.compute_seconds, "compute"), (p.memory_seconds, "memory"), (p.occupancy_seconds, "occupancy"))
    yield ", ".join(f"{name} {units.seconds(s)}" for s, name in (*parts, (p.overhead_seconds, "overhead")) if s > 0)
    yield f"bound by {p.bound}" + (f", {p.margin:.1f} times {p.runner_up}" if 1 <= p.margin < 1e3 else "")
    yield f"limit {units.seconds(p.limit_seconds)}, {units.percent(p.limit_seconds / p.seconds) if p.seconds else '0 %'} reached"
    yield f"{units.scaled(cost.flops, 'FLOPs')}, {units.scaled(cost.macs, 'MACs')}"
    sizes = ((cost.weight_bytes, "weights"), (cost.input_bytes, "read"), (cost.output_bytes, "written"))
    yield ", ".join(f"{name} {units.scaled(size, 'B')}" for size, name in sizes)
    yield "served by " + ", ".join(f"{name} {units.scaled(size, 'B')}" for name, size in p.level_bytes.items() if size > 0)
    if cost.flops and p.seconds:
        yield f"{units.significant(cost.intensity, 2)} FLOP/byte, {units.scaled(cost.flops / p.seconds, 'FLOP/s')} achieved"


def _note(analysis: Analysis, points: Sequence[Prediction]) -> str:
    share = units.percent(1 - sum(p.seconds for p in points) / analysis.latency)
    missing = len(analysis.predictions) - len(points)
    left_out = f"; not shown: {missing} kernel{'s' if missing > 1 else ''} without FLOPs, {share} of the time" if missing else ""
    return f"area: time; solid roofs: achieved, dashed: datasheet{left_out}"


def _frame(points: Sequence[Prediction], engines: Sequence[Engine], levels: Sequence[MemoryLevel]) -> _Frame:
    tops = [max(e.peak, e.ceiling) for e in engines] or [1e12]
    ridge = max(tops) / levels[0].copy if levels else 1.0
    intensities = [p.cost.intensity for p in points] or [1.0]
    achieved = [p.cost.flops / p.seconds for p in points] or [min(tops)]
    left, right = min(*intensities, 0.5) / 8, max(*intensities, ridge) * 4
    return _Frame(left, right, min(*achieved, min(tops)) / 3, max(*tops, *achieved) * 2.5)


def _roofs(engines: Sequence[Engine], levels: Sequence[MemoryLevel], frame: _Frame, style: Look) -> Iterator[dict[str, Any]]:
    """Draw each roof from where it begins to matter: engines right of the fastest memory, memory below the fastest engine."""
    for dash, rates, widths in (
        ("solid", [e.ceiling for e in engines], [level.copy for level in levels]),
        ("dash", [e.peak for e in engines], [level.peak for level in levels]),
    ):
        x: list[float | None] = []
        y: list[float | None] = []
        for rate in rates:
            x += [max(rate / max(widths, default=1.0), frame.left), frame.right, None]
            y += [rate, rate, None]
        for width in widths:
            ends = frame.left, max(rates, default=1.0) / width
            x += [*ends, None]
            y += [ends[0] * width, ends[1] * width, None]
        line = {"color": style.soft, "width": 1.4 if dash == "solid" else 1, "dash": dash}
        yield {"type": "scatter", "mode": "lines", "showlegend": False, "x": x, "y": y, "line": line, "hoverinfo": "skip"}


def _labels(
    engines: Sequence[Engine], levels: Sequence[MemoryLevel], points: Sequence[Prediction], frame: _Frame, style: Look
) -> Iterator[dict[str, Any]]:
    """Name the roofs: engines at the right end, above the line or, where that is taken, below; memory levels on the line, at its left."""
    common = {"showarrow": False, "font": {"color": style.soft, "size": 11}}
    heights = [*(e.ceiling for e in engines), *(p.cost.flops / p.seconds for p in points)]
    for engine in engines:
        low, high = sorted((engine.peak, engine.ceiling))
        crowded = any(low < height < 2.2 * high for height in heights)
        name = " ".join(dict.fromkeys((engine.dtype, engine.kind, engine.name)))
        yield {
            **common, "x": log10(frame.right), "y": log10(low if crowded else high), "xanchor": "right",
            "yanchor": "top" if crowded else "bottom", "text": text(f"{name} {out_of(engine.ceiling, engine.peak, 'FLOP/s')}", 60),
        }  # fmt: skip
    slope = (PLOT[1] / log10(frame.top / frame.bottom)) / (PLOT[0] / log10(frame.right / frame.left))
    for level in levels:
        x = max(log10(frame.left), log10(frame.bottom / level.copy)) + 0.12 * log10(frame.right / frame.left)
        yield {
            **common, "x": x, "y": x + log10(level.copy), "textangle": -degrees(atan(slope)), "bgcolor": style.paper, "borderpad": 0,
            "text": text(f"{level.name.upper()} {out_of(level.copy, level.peak, 'B/s')}"),
        }  # fmt: skip


def _points(a: Analysis, points: Sequence[Prediction], colour: str, style: Look) -> Iterator[dict[str, Any]]:
    kinds = [row.name for row in a.by_op()]
    names = list(BOUNDS) if colour == "bound" else kinds
    groups = {name: members for name in names if (members := [p for p in points if getattr(p, colour) == name])}
    marks = rank(groups)
    largest = max((p.seconds for p in points), default=1.0)
    for name, members in groups.items():
        seconds = sum(p.seconds for p in members)
        own = {"color": style.bounds[name]} if colour == "bound" else marks[name]
        yield {
            "type": "scatter", "mode": "markers", "name": f"{name} {units.percent(seconds / a.latency)}",
            "x": [p.cost.intensity for p in members], "y": [p.cost.flops / p.seconds for p in members],
            "text": [lines(p.layer, kernel_facts(a, p)) for p in members], "hovertemplate": "%{text}<extra></extra>",
            "marker": {
                **own, "size": [p.seconds for p in members], "sizemode": "area", "sizeref": 2 * largest / LARGEST**2, "sizemin": 2.5,
                "opacity": 0.75, "line": {"width": 0.5, "color": style.paper},
            },
        }  # fmt: skip
