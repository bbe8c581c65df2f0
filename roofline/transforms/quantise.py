"""Turn a graph into the same graph with weights, activations, or both, stored as small integers.

An engine keeps activations in int8 between products. A product adds up in int32 and rescales to what its readers take, so no op
that widens stands alone; what a float op made is narrowed by a quantise op before a product reads it. In eager mode that is a kernel
of its own; modes that fuse put it into the op before it.
"""

from dataclasses import replace

from roofline.graph import Graph, Op, Tensor
from roofline.transforms.rewrite import convert, products, sides, weight_storages
from roofline.transforms.selection import EVERYWHERE, Where
from roofline.units import BITS, FLOATS

INDEX_BITS = 1.0
"""Bits that a compressed weight spends on each place it may stand in: see `sparsity.py`."""

ON_INTEGERS = frozenset({
    "relu", "relu6", "hardtanh", "clamp", "clamp_min", "add", "mul", "cat", "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool2d",
    "adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "pad", "constant_pad_nd", "roll", "contiguous", "clone", "reshape", "flatten",
    "upsample_nearest2d", "dropout",
})  # fmt: skip
"""Ops that engines run on int8 tensors, beside products and views; all others compute in floats (ONNX Runtime and TensorRT list
the same kinds: recalled)."""


def quantise_weights(graph: Graph, dtype: str, where: Where = EVERYWHERE) -> Graph:
    """Store the weights of convolutions and products as *dtype*; where activations are floats they are widened when read."""
    chosen = weight_storages(graph, where)
    tensors = (store_as(t, dtype) if t.storage in chosen and BITS[dtype] < BITS[t.dtype] else t for t in graph.tensors)
    return replace(graph, tensors=tuple(tensors))


def store_as(tensor: Tensor, dtype: str) -> Tensor:
    """Store *tensor* as *dtype*; one that is kept compressed still spends the same bits on where its values stand."""
    if tensor.density == 1:
        return replace(tensor, dtype=dtype)
    kept = tensor.density - INDEX_BITS / BITS[tensor.dtype]
    return replace(tensor, dtype=dtype, density=kept + INDEX_BITS / BITS[dtype])


def quantise_activations(graph: Graph, dtype: str = "int8", where: Where = EVERYWHERE) -> Graph:
    """Let products in the layers chosen read *dtype*, and store what only such products read so; the rest stays in floats.

    A product whose weights are integers too then computes on them; else it widens what it reads.
    """
    chosen = frozenset(op.id for op in products(graph) if where(op.module))
    narrow = _narrow(graph, chosen)
    makes = {op.id for op in graph.ops if op.id in chosen or (_passes(op, graph) and narrow.issuperset(op.outputs))}
    made = {t: dtype for op in graph.ops if op.id in makes for t in op.outputs if t in narrow}

    def wanted(op: Op, position: int) -> str | None:
        tensor = graph.tensors[op.inputs[position]]
        if not _is_activation(tensor, graph):
            return None
        if op.id in chosen:
            return dtype if position in sides(op) else tensor.dtype
        return dtype if op.id in makes else tensor.dtype

    return convert(graph, made, wanted)


def quantise(graph: Graph, dtype: str = "int8", where: Where = EVERYWHERE) -> Graph:
    """Quantise weights and activations of the products in the layers chosen, which then compute on integers."""
    return quantise_activations(quantise_weights(graph, dtype, where), dtype, where)


def _narrow(graph: Graph, chosen: frozenset[int]) -> frozenset[int]:
    """Ids of the activations that every reader takes as integers: a product chosen, or an op that passes them on to such."""
    narrow: set[int] = set()
    outputs = frozenset(graph.outputs)
    readers = graph.consumers
    for op in reversed(graph.ops):
        for t in op.outputs:
            by = readers.get(t, ())
            floats = _is_activation(graph.tensors[t], graph) and t not in outputs
            if floats and by and all(_reads_integers(reader, t, graph, chosen, narrow) for reader in by):
                narrow.add(t)
    return frozenset(narrow)


def _reads_integers(reader: Op, tensor: int, graph: Graph, chosen: frozenset[int], narrow: set[int]) -> bool:
    if reader.id in chosen:
        return all(i in sides(reader) for i, t in enumerate(reader.inputs) if t == tensor)
    return _passes(reader, graph) and narrow.issuperset(reader.outputs)


def _passes(op: Op, graph: Graph) -> bool:
    return op.name in ON_INTEGERS or graph.is_view(op)


def _is_activation(tensor: Tensor, graph: Graph) -> bool:
    """Tell whether *tensor* holds floats that the network computes or is given."""
    root = graph.tensors[tensor.storage]
    return tensor.dtype in FLOATS and tensor.kind in ("input", "activation") and root.kind not in ("weight", "buffer")
