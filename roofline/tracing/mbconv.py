"""Build networks of mobile inverted bottlenecks of timm's blocks, and trace them block by block, each kind of block once for all sizes."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from roofline.graph import Graph
from roofline.tracing.architecture import STEM_STRIDE, Architecture, Block, Stage, strided
from roofline.tracing.compose import chain, resized

if TYPE_CHECKING:
    import torch

_UNDILATED = 2**20
"""Output stride from which timm would dilate instead of striding: never."""


def build(architecture: Architecture, device: str = "meta") -> "torch.nn.Module":
    """Build the network with timm's EfficientNet class; on another *device* than meta it has the random weights timm draws."""
    architecture.check()
    args = [_stage_args(stage) for stage in architecture.stages]
    a = architecture
    return _efficientnet(args, a.stem, a.activation, head=a.head, classes=a.classes, device=device)


def trace_whole(architecture: Architecture) -> Graph:
    """Trace the whole network at once, for one image."""
    return _record(build(architecture), 3, architecture.resolution, str(architecture))


def load() -> None:
    """Import PyTorch and timm, which takes seconds, before the first network needs them."""
    import roofline.tracing.trace  # noqa: F401  # pyright: ignore[reportUnusedImport]


@dataclass(slots=True)
class Blocks:
    """Remember the graphs of stems, blocks and heads, and join them into those of networks.

    A part is traced once for all its sizes: at odd numbers of channels and pixels, each of which stands for one size and is
    replaced by it. *traced* counts what had to be traced, *made* parts of other sizes, *reused* parts that were known.
    """

    traced: int = 0
    made: int = 0
    reused: int = 0
    _patterns: dict[Any, Graph] = field(default_factory=dict[Any, Graph])
    _known: dict[Any, Graph] = field(default_factory=dict[Any, Graph])

    def graph(self, architecture: Architecture, batch: int = 1) -> Graph:
        """Return the graph of the network at *batch* items: what `trace_whole` and `with_batch` give, for less work."""
        a = architecture
        a.check()
        parts = [("", self._part(_Stem(a.stem, a.resolution, a.activation), batch))]
        for i, blocks in enumerate(a.blocks):
            parts += [(f"blocks.{i}.{j}", self._part(block, batch)) for j, block in enumerate(blocks)]
        last = a.blocks[-1][-1]
        parts.append(("", self._part(_Head(last.width, last.size_out, a.head, a.classes, a.activation), batch)))
        modules = {"": "EfficientNet", "blocks": "Sequential", **{f"blocks.{i}": "Sequential" for i in range(len(a.blocks))}}
        return chain(parts, name=str(a), modules=modules)

    def _part(self, part: "Part", batch: int) -> Graph:
        found = self._known.get((part, batch))
        if found is not None:
            self.reused += 1
            return found
        pattern = _pattern(part)
        if pattern not in self._patterns:
            self.traced += 1
            self._patterns[pattern] = _traced(pattern)
        self.made += 1
        sizes = dict(zip(_sizes(pattern), _sizes(part), strict=True))
        found = self._known[part, batch] = resized(self._patterns[pattern], sizes).with_batch(batch)
        return found


@dataclass(frozen=True, slots=True)
class _Stem:
    width: int
    size: int
    activation: str


@dataclass(frozen=True, slots=True)
class _Head:
    width_in: int
    size: int
    width: int
    classes: int
    activation: str


Part = _Stem | Block | _Head

_WIDTH_IN, _WIDTH, _SIZE, _CLASSES = 1013, 521, 2003, 379
"""Sizes of a pattern. They differ from each other, from what timm makes of them inside a block, and from every constant of an op."""


def _pattern(part: Part) -> Part:
    """Give the part that is traced for *part*: alike but in its sizes."""
    if isinstance(part, _Stem):
        return _Stem(_WIDTH, _SIZE, part.activation)
    if isinstance(part, _Head):
        return _Head(_WIDTH_IN, _SIZE, _WIDTH, _CLASSES, part.activation)
    expansion = 4.0 if part.shape in ("ir", "er") else 1.0
    width = _WIDTH_IN if part.stride == 1 and part.width_in == part.width else _WIDTH  # a shortcut needs equal channels
    squeeze = 0.25 if part.squeeze else 0.0
    return replace(part, width_in=_WIDTH_IN, width=width, expansion=expansion, squeeze=squeeze, size=_SIZE)


def _sizes(part: Part) -> tuple[int, ...]:
    """List what differs between *part* and others of its pattern."""
    if isinstance(part, _Stem):
        return part.width, part.size, strided(part.size, STEM_STRIDE)
    if isinstance(part, _Head):
        return part.width_in, part.size, part.width, part.classes
    gate = (part.squeezed,) * bool(part.squeeze)
    return part.width_in, part.width, part.expanded, part.size, part.size_out, *gate


def _traced(part: Part) -> Graph:
    """Build *part* as timm builds it in a network, and trace it."""
    if isinstance(part, _Stem):
        net = _efficientnet([_passing(part.width)], part.width, part.activation)
        return _record(_named(net, ("conv_stem", "bn1")), 3, part.size)
    if isinstance(part, _Head):
        net = _efficientnet([_passing(part.width_in)], part.width_in, part.activation, head=part.width, classes=part.classes)
        return _record(_named(net, ("conv_head", "bn2", "global_pool", "classifier")), part.width_in, part.size)
    stage = Stage(1, part.width, part.kernel, part.stride, part.expansion, part.squeeze, part.activation, part.kind)
    net = _efficientnet([_stage_args(stage)], part.width_in, part.activation)
    return _record(net.blocks[0][0], part.width_in, part.size)


def _named(net: "torch.nn.Module", children: Sequence[str]) -> "torch.nn.Module":
    """Run some children of *net* one after another, under their own names."""
    import torch

    return torch.nn.Sequential(OrderedDict((name, net.get_submodule(name)) for name in children))


def _passing(width: int) -> list[dict[str, Any]]:
    """Say a stage of one small block, for a network of which only an end is wanted."""
    return _stage_args(Stage(1, width, 1, 1, 1, 0, "relu", "fused"))


def _stage_args(stage: Stage) -> list[dict[str, Any]]:
    """Translate a stage into arguments of timm's blocks, one dictionary each, through its own notation."""
    from timm.layers.create_act import get_act_layer
    from timm.models._efficientnet_builder import decode_arch_def

    shape = Block(stage.block, 8, stage.width, stage.kernel, stage.stride, stage.expansion, stage.squeeze, stage.activation, 1).shape
    text = f"{shape}_r{stage.depth}_k{stage.kernel}_s{stage.stride}_e{stage.expansion!r}_c{stage.width}"
    text += f"_se{stage.squeeze!r}" * bool(stage.squeeze) + "_skip" * (shape == "cn")
    (blocks,) = decode_arch_def([[text]])
    return [{**block, "act_layer": get_act_layer(stage.activation)} for block in blocks]


def _efficientnet(
    stages: list[list[dict[str, Any]]], stem: int, activation: str, *, head: int = 0, classes: int = 0, device: str = "meta"
) -> Any:
    """Build timm's EfficientNet with the channels as they are given, in evaluation mode."""
    import torch
    from timm.layers.create_act import get_act_layer
    from timm.models.efficientnet import EfficientNet

    with torch.device(device):
        net = EfficientNet(
            stages, num_classes=classes, num_features=head, stem_size=stem, fix_stem=True, output_stride=_UNDILATED,
            act_layer=get_act_layer(activation), norm_layer=torch.nn.BatchNorm2d, round_chs_fn=_as_given,
        )  # fmt: skip
    return net.eval()


def _as_given(channels: int) -> int:
    return channels


def _record(module: Any, width: int, size: int, name: str = "") -> Graph:
    import torch

    from roofline.tracing.trace import record

    return record(module, (torch.empty((1, width, size, size), device="meta"),), name=name, verify=False)
