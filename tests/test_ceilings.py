"""Checks that ceilings are the best of what was timed, that each memory level is told by the right sizes, and that probes run."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from roofline.measurement import ceilings
from roofline.measurement.ceilings import (
    GRAIN,
    PATTERNS,
    PROBE_SIZE,
    Probe,
    Rate,
    What,
    by_level,
    compiled_seconds,
    probes,
    region_seconds,
    run,
    windows,
    working_sets,
    worthwhile,
)  # fmt: skip

KIB, MIB = 2**10, 2**20
CACHES = (32.0 * MIB, 1.0 * MIB)
LEVELS = {"dram": 16.0 * 2**30, "l3": CACHES[0], "l2": CACHES[1]}


class Clock:
    """A clock that moves by *tick* seconds each time it is read."""

    def __init__(self, tick: float) -> None:
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def rate(what: What, size: int, seconds: float, *, threads: int = 2, dtype: str = "fp32", work: float | None = None) -> Rate:
    return Rate(f"{what} {size}", what, dtype, size, threads, float(size if work is None else work), (seconds, 2 * seconds))


def probe(call: Callable[[], object], *, work: float = 1.0, threads: int = 1, what: What = "call") -> Probe:
    return Probe("a probe", what, "fp32", 1, threads, work, lambda _: call)


# --- rates -----------------------------------------------------------------------------------------------------------


def test_a_ceiling_is_the_best_of_all_times() -> None:
    found = Rate("copy", "copy", "fp32", 100, 1, 100.0, (4.0, 2.0, 3.0))
    assert (found.best, found.rate) == (2.0, 50.0)


def test_what_could_not_run_has_no_rate() -> None:
    assert Rate("gemm", "gemm", "fp16", 8, 1, 100.0, ()).rate == 0.0


def test_a_probe_is_timed_reading_by_reading() -> None:
    found = run(probe(lambda: None, work=5.0), "cpu", 1.0, Clock(0.25))
    assert set(found.seconds) == {0.25}
    assert found.rate == 20.0


def test_short_calls_are_repeated_until_a_run_lasts_long_enough() -> None:
    calls, clock = [0], Clock(0.0)

    def call() -> None:
        calls[0] += 1
        clock.now += 1e-5

    found = run(probe(call), "cpu", 0.5, clock)
    assert found.seconds == pytest.approx([1e-5] * len(found.seconds))
    assert calls[0] >= 32 * len(found.seconds)  # 2e-4 s a run at least: 20 calls, and a power of two


@pytest.mark.parametrize("error", [RuntimeError("no such kernel"), NotImplementedError("not for Half"), ValueError("odd size")])
def test_what_pytorch_cannot_do_is_left_without_times(error: Exception) -> None:
    def call() -> None:
        raise error

    assert run(probe(call), "cpu", 1.0, Clock(0.1)).seconds == ()


def test_an_interrupt_is_no_missing_kernel() -> None:
    def call() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(probe(call), "cpu", 1.0, Clock(0.1))


def test_threads_are_set_for_the_probe_and_put_back() -> None:
    before, seen = torch.get_num_threads(), list[int]()
    run(probe(lambda: seen.append(torch.get_num_threads()), threads=before + 1), "cpu", 1.0, Clock(0.25))
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Events of a GPU whose time is a Clock."""
    clock: Any = Clock(0.001)

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = clock()

        def elapsed_time(self, end: Any) -> float:
            return (end.at - self.at) * 1e3

    clock.slept = []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "_sleep", clock.slept.append)
    return clock


def test_a_gpu_is_timed_by_events_and_held_while_the_host_gets_ahead(fake_gpu: Any) -> None:
    found = run(probe(lambda: None, what="launch"), "cuda", 0.5, fake_gpu)
    assert found.seconds == pytest.approx([0.001] * len(found.seconds))
    assert min(fake_gpu.slept[2:]) > 0


def test_what_the_host_spends_on_an_op_is_timed_by_its_own_clock(fake_gpu: Any) -> None:
    run(probe(lambda: None, what="op"), "cuda", 0.5, fake_gpu)
    assert fake_gpu.slept == []


# --- what is probed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 64])
@pytest.mark.parametrize("quick", [True, False])
def test_probes_cover_types_threads_and_patterns_once_each(threads: int, quick: bool) -> None:
    listed = probes("cpu", threads=threads, caches=CACHES, quick=quick)
    assert len({p.label for p in listed}) == len(listed)
    assert {p.threads for p in listed} == {1, threads}
    whats = {"gemm", "conv", "read", "write", "copy", "fresh", "call", "op", "view", "region"}
    assert {p.what for p in listed} == (whats if quick else whats | {"compiled"})  # a compiler takes too long
    assert {p.dtype for p in listed if p.what == "gemm"} == {"fp32", "bf16", "fp16", "int8"}
    assert all(p.work > 0 for p in listed)


def test_a_quick_calibration_probes_fewer_sizes() -> None:
    assert len(probes("cpu", threads=2, caches=CACHES, quick=True)) < 0.75 * len(probes("cpu", threads=2, caches=CACHES))


def test_a_gpu_has_launches_and_graphs_and_no_parallel_regions() -> None:
    listed = probes("cuda", threads=8, caches=(50.0 * MIB,))
    assert {p.what for p in listed} >= {"launch", "graph", "op", "view"}
    assert "region" not in {p.what for p in listed}
    assert "tf32" in {p.dtype for p in listed}


def test_the_work_of_a_product_and_a_convolution_is_two_flops_a_multiply_add() -> None:
    listed = {p.label: p for p in probes("cpu", threads=1, caches=CACHES)}
    assert listed["gemm fp32 256 t1"].work == 2 * 256 * 256 * 256
    assert listed["conv fp32 8x256x14x14 t1"].work == 2 * 8 * 14 * 14 * 256 * 256 * 9


@pytest.mark.parametrize(
    ("dtype", "rates", "expected"),
    [
        ("fp32", {}, True),
        ("bf16", {"fp32": 100.0, "bf16": 3.0}, False),  # emulated
        ("bf16", {"fp32": 100.0, "bf16": 25.0}, True),
        ("bf16", {"fp32": 100.0}, False),  # not measured, or not possible
        ("bf16", {}, False),
    ],
)
def test_a_type_is_measured_at_all_sizes_unless_it_is_emulated(dtype: str, rates: dict[str, float], expected: bool) -> None:
    known = [rate("gemm", PROBE_SIZE, 1.0, threads=1, dtype=name, work=work) for name, work in rates.items()]
    large = next(p for p in probes("cpu", threads=2, caches=CACHES) if p.what == "gemm" and p.dtype == dtype and p.size > PROBE_SIZE)
    assert worthwhile(large, known) is expected


def test_the_small_size_and_everything_else_is_always_measured() -> None:
    assert all(worthwhile(p, ()) for p in probes("cpu", threads=2, caches=CACHES) if p.small or p.what != "gemm")


@pytest.mark.parametrize("caches", [CACHES, (), (256.0 * KIB,), (512.0 * MIB, 64.0 * MIB), (2.0**40,)])
@pytest.mark.parametrize("quick", [True, False])
def test_working_sets_reach_from_the_first_cache_to_memory(caches: tuple[float, ...], quick: bool) -> None:
    sets = working_sets("cpu", caches, quick=quick)
    assert list(sets) == sorted(set(sets))
    assert all(size % KIB == 0 for size in sets)
    assert sets[0] <= 32 * KIB
    assert sets[-1] >= min(max(4 * max(caches, default=0.0), 64 * MIB), 2**30)
    assert set(sets) >= {int(size / part) for size in caches for part in (2, 4)}


# --- memory levels ---------------------------------------------------------------------------------------------------


def test_a_level_is_told_by_sizes_that_nearer_ones_cannot_hold_and_it_can() -> None:
    assert windows(LEVELS) == {"dram": (96 * MIB, float("inf")), "l3": (2 * MIB, 16 * MIB), "l2": (128 * KIB, 512 * KIB)}


def test_the_sizes_probed_reach_into_every_window() -> None:
    for quick in (True, False):
        sets = working_sets("cpu", CACHES, quick=quick)
        assert all(any(low <= size <= high for size in sets) for low, high in windows(LEVELS).values())


def test_the_best_size_of_each_window_counts() -> None:
    rates = [rate("copy", 128 * MIB, 10.0), rate("copy", 256 * MIB, 16.0), rate("copy", 8 * MIB, 0.5), rate("copy", 32 * MIB, 0.1)]
    found = by_level(rates, LEVELS, threads=2)
    assert found["dram"]["copy"].rate == 16 * MIB
    assert found["l3"]["copy"].rate == 16 * MIB  # 32 MiB is between the windows
    assert found["l2"] == {}


def test_other_thread_counts_do_not_count_but_in_private_caches() -> None:
    rates = [rate("read", 256 * KIB, 2.0), rate("read", 128 * KIB, 0.5, threads=1), rate("read", 8 * MIB, 0.001, threads=1)]
    shared = by_level(rates, LEVELS, threads=2)
    assert (shared["l2"]["read"].rate, shared["l3"]) == (128 * KIB, {})
    private = by_level(rates, LEVELS, threads=2, private=("l2",))
    assert private["l2"]["read"].rate == 2 * 128 * KIB / 0.5  # two threads, each on a share of its own
    assert (private["l2"]["read"].threads, private["l3"]) == (1, {})


def test_what_a_call_costs_that_touches_nothing_is_taken_off_up_to_half() -> None:
    call = Rate("call", "call", "fp32", 1, 2, 1.0, (0.25,))
    assert by_level([call, rate("write", 8 * MIB, 1.0)], LEVELS, threads=2)["l3"]["write"].rate == 8 * MIB / 0.75
    assert by_level([call, rate("write", 8 * MIB, 0.3)], LEVELS, threads=2)["l3"]["write"].rate == pytest.approx(8 * MIB / 0.15)


def test_probes_without_times_are_no_bandwidth() -> None:
    nothing = Rate("read", "read", "fp32", 8 * MIB, 2, 1.0, ())
    assert by_level([nothing], LEVELS, threads=2) == {"dram": {}, "l3": {}, "l2": {}}


@pytest.mark.parametrize(
    ("threads", "times", "expected"),
    [
        (2, {1: 4.0, 2: 3.5}, 1.5),  # 3.5 - 4 / 2
        (8, {1: 4.0, 8: 5.0}, 3.0),  # the work is split in two, whatever the number of threads
        (2, {1: 4.0, 2: 1.0}, 0.0),
        (1, {1: 4.0}, None),
        (2, {1: 4.0}, None),
    ],
)
def test_a_parallel_region_is_what_two_threads_take_beyond_half(threads: int, times: dict[int, float], expected: float | None) -> None:
    rates = [rate("region", 2 * GRAIN, seconds, threads=count, work=1.0) for count, seconds in times.items()]
    assert region_seconds(rates, threads) == expected


def test_a_kernel_in_compiled_code_is_what_one_more_takes() -> None:
    listed = [p for p in probes("cpu", threads=2, caches=CACHES) if p.what == "compiled"]
    assert [p.size for p in listed] == [12, 60]
    rates = [rate("compiled", p.size, seconds) for p, seconds in zip(listed, (300e-6, 1260e-6), strict=True)]
    assert compiled_seconds(rates) == pytest.approx(20e-6)  # 960 us over 48 kernels
    assert compiled_seconds([rates[1], replace(rates[0], seconds=(2.0,))]) == 0  # noise is no gain
    assert compiled_seconds(rates[:1]) is None
    assert compiled_seconds([rates[0], replace(rates[1], seconds=())]) is None  # no compiler


# --- the real thing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["gemm", "conv", *PATTERNS, "call", "op", "view", "region"])
def test_probes_run_here(what: str) -> None:
    listed = [p for p in probes("cpu", threads=1, caches=CACHES, quick=True) if p.what == what and p.size <= MIB]
    found = run(listed[0], "cpu", 0.001)
    assert len(found.seconds) >= 3
    assert 0 < found.best < 10
    assert found.rate > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_kernels_are_compiled_and_timed_here() -> None:
    found = [run(p, "cpu", 0.5) for p in probes("cpu", threads=1, caches=CACHES) if p.what == "compiled"]
    seconds = compiled_seconds(found)
    assert seconds is not None
    assert 1e-7 < seconds < 1e-2


def test_fresh_memory_is_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "FRESH", 2**22)
    (listed,) = [p for p in probes("cpu", threads=1, caches=CACHES) if p.what == "fresh"]
    assert listed.size == 2**22
    assert run(listed, "cpu", 0.001).rate > 0
