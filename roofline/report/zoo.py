"""Turn families of networks into one self-contained page: accuracy against work and against time, and who is on the front of each."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.measurement.table import factor, shown
from roofline.report.document import document
from roofline.studies.zoo import Axis, Zoo

STYLES = ("palette.css", "validation.css", "zoo.css")
SCRIPTS = ("inflate.js", "text.js", "plots.js", "zoo.js")
"""Files of the page, in the order in which they stand there."""

TITLE = "Accuracy, work and time of families of networks"

FRONT = "on the front, the cheapest first"

TEXT = (
    "Up is more accurate, left is cheaper. The line is the front: networks that no other here beats in both. Change the axis from MACs to "
    "the time on a device, and other networks come to stand on it; a ring marks those that are on the front by MACs."
)


def to_html(zoo: Zoo) -> str:
    """Write *zoo* as a page with a plot whose axis can be chosen, the rank correlations and every figure."""
    plot = ""
    if zoo.accurate:
        options = "".join(f'<option value="{i}">{escape(axis.label)}</option>' for i, axis in enumerate(zoo.axes))
        data = json.dumps(_data(zoo), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        plot = (
            f'<p>{escape(TEXT)}</p><div class="controls"><label>against <select id="axis">{options}</select></label>'
            '<span class="soft" id="rank"></span></div>'
            f'<div class="plot" id="zoo-plot"></div><script type="application/json" id="zoo-data">{data}</script>'
        )
    failures = _table(("not analyzed", "why"), zoo.failures, "Failures") if zoo.failures else ""
    body = f"<main><h1>{escape(TITLE)}</h1>{_question(zoo)}{plot}{_ranks(zoo)}{_figures(zoo)}{failures}{_NOTE}</main>"
    return document(TITLE, body, styles=STYLES, scripts=SCRIPTS)


_NOTE = (
    '<p class="soft">Time is predicted without running the networks; accuracy is published, with the weights named, and at the image size '
    "given. Recipes of training differ: of two networks that are near each other, neither is better for certain.</p>"
)


def _question(zoo: Zoo) -> str:
    first = zoo.members[0].first
    return f'<p class="soft">{len(zoo.members)} networks, {escape(first.precision)}, {escape(first.mode)}, {escape(first.layout)}</p>'


def _data(zoo: Zoo) -> dict[str, Any]:
    """Gather what the script draws: one point a network, its value on every axis, and the fronts as positions of points."""
    members, axes = zoo.accurate, zoo.axes
    position = {member: i for i, member in enumerate(members)}
    return {
        "names": [shown(m.entry.name) for m in members],
        "families": [shown(m.entry.family) for m in members],
        "weights": [shown(m.entry.weights) for m in members],
        "sizes": [m.entry.image_size for m in members],
        "top1": [m.entry.top1 for m in members],
        "axes": [
            {
                "title": _title(axis),
                "values": [float(f"{axis.read(m) * _factor(axis):.4g}") for m in members],
                "front": [position[m] for m in zoo.front(axis)],
                "rank": _rank(zoo, axis),
            }
            for axis in axes
        ],
    }


def _rank(zoo: Zoo, axis: Axis) -> str:
    """Say how the order by *axis* differs from that by MACs, and whose front is another."""
    macs = zoo.axes[0]
    front, others = zoo.front(axis), frozenset(zoo.front(macs))
    text = f"rank correlation with accuracy {factor(zoo.with_accuracy(axis))}"
    if axis.key == macs.key:
        return f"{text}; {len(front)} networks on the front"
    new = sum(member not in others for member in front)
    return f"{text}, with MACs {factor(zoo.correlation(macs, axis))}; {new} of {len(front)} on this front are not on that by MACs"


def _factor(axis: Axis) -> float:
    return {"MACs": 1e-9, "parameters": 1e-6}.get(axis.key, 1e3)


def _title(axis: Axis) -> str:
    return {"MACs": "MACs an image, G", "parameters": "parameters, M"}.get(axis.key, f"{axis.label}, ms")


def _ranks(zoo: Zoo) -> str:
    macs = zoo.axes[0]
    rows = [
        (axis.label, factor(zoo.correlation(macs, axis)), factor(zoo.with_accuracy(axis)), ", ".join(m.entry.name for m in zoo.front(axis)))
        for axis in zoo.axes
    ]
    return _table(("", "rank correlation with MACs", "with accuracy", FRONT), rows, "Who stands on the front")


def _figures(zoo: Zoo) -> str:
    timed = zoo.members[0].analyses
    header = (
        "network", "family", "pixels", "top-1, %", "parameters", "MACs", "moved", "FLOP/B",
        *(f"{a.hardware.id}, batch {a.batch}" for a in timed), "weights", "source",
    )  # fmt: skip
    rows = [
        (
            m.entry.name, m.entry.family, str(m.entry.image_size or "own"), "-" if m.entry.top1 is None else f"{m.entry.top1:.1f}",
            units.scaled(m.first.params, ""), units.scaled(m.first.macs / m.first.batch, ""),
            units.scaled(m.first.bytes / m.first.batch, "B"), units.significant(m.first.intensity, 2),
            *map(_time, m.analyses), m.entry.weights, m.entry.source,
        )
        for m in zoo.members
    ]  # fmt: skip
    return _table(header, rows, "Every figure")


def _time(a: Analysis) -> str:
    return units.seconds(a.latency) + (" (does not fit)" if a.peak_memory > a.hardware.memory_size else "")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> str:
    styles = {**dict.fromkeys(("family", "weights", "source"), ' class="text"'), **dict.fromkeys(("why", FRONT), ' class="wrap"')}
    kinds = [styles.get(name, "") for name in header]
    head = "".join(f'<th scope="col"{k}>{escape(name)}</th>' for name, k in zip(header, kinds, strict=True))
    lines = "".join("<tr>" + "".join(f"<td{k}>{escape(shown(c))}</td>" for c, k in zip(row, kinds, strict=True)) + "</tr>" for row in rows)
    return f'<h2>{escape(title)}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
