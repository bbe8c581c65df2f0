"""Where tensors lie, and what PyTorch copies for it: the rules against PyTorch itself."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format
from torch.utils._python_dispatch import TorchDispatchMode

import roofline
from roofline.costmodel.sweep import sweep
from roofline.graph import CHANNELS_LAST, Graph
from roofline.measurement.dispatch import time_ops, to_graph
from roofline.measurement.timer import WallTimer
from roofline.tracing.models import build
from roofline.tracing.spec import ModelSpec
from roofline.tracing.trace import decomposed_attention, is_unfused, record, signature_of, tensors_in
from roofline.transforms import strides as at
from roofline.transforms.modes import execute
from roofline.transforms.ordering import follow, with_copies
from roofline.transforms.precision import to_precision

LAYOUTS = ("nchw", "nhwc")

# --- strides ---------------------------------------------------------------------------------------------------------


@st.composite
def views(draw: st.DrawFn) -> Tensor:
    """Draw a tensor in any order of dimensions, perhaps a part of one, perhaps with a dimension that repeats."""
    shape = draw(st.lists(st.sampled_from((1, 2, 3, 4, 6)), min_size=1, max_size=4))
    tensor = torch.empty(shape, device="meta").permute(draw(st.permutations(range(len(shape)))))
    if draw(st.booleans()):
        dim = draw(st.integers(0, tensor.ndim - 1))
        tensor = tensor.narrow(dim, 0, draw(st.integers(1, tensor.shape[dim])))
    if draw(st.booleans()):
        tensor = tensor.unsqueeze(draw(st.integers(0, tensor.ndim))).expand(*[-1] * (tensor.ndim + 1))
    return tensor


@given(views(), st.data())
@settings(max_examples=300, deadline=None)
def test_a_view_in_another_shape_lies_where_pytorch_puts_it_or_does_not_exist(tensor: Tensor, data: st.DataObject) -> None:
    left, shape = tensor.numel(), list[int]()
    while left > 1 and data.draw(st.booleans()):
        shape.append(data.draw(st.sampled_from([n for n in range(1, left + 1) if left % n == 0])))
        left //= shape[-1]
    shape.append(left)
    found = at.viewed(tuple(tensor.shape), tensor.stride(), tuple(shape))
    try:
        view = tensor.view(shape)
    except RuntimeError:
        assert found is None
    else:
        assert found is not None
        assert at.same(tuple(shape), found, view.stride())


@given(views(), st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_made_element_by_element_lies_as_pytorch_puts_it(one: Tensor, data: st.DataObject) -> None:
    other = torch.empty(one.shape, device="meta").permute(data.draw(st.permutations(range(one.ndim))))
    other = torch.empty_permuted(one.shape, tuple(data.draw(st.permutations(range(one.ndim)))), device="meta") if other.ndim else other
    other = other[..., :1] if data.draw(st.booleans()) else other
    made = one + other
    shapes = tuple((tuple(t.shape), t.stride()) for t in (one, other))
    assert at.same(tuple(made.shape), at.elementwise(tuple(made.shape), shapes), made.stride())


@given(views())
@settings(max_examples=300, deadline=None)
def test_channels_last_is_told_as_pytorch_tells_it(tensor: Tensor) -> None:
    expected = tensor.ndim == 4 and suggest_memory_format(tensor) == torch.channels_last
    assert at.is_channels_last(tuple(tensor.shape), tensor.stride()) == expected


# --- rules -------------------------------------------------------------------------------------------------------------


class Lying(TorchDispatchMode):
    """Write down what each operator that the tracer records makes: its name, and where each result lies."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[str, list[tuple[tuple[int, ...], tuple[int, ...]]]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        signature = signature_of(func)
        if signature.composite or is_unfused(signature, args):
            with self:
                return func.decompose(*args, **kwargs or {})
        result = func(*args, **kwargs or {})
        name = signature.packet.removesuffix("_") if signature.written else signature.packet
        self.made.append((name, [(tuple(t.shape), t.stride()) for t in tensors_in(result)]))
        return result


def in_layout(module: nn.Module, layout: str) -> nn.Module:
    """Put all weights of images in *layout*, as `Module.to(memory_format=...)` does."""
    return module.to(memory_format=torch.channels_last) if layout == "nhwc" else module


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_byobnet", "test_vit", "resnest14d",
                                  "skresnet18", "cspresnet50", "res2net50_26w_4s", "mixnet_s", "test_nfnet"])  # fmt: skip
def test_results_lie_as_in_a_run_of_pytorch(name: str, layout: str) -> None:
    module = in_layout(build(ModelSpec(name), "cpu").module.eval(), layout)
    image = torch.randn(2, 3, 160 if name.startswith("test") else 64, 160 if name.startswith("test") else 64)
    graph = roofline.trace(name, image_size=image.shape[-1])
    ran = Lying()
    image = image.to(memory_format=torch.channels_last) if layout == "nhwc" else image
    with torch.inference_mode(), decomposed_attention(), ran:
        module(image)
    told = [(op, found) for op, found in zip(graph.ops, follow(graph, layout, 2), strict=True) if _runs(op.name, graph, op.id)]
    made = [each for each in ran.made if each[0] not in ("alias", "detach", "contiguous")]
    assert [op.name for op, _ in told] == [name for name, _ in made]
    for (op, found), (_, results) in zip(told, made, strict=True):
        if op.name == "scaled_dot_product_attention":  # another kernel runs on a CPU
            continue
        probed = [graph.with_batch(2).tensors[t].shape for t in op.outputs]
        for (shape, strides), of, written in zip(results, probed, found.writes, strict=True):
            assert _order(shape, strides) == _order(of, written), f"{op.name} in {op.module}"


def _runs(name: str, graph: Graph, op: int) -> bool:
    return name not in ("alias", "detach") and not (name == "contiguous" and graph.is_view(graph.ops[op]))


def _order(shape: tuple[int, ...], strides: tuple[int, ...]) -> list[int]:
    """Order dimensions of more than one element by their strides."""
    return sorted((d for d, size in enumerate(shape) if size > 1), key=lambda d: -strides[d])


# --- copies ------------------------------------------------------------------------------------------------------------


def copies(graph: Graph) -> Counter[str]:
    """Count the ops that read a copy which was made for them."""
    made = [op for op in graph.ops if op.name == "contiguous" and not graph.is_view(op)]
    return Counter(reader.name for op in made for reader in graph.consumers.get(op.outputs[0], ()))


class Net(nn.Module):
    """A network that runs what it is given."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        return self.run(self, x)


def traced(run: Callable[[Any, Tensor], Tensor], *shape: int, **parts: nn.Module) -> Graph:
    """Trace a small network."""
    with torch.device("meta"):
        return record(Net(run, **parts).eval(), [torch.empty(4, *shape)])


def test_a_group_norm_turns_images_over_and_the_next_convolution_turns_them_back() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        return net.two(torch.relu(net.norm(net.one(x))))

    graph = traced(run, 8, 16, 16, one=nn.Conv2d(8, 8, 3), norm=nn.GroupNorm(2, 8), two=nn.Conv2d(8, 8, 3))
    assert with_copies(graph, "nchw") is graph
    turned = with_copies(graph, "nhwc")
    assert copies(turned) == {"group_norm": 1, "conv2d": 1}
    assert [bool(op.attrs.get(CHANNELS_LAST)) for op in turned.ops if op.name == "conv2d"] == [True, True]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_convolution_copies_a_slice_of_the_channels(layout: str) -> None:
    graph = traced(lambda net, x: net.conv(net.first(x).chunk(2, 1)[0]), 8, 16, 16, first=nn.Conv2d(8, 8, 1), conv=nn.Conv2d(4, 4, 3))
    found = with_copies(graph, layout)
    found.check()
    assert copies(found) == {"conv2d": 1}
    (copy,) = [op for op in found.ops if op.name == "contiguous"]
    assert found.tensors[copy.outputs[0]].shape == (4, 4, 16, 16)
    assert found.ops[copy.id + 1].name == "conv2d", "the copy comes right before what asks for it"


def test_a_slice_of_one_image_is_copied_in_channels_last_only() -> None:
    graph = traced(lambda net, x: net.conv(net.first(x).chunk(2, 1)[0]), 8, 16, 16, first=nn.Conv2d(8, 8, 1), conv=nn.Conv2d(4, 4, 3))
    for layout, at_one in (("nchw", 0), ("nhwc", 1)):
        one, two = (roofline.analyze(graph, "rtx4090", batch=batch, layout=layout) for batch in (1, 2))
        assert [sum(p.kind == "copy" for p in a.predictions) for a in (one, two)] == [at_one, 1]
        assert [a.latency for a in sweep(one, (1, 2))] == [one.latency, two.latency]


def test_a_layer_norm_copies_an_image_in_plain_order_only() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        x = net.norm(net.one(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return net.two(x)

    graph = traced(run, 8, 16, 16, one=nn.Conv2d(8, 8, 1), norm=nn.LayerNorm(8), two=nn.Conv2d(8, 8, 3))
    assert copies(with_copies(graph, "nhwc")) == {}
    plain = with_copies(graph, "nchw")
    assert copies(plain) == {"layer_norm": 1, "conv2d": 1}, "the second convolution finds channels last, so its weights are turned"
    assert [bool(op.attrs.get(CHANNELS_LAST)) for op in plain.ops if op.name == "conv2d"] == [False, True]


def test_a_reshape_is_a_view_or_a_copy_as_the_order_allows() -> None:
    graph = traced(lambda net, x: net.one(x).flatten(1) * 2, 8, 16, 16, one=nn.Conv2d(8, 8, 1))
    for layout, view in (("nchw", True), ("nhwc", False)):
        found = with_copies(graph, layout)
        (flat,) = [op for op in found.ops if op.name in ("flatten", "reshape")]
        assert found.is_view(flat) == view


def test_memory_written_in_place_after_a_copy_is_that_of_the_copy() -> None:
    graph = traced(lambda net, x: net.one(x).flatten(1).add_(1), 8, 16, 16, one=nn.Conv2d(8, 8, 1))
    found = with_copies(graph, "nhwc")
    found.check()
    flat, added = (next(op for op in found.ops if op.name == name) for name in ("reshape", "add"))
    assert found.tensors[added.outputs[0]].storage == flat.outputs[0]


def test_a_call_that_copies_in_one_layout_only_is_traced() -> None:
    graph = traced(lambda net, x: net.one(x).contiguous() + 1, 8, 16, 16, one=nn.Conv2d(8, 8, 1))
    assert [graph.is_view(op) for op in graph.ops if op.name == "contiguous"] == [True]
    assert copies(with_copies(graph, "nchw")) == {}
    assert copies(with_copies(graph, "nhwc")) == {"add": 1}
    assert torch.Tensor.contiguous is torch._C.TensorBase.contiguous, "the tracer leaves PyTorch as it was"


def test_a_call_may_ask_for_an_order() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        return net.two(net.one(x).to(memory_format=torch.channels_last)).clone(memory_format=torch.contiguous_format) * 2

    found = with_copies(traced(run, 8, 16, 16, one=nn.Conv2d(8, 8, 3), two=nn.Conv2d(8, 8, 3)), "nchw")
    assert [bool(op.attrs.get(CHANNELS_LAST)) for op in found.ops if op.name == "conv2d"] == [False, True]
    made = [f.writes[0] for op, f in zip(found.ops, follow(found, "nchw", 2), strict=True) if op.name in ("clone", "mul")]
    assert made == [at.packed((2, 8, 12, 12))] * 2


def test_a_needless_call_is_no_op_of_a_run() -> None:
    module = Net(lambda net, x: net.one(x).contiguous() + 1, one=nn.Conv2d(4, 4, 1)).eval()
    graph = record(module, [torch.empty(2, 4, 8, 8)])
    timer = WallTimer()
    with torch.inference_mode():
        image = torch.randn(2, 4, 8, 8)
        runs = [time_ops(lambda watch: module(image), module, timer)]
    assert [op.name for op in to_graph(runs, graph, casts=False)] == ["conv2d", "add"]


def test_products_copy_what_is_no_batch_of_matrices() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        q, k, v = net.qkv(x).reshape(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return (q @ k.transpose(-2, -1)).softmax(-1) @ v

    graph = traced(run, 16, 8, qkv=nn.Linear(8, 24))
    assert copies(with_copies(graph, "nchw")) == {"matmul": 3}


def test_copies_show_in_reports_and_make_channels_last_dearer() -> None:
    plain, last = (roofline.analyze("resnet50_gn", "rtx4090", batch=64, precision="amp", layout=layout) for layout in LAYOUTS)
    assert {row.kind for row in last.by_op()} - {row.kind for row in plain.by_op()} == {"copy"}
    assert last.cost.bytes > 1.5 * plain.cost.bytes
    copying = "operators copy tensors that they cannot read as they lie (group_norm, conv2d): "
    assert [remark.startswith(copying) for remark in last.remarks].count(True) == 1
    assert not any(remark.startswith("operators copy") for remark in plain.remarks)
    assert roofline.analyze("resnet50", "rtx4090", batch=64, precision="amp", layout="nhwc").cost.bytes < last.cost.bytes


def test_cpus_and_other_modes_run_the_graph_as_it_was_traced() -> None:
    graph = roofline.trace("resnet50_gn")
    cpu = roofline.analyze(graph, "epyc-genoa", batch=8, layout="nhwc")
    assert "copy" not in {row.kind for row in cpu.by_op()}
    assert execute(graph, "eager", 0.0) is graph


# --- attention that no kernel fuses ------------------------------------------------------------------------------------


def test_attention_of_other_than_four_dimensions_runs_in_parts() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        q, k, v = net.qkv(x).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v)

    whole, parts = (Counter(op.name for op in traced(run, *shape, 8, qkv=nn.Linear(8, 24)).ops) for shape in ((2, 16), (3, 2, 16)))
    assert whole["scaled_dot_product_attention"] == 1
    assert whole["matmul"] == 0
    assert (parts["scaled_dot_product_attention"], parts["matmul"]) == (0, 2)


def test_autocast_sees_such_an_attention_as_one() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        q, k, v = net.qkv(x).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v)

    graph = to_precision(traced(run, 3, 2, 16, 8, qkv=nn.Linear(8, 24)), "amp")
    (softmax,) = [op for op in graph.ops if "softmax" in op.name]
    assert {graph.tensors[t].dtype for t in (*softmax.inputs, *softmax.outputs)} == {"fp16"}


# --- results that one thread computes in turn -----------------------------------------------------------------------------


def resized(layout: str, batch: int, side: int, mode: str = "bilinear") -> float:
    """Seconds of enlarging images of 512 channels twofold."""
    graph = traced(
        lambda net, x: F.interpolate(net.conv(x), scale_factor=2, mode=mode), 512, side, side, conv=nn.Conv2d(512, 512, 1)
    ).with_batch(batch)  # fmt: skip
    analysis = roofline.analyze(graph, "rtx4090", batch=batch, precision="amp", layout=layout)
    return next(p.seconds for p in analysis.predictions if p.kind == "resize")


def test_a_thread_takes_all_images_and_channels_of_a_pixel_in_turn() -> None:
    assert resized("nchw", 128, 7) == pytest.approx(128 * 512 * 263e-9, rel=0.05)
    assert resized("nchw", 128, 14) == pytest.approx(resized("nchw", 128, 7), rel=0.05), "four times the pixels have four times the threads"
    assert resized("nhwc", 128, 7) < resized("nchw", 128, 7) / 50
    assert resized("nchw", 128, 7, "nearest") < resized("nchw", 128, 7) / 50
