"""Turn columns and a device into times: each roof, occupancy, overhead, and what holds each kernel back.

For every kernel `seconds = |compute / fill, memory| + passes + overhead`, the bars being a norm between maximum and sum.
Compute is the slower of the matrix and the vector engine (their sum where one engine does both); memory is the slowest
level that the bytes pass, and what few results wait for DRAM; fill is the share of the chip that the kernel's results
occupy; passes are those that a library runs as kernels of their own; overhead is the launch, and in eager mode on a GPU the
wait for the host.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal

import numpy as np

from roofline.costmodel.calibration import CLASSES, Calibration
from roofline.costmodel.columns import Columns, Floats, Ints
from roofline.costmodel.demand import Demand, demand
from roofline.costmodel.device import Hardware
from roofline.costmodel.fleet import Fleet, engine_seconds, level_seconds, slowest, through_levels
from roofline.costmodel.formula import Parts, filled, joined, parts
from roofline.costmodel.workload import Workload, describe, efficiency
from roofline.transforms.modes import Layout

Bound = Literal["compute", "memory", "overhead", "occupancy"]
BOUNDS: tuple[Bound, ...] = ("compute", "memory", "overhead", "occupancy")

_DEPTHWISE = np.array([name.startswith("depthwise") for name in CLASSES])


@dataclass(frozen=True, eq=False)
class Seconds:
    """Seconds of every kernel: its roofs, what is lost, and the whole.

    *compute* and *memory* are the roofs at the efficiency of this kind and shape with the whole chip at work; *occupancy* is
    what is lost because the kernel does not fill it; *overhead* is launch and host wait; *seconds* is the whole. *limit* is the
    datasheet roofline of the same kernel.
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


@dataclass(frozen=True, eq=False)
class Times(Seconds):
    """Seconds of every kernel at every batch, as (batches, kernels) arrays, and the bytes each memory level served.

    *level_bytes* and *level_seconds* (at achieved bandwidth) go by memory level.
    """

    level_bytes: dict[str, Floats]
    level_seconds: dict[str, Floats]

    @property
    def parts(self) -> Floats:
        """What competes to be the bound, in the order of BOUNDS: a (4, batches, kernels) array of seconds."""
        return np.stack([self.compute, self.memory, self.overhead, self.occupancy])

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


@dataclass(frozen=True, eq=False)
class Priced(Seconds):
    """Seconds on every device of a fleet, as (devices, batches, kernels) arrays, and the bytes that came *through* its levels."""

    fleet: Fleet
    through: tuple[Floats, ...]

    def on(self, device: int) -> Times:
        """Return the times on one device, by its position."""
        levels = [level.name for level in self.fleet.levels[device]]
        passed = [nbytes[device] for nbytes in self.through[: len(levels)]]
        served = [nbytes - passed[n - 1] if n else nbytes for n, nbytes in enumerate(passed)]
        seconds = [taken[device] for taken in level_seconds(self.through[: len(levels)], self.fleet)]
        return Times(
            **{f.name: getattr(self, f.name)[device] for f in fields(Seconds)}, level_bytes=dict(zip(levels, served, strict=True)),
            level_seconds=dict(zip(levels, seconds, strict=True)),
        )  # fmt: skip


def price_fleet(asked: Demand, fleet: Fleet) -> Priced:
    """Predict the time of every kernel on every device of *fleet*.

    Raises UnsupportedError when a device lacks a data type that the kernels need.
    """
    through = through_levels(asked, fleet)
    workload = describe(asked, through, fleet)
    found, roofed, busy = _busy(workload, fleet)
    overhead = _called(_overhead(*_issue(workload, fleet), busy, fleet), fleet)
    compute, memory = _by_roof(found, workload)
    return Priced(
        fleet=fleet, through=through, matrix=found.matrix, vector=found.other, compute=compute, memory=memory + found.passes,
        fill=found.fill, occupancy=roofed - joined(found.compute, found.memory, np), overhead=overhead, seconds=busy + overhead,
        limit=limits(asked, fleet),
    )  # fmt: skip


def price(
    columns: Columns, hardware: Hardware, calibration: Calibration, layout: Layout = "nchw", *, replayed: bool = False,
    keeps_memory: bool = False,
) -> Times:  # fmt: skip
    """Predict the time of every kernel on *hardware* with the parameters of *calibration*.

    *replayed* launches wait for no host; *keeps_memory* tells that the allocator of a CPU keeps what is freed.
    Raises UnsupportedError when the device lacks a data type that the kernels need.
    """
    fleet = Fleet((hardware,), (calibration,), layout, replayed, keeps_memory)
    return price_fleet(demand(columns, fleet.distances, fleet.process), fleet).on(0)


def totals(few: Demand, which: Ints, fleet: Fleet) -> tuple[Floats, Floats]:
    """Return seconds and limit of a whole network on every device at every batch: (devices, batches) each.

    *few* is what its kernels ask, each demand once, and *which* of them each kernel has. The sums are those of `price_fleet`
    over all kernels, to the last bit.
    """
    through = through_levels(few, fleet)
    workload = describe(few, through, fleet)
    _, _, busy = _busy(workload, fleet)
    launch, host = _issue(workload, fleet)
    if fleet.waits:  # each kernel waits for all before it
        busy, launch, host = (values.take(which, axis=-1) for values in (busy, launch, host))
        seconds = busy + _overhead(launch, host, busy, fleet)
    else:
        overhead = _overhead(launch, host, busy, fleet)
        seconds = (busy + overhead).take(which, axis=-1)
        first = which[:1]
        seconds[..., :1] = busy.take(first, axis=-1) + _called(overhead.take(first, axis=-1), fleet)
    return seconds.sum(axis=-1), limits(few, fleet).take(which, axis=-1).sum(axis=-1)


def _busy(workload: Workload, fleet: Fleet) -> tuple[Parts, Floats, Floats]:
    """Price the roofs of every kernel, join them, and add the passes: the seconds in which the device is at work."""
    found = parts(workload, efficiency(workload, fleet), np)
    busy = filled(found, workload, np)
    return found, busy, np.where(workload.launches > 0, busy + found.passes, 0.0)


def _by_roof(found: Parts, workload: Workload) -> tuple[Floats, Floats]:
    """Tell which seconds are compute's and which memory's.

    What slows a depthwise convolution are the loads of both factors of each product, on the chip: where memory is the lower of
    its roofs at the ceilings, so is that time memory's.
    """
    under_memory = _DEPTHWISE[workload.klass] & (np.maximum(workload.dram, workload.cache) > workload.vector)
    loads = under_memory & (found.compute > found.memory)
    return np.where(loads, found.memory, found.compute), np.where(loads, found.compute, found.memory)


def _issue(workload: Workload, fleet: Fleet) -> tuple[Floats, Floats]:
    """Seconds of the launches of every kernel, and of the host that dispatches it op by op."""
    launch = workload.launches * fleet.launch
    if not fleet.hosted:
        return launch, np.zeros((1, 1, launch.shape[-1]))
    weight = fleet.efficiencies[3].take(workload.klass, axis=-1)
    dispatched = np.minimum(workload.ops, 1)  # what a what-if has merged is one op to the host
    return launch, dispatched * weight * fleet.host_op + workload.views * fleet.host_view


def _overhead(launch: Floats, host: Floats, busy: Floats, fleet: Fleet) -> Floats:
    """Seconds in which a kernel's roofs stand idle: its *launch*, and the *host*, or where that runs ahead, the wait for it."""
    if fleet.waits:
        return launch + host_wait(host, busy + launch)
    return np.broadcast_to(launch + host, busy.shape)


def _called(overhead: Floats, fleet: Fleet) -> Floats:
    """Let the first kernel wait for the call of the engine."""
    if not fleet.call.any():
        return overhead
    waited = overhead.copy()
    waited[..., :1] += fleet.call
    return waited


def host_wait(host: Floats, device: Floats) -> Floats:
    """Seconds the device waits before each kernel, when a host that takes *host* seconds to issue each runs ahead of it.

    Kernel k starts at `max(issued_k, finished_{k-1})`. The queue between them is deep enough (1,024 launches) that a
    host far ahead never has to stop in a way that delays the device. Kernels are the last axis of both.
    """
    late = np.cumsum(device, axis=-1)
    late -= device  # when the kernels before have finished, without waits
    np.subtract(np.cumsum(host, axis=-1), late, out=late)
    np.maximum(late, 0.0, out=late)
    np.maximum.accumulate(late, axis=-1, out=late)
    waited = late.copy()
    waited[..., 1:] -= late[..., :-1]
    return waited


def limits(asked: Demand, fleet: Fleet) -> Floats:
    """Seconds below which no kernel can fall: the longer roof at datasheet rates, with the least traffic."""
    return np.maximum(*roofs(asked, fleet, datasheet=True))


def roofs(asked: Demand, fleet: Fleet, *, datasheet: bool = False) -> tuple[Floats, Floats]:
    """Seconds of every kernel's work, and of what must come through the levels, at the achieved ceilings or at the datasheet's."""
    matrix, vector, shared, _ = engine_seconds(asked, fleet, datasheet=datasheet)
    compute = np.where(shared, matrix + vector, np.maximum(matrix, vector))
    return compute, slowest(level_seconds(through_levels(asked, fleet, least=True), fleet, datasheet=datasheet))
