"""Rewrite a graph: change the types that tensors are stored in, and put a conversion where a reader wants another one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from roofline.graph import Graph, Op
from roofline.units import FLOATS

Wanted = Callable[[Op, int], str | None]
"""Names the type in which an op reads its input at a position; None where it takes what comes."""


def with_types(graph: Graph, dtypes: Mapping[int, str]) -> Graph:
    """Return *graph* with the tensors of the ids given stored as other types."""
    return replace(graph, tensors=tuple(replace(t, dtype=dtypes[t.id]) if t.id in dtypes else t for t in graph.tensors))


def convert(graph: Graph, made: Mapping[int, str], wanted: Wanted) -> Graph:
    """Store tensors as *made* says (others as they are), and convert each once where an op wants another type.

    A conversion is an op and a kernel of its own before the first kernel that reads it, or a part of that kernel where it makes what
    is converted. What overwrites or looks at a converted tensor does so in the memory of the copy.
    """
    tensors = [replace(t, dtype=made.get(t.id, t.dtype)) for t in graph.tensors]
    ops: list[Op] = []
    origin: dict[int, int] = {}  # new id of an op that was there before -> its old one
    copies: dict[tuple[int, str], Op] = {}
    first_reader: dict[int, int] = {}  # new id of a conversion -> the first kernel that reads it

    def read(op: Op, position: int) -> int:
        index, dtype = op.inputs[position], wanted(op, position)
        if dtype is None or dtype == tensors[index].dtype:
            return index
        if (index, dtype) not in copies:
            source = tensors[index]
            copy = replace(source, id=len(tensors), dtype=dtype, kind="activation", storage=len(tensors), name="", density=1.0)
            name, attrs = _conversion(source.dtype, dtype)
            ops.append(Op(len(ops), name, op.module, (index,), (copy.id,), ("input",), attrs))
            tensors.append(copy)
            copies[index, dtype] = ops[-1]
        conversion, reader = copies[index, dtype], graph.kernel_of[op.id]
        first_reader[conversion.id] = min(first_reader.get(conversion.id, reader), reader)
        return conversion.outputs[0]

    for op in graph.ops:
        inputs = tuple(read(op, i) for i in range(len(op.inputs)))
        memory = {graph.tensors[old].storage: tensors[new].storage for old, new in zip(op.inputs, inputs, strict=True)}
        for t in op.outputs:
            root = graph.tensors[t].storage
            tensors[t] = replace(tensors[t], storage=t if root == t else memory.get(root, root))
        origin[len(ops)] = op.id
        ops.append(replace(op, id=len(ops), inputs=inputs))
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops), kernels=regrouped(graph, ops, origin, first_reader))


def _conversion(source: str, target: str) -> tuple[str, dict[str, str]]:
    if target not in FLOATS:
        return "quantize_per_tensor", {"dtype": target}
    return ("_to_copy" if source in FLOATS else "dequantize"), {"dtype": target}


def regrouped(graph: Graph, ops: Sequence[Op], origin: Mapping[int, int], first_reader: Mapping[int, int]) -> tuple[tuple[int, ...], ...]:
    """Keep the kernels of *graph*, with each conversion before its first reader or inside the kernel that makes its source."""
    groups: dict[tuple[int, int, int], list[int]] = {}
    for op in ops:
        if op.id in origin:
            key = (graph.kernel_of[origin[op.id]], 1, 0)
        else:
            k, maker = first_reader[op.id], graph.producer.get(op.inputs[0])
            inside = maker is not None and graph.kernel_of[maker.id] == k
            key = (k, 1, 0) if inside else (k, 0, op.id)
        groups.setdefault(key, []).append(op.id)
    return tuple(tuple(groups[key]) for key in sorted(groups))


def products(graph: Graph) -> tuple[Op, ...]:
    """List convolutions and matrix products, in order."""
    return tuple(op for op in graph.ops if op.name in PRODUCT_NAMES)


def sides(op: Op) -> tuple[int, ...]:
    """Positions of the two sides of a product: its activations and its weights, without a bias or what is added to it."""
    added = ("bias", "self") if op.name in _ADDS_FIRST else ("bias",)
    return tuple(i for i, role in enumerate(op.roles) if role not in added)[:2]


def weight_storages(graph: Graph, where: Callable[[str], bool]) -> frozenset[int]:
    """Ids of the weights of at least two dimensions that products and embeddings in the layers chosen read, directly or as views."""
    readers = [(op, sides(op)) for op in products(graph)]
    readers += [(op, (op.roles.index("weight"),)) for op in graph.ops if op.name in _TABLES and "weight" in op.roles]
    found: set[int] = set()
    for op, positions in readers:
        if where(op.module):
            roots = (graph.tensors[graph.tensors[op.inputs[i]].storage] for i in positions)
            found |= {root.id for root in roots if root.kind == "weight" and len(root.shape) > 1}
    return frozenset(found)


PRODUCT_NAMES = frozenset({
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "_convolution", "linear",
    "addmm", "mm", "matmul", "bmm", "baddbmm",
})  # fmt: skip
"""Ops that multiply and accumulate, and that engines run on integers."""

_ADDS_FIRST = frozenset({"addmm", "baddbmm"})
_TABLES = frozenset({"embedding", "embedding_bag", "_embedding_bag"})
