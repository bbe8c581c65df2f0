"""Compares parameters and MACs of known networks with what their authors printed."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torchvision.models
from strategies import traced
from torch import nn

from roofline.cost import cost
from roofline.graph import Graph
from roofline.tracing.models import build
from roofline.tracing.spec import ModelSpec
from roofline.tracing.trace import record

EFFICIENTNET = "https://arxiv.org/abs/1905.11946"  # Table 2
NASNET = "https://arxiv.org/abs/1707.07012"  # Table 2
PNASNET = "https://arxiv.org/abs/1712.00559"  # Table 5
MOBILENET_V2 = "https://arxiv.org/abs/1801.04381"  # Table 4
MOBILENET_V3 = "https://arxiv.org/abs/1905.02244"  # Table 3
RESNET = "https://arxiv.org/abs/1512.03385"  # Table 1
VGG = "https://arxiv.org/abs/1409.1556"  # Table 2
SENET = "https://arxiv.org/abs/1709.01507"  # Table 2
SQUEEZENET = "https://arxiv.org/abs/1602.07360"  # Table 2: 50x fewer parameters than AlexNet's 60 M
SHUFFLENET_V2 = "https://arxiv.org/abs/1807.11164"  # Table 8
GHOSTNET = "https://arxiv.org/abs/1911.11907"  # Table 7
REGNET = "https://arxiv.org/abs/2003.13678"  # Tables 2 and 3
SWIN = "https://arxiv.org/abs/2103.14030"  # Table 1
CONVNEXT = "https://arxiv.org/abs/2201.03545"  # Table 1
DEIT = "https://arxiv.org/abs/2012.12877"  # Table 1


@dataclass(frozen=True)
class Published:
    """What a source prints: millions of parameters and billions of MACs (which papers call FLOPs or multiply-adds)."""

    name: str
    params: float | None
    macs: float | None
    source: str
    image_size: int | None = None
    tolerance: float = 0.02
    """Share by which two figures may differ: both are printed with two or three digits."""


PAPERS = [
    # The paper's MACs of B1 to B7 are up to 5 % off those of the code that its authors released; parameters agree to 1 %.
    Published("efficientnet_b0", 5.3, 0.39, EFFICIENTNET, 224),
    Published("efficientnet_b1", 7.8, 0.70, EFFICIENTNET, 240),
    Published("efficientnet_b2", 9.2, 1.0, EFFICIENTNET, 260),
    Published("efficientnet_b3", 12, 1.8, EFFICIENTNET, 300),
    Published("efficientnet_b4", 19, 4.2, EFFICIENTNET, 380, 0.05),
    Published("efficientnet_b5", 30, 9.9, EFFICIENTNET, 456, 0.05),
    Published("efficientnet_b6", 43, 19, EFFICIENTNET, 528),
    Published("efficientnet_b7", 66, 37, EFFICIENTNET, 600, 0.025),
    Published("nasnetalarge", 88.9, 23.8, NASNET, 331),
    Published("inception_v3", 23.8, 5.72, NASNET, 299),
    Published("inception_resnet_v2", 55.8, 13.2, NASNET, 299),
    Published("resnext101_64x4d", 83.6, 31.5, NASNET, 320),
    Published("pnasnet5large", 86.1, 25.0, PNASNET, 331),
    Published("mobilenetv2_100", 3.4, 0.300, MOBILENET_V2, 224, 0.035),
    Published("mobilenetv3_large_100", 5.4, 0.219, MOBILENET_V3, 224),
    Published("mobilenetv3_small_100", 2.5, 0.056, MOBILENET_V3, 224),
    Published("resnet18", None, 1.8, RESNET, 224),
    Published("resnet34", None, 3.6, RESNET, 224),
    Published("vgg11", 133, None, VGG, 224),
    Published("vgg13", 133, None, VGG, 224),
    Published("vgg16", 138, None, VGG, 224),
    Published("vgg19", 144, None, VGG, 224),
    Published("torchvision:squeezenet1_0", 1.25, None, SQUEEZENET, 224),
    Published("seresnet50", 28.1, None, SENET, 224),
    Published("torchvision:shufflenet_v2_x1_0", 2.3, 0.146, SHUFFLENET_V2, 224),
    Published("torchvision:shufflenet_v2_x2_0", 7.4, 0.591, SHUFFLENET_V2, 224),
    Published("ghostnet_100", 5.2, 0.141, GHOSTNET, 224),
    Published("regnetx_032", 15.3, 3.2, REGNET, 224),
    Published("regnety_004", 4.3, 0.4, REGNET, 224),
    Published("regnety_040", 20.6, 4.0, REGNET, 224),
    Published("swin_tiny_patch4_window7_224", 28.3, 4.5, SWIN, 224),
    Published("convnext_tiny", 28.6, 4.5, CONVNEXT, 224),
    Published("convnext_base", 88.6, 15.4, CONVNEXT, 224),
    Published("deit_tiny_patch16_224", 5.7, 1.3, DEIT, 224, 0.04),
]

# One or two of each family of https://docs.pytorch.org/vision/stable/models.html; the others are marked slow.
TORCHVISION = [
    "alexnet", "convnext_tiny", "densenet121", "densenet161", "densenet169", "densenet201", "efficientnet_b0", "efficientnet_b7",
    "efficientnet_v2_s", "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large",
    "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_128gf", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_0", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg13_bn", "vgg16", "vgg19",
    "vit_b_16", "vit_h_14", "wide_resnet50_2",
]  # fmt: skip
CLASSIFIERS = torchvision.models.list_models(module=torchvision.models)


@cache
def network(name: str, image_size: int | None) -> Graph:
    """Build and trace a network once."""
    built = build(ModelSpec(name, image_size))
    return record(built.module, built.inputs, name=name, verify=False)


def gmacs(graph: Graph) -> float:
    """Billions of MACs of one item."""
    return cost(graph.ops, graph).macs / 1e9


@pytest.mark.parametrize("row", [row for row in PAPERS if row.params], ids=lambda row: row.name)
def test_parameters_are_those_of_the_paper(row: Published) -> None:
    graph = network(row.name, row.image_size)
    # to the printed digit, or to 2 %: papers leave out batch-norm or classifier parameters
    assert graph.params / 1e6 == pytest.approx(row.params, rel=max(row.tolerance, 0.02))


@pytest.mark.parametrize("row", [row for row in PAPERS if row.macs], ids=lambda row: row.name)
def test_macs_are_those_of_the_paper(row: Published) -> None:
    assert gmacs(network(row.name, row.image_size)) == pytest.approx(row.macs, rel=row.tolerance)


def published(name: str) -> dict[str, Any]:
    """Return what torchvision documents about a network's first weights, and the image size they were trained for."""
    weights = next(iter(torchvision.models.get_model_weights(name)))
    return weights.meta | {"image_size": weights.transforms.keywords["crop_size"]}


@pytest.mark.parametrize("name", [n if n in TORCHVISION else pytest.param(n, marks=pytest.mark.slow) for n in CLASSIFIERS])
def test_a_torchvision_network_has_exactly_its_documented_parameters_and_macs(name: str) -> None:
    """The documentation gives parameters as a number, and GMACs (it calls them GFLOPS) with three decimals."""
    source = published(name)
    graph = network(f"torchvision:{name}", source["image_size"])
    heads = sum(t.numel for t in graph.weights if t.name.startswith("aux")) if name == "googlenet" else 0  # dropped after training
    assert graph.params - heads == source["num_params"]
    assert gmacs(graph) == pytest.approx(source["_ops"], abs=0.0006)


def test_timm_and_torchvision_agree_on_the_same_network() -> None:
    ours, theirs = network("resnet50", 224), network("torchvision:resnet50", 224)
    assert (ours.params, gmacs(ours)) == (theirs.params, gmacs(theirs))


def test_a_depthwise_separable_conv_takes_an_eighth_of_the_macs_of_the_full_one() -> None:
    separable = traced(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.Conv2d(64, 128, 1)), (1, 64, 112, 112))
    full = traced(nn.Conv2d(64, 128, 3, padding=1), (1, 64, 112, 112))
    assert [cost([op], separable).macs for op in separable.ops] == [7_225_344, 102_760_448]
    assert cost(full.ops, full).macs == 924_844_032
