"""Turn a graph into the same graph at another precision: tensors change their type, autocast adds its casts."""

from dataclasses import replace
from typing import Literal, get_args

from roofline.errors import UnknownNameError
from roofline.graph import BACKWARD, FAST_NORM, FORWARD, UNFUSED, Graph, Op, Tensor, phase_of, singletons
from roofline.transforms.quantise import quantise
from roofline.transforms.rewrite import convert
from roofline.transforms.selection import Where
from roofline.units import BITS, FLOATS

Precision = Literal["fp32", "tf32", "amp", "fp16", "bf16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

AUTOCAST_LOWER = frozenset({
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "_convolution", "linear",
    "addmm", "addmv", "mm", "mv", "matmul", "bmm", "baddbmm", "addbmm", "scaled_dot_product_attention", "prelu", "_prelu_kernel",
    "lstm", "gru", "rnn_tanh", "rnn_relu", "_scaled_dot_product_efficient_attention", "_scaled_dot_product_efficient_attention_backward",
    "convolution_backward",
})  # fmt: skip
"""Ops that autocast runs in half precision (pytorch.org/docs/stable/amp.html, CUDA ops that autocast to float16; recurrent
layers by aten/src/ATen/cudnn/AutocastRNN.cpp)."""

AUTOCAST_FP32 = frozenset({
    "softmax", "log_softmax", "layer_norm", "native_layer_norm", "group_norm", "native_group_norm", "exp", "expm1", "log", "log10",
    "log1p", "log2", "pow", "prod", "sum", "cumsum", "cumprod", "norm", "linalg_vector_norm", "rsqrt", "reciprocal", "softplus", "sinh",
    "cosh", "tan", "acos",
    "asin", "erfinv", "_cdist_forward", "_euclidean_dist", "cosine_similarity",
    "_softmax", "_log_softmax", "native_layer_norm_backward", "native_group_norm_backward",
})  # fmt: skip
"""Ops that autocast runs in fp32 (same page, CUDA ops that autocast to float32)."""

CASTS_ITSELF = frozenset(
    {"softmax", "log_softmax", "_softmax", "_log_softmax", "prod", "sum", "cumsum", "cumprod", "norm", "linalg_vector_norm"}
)
"""Those of them that read the half type and return fp32 in one kernel (aten/src/ATen/autocast_mode.h, fp32_set_opt_dtype)."""

_STATISTICS = frozenset({"mean", "rstd"})
"""Arguments of the gradient of a norm that are fp32 in any case."""

SOFTMAX_BACKWARD = frozenset({"_softmax_backward_data", "_log_softmax_backward_data"})
"""Gradients that come in the type of the scores (their argument input_dtype)."""


def check_precision(precision: str) -> Precision:
    """Return *precision* if it exists; raise UnknownNameError otherwise."""
    if precision not in PRECISIONS:
        raise UnknownNameError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
    return precision


def to_precision(graph: Graph, precision: str, *, lower: str = "fp16") -> Graph:
    """Return *graph* as it would be at *precision*; `amp` autocasts to *lower* over fp32 weights.

    `fp32` keeps the types as traced; `tf32` marks fp32 tensors so that products may round (they are fp32 in memory).
    `fp16` and `bf16` store every float so. `int8` and `int4` store every activation and the weights of convolutions and
    products so: a network quantised end to end; norms and biases keep their type. Accuracy is not predicted.
    """
    check_precision(precision)
    if precision == "fp32":
        return graph
    if precision == "tf32":
        return replace(graph, tensors=tuple(t.typed("tf32") if t.dtype == "fp32" else t for t in graph.tensors))
    if precision == "amp":
        return _autocast(graph, lower)
    quantised = _quantisable(graph) if precision in ("int8", "int4") else None
    tensors = tuple(t.typed(precision) if t.dtype in FLOATS and (quantised is None or t.id in quantised) else t for t in graph.tensors)
    return replace(graph, tensors=tensors)


def layers_to_precision(graph: Graph, precision: str, where: Where) -> Graph:
    """Let the layers chosen compute and store in *precision*, with casts where they meet the others.

    A float type is taken by every op of a layer. `int8` is taken by its products, as `quantise` describes.
    """
    if precision == "int8":
        return quantise(graph, precision, where)
    chosen = frozenset(op.id for op in graph.ops if where(op.module))
    readers = graph.consumers
    kept = {  # weights that layers not chosen read too
        graph.tensors[t].storage for t, ops in readers.items() if any(op.id not in chosen for op in ops)
    }

    def belongs(t: Tensor) -> bool:
        maker = graph.producer.get(t.id)
        if graph.tensors[t.storage].kind in ("weight", "buffer"):
            return t.storage not in kept and t.id in readers
        return maker is not None and maker.id in chosen

    made = {t.id: precision for t in graph.tensors if t.dtype in FLOATS and belongs(t)}

    def wanted(op: Op, position: int) -> str | None:
        tensor = graph.tensors[op.inputs[position]]
        return None if tensor.dtype not in FLOATS else precision if op.id in chosen else tensor.dtype

    return convert(graph, made, wanted)


def _quantisable(graph: Graph) -> frozenset[int]:
    """Ids of the activations, and of the weights that matrix products and convolutions read."""
    read = {t for op in graph.ops if op.name in AUTOCAST_LOWER for t, role in zip(op.inputs, op.roles, strict=True) if role != "bias"}
    roots = {graph.tensors[t].storage for t in read}
    return frozenset(t.id for t in graph.tensors if t.kind in ("input", "activation") or (t.kind == "weight" and t.storage in roots))


def _autocast(graph: Graph, lower: str) -> Graph:
    """Rewrite *graph* op by op: cast what enters a listed op, and let every other op follow its widest activation.

    In a training step the backward of a listed op reads the same casts, and a gradient takes the type of what it is the
    gradient of: those of weights are widened, those of what was cast to fp32 narrowed again.
    """
    tensors = list(graph.tensors)
    ops: list[Op] = []
    casts: dict[tuple[int, str], int] = {}
    instead: dict[int, int] = {}  # gradient -> what later ops read of it

    def cast(index: int, dtype: str, like: Op) -> int:
        tensor = tensors[index]
        if tensor.dtype not in FLOATS or tensor.dtype == dtype:
            return index
        if (index, dtype) not in casts:
            maker = graph.producer.get(index)
            phase = {key: value for key, value in like.attrs.items() if key == "phase"}
            if maker is not None and maker.name == "t":  # of a linear layer, whose arguments autocast casts before it is taken apart
                source = cast(maker.inputs[0], dtype, like)
                new = replace(tensor, id=len(tensors), dtype=dtype, storage=tensors[source].storage)
                op = replace(maker, id=len(ops), inputs=(source,), outputs=(new.id,), attrs={**maker.attrs, **phase})
            else:
                new = replace(tensor, id=len(tensors), dtype=dtype, kind="activation", storage=len(tensors), name="")
                op = Op(len(ops), "_to_copy", like.module, (index,), (new.id,), ("self",), {"dtype": dtype, **phase})
            tensors.append(new)
            ops.append(op)
            casts[index, dtype] = new.id
        return casts[index, dtype]

    gradients = frozenset(graph.outputs)
    for op in graph.ops:
        target = _target(op, graph, tensors, lower)
        casts_inputs = (_in_half(op) or _in_fp32(op)) and op.name not in CASTS_ITSELF and not op.inplace
        inputs = tuple(instead.get(t, t) for t in op.inputs)
        if casts_inputs:
            inputs = tuple(t if role in _STATISTICS else cast(t, target, op) for t, role in zip(inputs, op.roles, strict=True))
        ops.append(replace(op, id=len(ops), inputs=inputs))
        for t in op.outputs[: 1 if "native" in op.name else None]:  # statistics, and gradients of a norm's weights, stay fp32
            if tensors[t].dtype in FLOATS:
                tensors[t] = tensors[t].typed(target)
        if phase_of(op) == BACKWARD:
            instead.update((t, cast(t, "fp32", op)) for t in op.outputs if t in gradients)
            if (_in_fp32(op) or FAST_NORM in op.attrs) and (normed := op.input("input")) is not None:
                instead[op.outputs[0]] = cast(op.outputs[0], tensors[normed].dtype, op)
    outputs = tuple(instead.get(t, t) for t in graph.outputs)
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops), outputs=outputs, kernels=singletons(tuple(ops)))


def _in_half(op: Op) -> bool:
    """Tell whether *op* runs in half precision: by autocast, or hidden from it as a norm of timm or a part of what it cast before."""
    return op.name in AUTOCAST_LOWER or FAST_NORM in op.attrs or UNFUSED in op.attrs


def _in_fp32(op: Op) -> bool:
    """Tell whether autocast runs *op* in fp32; the backward pass runs outside of it, and follows what the forward pass made."""
    return op.name in AUTOCAST_FP32 and not _in_half(op) and (phase_of(op) == FORWARD or "norm" in op.name)


def _target(op: Op, graph: Graph, tensors: list[Tensor], lower: str) -> str:
    """Name the float type that *op* computes and returns under autocast (an in-place op keeps the type of its memory)."""
    if _in_half(op) and not op.inplace:
        return lower
    if _in_fp32(op) and not op.inplace:
        return "fp32"
    if op.name in SOFTMAX_BACKWARD:
        softmax = graph.producer[op.inputs[op.roles.index("output")]]
        return tensors[softmax.inputs[0]].dtype
    inputs = [tensors[t] for t in op.inputs[: 1 if op.inplace or "norm" in op.name else None]]
    floats = [t.dtype for t in inputs if t.dtype in FLOATS and (t.shape or t.kind == "activation")]
    activations = [t.dtype for t in inputs if t.dtype in FLOATS and t.kind == "activation"]
    return max(floats or activations or ["fp32"], key=BITS.__getitem__)
