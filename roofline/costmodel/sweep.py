"""Price an analysis again at other batch sizes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.columns import tabulate
from roofline.costmodel.timemodel import price
from roofline.errors import RooflineError

A = TypeVar("A", bound=Analysis)

BATCHES = tuple(2**i for i in range(11))
"""Batch sizes of a sweep, beside the one analyzed."""


def sweep(analysis: A, batches: Sequence[int] = ()) -> tuple[A, ...]:
    """Return *analysis* at each of *batches*, in order (default: BATCHES and its own), on the same device and in the same way.

    Raises RooflineError for a network that is fixed at one batch size, unless no other is asked for.
    """
    fixed = analysis.graph.batch is None
    wanted = tuple(batches) or (() if fixed else tuple(sorted({*BATCHES, analysis.batch}))) or (analysis.batch,)
    if bad := [batch for batch in wanted if batch < 1 or (fixed and batch != analysis.batch)]:
        rule = f"{analysis.model} is fixed at batch {analysis.batch}" if fixed else "a batch is a whole number from 1"
        raise RooflineError(f"cannot analyze batch {bad[0]}: {rule}")
    columns = tabulate(analysis.graph, wanted)
    times = price(
        columns, analysis.hardware, analysis.calibration, analysis.layout, replayed=analysis.replayed, keeps_memory=analysis.keeps_memory
    )
    return tuple(replace(analysis, batch=batch, columns=columns, times=times, index=i) for i, batch in enumerate(wanted))
