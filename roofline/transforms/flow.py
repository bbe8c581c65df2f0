"""Follow the sizes of dimensions through a graph: which depend on each other, op by op.

Every dimension of every tensor is written as a `Size` of `channels.py`. Dimensions of weights start as sets of their own, those of the
batch, of images and of the inputs are fixed, and each op states which are equal and how its results are made. An op without a
rule fixes what it reads.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from roofline.graph import Graph, Op
from roofline.transforms.channels import Sets, Size

Shape = tuple[Size, ...]
Count = Callable[[Size], int]
Rule = Callable[["Flow", Op], Sequence[Shape]]
"""States what an op makes of its inputs; returns the shapes of its first outputs."""

RULES: dict[str, Rule] = {}

GIVEN = "its size is given by the network's inputs"
RETURNED = "the network returns it"


@dataclass(slots=True)
class Flow:
    """What is known of the sizes in *graph*; *made* lists each dense product with the channels that its weights make.

    *attrs* holds functions that give schema arguments anew, by op and name, when sizes have changed.
    """

    graph: Graph
    sets: Sets = field(default_factory=Sets)
    shapes: dict[int, Shape] = field(default_factory=dict)
    made: list[tuple[Op, Size]] = field(default_factory=list)
    attrs: dict[int, dict[str, Callable[[Count], Any]]] = field(default_factory=dict)
    constants: dict[int, Size] = field(default_factory=dict)

    def constant(self, count: int, why: str = GIVEN) -> Size:
        """Return a dimension that stays."""
        if why != GIVEN:
            return self.sets.new(count, why)
        if count not in self.constants:
            self.constants[count] = self.sets.new(count, why)
        return self.constants[count]

    def constants_like(self, index: int, why: str = GIVEN) -> Shape:
        """Return the shape of tensor *index* with every dimension fixed."""
        return tuple(self.constant(n, why) for n in self.graph.tensors[index].shape)

    def shape(self, index: int) -> Shape:
        """Return the shape of tensor *index*; a weight that is read for the first time has sets of its own."""
        if index not in self.shapes:
            tensor = self.graph.tensors[index]
            constant = tensor.kind not in ("weight", "buffer")
            self.shapes[index] = tuple(self.constant(n) if constant or n == 1 else self.sets.new(n) for n in tensor.shape)
        return self.shapes[index]

    def inputs(self, op: Op) -> tuple[Shape, ...]:
        """Return the shapes that *op* reads."""
        return tuple(map(self.shape, op.inputs))

    def input(self, op: Op, *roles: str) -> Shape | None:
        """Return the shape of the first input passed as one of *roles*."""
        index = next((t for t, role in zip(op.inputs, op.roles, strict=True) if role in roles), None)
        return None if index is None else self.shape(index)

    def first(self, op: Op) -> Shape:
        """Return the shape of the first input of *op*."""
        return self.shape(op.inputs[0])

    def counts(self, op: Op, output: int = 0) -> tuple[int, ...]:
        """Return the shape of an output of *op* in numbers."""
        return self.graph.tensors[op.outputs[output]].shape

    def same(self, one: Size, other: Size | None, op: Op) -> None:
        """State that *op* needs *one* and *other* to be equal; None says nothing."""
        if other is not None:
            self.sets.same(one, other, through(op))

    def makes(self, op: Op, name: str, value: Callable[[Count], Any]) -> None:
        """Let *value* give the schema argument *name* of *op* when sizes have changed."""
        if name in op.attrs:
            self.attrs.setdefault(op.id, {})[name] = value

    def together(self, op: Op, shapes: Iterable[Shape]) -> Shape:
        """Broadcast *shapes* against each other, aligned at their ends, to the first output of *op*."""
        out: list[Size] = []
        aligned = list(shapes)
        for back, count in enumerate(reversed(self.counts(op)), start=1):
            sizes = [s[-back] for s in aligned if len(s) >= back and self.sets.total(s[-back]) == count]
            for size in sizes[1:]:
                self.same(sizes[0], size, op)
            out.append(sizes[0] if sizes and count != 1 else self.constant(count))
        return tuple(reversed(out))


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of each op in *names*."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def through(op: Op) -> str:
    """Say of channels that they cannot be followed through *op*."""
    return f"{op.name} in {op.module or 'the network'}"


def with_size(shape: Shape, dim: int, size: Size) -> Shape:
    """Return *shape* with dimension *dim* replaced."""
    return (*shape[:dim], size, *shape[dim + 1 :])


def follow(graph: Graph) -> Flow:
    """Follow every size through *graph*, whose batch size should be no factor of another size."""
    from roofline.transforms import flowrules, flowshapes  # noqa: F401  # pyright: ignore[reportUnusedImport]  # they register rules

    flow = Flow(graph)
    for op in graph.ops:
        found = RULES.get(op.name)
        shapes = () if found is None else found(flow, op)
        for i, t in enumerate(op.outputs):
            sound = i < len(shapes) and tuple(map(flow.sets.total, shapes[i])) == graph.tensors[t].shape
            flow.shapes[t] = shapes[i] if sound else flow.constants_like(t, through(op))
            if found is None or (i < len(shapes) and not sound):
                flow.sets.fix((size for shape in flow.inputs(op) for size in shape), through(op))
    flow.sets.fix((size for t in graph.outputs for size in flow.shape(t)), RETURNED)
    return flow


def merged(flow: Flow, op: Op, shape: Shape, counts: Sequence[int]) -> Shape:
    """Give *shape* the sizes *counts* of a reshape: dimensions that are merged multiply, one that is cut carries on in its last part."""
    old = [size for size in shape if flow.sets.total(size) != 1]
    new = [n for n in counts if n != 1]
    done: list[Size] = []
    while old and new:
        ins, outs = [old.pop(0)], [new.pop(0)]
        have, want = flow.sets.total(ins[0]), outs[0]
        while have != want:
            if have < want:
                ins.append(old.pop(0))
                have *= flow.sets.total(ins[-1])
            else:
                outs.append(new.pop(0))
                want *= outs[-1]
        done += _block(flow, op, ins, outs)
    left = iter(done)
    return tuple(flow.constant(1) if n == 1 else next(left) for n in counts)


def _block(flow: Flow, op: Op, ins: Sequence[Size], outs: Sequence[int]) -> Sequence[Size]:
    """Reshape dimensions *ins* into as many elements of *outs*."""
    if len(ins) == len(outs) == 1:
        return ins
    free = [size for size in ins if not flow.sets.is_fixed(size)]
    if len(free) != 1:
        flow.sets.fix(free, through(op))
        return [flow.constant(n, through(op)) for n in outs]
    others = math.prod(flow.sets.total(size) for size in ins) // flow.sets.total(free[0])
    whole: Size = tuple((name, times * others) for name, times in flow.sets.terms(free[0]))
    carrier = _carrier(flow, whole, outs)
    part = flow.sets.equal_parts(whole, math.prod(outs) // outs[carrier], through(op))
    return [part if i == carrier else flow.constant(n) for i, n in enumerate(outs)]


def _carrier(flow: Flow, whole: Size, outs: Sequence[int]) -> int:
    """Choose the dimension that a set stays in: one just as large, else the last."""
    terms = flow.sets.terms(whole)
    exact = [i for i, n in enumerate(outs) if len(terms) == 1 and n == flow.sets.counts[terms[0][0]]]
    return exact[-1] if exact else len(outs) - 1
