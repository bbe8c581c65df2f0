"""Follow what lies in memory while a network runs: when each activation is born and freed, and who holds the peak."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from roofline.graph import Graph, Tensor
from roofline.units import BITS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """When activations are in memory: the storage of each, by tensor id, the first kernel that touches it and the last; *kernels* in all.

    What the caller passes in lives from the start, and with what is returned to the end, which is `last == kernels`.
    """

    roots: Ints
    first: Ints
    last: Ints
    kernels: int


def lifetimes(graph: Graph) -> Lifetimes:
    """Follow the storage of every activation of *graph* that ever leaves its kernel, from its first touch to its last."""
    end = len(graph.kernels)
    born: dict[int, int] = {}
    dies: dict[int, int] = {}
    kernel_of = graph.kernel_of
    for t in graph.inputs:
        born[t.storage], dies[t.storage] = 0, end
    for op in graph.ops:
        k = kernel_of[op.id]
        for t in (*op.inputs, *op.outputs):
            root = graph.tensors[t].storage
            if graph.tensors[root].kind == "activation" and not _internal(root, graph):
                born.setdefault(root, k)
                dies[root] = max(dies.get(root, 0), k)
    dies.update((graph.tensors[t].storage, end) for t in graph.outputs if graph.tensors[t].storage in born)
    roots, first, last = (np.array(list(values), dtype=np.int64) for values in (born, born.values(), (dies[root] for root in born)))
    return Lifetimes(roots, first, last, end)


def live_bytes(found: Lifetimes, graph: Graph, numel: Floats) -> Floats:
    """Bytes of the activations alive while each kernel runs, (batches, kernels), from the elements of all tensors, (batches, tensors)."""
    width = np.array([BITS[graph.tensors[r].dtype] / 8 * graph.tensors[r].density for r in found.roots])
    sizes = numel[:, found.roots] * width
    change = np.zeros((len(numel), found.kernels + 2))
    for row, size in zip(change, sizes, strict=True):
        row += np.bincount(found.first, weights=size, minlength=found.kernels + 2)
        row -= np.bincount(found.last + 1, weights=size, minlength=found.kernels + 2)
    return np.cumsum(change, axis=1)[:, : max(found.kernels, 1)]


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


def _internal(root: int, graph: Graph) -> bool:
    """Tell whether a tensor never leaves the kernel that makes it."""
    maker = graph.producer.get(root)
    if maker is None or root in graph.outputs:
        return False
    home = graph.kernel_of[maker.id]
    return len(graph.kernels[home]) > 1 and all(graph.kernel_of[op.id] == home for op in graph.consumers.get(root, ()))
