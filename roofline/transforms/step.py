"""Group the ops of a training step into the kernels that run."""

from collections.abc import Iterator
from dataclasses import replace

from roofline.errors import UnsupportedError
from roofline.graph import FORWARD, PHASES, Graph, phase_of, singletons
from roofline.transforms.compiler import fuse_compiled

STEP_MODES = ("eager", "compiled")
"""Modes in which networks are trained."""


def execute_step(graph: Graph, mode: str) -> Graph:
    """Group a training step as `eager` or `compiled` runs it; raise UnsupportedError for a mode that only infers.

    A compiler is given the forward pass, the backward pass and the optimiser apart, so no kernel spans two of them.
    """
    if mode not in STEP_MODES:
        raise UnsupportedError(f"mode {mode} runs inference only; train in one of {', '.join(STEP_MODES)}")
    if mode == "eager":
        return graph
    fused = fuse_compiled(out_of_place(graph))
    return replace(fused, kernels=tuple(kernel for phase in PHASES for kernel in _of_phase(fused, phase)))


def out_of_place(graph: Graph) -> Graph:
    """Give results of their own to activations that overwrite a tensor of which a copy was kept, and drop the copy.

    Autograd copies what an in-place activation overwrites and the backward pass needs; a compiler makes the program
    functional first, so that it needs neither.
    """
    overwritten = {graph.tensors[op.inputs[0]].storage: op for op in graph.ops if op.inplace and phase_of(op) == FORWARD and op.inputs}
    renamed: dict[int, int] = {}
    fresh: dict[int, int] = {}  # in-place op -> the storage that it had
    for op in graph.ops:
        if op.name == "clone" and phase_of(op) == FORWARD:
            writer = overwritten.get(graph.tensors[op.inputs[0]].storage)
            if writer is not None and writer.id == op.id + 1 and writer.inputs[0] == op.inputs[0]:
                renamed[op.outputs[0]] = op.inputs[0]
                fresh[writer.id] = graph.tensors[op.inputs[0]].storage
    moved = {root: (graph.ops[i].outputs[0]) for i, root in fresh.items()}
    tensors = tuple(replace(t, storage=moved[t.storage]) if t.storage in moved and t.id >= moved[t.storage] else t for t in graph.tensors)
    kept = [op for op in graph.ops if not (op.outputs and op.outputs[0] in renamed)]
    ops = tuple(
        replace(op, id=i, inputs=tuple(renamed.get(t, t) for t in op.inputs), inplace=op.inplace and op.id not in fresh)
        for i, op in enumerate(kept)
    )
    return replace(graph, tensors=tensors, ops=ops, kernels=singletons(ops))


def _of_phase(graph: Graph, phase: str) -> Iterator[tuple[int, ...]]:
    """Yield what each kernel has of *phase*, in order: no op needs a later phase, so phases can run one after another."""
    for kernel in graph.kernels:
        if part := tuple(op for op in kernel if phase_of(graph.ops[op]) == phase):
            yield part
