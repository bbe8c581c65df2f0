"""Give the figures one look: colours that colour-blind readers tell apart, light and dark, and names that stay text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.report.rows import printable, shorten

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BOUND_COLOURS = {"compute": "#009e73", "memory": "#0072b2", "overhead": "#d55e00", "occupancy": "#cc79a7"}
DARK_BOUND_COLOURS = {**BOUND_COLOURS, "memory": "#56b4e9"}
"""Colours of the bounds, the same as in the page: Okabe and Ito's palette (jfly.uni-koeln.de/color, recalled)."""

COLOURS = ("#2f86c9", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8f5fd7", "#a65628", "#b7a900", "#7f7f7f")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "triangle-down", "hexagon", "bowtie")
"""Colours and symbols of other groups, in turn: a colour comes again with another symbol."""

NAME, HOVER = 40, 72
"""Characters of a name in a figure, and of a line in a hover box."""


@dataclass(frozen=True, slots=True)
class Look:
    """Colours of a figure on a light or on a dark page; *on* is that of text on the colour of a bound."""

    template: str
    bounds: Mapping[str, str]
    ink: str
    soft: str
    line: str
    paper: str
    mid: str
    band: str
    on: Mapping[str, str]


_ON = {"compute": "#1b1f24", "memory": "#ffffff", "overhead": "#ffffff", "occupancy": "#1b1f24"}

LIGHT = Look(
    template="plotly_white", bounds=BOUND_COLOURS, on=_ON, ink="#1b1f24", soft="#57606a", line="#d0d7de", paper="#ffffff", mid="#8c959f",
    band="rgba(87,96,106,.2)",
)  # fmt: skip
DARK = Look(
    template="plotly_dark", bounds=DARK_BOUND_COLOURS, on={**_ON, "memory": "#1b1f24"}, ink="#e6edf3", soft="#9aa4ae", line="#3a424c",
    paper="#0f1419", mid="#6e7681", band="rgba(154,164,174,.25)",
)  # fmt: skip


def look(dark: bool | None) -> Look:
    """Return the dark look or the light one; None follows plotly's default template, as in `plotly.io.templates.default`."""
    if dark is None:
        from plotly import io

        dark = "dark" in str(io.templates.default)
    return DARK if dark else LIGHT


def figure(analysis: Analysis, title: str, style: Look, *, height: int, note: str = "") -> "Figure":
    """Return an empty figure of *analysis* with its title, what was asked, and a *note* (of plotly's markup) at the foot."""
    from plotly import graph_objects as go

    asked = (f"batch {analysis.batch}", analysis.precision, analysis.mode, analysis.layout, *analysis.changes)
    heading = f"<b>{text(title)}: {text(analysis.model)} on {text(analysis.hardware.name, 60)}</b>"
    low, high = map(units.seconds, analysis.interval)
    facts = f"{', '.join(map(text, asked))}; {units.seconds(analysis.latency)} (80 % between {low} and {high})"
    axis = {"gridcolor": style.line, "zeroline": False, "linecolor": style.line, "automargin": True}
    return go.Figure(
        layout={
            "template": style.template,
            "title": {
                "text": f"{heading}<br>{span(facts, style.soft, 12)}", "font": {"size": 15}, "x": 0, "xref": "container", "xanchor": "left",
                "pad": {"l": 12, "t": 20}, "y": 1, "yref": "container", "yanchor": "top", "automargin": False,
            },
            "font": {"color": style.ink, "size": 12, "family": "system-ui, sans-serif"},
            "paper_bgcolor": style.paper, "plot_bgcolor": style.paper, "colorway": list(COLOURS), "height": height,
            "margin": {"l": 56, "r": 24, "t": 96, "b": 72 if note else 48}, "hoverlabel": {"align": "left", "namelength": 0},
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
            "annotations": foot(note, style), "xaxis": axis, "yaxis": axis, "bargap": 0.1,
        }
    )  # fmt: skip


def foot(note: str, style: Look) -> list[dict[str, Any]]:
    """Place a *note* below a figure, at its left."""
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top", "yshift": -46, "align": "left"}
    return [{**place, "text": span(note, style.soft, 11), "showarrow": False}] if note else []


def text(name: str, width: int = NAME) -> str:
    """Return *name* as plotly shows it literally: no markup, no formula, nothing unprintable, its middle cut beyond *width*."""
    return escape(shorten(printable(name), width), quote=False).replace("$", "&#36;")


def span(markup: str, colour: str, size: int | None = None) -> str:
    """Colour *markup*."""
    return f'<span style="color:{colour}{f";font-size:{size}px" if size else ""}">{markup}</span>'


def lines(name: str, facts: Iterable[str]) -> str:
    """Write a hover box: a *name* in bold, and a fact a line."""
    return "<br>".join((f"<b>{text(name, HOVER)}</b>", *(text(fact, HOVER) for fact in facts if fact)))


def clock(seconds: float) -> tuple[float, str]:
    """Choose the unit of time that suits *seconds*: what to multiply by, and its name."""
    return next(((factor, unit) for limit, factor, unit in ((1, 1.0, "s"), (1e-3, 1e3, "ms")) if seconds >= limit), (1e6, "us"))


def out_of(part: float, whole: float, unit: str) -> str:
    """Write *part* of *whole* with one prefix: `out_of(7.2e12, 8.1e12, "FLOP/s") == "7.20 of 8.10 TFLOP/s"`."""
    written = units.scaled(whole, unit)
    return f"{units.significant(part * float(written.split()[0]) / whole)} of {written}"


def rank(groups: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, str]]:
    """Give each of *groups* a colour and a symbol of its own, in order."""
    return {
        name: {"color": COLOURS[i % len(COLOURS)], "symbol": SYMBOLS[i // len(COLOURS) % len(SYMBOLS)]} for i, name in enumerate(groups)
    }


def blocks(names: Sequence[str], most: int = 14) -> tuple[list[int], list[str]]:
    """Mark where the blocks of a network begin in its layers' *names*: positions and labels, as fine as *most* ticks allow."""
    chosen: tuple[list[int], list[str]] = ([0], [text(names[0].split(".")[0])]) if names else ([], [])
    for depth in range(1, 6):
        heads = [".".join(name.split(".")[:depth]) for name in names]
        starts = [i for i, head in enumerate(heads) if i == 0 or head != heads[i - 1]]
        if len(starts) > most:
            break
        chosen = (starts, [text(heads[i], 18) for i in starts])
    return _apart(*chosen, len(names) / 40)


def _apart(positions: list[int], labels: list[str], gap: float) -> tuple[list[int], list[str]]:
    """Leave out ticks that stand closer than *gap* to the one before."""
    kept: list[int] = []
    for i, position in enumerate(positions):
        if not kept or position - positions[kept[-1]] >= gap:
            kept.append(i)
    return [positions[i] for i in kept], [labels[i] for i in kept]
