"""Record a whole training step on the meta device: forward, loss, backward and the step of an optimiser.

Autograd runs for real above the recorder, which sees the same operators that a GPU would run, backward ones under the
layer whose forward made them. What is kept for the backward pass is thus what autograd keeps, down to the copy that an
in-place activation needs.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves

from roofline.errors import ModelError, UnknownNameError
from roofline.graph import BACKWARD, FORWARD, OPTIMIZER, Graph, Op, Tensor, phase_of, singletons
from roofline.tracing.trace import (
    Recorder,
    Signature,
    Tape,
    decomposed_attention,
    failure,
    fast_norms,
    module_paths,
    record,
    tensors_in,
    with_fast_norms,
)

LEARNING_RATE = 0.1
"""Of no consequence: no number is ever computed."""

OPTIMIZERS: Mapping[str, Callable[[Sequence[torch.Tensor]], torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, lr=LEARNING_RATE, weight_decay=1e-4, foreach=True),
    "momentum": partial(torch.optim.SGD, lr=LEARNING_RATE, momentum=0.9, weight_decay=1e-4, foreach=True),
    "adam": partial(torch.optim.Adam, lr=LEARNING_RATE, foreach=True),
    "adamw": partial(torch.optim.AdamW, lr=LEARNING_RATE, weight_decay=1e-2, foreach=True),
    "rmsprop": partial(torch.optim.RMSprop, lr=LEARNING_RATE, alpha=0.9, eps=1e-3, momentum=0.9, weight_decay=1e-5, foreach=True),
}
"""Each with the terms that its users set: SGD with weight decay, plain or with momentum, and RMSprop as EfficientNets were trained
(decay 0.9, momentum 0.9, weight decay 1e-5: arxiv.org/abs/1905.11946, section 5.2). They update lists of tensors at once
(foreach), as PyTorch does by default on a GPU."""


def record_step(
    module: torch.nn.Module, inputs: Sequence[torch.Tensor], optimizer: str, *, name: str = "", verify: bool = True, fixed: bool = False
) -> Graph:
    """Record one training step of *module*, as `record` does an inference; every op after the forward pass names its phase.

    The loss is cross entropy where an output has one row of scores an item, and the sum of any other output. Gradients
    are outputs of the graph, and the state of the optimiser is among its buffers, as after the first step.
    Raises UnknownNameError for an unknown *optimizer* and ModelError for a network that cannot be trained.
    """
    if optimizer not in OPTIMIZERS:
        raise UnknownNameError(f"unknown optimizer {optimizer!r}; use one of {', '.join(OPTIMIZERS)}")
    if hasattr(module, "roofline_run"):
        raise ModelError(f"cannot train {name}: an exported program holds an inference; pass the module that it was exported from")
    run = partial(_run_step, optimizer=optimizer)
    return record(module, inputs, name=name, verify=verify, fixed=fixed, run=run)


def _run_step(module: torch.nn.Module, inputs: Sequence[torch.Tensor], name: str, *, optimizer: str) -> Graph:
    module.train()
    tape = StepTape(name or type(module).__name__)
    trained = {path: p for path, p in module.named_parameters() if p.requires_grad}
    if not trained:
        raise ModelError(f"cannot train {tape.name}: none of its parameters requires a gradient")
    stepper = OPTIMIZERS[optimizer]([*trained.values()])
    _make_state(stepper, trained.values())
    for path, parameter in module.named_parameters():
        tape.add(parameter, "weight", path)
        tape.owner[id(parameter)] = path.rpartition(".")[0]
    for path, buffer in module.named_buffers():
        tape.add(buffer, "buffer", path)
    for path, parameter in trained.items():
        for key, value in stepper.state[parameter].items():
            if isinstance(value, torch.Tensor) and value.device.type == "meta":
                tape.add(value, "buffer", f"{key} of {path}")
    inputs = [torch.empty_like(t, device="meta") for t in inputs]
    for i, tensor in enumerate(inputs):
        tape.add(tensor, "input", f"input{i}")
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        stack.enter_context(decomposed_attention())
        stack.enter_context(module_paths(module, tape))
        fast = stack.enter_context(fast_norms(module))
        stack.enter_context(AsOnGpu())
        stack.enter_context(_StepRecorder(tape))
        try:
            loss = _loss(module(*inputs), tape)
            tape.phase = BACKWARD
            loss.backward()
            tape.phase, tape.path = OPTIMIZER, ""
            stepper.step()
        except ModelError:
            raise
        except Exception as error:
            raise failure(error, f"a training step of {tape.name}", inputs) from error
    gradients = [p.grad for p in trained.values() if p.grad is not None]
    modules = {path: type(m).__name__ for path, m in module.named_modules()}
    graph = with_fast_norms(accumulate_in_place(tape.graph((loss, gradients), name, modules)), fast)
    for parameter in trained.values():
        parameter.grad = None
    return graph


def _make_state(stepper: torch.optim.Optimizer, parameters: Any) -> None:
    """Step once with empty gradients, as the first step allocates what all later ones update."""
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    stepper.step()
    stepper.zero_grad(set_to_none=True)


def _loss(result: Any, tape: "StepTape") -> torch.Tensor:
    """Sum the cross entropy of every output of scores and the elements of every other one."""
    outputs = [t for t in tree_leaves(result) if isinstance(t, torch.Tensor) and t.requires_grad]
    if not outputs:
        raise ModelError(f"cannot train {tape.name}: no output depends on a parameter that requires a gradient")
    losses: list[torch.Tensor] = []
    targets: dict[int, torch.Tensor] = {}
    for output in outputs:
        if output.ndim != 2:
            losses.append(output.sum())
            continue
        items = output.shape[0]
        if items not in targets:
            with _disable_current_modes():  # it comes from outside
                targets[items] = torch.empty(items, dtype=torch.int64, device="meta")
            tape.add(targets[items], "input", "target")
        losses.append(torch.nn.functional.cross_entropy(output, targets[items]))
    return sum(losses[1:], start=losses[0])


class AsOnGpu(TorchFunctionMode):
    """Choose the fused kernels that PyTorch runs on a GPU where the meta device would run their parts."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            fused = _attention(*args, **kwargs)
            return func(*args, **kwargs) if fused is None else fused
        if func is torch.nn.functional.dropout:
            return _dropout(*args, **kwargs)
        return func(*args, **kwargs)


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> torch.Tensor | None:  # fmt: skip
    """Run the memory-efficient kernel, which takes any float type and mask; None where it does not apply."""
    masked = attn_mask is not None
    if enable_gqa or query.ndim != 4 or (masked and attn_mask.dtype != query.dtype):
        return None
    bias = attn_mask.expand(*query.shape[:-1], key.shape[-2]) if masked else None
    fused = torch.ops.aten._scaled_dot_product_efficient_attention
    return fused(query, key, value, bias, True, dropout_p, is_causal, scale=scale)[0]


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """Keep a mask of bytes, in place or not, as the fused dropout does."""
    return torch.native_dropout(input, p, True)[0] if training and p > 0 else input


@dataclass(slots=True)
class StepTape(Tape):
    """A tape that keeps no tensor alive, since autograd acts on how many hold one; memory and layout tell tensors apart.

    *nodes* lists the number of the next autograd node, ascending, and *paths* the module that ran from there on; *owner*
    maps the id of a parameter to its module.
    """

    phase: str = FORWARD
    nodes: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    owner: dict[int, str] = field(default_factory=dict)

    def key(self, tensor: torch.Tensor) -> Any:
        """Tell *tensor* by its memory and layout: autograd unpacks what it saved as other objects."""
        storage = tensor.untyped_storage()._cdata
        return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype

    def hold(self, tensor: torch.Tensor, storage: torch.UntypedStorage) -> None:
        """Keep the address of *storage* from being used again, not its memory."""
        self.alive.append(StorageWeakRef(storage))

    def locate(self) -> None:
        """Note which module makes the autograd nodes of the forward pass, and in the backward pass go to the one that made the node."""
        if self.phase == FORWARD:
            engine: Any = torch.autograd
            upcoming = engine._get_sequence_nr()
            if not self.nodes or upcoming > self.nodes[-1]:
                self.nodes.append(upcoming)
                self.paths.append(self.path)
        elif self.phase == BACKWARD:
            node: Any = torch._C._current_autograd_node()
            if node is None:
                self.path = ""
            elif hasattr(node, "variable"):  # it accumulates the gradient of a parameter
                self.path = self.owner.get(id(node.variable), "")
            else:
                at = bisect_right(self.nodes, node._sequence_nr())
                self.path = self.paths[at] if at < len(self.paths) else ""

    def write(self, signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Append the op with its phase; the gradients of a convolution apart, as they are kernels apart."""
        if signature.packet == "empty" and not result.numel():
            return  # batch norm reserves nothing
        Tape.write(self, signature, args, kwargs, result)
        op = self.ops[-1]
        if self.phase != FORWARD:
            op = self.ops[-1] = replace(op, attrs={**op.attrs, "phase": self.phase})
        if op.name == "convolution_backward":
            self.ops[-1:] = _gradients_apart(op)


_CONVOLUTION_READS = (("grad_output", "weight"), ("grad_output", "input"), ("grad_output",))
"""What the gradients of the input, of the weight and of the bias of a convolution are made of."""


def _gradients_apart(op: Op) -> list[Op]:
    """Split the gradients of a convolution into one op for each that is asked for."""
    wanted = [i for i, asked in enumerate(op.attrs["output_mask"]) if asked]
    parts: list[Op] = []
    for output, i in zip(op.outputs, wanted, strict=True):
        read = [(t, role) for t, role in zip(op.inputs, op.roles, strict=True) if role in _CONVOLUTION_READS[i]]
        attrs = {**op.attrs, "output_mask": tuple(j == i for j in range(3))}
        inputs, roles = zip(*read, strict=True)
        parts.append(replace(op, id=op.id + len(parts), inputs=inputs, outputs=(output,), roles=roles, attrs=attrs))
    return parts


class _StepRecorder(Recorder):
    """Record a training step, but not what the host does for itself: scalars of the optimiser, marks for profilers."""

    tape: StepTape

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "profiler" or func is torch.ops.aten.detach.default:
            return func(*args, **kwargs)  # a detached tensor is the same memory in the same layout
        if self.tape.phase == OPTIMIZER and not _on_meta((*args, *kwargs.values())):
            return func(*args, **kwargs)
        self.tape.locate()
        return super().__torch_dispatch__(func, types, args, kwargs)


def _on_meta(values: Sequence[Any]) -> bool:
    return any(t.device.type == "meta" for value in values for t in tensors_in(value))


def accumulate_in_place(graph: Graph) -> Graph:
    """Add a second gradient into the memory of the first where nothing else needs that, as the autograd engine does.

    Under a dispatch mode the engine adds out of place (torch/csrc/autograd/input_buffer.cpp, can_accumulate_inplace).
    """
    last: dict[int, int] = {}
    for op in graph.ops:
        last.update((graph.tensors[t].storage, op.id) for t in op.inputs)
    last.update((graph.tensors[t].storage, len(graph.ops)) for t in graph.outputs)
    moved: dict[int, int] = {}
    ops = list(graph.ops)
    for op in graph.ops:
        if op.name == "add" and phase_of(op) == BACKWARD and not op.inplace and len(op.inputs) == 2:
            reusable = (t for t in op.inputs if _reusable(graph.tensors[t], graph.tensors[op.outputs[0]], graph, last, op))
            if (host := next(reusable, None)) is not None:
                root = graph.tensors[host].storage
                root = moved.get(root, root)
                moved[op.outputs[0]] = root
                last[root] = max(last.get(root, 0), last.get(op.outputs[0], 0))
                ops[op.id] = replace(op, inplace=True)
    tensors = tuple(replace(t, storage=moved.get(t.storage, t.storage)) for t in graph.tensors)
    return replace(graph, tensors=tensors, ops=tuple(ops), kernels=singletons(tuple(ops)))


def _reusable(tensor: Tensor, result: Tensor, graph: Graph, last: Mapping[int, int], op: Op) -> bool:
    """Tell whether *result* of *op* can take the memory of *tensor*: a gradient of its size that no later op reads."""
    root = graph.tensors[tensor.storage]
    fits = root.kind == "activation" and root.numel == tensor.numel == result.numel and tensor.dtype == result.dtype
    made = graph.producer.get(root.id)
    return fits and made is not None and phase_of(made) == BACKWARD and last[root.id] <= op.id
