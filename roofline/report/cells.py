"""Describe programs and cells of a book: kernels with their work, and their times on a device, as short arrays.

Kernels alike in work and, on every device, in time share one *row* of a program. Figures keep 12 significant bits (0.02 %); totals
are exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.memory import lifetimes, owners
from roofline.costmodel.timemodel import BOUNDS
from roofline.costmodel.waterfall import split, waterfall

OWNERS = 8
"""Activations that are named at the peak of memory."""

WORK = ("macs", "matrix_flops", "vector_flops", "weight_bytes", "input_bytes", "output_bytes")
TIMES = ("seconds", "compute", "memory", "overhead", "occupancy", "limit", "fill")

_SPARE_BITS = 11
"""Bits of a float32 that are dropped: 12 significant ones stay, the hidden one not counted."""

Array = NDArray[Any]


@dataclass(slots=True)
class Words:
    """Names that all programs share, each once: an array of names is kept as their positions."""

    found: dict[str, dict[str, int]] = field(default_factory=lambda: {name: {} for name in ("layers", "paths", "ops", "dtypes")})

    def codes(self, kind: str, names: Sequence[str]) -> Array:
        """Return the positions of *names* in the list *kind*, adding those that are new."""
        index = self.found[kind]
        return _index([index.setdefault(name, len(index)) for name in names])

    def lists(self) -> dict[str, list[str]]:
        """Return every list of names."""
        return {kind: list(index) for kind, index in self.found.items()}


@dataclass(frozen=True, slots=True)
class Rows:
    """One kernel for each row of a program, and the rows of its columns that belong to the batches shown."""

    kernels: Array
    shown: list[int]


def program(runs: Sequence[Sequence[Analysis]], batches: Sequence[int], words: Words) -> tuple[dict[str, Any], Rows]:
    """Describe the kernels that several devices run alike; *runs* has for each device its analyses over the sweep.

    Returns arrays per kernel (`kernel`, `layer`, `path`, `ops`, `row`), per row (the others), or (batches, rows).
    """
    first = runs[0][0]
    columns, by_batch = first.columns, [run for run in runs[0] if run.batch in batches]
    shown = [run.index for run in by_batch]
    seen = np.any([run[0].times.seconds.any(axis=0) for run in runs], axis=0) | (columns.ops > 0)
    kernels = np.flatnonzero(seen)
    dtypes = {name: words.codes("dtypes", [getattr(columns, name)[k] for k in kernels]) for name in ("matrix_dtype", "vector_dtype")}
    kinds, dispatched = columns.kind[kernels].astype(np.uint8), (columns.ops[kernels] > 0).astype(np.uint8)
    features = [*(getattr(columns, name) for name in WORK), *(a for run in runs for a in _planes(run[0]).values())]
    alike = np.concatenate([_short(_cut(f, shown, kernels)) for f in features] + [x[None] for x in (kinds, dispatched, *dtypes.values())])
    _, index, row = np.unique(alike, axis=1, return_index=True, return_inverse=True)
    found, graph = lifetimes(first.graph), first.graph
    program = {
        "kernel": _index(kernels),
        "layer": words.codes("layers", [first.layer(k) for k in kernels.tolist()]),
        "path": words.codes("paths", [first.path(k) for k in kernels.tolist()]),
        "ops": words.codes("ops", ["+".join(graph.ops[o].name for o in graph.kernels[k]) for k in kernels]),
        "row": _index(row.reshape(-1)),
        "kind": kinds[index],
        "dispatched": dispatched[index],
        **{name: codes[index] for name, codes in dtypes.items()},
        "work": {name: _short(_cut(getattr(columns, name), shown, kernels[index])) for name in WORK},
        "inputs": [list(run.inputs) for run in by_batch],
        "weight_bytes": columns.weight_storage_bytes,
        "live_bytes": _short(_cut(columns.live_bytes, shown, kernels)),
        "unknown": {name: count for name, (count, _) in first.unknown.items()},
    }  # fmt: skip

    def peak(run: Analysis) -> dict[str, Any]:
        """Where activations take most memory, and who holds it."""
        at = int(np.argmax(columns.live_bytes[run.index][kernels]))
        held = owners(found, graph, int(kernels[at]), run.batch)
        others = held[OWNERS:]
        return {"kernel": at, "owners": [[name, size] for name, size in held[:OWNERS]],
                "others": len(others), "others_bytes": sum(size for _, size in others)}  # fmt: skip

    return {**program, "peak": [peak(run) for run in by_batch]}, Rows(kernels[index], shown)


def cell(run: Sequence[Analysis], rows: Rows) -> dict[str, Any]:
    """Give times, bounds and totals of a program on one device; *run* has its analyses over the sweep."""
    first, shown = run[0], rows.shown
    bound, runner_up, _ = first.times.bounds()
    steps = waterfall(first.columns, first.hardware, first.times)
    planes = _planes(first)

    def chosen(values: Array) -> Array:
        return _cut(values, shown, rows.kernels)

    return {
        "status": first.calibration.status,
        "provenance": first.calibration.provenance,
        "remarks": list(first.remarks),
        "layout": first.layout,
        "roofs": _roofs(first),
        "kernel_interval": list(first.calibration.per_kernel),
        "times": {name: _short(chosen(planes[name])) for name in (*TIMES, "own_compute", "own_memory")},
        "level_bytes": {name: _short(chosen(size)) for name, size in first.times.level_bytes.items()},
        "bound": chosen(bound).astype(np.uint8),
        "runner_up": chosen(runner_up).astype(np.uint8),
        "totals": [_totals(a, steps[a.index]) for a in run if a.index in shown],
        "sweep": {
            "latency_seconds": [a.latency for a in run],
            "low_seconds": [a.interval[0] for a in run],
            "high_seconds": [a.interval[1] for a in run],
            "lower_bound_seconds": [a.lower_bound for a in run],
            "peak_memory_bytes": [a.peak_memory for a in run],
            "bound": [BOUNDS.index(a.bound) for a in run],
        },
    }  # fmt: skip


def _planes(a: Analysis) -> dict[str, Array]:
    """Everything in seconds, and the bytes by level, as (batches, kernels)."""
    own = split(a.times)
    served = {f"{name} bytes": size for name, size in a.times.level_bytes.items()}
    return {**{name: getattr(a.times, name) for name in TIMES}, "own_compute": own[0], "own_memory": own[1], **served}


def _totals(a: Analysis, steps: Array) -> dict[str, Any]:
    low, high = a.interval
    return {
        "latency_seconds": a.latency,
        "low_seconds": low,
        "high_seconds": high,
        "throughput_items_per_second": a.throughput,
        "lower_bound_seconds": a.lower_bound,
        "bound": a.bound,
        "seconds_by_bound": [a.seconds_by_bound[b] for b in BOUNDS],
        "macs": a.macs,
        "flops": a.flops,
        "bytes": a.bytes,
        "peak_memory_bytes": a.peak_memory,
        "steps_seconds": [float(s) for s in steps],
        "finding": a.finding(),
    }


def _roofs(a: Analysis) -> dict[str, list[int]]:
    """Positions, among the engines and memory levels of the device, of those that the kernels use."""
    device, columns = a.hardware, a.columns
    engines = [*(device.matmul_engine(d) for d in columns.product_types), *(device.vector_engine(d) for d in columns.vector_types[0])]
    return {
        "engines": sorted({device.engines.index(engine) for engine in engines}),
        "memory": [i for i, level in enumerate(device.memory) if a.times.level_bytes.get(level.name, np.zeros(1)).any()],
    }


def _cut(values: Array, batches: Sequence[int], kernels: Array) -> Array:
    """Take the rows *batches* and the columns *kernels* of (batches, kernels)."""
    return values[batches][:, kernels]


def _index(values: Any) -> Array:
    """Keep whole numbers in as few bytes as the largest needs, two at least."""
    whole = np.asarray(values, dtype=np.int64)
    return whole.astype(np.uint16 if whole.size == 0 or whole.max() < 2**16 else np.uint32)


def _short(values: Array) -> Array:
    """Round to 12 significant bits after the first, as float32."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + (1 << (_SPARE_BITS - 1))) & ~np.uint32((1 << _SPARE_BITS) - 1)).view(np.float32)
