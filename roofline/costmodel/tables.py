"""Turn an analysis into rows of plain values, and these into a pandas DataFrame with a type for every column."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from roofline.cost import KINDS
from roofline.costmodel.analysis import Analysis, Row
from roofline.costmodel.timemodel import BOUNDS
from roofline.errors import RooflineError

if TYPE_CHECKING:
    from pandas import DataFrame

GROUPINGS = ("kernel", "layer", "module", "kind")
"""What a row of a table may stand for."""

COUNTS = ("kernel", "kernels", "batch", "params", "macs", "flops", "matrix_flops", "vector_flops")
"""Columns of whole numbers; every other column is text, or holds floats in the unit that its name ends with."""

WORDS = {"kind": KINDS, "bound": BOUNDS, "runner_up": BOUNDS}
"""Columns of words, and all that they can hold, in order."""


def plain_row(row: Row) -> dict[str, Any]:
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


def rows_by(analysis: Analysis, by: str, depth: int = 1) -> list[dict[str, Any]]:
    """Return a dictionary per kernel, layer, module at *depth*, or kind of op, in the order they run (kinds: the slowest first).

    Groups have columns `split_compute_seconds` and so on: their time parted without overlap, which adds up to `seconds`.
    """
    if by not in GROUPINGS:
        raise RooflineError(f"unknown grouping {by!r}; use one of {', '.join(GROUPINGS)}")
    if by == "kernel":
        return analysis.rows()
    groups = {"layer": analysis.by_layer, "module": lambda: analysis.by_module(depth), "kind": analysis.by_op}[by]()
    found = [{**plain_row(row), **{f"split_{bound}_seconds": row.split[bound] for bound in BOUNDS}} for row in groups]
    if by == "kind":  # the name says it already
        return [{name: value for name, value in row.items() if name != "name"} for row in found]
    return [{by: row.pop("name"), **row} for row in found]


def frame(analysis: Analysis, by: str = "kernel", depth: int = 1) -> "DataFrame":
    """Return `rows_by` as a DataFrame: categories for kinds and bounds, int64 for counts, float64 for the rest."""
    return typed(rows_by(analysis, by, depth))


def typed(rows: Sequence[Mapping[str, Any]]) -> "DataFrame":
    """Return *rows* as a DataFrame whose columns have the type that their name asks for; names stay text."""
    try:
        import pandas as pd
    except ImportError as error:
        raise RooflineError("to_pandas needs pandas; install it with: pip install 'roofline[pandas]'") from error
    table = pd.DataFrame(list(rows))
    for name in table.columns:
        if name in WORDS:
            found = set(table[name])
            table[name] = pd.Categorical(table[name], categories=[word for word in WORDS[name] if word in found])
        elif name in COUNTS:
            table[name] = table[name].round().astype("int64")
        elif not any(isinstance(value, str) for value in table[name]):
            table[name] = table[name].astype("float64")
    return table
