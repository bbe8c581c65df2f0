"""Group ops into the kernels that torch.compile makes for a CPU, or of a training step: generated loops, and calls of libraries."""

from collections.abc import Sequence

from roofline.graph import Graph, Op
from roofline.transforms.fusion import POINTWISE, REDUCING, WINDOWED, chosen_only, fuse, kinds_of, largest, same_space
from roofline.transforms.selection import EVERYWHERE, Where

_GENERATED = frozenset({"cat", "pad", "constant_pad_nd", "roll", "clone", "index", "_unsafe_index"})
_COSTLY = frozenset({"silu", "sigmoid", "mish", "tanh", "elu", "selu", "celu", "softplus", "exp", "log_sigmoid", "gelu"})
"""What a core takes long for."""


def fuse_compiled(graph: Graph, where: Where = EVERYWHERE) -> Graph:
    """Fuse as a pointwise compiler does: elementwise chains with the reductions they feed; products stay library calls.

    Every result that several kernels read is written once. What Inductor generates for a GPU is told in more detail by
    `transforms/inductor.py`.
    """
    kinds = kinds_of(graph)

    def may_join(op: Op, kernel: Sequence[Op]) -> bool:
        if any(kinds[o.id] not in POINTWISE | REDUCING and not graph.is_view(o) and o.name not in _GENERATED for o in kernel):
            return False
        if kinds[op.id] in POINTWISE or op.name == "batch_norm":
            return same_space(op, kernel, graph)
        if kinds[op.id] not in REDUCING | {"pool"} or op.name in WINDOWED or _written_out(op, kernel, graph):
            return False
        return _reads_space(op, kernel, graph)

    return fuse(graph, chosen_only(may_join, where))


def _written_out(op: Op, kernel: Sequence[Op], graph: Graph) -> bool:
    """Tell whether a compiler stores what *op* reduces: others read it too, and computing it again would cost more."""
    shared = len(graph.consumers[op.inputs[0]]) > 1
    return shared and any(o.name in _COSTLY for o in kernel)


def _reads_space(op: Op, kernel: Sequence[Op], graph: Graph) -> bool:
    """Tell whether *op* reduces over the elements that the kernel's last op makes."""
    return graph.tensors[op.inputs[0]].numel == largest(kernel[-1], graph)
