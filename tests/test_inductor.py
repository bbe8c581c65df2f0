"""Checks the kernels of torch.compile on a GPU: which are generated, what they write, and in which type."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cnns, conv_bn, traced
from torch import nn

from roofline.cost import cost, reads, work, writes
from roofline.graph import Graph, Op
from roofline.tracing.source import trace
from roofline.transforms.fusion import PRODUCTS
from roofline.transforms.inductor import fuse_generated, prefers_channels_last
from roofline.transforms.modes import execute
from roofline.transforms.precision import to_precision

IMAGE = (2, 16, 8, 8)
CALLS = PRODUCTS | {"attention"}
quick = settings(max_examples=30, deadline=None)


def compiled(model: object, shape: tuple[int, ...] = IMAGE, *, channels_last: bool = True, precision: str = "fp16") -> Graph:
    """Trace a network, and give it the kernels of Inductor."""
    return fuse_generated(to_precision(traced(model, shape), precision), channels_last=channels_last)  # pyright: ignore[reportArgumentType]


def kernels(graph: Graph) -> list[list[str]]:
    """Name the ops of each kernel, without views."""
    named = [[op.name for op in ops if not graph.is_view(op)] for ops in grouped(graph)]
    return [names for names in named if names]


def grouped(graph: Graph) -> list[list[Op]]:
    """List the ops of each kernel."""
    return [[graph.ops[i] for i in ids] for ids in graph.kernels]


def generated(graph: Graph) -> list[list[Op]]:
    """List the kernels that call no library."""
    real = [ops for ops in grouped(graph) if not all(map(graph.is_view, ops))]
    return [ops for ops in real if not any(work(op, graph).kind in CALLS for op in ops)]


# --- what is written ---------------------------------------------------------------------------------------------------------


class Excited(nn.Module):
    """A convolution and its norm, weighed by channel."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), act)
        self.gate = nn.Conv2d(16, 16, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weigh the image by a gate made of its mean."""
        y = self.body(x)
        return y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()


@pytest.mark.parametrize("inplace", [False, True])
def test_before_a_swish_that_two_kernels_compute_a_norm_is_kept_in_fp32(inplace: bool) -> None:
    graph = compiled(Excited(nn.SiLU(inplace)))
    assert kernels(graph) == [["conv2d"], ["batch_norm"], ["silu", "mean"], ["conv2d"], ["silu", "sigmoid", "mul"]]
    norm, mean, gate = (cost(ops, graph) for ops in generated(graph))
    image = 2 * 16 * 8 * 8
    assert norm.write_bytes == 4 * image
    assert mean.read_bytes == 4 * image
    assert gate.read_bytes == 4 * image + 2 * 2 * 16, "and the gate, in fp16"
    assert gate.write_bytes == 2 * image


def test_a_relu_that_two_kernels_read_is_written_once_in_half_precision() -> None:
    graph = compiled(Excited(nn.ReLU()))
    assert kernels(graph) == [["conv2d"], ["batch_norm", "relu"], ["mean"], ["conv2d"], ["sigmoid", "mul"]]
    assert cost(generated(graph)[0], graph).write_bytes == 2 * 2 * 16 * 8 * 8


def test_in_plain_order_a_norm_and_the_mean_of_its_image_are_one_kernel() -> None:
    graph = compiled(Excited(nn.SiLU()), channels_last=False)
    assert kernels(graph) == [["conv2d"], ["batch_norm", "silu", "mean"], ["conv2d"], ["silu", "sigmoid", "mul"]]


def test_both_norms_of_a_shortcut_are_computed_where_they_are_added() -> None:
    main, short = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)), conv_bn(16, 16, 1, act=nn.Identity())
    graph = compiled(lambda x: (main(x) + short(x)).relu())
    assert kernels(graph) == [["conv2d"], ["conv2d"], ["batch_norm", "batch_norm", "add", "relu"]]


def test_an_activation_that_two_branches_compute_is_computed_once() -> None:
    a, b = nn.Conv2d(16, 16, 1, bias=False), nn.Conv2d(16, 16, 1, bias=False)
    graph = compiled(lambda x: a(x.relu()) + b(x.relu()))
    assert kernels(graph) == [["relu"], ["conv2d"], ["conv2d"], ["add"]]


def test_a_sum_of_few_loads_is_computed_anew_by_each_that_reads_it() -> None:
    norm, linear = nn.LayerNorm(16), nn.Linear(16, 16)

    def block(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        z = x + y
        return z + linear(norm(z))

    graph = fuse_generated(to_precision(traced(block, (2, 4, 16), (2, 4, 16)), "fp16"), channels_last=False)
    assert kernels(graph) == [["add", "layer_norm"], ["linear"], ["add", "add"]]


def test_the_bias_of_a_convolution_is_added_by_what_is_generated() -> None:
    graph = compiled(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.GELU()))
    assert kernels(graph) == [["conv2d"], ["add"], ["conv2d"], ["add", "gelu"]]


def test_a_group_norm_goes_over_an_image_twice_where_channels_lie_side_by_side() -> None:
    twice, once = (compiled(nn.Sequential(nn.GroupNorm(4, 16), nn.ReLU()), channels_last=last) for last in (True, False))
    assert kernels(twice) == [["var_mean"], ["batch_norm", "relu"]]
    assert kernels(once) == [["group_norm", "relu"]]
    image = 2 * 2 * 16 * 8 * 8
    assert sum(cost(ops, twice).bytes for ops in grouped(twice)) == pytest.approx(3 * image, rel=0.1)


def test_concatenated_parts_are_computed_where_a_norm_reads_them() -> None:
    a, b, norm = nn.Conv2d(16, 8, 1, bias=False), nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(16)
    graph = compiled(lambda x: norm(torch.cat((a(x), b(x)), 1)).relu())
    assert kernels(graph) == [["conv2d"], ["conv2d"], ["cat", "batch_norm", "relu"]]


def test_what_is_computed_is_written_to_its_place_in_a_concatenation() -> None:
    a, b, c = conv_bn(16, 8, 1), conv_bn(16, 8, 1), nn.Conv2d(16, 8, 1, bias=False)
    graph = compiled(lambda x: c(torch.cat((a(x), b(x)), 1)))
    assert kernels(graph) == [["conv2d"], ["conv2d"], ["batch_norm", "batch_norm", "cat"], ["conv2d"]]


def test_pools_of_small_windows_are_computed_anew_and_those_of_large_ones_written() -> None:
    a, b = nn.BatchNorm2d(16), nn.BatchNorm2d(16)

    def run(pool: nn.Module) -> Graph:
        return compiled(lambda x: (lambda y: a(y).sum((1, 2, 3)) + b(y).relu().amax((1, 2, 3)))(pool(x)))

    assert sum(names.count("avg_pool2d") for names in kernels(run(nn.AvgPool2d(3, 1, 1)))) == 1
    small = compiled(lambda x: (lambda y: y.sum((1, 2, 3)) + y.amax((1, 2, 3)))(nn.functional.avg_pool2d(x, 2)))
    assert sum(names.count("avg_pool2d") for names in kernels(small)) == 2


def test_a_pool_that_tells_where_its_maxima_were_is_written_once() -> None:
    pool, unpool, norm = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2), nn.BatchNorm2d(16)

    def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return unpool(norm(y).relu(), pool(x.relu())[1])

    graph = fuse_generated(traced(run, IMAGE, (2, 16, 4, 4)), channels_last=True)
    graph.check()
    assert kernels(graph) == [["relu", "max_pool2d_with_indices"], ["batch_norm", "relu"], ["max_unpool2d"]]


def test_a_convolution_of_some_channels_of_a_computed_image_copies_them_first() -> None:
    norm, a, b = nn.BatchNorm2d(16), nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, padding=1, bias=False)

    def halves(x: torch.Tensor) -> torch.Tensor:
        left, right = norm(x).split(8, 1)
        return a(left) * b(right)

    assert kernels(compiled(halves))[:3] == [["batch_norm"], ["contiguous"], ["conv2d"]]
    assert kernels(compiled(halves, channels_last=False))[:2] == [["batch_norm"], ["conv2d"]]


def test_two_convolutions_of_the_same_channels_share_a_copy() -> None:
    norm, a, b = nn.BatchNorm2d(16), nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 1, bias=False)
    graph = compiled(lambda x: (lambda left: a(left) * b(left))(norm(x)[:, :8]))
    graph.check()
    assert kernels(graph) == [["batch_norm"], ["contiguous"], ["conv2d"], ["conv2d"], ["mul"]]


def test_what_is_overwritten_in_part_is_read_after_that() -> None:
    def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        z = x * 2
        z[:, 1:] = y
        return z.relu()

    graph = fuse_generated(traced(run, (2, 4, 8), (2, 3, 8)), channels_last=True)
    graph.check()
    assert kernels(graph) == [["mul"], ["copy"], ["relu"]]


def test_kernels_merged_before_stay_merged() -> None:
    graph = to_precision(traced(nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), nn.ReLU(), nn.BatchNorm2d(16)), IMAGE), "fp16")
    merged = Graph(graph.tensors, graph.ops, ((0, 1), (2,)), graph.outputs, graph.batch)
    assert kernels(fuse_generated(merged, channels_last=True)) == [["conv2d", "relu"], ["batch_norm"]]


# --- order in memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "last"),
    [("resnext50_32x4d", True), ("efficientnet_b0", True), ("regnety_016", True), ("regnetx_032", False), ("resnest50d", False)],
)
def test_networks_of_grouped_convolutions_stay_in_plain_order(network: str, last: bool) -> None:
    """As Inductor of PyTorch 2.4.1 says of each (`layout_opt` of its GraphLowering)."""
    graph = trace(network)
    assert prefers_channels_last(graph) == last
    marked = [op for op in execute(graph, "compiled", 0.0, "nchw").ops if op.attrs.get("channels_last")]
    assert bool(marked) == last


@pytest.mark.parametrize(("network", "last"), [("resnet18", True), ("resnext50_32x4d", False)])
def test_in_training_one_grouped_convolution_keeps_the_plain_order(network: str, last: bool) -> None:
    step = trace(network, image_size=64, optimizer="sgd")
    assert prefers_channels_last(step) == last
    assert any(op.attrs.get("channels_last") for op in execute(step, "compiled", 0.0, "nchw").ops) == last


# --- beside Inductor ---------------------------------------------------------------------------------------------------------

GENERATED = {
    "resnet50": (106, 3.493), "seresnet50": (186, 5.632), "efficientnet_b0": (184, 3.642), "mobilenetv3_large_100": (141, 1.657),
    "regnety_016": (314, 3.153), "vgg16": (38, 5.338), "convnext_small": (228, 7.190), "regnetx_032": (159, 3.271),
}  # fmt: skip
"""Kernels that Inductor of PyTorch 2.4.1 generates for an RTX 4090, and GB that they move: amp, batch 64, 224 pixels
(benchmarks/results/kernels.csv)."""


@pytest.mark.parametrize("network", sorted(GENERATED))
def test_kernels_move_what_those_of_inductor_move(network: str) -> None:
    graph = execute(to_precision(trace(network), "amp"), "compiled", 0.0, "nchw").with_batch(64)
    found, (count, gigabytes) = generated(graph), GENERATED[network]
    assert sum(cost(ops, graph).bytes for ops in found) / 1e9 == pytest.approx(gigabytes, rel=0.01)
    assert len(found) == pytest.approx(count, rel=0.35), "casts of the biases of linear layers are counted apart here"


# --- properties --------------------------------------------------------------------------------------------------------------


@quick
@given(cnns(), st.booleans(), st.sampled_from(["fp32", "fp16", "amp"]))
def test_the_graph_is_sound(graph: Graph, channels_last: bool, precision: str) -> None:
    before = to_precision(graph, precision)
    after = fuse_generated(before, channels_last=channels_last)
    after.check()
    written = {access.tensor for ops in grouped(after) for access in writes(ops, after)}
    constant = {t.id for t in after.tensors if t.kind != "activation"}
    for ops in grouped(after):
        for access in reads(ops, after):
            tensor = after.tensors[access.tensor]
            assert {tensor.id, tensor.storage} & (written | constant), "what a kernel reads is in memory"


@quick
@given(cnns(), st.booleans(), st.integers(2, 9))
def test_compiling_and_rebatching_commute(graph: Graph, channels_last: bool, batch: int) -> None:
    first = fuse_generated(graph, channels_last=channels_last).with_batch(batch)
    assert first == fuse_generated(graph.with_batch(batch), channels_last=channels_last)


@quick
@given(cnns())
def test_the_graph_that_is_compiled_stays_as_it_was(graph: Graph) -> None:
    before = graph.to_json()
    fuse_generated(graph, channels_last=True)
    assert graph.to_json() == before
