"""Turn analyses into JSON, CSV or Markdown, and write text to a file whole or not at all."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import roofline
from roofline.costmodel.analysis import SCHEMA, Analysis
from roofline.costmodel.tables import plain_row
from roofline.report.rows import LAYER, SUMMARY, layer_row, summary_row


def to_json(analyses: Sequence[Analysis]) -> str:
    """Write *analyses* as one JSON object: the schema version and a list with totals, layers and kernels of each."""
    body = {"schema": SCHEMA, "tool": {"name": "roofline", "version": roofline.__version__}, "analyses": [as_dict(a) for a in analyses]}
    return json.dumps(body, indent=1, sort_keys=False, allow_nan=False) + "\n"


def as_dict(analysis: Analysis) -> dict[str, Any]:
    """Return every figure of *analysis* in base units, with the unit in each key."""
    low, high = analysis.interval
    return {
        "model": analysis.model,
        "hardware": analysis.hardware.id,
        "hardware_name": analysis.hardware.name,
        "batch": analysis.batch,
        "inputs": list(analysis.inputs),
        "precision": analysis.precision,
        "mode": analysis.mode,
        "layout": analysis.layout,
        "what_if": list(analysis.changes),
        "calibrated": analysis.calibrated,
        "calibration": {"status": analysis.calibration.status, "provenance": analysis.calibration.provenance},
        "latency_seconds": analysis.latency,
        "interval_80_seconds": [low, high],
        "throughput_items_per_second": analysis.throughput,
        "lower_bound_seconds": analysis.lower_bound,
        "bound": analysis.bound,
        "seconds_by_bound": dict(analysis.seconds_by_bound),
        "macs": analysis.macs,
        "flops": analysis.flops,
        "bytes": analysis.bytes,
        "intensity_flop_per_byte": analysis.intensity,
        "params": analysis.params,
        "peak_memory_bytes": analysis.peak_memory,
        "device_memory_bytes": analysis.hardware.memory_size,
        "unknown_ops": {name: {"count": count, "bytes": size} for name, (count, size) in analysis.unknown.items()},
        "finding": analysis.finding(),
        "remarks": list(analysis.remarks),
        "notes": list(analysis.hardware.notes),
        "by_kind": [plain_row(row) for row in analysis.by_op()],
        "layers": [plain_row(row) for row in analysis.by_layer()],
        "kernels": analysis.rows(),
    }


def to_csv(analyses: Sequence[Analysis]) -> str:
    """Write one line per kernel of each analysis, with the unit in each heading."""
    rows = [
        {"model": a.model, "hardware": a.hardware.id, "batch": a.batch, "precision": a.precision, "mode": a.mode, **row}
        for a in analyses
        for row in a.rows()
    ]
    return csv_text(rows)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write dictionaries as CSV, a column for every key of any of them."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: plain_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def plain_cell(value: Any) -> Any:
    """Keep a spreadsheet from running a layer's name as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def to_markdown(analyses: Sequence[Analysis], *, top: int = 10) -> str:
    """Write a summary table of *analyses*, and for a single one its finding and slowest layers."""
    summary = markdown_table(SUMMARY, [summary_row(a) for a in analyses])
    if len(analyses) > 1:
        return summary
    analysis = analyses[0]
    layers = sorted(analysis.by_layer(), key=lambda row: -row.seconds)[:top]
    rows = [layer_row(row) for row in layers]
    title = f"## {markdown_text(analysis.model)} on {markdown_text(analysis.hardware.id)}"
    return f"{title}\n\n{summary}\n{analysis.finding()}\n\n### Slowest layers\n\n{markdown_table(LAYER, rows)}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table, with whatever its cells hold as text."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(map(markdown_text, line)) + " |\n" for line in lines)


def markdown_text(text: str) -> str:
    """Keep Markdown and HTML in *text* from being more than text."""
    return re.sub(r"([\\|\[`*])", r"\\\1", text).replace("<", "&lt;").replace("\n", " ")
