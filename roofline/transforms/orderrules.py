"""Rules of `ordering.py`: what eager PyTorch copies on a GPU to read it, op by op, and where results lie.

They are read off the sources of PyTorch 2.1 to 2.8, recalled: `contiguous` calls in the C++ of operators, the memory formats that their
results are given, and `TensorIterator` for all that works element by element.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from roofline.cost import ELEMENTWISE
from roofline.graph import Op
from roofline.transforms import strides as at
from roofline.transforms.strides import Ints


@dataclass(frozen=True, slots=True)
class Lie:
    """A tensor as a rule sees it: its shape and its strides, in elements."""

    shape: Ints
    strides: Ints

    @property
    def last(self) -> bool:
        """Tell whether PyTorch takes it for an image in channels-last."""
        return at.is_channels_last(self.shape, self.strides)

    def differs(self, strides: Ints) -> bool:
        """Tell whether some element lies elsewhere than *strides* put it."""
        return not at.same(self.shape, self.strides, strides)


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule says of an op: which inputs it copies first, and the strides of what it writes.

    *view* tells whether the results lie in the memory of the first input; None leaves that as it was traced. *last* tells of an
    op on images in channels-last.
    """

    copies: tuple[bool, ...]
    writes: tuple[Ints, ...]
    view: bool | None = None
    last: bool = False


Rule = Callable[[Op, Sequence[Lie], Sequence[Ints]], Found]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of each op in *names*: it sees the op, its inputs and the shapes that it writes."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def _none(ins: Sequence[Lie]) -> tuple[bool, ...]:
    return (False,) * len(ins)


def plain(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """An op that nothing is known of: it takes what comes."""
    return Found(_none(ins), tuple(map(at.packed, shapes)))


# --- views -------------------------------------------------------------------------------------------------------------


def _view(ins: Sequence[Lie], *found: Ints) -> Found:
    return Found(_none(ins), found)


@rule("permute")
def permute(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Dimensions in the order given."""
    return _view(ins, tuple(ins[0].strides[d] for d in op.attrs["dims"]))


@rule("transpose", "swapaxes", "swapdims", "t", "movedim", "moveaxis")
def transpose(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Two dimensions change places, or one moves to another."""
    found = list(ins[0].strides)
    if op.name.startswith("move"):
        sources, targets = (d if isinstance(d, tuple) else (d,) for d in (op.attrs["source"], op.attrs["destination"]))
        moved = {t % len(found): found[s % len(found)] for s, t in zip(sources, targets, strict=True)}
        rest = iter([step for d, step in enumerate(found) if d not in {s % len(found) for s in sources}])
        return _view(ins, tuple(moved[d] if d in moved else next(rest) for d in range(len(found))))
    if len(found) > 1:
        word = "axis" if op.name == "swapaxes" else "dim"
        one, other = (op.attrs.get(f"{word}{n}", n) for n in (0, 1))
        found[one], found[other] = found[other], found[one]
    return _view(ins, tuple(found))


@rule("unsqueeze")
def unsqueeze(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """A dimension of one element more."""
    shape, strides, d = ins[0].shape, ins[0].strides, op.attrs["dim"] % len(shapes[0])
    step = shape[d] * strides[d] if d < len(shape) else 1
    return _view(ins, (*strides[:d], step, *strides[d:]))


@rule("squeeze")
def squeeze(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Dimensions of one element less."""
    dims, rank = op.attrs.get("dim"), len(ins[0].shape)
    chosen = range(rank) if dims is None else [d % rank for d in (dims if isinstance(dims, tuple) else (dims,))]
    gone = {d for d in chosen if ins[0].shape[d] == 1}
    return _view(ins, tuple(step for d, step in enumerate(ins[0].strides) if d not in gone))


@rule("expand", "expand_as", "broadcast_to")
def expand(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Elements repeat where they lie."""
    return _view(ins, at.expanded(ins[0].shape, ins[0].strides, shapes[0]))


@rule("split", "split_with_sizes", "chunk", "tensor_split", "narrow", "alias", "detach", "lift_fresh", "feature_dropout", "alpha_dropout")
def part(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Parts lie as the whole does."""
    return _view(ins, *[ins[0].strides] * len(shapes))


@rule("slice")
def strided_part(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Each so many of a dimension."""
    dim, step = op.attrs.get("dim", 0) % len(shapes[0]), op.attrs.get("step", 1)
    return _view(ins, tuple(s * step if d == dim else s for d, s in enumerate(ins[0].strides)))


@rule("select", "unbind")
def select(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """A dimension less."""
    dim = op.attrs.get("dim", 0) % len(ins[0].shape)
    return _view(ins, *[(*ins[0].strides[:dim], *ins[0].strides[dim + 1 :])] * len(shapes))


@rule("unfold")
def unfold(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Windows over a dimension, which may overlap; their elements become the last one."""
    dim = op.attrs["dimension"] % len(ins[0].shape)
    moved = tuple(s * op.attrs["step"] if d == dim else s for d, s in enumerate(ins[0].strides))
    return _view(ins, (*moved, ins[0].strides[dim]))


@rule("reshape", "view", "flatten", "unflatten", "view_as", "reshape_as", "_unsafe_view")
def reshape(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """A view where strides can put the elements there, else a copy as written; code that asks for a view has it."""
    if math.prod(ins[0].shape) != math.prod(shapes[0]):  # a view as another type
        return plain(op, ins, shapes)
    found = at.viewed(ins[0].shape, ins[0].strides, shapes[0])
    return Found(_none(ins), (at.packed(shapes[0]) if found is None else found,), found is not None)


@rule("contiguous")
def contiguous(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """A copy in the order asked for, or none where it lies so."""
    wanted = at.image(shapes[0], last="channels_last" in str(op.attrs.get("memory_format")))
    return Found(_none(ins), (wanted,), at.same(shapes[0], ins[0].strides, wanted))


# --- functions of elements ---------------------------------------------------------------------------------------------

_ALIKE = {name for kind in ("activation", "elementwise", "compare", "cast") for name in ELEMENTWISE[kind]} - {"glu"}
_MADE_LIKE = {"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "clone"}


@rule(*sorted(_ALIKE | _MADE_LIKE | {"clamp_min", "clamp_max", "hardtanh", "fill", "zero", "type_as", "to", "dropout", "copy"}))
def elementwise(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Elements meet one to one, wherever they lie; the result lies as they do, without gaps, or as a call asks."""
    asked = str(op.attrs.get("memory_format"))
    if "channels_last" in asked:
        return Found(_none(ins), tuple(at.image(shape, last=True) for shape in shapes))
    if not ins or "contiguous" in asked:
        return plain(op, ins, shapes)
    fitting = tuple((lie.shape, lie.strides) for lie in ins if _fits(lie.shape, shapes[0]))
    return Found(_none(ins), tuple(at.elementwise(shape, fitting) for shape in shapes))


def _fits(shape: Ints, to: Ints) -> bool:
    """Tell whether *shape* can be expanded to *to*."""
    return len(shape) <= len(to) and all(one in (1, other) for one, other in zip(reversed(shape), reversed(to), strict=False))


@rule("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "constant_pad_nd", "max_pool2d", "max_pool2d_with_indices",
      "avg_pool2d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d",
      "upsample_bicubic2d")  # fmt: skip
def as_image(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Images without gaps, in the order in which they come, in which they leave too."""
    last = ins[0].last
    copied = ins[0].differs(at.image(ins[0].shape, last=last))
    return Found((copied, *_none(ins[1:])), tuple(at.image(shape, last=last) for shape in shapes), last=last)


@rule("pad")
def pad(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Constants keep the order of images; reflections and replications are written in plain order, from such."""
    if op.attrs.get("mode", "constant") == "constant":
        return Found(_none(ins), (at.image(shapes[0], last=ins[0].last),))
    return as_written(op, ins, shapes)


# --- sums and products -------------------------------------------------------------------------------------------------


@rule("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm", "group_norm", "native_group_norm", "instance_norm", "softmax",
      "_softmax", "_safe_softmax", "log_softmax", "_log_softmax", "roll", "reflection_pad2d", "replication_pad2d", "adaptive_max_pool2d",
      "avg_pool1d", "conv1d", "conv3d", "im2col", "col2im", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
      "native_channel_shuffle", "lstm", "gru")  # fmt: skip
def as_written(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Elements without gaps in plain order, read and written."""
    return Found((ins[0].differs(at.packed(ins[0].shape)), *_none(ins[1:])), tuple(map(at.packed, shapes)))


@rule("conv2d", "conv_transpose2d", "convolution", "_convolution")
def conv(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Images and weights in channels-last where one of them is (`cudnn_conv_suggest_memory_format`), and the result as well."""
    last = any(lie.last for lie in ins[:2])
    copies = (*(lie.differs(at.image(lie.shape, last=last)) for lie in ins[:2]), *_none(ins[2:]))
    return Found(copies, tuple(at.image(s, last=last) for s in shapes), last=last)


@rule("linear", "matmul", "bmm", "baddbmm", "addmm", "mm")
def product(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Matrices that lie row by row or column by column, in a batch of one stride."""
    first = 1 if op.name in ("addmm", "baddbmm") else 0
    copies = [first <= i <= first + 1 and not _multiplies(lie) for i, lie in enumerate(ins)]
    return Found(tuple(copies), tuple(map(at.packed, shapes)))


def _multiplies(lie: Lie) -> bool:
    """Tell whether a product reads a tensor where it lies: as one batch of matrices, with no gaps along one side."""
    if len(lie.shape) < 2:
        return True
    matrices = (math.prod(lie.shape[:-2]), *lie.shape[-2:])
    found = at.viewed(lie.shape, lie.strides, matrices)
    return found is not None and any(n <= 1 or step == 1 for n, step in zip(matrices[1:], found[1:], strict=True))


@rule("scaled_dot_product_attention")
def attention(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Heads lie anywhere, the numbers of each side by side; the result lies as (batch, rows, heads, width)."""
    copies = [lie.shape[-1] != 1 and lie.strides[-1] != 1 for lie in ins]
    order = (0, 2, 1, 3) if len(shapes[0]) == 4 else None
    return Found(tuple(copies), (at.packed(shapes[0], order),))


@rule("cat", "concat", "concatenate")
def cat(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """Images that are all in channels-last stay so (`cat_compute_output_memory_format`)."""
    return Found(_none(ins), (at.image(shapes[0], last=all(lie.last for lie in ins)),))


@rule("stack")
def stack(op: Op, ins: Sequence[Lie], shapes: Sequence[Ints]) -> Found:
    """A concatenation, seen with one dimension more, or of tensors seen so where it is the last."""
    shape, dim = shapes[0], op.attrs.get("dim", 0) % len(shapes[0])
    if dim == len(ins[0].shape):
        return plain(op, ins, shapes)
    joined = (*shape[:dim], shape[dim] * shape[dim + 1], *shape[dim + 2 :])
    found = at.viewed(joined, at.image(joined, last=all(lie.last for lie in ins)), shape)
    return Found(_none(ins), (found or at.packed(shape),))
