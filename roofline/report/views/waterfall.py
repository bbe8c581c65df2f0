"""Draw why a network takes as long as it does: the steps from its FLOPs at datasheet peak to the predicted latency."""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.waterfall import STEPS
from roofline.costmodel.waterfall import waterfall as steps
from roofline.report.views.look import Look, clock, figure, lines, look

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True, slots=True)
class _Bar:
    """A step from *start* to *end* seconds, or a sum that starts at 0."""

    name: str
    start: float
    end: float
    meaning: str
    total: bool = False


def waterfall(analysis: Analysis, *, dark: bool | None = None) -> "Figure":
    """Draw what each step adds to the physical limit until the latency is reached; a step that makes good an earlier one is hatched."""
    style = look(dark)
    bars = _bars(analysis)
    factor, unit = clock(analysis.latency)
    found = figure(analysis, "From the limit to the latency", style, height=400)
    found.update_layout(barmode="overlay", bargap=0.15, margin={"t": 72})
    for i, bar in enumerate(bars):
        found.add_bar(
            orientation="h", y=[i], x=[abs(bar.end - bar.start) * factor], base=[min(bar.start, bar.end) * factor], showlegend=False,
            marker={"color": _colour(bar, style), "pattern": {"shape": "/" if bar.end < bar.start else ""}},
            customdata=[lines(bar.name, (bar.meaning, _share(bar, analysis)))], hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
    low, high = (bound * factor for bound in analysis.interval)
    places = [max(bar.start, bar.end, analysis.interval[1] if bar is bars[-1] else 0) * factor for bar in bars]
    found.add_scatter(
        x=places, y=list(range(len(bars))), mode="text", text=[f" {_amount(bar)}" for bar in bars], textposition="middle right",
        hoverinfo="skip", showlegend=False, textfont={"color": style.ink}, cliponaxis=False,
    )  # fmt: skip
    for i, (bar, following) in enumerate(pairwise(bars)):
        end = (bar.end if not following.total else following.end) * factor
        found.add_shape(type="line", x0=end, x1=end, y0=i - 0.4, y1=i + 1.4, line={"color": style.soft, "width": 1, "dash": "dot"})
    error = {"type": "data", "array": [high - analysis.latency * factor], "arrayminus": [analysis.latency * factor - low]}
    found.add_scatter(
        x=[analysis.latency * factor], y=[len(bars) - 1], mode="markers", marker={"size": 1, "color": style.ink}, hoverinfo="skip",
        error_x={**error, "color": style.ink, "thickness": 1.4, "width": 5}, name="80 % interval", showlegend=False,
    )  # fmt: skip
    found.update_yaxes(tickvals=list(range(len(bars))), ticktext=[bar.name for bar in bars], autorange="reversed", showgrid=False)
    return found.update_xaxes(title=unit, range=[0, max(places) * 1.16])


def _bars(analysis: Analysis) -> list[_Bar]:
    """List the steps, the limit after the two that make it, and the latency at the end."""
    ends = [float(s) for s in steps(analysis.columns, analysis.hardware, analysis.times)[analysis.index]]
    starts = [0.0, *ends[:-1]]
    bars = [_Bar(name, start, end, STEPS[name]) for name, start, end in zip(STEPS, starts, ends, strict=True)]
    limit = _Bar("= limit", 0.0, ends[1], "the datasheet roofline of the same kernels", total=True)
    return [*bars[:2], limit, *bars[2:], _Bar("= latency", 0.0, ends[-1], "the prediction", total=True)]


def _colour(bar: _Bar, style: Look) -> str:
    own = {"arithmetic": "compute", "traffic": "memory", "occupancy": "occupancy", "overhead": "overhead"}
    return style.soft if bar.total else style.bounds[own[bar.name]] if bar.name in own else style.mid


def _amount(bar: _Bar) -> str:
    change = bar.end - bar.start
    sign = "" if bar.total or bar.start == 0 else "+" if change >= 0 else "\N{MINUS SIGN}"
    return f"{sign}{units.seconds(abs(change))}"


def _share(bar: _Bar, analysis: Analysis) -> str:
    return f"{_amount(bar)}, {units.percent(abs(bar.end - bar.start) / analysis.latency)} of the latency"
