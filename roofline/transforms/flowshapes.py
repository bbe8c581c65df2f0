"""Rules of `flow.py`: how sizes pass through ops that cut, join and rearrange dimensions."""

from collections.abc import Callable, Sequence
from typing import Any

from roofline.graph import Op
from roofline.transforms.channels import Size
from roofline.transforms.flow import Count, Flow, Shape, merged, rule, through, with_size


@rule("view", "reshape", "flatten", "unflatten", "_unsafe_view", "_reshape_copy", "view_copy", "squeeze", "unsqueeze",
      "reshape_as", "view_as")  # fmt: skip
def reshape(flow: Flow, op: Op) -> Sequence[Shape]:
    """Dimensions are merged or cut; sizes that the call names change with them."""
    out = merged(flow, op, flow.first(op), flow.counts(op))
    _sizes(flow, op, "size", out)
    _sizes(flow, op, "shape", out)
    start = op.attrs.get("dim", 0)
    if op.name == "unflatten" and isinstance(start, int):
        _sizes(flow, op, "sizes", out[start % len(flow.first(op)) :])
    return [out]


@rule("expand", "expand_as", "broadcast_to")
def expand(flow: Flow, op: Op) -> Sequence[Shape]:
    """Dimensions of one are repeated."""
    out = flow.together(op, [flow.first(op)])
    _sizes(flow, op, "size", out)
    return [out]


@rule("permute", "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis")
def permute(flow: Flow, op: Op) -> Sequence[Shape]:
    """Dimensions change places."""
    source, attrs = flow.first(op), op.attrs
    order = list(range(len(source)))
    if op.name == "permute":
        order = [d % len(source) for d in attrs["dims"]]
    elif op.name in ("movedim", "moveaxis"):
        pairs = [attrs["source"], attrs["destination"]]
        froms, tos = ([d % len(source) for d in (p if isinstance(p, tuple) else (p,))] for p in pairs)
        order = [d for d in order if d not in froms]
        for to, origin in sorted(zip(tos, froms, strict=True)):
            order.insert(to, origin)
    elif len(source) > 1:
        one, other = (attrs.get(key, attrs.get(alias, i)) for i, (key, alias) in enumerate((("dim0", "axis0"), ("dim1", "axis1"))))
        order[one % len(source)], order[other % len(source)] = other % len(source), one % len(source)
    return [tuple(source[d] for d in order)]


@rule("cat", "concat", "concatenate")
def cat(flow: Flow, op: Op) -> Sequence[Shape]:
    """Dimensions are put one behind another."""
    shapes = [shape for shape in flow.inputs(op) if len(shape) == len(flow.counts(op))]
    dim = op.attrs.get("dim", 0) % len(flow.counts(op))
    for shape in shapes[1:]:
        for i, size in enumerate(shape):
            if i != dim:
                flow.same(shapes[0][i], size, op)
    return [with_size(shapes[0], dim, tuple(term for shape in shapes for term in shape[dim]))]


@rule("stack")
def stack(flow: Flow, op: Op) -> Sequence[Shape]:
    """Equal shapes are put along a new dimension."""
    first, *others = flow.inputs(op)
    for shape in others:
        for one, other in zip(first, shape, strict=True):
            flow.same(one, other, op)
    dim = op.attrs.get("dim", 0) % (len(first) + 1)
    return [(*first[:dim], flow.constant(len(op.inputs)), *first[dim:])]


@rule("chunk", "split", "split_with_sizes", "tensor_split", "unbind", "split_with_sizes_copy")
def split(flow: Flow, op: Op) -> Sequence[Shape]:
    """A dimension is cut into parts; where the call names one size for all, they stay equal."""
    source = flow.first(op)
    dim = op.attrs.get("dim", 0) % len(source)
    if op.name == "unbind":
        flow.sets.fix(source[dim : dim + 1], through(op))
        return [source[:dim] + source[dim + 1 :]] * len(op.outputs)
    counts = [flow.counts(op, i)[dim] for i in range(len(op.outputs))]
    if len({*counts}) == 1:
        parts: Sequence[Size] = [flow.sets.equal_parts(source[dim], len(counts), through(op))] * len(counts)
    else:
        parts = flow.sets.cut(source[dim], counts, through(op))
    for name in ("split_size", "split_sizes"):
        listed = isinstance(op.attrs.get(name), tuple)
        flow.makes(op, name, (lambda count: tuple(map(count, parts))) if listed else (lambda count: count(parts[0])))
    return [with_size(source, dim, part) for part in parts]


@rule("slice", "narrow")
def take(flow: Flow, op: Op) -> Sequence[Shape]:
    """A piece of a dimension is taken; where it does not lie at a whole step of one, its channels stay."""
    source, attrs = flow.first(op), op.attrs
    dim = attrs.get("dim", 0) % len(source)
    whole, taken = flow.sets.total(source[dim]), flow.counts(op)[dim]
    start = attrs.get("start") or 0
    start = start + whole if start < 0 else start
    if taken == whole:
        return [source]
    if attrs.get("step", 1) != 1:
        flow.sets.fix(source[dim : dim + 1], through(op))
        return [with_size(source, dim, flow.constant(taken, through(op)))]
    before, piece, _ = flow.sets.cut(source[dim], (start, taken, whole - start - taken), through(op))
    flow.makes(op, "start", lambda count: count(before))
    flow.makes(op, "end", lambda count: count(before) + count(piece))
    flow.makes(op, "length", lambda count: count(piece))
    return [with_size(source, dim, piece)]


@rule("select")
def select(flow: Flow, op: Op) -> Sequence[Shape]:
    """One place of a dimension is taken."""
    source = flow.first(op)
    dim = op.attrs.get("dim", 0) % len(source)
    flow.sets.fix(source[dim : dim + 1], through(op))
    return [source[:dim] + source[dim + 1 :]]


@rule("pad", "constant_pad_nd")
def pad(flow: Flow, op: Op) -> Sequence[Shape]:
    """A dimension grows by what is put before and behind it."""
    source, out = flow.first(op), list(flow.first(op))
    pairs = op.attrs.get("pad", ())
    for i, (before, behind) in enumerate(zip(pairs[::2], pairs[1::2], strict=True), start=1):
        if before < 0 or behind < 0:
            out[-i] = flow.constant(flow.counts(op)[-i], through(op))
            flow.sets.fix(source[-i:][:1], through(op))
        elif before or behind:
            out[-i] = (*source[-i], *flow.constant(before + behind))
    return [tuple(out)]


@rule("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle")
def shuffle(flow: Flow, op: Op) -> Sequence[Shape]:
    """Channels turn into pixels, pixels into channels, or channels change places."""
    source, counts = flow.first(op), flow.counts(op)
    factor = op.attrs.get("upscale_factor", op.attrs.get("downscale_factor", op.attrs.get("groups", 1)))
    if "channel" in op.name:
        part = flow.sets.equal_parts(source[1], factor, through(op))
        return [with_size(source, 1, tuple((name, times * factor) for name, times in part))]
    at = len(source) - 3
    if op.name == "pixel_shuffle":
        channels = flow.sets.equal_parts(source[at], factor**2, through(op))
    else:
        channels = tuple((name, times * factor**2) for name, times in source[at])
    return [(*source[:at], channels, *map(flow.constant, counts[at + 1 :]))]


def _sizes(flow: Flow, op: Op, name: str, out: Shape) -> None:
    """Give the sizes that a call lists anew; those it leaves to be inferred (-1) stay so."""
    listed: Any = op.attrs.get(name)
    if isinstance(listed, tuple) and len(listed) <= len(out):
        flow.makes(op, name, _listing(listed, out))


def _listing(listed: tuple[int, ...], out: Shape) -> Callable[[Count], tuple[int, ...]]:
    return lambda count: tuple(n if n == -1 else count(size) for n, size in zip(listed, out, strict=False))
