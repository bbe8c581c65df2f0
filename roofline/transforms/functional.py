"""Write a graph as the program that a compiler is given: nothing is overwritten or computed twice, and composites are taken apart.

Most of this PyTorch does before any backend (torch/_functorch, torch/_decomp), the rest Inductor on a GPU.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from roofline.cost import work
from roofline.graph import Graph, Op, Tensor
from roofline.transforms.fusion import POINTWISE, largest

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_RESHAPING = frozenset({"reshape", "contiguous", "clone"})


def as_functional(graph: Graph, *, channels_last: bool) -> Graph:
    """Return *graph* without twins and writing in place, and with what Inductor runs apart on a GPU in ops of its own.

    These are the biases of convolutions, and with images in *channels_last* the statistics of group norms, whose channels do not lie side
    by side then, and copies of channels that a convolution reads from an image in plain order. Kernels that something merged before stay
    as they are.
    """
    program = _Program(graph, channels_last)
    for kernel in graph.kernels:
        ops = [graph.ops[i] for i in kernel]
        if sum(not graph.is_view(op) for op in ops) > 1:
            program.keep(ops)
        else:
            for op in ops:
                program.take(op)
    return program.graph()


class _Program:
    """Ops as they are written, one after another."""

    def __init__(self, source: Graph, channels_last: bool) -> None:
        self.source, self.channels_last = source, channels_last
        self.tensors = list(source.tensors)
        self.ops: list[Op] = []
        self.kernels: list[tuple[int, ...]] = []
        self.instead: dict[int, int] = {}  # result of a twin -> that of the first
        self.first: dict[object, Op] = {}
        self.memory: dict[int, int] = {}  # storage -> the tensor whose memory it is from here on

    def graph(self) -> Graph:
        """Return all that was written."""
        outputs = tuple(self.instead.get(t, t) for t in self.source.outputs)
        return replace(self.source, tensors=tuple(self.tensors), ops=tuple(self.ops), kernels=tuple(self.kernels), outputs=outputs)

    def keep(self, ops: Sequence[Op]) -> None:
        """Write *ops* as one kernel."""
        start = len(self.ops)
        for op in ops:
            self._write(self._renamed(op))
        self.kernels.append(tuple(range(start, len(self.ops))))

    def take(self, op: Op) -> None:
        """Write *op*, or what it is made of."""
        view = self.source.is_view(op)
        if op.inplace and len(op.outputs) == 1 and largest(op, self.source) == self._memory_of(op.outputs[0]):
            self.memory[self.source.tensors[op.outputs[0]].storage] = op.outputs[0]
            op = replace(op, inplace=False)
        op = self._renamed(op)
        read = dict(zip(op.roles, op.inputs, strict=True))
        if op.name.startswith("conv") and not op.inplace:
            self._convolve(op, read)
        elif op.name == "group_norm" and self.channels_last:
            image = self.tensors[read["input"]]
            few = {"shape": (image.shape[0], op.attrs["num_groups"]), "batch_powers": image.batch_powers[:1] and (image.batch_powers[0], 0)}
            mean, variance = (self._made(image, dtype="fp32", **few) for _ in range(2))
            self._add("var_mean", op.module, {"self": read["input"]}, (mean, variance), {"dim": tuple(range(1, len(image.shape)))})
            self._add("batch_norm", op.module, {**read, "running_mean": mean, "running_var": variance}, op.outputs)
        else:
            self._once(op, view=view)

    def _convolve(self, op: Op, read: dict[str, int]) -> None:
        if self.channels_last and self._is_part_of_computed(op.inputs[0]):
            copy = self._made(self.tensors[op.inputs[0]])
            self._add("contiguous", op.module, {"self": op.inputs[0]}, (copy,))
            read[op.roles[0]] = copy
        bias = read.pop("bias", None)
        result = op.outputs if bias is None else (self._made(self.tensors[op.outputs[0]]),)
        self._once(replace(op, inputs=tuple(read.values()), roles=tuple(read), outputs=result))
        if bias is not None:
            self._add("add", op.module, {"self": result[0], "other": bias}, op.outputs)

    def _is_part_of_computed(self, tensor: int) -> bool:
        """Tell whether a tensor is some channels of what was computed element by element: such an image is in plain order."""
        maker = self.source.producer.get(tensor)
        if maker is None or not self.source.is_view(maker) or not is_part(tensor, maker, self.source):
            return False
        base = self.source.producer.get(maker.inputs[0])
        return base is not None and (work(base, self.source).kind in POINTWISE or base.name == "batch_norm")

    def _memory_of(self, tensor: int) -> int:
        return self.source.tensors[self.source.tensors[tensor].storage].numel

    def _made(self, like: Tensor, **changes: Any) -> int:
        self.tensors.append(replace(like, id=len(self.tensors), storage=len(self.tensors), **changes))
        return len(self.tensors) - 1

    def _add(self, name: str, module: str, read: Mapping[str, int], made: tuple[int, ...], attrs: Mapping[str, Any] = _NOTHING) -> None:
        self._once(Op(len(self.ops), name, module, tuple(read.values()), made, tuple(read), attrs))

    def _once(self, op: Op, *, view: bool = False) -> None:
        """Write *op*, unless another computes the same."""
        op = self._renamed(op)
        key = (op.name, op.inputs, op.roles, repr(sorted(op.attrs.items())), tuple(self.tensors[t].shape for t in op.outputs))
        twin = op if view or op.inplace or not op.inputs else self.first.setdefault(key, op)
        if twin is not op:
            self.instead.update(zip(op.outputs, twin.outputs, strict=True))
            return
        self.kernels.append((len(self.ops),))
        self._write(op)

    def _renamed(self, op: Op) -> Op:
        return replace(op, inputs=tuple(self.instead.get(t, t) for t in op.inputs))

    def _write(self, op: Op) -> None:
        for t in op.outputs:
            root = self.tensors[t].storage
            root = self.memory.get(root, root)
            self.tensors[t] = replace(self.tensors[t], storage=self.instead.get(root, root))
        if op.name in _RESHAPING and self._is_attention(op.inputs[0]):  # whose kernels write the heads of a position side by side
            for t in op.outputs:
                self.tensors[t] = replace(self.tensors[t], storage=self.tensors[op.inputs[0]].storage)
        self.ops.append(replace(op, id=len(self.ops)))

    def _is_attention(self, tensor: int) -> bool:
        """Tell whether a tensor is the result of an attention, or a view of it."""
        maker = self.source.producer.get(tensor)
        while maker is not None and self.source.is_view(maker):
            maker = self.source.producer.get(maker.inputs[0])
        return maker is not None and maker.name == "scaled_dot_product_attention"


def is_part(tensor: int, view: Op, graph: Graph) -> bool:
    """Tell whether *view* shows some of the channels, or pixels, of images only."""
    shown, whole = graph.tensors[tensor], graph.tensors[view.inputs[0]]
    return len(whole.shape) == 4 and shown.numel < whole.numel


def window(op: Op) -> int:
    """Count the elements of a pool's window."""
    size = op.attrs["kernel_size"]
    sides = tuple(size) if isinstance(size, tuple | list) else (size,)
    return math.prod(sides * 2 if len(sides) == 1 and "2d" in op.name else sides)
