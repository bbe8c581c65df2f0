"""Calibrations: their averages, what they say of themselves, and their files, those of others and those of a profile."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import traced_cnn

import roofline
from roofline.costmodel.calibration import CLASSES, DENSE, HOST_KINDS, Calibration, Shape, blend
from roofline.costmodel.hardware import load_hardware
from roofline.costmodel.plausibility import check
from roofline.costmodel.profile.calibrations import plain, read_calibrations, to_yaml
from roofline.errors import ProfileError

T4 = Path(load_hardware("t4").file)

MEASURED = Calibration(
    "eager",
    "nhwc",
    memory=dict.fromkeys(CLASSES, 0.5),
    vector={"conv 3x3": 1.25, "linear": 0.8},
    matrix={"conv 3x3": 0.625},
    on_vector=Shape(depth=30.0, columns=12.0, group_columns=8.0, outputs=1000.0, group_outputs=200.0),
    on_matrix=Shape(
        depth=60.0, columns=24.0, group_columns=8.0, outputs=1500.0, group_outputs=300.0, misaligned=0.5, misaligned_groups=0.25
    ),
    cache=1.5,
    bias=0.875,
    transpose=2.0,
    huge=0.125,
    serial=0.01,
    launch=2.5 * 1e-6,
    clock=1.25 * 1e9,
    call=30 * 1e-6,
    host_op=12 * 1e-6,
    host={"product": 1.1, "norm": 1.2, "cast": 0.9, "other": 0.6},
    spread=(0.9, 1.1),
    elsewhere=(0.8, 1.3),
    per_kernel=(0.5, 1.9),
    devices=("one", "other"),
    kind="gpu",
    architecture="turing",
    segment="datacenter",
    precisions=("fp16", "fp32"),
    samples=123,
    data="a table",
    date="2026-11-21",
    released=2024,
)


# --- averages ----------------------------------------------------------------------------------------------------------


def test_a_blend_is_the_weighted_geometric_mean() -> None:
    one = Calibration("engine", memory={"linear": 0.25}, cache=1.0, on_matrix=Shape(depth=10.0, columns=8.0))
    other = Calibration("engine", memory={"linear": 1.0}, cache=4.0, on_matrix=Shape(depth=1000.0, columns=64.0))
    even = blend([(one, 1.0), (other, 1.0)])
    assert even.memory["linear"] == pytest.approx(0.5)  # the root of a quarter
    assert even.cache == pytest.approx(2.0)
    assert even.on_matrix.depth == pytest.approx(100.0)
    mostly = blend([(one, 2.0), (other, 1.0)])
    assert mostly.on_matrix.columns == pytest.approx(16.0)  # the cube root of 8 x 8 x 64
    assert mostly.cache == pytest.approx(4 ** (1 / 3))


def test_every_parameter_but_those_of_a_host_is_averaged() -> None:
    fast = replace(
        MEASURED,
        memory={k: 4 * v for k, v in MEASURED.memory.items()},
        vector={k: 4 * v for k, v in MEASURED.vector.items()},
        matrix={k: 4 * v for k, v in MEASURED.matrix.items()},
        host={k: 4 * v for k, v in MEASURED.host.items()},
        on_vector=Shape(120.0, 48.0, 32.0, 4000.0, 800.0, 4.0, 4.0),
        on_matrix=Shape(240.0, 96.0, 32.0, 6000.0, 1200.0, 2.0, 1.0),
        cache=6.0,
        bias=3.5,
        transpose=8.0,
        huge=0.5,
        serial=0.04,
    )
    between = blend([(MEASURED, 1.0), (fast, 1.0)])
    for table in ("memory", "vector", "matrix", "host"):
        assert getattr(between, table) == pytest.approx({k: 2 * v for k, v in getattr(MEASURED, table).items()})
    assert astuple(between.on_vector) == pytest.approx((60.0, 24.0, 16.0, 2000.0, 400.0, 2.0, 2.0))
    assert astuple(between.on_matrix) == pytest.approx((120.0, 48.0, 16.0, 3000.0, 600.0, 1.0, 0.5))
    found = (between.cache, between.bias, between.transpose, between.huge, between.serial)
    assert found == pytest.approx((3.0, 1.75, 4.0, 0.25, 0.02))


def test_a_blend_keeps_the_identity_of_the_heaviest() -> None:
    light = replace(MEASURED, devices=("light",), architecture="volta", data="another table", launch=9e-6, spread=(0.1, 10.0))
    for pairs in ([(light, 1.0), (MEASURED, 2.0)], [(MEASURED, 2.0), (light, 1.0)]):
        found = blend(pairs)
        kept = ("mode", "layout", "devices", "architecture", "segment", "data", "date", "host_op", "spread", "samples")
        assert [getattr(found, name) for name in kept] == [getattr(MEASURED, name) for name in kept]


def test_a_blend_averages_what_a_kernel_takes_to_start() -> None:
    assert blend([(MEASURED, 1.0), (replace(MEASURED, launch=10e-6), 1.0)]).launch == pytest.approx(5e-6)  # the root of 2.5 times 10
    assert blend([(MEASURED, 1.0), (replace(MEASURED, launch=None), 3.0)]).launch == pytest.approx(2.5e-6)  # one does not know


def test_what_only_some_know_is_averaged_over_those() -> None:
    knows = replace(MEASURED, matrix={"linear": 0.5, "matmul": 0.5}, on_vector=Shape(depth=40.0))
    other = replace(MEASURED, matrix={"linear": 0.125}, on_vector=Shape(depth=0.0))
    found = blend([(knows, 1.0), (other, 0.5)])
    assert found.matrix == pytest.approx({"linear": 0.5 / 4 ** (1 / 3), "matmul": 0.5})
    assert found.on_vector.depth == pytest.approx(40.0)
    assert found.on_vector.columns == 0.0  # nobody knows


def test_the_blend_of_one_is_that_one() -> None:
    found = blend([(MEASURED, 0.125)])
    assert found.memory == pytest.approx(MEASURED.memory)
    assert astuple(found.on_matrix) == pytest.approx(astuple(MEASURED.on_matrix))
    assert (found.cache, found.devices) == (pytest.approx(1.5), MEASURED.devices)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.001, 1)), min_size=1, max_size=5))
def test_a_blend_lies_between_the_lowest_and_the_highest(pairs: list[tuple[float, float]]) -> None:
    found = blend([(Calibration("eager", cache=value), weight) for value, weight in pairs])
    values = [value for value, _ in pairs]
    assert min(values) * (1 - 1e-12) <= found.cache <= max(values) * (1 + 1e-12)


# --- what a calibration says of itself ---------------------------------------------------------------------------------


def test_one_fitted_to_this_device_is_calibrated() -> None:
    assert MEASURED.measured
    assert MEASURED.status == "calibrated"
    assert MEASURED.provenance == "calibrated: fitted to 123 timings of this device (a table; fp16, fp32)"


def test_one_of_relatives_is_borrowed_and_names_them() -> None:
    borrowed = replace(MEASURED, relatives=("t4", "v100"))
    assert not borrowed.measured
    assert borrowed.status == "borrowed"
    assert borrowed.provenance == "borrowed: never timed in this way here; parameters of t4, v100, the nearest first"
    assert replace(borrowed, relatives=("t4",)).provenance == "borrowed: never timed in this way here; parameters of t4"


def test_one_that_follows_from_other_modes_of_the_device_is_borrowed() -> None:
    followed = replace(MEASURED, samples=0)
    assert followed.status == "borrowed"
    assert followed.provenance.startswith("borrowed: this device was timed in other modes only")


def test_one_without_parameters_is_uncalibrated() -> None:
    assert Calibration("eager").status == "uncalibrated"
    assert Calibration("eager").provenance.startswith("uncalibrated: from sourced ceilings and overheads")


def test_by_default_nothing_is_lost() -> None:
    neutral = Calibration("compiled")
    assert (neutral.efficiencies == np.ones((4, len(CLASSES)))).all()
    assert (neutral.cache, neutral.bias, neutral.transpose, neutral.huge, neutral.serial) == (1, 1, 1, 1, 0)
    assert (neutral.launch, neutral.host_op, neutral.layout) == (None, None, None)
    for shape in (neutral.on_vector, neutral.on_matrix):
        assert (shape.depth, shape.columns, shape.group_columns, shape.misaligned, shape.misaligned_groups) == (0, 0, 0, 1, 1)
    assert neutral.spread[0] < 1 < neutral.spread[1]


def test_efficiencies_stand_in_the_order_of_the_classes() -> None:
    calibration = Calibration("eager", memory={"copy": 0.6}, vector={"linear": 0.7}, matrix={"linear": 0.9})
    expected = {(0, "copy"): 0.6, (1, "linear"): 0.7, (2, "linear"): 0.9}
    for i, table in enumerate(calibration.efficiencies[:3]):
        assert dict(zip(CLASSES, table, strict=True)) == {name: expected.get((i, name), 1.0) for name in CLASSES}


def test_the_host_takes_as_long_for_an_op_as_for_others_of_its_kind() -> None:
    weights = dict(zip(CLASSES, MEASURED.efficiencies[3], strict=True))
    assert {weights[name] for name in ("conv 3x3", "pointwise", "depthwise 7", "linear", "matmul", "attention")} == {1.1}
    assert (weights["batch norm"], weights["cast"]) == (1.2, 0.9)
    assert {weights[name] for name in ("layer norm", "activation", "elementwise", "copy", "softmax", "other")} == {0.6}


def test_products_are_the_classes_that_name_one() -> None:
    assert set(DENSE) == {
        "conv 3x3", "conv strided", "conv wide", "pointwise", "pointwise strided", "grouped", "linear", "matmul", "attention",
    }  # fmt: skip
    assert set(HOST_KINDS["product"]) == {*DENSE, "depthwise 3", "depthwise 5", "depthwise 7", "depthwise wide"}
    assert len(set(CLASSES)) == len(CLASSES)


# --- files -------------------------------------------------------------------------------------------------------------


def written(path: Path, *entries: dict[str, Any]) -> Path:
    """Write *entries* as a file of calibrations."""
    path.write_text(yaml.safe_dump({"calibration": [deepcopy(entry) for entry in entries]}, sort_keys=False))
    return path


def changed(keys: str, value: Any) -> dict[str, Any]:
    """Change one key of the entry of MEASURED, named as `on_vector.depth`; None drops it."""
    entry = plain(MEASURED)
    *path, last = keys.split(".")
    part = entry
    for key in path:
        part = part[key]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return entry


def message(read: Callable[[Path], object], path: Path) -> str:
    """Return what *read* says of *path*, which must be one line."""
    with pytest.raises(ProfileError) as caught:
        read(path)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert text.startswith(str(path))
    return text.removeprefix(str(path))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    some = (MEASURED, replace(MEASURED, call=0.0), replace(MEASURED, mode="engine", layout=None, launch=None, host_op=None, host={}))
    path.write_text(to_yaml(some, "Two lines\nof comment."))
    assert path.read_text().startswith("# Two lines\n# of comment.\ncalibration:\n")
    assert read_calibrations(path) == some


def test_numbers_keep_three_digits(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    odd = replace(MEASURED, cache=1.23456, launch=2.34567e-6, on_matrix=Shape(12345.6, 0.0123456, 8.0), spread=(0.98765, 1.23456))
    path.write_text(to_yaml([odd], ""))
    (found,) = read_calibrations(path)
    assert (found.cache, found.spread) == (1.23, (0.988, 1.23))
    assert found.launch == pytest.approx(2.35e-6, rel=1e-12)
    assert (found.on_matrix.depth, found.on_matrix.columns) == (12300.0, 0.0123)


def test_one_that_was_measured_in_no_precision_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    followed = replace(MEASURED, precisions=(), samples=0)
    path.write_text(to_yaml([followed], ""))
    assert read_calibrations(path) == (followed,)


shares = st.floats(0.001, 99).map(lambda x: float(f"{x:.3g}"))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(CLASSES), shares), shares, st.sampled_from(["eager", "compiled", "engine"]), st.integers(0, 10**6))
def test_any_calibration_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, float], share: float, mode: Any, samples: int
) -> None:
    path = tmp_path_factory.mktemp("files") / "some.yaml"
    one = replace(MEASURED, mode=mode, memory={**MEASURED.memory, **table}, cache=share, samples=samples)
    path.write_text(to_yaml([one], ""))
    assert read_calibrations(path) == (one,)


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        ("memory.conv 4x4", 0.5, "calibration[1].memory.conv 4x4: unknown class 'conv 4x4'; use one of conv 3x3, conv strided"),
        ("matrix.soft\nmax", 0.5, r"calibration[1].matrix.'soft\nmax': unknown class 'soft\nmax'"),
        ("memory.linear", -0.5, "calibration[1].memory.linear: must be a positive number, not -0.5"),
        ("memory.linear", 0.0, "calibration[1].memory.linear: must be a positive number, not 0.0"),
        ("vector.linear", float("nan"), "calibration[1].vector.linear: must be a positive number, not nan"),
        ("vector.linear", float("inf"), "calibration[1].vector.linear: must be a positive number, not inf"),
        ("vector.linear", 1e9, "calibration[1].vector.linear: is too large: 1000000000.0"),
        ("vector.linear", "fast", "calibration[1].vector.linear: must be a positive number, not 'fast'"),
        ("vector.linear", True, "calibration[1].vector.linear: must be a positive number, not True"),
        ("memory", 3, "calibration[1].memory: must be a mapping, not 3"),
        ("memory", None, "calibration[1].memory: is missing"),
        ("spread", None, "calibration[1].spread: is missing"),
        ("spread.networks", [0.9], "calibration[1].spread.networks: List should have at least 2 items"),
        ("spread.networks", [0.9, 1.0, 1.1], "calibration[1].spread.networks: List should have at most 2 items"),
        ("spread.networks", 0.9, "calibration[1].spread.networks: must be a list, not 0.9"),
        ("spread.networks", [0.9, -1.0], "calibration[1].spread.networks[1]: must be a positive number, not -1.0"),
        ("spread.kernels", None, "calibration[1].spread.kernels: is missing"),
        ("on_vector.depth", -1.0, "calibration[1].on_vector.depth: must be a positive number, not -1.0"),
        ("on_matrix.columns", None, "calibration[1].on_matrix.columns: is missing"),
        ("on_matrix.column", 3.0, "calibration[1].on_matrix.column: unknown key; did you mean columns?"),
        ("host.conv", 1.0, "calibration[1].host.conv: must be 'product', 'norm', 'cast' or 'other', not 'conv'"),
        ("mode", "ideal", "calibration[1].mode: must be 'eager', 'compiled' or 'engine', not 'ideal'"),
        ("layout", "NHWC", "calibration[1].layout: must be 'nchw' or 'nhwc', not 'NHWC'"),
        ("kind", "tpu", "calibration[1].kind: must be 'gpu' or 'cpu', not 'tpu'"),
        ("serial", 1.0, "calibration[1].serial: is too large: 1.0"),
        ("samples", -1, "calibration[1].samples: must be a positive number, not -1"),
        ("samples", 1.5, "calibration[1].samples: must be a positive whole number, not 1.5"),
        ("launch_us", 0.0, "calibration[1].launch_us: must be a positive number, not 0.0"),
        ("kernels", 1, "calibration[1].kernels: unknown key"),
    ],
)
def test_a_mistake_is_told_in_a_line_that_names_the_key(tmp_path: Path, keys: str, value: Any, says: str) -> None:
    text = message(read_calibrations, written(tmp_path / "some.yaml", plain(MEASURED), changed(keys, value)))
    assert says in text
    assert text.startswith(":")


def test_a_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path / "some.yaml", changed("cache", -1.0))
    (line,) = (i for i, text in enumerate(path.read_text().splitlines(), 1) if "cache" in text)
    assert message(read_calibrations, path) == f":{line}: calibration[0].cache: must be a positive number, not -1.0"


def test_more_mistakes_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "some.yaml", changed("cache", -1.0), changed("bias", -1.0), changed("spread", None))
    assert message(read_calibrations, path).endswith("calibration[0].cache: must be a positive number, not -1.0 (and 2 more)")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ": is empty"),
        ("- 1", ": must be a mapping"),
        ("just text", ": must be a mapping"),
        ("calibrations: []", "calibration: is missing"),
        ("calibration: 3", "calibration: must be a list, not 3"),
        ("calibration: [3]", "calibration[0]: must be a mapping"),
        ("calibration: [[]]", "calibration[0]: must be a mapping"),
        ("calibration: [", "not valid YAML"),
        ("calibration: !!python/object/apply:os.system ['true']", "calibration: the tag tag:yaml.org,2002:python/object/apply:os.system"),
        ("calibration: !include other.yaml", "calibration: the tag !include is refused"),
        ("calibration: &a [*a]", "calibration: anchors and aliases are refused"),
        ("calibration: []\ncalibration: []", "calibration: is given twice; the first is on line 1"),
        ("calibration: " + 50_000 * "[", "is nested deeper than 20 levels"),
        ("calibration: \0", "not valid YAML"),
    ],
    ids=lambda value: str(value)[:40].encode("unicode_escape").decode(),
)
def test_what_is_no_list_of_calibrations_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(text)
    assert says in message(read_calibrations, path)


def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    assert message(read_calibrations, tmp_path / "none.yaml").startswith(": no such file")
    assert message(read_calibrations, tmp_path).startswith(": is a folder")
    (tmp_path / "latin.yaml").write_bytes(b"calibration: []  # caf\xe9")
    assert message(read_calibrations, tmp_path / "latin.yaml").startswith(":1: is not UTF-8 text")


# --- in a profile ------------------------------------------------------------------------------------------------------


def profile(tmp_path: Path, *entries: dict[str, Any]) -> Path:
    """Copy the profile of the T4 as `mine.yaml`, with calibrations of its own."""
    path = tmp_path / "Mine.yaml"
    block = yaml.safe_dump({"calibration": [deepcopy(entry) for entry in entries]}, sort_keys=False)
    path.write_text(f"{T4.read_text()}\n{block}")
    return path


def test_a_profile_may_bring_its_calibration(tmp_path: Path) -> None:
    entry = changed("devices", None)
    hardware = load_hardware(profile(tmp_path, entry, {**entry, "mode": "engine"}))
    assert hardware.calibrations == (replace(MEASURED, devices=("mine",)), replace(MEASURED, devices=("mine",), mode="engine"))


def test_whatever_it_says_the_calibration_of_a_profile_is_that_of_its_device(tmp_path: Path) -> None:
    hardware = load_hardware(profile(tmp_path, plain(MEASURED)))
    assert [c.devices for c in hardware.calibrations] == [("mine",)]
    assert [c.status for c in hardware.calibrations] == ["calibrated"]


def test_bundled_profiles_leave_theirs_to_the_published_file() -> None:
    assert {load_hardware(name).calibrations for name in roofline.hardware.names()} == {()}


def test_predictions_use_the_calibration_of_the_profile(tmp_path: Path) -> None:
    path = profile(tmp_path, {**plain(MEASURED), "layout": "nchw", "precisions": ["fp32"]})
    network = traced_cnn(("conv", "depthwise"))
    report = roofline.analyze(network, path, batch=8)
    assert report.calibration.provenance == "calibrated: fitted to 123 timings of this device (a table; fp32)"
    assert report.interval == pytest.approx((report.latency * 0.9, report.latency * 1.1))
    assert roofline.analyze(network, path, batch=8, precision="fp16").spread == (0.8, 1.3)  # never timed in fp16
    assert roofline.analyze(network, path, batch=8, calibrated=False).calibration.status == "uncalibrated"


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        ("memory.conv 4x4", 0.5, "calibration[0].memory.conv 4x4: unknown class 'conv 4x4'"),
        ("vector.linear", -2.0, "calibration[0].vector.linear: must be a positive number, not -2.0"),
        ("on_matrix.depht", 2.0, "calibration[0].on_matrix.depht: unknown key; did you mean depth?"),
        ("spread.devices", [1.0, float("nan")], "calibration[0].spread.devices[1]: must be a positive number, not nan"),
    ],
)
def test_a_check_finds_mistakes_in_the_calibration_of_a_profile(tmp_path: Path, keys: str, value: Any, says: str) -> None:
    path = profile(tmp_path, changed(keys, value))
    findings = [finding for finding in check(path) if finding.level == "error"]
    assert len(findings) == 1
    assert says in str(findings[0])
    *_, last = keys.split(".")
    line = int(str(findings[0]).removeprefix(f"{path}:").split(":")[0])
    wrong = path.read_text().splitlines()[line - 1]
    assert last in wrong or "nan" in wrong
    assert says in message(load_hardware, path)


def test_a_check_passes_the_calibration_that_was_written(tmp_path: Path) -> None:
    before = {str(finding).split(": ", 1)[1] for finding in check(T4)}
    after = {str(finding).split(": ", 1)[1] for finding in check(profile(tmp_path, plain(MEASURED)))}
    assert not any("calibration" in text for text in after - before)
