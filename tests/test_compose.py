"""Graphs joined of parts are those that tracing the whole gives: op by op, and in every figure to the last bit."""

from dataclasses import replace

import pytest
import torch
from architectures import B0
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roofline.cost import work
from roofline.costmodel.analyze import analyze_grid
from roofline.costmodel.hardware import load_hardware
from roofline.errors import RooflineError
from roofline.tracing.architecture import ACTIVATIONS, BLOCKS, Architecture, Stage
from roofline.tracing.compose import chain, resized
from roofline.tracing.mbconv import Blocks, build, trace_whole
from roofline.tracing.source import trace

STAGES = st.builds(
    Stage, depth=st.integers(1, 3), width=st.integers(8, 80), kernel=st.sampled_from([3, 5, 7]), stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1.0, 1.5, 3.0, 6.0]), squeeze=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    activation=st.sampled_from(ACTIVATIONS), block=st.sampled_from(BLOCKS),
)  # fmt: skip
ARCHITECTURES = st.builds(
    Architecture, stages=st.lists(STAGES, min_size=1, max_size=4).map(tuple), stem=st.integers(8, 48), head=st.integers(8, 600),
    classes=st.integers(1, 1000), resolution=st.integers(32, 260), activation=st.sampled_from(ACTIVATIONS),
)  # fmt: skip
KNOWN = Blocks()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ARCHITECTURES, st.integers(1, 64))
def test_a_network_of_blocks_is_the_network_traced_whole(architecture: Architecture, batch: int) -> None:
    whole = trace_whole(architecture).with_batch(batch)
    joined = KNOWN.graph(architecture, batch)
    joined.check()
    assert joined == whole
    assert dict(joined.modules) == dict(whole.modules)
    one = trace_whole(architecture)
    assert architecture.params == one.params
    assert architecture.macs == sum(work(op, one).macs for op in one.ops)


@pytest.mark.parametrize(
    ("mode", "precision"), [("eager", "fp32"), ("engine", "fp16"), ("compiled", "fp16"), ("ideal", "fp16"), ("eager", "amp")]
)
def test_every_kernel_takes_the_same_time_to_the_last_bit(mode: str, precision: str) -> None:
    device = load_hardware("t4")
    graphs = KNOWN.graph(B0, 8), trace_whole(B0)
    joined, whole = (analyze_grid(g, [device], (8,), precisions=[precision], mode=mode)[0] for g in graphs)
    assert joined.times.seconds.tolist() == whole.times.seconds.tolist()
    assert joined.graph.kernels == whole.graph.kernels
    assert (joined.flops, joined.bytes, joined.peak_memory) == (whole.flops, whole.bytes, whole.peak_memory)


def test_efficientnet_b0_is_timms() -> None:
    assert replace(KNOWN.graph(B0), name="") == replace(trace("efficientnet_b0", cache=False), name="")


def test_blocks_met_before_are_not_traced_again() -> None:
    blocks = Blocks()
    blocks.graph(B0)
    traced = blocks.traced
    blocks.graph(replace(B0, resolution=160, stem=40, head=600, stages=tuple(replace(s, width=s.width + 8) for s in B0.stages)))
    assert blocks.traced == traced  # other sizes of the same kinds
    reused = blocks.reused
    blocks.graph(B0)
    assert (blocks.traced, blocks.reused) == (traced, reused + sum(s.depth for s in B0.stages) + 2)
    blocks.graph(replace(B0, stages=(Stage(1, 16, 7),)))
    assert blocks.traced == traced + 1


def test_a_module_is_what_its_graph_says() -> None:
    small = Architecture((Stage(2, 16, 3, 2, 4, 0.25, "relu", "fused"),), stem=8, head=32, classes=5, resolution=32)
    module = build(small, "cpu")
    assert sum(p.numel() for p in module.parameters()) == small.params
    with torch.inference_mode():
        assert module(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


# --- any chain --------------------------------------------------------------------------------------------------------


def test_views_and_overwritten_memory_pass_from_part_to_part() -> None:
    first = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(inplace=True), torch.nn.Flatten())
    second = torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Linear(8 * 36, 4))
    whole = trace(torch.nn.Sequential(first, second), (1, 3, 8, 8))
    parts = [("0", trace(first, (1, 3, 8, 8))), ("1", trace(second, (1, 8 * 36)))]
    joined = chain(parts, name="Sequential", modules={"": "Sequential"})
    assert joined == whole


def test_parts_that_do_not_fit_are_refused() -> None:
    one = trace(torch.nn.Conv2d(3, 8, 3), (1, 3, 8, 8))
    with pytest.raises(RooflineError, match="nothing to join"):
        chain([], name="", modules={})
    with pytest.raises(RooflineError, match="cannot join b: it reads"):
        chain([("a", one), ("b", one)], name="", modules={})
    with pytest.raises(RooflineError, match="cannot join a: its ops are merged"):
        chain([("a", replace(one, kernels=((),)))], name="", modules={})
    with pytest.raises(RooflineError, match="a part takes one tensor"):
        chain([("a", replace(one, outputs=()))], name="", modules={})


def test_sizes_are_replaced_in_shapes_and_arguments_alone() -> None:
    graph = trace(torch.nn.Conv2d(12, 12, 3, groups=12, padding=1), (1, 12, 20, 20))
    wanted = trace(torch.nn.Conv2d(16, 16, 3, groups=16, padding=1), (1, 16, 9, 9))
    assert resized(graph, {12: 16, 20: 9}) == wanted
