"""Turn a graph into the same graph at another precision: tensors change their type, autocast adds its casts."""

from dataclasses import replace
from typing import Literal, get_args

from roofline.errors import UnknownNameError
from roofline.graph import Graph, Op, Tensor, singletons
from roofline.units import BITS, FLOATS

Precision = Literal["fp32", "tf32", "amp", "fp16", "bf16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

AUTOCAST_LOWER = frozenset({
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "_convolution", "linear",
    "addmm", "addmv", "mm", "mv", "matmul", "bmm", "baddbmm", "addbmm", "scaled_dot_product_attention", "prelu", "_prelu_kernel",
    "lstm", "gru", "rnn_tanh", "rnn_relu",
})  # fmt: skip
"""Ops that autocast runs in half precision (pytorch.org/docs/stable/amp.html, CUDA ops that autocast to float16; recurrent
layers by aten/src/ATen/cudnn/AutocastRNN.cpp)."""

AUTOCAST_FP32 = frozenset({
    "softmax", "log_softmax", "layer_norm", "native_layer_norm", "group_norm", "native_group_norm", "exp", "expm1", "log", "log10",
    "log1p", "log2", "pow", "prod", "sum", "cumsum", "cumprod", "norm", "linalg_vector_norm", "rsqrt", "reciprocal", "softplus", "sinh",
    "cosh", "tan", "acos",
    "asin", "erfinv", "_cdist_forward", "_euclidean_dist", "cosine_similarity",
})  # fmt: skip
"""Ops that autocast runs in fp32 (same page, CUDA ops that autocast to float32)."""

CASTS_ITSELF = frozenset({"softmax", "log_softmax", "prod", "sum", "cumsum", "cumprod", "norm", "linalg_vector_norm"})
"""Those of them that read the half type and return fp32 in one kernel (aten/src/ATen/autocast_mode.h, fp32_set_opt_dtype)."""


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
        return replace(graph, tensors=tuple(replace(t, dtype="tf32") if t.dtype == "fp32" else t for t in graph.tensors))
    if precision == "amp":
        return _autocast(graph, lower)
    quantised = _quantisable(graph) if precision in ("int8", "int4") else None
    tensors = tuple(
        replace(t, dtype=precision) if t.dtype in FLOATS and (quantised is None or t.id in quantised) else t for t in graph.tensors
    )
    return replace(graph, tensors=tensors)


def _quantisable(graph: Graph) -> frozenset[int]:
    """Ids of the activations, and of the weights that matrix products and convolutions read."""
    read = {t for op in graph.ops if op.name in AUTOCAST_LOWER for t, role in zip(op.inputs, op.roles, strict=True) if role != "bias"}
    roots = {graph.tensors[t].storage for t in read}
    return frozenset(t.id for t in graph.tensors if t.kind in ("input", "activation") or (t.kind == "weight" and t.storage in roots))


def _autocast(graph: Graph, lower: str) -> Graph:
    """Rewrite *graph* op by op: cast what enters a listed op, and let every other op follow its widest activation."""
    tensors = list(graph.tensors)
    ops: list[Op] = []
    casts: dict[tuple[int, str], int] = {}

    def cast(index: int, dtype: str, module: str) -> int:
        tensor = tensors[index]
        if tensor.dtype not in FLOATS or tensor.dtype == dtype:
            return index
        if (index, dtype) not in casts:
            new = replace(tensor, id=len(tensors), dtype=dtype, kind="activation", storage=len(tensors), name="")
            tensors.append(new)
            ops.append(Op(len(ops), "_to_copy", module, (index,), (new.id,), ("self",), {"dtype": dtype}))
            casts[index, dtype] = new.id
        return casts[index, dtype]

    for op in graph.ops:
        target = _target(op, tensors, lower)
        listed = op.name in AUTOCAST_LOWER or op.name in AUTOCAST_FP32
        casts_inputs = listed and op.name not in CASTS_ITSELF and not op.inplace
        inputs = tuple(cast(t, target, op.module) for t in op.inputs) if casts_inputs else op.inputs
        ops.append(replace(op, id=len(ops), inputs=inputs))
        for t in op.outputs:
            if tensors[t].dtype in FLOATS:
                tensors[t] = replace(tensors[t], dtype=target)
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops), kernels=singletons(tuple(ops)))


def _target(op: Op, tensors: list[Tensor], lower: str) -> str:
    """Name the float type that *op* computes and returns under autocast (an in-place op keeps the type of its memory)."""
    if op.name in AUTOCAST_LOWER and not op.inplace:
        return lower
    if op.name in AUTOCAST_FP32 and not op.inplace:
        return "fp32"
    inputs = [tensors[t] for t in op.inputs[: 1 if op.inplace or "norm" in op.name else None]]
    floats = [t.dtype for t in inputs if t.dtype in FLOATS and (t.shape or t.kind == "activation")]
    activations = [t.dtype for t in inputs if t.dtype in FLOATS and t.kind == "activation"]
    return max(floats or activations or ["fp32"], key=BITS.__getitem__)
