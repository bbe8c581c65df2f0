"""Put the time of each layer, measured op by op, beside its prediction and beside the roofs of the device.

A layer's share of a roof is the time that its work takes at that roof over the time that it took: FLOPs at the ceilings
of the engines, bytes at the copy bandwidth of the slowest memory level that they pass, as the prediction places them.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from roofline import units
from roofline.cost import Cost
from roofline.costmodel.analysis import Analysis, Prediction
from roofline.graph import Graph
from roofline.measurement.measurement import Measurement
from roofline.measurement.table import factor, share, table


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPoint:
    """One op of a network that ran: its times in seconds, its work, and the share of each roof that it reached.

    *compute_share* and *memory_share* exceed 1 where the layer beats a roof; *level* is the memory that holds it back.
    """

    model: str
    batch: int
    layer: str
    kind: str
    op: str
    measured: float
    predicted: float
    flops: float
    bytes: float
    bound: str
    compute_share: float
    memory_share: float
    level: str = ""

    @property
    def achieved_flops_per_second(self) -> float:
        """FLOPs over the measured time."""
        return self.flops / self.measured

    @property
    def achieved_bytes_per_second(self) -> float:
        """Bytes over the measured time."""
        return self.bytes / self.measured

    @property
    def ratio(self) -> float:
        """Give `predicted / measured`."""
        return self.predicted / self.measured

    @property
    def error(self) -> float:
        """Give `|predicted / measured - 1|`."""
        return abs(self.ratio - 1)


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of one or several networks; every figure is derived."""

    points: tuple[LayerPoint, ...] = ()

    @property
    def n(self) -> int:
        """Number of layers."""
        return len(self.points)

    @property
    def measured(self) -> float:
        """Seconds of all layers together."""
        return sum(p.measured for p in self.points)

    @property
    def median_error(self) -> float:
        """Median of `|predicted / measured - 1|`, each layer counting once."""
        return statistics.median([p.error for p in self.points]) if self.points else math.nan

    @property
    def weighted_error(self) -> float:
        """Sum of `|predicted - measured|` over the measured time: each layer counts as long as it took."""
        return sum(abs(p.predicted - p.measured) for p in self.points) / self.measured if self.points else math.nan

    @property
    def bias(self) -> float:
        """Sum of the predicted over the sum of the measured times."""
        return sum(p.predicted for p in self.points) / self.measured if self.points else math.nan

    def __add__(self, other: "Layers") -> "Layers":
        return Layers(self.points + other.points)

    def by_kind(self) -> "dict[str, Layers]":
        """Group by kind of op, the slowest first."""
        return self._by(lambda p: p.kind)

    def by_model(self) -> "dict[str, Layers]":
        """Group by network, the slowest first."""
        return self._by(lambda p: p.model)

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain dictionary per layer, with the unit in each key."""
        return [_plain(p) for p in self.points]

    def summary(self) -> str:
        """Write one line per kind of op, the slowest first."""
        return "\n".join(kind_table(self))

    def __str__(self) -> str:
        return self.summary()

    def _by(self, key: Callable[[LayerPoint], str]) -> "dict[str, Layers]":
        groups: dict[str, list[LayerPoint]] = {}
        for point in self.points:
            groups.setdefault(key(point), []).append(point)
        made = {name: Layers(tuple(points)) for name, points in groups.items()}
        return dict(sorted(made.items(), key=lambda item: -item[1].measured))


def pair(measured: Measurement, analysis: Analysis, graph: Graph) -> Layers:
    """Pair the ops that *measured* timed with the kernels of *analysis*, which came from the same traced *graph*.

    Only an eager analysis has one kernel per op. A cast that autocast inserts counts with the op it feeds, as in the
    measurement; ops that launch nothing and cost nothing are left out.
    """
    if analysis.mode != "eager" or not measured.ops:
        return Layers()
    predictions = {p.kernel: p for p in analysis.predictions}
    kernels = kernels_of_ops(graph, analysis.graph)
    found = ((op, [predictions[k] for k in kernels[op.op] if k in predictions]) for op in measured.ops if op.op in kernels)
    return Layers(tuple(_point(measured, op.median, held, analysis) for op, held in found if held and op.median > 0))


def kernels_of_ops(traced: Graph, run: Graph) -> Mapping[int, tuple[int, ...]]:
    """Map each op of *traced* to its kernel in *run*, the same graph at another precision, with those of the casts put before it."""
    found: dict[int, tuple[int, ...]] = {}
    originals, pending = iter(traced.ops), list[int]()
    for op in run.ops:
        kernel = run.kernel_of[op.id]
        if op.outputs and op.outputs[0] >= len(traced.tensors):  # a tensor that the trace does not know: an inserted cast
            pending.append(kernel)
        else:
            found[next(originals).id] = (*pending, kernel)
            pending = []
    return found


def _point(measured: Measurement, seconds: float, held: Sequence[Prediction], analysis: Analysis) -> LayerPoint:
    main, work = held[-1], sum((p.cost for p in held), Cost())
    levels = [_level_seconds(p, analysis) for p in held]
    memory = sum(max(seconds.values()) for seconds in levels)
    return LayerPoint(
        model=measured.model,
        batch=measured.batch,
        layer=main.layer,
        kind=main.kind,
        op=main.name,
        measured=seconds,
        predicted=sum(p.seconds for p in held),
        flops=work.flops,
        bytes=work.bytes,
        bound=main.bound,
        compute_share=sum(_compute_seconds(p, analysis) for p in held) / seconds,
        memory_share=memory / seconds,
        level=max(levels[-1], key=levels[-1].__getitem__) if memory else "",
    )


def _compute_seconds(p: Prediction, analysis: Analysis) -> float:
    """Seconds of the kernel's FLOPs at the ceilings; their sum where one engine does products and all else."""
    device, columns = analysis.hardware, analysis.columns
    other = p.cost.vector_flops / device.vector_engine(columns.vector_dtype[p.kernel]).ceiling
    if not p.cost.matrix_flops:
        return other
    engine = device.matmul_engine(columns.matrix_dtype[p.kernel])
    products = p.cost.matrix_flops / engine.ceiling
    return products + other if engine.kind == "vector" else max(products, other)


def _level_seconds(p: Prediction, analysis: Analysis) -> dict[str, float]:
    """Seconds that the kernel's bytes take on each level: what it serves, and what comes through it from farther away."""
    passing, found = 0.0, dict[str, float]()
    for level in analysis.hardware.memory:
        if level.name in p.level_bytes:
            passing += p.level_bytes[level.name]
            found[level.name] = passing / level.copy
    return found


def _plain(p: LayerPoint) -> dict[str, Any]:
    own = {f"{name}_seconds" if name in ("measured", "predicted") else name: value for name, value in asdict(p).items()}
    achieved = {
        "achieved_flops_per_second": p.achieved_flops_per_second, "achieved_bytes_per_second": p.achieved_bytes_per_second,
    }  # fmt: skip
    return {**own, **achieved, "ratio": p.ratio, "error": p.error}


def kind_table(layers: Layers) -> Iterator[str]:
    """Lay out one line per kind of op: how long it took, and how far off the prediction of its layers is."""
    header = ("kind of op", "n", "measured", "share", "predicted", "median", "bias")
    return table(header, [kind_row(kind, group, layers.measured) for kind, group in layers.by_kind().items()])


def kind_row(kind: str, group: Layers, total: float) -> tuple[str, ...]:
    """Write the layers of one *kind* as cells; *total* is the measured time of all layers."""
    predicted = sum(p.predicted for p in group.points)
    times = units.seconds(group.measured), share(group.measured / total), units.seconds(predicted)
    return (kind, str(group.n), *times, share(group.median_error), factor(group.bias))
