"""What an Analysis answers: totals, groups of kernels, plain rows, and what it refuses."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from devices import DRAM, VECTOR, device
from strategies import traced
from torch import nn
from torch.nn import functional

import roofline
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import analyze_grid, on_chip
from roofline.costmodel.hardware import load_hardware
from roofline.costmodel.timemodel import BOUNDS
from roofline.errors import RooflineError, UnknownNameError
from roofline.graph import Graph
from roofline.transforms.changes import parse_changes
from roofline.transforms.modes import MODES


class Block(nn.Module):
    """A convolution and a norm, then an activation and a sum that no leaf owns."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.norm(self.conv(x))) + x


class Net(nn.Module):
    """A stem, two blocks one module deeper, and arithmetic of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.stem(x)).sigmoid()


@torch.library.custom_op("analyzetest::odd", mutates_args=())
def odd(x: torch.Tensor) -> torch.Tensor:
    """An operator that has no cost rule."""
    return x.clone()


@odd.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Odd(nn.Module):
    """A convolution, the operator without a rule, and an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(odd(self.conv(x)))


@pytest.fixture(name="graph", scope="module")
def _graph() -> Graph:
    return traced(Net(), (1, 3, 8, 8))


def analyzed(graph: Graph, *, batch: int = 1, **options: str) -> Analysis:
    """Analyze *graph* on the hand-made device, at its ceilings."""
    return analyze_grid(graph, [device()], [batch], calibrated=False, **options)[0]


# --- groups ------------------------------------------------------------------------------------------------------------


def test_layers_are_leaf_modules_and_what_no_leaf_owns_has_a_row_of_its_own(graph: Graph) -> None:
    assert [row.name for row in analyzed(graph).by_layer()] == [
        "stem",
        *("blocks.0.conv", "blocks.0.norm", "blocks.0.relu", "blocks.0.add"),
        *("blocks.1.conv", "blocks.1.norm", "blocks.1.relu", "blocks.1.add"),
        "sigmoid",
    ]


def test_a_fused_kernel_is_listed_under_its_convolution(graph: Graph) -> None:
    assert [row.name for row in analyzed(graph, mode="engine").by_layer()] == ["stem", "blocks.0.conv", "blocks.1.conv"]


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (1, ["stem", "blocks", "test"]),  # the network's own sigmoid is under its name
        (2, ["stem", "blocks.0", "blocks.1", "test"]),
        (9, ["stem", "blocks.0.conv", "blocks.0.norm", "blocks.0", "blocks.1.conv", "blocks.1.norm", "blocks.1", "test"]),
    ],
)
def test_modules_are_cut_at_a_depth(graph: Graph, depth: int, names: list[str]) -> None:
    assert [row.name for row in analyzed(graph).by_module(depth)] == names


@pytest.mark.parametrize("depth", [0, -1])
def test_a_depth_below_one_is_refused(graph: Graph, depth: int) -> None:
    with pytest.raises(RooflineError, match=f"bad depth {depth}; use 1 or more"):
        analyzed(graph).by_module(depth)


def test_a_network_that_is_one_leaf_is_its_own_layer() -> None:
    report = roofline.analyze(nn.Conv2d(3, 8, 1), "t4", example_inputs=(1, 3, 8, 8))
    assert [row.name for row in report.by_layer()] == [row.name for row in report.by_module()] == ["Conv2d"]


def test_kinds_come_with_the_slowest_first(graph: Graph) -> None:
    rows = analyzed(graph).by_op()
    assert {row.name: row.kernels for row in rows} == {"pointwise conv": 3, "batch norm": 2, "activation": 3, "elementwise": 2}
    assert [row.seconds for row in rows] == sorted((row.seconds for row in rows), reverse=True)


def test_a_row_counts_the_parameters_its_kernels_read(graph: Graph) -> None:
    rows = {row.name: row for row in analyzed(graph).by_layer()}
    assert (rows["stem"].params, rows["blocks.0.conv"].params, rows["blocks.0.norm"].params, rows["sigmoid"].params) == (32, 72, 16, 0)


@pytest.mark.parametrize("mode", MODES)
def test_groups_add_up_to_the_totals(graph: Graph, mode: str) -> None:
    analysis = analyzed(graph, batch=3, mode=mode)
    for rows in (analysis.by_layer(), analysis.by_module(2), analysis.by_op()):
        assert sum(row.cost.macs for row in rows) == analysis.macs
        assert sum(row.cost.flops for row in rows) == analysis.flops
        assert sum(row.cost.bytes for row in rows) == analysis.bytes
        assert sum(row.share for row in rows) == pytest.approx(1)
        assert sum(row.limit_seconds for row in rows) == pytest.approx(analysis.lower_bound)
        assert {bound for row in rows for bound in row.seconds_by_bound} == set(BOUNDS)


# --- totals ------------------------------------------------------------------------------------------------------------


def test_totals_of_a_small_network_by_hand(graph: Graph) -> None:
    analysis = analyzed(graph, batch=2)
    assert analysis.params == 32 + 2 * (72 + 16)
    assert analysis.macs == 2 * 64 * (3 * 8 + 2 * 8 * 8)
    # per block and element: norm 2, relu 1, add 1; the sigmoid 4
    assert analysis.flops == 2 * analysis.macs + 2 * 64 * 8 * (2 * 4 + 4)
    assert analysis.throughput == pytest.approx(2 / analysis.latency)
    assert analysis.intensity == pytest.approx(analysis.flops / analysis.bytes)


def test_peak_memory_is_weights_and_the_most_activations_alive(graph: Graph) -> None:
    # parameters, and for each norm 16 statistics and an int64 counter; while a block adds: the caller's image, both summands, the sum
    weights = 4 * (208 + 2 * 16) + 2 * 8
    assert analyzed(graph).peak_memory == weights + 4 * 64 * 3 + 3 * 4 * 64 * 8


def test_the_bound_holds_most_of_the_time() -> None:
    graph = traced(lambda x: torch.relu(x @ x), (1024, 1024))
    analysis = analyze_grid(replace(graph, batch=None), [device()], [1024], mode="compiled")[0]
    # the product takes 4.29 ms of compute; the relu 0.1 ms of memory
    assert analysis.bound == "compute"
    assert {bound: s > 0 for bound, s in analysis.seconds_by_bound.items()} == {
        "compute": True,
        "memory": True,
        "overhead": False,
        "occupancy": False,
    }


def test_the_finding_names_bound_kinds_and_ridge(graph: Graph) -> None:
    finding = analyzed(graph).finding()
    # three convolutions and three activations of ten kernels, each of which waits for the host
    assert re.match(r"6\d % of the time is spent waiting for dispatch and launch of pointwise convs and activations;", finding)
    assert "ridge point 10 FLOP/byte (fp32)" in finding  # 1 TFLOP/s over 100 GB/s


def test_interval_holds_the_prediction_or_shifts_it_up(graph: Graph) -> None:
    for mode in MODES:
        analysis = analyzed(graph, mode=mode)
        low, high = analysis.interval
        assert 0 < low <= analysis.latency < high


# --- rows --------------------------------------------------------------------------------------------------------------

UNITS = ("macs", "flops", "bytes", "seconds", "flop_per_byte")
WORDS = {"layer", "kind", "ops", "bound", "runner_up"}
RATIOS = {"fill", "margin"}


def test_every_number_of_a_row_names_its_unit() -> None:
    for row in roofline.analyze("mobilenetv3_small_100", "a100-40gb").rows():
        numbers = set(row) - WORDS - RATIOS - {"kernel"}
        assert {name for name in numbers if not name.endswith(UNITS)} == set()


def test_rows_hold_plain_values_only(graph: Graph) -> None:
    rows = analyzed(graph).rows()
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert len(rows) == 10


def test_rows_of_a_fused_kernel_list_its_ops(graph: Graph) -> None:
    stem, block, _ = analyzed(graph, mode="engine").rows()
    assert (stem["ops"], stem["kind"]) == ("conv2d", "pointwise conv")
    assert block["ops"] == "conv2d+relu+add"


def test_pandas_gets_numbers_as_numbers(graph: Graph) -> None:
    frame = analyzed(graph).to_pandas()
    assert len(frame) == 10
    assert {name for name in frame if frame[name].dtype.kind not in "if"} == WORDS
    assert frame["seconds"].sum() == pytest.approx(analyzed(graph).latency)


def test_a_margin_over_nothing_is_missing_rather_than_infinite() -> None:
    free = device(units=1, launch=0.0, graph=0.0, engines=(replace(VECTOR, ceiling=math.inf),))
    (row,) = analyze_grid(traced(torch.relu, (1, 1024)), [free], [1], mode="compiled", calibrated=False)[0].rows()
    assert (row["bound"], row["margin"]) == ("memory", None)


# --- unknown ops -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_an_op_without_a_rule_is_unknown_in_every_mode(mode: str) -> None:
    analysis = analyzed(traced(Odd(), (1, 3, 4, 4)), batch=5, mode=mode)
    assert analysis.unknown == {"analyzetest.odd": (1, 2 * 5 * 8 * 16 * 4)}  # read and written once


def test_unknown_ops_are_counted_by_name() -> None:
    graph = traced(lambda x: odd(odd(x)), (1, 10))
    assert analyzed(graph).unknown == {"analyzetest.odd": (2, 160)}


def test_a_known_network_has_no_unknown_ops(graph: Graph) -> None:
    assert analyzed(graph).unknown == {}


# --- several at once ---------------------------------------------------------------------------------------------------


def test_a_grid_nests_devices_then_precisions_then_batches(graph: Graph) -> None:
    found = analyze_grid(graph, [load_hardware("t4"), load_hardware("v100")], [1, 4], precisions=["fp32", "fp16"])
    assert [(a.hardware.id, a.precision, a.batch) for a in found] == [
        *(("t4", "fp32", 1), ("t4", "fp32", 4), ("t4", "fp16", 1), ("t4", "fp16", 4)),
        *(("v100", "fp32", 1), ("v100", "fp32", 4), ("v100", "fp16", 1), ("v100", "fp16", 4)),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_a_grid_equals_each_analysis_alone(mode: str) -> None:
    graph = roofline.trace("efficientnet_b0")
    devices = [load_hardware(name) for name in ("t4", "v100", "a100-40gb")]
    for together in analyze_grid(graph, devices, [1, 2, 7, 64], precisions=["fp32", "fp16"], mode=mode):
        (alone,) = analyze_grid(graph, [together.hardware], [together.batch], precisions=[together.precision], mode=mode)
        assert np.array_equal(together.times.seconds[together.index], alone.times.seconds[0])
        assert (together.latency, together.lower_bound, together.bytes) == (alone.latency, alone.lower_bound, alone.bytes)
        assert (together.peak_memory, together.bound, together.finding()) == (alone.peak_memory, alone.bound, alone.finding())


def test_analyses_compare_by_identity_and_can_be_keys(graph: Graph) -> None:
    one, other = analyzed(graph), analyzed(graph)
    assert one == one
    assert one != other
    assert len({one, other}) == 2


def test_inputs_are_shown_at_the_batch_analyzed(graph: Graph) -> None:
    assert analyzed(graph, batch=5).inputs == ("5 x 3 x 8 x 8 fp32",)
    (half,) = analyze_grid(graph, [device()], [2], precisions=["fp16"])
    assert half.inputs == ("2 x 3 x 8 x 8 fp16",)


def test_what_a_depth_first_engine_keeps_on_the_chip_is_its_largest_shared_cache() -> None:
    assert on_chip(device(memory=(DRAM,))) == 0
    assert on_chip(load_hardware("t4")) == 4 * 2**20


# --- what-ifs ----------------------------------------------------------------------------------------------------------


def test_what_ifs_apply_in_order_and_are_named(graph: Graph) -> None:
    texts = ("fold-bn", "weights=int8")
    (changed,) = analyze_grid(graph, [device()], change=parse_changes(texts), changes=texts)
    assert changed.changes == texts
    assert len(changed.predictions) == 8  # both norms are gone
    assert {t.dtype for t in changed.graph.weights if len(t.shape) > 1} == {"int8"}


@pytest.mark.parametrize("text", ["fold-bn", "fuse-pointwise", "fuse-activation", "fuse-all", "depth-first", "weights=int4"])
def test_these_what_ifs_keep_the_products_and_save_bytes(graph: Graph, text: str) -> None:
    before = analyzed(graph)
    (after,) = analyze_grid(graph, [device()], change=parse_changes([text]))
    assert after.macs == before.macs
    assert after.bytes < before.bytes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fold-bm", r"unknown what-if 'fold-bm'; did you mean fold-bn\? known: fold-bn, "),
        ("xyz", "unknown what-if 'xyz'; known: fold-bn, "),
        ("weights", r"bad what-if 'weights'; write weights=VALUE with one of fp16, bf16, int8, int4"),
        ("weights=", r"write weights=VALUE"),
        ("weights=fp32", r"write weights=VALUE"),
        ("fold-bn=yes", "fold-bn takes no value"),
        ("", "unknown what-if ''"),
    ],
)
def test_a_bad_what_if_says_what_would_do(text: str, message: str) -> None:
    with pytest.raises(RooflineError, match=message):
        parse_changes([text])


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [0, -3, True, 1.5, "4", None, 2**20 + 1, math.nan])
def test_a_batch_that_is_no_count_is_refused(graph: Graph, batch: object) -> None:
    with pytest.raises(RooflineError, match=r"bad batch size .*; use a whole number from 1 to 1048576"):
        analyze_grid(graph, [device()], [batch])  # pyright: ignore[reportArgumentType]


def test_a_batch_may_be_a_numpy_integer(graph: Graph) -> None:
    (analysis,) = analyze_grid(graph, [device()], [np.int64(4)])  # pyright: ignore[reportArgumentType]
    assert type(analysis.batch) is int


def test_a_fixed_graph_refuses_other_batches(graph: Graph) -> None:
    fixed = replace(graph.with_batch(4), batch=None, name="fixed")
    assert analyzed(fixed, batch=4).inputs == ("4 x 3 x 8 x 8 fp32",)
    with pytest.raises(RooflineError, match=r"fixed is fixed at batch 4; .* to use 8"):
        analyzed(fixed, batch=8)


@pytest.mark.parametrize("module", [nn.Identity(), nn.Flatten(), nn.Dropout()])
def test_a_network_that_runs_nothing_is_refused(module: nn.Module) -> None:
    with pytest.raises(RooflineError, match="runs no kernel"):
        analyzed(traced(module, (1, 3, 4)), mode="compiled")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "eagre"}, "unknown mode 'eagre'; use one of eager, compiled, engine, ideal"),
        ({"layout": "chwn"}, "unknown layout 'chwn'; use one of nchw, nhwc"),
        ({"precisions": ["fp12"]}, "unknown precision 'fp12'; use one of fp32, "),
    ],
)
def test_unknown_choices_are_refused_by_name(graph: Graph, options: dict[str, object], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        analyze_grid(graph, [device()], **options)  # pyright: ignore[reportArgumentType]


def test_layout_is_read_in_any_case(graph: Graph) -> None:
    assert analyzed(graph, layout="NHWC").layout == "nhwc"


# --- remarks -----------------------------------------------------------------------------------------------------------


def test_it_is_said_that_norms_of_timm_escape_autocast() -> None:
    (remark,) = roofline.analyze("test_convnext", "rtx4090", precision="amp").remarks
    assert remark.startswith("timm's norms are taken in half precision")
    assert roofline.analyze("test_convnext", "rtx4090", precision="fp16").remarks == ()
    assert roofline.analyze("test_resnet", "rtx4090", precision="amp").remarks == ()


def test_it_is_said_where_each_group_of_a_convolution_starts_a_kernel() -> None:
    graph = traced(nn.Conv2d(8, 16, 3, groups=4), (1, 8, 16, 16))
    (fp32, fp16) = analyze_grid(graph, [roofline.load_hardware("v100")], precisions=["fp32", "fp16"], mode="engine")
    assert fp32.remarks[0].startswith("each group of a convolution is taken to start a kernel of its own")
    assert fp16.remarks == ()
    assert analyze_grid(graph, [roofline.load_hardware("v100")])[0].remarks == ()


def test_it_is_said_from_which_batch_on_offsets_of_32_bits_end() -> None:
    graph = traced(nn.Conv2d(128, 128, 3, padding=1, groups=128), (1, 128, 128, 128))
    found = analyze_grid(graph, [device()], [1, 1023, 1024, 2048], precisions=["fp16"], layout="nhwc")
    assert {a.remarks for a in found} == {
        ("at batch 1024, some depthwise convolution has 2^31 numbers or more, and runs several times slower for it in nhwc",)
    }
    for options in ({"layout": "nchw"}, {"layout": "nhwc", "mode": "compiled"}):
        assert not any(a.remarks for a in analyze_grid(graph, [device()], [1024], precisions=["fp16"], **options))
    assert not analyze_grid(graph, [device()], [1023], precisions=["fp16"], layout="nhwc")[0].remarks
