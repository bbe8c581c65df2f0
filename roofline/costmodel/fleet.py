"""Line up devices of one kind that run a network in one way, so that its kernels are priced on all of them at once.

Figures are (devices, 1, 1) arrays, those that go by kernel (devices, 1, kernels): they meet what goes by batch and kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache, reduce
from itertools import zip_longest
from typing import Any

import numpy as np

from roofline.costmodel.allocator import Process
from roofline.costmodel.calibration import Calibration, Shape
from roofline.costmodel.columns import Floats, Ints
from roofline.costmodel.demand import Bools, Demand
from roofline.costmodel.device import DeviceKind, Engine, Hardware, MemoryLevel, Overheads
from roofline.transforms.modes import Layout, Mode

SPEED_2_4 = 2.0
"""How many times faster a matrix engine with 2:4 sparsity runs a product whose weights are 2:4 sparse: its peak in NVIDIA's
datasheets of the A100 and later is twice the dense one (recalled); that tuned code keeps the ratio is assumed."""

_WIDENED = {"fp16": "fp32", "bf16": "fp32"}
"""Types in which kernels of a GPU compute what is no product: PyTorch's load halves and widen them (at::opmath_type)."""


@dataclass(frozen=True, eq=False)
class Fleet:
    """Devices of one kind, each with its calibration, that run in one mode and *layout*.

    *replayed* launches come from a captured graph; *keeps_memory* tells that the allocator of a CPU keeps what is freed.
    """

    devices: tuple[Hardware, ...]
    calibrations: tuple[Calibration, ...]
    layout: Layout = "nchw"
    replayed: bool = False
    keeps_memory: bool = False

    @property
    def kind(self) -> DeviceKind:
        """`cpu` or `gpu`."""
        return self.devices[0].kind

    @property
    def mode(self) -> Mode:
        """Mode of all calibrations."""
        return self.calibrations[0].mode

    @property
    def captured(self) -> bool:
        """Tell whether a captured graph holds all launches; a perfect engine has one."""
        return self.kind == "gpu" and (self.replayed or self.mode == "ideal")

    @property
    def hosted(self) -> bool:
        """Tell whether a host dispatches op by op."""
        return self.mode == "eager" and not self.captured

    @property
    def waits(self) -> bool:
        """Tell whether a device waits for a host beside it; on a CPU both are one."""
        return self.hosted and self.kind == "gpu"

    @property
    def process(self) -> Process | None:
        """Who asks for memory; None where it is kept: by PyTorch on a GPU, by an inference engine, by another allocator."""
        asks = self.kind == "cpu" and self.mode in ("eager", "compiled") and not self.keeps_memory
        return Process(self.mode, self.layout) if asks else None

    @cached_property
    def efficiencies(self) -> tuple[Floats, ...]:
        """Memory, vector and matrix efficiency and host weight, each (devices, 1, classes)."""
        return tuple(np.stack([c.efficiencies for c in self.calibrations], axis=1)[:, :, None])

    @cached_property
    def parameters(self) -> dict[str, Floats]:
        """What the calibrations hold beside efficiencies, by name; rates are those of all cores, infinite where the work is free."""
        values = {name: [getattr(c, name) for c in self.calibrations] for name in ("cache", "bias", "transpose", "huge", "serial")}
        pairs = list(zip(self.devices, self.calibrations, strict=True))
        values["fresh"] = [d.units * c.fresh if c.fresh else np.inf for d, c in pairs]
        values["packing"] = [d.units * c.packing if c.packing else np.inf for d, c in pairs]
        return {name: _along(row) for name, row in values.items()}

    @cached_property
    def shapes(self) -> dict[str, tuple[Floats, Floats]]:
        """The fields of Shape by name: on the matrix engines, and on the vector engines."""
        engines = ([c.on_matrix for c in self.calibrations], [c.on_vector for c in self.calibrations])
        return {f.name: (_of(engines[0], f.name), _of(engines[1], f.name)) for f in fields(Shape)}

    @cached_property
    def units(self) -> Floats:
        """Multiprocessors, or cores."""
        return _of(self.devices, "units")

    @cached_property
    def pace(self) -> Floats:
        """Share of its clock at which a GPU under a power limit computes: 1 where no sustained clock is known, and on a CPU.

        It is taken to stay half way (the geometric mean of both clocks): T4 and V100, each left out of a fit, tell that this
        is nearer than either end.
        """
        kept = [1.0 if self.kind == "cpu" else (d.sustained_clock or d.clock) / d.clock for d in self.devices]
        return _along(kept) ** 0.5

    @cached_property
    def matrix_pace(self) -> Floats:
        """The same for matrix engines, which do as much with less power: in an inference engine they leave the clock as it is."""
        return self.pace if self.mode in ("eager", "compiled") else np.ones_like(self.pace)

    @cached_property
    def copy(self) -> Floats:
        """B/s of a copy in DRAM."""
        return _of([device.memory[0] for device in self.devices], "copy")

    @cached_property
    def launch(self) -> Floats:
        """Seconds of a launch, fitted or of the profile; a captured graph saves of it what it saves an empty kernel."""
        pairs = zip(self.devices, self.calibrations, strict=True)
        found = _along([c.launch or d.overheads.launch_in(self.mode) for d, c in pairs])
        if not self.captured:
            return found
        saved, least = (_along([getattr(d.overheads, name) for d in self.devices]) for name in ("queued", "graph"))
        return np.minimum(found, np.maximum(found - saved, least))

    @cached_property
    def call(self) -> Floats:
        """Seconds that a call of an engine takes beside its kernels: none where a captured graph is replayed."""
        called = self.mode == "engine" and not self.captured
        return _along([calibration.call if called else 0.0 for calibration in self.calibrations])

    @cached_property
    def host_op(self) -> Floats:
        """Seconds of an op on the host: fitted, or of the profile."""
        return _along([_host_op(d.overheads, c) for d, c in zip(self.devices, self.calibrations, strict=True)])

    @cached_property
    def host_view(self) -> Floats:
        """Seconds of an op on the host that launches nothing: as much slower or faster than in the profile as the others."""
        return _along([_host_view(d.overheads, c) for d, c in zip(self.devices, self.calibrations, strict=True)])

    @cached_property
    def levels(self) -> tuple[tuple[MemoryLevel, ...], ...]:
        """Memory levels of each device that outlive a kernel, from far to near."""
        return tuple((device.memory[0], *lasting_caches(device)) for device in self.devices)

    @cached_property
    def reach(self) -> tuple[tuple[float, ...], ...]:
        """For each level of each device, the bytes that nearer ones hold: what was touched longer ago comes through it."""
        return tuple(_reach(levels) for levels in self.levels)

    @cached_property
    def foreign(self) -> Floats:
        """Share of what lies in the caches of single cores that another core wrote: all but one's own, where an L3 passes it on.

        Cores share out each kernel anew. A perfect engine leaves data where they are.
        """
        passed_on = [self.kind == "cpu" and self.mode != "ideal" and {"l2", "l3"} <= {m.name for m in near} for near in self.levels]
        return _along([1 - 1 / d.units if passed else 0.0 for d, passed in zip(self.devices, passed_on, strict=True)])

    @cached_property
    def distances(self) -> tuple[float, ...]:
        """All that nearer levels of some device hold, in order."""
        return tuple(sorted({distance for reach in self.reach for distance in reach}))

    @cached_property
    def held(self) -> tuple[tuple[float, ...], ...]:
        """For each level, DRAM first, what nearer ones hold on every device; -1 where a device has no such level."""
        return tuple(zip_longest(*self.reach, fillvalue=-1.0))

    @cached_property
    def bandwidths(self) -> tuple[Floats, ...]:
        """B/s of a copy in each level, infinite where a device has no such level."""
        return tuple(_along([np.inf if m is None else m.copy for m in level]) for level in zip_longest(*self.levels))

    @cached_property
    def datasheet_bandwidths(self) -> tuple[Floats, ...]:
        """B/s of each level by the datasheet, infinite where a device has no such level."""
        return tuple(_along([np.inf if m is None else max(m.peak, m.copy) for m in level]) for level in zip_longest(*self.levels))


def _along(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)[:, None, None]


def _of(holders: Sequence[object], name: str) -> Floats:
    return _along([getattr(holder, name) for holder in holders])


def _host_op(costs: Overheads, calibration: Calibration) -> float:
    return calibration.host_op or costs.host_op


def _host_view(costs: Overheads, calibration: Calibration) -> float:
    return costs.host_view * (_host_op(costs, calibration) / costs.host_op if costs.host_op else 1.0)


# --- engines -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Engines:
    """FLOP/s of the engines of every device that compute in some types: (devices, types) at achieved ceilings and by datasheet."""

    ceiling: Floats
    datasheet: Floats
    is_matrix: Bools
    is_vector: Bools


def engine_seconds(asked: Demand, fleet: Fleet, *, datasheet: bool = False) -> tuple[Floats, Floats, Bools, Bools]:
    """Seconds of products and of all other work at the ceilings; whether one engine does both, whether products have a matrix engine.

    Raises UnsupportedError where a device lacks a data type.
    """
    products = _products(fleet, asked.matrix_types, asked.product_types)
    on_matrix, on_vector = _by_kernel(products.is_matrix, asked.matrix_code), _by_kernel(products.is_vector, asked.matrix_code)
    types = asked.vector_types if datasheet or fleet.kind == "cpu" else tuple(_WIDENED.get(t, t) for t in asked.vector_types)
    others = _others(fleet, types)
    rate = _by_kernel(others.datasheet, asked.vector_code) if datasheet else fleet.pace * _by_kernel(others.ceiling, asked.vector_code)
    return asked.matrix_flops / product_rate(asked, fleet, datasheet=datasheet), asked.vector_flops / rate, on_vector, on_matrix


def product_rate(asked: Demand, fleet: Fleet, *, datasheet: bool = False) -> Floats:
    """FLOP/s at which each device does the products of each kernel, at the ceiling of the engine; 1 or so for a kernel without any."""
    products = _products(fleet, asked.matrix_types, asked.product_types)
    on_matrix = _by_kernel(products.is_matrix, asked.matrix_code)
    pace = 1.0 if datasheet else np.where(on_matrix, fleet.matrix_pace, fleet.pace)
    rate = pace * _by_kernel(products.datasheet if datasheet else products.ceiling, asked.matrix_code)
    if asked.pruned.any():
        rate = rate * np.where(asked.pruned & on_matrix & (_of(fleet.devices, "sparsity_2_4") > 0), SPEED_2_4, 1.0)
    return rate


def _by_kernel(table: Any, code: Ints) -> Any:
    """Look up what a (devices, types) *table* holds for the type of each kernel."""
    return table.take(code, axis=1)[:, None]


@lru_cache(maxsize=512)
def _products(fleet: Fleet, types: tuple[str, ...], used: frozenset[str]) -> _Engines:
    return _engines([[device.matmul_engine(t) if t in used else None for t in types] for device in fleet.devices])


@lru_cache(maxsize=512)
def _others(fleet: Fleet, types: tuple[str, ...]) -> _Engines:
    return _engines([[device.vector_engine(t) for t in types] for device in fleet.devices])


def _engines(found: Sequence[Sequence[Engine | None]]) -> _Engines:
    """Tabulate engines: 1 FLOP/s where there is no work for one. A card that boosts beats its datasheet: its ceiling is the limit then."""
    return _Engines(
        np.array([[1.0 if e is None else e.ceiling for e in row] for row in found]),
        np.array([[1.0 if e is None else max(e.peak, e.ceiling) for e in row] for row in found]),
        *(np.array([[e is not None and e.kind == kind for e in row] for row in found]) for kind in ("matrix", "vector")),
    )


# --- memory ------------------------------------------------------------------------------------------------------------


def lasting_caches(hardware: Hardware) -> tuple[MemoryLevel, ...]:
    """Caches that outlive a kernel: those the whole chip shares, and on a CPU each core's own, where its data stay."""
    return tuple(m for m in hardware.memory[1:] if m.name != "l1" and (m.shared_by == "chip" or hardware.kind == "cpu"))


def _reach(levels: Sequence[MemoryLevel]) -> tuple[float, ...]:
    nearer = np.maximum.accumulate([level.size for level in reversed(levels[1:])])
    return (*(float(size) for size in nearer[::-1]), -1.0)


def through_levels(asked: Demand, fleet: Fleet, *, least: bool = False) -> tuple[Floats, ...]:
    """Bytes that come through each level of every device, DRAM first, or the *least* that must.

    Where a device has no such level, what its nearest one passes. What another core wrote comes through the L3.
    """
    passed = asked.least if least else asked.through
    found = tuple(passed[[asked.distances.index(distance) for distance in level]] for level in fleet.held)
    if least or not fleet.foreign.any():
        return found
    *far, shared, own = found
    return (*far, shared + fleet.foreign * (own - shared), own)


def level_seconds(through: Sequence[Floats], fleet: Fleet, *, datasheet: bool = False) -> tuple[Floats, ...]:
    """Seconds that each level takes for what comes *through* it, none where a device has no such level."""
    rates = fleet.datasheet_bandwidths if datasheet else fleet.bandwidths
    return tuple(nbytes / rate for nbytes, rate in zip(through, rates, strict=False))


def slowest(seconds: Sequence[Floats]) -> Floats:
    """Seconds of the slowest of several levels; none without any."""
    return reduce(np.maximum, seconds) if seconds else np.zeros((1, 1, 1))
