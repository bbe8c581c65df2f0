"""Turn analyses into a book: every figure that an interactive page shows, for every choice a reader can make there.

A *program* is a network as it runs in one precision, mode and what-if: its kernels and their work. A *cell* is a program on
a device: times, bounds and totals at every batch size (see `roofline.report.cells`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import roofline
from roofline.cost import KINDS
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import analyze_grid, check_request
from roofline.costmodel.device import Hardware
from roofline.costmodel.timemodel import BOUNDS
from roofline.costmodel.waterfall import STEPS
from roofline.errors import RooflineError
from roofline.graph import Graph
from roofline.report.cells import Words, cell, program
from roofline.transforms.changes import parse_changes
from roofline.transforms.modes import MODES

SCHEMA = 1
"""Version of the book's form."""

PRECISIONS = ("fp32", "amp", "fp16", "int8")
"""Precisions to choose from, beside those asked for."""

BATCHES = (1, 8, 64)
"""Batch sizes to choose from, beside those asked for."""

SWEEP = tuple(2**i for i in range(11))
"""Batch sizes of the sweep, beside those asked for."""

WHAT_IFS: tuple[tuple[str, ...], ...] = ((), ("cuda-graphs",), ("fold-bn",), ("fuse-all",), ("weights=int8",))
"""What-ifs to choose from, beside those asked for."""

IMPLIED: dict[str, frozenset[str]] = {
    "compiled": frozenset({"fuse-pointwise"}),
    "engine": frozenset({"fold-bn", "fuse-pointwise", "fuse-all"}),
    "ideal": frozenset({"fold-bn", "fuse-pointwise", "fuse-all", "cuda-graphs"}),
}
"""What-ifs that a mode does itself, or nearly: they are priced there only when asked for."""

AXES = ("model", "device", "precision", "mode", "what_if", "batch")
"""What a reader chooses, in the order in which cells are nested; a cell holds every batch."""

Progress = Callable[[str, float], None]
"""Told what comes next and which share is done."""

_Found = dict[int, Sequence[Analysis]]


@dataclass(frozen=True, slots=True)
class Axes:
    """What can be chosen; *batches* are those whose kernels are shown, *sweep* those whose totals are."""

    graphs: tuple[Graph, ...]
    devices: tuple[Hardware, ...]
    precisions: tuple[str, ...]
    modes: tuple[str, ...]
    what_ifs: tuple[tuple[str, ...], ...]
    batches: tuple[int, ...]
    sweep: tuple[int, ...]
    layout: str
    calibrated: bool
    asked: frozenset[tuple[str, tuple[str, ...]]]


def book(analyses: Sequence[Analysis], *, progress: Progress | None = None) -> dict[str, Any]:
    """Return the book of *analyses* and of the choices around them, as plain data and float32 or integer arrays.

    Every device, precision, batch size and what-if of the analyses can be chosen, and the usual ones beside them; a choice that
    cannot be priced holds the reason as `error`. *progress* is told which program comes next and which share is done.
    """
    axes, words = axes_of(analyses), Words()
    programs: list[dict[str, Any]] = []
    ways = list(product(range(len(axes.graphs)), axes.precisions, axes.modes, axes.what_ifs))
    found: dict[tuple[int, str, str, tuple[str, ...]], list[dict[str, Any]]] = {}
    for i, (model, precision, mode, what_if) in enumerate(ways):
        if progress is not None:
            progress(" ".join((axes.graphs[model].name, precision, mode, *what_if)), i / len(ways))
        found[model, precision, mode, what_if] = _cells(axes, model, precision, mode, what_if, programs, words)
    nested = product(range(len(axes.graphs)), range(len(axes.devices)), axes.precisions, axes.modes, axes.what_ifs)
    return {
        "schema": SCHEMA,
        "tool": {"name": "roofline", "version": roofline.__version__},
        "axes": {
            "model": list(range(len(axes.graphs))),
            "device": [device.id for device in axes.devices],
            "precision": list(axes.precisions),
            "mode": list(axes.modes),
            "what_if": [" + ".join(what_if) for what_if in axes.what_ifs],
            "batch": list(axes.batches),
        },
        "start": choice(analyses[0]),
        "sweep": list(axes.sweep),
        "kinds": list(KINDS),
        "bounds": list(BOUNDS),
        "steps": dict(STEPS),
        "models": [{"name": graph.name, "params": graph.params} for graph in axes.graphs],
        "devices": [device_facts(device) for device in axes.devices],
        "programs": programs,
        "cells": [found[model, precision, mode, what_if][device] for model, device, precision, mode, what_if in nested],
        **words.lists(),
    }  # fmt: skip


def choice(a: Analysis, model: int = 0) -> dict[str, Any]:
    """Name the choice that *a* is, of AXES; *model* is the position of its network."""
    values = (model, a.hardware.id, a.precision, a.mode, " + ".join(a.changes), a.batch)
    return dict(zip(AXES, values, strict=True))


def axes_of(analyses: Sequence[Analysis]) -> Axes:
    """Return what a reader of the book of *analyses* can choose."""
    graphs = tuple({id(a.traced): a.traced for a in analyses}.values())
    asked = {a.batch for a in analyses}
    free = all(graph.batch is not None for graph in graphs)
    return Axes(
        graphs=graphs,
        devices=tuple({a.hardware.id: a.hardware for a in analyses}.values()),
        precisions=tuple(dict.fromkeys((*(a.precision for a in analyses), *PRECISIONS))),
        modes=tuple(dict.fromkeys((*(a.mode for a in analyses), *MODES))),
        what_ifs=tuple(dict.fromkeys((*(a.changes for a in analyses), *WHAT_IFS))),
        batches=tuple(sorted({*asked, *(BATCHES if free else ())})),
        sweep=tuple(sorted({*asked, *((*BATCHES, *SWEEP) if free else ())})),
        layout=analyses[0].layout,
        calibrated=any(a.calibrated for a in analyses),
        asked=frozenset((a.mode, a.changes) for a in analyses),
    )


def _cells(
    axes: Axes, model: int, precision: str, mode: str, what_if: tuple[str, ...], programs: list[dict[str, Any]], words: Words
) -> list[dict[str, Any]]:
    """Price one network run in one way on every device; add its programs, and return a cell for each device."""
    implied = IMPLIED.get(mode, frozenset()).intersection(what_if)
    if implied and (mode, what_if) not in axes.asked:
        return [{"error": f"not in this report: mode {mode} does {', '.join(sorted(implied))} itself"}] * len(axes.devices)
    runs, errors = _priced(axes, axes.graphs[model], precision, mode, what_if)
    cells: dict[int, dict[str, Any]] = {i: {"error": error} for i, error in errors.items()}
    sharing: dict[int, list[int]] = {}
    for i, run in runs.items():
        sharing.setdefault(id(run[0].columns), []).append(i)
    for members in sharing.values():
        shown, rows = program([runs[i] for i in members], axes.batches, words)
        programs.append({"model": model, **shown})
        cells |= {i: {"program": len(programs) - 1, **cell(runs[i], rows)} for i in members}
    return [cells[i] for i in range(len(axes.devices))]


def _priced(axes: Axes, graph: Graph, precision: str, mode: str, what_if: tuple[str, ...]) -> tuple[_Found, dict[int, str]]:
    """Analyze at every batch of the sweep on each device, by its position; of those that cannot, say why."""
    able: list[int] = []
    errors: dict[int, str] = {}
    for i, device in enumerate(axes.devices):
        try:
            check_request([device], (), [precision], mode, axes.layout)
            able.append(i)
        except RooflineError as error:
            errors[i] = str(error)

    def on(positions: Sequence[int]) -> _Found:
        found = analyze_grid(
            graph, [axes.devices[i] for i in positions], axes.sweep, precisions=[precision], mode=mode, layout=axes.layout,
            calibrated=axes.calibrated, changes=what_if, change=parse_changes(what_if),
        )  # fmt: skip
        size = len(axes.sweep)
        return {i: found[n * size : (n + 1) * size] for n, i in enumerate(positions)}

    try:
        return on(able), errors
    except RooflineError:  # one device cannot, or none: ask each
        runs: _Found = {}
        for i in able:
            try:
                runs |= on([i])
            except RooflineError as error:
                errors[i] = str(error)
        return runs, errors


def device_facts(device: Hardware) -> dict[str, Any]:
    """Describe the roofs of *device* in base units."""
    return {
        "id": device.id,
        "name": device.name,
        "kind": device.kind,
        "units": device.units,
        "unit_name": device.unit_name,
        "memory_bytes": device.memory_size,
        "engines": [
            {"kind": e.kind, "dtype": e.dtype, "name": e.name, "peak_flops_per_second": e.peak, "ceiling_flops_per_second": e.ceiling}
            for e in device.engines
        ],
        "memory": [
            {"name": m.name, "peak_bytes_per_second": m.peak, "copy_bytes_per_second": m.copy, "size_bytes": m.size} for m in device.memory
        ],
        "notes": list(device.notes),
    }  # fmt: skip
