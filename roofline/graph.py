"""Hold a traced network as an immutable dataflow graph in single-assignment form.

A kernel is a set of ops, and its bytes are the tensors that cross its edge. Every what-if is `Graph -> Graph`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

from roofline.errors import RooflineError
from roofline.units import BITS

SCHEMA = 1
"""Version of the JSON form; raised whenever a field changes its meaning."""

Kind = Literal["input", "weight", "buffer", "activation"]

Phase = Literal["forward", "backward", "optimizer"]
FORWARD, BACKWARD, OPTIMIZER = PHASES = get_args(Phase)
"""Phases of a training step, in the order they run; ops of the later two name theirs in *attrs*."""

FAST_NORM = "fast_norm"
"""Attribute of a norm that autocast does not widen to fp32: of timm's layers, where timm.layers.set_fast_norm() held as they were made."""

UNFUSED = "unfused"
"""Attribute of the parts of an attention that no fused kernel runs; autocast sees the whole."""

CHANNELS_LAST = "channels_last"
"""Attribute of a kernel of images whose channels lie side by side, such as a convolution."""

READER = "reader"
"""Attribute of a copy that an operator makes of what it cannot read as it lies: the name of the operator."""

OF_SEVERAL = "of_several"
"""Attribute of a copy that is made of several items of a batch, and not of a single one."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Describe one version of one array: its shape in elements, data type, role and the memory it lives in.

    *storage* is the id of the tensor whose memory this one shares (its own id unless it is a view or an in-place
    result). *batch_powers* tells, for each dimension, the power of the batch size it is proportional to; empty when no
    dimension depends on the batch. A *buffer* is a constant that is not trained (batch-norm statistics).
    """

    id: int
    shape: tuple[int, ...]
    dtype: str
    kind: Kind
    storage: int
    name: str = ""
    density: float = 1.0
    batch_powers: tuple[int, ...] = ()

    @property
    def numel(self) -> int:
        """Count the elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> float:
        """Size in bytes, stored densely."""
        return self.numel * BITS[self.dtype] / 8

    def sized(self, shape: tuple[int, ...]) -> "Tensor":
        """Return the tensor in another *shape*: as `replace`, four times as fast."""
        return Tensor(self.id, shape, self.dtype, self.kind, self.storage, self.name, self.density, self.batch_powers)

    def typed(self, dtype: str) -> "Tensor":
        """Return the tensor in another *dtype*: as `replace`, four times as fast."""
        return Tensor(self.id, self.shape, dtype, self.kind, self.storage, self.name, self.density, self.batch_powers)


@dataclass(frozen=True, slots=True)
class Op:
    """Record one operator call: aten name, owning module, tensor ids in and out, and every other schema argument.

    *roles* names the schema argument of each input ("input", "weight", "bias"). *batch_attrs* mirrors those entries of
    *attrs* that are proportional to a power of the batch size; FAST_NORM, UNFUSED, CHANNELS_LAST, READER and OF_SEVERAL are
    attributes beside the schema's. *inplace* is true when an input's memory is overwritten.
    """

    id: int
    name: str
    module: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    roles: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    batch_attrs: Mapping[str, Any] = field(default_factory=dict)
    inplace: bool = False

    def input(self, role: str) -> int | None:
        """Return the id of the first input passed as *role*, or None."""
        return next((t for t, r in zip(self.inputs, self.roles, strict=True) if r == role), None)


@dataclass(frozen=True)
class Graph:
    """Hold tensors and ops by id, in execution order, and how ops are grouped into kernels.

    *batch* is the batch size of the shapes, or None when the graph is fixed at the shapes it was traced with.
    *modules* maps each module path to its class name. Not slotted: the derived indices below are cached on it.
    """

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    kernels: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]
    batch: int | None = 1
    name: str = ""
    modules: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def producer(self) -> Mapping[int, Op]:
        """Map a tensor id to the op that wrote it (inputs, weights and buffers have none)."""
        return {t: op for op in self.ops for t in op.outputs}

    @cached_property
    def consumers(self) -> Mapping[int, tuple[Op, ...]]:
        """Map a tensor id to the ops that read it, in order."""
        readers: dict[int, list[Op]] = {}
        for op in self.ops:
            for t in dict.fromkeys(op.inputs):
                readers.setdefault(t, []).append(op)
        return {t: tuple(ops) for t, ops in readers.items()}

    @cached_property
    def kernel_of(self) -> Mapping[int, int]:
        """Map an op id to the index of its kernel."""
        return {op: k for k, ops in enumerate(self.kernels) for op in ops}

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors the caller passes in."""
        return tuple(t for t in self.tensors if t.kind == "input")

    @cached_property
    def weights(self) -> tuple[Tensor, ...]:
        """Trained parameters, whether or not an op reads them."""
        return tuple(t for t in self.tensors if t.kind == "weight")

    @cached_property
    def leaves(self) -> frozenset[str]:
        """Paths of the modules that contain no other: the layers."""
        return frozenset(self.modules) - {path.rpartition(".")[0] for path in self.modules if path}

    @property
    def params(self) -> int:
        """Count the elements of all parameters."""
        return sum(t.numel for t in self.weights)

    def is_view(self, op: Op) -> bool:
        """Tell whether *op* only renames memory: every output lives in an input's storage and nothing is overwritten."""
        if op.inplace or not op.outputs:
            return False
        if self.tensors[op.outputs[0]].storage == op.outputs[0]:
            return self.is_gathered(op)
        read = {self.tensors[t].storage for t in op.inputs}
        return all(self.tensors[t].storage in read for t in op.outputs)

    def is_gathered(self, op: Op) -> bool:
        """Tell whether all that *op* reads lies in its output's memory already: who made the parts wrote them there."""
        return bool(op.inputs) and all(self.tensors[t].storage == op.outputs[0] for t in op.inputs)

    def with_batch(self, batch: int) -> "Graph":
        """Return the same graph at another *batch* size, exactly as tracing at that size would give it.

        Only at batch 1 may the two differ: a reshape that moves the batch dimension copies here, and is free in a trace.
        """
        if batch == self.batch:
            return self
        if self.batch is None:
            raise RooflineError(f"{self.name or 'this graph'} is fixed at the shapes it was traced with; trace it again at batch {batch}")
        old = self.batch
        tensors = tuple(t.sized(_rescale(t.shape, t.batch_powers, old, batch)) if t.batch_powers else t for t in self.tensors)
        ops = tuple(
            replace(op, attrs={**op.attrs, **{k: _rescale(op.attrs[k], p, old, batch) for k, p in op.batch_attrs.items()}})
            if op.batch_attrs
            else op
            for op in self.ops
        )
        return replace(self, tensors=tensors, ops=ops, batch=batch)

    def check(self) -> None:
        """Raise RooflineError unless ids match positions, every read follows its write, and kernels partition the ops in order."""
        for items in (self.tensors, self.ops):
            _require(all(item.id == i for i, item in enumerate(items)), "ids must equal positions")
        known = {t.id for t in self.tensors if t.kind != "activation"}
        for op in self.ops:
            _require(len(op.roles) == len(op.inputs), f"op {op.id} ({op.name}) must name a role for each input")
            _require(known.issuperset(op.inputs), f"op {op.id} ({op.name}) reads a tensor before it is written")
            _require(known.isdisjoint(op.outputs), f"op {op.id} ({op.name}) writes a tensor that exists already")
            known.update(op.outputs)
        _require(known.issuperset(self.outputs), "an output was never written")
        grouped = [op for ops in self.kernels for op in ops]
        _require(sorted(grouped) == list(range(len(self.ops))), "kernels must hold every op exactly once")
        written = {t.id for t in self.tensors if t.kind != "activation"}
        for ops in self.kernels:
            inside = {t for op in ops for t in self.ops[op].outputs}
            _require(
                all(t in written or t in inside for op in ops for t in self.ops[op].inputs), "kernels must be in an order that can run"
            )
            written |= inside

    def to_json(self) -> str:
        """Write the graph as JSON, with the schema version."""
        body = {
            "schema": SCHEMA,
            "name": self.name,
            "batch": self.batch,
            "modules": dict(self.modules),
            "outputs": self.outputs,
            "kernels": self.kernels,
            "tensors": [[t.shape, t.dtype, t.kind, t.storage, t.name, t.density, t.batch_powers] for t in self.tensors],
            "ops": [[o.name, o.module, o.inputs, o.outputs, o.roles, o.attrs, o.batch_attrs, o.inplace] for o in self.ops],
        }
        return json.dumps(body, separators=(",", ":"), allow_nan=True)

    @classmethod
    def from_json(cls, text: str) -> "Graph":
        """Read what `to_json` wrote; raise RooflineError for another schema version."""
        body = json.loads(text)
        if not isinstance(body, dict) or body.get("schema") != SCHEMA:
            raise RooflineError(f"this graph was written with another schema than {SCHEMA}; trace the model again")
        return cls(
            tensors=tuple(
                Tensor(i, tuple(shape), dtype, kind, storage, name, density, tuple(powers))
                for i, (shape, dtype, kind, storage, name, density, powers) in enumerate(body["tensors"])
            ),
            ops=tuple(
                Op(i, name, module, tuple(ins), tuple(outs), tuple(roles), _freeze(attrs), _freeze(batch_attrs), inplace)
                for i, (name, module, ins, outs, roles, attrs, batch_attrs, inplace) in enumerate(body["ops"])
            ),
            kernels=tuple(tuple(k) for k in body["kernels"]),
            outputs=tuple(body["outputs"]),
            batch=body["batch"],
            name=body["name"],
            modules=body["modules"],
        )


def phase_of(op: Op) -> Phase:
    """Name the phase of a training step that *op* belongs to; all of an inference is forward."""
    return op.attrs.get("phase", FORWARD)


def is_step(graph: Graph) -> bool:
    """Tell whether *graph* is a whole training step: it ends with the update."""
    return bool(graph.ops) and phase_of(graph.ops[-1]) != FORWARD


def singletons(ops: tuple[Op, ...]) -> tuple[tuple[int, ...], ...]:
    """Make every op its own kernel: the unfused grouping."""
    return tuple((op.id,) for op in ops)


def powers_of(value: Any, base: int) -> Any:
    """Mirror *value* (an int, or nested tuples of ints) with the power of *base* that divides each int; None if all are 0."""
    if isinstance(value, tuple):
        powers = tuple(powers_of(item, base) or 0 for item in value)
        return powers if any(powers) else None
    if not isinstance(value, int) or isinstance(value, bool) or value == 0 or value % base:
        return None
    power = 0
    while value % base == 0:
        value, power = value // base, power + 1
    return power


def _rescale(value: Any, power: Any, old: int, new: int) -> Any:
    if isinstance(power, tuple):
        return tuple(_rescale(v, p, old, new) for v, p in zip(value, power, strict=True))
    return value // old**power * new**power if power else value


def _freeze(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_freeze(item) for item in value)
    return {k: _freeze(v) for k, v in value.items()} if isinstance(value, dict) else value


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise RooflineError(f"broken graph: {rule}")
