"""Turn columns and a device into times: each roof, occupancy, overhead, and what holds each kernel back.

For every kernel `seconds = max(compute, memory) / fill + overhead`. Compute is the slower of the matrix and the vector
engine (their sum where one engine does both); memory is the slowest level that the bytes pass; fill is the share of the
chip that the kernel's blocks occupy; overhead is the launch, and in eager mode on a GPU the wait for the host.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from roofline.costmodel.columns import Columns, Floats, Ints
from roofline.cost import KINDS
from roofline.costmodel.hardware import Hardware, MemoryLevel
from roofline.transforms.modes import Layout, Mode

Bound = Literal["compute", "memory", "overhead", "occupancy"]
BOUNDS: tuple[Bound, ...] = ("compute", "memory", "overhead", "occupancy")

TILE = 64
"""Side of the output tile that one block of a matrix product computes (the middle of the sizes that GEMM libraries choose from)."""

ELEMENTS_PER_BLOCK = {"gpu": 1024, "cpu": 32768}
"""Elements one block of an elementwise kernel covers: 256 threads of 4 (PyTorch's vectorised CUDA kernels), and the grain
below which PyTorch does not split work over CPU cores (at::internal::GRAIN_SIZE)."""

_TRANSPOSED_KINDS = tuple(KINDS.index(kind) for kind in ("conv", "pointwise conv", "grouped conv"))

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
    matrix, vector, shared = _compute(columns, hardware, datasheet=False)
    compute = matrix + vector if shared else np.maximum(matrix, vector)
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


def _compute(columns: Columns, hardware: Hardware, *, datasheet: bool) -> tuple[Floats, Floats, bool]:
    """Seconds on the matrix and on the vector engine, and whether one engine does both kinds of work."""
    products = {d: hardware.matmul_engine(d) for d, f in zip(columns.matrix_dtype, columns.matrix_flops[0] > 0, strict=True) if f}
    others = {d: hardware.vector_engine(d) for d in set(columns.vector_dtype)}
    rate_matrix = np.array([_rate(products.get(d), datasheet) for d in columns.matrix_dtype])
    rate_vector = np.array([_rate(others[d], datasheet) for d in columns.vector_dtype])
    shared = all(engine.kind == "vector" for engine in products.values())
    return columns.matrix_flops / rate_matrix, columns.vector_flops / rate_vector, shared


def _rate(engine: object, datasheet: bool) -> float:
    return 1.0 if engine is None else getattr(engine, "peak" if datasheet else "ceiling")


def served_by_level(columns: Columns, hardware: Hardware) -> dict[str, Floats]:
    """Bytes of each kernel by the memory level that serves them: the nearest one that still holds the tensor, else DRAM."""
    caches = _caches(hardware)
    remaining = columns.edge_bytes
    served: dict[str, Floats] = {}
    for level in reversed(caches):
        held = np.where(columns.edge_distance <= level.size, remaining, 0.0)
        served[level.name] = columns.by_kernel(held)
        remaining = remaining - held
    served[hardware.memory[0].name] = columns.by_kernel(remaining)
    return {level.name: served[level.name] for level in (hardware.memory[0], *caches)}


def _caches(hardware: Hardware) -> tuple[MemoryLevel, ...]:
    """Caches that outlive a kernel: those the whole chip shares, and on a CPU each core's own, where its data stay."""
    return tuple(m for m in hardware.memory[1:] if m.name != "l1" and (m.shared_by == "chip" or hardware.kind == "cpu"))


def _with_transposes(served: dict[str, Floats], columns: Columns, hardware: Hardware, mode: Mode, layout: Layout) -> dict[str, Floats]:
    """Add the traffic of turning nchw activations to nhwc and back around each tensor-core convolution of a library.

    Tensor cores take channels innermost; engines and compilers store activations so, eager PyTorch only when told to.
    """
    if hardware.kind != "gpu" or layout == "nhwc" or mode != "eager":
        return served
    on_tensor_cores = np.array([hardware.engine(d, "matrix") is not None for d in columns.matrix_dtype])
    affected = on_tensor_cores & np.isin(columns.kind, _TRANSPOSED_KINDS) & (columns.matrix_flops[0] > 0)
    dram = hardware.memory[0].name
    return {**served, dram: served[dram] + np.where(affected, 2 * (columns.input_bytes + columns.output_bytes), 0.0)}


def _memory(served: dict[str, Floats], hardware: Hardware, *, datasheet: bool = False) -> dict[str, Floats]:
    """Seconds on each level: what it serves, and what passes through it on its way from farther levels."""
    seconds: dict[str, Floats] = {}
    passing: Floats | float = 0.0
    for name, nbytes in served.items():
        level = next(m for m in hardware.memory if m.name == name)
        passing = passing + nbytes
        seconds[name] = passing / (level.peak if datasheet else level.copy)
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
    matrix, vector, shared = _compute(columns, hardware, datasheet=True)
    compute = matrix + vector if shared else np.maximum(matrix, vector)
    memory = np.max(np.stack(list(_memory(served, hardware, datasheet=True).values())), axis=0)
    return np.maximum(compute, memory)

