"""Describe what every kernel asks of a device before any efficiency is applied: seconds at its ceilings, and its shape.

The class of a kernel says which implementation a library runs for it: engine, window, stride and what is read again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roofline.cost import KINDS
from roofline.costmodel.calibration import CLASSES, DENSE, Calibration
from roofline.costmodel.columns import OUTPUT, Columns, Floats, Ints
from roofline.costmodel.device import Engine, Hardware, MemoryLevel
from roofline.costmodel.formula import Efficiency
from roofline.transforms.modes import Layout, Mode

_BY_KIND = {
    "conv": "conv 3x3", "pointwise conv": "pointwise", "depthwise conv": "depthwise 3", "grouped conv": "grouped",
    "compare": "elementwise", "pool": "window pool",
}  # fmt: skip

LARGE = 32 * 2.0**20
"""Bytes from which glibc asks the system for the memory of every single tensor, and gives it back when the tensor is freed: the
most that its threshold grows to, as mallopt(3) tells of M_MMAP_THRESHOLD on 64-bit systems. Each page is cleared anew."""

_DENSE = np.array([name in DENSE for name in CLASSES])
_TRANSPOSED = np.array([kind in ("conv", "pointwise conv", "grouped conv") for kind in KINDS])
_REORDERED = _TRANSPOSED | (np.array(KINDS) == "depthwise conv")


@dataclass(frozen=True)
class Workload:
    """What each kernel asks of a device, as (batches, kernels) arrays, or (kernels,) where the batch does not matter.

    *matrix* and *vector* are seconds of its FLOPs at the ceilings of the engines, *dram* and *cache* seconds of its bytes
    at the copy bandwidths, *bias* and *transpose* seconds of passes that run as kernels of their own, *fresh* bytes of
    memory that the system must clear first. *on_matrix* tells
    whether products use a matrix engine, *misaligned* whether their channels do not suit it. *depth* and *columns* are
    the inner and outer sides of the product, *outputs* its results for each unit of the device, *launches* the kernels the
    device starts, *others* the cores beside the first (0 on a GPU).
    """

    klass: Ints
    matrix: Floats
    vector: Floats
    shared: NDArray[np.bool_]
    on_matrix: NDArray[np.bool_]
    misaligned: NDArray[np.bool_]
    dram: Floats
    cache: Floats
    bias: Floats
    transpose: Floats
    fresh: Floats
    depth: Floats
    columns: Floats
    outputs: Floats
    launches: Ints
    ops: Ints
    views: Ints
    others: int


def describe(columns: Columns, served: dict[str, Floats], hardware: Hardware, mode: Mode, layout: Layout) -> Workload:
    """Put the kernels of *columns*, whose bytes are *served* by level, on *hardware*; UnsupportedError if it lacks a data type."""
    matrix, vector, shared, on_matrix = engine_seconds(columns, hardware)
    dram, *caches = level_seconds(served, hardware).values()
    copy = hardware.memory[0].copy
    own_bias = columns.bias if mode == "eager" and hardware.kind == "gpu" else np.zeros_like(columns.bias)
    turned = on_matrix & _TRANSPOSED[columns.kind] & (columns.matrix_flops[0] > 0) & (layout == "nchw") & (mode == "eager")
    turned &= hardware.kind == "gpu"
    return Workload(
        klass=classify(columns),
        matrix=matrix,
        vector=vector,
        shared=shared,
        on_matrix=on_matrix,
        misaligned=on_matrix & _misaligned(columns),
        dram=dram,
        cache=np.max(np.stack(caches), axis=0) if caches else np.zeros_like(dram),
        bias=2 * columns.output_bytes * own_bias / copy,
        transpose=np.where(turned, (columns.input_bytes + columns.output_bytes) * 2, 0.0) / copy,
        fresh=_fresh(columns) if mode == "eager" and hardware.kind == "cpu" else np.zeros_like(dram),
        depth=columns.depth,
        columns=columns.columns,
        outputs=columns.groups * columns.rows * columns.columns / hardware.units,
        launches=np.minimum(columns.ops, 1) * (1 + (own_bias[0] > 0)),
        ops=columns.ops,
        views=columns.views,
        others=hardware.units - 1 if hardware.kind == "cpu" else 0,
    )


def efficiency(workload: Workload, calibration: Calibration) -> Efficiency:
    """Look up the parameters of *calibration* for each kernel."""
    memory, vector, matrix, _ = calibration.efficiencies[:, workload.klass]
    on_matrix, vector_shape, matrix_shape = workload.on_matrix, calibration.on_vector, calibration.on_matrix
    dense = _DENSE[workload.klass]

    def size(name: str) -> Floats:
        return np.where(on_matrix, getattr(matrix_shape, name), getattr(vector_shape, name))

    grouped = workload.klass == CLASSES.index("grouped")
    lost = np.where(grouped, matrix_shape.misaligned_groups, matrix_shape.misaligned)
    return Efficiency(
        memory=memory,
        product=np.where(on_matrix, matrix, vector),
        vector=vector,
        depth=size("depth"),
        columns=np.where(grouped, size("group_columns"), size("columns")),
        alignment=np.where(workload.misaligned, lost, 1.0),
        outputs=np.where(dense, size("outputs"), 0.0),
        cache=calibration.cache,
        bias=calibration.bias,
        transpose=calibration.transpose,
        fresh=calibration.fresh or np.inf,
        crowd=1 + calibration.serial * workload.others,
    )


def _misaligned(columns: Columns) -> NDArray[np.bool_]:
    """Tell where a matrix engine cannot load whole vectors: channels no multiple of 8, or groups whose width is no power of two."""
    width, depth = columns.columns[0], columns.depth[0] / columns.taps[0]
    grouped = columns.kind == KINDS.index("grouped conv")
    odd_groups = (np.log2(np.maximum(width, 1)) % 1 != 0) | (np.log2(np.maximum(depth, 1)) % 1 != 0)
    return np.where(grouped, odd_groups, (width % 8 != 0) | (depth % 8 != 0))


def _fresh(columns: Columns) -> Floats:
    """Bytes of new tensors so large that their memory comes from the system: results, and what a convolution reorders on a CPU.

    oneDNN computes convolutions on blocked copies of what they read, weights included, made for each call.
    """
    large = columns.edge_bytes * (columns.edge_bytes >= LARGE)
    return columns.by_kernel(large * columns.edge_new) + columns.by_kernel(large * (columns.edge_role != OUTPUT)) * _REORDERED[columns.kind]


def classify(columns: Columns) -> Ints:
    """Give the position in CLASSES of every kernel."""
    found = np.array([CLASSES.index(_BY_KIND.get(kind, kind if kind in CLASSES else "other")) for kind in KINDS])[columns.kind]
    kind = np.array(KINDS)[columns.kind]
    taps, strided = columns.taps[0], columns.stride[0] > 1
    reads, written = columns.input_bytes[0], columns.output_bytes[0]

    def name(mask: NDArray[np.bool_], label: str) -> None:
        found[mask] = CLASSES.index(label)

    name((kind == "conv") & (taps != 9), "conv wide")
    name((kind == "conv") & strided, "conv strided")
    name((kind == "pointwise conv") & strided, "pointwise strided")
    name((kind == "depthwise conv") & (taps > 9), "depthwise 5")
    name((kind == "depthwise conv") & (taps > 25), "depthwise 7")
    name((kind == "depthwise conv") & (taps > 49), "depthwise wide")
    name((kind == "elementwise") & (reads > written) & (reads < 1.5 * written), "broadcast")  # one operand smaller than the result
    name((kind == "pool") & (reads > 8 * written) & (columns.stride[0] == 1), "global pool")
    return found


def engine_seconds(
    columns: Columns, hardware: Hardware, *, datasheet: bool = False
) -> tuple[Floats, Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Seconds of products and of all other work at the ceilings; whether one engine does both, whether products have a matrix engine."""
    (matrix_types, matrix_code), (vector_types, vector_code) = columns.matrix_types, columns.vector_types
    products = [hardware.matmul_engine(d) if d in columns.product_types else None for d in matrix_types]
    others = [hardware.vector_engine(d) for d in vector_types]
    matrix = columns.matrix_flops / _rates(products, datasheet)[matrix_code]
    vector = columns.vector_flops / _rates(others, datasheet)[vector_code]
    kinds = np.array(["" if engine is None else engine.kind for engine in products])[matrix_code]
    return matrix, vector, kinds == "vector", kinds == "matrix"


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


def level_seconds(served: dict[str, Floats], hardware: Hardware, *, datasheet: bool = False) -> dict[str, Floats]:
    """Seconds on each level: what it serves, and what passes through it on its way from farther levels."""
    seconds: dict[str, Floats] = {}
    passing: Floats | float = 0.0
    for name, nbytes in served.items():
        level = next(m for m in hardware.memory if m.name == name)
        passing = passing + nbytes
        seconds[name] = passing / (max(level.peak, level.copy) if datasheet else level.copy)
    return seconds
