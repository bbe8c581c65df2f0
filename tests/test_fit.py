"""The fit: it recovers parameters that made its data, follows relatives where it has none, and prices as predictions do."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from devices import DRAM, L2, device, level
from numpy.typing import NDArray
from strategies import cnn, traced
from torch import nn

from roofline.costmodel.analyze import analyze_grid
from roofline.costmodel.calibration import CLASSES, PER_KERNEL, Calibration, Shape, neutral
from roofline.costmodel.columns import Columns, tabulate
from roofline.costmodel.demand import demand
from roofline.costmodel.device import Hardware
from roofline.costmodel.fleet import Fleet, through_levels
from roofline.costmodel.profile.calibrations import read_calibrations
from roofline.costmodel.timemodel import price
from roofline.costmodel.workload import describe
from roofline.graph import Graph
from roofline.measurement.fit import (
    FIELDS,
    FOLDS,
    Fitted,
    Model,
    Row,
    Run,
    Sample,
    calibrations_of,
    fit,
    left_out,
    row_of,
    sample_row,
)
from roofline.transforms.modes import Layout, Mode, execute
from roofline.transforms.precision import to_precision

NETWORKS: tuple[tuple[tuple[str, ...], int, int], ...] = (
    (("conv", "residual", "gate"), 32, 64),
    (("depthwise", "residual"), 48, 64),
    (("grouped", "biased", "pool"), 64, 32),
    (("conv", "conv"), 64, 32),
    (("residual", "depthwise", "gate"), 96, 32),
    (("biased", "branches"), 32, 64),
    (("norm", "conv"), 16, 64),
    (("softmax", "residual"), 24, 32),
    (("grouped", "conv", "pool"), 32, 64),
    (("depthwise", "biased"), 128, 16),
    (("conv", "norm", "gate"), 128, 16),
    (("residual", "residual"), 12, 64),
)
"""Blocks, channels and pixels a side of small classifiers."""

BATCHES = (1, 4, 16, 64, 256)
PRECISIONS = ("fp32", "fp16", "amp")

GPU = replace(device(memory=(DRAM, L2)), id="one", architecture="ampere", segment="datacenter")
CPU = replace(device(kind="cpu", memory=(DRAM, L2)), id="core", architecture="zen4", segment="server")

STREAMS = {"activation": 0.97, "batch norm": 0.97, "elementwise": 0.97, "broadcast": 0.92}
TRUTH = Calibration(
    "engine",
    memory={**dict.fromkeys(CLASSES, 0.8), **STREAMS},
    vector={**dict.fromkeys(CLASSES, 0.6), "conv 3x3": 0.9, "depthwise 3": 0.07},
    matrix={**dict.fromkeys(CLASSES, 0.7), "conv 3x3": 0.5},
    on_vector=Shape(depth=20, columns=10, group_columns=20, outputs=1500, group_outputs=400),
    on_matrix=Shape(depth=40, columns=16, group_columns=20, outputs=2200, group_outputs=400, misaligned=0.7, misaligned_groups=0.5),
    cache=1.25,
    bias=0.8,
    transpose=0.9,
    launch=4.5e-6,
    call=40e-6,
)
"""What makes the data here: a device that is no better than this."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Keep small tensors off threads, which would wait for each other where other work runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def network(blocks: tuple[str, ...], channels: int, size: int) -> Graph:
    """Trace one of NETWORKS."""
    return traced(cnn(blocks, channels), (1, 3, size, size))


@cache
def kernels(number: int, mode: Mode, batch: int, precision: str) -> Columns:
    """Tabulate what one of NETWORKS runs."""
    return tabulate(execute(to_precision(network(*NETWORKS[number]), precision), mode, 0.0), [batch])


def whole(columns: Columns, hardware: Hardware, calibration: Calibration, layout: Layout = "nchw") -> float:
    """Price all kernels with the time model."""
    return float(price(columns, hardware, calibration, layout).seconds.sum())


def timed(
    truth: Calibration, hardware: Hardware = GPU, *, precisions: Sequence[str] = ("fp32", "fp16"), batches: Sequence[int] = BATCHES
) -> list[Row]:
    """Pretend to have timed every network at every batch on a device for which *truth* holds."""
    cases = [(n, batch, precision) for n in range(len(NETWORKS)) for batch in batches for precision in precisions]
    found = [(kernels(n, truth.mode, batch, precision), f"set {n % 2}") for n, batch, precision in cases]
    layout = truth.layout or "nchw"
    return [row_of(c, hardware, truth.mode, layout, whole(c, hardware, truth, layout), source=source) for c, source in found]


def split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Part *rows* into those to fit and a quarter to test."""
    return [row for i, row in enumerate(rows) if i % 4 != 1], [row for i, row in enumerate(rows) if i % 4 == 1]


def ratios(fitted: Fitted, rows: Sequence[Row]) -> NDArray[np.float64]:
    """Divide what *fitted* predicts by what was timed."""
    return fitted.predict(rows) / np.array([row.seconds for row in rows])


def worst(fitted: Fitted, rows: Sequence[Row]) -> float:
    """Return by which factor the worst prediction is off."""
    return float(np.exp(np.abs(np.log(ratios(fitted, rows))).max()))


# --- what made the data is found again ---------------------------------------------------------------------------------


@cache
def engine_fit() -> tuple[Fitted, tuple[Row, ...]]:
    """Fit three quarters of the timings of TRUTH; the rest were not seen."""
    seen, unseen = split(timed(TRUTH))
    return fit(seen), tuple(unseen)


def test_rows_that_were_not_seen_are_predicted_within_a_few_percent() -> None:
    fitted, unseen = engine_fit()
    assert worst(fitted, unseen) < 1.07
    nothing = fit(split(timed(TRUTH))[0], iterations=0)
    assert worst(nothing, unseen) > 1.3  # so it is not that any parameters would do


def test_parameters_with_much_data_are_found_again() -> None:
    fitted, unseen = engine_fit()
    found = fitted.calibration(unseen[0].run)
    assert [found.matrix[name] for name in ("conv 3x3", "pointwise")] == pytest.approx([0.5, 0.7], rel=0.08)
    assert [found.vector[name] for name in ("conv 3x3", "pointwise", "depthwise 3")] == pytest.approx([0.9, 0.6, 0.07], rel=0.08)
    for shape, wanted in ((found.on_vector, TRUTH.on_vector), (found.on_matrix, TRUTH.on_matrix)):
        sizes = [wanted.depth, wanted.columns, wanted.outputs]
        assert [shape.depth, shape.columns, shape.outputs] == pytest.approx(sizes, rel=0.25)
    assert found.launch == pytest.approx(4.5e-6, rel=0.2)
    assert found.samples == 90


def test_a_class_without_data_keeps_what_is_expected_of_it() -> None:
    fitted, unseen = engine_fit()
    found, prior = fitted.calibration(unseen[0].run), Fitted(Model(unseen), {}).calibration(unseen[0].run)
    ratio = found.matrix["pointwise"] / prior.matrix["pointwise"]  # what all products share moves those that nobody ran
    assert min(1, ratio) - 0.15 < found.matrix["attention"] / prior.matrix["attention"] < max(1, ratio) + 0.15


def test_the_time_model_predicts_with_what_was_found() -> None:
    fitted, unseen = engine_fit()
    found = fitted.calibration(unseen[0].run)
    assert [whole(kernels(n, "engine", 16, "fp16"), GPU, found) for n in range(len(NETWORKS))] == pytest.approx(
        [whole(kernels(n, "engine", 16, "fp16"), GPU, TRUTH) for n in range(len(NETWORKS))], rel=0.05
    )


EAGER = replace(
    TRUTH, mode="eager", layout="nchw", launch=2.5e-6, host_op=8e-6, host={"product": 1.5, "norm": 1.4, "cast": 1.0, "other": 0.5}
)


def test_an_eager_gpu_is_fitted_with_its_host() -> None:
    seen, unseen = split(timed(EAGER, precisions=PRECISIONS))
    fitted = fit(seen)
    assert worst(fitted, unseen) < 1.12  # the queue of the host is simplified
    found = fitted.calibration(unseen[0].run)
    assert found.host_op is not None
    per_op = {kind: found.host_op * weight for kind, weight in found.host.items()}
    assert per_op == pytest.approx({"product": 12e-6, "norm": 11.2e-6, "cast": 8e-6, "other": 4e-6}, rel=0.35)
    assert [whole(kernels(n, "eager", 1, "fp32"), GPU, found) for n in range(len(NETWORKS))] == pytest.approx(
        [whole(kernels(n, "eager", 1, "fp32"), GPU, EAGER) for n in range(len(NETWORKS))], rel=0.2
    )


def test_an_eager_cpu_is_fitted_with_its_crowd() -> None:
    truth = replace(EAGER, layout=None, matrix={}, serial=0.04, launch=2e-6)
    seen, unseen = split(timed(truth, CPU, precisions=("fp32",)))
    fitted = fit(seen)
    assert worst(fitted, unseen) < 1.06
    found = fitted.calibration(unseen[0].run)
    crowd = (1 + 9 * found.serial) / (1 + 9 * 0.04)  # nine cores beside the first
    assert found.vector["conv 3x3"] == pytest.approx(0.9 * crowd, rel=0.1)  # either slows all of them alike
    assert found.vector["depthwise 3"] == pytest.approx(0.07 * crowd, rel=0.35)
    assert (found.kind, found.layout, found.matrix) == ("cpu", None, {})


@pytest.mark.parametrize("seed", [21, 36])
def test_a_fit_to_a_handful_of_wild_times_stays_finite(seed: int) -> None:
    truth = replace(EAGER, layout=None, matrix={}, serial=0.04, launch=2e-6)
    rows, random = timed(truth, CPU, precisions=("fp32",), batches=(1, 16)), np.random.default_rng(seed)
    few = [rows[i] for i in random.choice(len(rows), 5, replace=False)]
    wild = [replace(row, seconds=float(row.seconds * 10 ** random.uniform(-2, 2))) for row in few]
    assert np.isfinite(left_out(wild)).all()


# --- what is known of relatives ----------------------------------------------------------------------------------------


def scaled(calibration: Calibration, factor: float, mode: Mode) -> Calibration:
    """Make both engines faster by *factor*."""
    return replace(
        calibration, mode=mode, vector={k: factor * v for k, v in calibration.vector.items()},
        matrix={k: factor * v for k, v in calibration.matrix.items()},
    )  # fmt: skip


def test_a_run_without_data_follows_its_device_and_its_mode() -> None:
    slow_engine, slow_compiled, fast_engine = scaled(TRUTH, 0.7, "engine"), scaled(TRUTH, 0.5, "compiled"), scaled(TRUTH, 1.2, "engine")
    other = replace(GPU, id="other")
    rows = [*timed(slow_engine, batches=(256,)), *timed(slow_compiled, batches=(256,)), *timed(fast_engine, other, batches=(256,))]
    unseen = Run.of(other, "compiled", "nchw")
    found = fit(rows, runs=[unseen]).calibration(unseen)
    for n in (0, 3, 8):  # mostly 3x3 convolutions
        columns = kernels(n, "compiled", 256, "fp32")
        took = whole(columns, other, replace(found, launch=4.5e-6))
        faster, slower = (whole(columns, other, replace(c, mode="compiled")) for c in (fast_engine, slow_compiled))
        assert 1.1 * faster < took < slower / 1.1
    assert (found.mode, found.samples, found.status) == ("compiled", 0, "borrowed")


def test_a_run_without_data_keeps_the_overheads_of_its_profile() -> None:
    quick = replace(device(memory=(DRAM, L2), host_op=3e-6), id="quick", architecture="ada", segment="consumer")
    rows = [*timed(EAGER, batches=(1,)), *timed(TRUTH, quick, batches=(16,))]
    eager, engine = Run.of(quick, "eager", "nchw"), Run.of(GPU, "engine", "nchw")
    fitted = fit(rows, runs=[eager, engine])
    assert [fitted.calibration(run).launch for run in (eager, engine)] == pytest.approx([5e-6, 5e-6])  # 4, which no profile knows, and 1
    host_op = fitted.calibration(eager).host_op
    assert host_op is not None
    assert 2e-6 < host_op < 4.5e-6  # that of this host, not of the other, which takes 10
    assert fitted.calibration(engine).host_op is None


def test_only_eager_pytorch_on_a_gpu_has_a_run_for_each_layout() -> None:
    assert [Run.of(GPU, "eager", layout).layout for layout in ("nchw", "nhwc")] == ["nchw", "nhwc"]
    assert {Run.of(GPU, mode, layout).layout for mode in ("compiled", "engine") for layout in ("nchw", "nhwc")} == {None}
    assert {Run.of(CPU, "eager", layout).layout for layout in ("nchw", "nhwc")} == {None}


def test_sizes_of_one_processor_share_a_run() -> None:
    small, large = replace(CPU, id="small"), replace(CPU, id="large")
    assert Run.of(small, "engine", "nchw", device="core") == Run.of(large, "engine", "nchw", device="core")
    assert Run.of(small, "engine", "nchw") != Run.of(large, "engine", "nchw")


def test_a_share_of_the_bandwidth_is_found_again_where_memory_holds_products_back() -> None:
    slow = replace(GPU, memory=(level("dram", 8e9, 10e9, 8e9), L2))
    truth = replace(TRUTH, memory={**TRUTH.memory, "pointwise": 0.6})  # expected: 0.9
    found = fit(timed(truth, slow, precisions=("fp16",))).calibration(Run.of(slow, "engine", "nchw"))
    assert found.memory["pointwise"] == pytest.approx(0.6, rel=0.08)


def starting(seconds: float) -> Hardware:
    """Give a CPU whose parallel regions take *seconds* to start."""
    return replace(CPU, overheads=replace(CPU.overheads, launch_source=replace(CPU.overheads.launch_source, value=seconds)))


def test_each_size_of_a_processor_starts_kernels_as_its_own_profile_says() -> None:
    sizes = [(starting(seconds), whole(kernels(0, "engine", 1, "fp32"), starting(seconds), neutral("engine"))) for seconds in (2e-6, 9e-6)]
    rows = [row_of(kernels(0, "engine", 1, "fp32"), hardware, "engine", "nchw", s, device="core") for hardware, s in sizes]
    like_one = [replace(row, sized=False) for row in rows]
    fitted, alone = fit(rows, iterations=0), fit(like_one, iterations=0)
    count = float((rows[0].asks[:, FIELDS.index("launches")] * rows[0].counts).sum())
    assert float(np.diff(fitted.predict(rows))[0]) == pytest.approx(7e-6 * count, rel=1e-4)
    assert float(np.diff(alone.predict(like_one))[0]) == pytest.approx(0.0, abs=1e-9)
    assert (fitted.calibration(rows[0].run).launch, alone.calibration(rows[0].run).launch) == (None, pytest.approx(2e-6))


# --- what a fit must not be moved by -----------------------------------------------------------------------------------


def few() -> list[Row]:
    """Give twenty-four timings of TRUTH."""
    return timed(TRUTH, batches=(4, 64), precisions=("fp32",))


def parameters(fitted: Fitted) -> dict[str, torch.Tensor]:
    """Give all parameters of all runs."""
    return fitted.model.parameters()


def test_the_same_rows_give_the_same_parameters() -> None:
    first, second = (parameters(fit(few())) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_rows_of_no_weight_do_not_count() -> None:
    wrong = [replace(row, seconds=100 * row.seconds, weight=0.0) for row in few()]
    first, second = parameters(fit(few())), parameters(fit([*few(), *wrong]))
    assert all(torch.equal(first[name], second[name]) for name in first)
    nothing = fit([*few(), *wrong], iterations=0)
    assert nothing.samples == {few()[0].run: 24}
    assert len(nothing.predict(wrong)) == 24


@pytest.mark.parametrize("factor", [50.0, 0.02])
def test_one_absurd_time_moves_little(factor: float) -> None:
    rows = timed(TRUTH, batches=(4, 16, 64), precisions=("fp32",))
    spoilt = [replace(row, seconds=factor * row.seconds) if i == 7 else row for i, row in enumerate(rows)]
    rest = [row for i, row in enumerate(rows) if i != 7]
    assert worst(fit(spoilt), rest) < 1.1
    assert worst(fit(spoilt), rows[7:8]) < 1.25


def test_a_small_data_set_is_not_drowned_by_a_large_one() -> None:
    rows = timed(TRUTH, precisions=("fp32",))
    large = [replace(row, source="large") for row in rows]
    small = [replace(row, source="small", seconds=1.5 * row.seconds) for row in rows[::12]]
    apart = fit([*large, *small])
    together = fit([*large, *(replace(row, source="large") for row in small)])
    assert np.median(ratios(apart, small)) > np.median(ratios(together, small))


# --- rows --------------------------------------------------------------------------------------------------------------


def test_alike_kernels_are_one_entry_with_their_count() -> None:
    three = traced(nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.Sigmoid()), (2, 8, 16, 16))
    row = row_of(tabulate(replace(three, batch=None), [2]), device(), "eager", "nchw", 1e-3)
    assert sorted(row.counts.tolist()) == [1, 3]
    assert row.hosted == (0, 0, 0, 4)


def test_a_row_counts_ops_by_the_host_they_cost_and_leaves_views_apart() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    graph = to_precision(traced(model, (2, 3, 16, 16)), "amp")
    row = row_of(tabulate(replace(graph, batch=None), [2]), device(), "eager", "nchw", 1e-3)
    casts = sum(op.name == "to" or "cast" in op.name or op.name == "_to_copy" for op in graph.ops)
    assert row.hosted == (2, 1, casts, 2)
    assert casts > 0
    assert row.views == sum(graph.is_view(op) for op in graph.ops) == 1
    assert (row.launch, row.host_op, row.host_view) == (2e-6, 10e-6, 4e-6)


@pytest.mark.parametrize("mode", ["eager", "compiled", "engine"])
@pytest.mark.parametrize("number", [0, 4, 7])
def test_kernels_of_a_row_sum_to_those_of_the_workload(number: int, mode: Mode) -> None:
    columns = kernels(number, mode, 16, "amp")
    row = row_of(columns, GPU, mode, "nchw", 1e-3)
    fleet = Fleet((GPU,), (Calibration(mode),))
    asked = demand(columns, fleet.distances)
    workload = describe(asked, through_levels(asked, fleet), fleet)
    launched = np.flatnonzero(np.broadcast_to(workload.launches, (1, 1, columns.size)))
    assert sum(row.counts) == len(launched)
    for i, name in enumerate(FIELDS):
        values = np.broadcast_to(getattr(workload, name), (1, *asked.shape))[0, 0]
        assert (row.asks[:, i] * row.counts).sum() == pytest.approx(sum(float(values[k]) for k in launched), rel=1e-5)


def test_a_start_in_a_stream_takes_as_much_longer_as_that_of_an_empty_kernel() -> None:
    assert [row_of(kernels(0, mode, 4, "fp32"), on, mode, "nchw", 1.0).queued for on in (GPU, CPU) for mode in ("eager", "engine")] == [
        1e-6, 1e-6, 0, 0,
    ]  # fmt: skip


def replays(truth: Calibration) -> list[Row]:
    """Pretend to have timed every network at batch 4 in a captured graph too."""
    cases = [kernels(n, truth.mode, 4, "fp16") for n in range(len(NETWORKS))]
    seconds = [float(price(columns, GPU, truth, replayed=True).seconds.sum()) for columns in cases]
    return [row_of(c, GPU, truth.mode, "nchw", s, source="replays", replayed=True) for c, s in zip(cases, seconds, strict=True)]


def test_replays_and_calls_of_an_engine_are_told_apart() -> None:
    truth = replace(TRUTH, call=90e-6)
    rows, again = timed(truth, batches=(1, 16)), replays(truth)
    fitted = fit([*rows, *again])
    found = fitted.calibration(rows[0].run)
    assert found.call == pytest.approx(90e-6, rel=0.1)
    assert found.launch == pytest.approx(4.5e-6, rel=0.15)
    assert worst(fitted, again) < 1.03
    blind = fit([*rows, *(replace(row, replayed=False) for row in again)])
    assert worst(blind, again) > 1.06


def test_a_replay_of_eager_pytorch_has_no_host() -> None:
    columns, behind = kernels(0, "eager", 1, "fp32"), device(memory=(DRAM, L2), host_op=1e-4)
    waits, replayed = (row_of(columns, behind, "eager", "nchw", 1.0, replayed=again) for again in (False, True))
    fitted = Fitted(Model([waits]), {})
    found = fitted.calibration(waits.run)
    assert fitted.predict([replayed])[0] == pytest.approx(float(price(columns, behind, found, replayed=True).seconds.sum()), rel=1e-4)
    assert fitted.predict([waits])[0] > 5 * fitted.predict([replayed])[0]


# --- the formula of the fit is that of predictions ---------------------------------------------------------------------


def shaken(rows: Sequence[Row], seed: int = 0) -> Fitted:
    """Move every parameter away from where it starts."""
    model = Model(rows)
    generator = torch.Generator().manual_seed(seed)
    for offsets in model.offsets.values():
        offsets += 0.07 * torch.randn(offsets.shape, generator=generator)
    return Fitted(model, {row.run: 1 for row in rows})


def both(hardware: Hardware, mode: Mode, layout: Layout = "nchw", precisions: Sequence[str] = PRECISIONS) -> NDArray[np.float64]:
    """Divide the times of the fit by those of the time model, with the same parameters for both."""
    cases = [kernels(n, mode, batch, precision) for n in range(len(NETWORKS)) for batch in (1, 64) for precision in precisions]
    rows = [row_of(columns, hardware, mode, layout, 1.0) for columns in cases]
    fitted = shaken(rows)
    calibration = fitted.calibration(rows[0].run)
    return fitted.predict(rows) / [whole(columns, hardware, calibration, layout) for columns in cases]


@pytest.mark.parametrize("mode", ["compiled", "engine"])
@pytest.mark.parametrize("hardware", [GPU, CPU], ids=["gpu", "cpu"])
def test_the_fit_prices_what_runs_without_a_host_as_the_time_model_does(hardware: Hardware, mode: Mode) -> None:
    precisions = PRECISIONS if hardware is GPU else ("fp32",)
    assert both(hardware, mode, precisions=precisions) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_the_fit_prices_a_gpu_that_never_waits_as_the_time_model_does(layout: Layout) -> None:
    instant = device(memory=(DRAM, L2), host_op=1e-13, host_view=1e-13)
    assert both(instant, "eager", layout) == pytest.approx(1, rel=1e-4)


def test_the_fit_prices_a_gpu_that_always_waits_as_the_time_model_does() -> None:
    assert both(device(memory=(DRAM, L2), host_op=10.0, host_view=4.0), "eager") == pytest.approx(1, rel=1e-4)


def test_the_fit_prices_a_cpu_that_dispatches_itself_as_the_time_model_does() -> None:
    assert both(CPU, "eager", precisions=("fp32",)) == pytest.approx(1, rel=1e-4)


def test_the_simplified_queue_is_near_that_of_the_time_model() -> None:
    off = both(device(memory=(DRAM, L2), host_op=8e-6, host_view=3e-6), "eager")
    assert 0.75 < off.min() <= off.max() < 1.25


# --- folds -------------------------------------------------------------------------------------------------------------


def test_a_row_left_out_does_not_move_its_own_prediction() -> None:
    rows = few()
    spoilt = [replace(row, seconds=3 * row.seconds) if i % FOLDS == 2 else row for i, row in enumerate(rows)]
    first, second = left_out(rows, iterations=20), left_out(spoilt, iterations=20)
    assert first[2::FOLDS] == pytest.approx(second[2::FOLDS], rel=1e-12)
    assert first[3::FOLDS] != pytest.approx(second[3::FOLDS], rel=1e-3)


def test_fewer_rows_than_folds_are_left_out_one_by_one() -> None:
    rows = few()[:3]
    assert (left_out(rows, iterations=5) > 0).all()


# --- one device, from samples to its profile ---------------------------------------------------------------------------


def sampled(truth: Calibration) -> list[Sample]:
    """Pretend to have timed graphs on a CPU for which *truth* holds, but for a ripple of 5 %."""
    found: list[Sample] = []
    for n, (blocks, channels, size) in enumerate(NETWORKS):
        for batch in (1, 16):
            seconds = whole(kernels(n, truth.mode, batch, "fp32"), CPU, truth) * (1.05 if (n + batch) % 2 else 0.95)
            found.append(Sample(network(blocks, channels, size), batch, "fp32", truth.mode, "nchw", seconds, f"network {n} b {batch}"))
    return found


@cache
def entry() -> tuple[tuple[str, object], ...]:
    """Fit a CPU to samples, as the entry of its profile."""
    truth = replace(EAGER, layout=None, matrix={}, launch=2e-6)
    (found,) = calibrations_of(sampled(truth), CPU, data="a test", date="2026-11-21")
    return tuple(found.items())


def test_a_sample_is_described_as_its_network_is() -> None:
    sample = sampled(replace(EAGER, layout=None, matrix={}))[1]
    row = sample_row(sample, CPU, source="here")
    direct = row_of(kernels(0, "eager", 16, "fp32"), CPU, "eager", "nchw", sample.seconds, source="here")
    assert (row.asks == direct.asks).all()
    assert (row.counts == direct.counts).all()
    assert (row.run, row.hosted, row.views, row.seconds, row.source) == (direct.run, direct.hosted, direct.views, direct.seconds, "here")


def test_a_sample_on_a_gpu_runs_the_copies_and_the_passes_of_its_layout() -> None:
    graph = traced(nn.Sequential(nn.Conv2d(8, 8, 3, bias=False), nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 3, bias=False)), (4, 8, 16, 16))
    asks = {}
    for layout in ("nchw", "nhwc"):
        row = sample_row(Sample(graph, 4, "fp16", "eager", layout, 1e-3, "a norm"), GPU)
        asks[layout] = (row.counts.sum(), (row.asks[:, FIELDS.index("transpose")] > 0).sum())
    assert asks == {"nchw": (3, 2), "nhwc": (5, 0)}, "two convolutions turn images over inside, or a norm and the next one copy them"


def test_the_calibration_of_a_device_is_what_a_profile_accepts(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(yaml.safe_dump({"calibration": [dict(entry())]}))
    (found,) = read_calibrations(path)
    assert (found.mode, found.layout, found.kind, found.architecture, found.segment) == ("eager", None, "cpu", "zen4", "server")
    assert (found.precisions, found.samples, found.data, found.date) == (("fp32",), 24, "a test", "2026-11-21")
    assert (found.devices, found.status) == ((), "calibrated")


def test_one_sample_tells_no_spread() -> None:
    (first, *_) = sampled(replace(EAGER, layout=None, matrix={}))
    (found,) = calibrations_of([first], CPU, data="a test", date="2026-11-21")
    assert found["samples"] == 1
    assert found["spread"]["kernels"] == list(PER_KERNEL)


def test_each_mode_that_was_timed_is_fitted_beside_the_others() -> None:
    eager = sampled(replace(EAGER, layout=None, matrix={}))
    compiled = [replace(sample, mode="compiled", seconds=sample.seconds / 2) for sample in eager[:6]]
    found = calibrations_of([*eager, *compiled], CPU, data="a test", date="2026-11-21")
    assert [(c["mode"], c["samples"]) for c in found] == [("eager", len(eager)), ("compiled", 6)]
    assert "host_op_us" in found[0]
    assert "host_op_us" not in found[1]  # nobody dispatches op by op


def test_its_intervals_are_around_1_and_wider_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(yaml.safe_dump({"calibration": [dict(entry())]}))
    (found,) = read_calibrations(path)
    assert found.per_kernel[0] < 1 < found.per_kernel[1]
    assert found.spread == pytest.approx((1 / 1.105, 1.105), rel=0.01)  # a tenth of a logarithm, as little as is believed
    assert found.elsewhere[0] < found.spread[0] < 1 < found.spread[1] < found.elsewhere[1]


def test_a_profile_with_its_calibration_predicts_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(yaml.safe_dump({"calibration": [dict(entry())]}))
    brought = replace(CPU, calibrations=tuple(replace(c, devices=("core",)) for c in read_calibrations(path)))
    for blocks, channels, size in NETWORKS[::4]:
        (analysis,) = analyze_grid(network(blocks, channels, size), [brought], [16])
        assert analysis.calibration.status == "calibrated"
        assert analysis.latency == pytest.approx(
            whole(kernels(NETWORKS.index((blocks, channels, size)), "eager", 16, "fp32"), CPU, replace(EAGER, matrix={}, launch=2e-6)),
            rel=0.1,
        )
