"""Turn analyses into one self-contained HTML page: no script, no network, light and dark."""

from collections.abc import Sequence
from html import escape

from roofline import units
from roofline.costmodel.analysis import Analysis, Row
from roofline.costmodel.timemodel import BOUNDS
from roofline.report.rows import LAYER, SUMMARY, layer_row, summary_row

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


def to_html(analyses: Sequence[Analysis]) -> str:
    """Write *analyses* as a page: a comparison first where there are several, then each of them."""
    title = f"{analyses[0].model} on {', '.join(dict.fromkeys(a.hardware.id for a in analyses))}"
    comparison = _table(SUMMARY, [summary_row(a) for a in analyses], "Comparison") if len(analyses) > 1 else ""
    body = comparison + "".join(_section(a, layers=None) for a in analyses)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>body {{ margin: 0 }}{_STYLE}</style></head>"
        f'<body class="roofline"><main>{body}</main></body></html>\n'
    )


def fragment(analysis: Analysis) -> str:
    """Write *analysis* as a piece of a page: what a notebook shows."""
    return f'<div class="roofline"><style>{_STYLE}</style>{_section(analysis, layers=10)}</div>'


def _section(analysis: Analysis, *, layers: int | None) -> str:
    rows = analysis.by_layer() if layers is None else sorted(analysis.by_layer(), key=lambda r: -r.seconds)[:layers]
    heading = "Layers, in order" if layers is None else "Slowest layers"
    question = [
        ", ".join(analysis.inputs), f"batch {analysis.batch}", analysis.precision, analysis.mode, analysis.layout,
        *(f"what if {change}" for change in analysis.changes),
    ]  # fmt: skip
    return (
        f"<h1>{escape(analysis.model)} on {escape(analysis.hardware.name)}</h1>"
        f'<p class="soft">{escape(" · ".join(question))}</p>'
        f'<p class="finding">{escape(analysis.finding())}</p>{_facts(analysis)}{_bar(analysis)}{_warnings(analysis)}'
        f"{_kinds(analysis.by_op())}{_table(LAYER, [layer_row(r) for r in rows], heading)}"
    )


def _facts(a: Analysis) -> str:
    low, high = a.interval
    facts = (
        ("Latency", units.seconds(a.latency), f"80 % between {units.seconds(low)} and {units.seconds(high)}"),
        ("Throughput", f"{units.significant(a.throughput)} items/s", ""),
        ("Physical limit", units.seconds(a.lower_bound), f"datasheet roofline; {units.percent(a.lower_bound / a.latency)} reached"),
        ("Work", units.scaled(a.macs, "MACs"), f"{units.scaled(a.flops, 'FLOPs')} with elementwise work"),
        ("Traffic", units.scaled(a.bytes, "B"), f"{units.significant(a.intensity, 2)} FLOP/byte"),
        (
            "Memory",
            units.scaled(a.peak_memory, "B"),
            f"of {units.scaled(a.hardware.memory_size, 'B')}; {units.scaled(a.params, '')} parameters",
        ),
    )
    cells = "".join(f"<div><dt>{escape(n)}</dt><dd>{escape(v)}<small>{escape(s)}</small></dd></div>" for n, v, s in facts)
    return f"<dl>{cells}</dl>"


def _bar(a: Analysis) -> str:
    shares = [(b, a.seconds_by_bound[b] / a.latency) for b in BOUNDS]
    spans = "".join(f'<span style="width:{100 * s:.2f}%;background:var(--{b})" title="{b} {100 * s:.0f} %"></span>' for b, s in shares)
    key = "".join(f'<li><span class="dot" style="background:var(--{b})"></span>{b} {units.percent(s)}</li>' for b, s in shares)
    return f'<div class="bar" role="img" aria-label="share of time by bound">{spans}</div><ul class="key">{key}</ul>'


def _warnings(a: Analysis) -> str:
    lines: list[str] = []
    if a.unknown:
        lines.append(f'<p class="warn">Unknown ops, counted by their bytes only: {escape(", ".join(a.unknown))}</p>')
    if a.peak_memory > a.hardware.memory_size:
        lines.append('<p class="warn">Does not fit in device memory.</p>')
    lines.append(f'<p class="soft">{escape(a.calibration.provenance)}</p>')
    lines += (f'<p class="soft">{escape(note)}</p>' for note in a.hardware.notes)
    return "".join(lines)


def _kinds(rows: Sequence[Row]) -> str:
    return _table(("kind of op", "n", *LAYER[2:]), [(r.kind, str(r.kernels), *layer_row(r)[2:]) for r in rows], "Time by kind of op")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> str:
    words = ("kind", "bound", "device", "model", "precision", "mode")
    kinds = [' class="text"' if name in words else "" for name in header]
    head = "".join(f"<th{k}>{escape(name)}</th>" for name, k in zip(header, kinds, strict=True))
    lines = "".join("<tr>" + "".join(f"<td{k}>{escape(c)}</td>" for c, k in zip(row, kinds, strict=True)) + "</tr>" for row in rows)
    return f'<h2>{escape(title)}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
