"""Turn columns and a device into times: each roof, occupancy, overhead, and what holds each kernel back.

For every kernel `seconds = |compute / fill, memory| + passes + overhead`, the bars being a norm between maximum and sum.
Compute is the slower of the matrix and the vector engine (their sum where one engine does both); memory is the slowest
level that the bytes pass; fill is the share of the chip that the kernel's results occupy; passes are those that a library
runs as kernels of their own; overhead is the launch, and in eager mode on a GPU the wait for the host.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from roofline.costmodel.calibration import Calibration
from roofline.costmodel.columns import Columns, Floats, Ints
from roofline.costmodel.device import Hardware
from roofline.costmodel.formula import joined, parts
from roofline.costmodel.workload import Workload, describe, efficiency, engine_seconds, level_seconds, served_by_level
from roofline.transforms.modes import Layout

Bound = Literal["compute", "memory", "overhead", "occupancy"]
BOUNDS: tuple[Bound, ...] = ("compute", "memory", "overhead", "occupancy")


@dataclass(frozen=True)
class Times:
    """Seconds of every kernel at every batch, as (batches, kernels) arrays, and the bytes each memory level served.

    *compute* and *memory* are the roofs at the efficiency of this kind and shape with the whole chip at work; *occupancy* is
    what is lost because the kernel does not fill it; *overhead* is launch and host wait; *seconds* is the whole. *limit* is the
    datasheet roofline of the same kernel. *level_bytes* and *level_seconds* (at achieved bandwidth) go by memory level.
    """

    matrix: Floats
    vector: Floats
    compute: Floats
    memory: Floats
    fill: Floats
    occupancy: Floats
    overhead: Floats
    seconds: Floats
    limit: Floats
    level_bytes: dict[str, Floats]
    level_seconds: dict[str, Floats]

    @property
    def parts(self) -> Floats:
        """What competes to be the bound, in the order of BOUNDS: a (4, batches, kernels) array of seconds."""
        return np.stack([self.compute, self.memory, self.overhead, self.occupancy])

    def split(self) -> Floats:
        """Part the seconds of each kernel without overlap, in the order of BOUNDS: a (4, batches, kernels) array that adds up to them.

        The longer of compute and memory counts whole; the other only as far as it is not hidden behind it.
        """
        occupancy = np.minimum(self.occupancy, self.seconds - self.overhead)
        work = self.seconds - self.overhead - occupancy
        longer = np.minimum(np.maximum(self.compute, self.memory), work)
        first = self.compute > self.memory
        return np.stack([np.where(first, longer, work - longer), np.where(first, work - longer, longer), self.overhead, occupancy])

    def bounds(self) -> tuple[Ints, Ints, Floats]:
        """Index of the bound and of the runner-up in BOUNDS, and how many times larger the first is than the second."""
        return self._bounds

    @cached_property
    def _bounds(self) -> tuple[Ints, Ints, Floats]:
        parts = self.parts
        order = np.argsort(parts, axis=0, kind="stable")
        first, second = order[-1], order[-2]
        top = np.take_along_axis(parts, first[None], axis=0)[0]
        below = np.take_along_axis(parts, second[None], axis=0)[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            margin = np.where(below > 0, top / below, np.inf)
        return first, second, margin


def price(columns: Columns, hardware: Hardware, calibration: Calibration, layout: Layout = "nchw") -> Times:
    """Predict the time of every kernel on *hardware* with the parameters of *calibration*.

    Raises UnsupportedError when the device lacks a data type that the kernels need.
    """
    served = served_by_level(columns, hardware)
    workload = describe(columns, served, hardware, calibration.mode, layout)
    found = parts(workload, efficiency(workload, calibration), np)
    memory = found.memory + found.passes
    whole, filled = joined(found.compute, found.memory, np), joined(found.compute / found.fill, found.memory, np)
    busy = np.where(workload.launches > 0, filled + found.passes, 0.0)
    overhead = _overhead(workload, busy, hardware, calibration)
    return Times(
        matrix=found.matrix, vector=found.other, compute=found.compute, memory=memory, fill=found.fill, occupancy=filled - whole,
        overhead=overhead, seconds=busy + overhead, limit=np.maximum(*roofs(columns, hardware, served, datasheet=True)), level_bytes=served,
        level_seconds=level_seconds(served, hardware),
    )  # fmt: skip


def _overhead(workload: Workload, busy: Floats, hardware: Hardware, calibration: Calibration) -> Floats:
    """Seconds in which a kernel's roofs stand idle: its launch, and in eager mode the host that dispatches it."""
    costs, eager = hardware.overheads, calibration.mode == "eager"
    launch = workload.launches * (calibration.launch or (costs.launch if eager else costs.graph))
    if not eager:
        return np.broadcast_to(np.asarray(launch, dtype=np.float64), busy.shape)
    op = calibration.host_op or costs.host_op
    view = costs.host_view * (op / costs.host_op if costs.host_op else 1.0)
    host = workload.ops * calibration.efficiencies[3, workload.klass] * op + workload.views * view
    if hardware.kind == "cpu":  # host and device are one
        return np.broadcast_to(launch + host, busy.shape)
    return launch + host_wait(host, busy + launch)


def host_wait(host: Floats, device: Floats) -> Floats:
    """Seconds the device waits before each kernel, when a host that takes *host* seconds to issue each runs ahead of it.

    Kernel k starts at `max(issued_k, finished_{k-1})`. The queue between them is deep enough (1,024 launches) that a
    host far ahead never has to stop in a way that delays the device.
    """
    issued = np.cumsum(host)
    busy = np.cumsum(device, axis=1)
    earlier = busy - device
    waited = np.maximum.accumulate(np.maximum(issued - earlier, 0.0), axis=1)
    return np.diff(waited, axis=1, prepend=0.0)


def roofs(columns: Columns, hardware: Hardware, served: dict[str, Floats], *, datasheet: bool = False) -> tuple[Floats, Floats]:
    """Seconds of every kernel's work, and of its bytes as *served* by level, at the achieved ceilings or at the datasheet's."""
    matrix, vector, shared, _ = engine_seconds(columns, hardware, datasheet=datasheet)
    compute = np.where(shared, matrix + vector, np.maximum(matrix, vector))
    return compute, np.max(np.stack(list(level_seconds(served, hardware, datasheet=datasheet).values())), axis=0)
