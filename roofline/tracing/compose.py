"""Join the graphs of parts into the graph of the whole, and change the sizes of a part, exactly as tracing would give them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

from roofline.errors import RooflineError
from roofline.graph import Graph, Op, Tensor, singletons


def chain(parts: Sequence[tuple[str, Graph]], *, name: str, modules: Mapping[str, str]) -> Graph:
    """Run *parts*, each a module path and the graph traced there, one after another: what one returns the next one reads.

    *modules* are the classes of the modules that no part holds. Tensors stand as a trace of the whole has them: parameters,
    buffers, the input, and what is computed, in the order of the parts. Raises RooflineError for a part that does not take
    one tensor and return one, or where the shapes or batch sizes of neighbours differ.
    """
    _check(parts)
    homes, tensors = _constants(parts)
    ops: list[Op] = []
    known = dict(modules)
    read: Tensor | None = None  # what the part before returned
    for (path, graph), home in zip(parts, homes, strict=True):
        source = graph.inputs[0].id
        if read is None:
            read = _moved(graph.tensors[source], len(tensors), len(tensors))
            tensors.append(read)
        home[source] = read.id
        roots = {**home, source: read.storage}
        for t in graph.tensors[source + 1 :]:
            new = len(tensors)
            home[t.id] = new
            tensors.append(_moved(t, new, new if t.storage == t.id else roots[t.storage]))
            roots[t.id] = new
        for op in graph.ops:
            inputs, outputs = tuple([home[t] for t in op.inputs]), tuple([home[t] for t in op.outputs])
            ops.append(Op(len(ops), op.name, _under(path, op.module), inputs, outputs, op.roles, op.attrs, op.batch_attrs, op.inplace))
        known.update((_under(path, module), kind) for module, kind in graph.modules.items() if module or path)
        read = tensors[home[graph.outputs[0]]]
    frozen = tuple(ops)
    outputs = () if read is None else (read.id,)
    return Graph(tuple(tensors), frozen, singletons(frozen), outputs, batch=parts[0][1].batch, name=name, modules=known)


def resized(graph: Graph, sizes: Mapping[int, int]) -> Graph:
    """Return *graph* with each number among *sizes*, in shapes and in arguments of ops, replaced.

    As tracing the same module at other sizes would give it, where *graph* was traced at sizes that each mean one thing.
    """

    def changed(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(changed, cast(tuple[Any, ...], value)))
        return sizes.get(value, value) if type(value) is int else value

    return replace(
        graph,
        tensors=tuple(replace(t, shape=changed(t.shape)) for t in graph.tensors),
        ops=tuple(replace(op, attrs={name: changed(value) for name, value in op.attrs.items()}) for op in graph.ops),
    )


def _constants(parts: Sequence[tuple[str, Graph]]) -> tuple[list[dict[int, int]], list[Tensor]]:
    """Lay out the parameters of all *parts*, then their buffers; return for each part where its own went, and all of them."""
    homes: list[dict[int, int]] = [{} for _ in parts]
    tensors: list[Tensor] = []
    for kind in ("weight", "buffer"):
        for (path, graph), home in zip(parts, homes, strict=True):
            for t in graph.tensors[: graph.inputs[0].id]:
                if t.kind == kind:
                    home[t.id] = new = len(tensors)
                    tensors.append(_moved(t, new, new if t.storage == t.id else home[t.storage], _under(path, t.name)))
    return homes, tensors


def _moved(t: Tensor, new: int, storage: int, name: str | None = None) -> Tensor:
    return Tensor(new, t.shape, t.dtype, t.kind, storage, t.name if name is None else name, t.density, t.batch_powers)


def _under(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _check(parts: Sequence[tuple[str, Graph]]) -> None:
    if not parts:
        raise RooflineError("nothing to join; give at least one part")
    for path, graph in parts:
        where = path or graph.name or "a part"
        if len(graph.inputs) != 1 or len(graph.outputs) != 1 or graph.tensors[graph.outputs[0]].kind != "activation":
            raise RooflineError(f"cannot join {where}: a part takes one tensor, and returns one that it computes")
        if graph.kernels != singletons(graph.ops):
            raise RooflineError(f"cannot join {where}: its ops are merged into kernels; join parts as they were traced")
    for (_, before), (path, after) in pairwise(parts):
        made, wanted = before.tensors[before.outputs[0]], after.inputs[0]
        if (made.shape, made.dtype, before.batch) != (wanted.shape, wanted.dtype, after.batch):
            shapes = f"{made.shape} {made.dtype} at batch {before.batch}", f"{wanted.shape} {wanted.dtype} at batch {after.batch}"
            raise RooflineError(f"cannot join {path or after.name}: it reads {shapes[1]}, and the part before it makes {shapes[0]}")
