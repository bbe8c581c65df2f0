"""An Analysis: what every kernel of a network costs, how long it takes on a device, and what holds it back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline import units
from roofline.cost import KINDS, RULES, Cost, cost, work
from roofline.costmodel.calibration import Calibration
from roofline.costmodel.columns import Columns
from roofline.costmodel.device import Hardware
from roofline.costmodel.timemodel import BOUNDS, Bound, Times
from roofline.costmodel.waterfall import split
from roofline.errors import RooflineError
from roofline.graph import Graph, is_step
from roofline.transforms.modes import Layout, Mode

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA = 1
"""Version of the JSON form of an analysis."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One kernel: its ops, cost and seconds on each roof, what binds it, and the 80 % interval of its seconds."""

    kernel: int
    name: str
    layer: str
    kind: str
    ops: tuple[str, ...]
    cost: Cost
    seconds: float
    compute_seconds: float
    memory_seconds: float
    overhead_seconds: float
    occupancy_seconds: float
    limit_seconds: float
    fill: float
    level_bytes: Mapping[str, float]
    bound: Bound
    runner_up: Bound
    margin: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """A group of kernels: a layer, a module or a kind of op. *share* is its part of the whole time.

    *seconds_by_bound* adds up whole kernels by what binds them; *split* parts the seconds of each without overlap.
    """

    name: str
    kind: str
    kernels: int
    cost: Cost
    seconds: float
    share: float
    limit_seconds: float
    seconds_by_bound: Mapping[str, float]
    split: Mapping[Bound, float]
    params: int = 0

    @property
    def bound(self) -> Bound:
        """What holds most of the group's time."""
        return max(BOUNDS, key=lambda b: self.seconds_by_bound.get(b, 0.0))


@dataclass(frozen=True, eq=False)
class Analysis:
    """Answer how fast *graph* runs on *hardware*, what holds each kernel back and how far the physical limit is.

    *graph* is *traced* in its precision, after its *changes*, grouped into the kernels that run; *columns* and *times* hold
    one row per batch size, of which this analysis is row *index*. Times are in seconds, sizes in bytes, work in FLOPs.
    *remarks* are what a reader should know of the precision and the changes; *replayed* launches wait for no host;
    *keeps_memory* tells that the allocator of a CPU keeps what is freed.
    """

    traced: Graph
    graph: Graph
    hardware: Hardware
    mode: Mode
    precision: str
    layout: Layout
    batch: int
    columns: Columns
    times: Times
    index: int
    calibration: Calibration
    changes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    replayed: bool = False
    keeps_memory: bool = False

    @property
    def model(self) -> str:
        """Name of the network."""
        return self.graph.name

    @property
    def calibrated(self) -> bool:
        """Tell whether fitted efficiencies were used, of this device or its relatives, or only sourced ceilings."""
        return self.calibration.status != "uncalibrated"

    @property
    def latency(self) -> float:
        """Predicted seconds for the whole batch."""
        return float(self.times.seconds[self.index].sum())

    @property
    def interval(self) -> tuple[float, float]:
        """Seconds between which 80 % of measurements are expected: the spread of networks, or of devices, left out of the fit."""
        low, high = self.spread
        return self.latency * low, self.latency * high

    @property
    def spread(self) -> tuple[float, float]:
        """10th and 90th percentile of measured over predicted time, as found where this kind of prediction was tested."""
        return spread_of(self.calibration, self.precision, self.graph)

    @property
    def lower_bound(self) -> float:
        """Seconds of the datasheet roofline of the same kernels: the physical limit of this mode."""
        return float(self.times.limit[self.index].sum())

    @property
    def throughput(self) -> float:
        """Items per second."""
        return self.batch / self.latency

    @property
    def cost(self) -> Cost:
        """Work and traffic of the whole batch."""
        return self._cost(range(self.columns.size))

    @property
    def macs(self) -> float:
        """Multiply-accumulates of the whole batch, in convolutions, products and attention."""
        return float(self.columns.macs[self.index].sum())

    @property
    def flops(self) -> float:
        """FLOPs of the whole batch, elementwise work included."""
        return float(self.columns.flops[self.index].sum())

    @property
    def bytes(self) -> float:
        """Bytes that all kernels read and write."""
        return float(self.columns.bytes[self.index].sum())

    @property
    def intensity(self) -> float:
        """Arithmetic intensity of the network: FLOPs per byte moved."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def params(self) -> int:
        """Number of trained parameters."""
        return self.graph.params

    @property
    def peak_memory(self) -> float:
        """Bytes of weights, and of the most activations alive at once; workspace of libraries not included."""
        return self.columns.weight_storage_bytes + float(self.columns.peak_activation_bytes[self.index])

    @cached_property
    def seconds_by_bound(self) -> dict[Bound, float]:
        """Seconds spent in kernels held by each bound."""
        first, _, _ = self._bounds
        seconds = self.times.seconds[self.index]
        return {bound: float(seconds[first == i].sum()) for i, bound in enumerate(BOUNDS)}

    def seconds_by_kind(self, bound: Bound) -> dict[str, float]:
        """Seconds spent in kernels held by *bound*, by kind of op."""
        held = np.where(self._bounds[0] == BOUNDS.index(bound), self.times.seconds[self.index], 0.0)
        return dict(zip(KINDS, np.bincount(self.columns.kind, weights=held, minlength=len(KINDS)).tolist(), strict=True))

    @cached_property
    def seconds_by_part(self) -> dict[Bound, float]:
        """Seconds spent on each bound: those of every kernel, parted without overlap, added up."""
        return dict(zip(BOUNDS, map(float, self._split.sum(axis=1)), strict=True))

    @property
    def bound(self) -> Bound:
        """What holds most of the time: compute, memory, overhead or occupancy."""
        return max(BOUNDS, key=self.seconds_by_bound.__getitem__)

    @cached_property
    def unknown(self) -> dict[str, tuple[int, float]]:
        """Ops without a cost rule: for each name, how many there are and how many bytes they move."""
        found: dict[str, tuple[int, float]] = {}
        missing = [op.id for op in self.graph.ops if op.name not in RULES and work(op, self.graph).kind == "unknown"]
        graph = self._at_batch() if missing else self.graph
        for op in (graph.ops[i] for i in missing):
            count, size = found.get(op.name, (0, 0.0))
            found[op.name] = (count + 1, size + cost((op,), graph).bytes)
        return found

    @cached_property
    def predictions(self) -> tuple[Prediction, ...]:
        """Every kernel, in the order in which they run; kernels of views only are left out."""
        return tuple(self._prediction(k) for k in range(self.columns.size) if self.visible(k))

    def by_layer(self) -> tuple[Row, ...]:
        """Group kernels by the leaf module that owns their main op, in order; ops that no leaf owns have a row of their own."""
        return self._group(self.layer)

    def by_module(self, depth: int = 1) -> tuple[Row, ...]:
        """Group kernels by the first *depth* parts of their module path."""
        if depth < 1:
            raise RooflineError(f"bad depth {depth}; use 1 or more")
        return self._group(lambda k: ".".join(self.path(k).split(".")[:depth]) or self.model)

    def by_op(self) -> tuple[Row, ...]:
        """Group kernels by kind of op, the slowest first."""
        return tuple(sorted(self._group(lambda k: KINDS[self.columns.kind[k]]), key=lambda row: -row.seconds))

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain dictionary per kernel, with the unit in each key."""
        return [_plain_prediction(p) for p in self.predictions]

    def to_pandas(self, by: str = "kernel", *, depth: int = 1) -> "DataFrame":
        """Return a pandas DataFrame with a row for each `kernel`, `layer`, `module` (of *depth* parts) or `kind` of op.

        Kinds and bounds are categories, counts whole numbers, and the rest floats in the unit that their name ends with.
        """
        from roofline.costmodel.tables import frame

        return frame(self, by, depth)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Shape and type of each input at this batch size, such as `1 x 3 x 288 x 288 fp32`."""
        alone = replace(self.graph, tensors=self.graph.inputs, ops=(), kernels=(), outputs=())
        passed = alone if alone.batch is None else alone.with_batch(self.batch)
        return tuple(f"{' x '.join(map(str, t.shape))} {t.dtype}" for t in passed.tensors)

    def finding(self) -> str:
        """Say in one sentence where the time goes and why."""
        return _finding(self)

    @cached_property
    def _bounds(self) -> tuple[Any, Any, Any]:
        first, second, margin = self.times.bounds()
        return first[self.index], second[self.index], margin[self.index]

    @cached_property
    def _split(self) -> Any:
        return split(self.times)[:, self.index]

    def _at_batch(self) -> Graph:
        return self.graph if self.graph.batch is None else self.graph.with_batch(self.batch)

    def visible(self, k: int) -> bool:
        """Tell whether kernel *k* does anything: those of views that cost nothing are not listed."""
        return bool(self.columns.ops[k] * self.columns.present[self.index, k]) or self.times.seconds[self.index, k] > 0

    def path(self, k: int) -> str:
        """Path of the module that owns the main op of kernel *k*."""
        return self.graph.ops[self.columns.anchor[k]].module

    def layer(self, k: int) -> str:
        """Name the layer of kernel *k*: the leaf module that owns its main op, else the module and the op."""
        op = self.graph.ops[self.columns.anchor[k]]
        return op.module or self.model if op.module in self.graph.leaves else f"{op.module}.{op.name}".lstrip(".")

    def _cost(self, kernels: Iterable[int]) -> Cost:
        chosen, i, c = list(kernels), self.index, self.columns
        arrays = (c.macs, c.matrix_flops, c.vector_flops, c.weight_bytes, c.input_bytes, c.output_bytes)
        return Cost(*(float(a[i, chosen].sum()) for a in arrays))

    def _prediction(self, k: int) -> Prediction:
        first, second, margin = self._bounds
        times, row = self.times, (self.index, k)
        seconds = float(times.seconds[row])
        return Prediction(
            kernel=k,
            name=self.graph.ops[self.columns.anchor[k]].name,
            layer=self.layer(k),
            kind=KINDS[self.columns.kind[k]],
            ops=tuple(self.graph.ops[o].name for o in self.graph.kernels[k]),
            cost=self._cost((k,)),
            seconds=seconds,
            compute_seconds=float(times.compute[row]),
            memory_seconds=float(times.memory[row]),
            overhead_seconds=float(times.overhead[row]),
            occupancy_seconds=float(times.occupancy[row]),
            limit_seconds=float(times.limit[row]),
            fill=float(times.fill[row]),
            level_bytes={name: float(size[row]) for name, size in times.level_bytes.items()},
            bound=BOUNDS[first[k]],
            runner_up=BOUNDS[second[k]],
            margin=float(margin[k]),
            interval=(seconds * self.calibration.per_kernel[0], seconds * self.calibration.per_kernel[1]),
        )

    def _group(self, label: Callable[[int], str]) -> tuple[Row, ...]:
        members: dict[str, list[int]] = {}
        for k in range(self.columns.size):
            if self.visible(k):
                members.setdefault(label(k), []).append(k)
        return tuple(self._row(name, kernels) for name, kernels in members.items())

    def _row(self, name: str, kernels: Sequence[int]) -> Row:
        seconds = self.times.seconds[self.index, kernels]
        first = self._bounds[0][list(kernels)]
        kinds = {KINDS[self.columns.kind[k]]: 0.0 for k in kernels}
        for k, s in zip(kernels, seconds, strict=True):
            kinds[KINDS[self.columns.kind[k]]] += float(s)
        return Row(
            name=name,
            kind=max(kinds, key=kinds.__getitem__),
            kernels=len(kernels),
            cost=self._cost(kernels),
            seconds=float(seconds.sum()),
            share=float(seconds.sum()) / self.latency if self.latency else 0.0,
            limit_seconds=float(self.times.limit[self.index, kernels].sum()),
            seconds_by_bound={b: float(seconds[first == i].sum()) for i, b in enumerate(BOUNDS)},
            split=dict(zip(BOUNDS, map(float, self._split[:, list(kernels)].sum(axis=1)), strict=True)),
            params=self._params(kernels),
        )

    def _params(self, kernels: Sequence[int]) -> int:
        read = {self.graph.tensors[t].storage for k in kernels for o in self.graph.kernels[k] for t in self.graph.ops[o].inputs}
        return sum(self.graph.tensors[t].numel for t in read if self.graph.tensors[t].kind == "weight")


def spread_of(calibration: Calibration, precision: str, graph: Graph) -> tuple[float, float]:
    """10th and 90th percentile of measured over predicted time of *graph*, as found where this kind of prediction was tested.

    No training step was tested: both are squared there, as if its backward pass were off as much again.
    """
    low, high = calibration.spread if calibration.measured and precision in calibration.precisions else calibration.elsewhere
    return (low**2, high**2) if is_step(graph) else (low, high)


def _plain_prediction(p: Prediction) -> dict[str, Any]:
    return {
        "kernel": p.kernel,
        "layer": p.layer,
        "kind": p.kind,
        "ops": "+".join(p.ops),
        "macs": p.cost.macs,
        "matrix_flops": p.cost.matrix_flops,
        "vector_flops": p.cost.vector_flops,
        "weight_bytes": p.cost.weight_bytes,
        "input_bytes": p.cost.input_bytes,
        "output_bytes": p.cost.output_bytes,
        "intensity_flop_per_byte": p.cost.intensity,
        "seconds": p.seconds,
        "low_seconds": p.interval[0],
        "high_seconds": p.interval[1],
        "compute_seconds": p.compute_seconds,
        "memory_seconds": p.memory_seconds,
        "overhead_seconds": p.overhead_seconds,
        "occupancy_seconds": p.occupancy_seconds,
        "limit_seconds": p.limit_seconds,
        "fill": p.fill,
        **{f"{level}_bytes": size for level, size in p.level_bytes.items()},
        "bound": p.bound,
        "runner_up": p.runner_up,
        "margin": p.margin if np.isfinite(p.margin) else None,
    }


def _finding(analysis: Analysis) -> str:
    """Name the bound that holds most of the time, the kinds of op it holds, and where the network stands on the roofline."""
    bound, device = analysis.bound, analysis.hardware
    seconds = analysis.seconds_by_kind(bound)
    held = [kind for kind in sorted(seconds, key=lambda kind: -seconds[kind])[:2] if seconds[kind] > 0.1 * analysis.seconds_by_bound[bound]]
    share = sum(seconds[kind] for kind in held) / analysis.latency
    subject = " and ".join(map(_plural, held))
    where = {
        "memory": f"in memory-bound {subject}",
        "compute": f"in compute-bound {subject}",
        "occupancy": f"in {subject} too small to fill the {device.units} {device.unit_name}s",
        "overhead": f"waiting for dispatch and launch of {subject}",
    }[bound]
    dtype = _matrix_dtype(analysis)
    average = f"ridge point {device.ridge(dtype):.0f} FLOP/byte ({dtype}), this network averages {units.significant(analysis.intensity, 2)}"
    return f"{100 * share:.0f} % of the time is spent {where}; {average}."


def _matrix_dtype(analysis: Analysis) -> str:
    flops = analysis.columns.matrix_flops[analysis.index]
    return analysis.columns.matrix_dtype[int(np.argmax(flops))] if len(flops) else "fp32"


_PLURALS = {
    "linear": "linear layers", "attention": "attention", "softmax": "softmaxes", "matmul": "matrix products", "pool": "pooling",
    "resize": "resizing", "create": "tensor creation", "elementwise": "elementwise ops", "compare": "comparisons", "copy": "copies",
    "unknown": "unknown ops",
}  # fmt: skip


def _plural(kind: str) -> str:
    return _PLURALS.get(kind, f"{kind}s")
