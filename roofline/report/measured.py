"""Find the choice of a report that a measurement is of, and pair its times with the kernels there."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import analyze_grid
from roofline.costmodel.device import Hardware
from roofline.errors import RooflineError
from roofline.graph import Graph
from roofline.measurement.layers import kernels_of_ops
from roofline.measurement.measurement import Measurement, quartiles
from roofline.report.book import Axes, axes_of, choice


def beside(measured: Sequence[Measurement], analyses: Sequence[Analysis]) -> list[dict[str, Any]]:
    """Return for each of *measured* its choice in the book of *analyses*, its times, and those of the kernels timed one by one.

    Raises RooflineError, naming what differs, for one that fits no choice, or several devices.
    """
    axes = axes_of(analyses)
    return [_paired(m, _predicted(m, axes)) for m in measured]


def lines(measured: Sequence[Measurement], analyses: Sequence[Analysis]) -> list[str]:
    """Write one line for each of *measured* with its prediction; raise as `beside` does."""
    axes = axes_of(analyses)
    return [_line(m, _predicted(m, axes)) for m in measured]


def _line(m: Measurement, a: Analysis) -> str:
    low, high = a.interval
    where = "inside" if low <= m.median <= high else "outside"
    asked = f"batch {m.batch}, {m.precision}, {m.mode}"
    return (
        f"measured {units.seconds(m.median)} ({asked}), predicted {units.seconds(a.latency)}: "
        f"{units.significant(a.latency / m.median)} of it, {where} the interval"
    )


def _predicted(m: Measurement, axes: Axes) -> Analysis:
    graph, *_ = axes.graphs
    wrong = list(_differences(m, axes, graph))
    devices = [device for device in axes.devices if not _unlike(m, device)]
    if not devices:
        wrong.append(f"{_unlike(m, axes.devices[0])}")
    if wrong:
        raise RooflineError(f"the measurement of {m.model} fits no choice of this report: {'; '.join(wrong)}")
    if len(devices) > 1:
        ids = ", ".join(device.id for device in devices)
        raise RooflineError(
            f"the measurement of {m.model} fits several devices of this report ({ids}); analyze the one that it ran on alone"
        )
    found = analyze_grid(
        graph, devices, [m.batch], precisions=[m.precision], mode=m.mode, layout=m.layout, calibrated=axes.calibrated
    )  # fmt: skip
    return found[0]


def _differences(m: Measurement, axes: Axes, graph: Graph) -> Iterator[str]:
    """Say what was measured otherwise than any choice of the report has it, and what would mend that."""
    if m.model != graph.name:
        yield f"it is of {m.model}, this report of {graph.name}"
        return
    if m.batch not in axes.batches:
        yield f"it ran at batch {m.batch}, this report has {', '.join(map(str, axes.batches))}; add -b {m.batch}"
    elif (ran := _sizes(m.inputs)) != (asked := _shapes(graph, m.batch)):
        yield f"its input is {', '.join(ran)}, here {', '.join(asked)}; give the same --image-size, --in-chans or --input"
    if m.precision not in axes.precisions:
        yield f"it ran in {m.precision}, this report has {', '.join(axes.precisions)}; add --precision {m.precision}"
    if m.mode not in axes.modes:
        yield f"it ran {m.mode}, this report has {', '.join(axes.modes)}"
    if m.layout != axes.layout:
        yield f"its layout is {m.layout}, here {axes.layout}; add --layout {m.layout}"
    if () not in axes.what_ifs:
        yield "this report has only what-ifs, which nobody ran"


def _unlike(m: Measurement, device: Hardware) -> str:
    """Say why *m* cannot have run on *device*; empty when it can."""
    if (m.device == "cpu") != (device.kind == "cpu"):
        return f"it ran on a {'CPU' if m.device == 'cpu' else 'GPU'}, {device.id} is a {device.kind.upper()}; use --hw host"
    if m.device == "cpu" and m.threads != device.units:
        return f"it ran on {m.threads} threads, {device.id} has {device.units} {device.unit_name}s; measure with --threads {device.units}"
    return ""


def _sizes(texts: Sequence[str]) -> list[str]:
    """Shapes of inputs without their types, which follow the precision."""
    return [re.sub(r" \S*[a-z]\S*$", "", text) for text in texts]


def _shapes(graph: Graph, batch: int) -> list[str]:
    sized = graph if graph.batch is None else graph.with_batch(batch)
    return [" x ".join(map(str, t.shape)) for t in sized.inputs]


def _paired(m: Measurement, analysis: Analysis) -> dict[str, Any]:
    """Put the times of *m* with the kernels of *analysis*; a cast that autocast inserts counts with the op that it feeds."""
    homes = kernels_of_ops(analysis.traced, analysis.graph) if analysis.mode == "eager" else {}
    timed = {homes[op.op][-1]: op.median for op in m.ops if op.op in homes and op.median > 0}
    low, _, high = quartiles(m.seconds)
    return {
        "choice": choice(analysis),
        "median_seconds": m.median,
        "quartile_seconds": [low, high],
        "ops_seconds": m.ops_seconds,
        "runs": len(m.seconds),
        "source": str(m.environment.get("name", m.device)),
        "warning": m.warning,
        "kernels": list(timed),
        "seconds": list(timed.values()),
    }  # fmt: skip
