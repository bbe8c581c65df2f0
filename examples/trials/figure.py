"""Draw the cases of a claim: each estimate with its interval, beside the bar that it is held against."""

import math
from typing import TYPE_CHECKING, Any

from trials.verdict import OUTCOMES, Claim, Outcome, Part, short

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURS = {"yes": "#009e73", "open": "#e69f00", "no": "#d55e00"}
ROW = 34
"""Pixels of one row of cases."""


def figure(claim: Claim) -> "Figure":
    """Draw one panel a part: cases in rows by their first condition, coloured by how they come out, the bar as a shaded band."""
    from plotly.subplots import make_subplots

    rows = [len(_groups(part)) for part in claim.parts]
    total = sum(rows) + 3 * len(rows)
    drawn = make_subplots(
        rows=len(rows), cols=1, row_heights=rows, vertical_spacing=3 / total if len(rows) > 1 else 0.0,
        subplot_titles=[f"{part.statement}: {part.verdict}" for part in claim.parts],
    )  # fmt: skip
    told: set[Outcome] = set()
    for i, part in enumerate(claim.parts, 1):
        _panel(drawn, part, i, new=set(part.outcomes) - told)
        told |= set(part.outcomes)
    drawn.update_layout(
        title=f"{claim.title}: {claim.verdict}", height=170 + ROW * total, margin={"l": 150, "t": 110},
        legend={"orientation": "h", "y": 1, "yref": "container", "yanchor": "top", "x": 1, "xanchor": "right"},
    )  # fmt: skip
    return drawn


def _groups(part: Part) -> dict[str, list[int]]:
    """Put cases into rows by the first condition that differs between them."""
    key = next((key for key, _, _ in part.where()), next(iter(part.cases[0].at)))
    found: dict[str, list[int]] = {}
    for i, case in enumerate(part.cases):
        found.setdefault(case.at[key], []).append(i)
    return found


def _panel(drawn: Any, part: Part, row: int, *, new: set[Outcome]) -> None:
    import plotly.graph_objects as go

    groups = _groups(part)
    heights = {
        i: n + 0.7 * ((place + 0.5) / len(members) - 0.5) for n, members in enumerate(groups.values()) for place, i in enumerate(members)
    }
    for outcome in OUTCOMES:
        chosen = [i for i, found in enumerate(part.outcomes) if found == outcome]
        values = [part.cases[i].estimate for i in chosen]
        bars = {
            "symmetric": False,
            "array": [e.high - e.value for e in values],
            "arrayminus": [e.value - e.low for e in values],
            "thickness": 1,
        }
        drawn.add_trace(
            go.Scatter(
                x=[e.value for e in values], y=[heights[i] for i in chosen], error_x=bars, mode="markers", name=outcome,
                legendgroup=outcome, showlegend=outcome in new, marker={"color": COLOURS[outcome], "size": 6},
                text=[part.cases[i].name for i in chosen],
                customdata=[str(e) for e in values], hovertemplate="%{text}<br>%{customdata}<extra></extra>",
            ),
            row=row, col=1,
        )  # fmt: skip
    ends = [x for case in part.cases for x in (case.estimate.low, case.estimate.high, case.estimate.value)]
    finite = [x for x in (part.bar.least, part.bar.most) if math.isfinite(x)]
    low, high = min(*ends, *finite), max(*ends, *finite)
    log = low > 0 and high / low > 8 and high > 2  # shares and correlations stay linear
    pad = (high / low) ** 0.05 if log else 0.05 * (high - low)
    left, right = (low / pad, high * pad) if log else (low - pad, high + pad)
    drawn.add_vrect(
        x0=max(part.bar.least, left), x1=min(part.bar.most, right), fillcolor=COLOURS["yes"], opacity=0.1, line_width=0, row=row, col=1
    )
    for end in finite:
        drawn.add_vline(x=end, line_dash="dash", line_width=1, annotation_text=short(end), row=row, col=1)
    ends_shown = [math.log10(left), math.log10(right)] if log else [left, right]
    drawn.update_xaxes(type="log" if log else "linear", range=ends_shown, title_text=part.measure, row=row, col=1)
    drawn.update_yaxes(tickvals=list(range(len(groups))), ticktext=list(groups), range=[len(groups) - 0.5, -0.5], row=row, col=1)
