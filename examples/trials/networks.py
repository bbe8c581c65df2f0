"""The devices, and the networks with published accuracy, that several claims are tried on."""

from collections.abc import Sequence
from functools import cache

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import half_type
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import load_hardware
from roofline.studies.families import CURATED
from roofline.studies.setting import Setting
from roofline.studies.zoo import Zoo, zoo

GPUS = ("t4", "v100", "a100-40gb", "rtx4090")
CPUS = ("c5.2xlarge", "c5.9xlarge")
DEVICES = (*GPUS, *CPUS)
BATCHES = (1, 64)

ALL = tuple(name for members in CURATED.values() for name, _, _ in members)
"""Every network that `roofline zoo` shows."""

FEW = (
    "efficientnet_b0", "efficientnet_b3", "efficientnet_b4", "efficientnet_b7", "mobilenetv2_100", "resnet18", "resnet50", "resnet152",
    "densenet201", "inception_v4", "legacy_senet154", "amoebanet_b_18_512", "vgg16", "regnety_032", "vit_base_patch16_224",
)  # fmt: skip
"""Enough of them to try a claim in seconds."""

EFFICIENTNETS = tuple(f"efficientnet_b{i}" for i in range(8))
IMAGE_SIZES = {name: size for members in CURATED.values() for name, _, size in members}
"""Pixels a side at which the published accuracy of each was reached."""


@cache
def family(names: Sequence[str], mode: str = "eager", devices: Sequence[str] = DEVICES, precision: str = "fp32") -> Zoo:
    """Analyze networks at both batch sizes."""
    return zoo(names, devices, setting=Setting(batches=BATCHES, mode=mode, precision=precision))


@cache
def priced(
    name: str, devices: Sequence[str] = DEVICES, *, mode: str = "eager", precision: str = "fp32", what_if: Sequence[str] = ()
) -> tuple[Analysis, ...]:
    """Analyze one network on *devices* at both batch sizes, at the image size of its published accuracy; `half` is each device's own."""
    import roofline

    found: list[Analysis] = []
    for device in map(load_hardware, devices):
        found += roofline.analyze_many(
            name, [device], BATCHES, precisions=[native(device) if precision == "half" else precision], mode=mode, what_if=what_if,
            image_size=IMAGE_SIZES.get(name),
        )  # fmt: skip
    return tuple(found)


def native(device: Hardware) -> str:
    """Name the smallest float of *device*: half precision on GPUs, fp32 on CPUs without it."""
    half = half_type(device)
    return half if device.supports(half) else "fp32"
