"""Workloads: the class of every kernel, what it asks of a device of round numbers, and which parameters it meets."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from devices import DRAM, HALF, L2, MATRIX, VECTOR, device, engine, level
from strategies import traced
from torch import nn
from torch.nn import functional

from roofline.costmodel.calibration import CLASSES, Calibration, Shape
from roofline.costmodel.columns import Columns, tabulate
from roofline.costmodel.demand import classify, demand
from roofline.costmodel.device import DeviceKind, Hardware
from roofline.costmodel.fleet import Fleet, through_levels
from roofline.costmodel.formula import Efficiency
from roofline.costmodel.workload import Workload, describe, efficiency
from roofline.graph import Graph
from roofline.tracing.source import trace
from roofline.transforms.modes import Layout, Mode, execute
from roofline.transforms.precision import to_precision

IMAGE = (2, 8, 16, 16)
"""Shape of the input of most networks here: 4,096 numbers."""


def tabulated(graph: Graph, *, precision: str = "fp32", mode: Mode = "eager", layout: Layout | None = None) -> Columns:
    """Tabulate *graph* at the batch it was traced at; *layout* is that of its images on a GPU."""
    fixed = replace(to_precision(graph, precision), batch=None)
    return tabulate(execute(fixed, mode, 0.0, layout), [fixed.inputs[0].shape[0]])


def classes(model: nn.Module | Callable[..., Any], *inputs: tuple[int, ...], precision: str = "fp32") -> list[str]:
    """Name the class of every kernel of *model* that is more than a view."""
    columns = tabulated(traced(model, *inputs), precision=precision)
    return [CLASSES[k] for k, ops in zip(classify(columns), columns.ops, strict=True) if ops]


def asked(
    model: nn.Module | Callable[..., Any],
    *inputs: tuple[int, ...],
    on: Hardware | None = None,
    precision: str = "fp32",
    mode: Mode = "eager",
    layout: Layout = "nchw",
) -> Workload:
    """Describe the kernels of *model*, by default on the device of round numbers."""
    hardware = on or device()
    columns = tabulated(traced(model, *inputs), precision=precision, mode=mode, layout=layout if hardware.kind == "gpu" else None)
    fleet = Fleet((hardware,), (Calibration(mode),), layout)
    found = demand(columns, fleet.distances, fleet.process)
    return describe(found, through_levels(found, fleet), fleet)


def alone(calibration: Calibration) -> Fleet:
    """Make a fleet of the device of round numbers."""
    return Fleet((device(),), (calibration,))


def row(values: Any) -> list[float]:
    """List what is asked by each kernel, on the only device at the only batch."""
    return np.atleast_1d(values).reshape(-1, np.shape(values)[-1])[0].tolist()


def conv(inputs: int, outputs: int, size: int | tuple[int, int] = 3, *, groups: int = 1, stride: int = 1, bias: bool = False) -> nn.Module:
    """Make a convolution that keeps the size of an image, but for its stride."""
    sides = (size, size) if isinstance(size, int) else size
    return nn.Conv2d(inputs, outputs, sides, stride=stride, padding=(sides[0] // 2, sides[1] // 2), groups=groups, bias=bias)


# --- classes -----------------------------------------------------------------------------------------------------------

KERNELS: dict[str, tuple[nn.Module | Callable[..., Any], tuple[tuple[int, ...], ...], str]] = {
    "3x3": (conv(8, 16), (IMAGE,), "conv 3x3"),
    "3x3 with a bias": (conv(8, 16, bias=True), (IMAGE,), "conv 3x3"),
    "3x3 of stride 2": (conv(8, 16, stride=2), (IMAGE,), "conv strided"),
    "7x7 of stride 4": (conv(8, 16, 7, stride=4), (IMAGE,), "conv strided"),
    "5x5": (conv(8, 16, 5), (IMAGE,), "conv wide"),
    "1x7": (conv(8, 16, (1, 7)), (IMAGE,), "conv wide"),
    "2x2": (nn.Conv2d(8, 16, 2), (IMAGE,), "conv wide"),
    "1x1": (conv(8, 16, 1), (IMAGE,), "pointwise"),
    "1x1 of stride 2": (conv(8, 16, 1, stride=2), (IMAGE,), "pointwise strided"),
    "depthwise 1x1": (conv(8, 8, 1, groups=8), (IMAGE,), "depthwise 3"),
    "depthwise 3x3": (conv(8, 8, groups=8), (IMAGE,), "depthwise 3"),
    "depthwise 3x3 of stride 2": (conv(8, 8, groups=8, stride=2), (IMAGE,), "depthwise 3"),
    "depthwise with a multiplier": (conv(8, 24, groups=8), (IMAGE,), "depthwise 3"),
    "depthwise 1x11": (conv(8, 8, (1, 11), groups=8), (IMAGE,), "depthwise 5"),
    "depthwise 5x5": (conv(8, 8, 5, groups=8), (IMAGE,), "depthwise 5"),
    "depthwise 7x7": (conv(8, 8, 7, groups=8), (IMAGE,), "depthwise 7"),
    "depthwise 9x9": (conv(8, 8, 9, groups=8), (IMAGE,), "depthwise wide"),
    "grouped 3x3": (conv(8, 16, groups=2), (IMAGE,), "grouped"),
    "grouped 1x1 of stride 2": (conv(8, 16, 1, groups=4, stride=2), (IMAGE,), "grouped"),
    "linear": (nn.Linear(8, 16), ((4, 8),), "linear"),
    "16x16 over the whole image": (nn.Conv2d(8, 16, 16), (IMAGE,), "linear"),
    "1x1 over one pixel": (conv(8, 16, 1), ((2, 8, 1, 1),), "pointwise"),
    "product of two activations": (torch.matmul, ((2, 4, 8), (2, 8, 6)), "matmul"),
    "attention": (functional.scaled_dot_product_attention, ((2, 4, 16, 8),) * 3, "attention"),
    "batch norm": (nn.BatchNorm2d(8), (IMAGE,), "batch norm"),
    "layer norm": (nn.LayerNorm(16), (IMAGE,), "layer norm"),
    "RMS norm": (nn.RMSNorm(16), (IMAGE,), "layer norm"),
    "group norm": (nn.GroupNorm(2, 8), (IMAGE,), "group norm"),
    "relu": (torch.relu, (IMAGE,), "activation"),
    "gelu": (functional.gelu, (IMAGE,), "activation"),
    "sum of two": (torch.add, (IMAGE, IMAGE), "elementwise"),
    "comparison of two": (torch.gt, (IMAGE, IMAGE), "elementwise"),
    "multiple of one": (lambda x: 2 * x, (IMAGE,), "elementwise"),
    "gate of each channel": (torch.mul, (IMAGE, (2, 8, 1, 1)), "broadcast"),
    "sum with one row": (torch.add, (IMAGE, (2, 8, 1, 16)), "broadcast"),
    "mean over the image": (lambda x: x.mean((2, 3)), (IMAGE,), "global pool"),
    "mean over the image, kept": (lambda x: x.mean((2, 3), keepdim=True), (IMAGE,), "global pool"),
    "adaptive pool to 1": (nn.AdaptiveAvgPool2d(1), (IMAGE,), "global pool"),
    "adaptive pool to 2": (nn.AdaptiveAvgPool2d(2), (IMAGE,), "global pool"),
    "adaptive pool to 8": (nn.AdaptiveAvgPool2d(8), (IMAGE,), "window pool"),
    "max pool of stride 2": (nn.MaxPool2d(3, 2, 1), (IMAGE,), "window pool"),
    "mean of 8 x 8 windows": (nn.AvgPool2d(8), (IMAGE,), "window pool"),
    "mean of 3 x 3 windows": (nn.AvgPool2d(3, 1, 1), (IMAGE,), "window pool"),
    "mean of tokens": (lambda x: x.mean(1), ((2, 16, 8),), "reduction"),
    "sum": (lambda x: x.sum((2, 3)), (IMAGE,), "reduction"),
    "1x1 to one channel": (conv(8, 1, 1), (IMAGE,), "reduction"),
    "matrix by vector": (torch.matmul, ((2, 4, 8), (2, 8, 1)), "reduction"),
    "3x3 to one channel": (conv(8, 1), (IMAGE,), "conv 3x3"),
    "softmax": (lambda x: x.softmax(-1), (IMAGE,), "softmax"),
    "cat": (lambda x, y: torch.cat([x, y], 1), (IMAGE, IMAGE), "copy"),
    "cast": (lambda x: x.half(), (IMAGE,), "cast"),
    "resize": (lambda x: functional.interpolate(x, scale_factor=2.0), (IMAGE,), "other"),
    "sort": (lambda x: x.topk(3).values, (IMAGE,), "other"),
}


@pytest.mark.parametrize("label", KERNELS)
def test_a_kernel_is_of_the_class_that_libraries_implement_apart(label: str) -> None:
    model, inputs, wanted = KERNELS[label]
    assert classes(model, *inputs) == [wanted]


def test_every_class_has_a_kernel_here() -> None:
    assert {wanted for _, _, wanted in KERNELS.values()} == set(CLASSES)


@pytest.mark.parametrize("label", ["3x3", "1x1 of stride 2", "depthwise 7x7", "gate of each channel", "sum of two", "mean over the image"])
def test_the_class_does_not_depend_on_the_data_type(label: str) -> None:
    model, inputs, wanted = KERNELS[label]
    assert classes(model, *inputs, precision="fp16") == [wanted]


def test_a_fused_kernel_is_of_the_class_of_its_product() -> None:
    columns = tabulated(traced(nn.Sequential(conv(8, 16), nn.BatchNorm2d(16), nn.ReLU()), IMAGE), mode="engine")
    assert [CLASSES[k] for k in classify(columns)] == ["conv 3x3"]


def test_a_view_launches_nothing() -> None:
    workload = asked(lambda x: torch.relu(x.view(2, 8, 256)), IMAGE)
    assert (row(workload.launches), row(workload.ops), row(workload.views)) == ([0, 1], [0, 1], [1, 0])


# --- what a kernel asks ------------------------------------------------------------------------------------------------


def test_a_product_asks_for_its_sides_and_its_flops() -> None:
    workload = asked(conv(8, 16), IMAGE)  # 512 pixels, 8 x 9 numbers into each of 16 channels
    assert (row(workload.depth), row(workload.columns)) == ([72], [16])
    assert row(workload.outputs) == pytest.approx([512 * 16 / 10])  # for each of 10 units
    assert row(workload.matrix) == pytest.approx([2 * 512 * 72 * 16 / 0.5e12])
    assert row(workload.vector) == [0]


def test_a_product_with_a_vector_loses_nothing_to_its_one_column() -> None:
    assert row(asked(conv(8, 1, 1), IMAGE).columns) == [2 * 16 * 16]


def test_the_sides_of_a_grouped_product_are_those_inside_a_group() -> None:
    workload = asked(conv(8, 16, groups=2), IMAGE)
    assert (row(workload.depth), row(workload.columns)) == ([36], [8])
    assert row(workload.outputs) == pytest.approx([512 * 8 / 10])  # 2 images of 16 x 16, on 10 units


def test_bytes_are_priced_at_the_bandwidth_of_copies_by_level() -> None:
    workload = asked(torch.relu, IMAGE)  # 16,384 bytes read and as many written
    assert row(workload.dram) == pytest.approx([32_768 / 80e9])
    assert row(workload.cache) == [0]
    cached = asked(torch.relu, IMAGE, on=device(memory=(DRAM, L2)))
    assert row(cached.cache) == pytest.approx([32_768 / 400e9])  # all of them pass the cache on their way


@pytest.mark.parametrize(("kind", "seconds"), [("gpu", 32_768 / 200e9), ("cpu", 32_768 / 200e9 + 32_768 / 400e9)])
def test_the_times_of_caches_add_up_on_a_cpu(kind: DeviceKind, seconds: float) -> None:
    both = device(kind=kind, units=1, memory=(DRAM, level("l3", 4e3, 400e9, 200e9), replace(L2, size=1e3)))  # neither keeps 32 kB
    assert row(asked(torch.relu, IMAGE, on=both).cache) == pytest.approx([seconds], rel=1e-3)


def test_one_engine_is_shared_where_products_have_no_matrix_engine() -> None:
    model = nn.Sequential(conv(8, 16), nn.ReLU())
    single, half = asked(model, IMAGE), asked(model, IMAGE, precision="fp16")
    assert (row(single.shared)[0], row(single.on_matrix)[0]) == (True, False)
    assert (row(half.shared)[0], row(half.on_matrix)[0]) == (False, True)
    assert row(half.matrix)[0] == pytest.approx(2 * 512 * 72 * 16 / 4e12)


@pytest.mark.parametrize(
    ("mode", "on", "bias", "passes"),
    [
        ("eager", device(), True, 1),
        ("eager", device(), False, 0),
        ("eager", device(kind="cpu"), True, 0),
        ("engine", device(), True, 0),
        ("ideal", device(), True, 0),
    ],
)
def test_a_bias_is_a_pass_of_its_own_only_in_eager_pytorch_on_a_gpu(mode: Mode, on: Hardware, bias: bool, passes: int) -> None:
    workload = asked(conv(8, 16, 1, bias=bias), IMAGE, on=on, mode=mode)
    assert row(workload.bias) == pytest.approx([passes * 2 * 32_768 / 80e9])  # reads and writes 8,192 results
    assert row(workload.launches) == [1 + passes]
    assert row(workload.ops) == [1]


def test_the_bias_of_a_linear_layer_costs_no_pass() -> None:
    workload = asked(nn.Linear(8, 16), (4, 8))
    assert (row(workload.bias), row(workload.launches)) == ([0], [1])


@pytest.mark.parametrize("model", [conv(8, 16), conv(8, 16, groups=2), conv(8, 16, 1, groups=2)])
def test_a_convolution_on_a_matrix_engine_turns_nchw_over_and_back(model: nn.Module) -> None:
    workload = asked(model, IMAGE, precision="fp16")  # 8,192 bytes in, 16,384 out
    assert row(workload.transpose) == pytest.approx([2 * (8_192 + 16_384) / 80e9])


@pytest.mark.parametrize(
    ("mode", "layout", "precision", "on"),
    [
        ("eager", "nhwc", "fp16", device()),
        ("compiled", "nchw", "fp16", device()),
        ("engine", "nchw", "fp16", device()),
        ("eager", "nchw", "fp32", device()),
        ("eager", "nchw", "fp16", device(engines=(VECTOR, HALF))),
        ("eager", "nchw", "fp16", device(kind="cpu")),
    ],
)
def test_nothing_is_turned_over_elsewhere(mode: Mode, layout: Layout, precision: str, on: Hardware) -> None:
    assert row(asked(conv(8, 16), IMAGE, on=on, precision=precision, mode=mode, layout=layout).transpose) == [0]


def test_a_strided_convolution_of_one_pixel_is_turned_over_too() -> None:
    workload = asked(conv(8, 16, 1, stride=2), IMAGE, precision="fp16")  # a quarter of the pixels out
    assert row(workload.transpose) == pytest.approx([2 * (8_192 + 4_096) / 80e9])


@pytest.mark.parametrize("model", [conv(8, 16, 1), conv(8, 8, groups=8), nn.Linear(16, 8), nn.BatchNorm2d(8)])
def test_only_convolutions_that_gather_an_image_are_turned_over(model: nn.Module) -> None:
    assert row(asked(model, IMAGE, precision="fp16").transpose) == [0]


def test_a_convolution_of_one_pixel_is_turned_over_in_tf32_which_no_load_transposes() -> None:
    tf32 = engine("matrix", "tf32", 4e12, 2e12)
    workload = asked(conv(8, 16, 1), (2, 8, 14, 14), on=device(engines=(VECTOR, tf32)), precision="tf32")
    assert row(workload.transpose) == pytest.approx([2 * (12_544 + 25_088) / 80e9])
    assert row(workload.misaligned) == [False]  # rows of 14 pixels do not matter to it any more


@pytest.mark.parametrize(
    ("model", "misaligned"),
    [
        (conv(8, 16), False),
        (conv(24, 40, 5), False),  # multiples of 8
        (conv(8, 12), True),
        (conv(12, 16), True),
        (conv(3, 16, stride=2), True),
        (conv(8, 18, 1), True),
        (conv(16, 32, groups=2), False),
        (conv(16, 16, groups=4), False),  # 4 channels a group: a power of two
        (conv(48, 48, groups=2), True),  # 24 is none
        (conv(24, 48, groups=3), False),  # 8 into 16
        (conv(24, 32, groups=4), True),  # 6 into 8
        (conv(8, 8, groups=8), False),  # no product on the matrix engine at all
    ],
)
def test_channels_that_no_vector_load_fits_are_misaligned(model: nn.Conv2d, misaligned: bool) -> None:
    image = (2, model.in_channels, 16, 16)
    assert row(asked(model, image, precision="fp16").misaligned) == [misaligned]
    assert row(asked(model, image).misaligned) == [False]  # in fp32 there is no matrix engine


@pytest.mark.parametrize(("inputs", "outputs", "misaligned"), [(16, 1000, False), (16, 10, True), (10, 16, True)])
def test_linear_layers_are_misaligned_alike(inputs: int, outputs: int, misaligned: bool) -> None:
    assert row(asked(nn.Linear(inputs, outputs), (4, inputs), precision="fp16").misaligned) == [misaligned]


@pytest.mark.parametrize(
    ("model", "side", "misaligned"),
    [
        (conv(8, 16, 1), 16, False),  # 256 pixels
        (conv(8, 16, 1), 14, True),  # 196: no multiple of 8
        (conv(8, 16, 1), 7, True),
        (conv(8, 16, 1), 1, False),  # of one pixel, as of squeeze-excite: rows are images
        (conv(8, 12, 1), 16, True),  # channels count as ever
        (conv(8, 16, 1, stride=2), 14, False),  # turned over first
        (conv(8, 16), 14, False),
        (conv(8, 16, 1, groups=2), 14, False),
    ],
)
def test_maps_that_no_vector_load_fits_are_misaligned_where_they_are_multiplied_in_place(
    model: nn.Module, side: int, misaligned: bool
) -> None:
    image = (2, 8, side, side)
    assert row(asked(model, image, precision="fp16").misaligned) == [misaligned]
    assert row(asked(model, image).misaligned) == [False]


@pytest.mark.parametrize(("mode", "layout"), [("eager", "nhwc"), ("compiled", "nchw"), ("engine", "nchw")])
def test_maps_do_not_matter_where_channels_come_last(mode: Mode, layout: Layout) -> None:
    assert row(asked(conv(8, 16, 1), (2, 8, 14, 14), precision="fp16", mode=mode, layout=layout).misaligned) == [False]


@pytest.mark.parametrize(
    ("model", "batch", "huge"),
    [
        (conv(128, 128, groups=128), 1024, True),  # 2 ** 31 numbers
        (conv(128, 128, groups=128), 1023, False),
        (conv(128, 128, groups=128, stride=2), 1024, True),  # read, if not written
        (conv(128, 128, groups=128, stride=2), 1023, False),
        (conv(128, 128, 7, groups=128), 1024, True),
        (conv(128, 128, 1), 1024, False),
        (nn.BatchNorm2d(128), 1024, False),
    ],
)
def test_a_depthwise_convolution_is_huge_where_offsets_of_32_bits_end(model: nn.Module, batch: int, huge: bool) -> None:
    image = (batch, 128, 128, 128)
    assert row(asked(model, image, precision="fp16", layout="nhwc").huge) == [huge]
    for mode, layout, kind in (("eager", "nchw", "gpu"), ("compiled", "nhwc", "gpu"), ("eager", "nhwc", "cpu")):
        assert row(asked(model, image, on=device(kind=kind), mode=mode, layout=layout).huge) == [False]


# --- kernels that wait for a thread or a block -----------------------------------------------------------------------------


def test_a_block_of_threads_normalises_each_row_however_short() -> None:
    rows = asked(nn.LayerNorm(8), (4, 100, 8))
    assert row(rows.chain) == pytest.approx([400 * 120e-9 / device().units])
    assert row(asked(nn.LayerNorm(800), (4, 800)).chain) == pytest.approx([4 * 120e-9 / device().units]), "as many numbers, fewer rows"
    for mode, kind in (("compiled", "gpu"), ("engine", "gpu"), ("eager", "cpu")):
        assert row(asked(nn.LayerNorm(8), (4, 100, 8), on=device(kind=kind), mode=mode).chain) == [0]


def test_a_thread_resizes_all_images_and_channels_of_a_pixel() -> None:
    enlarge = nn.Upsample(scale_factor=2, mode="bilinear")
    assert row(asked(enlarge, IMAGE).chain) == pytest.approx([2 * 8 * 263e-9])
    assert row(asked(enlarge, (2, 8, 64, 64)).chain) == pytest.approx([2 * 8 * 263e-9]), "more pixels have more threads"
    assert row(asked(enlarge, IMAGE, layout="nhwc").chain) == [0]
    assert row(asked(nn.Upsample(scale_factor=2), IMAGE).chain) == [0]


# --- images whose layout compiled code hides ---------------------------------------------------------------------------


class Normed(nn.Module):
    """Layer norm over the channels of an image, through permuted views, before another layer, which gets the first *part* of them."""

    def __init__(self, after: nn.Module, part: int = 8) -> None:
        super().__init__()
        self.norm, self.after, self.part = nn.LayerNorm(8), after, part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise with the channels last, and go on with them first."""
        normed = self.norm(x.permute(0, 2, 3, 1))
        return self.after((normed if self.part == 8 else normed[..., : self.part]).permute(0, 3, 1, 2))


def turned(model: nn.Module, batch: int = 1, *, mode: Mode = "compiled", kind: DeviceKind = "cpu") -> float:
    """Count the bytes that *model* moves to turn images over: those that come in hold 1,024 numbers each."""
    return float(asked(model, (batch, 8, 8, 16), on=device(kind=kind), mode=mode).transpose.sum()) * 80e9


@pytest.mark.parametrize(
    ("after", "moved"),
    [
        (conv(8, 16, 1), 2 * 2 * (4_096 + 8_192)),  # copied to plain layout, and to blocks; from blocks, and back: each read and written
        (conv(8, 8, groups=8), 2 * 2 * (4_096 + 4_096)),
        (conv(8, 16), 0),  # weights with a window tell their layout
        (nn.Conv2d(8, 16, 2, 2), 0),
        (nn.Identity(), 0),
    ],
)
def test_compiled_code_on_a_cpu_hides_the_layout_of_one_image_behind_a_view(after: nn.Module, moved: float) -> None:
    assert turned(Normed(after)) == pytest.approx(moved)


def test_nothing_is_hidden_of_more_images_or_parts_or_without_a_view_or_elsewhere() -> None:
    model = Normed(conv(8, 16, 1))
    assert turned(model, 2) == 0
    assert turned(nn.Sequential(nn.BatchNorm2d(8), conv(8, 16, 1))) == 0
    assert turned(Normed(conv(4, 16, 1), part=4)) == 0
    assert [turned(model, mode=mode) for mode in ("eager", "engine", "ideal")] == [0, 0, 0]
    assert turned(model, kind="gpu") == 0


def test_images_are_counted_at_the_batch_that_is_asked_for() -> None:
    graph = execute(trace(Normed(conv(8, 16, 1)), (1, 8, 8, 16)), "compiled", 0.0)
    assert tabulate(graph, [1, 2]).turned.sum(axis=1).tolist() == [2, 0]  # the norm reads a view too
    assert tabulate(replace(graph.with_batch(2), batch=None), [1]).turned.sum() == 0


@pytest.mark.parametrize(("after", "plain"), [(conv(8, 16, 1), True), (conv(8, 8, groups=8), True), (nn.Conv2d(8, 16, 2, 2), False)])
def test_pytorch_does_not_see_the_layout_of_an_image_with_a_stride_of_0(after: nn.Module, plain: bool) -> None:
    image = torch.randn(1, 8, 64, 64).to(memory_format=torch.channels_last)
    hidden = image.as_strided(image.shape, (0, *image.stride()[1:]))  # as torch.compile hands on a permuted view of its own result
    layer = copy.deepcopy(after) if plain else copy.deepcopy(after).to(memory_format=torch.channels_last)  # where weights have two layouts
    with torch.inference_mode():
        assert layer(image).is_contiguous(memory_format=torch.channels_last)
        assert layer(hidden).is_contiguous(memory_format=torch.channels_last) is not plain


# --- memory asked of the system ----------------------------------------------------------------------------------------

LARGE_IMAGE = (8, 16, 256, 256)
"""Shape of 32 MiB in fp32: the least that the allocator asks the system for each time."""


@pytest.mark.parametrize(
    ("kind", "mode", "keeps", "mib"),
    [
        ("cpu", "eager", False, 32),
        ("cpu", "compiled", False, 32),
        ("cpu", "eager", True, 0),
        ("cpu", "engine", False, 0),
        ("gpu", "eager", False, 0),
    ],
)
def test_pytorch_on_a_cpu_asks_the_system_for_memory_unless_it_is_kept(kind: DeviceKind, mode: Mode, keeps: bool, mib: float) -> None:
    columns = tabulated(traced(torch.sigmoid, LARGE_IMAGE), mode=mode)
    fleet = Fleet((device(kind=kind),), (Calibration(mode),), keeps_memory=keeps)
    found = demand(columns, fleet.distances, fleet.process)
    assert row(describe(found, through_levels(found, fleet), fleet).fresh) == [mib * 2**20]


@pytest.mark.parametrize(
    ("kind", "mode", "model", "packed"),
    [
        ("cpu", "compiled", conv(8, 16), 8 * 16 * 9),
        ("cpu", "compiled", conv(8, 16, 1), 8 * 16),
        ("cpu", "compiled", conv(8, 8, groups=8), 8 * 9),
        ("cpu", "compiled", nn.Linear(16, 8), 0),  # a product reads them where they are
        ("cpu", "eager", conv(8, 16), 0),
        ("cpu", "engine", conv(8, 16), 0),
        ("gpu", "compiled", conv(8, 16), 0),
    ],
)
def test_compiled_code_on_a_cpu_lays_out_the_weights_of_convolutions_each_time(
    kind: DeviceKind, mode: Mode, model: nn.Module, packed: int
) -> None:
    assert row(asked(model, IMAGE, on=device(kind=kind), mode=mode).packed)[0] == 4 * packed


def test_what_new_memory_and_packing_cost_is_free_until_it_is_measured() -> None:
    assert met(torch.sigmoid, IMAGE).fresh == met(torch.sigmoid, IMAGE).packing == np.inf
    assert efficiency(asked(torch.sigmoid, IMAGE), alone(Calibration("eager", packing=3e9))).packing == 30e9  # ten cores
    assert efficiency(asked(torch.sigmoid, IMAGE), alone(Calibration("eager", fresh=2e9))).fresh == 20e9  # ten cores


def test_only_a_cpu_has_cores_beside_the_first() -> None:
    assert asked(torch.relu, IMAGE, on=device(units=12)).others == 0
    assert asked(torch.relu, IMAGE, on=device(kind="cpu", units=12)).others == 11


WIDE = device(engines=(VECTOR, HALF, engine("matrix", "fp16", 80e12, 40e12)))
"""4 TFLOP/s on the matrix engine of each of its 10 units, where the sizes of a Shape are those at 1."""


@pytest.mark.parametrize(("mode", "pace"), [("eager", 4), ("compiled", 4), ("engine", 1)])
def test_the_pace_of_a_matrix_engine_counts_where_tiles_are_fixed(mode: Mode, pace: float) -> None:
    assert row(asked(conv(8, 16), IMAGE, precision="fp16", mode=mode, on=WIDE).pace)[0] == pytest.approx(pace)
    assert row(asked(conv(8, 16), IMAGE, mode=mode, on=WIDE).pace)[0] == 1  # no matrix engine computes in fp32


@pytest.mark.parametrize(("kind", "rate"), [("gpu", 0.5e12), ("cpu", 1e12)])
def test_a_gpu_widens_halves_to_compute_what_is_no_product(kind: DeviceKind, rate: float) -> None:
    workload = asked(torch.relu, IMAGE, precision="fp16", on=device(kind=kind))
    assert row(workload.vector) == pytest.approx([4096 / rate])


@pytest.mark.parametrize(("mode", "kernels"), [("eager", 1), ("compiled", 1), ("engine", 4), ("ideal", 1)])
def test_an_engine_starts_a_kernel_for_each_group_where_it_has_no_matrix_engine(mode: Mode, kernels: int) -> None:
    grouped = nn.Conv2d(8, 16, 3, padding=1, groups=4, bias=False)
    assert row(asked(grouped, IMAGE, mode=mode, on=WIDE).launches) == [kernels]
    assert row(asked(grouped, IMAGE, precision="fp16", mode=mode, on=WIDE).launches) == [1]
    assert row(asked(grouped, IMAGE, mode=mode, on=device(kind="cpu")).launches) == [1]
    assert row(asked(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), IMAGE, mode=mode, on=WIDE).launches) == [1]  # depthwise


@pytest.mark.parametrize(
    ("mode", "kind", "threads"), [("engine", "gpu", 32), ("ideal", "gpu", 32), ("eager", "gpu", 1), ("engine", "cpu", 1)]
)
def test_a_warp_shares_the_sums_of_a_product_with_a_vector(mode: Mode, kind: DeviceKind, threads: int) -> None:
    gate, on = conv(64, 16, 1), device(kind=kind)
    one, two = (row(asked(gate, (batch, 64, 1, 1), mode=mode, on=on).outputs)[0] for batch in (1, 2))
    assert (one, two) == (threads * 16 / 10, 2 * 16 / 10)
    (short,) = row(asked(conv(8, 16, 1), (1, 8, 1, 1), mode=mode, on=on).outputs)
    assert short == min(threads, 8) * 16 / 10  # no more threads than products
    whole = nn.Conv2d(8, 16, 7, bias=False)  # a classifier that reads its map through one window
    assert row(asked(whole, (1, 8, 7, 7), mode=mode, on=on).outputs)[0] == threads * 16 / 10
    assert row(asked(whole, (1, 8, 8, 7), mode=mode, on=on).outputs)[0] == 2 * 16 / 10


@pytest.mark.parametrize("mode", ["eager", "compiled", "engine"])
def test_blocks_share_the_long_sums_of_linear_layers(mode: Mode) -> None:
    def filling(model: nn.Module | Callable[..., Any], *inputs: tuple[int, ...], kind: DeviceKind = "gpu") -> float:
        return row(asked(model, *inputs, mode=mode, on=device(kind=kind)).outputs)[0] * 10

    assert [filling(nn.Linear(depth, 16), (4, depth)) for depth in (256, 1024, 2048, 8192)] == [64, 64, 128, 512]
    assert filling(torch.matmul, (2, 4, 4096), (2, 4096, 16)) == 4 * 128
    assert filling(nn.Conv2d(64, 16, 8), (4, 64, 8, 8)) == 256  # its window is its whole map
    assert filling(nn.Conv2d(64, 16, 8), (4, 64, 9, 8)) == 2 * 64
    assert filling(conv(512, 16), (4, 512, 1, 2)) == 2 * 64
    assert filling(nn.Linear(4096, 16), (4, 4096), kind="cpu") == 64


@pytest.mark.parametrize("mode", ["eager", "compiled", "engine"])
def test_a_step_of_a_matrix_engine_takes_twice_as_many_numbers_of_8_bits(mode: Mode) -> None:
    twice = device(engines=(VECTOR, HALF, MATRIX, engine("matrix", "int8", 16e12, 8e12)))
    half, byte = (asked(conv(8, 16), IMAGE, precision=precision, mode=mode, on=twice) for precision in ("fp16", "int8"))
    assert row(byte.matrix)[0] == row(half.matrix)[0] / 2
    assert row(byte.outputs)[0] == row(half.outputs)[0]  # as many hide what each step waits for


@pytest.mark.parametrize("mode", ["eager", "compiled", "engine"])
def test_few_results_have_few_bytes_in_flight(mode: Mode) -> None:
    def waited(model: nn.Module, *inputs: tuple[int, ...], on: Hardware | None = None) -> float:
        return row(asked(model, *inputs, mode=mode, on=on).latency)[0]

    wide = nn.Linear(512, 64, bias=False)
    assert waited(wide, (128, 512)) == pytest.approx(100e-9 * 4 * (128 * 512 + 64 * 512 + 128 * 64) / (128 * 64))  # bytes for 8,192 results
    assert waited(wide, (128, 512), on=device(memory=(level("dram", 8e9, 400e9, 320e9),))) == waited(wide, (128, 512))
    assert waited(wide, (12_800, 512)) == pytest.approx(waited(wide, (128_000, 512)), rel=0.01), "as many bytes for each result"
    assert waited(wide, (4, 512)) == pytest.approx(100e-9 * 4 * (4 * 512 + 64 * 512 + 4 * 64) / 4096), "a block reads as much for 256"
    assert waited(conv(8, 8, groups=8), (4, 8, 16, 16)) == pytest.approx(100e-9 * 4 * (2 * 8192 + 72) / 8192)
    grouped = waited(conv(16, 16, groups=2), (2, 16, 16, 16))
    assert grouped == pytest.approx(100e-9 * 4 * (2 * 8192 + 16 * 72) / 8192), "for the results of all groups"
    assert waited(wide, (1, 512)) == waited(conv(8, 1, 1), IMAGE) == 0, "a vector is multiplied as elementwise kernels read"
    assert waited(nn.ReLU(), IMAGE) == 0
    assert waited(wide, (128, 512), on=device(kind="cpu")) == 0


def test_what_a_cache_holds_is_not_waited_for() -> None:
    cached = device(memory=(DRAM, L2))
    three = nn.Sequential(*(conv(8, 8, 1) for _ in range(3)))  # the one in the middle finds what the first left, and the last what it left
    first, held, last = row(asked(three, IMAGE, on=cached, mode="engine").latency)
    assert held < 0.1 * min(first, last)
    assert row(asked(three, IMAGE, mode="engine").latency)[1] > 10 * held


@pytest.mark.parametrize("mode", ["eager", "compiled", "engine"])
def test_the_results_that_fill_a_matrix_engine_grow_with_its_speed(mode: Mode) -> None:
    fast = asked(conv(8, 16), IMAGE, precision="fp16", mode=mode, on=WIDE).outputs
    slow = asked(conv(8, 16), IMAGE, mode=mode, on=WIDE).outputs
    assert row(slow)[0] == 2 * 16 * 16 * 16 / 10  # 2 images of 16 channels, on 10 units
    assert row(fast)[0] == pytest.approx(row(slow)[0] / 4)


@pytest.mark.parametrize(("mode", "kept"), [("eager", 0.5), ("compiled", 0.5), ("engine", 1.0)])
def test_matrix_engines_keep_their_clock_under_a_power_limit_where_an_inference_engine_runs(mode: Mode, kept: float) -> None:
    hot = replace(WIDE, sustained_clock=0.25 * WIDE.clock)
    cold, slow = (asked(conv(8, 16), IMAGE, precision="fp16", mode=mode, on=on) for on in (WIDE, hot))
    assert row(slow.matrix) == pytest.approx([seconds / kept for seconds in row(cold.matrix)])


@pytest.mark.parametrize("mode", ["eager", "compiled", "engine"])
def test_a_card_under_a_power_limit_computes_below_its_clock(mode: Mode) -> None:
    hot = replace(device(), sustained_clock=0.25e9)
    cold, slow = (asked(conv(8, 16), IMAGE, mode=mode, on=on) for on in (device(), hot))
    assert row(slow.matrix) == pytest.approx([seconds / 0.5 for seconds in row(cold.matrix)])  # half way to a quarter
    assert row(slow.dram) == row(cold.dram)
    assert row(asked(conv(8, 16), IMAGE, mode=mode, on=replace(hot, kind="cpu")).matrix) == row(cold.matrix)


# --- the parameters that a kernel meets --------------------------------------------------------------------------------

FITTED = Calibration(
    "eager",
    memory={"conv 3x3": 0.5, "activation": 0.9},
    vector={"conv 3x3": 0.6, "depthwise 3": 0.3},
    matrix={"conv 3x3": 0.7, "grouped": 0.2},
    on_vector=Shape(depth=1, columns=2, group_columns=3, outputs=4, group_outputs=5),
    on_matrix=Shape(depth=10, columns=20, group_columns=30, outputs=40, group_outputs=50, misaligned=0.5, misaligned_groups=0.25),
    cache=1.5,
    bias=0.8,
    transpose=0.4,
    huge=0.25,
    serial=0.125,
)


def met(model: nn.Module | Callable[..., Any], *inputs: tuple[int, ...], **options: Any) -> Efficiency:
    """Look up what the only kernel of *model* meets in FITTED."""
    return efficiency(asked(model, *inputs, **options), alone(FITTED))


def facts(e: Efficiency, *names: str) -> list[float]:
    """List fields of *e* for the only kernel."""
    return [row(getattr(e, name))[0] for name in names]


SHAPE = ("product", "depth", "columns", "outputs", "alignment")


def test_a_product_meets_the_parameters_of_the_engine_that_runs_it() -> None:
    assert facts(met(conv(8, 16), IMAGE), *SHAPE) == [0.6, 1, 2, 4, 1]
    assert facts(met(conv(8, 16), IMAGE, precision="fp16"), *SHAPE) == [0.7, 10, 20, 40, 1]
    assert facts(met(conv(8, 16), IMAGE, precision="fp16", on=device(engines=(VECTOR, HALF))), *SHAPE) == [0.6, 1, 2, 4, 1]


def test_groups_have_columns_and_a_loss_of_their_own() -> None:
    assert facts(met(conv(16, 16, groups=2), (2, 16, 16, 16)), "columns", "outputs", "alignment") == [3, 5, 1]
    assert facts(met(conv(16, 16, groups=2), (2, 16, 16, 16), precision="fp16"), *SHAPE) == [0.2, 10, 30, 50, 1]
    assert facts(met(conv(12, 12, groups=2), (2, 12, 16, 16), precision="fp16"), *SHAPE) == [0.2, 10, 30 / 0.25, 50, 0.5]
    assert facts(met(conv(12, 12, groups=2), (2, 12, 16, 16)), "columns", "alignment") == [3, 1]  # no matrix engine


def test_channels_that_do_not_fit_lose_the_share_of_the_matrix_engine() -> None:
    assert facts(met(conv(8, 12), IMAGE, precision="fp16"), "alignment") == [0.5]
    assert facts(met(conv(8, 12), IMAGE), "alignment") == [1]


def test_a_huge_depthwise_convolution_keeps_a_share_of_its_speed_on_every_roof() -> None:
    image, depthwise = (1024, 128, 128, 128), conv(128, 128, groups=128)
    assert facts(met(depthwise, image, layout="nhwc"), "memory", "product") == [0.25, 0.3 * 0.25]
    assert facts(met(depthwise, image), "memory", "product") == [1, 0.3]


def test_only_products_need_many_results_to_fill_a_device() -> None:
    assert facts(met(conv(8, 8, groups=8), IMAGE), "vector", "outputs") == [0.3, 4]
    few = efficiency(asked(conv(8, 8, groups=8), IMAGE), Fleet((device(kind="cpu"),), (FITTED,)))
    assert facts(few, "outputs") == [0]  # the cores of a CPU find enough in it
    assert facts(met(torch.relu, IMAGE), "memory", "outputs") == [0.9, 0]
    assert facts(met(nn.Linear(16, 16), (4, 16)), "outputs") == [4]


def test_what_was_not_fitted_is_1() -> None:
    assert facts(met(nn.Linear(16, 16), (4, 16), precision="fp16"), "memory", "product", "vector") == [1, 1, 1]


def test_passes_caches_and_crowding_are_the_same_for_all() -> None:
    e = met(torch.relu, IMAGE)
    assert (e.cache, e.bias, e.transpose, e.crowd) == (1.5, 0.8, 0.4, 1)
    assert met(torch.relu, IMAGE, on=device(kind="cpu", units=9)).crowd == 2  # an eighth of the work is serial, 8 cores more


def test_a_device_of_two_engines_of_one_type_runs_products_on_the_matrix_engine() -> None:
    both = device(engines=(VECTOR, engine("matrix", "fp32", 4e12, 2e12), MATRIX))
    workload = asked(conv(8, 16), IMAGE, on=both)
    assert row(workload.on_matrix) == [True]
    assert row(workload.matrix) == pytest.approx([2 * 512 * 72 * 16 / 2e12])
