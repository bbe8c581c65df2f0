"""Add the copies that eager PyTorch makes on a GPU where an operator cannot read a tensor as it lies.

A view in another order, a slice of the channels, an image in channels-last: many operators want their input without gaps and in an
order of their own, and copy it first. A reshape is a view or a copy, as the order allows. What a kernel writes has an order too,
which the next one finds.
"""

from collections.abc import Sequence
from dataclasses import replace

from roofline.graph import CHANNELS_LAST, OF_SEVERAL, READER, Graph, Op, Tensor
from roofline.transforms import strides as at
from roofline.transforms.orderrules import RULES, Found, Lie, part, plain
from roofline.transforms.rewrite import regrouped

_SEVERAL = 61
"""A batch size that stands for all but one."""

_NEEDLESS = frozenset({"to", "type_as", "dropout"})
"""Ops that return what they are given where there is nothing to do."""


def with_copies(graph: Graph, layout: str) -> Graph:
    """Return *graph* with images that enter in *layout*, and with the copies that its operators make of what they read.

    A copy is an op and a kernel of its own, in the layer that asks for it, and marked if none is made of a single item; a reshape that
    no view can do becomes one.
    """
    pairs = [*zip(graph.ops, follow(graph, layout, _SEVERAL), strict=True)]
    if not any(any(found.copies) or found.last or found.view not in (None, graph.is_view(op)) for op, found in pairs):
        return graph
    alone = follow(graph, layout, 1) if any(any(found.copies) for _, found in pairs) else ()
    tensors = list(graph.tensors)
    ops: list[Op] = []
    origin: dict[int, int] = {}
    first_reader: dict[int, int] = {}
    for op, found in pairs:
        inputs: list[int] = []
        for i, copied in zip(op.inputs, found.copies, strict=True):
            if copied:
                copy = replace(tensors[i], id=len(tensors), kind="activation", storage=len(tensors), name="", density=1.0)
                tensors.append(copy)
                first_reader[len(ops)] = graph.kernel_of[op.id]
                often = {} if alone[op.id].copies[len(inputs)] else {OF_SEVERAL: True}
                ops.append(Op(len(ops), "contiguous", op.module, (i,), (copy.id,), ("self",), {READER: op.name, **often}))
            inputs.append(tensors[-1].id if copied else i)
        _settle(op, inputs, found.view, graph, tensors)
        origin[len(ops)] = op.id
        attrs = {**op.attrs, CHANNELS_LAST: True} if found.last else op.attrs
        name = "reshape" if found.view is False and op.name != "contiguous" else op.name
        ops.append(replace(op, id=len(ops), name=name, inputs=tuple(inputs), attrs=attrs))
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops), kernels=regrouped(graph, ops, origin, first_reader))


def follow(graph: Graph, layout: str, batch: int) -> tuple[Found, ...]:
    """Tell for each op of *graph* what it copies and where its results lie, when images and their weights come in *layout*.

    One image lies in both orders where several do not: *batch* tells how many there are, unless the graph is fixed.

    An op without a rule takes what comes, and writes its results as their shape says.
    """
    if graph.batch is not None:
        graph = graph.with_batch(batch)
    lies = {t.id: at.image(t.shape, last=layout == "nhwc") for t in graph.tensors if t.kind != "activation"}
    result: list[Found] = []
    for op in graph.ops:
        ins = [Lie(graph.tensors[t].shape, lies[t]) for t in op.inputs]
        shapes = [graph.tensors[t].shape for t in op.outputs]
        needless = op.name in _NEEDLESS and graph.is_view(op)
        found = (part if needless else RULES.get(op.name, plain))(op, ins, shapes)
        if op.inplace:
            found = replace(found, writes=tuple(ins[0].strides if s == ins[0].shape else at.packed(s) for s in shapes), view=None)
        lies.update(zip(op.outputs, found.writes, strict=True))
        result.append(found)
    return tuple(result)


def in_channels_last(graph: Graph) -> Graph:
    """Mark every convolution of *graph* as one of images in channels-last, as a network runs that has nothing but such images."""
    ops = (replace(op, attrs={**op.attrs, CHANNELS_LAST: True}) if op.name.startswith("conv") else op for op in graph.ops)
    return replace(graph, ops=tuple(ops))


def _settle(op: Op, inputs: Sequence[int], view: bool | None, graph: Graph, tensors: list[Tensor]) -> None:
    """Note in which memory the results of *op* lie, now that it reads *inputs* and is a *view* or not."""
    memory = {graph.tensors[old].storage: tensors[new].storage for old, new in zip(op.inputs, inputs, strict=True)}
    for t in op.outputs:
        root = graph.tensors[t].storage
        if view is not None:
            root = tensors[inputs[0]].storage if view else t
        elif root != t:
            root = memory.get(root, root)
        tensors[t] = replace(tensors[t], storage=root)
