"""Turn analyses into JSON, CSV or Markdown, and write text to a file whole or not at all."""

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

import roofline
from roofline.costmodel.analysis import SCHEMA, Analysis, Row
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
        "notes": list(analysis.hardware.notes),
        "by_kind": [row_dict(row) for row in analysis.by_op()],
        "layers": [row_dict(row) for row in analysis.by_layer()],
        "kernels": analysis.rows(),
    }


def row_dict(row: Row) -> dict[str, Any]:
    """Return a group of kernels as a plain dictionary, with the unit in each key."""
    return {
        "name": row.name,
        "kind": row.kind,
        "kernels": row.kernels,
        "params": row.params,
        "macs": row.cost.macs,
        "flops": row.cost.flops,
        "weight_bytes": row.cost.weight_bytes,
        "input_bytes": row.cost.input_bytes,
        "output_bytes": row.cost.output_bytes,
        "intensity_flop_per_byte": row.cost.intensity,
        "seconds": row.seconds,
        "share": row.share,
        "limit_seconds": row.limit_seconds,
        "bound": row.bound,
    }


def to_csv(analyses: Sequence[Analysis]) -> str:
    """Write one line per kernel of each analysis, with the unit in each heading."""
    rows = [
        {"model": a.model, "hardware": a.hardware.id, "batch": a.batch, "precision": a.precision, "mode": a.mode, **row}
        for a in analyses
        for row in a.rows()
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: _plain_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _plain_cell(value: Any) -> Any:
    """Keep a spreadsheet from running a layer's name as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def to_markdown(analyses: Sequence[Analysis], *, top: int = 10) -> str:
    """Write a summary table of *analyses*, and for a single one its finding and slowest layers."""
    summary = _table(SUMMARY, [summary_row(a) for a in analyses])
    if len(analyses) > 1:
        return summary
    analysis = analyses[0]
    layers = sorted(analysis.by_layer(), key=lambda row: -row.seconds)[:top]
    rows = [layer_row(row) for row in layers]
    title = f"## {_escape(analysis.model)} on {_escape(analysis.hardware.id)}"
    return f"{title}\n\n{summary}\n{analysis.finding()}\n\n### Slowest layers\n\n{_table(LAYER, rows)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(map(_escape, line)) + " |\n" for line in lines)


def _escape(text: str) -> str:
    return re.sub(r"([\\|\[`*])", r"\\\1", text).replace("<", "&lt;").replace("\n", " ")
