"""Turn columns and a device into times: each roof, occupancy, overhead, and what holds each kernel back.

For every kernel `seconds = max(compute, memory) / fill + overhead`. Compute is the slower of the matrix and the vector
engine (their sum where one engine does both); memory is the slowest level that the bytes pass; fill is the share of the
chip that the kernel's blocks occupy; overhead is the launch, and in eager mode on a GPU the wait for the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from roofline.cost import KINDS
from roofline.costmodel.columns import Columns, Floats, Ints
from roofline.costmodel.device import Engine, Hardware, MemoryLevel
from roofline.transforms.modes import Layout, Mode

Bound = Literal["compute", "memory", "overhead", "occupancy"]
BOUNDS: tuple[Bound, ...] = ("compute", "memory", "overhead", "occupancy")

TILE = 64
"""Side of the output tile that one block of a matrix product computes (the middle of the sizes that GEMM libraries choose from)."""

ELEMENTS_PER_BLOCK = {"gpu": 1024, "cpu": 32768}
"""Elements one block of an elementwise kernel covers: 256 threads of 4 (PyTorch's vectorised CUDA kernels), and the grain
below which PyTorch does not split work over CPU cores (at::internal::GRAIN_SIZE)."""

_TRANSPOSED = np.array([kind in ("conv", "pointwise conv", "grouped conv") for kind in KINDS])

_REDUCING_KINDS = tuple(KINDS.index(kind) for kind in ("pool", "reduction"))


@dataclass(frozen=True)
class Times:
    """Seconds of every kernel at every batch, as (batches, kernels) arrays, and the bytes each memory level served.

    *compute* and *memory* are the roofs at achievable ceilings with the whole chip at work; *occupancy* is what is lost
    because the kernel does not fill it; *overhead* is launch and host wait; *seconds* is their sum over the slower roof.
    *limit* is the datasheet roofline of the same kernel. *level_bytes* and *level_seconds* go by memory level.
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

    def bounds(self) -> tuple[Ints, Ints, Floats]:
        """Index of the bound and of the runner-up in BOUNDS, and how many times larger the first is than the second."""
        parts = self.parts
        order = np.argsort(parts, axis=0, kind="stable")
        first, second = order[-1], order[-2]
        top = np.take_along_axis(parts, first[None], axis=0)[0]
        below = np.take_along_axis(parts, second[None], axis=0)[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            margin = np.where(below > 0, top / below, np.inf)
        return first, second, margin


def price(columns: Columns, hardware: Hardware, mode: Mode, layout: Layout = "nchw") -> Times:
    """Predict the time of every kernel on *hardware*; raise UnsupportedError when it lacks a data type the kernels need."""
    matrix, vector, compute = _compute(columns, hardware, datasheet=False)
    level_bytes = served_by_level(columns, hardware)
    moved = _with_transposes(level_bytes, columns, hardware, mode, layout)
    level_seconds = _memory(moved, hardware)
    memory = np.max(np.stack(list(level_seconds.values())), axis=0)
    fill = _fill(columns, hardware)
    roof = np.maximum(compute, memory)
    occupancy = roof / fill - roof
    overhead = _overhead(columns, roof + occupancy, hardware, mode)
    return Times(
        matrix, vector, compute, memory, fill, occupancy, overhead, roof + occupancy + overhead,
        _limit(columns, hardware, level_bytes), level_bytes, level_seconds,
    )  # fmt: skip


def _compute(columns: Columns, hardware: Hardware, *, datasheet: bool) -> tuple[Floats, Floats, Floats]:
    """Seconds of the products, of all other work, and of both: their sum where one engine does both, else the larger."""
    (matrix_types, matrix_code), (vector_types, vector_code) = columns.matrix_types, columns.vector_types
    products = [hardware.matmul_engine(d) if d in columns.product_types else None for d in matrix_types]
    others = [hardware.vector_engine(d) for d in vector_types]
    matrix = columns.matrix_flops / _rates(products, datasheet)[matrix_code]
    vector = columns.vector_flops / _rates(others, datasheet)[vector_code]
    shared = np.array([engine is not None and engine.kind == "vector" for engine in products])[matrix_code]
    return matrix, vector, np.where(shared, matrix + vector, np.maximum(matrix, vector))


def _rates(engines: Sequence[Engine | None], datasheet: bool) -> Floats:
    """FLOP/s of each engine; 1 where there is no work for one. A card that boosts beats its datasheet: its ceiling is the limit then."""
    return np.array([1.0 if e is None else max(e.peak, e.ceiling) if datasheet else e.ceiling for e in engines])


def served_by_level(columns: Columns, hardware: Hardware) -> dict[str, Floats]:
    """Bytes of each kernel by the memory level that serves them: the nearest one that still holds the tensor, else DRAM."""
    levels = (hardware.memory[0], *_caches(hardware))
    beyond = np.zeros(columns.edge_distance.shape, dtype=np.int8)  # how many levels, from the nearest on, are too small
    for size in np.maximum.accumulate([level.size for level in reversed(levels[1:])]):
        beyond += columns.edge_distance > size
    slot = columns.edge_kernel * len(levels) + (len(levels) - 1)  # one for each kernel and level
    count = columns.size * len(levels)
    sums = [np.bincount(slot - skip, weights=size, minlength=count) for skip, size in zip(beyond, columns.edge_bytes, strict=True)]
    served = np.array(sums, dtype=np.float64).reshape(len(sums), columns.size, len(levels))
    return {level.name: served[:, :, i] for i, level in enumerate(levels)}


def _caches(hardware: Hardware) -> tuple[MemoryLevel, ...]:
    """Caches that outlive a kernel: those the whole chip shares, and on a CPU each core's own, where its data stay."""
    return tuple(m for m in hardware.memory[1:] if m.name != "l1" and (m.shared_by == "chip" or hardware.kind == "cpu"))


def _with_transposes(served: dict[str, Floats], columns: Columns, hardware: Hardware, mode: Mode, layout: Layout) -> dict[str, Floats]:
    """Add the traffic of turning nchw activations to nhwc and back around each tensor-core convolution of a library.

    Tensor cores take channels innermost; engines and compilers store activations so, eager PyTorch only when told to.
    """
    if hardware.kind != "gpu" or layout == "nhwc" or mode != "eager":
        return served
    types, code = columns.matrix_types
    on_tensor_cores = np.array([hardware.engine(d, "matrix") is not None for d in types], dtype=bool)[code]
    affected = on_tensor_cores & _TRANSPOSED[columns.kind] & (columns.matrix_flops[0] > 0)
    dram = hardware.memory[0].name
    return {**served, dram: served[dram] + np.where(affected, 2 * (columns.input_bytes + columns.output_bytes), 0.0)}


def _memory(served: dict[str, Floats], hardware: Hardware, *, datasheet: bool = False) -> dict[str, Floats]:
    """Seconds on each level: what it serves, and what passes through it on its way from farther levels."""
    seconds: dict[str, Floats] = {}
    passing: Floats | float = 0.0
    for name, nbytes in served.items():
        level = next(m for m in hardware.memory if m.name == name)
        passing = passing + nbytes
        seconds[name] = passing / (max(level.peak, level.copy) if datasheet else level.copy)
    return seconds


def _fill(columns: Columns, hardware: Hardware) -> Floats:
    """Share of the chip's units that work, averaged over the waves of blocks that a kernel runs in."""
    tiles = columns.groups * np.ceil(columns.rows / TILE) * np.ceil(columns.columns / TILE)
    reduces = np.isin(columns.kind, _REDUCING_KINDS)  # many threads share one output there
    elements = np.where(reduces, np.maximum(columns.outputs, columns.rows * columns.taps), columns.outputs)
    blocks = np.where(columns.matrix_flops > 0, tiles, np.ceil(elements / ELEMENTS_PER_BLOCK[hardware.kind]))
    blocks = np.maximum(blocks, 1.0)
    return blocks / (np.ceil(blocks / hardware.units) * hardware.units)


def _overhead(columns: Columns, busy: Floats, hardware: Hardware, mode: Mode) -> Floats:
    """Seconds in which a kernel's roofs stand idle: its launch, and in eager mode the host that dispatches it."""
    costs = hardware.overheads
    launches = np.minimum(columns.ops, 1)
    if mode != "eager":
        return np.broadcast_to(launches * costs.graph, busy.shape)
    host = columns.ops * costs.host_op + columns.views * costs.host_view
    if hardware.kind == "cpu":  # host and device are one
        return np.broadcast_to(launches * costs.launch + host, busy.shape)
    return launches * costs.launch + host_wait(host, busy + launches * costs.launch)


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


def _limit(columns: Columns, hardware: Hardware, served: dict[str, Floats]) -> Floats:
    """Datasheet roofline of each kernel: its work at peak or its bytes at peak bandwidth, nothing else."""
    _, _, compute = _compute(columns, hardware, datasheet=True)
    memory = np.max(np.stack(list(_memory(served, hardware, datasheet=True).values())), axis=0)
    return np.maximum(compute, memory)
