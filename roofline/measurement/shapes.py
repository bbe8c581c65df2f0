"""The designed set of a calibration: small networks of one kind of op each, at the sizes that real networks have.

An op in a network reads what the op before it has just written, from whichever cache still holds it, writes memory that
the allocator hands out again and again, and finds its weights as far away as a whole run of the network has pushed them.
A single op repeated on the same tensors shows none of that: its weights and inputs stay in the nearest cache. So a case
is a chain of four or more ops of its kind, each with weights of its own, fed by the one before; where an op changes the
shape, the chain alternates (64 -> 384 -> 64) or shrinks like a network (112 -> 56 -> 28). It is called as PyTorch code
calls it, module by module, so the time of Python and of the dispatcher is in it too. The graph of a case is the chain,
and so is what was timed: nothing is taken off.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch's own documentation calls it
from torch import nn

LINKS = 4
"""Ops in a chain: enough that what its ends read and write weighs little."""

GOLDEN = 0.6180339887498949
"""Steps of this share of a range, taken modulo one, spread evenly however many are taken."""

BATCHES = {"cpu": (1, 8), "cuda": (8, 64)}

PRECISIONS = {"cpu": ("fp32",), "cuda": ("fp32", "fp16")}

QUICK_SHARE = 0.2
"""Share of each kind's cases that a quick calibration takes."""

Tensor = torch.Tensor
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A small network to time: *build* makes it, *shapes* are those of its inputs for one item, *kind* is what fills its time."""

    label: str
    kind: str
    build: Callable[[], nn.Module]
    shapes: tuple[Shape, ...]
    batch: int
    precision: str = "fp32"

    @property
    def example(self) -> tuple[Shape, ...]:
        """Shapes of the inputs, batch first."""
        return tuple((self.batch, *shape) for shape in self.shapes)


def cases(device: str = "cpu", *, quick: bool = False, precisions: Sequence[str] | None = None) -> tuple[Case, ...]:
    """List the cases in the order to run them: every kind from the start, so that a run cut short still covers all."""
    kinds: dict[str, list[Case]] = {}
    for case in _all(device, precisions or PRECISIONS[device]):
        kinds.setdefault(case.kind, []).append(case)
    chosen = [_chosen(group, quick=quick) for group in kinds.values()]
    placed = [(i / len(group), case) for group in chosen for i, case in enumerate(group)]
    return tuple(case for _, case in sorted(placed, key=lambda place: place[0]))  # the sort is stable


def _chosen(group: Sequence[Case], *, quick: bool) -> list[Case]:
    """Put sizes and batches of one kind in an order any beginning of which spans them; take that beginning if *quick*."""
    order = sorted(range(len(group)), key=lambda i: (i + 1) * GOLDEN % 1)
    return [group[i] for i in order[: max(round(QUICK_SHARE * len(group)), 2) if quick else None]]


def _all(device: str, precisions: Sequence[str]) -> Iterator[Case]:
    for i, (kind, what, build, shapes) in enumerate(_designs()):
        for precision in precisions:
            for batch in _batches(i, BATCHES[device]):
                suffix = "" if precision == "fp32" else f" {precision}"
                yield Case(f"{kind} {what} b{batch}{suffix}", kind, build, shapes, batch, precision)


def _batches(place: int, batches: Sequence[int]) -> Sequence[int]:
    """Take every other design at all *batches*, and those between at one of them in turn."""
    return batches if place % 2 == 0 else batches[place // 2 % len(batches) :][:1]


Design = tuple[str, str, Callable[[], nn.Module], tuple[Shape, ...]]
"""Kind, sizes as text, what builds the chain, and the shapes of its inputs for one item."""


def _designs() -> Iterator[Design]:
    yield from _dense()
    yield from _pointwise()
    yield from _depthwise()
    yield from _grouped()
    yield from _products()
    yield from _norms()
    yield from _pointwise_functions()
    yield from _pools()
    yield from _copies()


# --- chains ----------------------------------------------------------------------------------------------------------


class Links(nn.Module):
    """Apply *step* to the tensors again and again: what it returns, it is fed."""

    def __init__(self, step: Callable[..., tuple[Tensor, ...]], count: int = LINKS) -> None:
        super().__init__()
        self.step = step
        self.count = count

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run the chain and return its end."""
        for _ in range(self.count):
            tensors = self.step(*tensors)
        return tensors


class Branches(nn.Module):
    """Write a tensor anew with a ReLU, then let *reader* read it; return what every reading gave."""

    def __init__(self, reader: Callable[[Tensor], Tensor], count: int = LINKS) -> None:
        super().__init__()
        self.reader = reader
        self.count = count

    def forward(self, x: Tensor) -> list[Tensor]:
        """Run the chain of writings and return the readings."""
        found: list[Tensor] = []
        for _ in range(self.count):
            x = F.relu(x)
            found.append(self.reader(x))
        return found


class Scale(nn.Module):
    """Scale each channel by a weight, as blocks with layer scale do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the weight of the channel."""
        return x * self.weight


class LayerNorm2d(nn.LayerNorm):
    """Normalise the channels of an image through a permuted view, as convolutional networks with layer norm do."""

    def forward(self, input: Tensor) -> Tensor:
        """Permute, normalise, permute back."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def chain(make: Callable[[int], nn.Module], count: int = LINKS) -> nn.Sequential:
    """Put *count* modules in a row; *make* is told the place of each."""
    return nn.Sequential(*(make(i) for i in range(count))).eval()


def _conv(widths: Sequence[int], kernel: int, stride: int = 1, *, groups: int = 1, bias: bool = False) -> nn.Sequential:
    """Chain convolutions through *widths*, padded so that stride 1 keeps the size; *groups* of 0 means one a channel."""

    def make(i: int) -> nn.Module:
        source, target = widths[i], widths[i + 1]
        return nn.Conv2d(source, target, kernel, stride, kernel // 2, groups=groups or source, bias=bias)

    return chain(make, len(widths) - 1)


def _stem(width: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
    """Make the first convolution of a network with the activation that reads it."""
    return nn.Sequential(nn.Conv2d(3, width, kernel, stride, padding, bias=False), nn.ReLU()).eval()


def _linear(first: int, second: int, count: int = LINKS) -> nn.Sequential:
    return chain(lambda i: nn.Linear(second, first) if i % 2 else nn.Linear(first, second), count)


def _there_and_back(first: int, second: int, count: int = LINKS) -> tuple[int, ...]:
    return tuple(second if i % 2 else first for i in range(count + 1))


def _same(width: int, count: int = LINKS) -> tuple[int, ...]:
    return (width,) * (count + 1)


# --- convolutions ----------------------------------------------------------------------------------------------------


def _image(width: int, side: int) -> tuple[Shape, ...]:
    return ((width, side, side),)


def _dense() -> Iterator[Design]:
    for width, side in ((24, 112), (32, 56), (64, 56), (48, 40), (128, 28), (160, 14), (256, 14), (512, 7)):
        yield "conv 3x3", f"{width} {side}x{side}", partial(_conv, _same(width), 3), _image(width, side)
    for widths, side in (((24, 48, 96, 192), 112), ((64, 128, 256, 512), 56), ((32, 64, 80, 112), 112), ((40, 112, 320), 28)):
        text = f"{'-'.join(map(str, widths))} from {side}x{side}"
        yield "conv strided", text, partial(_conv, widths, 3, 2), _image(widths[0], side)
    stems = (
        (32, 3, 2, 1, 224), (16, 3, 2, 1, 224), (40, 3, 2, 1, 300), (24, 3, 2, 1, 192), (64, 7, 2, 3, 224), (32, 5, 2, 2, 224),
        (40, 4, 4, 0, 224), (96, 4, 4, 0, 224), (192, 16, 16, 0, 224),
    )  # fmt: skip
    for width, kernel, stride, padding, side in stems:
        yield "stem", f"{kernel}x{kernel}/{stride} 3-{width} {side}x{side}", partial(_stem, width, kernel, stride, padding), _image(3, side)
    for width, kernel, side in ((32, 5, 28), (96, 5, 14), (24, 7, 28)):
        yield "conv wide", f"{kernel}x{kernel} {width} {side}x{side}", partial(_conv, _same(width), kernel), _image(width, side)
    for width, side in ((64, 28), (144, 14)):
        yield "conv wide", f"3x3 bias {width} {side}x{side}", partial(_conv, _same(width), 3, bias=True), _image(width, side)


def _pointwise() -> Iterator[Design]:
    rows = (
        (16, 64, 112), (32, 16, 112), (16, 96, 112), (24, 144, 56), (24, 72, 56), (64, 64, 56), (64, 256, 56), (40, 240, 28), (40, 120, 28),
        (48, 192, 28), (128, 512, 28), (56, 336, 20), (80, 480, 14), (112, 672, 14), (152, 152, 28), (368, 368, 7), (256, 1024, 14),
        (192, 1152, 7), (160, 960, 7), (320, 1280, 7), (512, 2048, 7), (576, 96, 7), (112, 672, 10),
    )  # fmt: skip
    for first, second, side in rows:
        widths = _there_and_back(first, second)
        yield "pointwise", f"{first}-{second} {side}x{side}", partial(_conv, widths, 1), _image(first, side)
    for first, second, side in ((40, 160, 56), (80, 320, 28), (320, 1280, 7)):
        widths = _there_and_back(first, second)
        yield "pointwise", f"bias {first}-{second} {side}x{side}", partial(_conv, widths, 1, bias=True), _image(first, side)
    for widths, side in (((64, 128, 256, 512), 56), ((256, 512, 1024, 2048), 56), ((24, 56, 152, 368), 112)):
        text = f"{'-'.join(map(str, widths))} from {side}x{side}"
        yield "pointwise strided", text, partial(_conv, widths, 1, 2), _image(widths[0], side)
    for wide, narrow in ((96, 4), (240, 10), (480, 20), (672, 28), (1152, 48), (2048, 128)):  # squeeze and excite
        widths = _there_and_back(wide, narrow, 2 * LINKS)
        yield "pointwise 1x1", f"{wide}-{narrow}", partial(_conv, widths, 1, bias=True), _image(wide, 1)


def _depthwise() -> Iterator[Design]:
    rows = {
        3: ((32, 112), (96, 56), (144, 56), (192, 28), (240, 28), (384, 14), (480, 14), (672, 14), (960, 7), (1152, 7)),
        5: ((72, 56), (120, 28), (240, 28), (480, 14), (672, 14), (960, 7), (1152, 7)),
        7: ((40, 56), (96, 56), (80, 28), (192, 28), (160, 14), (384, 14), (320, 7), (768, 7)),
    }
    for kernel, sizes in rows.items():
        for width, side in sizes:
            build = partial(_conv, _same(width), kernel, groups=0, bias=kernel == 7)
            yield f"depthwise {kernel}", f"{width} {side}x{side}", build, _image(width, side)
    for kernel, width, side in ((3, 96, 112), (3, 144, 56), (3, 240, 28), (3, 672, 14), (5, 144, 56), (5, 240, 28), (5, 672, 14)):
        build = partial(_conv, _same(width, 2), kernel, 2, groups=0)
        yield "depthwise strided", f"{kernel}x{kernel} {width} from {side}x{side}", build, _image(width, side)


def _grouped() -> Iterator[Design]:
    rows = (
        (128, 4, 56), (256, 8, 28), (512, 16, 14), (1024, 32, 7), (56, 8, 28), (152, 8, 28), (368, 8, 14), (96, 24, 28), (224, 56, 14),
        (64, 16, 56), (448, 64, 14), (320, 40, 14),
    )  # fmt: skip
    for width, group, side in rows:
        build = partial(_conv, _same(width), 3, groups=width // group)
        yield "grouped", f"{width}/{group} {side}x{side}", build, _image(width, side)
    for width, group, side in ((128, 4, 56), (152, 8, 56), (368, 8, 28)):
        build = partial(_conv, _same(width, 2), 3, 2, groups=width // group)
        yield "grouped", f"strided {width}/{group} from {side}x{side}", build, _image(width, side)


# --- matrix products and attention -----------------------------------------------------------------------------------


def _products() -> Iterator[Design]:
    for first, second, count in ((512, 1000, 4), (1280, 1000, 8), (2048, 1000, 8), (960, 1280, 4), (320, 1000, 4)):
        yield "linear", f"{first}-{second}", partial(_linear, first, second, count), ((first,),)
    tokens = (
        (197, 192, 768), (197, 384, 1536), (197, 768, 3072), (197, 192, 576), (49, 768, 3072), (577, 384, 384), (3136, 40, 160),
        (784, 80, 320), (196, 160, 640), (50, 512, 512),
    )  # fmt: skip
    for count, first, second in tokens:
        yield "linear tokens", f"{first}-{second} {count} tokens", partial(_linear, first, second), ((count, first),)
    for heads, count, width in ((3, 197, 64), (12, 197, 64), (6, 49, 32), (8, 577, 48)):
        shape = (heads, count, width)
        yield "matmul", f"{heads} heads {count}x{width}", partial(Links, _multiply, 2), (shape, shape)
    for heads, count, width in ((3, 197, 64), (6, 197, 64), (12, 197, 64), (6, 49, 64), (4, 577, 64), (12, 50, 64), (8, 256, 64)):
        build = partial(Links, partial(_attend, heads=heads), 1)
        yield "attention", f"{heads} heads {count}x{width}", build, ((count, 3 * heads * width),)


def _multiply(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Multiply as attention does when it is written out: scores, then values."""
    return (x @ y.transpose(-2, -1)) @ y, y


def _attend(x: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Attend from views of one tensor, as the fused projection of a transformer leaves them, into its first third."""
    batch, count, width = x.shape
    q, k, v = x.reshape(batch, count, 3, heads, width // 3 // heads).permute(2, 0, 3, 1, 4).unbind(0)
    out = F.scaled_dot_product_attention(q, k, v)
    for _ in range(LINKS - 1):
        out = F.scaled_dot_product_attention(out, k, v)
    return (out,)


# --- normalisation ---------------------------------------------------------------------------------------------------


def _norms() -> Iterator[Design]:
    rows = (
        (16, 112), (64, 112), (96, 112), (24, 56), (64, 56), (144, 56), (256, 56), (40, 28), (240, 28), (512, 28), (112, 14), (480, 14),
        (1024, 14), (192, 7), (1152, 7), (2048, 7),
    )  # fmt: skip
    for width, side in rows:
        yield "batch norm", f"{width} {side}x{side}", partial(chain, partial(_each, nn.BatchNorm2d, width)), _image(width, side)
    for count, width in ((3136, 96), (784, 192), (196, 384), (49, 768), (197, 192), (197, 768), (577, 384), (50, 1024)):
        yield "layer norm", f"{width} {count} tokens", partial(chain, partial(_each, nn.LayerNorm, width)), ((count, width),)
    for width, side in ((40, 56), (96, 56), (160, 14), (320, 7)):
        yield "layer norm 2d", f"{width} {side}x{side}", partial(chain, partial(_each, LayerNorm2d, width)), _image(width, side)
    for width, side in ((64, 56), (240, 28), (512, 14), (320, 7)):
        build = partial(chain, partial(_each, partial(nn.GroupNorm, 8), width))
        yield "group norm", f"{width} {side}x{side}", build, _image(width, side)


def _each(make: Callable[[int], nn.Module], width: int, _place: int) -> nn.Module:
    return make(width)


# --- elementwise -----------------------------------------------------------------------------------------------------


def _pointwise_functions() -> Iterator[Design]:
    yield from _activations()
    for shape in ((16, 112, 112), (24, 56, 56), (256, 56, 56), (40, 28, 28), (512, 28, 28), (112, 14, 14), (1024, 14, 14), (192, 7, 7)):
        yield "elementwise", f"add {_sizes(shape)}", partial(Links, _add), (shape, shape)
    yield "elementwise", "add 768 197 tokens", partial(Links, _add), ((197, 768), (197, 768))
    for shape in ((64, 56, 56), (480, 14, 14), (960, 7, 7)):
        yield "elementwise", f"mul {_sizes(shape)}", partial(Links, _mul), (shape, shape)
    rows = ((32, 112), (96, 56), (144, 56), (240, 28), (480, 14), (672, 14), (1152, 7), (320, 7))
    for width, side in rows:
        gate = (width, 1, 1)
        yield "broadcast", f"{width} {side}x{side}", partial(Links, _gate), ((width, side, side), gate)
    for width, side in ((40, 56), (80, 28), (320, 7)):
        yield "broadcast", f"layer scale {width} {side}x{side}", partial(chain, partial(_each, Scale, width)), _image(width, side)


def _activations() -> Iterator[Design]:
    in_place: dict[Callable[..., nn.Module], tuple[tuple[int, int], ...]] = {
        nn.ReLU: ((64, 112), (96, 112), (64, 56), (256, 56), (512, 28), (480, 14), (960, 7)),
        nn.ReLU6: ((96, 112), (144, 56), (576, 14)),
        nn.SiLU: ((32, 112), (96, 112), (144, 56), (240, 28), (672, 14), (1152, 7)),
        nn.Hardswish: ((16, 112), (240, 14), (480, 14), (960, 7)),
    }
    for make, sizes in in_place.items():
        for width, side in sizes:
            build = partial(chain, partial(_in_place, make))
            yield "activation", f"{make.__name__.lower()} {width} {side}x{side}", build, _image(width, side)
    fresh: dict[Callable[..., nn.Module], tuple[Shape, ...]] = {
        nn.ReLU: ((64, 112, 112), (256, 28, 28)),
        nn.GELU: ((197, 768), (49, 3072), (160, 56, 56), (640, 14, 14), (1280, 7, 7)),
        nn.SiLU: ((144, 56, 56), (48, 1, 1)),
        nn.Sigmoid: ((64, 28, 28), (96, 1, 1), (1152, 1, 1)),
        nn.Hardsigmoid: ((72, 28, 28), (240, 1, 1), (960, 1, 1)),
    }
    for make, shapes in fresh.items():
        for shape in shapes:
            yield "activation", f"fresh {make.__name__.lower()} {_sizes(shape)}", partial(chain, partial(_fresh, make)), (shape,)


def _in_place(make: Callable[..., nn.Module], place: int) -> nn.Module:
    """Overwrite the tensor, but never the caller's."""
    return make(inplace=place > 0)


def _fresh(make: Callable[..., nn.Module], _place: int) -> nn.Module:
    return make()


def _sizes(shape: Shape) -> str:
    width, *rest = shape
    return f"{width} {'x'.join(map(str, rest))}" if len(rest) == 2 else "x".join(map(str, shape))


def _add(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return y, x + y


def _mul(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return y, x * y


def _gate(x: Tensor, gate: Tensor) -> tuple[Tensor, ...]:
    return x * gate, gate


# --- pooling, softmax, copies ----------------------------------------------------------------------------------------


def _pools() -> Iterator[Design]:
    for width, side in ((64, 56), (144, 56), (240, 28), (480, 14), (672, 14), (1280, 7), (512, 7)):
        yield "global pool", f"adaptive {width} {side}x{side}", partial(Branches, _adaptive), _image(width, side)
    for width, side in ((96, 112), (144, 56), (240, 28), (480, 14), (1152, 7), (2048, 7)):
        yield "global pool", f"mean {width} {side}x{side}", partial(Branches, _mean), _image(width, side)
    for width, side in ((64, 112), (256, 28), (24, 56)):
        build = partial(chain, partial(_pool, nn.MaxPool2d), 2)
        yield "window pool", f"max 3x3/2 {width} from {side}x{side}", build, _image(width, side)
    for width, side in ((128, 56), (512, 14)):
        yield "window pool", f"avg 2x2/2 {width} from {side}x{side}", partial(chain, _halve, 2), _image(width, side)
    yield "window pool", "avg 3x3/1 256 28x28", partial(chain, _smooth), _image(256, 28)
    for shape in ((3, 197, 197), (12, 197, 197), (6, 49, 49), (4, 577, 577), (1, 1000)):
        yield "softmax", "x".join(map(str, shape)), partial(chain, lambda _: nn.Softmax(-1)), (shape,)


def _adaptive(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 1)


def _mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def _pool(make: Callable[..., nn.Module], _place: int) -> nn.Module:
    return make(3, 2, 1)


def _halve(_place: int) -> nn.Module:
    return nn.AvgPool2d(2)


def _smooth(_place: int) -> nn.Module:
    return nn.AvgPool2d(3, 1, 1)


def _copies() -> Iterator[Design]:
    for width, side in ((32, 56), (128, 28), (256, 14), (512, 7)):
        shape = (width, side, side)
        yield "concat", _sizes(shape), partial(Links, _concat), (shape, shape)
    for width, side in ((96, 56), (40, 56), (240, 28), (384, 14), (768, 7)):
        yield "permute", f"{width} {side}x{side}", partial(Links, _permute, 2), _image(width, side)
    for mode, width, side in (("nearest", 64, 28), ("bilinear", 64, 28), ("nearest", 240, 14), ("bilinear", 128, 7)):
        yield "resize", f"{mode} {width} {side}x{side}", partial(Links, partial(_resize, mode=mode), 2), _image(width, side)


def _concat(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Join two tensors, and give views of the halves."""
    first, second = torch.cat([x, y], 1).chunk(2, 1)
    return first, second


def _permute(x: Tensor) -> tuple[Tensor, ...]:
    """Put the channels last, and first again, in memory."""
    last = x.permute(0, 2, 3, 1).contiguous()
    return (last.permute(0, 3, 1, 2).contiguous(),)


def _resize(x: Tensor, mode: str) -> tuple[Tensor, ...]:
    """Double the size, and halve it again."""
    options: dict[str, Any] = {"align_corners": False} if mode == "bilinear" else {}
    return (F.avg_pool2d(F.interpolate(x, scale_factor=2, mode=mode, **options), 2),)
