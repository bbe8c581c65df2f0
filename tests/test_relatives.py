"""Relatives: whose parameters a prediction uses, and what becomes of them on another device or in another mode."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from devices import device
from strategies import traced_cnn

import roofline
from roofline.costmodel.calibration import Calibration, neutral
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import bundled_folder, load_hardware
from roofline.costmodel.relatives import FALLBACK, calibration_for, published
from roofline.transforms.modes import LAYOUTS, MODES, Layout, Mode


def gpu(name: str, architecture: str = "turing", segment: str = "datacenter", **more: Any) -> Hardware:
    """Make a GPU of that generation."""
    return replace(device(), id=name, architecture=architecture, segment=segment, **more)


def cpu(name: str, architecture: str = "skylake") -> Hardware:
    """Make a CPU of that architecture."""
    return replace(device(kind="cpu"), id=name, architecture=architecture, segment="server")


def of(hardware: Hardware, mode: Mode = "eager", layout: Layout | None = None, **parameters: Any) -> Calibration:
    """Make what was fitted to ten timings of *hardware*."""
    fitted = Calibration(
        mode, layout, memory={"linear": 0.5}, fresh=2e9, serial=0.02, launch=3e-6, host_op=20e-6, host={"product": 1.5}, spread=(0.9, 1.1),
        elsewhere=(0.6, 1.7), devices=(hardware.id,), kind=hardware.kind, architecture=hardware.architecture, segment=hardware.segment,
        samples=10,
    )  # fmt: skip
    return replace(fitted, **parameters)


T4, V100 = gpu("t4"), gpu("v100", "volta")
NEW = gpu("new", "ampere")


# --- its own -----------------------------------------------------------------------------------------------------------


def test_a_device_uses_its_own() -> None:
    mine = of(T4)
    assert calibration_for(T4, "eager", "nchw", [of(V100), mine]) == mine


def test_that_of_its_profile_comes_before_the_published_one() -> None:
    brought, printed = of(T4, cache=1.25), of(T4, cache=1.5)
    assert calibration_for(replace(T4, calibrations=(brought,)), "eager", "nchw", [printed]).cache == 1.25
    assert calibration_for(T4, "eager", "nchw", [printed]).cache == 1.5


def test_a_profile_may_bring_one_mode_and_the_published_file_another() -> None:
    brought = replace(T4, calibrations=(of(T4, cache=1.25),))
    known = [of(T4, "engine", cache=1.5)]
    assert [calibration_for(brought, mode, "nchw", known).cache for mode in ("eager", "engine")] == [1.25, 1.5]


def test_a_calibration_may_stand_for_several_sizes_of_a_processor() -> None:
    both = of(T4, devices=("t4", "t4g"))
    assert calibration_for(gpu("t4g"), "eager", "nchw", [of(V100), both]) == both


def test_one_that_follows_from_other_modes_of_the_device_is_its_own() -> None:
    followed = of(T4, "compiled", samples=0)
    found = calibration_for(T4, "compiled", "nchw", [of(V100, "compiled"), followed])
    assert (found, found.status) == (followed, "borrowed")


def test_the_layout_must_match() -> None:
    first, last, any_ = of(T4, layout="nchw", cache=1.1), of(T4, layout="nhwc", cache=1.2), of(T4, "engine", cache=1.3)
    known = [first, last, any_]
    assert [calibration_for(T4, "eager", layout, known).cache for layout in LAYOUTS] == [1.1, 1.2]
    assert [calibration_for(T4, "engine", layout, known).cache for layout in LAYOUTS] == [1.3, 1.3]
    lacking = calibration_for(T4, "eager", "nhwc", [first, of(V100, layout="nchw"), of(V100, layout="nhwc", cache=1.4)])
    assert (lacking.cache, lacking.relatives) == (pytest.approx(1.4), ("v100",))


# --- that of relatives -------------------------------------------------------------------------------------------------


def test_a_device_never_measured_takes_the_mean_of_its_relatives() -> None:
    same, before = of(gpu("a10"), cache=1.0), of(T4, cache=8.0)  # Turing comes a generation earlier, and counts half
    same = replace(same, architecture="ampere")
    found = calibration_for(NEW, "eager", "nchw", [before, same])
    assert found.cache == pytest.approx(2.0)  # the cube root of 1 x 1 x 8
    assert found.relatives == ("a10", "t4")
    assert (found.status, found.samples, found.devices) == ("borrowed", 20, ())


GENERATIONS = ("pascal", "volta", "turing", "ampere", "ada", "blackwell")


@pytest.mark.parametrize(
    ("architecture", "segment", "order"),
    [
        ("ampere", "datacenter", ["ampere", "turing", "ada", "volta", "blackwell", "pascal"]),
        ("pascal", "datacenter", [*GENERATIONS]),
        ("blackwell", "datacenter", [*reversed(GENERATIONS)]),
        ("hopper", "datacenter", ["ada", "ampere", "blackwell", "turing", "volta", "pascal"]),
        ("next", "datacenter", [*reversed(GENERATIONS)]),
    ],
)
def test_the_nearest_generation_comes_first(architecture: str, segment: str, order: list[str]) -> None:
    known = [of(gpu(name, name)) for name in GENERATIONS]
    assert calibration_for(gpu("new", architecture, segment), "eager", "nchw", known).relatives == tuple(order)


@pytest.mark.parametrize("segment", ["consumer", "workstation"])
def test_another_segment_is_as_far_as_two_generations(segment: str) -> None:
    gaming, older = of(gpu("gaming", "ampere", segment), cache=4.0), of(V100, cache=1.0)
    assert calibration_for(NEW, "eager", "nchw", [gaming, older]).cache == pytest.approx(2.0)  # alike
    sibling = gpu("sibling", "ampere", "consumer")
    assert calibration_for(sibling, "eager", "nchw", [gaming, older]).cache == pytest.approx(4 ** (16 / 17))  # 0 against 2 + 2


def test_what_serves_data_centres_borrows_from_its_like() -> None:
    known = [of(gpu("gaming", "ampere", "consumer"), cache=4.0), of(gpu("a10", "turing"), cache=1.0)]
    found = calibration_for(NEW, "eager", "nchw", known)
    assert found.relatives == ("a10", "gaming")
    assert found.cache == pytest.approx(4 ** (1 / 3))  # distances of 1 and 2: weights of a half and a quarter


def test_two_years_between_releases_are_as_far_as_a_generation() -> None:
    older, newer = of(gpu("a10", "ampere"), cache=1.0, released=2021), of(T4, cache=4.0, released=2023)
    assert calibration_for(NEW, "eager", "nchw", [older, newer]).cache == pytest.approx(2.0)  # 0 + 1 generations, and 1 + 0
    unknown = replace(older, released=0)
    assert calibration_for(NEW, "eager", "nchw", [unknown, newer]).cache == pytest.approx(4 ** (1 / 3)), "nothing is known of its age"


def test_a_kernel_starts_as_in_the_newest_release() -> None:
    older = of(gpu("a10", "ampere"), released=2021, launch=9e-6, clock=1e9)
    newer, other = (of(gpu(name), released=2023, launch=us * 1e-6, clock=1e9) for name, us in (("t4", 4), ("t4g", 9)))
    found = calibration_for(replace(NEW, clock=2e9), "eager", "nchw", [older, newer, other])
    assert found.launch == pytest.approx(3e-6)  # the root of 4 x 9, in as many cycles at twice the clock


def test_a_cpu_borrows_from_cpus_of_its_architecture_first() -> None:
    known = [of(cpu("zen", "zen4"), cache=8.0), of(cpu("sky", "skylake"), cache=1.0), of(T4, cache=100.0)]
    found = calibration_for(cpu("new"), "eager", "nchw", known)
    assert found.relatives == ("sky", "zen")
    assert found.cache == pytest.approx(2.0)


def test_a_gpu_does_not_borrow_from_a_cpu() -> None:
    assert calibration_for(NEW, "eager", "nchw", [of(cpu("sky"))]) == neutral("eager")


def test_nobody_lends_what_was_not_measured() -> None:
    followed, measured = of(gpu("followed", "ampere"), samples=0, cache=50.0), of(V100, cache=1.25)
    found = calibration_for(NEW, "eager", "nchw", [followed, measured])
    assert (found.cache, found.relatives) == (pytest.approx(1.25), ("v100",))


def test_what_belongs_to_a_host_is_not_borrowed_and_the_spread_is_that_of_other_devices() -> None:
    found = calibration_for(NEW, "eager", "nchw", [of(T4), of(V100)])
    assert found.host_op is None
    assert (found.spread, found.elsewhere) == ((0.6, 1.7), (0.6, 1.7))


@pytest.mark.parametrize("mode", ["engine", "compiled"])
def test_the_time_of_a_launch_is_borrowed_from_other_gpus(mode: Mode) -> None:
    known = [of(gpu("one"), "engine", launch=4e-6), of(gpu("two"), "engine", launch=9e-6)]
    assert calibration_for(NEW, mode, "nchw", known).launch == pytest.approx(6e-6)  # the root of their product
    assert calibration_for(cpu("new"), mode, "nchw", [of(cpu("one"), "engine", launch=4e-6)]).launch is None


def test_a_launch_takes_as_many_cycles_elsewhere() -> None:
    known = [of(gpu("one"), launch=4e-6, clock=1e9), of(gpu("two"), launch=9e-6, clock=4e9)]  # 4,000 and 36,000 cycles
    found = calibration_for(replace(NEW, clock=2e9), "eager", "nchw", known)
    assert found.launch == pytest.approx(12_000 / 2e9)
    assert found.clock is None
    assert calibration_for(replace(NEW, id="one", clock=1e9), "compiled", "nchw", known).launch == pytest.approx(4e-6)  # its own
    assert calibration_for(replace(NEW, clock=2e9), "eager", "nchw", [of(gpu("one"), launch=4e-6)]).launch == pytest.approx(4e-6)


def test_what_a_call_of_an_engine_takes_is_borrowed_from_engines_alone() -> None:
    known = [of(gpu("one"), "engine", call=20e-6), of(gpu("two"), "engine", call=80e-6), of(gpu("two"), "eager")]
    assert calibration_for(NEW, "engine", "nchw", known).call == pytest.approx(40e-6)
    assert calibration_for(NEW, "eager", "nchw", known).call == 0


def test_what_new_memory_costs_a_core_is_borrowed() -> None:
    found = calibration_for(cpu("new"), "eager", "nchw", [of(cpu("one"), fresh=1e9), of(cpu("two"), fresh=4e9)])
    assert found.fresh == pytest.approx(2e9)
    assert calibration_for(cpu("new"), "eager", "nchw", [of(cpu("one"), packing=1e9), of(cpu("two"))]).packing == pytest.approx(1e9)


def test_how_cores_crowd_each_other_is_borrowed() -> None:
    found = calibration_for(cpu("new"), "engine", "nchw", [of(cpu("one"), "engine", serial=0.01), of(cpu("two"), "engine", serial=0.04)])
    assert found.serial == pytest.approx(0.02)  # the root of their product
    assert calibration_for(NEW, "engine", "nchw", [of(T4, "engine", serial=0.0)]).serial == 0  # a GPU has none


# --- other modes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_prefers_those_that_run_alike(mode: Mode) -> None:
    wanted: dict[Mode, tuple[Mode, ...]] = {"eager": ("eager", "compiled", "engine"), "compiled": ("compiled", "eager", "engine")}
    order = wanted.get(mode, ("engine", "compiled", "eager"))
    caches: dict[Mode, float] = {"eager": 1.1, "compiled": 1.2, "engine": 1.3}
    known = [of(T4, name, cache=cache) for name, cache in caches.items()]
    for name in order:
        assert calibration_for(T4, mode, "nchw", known).cache == caches[name]
        assert calibration_for(NEW, mode, "nchw", known).cache == pytest.approx(caches[name])
        known = [c for c in known if c.mode != name]
    assert calibration_for(T4, mode, "nchw", known) == neutral(mode)


def test_fallbacks_cover_every_mode() -> None:
    assert set(FALLBACK) == set(MODES)
    assert all(sorted(order) == ["compiled", "eager", "engine"] for order in FALLBACK.values())


def test_ideal_is_priced_as_an_engine() -> None:
    engine = of(T4, "engine")
    assert calibration_for(T4, "ideal", "nchw", [of(T4), engine]) == replace(engine, mode="ideal")


@pytest.mark.parametrize("mode", ["compiled", "engine", "ideal"])
def test_what_another_mode_lends_is_borrowed(mode: Mode) -> None:
    found = calibration_for(T4, mode, "nchw", [of(T4, cache=1.25)])
    assert (found.mode, found.cache, found.status, found.relatives) == (mode, 1.25, "borrowed", ("t4",))
    assert (found.launch, found.host_op) == (3e-6, None)  # kernels start alike in all
    assert found.fresh == 2e9  # the system clears memory as fast in all
    assert found.spread == (0.6, 1.7)


def test_code_that_was_never_compiled_takes_the_products_of_eager_channels_last_and_streams_the_rest() -> None:
    shares = {"linear": 0.5, "elementwise": 0.9, "layer norm": 0.3, "softmax": 1.2}
    known = [of(V100, layout="nchw", memory={**shares, "linear": 0.25}), of(V100, layout="nhwc", memory=shares)]
    for hardware in (V100, NEW):
        for layout in LAYOUTS:
            found = calibration_for(hardware, "compiled", layout, known)
            assert found.memory == pytest.approx({**shares, "layer norm": 0.9})
            assert found.relatives == ("v100",)
    assert calibration_for(V100, "engine", "nchw", known[:1]).memory == {**shares, "linear": 0.25}  # an engine brings kernels of its own


@pytest.mark.parametrize("mode", MODES)
def test_where_nothing_is_known_nothing_is_assumed_lost(mode: Mode) -> None:
    found = calibration_for(T4, mode, "nchw", [])
    assert found == neutral(mode)
    assert (found.status, found.efficiencies.min(), found.efficiencies.max()) == ("uncalibrated", 1, 1)


def test_a_prediction_tells_whose_parameters_it_uses() -> None:
    brought = gpu("mine", calibrations=(of(gpu("mine"), precisions=("fp32",), cache=1.25, data="a table"),))
    report = roofline.analyze(traced_cnn(("conv",)), brought)
    assert report.calibration.provenance == "calibrated: fitted to 10 timings of this device (a table; fp32)"
    assert (report.calibrated, report.spread) == (True, (0.9, 1.1))


# --- the published ones ------------------------------------------------------------------------------------------------

published_file = pytest.mark.skipif(
    not (bundled_folder() / "calibration" / "published.yaml").is_file(), reason="hardware/calibration/published.yaml is not there yet"
)


@published_file
@pytest.mark.parametrize("name", roofline.hardware.names())
def test_every_bundled_device_finds_parameters_in_every_mode(name: str) -> None:
    hardware = load_hardware(name)
    for mode in MODES:
        for layout in LAYOUTS:
            found = calibration_for(hardware, mode, layout)
            assert found.status in ("calibrated", "borrowed")
            assert found.mode == mode
            assert (found.efficiencies > 0).all()
            assert 0 < found.spread[0] < found.spread[1]


@published_file
def test_published_ones_name_devices_and_fit_what_they_say() -> None:
    known = set(roofline.hardware.names())
    ways = [(name, c.mode, c.layout) for c in published() for name in c.devices]
    assert len(set(ways)) == len(ways)  # no two for one way of running a device
    for c in published():
        assert c.devices
        if c.segment != "host":  # a machine that was calibrated has no profile here
            assert set(c.devices) <= known
            assert all(load_hardware(name).kind == c.kind for name in c.devices)
        assert c.measured == bool(c.precisions)


def test_without_the_published_file_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.costmodel.relatives.bundled_folder", lambda: tmp_path)
    assert published.__wrapped__() == ()
