"""The book of a page: each cell is what `analyze` says for that choice, rows are kernels, sums are totals, and packing loses nothing."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from devices import DRAM, L2, VECTOR, device
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

import roofline
from roofline.costmodel.memory import lifetimes, owners
from roofline.costmodel.timemodel import BOUNDS, Times
from roofline.costmodel.waterfall import STEPS, split, waterfall
from roofline.report import book as books
from roofline.report.book import AXES, book, choice
from roofline.report.compared import compared, labels
from roofline.report.html import to_html
from roofline.report.packing import pack, plain, unpack

GOLDEN = Path(__file__).parent / "golden"
HAND = device(memory=(DRAM, L2))
SMALL = replace(device(engines=(VECTOR,)), id="small", name="Small")
TWELVE_BITS = 2.0**-12


class Residual(nn.Module):
    """Two convolutions around an activation, and the input added to what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.act(self.first(x)))


def chain() -> nn.Module:
    """A convolution with its batch norm, and a classifier."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def expand(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """Read one choice out of a book: its totals, and its kernels as `Analysis.rows()` gives them."""
    at = 0
    for axis in AXES[:-1]:
        at = at * len(found["axes"][axis]) + found["axes"][axis].index(wanted[axis])
    cell, b = found["cells"][at], found["axes"]["batch"].index(wanted["batch"])
    program = found["programs"][cell["program"]]
    rows: list[dict[str, Any]] = []
    for i, row in enumerate(program["row"]):
        times = {name: float(values[b][row]) for name, values in cell["times"].items()}
        work = {name: float(values[b][row]) for name, values in program["work"].items()}
        if not program["dispatched"][row] and not times["seconds"]:
            continue
        parts = [times["compute"], times["memory"], times["overhead"], times["occupancy"]]
        bound, second = int(cell["bound"][b][row]), int(cell["runner_up"][b][row])
        size = work["weight_bytes"] + work["input_bytes"] + work["output_bytes"]
        flops = work["matrix_flops"] + work["vector_flops"]
        low, high = cell["kernel_interval"]
        rows.append({
            "kernel": int(program["kernel"][i]), "layer": found["layers"][program["layer"][i]],
            "kind": found["kinds"][program["kind"][row]], "ops": found["ops"][program["ops"][i]],
            **work, "intensity_flop_per_byte": flops / size if size else 0.0,
            "seconds": times["seconds"], "low_seconds": low * times["seconds"], "high_seconds": high * times["seconds"],
            **{f"{name}_seconds": times[name] for name in ("compute", "memory", "overhead", "occupancy", "limit")}, "fill": times["fill"],
            **{f"{name}_bytes": float(values[b][row]) for name, values in cell["level_bytes"].items()},
            "bound": found["bounds"][bound], "runner_up": found["bounds"][second],
            "margin": parts[bound] / parts[second] if parts[second] else None,
        })  # fmt: skip
    return cell["totals"][b], rows


CHOICES: list[dict[str, Any]] = [
    {},
    {"batch": 64},
    {"device": "v100", "precision": "fp16", "batch": 8},
    {"mode": "engine", "precision": "amp"},
    {"mode": "compiled", "what_if": "fold-bn", "batch": 64},
    {"mode": "ideal", "device": "v100"},
    {"what_if": "weights=int8", "batch": 3},
    {"what_if": "cuda-graphs"},
    {"precision": "int8", "mode": "ideal", "batch": 8},
]


@pytest.fixture(name="b0", scope="module")
def _b0() -> dict[str, Any]:
    """Give the book of EfficientNet-B0 on two devices, asked for at batch 1 and 3, as a page reads it."""
    return unpack(pack(book(roofline.analyze_many("efficientnet_b0", ["t4", "v100"], [1, 3]))))


@pytest.mark.parametrize("wanted", CHOICES, ids=lambda wanted: "-".join(map(str, wanted.values())) or "start")
def test_a_cell_is_what_analyze_says_for_that_choice(b0: dict[str, Any], wanted: dict[str, Any]) -> None:
    chosen = {**b0["start"], **wanted}
    what_if = (chosen["what_if"],) if chosen["what_if"] else ()
    report = roofline.analyze(
        "efficientnet_b0", chosen["device"], batch=chosen["batch"], precision=chosen["precision"], mode=chosen["mode"], what_if=what_if
    )  # fmt: skip
    totals, rows = expand(b0, chosen)
    assert totals["latency_seconds"] == pytest.approx(report.latency, rel=1e-12)
    assert (totals["low_seconds"], totals["high_seconds"]) == pytest.approx(report.interval, rel=1e-12)
    assert totals["lower_bound_seconds"] == pytest.approx(report.lower_bound, rel=1e-12)
    assert totals["seconds_by_bound"] == pytest.approx([report.seconds_by_bound[b] for b in BOUNDS], rel=1e-12)
    assert (totals["macs"], totals["peak_memory_bytes"]) == (report.macs, report.peak_memory)
    assert totals["finding"] == report.finding()
    expected = report.rows()
    assert [row["layer"] for row in rows] == [row["layer"] for row in expected]
    for row, whole in zip(rows, expected, strict=True):
        assert row.keys() == whole.keys()
        for name, value in whole.items():
            quotient = name in ("margin", "intensity_flop_per_byte")
            assert row[name] == (pytest.approx(value, rel=(3 if quotient else 1) * TWELVE_BITS) if isinstance(value, float) else value), (
                name
            )


@pytest.mark.parametrize("wanted", CHOICES[:5], ids=lambda wanted: "-".join(map(str, wanted.values())) or "start")
def test_rows_add_up_to_the_totals(b0: dict[str, Any], wanted: dict[str, Any]) -> None:
    totals, rows = expand(b0, {**b0["start"], **wanted})
    assert sum(row["seconds"] for row in rows) == pytest.approx(totals["latency_seconds"], rel=TWELVE_BITS)
    assert sum(row["limit_seconds"] for row in rows) == pytest.approx(totals["lower_bound_seconds"], rel=TWELVE_BITS)
    assert sum(row["matrix_flops"] + row["vector_flops"] for row in rows) == pytest.approx(totals["flops"], rel=TWELVE_BITS)
    assert sum(row["dram_bytes"] + row["l2_bytes"] for row in rows) == pytest.approx(totals["bytes"], rel=TWELVE_BITS)
    assert totals["steps_seconds"][-1] == pytest.approx(totals["latency_seconds"])
    assert totals["steps_seconds"][1] == pytest.approx(totals["lower_bound_seconds"])
    assert sum(totals["seconds_by_bound"]) == pytest.approx(totals["latency_seconds"])


def test_the_sweep_and_the_memory_over_time_are_those_of_analyze(b0: dict[str, Any]) -> None:
    assert b0["sweep"] == [1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    for batch, i in ((3, 2), (1024, 11)):
        report = roofline.analyze("efficientnet_b0", "t4", batch=batch)
        sweep = b0["cells"][0]["sweep"]
        assert sweep["latency_seconds"][i] == pytest.approx(report.latency)
        assert sweep["peak_memory_bytes"][i] == report.peak_memory
        assert BOUNDS[sweep["bound"][i]] == report.bound
    program, report = b0["programs"][0], roofline.analyze("efficientnet_b0", "t4", batch=3)
    assert program["weight_bytes"] + program["live_bytes"][1].max() == pytest.approx(report.peak_memory, rel=TWELVE_BITS)
    peak = program["peak"][1]
    held = sum(size for _, size in peak["owners"]) + peak["others_bytes"]
    assert program["weight_bytes"] + held == pytest.approx(report.peak_memory)


def test_every_choice_is_a_cell_and_one_that_cannot_be_says_why() -> None:
    found = book(roofline.analyze_many(chain(), [HAND, SMALL], example_inputs=(1, 3, 10, 10), calibrated=False))
    assert len(found["cells"]) == np.prod([len(found["axes"][axis]) for axis in AXES[:-1]])
    assert [expand_error(found, device=name, precision="fp16") for name in ("hand", "small")] == [
        None, "small has no fp16 unit; use one of fp32",
    ]  # fmt: skip
    assert expand_error(found, mode="engine", what_if="fold-bn") == "not in this report: mode engine does fold-bn itself"
    assert "int8" in str(expand_error(found, precision="int8"))


def expand_error(found: Mapping[str, Any], **wanted: Any) -> str | None:
    """Give the reason why a choice cannot be shown, None where it can."""
    at = 0
    for axis in AXES[:-1]:
        at = at * len(found["axes"][axis]) + found["axes"][axis].index({**found["start"], **wanted}[axis])
    return found["cells"][at].get("error")


def test_what_was_asked_for_is_priced_even_where_a_mode_does_it_itself() -> None:
    report = roofline.analyze(chain(), HAND, example_inputs=(1, 3, 10, 10), mode="engine", what_if=["fold-bn"], calibrated=False)
    totals, _ = expand(book([report]), choice(report))
    assert totals["latency_seconds"] == report.latency


def test_a_graph_of_a_fixed_batch_has_that_batch_alone() -> None:
    fixed = replace(roofline.trace(chain(), (2, 3, 10, 10)), batch=None)
    (report,) = roofline.analyze_many(fixed, [HAND], [fixed.inputs[0].shape[0]], calibrated=False)
    found = book([report])
    assert found["axes"]["batch"] == found["sweep"] == [report.batch]
    assert expand(found, found["start"])[0]["latency_seconds"] == report.latency


def test_a_name_is_kept_as_it_is() -> None:
    network = nn.Sequential()
    names = ["<b>", "%{x}", "\udcff", "$"]
    for name in names:
        network.add_module(name, nn.Conv2d(3, 3, 1))
    report = roofline.analyze(network, HAND, example_inputs=(1, 3, 4, 4), calibrated=False)
    found = unpack(pack(book([report])))
    assert [row["layer"] for row in expand(found, found["start"])[1]] == names


def test_progress_is_told_before_each_program() -> None:
    report = roofline.analyze(chain(), HAND, example_inputs=(1, 3, 10, 10), calibrated=False)
    told: list[tuple[str, float]] = []
    book([report], progress=lambda what, share: told.append((what, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert (shares[0], len(shares)) == (0.0, 4 * 4 * 5)
    assert told[1][0].endswith("fp32 eager cuda-graphs")


# --- what the page says of a kernel and of memory -----------------------------------------------------------------------


def times(**seconds: float) -> Times:
    """Make the times of one kernel at one batch size; what is not named is 0."""
    names = ("matrix", "vector", "compute", "memory", "fill", "occupancy", "overhead", "seconds", "limit")
    return Times(**{name: np.full((1, 1), seconds.get(name, 0.0)) for name in names}, level_bytes={}, level_seconds={})


@pytest.mark.parametrize(
    ("compute", "memory", "occupancy", "overhead", "seconds", "parts"),
    [
        (6, 2, 1, 3, 11, (6, 1, 3, 1)),  # 11 - 3 - 1 = 7 of work: 6 of compute, and 1 that memory is not hidden for
        (2, 6, 0, 0, 6.5, (0.5, 6, 0, 0)),
        (0, 4, 0, 2, 6, (0, 4, 2, 0)),
        (0, 0, 0, 5, 5, (0, 0, 5, 0)),
    ],
)
def test_the_parts_of_a_kernel_add_up(
    compute: float, memory: float, occupancy: float, overhead: float, seconds: float, parts: tuple[float, ...]
) -> None:
    found = split(times(compute=compute, memory=memory, occupancy=occupancy, overhead=overhead, seconds=seconds))
    assert tuple(found[:, 0, 0]) == parts
    assert BOUNDS == ("compute", "memory", "overhead", "occupancy")


@pytest.mark.parametrize(("hardware", "mode"), [("t4", "eager"), ("v100", "engine"), ("c5.2xlarge", "compiled")])
def test_no_part_is_negative_and_all_add_up_to_every_kernel(hardware: str, mode: str) -> None:
    report = roofline.analyze("efficientnet_b0", hardware, batch=4, mode=mode)
    parts = split(report.times)
    assert (parts >= -1e-15).all()
    assert parts.sum(axis=0) == pytest.approx(report.times.seconds)


def test_the_waterfall_of_one_convolution_by_hand() -> None:
    """A 1x1 convolution of 1,000 to 1,000 channels over 10,000 pixels, where peaks are 1 TFLOP/s and 100 GB/s."""
    report = roofline.analyze(nn.Conv2d(1000, 1000, 1, bias=False), device(), example_inputs=(1, 1000, 100, 100), calibrated=False)
    steps = dict(zip(STEPS, waterfall(report.columns, report.hardware, report.times)[0], strict=True))
    flops, size = 2 * 1e10, 4 * (2 * 1e7 + 1e6)
    assert steps["arithmetic"] == pytest.approx(flops / 1e12)
    assert steps["traffic"] == pytest.approx(max(flops / 1e12, size / 100e9))
    assert steps["ceilings"] == pytest.approx(flops / 0.5e12)
    assert steps["overhead"] == report.latency


def test_who_holds_the_peak_by_hand() -> None:
    """While the addition runs the input (800 floats an item), the second convolution's output and the sum are alive."""
    graph = roofline.trace(Residual(), (1, 8, 10, 10))
    found, last = lifetimes(graph), len(graph.kernels) - 1
    assert [(name, size) for name, size in owners(found, graph, last, 3) if name != "first"][:3] == [
        (name, 3 * 800 * 4.0) for name in [name for name, _ in owners(found, graph, last, 3)][:3]
    ]  # fmt: skip
    assert {"second"} < {name for name, _ in owners(found, graph, last, 1)}
    (during,) = [k for k, ops in enumerate(graph.kernels) if graph.ops[ops[0]].module == "first"]
    assert dict(owners(found, graph, during, 1))["first"] == 1600 * 4.0


# --- packing ---------------------------------------------------------------------------------------------------------


names = st.text(st.characters(codec="utf-8"), max_size=8)
planes = st.sampled_from([np.float32, np.uint8, np.uint16, np.uint32]).flatmap(
    lambda kind: arrays.arrays(kind, st.one_of(st.tuples(st.integers(0, 20)), st.tuples(st.integers(1, 3), st.integers(0, 9))))
)
plain_data = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | names | planes,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names.filter(lambda name: name != "$"), inner, max_size=4),
    max_leaves=12,
)


@given(plain_data)
def test_what_is_packed_is_what_is_unpacked(data: Any) -> None:
    found = unpack(pack({"data": data}))
    np.testing.assert_equal(found, {"data": data})


def test_a_pack_holds_nothing_that_a_page_could_read_as_markup() -> None:
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", pack({"name": "</script><img src=x>"}))


# --- golden books ----------------------------------------------------------------------------------------------------


def golden(module: nn.Module, shape: tuple[int, ...]) -> str:
    """Write the book of a small network at its ceilings, with figures of six digits, a line for each program and cell."""
    found = plain(book([roofline.analyze(module, HAND, example_inputs=shape, batch=2, calibrated=False)]))
    rounded = json.loads(json.dumps(found), parse_float=lambda text: float(f"{float(text):.6g}"))
    rounded["tool"]["version"] = "any"
    lists = {name: rounded.pop(name) for name in ("programs", "cells")}
    lines = [f'"{name}": [\n' + ",\n".join(map(json.dumps, values)) + "\n]" for name, values in lists.items()]
    return "{" + ",\n".join([*(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in rounded.items()), *lines]) + "}\n"


@pytest.mark.parametrize(("name", "make", "shape"), [("residual", Residual, (1, 8, 10, 10)), ("chain", chain, (1, 3, 10, 10))])
def test_a_book_holds_what_it_held_before(
    name: str, make: Any, shape: tuple[int, ...], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "PRECISIONS", ("fp32", "fp16"))
    monkeypatch.setattr(books, "WHAT_IFS", ((), ("fold-bn",)))
    monkeypatch.setattr(books, "BATCHES", (1, 2))
    monkeypatch.setattr(books, "SWEEP", (1, 2, 64))
    monkeypatch.setattr(books, "MODES", ("eager", "engine"))
    text, path = golden(make(), shape), GOLDEN / f"book_{name}.json"
    if request.config.getoption("--update-golden"):
        path.write_text(text)
    differing = list(differences(json.loads(text), json.loads(path.read_text())))
    assert differing == [], "if the change is meant: pytest tests/test_book.py --update-golden"


def differences(now: Any, before: Any, path: str = "") -> Iterator[str]:
    """Name every place where two books differ; figures may by the last of their twelve bits."""
    if isinstance(now, dict) and isinstance(before, dict) and now.keys() == before.keys():
        for name, value in now.items():
            yield from differences(value, before[name], f"{path}.{name}")
    elif isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        for i, (value, other) in enumerate(zip(now, before, strict=True)):
            yield from differences(value, other, f"{path}[{i}]")
    elif isinstance(now, float) and isinstance(before, float):
        if now != pytest.approx(before, rel=2 * TWELVE_BITS):
            yield path
    elif now != before:
        yield path


# --- comparison ------------------------------------------------------------------------------------------------------


def test_subjects_are_named_by_what_is_not_the_same() -> None:
    shape = (1, 3, 10, 10)
    reports = [
        roofline.analyze(chain(), HAND, example_inputs=shape, precision=precision, what_if=what_if, calibrated=False)
        for precision, what_if in (("fp32", ()), ("fp16", ["fold-bn"]))
    ]
    assert labels(reports) == ["fp32, baseline", "fp16, fold-bn"]
    assert labels(reports[:1]) == ["Sequential"]


def test_each_subject_of_a_comparison_holds_its_own_batch() -> None:
    reports = roofline.analyze_many("efficientnet_b0", ["t4", "v100"], [1, 8])
    for report, subject in zip(reports, unpack(pack(compared(reports)))["subjects"], strict=True):
        (totals,) = subject["cell"]["totals"]
        seconds = subject["cell"]["times"]["seconds"][0][subject["program"]["row"]]
        assert totals["latency_seconds"] == report.latency
        assert seconds.sum() == pytest.approx(report.latency, rel=TWELVE_BITS)


# --- size ------------------------------------------------------------------------------------------------------------


def test_the_largest_page_stays_under_6_mb() -> None:
    devices = ["t4", "v100", "a100-40gb", "rtx4090", "c5.2xlarge"]
    page = to_html(roofline.analyze_many("efficientnet_b7", devices))
    assert len(page.encode()) < 6e6
