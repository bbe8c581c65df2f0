"""Turn a comparison of predicted and measured times into one self-contained page: plots, tables, no network, light and dark."""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from roofline import units
from roofline.costmodel.timemodel import BOUNDS
from roofline.measurement.classification import ROOFS, Classification, observed
from roofline.measurement.comparison import GROUP, LEGEND, Comparison, Failure, Point, group_row, starred
from roofline.measurement.layers import Layers, kind_row
from roofline.measurement.table import factor, figure, share
from roofline.measurement.validate import HERE, Validation, doubts
from roofline.report.document import document

LISTED = 60
"""Timings that are listed, the farthest off first; the plot and the other formats have all."""

BARS = 300
"""Timings up to which the intervals are drawn from the start."""

STYLES = ("palette.css", "validation.css")
SCRIPTS = ("inflate.js", "plots.js", "validation.js")
"""Files of the page, in the order in which they stand there."""

MOST_MODELS = 20
"""Networks up to which each may have a colour of its own."""

KEYS = ("dataset", "device", "model", "family", "mode", "precision", "layout", "batch", "bound")
"""What the points can be coloured by."""

HINT = '<p class="soft">A click on a name in the legend hides it; a double click shows it alone.</p>'

WORDS = ("device", "precision", "mode", "bound", "in 80 %", "why", "data set", "network", "kind")

Row = Sequence[str]


def to_html(validation: Validation) -> str:
    """Write *validation* as a page with every timing in a plot, and with every layer in another where ops were timed."""
    networks, layers = validation.networks, validation.layers
    title = _title(networks)
    facts = _facts(networks.used if networks.used.n else networks, networks.left_out.n)
    body = [f"<h1>{escape(title)}</h1>", facts, *_warnings(networks), _networks_plot(networks), _groups(networks)]
    if layers.points:
        body += [_layers_plot(layers, validation.classification), *_layer_tables(layers, validation.classification)]
    body += [_listed(networks), _failures(networks.failures)]
    return document(title, f"<main>{''.join(body)}</main>", styles=STYLES, scripts=SCRIPTS)


def _title(networks: Comparison) -> str:
    datasets = list(dict.fromkeys(case.dataset for case in (*networks.points, *networks.failures)))
    listed = datasets[0] if len(datasets) == 1 else f"{len(datasets)} data sets"
    what = f"measured on {networks.points[0].source}" if datasets == [HERE] and networks.points else listed
    return f"Predicted and measured time: {what}"


def _facts(c: Comparison, left_out: int) -> str:
    missing = [f"{len(c.failures)} could not be predicted"] * bool(c.failures) + [f"{left_out} more left out of fits (*)"] * bool(left_out)
    facts = (
        ("Timings", str(c.n), "; ".join(missing) or "all that were asked for"),
        ("Median error", share(c.median_error), f"90th percentile {share(c.p90_error)}"),
        ("Bias", factor(c.bias), "median of predicted / measured"),
        ("Rank correlation", figure(c.rank_correlation), "Spearman, time per item"),
        ("Inside the interval", share(c.coverage), "80 % are meant to be"),
        ("Datasheet limit", share(c.roof_error), "median error, were it the prediction"),
    )
    return f"<dl>{''.join(f'<div><dt>{escape(n)}</dt><dd>{escape(v)}<small>{escape(s)}</small></dd></div>' for n, v, s in facts)}</dl>"


def _warnings(c: Comparison) -> Iterator[str]:
    """Say which measurements made here should not be trusted, and what fits may not see."""
    yield from (f'<p class="warn">{escape(line)}</p>' for line in doubts(c.points))
    for reason, datasets in c.exclusions.items():
        listed = ", ".join(datasets)
        yield f'<p class="soft">{escape(f"Left out of fits (*), {listed}: {reason}.")}</p>'


def _networks_plot(c: Comparison) -> str:
    points = c.points
    columns: dict[str, Any] = {
        **{name: _words([_starred(p) if name == "dataset" else str(getattr(p, name)) for p in points]) for name in KEYS},
        **{name: _words([str(getattr(p, name)) for p in points]) for name in ("source", "note")},
        "image_size": [p.image_size for p in points],
        **{name: _milliseconds([getattr(p, name) for p in points]) for name in ("measured", "predicted", "low", "high", "limit")},
        "ratio": _rounded([p.ratio for p in points]),
    }
    labels = (
        ("", "model"), ("data set", "dataset"), ("device", "device"), ("batch", "batch"), ("pixels", "image_size"),
        ("precision", "precision"), ("mode", "mode"), ("layout", "layout"), ("family", "family"), ("measured, ms", "measured"),
        ("predicted, ms", "predicted"), ("80 % from, ms", "low"), ("80 % to, ms", "high"), ("limit, ms", "limit"),
        ("predicted / measured", "ratio"), ("bound", "bound"), ("source", "source"), ("note", "note"),
    )  # fmt: skip
    choices = [key for key in KEYS if 1 < len(columns[key]["words"]) <= (MOST_MODELS if key == "model" else c.n)] or ["dataset"]
    options = "".join(f'<option value="{key}">{"data set" if key == "dataset" else key}</option>' for key in choices)
    checked = " checked" if c.n <= BARS else ""
    controls = (
        f'<div class="controls"><label>colour by <select id="networks-key">{options}</select></label>'
        f'<label><input type="checkbox" id="networks-bars"{checked}> 80 % intervals</label></div>'
    )
    data = {"columns": columns, "hover": labels, "colours": {bound: f"--{bound}" for bound in BOUNDS}}
    return f"<h2>Networks</h2>{controls}{HINT}{_plot('networks', data)}"


def _layers_plot(layers: Layers, classification: Classification) -> str:
    points = layers.points
    columns: dict[str, Any] = {
        **{name: _words([str(getattr(p, name)) for p in points]) for name in ("model", "layer", "kind", "op", "batch", "bound", "level")},
        "roof": _words([observed(p, classification.floor) for p in points]),
        **{name: _milliseconds([getattr(p, name) for p in points]) for name in ("measured", "predicted")},
        "ratio": _rounded([p.ratio for p in points]),
        "flops": _words([units.scaled(p.achieved_flops_per_second, "FLOP/s") for p in points]),
        "bytes": _words([units.scaled(p.achieved_bytes_per_second, "B/s") for p in points]),
        "compute": _words([units.percent(p.compute_share) for p in points]),
        "memory": _words([units.percent(p.memory_share) for p in points]),
    }
    labels = (
        ("", "model"), ("layer", "layer"), ("kind", "kind"), ("op", "op"), ("batch", "batch"), ("measured, ms", "measured"),
        ("predicted, ms", "predicted"), ("predicted / measured", "ratio"), ("predicted bound", "bound"), ("roof reached", "roof"),
        ("achieved", "flops"), ("achieved", "bytes"), ("of the compute roof", "compute"), ("of the memory roof", "memory"),
        ("memory level", "level"),
    )  # fmt: skip
    choices = (("bound", "predicted bound"), ("roof", "roof reached"), ("kind", "kind of op"), ("model", "network"))
    options = "".join(f'<option value="{key}">{label}</option>' for key, label in choices)
    controls = f'<div class="controls"><label>colour by <select id="layers-key">{options}</select></label></div>'
    data = {"columns": columns, "hover": labels, "colours": {bound: f"--{bound}" for bound in BOUNDS}}
    return f"<h2>Layers</h2>{controls}{HINT}{_plot('layers', data)}"


def _plot(name: str, data: Mapping[str, Any]) -> str:
    """Put *data* in the page beside the place of its plot; no `<` of a name can end the script that holds it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<div class="plot" id="{name}-plot"></div><script type="application/json" id="{name}-data">{text}</script>'


def _words(values: Sequence[str]) -> dict[str, Any]:
    """Write each distinct word once."""
    words = list(dict.fromkeys(values))
    position = {word: i for i, word in enumerate(words)}
    return {"words": words, "codes": [position[value] for value in values]}


def _milliseconds(values: Sequence[float]) -> list[float]:
    return _rounded([value * 1e3 for value in values])


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _starred(p: Point) -> str:
    return f"{p.dataset}*" if p.excluded else p.dataset


def _groups(c: Comparison) -> str:
    """Give the figures of each data set, and apart those of what fits may not see."""
    groups = starred(c, "dataset")
    if len(groups) < 2:
        return ""
    rows = [group_row(name, group) for name, group in groups.items()]
    return _table("data set", GROUP, rows, "By data set") + f'<p class="soft">{"<br>".join(map(escape, LEGEND))}</p>'


def _layer_tables(layers: Layers, classification: Classification) -> Iterator[str]:
    rows = [kind_row(kind, group, layers.measured) for kind, group in layers.by_kind().items()]
    yield _table("kind of op", ("n", "measured", "share", "predicted", "median", "bias"), rows, "Layers by kind of op")
    floor = units.percent(classification.floor)
    cells = [
        (bound, *(f"{units.percent(time)} ({count})" if count else "-" for time, count in row.values()))
        for bound, row in classification.confusion().items()
    ]
    yield _table("predicted bound", ROOFS, cells, f"Predicted bound, and the roof reached (at least {floor} of it): time, layers")
    agree = f"{share(classification.agreement)} of the time and {share(classification.agreement_by_count)} of the layers agree."
    yield f'<p class="soft">{escape(agree)}</p>'
    above = [
        (p.layer, p.model, p.kind, units.seconds(p.measured), units.percent(p.compute_share), units.percent(p.memory_share))
        for p in classification.above[:LISTED]
    ]
    if above:
        heading = "Layers that beat a roof: fewer FLOPs by Winograd, a nearer cache, or a ceiling set too low"
        yield _table("layer", ("network", "kind", "measured", "compute", "memory"), above, heading)


def _listed(c: Comparison) -> str:
    worst = c.worst(LISTED)
    rows = [
        (
            p.model, _starred(p), p.device, str(p.batch), str(p.image_size or "-"), p.precision, p.mode, units.seconds(p.measured),
            units.seconds(p.predicted), f"{p.ratio:.2f}", "yes" if p.inside else "no", units.seconds(p.limit), p.bound,
        )
        for p in worst
    ]  # fmt: skip
    header = (
        "data set",
        "device",
        "batch",
        "pixels",
        "precision",
        "mode",
        "measured",
        "predicted",
        "pred/meas",
        "in 80 %",
        "limit",
        "bound",
    )
    heading = "Timings, the farthest off first" + (f": {len(worst)} of {c.n}" if len(worst) < c.n else "")
    return _table("network", header, rows, heading)


def _failures(failures: Sequence[Failure]) -> str:
    return _table("not compared", ("why",), [(f.label, f.message) for f in failures], "Failures") if failures else ""


def _table(first: str, header: Sequence[str], rows: Sequence[Row], title: str) -> str:
    kinds = ["", *(' class="text"' if name in WORDS else "" for name in header)]
    head = "".join(f"<th{k}>{escape(name)}</th>" for name, k in zip((first, *header), kinds, strict=True))
    lines = "".join("<tr>" + "".join(f"<td{k}>{escape(c)}</td>" for c, k in zip(row, kinds, strict=True)) + "</tr>" for row in rows)
    return f'<h2>{escape(title)}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
