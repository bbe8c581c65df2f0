"""Follow what lies in memory while a network runs: when each activation is born and freed, and who holds the peak."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from roofline.graph import FORWARD, Graph, Tensor, phase_of
from roofline.units import BITS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """When activations are in memory: the storage of each, by tensor id, the first kernel that touches it and the last; *kernels* in all.

    What the caller passes in, the *given* first ones, lives from the start, and with what is returned to the end, which is
    `last == kernels`.
    """

    roots: Ints
    first: Ints
    last: Ints
    kernels: int
    given: int


def lifetimes(graph: Graph, *, called: bool = False) -> Lifetimes:
    """Follow the storage of every activation of *graph* that ever leaves its kernel, from its first touch to its last.

    With *called*, as Python runs modules: what a module is called with is held until it returns, needed or not.
    """
    end = len(graph.kernels)
    born: dict[int, int] = {}
    dies: dict[int, int] = {}
    kernel_of = graph.kernel_of
    for t in graph.inputs:
        born[t.storage], dies[t.storage] = 0, end
    given = set(born)
    for op in graph.ops:
        k = kernel_of[op.id]
        for t in (*op.inputs, *op.outputs):
            root = graph.tensors[t].storage
            if graph.tensors[root].kind == "activation":
                born.setdefault(root, k)
                dies[root] = max(dies.get(root, 0), k)
    for root, op in _held(graph) if called else ():
        if root in born:
            dies[root] = max(dies[root], kernel_of[op])
    dies.update((graph.tensors[t].storage, end) for t in graph.outputs if graph.tensors[t].storage in born)
    kept = [root for root in born if born[root] < dies[root] or len(graph.kernels[born[root]]) == 1]  # the others stay in a kernel
    roots, first, last = (np.array(list(values), dtype=np.int64) for values in (kept, map(born.get, kept), map(dies.get, kept)))
    return Lifetimes(roots, first, last, end, sum(root in given for root in kept))


def _held(graph: Graph) -> Iterator[tuple[int, int]]:
    """Yield each storage that a running module was called with, and the last op of that module.

    What an op reads and another module made has been passed to every module that is on the way down from there. The
    backward pass and the optimiser have no such frames.
    """
    frames: dict[str, tuple[int, set[int]]] = {}
    first: dict[int, int] = {}
    for op in graph.ops:
        entered = set(_ancestors(op.module)) if phase_of(op) == FORWARD else set[str]()
        for path in frames.keys() - entered:
            yield from ((root, op.id - 1) for root in frames.pop(path)[1])
        for path in entered - frames.keys():
            frames[path] = (op.id, set())
        for root in {graph.tensors[t].storage for t in op.inputs}:
            for start, held in frames.values():
                if first.get(root, -1) < start:
                    held.add(root)
        for t in op.outputs:
            first.setdefault(graph.tensors[t].storage, op.id)
    yield from ((root, len(graph.ops) - 1) for _, held in frames.values() for root in held)


def _ancestors(path: str) -> Iterator[str]:
    """Yield *path* and every module that holds it, but not the whole network."""
    while path:
        yield path
        path = path.rpartition(".")[0]


def storage_bytes(found: Lifetimes, graph: Graph, numel: Floats) -> Floats:
    """Bytes of each storage of *found*, (batches, storages), from the elements of all tensors, (batches, tensors)."""
    return numel[:, found.roots] * np.array([BITS[graph.tensors[r].dtype] / 8 * graph.tensors[r].density for r in found.roots])


def live_bytes(found: Lifetimes, sizes: Floats) -> Floats:
    """Bytes of the activations alive while each kernel runs, (batches, kernels), from those of each storage."""
    change = np.zeros((len(sizes), found.kernels + 2))
    for row, size in zip(change, sizes, strict=True):
        row += np.bincount(found.first, weights=size, minlength=found.kernels + 2)
        row -= np.bincount(found.last + 1, weights=size, minlength=found.kernels + 2)
    return np.cumsum(change, axis=1)[:, : max(found.kernels, 1)]


def growth(graph: Graph) -> Floats:
    """Elements of every tensor for each power of the batch, as (powers, tensors): at *b* items they are `sum(row * b ** power)`.

    A graph fixed at its shapes has the power 0 alone.
    """
    powers = np.array([sum(t.batch_powers) if graph.batch else 0 for t in graph.tensors], dtype=np.int64)
    per_item = np.array([t.numel for t in graph.tensors], dtype=np.float64) / float(graph.batch or 1) ** powers
    return np.where(np.arange(powers.max(initial=0) + 1)[:, None] == powers, per_item, 0.0)


def owners(found: Lifetimes, graph: Graph, kernel: int, batch: int) -> Sequence[tuple[str, float]]:
    """Name who made each activation alive while *kernel* runs, the largest first, with its bytes at *batch* items."""
    alive = found.roots[(found.first <= kernel) & (found.last >= kernel)]
    sized = [(_maker(int(root), graph), _size(graph.tensors[root], graph, batch)) for root in alive]
    return sorted(sized, key=itemgetter(1), reverse=True)


def _size(tensor: Tensor, graph: Graph, batch: int) -> float:
    """Bytes of *tensor* at *batch* items; a graph fixed at its shapes has only those."""
    growth = 1.0 if graph.batch is None else (batch / graph.batch) ** sum(tensor.batch_powers)
    return tensor.nbytes * tensor.density * growth


def _maker(root: int, graph: Graph) -> str:
    op = graph.producer.get(root)
    return graph.tensors[root].name or "input" if op is None else op.module or graph.name or op.name
