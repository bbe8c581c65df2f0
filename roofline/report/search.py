"""Turn a search into one self-contained page: every trial in a plot, the front, the limits, and the networks of the front."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from roofline import units
from roofline.report.document import document
from roofline.report.rows import printable
from roofline.studies.found import Search, Trial
from roofline.studies.goals import PROXIES, Goal, column

STYLES = ("palette.css", "scatter.css")
SCRIPTS = ("inflate.js", "text.js", "plots.js", "search.js")
"""Files of the page, in the order in which they stand there."""

LISTED = 200
"""Networks of the front that are listed; the plot and the other formats have all."""

FAR = 1.5
"""Limits further out than so many times the largest value are not drawn, lest the points shrink to a corner."""


def to_html(search: Search) -> str:
    """Write *search* as a page; names in it, which a user chose, are escaped."""
    title = f"Search of {printable(search.source.name)} on {', '.join(device.id for device in search.hardware)}"
    body = [f"<h1>{escape(title)}</h1>", _line(_asked(search)), _line(search.aim()), _facts(search), *_notes(search), _plot(search)]
    return document(title, f"<main>{''.join([*body, _front(search), _left_out(search)])}</main>", styles=STYLES, scripts=SCRIPTS)


def _asked(search: Search) -> str:
    s = search.setting
    return f"Batch {s.batches[0]}, {s.precision}, {s.mode}, {s.layout}; {search.sampler}, seed {search.seed}"


def _line(text: str, style: str = "soft") -> str:
    return f'<p class="{style}">{escape(printable(text))}</p>'


def _facts(search: Search) -> str:
    counts, best, size = search.counts, search.best, search.source.size
    rest = ", ".join(f"{n} {what}" for what, n in counts.items() if n and what != "feasible") or "all of them"
    facts = [("Networks in the space", "unknown" if size is None else units.scaled(float(size), "") or "1", "")]
    facts += [("Trials", str(len(search.trials)), f"{counts['feasible']} feasible; {rest}"), ("On the front", str(len(search.front)), "")]
    if best is not None:
        facts += [
            (f"{goal.title} of the best", goal.show(v), f"trial {best.number}") for goal, v in zip(search.goals, best.values, strict=True)
        ]
    if search.pace.candidates:
        facts.append(("Candidates a second", units.significant(search.pace.rate, 2), units.seconds(search.pace.seconds)))
    cells = (f"<div><dt>{escape(n)}</dt><dd>{escape(v)}<small>{escape(s)}</small></dd></div>" for n, v, s in facts)
    return f"<dl>{''.join(cells)}</dl>"


def _notes(search: Search) -> Iterator[str]:
    if search.goals[0].column in PROXIES:
        yield _line(f"{search.goals[0].title} stand for capacity, and are no accuracy: train what is found.")
    if search.best is None:
        yield _line("No network keeps every limit.", "warn")


def _plot(search: Search) -> str:
    priced = [t for t in search.trials if t.state == "complete"]
    if not priced:
        return _line("No network was priced.", "warn")
    front = {t.number for t in search.front}
    first, *others = search.goals
    known = _axes(search)
    scale = {name: factor for name, _, factor in known}

    def near(name: str, limit: float) -> bool:
        return limit <= FAR * max(t.figures.get(name) or 0.0 for t in priced)

    data: dict[str, Any] = {
        "axes": [{"column": name, "title": title} for name, title, _ in known],
        "x": others[0].column if others else column("latency", search.hardware[0].id),
        "y": first.column,
        "joined": len(others) == 1,
        "limits": {name: limit * scale[name] for name, limit in _limits(search) if name in scale and near(name, limit)},
        "values": {name: [_rounded(t.figures.get(name), factor) for t in priced] for name, factor in scale.items()},
        "group": ["front" if t.number in front else "over a limit" if t.broken else "feasible" for t in priced],
        "hover": [_hover(search, t) for t in priced],
    }
    options = "".join(f'<option value="{escape(name)}">{escape(title)}</option>' for name, title, _ in known)
    chosen = "".join(f'<label>{name} <select id="{name}-axis">{options}</select></label>' for name in ("x", "y"))
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return (
        f'<h2>Networks</h2><div class="controls">{chosen}</div>{_line(_hint(search))}<div class="plot" id="search-plot"></div>'
        f'<script type="application/json" id="search-data">{text}</script>'
    )


def _hint(search: Search) -> str:
    """Say what a point is, which way is better, and what the front is."""
    wanted = " and ".join(f"{'more' if goal.more else 'less'} {goal.title}" for goal in search.goals)
    line = "; the line joins them" if len(search.goals) == 2 else ""
    return (
        f"Each point is a network that was priced; {wanted} is better. Nothing that keeps the limits beats the networks of the front{line}."
    )


def _axes(search: Search) -> list[tuple[str, str, float]]:
    """List what an axis can show: column, title with its unit, and the factor to that unit."""
    own = [(goal.column, goal.title, 1.0) for goal in search.goals[:1] if goal.column not in PROXIES]
    known = [*own, ("macs", "MACs (millions)", 1e-6), ("params", "parameters (millions)", 1e-6), ("memory_bytes", "memory (MB)", 1e-6)]
    for device in search.hardware:
        known.append((column("latency", device.id), f"{device.id} latency (ms)", 1e3))
        if device.price is not None:
            known.append((column("cost", device.id), f"{device.id} cost ($ a million items)", 1.0))
    return known


def _limits(search: Search) -> Iterator[tuple[str, float]]:
    """Yield each limit by the column that it holds for."""
    for rule in search.rules:
        name = rule.quantity.name
        if name in PROXIES:
            yield name, rule.limit
        elif name in ("latency", "memory", "cost"):
            yield from ((column(name, device.id), rule.limit) for device in search.hardware)


def _rounded(value: float | None, factor: float) -> float | None:
    return None if value is None else float(f"{value * factor:.5g}")


def _hover(search: Search, t: Trial) -> str:
    shown = [f"{goal.title} {goal.show(value)}" for goal, value in zip(search.goals, t.values, strict=True)]
    return "\n".join([f"trial {t.number}", *shown, *map(printable, (*t.broken, *t.label.split(", ")))])


def _front(search: Search) -> str:
    listed = search.front[:LISTED]
    if not listed:
        return ""
    header = ("trial", *(goal.title for goal in search.goals), "params", "bound", "architecture")
    rows = [(str(t.number), *_shown(search.goals, t), units.scaled(t.figures["params"], ""), _bounds(search, t), t.label) for t in listed]
    heading = "The front" + (f": {len(listed)} of {len(search.front)} networks" if len(listed) < len(search.front) else "")
    return _table(heading, header, rows)


def _shown(goals: tuple[Goal, ...], t: Trial) -> tuple[str, ...]:
    return tuple(goal.show(value) for goal, value in zip(goals, t.values, strict=True))


def _bounds(search: Search, t: Trial) -> str:
    return ", ".join(dict.fromkeys(str(t.figures[f"{device.id}_bound"]) for device in search.hardware))


def _left_out(search: Search) -> str:
    rows = [(str(t.number), t.state, t.reason) for t in search.trials if t.state != "complete"][:LISTED]
    return _table("Not priced in full", ("trial", "state", "why"), rows) if rows else ""


def _table(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    marks = {"bound": "text", "state": "text", "architecture": "text wraps", "why": "text wraps"}
    kinds = [f' class="{marks[name]}"' if name in marks else "" for name in header]
    head = "".join(f"<th{k}>{escape(name)}</th>" for name, k in zip(header, kinds, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{k}>{escape(printable(cell))}</td>" for cell, k in zip(row, kinds, strict=True)) + "</tr>" for row in rows
    )
    return f'<h2>{escape(title)}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
