"""Networks that no zoo names: a zoo's network at other widths and depths, AmoebaNets, and YOLO detectors.

`efficientnet_b0_w1.2_d1.4` is EfficientNet-B0 with 1.2 times the width and 1.4 times the depth, `amoebanet_b_18_512` is
AmoebaNet-B with 18 cells and 512 filters; any numbers may stand there. `yolo11s_seg` is the segmenting YOLO11 of size s.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roofline.errors import ModelError, UnknownNameError

if TYPE_CHECKING:
    import torch

LISTED = (
    *(f"amoebanet_{size}" for size in ("a_18_190", "a_18_448", "b_18_512", "d_18_208")),
    "efficientnet_b0_w1.1_d1.2",
    "resnet50_w0.5_d1",
    *(f"yolo{kind}{size}{task}" for kind in ("v8", "11") for task in ("", "_seg", "_pose", "_obb", "_cls") for size in "nsmlx"),
)
"""Names that are listed: published AmoebaNets, an example of each kind of scaling, and all of YOLOv8 and YOLO11."""

AMOEBANET = re.compile(r"amoebanet_([abd])_([0-9]{1,3})_([0-9]{1,4})")
YOLO = re.compile(r"yolo(v8|11)([nsmlx])(?:[-_](seg|pose|obb|cls))?")
SCALED = re.compile(r"(\w+?)_w([0-9]{1,3}(?:\.[0-9]{1,6})?)_d([0-9]{1,3}(?:\.[0-9]{1,6})?)")

WIDTHS = (0.1, 16.0)
DEPTHS = (0.1, 16.0)
"""Smallest and largest multipliers: beyond them a network is no longer one that anybody would build."""

_DIVISOR = 8
"""Channels are rounded to multiples of it, as in EfficientNet (timm.models._efficientnet_builder.round_channels)."""


@dataclass(frozen=True, slots=True)
class Base:
    """A network that can be scaled: the module of timm and the function there that builds it, and its image size."""

    module: str
    function: str
    image_size: int = 224


BASES = {
    "efficientnet_b0": Base("efficientnet", "_gen_efficientnet"),
    "efficientnet_lite0": Base("efficientnet", "_gen_efficientnet_lite"),
    "efficientnetv2_s": Base("efficientnet", "_gen_efficientnetv2_s", 288),
    "mobilenetv1_100": Base("efficientnet", "_gen_mobilenet_v1"),
    "mobilenetv2_100": Base("efficientnet", "_gen_mobilenet_v2"),
    "mobilenetv3_large_100": Base("mobilenetv3", "_gen_mobilenet_v3"),
    "mobilenetv3_small_100": Base("mobilenetv3", "_gen_mobilenet_v3"),
    **{f"resnet{depth}": Base("resnet", "_create_resnet") for depth in (18, 34, 50, 101, 152)},
}
"""The networks that can be scaled; `_gen_*` take a width and a depth, ResNets channels and layers."""


def scaled_name(base: str, width: float, depth: float) -> str:
    """Name *base* at so many times its width and its depth."""
    return f"{base}_w{width:.6g}_d{depth:.6g}"


def is_own(name: str) -> bool:
    """Tell whether *name* is written as a network of this file is."""
    scaled = SCALED.fullmatch(name)
    return bool(AMOEBANET.fullmatch(name) or YOLO.fullmatch(name)) or (scaled is not None and scaled[1] in BASES)


def image_size(name: str) -> int:
    """Pixels a side that the network called *name* is meant for."""
    if found := AMOEBANET.fullmatch(name):
        from roofline.tracing.amoebanet import GENOTYPES

        return GENOTYPES[found[1]].image_size
    if found := YOLO.fullmatch(name):
        from roofline.tracing.yolo import IMAGE_SIZES

        return IMAGE_SIZES[found[3] or ""]
    return BASES[_parts(name)[0]].image_size


def make(name: str, in_chans: int = 3) -> "torch.nn.Module":
    """Build the network called *name*; raise ModelError for sizes that it cannot have."""
    if found := AMOEBANET.fullmatch(name):
        from roofline.tracing.amoebanet import GENOTYPES, STAGES, AmoebaNet

        cells, filters = int(found[2]), int(found[3])
        if cells % STAGES or not cells or filters < 8:
            raise ModelError(f"cannot build {name}: an AmoebaNet has a multiple of {STAGES} cells and at least 8 filters")
        return AmoebaNet(GENOTYPES[found[1]], cells, filters, in_chans)
    if found := YOLO.fullmatch(name):
        from roofline.tracing.yolo import Yolo

        return Yolo(found[1], found[2], found[3] or "", in_chans)
    return _scaled(*_parts(name), in_chans)


def _parts(name: str) -> tuple[str, float, float]:
    found = SCALED.fullmatch(name)
    if found is None or found[1] not in BASES:
        raise UnknownNameError(f"cannot scale {name!r}; what can be scaled is {', '.join(BASES)}")
    return found[1], float(found[2]), float(found[3])


def _scaled(base: str, width: float, depth: float, in_chans: int) -> "torch.nn.Module":
    """Build *base* with *width* times its channels and *depth* times its blocks, by timm's own builder.

    The blocks of ResNets are rounded to the nearest whole number, and their stem keeps its 64 channels.
    """
    from importlib import import_module

    for value, (low, high), what in ((width, WIDTHS, "width"), (depth, DEPTHS, "depth")):
        if not low <= value <= high:
            raise ModelError(f"cannot scale the {what} of {base} by {value:g}; use {low:g} to {high:g}")
    namespace = import_module(f"timm.models.{BASES[base].module}")
    build: Callable[..., Any] = getattr(namespace, BASES[base].function)
    if build.__name__ != "_create_resnet":
        return build(base, channel_multiplier=width, depth_multiplier=depth, in_chans=in_chans)
    from timm.layers.helpers import make_divisible

    block, layers = _resnet(base, namespace)
    return build(
        base, block=block, layers=tuple(max(1, int(n * depth + 0.5)) for n in layers), in_chans=in_chans,
        channels=tuple(make_divisible(c * width, _DIVISOR) for c in (64, 128, 256, 512)),
    )  # fmt: skip


def _resnet(base: str, namespace: Any) -> tuple[Any, tuple[int, ...]]:
    """Give the block of a ResNet and how many of them each stage has (He et al., https://arxiv.org/abs/1512.03385, table 1)."""
    stages = {"resnet18": (2, 2, 2, 2), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}.get(base, (3, 4, 6, 3))
    return (namespace.BasicBlock if base in ("resnet18", "resnet34") else namespace.Bottleneck), stages
