"""Turn a graph, devices and choices into analyses, priced together."""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.calibration import neutral
from roofline.costmodel.columns import Columns, tabulate
from roofline.costmodel.device import Hardware
from roofline.costmodel.relatives import calibration_for
from roofline.costmodel.timemodel import price
from roofline.errors import RooflineError, UnsupportedError
from roofline.graph import Graph
from roofline.transforms.modes import check_layout, check_mode, execute
from roofline.transforms.precision import check_precision, to_precision

MAX_BATCH = 2**20


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
    change: Callable[[Graph], Graph] = lambda graph: graph,
) -> tuple[Analysis, ...]:
    """Analyze *graph* for every device, precision and batch size, in that order of nesting.

    Without *calibrated*, kernels are priced at the sourced ceilings and overheads alone, as if no device had been measured.
    *change* is a what-if applied after the precision and before the mode; *changes* names it in reports. The
    graph is grouped into kernels and tabulated once for each precision (and, in mode `ideal`, for each device).
    """
    checked_mode, checked_layout = check_mode(mode), check_layout(layout)
    if all(graph.is_view(op) for op in graph.ops):
        raise RooflineError(f"{graph.name or 'this graph'} runs no kernel, only views; there is nothing to analyze")
    batches = tuple(_batch_size(batch, graph) for batch in batches)
    prepared: dict[tuple[str, str, float], tuple[Graph, Columns]] = {}
    found: list[Analysis] = []
    for hardware in devices:
        for precision in precisions:
            lower = _check_precision(precision, hardware)
            capacity = on_chip(hardware) if checked_mode == "ideal" else 0.0
            key = (precision, lower, capacity)
            if key not in prepared:
                run = execute(change(to_precision(graph, precision, lower=lower)), checked_mode, capacity)
                prepared[key] = (run, tabulate(run, batches))
            run, columns = prepared[key]
            calibration = calibration_for(hardware, checked_mode, checked_layout) if calibrated else neutral(checked_mode)
            times = price(columns, hardware, calibration, checked_layout)
            found += (
                Analysis(run, hardware, checked_mode, precision, checked_layout, batch, columns, times, i, calibration, changes)
                for i, batch in enumerate(batches)
            )
    return tuple(found)


def on_chip(hardware: Hardware) -> float:
    """Bytes of the largest cache, where a depth-first engine keeps intermediates."""
    return max((level.size for level in hardware.memory[1:] if level.shared_by == "chip"), default=0.0)


def half_type(hardware: Hardware) -> str:
    """Name the half-precision type that autocast uses on *hardware*."""
    return "fp16" if hardware.supports("fp16") or not hardware.supports("bf16") else "bf16"


def _check_precision(precision: str, hardware: Hardware) -> str:
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
            _check_precision(precision, hardware)


def _whole_batch(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= (batch := int(value)) <= MAX_BATCH:
        raise RooflineError(f"bad batch size {value!r}; use a whole number from 1 to {MAX_BATCH}")
    return batch


def _batch_size(value: Any, graph: Graph) -> int:
    """Return *value* if *graph* can run that many items at once; raise RooflineError otherwise."""
    batch = _whole_batch(value)
    if graph.batch is None and batch != _fixed_batch(graph):
        fixed = f"{graph.name or 'this graph'} is fixed at batch {_fixed_batch(graph)}"
        raise RooflineError(f"{fixed}; export or trace it with a dynamic batch to use {batch}")
    return batch


def _fixed_batch(graph: Graph) -> int:
    first = next(iter(graph.inputs), None)
    return first.shape[0] if first is not None and first.shape else 1
