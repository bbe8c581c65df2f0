"""Fuse squeeze-excite as far as its data allow: the gate in one kernel between the pooling and the multiplication.

The gate of a channel depends on every pixel, so the pooling must end before the products start, and the image is read again to be
multiplied. What lies between are a few numbers an item: two products, an activation and the gate fit in one kernel.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from roofline.cost import work
from roofline.graph import Graph, Op
from roofline.transforms.fusion import PRODUCTS
from roofline.transforms.selection import EVERYWHERE, Where

_BETWEEN = PRODUCTS | {"activation", "elementwise", "batch norm", "layer norm", "copy", "view", "cast"}


def fuse_excite(graph: Graph, where: Where = EVERYWHERE) -> Graph:
    """Merge what lies between the pooling and the multiplication of each squeeze-excite chosen into one kernel."""
    gates = (_gate(op, graph) for op in graph.ops if op.name == "mul")
    for gate in gates:
        if gate and where(gate[-1].module):
            graph = _merged(graph, frozenset(op.id for op in gate))
    return graph


def _gate(scale: Op, graph: Graph) -> Sequence[Op]:
    """List the ops, in order, that turn what a pooling leaves of one factor of *scale* into its other factor; none if it is no gate."""
    sizes = [graph.tensors[t].numel for t in scale.inputs]
    if len(sizes) != 2 or min(sizes) == max(sizes):
        return ()
    index, chain = scale.inputs[sizes.index(min(sizes))], list[Op]()
    while (op := graph.producer.get(index)) is not None:
        kind = work(op, graph).kind
        if kind in ("pool", "reduction"):
            return chain[::-1] if any(work(o, graph).kind in PRODUCTS for o in chain) else ()
        alone = len(graph.consumers[index]) == 1 and index not in graph.outputs
        if kind not in _BETWEEN or not alone or len(op.outputs) != 1:
            return ()
        chain.append(op)
        activations = [t for t in op.inputs if graph.tensors[graph.tensors[t].storage].kind not in ("weight", "buffer")]
        if len(activations) != 1:
            return ()
        index = activations[0]
    return ()


def _merged(graph: Graph, ops: Collection[int]) -> Graph:
    """Put *ops*, a chain, into one kernel where its last one runs; the graph as it is where one shares a kernel with others."""
    touched = sorted({graph.kernel_of[i] for i in ops})
    if len(touched) < 2 or any(i not in ops for k in touched for i in graph.kernels[k]):
        return graph
    whole = tuple(i for k in touched for i in graph.kernels[k])
    kernels = (whole if k == touched[-1] else kernel for k, kernel in enumerate(graph.kernels) if k not in touched[:-1])
    return replace(graph, kernels=tuple(kernels))
