"""Write what a page shows before, or without, its scripts: the facts of the first choice, and the places of the views."""

from collections.abc import Sequence
from html import escape

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.report.facts import facts, full, question, remarks, shares, unknown
from roofline.report.rows import SUMMARY, printable, summary_row

NOSCRIPT = "The plots, the tables and the switches need JavaScript; the figures on this page hold without it."

ROOFLINE = (
    "Each point is a kernel, as large as its time: work per byte moved to the right, work per second upwards. Solid roofs are what tuned "
    "code achieves, dashed ones the datasheet. A click selects a kernel everywhere; a click in the legend hides a group."
)
COMPARED = (
    "Each point is a kernel, as large as its time: work per byte moved to the right, work per second upwards. Lines are the roofs that "
    "tuned code achieves. A click in the legend hides a subject or a roof."
)
TIMELINE = (
    "Each bar is a kernel. Its parts add up to its time: of compute and memory, which overlap, the longer counts in full, the shorter "
    "with what is not hidden behind it."
)
WHY = "Each step adds one cause; the last ends at the prediction."
DIFFERENCES = "With the ratio to the first in grey, and the share of the time that each bound holds."
SCATTER = "Along a grey line FLOP/s are equal: fewer MACs are faster only where a network keeps its line."
MODULES = "Width is what is chosen; colour is what holds most of the time. A click opens a module."


def report_body(first: Analysis, *, measured: bool) -> str:
    """Write the body of a report whose first choice is *first*."""
    beside = '<p id="measured-text"></p><div class="scroll" id="measured-table"></div>'
    views = (
        _view("roofline", "Roofline", ROOFLINE, '<div class="beside"><div><div class="controls" id="roofline-switches"></div>'
              f'{_plot("roofline")}</div><div id="kinds"></div></div><p id="roofline-absent"></p>'),
        _view("timeline", "Time by layer", TIMELINE, _plot("timeline")),
        _view("why", "Why it takes that long", WHY, '<div id="waterfall-table"></div>'),
        _view("modules", "Modules", MODULES, f'<div class="controls" id="modules-switches"></div>{_plot("modules")}'),
        _view("layers", "Layers", "", _TABLE),
        _view("sweep", "Batch size", "", f'<p id="sweep-text"></p>{_plot("sweep")}'),
        _view("memory", "Memory over time", "", '<p id="memory-text"></p><div class="beside"><div>'
              f'<div class="controls">{_DEVICE_MEMORY}</div>{_plot("memory")}</div><div id="owners"></div></div>'),
        *([_view("compared", "Measured and predicted", "", beside)] if measured else []),
    )  # fmt: skip
    names = {"roofline": "roofline", "timeline": "time by layer", "why": "why", "modules": "modules", "layers": "layers",
             "sweep": "batch size", "memory": "memory", **({"compared": "measured"} if measured else {})}  # fmt: skip
    links = "".join(f'<a href="#" data-section="{name}">{text}</a>' for name, text in names.items())
    return f'<header>{_head(first)}</header><main><nav aria-label="views" hidden>{links}</nav>{"".join(views)}{_FOOTER}</main>{_PANEL}'


def compare_body(analyses: Sequence[Analysis]) -> str:
    """Write the body of a comparison: a table that holds without scripts, and the places of the views."""
    head = "".join(f'<th scope="col"{_text(name)}>{escape(name)}</th>' for name in SUMMARY)
    lines = (zip(SUMMARY, summary_row(a), strict=True) for a in analyses)
    rows = "".join("<tr>" + "".join(f"<td{_text(name)}>{_shown(cell)}</td>" for name, cell in line) + "</tr>" for line in lines)
    views = (
        _view("differences", "Differences", DIFFERENCES, '<div class="scroll" id="differences-table"></div>'),
        _view("roofline", "One roofline", COMPARED, f'{_plot("roofline")}<p id="roofline-absent"></p>'),
        _view("kinds-of-op", "Time by kind of op", "", f'<div class="controls" id="bars-switches"></div>{_plot("bars")}'),
        _view("scatter", "Work against time", SCATTER, f'{_plot("scatter")}<p id="scatter-text"></p>'),
    )  # fmt: skip
    return (
        f'<header><div class="head"><h1 id="fact-title">Comparison of {len(analyses)} predictions</h1>{_THEME}</div>'
        f"<noscript><p>{NOSCRIPT}</p></noscript>"
        f'<div class="scroll" id="summary"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></header>'
        f"<main>{''.join(views)}{_FOOTER}</main>"
    )


def _text(name: str) -> str:
    return ' class="text"' if name in ("device", "precision", "mode", "bound") else ""


def _head(a: Analysis) -> str:
    """Everything that the first screen says; the scripts write the same places for another choice."""
    cells = "".join(
        f'<div><dt>{escape(f.label)}</dt><dd><span id="fact-{f.name}">{escape(f.value)}</span>'
        f'<small id="fact-{f.name}-note">{escape(f.note)}</small></dd></div>'
        for f in facts(a)
    )
    held = shares(a)
    bar = "".join(
        f'<span id="bar-{b}" style="width:{100 * s:.2f}%;background:var(--{b})" title="{b} {100 * s:.0f} %"></span>' for b, s in held
    )
    key = "".join(
        f'<li><span class="dot" style="background:var(--{b})"></span><span id="key-{b}">{b} {units.percent(s)}</span></li>' for b, s in held
    )
    return (
        f'<div class="head"><h1 id="fact-title">{_shown(f"{a.model} on {a.hardware.name}")}</h1>{_THEME}</div>'
        f'<p class="soft" id="fact-question">{_shown(question(a))}</p>'
        f"<noscript><p>{NOSCRIPT}</p></noscript>"
        '<form class="choices" id="choices" aria-label="choices" hidden></form>'
        f'<p class="finding" id="fact-finding">{_shown(a.finding())}</p><dl id="facts">{cells}</dl>'
        f'<div class="bar" role="img" aria-label="share of time by bound">{bar}</div><ul class="key">{key}</ul>'
        f"{_line('unknown', unknown(a))}{_line('full', full(a))}{_line('measured', '', 'soft')}"
        f"{_line('remarks', remarks(a), 'soft')}{_status(a)}"
    )


def _status(a: Analysis) -> str:
    notes = "".join(f"<li>{_shown(note)}</li>" for note in a.hardware.notes)
    hidden = "" if a.hardware.notes else " hidden"
    return (
        f'<div class="status"><span class="soft" id="fact-provenance">{_shown(a.calibration.provenance)}</span>'
        f'<details id="notes-box"{hidden}><summary>notes on this device</summary><ul id="notes">{notes}</ul></details></div>'
    )


def _line(name: str, text: str, style: str = "warn") -> str:
    return f'<p class="{style}" id="fact-{name}"{"" if text else " hidden"}>{_shown(text)}</p>'


def _shown(text: str) -> str:
    return escape(printable(text))


def _view(name: str, title: str, text: str, content: str) -> str:
    explained = f"<p>{escape(text)}</p>" if text else ""
    return f'<section id="{name}" hidden><h2>{escape(title)}</h2>{explained}{content}</section>'


def _plot(name: str) -> str:
    return f'<div class="plot" id="{name}-plot"></div>'


_THEME = '<button type="button" id="theme" title="light, dark, or as the system has it">colours: system</button>'
_DEVICE_MEMORY = '<label><input type="checkbox" id="device-memory"> show the memory of the device</label>'
_TABLE = (
    '<div class="controls"><label>search <input type="search" id="search" placeholder="layer, kind, op, bound"></label>'
    '<span class="soft" id="table-count" aria-live="polite"></span><button type="button" id="csv">download CSV</button></div>'
    '<details class="column-choice"><summary class="soft">columns</summary><div id="columns"></div></details>'
    '<div id="table" tabindex="0" role="region" aria-label="kernels"></div>'
)
_PANEL = '<aside id="panel" aria-label="selected kernel" hidden></aside>'
_FOOTER = (
    "<footer>Predicted without running the network. Times are of the whole batch; 1 MAC = 2 FLOPs; 1 GB = 1e9 bytes. The interval is meant "
    "to hold 80 % of measured times.</footer>"
)
