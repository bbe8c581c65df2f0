"""Build YOLOv8 and YOLO11, which no zoo holds: detectors, and what shares their backbone for masks, poses, turned boxes and classes.

Four stages make maps of strides 4 to 32; the last three are joined from coarse to fine and back, and the head tells boxes of each.
Architecture: Jocher et al., https://docs.ultralytics.com/models/yolov8 and /yolo11. Checked: the parameters that Ultralytics states
(see SIZES), and every convolution, norm, activation, pool and join of the networks that its package 8.3.40 builds.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from roofline.errors import ModelError

IMAGE_SIZES = {"": 640, "seg": 640, "pose": 640, "obb": 1024, "cls": 224}
"""Pixels a side by task: boxes, masks, poses of people, turned boxes, classes."""

CLASSES = {"": 80, "seg": 80, "pose": 1, "obb": 15, "cls": 1000}
"""Classes of COCO, of its people, of DOTA, and of ImageNet."""

STRIDE = 32
"""By how much the last map is smaller than the image; the maps before it must have twice its sides to be joined."""

BINS = 16
"""Distances from a box's centre to its sides are told as a distribution over so many."""

EXTRAS = {"": 0, "seg": 32, "pose": 17 * 3, "obb": 1}
"""Numbers more that are told of a box: weights of the masks, points of a pose, the angle."""


@dataclass(frozen=True, slots=True)
class Size:
    """Multipliers of repeats (*depth*) and channels (*width*), which no layer has more of than *most* before these."""

    depth: float
    width: float
    most: int


SIZES = {
    "v8": {
        "n": Size(0.33, 0.25, 1024),
        "s": Size(0.33, 0.5, 1024),
        "m": Size(0.67, 0.75, 768),
        "l": Size(1, 1, 512),
        "x": Size(1, 1.25, 512),
    },
    "11": {
        "n": Size(0.5, 0.25, 1024),
        "s": Size(0.5, 0.5, 1024),
        "m": Size(0.5, 1, 512),
        "l": Size(1, 1, 512),
        "x": Size(1, 1.5, 512),
    },
}
"""Give the detectors 3.16, 11.17, 25.90, 43.69, 68.23 M (v8) and 2.62, 9.46, 20.11, 25.37, 56.97 M (11) parameters, as published."""

_CLASSIFIERS_MOST = 1024
"""Channels of YOLOv8's classifiers before their multiplier; YOLO11's are limited as its detectors are."""


class Conv(nn.Sequential):
    """Convolve, normalise, and apply SiLU unless *linear*."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, linear: bool = False) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), *([] if linear else [nn.SiLU(inplace=True)]))


class Residual(nn.Module):
    """Add to *x* what the *body* makes of it, or give that alone."""

    def __init__(self, body: nn.Module, *, add: bool = True) -> None:
        super().__init__()
        self.body, self.add = body, add

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape."""
        return x + self.body(x) if self.add else self.body(x)


def bottleneck(channels: int, inner: int, *, add: bool = True) -> Residual:
    """Two 3x3 convolutions through *inner* channels."""
    return Residual(nn.Sequential(Conv(channels, inner, 3), Conv(inner, channels, 3)), add=add)


class Split(nn.Module):
    """Send half of the channels through *blocks* one after another, and join all that comes out at any of them."""

    def __init__(self, inputs: int, outputs: int, hidden: int, blocks: Iterable[nn.Module], *, keep: bool = True) -> None:
        super().__init__()
        self.blocks, self.keep = nn.ModuleList(blocks), keep
        self.enter = Conv(inputs, 2 * hidden)
        self.leave = Conv((2 + len(self.blocks) if keep else 2) * hidden, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W)."""
        found = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            found[len(found) if self.keep else 1 :] = [block(found[-1])]
        return self.leave(torch.cat(found, 1))


class TwoPaths(nn.Module):
    """Join two bottlenecks, behind a 1x1 convolution, with another 1x1 convolution of the same input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.long = nn.Sequential(Conv(channels, half), *(bottleneck(half, half) for _ in range(2)))
        self.short = Conv(channels, half)
        self.leave = Conv(2 * half, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape."""
        return self.leave(torch.cat((self.long(x), self.short(x)), 1))


class Attention(nn.Module):
    """Attend over all positions, with keys half as wide as values, and add a depthwise convolution of the values."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // 64
        self.value = channels // self.heads
        self.key = self.value // 2
        self.qkv = Conv(channels, channels + 2 * self.key * self.heads, linear=True)
        self.position = Conv(channels, channels, 3, groups=channels, linear=True)
        self.leave = Conv(channels, channels, linear=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape (N, channels, H, W)."""
        q, k, v = self.qkv(x).view(x.shape[0], self.heads, -1, x.shape[2] * x.shape[3]).split((self.key, self.key, self.value), 2)
        weights = (q.transpose(-2, -1) @ k * self.key**-0.5).softmax(-1)
        return self.leave((v @ weights.transpose(-2, -1)).reshape(x.shape) + self.position(v.reshape(x.shape)))


class Pyramid(nn.Module):
    """Join an image with three pools of it, each of the one before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter, self.leave = Conv(channels, channels // 2), Conv(2 * channels, channels)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape."""
        found = [self.enter(x)]
        for _ in range(3):
            found.append(self.pool(found[-1]))
        return self.leave(torch.cat(found, 1))


class Head(nn.Module):
    """Tell boxes, classes and, by the *task*, more of every cell of three maps; *light* ones tell classes by depthwise convolutions."""

    def __init__(self, channels: tuple[int, int, int], task: str, prototypes: int, *, light: bool) -> None:
        super().__init__()
        self.task, self.classes = task, CLASSES[task]
        first, extra = channels[0], EXTRAS[task]
        boxes, kinds = max(16, first // 4, 4 * BINS), max(first, min(self.classes, 100))

        def stack(inputs: int, inner: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(Conv(inputs, inner, 3), Conv(inner, inner, 3), nn.Conv2d(inner, outputs, 1))

        def light_stack(inputs: int, inner: int, outputs: int) -> nn.Sequential:
            steps = [(inputs, inner), (inner, inner)]
            pairs = [conv for a, b in steps for conv in (Conv(a, a, 3, groups=a), Conv(a, b))]
            return nn.Sequential(*pairs, nn.Conv2d(inner, outputs, 1))

        self.boxes = nn.ModuleList(stack(c, boxes, 4 * BINS) for c in channels)
        self.kinds = nn.ModuleList((light_stack if light else stack)(c, kinds, self.classes) for c in channels)
        self.extras = nn.ModuleList(stack(c, max(first // 4, extra), extra) for c in channels if extra)
        self.mean = nn.Conv2d(BINS, 1, 1, bias=False)
        self.sides: list[torch.Size] = []
        self.cells: tuple[torch.Tensor, torch.Tensor] | None = None
        self.masks = None
        if task == "seg":
            grow = nn.ConvTranspose2d(prototypes, prototypes, 2, 2)
            self.masks = nn.Sequential(Conv(first, prototypes, 3), grow, Conv(prototypes, prototypes, 3), Conv(prototypes, extra))

    def forward(self, maps: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Turn maps of strides 8, 16 and 32 into (N, 4 + classes + extras, cells), and masks where the task has them."""
        n = maps[0].shape[0]
        found = [stack(x).view(n, EXTRAS[self.task], -1) for stack, x in zip(self.extras, maps, strict=False)]
        extras = [torch.cat(found, -1)] if found else []
        masks = [self.masks(maps[0])] if self.masks else []
        told = [torch.cat((box(x), kind(x)), 1) for box, kind, x in zip(self.boxes, self.kinds, maps, strict=True)]
        sides, kinds = torch.cat([x.view(n, x.shape[1], -1) for x in told], 2).split((4 * BINS, self.classes), 1)
        sides = self.mean(sides.view(n, 4, BINS, -1).transpose(2, 1).softmax(1)).view(n, 4, -1)
        centres, strides = self._cells(maps)
        box = self._box(sides, centres, extras)
        return (torch.cat((box * strides, kinds.sigmoid(), *self._more(extras, centres, strides)), 1), *masks)

    def _cells(self, maps: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Centres of all cells, (1, 2, cells), and the stride of each, (1, cells): constants, as an export folds them."""
        sides = [x.shape[2:] for x in maps]
        if self.cells is None or self.sides != sides:
            self.sides = sides
            grids = [torch.cartesian_prod(torch.arange(x.shape[2]) + 0.5, torch.arange(x.shape[3]) + 0.5).flip(1).T for x in maps]
            strides = [torch.full((1, grid.shape[1]), 8.0 * 2**i) for i, grid in enumerate(grids)]
            self.cells = torch.cat(grids, 1)[None].to(maps[0]), torch.cat(strides, 1).to(maps[0])
        return self.cells

    def _box(self, sides: torch.Tensor, centres: torch.Tensor, extras: list[torch.Tensor]) -> torch.Tensor:
        """Centre and size of each box, from the distances of its sides; turned by its angle where it has one."""
        low, high = sides.chunk(2, 1)
        if self.task != "obb":
            low, high = centres - low, centres + high
            return torch.cat(((low + high) / 2, high - low), 1)
        angle = (extras[0].sigmoid() - 0.25) * math.pi
        cos, sin = angle.cos(), angle.sin()
        x, y = ((high - low) / 2).split(1, 1)
        return torch.cat((torch.cat((x * cos - y * sin, x * sin + y * cos), 1) + centres, low + high), 1)

    def _more(self, extras: list[torch.Tensor], centres: torch.Tensor, strides: torch.Tensor) -> list[torch.Tensor]:
        """What is told beside boxes and classes: points are placed in the image, all else is given as it is."""
        if self.task == "obb":
            return [(extras[0].sigmoid() - 0.25) * math.pi]
        if self.task != "pose":
            return extras
        points = extras[0].view(extras[0].shape[0], -1, 3, extras[0].shape[-1])
        placed = (points[:, :, :2] * 2 + (centres - 0.5)[:, None]) * strides
        return [torch.cat((placed, points[:, :, 2:].sigmoid()), 2).view(extras[0].shape)]


class Classifier(nn.Module):
    """Mean of the last map, and the probability of each class."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.widen, self.pool, self.score = Conv(channels, 1280), nn.AdaptiveAvgPool2d(1), nn.Linear(1280, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, channels, H, W) to (N, classes)."""
        return self.score(self.pool(self.widen(x)).flatten(1)).softmax(1)


class Yolo(nn.Module):
    """A network of one *generation* (`v8` or `11`), *size* (`n`, `s`, `m`, `l`, `x`) and *task* of IMAGE_SIZES."""

    def __init__(self, generation: str, size: str, task: str = "", in_chans: int = 3) -> None:
        super().__init__()
        self.sizes, self.generation, self.task = SIZES[generation][size], generation, task
        self.deep = generation == "11" and size in "mlx"
        self.most = _CLASSIFIERS_MOST if task == "cls" and generation == "v8" else self.sizes.most
        new, repeats = generation == "11", (2, 2, 2, 2) if generation == "11" else (3, 6, 6, 3)
        outputs = (256, 512, 512, 1024) if new else (128, 256, 512, 1024)
        c = [self._wide(n) for n in outputs]
        down = [self._wide(n) for n in (64, 128, 256, 512, 1024)]
        self.stem = Conv(in_chans, down[0], 3, 2)
        entering = [down[0], *c[:3]]

        def stage(i: int) -> nn.Sequential:
            block = self._block(down[i + 1], c[i], repeats[i], backbone=True, deep=i > 1, narrow=i < 2)
            return nn.Sequential(Conv(entering[i], down[i + 1], 3, 2), block)

        self.stages = nn.ModuleList(map(stage, range(4)))
        end = [] if task == "cls" else [Pyramid(c[3])]
        self.end = nn.Sequential(*end, *([self._attend(c[3])] if new else []))
        if task == "cls":
            self.head: nn.Module = Classifier(c[3], CLASSES[task])
            return
        p3, p4, p5 = self._wide(256), self._wide(512), self._wide(1024)
        self.up4, self.up3 = self._block(c[3] + c[2], p4, repeats[0]), self._block(p4 + c[1], p3, repeats[0])
        self.down4, self.down5 = Conv(p3, p3, 3, 2), Conv(p4, p4, 3, 2)
        self.out4, self.out5 = self._block(p3 + p4, p4, repeats[0]), self._block(p4 + c[3], p5, repeats[0], deep=True)
        self.grow = nn.Upsample(scale_factor=2)
        self.head = Head((p3, p4, p5), task, self._wide(256), light=new)

    def _wide(self, channels: int) -> int:
        """Scale *channels* to this size: a multiple of 8."""
        return math.ceil(min(channels, self.most) * self.sizes.width / 8) * 8

    def _block(self, inputs: int, outputs: int, repeats: int, *, backbone: bool = False, deep: bool = False, narrow: bool = False) -> Split:
        """The block of a stage: bottlenecks, which add their input in the backbone and in YOLO11, or pairs of paths where *deep*."""
        count = max(round(repeats * self.sizes.depth), 1)
        if self.generation == "v8":
            hidden = outputs // 2
            return Split(inputs, outputs, hidden, (bottleneck(hidden, hidden, add=backbone) for _ in range(count)))
        hidden = outputs // 4 if narrow else outputs // 2
        paths = deep or self.deep
        return Split(inputs, outputs, hidden, (TwoPaths(hidden) if paths else bottleneck(hidden, hidden // 2) for _ in range(count)))

    def _attend(self, channels: int) -> Split:
        """Attention and a small network, on half of the channels."""
        half = channels // 2

        def block() -> nn.Sequential:
            feed = nn.Sequential(Conv(half, 2 * half), Conv(2 * half, half, linear=True))
            return nn.Sequential(Residual(Attention(half)), Residual(feed))

        return Split(channels, channels, half, (block() for _ in range(max(round(2 * self.sizes.depth), 1))), keep=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Map (N, 3, H, W), H and W multiples of 32, to what Head or Classifier gives."""
        if x.shape[2] % STRIDE or x.shape[3] % STRIDE:
            raise ModelError(f"YOLO takes images whose sides are multiples of {STRIDE}, not {x.shape[2]}x{x.shape[3]}")
        x, maps = self.stem(x), list[torch.Tensor]()
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        x = self.end(x)
        if self.task == "cls":
            return self.head(x)
        p4 = self.up4(torch.cat((self.grow(x), maps[2]), 1))
        p3 = self.up3(torch.cat((self.grow(p4), maps[1]), 1))
        p4 = self.out4(torch.cat((self.down4(p3), p4), 1))
        p5 = self.out5(torch.cat((self.down5(p4), x), 1))
        return self.head([p3, p4, p5])
