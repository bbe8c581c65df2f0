"""Turn a graph into columns: one NumPy array per quantity, over kernels and batch sizes.

What depends on the batch is exact: tensor sizes are powers of it by construction, and the work of an op is evaluated at
each batch, or at a few and interpolated: by every rule it is a polynomial of the batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roofline.cost import KINDS, PRUNED_2_4, Work, is_constant, reads, work, writes
from roofline.costmodel.memory import Lifetimes, lifetimes, live_bytes, storage_bytes
from roofline.graph import CHANNELS_LAST, OF_SEVERAL, Graph, Op
from roofline.units import BITS, FLOATS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WORK_FIELDS = ("macs", "matrix_flops", "vector_flops", "rows", "columns", "depth", "groups", "taps", "stride", "bias")
_ARITHMETIC = frozenset({*FLOATS, "int8", "int4", "fp4"})
_SUMMED = ("macs", "matrix_flops", "vector_flops")


@dataclass(frozen=True)
class Columns:
    """Quantities of every kernel: arrays are (batches, kernels), or (kernels,) where the batch does not matter.

    *rows*, *columns*, *depth*, *groups*, *taps*, *stride* and *bias* are those of the kernel's anchor, its main op.
    *results* are those of the anchor, or of several products their mean, in which each counts by the work that it takes.
    *pruned* tells whether the anchor's weights are 2:4 sparse, *turned* whether it reads a single image through a permuted view,
    *channels_last* whether it reads images so, *present* whether it runs at a batch at all.
    *matrix_dtype* and *vector_dtype* are names. *ops* counts what the host dispatches, *views* what launches nothing.
    Edges are the tensors that cross kernel borders; *distance* is the traffic in bytes since the tensor was last
    touched (for a write: until it is touched next), its own size included, and infinite where there is no other touch;
    *lives* tells when each activation is in memory, and *storage_bytes* how large it is: (batches, storages).
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
    bias: Floats
    results: Floats
    pruned: NDArray[np.bool_]
    turned: NDArray[np.bool_]
    channels_last: NDArray[np.bool_]
    present: NDArray[np.bool_]
    outputs: Floats
    matrix_dtype: tuple[str, ...]
    vector_dtype: tuple[str, ...]
    ops: Ints
    views: Ints
    edge_kernel: Ints
    edge_role: Ints
    edge_bytes: Floats
    edge_distance: Floats
    lives: Lifetimes
    storage_bytes: Floats
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

    @cached_property
    def live_bytes(self) -> Floats:
        """Bytes of the activations in memory while each kernel runs."""
        return live_bytes(self.lives, self.storage_bytes)

    @cached_property
    def peak_activation_bytes(self) -> Floats:
        """Bytes of the most activations alive at once, at each batch."""
        return self.live_bytes.max(axis=1)

    @property
    def flops(self) -> Floats:
        """FLOPs on both engines."""
        return self.matrix_flops + self.vector_flops

    def by_kernel(self, edges: Floats) -> Floats:
        """Sum a (batches, edges) array over the edges of each kernel."""
        return _sum_at(self.edge_kernel, edges, self.size)

    @cached_property
    def matrix_types(self) -> tuple[tuple[str, ...], Ints]:
        """Distinct names of *matrix_dtype*, and for each kernel the position of its own."""
        return _coded(self.matrix_dtype)

    @cached_property
    def vector_types(self) -> tuple[tuple[str, ...], Ints]:
        """Distinct names of *vector_dtype*, and for each kernel the position of its own."""
        return _coded(self.vector_dtype)

    @cached_property
    def product_types(self) -> frozenset[str]:
        """Names of *matrix_dtype* for which some kernel has work."""
        return frozenset(d for d, flops in zip(self.matrix_dtype, self.matrix_flops[0], strict=True) if flops > 0)


WEIGHT, INPUT, OUTPUT = range(3)

PERMUTING = frozenset({"permute", "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis"})
"""Views in another order of dimensions."""

SLICING = frozenset({"split", "split_with_sizes", "tensor_split", "chunk", "unbind", "slice", "narrow", "select"})
"""Views of a part: torch.compile hands on the strides of what they are taken from."""

_NEVER_RUN = frozenset({"alias", "contiguous"})
"""Views that are notes of a trace: PyTorch answers such calls at once, or none is made."""

_DETAIL = 16
"""How many times fewer FLOPs than another op a product has that does not shape its kernel."""


def tabulate(graph: Graph, batches: Sequence[int]) -> Columns:
    """Evaluate every kernel of *graph* at each of *batches*."""
    batches = tuple(batches)
    numel = _numel(graph, batches)
    first, which = _distinct(graph)
    distinct = replace(graph, ops=tuple(graph.ops[i] for i in first))
    each = [work(op, distinct) for op in distinct.ops]
    works = [each[i] for i in which]
    per_op = {name: values[:, which] for name, values in _work_table(distinct, each, batches).items()}
    dtypes = [_input_dtype(op, graph, product=w.macs > 0) for op, w in zip(graph.ops, works, strict=True)]
    home, count = np.array([graph.kernel_of[op.id] for op in graph.ops], dtype=np.int64), len(graph.kernels)
    free = np.array([w.kind == "view" for w in works], dtype=bool)
    views = free & np.array([op.name not in _NEVER_RUN for op in graph.ops], dtype=bool)
    anchors = np.array([_anchor(kernel, works) for kernel in graph.kernels], dtype=np.int64)
    several = np.array([bool(graph.ops[a].attrs.get(OF_SEVERAL)) for a in anchors], dtype=bool)
    present = ~several | (np.array(batches)[:, None] != 1)
    edges, lives = _edges(graph, numel, present), lifetimes(graph)
    return Columns(
        batches=batches,
        kind=np.array([KINDS.index(works[a].kind) for a in anchors], dtype=np.int64),
        anchor=anchors,
        **{name: _sum_at(home, per_op[name], count) if name in _SUMMED else per_op[name][:, anchors] for name in WORK_FIELDS},
        results=_results(per_op, home, anchors),
        pruned=np.array([bool(graph.ops[a].attrs.get(PRUNED_2_4)) for a in anchors], dtype=bool),
        turned=np.array([_turned(graph.ops[a], graph, batches) for a in anchors], dtype=bool).reshape(-1, len(batches)).T,
        channels_last=np.array([bool(graph.ops[a].attrs.get(CHANNELS_LAST)) for a in anchors], dtype=bool),
        present=present,
        outputs=_largest_outputs(graph, numel),
        matrix_dtype=tuple(_compute_dtype(kernel, works, dtypes, matrix=True) for kernel in graph.kernels),
        vector_dtype=tuple(_compute_dtype(kernel, works, dtypes, matrix=False) for kernel in graph.kernels),
        ops=np.bincount(home[~free], minlength=count),
        views=np.bincount(home[views], minlength=count),
        edge_kernel=edges[0],
        edge_role=edges[1],
        edge_bytes=edges[2],
        edge_distance=edges[3],
        lives=lives,
        storage_bytes=storage_bytes(lives, graph, numel),
        weight_storage_bytes=sum(t.nbytes * t.density for t in graph.tensors if t.kind in ("weight", "buffer") and t.storage == t.id),
    )


def _distinct(graph: Graph) -> tuple[list[int], list[int]]:
    """Find the first of all ops that do the same work, and for each op the position of its own: networks repeat blocks."""
    roots = [graph.tensors[t.storage].kind for t in graph.tensors]
    forms: dict[Any, int] = {}
    form = [forms.setdefault((t.shape, t.dtype, t.batch_powers, root), len(forms)) for t, root in zip(graph.tensors, roots, strict=True)]
    first: list[int] = []
    which: list[int] = []
    known: dict[Any, int] = {}
    for i, op in enumerate(graph.ops):
        tensors = tuple(form[t] for t in (*op.inputs, *op.outputs))
        key = (op.name, op.roles, tensors, graph.is_view(op), repr(op.attrs), repr(op.batch_attrs))
        found = known.setdefault(key, len(first))
        if found == len(first):
            first.append(i)
        which.append(found)
    return first, which


def _coded(names: Sequence[str]) -> tuple[tuple[str, ...], Ints]:
    distinct = tuple(dict.fromkeys(names))
    return distinct, np.array([distinct.index(name) for name in names], dtype=np.int64)


def _sum_at(index: Ints, values: Floats, count: int) -> Floats:
    """Add up the columns of *values* that have the same *index* below *count*."""
    return np.array([np.bincount(index, weights=row, minlength=count) for row in values], dtype=np.float64)


def _numel(graph: Graph, batches: Sequence[int]) -> Floats:
    """Elements of every tensor at every batch: a (batches, tensors) array."""
    numel = np.array([t.numel for t in graph.tensors], dtype=np.float64)
    if graph.batch is None:
        return np.tile(numel, (len(batches), 1))
    powers = np.array([sum(t.batch_powers) for t in graph.tensors], dtype=np.float64)
    per_item = numel / float(graph.batch) ** powers
    return per_item * np.array(batches, dtype=np.float64)[:, None] ** powers


def _largest_outputs(graph: Graph, numel: Floats) -> Floats:
    """Elements of the largest tensor that each kernel writes; 0 where it writes none."""
    written = [[t for i in kernel for t in graph.ops[i].outputs] for kernel in graph.kernels]
    largest = [max(outputs, key=lambda t: graph.tensors[t].numel) if outputs else -1 for outputs in written]
    padded = np.concatenate([numel, np.zeros((len(numel), 1))], axis=1)
    return padded[:, np.array(largest, dtype=np.int64)]


def _work_table(graph: Graph, works: Sequence[Work], batches: Sequence[int]) -> dict[str, Floats]:
    """Work of every op at every batch, given the *works* at the graph's own: (batches, ops) arrays."""
    enough = _enough_points(graph)
    points = batches if graph.batch is None or len(batches) <= len(enough) else enough
    values = np.stack([_work_rows(works if graph.batch in (None, b) else _works_at(b, graph)) for b in points])
    if points is not batches:
        values = np.einsum("bp,pof->bof", _lagrange(points, batches), values)
    return {name: values[:, :, i] for i, name in enumerate(WORK_FIELDS)}


def _enough_points(graph: Graph) -> tuple[int, ...]:
    """Batch sizes that determine the work of every op.

    A product reads its depth and writes its rows and columns. Where no tensor has the batch in two dimensions, no more
    than one of the three can depend on it, so work is affine; a product of two such tensors is cubic.
    """
    return (1, 2) if all(sum(t.batch_powers) <= 1 for t in graph.tensors) else (1, 2, 3, 4)


def _works_at(batch: int, graph: Graph) -> list[Work]:
    rewritten = graph.with_batch(batch)
    return [work(op, rewritten) for op in rewritten.ops]


def _work_rows(works: Sequence[Work]) -> Floats:
    return np.array(list(map(attrgetter(*WORK_FIELDS), works)), dtype=np.float64).reshape(len(works), len(WORK_FIELDS))


def _lagrange(points: Sequence[int], batches: Sequence[int]) -> Floats:
    """Weights that turn values at *points* into values of the interpolating polynomial at *batches*."""
    x, p = np.array(batches, dtype=np.float64)[:, None], np.array(points, dtype=np.float64)
    columns = [np.prod([(x[:, 0] - q) / (p[i] - q) for q in np.delete(p, i)], axis=0) for i in range(len(p))]
    return np.stack(columns, axis=1)


def _results(per_op: Mapping[str, Floats], home: Ints, anchors: Ints) -> Floats:
    """Count what each kernel computes side by side: the fewer results an op has, the less of a chip it keeps busy.

    Several products run one after another, each as long as its FLOPs and its own share of the chip make it: together as one of
    the harmonic mean of their results, weighted by FLOPs.
    """
    each = per_op["groups"] * per_op["rows"] * per_op["columns"]
    product: NDArray[np.bool_] = np.asarray((per_op["macs"] > 0).all(axis=0))
    several = (np.bincount(home, weights=product, minlength=len(anchors)) > 1) & product[anchors]
    if not several.any():
        return each[:, anchors]
    flops = np.where(product, per_op["matrix_flops"] + per_op["vector_flops"], 0.0)
    spread = np.divide(flops, each, out=np.zeros_like(flops), where=each > 0)
    work, time = (_sum_at(home, values, len(anchors)) for values in (flops, spread))
    return np.where(several, work / np.where(time > 0, time, 1.0), each[:, anchors])


def _anchor(kernel: Sequence[int], works: Sequence[Work]) -> int:
    """Choose the op that names a kernel: the one with the most FLOPs, then the largest output; products before others.

    Of many products (a chain that stays on the chip), it is a typical one of the sort that has the most FLOPs. A product of few FLOPs
    beside another op of many (the gate of a squeeze-excite, and what it is multiplied with) is a detail.
    """
    least = max((_flops(works[i]) for i in kernel if not works[i].macs), default=0.0) / _DETAIL
    sorts: dict[tuple[object, ...], list[int]] = {}
    for i in kernel:
        if works[i].macs and _flops(works[i]) >= least:
            sorts.setdefault((works[i].kind, works[i].taps, works[i].stride > 1), []).append(i)  # as libraries tell them apart
    if sorts:
        return _typical(max(sorts.values(), key=lambda alike: sum(_flops(works[i]) for i in alike)), works)
    return max(kernel, key=lambda i: (works[i].kind != "view", _flops(works[i]), works[i].rows, -i))


def _typical(products: Sequence[int], works: Sequence[Work]) -> int:
    """Choose the product in the middle: as many FLOPs are in those with shorter sides as in those with longer ones."""
    by_side = sorted(products, key=lambda i: min(works[i].depth, works[i].columns))
    done = np.cumsum([_flops(works[i]) for i in by_side])
    return by_side[int(np.searchsorted(done, done[-1] / 2))]


def _turned(op: Op, graph: Graph, batches: Sequence[int]) -> list[bool]:
    """Tell at which of *batches* what *op* reads first is one image, shown by a view that permutes its dimensions."""
    if not op.inputs or not _is_permuted(op.inputs[0], graph):
        return [False] * len(batches)
    image = graph.tensors[op.inputs[0]]
    power = image.batch_powers[0] if graph.batch and image.batch_powers else 0
    return [math.prod(image.shape[:1]) * (b / (graph.batch or 1)) ** power == 1 for b in batches]


def _is_permuted(shown: int, graph: Graph) -> bool:
    """Tell whether a tensor is a view that shows an activation's dimensions in another order, and all of it."""
    names: set[str] = set()
    while (before := graph.producer.get(shown)) is not None and graph.is_view(before):
        names.add(before.name)
        shown = before.inputs[0]
    return not names.isdisjoint(PERMUTING) and names.isdisjoint(SLICING) and not is_constant(shown, graph)


def _flops(w: Work) -> float:
    return w.matrix_flops + w.vector_flops


def _compute_dtype(kernel: Sequence[int], works: Sequence[Work], dtypes: Sequence[str], *, matrix: bool) -> str:
    """Name the type the kernel's products (or other functions) compute in: the widest float or integer they read."""
    types = [dtypes[i] for i in kernel if (works[i].matrix_flops > 0) == matrix and works[i].kind != "view"]
    return max(types, key=BITS.__getitem__, default="fp32")


def _input_dtype(op: Op, graph: Graph, *, product: bool) -> str:
    """Name the type that *op* computes in: that of its first input, or of its result; a *product* widens one side to the other's."""
    if product:
        sides = [graph.tensors[t].dtype for t, role in zip(op.inputs, op.roles, strict=True) if role != "bias"][:2]
        return max((d for d in sides if d in _ARITHMETIC), key=BITS.__getitem__, default="fp32")
    types = (graph.tensors[t].dtype for t in (*op.inputs[:1], *op.outputs[:1]))
    return next((d for d in types if d in _ARITHMETIC), "fp32")


def _edges(graph: Graph, numel: Floats, present: NDArray[np.bool_]) -> tuple[Ints, Ints, Floats, Floats]:
    """List tensors that cross kernel borders: kernel, role, bytes, and reuse distance."""
    found: list[tuple[int, int, int, bool]] = []
    for k, ids in enumerate(graph.kernels):
        ops = [graph.ops[i] for i in ids]
        for accesses, written in ((reads(ops, graph), False), (writes(ops, graph), True)):
            found += [(k, a.tensor, a.tensor if a.limit is None else a.limit, written) for a in accesses]
    kernel, index, limit, written = np.array(found, dtype=np.int64).reshape(-1, 4).T
    roots = np.array([t.storage for t in graph.tensors], dtype=np.int64)[index]
    constant = np.array([is_constant(t.id, graph) for t in graph.tensors], dtype=bool)[index]
    role = np.where(written, OUTPUT, np.where(constant, WEIGHT, INPUT))
    width = np.array([BITS[t.dtype] / 8 * t.density for t in graph.tensors])
    size = np.minimum(np.minimum(numel[:, index], numel[:, roots]), numel[:, limit]) * width[index] * present[:, kernel]
    return kernel, role, size, _distances(kernel, role, roots, size, len(graph.kernels))


def _distances(kernel: Ints, role: Ints, roots: Ints, size: Floats, count: int) -> Floats:
    """Traffic between one touch of a storage and the other: back in time for reads, forward for writes.

    A network runs again and again, so the touch before the first read of a weight is its last one of the run before.
    """
    before = np.cumsum(_sum_at(kernel + 1, size, count + 1), axis=1)
    total = before[:, -1:]
    previous, following = _neighbours(kernel, role, roots, count)
    distance = np.full(size.shape, np.inf)
    for wrap, other in ((0.0, previous), (1.0, previous)):
        chosen = (role != OUTPUT) & (other >= 0) & ((other >= kernel) == bool(wrap))
        distance[:, chosen] = before[:, kernel[chosen]] - before[:, other[chosen] + 1] + wrap * total + size[:, chosen]
    chosen = (role == OUTPUT) & (following >= 0)
    distance[:, chosen] = before[:, following[chosen]] - before[:, kernel[chosen] + 1] + size[:, chosen]
    return distance


def _neighbours(kernel: Ints, role: Ints, roots: Ints, count: int) -> tuple[Ints, Ints]:
    """For each edge, the kernel that touched the storage before (weights wrap around) and the one that reads it next."""
    touch = roots * count + kernel  # sorts by storage, then by kernel
    touches, readings = np.unique(touch), np.unique(touch[role != OUTPUT])
    previous = _kernel_at(np.searchsorted(touches, touch) - 1, touches, roots, count)
    following = _kernel_at(np.searchsorted(readings, touch, side="right"), readings, roots, count)
    last = touches[np.searchsorted(touches, (roots + 1) * count) - 1] % count
    return np.where((previous < 0) & (role == WEIGHT), last, previous), following


def _kernel_at(position: Ints, touches: Ints, roots: Ints, count: int) -> Ints:
    """Kernel of the touch at each *position* of the sorted *touches*; -1 where that is beyond the storage of *roots*."""
    found = np.concatenate([[-1], touches, [-1]])[position + 1]
    return np.where(found // count == roots, found % count, -1)
