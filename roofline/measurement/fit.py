"""Fit the parameters of the time model to measured times: of networks, of single ops, on one device or on many at once.

Every way of running a device (a Run) has the same parameters. Their logarithms are sums of offsets: of the kind of device,
the mode, the layout, the device, and the run alone. Each offset has a normal prior around zero, so a run with much data
finds its own values, one with little keeps those of its relatives, and one that was never measured is still defined. The
loss is robust (pseudo-Huber on the logarithm of predicted over measured), the optimiser L-BFGS on exact gradients of the
very formula that predictions use.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from roofline.costmodel.analyze import half_type, image_order
from roofline.costmodel.calibration import CLASSES, DENSE, FILLING, HOST_KINDS, PER_KERNEL, Calibration, Shape, neutral
from roofline.costmodel.columns import Columns, tabulate
from roofline.costmodel.demand import demand
from roofline.costmodel.device import Hardware
from roofline.costmodel.fleet import Fleet, through_levels
from roofline.costmodel.formula import Efficiency, filled, parts
from roofline.costmodel.profile.calibrations import plain
from roofline.costmodel.workload import describe
from roofline.graph import Graph
from roofline.measurement.spreads import percentiles
from roofline.transforms.modes import Layout, Way, check_layout, check_mode, execute
from roofline.transforms.precision import to_precision

SCALE = 0.05
"""Relative error at which the loss turns from square to absolute: about twice the spread between two runs of one network."""

CROWDING = 0.5
"""Rows of a data set weigh `n ** -CROWDING`: between all rows alike (0) and all data sets alike (1)."""

ITERATIONS = 250

FARTHEST = 10.0
"""Spreads of its prior by which an offset moves at most: none gets half as far, but a step of the search might, and overflow."""

HOSTS = (*HOST_KINDS, "other")
_MIX = (0.33, 0.25, 0.0, 0.42)
"""Share of each host kind in the ops of EfficientNets and ResNets, over which the weights of a calibration average to 1."""
_HOST_OF = np.array([next((i for i, kind in enumerate(HOST_KINDS) if name in HOST_KINDS[kind]), len(HOST_KINDS)) for name in CLASSES])
_FILLING = {kind: torch.tensor([name in names for name in CLASSES]) for kind, names in FILLING.items()}
_GROUPED = CLASSES.index("grouped")

# --- where parameters start: expected shares of the ceilings, and by how much (in logarithms) they may differ ----------

STREAMS = ("batch norm", "activation", "elementwise", "cast", "broadcast")
"""Classes that read and write memory in order: they reach the copy bandwidth, within a few percent on a GPU."""

DEPTHWISE = ("depthwise 3", "depthwise 5", "depthwise 7")
"""Classes that are held back by loads on the chip more than by DRAM: each product loads both its factors."""

OUTPUTS = 2048
"""Results for each multiprocessor that keep half of matrix engines of 1 TFLOP/s busy. The timings leave it open: left free, fits put it
anywhere from 500 to 6,500, and predict networks left out no better (2026-11-22); nor do products timed alone, which no fit saw, tell."""

_PLAIN = tuple(name for name in DENSE if name not in ("grouped", "matmul", "attention"))
_MEMORY = {
    **dict.fromkeys(CLASSES, 0.8), **dict.fromkeys(_PLAIN, 0.9), **dict.fromkeys(STREAMS, 1.0), **dict.fromkeys(DEPTHWISE, 0.6),
    "broadcast": 0.95, "depthwise wide": 0.2, "window pool": 0.6, "global pool": 0.6, "copy": 0.6, "other": 0.5, "layer norm": 0.6,
    "group norm": 0.4, "reduction": 0.5, "grouped": 0.5,
}  # fmt: skip
_VECTOR = {
    **dict.fromkeys(CLASSES, 0.7), "conv 3x3": 1.1, **dict.fromkeys(DEPTHWISE, 0.2), "depthwise wide": 0.3, "grouped": 0.8,
}  # fmt: skip
_MEMORY_SPREADS = {**dict.fromkeys(STREAMS, 0.03), **dict.fromkeys(DEPTHWISE, 0.3), **dict.fromkeys(_PLAIN, 0.15)}
"""On GPUs; elsewhere 0.4, and where a class is not named 0.5.

Convolutions and linear layers of large batches nearly reach the copy bandwidth; those of single images hardly tell. Left free, fits to
engines found 0.4 to 0.7: devices that were left out came out no better, and ResNet-50 at batch 128 up to a fifth slower (2026-11-23)."""
_VECTOR_SPREADS = {"grouped": 0.15, **dict.fromkeys(DEPTHWISE, 0.8)}
"""Wide groups run like dense convolutions; what narrow and small ones lose is told by *group_columns* and *group_outputs*."""
_MATRIX = {**dict.fromkeys(CLASSES, 0.75), "grouped": 0.3, "conv wide": 0.6, "conv strided": 0.6, "attention": 0.4}
_SCALARS = {
    "matrix_depth": (30, 0.5), "vector_depth": (15, 0.7), "matrix_columns": (12, 0.5), "vector_columns": (8, 0.7),
    "group_columns": (30, 0.7), "matrix_group_outputs": (100, 1.5), "vector_group_outputs": (300, 1.5), "matrix_outputs": (OUTPUTS, 0.15),
    "vector_outputs": (1000, 0.8), "misaligned": (0.6, 0.3), "misaligned_groups": (0.25, 0.5), "cache": (1.3, 0.1), "bias": (0.85, 0.2),
    "transpose": (0.8, 0.4), "huge": (0.3, 0.7), "fresh": (1.0, 0.5), "packing": (1.0, 0.5),
    "serial": (0.01, 1.0),
}  # fmt: skip
"""Sizes at half efficiency, shares and rates, each with the spread of its logarithm.

Those of *matrix_depth* and *matrix_columns* were 0.7; with 0.5, fits without a T4, V100 or A100 predicted engines on it to 11.8 % in place
of 12.0 %, and networks left out to 9.7 in place of 9.5 % (means; 2026-11-23)."""
_CPU_SCALARS = {"cache": (1.0, 0.5), "transpose": (0.5, 0.4), "serial": (0.025, 1.0)}
"""Fits of 2026-11-22 found *transpose* at 0.56 on an i9-10940X and at 0.37 on an EPYC, *serial* at 0.026 on AWS c5 of 4 to 36 cores and
at 0.022 on the i9; two cores cannot tell."""
_PACKING = 4e9
"""B/s of weights that a core lays out anew, about: 4.2e9 fitted on an i9-10940X, 3.2e9 on an EPYC (2026-11-22)."""
_LOST = ("misaligned", "misaligned_groups")
_KEPT = (*_LOST, "huge")
"""Shares that are kept of a speed, and so never exceed 1."""
_HOST = {"product": 1.3, "norm": 1.6, "cast": 0.9, "other": 0.5}
_LEVELS = {"kind": 1.0, "mode": 0.7, "layout": 0.7, "device": 0.4, "run": 0.4}
"""By how much of a parameter's own spread the offsets of each level may move it."""
_COMMON = {"kind": (0.03, 0.2), "mode": (0.03, 0.15), "layout": (0.05, 0.1), "device": (0.04, 0.15), "run": (0.03, 0.1)}
"""Spread of what all classes share: an offset of memory, and one of each engine."""
_CPU_COMMON = 0.15
_LAUNCH, _HOST_OP, _HOST_WEIGHT = 0.5, 0.25, 0.5
_MEASURED = 0.05
"""Spread of what was measured on the machine itself. Which kernels ask the system for memory is foretold, not counted: where a fit was free
to, it took new memory for 1.5 (compiled) and 2.7 times (eager) as fast as it had been measured on an EPYC (2026-11-22), and predicted
batch 8 1.2 times too fast."""
_STARTED = (4e-6, 0.25)
"""Seconds in which a kernel of a captured graph starts and ends on a GPU, and their spread: fits to engines found 3.8 to 6.7 us on a T4, a
V100 and an A100 (2026-11-22). What profiles know is an empty kernel's, about 1 us; timings of large batches do not tell. One that was
launched in a stream takes as much more as an empty one does. (As a multiple of an empty one's, which is lent as such, it predicted
devices left out no better: 2026-11-23.)"""
_CALL = (50e-6, 0.7)
"""Seconds that calling an engine on a GPU takes beside its kernels, the same on all, and their spread: assumed, as nobody publishes
them. Fits without a T4, a V100 or an A100 found 26 to 37 us (2026-11-22)."""


@dataclass(frozen=True, slots=True)
class Run:
    """One way of running a device, which has parameters of its own; a device may stand for several of its sizes."""

    device: str
    kind: str
    architecture: str
    segment: str
    mode: str
    layout: str | None

    @classmethod
    def of(cls, hardware: Hardware, mode: str, layout: str, *, device: str = "") -> "Run":
        """Describe the run of *hardware*; only eager PyTorch on a GPU depends on the layout it is given."""
        fixed = layout if mode == "eager" and hardware.kind == "gpu" else None
        return cls(device or hardware.id, hardware.kind, hardware.architecture, hardware.segment, mode, fixed)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Name what shares offsets with this run, level first."""
        own = (self.device, self.mode, self.layout or "")
        found = [("kind", self.kind), ("mode", self.kind, self.mode), ("device", self.device), ("run", *own)]
        return (*found, ("layout", self.kind, "nhwc")) if self.layout == "nhwc" else tuple(found)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured graph: *seconds* for the whole of it, run at *batch* in *precision*, *mode* and *layout*.

    *kept* tells that the allocator kept all memory; an op of a network, which is a graph of one kernel, asked the system for *anew*
    bytes there.
    """

    graph: Graph
    batch: int
    precision: str
    mode: str
    layout: str
    seconds: float
    label: str
    kept: bool = False
    anew: float | None = None


@dataclass(frozen=True)
class Row:
    """One measured time with what its kernels ask: *asks* has one row per distinct kernel (fields of FIELDS), *counts* how many.

    *hosted* counts ops by host kind and *views* those that launch nothing; *launch*, *queued*, *host_op* and *host_view* are the
    profile's seconds. *source* names the data set whose rows share a weight; rows of *weight* 0 are only predicted. *replayed*
    launches came from a captured graph. *sized* rows are of a run that stands for several sizes of a device, of which each keeps the
    launch of its own profile.
    """

    run: Run
    asks: NDArray[np.float32]
    counts: NDArray[np.float32]
    hosted: tuple[float, ...]
    views: float
    launch: float
    queued: float
    host_op: float
    host_view: float
    seconds: float
    source: str = ""
    weight: float = 1.0
    replayed: bool = False
    sized: bool = False


FIELDS = (
    "matrix", "vector", "dram", "cache", "latency", "bias", "transpose", "fresh", "packed", "depth", "columns", "pace", "outputs", "klass",
    "shared", "on_matrix", "misaligned", "huge", "chain", "launches", "others",
)  # fmt: skip


def row_of(
    columns: Columns, hardware: Hardware, mode: str, layout: str, seconds: float, *, device: str = "", source: str = "",
    weight: float = 1.0, fresh: float | None = None, kept: bool = False,
    anew: float | None = None, replayed: bool = False,
) -> Row:  # fmt: skip
    """Describe the first batch of *columns*, which took *seconds* on *hardware*; new memory is written at *fresh* B/s (None: free).

    A single kernel that asked for *anew* bytes of it in a network does so here.
    """
    replayed = replayed and hardware.kind == "gpu"
    fleet = Fleet((hardware,), (neutral(check_mode(mode)),), check_layout(layout), keeps_memory=kept)
    asked = demand(columns, fleet.distances, fleet.process)
    asked = asked if anew is None else replace(asked, fresh=np.full_like(asked.fresh, anew))
    w = describe(asked, through_levels(asked, fleet), fleet)
    w = replace(w, fresh=w.fresh / (fresh or math.inf), packed=w.packed / (_PACKING * hardware.units))  # seconds, from here on
    table = np.stack([np.broadcast_to(getattr(w, name), (1, *asked.shape))[0, 0] for name in FIELDS], axis=1)
    runs = table[:, FIELDS.index("launches")] > 0
    asks, counts = np.unique(table[runs].astype(np.float32), axis=0, return_counts=True)
    hosted = np.bincount(_HOST_OF[w.klass], weights=w.ops[0], minlength=len(HOSTS))
    costs = hardware.overheads
    return Row(
        Run.of(hardware, mode, layout, device=device), asks, counts.astype(np.float32), tuple(hosted), float(w.views.sum()),
        costs.launch_in(fleet.mode), costs.queued if hardware.kind == "gpu" else 0.0, costs.host_op, costs.host_view, seconds, source,
        weight, replayed, sized=bool(device),
    )  # fmt: skip


def sample_row(sample: Sample, hardware: Hardware, *, source: str = "", fresh: float | None = None) -> Row:
    """Describe a measured graph."""
    graph = to_precision(sample.graph, sample.precision, lower=half_type(hardware))
    way = Way(check_mode(sample.mode), check_layout(sample.layout))
    columns = tabulate(execute(graph, way.mode, 0.0, image_order(way, hardware)), [sample.batch])
    return row_of(
        columns, hardware, sample.mode, sample.layout, sample.seconds, source=source, fresh=fresh, kept=sample.kept, anew=sample.anew
    )


# --- rows as tensors, parameters as tensors ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Rows laid end to end: a tensor per field over all kernels, with the row and the run of each."""

    asks: "Asks"
    klass: torch.Tensor
    on_matrix: torch.Tensor
    misaligned: torch.Tensor
    huge: torch.Tensor
    launches: torch.Tensor
    others: torch.Tensor
    counts: torch.Tensor
    row: torch.Tensor
    run: torch.Tensor
    row_run: torch.Tensor
    hosted: torch.Tensor
    views: torch.Tensor
    additive: torch.Tensor
    sized: torch.Tensor
    launch: torch.Tensor
    queued: torch.Tensor
    dispatched: torch.Tensor
    called: torch.Tensor
    seconds: torch.Tensor
    weight: torch.Tensor


@dataclass(frozen=True)
class Asks:
    """The fields that the formula reads, as tensors."""

    matrix: torch.Tensor
    vector: torch.Tensor
    shared: torch.Tensor
    dram: torch.Tensor
    cache: torch.Tensor
    latency: torch.Tensor
    bias: torch.Tensor
    transpose: torch.Tensor
    fresh: torch.Tensor
    packed: torch.Tensor
    depth: torch.Tensor
    columns: torch.Tensor
    pace: torch.Tensor
    outputs: torch.Tensor
    chain: torch.Tensor


def _reals(values: Any) -> torch.Tensor:
    """Hold numbers in double precision: in single, a search for the best parameters halts wherever rounding hides which way is down."""
    return torch.as_tensor(values, dtype=torch.float64)


def _batch(rows: Sequence[Row], runs: Sequence[Run]) -> Batch:
    table = _reals(np.concatenate([row.asks for row in rows]))
    column = {name: table[:, i].contiguous() for i, name in enumerate(FIELDS)}
    lengths = torch.tensor([len(row.asks) for row in rows])
    index = torch.repeat_interleave(torch.arange(len(rows)), lengths)
    row_run = torch.tensor([runs.index(row.run) for row in rows])
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row.source] = sizes.get(row.source, 0) + 1
    asks = Asks(**{name: column[name] > 0 if name == "shared" else column[name] for name in Asks.__dataclass_fields__})
    return Batch(
        asks=asks, klass=column["klass"].long(), on_matrix=column["on_matrix"] > 0, misaligned=column["misaligned"] > 0,
        huge=column["huge"] > 0, launches=column["launches"], others=column["others"],
        counts=_reals(np.concatenate([row.counts for row in rows])), row=index, run=row_run[index], row_run=row_run,
        hosted=_reals([row.hosted for row in rows]),
        views=_reals([row.views * row.host_view / row.host_op for row in rows]),
        additive=torch.tensor([row.run.kind == "cpu" for row in rows]),
        sized=torch.tensor([row.sized for row in rows]), launch=_reals([row.launch for row in rows]),
        queued=_reals([0.0 if row.replayed else row.queued for row in rows]),
        dispatched=torch.tensor([row.run.mode == "eager" and not row.replayed for row in rows]),
        called=torch.tensor([_is_called(row.run) and not row.replayed for row in rows]),
        seconds=_reals([row.seconds for row in rows]),
        weight=_reals([row.weight * sizes[row.source] ** -CROWDING for row in rows]),
    )  # fmt: skip


class Model:
    """Offsets of every parameter by group, in units of their prior's spread, and what they add up to for each run.

    So scaled, all are equally likely to move by as much, and L-BFGS needs half as many steps.
    """

    def __init__(self, rows: Sequence[Row], runs: Sequence[Run] = (), measured: Collection[str] = ()) -> None:
        self.runs = tuple(dict.fromkeys((*(row.run for row in rows), *runs)))
        groups = tuple(dict.fromkeys(group for run in self.runs for group in run.groups))
        self.members = _reals([[float(group in run.groups) for group in groups] for run in self.runs])
        cpu = {run.device for run in self.runs if run.kind == "cpu"}
        on_cpu = torch.tensor([group[1] == "cpu" or group[1] in cpu for group in groups])[:, None]
        level = _reals([_LEVELS[group[0]] for group in groups])[:, None]
        memory = _reals([[_MEMORY_SPREADS.get(name, 0.5) for name in CLASSES]])
        sure = {name: (_SCALARS[name][0], _MEASURED) for name in measured}
        scalars = [_reals([{**_SCALARS, **extra, **sure}[name] for name in _SCALARS]) for extra in ({}, _CPU_SCALARS)]
        common = _reals([[_COMMON[group[0]][0], _COMMON[group[0]][1], _COMMON[group[0]][1]] for group in groups])
        self.spreads = {
            "memory": torch.where(on_cpu, _reals(0.4), memory) * level,
            "vector": _reals([[_VECTOR_SPREADS.get(name, 0.4) for name in CLASSES]]) * level,
            "matrix": _reals([[0.35] * len(CLASSES)]) * level,
            "scalar": torch.where(on_cpu, scalars[1][None, :, 1], scalars[0][None, :, 1]) * level,
            "common": torch.where(on_cpu, common.clamp(min=_CPU_COMMON), common),
            "launch": _reals([_STARTED[1] if run.kind == "gpu" else _LAUNCH for run in self.runs]),
            "call": _reals([_CALL[1]]),
            "host_op": _reals([_HOST_OP] * len(groups)),
            "host": _reals([[_HOST_WEIGHT] * len(HOSTS)] * 2),
        }
        is_cpu = torch.tensor([run.kind == "cpu" for run in self.runs])[:, None]
        self.kind = is_cpu[:, 0].long()
        starts = {"memory": _MEMORY, "vector": _VECTOR, "matrix": _MATRIX}
        self.starts = {name: torch.log(_reals([table[c] for c in CLASSES])) for name, table in starts.items()}
        self.starts["scalar"] = torch.log(torch.where(is_cpu, scalars[1][None, :, 0], scalars[0][None, :, 0]))
        started = [_STARTED[0] if run.kind == "gpu" else _known(run, rows, "launch") for run in self.runs]
        self.starts["launch"] = torch.log(_reals(started))
        self.queued = tuple(_known(run, rows, "queued") for run in self.runs)
        self.sized = frozenset(row.run for row in rows if row.sized)
        self.starts["call"] = torch.log(_reals(_CALL[0])).expand(len(self.runs))
        self.starts["host_op"] = torch.log(_reals([_known(run, rows, "host_op") for run in self.runs]))
        self.starts["host"] = torch.log(_reals(list(_HOST.values())))
        self.host_groups = self.members * _reals([float(group[0] == "device") for group in groups])
        self.offsets = {name: torch.zeros_like(spread.expand(self._shape(name, len(groups)))) for name, spread in self.spreads.items()}

    def _shape(self, name: str, groups: int) -> tuple[int, ...]:
        widths = {"memory": len(CLASSES), "vector": len(CLASSES), "matrix": len(CLASSES), "scalar": len(_SCALARS), "common": 3}
        return (groups, widths[name]) if name in widths else tuple(self.spreads[name].shape)

    def parameters(self) -> dict[str, torch.Tensor]:
        """Add up the offsets: a tensor over runs (and classes) for each parameter, none of them logarithmic."""
        common = self.members @ self._offset("common")
        found = {
            name: torch.exp(self.starts[name] + self.members @ self._offset(name) + common[:, i : i + 1])
            for i, name in enumerate(("memory", "vector", "matrix"))
        }
        scalars = torch.exp(self.starts["scalar"] + self.members @ self._offset("scalar"))
        found |= {name: scalars[:, i].clamp(max=1.0) if name in _KEPT else scalars[:, i] for i, name in enumerate(_SCALARS)}
        found["launch"] = torch.exp(self.starts["launch"] + self._offset("launch"))
        found["call"] = torch.exp(self.starts["call"] + self._offset("call"))
        found["host_op"] = torch.exp(self.starts["host_op"] + self.host_groups @ self._offset("host_op"))
        found["host"] = torch.exp(self.starts["host"] + self._offset("host"))[self.kind]
        return found

    def penalty(self) -> torch.Tensor:
        """Return minus the logarithm of the prior."""
        return torch.stack([(offset**2).sum() for offset in self.offsets.values()]).sum() / 2

    def _offset(self, name: str) -> torch.Tensor:
        return self.offsets[name].clamp(-FARTHEST, FARTHEST) * self.spreads[name]


def _is_called(run: Run) -> bool:
    """Tell whether a program calls an engine, which then starts all kernels on a GPU."""
    return (run.kind, run.mode) == ("gpu", "engine")


def _known(run: Run, rows: Sequence[Row], name: str) -> float:
    """Take a profile's overhead from the nearest row: a device has one cost of an op, but launches differ in eager mode."""

    def strangeness(row: Row) -> tuple[bool, ...]:
        device, pace = row.run.device != run.device, (row.run.mode == "eager") != (run.mode == "eager")
        return (row.run.kind != run.kind, *((pace, device) if name == "launch" else (device, pace)))

    return getattr(min(rows, key=strangeness), name)


def _seconds(batch: Batch, p: dict[str, torch.Tensor]) -> torch.Tensor:
    """Predict the seconds of every row with the formula of the time model; the host's queue is simplified to a maximum."""
    k, r, on_matrix = batch.klass, batch.run, batch.on_matrix
    one = _reals(1.0)
    grouped, on_cpu = k == _GROUPED, batch.additive[batch.row]
    filling = torch.where(on_cpu, _FILLING["cpu"][k], _FILLING["gpu"][k])

    def size(name: str) -> torch.Tensor:
        return torch.where(on_matrix, p[f"matrix_{name}"][r], p[f"vector_{name}"][r])

    kept = torch.where(batch.huge, p["huge"][r], one)
    columns = torch.where(grouped, p["group_columns"][r], size("columns"))
    columns = torch.where(grouped & batch.misaligned, columns / p["misaligned_groups"][r], columns)
    e = Efficiency(
        memory=p["memory"][r, k] * kept, product=torch.where(on_matrix, p["matrix"][r, k], p["vector"][r, k]) * kept,
        vector=p["vector"][r, k], depth=size("depth"), columns=columns,
        alignment=torch.where(batch.misaligned, p["misaligned"][r], one),
        outputs=torch.where(grouped, size("group_outputs"), torch.where(filling, size("outputs"), 0 * one)),
        cache=p["cache"][r], bias=p["bias"][r], transpose=p["transpose"][r], fresh=p["fresh"][r],
        packing=p["packing"][r], crowd=1 + p["serial"][r] * batch.others,
    )  # fmt: skip
    found = parts(batch.asks, e, torch)
    started = torch.where(batch.sized, batch.launch, p["launch"][batch.row_run] + batch.queued)[batch.row]
    kernel = filled(found, batch.asks, torch) + found.passes + started * batch.launches
    device = torch.zeros_like(batch.seconds).index_add_(0, batch.row, kernel * batch.counts)
    q = batch.row_run
    host = p["host_op"][q] * ((batch.hosted * p["host"][q]).sum(1) + batch.views * (p["host"][q] * _reals(_MIX)).sum(1))
    overlapped = torch.maximum(device, host) * (1 + (torch.minimum(device, host) / torch.maximum(device, host)) ** 8) ** (1 / 8)
    alone = device + torch.where(batch.called, p["call"][q], 0.0)
    return torch.where(batch.dispatched, torch.where(batch.additive, device + host, overlapped), alone)


# --- fitting -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """Parameters that were found, for every run of the fit and those asked for beside them."""

    model: Model
    samples: dict[Run, int]

    def predict(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Predict the seconds of *rows*, whose runs this fit must know."""
        with torch.no_grad():
            return _seconds(_batch(rows, self.model.runs), self.model.parameters()).numpy()

    def scalar(self, run: Run, name: str) -> float:
        """Return one parameter of *run*."""
        with torch.no_grad():
            return float(self.model.parameters()[name][self.model.runs.index(run)])

    def calibration(self, run: Run, **about: Any) -> Calibration:
        """Return the parameters of *run*; *about* fills the fields that tell where they come from."""
        with torch.no_grad():
            index = self.model.runs.index(run)
            p = {name: value[index].numpy() for name, value in self.model.parameters().items()}
        tables = {name: dict(zip(CLASSES, map(float, p[name]), strict=True)) for name in ("memory", "vector", "matrix")}
        mean = float(np.average(p["host"], weights=_MIX))
        shape = {"group_columns": float(p["group_columns"])}
        sizes = ("depth", "columns", "outputs", "group_outputs")
        on_vector = Shape(**shape, **{name: float(p[f"vector_{name}"]) for name in sizes})
        lost = {name: float(p[name]) for name in _LOST}
        on_matrix = Shape(**shape, **lost, **{name: float(p[f"matrix_{name}"]) for name in sizes})
        eager = run.mode == "eager"
        return Calibration(
            mode=check_mode(run.mode), layout=_layout(run.layout), memory=tables["memory"], vector=tables["vector"],
            matrix={name: tables["matrix"][name] for name in DENSE} if run.kind == "gpu" else {}, on_vector=on_vector, on_matrix=on_matrix,
            cache=float(p["cache"]), bias=float(p["bias"]), transpose=float(p["transpose"]), huge=float(p["huge"]),
            serial=float(p["serial"]) if run.kind == "cpu" else 0.0,
            packing=_PACKING * float(p["packing"]) if (run.kind, run.mode) == ("cpu", "compiled") else None,
            call=float(p["call"]) if _is_called(run) else 0.0,
            launch=self._launch(run, float(p["launch"]) + self.model.queued[index]),
            host_op=float(p["host_op"]) * mean if eager else None,
            host=dict(zip(HOSTS, map(float, p["host"] / mean), strict=True)) if eager else {},
            kind=run.kind, architecture=run.architecture, segment=run.segment, samples=self.samples.get(run, 0), **about,
        )  # fmt: skip

    def _launch(self, run: Run, seconds: float) -> float | None:
        """Keep the *seconds* that were fitted; a CPU that was not timed so, and one of several sizes, has the launch of its profile."""
        return seconds if run.kind == "gpu" or (run in self.samples and run not in self.model.sized) else None


def _layout(layout: str | None) -> Layout | None:
    return check_layout(layout) if layout else None


def fit(
    rows: Sequence[Row], *, runs: Sequence[Run] = (), measured: Collection[str] = (), iterations: int = ITERATIONS,
    tell: Callable[[int], None] | None = None,
) -> Fitted:  # fmt: skip
    """Fit every run of *rows* at once, and define those of *runs*; *tell* is told how many evaluations are done.

    Scalars that were *measured* on the machine stay near what was found there.
    """
    model, used = Model(rows, runs, measured), [row for row in rows if row.weight > 0]
    batch = _batch(used, model.runs)
    offsets = list(model.offsets.values())
    for tensor in offsets:
        tensor.requires_grad_(True)
    optimizer = torch.optim.LBFGS(offsets, max_iter=iterations, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-7)
    done, best, kept = 0, math.inf, [tensor.detach().clone() for tensor in offsets]

    def loss() -> torch.Tensor:
        nonlocal done, best, kept
        optimizer.zero_grad()
        error = torch.log(_seconds(batch, model.parameters()) / batch.seconds) / SCALE
        value = 2 * (batch.weight * (torch.sqrt(1 + error * error) - 1)).sum() + model.penalty()
        value.backward()
        if value.item() < best:
            best, kept = value.item(), [tensor.detach().clone() for tensor in offsets]
        done += 1
        if tell:
            tell(done)
        return value

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    lost = not all(torch.isfinite(tensor).all() for tensor in offsets)  # a step overflowed
    for tensor, found in zip(offsets, kept, strict=True):
        tensor.requires_grad_(False)
        if lost:
            tensor.copy_(found)
    samples: dict[Run, int] = {}
    for row in used:
        samples[row.run] = samples.get(row.run, 0) + 1
    return Fitted(model, samples)


FOLDS = 5


def left_out(
    rows: Sequence[Row], *, folds: int = FOLDS, measured: Collection[str] = (), iterations: int = ITERATIONS
) -> NDArray[np.float64]:
    """Predict each row by a fit without its fold: row i is in fold `i % folds`."""
    predicted, folds = np.zeros(len(rows)), min(folds, len(rows))
    for fold in range(folds):
        inside = [row for i, row in enumerate(rows) if i % folds == fold]
        seen, runs = [row for i, row in enumerate(rows) if i % folds != fold], [row.run for row in inside]
        fitted = fit(seen, runs=runs, measured=measured, iterations=iterations)
        predicted[fold::folds] = fitted.predict(inside)
    return predicted


def calibrations_of(
    samples: Sequence[Sample], hardware: Hardware, *, data: str, date: str, fresh: float | None = None
) -> list[dict[str, Any]]:
    """Fit every mode in which *samples* were run, and return what a profile says of each: the entries of `calibration:`.

    The spread of single kernels comes from samples left out of the fit in turn (with one alone, it is PER_KERNEL); that of a
    network is taken to be the bias that remains when many kernels are added up: a fifth of it, which held 80 % of 102 times of
    networks on an EPYC (2026-11-22), at least 10 %; on another device half of it. *fresh* are the B/s at which new
    memory is written, where measured.
    """
    rows = [sample_row(sample, hardware, source=f"{data}, {sample.mode}", fresh=fresh) for sample in samples]
    measured = {"fresh"} if fresh else set[str]()
    low, high = PER_KERNEL
    if len(rows) > 1:
        low, high = percentiles(np.array([row.seconds for row in rows]) / left_out(rows, measured=measured, iterations=ITERATIONS // 2))
    width, found = math.log(high / low), fit(rows, measured=measured)
    near, far = (_around_1(max(least, width / parts)) for least, parts in ((0.1, 5), (0.2, 2)))
    about = {"per_kernel": (low, high), "spread": near, "elsewhere": far, "data": data, "date": date}

    def entry(run: Run) -> dict[str, Any]:
        precisions = tuple(dict.fromkeys(sample.precision for sample, row in zip(samples, rows, strict=True) if row.run == run))
        written = fresh and fresh / hardware.units * found.scalar(run, "fresh")
        return plain(replace(found.calibration(run, devices=(), precisions=precisions, **about), fresh=written))

    return [entry(run) for run in found.model.runs]


def _around_1(width: float) -> tuple[float, float]:
    return math.exp(-width), math.exp(width)
