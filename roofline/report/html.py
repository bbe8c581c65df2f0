"""Turn analyses into self-contained HTML: a report to explore, a comparison, and a light piece for a notebook."""

from collections.abc import Sequence
from html import escape

from roofline import units
from roofline.costmodel.analysis import Analysis, Row
from roofline.measurement.measurement import Measurement
from roofline.report.book import Progress, book
from roofline.report.compared import compared
from roofline.report.document import document
from roofline.report.facts import facts, full, question, shares, unknown
from roofline.report.measured import beside
from roofline.report.packing import pack
from roofline.report.rows import LAYER, layer_row, printable
from roofline.report.shell import compare_body, report_body

TOP = 10
"""Layers that a notebook lists."""

STYLES = ("palette.css", "report.css")
_SHARED = ("inflate.js", "units.js", "text.js", "kernels.js", "state.js", "plots.js", "hover.js", "roofs.js", "roofline.js")
SCRIPTS = (
    *_SHARED, "timeline.js", "modules.js", "waterfall.js", "table.js", "sweep.js", "memory.js", "measured.js",
    "facts.js", "choices.js", "panel.js", "report.js",
)  # fmt: skip
COMPARE_SCRIPTS = (*_SHARED, "choices.js", "compare.js")
"""Files of the page, in the order in which they stand there."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --paper: #ffffff;
  --compute: #009e73; --memory: #0072b2; --overhead: #d55e00; --occupancy: #cc79a7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa4ae; --line: #3a424c; --paper: #0f1419; --memory: #56b4e9; } }
.roofline { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem; margin: 0 auto;
  padding: 1rem; }
.roofline h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; } .roofline h2 { font-size: 1.1rem;
  margin: 1.75rem 0 .5rem; }
.roofline .soft { color: var(--soft); } .roofline .finding { font-size: 1.1rem; margin: 1rem 0; }
.roofline dl { display: grid; grid-template-columns: repeat(2, 1fr); gap: .75rem 1.5rem; margin: 1rem 0; }
@media (min-width: 700px) { .roofline dl { grid-template-columns: repeat(3, 1fr); } }
.roofline dt { color: var(--soft); font-size: .85rem; } .roofline dd { margin: 0; font-size: 1.15rem; font-weight: 600; }
  .roofline dd small { font-weight: 400; color: var(--soft); display: block; font-size: .8rem; }
.roofline .bar { display: flex; height: 1.1rem; border-radius: 4px; overflow: hidden; background: var(--line); }
  .roofline .bar span { display: block; }
.roofline .key { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .85rem; margin: .35rem 0 0; padding: 0; list-style: none; }
.roofline .dot { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .35rem; }
.roofline .scroll { overflow-x: auto; } .roofline table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  font-size: .88rem; }
.roofline th, .roofline td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
.roofline th { color: var(--soft); font-weight: 600; } .roofline td:first-child, .roofline th:first-child { text-align: left;
  padding-left: 0; }
.roofline .scroll + h1 { margin-top: 3rem; } .roofline main > h2:first-child { margin-top: 0; }
.roofline .text { text-align: left; } .roofline .warn { color: var(--overhead); font-weight: 600; }
"""


def to_html(analyses: Sequence[Analysis], *, measured: Sequence[Measurement] = (), progress: Progress | None = None) -> str:
    """Write *analyses* as a report to explore in a browser: every view, for these choices and the usual ones beside them.

    *measured* is shown beside the predictions of what it ran; raises RooflineError for one that fits none of *analyses*.
    *progress* is told what is being priced and which share is done.
    """
    first, held = analyses[0], beside(measured, analyses)
    data = pack({**book(analyses, progress=progress), "measured": held})
    title = printable(f"{first.model} on {', '.join(dict.fromkeys(a.hardware.id for a in analyses))}")
    return document(title, report_body(first, measured=bool(held)), styles=STYLES, scripts=SCRIPTS, packs={"book": data})


def to_compare_html(analyses: Sequence[Analysis]) -> str:
    """Write *analyses* side by side as a page: networks, or one on several devices or run in several ways; the first is the reference."""
    subjects = compared(analyses)
    title = printable(f"Comparison: {', '.join(dict.fromkeys(subject['label'] for subject in subjects['subjects']))}")
    return document(title, compare_body(analyses), styles=STYLES, scripts=COMPARE_SCRIPTS, packs={"book": pack(subjects)})


def fragment(analysis: Analysis) -> str:
    """Write *analysis* as a piece of a page: what a notebook shows."""
    return f'<div class="roofline"><style>{_STYLE}</style>{_section(analysis)}</div>'


def _section(a: Analysis) -> str:
    rows = sorted(a.by_layer(), key=lambda r: -r.seconds)[:TOP]
    return (
        f"<h1>{escape(a.model)} on {escape(a.hardware.name)}</h1>"
        f'<p class="soft">{escape(question(a))}</p>'
        f'<p class="finding">{escape(a.finding())}</p>{_facts(a)}{_bar(a)}{_warnings(a)}'
        f"{_kinds(a.by_op())}{_table(LAYER, [layer_row(r) for r in rows], 'Slowest layers')}"
    )


def _facts(a: Analysis) -> str:
    cells = "".join(f"<div><dt>{escape(f.label)}</dt><dd>{escape(f.value)}<small>{escape(f.note)}</small></dd></div>" for f in facts(a))
    return f"<dl>{cells}</dl>"


def _bar(a: Analysis) -> str:
    held = shares(a)
    spans = "".join(f'<span style="width:{100 * s:.2f}%;background:var(--{b})" title="{b} {100 * s:.0f} %"></span>' for b, s in held)
    key = "".join(f'<li><span class="dot" style="background:var(--{b})"></span>{b} {units.percent(s)}</li>' for b, s in held)
    return f'<div class="bar" role="img" aria-label="share of time by bound">{spans}</div><ul class="key">{key}</ul>'


def _warnings(a: Analysis) -> str:
    lines = [f'<p class="warn">{escape(text)}</p>' for text in (unknown(a), full(a)) if text]
    lines += (f'<p class="soft">{escape(text)}</p>' for text in (*a.remarks, a.calibration.provenance, *a.hardware.notes))
    return "".join(lines)


def _kinds(rows: Sequence[Row]) -> str:
    return _table(("kind of op", "n", *LAYER[2:]), [(r.kind, str(r.kernels), *layer_row(r)[2:]) for r in rows], "Time by kind of op")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> str:
    words = ("kind", "bound", "device", "model", "precision", "mode")
    kinds = [' class="text"' if name in words else "" for name in header]
    head = "".join(f"<th{k}>{escape(name)}</th>" for name, k in zip(header, kinds, strict=True))
    lines = "".join("<tr>" + "".join(f"<td{k}>{escape(c)}</td>" for c, k in zip(row, kinds, strict=True)) + "</tr>" for row in rows)
    return f'<h2>{escape(title)}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
