"""Group ops into the kernels that torch.compile makes: generated loops, and calls of libraries."""

from collections.abc import Sequence
from dataclasses import replace

from roofline.graph import Graph, Op
from roofline.transforms.fusion import POINTWISE, REDUCING, WINDOWED, chosen_only, fuse, kinds_of, largest, same_space
from roofline.transforms.selection import EVERYWHERE, Where

_GENERATED = frozenset({"cat", "pad", "constant_pad_nd", "roll", "clone", "index", "_unsafe_index"})
_EXPONENTIAL = frozenset({"silu", "sigmoid", "mish", "tanh", "elu", "selu", "celu", "softplus", "exp", "log_sigmoid"})
_COSTLY = _EXPONENTIAL | {"gelu"}
"""What a core takes long for."""


def fuse_compiled(graph: Graph, where: Where = EVERYWHERE, *, recompute: bool = False) -> Graph:
    """Fuse as a pointwise compiler does: elementwise chains with the reductions they feed; products stay library calls.

    With *recompute*, as on a GPU, a cheap activation that only generated kernels read is computed in each of them anew.
    """
    costly = _EXPONENTIAL if recompute else _COSTLY
    fused = _fuse_generated(graph, where, costly)
    again = _recomputed(graph, fused, where) if recompute else graph
    return fused if again is graph else _fuse_generated(again, where, costly)


def _fuse_generated(graph: Graph, where: Where, costly: frozenset[str]) -> Graph:
    kinds = kinds_of(graph)

    def may_join(op: Op, kernel: Sequence[Op]) -> bool:
        if any(kinds[o.id] not in POINTWISE | REDUCING and not graph.is_view(o) and o.name not in _GENERATED for o in kernel):
            return False
        if kinds[op.id] in POINTWISE or op.name == "batch_norm":
            return same_space(op, kernel, graph)
        if kinds[op.id] not in REDUCING | {"pool"} or op.name in WINDOWED or _written_out(op, kernel, costly, graph):
            return False
        return _reads_space(op, kernel, graph)

    return fuse(graph, chosen_only(may_join, where))


def _recomputed(graph: Graph, fused: Graph, where: Where) -> Graph:
    """Give each kernel of *fused* that reads a cheap activation one of its own, where all of them are generated.

    Cheap is one that takes no exponential, and of which the input was written by another kernel. So does Inductor, which counts what
    is read: after a batch norm it is too much (`should_realize_on_reuse` in torch/_inductor/ir.py).
    """
    kinds, tensors, ops = kinds_of(graph), list(graph.tensors), list[Op]()
    own: dict[tuple[int, int], int] = {}  # tensor, reader -> the copy for it
    again: dict[int, list[Op]] = {}  # reader -> activations computed before it
    for op in graph.ops:
        cheap = kinds[op.id] == "activation" and op.name not in _EXPONENTIAL and not op.inplace and where(op.module)
        readers = _readers(op.outputs[0], graph) if cheap and fused.kernels[fused.kernel_of[op.id]][0] == op.id else []
        homes = [fused.kernel_of[reader.id] for _, reader in readers]
        if len({*homes}) < 2 or not all(_computes(reader, op, kinds, graph) for _, reader in readers):
            continue
        first = fused.kernel_of[op.id] if fused.kernel_of[op.id] in homes else homes[0]
        copies: dict[int, int] = {}
        for home, (read, reader) in zip(homes, readers, strict=True):
            if home == first:
                continue
            if home not in copies:
                copies[home] = len(tensors)
                tensors.append(replace(tensors[op.outputs[0]], id=len(tensors), storage=len(tensors)))
                again.setdefault(reader.id, []).append(replace(op, outputs=(copies[home],)))
            own[read, reader.id] = copies[home]
    if not again:
        return graph
    groups: dict[int, list[int]] = {}
    for op in graph.ops:
        for each in again.get(op.id, ()):
            groups[-len(ops) - 1] = [len(ops)]
            ops.append(replace(each, id=len(ops)))
        groups.setdefault(graph.kernel_of[op.id], []).append(len(ops))
        ops.append(replace(op, id=len(ops), inputs=tuple(own.get((t, op.id), t) for t in op.inputs)))
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops), kernels=tuple(sorted(map(tuple, groups.values()))))


def _readers(index: int, graph: Graph) -> list[tuple[int, Op]]:
    """List the ops that read a tensor, each with what it reads: the tensor, or the same under another id."""
    found: list[tuple[int, Op]] = []
    for op in graph.consumers.get(index, ()):
        same = graph.is_view(op) and graph.tensors[op.outputs[0]].shape == graph.tensors[index].shape
        found += _readers(op.outputs[0], graph) if same else [(index, op)]
    return found


def _computes(reader: Op, op: Op, kinds: Sequence[str], graph: Graph) -> bool:
    """Tell whether a compiler writes the kernel of *reader* itself, and may compute *op* in it, element by element."""
    if kinds[reader.id] in POINTWISE:
        return largest(reader, graph) == largest(op, graph)
    return kinds[reader.id] in REDUCING or (kinds[reader.id] == "pool" and reader.name not in WINDOWED)


def _written_out(op: Op, kernel: Sequence[Op], costly: frozenset[str], graph: Graph) -> bool:
    """Tell whether a compiler stores what *op* reduces: others read it too, and computing it again would cost more."""
    shared = len(graph.consumers[op.inputs[0]]) > 1
    return shared and any(o.name in costly for o in kernel)


def _reads_space(op: Op, kernel: Sequence[Op], graph: Graph) -> bool:
    """Tell whether *op* reduces over the elements that the kernel's last op makes."""
    return graph.tensors[op.inputs[0]].numel == largest(kernel[-1], graph)
