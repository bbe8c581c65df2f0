"""Group ops into the kernels that torch.compile generates for a GPU, by the rules by which Inductor lowers and schedules them.

What is computed element by element is no kernel at first: it is computed anew in each kernel that reads it, until something asks for it
in memory. So do a product, an output, and what several read, once it takes more than a few loads. Kernels that go over the same
elements are then merged where one reads what the other wrote.

The rules are those of PyTorch 2.4 to 2.9 (torch/_inductor/ir.py: `mark_reuse`, `realize_hint`; graph.py: `run_node`; scheduler.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from roofline.cost import work
from roofline.graph import Graph, Op, Tensor, is_step
from roofline.transforms.functional import as_functional, is_part, window
from roofline.transforms.fusion import POINTWISE, REDUCING, WINDOWED, kinds_of, largest
from roofline.transforms.merging import Kernel, merged
from roofline.units import BITS

REUSED_READS = 4
"""Loads of an expression that several read, above which it is written to memory (`realize_reads_threshold`)."""

MOST_READS = 8
"""Loads above which any expression is written to memory (`realize_acc_reads_threshold`)."""

UNROLLED = 7
"""Elements up to which a reduction is written out as a sum of loads (`unroll_reductions_threshold`, less one)."""

MOST_PARTS = 8
"""Parts of a concatenation up to which it may be computed element by element (`MAX_COMPLEX_POINTWISE_CAT`)."""

_COPIES = frozenset({"pad", "constant_pad_nd", "roll", "clone", "contiguous", "reshape", "index", "_unsafe_index", "repeat", "flip"})
_JOINS = frozenset({"cat", "concat", "concatenate", "stack", "hstack", "vstack"})
_WIDENED = frozenset({"silu", "hardswish", "gelu", "mish", "hardsigmoid", "leaky_relu", "elu", "selu", "softplus"})
"""Activations that are taken apart into ops in fp32 (`pw_cast_for_opmath` in torch/_decomp/decompositions.py), most of which read their
input twice."""


@dataclass(frozen=True, slots=True)
class Expression:
    """What computes one element: ops in order, and what they load, each element of a window for itself."""

    ops: tuple[int, ...] = ()
    loads: frozenset[tuple[int, int]] = frozenset()


def _load(tensor: int, elements: int = 1) -> Expression:
    return Expression((), frozenset((tensor, i) for i in range(elements)))


def fuse_generated(graph: Graph, *, channels_last: bool) -> Graph:
    """Give *graph* the kernels that Inductor makes for a GPU, with images in *channels_last* or as they come.

    Ops that several kernels compute are repeated in each.
    """
    graph = as_functional(graph, channels_last=channels_last)
    lowering = _Lowering(graph, channels_last)
    lowering.run()
    kernels, place = merged(lowering.kernels, [_sources(k, lowering) for k in lowering.kernels])
    owner = {graph.producer[t].id: place[k] for t, k in lowering.home.items()}
    return _assembled(graph, lowering.tensors, kernels, owner)


def prefers_channels_last(graph: Graph) -> bool:
    """Tell whether Inductor lays out images in channels-last, for a GPU.

    It weighs the MACs of an inference by what channels-last was found to gain or lose, so that networks of grouped convolutions stay in
    plain order; in training, a single one decides (`decide_layout_opt` in torch/_inductor/graph.py).
    """
    convolutions = [op for op in graph.ops if op.name.startswith("conv") and "backward" not in op.name]
    weights = [graph.tensors[op.inputs[1]].shape for op in convolutions]
    grouped = [op.attrs.get("groups", 1) > 1 and shape[1] > 1 for op, shape in zip(convolutions, weights, strict=True)]
    small = [max(shape[:2]) <= 64 for shape in weights]
    narrowing = [2 * shape[0] <= shape[1] and shape[2] > 1 for shape in weights]
    if is_step(graph):
        return bool(convolutions) and not any(grouped) and not any(narrowing) and not all(small)
    macs = [work(op, graph).macs for op in convolutions]
    costs = [1.358 if g else 0.783 if s else 0.725 if n else 0.823 for g, s, n in zip(grouped, small, narrowing, strict=True)]
    return bool(convolutions) and sum(m * cost for m, cost in zip(macs, costs, strict=True)) <= sum(macs)


class _Lowering:
    """Walk through a graph and decide what is written to memory, and by which kernel."""

    def __init__(self, graph: Graph, channels_last: bool) -> None:
        self.graph, self.channels_last = graph, channels_last
        self.kinds = kinds_of(graph)
        self.tensors = list(graph.tensors)
        self.kernels: list[Kernel] = []
        self.home: dict[int, int] = {}  # tensor in memory -> the kernel that wrote it
        self.virtual: dict[int, Expression] = {}
        self.plain: set[int] = set()
        self.outputs = frozenset(graph.tensors[t].storage for t in graph.outputs) | frozenset(graph.outputs)

    def run(self) -> None:
        """Take kernel by kernel, and those of one op apart."""
        for kernel in self.graph.kernels:
            ops = [self.graph.ops[i] for i in kernel if not self._is_view(self.graph.ops[i])]
            if len(ops) > 1:
                self._call(kernel)
            for op in ops if len(ops) == 1 else ():
                self._lower(op)
        for t in self.graph.outputs:
            self.expression(t, written=True)

    def _lower(self, op: Op) -> None:
        if self._is_pointwise(op):
            self._inline(op)
        elif op.name in _JOINS:
            self._join(op)
        elif self._reduces(op):
            self._reduce(op)
        else:
            self._call((op.id,))

    def expression(self, tensor: int, *, written: bool = False) -> Expression:
        """Return what computes *tensor*, or the load of it if it is in memory, or must be *written* there."""
        maker = self.graph.producer.get(tensor)
        if maker is not None and self._is_view(maker):
            part = self.channels_last and is_part(tensor, maker, self.graph)
            if part and maker.inputs[0] in self.virtual:
                self.plain.add(maker.inputs[0])
            inner = self._gathered(maker.inputs, written=maker.inputs if written or part else ())
            if inner.ops:
                return Expression((*inner.ops, maker.id), inner.loads)
            self._attach(maker)
            return _load(tensor)
        if tensor not in self.virtual:
            return _load(tensor)
        if written:
            self._write(tensor)
            return _load(tensor)
        return self.virtual[tensor]

    def _is_view(self, op: Op) -> bool:
        return self.graph.is_view(op) and not self.graph.is_gathered(op)

    def _attach(self, view: Op) -> None:
        """Keep a view with the last kernel that wrote what it shows; those of weights stay alone."""
        home = max((self.home[t] for t in view.inputs if t in self.home), default=None)
        if home is not None and view.outputs[0] not in self.home:
            self.home.update(dict.fromkeys(view.outputs, home))
            self.kernels[home].ops.add(view.id)

    def _is_pointwise(self, op: Op) -> bool:
        if op.inplace or len(op.outputs) != 1:
            return False
        if self.kinds[op.id] == "reduction" and "norm" not in op.name:
            return self.graph.tensors[op.inputs[0]].numel <= UNROLLED * self.graph.tensors[op.outputs[0]].numel
        return self.kinds[op.id] in POINTWISE or op.name == "batch_norm" or op.name in _COPIES

    def _reduces(self, op: Op) -> bool:
        return not op.inplace and (self.kinds[op.id] in REDUCING or self.kinds[op.id] == "pool")

    def _gathered(self, tensors: Iterable[int], *, written: Sequence[int] = ()) -> Expression:
        parts = [self.expression(t, written=t in written) for t in tensors]
        ops = dict.fromkeys(i for part in parts for i in part.ops)
        return Expression(tuple(sorted(ops)), frozenset().union(*(part.loads for part in parts)))

    def _inline(self, op: Op) -> None:
        read = self._gathered(op.inputs)
        self._keep(op, Expression((*read.ops, op.id), read.loads))

    def _keep(self, op: Op, made: Expression) -> None:
        out = op.outputs[0]
        self.virtual[out] = made
        loads = len(made.loads)
        if loads > MOST_READS or (loads > REUSED_READS and self._users(out) > 1):
            self._write(out)

    def _users(self, tensor: int) -> int:
        """Count what reads a tensor, once activations are taken apart."""
        count = 0
        for op in self.graph.consumers.get(tensor, ()):
            if self.graph.is_view(op):
                count += sum(self._users(t) for t in op.outputs)
            else:
                count += 2 if op.name in _WIDENED or ("norm" in op.name and op.name != "batch_norm") else 1
        return count + (tensor in self.outputs)

    def _write(self, tensor: int) -> None:
        """Make a kernel of what computes *tensor*."""
        maker = self.graph.producer[tensor]
        ops, numel = self.virtual.pop(tensor).ops, self.graph.tensors[tensor].numel
        if maker.name == "batch_norm" and BITS[self.tensors[tensor].dtype] == 16 and self._is_widened(tensor):
            self.tensors[tensor] = self.tensors[tensor].typed("fp32")
        space = 0 if any(self.graph.ops[i].name in WINDOWED for i in ops) else numel
        self._add((tensor,), Kernel({*ops}, True, space, numel, plain=tensor in self.plain))

    def _is_widened(self, tensor: int) -> bool:
        """Tell whether an activation in fp32 reads a tensor: casts to half precision and back are dropped, so that it is kept in fp32."""
        return any(op.name in _WIDENED for op in self.graph.consumers.get(tensor, ()))

    def _add(self, made: Iterable[int], kernel: Kernel) -> None:
        self.home.update((t, len(self.kernels)) for t in made)
        self.kernels.append(kernel)

    def _join(self, op: Op) -> None:
        """Concatenate: what is computed is written to its place, what is in memory copied, unless all is computed where it is read."""
        made = self._gathered(op.inputs)
        computed = any(self.expression(t).ops or self._from_library(t) for t in op.inputs)
        made = Expression((*made.ops, op.id), made.loads)
        if len(op.inputs) == 1 or (computed and len(op.inputs) <= MOST_PARTS and self._read_pointwise(op.outputs[0])):
            self._keep(op, made)
        else:
            numel = largest(op, self.graph)
            self._add(op.outputs, Kernel({*made.ops}, True, numel, numel))

    def _read_pointwise(self, tensor: int) -> bool:
        """Tell whether all that read a tensor, or a view of it, do so element by element."""
        readers = self.graph.consumers.get(tensor, ())
        return (
            tensor not in self.outputs
            and bool(readers)
            and all(
                all(map(self._read_pointwise, op.outputs)) if self.graph.is_view(op) else self._is_pointwise(op) and op.name not in _COPIES
                for op in readers
            )
        )

    def _from_library(self, tensor: int) -> bool:
        home = self.home.get(tensor)
        return home is not None and not self.kernels[home].generated

    def _reduce(self, op: Op) -> None:
        if op.name in WINDOWED:
            self._pool(op)
            return
        read, made = self._gathered(op.inputs), largest(op, self.graph)
        space = self.graph.tensors[op.inputs[0]].numel
        self._add(op.outputs, Kernel({*read.ops, op.id}, True, space, made, True, self._is_along(op)))

    def _pool(self, op: Op) -> None:
        """Load each element of a window: what takes more than one load is written first."""
        image = op.inputs[0]
        read = self.expression(image)
        if len(read.loads) > 1:
            self.expression(image, written=True)
            read = _load(image)
        if len(op.outputs) > 1:  # and where each maximum was
            self._add(op.outputs, Kernel({*read.ops, op.id}, True, 0, largest(op, self.graph)))
            return
        self._keep(op, Expression((*read.ops, op.id), frozenset((t, i) for t, _ in read.loads for i in range(window(op)))))

    def _is_along(self, op: Op) -> bool:
        """Tell whether *op* reduces elements that lie side by side."""
        if op.name in ("layer_norm", "native_layer_norm"):
            return True
        rank = len(self.graph.tensors[op.inputs[0]].shape)
        dims = _dims(op, rank)
        if self.channels_last and rank == 4:
            return dims == {1} or len(dims) == rank
        return dims == set(range(rank - len(dims), rank))

    def _call(self, kernel: Sequence[int]) -> None:
        """Run a kernel that is not generated, or that something made before: it reads from memory."""
        ops = [self.graph.ops[i] for i in kernel]
        made = {t for op in ops for t in op.outputs}
        for t in (t for op in ops for t in op.inputs if t not in made):
            self.expression(t, written=True)
        self._add(made, Kernel({*kernel}, False))


def _dims(op: Op, rank: int) -> set[int]:
    dim = op.attrs.get("dim")
    if dim is None:
        return {2, 3} if rank == 4 and ("pool" in op.name or "group_norm" in op.name) else set(range(rank))
    return {d % rank for d in (dim if isinstance(dim, tuple) else (dim,))}


def _sources(kernel: Kernel, lowering: _Lowering) -> set[int]:
    """List the kernels that wrote what this one loads."""
    graph = lowering.graph
    made = {t for i in kernel.ops for t in graph.ops[i].outputs}
    loads = {t for i in kernel.ops for t in graph.ops[i].inputs} - made
    return {lowering.home[t] for t in loads if t in lowering.home}


def _assembled(graph: Graph, tensors: list[Tensor], kernels: Iterable[Kernel | None], owner: Mapping[int, int]) -> Graph:
    """Write the graph of these kernels, with an op of its own for each time that something is computed.

    *owner* is the kernel that writes the result of an op to memory.
    """
    ops: list[Op] = []
    groups: list[tuple[int, ...]] = []
    for op in _constant_views(graph):
        groups.append((len(ops),))
        ops.append(replace(op, id=len(ops)))
    first: dict[int, int] = {}
    for k, kernel in enumerate(kernels):
        local: dict[int, int] = {}
        start = len(ops)
        for i in sorted(kernel.ops if kernel else ()):
            op = graph.ops[i]
            if owner.get(i, first.setdefault(i, k)) != k:
                for t in op.outputs:
                    local[t] = len(tensors)
                    root = tensors[t].storage
                    tensors.append(replace(tensors[t], id=local[t], storage=local.get(root, root)))
            inputs, outputs = (tuple(local.get(t, t) for t in ids) for ids in (op.inputs, op.outputs))
            ops.append(replace(op, id=len(ops), inputs=inputs, outputs=outputs))
        if len(ops) > start:
            groups.append(tuple(range(start, len(ops))))
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops), kernels=tuple(groups))


def _constant_views(graph: Graph) -> Iterator[Op]:
    """List the views of what is in memory before the first kernel runs."""
    known = {t.id for t in graph.tensors if t.kind != "activation"}
    for op in graph.ops:
        if graph.is_view(op) and known.issuperset(op.inputs):
            known.update(op.outputs)
            yield op
