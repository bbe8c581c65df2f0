"""Turn a graph into the same graph with ops merged into kernels, or with batch norms folded away.

Fusing only regroups ops: FLOPs stay, and tensors that stay inside a kernel are no longer moved.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from roofline.cost import work
from roofline.graph import Graph, Op, singletons
from roofline.transforms.selection import EVERYWHERE, Where
from roofline.units import BITS

POINTWISE = frozenset({"activation", "elementwise", "compare", "cast", "create"})
NORMS = frozenset({"batch norm", "layer norm", "group norm"})
REDUCING = NORMS | {"softmax", "reduction"}
PRODUCTS = frozenset({"conv", "pointwise conv", "depthwise conv", "grouped conv", "linear", "matmul"})

Join = Callable[[Op, Sequence[Op]], bool]
"""Decides whether an op may run in the same kernel as the ops given, which made one of its inputs."""


def fuse(graph: Graph, may_join: Join) -> Graph:
    """Merge each op into the kernel of its latest input where *may_join* allows it.

    Joining the latest producer is always safe: every other input was made by an earlier kernel. A view stays with the
    kernel it looks at, as it costs nothing anywhere, unless it gathers several; views of weights come first. Ops that share a
    kernel already join together, or stay together.
    """
    kernels: list[list[Op]] = []
    home: dict[int, int] = {}
    constant_views: list[int] = []
    for group in graph.kernels:
        ops = [graph.ops[i] for i in group]
        latest = max((home[t] for op in ops for t in op.inputs if t in home), default=None)
        if latest is None and len(ops) == 1 and graph.is_view(ops[0]):
            constant_views.append(ops[0].id)
            continue
        if latest is not None and _all_join(ops, latest, kernels[latest], home, graph, may_join):
            kernels[latest] += ops
        else:
            latest = len(kernels)
            kernels.append(ops)
        home.update((t, latest) for op in ops for t in op.outputs)
    grouped = tuple(tuple(op.id for op in ops) for ops in kernels)
    return replace(graph, kernels=tuple((i,) for i in constant_views) + grouped)


def _all_join(ops: Sequence[Op], latest: int, kernel: Sequence[Op], home: Mapping[int, int], graph: Graph, may_join: Join) -> bool:
    """Tell whether *ops*, of which the first reads what *kernel* makes, may join it one after another."""
    if latest != max((home[t] for t in ops[0].inputs if t in home), default=None):
        return False
    grown = list(kernel)
    for op in ops:
        if not ((graph.is_view(op) and not graph.is_gathered(op)) or may_join(op, grown)):
            return False
        grown.append(op)
    return True


def chosen_only(join: Join, where: Where) -> Join:
    """Let *join* decide on ops in the layers that *where* chooses; no other joins."""
    return join if where == EVERYWHERE else lambda op, kernel: where(op.module) and join(op, kernel)


def fold_batch_norm(graph: Graph, where: Where = EVERYWHERE) -> Graph:
    """Drop each batch norm chosen that follows a convolution or a linear layer alone; its shift becomes the bias."""
    renamed: dict[int, int] = {}
    biases: dict[int, int] = {}
    dropped: set[int] = set()
    for op in graph.ops:
        if op.name != "batch_norm" or not where(op.module):
            continue
        source = op.inputs[0]
        before = graph.producer.get(source)
        if before is not None and _foldable(before, source, graph):
            dropped.add(op.id)
            renamed[before.id] = op.outputs[0]
            shift = op.input("bias")
            shift = op.input("running_mean") if shift is None else shift  # as large, where the norm has no bias of its own
            if shift is not None and before.input("bias") is None:
                biases[before.id] = shift
    kept = [_with_bias(op, renamed, biases) for op in graph.ops if op.id not in dropped]
    position = {op.id: i for i, op in enumerate(kept)}
    groups = (tuple(position[i] for i in group if i in position) for group in graph.kernels)
    ops = tuple(replace(op, id=i) for i, op in enumerate(kept))
    return replace(graph, ops=ops, kernels=tuple(group for group in groups if group))


def _foldable(before: Op, output: int, graph: Graph) -> bool:
    alone = len(graph.consumers[output]) == 1 and output not in graph.outputs
    return alone and work(before, graph).kind in PRODUCTS - {"matmul"}


def _with_bias(op: Op, renamed: dict[int, int], biases: dict[int, int]) -> Op:
    if op.id not in renamed:
        return op
    op = replace(op, outputs=(renamed[op.id],))
    return replace(op, inputs=(*op.inputs, biases[op.id]), roles=(*op.roles, "bias")) if op.id in biases else op


def gather_in_place(graph: Graph, where: Where = EVERYWHERE) -> Graph:
    """Give the parts of each concatenation chosen their memory inside its result, so that nothing is copied.

    A part must be the whole of what an op other than a concatenation made, and can be in one place only.
    """
    home: dict[int, int] = {}
    for op in graph.ops:
        parts = {graph.tensors[t].storage for t in op.inputs}
        alone = op.name == "cat" and where(op.module) and len(parts) == len(op.inputs) and home.keys().isdisjoint(parts)
        if alone and all(_is_whole(t, graph) for t in op.inputs):
            home |= dict.fromkeys(parts, op.outputs[0])
    return replace(graph, tensors=tuple(replace(t, storage=home.get(t.storage, t.storage)) for t in graph.tensors)) if home else graph


def _is_whole(index: int, graph: Graph) -> bool:
    """Tell whether this tensor is all of a memory that some op made, other than by concatenating."""
    tensor = graph.tensors[index]
    maker = graph.producer.get(tensor.storage)
    return maker is not None and maker.name != "cat" and graph.tensors[tensor.storage].shape == tensor.shape


def fuse_engine(graph: Graph, where: Where = EVERYWHERE) -> Graph:
    """Fuse as an inference engine does: batch norms folded, then bias, activation and residual into each product.

    What would be concatenated is written to its place in the result: TensorRT does so (NVIDIA's blog, "Deploying Deep Neural
    Networks with NVIDIA TensorRT", 2017, recalled).
    """
    graph = gather_in_place(fold_batch_norm(graph, where), where)
    kinds = kinds_of(graph)

    def may_join(op: Op, kernel: Sequence[Op]) -> bool:
        if kinds[op.id] not in POINTWISE and op.name != "batch_norm":
            return False
        hosts = PRODUCTS | POINTWISE | NORMS
        return all(kinds[o.id] in hosts or graph.is_view(o) for o in kernel) and same_space(op, kernel, graph)

    return fuse(graph, chosen_only(may_join, where))


def fuse_activation(graph: Graph, where: Where = EVERYWHERE) -> Graph:
    """Compute each activation in the kernel that makes its input, swish in two ops (a sigmoid and a product) too."""
    kinds = kinds_of(graph)

    def may_join(op: Op, kernel: Sequence[Op]) -> bool:
        swish = op.name == "mul" and any(o.name in _GATES and set(o.inputs) <= set(op.inputs) for o in kernel)
        if kinds[op.id] != "activation" and not swish:
            return False
        return all(kinds[o.id] in _EPILOGUE_HOSTS or graph.is_view(o) for o in kernel) and same_space(op, kernel, graph)

    return fuse(graph, chosen_only(may_join, where))


def fuse_residual(graph: Graph, where: Where = EVERYWHERE) -> Graph:
    """Add each residual in the kernel that makes the later of the two summands."""
    kinds = kinds_of(graph)

    def may_join(op: Op, kernel: Sequence[Op]) -> bool:
        sums = op.name == "add" and len({t for t in op.inputs if graph.tensors[t].kind != "weight"}) == 2
        return sums and all(kinds[o.id] in _EPILOGUE_HOSTS or graph.is_view(o) for o in kernel) and same_space(op, kernel, graph)

    return fuse(graph, chosen_only(may_join, where))


def fuse_ideal(graph: Graph, capacity: float) -> Graph:
    """Fuse depth first while the rows and weights that a chain keeps in flight fit in *capacity* bytes of on-chip memory.

    A sliding window needs as many rows of its input as it is high; an op that needs its whole input (global pooling,
    attention, softmax) keeps that of one item. Items of the batch pass one after another, so weights are kept too. An op that
    keeps nothing, such as an activation, joins even where the weights before it are too large to stay. What was merged before
    is taken apart first.
    """
    graph = gather_in_place(fold_batch_norm(replace(graph, kernels=singletons(graph.ops))))
    held: dict[int, float] = {}

    def may_join(op: Op, kernel: Sequence[Op]) -> bool:
        inside = {t for o in kernel for t in o.outputs}
        so_far = held.get(kernel[0].id)
        if so_far is None:
            so_far = sum(_weights(o, graph) for o in kernel)
        added = _weights(op, graph) + sum(_in_flight(op, t, graph) for t in op.inputs if t in inside)
        if added and so_far + added > capacity:
            return False
        held[kernel[0].id] = so_far + added
        return True

    return fuse(graph, may_join)


_EPILOGUE_HOSTS = PRODUCTS | POINTWISE | NORMS
_GATES = frozenset({"sigmoid", "hardsigmoid"})
WINDOWED = frozenset({"max_pool2d", "avg_pool2d", "max_pool2d_with_indices", "avg_pool1d", "max_pool1d"})


def kinds_of(graph: Graph) -> list[str]:
    """Name the kind of each op."""
    return [work(op, graph).kind for op in graph.ops]


def largest(op: Op, graph: Graph) -> int:
    """Count the elements of the largest tensor that *op* writes."""
    return max((graph.tensors[t].numel for t in op.outputs), default=0)


def same_space(op: Op, kernel: Sequence[Op], graph: Graph) -> bool:
    """Tell whether *op* has one element for each that the kernel's last op has."""
    return largest(op, graph) == largest(kernel[-1], graph)


def _weights(op: Op, graph: Graph) -> float:
    return sum(graph.tensors[t].nbytes for t in op.inputs if graph.tensors[t].kind in ("weight", "buffer"))


def _in_flight(op: Op, index: int, graph: Graph) -> float:
    """Bytes of one item's input that *op* keeps while it runs: window rows, one element, or all of it."""
    tensor = graph.tensors[index]
    item = tensor.numel / max(math.prod(tensor.shape[i] for i, p in enumerate(tensor.batch_powers) if p), 1) * BITS[tensor.dtype] / 8
    kind = work(op, graph).kind
    if kind in POINTWISE or graph.is_view(op) or op.name == "batch_norm":
        return 0.0
    windowed = kind in ("conv", "pointwise conv", "depthwise conv", "grouped conv") or op.name in WINDOWED
    if windowed and len(tensor.shape) == 4:
        rows = op.attrs.get("kernel_size") or graph.tensors[op.inputs[1]].shape[2:]
        return item / tensor.shape[2] * min(rows[0] if isinstance(rows, tuple) else rows, tensor.shape[2])
    return item
