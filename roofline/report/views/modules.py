"""Draw the tree of modules, each as large as its part of the time, the bytes or the FLOPs."""

from typing import TYPE_CHECKING, Literal

from roofline import units
from roofline.costmodel.analysis import Analysis, Prediction
from roofline.costmodel.timemodel import BOUNDS
from roofline.report.views.look import figure, lines, look, span, text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Value = Literal["time", "bytes", "flops"]


def modules(
    analysis: Analysis, *, value: Value = "time", shape: Literal["icicle", "treemap"] = "icicle", dark: bool | None = None
) -> "Figure":
    """Draw the tree of modules, each as large as its part of the time, of the bytes moved or of the FLOPs.

    The colour tells what binds most of a module's time. A click opens a module, a click on its parent closes it.
    """
    style = look(dark)
    tree = _tree(analysis, value)
    whole = tree[()][0] or 1.0
    places = {path: str(i) for i, path in enumerate(tree)}
    sizes = [size for size, _ in tree.values()]
    bounds = [max(BOUNDS, key=held.__getitem__) for _, held in tree.values()]
    title = {"time": "Time by module", "bytes": "Bytes by module", "flops": "FLOPs by module"}[value]
    key = "bound by " + ", ".join(span(f"\N{BLACK SQUARE} {bound}", style.bounds[bound]) for bound in BOUNDS)
    found = figure(analysis, title, style, height=520, note=key)
    body = {
        "ids": list(places.values()), "parents": [places[path[:-1]] if path else "" for path in tree], "values": sizes,
        "labels": [text(path[-1] if path else analysis.model) for path in tree], "branchvalues": "total", "sort": False,
        "marker": {"colors": [style.bounds[bound] for bound in bounds], "line": {"width": 1, "color": style.paper}},
        "text": [units.percent(size / whole) for size in sizes], "textinfo": "label+text",
        "textfont": {"color": [style.on[bound] for bound in bounds]}, "hovertemplate": "%{customdata}<extra></extra>",
        "customdata": [
            lines(".".join(path) or analysis.model, (f"{_written(size, value)}, {units.percent(size / whole)} of all", f"bound by {bound}"))
            for path, size, bound in zip(tree, sizes, bounds, strict=True)
        ],
    }  # fmt: skip
    if shape == "treemap":
        found.add_treemap(**body)
    else:
        found.add_icicle(**body, tiling={"orientation": "v"}, leaf={"opacity": 1})
    return found.update_layout(uniformtext={"minsize": 9, "mode": "hide"}, margin={"l": 12, "r": 12, "t": 68, "b": 72})


def _tree(analysis: Analysis, value: Value) -> dict[tuple[str, ...], tuple[float, dict[str, float]]]:
    """Sum *value*, and seconds by bound, over every module of the tree, parents before their children."""
    tree: dict[tuple[str, ...], tuple[float, dict[str, float]]] = {(): (0.0, dict.fromkeys(BOUNDS, 0.0))}
    for p in analysis.predictions:
        path = () if p.layer == analysis.model else tuple(p.layer.split("."))
        for i in range(len(path) + 1):
            size, held = tree.get(path[:i], (0.0, dict.fromkeys(BOUNDS, 0.0)))
            tree[path[:i]] = (size + _size(p, value), {**held, p.bound: held[p.bound] + p.seconds})
    return tree


def _size(p: Prediction, value: Value) -> float:
    return {"time": p.seconds, "bytes": p.cost.bytes, "flops": p.cost.flops}[value]


def _written(size: float, value: Value) -> str:
    return units.seconds(size) if value == "time" else units.scaled(size, "B" if value == "bytes" else "FLOPs")
