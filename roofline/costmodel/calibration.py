"""Hold what was fitted to measurements of a device in one way of running it.

Efficiencies are shares of the achievable ceilings in the profile, by class of kernel; a Winograd convolution does fewer
multiplications than are counted and may exceed 1. Sizes "at half" are where a shape reaches half of its efficiency.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING

from roofline.transforms.modes import Layout, Mode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLASSES: tuple[str, ...] = (
    "conv 3x3", "conv strided", "conv wide", "pointwise", "pointwise strided", "depthwise 3", "depthwise 5", "depthwise 7",
    "depthwise wide", "grouped", "linear", "matmul", "attention", "batch norm", "layer norm", "group norm", "activation", "elementwise",
    "broadcast", "global pool", "window pool", "reduction", "softmax", "copy", "cast", "other",
)  # fmt: skip
"""Classes of kernel that have efficiencies of their own: what libraries implement apart."""

PRODUCTS: tuple[str, ...] = CLASSES[:13]
"""Classes that multiply what they read."""

DENSE: tuple[str, ...] = tuple(name for name in PRODUCTS if not name.startswith("depthwise"))
"""Classes that may use a matrix engine, and whose shape counts."""

FILLING = {"gpu": PRODUCTS, "cpu": DENSE}
"""Classes that need many results to keep all of a chip busy: a few cores find enough in any depthwise convolution."""

HOST_KINDS = {"product": PRODUCTS, "norm": ("batch norm",), "cast": ("cast",)}
"""Classes whose ops cost an eager host more, or less, than others, by the name of their weight; the rest is `other`."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the shape of a product lowers its efficiency on one kind of engine.

    *depth* and *columns* are the inner side and the output channels at half efficiency, *group_columns* the latter inside a
    group, *outputs* the results per unit of the device at half, *group_outputs* those of one group. *misaligned* is the share of the
    speed that channels keep which do not suit a matrix engine, *misaligned_groups* the further share that narrow groups of them keep:
    they reach half efficiency at `group_columns / misaligned_groups`.
    """

    depth: float = 0.0
    columns: float = 0.0
    group_columns: float = 0.0
    outputs: float = 2048.0
    group_outputs: float = 0.0
    misaligned: float = 1.0
    misaligned_groups: float = 1.0


PER_KERNEL = (0.77, 1.73)
"""10th and 90th percentile of measured over predicted time of single kernels: 1,386 published timings of operators on a T4 and V100s
(benchmarks/operators.py, 2026-11-23), none of which was fitted. Where no other kernels were timed, they stand for all."""


@dataclass(frozen=True)
class Calibration:
    """Parameters of the time model in one *mode* and *layout* (None: any), and how far they can be trusted.

    *memory* is the share of the copy bandwidth by class, *vector* and *matrix* the share of the engine's ceiling; *cache*
    multiplies the bandwidth of caches, *bias* and *transpose* are memory shares of passes that run as kernels of their own,
    *huge* is the share of its speed that a depthwise convolution keeps in channels-last where offsets of 32 bits do not reach,
    *fresh* is the B/s at which a core first writes memory just asked of the system, *packing* that at which it lays out weights anew
    (None: free), *serial* Amdahl's share of a CPU's work. *launch* and *host_op* are seconds (None: those of the profile): in the
    first, a kernel launched in a stream starts and ends, which takes as many cycles at other clocks than *clock* Hz (None: as many
    seconds). *call* are seconds that a call of an engine takes beside its kernels, unless a captured graph is replayed. *host* is the
    weight of an op on the host by kind. *released* is the year in which the libraries that were timed
    came out (0: unknown). *spread* holds the 10th and 90th percentile of measured over predicted time on networks left out of the fit,
    *elsewhere* the same on devices left out of it, *per_kernel* that of single kernels.
    """

    mode: Mode
    layout: Layout | None = None
    memory: Mapping[str, float] = field(default_factory=dict)
    vector: Mapping[str, float] = field(default_factory=dict)
    matrix: Mapping[str, float] = field(default_factory=dict)
    on_vector: Shape = Shape()
    on_matrix: Shape = Shape()
    cache: float = 1.0
    bias: float = 1.0
    transpose: float = 1.0
    huge: float = 1.0
    fresh: float | None = None
    packing: float | None = None
    serial: float = 0.0
    launch: float | None = None
    clock: float | None = None
    call: float = 0.0
    host_op: float | None = None
    host: Mapping[str, float] = field(default_factory=dict)
    spread: tuple[float, float] = (0.5, 2.0)
    elsewhere: tuple[float, float] = (0.5, 2.0)
    per_kernel: tuple[float, float] = PER_KERNEL
    devices: tuple[str, ...] = ()
    kind: str = "gpu"
    architecture: str = ""
    segment: str = ""
    precisions: tuple[str, ...] = ()
    samples: int = 0
    data: str = ""
    date: str = ""
    released: int = 0
    relatives: tuple[str, ...] = ()

    @cached_property
    def efficiencies(self) -> "NDArray[np.float64]":
        """Memory, vector and matrix efficiency and host weight, as rows over CLASSES."""
        import numpy as np

        kinds = {name: kind for kind, names in HOST_KINDS.items() for name in names}
        weights = {name: self.host.get(kinds.get(name, "other"), 1.0) for name in CLASSES}
        return np.array([[table.get(name, 1.0) for name in CLASSES] for table in (self.memory, self.vector, self.matrix, weights)])

    @property
    def measured(self) -> bool:
        """Tell whether measurements of the device itself, run in this way, were fitted."""
        return self.samples > 0 and not self.relatives

    @property
    def status(self) -> str:
        """Say in one word where the parameters come from: `calibrated`, `borrowed` or `uncalibrated`."""
        return "calibrated" if self.measured else "borrowed" if self.memory else "uncalibrated"

    @property
    def provenance(self) -> str:
        """Say in a sentence what was fitted to what."""
        if self.measured:
            return f"calibrated: fitted to {self.samples} timings of this device ({self.data}; {', '.join(self.precisions)})"
        if self.relatives:
            order = ", the nearest first" if len(self.relatives) > 1 else ""
            return f"borrowed: never timed in this way here; parameters of {', '.join(self.relatives)}{order}"
        if self.memory:
            return "borrowed: this device was timed in other modes only; other devices tell what this mode changes"
        return "uncalibrated: from sourced ceilings and overheads, not fitted to measurements of any device"


UNCALIBRATED_SPREAD: dict[Mode, tuple[float, float]] = {
    "eager": (0.95, 1.25), "compiled": (1.0, 2.1), "engine": (1.0, 3.1), "ideal": (1.0, 3.1),
}  # fmt: skip
"""Measured over predicted time at the 10th and 90th percentile, without calibration: the 3,269 published timings of CNNs that count
(2,028 eager, 965 compiled, 276 engine), on an RTX 3090 and 4090, V100, T4, A100, i9-10940X and AWS c5, each device weighing alike,
compared on 2026-11-23 (engines: 1.03, taken as 1). Nobody runs `ideal`; it borrows the spread of `engine`."""


def neutral(mode: Mode) -> Calibration:
    """Return parameters that price at the sourced ceilings and overheads alone."""
    return Calibration(mode, spread=UNCALIBRATED_SPREAD[mode], elsewhere=UNCALIBRATED_SPREAD[mode])


def blend(pairs: Iterable[tuple[Calibration, float]]) -> Calibration:
    """Average parameters geometrically with the given weights; what cannot be averaged comes from the heaviest."""
    found = sorted(pairs, key=lambda pair: -pair[1])
    first = found[0][0]

    def mean(values: Iterable[float | None]) -> float | None:
        values = list(values)
        known = [(value, weight) for value, (_, weight) in zip(values, found, strict=True) if value]
        total = sum(weight for _, weight in known)
        return math.exp(sum(weight * math.log(value) for value, weight in known) / total) if known else values[0]

    def merge(name: str) -> object:
        values = [getattr(calibration, name) for calibration, _ in found]
        if isinstance(values[0], Mapping):
            return {key: mean(value.get(key) for value in values) for key in values[0]}
        if isinstance(values[0], Shape):
            return Shape(*(mean(getattr(value, f.name) for value in values) or 0.0 for f in fields(Shape)))
        return mean(values)

    tables = ("memory", "vector", "matrix", "on_vector", "on_matrix", "host")
    averaged = (*tables, "cache", "bias", "transpose", "huge", "fresh", "packing", "serial", "launch", "clock", "call")
    return replace(first, **{name: merge(name) for name in averaged})
