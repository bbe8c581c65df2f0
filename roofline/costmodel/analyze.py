"""Turn a graph, devices and choices into analyses, priced together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.calibration import neutral
from roofline.costmodel.columns import Columns, tabulate
from roofline.costmodel.demand import Demand, demand, grouped, huge
from roofline.costmodel.device import Hardware
from roofline.costmodel.fleet import Fleet, lasting_caches
from roofline.costmodel.relatives import calibration_for
from roofline.costmodel.timemodel import Times, price_fleet
from roofline.errors import RooflineError, UnsupportedError
from roofline.graph import FAST_NORM, READER, Graph
from roofline.transforms.changes import NOTHING, Changes
from roofline.transforms.modes import Layout, Way, check_layout, check_mode, execute
from roofline.transforms.precision import check_precision, to_precision

MAX_BATCH = 2**20

FAST_NORMS = "timm's norms are taken in half precision (timm.layers.set_fast_norm), as in its published timings; plain autocast widens them"

NOTEWORTHY = 0.05
"""Share of the time from which a report tells of memory that is asked of the system anew, or of copies that operators make."""

BY_GROUP = (
    "each group of a convolution is taken to start a kernel of its own, as in TensorRT 8.0 on a V100 in fp32; other engines may do better"
)


def analyze_grid(
    graph: Graph,
    devices: Sequence[Hardware],
    batches: Sequence[int] = (1,),
    *,
    precisions: Sequence[str] = ("fp32",),
    mode: str = "eager",
    layout: str = "nchw",
    calibrated: bool = True,
    changes: tuple[str, ...] = (),
    change: Changes = NOTHING,
) -> tuple[Analysis, ...]:
    """Analyze *graph* for every device, precision and batch size, in that order of nesting.

    Without *calibrated*, kernels are priced at the sourced ceilings and overheads alone, as if no device had been measured.
    *change* holds the what-ifs, applied after the precision and before the mode, which they may change; *changes* names them in
    reports. The graph is grouped into kernels and tabulated once for each precision (and, in mode `ideal`, for each device).
    """
    way = change.rerun(Way(check_mode(mode), check_layout(layout)))
    check_runs(graph)
    batches = tuple(check_batch(batch, graph) for batch in batches)
    found: dict[tuple[int, str], tuple[Analysis, ...]] = {}
    for precision in precisions:
        for program in programs(graph, devices, precision, way, change):
            columns = tabulate(program.graph, batches)
            for fleet, members in fleets(devices, program.devices, way, calibrated):
                asked = demand(columns, fleet.distances, fleet.process)
                priced = price_fleet(asked, fleet)
                for n, i in enumerate(members):
                    times, remarks = priced.on(n), (*program.remarks, *_remarks(columns, precision, way, devices[i]))
                    remarks = (*remarks, *_cleared(asked, fleet, n, times, batches), *_copied(program.graph, times, batches))
                    found[i, precision] = tuple(
                        Analysis(
                            graph, program.graph, devices[i], way.mode, precision, way.layout, batch, columns, times, row,
                            fleet.calibrations[n], changes, remarks,
                            way.replayed, way.keeps_memory,
                        )
                        for row, batch in enumerate(batches)
                    )  # fmt: skip
    return tuple(analysis for i in range(len(devices)) for precision in precisions for analysis in found[i, precision])


@dataclass(frozen=True, slots=True)
class Program:
    """A graph of kernels that run, the positions of the *devices* that run it so, and what a reader should know of it."""

    graph: Graph
    devices: tuple[int, ...]
    remarks: tuple[str, ...]


def programs(graph: Graph, devices: Sequence[Hardware], precision: str, way: Way, change: Changes = NOTHING) -> tuple[Program, ...]:
    """Group the kernels of *graph* as each device runs them: once for each half type, for GPUs and CPUs where PyTorch runs them, and
    in mode `ideal` for each cache.

    Raises UnsupportedError when a device has no unit for *precision*.
    """
    alike: dict[tuple[str, float, Layout | None], list[int]] = {}
    for i, hardware in enumerate(devices):
        lower, capacity = lower_type(precision, hardware), (way.capacity or on_chip(hardware)) if way.mode == "ideal" else 0.0
        alike.setdefault((lower if precision == "amp" else "", capacity, image_order(way, hardware)), []).append(i)
    lowers = dict.fromkeys(lower for lower, *_ in alike)
    changed = {lower: change.explained(to_precision(graph, precision, lower=lower)) for lower in lowers}
    fast = (FAST_NORMS,) if precision == "amp" and any(FAST_NORM in op.attrs for op in graph.ops) else ()
    made: dict[int, Program] = {}
    for (lower, capacity, layout), members in alike.items():
        source, remarks = changed[lower]
        run = execute(source, way.mode, capacity, layout)
        shared = made[id(run)].devices if id(run) in made else ()  # eager mode may leave a graph as it is
        made[id(run)] = Program(run, tuple(sorted((*shared, *members))), (*remarks, *fast))
    return tuple(made.values())


def image_order(way: Way, hardware: Hardware) -> Layout | None:
    """Name the layout of images where kernels depend on it: where PyTorch runs a GPU."""
    return way.layout if way.mode in ("eager", "compiled") and hardware.kind == "gpu" else None


def fleets(devices: Sequence[Hardware], chosen: Sequence[int], way: Way, calibrated: bool) -> Iterator[tuple[Fleet, tuple[int, ...]]]:
    """Yield a fleet for each kind of device among the *chosen* positions, with the positions of its members."""
    for kind in dict.fromkeys(devices[i].kind for i in chosen):
        members = tuple(i for i in chosen if devices[i].kind == kind)
        yield fleet_of([devices[i] for i in members], way, calibrated=calibrated), members


def fleet_of(devices: Sequence[Hardware], way: Way, *, calibrated: bool = True) -> Fleet:
    """Give each of *devices* the calibration of *way*, or without *calibrated* one that prices at the sourced ceilings alone."""
    calibrations = tuple(calibration_for(d, way.mode, way.layout) if calibrated else neutral(way.mode) for d in devices)
    return Fleet(tuple(devices), calibrations, way.layout, way.replayed, way.keeps_memory)


def check_runs(graph: Graph) -> None:
    """Raise RooflineError when *graph* does nothing."""
    if all(graph.is_view(op) for op in graph.ops):
        raise RooflineError(f"{graph.name or 'this graph'} runs no kernel, only views; there is nothing to analyze")


def _remarks(columns: Columns, precision: str, way: Way, hardware: Hardware) -> Iterator[str]:
    """Say what a reader should know of *precision* and what-ifs on this device."""
    if precision in ("int8", "int4"):
        yield f"accuracy is not predicted; it may suffer from {precision} weights and activations"
    if columns.pruned.any() and not hardware.sparsity_2_4:
        yield f"{hardware.id} has no 2:4 units, so sparse=2:4 saves bytes there and no arithmetic"
    if way.replayed and hardware.kind == "cpu":
        yield f"{hardware.id} is a CPU, which launches nothing, so cuda-graphs changes nothing there"
    if way.keeps_memory and hardware.kind == "gpu":
        yield f"{hardware.id} is a GPU, whose memory PyTorch keeps anyway, so keep-memory changes nothing there"
    elif way.keeps_memory and way.mode not in ("eager", "compiled"):
        yield f"mode {way.mode} is taken to keep its memory anyway, so keep-memory changes nothing there"
    if (way.mode, hardware.kind) == ("eager", "gpu") and (slow := huge(columns)).any():
        batch = min(columns.batches[i] for i in slow.nonzero()[0])
        yield f"at batch {batch}, some depthwise convolution has 2^31 numbers or more, and runs several times slower for it in nhwc"
    dtypes = {columns.matrix_dtype[i] for i in grouped(columns).nonzero()[0]} if (way.mode, hardware.kind) == ("engine", "gpu") else ()
    if any(hardware.matmul_engine(dtype).kind == "vector" for dtype in dtypes):
        yield BY_GROUP


def _cleared(asked: Demand, fleet: Fleet, device: int, times: Times, batches: Sequence[int]) -> Iterator[str]:
    """Tell of memory that is given back and cleared anew in each run, at the first and the last batch where that takes much of the time."""
    nbytes = asked.fresh.sum(axis=1)
    share = nbytes / fleet.parameters["fresh"][device, 0] / times.seconds.sum(axis=1)
    found = [row for row in range(len(batches)) if share[row] > NOTEWORTHY]
    if found:
        costs = [
            f"{units.scaled(float(nbytes[row]), 'B')} at batch {batches[row]}, {100 * share[row]:.0f} % of the time"
            for row in dict.fromkeys((found[0], found[-1]))
        ]
        yield (
            f"{fleet.devices[device].id} clears memory anew in each run: {'; '.join(costs)}; "
            "the what-if keep-memory prices an allocator that keeps it"
        )


def _copied(graph: Graph, times: Times, batches: Sequence[int]) -> Iterator[str]:
    """Tell of copies that operators make of what they cannot read as it lies, at the first and the last batch where that takes long."""
    copies = [k for k, ops in enumerate(graph.kernels) if READER in graph.ops[ops[0]].attrs]
    share = times.seconds[:, copies].sum(axis=1) / times.seconds.sum(axis=1)
    found = [row for row in range(len(batches)) if share[row] > NOTEWORTHY]
    if found:
        readers = dict.fromkeys(graph.ops[graph.kernels[k][0]].attrs[READER] for k in copies)
        costs = (f"{100 * share[row]:.0f} % of the time at batch {batches[row]}" for row in dict.fromkeys((found[0], found[-1])))
        yield f"operators copy tensors that they cannot read as they lie ({', '.join(readers)}): {'; '.join(costs)}"


def on_chip(hardware: Hardware) -> float:
    """Bytes of the largest cache that outlives a kernel, where a depth-first engine keeps intermediates."""
    return max((level.size for level in lasting_caches(hardware)), default=0.0)


def half_type(hardware: Hardware) -> str:
    """Name the half-precision type that autocast uses on *hardware*."""
    return "fp16" if hardware.supports("fp16") or not hardware.supports("bf16") else "bf16"


def lower_type(precision: str, hardware: Hardware) -> str:
    """Raise UnsupportedError unless *hardware* runs *precision*; return the half type that autocast uses there."""
    check_precision(precision)
    lower = half_type(hardware)
    if precision == "amp" and not hardware.supports(lower):
        raise UnsupportedError(f"{hardware.id} has no fp16 or bf16 unit, so amp would change nothing; use precision fp32")
    if precision != "amp":
        hardware.matmul_engine(precision)
    return lower


def check_request(devices: Sequence[Hardware], batches: Sequence[Any], precisions: Sequence[str], mode: str, layout: str) -> None:
    """Raise what `analyze_grid` would raise whatever the graph: a mistake is told before a network is traced for it."""
    check_mode(mode)
    check_layout(layout)
    for batch in batches:
        _whole_batch(batch)
    for precision in precisions:
        for hardware in devices:
            lower_type(precision, hardware)


def _whole_batch(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= (batch := int(value)) <= MAX_BATCH:
        raise RooflineError(f"bad batch size {value!r}; use a whole number from 1 to {MAX_BATCH}")
    return batch


def check_batch(value: Any, graph: Graph) -> int:
    """Return *value* if *graph* can run that many items at once; raise RooflineError otherwise."""
    batch = _whole_batch(value)
    if graph.batch is None and batch != _fixed_batch(graph):
        fixed = f"{graph.name or 'this graph'} is fixed at batch {_fixed_batch(graph)}"
        raise RooflineError(f"{fixed}; export or trace it with a dynamic batch to use {batch}")
    return batch


def _fixed_batch(graph: Graph) -> int:
    first = next(iter(graph.inputs), None)
    return first.shape[0] if first is not None and first.shape else 1
