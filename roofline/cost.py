"""Turn an op or a kernel into its cost: MACs, FLOPs by engine, and bytes read and written by role.

A rule gives the arithmetic of an op; the bytes come from the edge of the kernel that holds it, so fusing ops conserves
FLOPs and can only lower bytes. Convolutions, matrix products and attention count 2 FLOPs per MAC and nothing for the
bias; every other function counts the operations per element stated in `docs/conventions.md`.
"""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from roofline.graph import Graph, Op, Tensor
from roofline.units import BITS, FLOPS_PER_MAC


@dataclass(frozen=True, slots=True)
class Cost:
    """Sum of work and traffic: MACs (a count), FLOPs on each engine (counts), and bytes moved, by role."""

    macs: float = 0
    matrix_flops: float = 0
    vector_flops: float = 0
    weight_bytes: float = 0
    input_bytes: float = 0
    output_bytes: float = 0

    @property
    def flops(self) -> float:
        """FLOPs on both engines."""
        return self.matrix_flops + self.vector_flops

    @property
    def read_bytes(self) -> float:
        """Bytes read: weights and activations."""
        return self.weight_bytes + self.input_bytes

    @property
    def write_bytes(self) -> float:
        """Bytes written."""
        return self.output_bytes

    @property
    def bytes(self) -> float:
        """Bytes read and written."""
        return self.read_bytes + self.write_bytes

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: FLOPs per byte moved (0 where nothing moves)."""
        return self.flops / self.bytes if self.bytes else 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, factor: float) -> "Cost":
        return Cost(*(getattr(self, f.name) * factor for f in fields(self)))

    __rmul__ = __mul__


@dataclass(frozen=True, slots=True)
class Work:
    """Arithmetic of one op, and the shape of its loop nest as a batch of matrix products.

    An op of *groups* products of (*rows* x *depth*) by (*depth* x *columns*) has that much parallel work; ops that are no
    product have one row per output element, but for layer norms (a row is normalised together) and interpolations (a row is a pixel).
    *taps* is the number of positions of a sliding window, *stride* its step; *bias* is 1 where a convolution adds one to its result.
    """

    kind: str
    macs: float = 0
    matrix_flops: float = 0
    vector_flops: float = 0
    rows: float = 0
    columns: float = 1
    depth: float = 1
    groups: float = 1
    taps: float = 1
    stride: float = 1
    bias: float = 0


KINDS = (
    "conv", "pointwise conv", "depthwise conv", "grouped conv", "linear", "matmul", "attention", "batch norm", "layer norm",
    "group norm", "activation",
    "softmax", "elementwise", "compare", "pool", "reduction", "resize", "copy", "cast", "gather", "sort", "create", "view", "unknown",
)  # fmt: skip
"""Kinds of op, in the order that reports list them."""


@dataclass(frozen=True, slots=True)
class Call:
    """An op with its tensors at hand: what a rule reads."""

    op: Op
    tensors: tuple[Tensor, ...]

    def __getitem__(self, role: str) -> Tensor:
        if role not in self.op.roles:
            raise KeyError(f"{self.op.name} has no input {role!r}")
        return self.tensors[self.op.inputs[self.op.roles.index(role)]]

    def attr(self, name: str, default: Any = None) -> Any:
        """Return a schema argument that is no tensor."""
        return self.op.attrs.get(name, default)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors read, in schema order."""
        return tuple(self.tensors[t] for t in self.op.inputs)

    @property
    def out(self) -> Tensor:
        """The first tensor written."""
        return self.tensors[self.op.outputs[0]]


SKIPPED = "skipped"
"""Attribute of an op of which a what-if says that this share of its arithmetic is left out."""

PRUNED_2_4 = "pruned_2_4"
"""Attribute of a product of which a what-if says that two of each four of its weights are zero."""

Rule = Callable[[Call], Work]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of each aten op in *names*; a second rule for an op is an error."""

    def register(function: Rule) -> Rule:
        for name in names:
            if name in RULES:
                raise ValueError(f"op {name!r} has a rule already: {RULES[name].__name__}")
            RULES[name] = function
        return function

    return register


def work(op: Op, graph: Graph) -> Work:
    """Return the arithmetic of *op*; the kind is `view` for what only renames memory and `unknown` where no rule exists."""
    if graph.is_view(op):
        return Work("view")
    function = RULES.get(op.name)
    if function is None:
        return Work("unknown", rows=sum(graph.tensors[t].numel for t in op.outputs))
    found = function(Call(op, graph.tensors))
    skipped = op.attrs.get(SKIPPED)
    if skipped is None:
        return found
    left = 1 - skipped
    return replace(found, macs=found.macs * left, matrix_flops=found.matrix_flops * left, vector_flops=found.vector_flops * left)


def cost(ops: Iterable[Op], graph: Graph) -> Cost:
    """Return the cost of *ops* run as one kernel: their arithmetic, and the tensors that cross the kernel's edge."""
    ops = tuple(ops)
    total = Cost()
    for op in ops:
        w = work(op, graph)
        total += Cost(w.macs, w.matrix_flops, w.vector_flops)
    for access in reads(ops, graph):
        size = access.nbytes(graph)
        total += Cost(weight_bytes=size) if is_constant(access.tensor, graph) else Cost(input_bytes=size)
    return total + Cost(output_bytes=sum(access.nbytes(graph) for access in writes(ops, graph)))


def is_constant(index: int, graph: Graph) -> bool:
    """Tell whether a tensor is a weight or a buffer, or a view of one."""
    return graph.tensors[graph.tensors[index].storage].kind in ("weight", "buffer")


@dataclass(frozen=True, slots=True)
class Access:
    """A tensor that crosses a kernel's edge; no more elements of it move than the tensor *limit* has, where there is one."""

    tensor: int
    limit: int | None = None

    def nbytes(self, graph: Graph) -> float:
        """Bytes that move at the graph's batch: a broadcast view is no larger than the memory it repeats."""
        tensor = graph.tensors[self.tensor]
        sizes = [tensor.numel, graph.tensors[tensor.storage].numel]
        if self.limit is not None:
            sizes.append(graph.tensors[self.limit].numel)
        return min(sizes) * BITS[tensor.dtype] / 8 * tensor.density


def reads(ops: Collection[Op], graph: Graph) -> tuple[Access, ...]:
    """List the tensors that enter a kernel of *ops*, each once."""
    inside = {t for op in ops for t in op.outputs} if len(ops) > 1 else set[int]()  # no op reads what it writes
    found: dict[int, Access] = {}
    for op in ops:
        if graph.is_view(op):
            continue
        partial, touched = PARTIAL_READS.get(op.name, ()), _touched(op, graph)
        unread = UNREAD.get(op.name, ()) if op.inplace or op.name not in PARTIAL_WRITES else ()
        for index, role in zip(op.inputs, op.roles, strict=True):
            if role in unread:
                continue
            limit = op.outputs[0] if role in partial else touched if role == "self" else None
            for part in _parts(index, inside, graph) if inside else (index,):
                if part not in found or found[part].limit is not None:
                    found[part] = Access(part, limit)
    return tuple(found.values())


def writes(ops: Collection[Op], graph: Graph) -> tuple[Access, ...]:
    """List the tensors that leave a kernel of *ops*."""
    inside = {op.id for op in ops}
    found: list[Access] = []
    for op in ops:
        if op.name in UNWRITTEN or graph.is_view(op):
            continue
        touched = _touched(op, graph)
        found += (Access(t, touched) for t in op.outputs if _leaves(t, inside, graph))
    return tuple(found)


def _touched(op: Op, graph: Graph) -> int | None:
    """Return the input that is as large as the part of its memory that an in-place op changes; None if that is all of it."""
    if not op.inplace or op.name not in PARTIAL_WRITES:
        return None
    candidates = (t for t, role in zip(op.inputs, op.roles, strict=True) if role in PARTIAL_WRITES[op.name])
    return max(candidates, key=lambda t: graph.tensors[t].numel, default=None)


def _parts(index: int, inside: Collection[int], graph: Graph) -> tuple[int, ...]:
    """Say what enters a kernel that reads a tensor: nothing made *inside*, but what a view made there shows, and all that is gathered."""
    shown = index
    while shown in inside and graph.is_view(op := graph.producer[shown]):
        if graph.is_gathered(op):
            return tuple(part for t in op.inputs for part in _parts(t, inside, graph))
        shown = op.inputs[0]
    return () if shown in inside else (index,)


def _leaves(index: int, inside: Collection[int], graph: Graph) -> bool:
    """Tell whether a tensor is read outside the kernel of ops *inside*, directly or through views, or is an output."""
    readers = graph.consumers.get(index, ())
    if index in graph.outputs or not readers:
        return True
    return any(_view_leaves(op, inside, graph) if graph.is_view(op) else op.id not in inside for op in readers)


def _view_leaves(view: Op, inside: Collection[int], graph: Graph) -> bool:
    return any(_leaves(t, inside, graph) for t in view.outputs if graph.consumers.get(t) or t in graph.outputs)


# --- what an op does not touch whole -------------------------------------------------------------------------------

PARTIAL_READS: dict[str, tuple[str, ...]] = {
    "embedding": ("weight",), "index": ("self",), "index_select": ("self",), "gather": ("self",), "take": ("self",),
    "take_along_dim": ("self",), "grid_sampler_2d": ("input",), "_unsafe_index": ("self",),
}  # fmt: skip
"""Inputs of which an op reads no more elements than it writes."""

UNREAD: dict[str, tuple[str, ...]] = {
    "copy": ("self",), "fill": ("self",), "zero": ("self",), "zeros_like": ("self",), "ones_like": ("self",),
    "full_like": ("self",), "empty_like": ("self",), "new_zeros": ("self",), "new_ones": ("self",), "new_full": ("self",),
    "new_empty": ("self",), "index_put": ("self",), "index_copy": ("self",), "scatter": ("self",), "normal": ("self",),
    "uniform": ("self",), "rand_like": ("self",), "randn_like": ("self",), "resize": ("self",),
    "nll_loss_backward": ("self",), "nll_loss2d_backward": ("self",), "_adaptive_avg_pool2d_backward": ("self",),
    "_adaptive_avg_pool3d_backward": ("self",), "avg_pool2d_backward": ("self",), "avg_pool3d_backward": ("self",),
    "max_pool2d_with_indices_backward": ("self",), "max_pool3d_with_indices_backward": ("self",),
    "adaptive_max_pool2d_backward": ("self",), "adaptive_max_pool3d_backward": ("self",), "_foreach_zero": ("self",),
    "_foreach_copy": ("self",), "new_empty_strided": ("self",), "expand_as": ("other",), "view_as": ("other",),
    "reshape_as": ("other",), "type_as": ("other",),
}  # fmt: skip
"""Inputs whose values an op does not need (those of PARTIAL_WRITES only in place: elsewhere they copy what they keep)."""

PARTIAL_WRITES: dict[str, tuple[str, ...]] = {
    "index_put": ("values", "indices"), "scatter": ("index",), "scatter_add": ("index",), "index_add": ("source",),
    "index_copy": ("source",),
}  # fmt: skip
"""Inputs the largest of which is as large as the part of the output that an in-place op writes."""

UNWRITTEN = frozenset({"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "resize", "empty_permuted"})
"""Ops that reserve memory and write nothing."""


# --- products: matrix engine, but depthwise convs, which have no reuse for it, on the vector engine ------------------


@rule("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "_convolution")
def conv(call: Call) -> Work:
    """Count a convolution: one product per group, rows = output positions of the batch, depth = taps x input channels."""
    weight, out, source = call["weight"], call.out, call["input"]
    groups = int(call.attr("groups", 1))
    taps = math.prod(weight.shape[2:])
    if "transpose" in call.op.name or call.attr("transposed", False):
        macs = source.numel * math.prod(weight.shape[1:])
        columns, depth, rows = weight.shape[1] * taps, weight.shape[0] // groups, source.numel // weight.shape[0]
    else:
        macs = out.numel * math.prod(weight.shape[1:])
        columns, depth, rows = weight.shape[0] // groups, math.prod(weight.shape[1:]), out.numel // weight.shape[0]
    stride = call.attr("stride", (1,))
    kind = _conv_kind(groups, weight, taps)
    product = _product(kind, macs, rows, columns, depth, groups, taps, stride[0] if isinstance(stride, tuple) else stride)
    return replace(product, bias=1) if call.op.input("bias") is not None else product


@rule("convolution_backward")
def conv_backward(call: Call) -> Work:
    """Count the gradients of a convolution that are asked for: as many products for the input's as for the weight's, sums for the bias's.

    The gradient of the weight sums over all output positions; libraries split that sum over the chip, so its loop nest is
    taken to be that of the forward pass. The gradient of the input has the input's positions and channels as its results.
    """
    grad, mask = call["grad_output"], call.attr("output_mask")
    made = dict(zip((i for i, asked in enumerate(mask) if asked), (call.tensors[t] for t in call.op.outputs), strict=False))
    bias = grad.numel if mask[2] else 0
    if not mask[0] and not mask[1]:
        return Work("reduction", vector_flops=bias, rows=call.out.numel, taps=bias / max(call.out.numel, 1))
    weight = made[1] if mask[1] else call["weight"]
    groups, taps, per_filter = int(call.attr("groups", 1)), math.prod(weight.shape[2:]), math.prod(weight.shape[1:])
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    source = made[0] if mask[0] else call["input"]
    if call.attr("transposed", False):
        macs, outputs, inputs = source.numel * per_filter, inputs, outputs
    else:
        macs = grad.numel * per_filter
    columns = inputs if mask[0] else outputs
    rows = (source.numel if mask[0] else grad.numel) // (columns * groups)
    both = macs * (mask[0] + mask[1])
    kind, stride = _conv_kind(groups, weight, taps), call.attr("stride", (1,))
    product = _product(kind, both, rows, columns, both / max(rows * columns * groups, 1), groups, taps, stride[0])
    return replace(product, vector_flops=product.vector_flops + bias)


def _conv_kind(groups: int, weight: Tensor, taps: int) -> str:
    if groups > 1:
        return "depthwise conv" if weight.shape[1] == 1 else "grouped conv"
    return "pointwise conv" if taps == 1 else "conv"


def _product(
    kind: str, macs: float, rows: float, columns: float, depth: float, groups: float = 1, taps: float = 1, stride: float = 1
) -> Work:
    flops = FLOPS_PER_MAC * macs
    on_matrix = kind != "depthwise conv"
    return Work(kind, macs, flops if on_matrix else 0, 0 if on_matrix else flops, rows, columns, depth, groups, taps, stride)


@rule("linear", "addmm", "mm", "addmv", "mv", "dot")
def linear(call: Call) -> Work:
    """Count a product of a matrix with one that is shared by the whole batch."""
    by_role = {"linear": ("input", "weight"), "addmm": ("mat1", "mat2"), "mm": ("self", "mat2"), "dot": ("self", "tensor")}
    left, _ = (call[role] for role in by_role.get(call.op.name, (call.op.roles[-2], call.op.roles[-1])))
    depth = left.shape[-1] if left.shape else 1
    columns = call.out.shape[-1] if len(call.out.shape) > 1 else 1
    return _product("linear", call.out.numel * depth, call.out.numel // max(columns, 1), columns, depth)


@rule("matmul", "bmm", "baddbmm", "addbmm")
def matmul(call: Call) -> Work:
    """Count a batch of products of two activations (or a linear layer, where the right side is one matrix of weights)."""
    left, right = (call["batch1"], call["batch2"]) if call.op.name in ("baddbmm", "addbmm") else call.inputs[:2]
    depth = left.shape[-1]
    columns = right.shape[-1] if len(right.shape) > 1 else 1
    groups = math.prod(right.shape[:-2])
    products = call.out.numel * (groups if call.op.name == "addbmm" else 1)  # addbmm adds up its batch
    kind = "linear" if call.tensors[right.storage].kind == "weight" and groups == 1 else "matmul"
    return _product(kind, products * depth, products // max(columns * groups, 1), columns, depth, groups)


@rule(
    "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_flash_attention",
)
def attention(call: Call) -> Work:
    """Count fused attention: scores and their product with the values on the matrix engine, the softmax on the vector engine."""
    query, key, value = call["query"], call["key"], call["value"]
    pairs = math.prod(query.shape[:-1]) * key.shape[-2]
    macs = pairs * (query.shape[-1] + value.shape[-1])
    heads = math.prod(query.shape[:-2])
    return Work("attention", macs, FLOPS_PER_MAC * macs, SOFTMAX_FLOPS * pairs, query.shape[-2], key.shape[-2], query.shape[-1], heads)


@rule(
    "_scaled_dot_product_efficient_attention_backward",
    "_scaled_dot_product_flash_attention_backward",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
)
def attention_backward(call: Call) -> Work:
    """Count the gradient of fused attention: the scores again, and the gradients of scores, values, queries and keys."""
    query, key, value = call["query"], call["key"], call["value"]
    pairs = math.prod(query.shape[:-1]) * key.shape[-2]
    macs = pairs * (3 * query.shape[-1] + 2 * value.shape[-1])
    heads = math.prod(query.shape[:-2])
    flops = (SOFTMAX_FLOPS + SOFTMAX_BACKWARD_FLOPS) * pairs
    return Work("attention", macs, FLOPS_PER_MAC * macs, flops, query.shape[-2], key.shape[-2], query.shape[-1], heads)


# --- per-element functions: (kind, FLOPs per output element) ---------------------------------------------------------

SOFTMAX_FLOPS = 5
"""Maximum, subtraction, exponential, sum, division: one each per element."""

SOFTMAX_BACKWARD_FLOPS = 4
"""y (g - sum(g y)): two products, a sum and a difference per element."""

ELEMENTWISE: dict[str, dict[str, int]] = {
    "activation": {
        "relu": 1, "relu6": 2, "hardtanh": 2, "leaky_relu": 2, "prelu": 2, "_prelu_kernel": 2, "threshold": 1, "clamp_min": 1,
        "clamp_max": 1, "sigmoid": 4, "silu": 5, "gelu": 8, "tanh": 6, "elu": 4, "selu": 4, "celu": 4, "softplus": 4, "log_sigmoid": 4,
        "log_sigmoid_forward": 4, "hardsigmoid": 4, "hardswish": 5, "mish": 11, "hardshrink": 2, "softshrink": 3, "glu": 5, "rrelu": 2,
        "rrelu_with_noise": 2, "logit": 4, "threshold_backward": 1, "hardtanh_backward": 2, "leaky_relu_backward": 2, "elu_backward": 4,
        "sigmoid_backward": 3, "tanh_backward": 3, "hardsigmoid_backward": 3, "hardswish_backward": 5, "silu_backward": 9,
        "gelu_backward": 15, "mish_backward": 16, "softplus_backward": 5, "log_sigmoid_backward": 5, "glu_backward": 8,
        "hardshrink_backward": 2, "softshrink_backward": 2, "_prelu_kernel_backward": 4, "rrelu_with_noise_backward": 1,
        "logit_backward": 4,
    },
    "elementwise": {
        "add": 1, "sub": 1, "rsub": 1, "mul": 1, "div": 1, "true_divide": 1, "floor_divide": 2, "remainder": 3, "fmod": 3, "neg": 1,
        "abs": 1, "square": 1, "sqrt": 1, "rsqrt": 2, "reciprocal": 1, "pow": 2, "exp": 1, "expm1": 2, "exp2": 1, "log": 1, "log1p": 2,
        "log2": 1, "log10": 1, "sin": 1, "cos": 1, "tan": 3, "atan": 4, "atan2": 5, "asin": 4, "acos": 4, "sinh": 4, "cosh": 4, "erf": 6,
        "erfinv": 8, "erfc": 6, "floor": 1, "ceil": 1, "round": 1, "trunc": 1, "frac": 2, "sign": 1, "clamp": 2, "clip": 2, "maximum": 1,
        "minimum": 1, "fmax": 1, "fmin": 1, "lerp": 3, "addcmul": 3, "addcdiv": 3, "hypot": 3, "logaddexp": 4, "xlogy": 2, "nan_to_num": 3,
        "sgn": 2, "dropout": 2, "native_dropout": 2, "native_dropout_backward": 2, "alpha_dropout": 2, "feature_dropout": 2,
        "bernoulli": 1, "affine_grid_generator": 12, "polar": 2,
        "view_as_real": 0, "real": 0, "imag": 0, "complex": 0, "conj_physical": 1, "angle": 4, "deg2rad": 1, "rad2deg": 1,
    },
    "compare": {
        "eq": 1, "ne": 1, "lt": 1, "le": 1, "gt": 1, "ge": 1, "logical_and": 1, "logical_or": 1, "logical_not": 1, "logical_xor": 1,
        "isnan": 1, "isinf": 1, "isfinite": 3, "where": 1, "masked_fill": 1, "bitwise_and": 1, "bitwise_or": 1, "bitwise_not": 1,
        "bitwise_xor": 1, "bitwise_left_shift": 1, "bitwise_right_shift": 1, "__and__": 1, "__or__": 1, "isclose": 5, "heaviside": 1,
        "bucketize": 8, "searchsorted": 8,
    },
    "softmax": {
        "softmax": SOFTMAX_FLOPS, "_softmax": SOFTMAX_FLOPS, "_safe_softmax": SOFTMAX_FLOPS + 1, "log_softmax": SOFTMAX_FLOPS + 1,
        "_log_softmax": SOFTMAX_FLOPS + 1, "_softmax_backward_data": SOFTMAX_BACKWARD_FLOPS,
        "_log_softmax_backward_data": SOFTMAX_BACKWARD_FLOPS,
    },
    "batch norm": {
        "batch_norm": 2, "_native_batch_norm_legit_no_training": 2, "_batch_norm_no_update": 2, "native_batch_norm_backward": 9,
        "cudnn_batch_norm_backward": 9,
    },
    "layer norm": {"_fused_rms_norm": 5, "native_layer_norm_backward": 13, "_fused_rms_norm_backward": 9},
    "group norm": {"group_norm": 8, "native_group_norm": 8, "instance_norm": 8, "native_group_norm_backward": 13},
    "copy": {
        "cat": 0, "concat": 0, "concatenate": 0, "stack": 0, "hstack": 0, "vstack": 0, "clone": 0, "contiguous": 0, "copy": 0,
        "reshape": 0, "reshape_as": 0, "_reshape_copy": 0, "_unsafe_view": 0, "flatten": 0, "pad": 0, "constant_pad_nd": 0,
        "reflection_pad1d": 0, "reflection_pad2d": 0, "reflection_pad3d": 0, "replication_pad1d": 0, "replication_pad2d": 0,
        "replication_pad3d": 0, "_pad_circular": 0, "roll": 0, "flip": 0, "fliplr": 0, "flipud": 0, "rot90": 0, "repeat": 0,
        "repeat_interleave": 0, "tile": 0, "pixel_shuffle": 0, "pixel_unshuffle": 0, "channel_shuffle": 0, "native_channel_shuffle": 0,
        "im2col": 0, "tril": 0, "triu": 0, "slice_scatter": 0, "select_scatter": 0, "split_with_sizes_copy": 0, "permute_copy": 0,
        "slice_backward": 0, "select_backward": 0, "diagonal_backward": 0, "unfold_backward": 1, "reflection_pad1d_backward": 1,
        "reflection_pad2d_backward": 1, "replication_pad1d_backward": 1, "replication_pad2d_backward": 1,
        "expand_copy": 0, "unfold_copy": 0, "diag_embed": 0, "block_diag": 0, "meshgrid": 0, "cartesian_prod": 0, "lift_fresh_copy": 0,
        "movedim": 0, "tensor_split": 0, "view_copy": 0, "slice_copy": 0, "select_copy": 0, "transpose_copy": 0, "expand": 0, "unfold": 0,
    },
    "cast": {"_to_copy": 0, "to": 0, "type_as": 0, "quantize_per_tensor": 2, "quantize_per_channel": 2, "dequantize": 2},
    "gather": {
        "embedding": 0, "index": 0, "_unsafe_index": 0, "index_select": 0, "gather": 0, "take": 0, "take_along_dim": 0, "index_put": 0,
        "scatter": 0, "index_copy": 0, "index_fill": 0, "masked_scatter": 0, "one_hot": 1, "embedding_bag": 1, "_embedding_bag": 1,
    },
    "create": {
        "zeros": 0, "ones": 0, "full": 0, "arange": 1, "linspace": 2, "logspace": 2, "eye": 0, "tril_indices": 1, "triu_indices": 1,
        "scalar_tensor": 0, "zeros_like": 0, "ones_like": 0, "full_like": 0, "new_zeros": 0, "new_ones": 0, "new_full": 0, "fill": 0,
        "zero": 0, "rand": 1, "randn": 4, "rand_like": 1, "randn_like": 4, "randint": 1, "randperm": 1, "normal": 4, "uniform": 1,
        "empty": 0, "empty_like": 0, "new_empty": 0, "empty_strided": 0, "new_empty_strided": 0, "empty_permuted": 0, "resize": 0,
        "hann_window": 3, "hamming_window": 3,
    },
}  # fmt: skip
"""FLOPs per output element of each function that treats elements alike, by kind."""


def _register_elementwise(kind: str, name: str, flops: int) -> None:
    @rule(name)
    def elementwise(call: Call) -> Work:  # pyright: ignore[reportUnusedFunction]
        count = max((call.tensors[t].numel for t in call.op.outputs), default=0)
        return Work(kind, vector_flops=flops * count, rows=count)


for _kind, _functions in ELEMENTWISE.items():
    for _name, _flops in _functions.items():
        _register_elementwise(_kind, _name, _flops)


_NORM_TRAINING_FLOPS = 6
"""Mean and variance (four operations, as in a reduction), scale and shift."""


@rule("native_batch_norm", "cudnn_batch_norm")
def batch_norm(call: Call) -> Work:
    """Count scale and shift, and in training the statistics that they are made of."""
    count = call.out.numel
    return Work("batch norm", vector_flops=(_NORM_TRAINING_FLOPS if call.attr("training", False) else 2) * count, rows=count)


_LAYER_NORM_FLOPS = {"layer_norm": 8, "native_layer_norm": 8, "rms_norm": 5}


@rule(*_LAYER_NORM_FLOPS)
def layer_norm(call: Call) -> Work:
    """Count the operations of mean, variance, scale and shift per element; a row is what is normalised together."""
    width = math.prod(call.attr("normalized_shape", ())) or 1
    return Work("layer norm", vector_flops=_LAYER_NORM_FLOPS[call.op.name] * call.out.numel, rows=call.out.numel / width, columns=width)


FOREACH = {
    "_foreach_add": 1, "_foreach_sub": 1, "_foreach_mul": 1, "_foreach_div": 1, "_foreach_neg": 1, "_foreach_sqrt": 1,
    "_foreach_reciprocal": 1, "_foreach_maximum": 1, "_foreach_addcmul": 3, "_foreach_addcdiv": 3, "_foreach_lerp": 3,
    "_foreach_zero": 0, "_foreach_copy": 0,
}  # fmt: skip
"""Operations per element of functions that treat a whole list of tensors in one kernel."""


@rule(*FOREACH)
def foreach(call: Call) -> Work:
    """Count every element of every tensor in the list."""
    count = sum(call.tensors[t].numel for t in call.op.outputs)
    return Work("elementwise", vector_flops=FOREACH[call.op.name] * count, rows=count)


# --- functions of many inputs to one output ------------------------------------------------------------------------


_REDUCTION_FLOPS = {
    "aminmax": 2, "var": 4, "std": 4, "var_mean": 4, "std_mean": 4, "norm": 2, "linalg_vector_norm": 2, "logsumexp": 4, "logcumsumexp": 4,
}  # fmt: skip


@rule(
    "mean", "sum", "amax", "amin", "max", "min", "prod", "any", "all", "argmax", "argmin", "cumsum", "cumprod", "nansum", "median",
    "count_nonzero", "cummax", "cummin", *_REDUCTION_FLOPS,
)  # fmt: skip
def reduction(call: Call) -> Work:
    """Count one operation per input element (two-pass statistics four, norms two)."""
    count = call.inputs[0].numel
    out = call.out.numel
    spatial = len(call.inputs[0].shape) == 4 and 0 < out < count and call.op.name == "mean"
    flops = _REDUCTION_FLOPS.get(call.op.name, 1) * count
    return Work("pool" if spatial else "reduction", vector_flops=flops, rows=out, taps=count / max(out, 1))


@rule(
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices",
    "max_pool3d_with_indices", "fractional_max_pool2d",
)  # fmt: skip
def window_pool(call: Call) -> Work:
    """Count one operation per tap of the window and output element."""
    size = call.attr("kernel_size", (1,))
    dims = int(call.op.name[call.op.name.index("pool") + 4])
    size = (size,) * dims if isinstance(size, int) else size * dims if len(size) == 1 else size
    stride = call.attr("stride") or size
    step = stride[0] if isinstance(stride, tuple) else stride
    taps = math.prod(size)
    return Work("pool", vector_flops=call.out.numel * taps, rows=call.out.numel, taps=taps, stride=step)


@rule("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
      "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")  # fmt: skip
def adaptive_pool(call: Call) -> Work:
    """Count one operation per input element, or per output element where the output is larger."""
    count = max(call.inputs[0].numel, call.out.numel)
    return Work("pool", vector_flops=count, rows=call.out.numel, taps=count / max(call.out.numel, 1))


@rule("max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward", "adaptive_max_pool2d_backward",
      "adaptive_max_pool3d_backward")  # fmt: skip
def max_pool_backward(call: Call) -> Work:
    """Count one addition per element of the gradient that comes in."""
    return Work("pool", vector_flops=call["grad_output"].numel, rows=call.out.numel)


@rule("avg_pool2d_backward", "avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward")
def avg_pool_backward(call: Call) -> Work:
    """Count one addition per tap and element of the gradient that comes in; per element made where the windows adapt."""
    size = call.attr("kernel_size")
    dims = int(call.op.name[call.op.name.index("pool") + 4])
    if size is None:
        return Work("pool", vector_flops=call.out.numel, rows=call.out.numel)
    taps = math.prod(size if len(size) == dims else size * dims)
    return Work("pool", vector_flops=call["grad_output"].numel * taps, rows=call.out.numel, taps=taps)


@rule("nll_loss_forward", "nll_loss2d_forward")
def nll_loss(call: Call) -> Work:
    """Count one addition per target."""
    count = call["target"].numel
    return Work("reduction", vector_flops=count, rows=call.out.numel, taps=count / max(call.out.numel, 1))


@rule("nll_loss_backward", "nll_loss2d_backward")
def nll_loss_backward(call: Call) -> Work:
    """Count one product per target; all else that it writes is zero."""
    return Work("gather", vector_flops=call["target"].numel, rows=call.out.numel)


@rule("embedding_dense_backward")
def embedding_backward(call: Call) -> Work:
    """Count one addition per element of the gradient that comes in."""
    count = call["grad_output"].numel
    return Work("gather", vector_flops=count, rows=count)


_RESIZE_FLOPS = {"nearest": 0, "bilinear": 7, "trilinear": 15, "bicubic": 35, "linear": 3, "sampler_2d": 11, "sampler_3d": 21}


@rule(
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d",
    "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "grid_sampler_2d", "grid_sampler_3d",
)  # fmt: skip
def resize(call: Call) -> Work:
    """Count the interpolation's operations per output element: 7 for bilinear, 35 for bicubic, none for nearest.

    Kernels that weigh neighbours (but for those that smooth, `_aa`) have a row for each pixel and a column for each image and channel.
    """
    method, out = next(m for m in _RESIZE_FLOPS if m in call.op.name), call.out
    flops = _RESIZE_FLOPS[method] * out.numel
    if method == "nearest" or not call.op.name.startswith("upsample"):
        return Work("resize", vector_flops=flops, rows=out.numel)
    return Work("resize", vector_flops=flops, rows=math.prod(out.shape[2:]), columns=math.prod(out.shape[:2]))


@rule(
    "upsample_nearest2d_backward", "_upsample_nearest_exact2d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward",
    "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward",
)  # fmt: skip
def resize_backward(call: Call) -> Work:
    """Count the interpolation's operations per element of the gradient that comes in; one addition for nearest."""
    method = next(m for m in _RESIZE_FLOPS if m in call.op.name)
    count = call["grad_output"].numel
    return Work("resize", vector_flops=max(_RESIZE_FLOPS[method], 1) * count, rows=call.out.numel)


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def recurrent(call: Call) -> Work:
    """Count a recurrent layer: every weight matrix once per step and sequence."""
    source = call["input"]
    params = (call.tensors[t] for t, role in zip(call.op.inputs, call.op.roles, strict=True) if role == "params")
    matrices = [t for t in params if len(t.shape) == 2]
    steps = math.prod(source.shape[:2])
    macs = steps * sum(m.numel for m in matrices)
    return _product("linear", macs, steps, matrices[0].shape[0], source.shape[-1])


@rule("scatter_add", "index_add")
def scattered_sum(call: Call) -> Work:
    """Count one addition per element that is added."""
    count = call["index" if call.op.name == "scatter_add" else "source"].numel
    return Work("gather", vector_flops=count, rows=count)


@rule("_assert_async", "_assert_tensor_metadata")
def nothing(call: Call) -> Work:
    """Count an op that does no work on the device."""
    return Work("view")


@rule("sort", "topk", "kthvalue")
def sort(call: Call) -> Work:
    """Count n log2 n comparisons along the sorted dimension."""
    source = call.inputs[0]
    length = source.shape[call.attr("dim", -1)] if source.shape else 1
    return Work("sort", vector_flops=source.numel * max(math.ceil(math.log2(max(length, 2))), 1), rows=source.numel)


@rule("_cdist_forward", "_euclidean_dist", "cosine_similarity")
def distance(call: Call) -> Work:
    """Count three operations per coordinate of each pair of vectors; six for a cosine, which takes three inner products."""
    cosine = call.op.name == "cosine_similarity"
    depth = call.inputs[0].shape[call.attr("dim", 1) if cosine else -1]
    return Work("reduction", vector_flops=(6 if cosine else 3) * call.out.numel * depth, rows=call.out.numel, taps=depth)


@rule("_fft_r2c", "_fft_c2r", "_fft_c2c")
def fft(call: Call) -> Work:
    """Count 5 n log2 n operations over the transformed dimensions (Cooley-Tukey), half for real input or output."""
    big = max((*call.inputs, call.out), key=lambda t: t.numel)
    length = math.prod(big.shape[d] for d in call.attr("dim", (-1,)))
    flops = 5 * big.numel * math.log2(max(length, 2)) / (1 if call.op.name == "_fft_c2c" else 2)
    return Work("reduction", vector_flops=flops, rows=big.numel)


@rule("col2im")
def col2im(call: Call) -> Work:
    """Count one addition per input element."""
    return Work("copy", vector_flops=call.inputs[0].numel, rows=call.out.numel)


@rule("torchvision.deform_conv2d")
def deformable_conv(call: Call) -> Work:
    """Count a convolution whose taps are interpolated: the product, and a bilinear sample per tap and input channel."""
    weight, out = call["weight"], call.out
    depth, taps, rows = math.prod(weight.shape[1:]), math.prod(weight.shape[2:]), out.numel // weight.shape[0]
    product = _product("conv", out.numel * depth, rows, weight.shape[0], depth, 1, taps)
    return replace(product, vector_flops=7 * rows * call["input"].shape[1] * taps)
