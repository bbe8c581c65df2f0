"""Turn a graph into the same graph with zeros in its weights or activations, stored without them.

Compressed storage holds the values that are kept and one bit for each place, which says where they stand. For unstructured zeros that
is a bitmap; for 2:4 sparsity, two values kept of each four at 2 bits apiece, the same (Mishra et al., Accelerating Sparse Deep Neural
Networks, 2021, arXiv 2104.08378, section 3: recalled).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from roofline.cost import PRUNED_2_4, SKIPPED, work
from roofline.graph import Graph, Op, Tensor
from roofline.transforms.quantise import INDEX_BITS
from roofline.transforms.rewrite import PRODUCT_NAMES, sides, weight_storages
from roofline.transforms.selection import EVERYWHERE, Where
from roofline.units import BITS

RECTIFIERS = frozenset({"relu", "relu6", "hardtanh", "threshold"})
"""Activations that give exact zeros."""


def compressed(tensor: Tensor, zeros: float) -> Tensor:
    """Store *tensor* without the share *zeros* of its values, or as it is where that is no smaller."""
    density = (1 - zeros) + INDEX_BITS / BITS[tensor.dtype]
    return replace(tensor, density=density) if density < tensor.density else tensor


def sparse_weights(graph: Graph, zeros: float, where: Where = EVERYWHERE) -> Graph:
    """Drop the share *zeros* of the weights of products, anywhere; bytes fall, but no engine skips the arithmetic."""
    chosen = weight_storages(graph, where)
    return replace(graph, tensors=tuple(compressed(t, zeros) if t.storage in chosen else t for t in graph.tensors))


def sparse_2_4(graph: Graph, where: Where = EVERYWHERE) -> Graph:
    """Keep two of each four weights along the inner side of dense products: half the weights, on engines made for it half the time."""
    fits = frozenset(op.id for op in graph.ops if where(op.module) and _fits_2_4(op, graph))
    weights = {graph.tensors[op.inputs[sides(op)[1]]].storage for op in graph.ops if op.id in fits}
    tensors = (compressed(t, 0.5) if t.storage in weights else t for t in graph.tensors)
    return replace(graph, tensors=tuple(tensors), ops=_marked(graph, lambda op: {PRUNED_2_4: True} if op.id in fits else {}))


def _fits_2_4(op: Op, graph: Graph) -> bool:
    """Tell whether *op* is a dense product with weights whose inner side comes in fours."""
    if op.name not in PRODUCT_NAMES or len(sides(op)) < 2:
        return False
    root = graph.tensors[graph.tensors[op.inputs[sides(op)[1]]].storage]
    found = work(op, graph)
    return root.kind == "weight" and found.groups == 1 and found.matrix_flops > 0 and found.depth / found.taps % 4 == 0


def sparse_activations(graph: Graph, zeros: float, where: Where = EVERYWHERE) -> Graph:
    """Let the share *zeros* of what rectifiers write be zero, neither stored nor multiplied: what skipping them could save at most."""
    sources: set[int] = set()
    for op in graph.ops:
        if (op.name in RECTIFIERS and where(op.module)) or (graph.is_view(op) and sources.intersection(op.inputs)):
            sources.update(op.outputs)
    readers = {op.id for op in graph.ops if op.name in PRODUCT_NAMES and op.inputs[sides(op)[0]] in sources}
    tensors = (compressed(t, zeros) if t.id in sources else t for t in graph.tensors)
    return replace(graph, tensors=tuple(tensors), ops=_marked(graph, lambda op: _skipping(op, zeros) if op.id in readers else {}))


def _skipping(op: Op, zeros: float) -> Mapping[str, object]:
    return {SKIPPED: max(zeros, op.attrs.get(SKIPPED, 0.0))}


def _marked(graph: Graph, attrs: Callable[[Op], Mapping[str, object]]) -> tuple[Op, ...]:
    return tuple(replace(op, attrs={**op.attrs, **found}) if (found := attrs(op)) else op for op in graph.ops)
