"""Rules of `flow.py`: how sizes pass through products, norms, functions of elements and windows."""

from collections.abc import Sequence

from roofline.cost import ELEMENTWISE
from roofline.graph import Op
from roofline.transforms.channels import Size
from roofline.transforms.flow import Flow, Shape, rule, through, with_size

# --- products ----------------------------------------------------------------------------------------------------------


@rule("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "_convolution")
def conv(flow: Flow, op: Op) -> Sequence[Shape]:
    """A dense convolution makes channels of its own; a grouped one keeps as many groups as its input, each as wide as before."""
    source, weight = flow.input(op, "input"), flow.input(op, "weight")
    if source is None or weight is None:
        return ()
    channel = len(source) - len(weight) + 1
    transposed = "transpose" in op.name or bool(op.attrs.get("transposed"))
    groups, total = int(op.attrs.get("groups", 1)), flow.sets.total
    if groups == 1:
        read, made = (weight[0], weight[1]) if transposed else (weight[1], weight[0])
        flow.made.append((op, made))
    else:
        ((name, _),) = group = flow.sets.new(groups)
        wide = (total(weight[0]), total(weight[1]) * groups) if transposed else (total(source[channel]), total(weight[0]))
        read, made = ((name, wide[0] // groups),), ((name, wide[1] // groups),)
        flow.same(weight[0], read if transposed else made, op)
        flow.sets.fix(weight[1:2], through(op))
        flow.makes(op, "groups", lambda count: count(group))
    flow.same(source[channel], read, op)
    bias = flow.input(op, "bias")
    flow.same(made, bias[0] if bias else None, op)
    return [tuple(made if i == channel else flow.constant(n) for i, n in enumerate(flow.counts(op)))]


@rule("linear")
def linear(flow: Flow, op: Op) -> Sequence[Shape]:
    """A linear layer makes features of its own and keeps every other dimension."""
    source, weight, bias = flow.input(op, "input"), flow.input(op, "weight"), flow.input(op, "bias")
    if source is None or weight is None or len(weight) != 2:
        return ()
    flow.same(source[-1], weight[1], op)
    flow.same(weight[0], bias[0] if bias else None, op)
    flow.made.append((op, weight[0]))
    return [(*source[:-1], weight[0])]


@rule("addmm", "mm", "matmul", "bmm", "baddbmm")
def matmul(flow: Flow, op: Op) -> Sequence[Shape]:
    """A product meets on the inner side; its result has the outer sides, and the batch of both."""
    shapes = flow.inputs(op)
    left, right = shapes[-2:]
    if min(len(left), len(right)) < 2:
        return ()
    flow.same(left[-1], right[-2], op)
    if flow.graph.tensors[flow.graph.tensors[op.inputs[-1]].storage].kind == "weight":
        flow.made.append((op, right[-1]))
    one: Size = flow.constant(1)
    return [flow.together(op, [(*left[:-2], left[-2], one), (*right[:-2], one, right[-1]), *shapes[:-2]])]


@rule("scaled_dot_product_attention")
def attention(flow: Flow, op: Op) -> Sequence[Shape]:
    """Queries and keys are equally wide; the result is as wide as the values."""
    query, key, value = (flow.input(op, role) for role in ("query", "key", "value"))
    if query is None or key is None or value is None:
        return ()
    flow.same(query[-1], key[-1], op)
    flow.same(key[-2], value[-2], op)
    for one, two, three in zip(query[:-2], key[:-2], value[:-2], strict=False):
        flow.same(one, two, op)
        flow.same(one, three, op)
    return [(*query[:-1], value[-1])]


@rule("embedding")
def embedding(flow: Flow, op: Op) -> Sequence[Shape]:
    """A table keeps its rows and gives one for each index."""
    table, indices = flow.input(op, "weight"), flow.input(op, "indices")
    if table is None or indices is None:
        return ()
    flow.sets.fix(table[:1], through(op))
    return [(*indices, table[1])]


# --- norms -------------------------------------------------------------------------------------------------------------


@rule("batch_norm", "instance_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "prelu", "_prelu_kernel")
def by_channel(flow: Flow, op: Op) -> Sequence[Shape]:
    """One number for each channel, the second dimension."""
    source, *others = flow.inputs(op)
    for shape in others:
        if len(shape) == 1 and flow.sets.total(shape[0]) > 1:
            flow.same(source[1], shape[0], op)
    return [source]


@rule("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm")
def layer_norm(flow: Flow, op: Op) -> Sequence[Shape]:
    """One number for each place of the dimensions that are normalised, the last ones."""
    source, *others = flow.inputs(op)
    for shape in others:
        for one, other in zip(source[len(source) - len(shape) :], shape, strict=True):
            flow.same(one, other, op)
    last = source[len(source) - len(op.attrs.get("normalized_shape", ())) :]
    flow.makes(op, "normalized_shape", lambda count: tuple(map(count, last)))
    return [source]


@rule("group_norm", "native_group_norm")
def group_norm(flow: Flow, op: Op) -> Sequence[Shape]:
    """The number of groups stays, so each loses as many channels as the others."""
    by_channel(flow, op)
    source = flow.first(op)
    flow.sets.equal_parts(source[1], int(op.attrs.get("num_groups", op.attrs.get("group", 1))), through(op))
    flow.makes(op, "C", lambda count: count(source[1]))
    return [source]


# --- elements ----------------------------------------------------------------------------------------------------------

_KEPT = ("clone", "contiguous", "copy", "roll", "flip", "alias", "detach", "lift_fresh_copy", "to", "cumsum", "dropout", "type_as")
_ALIKE = {name for kind in ("activation", "elementwise", "compare", "softmax", "cast") for name in ELEMENTWISE[kind]}
_MADE_LIKE = {"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "fill", "zero"}


@rule(*sorted(_ALIKE - {"glu", "prelu", "_prelu_kernel", "complex", "view_as_real"} | {*_KEPT} | _MADE_LIKE))
def elementwise(flow: Flow, op: Op) -> Sequence[Shape]:
    """Elements meet one to one, or one to all along a dimension of one."""
    return [flow.together(op, flow.inputs(op))]


@rule("glu")
def glu(flow: Flow, op: Op) -> Sequence[Shape]:
    """One half is the gate of the other."""
    source = flow.first(op)
    dim = op.attrs.get("dim", -1) % len(source)
    return [with_size(source, dim, flow.sets.equal_parts(source[dim], 2, through(op)))]


# --- windows and sums --------------------------------------------------------------------------------------------------

_WINDOWS = tuple(f"{kind}_pool{d}d" for kind in ("avg", "max", "adaptive_avg", "adaptive_max") for d in (1, 2, 3))
_NEAREST = tuple(f"{kind}{d}d" for kind in ("upsample_nearest", "_upsample_nearest_exact") for d in (1, 2, 3))
_RESIZES = (*_NEAREST, "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d", "_upsample_bilinear2d_aa")


@rule(*_WINDOWS, *_RESIZES, "max_pool2d_with_indices", "_adaptive_avg_pool2d")
def windows(flow: Flow, op: Op) -> Sequence[Shape]:
    """Channels stay, images change their size."""
    source, counts = flow.first(op), flow.counts(op)
    images = int(next(c for c in reversed(op.name.replace("2d_aa", "2d")) if c.isdigit()))
    shape = (*source[: len(source) - images], *map(flow.constant, counts[len(source) - images :]))
    return [shape] * len(op.outputs)


@rule("mean", "sum", "amax", "amin", "max", "min", "prod", "any", "all", "argmax", "argmin", "var", "std", "var_mean", "std_mean",
      "logsumexp", "norm", "linalg_vector_norm", "nansum", "median")  # fmt: skip
def reduction(flow: Flow, op: Op) -> Sequence[Shape]:
    """Dimensions are summed over."""
    source = flow.first(op)
    if len(op.inputs) == 2:
        return elementwise(flow, op)
    dims = op.attrs.get("dim")
    dims = tuple(range(len(source))) if dims is None or dims == () else dims if isinstance(dims, tuple) else (dims,)
    gone = {d % len(source) for d in dims} if source else set[int]()
    keep = bool(op.attrs.get("keepdim", False))
    out = tuple(flow.constant(1) if d in gone else size for d, size in enumerate(source) if keep or d not in gone)
    return [out] * len(op.outputs)
