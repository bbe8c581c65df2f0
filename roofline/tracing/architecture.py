"""Describe a network of mobile inverted bottlenecks in plain words, and count its parameters and MACs without building it.

An architecture is a stem, stages of equal blocks and a head, as in MobileNetV2, EfficientNet and EfficientNetV2; `mbconv` builds
it of timm's blocks. The counts are exact: they follow timm's own rounding of channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

from roofline.errors import ModelError

BlockKind = Literal["mbconv", "fused"]
BLOCKS: tuple[BlockKind, ...] = get_args(BlockKind)
"""`mbconv` expands by a pointwise convolution and filters by a depthwise one; `fused` does both in one dense convolution."""

ACTIVATIONS = ("silu", "relu", "relu6", "hard_swish", "gelu", "mish")
"""Activations that a stage can have, by timm's name."""

STEM_KERNEL, STEM_STRIDE = 3, 2
"""Window and step of the first convolution, as in every EfficientNet."""

_DIVISOR, _MOST_LOST = 8, 0.9
"""Expanded channels are rounded to multiples of 8 unless that loses a tenth (timm.layers.make_divisible)."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block where it stands: its channels in and out, its settings, and the pixels a side that enter it."""

    kind: BlockKind
    width_in: int
    width: int
    kernel: int
    stride: int
    expansion: float
    squeeze: float
    activation: str
    size: int

    @property
    def shape(self) -> Literal["ds", "ir", "cn", "er"]:
        """Timm's word for it: depthwise separable or one convolution where nothing is expanded, else inverted or edge residual."""
        if self.kind == "mbconv":
            return "ds" if self.expansion == 1 else "ir"
        return "cn" if self.expansion == 1 and not self.squeeze else "er"

    @property
    def size_out(self) -> int:
        """Pixels a side that leave it."""
        return strided(self.size, self.stride)

    @property
    def expanded(self) -> int:
        """Channels inside it."""
        return self.width_in if self.shape in ("ds", "cn") else _divisible(self.width_in * self.expansion)

    @property
    def squeezed(self) -> int:
        """Channels inside its squeeze-and-excitation; 0 where it has none."""
        share = self.squeeze if self.shape == "ds" else self.squeeze / self.expansion
        return round(self.expanded * share) if self.squeeze else 0

    @property
    def counts(self) -> tuple[int, int]:
        """Parameters, and MACs of one image."""
        inner, pixels, entering = self.expanded, self.size_out**2, self.size**2
        window = self.kernel**2
        if self.shape == "cn":
            convolutions = [(self.width_in * self.width * window, pixels, self.width)]
        elif self.shape == "er":
            convolutions = [(self.width_in * inner * window, pixels, inner), (inner * self.width, pixels, self.width)]
        else:
            convolutions = [(inner * window, pixels, inner), (inner * self.width, pixels, self.width)]
            convolutions += [(self.width_in * inner, entering, inner)] * (self.shape == "ir")
        gate = 2 * inner * self.squeezed
        biases = (self.squeezed + inner) * bool(self.squeeze)
        norms = 2 * sum(channels for _, _, channels in convolutions)
        weights = sum(weight for weight, _, _ in convolutions)
        return weights + norms + gate + biases, sum(weight * size for weight, size, _ in convolutions) + gate


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of *depth* equal blocks, the first of which may stride; *squeeze* is a share of the channels that enter a block."""

    depth: int
    width: int
    kernel: int = 3
    stride: int = 1
    expansion: float = 6.0
    squeeze: float = 0.25
    activation: str = "silu"
    block: BlockKind = "mbconv"


@dataclass(frozen=True)
class Architecture:
    """A whole network: channels of its *stem* and *head*, its *stages*, classes, input pixels a side, and the activation of both ends."""

    stages: tuple[Stage, ...]
    stem: int = 32
    head: int = 1280
    classes: int = 1000
    resolution: int = 224
    activation: str = "silu"

    @cached_property
    def blocks(self) -> tuple[tuple[Block, ...], ...]:
        """Every block of every stage, with the channels and the pixels that reach it."""
        found: list[tuple[Block, ...]] = []
        width, size = self.stem, strided(self.resolution, STEM_STRIDE)
        for stage in self.stages:
            first = Block(
                stage.block, width, stage.width, stage.kernel, stage.stride, stage.expansion, stage.squeeze, stage.activation, size
            )
            width, size = stage.width, first.size_out
            rest = replace(first, width_in=width, stride=1, size=size)
            found.append((first, *(rest,) * (stage.depth - 1)))
        return tuple(found)

    @property
    def params(self) -> int:
        """Trained parameters, exactly as built."""
        return sum(params for params, _ in self._counts())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image, exactly as traced."""
        return sum(macs for _, macs in self._counts())

    def check(self) -> None:
        """Raise ModelError for a block whose squeeze-and-excitation would keep no channel."""
        for i, blocks in enumerate(self.blocks):
            if any(block.squeeze and not block.squeezed for block in blocks):
                raise ModelError(f"stage {i} squeezes {blocks[0].width_in} channels to none; raise its squeeze, or write 0 to have none")

    def __str__(self) -> str:
        """Write it in one line, such as `224px stem 32, 1 x 16 k3 e1 se0.25, ..., head 1280`."""
        return f"{self.resolution}px stem {self.stem}, {', '.join(map(_words, self.stages))}, head {self.head}"

    def _counts(self) -> Iterator[tuple[int, int]]:
        stem = self.stem * 3 * STEM_KERNEL**2
        yield stem + 2 * self.stem, stem * strided(self.resolution, STEM_STRIDE) ** 2
        yield from (block.counts for blocks in self.blocks for block in blocks)
        last = self.blocks[-1][-1]
        pointwise, linear = last.width * self.head, self.head * self.classes
        yield pointwise + 2 * self.head + linear + self.classes, pointwise * last.size_out**2 + linear


def _words(stage: Stage) -> str:
    marks = [f"k{stage.kernel}", f"s{stage.stride}" * (stage.stride > 1), f"e{stage.expansion:g}"]
    marks += [f"se{stage.squeeze:g}" * bool(stage.squeeze), stage.activation * (stage.activation != "silu")]
    return " ".join([f"{stage.depth} x {stage.width}", "fused" * (stage.block == "fused"), *marks]).replace("  ", " ").strip()


def strided(size: int, stride: int) -> int:
    """Pixels a side that a convolution with *stride*, padded by half its window, leaves of *size*."""
    return -(-size // stride)


def _divisible(channels: float) -> int:
    rounded = max(_DIVISOR, int(channels + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded + _DIVISOR if rounded < _MOST_LOST * channels else rounded
