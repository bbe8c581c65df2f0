"""Predictions beside measurements: figures worked out by hand, roofs that layers reach, and every way in and out of `validate`."""

import csv
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from devices import device
from torch import nn

import roofline
from roofline.cli import run as cli
from roofline.cli import validate as command
from roofline.costmodel.analyze import analyze_grid
from roofline.errors import RooflineError
from roofline.graph import Graph
from roofline.measurement import validate as validating
from roofline.measurement.classification import Classification, above, observed
from roofline.measurement.comparison import KEYS, Comparison, Failure, Point, group_table, network_table, spearman, starred
from roofline.measurement.layers import LayerPoint, Layers, kernels_of_ops, pair
from roofline.measurement.measurement import Measurement, OpTime
from roofline.measurement.published import Published
from roofline.measurement.table import shorten, table
from roofline.measurement.validate import HERE, Validation, doubts, read_measurement
from roofline.report.document import plotly
from roofline.report.validation import to_html
from roofline.transforms.precision import to_precision

NASTY = "</script><img src=x onerror=alert(1)>"


def point(measured: float = 1.0, predicted: float = 1.0, **changes: Any) -> Point:
    made: dict[str, Any] = {
        "dataset": "set", "device": "t4", "model": "net", "family": "nets", "mode": "eager", "precision": "fp32", "batch": 1,
        "image_size": 224, "source": "hand", "measured": measured, "predicted": predicted, "low": 0.8 * predicted, "high": 1.25 * predicted,
        "limit": 0.5 * predicted, "bound": "memory",
    }  # fmt: skip
    return Point(**{**made, **changes})


def failure(**changes: Any) -> Failure:
    made: dict[str, Any] = {"dataset": "set", "device": "t4", "model": "net", "mode": "eager", "precision": "fp32", "batch": 1}
    return Failure(**{**made, "message": "no such network", **changes})


FIVE = Comparison(tuple(point(10.0, 10 * ratio) for ratio in (0.9, 1.2, 0.7, 1.3, 0.5)))


def layer(**changes: Any) -> LayerPoint:
    made: dict[str, Any] = {
        "model": "net", "batch": 1, "layer": "stem", "kind": "conv", "op": "conv2d", "measured": 1.0, "predicted": 1.0, "flops": 1e9,
        "bytes": 1e6, "bound": "compute", "compute_share": 0.5, "memory_share": 0.1, "level": "dram",
    }  # fmt: skip
    return LayerPoint(**{**made, **changes})


def sample(model: str = "resnet18", **changes: Any) -> Measurement:
    made = Measurement(model, "cpu", 2, ("2 x 3 x 64 x 64 fp32",), "fp32", "eager", "nchw", 4, (0.009, 0.010, 0.012))
    return replace(made, **changes)


# --- figures ---------------------------------------------------------------------------------------------------------


def test_median_90th_percentile_and_bias_of_five_timings() -> None:
    # errors in order: 0.1 0.2 0.3 0.3 0.5; the 90th percentile lies 0.6 of the way from the fourth to the fifth
    assert FIVE.n == 5
    assert FIVE.median_error == pytest.approx(0.3)
    assert FIVE.p90_error == pytest.approx(0.3 + 0.6 * 0.2)
    assert FIVE.bias == pytest.approx(0.9)


def test_coverage_counts_measured_times_inside_the_interval_its_ends_included() -> None:
    # 10 lies in [0.8 p, 1.25 p] for p = 9 and 12, not for 7 (8.75 at most), 13 (10.4 at least) or 5
    assert FIVE.coverage == pytest.approx(2 / 5)
    assert Comparison((point(1.0, low=1.0, high=1.0), point(1.0, low=1.1))).coverage == 0.5


def test_the_datasheet_limit_has_an_error_of_its_own() -> None:
    # limits 4.5, 6, 3.5, 6.5 and 2.5 of 10: errors 0.55, 0.4, 0.65, 0.35, 0.75
    assert FIVE.roof_error == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((1, 2, 3, 4, 5), (2, 1, 3, 5, 4), 1 - 6 * 4 / (5 * 24)),  # 1 - 6 sum(d^2) / (n (n^2 - 1)), which holds without ties
        ((10, 20, 30), (3, 2, 1), -1.0),
        ((1, 2, 2, 3), (1, 2, 3, 4), 4.5 / math.sqrt(4.5 * 5)),  # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4
        ((1, 100, 1000), (1, 2, 3), 1.0),
    ],
)
def test_spearman_correlates_ranks_and_ties_share_theirs(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    assert spearman(a, b) == pytest.approx(expected)


def test_ranks_go_by_the_time_of_an_item() -> None:
    made = Comparison((point(8.0, 8.0, batch=8), point(3.0, 3.0, batch=1), point(4.0, 4.0, batch=2)))
    assert made.rank_correlation == pytest.approx(1.0)
    turned = Comparison((point(8.0, 30.0, batch=8), point(3.0, 3.0, batch=1), point(4.0, 5.0, batch=2)))  # items 1, 3, 2 and 3.75, 3, 2.5
    assert turned.rank_correlation == pytest.approx(1 - 6 * (4 + 1 + 1) / (3 * 8))


def test_figures_of_too_few_timings_are_not_numbers_and_null_in_json() -> None:
    none, two = Comparison(()), Comparison((point(), point(2.0)))
    assert all(math.isnan(v) for v in (none.median_error, none.p90_error, none.bias, none.coverage, none.roof_error, none.rank_correlation))
    assert math.isnan(two.rank_correlation)
    assert math.isnan(Comparison((point(), point(), point())).rank_correlation)  # constant
    assert json.loads(none.to_json())["figures"] == {
        "n": 0, "failed": 0, "median_error": None, "p90_error": None, "bias": None, "rank_correlation": None, "coverage": None,
        "roof_error": None,
    }  # fmt: skip
    assert str(none) == "timings     0 compared"


def test_half_as_long_is_as_far_off_as_twice_as_long() -> None:
    made = Comparison((point(1.0, 1.9, model="a"), point(1.0, 0.4, model="b"), point(1.0, 1.0, model="c")))
    assert [p.model for p in made.worst(2)] == ["b", "a"]
    assert made.worst(0) == ()


def test_groups_hold_timings_and_failures_in_order() -> None:
    made = Comparison((point(batch=16), point(batch=2), point(batch=2)), (failure(batch=2), failure(batch=128)))
    groups = made.by("batch")
    assert {name: (g.n, len(g.failures)) for name, g in groups.items()} == {"2": (2, 1), "16": (1, 0), "128": (0, 1)}
    assert list(groups) == ["2", "16", "128"]
    with pytest.raises(RooflineError, match="cannot group timings by 'colour'; use one of dataset, device, family"):
        made.by("colour")


def test_what_fits_may_not_see_stands_apart_with_a_star() -> None:
    made = Comparison((point(), point(dataset="b"), point(dataset="b", excluded="why")), (failure(dataset="c", excluded="why"),))
    assert [(name, g.n, len(g.failures)) for name, g in starred(made, "dataset").items()] == [
        ("b", 1, 0), ("set", 1, 0), ("b*", 1, 0), ("c*", 0, 1), ("all without a star", 2, 0),
    ]  # fmt: skip
    assert (made.used.n, made.left_out.n) == (2, 1)
    assert made.exclusions == {"why": ("b", "c")}
    assert list(starred(Comparison((point(),)), "dataset")) == ["set"]


def test_comparisons_add_up() -> None:
    assert Comparison((point(),)) + Comparison((), (failure(),)) == Comparison((point(),), (failure(),))


# --- out -------------------------------------------------------------------------------------------------------------


def test_rows_have_the_unit_in_each_key() -> None:
    (row,) = Comparison((point(2.0, 1.0),)).rows()
    assert (row["measured_seconds"], row["predicted_seconds"], row["limit_seconds"]) == (2.0, 1.0, 0.5)
    assert (row["ratio"], row["error"]) == (0.5, 0.5)
    assert row["inside"] is False
    assert {"low_seconds", "high_seconds", "dataset", "family", "layout", "image_size", "excluded"} <= set(row)


def test_json_csv_and_pandas_hold_the_same_rows(tmp_path: Path) -> None:
    made = Comparison((point(2.0, 1.0, model="=1+1"), point()), (failure(),))
    body = json.loads(made.to_json(tmp_path / "out.json"))
    assert (tmp_path / "out.json").read_text() == made.to_json()
    assert (body["schema"], len(body["points"]), body["failures"][0]["message"]) == (1, 2, "no such network")
    assert body["points"] == made.rows()
    lines = list(csv.DictReader(io.StringIO(made.to_csv(tmp_path / "out.csv"))))
    assert [line["model"] for line in lines] == ["'=1+1", "net"]  # a spreadsheet takes it for text
    assert list(lines[0]) == list(made.rows()[0]) == list(made.to_pandas().columns)
    assert Comparison(()).to_csv().count("\n") == 1


def test_the_summary_gives_each_figure_its_meaning() -> None:
    assert str(Comparison(FIVE.points, (failure(),))).splitlines() == [
        "timings     5 compared, 1 failed",
        "error       median 30 %, 90th percentile 42 % (of |predicted / measured - 1|)",
        "bias        0.90 (median of predicted / measured)",
        "interval    40 % of the measured times inside; 80 % are meant to be",
        "limit       off by 55 % (median), were it taken as the prediction",
    ]


def test_tables_fit_80_columns_whatever_the_names() -> None:
    made = Comparison((point(1234.5, 0.001, model="m" * 300, dataset="d" * 300, device="\x1b[31m", batch=100_000),))
    lines = [*network_table(made), *group_table("data set", made.by("dataset")), *group_table("device", made.by("device"))]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)
    assert any("…" in line for line in lines)


def test_names_are_cut_in_the_middle_and_figures_stand_to_the_right() -> None:
    assert shorten("efficientnet_b0", 9) == "eff…et_b0"
    assert list(table(("name", "n", "kind"), [("a", "10", "x"), ("bb", "2", "yy")], words=("kind",))) == [
        "name   n  kind", "a     10  x", "bb     2  yy",
    ]  # fmt: skip


# --- layers ----------------------------------------------------------------------------------------------------------


def pointwise() -> Graph:
    return roofline.trace(nn.Sequential(nn.Conv2d(4, 8, 1, bias=False), nn.ReLU()), (1, 4, 16, 16))


def timed_ops(graph: Graph, *medians: float) -> Measurement:
    ops = tuple(OpTime(op.id, op.name, op.module, (s,), "conv") for op, s in zip(graph.ops, medians, strict=True))
    return Measurement("net", "cpu", 1, ("1 x 4 x 16 x 16 fp32",), "fp32", "eager", "nchw", 1, (sum(medians),), ops)


def test_a_layer_is_held_against_the_ceilings_of_its_engine_and_its_memory() -> None:
    graph = pointwise()
    (analysis,) = analyze_grid(graph, [device()])
    conv, relu = pair(timed_ops(graph, 4e-7, 1e-6), analysis, graph).points
    # 8 * 4 * 256 MACs at 0.5 TFLOP/s; 1024 + 2048 + 32 floats at 80 GB/s
    assert (conv.flops, conv.bytes) == (16384, 12416)
    assert conv.compute_share == pytest.approx(16384 / 0.5e12 / 4e-7)
    assert conv.memory_share == pytest.approx(12416 / 80e9 / 4e-7)
    assert conv.achieved_flops_per_second == pytest.approx(16384 / 4e-7)
    assert conv.achieved_bytes_per_second == pytest.approx(12416 / 4e-7)
    assert (conv.layer, conv.op, conv.kind, conv.level) == ("0", "conv2d", "pointwise conv", "dram")
    assert conv.predicted == analysis.predictions[0].seconds
    assert conv.bound == analysis.predictions[0].bound
    assert relu.memory_share == pytest.approx(2 * 2048 * 4 / 80e9 / 1e-6)


def test_views_that_cost_nothing_are_no_layers_and_fused_modes_have_none() -> None:
    graph = roofline.trace(nn.Sequential(nn.Conv2d(4, 8, 1), nn.Flatten()), (1, 4, 16, 16))
    (analysis,) = analyze_grid(graph, [device(host_view=0.0)])
    measured = timed_ops(graph, *[1e-6] * len(graph.ops))
    assert "flatten" not in {p.op for p in pair(measured, analysis, graph).points}
    (compiled,) = analyze_grid(graph, [device()], mode="compiled")
    assert pair(measured, compiled, graph) == pair(replace(measured, ops=()), analysis, graph) == Layers()


def test_a_cast_of_autocast_counts_with_the_op_it_feeds() -> None:
    graph = roofline.trace(nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), nn.ReLU()), (1, 4, 16, 16))
    run = to_precision(graph, "amp")
    kernels = kernels_of_ops(graph, run)
    assert list(kernels) == [op.id for op in graph.ops]
    assert sorted(k for held in kernels.values() for k in held) == list(range(len(run.kernels)))
    assert [[run.ops[run.kernels[k][0]].name for k in held] for held in kernels.values()] == [
        ["_to_copy", "_to_copy", "_to_copy", "conv2d"], ["batch_norm"], ["relu"],
    ]  # fmt: skip
    (analysis,) = analyze_grid(graph, [device()], precisions=["amp"])
    conv = pair(timed_ops(graph, 1e-6, 1e-6, 1e-6), analysis, graph).points[0]
    assert conv.predicted == pytest.approx(sum(p.seconds for p in analysis.predictions[:4]))
    assert (conv.op, conv.flops) == ("conv2d", sum(p.cost.flops for p in analysis.predictions[:4]))


def test_layers_sum_by_kind_the_slowest_first() -> None:
    made = Layers((layer(measured=1.0, predicted=1.5), layer(kind="pool", measured=4.0, predicted=2.0), layer(measured=1.0, predicted=0.9)))
    assert list(made.by_kind()) == ["pool", "conv"]
    assert made.median_error == pytest.approx(0.5)
    assert made.weighted_error == pytest.approx((0.5 + 2.0 + 0.1) / 6)
    assert made.bias == pytest.approx((1.5 + 2.0 + 0.9) / 6)
    assert str(made).splitlines() == [
        "kind of op  n  measured  share  predicted  median  bias",
        "pool        1    4.00 s   67 %     2.00 s    50 %  0.50",
        "conv        2    2.00 s   33 %     2.40 s    30 %  1.20",
    ]
    assert made.rows()[0]["measured_seconds"] == 1.0
    assert math.isnan(Layers().median_error)


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compute", "memory", "roof", "beaten"),
    [
        (0.5, 0.1, "compute", ""),
        (0.1, 0.5, "memory", ""),
        (0.3, 0.0, "compute", ""),  # the floor itself counts
        (0.29, 0.28, "neither", ""),
        (0.0, 0.0, "neither", ""),
        (2.2, 0.5, "compute", "compute"),  # Winograd
        (0.5, 1.2, "memory", "memory"),
        (1.0, 0.2, "compute", ""),
    ],
)
def test_a_layer_sits_on_the_roof_of_which_it_reached_more_and_enough(compute: float, memory: float, roof: str, beaten: str) -> None:
    made = layer(compute_share=compute, memory_share=memory)
    assert (observed(made), above(made)) == (roof, beaten)


def test_the_floor_can_be_set() -> None:
    assert observed(layer(compute_share=0.25), floor=0.2) == "compute"


SIX = Layers(
    (
        layer(measured=4.0, bound="compute", compute_share=0.8, memory_share=0.1),
        layer(measured=2.0, bound="compute", compute_share=0.1, memory_share=0.6),
        layer(measured=1.0, bound="memory", compute_share=0.1, memory_share=1.5),
        layer(measured=1.0, bound="overhead", compute_share=0.1, memory_share=0.1),
        layer(measured=1.0, bound="occupancy", compute_share=0.2, memory_share=0.2),
        layer(measured=1.0, bound="memory", compute_share=0.1, memory_share=0.2),
        layer(measured=9.0, bound="overhead", kind="view", flops=0.0, bytes=0.0, compute_share=0.0, memory_share=0.0, level=""),
    )
)


def test_predicted_bounds_agree_with_observed_roofs_by_time_and_by_count() -> None:
    made = Classification.of(SIX)
    assert made.seconds == 10.0  # the view has no roof to sit on
    assert made.agreement == pytest.approx((4 + 1 + 1 + 1) / 10)
    assert made.agreement_by_count == pytest.approx(4 / 6)
    assert made.confusion() == {
        "compute": {"compute": (0.4, 1), "memory": (0.2, 1), "neither": (0.0, 0)},
        "memory": {"compute": (0.0, 0), "memory": (0.1, 1), "neither": (0.1, 1)},
        "overhead": {"compute": (0.0, 0), "memory": (0.0, 0), "neither": (0.1, 1)},
        "occupancy": {"compute": (0.0, 0), "memory": (0.0, 0), "neither": (0.1, 1)},
    }
    assert str(made).splitlines() == [
        "predicted   compute    memory   neither",
        "compute    40 % (1)  20 % (1)         -",
        "memory            -  10 % (1)  10 % (1)",
        "overhead          -         -  10 % (1)",
        "occupancy         -         -  10 % (1)",
        "agree: 70 % of the time, 67 % of the 6 layers that do work",
        "above the memory roof: 1 layer, 10 % of the time:",
        "  a nearer cache, or too low a bandwidth",
    ]


def test_layers_above_a_roof_are_named_in_json() -> None:
    body = Classification.of(SIX).as_dict()
    assert body["above_a_roof"] == [{"model": "net", "layer": "stem", "roof": "memory", "share": 1.5}]
    assert sum(cell["layers"] for cell in body["confusion"]) == 6
    assert math.isnan(Classification.of(Layers()).agreement)
    assert Classification.of(Layers()).as_dict()["agreement"] is None


# --- what was measured -----------------------------------------------------------------------------------------------


def test_a_measurement_is_held_against_what_analyze_predicts() -> None:
    networks, layers, _ = roofline.validate(sample(), "c5.2xlarge")
    expected = roofline.analyze("resnet18", "c5.2xlarge", batch=2, image_size=64)
    (found,) = networks.points
    assert (found.measured, found.predicted, found.limit) == (0.010, expected.latency, expected.lower_bound)
    assert (found.low, found.high) == expected.interval
    assert (found.dataset, found.device, found.family, found.image_size, found.bound) == (HERE, "c5.2xlarge", "resnet", 64, expected.bound)
    assert layers == Layers()


def test_a_measurement_of_a_network_with_other_inputs_is_traced_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def tracing(name: str, **how: Any) -> Graph:
        asked.append(how)
        return pointwise()

    monkeypatch.setattr(validating, "trace", tracing)
    inputs = (("1 x 128 int64",), ("1 x 3 x 64 x 32 fp32",), ("1 x 5 x 64 x 64 fp32",), ("2 x 8 fp32", "2 x 4 fp32"))
    roofline.validate([sample(batch=1, inputs=shapes) for shapes in inputs], "c5.2xlarge")
    assert asked == [
        {"inputs": ["1,128:int64"]}, {"inputs": ["1,3,64,32:fp32"]}, {"image_size": 64, "in_chans": 5},
        {"inputs": ["2,8:fp32", "2,4:fp32"]},
    ]  # fmt: skip


def test_one_that_cannot_be_predicted_is_a_failure_and_the_rest_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("open('ran', 'w')\ndef build(): pass\n")
    networks, _, _ = roofline.validate([sample(), sample("Sequential"), sample("net.py:build"), sample("net.pt2")], "c5.2xlarge")
    assert networks.n == 1
    messages = [f.message for f in networks.failures]
    assert messages[0].startswith("unknown model 'Sequential'")
    assert messages[1].startswith("net.py:build is code of its own, which is not run")
    assert messages[2].startswith("net.pt2 is code of its own")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(RooflineError, match="unknown model 'Sequential'"):
        roofline.validate(sample("Sequential"), "c5.2xlarge")
    with pytest.raises(RooflineError, match="nothing to validate; give at least one measurement"):
        roofline.validate([])


def test_what_speaks_against_a_measurement_is_said_once() -> None:
    noisy = sample(threads=1, seconds=(1.0, 2.0, 3.0))
    networks, _, _ = roofline.validate([noisy, replace(noisy, batch=4)], "c5.2xlarge")
    assert doubts(networks.points) == (
        "all: ran on 1 thread, predicted for 4 cores",
        "all: noisy: the interquartile range is 50 % of the median",
        "stop what else runs here, or give more --seconds",
    )
    assert doubts([point(note="warm")]) == ()  # the remarks of a published table are no doubts
    assert doubts([point(note="a; b", dataset=HERE), point(note="b", dataset=HERE, batch=8)]) == ("net at batch 1: a", "all: b")


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot read '.*': No such file"), (b"\xff", "it is no UTF-8 text"), (b"{}", "m.json: this is no measurement")],
)
def test_a_file_that_holds_no_measurement_is_named(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(RooflineError, match=says):
        read_measurement(tmp_path / "m.json")


# --- what is measured here -------------------------------------------------------------------------------------------


@pytest.fixture
def measured_here(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Give every network 10 ms instead of running it, but refuse batch 7."""
    asked: list[dict[str, Any]] = []

    def measuring(model: str, where: str, *, progress: Callable[[str, float], None] | None = None, **how: Any) -> Measurement:
        asked.append({"model": model, "where": where, "apart": progress is None, **how})
        if progress:
            progress("timing", 0.5)
            progress("timing ops", 1.0)
        if how["batch"] == 7:
            raise RooflineError("out of luck")
        size = how["image_size"]
        shapes = (f"{how['batch']} x 3 x {size} x {size} fp32",)
        return Measurement(model, where, how["batch"], shapes, how["precision"], how["mode"], how["layout"], 1, (0.01,) * 3)

    for name in ("measure.measure", "apart.measure_apart"):
        monkeypatch.setattr(f"roofline.measurement.{name}", measuring)
    return asked


def test_each_network_is_measured_at_each_batch_size(measured_here: list[dict[str, Any]]) -> None:
    told: list[tuple[str, float]] = []
    networks, _, _ = roofline.validate_host(
        ["resnet18", "mobilenetv3_small_050"], "c5.2xlarge", batches=[1, 7], image_size=64, layout="nhwc", threads=3, seconds=2.0,
        progress=lambda what, share: told.append((what, share)),
    )  # fmt: skip
    assert [(how["model"], how["batch"]) for how in measured_here] == [
        ("resnet18", 1), ("resnet18", 7), ("mobilenetv3_small_050", 1), ("mobilenetv3_small_050", 7),
    ]  # fmt: skip
    assert {(how["where"], how["layout"], how["threads"], how["seconds"], how["apart"]) for how in measured_here} == {
        ("cpu", "nhwc", 3, 2.0, True)
    }
    assert [(p.model, p.batch, p.measured) for p in networks.points] == [("resnet18", 1, 0.01), ("mobilenetv3_small_050", 1, 0.01)]
    assert [(f.model, f.batch, f.message) for f in networks.failures] == [
        ("resnet18", 7, "out of luck"), ("mobilenetv3_small_050", 7, "out of luck"),
    ]  # fmt: skip
    assert told[0] == ("tracing resnet18", 0.0)
    assert [share for what, share in told if not what.startswith("tracing")] == [0, 0.25, 0.5, 0.75]


def test_a_gpu_profile_means_the_gpu_in_this_machine(measured_here: list[dict[str, Any]]) -> None:
    told: list[float] = []
    roofline.validate_host(
        "resnet18", "t4", batches=[1, 2], image_size=64, precision="amp", progress=lambda what, share: told.append(share)
    )
    assert {(how["where"], how["precision"], how["apart"]) for how in measured_here} == {("cuda", "amp", False)}
    assert told[1:] == pytest.approx([0.5 * 0.65 / 2, 0.5, 0.5 + 0.5 * 0.65 / 2, 1.0])


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"models": ["resnet18", "resnet81"]}, "unknown model 'resnet81'"),
        ({"batches": [0]}, "bad batch size 0"),
        ({"precision": "fp31"}, "unknown precision 'fp31'"),
        ({"mode": "fast"}, "unknown mode 'fast'"),
        ({"hardware": "t5"}, "unknown hardware 't5'"),
        ({"models": []}, "nothing to validate; give at least one network"),
        ({"batches": [7]}, "out of luck"),
    ],
)
def test_mistakes_are_told_and_most_of_them_before_anything_is_timed(
    how: dict[str, Any], says: str, measured_here: list[dict[str, Any]]
) -> None:
    with pytest.raises(RooflineError, match=says):
        roofline.validate_host(**{"models": "resnet18", "hardware": "c5.2xlarge", "image_size": 64, **how})
    assert len(measured_here) == (says == "out of luck")


# --- what others published -------------------------------------------------------------------------------------------


def published(**changes: Any) -> Published:
    made = Published("mine", "t4", "resnet18", "resnet", "eager", "fp32", "nchw", 8, 64, 0.04, "me", "")
    return replace(made, **changes)


def test_each_published_timing_is_predicted_and_what_fails_says_why() -> None:
    rows = [
        published(batch=16), published(), published(device="v100", precision="fp16", layout="nhwc", mode="engine"),
        published(model="no_such_network"), published(device="rtx5090x"), published(precision="fp16", device="c5.2xlarge"),
    ]  # fmt: skip
    found = roofline.validate_published(rows)
    assert [(p.device, p.batch, p.mode) for p in found.points] == [("t4", 16, "eager"), ("t4", 8, "eager"), ("v100", 8, "engine")]
    expected = roofline.analyze("resnet18", "t4", batch=8, image_size=64)
    assert (found.points[1].predicted, found.points[1].limit, found.points[1].measured) == (expected.latency, expected.lower_bound, 0.04)
    assert found.n + len(found.failures) == len(rows)
    messages = {f.label: f.message for f in found.failures}
    assert messages["no_such_network on t4, batch 8, 64 px, fp32, eager, nchw"].startswith("unknown model 'no_such_network'")
    assert any(message.startswith("unknown hardware 'rtx5090x'") for message in messages.values())
    assert any("c5.2xlarge has no fp16 unit" in message for message in messages.values())


def test_a_published_timing_is_predicted_with_its_what_ifs() -> None:
    rows = [published(mode="engine"), published(mode="engine", what_if="cuda-graphs"), published(what_if="fold-bn cuda-graphs")]
    found = roofline.validate_published(rows)
    ways = [("engine", []), ("engine", ["cuda-graphs"]), ("eager", ["fold-bn", "cuda-graphs"])]
    expected = [roofline.analyze("resnet18", "t4", batch=8, image_size=64, mode=mode, what_if=what_if) for mode, what_if in ways]
    assert [p.predicted for p in found.points] == [report.latency for report in expected]
    assert found.points[1].predicted < found.points[0].predicted
    assert found.points[2].label == "resnet18 on t4, batch 8, 64 px, fp32, eager, nchw, fold-bn, cuda-graphs"
    assert found.rows()[2]["what_if"] == "fold-bn cuda-graphs"


def test_a_network_is_traced_once_for_all_its_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[tuple[str, int]] = []

    def tracing(name: str, *, image_size: int, cache: bool) -> Graph:
        traced.append((name, image_size))
        return pointwise()

    monkeypatch.setattr(validating, "trace", tracing)
    told: list[tuple[str, float]] = []
    rows = [published(model=m, batch=b, device=d) for b in (1, 2) for d in ("t4", "v100") for m in ("resnet18", "resnet34")]
    found = roofline.validate_published([*rows, published(image_size=96)], progress=lambda what, share: told.append((what, share)))
    assert sorted(traced) == [("resnet18", 64), ("resnet18", 96), ("resnet34", 64)]
    assert [(p.model, p.batch, p.device) for p in found.points][:8] == [(r.model, r.batch, r.device) for r in rows]
    assert told == [("resnet18", 0.0), ("resnet34", 4 / 9), ("resnet18", 8 / 9)]


def test_an_error_of_any_kind_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def tracing(*_: Any, **__: Any) -> Graph:
        raise ZeroDivisionError("of\nall things")

    monkeypatch.setattr(validating, "trace", tracing)
    assert [f.message for f in roofline.validate_published([published()]).failures] == ["ZeroDivisionError: of all things"]


def test_a_table_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("open('ran', 'w')\n")
    found = roofline.validate_published([published(model="net.py:build")])
    assert "which is not run for a table" in found.failures[0].message
    assert not (tmp_path / "ran").exists()


# --- the page --------------------------------------------------------------------------------------------------------


def page_of(networks: Comparison, layers: Layers = SIX) -> tuple[str, str]:
    """Give the whole page, and what is left of it without plotly.js."""
    page = to_html(Validation.of(networks, layers))
    assert page.count(plotly()) == 1
    return page, page.replace(plotly(), "")


def columns(page: str, name: str) -> dict[str, Any]:
    found = re.search(rf'<script type="application/json" id="{name}-data">(.*?)</script>', page)
    assert found is not None
    return json.loads(found[1])["columns"]


def test_the_page_holds_every_timing_and_every_layer() -> None:
    _, own = page_of(FIVE)
    networks, layers = columns(own, "networks"), columns(own, "layers")
    assert networks["measured"] == [10000.0] * 5
    assert networks["predicted"] == pytest.approx([9000, 12000, 7000, 13000, 5000])
    assert networks["low"] == pytest.approx([7200, 9600, 5600, 10400, 4000])
    assert [networks["device"]["words"][i] for i in networks["device"]["codes"]] == ["t4"] * 5
    assert len(layers["measured"]) == 7
    assert "Predicted bound, and the roof reached (at least 30 % of it)" in own
    assert "layers-plot" not in page_of(FIVE, Layers())[1]


def test_names_cannot_leave_their_place_in_the_page() -> None:
    nasty = point(model=NASTY, dataset=NASTY, family=NASTY, source=NASTY, note=NASTY, excluded=NASTY)
    made = Comparison((nasty, point(dataset=HERE, note=NASTY)), (failure(model=NASTY, message=NASTY),))
    _, own = page_of(made, Layers((layer(layer=NASTY, model=NASTY, kind=NASTY, bound="compute", compute_share=3.0),)))
    assert "<img" not in own
    assert own.count("</script>") == 4  # two of data, plotly's, and the page's own
    assert "&lt;img src=x" in own
    assert columns(own, "networks")["model"]["words"][0] == NASTY
    assert 'value).replace(/&/g, "&amp;").replace(/</g, "&lt;")' in own  # plotly reads tags in texts: the script escapes them


def test_the_page_refers_to_nothing_outside_itself() -> None:
    _, own = page_of(FIVE)
    assert re.findall(r"https?:|//\w|url\(|@import|<link|\bsrc=|\bhref=", own) == []
    assert "default-src 'none'" in own
    assert 'plotlyServerURL: ""' in own
    assert "modeBarButtons" in own  # without the one that uploads a chart


def test_a_page_of_all_published_timings_stays_below_six_megabytes() -> None:
    points = tuple(point(1 + i / 7, 1 + i / 9, model=f"network_{i % 733}", note="a remark on it", batch=i % 50 + 1) for i in range(5691))
    page, own = page_of(Comparison(points), Layers())
    assert len(page.encode()) < 6_000_000
    assert "the farthest off first: 60 of 5691" in own


def test_a_page_without_timings_is_still_a_page() -> None:
    _, own = page_of(Comparison((), (failure(),)), Layers())
    assert "no such network" in own


# --- command line ----------------------------------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = cli(["validate", *arguments])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def test_a_network_is_timed_here_and_compared_whole_and_layer_by_layer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = [tmp_path / f"out.{suffix}" for suffix in ("html", "json", "csv")]
    name, to_files = "mobilenetv3_small_050", [part for file in files for part in ("-o", str(file))]
    out = printed(capsys, "--models", name, "--image-size", "64", "--seconds", "0.5", "--threads", "1", "--worst", "1", *to_files)
    lines = out.splitlines()
    assert max(len(line) for line in lines if not line.startswith("wrote ")) <= 80
    assert lines[0].startswith("predicted for host, measured on ")
    for expected in (
        "timings     1 compared",
        "kind of op",
        "depthwise conv",
        "predicted bound against the roof reached",
        "agree: ",
        "farthest off",
    ):
        assert expected in out
    body = json.loads(files[1].read_text())
    graph = roofline.trace(name, image_size=64)
    assert (body["figures"]["n"], body["points"][0]["model"], body["points"][0]["image_size"]) == (1, name, 64)
    assert body["points"][0]["measured_seconds"] > 0
    worked = [row for row in body["layers"] if row["flops"] or row["bytes"]]
    assert len(worked) == sum(not graph.is_view(op) for op in graph.ops)
    assert all(row["measured_seconds"] > 0 and row["predicted_seconds"] > 0 for row in worked)
    assert sum(cell["layers"] for cell in body["classification"]["confusion"]) == len(worked)
    assert next(csv.DictReader(files[2].open()))["model"] == name
    assert name in files[0].read_text()


def test_saved_measurements_are_compared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for batch in (1, 2, 4):
        sample(batch=batch).to_json(tmp_path / f"{batch}.json")
    first, *others = [str(tmp_path / f"{batch}.json") for batch in (1, 2, 4)]
    out = printed(capsys, "--hw", "c5.2xlarge", "--by", "batch", "--measured", first, *others)  # as the shell expands *.json
    assert "timings     3 compared" in out
    assert out.count("resnet18") == 3
    assert "limit       off by" in out


def test_published_timings_are_summed_by_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "--published", "--models", "resnet18", "--datasets", "*-t4-*,timm-rtx4090-*")
    assert re.search(r"^data set +n  fail  median +p90 +bias +rank +covers +limit$", out, re.MULTILINE)
    assert re.search(r"^paddleclas-t4-engine\* +6 +0 ", out, re.MULTILINE)
    assert re.search(r"^timm-rtx4090-compiled +3 +0 ", out, re.MULTILINE)
    assert "* left out of fits, paddleclas-t4-engine: low trust" in out
    assert "rank: Spearman's correlation" in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_of_published_timings_is_all_there_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    body = json.loads(printed(capsys, "--published", "--devices", "t4", "--datasets", "nvidia-*", "--models", "resnet50", "--json"))
    assert (body["figures"]["n"], body["figures"]["failed"]) == (18, 0)
    assert {p["precision"] for p in body["points"]} == {"amp", "fp32"}
    assert body["layers"] == []


def test_a_table_of_the_user_is_compared_and_its_failures_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    header = "dataset,device,model,mode,precision,batch,image_size,latency_ms\n"
    rows = [f"mine,t4,{model},eager,fp32,1,64,1.5" for model in ("resnet18", *(f"no_such_net_{i}" for i in range(7)))]
    (tmp_path / "mine.csv").write_text(header + "\n".join(rows))
    out = printed(capsys, "--table", str(tmp_path / "mine.csv"), "--by", "device")
    assert re.search(r"^t4 +1 +7 ", out, re.MULTILINE)
    assert out.count("failed: no_such_net_") == 5
    assert "failed: 2 more; -o FILE.json lists them all" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--models", "resnet81"], "error: unknown model 'resnet81'; did you mean"),
        (["-o", "out.txt"], "error: cannot write 'out.txt': unknown suffix; use .html, .json, .csv"),
        (["nowhere.json"], "error: cannot read 'nowhere.json': No such file"),
        (["--published", "--seconds", "3"], "error: --seconds has no part in a validation with --published; drop one"),
        (["--published", "--hw", "t4"], "error: --hw has no part in a validation with --published"),
        (["--datasets", "nvidia-*", "some.json"], "error: FILE has no part in a validation with --datasets"),
        (["some.json", "--models", "resnet18"], "error: --models has no part in a validation with FILE"),
        (["--mode", "eager,compiled"], "error: --mode takes one value for what is timed here; run once for each of eager, compiled"),
        (["--published", "--models", "nosuch*"], "error: no published timing has model nosuch*; "),
        (["--sample", "0"], "error: bad sample of 0 networks; use 1 or more"),
        (["--table", "nowhere.csv"], "error: cannot read the table 'nowhere.csv': No such file"),
        (["--precision", "fp31"], "error: unknown precision 'fp31'"),
        (["-b", "0"], "error: bad batch size 0"),
        (["--by", "colour"], "error: Invalid value for '--by'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["validate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(says)
    assert err.count("\n") == 1


def test_the_command_offers_every_key_to_group_by() -> None:
    assert set(command.GROUPS) == set(KEYS)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("patience", "drawn"), [(0.0, True), (60.0, False)])
def test_the_bar_appears_after_a_while_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, patience: float, drawn: bool) -> None:
    monkeypatch.setattr(command, "PATIENCE", patience)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with command._progress() as tell:
        assert tell is not None
        tell("resnet18 [red]", 0.25)
    assert ("resnet18 [red]" in terminal.getvalue()) is drawn
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with command._progress() as tell:
        assert tell is None


def test_published_timings_need_no_torch_once_traced() -> None:
    roofline.trace("resnet18", image_size=64)
    code = (
        "import sys, roofline\nfrom roofline.measurement.published import Published\n"
        "row = Published('mine', 't4', 'resnet18', '', 'eager', 'fp32', 'nchw', 8, 64, 0.04, '', '')\n"
        "assert roofline.validate_published([row]).n == 1\nassert 'torch' not in sys.modules and 'plotly' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
