"""Turn a graph into columns: one NumPy array per quantity, over kernels and batch sizes.

What depends on the batch is exact: tensor sizes are powers of it by construction, and the work of an op is evaluated at
each batch, or at three and interpolated where it is a polynomial of degree two at most, as it is for every rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from roofline.cost import KINDS, Work, is_constant, reads, work, writes
from roofline.graph import Graph, Op
from roofline.units import BITS, FLOATS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WORK_FIELDS = ("macs", "matrix_flops", "vector_flops", "rows", "columns", "depth", "groups", "taps", "stride")
_SUMMED = ("macs", "matrix_flops", "vector_flops")


@dataclass(frozen=True)
class Columns:
    """Quantities of every kernel: arrays are (batches, kernels), or (kernels,) where the batch does not matter.

    *rows*, *columns*, *depth*, *groups*, *taps* and *stride* are those of the kernel's anchor, its op with the most FLOPs.
    *matrix_dtype* and *vector_dtype* are names. *ops* counts what the host dispatches, *views* what launches nothing.
    Edges are the tensors that cross kernel borders; *distance* is the traffic in bytes since the tensor was last
    touched (for a write: until it is touched next), its own size included, and infinite where there is no other touch.
    """

    batches: tuple[int, ...]
    kind: Ints
    anchor: Ints
    macs: Floats
    matrix_flops: Floats
    vector_flops: Floats
    rows: Floats
    columns: Floats
    depth: Floats
    groups: Floats
    taps: Floats
    stride: Floats
    outputs: Floats
    matrix_dtype: tuple[str, ...]
    vector_dtype: tuple[str, ...]
    ops: Ints
    views: Ints
    edge_kernel: Ints
    edge_role: Ints
    edge_bytes: Floats
    edge_distance: Floats
    peak_activation_bytes: Floats
    weight_storage_bytes: float

    @property
    def size(self) -> int:
        """Number of kernels."""
        return len(self.kind)

    @cached_property
    def weight_bytes(self) -> Floats:
        """Bytes of weights and buffers read."""
        return self.by_kernel(self.edge_bytes * (self.edge_role == WEIGHT))

    @cached_property
    def input_bytes(self) -> Floats:
        """Bytes of activations read."""
        return self.by_kernel(self.edge_bytes * (self.edge_role == INPUT))

    @cached_property
    def output_bytes(self) -> Floats:
        """Bytes written."""
        return self.by_kernel(self.edge_bytes * (self.edge_role == OUTPUT))

    @cached_property
    def bytes(self) -> Floats:
        """Bytes read and written."""
        return self.by_kernel(self.edge_bytes)

    @property
    def flops(self) -> Floats:
        """FLOPs on both engines."""
        return self.matrix_flops + self.vector_flops

    def by_kernel(self, edges: Floats) -> Floats:
        """Sum a (batches, edges) array over the edges of each kernel."""
        running = np.concatenate([np.zeros((len(edges), 1)), np.cumsum(edges, axis=1)], axis=1)
        return running[:, self._stops] - running[:, self._starts]

    @cached_property
    def _starts(self) -> Ints:
        return np.searchsorted(self.edge_kernel, np.arange(self.size), side="left")

    @cached_property
    def _stops(self) -> Ints:
        return np.searchsorted(self.edge_kernel, np.arange(self.size), side="right")


WEIGHT, INPUT, OUTPUT = range(3)


def tabulate(graph: Graph, batches: Sequence[int]) -> Columns:
    """Evaluate every kernel of *graph* at each of *batches*."""
    batches = tuple(batches)
    numel = _numel(graph, batches)
    per_op = _work_table(graph, batches)
    works = [work(op, graph) for op in graph.ops]
    anchors = np.array([_anchor(kernel, works, graph) for kernel in graph.kernels], dtype=np.int64)
    edges = _edges(graph, numel)
    produced = [max((t for i in kernel for t in graph.ops[i].outputs), key=lambda t: graph.tensors[t].numel, default=-1) for kernel in graph.kernels]
    return Columns(
        batches=batches,
        kind=np.array([KINDS.index(works[a].kind) for a in anchors], dtype=np.int64),
        anchor=anchors,
        **{name: _sum_kernels(per_op[name], graph) if name in _SUMMED else per_op[name][:, anchors] for name in WORK_FIELDS},
        outputs=np.stack([numel[:, t] if t >= 0 else np.zeros(len(batches)) for t in produced], axis=1) if produced else np.zeros((len(batches), 0)),
        matrix_dtype=tuple(_compute_dtype(kernel, works, graph, matrix=True) for kernel in graph.kernels),
        vector_dtype=tuple(_compute_dtype(kernel, works, graph, matrix=False) for kernel in graph.kernels),
        ops=np.array([sum(not _free(i, works) for i in kernel) for kernel in graph.kernels], dtype=np.int64),
        views=np.array([sum(_free(i, works) for i in kernel) for kernel in graph.kernels], dtype=np.int64),
        edge_kernel=edges[0],
        edge_role=edges[1],
        edge_bytes=edges[2],
        edge_distance=edges[3],
        peak_activation_bytes=_peak_activations(graph, numel),
        weight_storage_bytes=sum(t.nbytes * t.density for t in graph.tensors if t.kind in ("weight", "buffer") and t.storage == t.id),
    )


def _free(op: int, works: Sequence[Work]) -> bool:
    return works[op].kind == "view"


def _numel(graph: Graph, batches: Sequence[int]) -> Floats:
    """Elements of every tensor at every batch: a (batches, tensors) array."""
    numel = np.array([t.numel for t in graph.tensors], dtype=np.float64)
    if graph.batch is None:
        return np.tile(numel, (len(batches), 1))
    powers = np.array([sum(t.batch_powers) for t in graph.tensors], dtype=np.float64)
    per_item = numel / float(graph.batch) ** powers
    return per_item * np.array(batches, dtype=np.float64)[:, None] ** powers


def _work_table(graph: Graph, batches: Sequence[int]) -> dict[str, Floats]:
    """Work of every op at every batch: (batches, ops) arrays."""
    points = batches if graph.batch is None or len(batches) <= 3 else (1, 2, 3)
    values = np.array([_work_rows(graph if graph.batch is None else graph.with_batch(b)) for b in points])
    if points is not batches:
        values = np.einsum("bp,pof->bof", _lagrange(points, batches), values)
    return {name: values[:, :, i] for i, name in enumerate(WORK_FIELDS)}


def _work_rows(graph: Graph) -> Floats:
    rows = [tuple(getattr(w, name) for name in WORK_FIELDS) for w in (work(op, graph) for op in graph.ops)]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(WORK_FIELDS))


def _lagrange(points: Sequence[int], batches: Sequence[int]) -> Floats:
    """Weights that turn values at *points* into values of the interpolating polynomial at *batches*."""
    x, p = np.array(batches, dtype=np.float64)[:, None], np.array(points, dtype=np.float64)
    columns = [np.prod([(x[:, 0] - q) / (p[i] - q) for q in np.delete(p, i)], axis=0) for i in range(len(p))]
    return np.stack(columns, axis=1)


def _sum_kernels(values: Floats, graph: Graph) -> Floats:
    result = np.zeros((len(values), len(graph.kernels)))
    index = np.empty(len(graph.ops), dtype=np.int64)
    for kernel, ops in enumerate(graph.kernels):
        index[list(ops)] = kernel
    np.add.at(result.T, index, values.T)
    return result


def _anchor(kernel: Sequence[int], works: Sequence[Work], graph: Graph) -> int:
    """Choose the op that names a kernel: the one with the most FLOPs, then the largest output."""
    return max(kernel, key=lambda i: (works[i].kind != "view", works[i].macs > 0, works[i].matrix_flops + works[i].vector_flops, works[i].rows, -i))


def _compute_dtype(kernel: Sequence[int], works: Sequence[Work], graph: Graph, *, matrix: bool) -> str:
    """Name the type the kernel's products (or other functions) compute in: the widest float or integer they read."""
    wanted = [i for i in kernel if (works[i].matrix_flops > 0) == matrix and not _free(i, works)]
    types = [_input_dtype(graph.ops[i], graph) for i in wanted]
    return max(types, key=lambda d: BITS[d], default="fp32")


def _input_dtype(op: Op, graph: Graph) -> str:
    types = [graph.tensors[t].dtype for t in (*op.inputs[:1], *op.outputs[:1])]
    arithmetic = [d for d in types if d in FLOATS or d in ("int8", "int4", "fp4")]
    return arithmetic[0] if arithmetic else "fp32"


def _edges(graph: Graph, numel: Floats) -> tuple[Ints, Ints, Floats, Floats]:
    """List tensors that cross kernel borders: kernel, role, bytes and reuse distance."""
    tensors: list[int] = []
    limits: list[int] = []
    kernels: list[int] = []
    roles: list[int] = []
    for k, ids in enumerate(graph.kernels):
        ops = [graph.ops[i] for i in ids]
        for access in reads(ops, graph):
            tensors.append(access.tensor)
            limits.append(access.tensor if access.limit is None else access.limit)
            roles.append(WEIGHT if is_constant(access.tensor, graph) else INPUT)
            kernels.append(k)
        for access in writes(ops, graph):
            tensors.append(access.tensor)
            limits.append(access.tensor if access.limit is None else access.limit)
            roles.append(OUTPUT)
            kernels.append(k)
    roots = np.array([graph.tensors[t].storage for t in tensors], dtype=np.int64)
    index, limit = np.array(tensors, dtype=np.int64), np.array(limits, dtype=np.int64)
    width = np.array([BITS[t.dtype] / 8 * t.density for t in graph.tensors])
    size = np.minimum(np.minimum(numel[:, index], numel[:, roots]), numel[:, limit]) * width[index]
    kernel, role = np.array(kernels, dtype=np.int64), np.array(roles, dtype=np.int64)
    return kernel, role, size, _distances(kernel, role, roots, size, len(graph.kernels))


def _distances(kernel: Ints, role: Ints, roots: Ints, size: Floats, count: int) -> Floats:
    """Traffic between one touch of a storage and the other: back in time for reads, forward for writes.

    A network runs again and again, so the touch before the first read of a weight is its last one of the run before.
    """
    traffic = np.zeros((len(size), count + 1))
    np.add.at(traffic.T, kernel + 1, size.T)
    before = np.cumsum(traffic, axis=1)
    total = before[:, -1:]
    previous, following = _neighbours(kernel, role, roots)
    distance = np.full(size.shape, np.inf)
    for wrap, other in ((0.0, previous), (1.0, previous)):
        chosen = (role != OUTPUT) & (other >= 0) & ((other >= kernel) == bool(wrap))
        distance[:, chosen] = before[:, kernel[chosen]] - before[:, other[chosen] + 1] + wrap * total + size[:, chosen]
    chosen = (role == OUTPUT) & (following >= 0)
    distance[:, chosen] = before[:, following[chosen]] - before[:, kernel[chosen] + 1] + size[:, chosen]
    return distance


def _neighbours(kernel: Ints, role: Ints, roots: Ints) -> tuple[Ints, Ints]:
    """For each edge, the kernel that touched the storage before (weights wrap around) and the one that reads it next."""
    touches: dict[int, list[tuple[int, int]]] = {}
    for edge, (k, root) in enumerate(zip(kernel.tolist(), roots.tolist(), strict=True)):
        touches.setdefault(root, []).append((k, edge))
    previous, following = np.full(len(kernel), -1, dtype=np.int64), np.full(len(kernel), -1, dtype=np.int64)
    for found in touches.values():
        last = -1
        for k, edge in found:
            earlier = [j for j, _ in found if j < k]
            if earlier:
                last = earlier[-1]
            elif role[edge] == WEIGHT:
                last = found[-1][0]
            previous[edge] = last
            following[edge] = next((j for j, e in found if j > k and role[e] != OUTPUT), -1)
    return previous, following


def _peak_activations(graph: Graph, numel: Floats) -> Floats:
    """Largest sum of the activations alive at once, at each batch: a storage lives from its first write to its last touch."""
    last = len(graph.kernels)
    born: dict[int, int] = {}
    dies: dict[int, int] = {}
    kernel_of = graph.kernel_of
    for t in graph.inputs:
        born[t.storage], dies[t.storage] = 0, last
    for op in graph.ops:
        k = kernel_of[op.id]
        for t in (*op.inputs, *op.outputs):
            root = graph.tensors[t].storage
            if graph.tensors[root].kind == "activation" and not _internal(root, graph):
                born.setdefault(root, k)
                dies[root] = max(dies.get(root, 0), k)
    dies.update((graph.tensors[t].storage, last) for t in graph.outputs if graph.tensors[t].storage in born)
    roots = np.array(list(born), dtype=np.int64)
    width = np.array([BITS[graph.tensors[r].dtype] / 8 * graph.tensors[r].density for r in born])
    change = np.zeros((len(numel), last + 2))
    sizes = numel[:, roots] * width if len(roots) else np.zeros((len(numel), 0))
    np.add.at(change.T, np.array(list(born.values()), dtype=np.int64), sizes.T)
    np.add.at(change.T, np.array([dies[r] for r in born], dtype=np.int64) + 1, -sizes.T)
    return np.max(np.cumsum(change, axis=1), axis=1)


def _internal(root: int, graph: Graph) -> bool:
    """Tell whether a tensor never leaves the kernel that makes it."""
    maker = graph.producer.get(root)
    if maker is None or root in graph.outputs:
        return False
    home = graph.kernel_of[maker.id]
    return len(graph.kernels[home]) > 1 and all(graph.kernel_of[op.id] == home for op in graph.consumers.get(root, ()))
