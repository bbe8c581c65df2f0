"""Times of kernels: each roof, the chip's fill and the host's wait by hand on a device of round numbers, and what always holds."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from devices import DRAM, HALF, L2, VECTOR, device, engine, level
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cnns, traced
from torch.nn import functional

import roofline
from roofline.costmodel.analysis import Analysis, Prediction
from roofline.costmodel.analyze import analyze_grid
from roofline.costmodel.calibration import Calibration
from roofline.costmodel.columns import tabulate
from roofline.costmodel.demand import demand
from roofline.costmodel.device import Hardware
from roofline.costmodel.fleet import Fleet
from roofline.costmodel.hardware import load_hardware
from roofline.costmodel.timemodel import BOUNDS, host_wait, price, price_fleet, totals
from roofline.errors import UnsupportedError
from roofline.graph import Graph
from roofline.transforms.modes import MODES, Mode
from roofline.transforms.precision import PRECISIONS

any_speed = settings(deadline=None, max_examples=40)

GEMM = 2 * 1024**3
"""FLOPs of a product of two matrices of 1024 x 1024."""


def on(graph: Graph, hardware: Hardware, **options: str) -> Analysis:
    """Analyze *graph* at batch 1 and at the ceilings of *hardware*, compiled unless *options* say otherwise."""
    settled = {"mode": "compiled", **options}
    precisions = [settled.pop("precision", "fp32")]
    return analyze_grid(
        replace(graph, batch=None), [hardware], [graph.inputs[0].shape[0]], precisions=precisions, calibrated=False, **settled
    )[0]


def relu(elements: int) -> Graph:
    """Trace one relu over *elements* numbers."""
    return traced(torch.relu, (1, elements))


@cache
def gemm(*, gelu: bool = False) -> Graph:
    """Trace a product of two 1024 x 1024 matrices, and a gelu after it."""
    return traced(
        lambda x, w: functional.gelu(functional.linear(x, w)) if gelu else functional.linear(x, w), (1024, 1024), weights=[(1024, 1024)]
    )


def only(analysis: Analysis) -> Prediction:
    """Give the only kernel."""
    (prediction,) = analysis.predictions
    return prediction


# --- roofs -------------------------------------------------------------------------------------------------------------


def test_memory_roof_is_the_bytes_at_the_bandwidth_that_copies_reach() -> None:
    kernel = only(on(relu(10_240_000), device()))  # 40.96 MB read and written at 80 GB/s
    assert kernel.memory_seconds == pytest.approx(1024e-6)
    assert kernel.seconds == pytest.approx(1024e-6 + 1e-6)  # one launch in a graph
    assert (kernel.bound, kernel.fill, kernel.occupancy_seconds) == ("memory", 1.0, 0.0)


def test_runner_up_and_margin_compare_the_two_largest_parts() -> None:
    kernel = only(on(relu(10_240_000), device()))  # compute: 10.24 MFLOP at 0.5 TFLOP/s is 20.48 us
    assert kernel.compute_seconds == pytest.approx(20.48e-6)
    assert (kernel.bound, kernel.runner_up) == ("memory", "compute")
    assert kernel.margin == pytest.approx(50.0)


def test_compute_roof_is_the_flops_at_the_ceiling_of_the_vector_engine() -> None:
    kernel = only(on(gemm(), device()))
    assert kernel.compute_seconds == pytest.approx(GEMM / 0.5e12)
    assert kernel.bound == "compute"


def test_products_in_half_precision_run_on_the_matrix_engine() -> None:
    assert only(on(gemm(), device(), precision="fp16")).compute_seconds == pytest.approx(536.870912e-6)


def test_products_without_a_matrix_engine_run_on_the_vector_engine_of_their_type() -> None:
    assert only(on(gemm(), device(engines=(VECTOR, HALF)), precision="fp16")).compute_seconds == pytest.approx(2147.483648e-6)


def test_two_engines_work_at_the_same_time() -> None:
    kernel = only(on(gemm(gelu=True), device(), precision="fp16", mode="engine"))
    assert kernel.compute_seconds == pytest.approx(536.870912e-6)  # the gelu's 8.4 us on the vector engine pass unseen


def test_one_engine_does_one_thing_after_the_other() -> None:
    kernel = only(on(gemm(gelu=True), device(), mode="engine"))
    assert kernel.compute_seconds == pytest.approx(4294.967296e-6 + 16.777216e-6)  # 8 FLOP for each of 1,048,576 gelus


def test_each_product_shares_the_engine_that_its_own_type_has() -> None:
    def both(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return functional.gelu(functional.linear(x, w)), functional.gelu(functional.linear(y, y))

    mixed = traced(both, (1024, 1024), torch.empty(1024, 1024, dtype=torch.float16, device="meta"), weights=[(1024, 1024)])
    mixed = replace(mixed, kernels=((0, 1), (2, 3)))
    assert [p.compute_seconds for p in on(mixed, device(), mode="eager").predictions] == pytest.approx([4311.744512e-6, 536.870912e-6])


def test_limit_is_the_datasheet_roofline_without_launch_or_occupancy() -> None:
    assert only(on(relu(10_240_000), device())).limit_seconds == pytest.approx(819.2e-6)  # at 100 GB/s
    assert only(on(gemm(), device())).limit_seconds == pytest.approx(GEMM / 1e12)


def test_a_card_that_boosts_above_its_datasheet_is_limited_by_what_it_reached() -> None:
    boosting = device(engines=(engine("vector", "fp32", 1e12, 2e12),), memory=(level("dram", 8e9, 100e9, 200e9),))
    assert only(on(gemm(), boosting)).limit_seconds == pytest.approx(GEMM / 2e12)
    assert only(on(relu(10_240_000), boosting)).limit_seconds == pytest.approx(409.6e-6)


# --- memory levels -----------------------------------------------------------------------------------------------------


def two_relus(elements: int) -> Graph:
    """Trace two relus, one after the other."""
    return traced(lambda x: torch.relu(torch.relu(x)), (1, elements))


def test_a_cache_keeps_the_less_of_a_tensor_the_larger_that_is() -> None:
    """Of a tensor written and read at once, the share that is still cached is exp(-size / cache)."""
    for elements, kept in ((25_000, 0.904837), (250_000, 0.367879), (1_000_000, 0.018316)):  # 0.1, 1 and 4 times 1 MB
        first, second = on(two_relus(elements), device(memory=(DRAM, L2)), mode="eager").predictions
        for p in (first, second):  # what enters the network comes from DRAM, and what leaves it goes there
            assert p.level_bytes == pytest.approx({"dram": 4 * elements * (2 - kept), "l2": 4 * elements * kept}, rel=1e-4)


def test_traffic_is_priced_at_the_level_that_serves_it() -> None:
    first, _ = on(two_relus(25_000), device(memory=(DRAM, L2)), mode="eager").predictions
    assert first.memory_seconds == pytest.approx(109_516.3 / 80e9, rel=1e-5)  # L2 passes 200 kB in 0.5 us meanwhile


def test_the_limit_counts_what_cannot_stay_in_the_cache_only() -> None:
    cached, not_cached = (on(two_relus(n), device(memory=(DRAM, L2)), mode="eager").predictions[1] for n in (250_000, 250_001))
    assert cached.limit_seconds == pytest.approx(1e6 / 100e9)  # 1 MB written to DRAM; 1 MB read from L2
    assert not_cached.limit_seconds == pytest.approx(1e6 * (1 + 0.632121) / 100e9, rel=1e-5)  # as much as is expected


def test_a_cache_passes_on_what_comes_from_dram() -> None:
    slow = level("l2", 1e6, 1000e9, 40e9)
    first, _ = on(two_relus(40_000), device(memory=(DRAM, slow)), mode="eager").predictions
    assert first.memory_seconds == pytest.approx(8e-6)  # 320 kB at 40 GB/s


def test_a_cache_of_each_unit_holds_nothing_between_kernels_of_a_gpu() -> None:
    private = replace(L2, name="shared", shared_by="unit")
    assert [p.level_bytes for p in on(two_relus(100), device(memory=(DRAM, private)), mode="eager").predictions] == [{"dram": 800}] * 2


def test_a_cache_of_each_core_serves_a_cpu() -> None:
    private = replace(L2, shared_by="unit")
    first, _ = on(two_relus(100), device(kind="cpu", memory=(DRAM, private)), mode="eager").predictions
    assert first.level_bytes == pytest.approx({"dram": 400, "l2": 400}, rel=1e-3)


def many_cores(units: int) -> Hardware:
    """Make a CPU whose cores have 1 MB of their own in all, and share 4 MB."""
    return device(kind="cpu", units=units, memory=(DRAM, level("l3", 4e6, 400e9, 200e9), replace(L2, shared_by="unit")))


@pytest.mark.parametrize(("units", "shared"), [(10, 360), (2, 200), (1, 0)])
def test_what_another_core_wrote_comes_through_the_cache_that_all_share(units: int, shared: float) -> None:
    """All but one's own share of the 400 bytes that lie in the caches of single cores."""
    first, second = on(two_relus(100), many_cores(units), mode="eager").predictions
    assert first.level_bytes == pytest.approx({"dram": 400, "l3": shared, "l2": 400 - shared}, abs=1)
    assert second.limit_seconds == pytest.approx(400 / 100e9)  # a limit may hope for the best


def test_a_perfect_engine_leaves_data_with_the_core_that_wrote_them() -> None:
    shares = [Fleet((many_cores(10),), (Calibration(mode),)).foreign.item() for mode in ("engine", "ideal")]
    assert shares == pytest.approx([0.9, 0])


@pytest.mark.parametrize("name", ["t4", "h100", "c5.2xlarge", "i9-10940x"])
@pytest.mark.parametrize("mode", MODES)
def test_every_byte_is_served_by_exactly_one_level(name: str, mode: str) -> None:
    analysis = roofline.analyze("efficientnet_b0", name, batch=8, mode=mode)
    for p in analysis.predictions:
        assert sum(p.level_bytes.values()) == pytest.approx(p.cost.bytes)


def test_tensor_core_convolutions_pay_for_two_transposes_in_eager_nchw() -> None:
    conv = traced(torch.nn.Conv2d(64, 64, 3, padding=1, bias=False), (1, 64, 32, 32))  # 131,072 bytes in and out, 73,728 of weights

    def took(graph: Graph, nbytes: int, turned: int = 0, **way: Any) -> bool:
        waited = 100e-9 * nbytes / 65_536  # each byte keeps one of the results waiting
        return only(on(graph, device(), **way)).memory_seconds == pytest.approx((nbytes + turned) / 80e9 + waited)

    assert took(conv, 335_872, 524_288, precision="fp16", mode="eager")
    assert took(conv, 335_872, precision="fp16", mode="eager", layout="nhwc")
    assert took(conv, 335_872, precision="fp16", mode="engine")
    assert took(conv, 671_744, mode="eager")  # fp32 has no tensor cores here
    pointwise = traced(torch.nn.Conv2d(64, 64, 1, bias=False), (1, 64, 32, 32))  # multiplies its maps where they lie
    assert took(pointwise, 270_336, precision="fp16", mode="eager")


# --- fill --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns", "fill"), [(64, 320, 1 / 2), (64, 32, 1 / 11), (640, 640, 20 / 21)])
def test_a_product_of_2048_results_for_each_unit_fills_half_of_it(rows: int, columns: int, fill: float) -> None:
    product = traced(functional.linear, (rows, 32), weights=[(columns, 32)])
    assert only(on(product, device())).fill == pytest.approx(fill)


def test_occupancy_is_the_time_that_idle_units_cost() -> None:
    product = traced(functional.linear, (64, 512), weights=[(320, 512)])  # 20.97 MFLOP at 0.5 TFLOP/s
    kernel = only(on(product, device(memory=(level("dram", 8e9, 1e15, 1e15),))))
    assert kernel.compute_seconds == pytest.approx(41.94304e-6)
    assert kernel.occupancy_seconds == pytest.approx(41.94304e-6, rel=1e-4)


def test_elementwise_kernels_fill_every_unit() -> None:
    assert only(on(relu(1), device())).fill == 1.0


def test_two_equal_roofs_take_a_fifth_longer_than_one() -> None:
    balanced = device(engines=(engine("vector", "fp32", 1e12, 10.24e6 / 1024e-6),))  # a relu of 1,024 us of memory, and of compute
    assert only(on(relu(10_240_000), balanced, mode="ideal")).seconds == pytest.approx(2**0.25 * 1024e-6 + 1e-6)


# --- overhead ----------------------------------------------------------------------------------------------------------


def test_a_gpu_waits_for_the_host_that_dispatches_the_op() -> None:
    assert only(on(relu(1), device(), mode="eager")).overhead_seconds == pytest.approx(12e-6)  # 10 of the host, 2 of the launch


def test_a_view_costs_the_host_and_launches_nothing() -> None:
    graph = traced(lambda x: torch.relu(x.view(4, 2)), (2, 4))
    assert on(graph, device(), mode="eager").times.overhead.sum() == pytest.approx(4e-6 + 10e-6 + 2e-6)
    assert on(graph, device()).times.overhead.sum() == pytest.approx(1e-6)


def test_on_a_cpu_dispatch_and_launch_add_up() -> None:
    graph = traced(lambda x: torch.relu(torch.relu(x)), (1, 8))
    assert on(graph, device(kind="cpu"), mode="eager").times.overhead.sum() == pytest.approx(2 * (10e-6 + 2e-6))


def test_a_busy_gpu_hides_the_host() -> None:
    graph = traced(lambda x: torch.relu(torch.relu(torch.relu(x))), (1, 10_240_000))  # a millisecond each
    assert on(graph, device(), mode="eager").times.overhead[0] == pytest.approx([12e-6, 2e-6, 2e-6])


def calls(hardware: Hardware, mode: Mode, *, replayed: bool = False) -> list[float]:
    """Give the overheads of two kernels in a row, in microseconds, where a start takes 5 and a call 70."""
    columns = tabulate(replace(traced(lambda x: torch.relu(torch.relu(x)), (1, 8)), batch=None), [1])
    times = price(columns, hardware, Calibration(mode, launch=5e-6, call=70e-6), replayed=replayed)
    return [1e6 * seconds for seconds in times.overhead[0]]


def test_a_captured_graph_saves_of_each_start_what_it_saves_an_empty_kernel() -> None:
    assert calls(device(), "engine", replayed=True) == pytest.approx([4, 4])  # 2 - 1 less than 5
    assert calls(device(), "compiled", replayed=True) == pytest.approx([4, 4])
    assert calls(device(), "eager", replayed=True) == pytest.approx([4, 4])
    assert calls(device(launch=9e-6), "engine", replayed=True) == pytest.approx([1, 1])  # no less than an empty one takes
    assert calls(device(kind="cpu"), "engine", replayed=True) == pytest.approx([75, 5])


def test_the_first_kernel_waits_for_the_call_of_an_engine() -> None:
    assert calls(device(), "engine") == pytest.approx([75, 5])
    assert calls(device(), "ideal") == pytest.approx([4, 4])  # a perfect engine replays


def test_totals_count_one_call() -> None:
    columns = tabulate(replace(traced(lambda x: torch.relu(torch.relu(x)), (1, 8)), batch=None), [1])
    fleet = Fleet((device(),), (Calibration("engine", launch=5e-6, call=70e-6),))
    few, which = demand(columns, fleet.distances).distinct()
    assert len(which) == 2 > few.shape[1]
    assert totals(few, which, fleet)[0][0, 0] == price_fleet(demand(columns, fleet.distances), fleet).seconds.sum()


def simulated_wait(host: list[float], busy: list[float]) -> list[float]:
    """Walk along two timelines: the host issues one kernel after the other, the device starts what was issued once it is free."""
    waits, issued, free = [], 0.0, 0.0
    for issue, work in zip(host, busy, strict=True):
        issued += issue
        start = max(issued, free)
        waits.append(start - free)
        free = start + work
    return waits


times = st.floats(0, 1e-3, allow_subnormal=False)


@any_speed
@given(st.lists(st.tuples(times, times), min_size=1, max_size=40))
def test_host_wait_equals_a_simulation_of_two_timelines(pairs: list[tuple[float, float]]) -> None:
    host, busy = [list(side) for side in zip(*pairs, strict=True)]
    assert host_wait(np.array(host), np.array([busy]))[0] == pytest.approx(simulated_wait(host, busy), abs=1e-12)


def test_efficientnet_b0_on_a_v100_takes_as_long_for_16_images_as_for_1() -> None:
    one, sixteen, many = (r.latency for r in roofline.analyze_many("efficientnet_b0", ["v100"], [1, 16, 256]))
    assert sixteen == pytest.approx(one, rel=0.1)  # published: 13.2 ms and 13.8 ms
    assert many > 3 * one


# --- what always holds -------------------------------------------------------------------------------------------------

gpus = st.builds(
    lambda units, host, memory: device(units=units, host_op=host, memory=memory),
    st.integers(1, 200),
    st.sampled_from([0.0, 1e-6, 5e-5]),
    st.sampled_from([(DRAM,), (DRAM, L2)]),
)
modes = st.sampled_from(MODES)


def seconds(graph: Graph, hardware: Hardware, mode: str, precision: str = "fp32") -> Analysis:
    """Analyze *graph* at the batch it stands at, at the ceilings of *hardware*."""
    return analyze_grid(graph, [hardware], [graph.batch or 1], mode=mode, precisions=[precision], calibrated=False)[0]


@any_speed
@given(cnns(), gpus, modes)
def test_time_is_at_least_each_roof(graph: Graph, hardware: Hardware, mode: str) -> None:
    times = seconds(graph, hardware, mode).times
    for roof in (times.matrix, times.vector, times.memory, times.overhead, times.limit, *times.level_seconds.values()):
        assert (times.seconds >= roof * (1 - 1e-12)).all()


@any_speed
@given(cnns(), gpus, modes, st.floats(1, 100))
def test_more_bandwidth_never_slows(graph: Graph, hardware: Hardware, mode: str, factor: float) -> None:
    faster = replace(hardware, memory=tuple(replace(m, peak=m.peak * factor, copy=m.copy * factor) for m in hardware.memory))
    assert seconds(graph, faster, mode).latency <= seconds(graph, hardware, mode).latency * (1 + 1e-12)


@any_speed
@given(cnns(), gpus, modes, st.floats(1, 100), st.sampled_from(["fp32", "fp16"]))
def test_faster_engines_never_slow(graph: Graph, hardware: Hardware, mode: str, factor: float, precision: str) -> None:
    faster = replace(hardware, engines=tuple(replace(e, peak=e.peak * factor, ceiling=e.ceiling * factor) for e in hardware.engines))
    assert seconds(graph, faster, mode, precision).latency <= seconds(graph, hardware, mode, precision).latency * (1 + 1e-12)


@any_speed
@given(cnns(), gpus, modes, st.integers(2, 5))
def test_a_device_of_more_such_units_never_slows(graph: Graph, hardware: Hardware, mode: str, factor: int) -> None:
    larger = replace(
        hardware,
        units=hardware.units * factor,
        engines=tuple(replace(e, peak=e.peak * factor, ceiling=e.ceiling * factor) for e in hardware.engines),
        memory=tuple(replace(m, peak=m.peak * factor, copy=m.copy * factor) for m in hardware.memory),
    )
    assert seconds(graph, larger, mode).latency <= seconds(graph, hardware, mode).latency * (1 + 1e-12)


@any_speed
@given(cnns(), gpus, modes)
def test_layers_modules_and_kinds_each_sum_to_the_latency(graph: Graph, hardware: Hardware, mode: str) -> None:
    analysis = seconds(graph, hardware, mode)
    for rows in (analysis.by_layer(), analysis.by_module(1), analysis.by_module(2), analysis.by_op(), analysis.predictions):
        assert sum(row.seconds for row in rows) == pytest.approx(analysis.latency)
    assert sum(analysis.seconds_by_bound.values()) == pytest.approx(analysis.latency)


@any_speed
@given(cnns(), gpus, modes)
def test_parts_of_a_kernel_never_exceed_its_time(graph: Graph, hardware: Hardware, mode: str) -> None:
    for p in seconds(graph, hardware, mode).predictions:
        parts = (p.compute_seconds, p.memory_seconds, p.overhead_seconds, p.occupancy_seconds)
        assert max(parts) * (1 - 1e-9) <= p.seconds <= sum(parts) * (1 + 1e-9)
        assert p.margin >= 1
        assert p.bound != p.runner_up
        assert 0 < p.fill <= 1


@pytest.mark.parametrize("mode", MODES)
def test_no_device_is_faster_than_its_datasheet_roofline(mode: str) -> None:
    devices = [load_hardware(name) for name in roofline.hardware.names()]  # at their ceilings: fitted, Winograd passes the roof
    for precision in PRECISIONS:
        able = [d for d in devices if (precision == "amp" and d.supports("fp16")) or d.supports(precision)]
        for report in roofline.analyze_many("efficientnet_b0", able, [1, 64], precisions=[precision], mode=mode, calibrated=False):
            assert 0 < report.lower_bound <= report.latency * (1 + 1e-12), (report, precision)
            assert report.bound in BOUNDS


def test_a_depthwise_convolution_is_held_by_the_roof_that_it_stands_under() -> None:
    report = roofline.analyze("efficientnet_b0", "v100", batch=256, precision="amp", layout="nhwc")
    (first,) = [p for p in report.predictions if p.layer == "blocks.0.0.conv_dw" and p.name == "conv2d"]
    assert first.bound == "memory"
    traffic = first.cost.bytes / report.hardware.memory[0].copy
    assert first.memory_seconds > 1.5 * traffic  # its loads on the chip take longer than DRAM does


# --- what a device cannot do -------------------------------------------------------------------------------------------


def test_an_unsupported_type_names_the_device_and_what_it_can_do() -> None:
    with pytest.raises(UnsupportedError, match=r"t4 has no bf16 unit; use one of fp32, fp16, int8, int4"):
        roofline.analyze("efficientnet_b0", "t4", precision="bf16")


@pytest.mark.parametrize(
    ("name", "precision"), [("t4", "bf16"), ("t4", "tf32"), ("v100", "bf16"), ("v100", "tf32"), ("h100", "int4"), ("cpu", "fp16")]
)
def test_nothing_is_inferred_from_another_type(name: str, precision: str) -> None:
    with pytest.raises(UnsupportedError, match=f"has no {precision} unit"):
        roofline.analyze("efficientnet_b0", name, precision=precision)


def test_autocast_needs_a_half_type() -> None:
    with pytest.raises(UnsupportedError, match="no fp16 or bf16 unit"):
        on(relu(8), device(engines=(VECTOR,)), precision="amp")


def test_autocast_uses_bf16_where_there_is_no_fp16() -> None:
    bf16 = engine("matrix", "bf16", 8e12, 4e12)
    analysis = on(gemm(), device(engines=(VECTOR, bf16)), precision="amp", mode="eager")
    assert {t.dtype for t in analysis.graph.tensors} == {"fp32", "bf16"}
    assert max(p.compute_seconds for p in analysis.predictions) == pytest.approx(536.870912e-6)


def test_elementwise_work_in_a_type_without_a_vector_engine_runs_in_fp32() -> None:
    matrix_only = device(engines=(VECTOR, engine("matrix", "fp16", 8e12, 4e12)))
    assert only(on(relu(10_240_000), matrix_only, precision="fp16")).compute_seconds == pytest.approx(20.48e-6)
