"""Turn a sweep into one self-contained page: any column against any other, filters, Pareto fronts, and accuracy where it is known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from roofline.errors import RooflineError
from roofline.report.document import document
from roofline.report.packing import pack
from roofline.report.rows import printable
from roofline.studies import accuracy
from roofline.studies.sweep.result import Sweep
from roofline.studies.sweep.table import PRICED

MOST = 250_000
"""Rows that a page holds; a browser draws no more of them with ease."""

TOLD = 20
"""Failed networks, and reasons of what is unsupported, that are listed."""

STYLES = ("palette.css", "scatter.css")
SCRIPTS = ("inflate.js", "text.js", "plots.js", "scatter.js")

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """A figure that can stand on an axis: its *label* with the unit, and which of it is *better*.

    `size` is what a network is made of: less is better beside accuracy, and more beside any cost, where it stands for capacity.
    """

    label: str
    better: Literal["more", "less", "size", "neither"]


AXES: Mapping[str, Axis] = {
    "macs": Axis("MACs per item (G)", "size"),
    "latency": Axis("latency of the batch (ms)", "less"),
    "item": Axis("time per item (ms)", "less"),
    "throughput": Axis("items per second", "more"),
    "limit": Axis("datasheet limit (ms)", "less"),
    "reached": Axis("share of the limit reached (%)", "more"),
    "top1": Axis("ImageNet top-1 (%)", "more"),
    "params": Axis("parameters (M)", "size"),
    "flops": Axis("FLOPs per item (G)", "size"),
    "traffic": Axis("traffic per item (MB)", "less"),
    "intensity": Axis("FLOP per byte", "neither"),
    "memory": Axis("peak memory (GB)", "less"),
    "usd": Axis("USD per million items", "less"),
    "batch": Axis("batch size", "neither"),
    "pixels": Axis("image size (pixels a side)", "neither"),
}
"""Every figure of a point, in the order of the menus."""

WORDS = ("model", "family", "device", "precision", "mode", "layout", "what_if", "bound", "calibration")
"""Columns of words that a point carries."""

FILTERS = ("device", "precision", "mode", "layout", "batch", "family")
"""What can be chosen, one or all."""

FIRST_ONLY = ("precision", "mode", "layout", "batch")
"""Of these the first is chosen at the start, so that each network is one point for each device."""


def to_html(sweep: Sweep) -> str:
    """Write *sweep* as a page; raises RooflineError for one of more rows than a browser can draw."""
    priced = sweep.where("status", PRICED)
    if priced.num_rows > MOST:
        raise RooflineError(f"a page holds up to {MOST:,} rows, this sweep has {priced.num_rows:,}; sweep fewer, or write .parquet")
    words, figures = {name: _words(priced[name]) for name in WORDS}, _figures(priced)
    values = {key: _values(sweep, words, key) for key in FILTERS}
    data = {
        "rows": priced.num_rows, "columns": {**words, **figures}, "words": WORDS,
        "axes": [{"key": k, "label": a.label, "better": a.better} for k, a in AXES.items() if np.isfinite(figures[k]).any()],
        "filters": [{"key": k, "values": known, "first": k in FIRST_ONLY} for k, known in values.items() if len(known) > 1],
    }  # fmt: skip
    title = printable(f"Sweep of {len(sweep.models):,} networks on {len(sweep.request.hardware)} devices")
    return document(title, "".join(_body(sweep, title)), styles=STYLES, scripts=SCRIPTS, packs={"sweep": pack(data)})


def _words(column: Any) -> dict[str, Any]:
    """Write each distinct word once, printable, and a number for each row."""
    texts = column.to_pylist()
    words = list(dict.fromkeys(texts))
    position = {word: i for i, word in enumerate(words)}
    codes = np.array([position[text] for text in texts], dtype=np.uint16 if len(words) < 2**16 else np.uint32)
    return {"words": [printable(word or "") for word in words], "codes": codes}


def _figures(priced: Any) -> dict[str, NDArray[np.float32]]:
    """Give every figure of AXES for each row; NaN where it is not known."""
    read = {name: np.array(priced[name].to_pylist(), dtype=np.float64) for name in (
        "batch", "image_size", "params", "macs", "flops", "bytes", "latency_seconds", "throughput_items_per_second", "lower_bound_seconds",
        "peak_memory_bytes", "usd_per_million_items",
    )}  # fmt: skip
    batch, latency, limit = read["batch"], read["latency_seconds"], read["lower_bound_seconds"]
    found: dict[str, Numbers] = {
        "macs": read["macs"] / batch / 1e9,
        "latency": latency * 1e3,
        "item": latency / batch * 1e3,
        "throughput": read["throughput_items_per_second"],
        "limit": limit * 1e3,
        "reached": 100 * limit / latency,
        "top1": _top1(priced["model"].to_pylist(), priced["image_size"].to_pylist()),
        "params": read["params"] / 1e6,
        "flops": read["flops"] / batch / 1e9,
        "traffic": read["bytes"] / batch / 1e6,
        "intensity": read["flops"] / read["bytes"],
        "memory": read["peak_memory_bytes"] / 1e9,
        "usd": read["usd_per_million_items"],
        "batch": batch,
        "pixels": read["image_size"],
    }
    return {name: values.astype(np.float32) for name, values in found.items()}


def _top1(models: Sequence[str], sizes: Sequence[int | None]) -> Numbers:
    """Published top-1 of each network at the image size that was priced; NaN where nobody published one."""
    known = _published()
    found = [known.get((model.removeprefix("timm:"), size), float("nan")) for model, size in zip(models, sizes, strict=True)]
    return np.array(found, dtype=np.float64)


@cache
def _published() -> Mapping[tuple[str, int | None], float]:
    """Map weights, and networks (the highest of the weights that saw ImageNet-1k alone), at an image size to their top-1."""
    found: dict[tuple[str, int | None], float] = {}
    for row in accuracy.table():
        found.setdefault((row.weights, row.image_size), row.top1)
        if not row.more_data:
            found[row.network, row.image_size] = max(row.top1, found.get((row.network, row.image_size), 0.0))
    return found


def _values(sweep: Sweep, columns: Mapping[str, Any], key: str) -> list[Any]:
    """List what can be chosen, as the request had it; families by name."""
    if key == "batch":
        return list(sweep.request.batches)
    words = columns[key]["words"]
    return sorted(words) if key == "family" else list(words)


def _body(sweep: Sweep, title: str) -> Iterator[str]:
    counts = sweep.counts
    told = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    theme = '<button id="theme" type="button">colours: system</button>' if PRICED in counts else ""
    yield f"<main><header><h1>{escape(title)}</h1>{theme}</header>"
    yield f'<p class="soft">{len(sweep):,} rows: {escape(told)}. Predicted, not measured.</p>'
    if PRICED in counts:
        yield "<noscript><p>The plot needs JavaScript; the same rows can be written as .csv.</p></noscript>"
        yield '<div class="controls" id="filters"></div><div class="controls" id="axes"></div>'
        yield '<p class="soft" id="count" role="status"></p><div class="plot" id="plot"></div>'
        yield '<p class="soft" id="note"></p><h2>Rows</h2><p class="soft" id="listed"></p>'
        yield '<div class="scroll"><table><thead id="head"></thead><tbody id="rows"></tbody></table></div>'
    yield from _list("Networks that failed", list(sweep.failures.items()))
    yield from _list("Not supported", [(f"{count:,} rows", reason) for reason, count in sweep.unsupported.items()])
    yield "</main>"


def _list(title: str, items: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Write what was not priced and why, the first of them."""
    if not items:
        return
    listed = "".join(f"<li><b>{escape(printable(what))}</b>: {escape(printable(why))}</li>" for what, why in items[:TOLD])
    more = f"<p>and {len(items) - TOLD:,} more</p>" if len(items) > TOLD else ""
    yield f"<h2>{title}</h2><ul>{listed}</ul>{more}"
