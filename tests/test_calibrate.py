"""Checks that the designed set runs, that a calibration survives being killed anywhere, and that its profile is a valid one."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

import roofline
from roofline.cli import calibrate as command
from roofline.cli import run as cli
from roofline.cost import cost, work
from roofline.costmodel.allocator import Process, asked_anew
from roofline.costmodel.columns import tabulate
from roofline.costmodel.hardware import load_hardware
from roofline.costmodel.plausibility import check
from roofline.errors import ModelError, RooflineError, UnknownNameError, UnsupportedError
from roofline.measurement import apart, ceilings, hostprofile, journal
from roofline.measurement import calibrate as calibrating
from roofline.measurement.apart import measure_apart
from roofline.measurement.calibrate import BUDGETS, CalibrationRun, calibrate, thinned
from roofline.measurement.ceilings import Rate
from roofline.measurement.hostprofile import bandwidths, check_output, default_path, document_of, hardware_of, to_yaml, write
from roofline.measurement.journal import open_journal
from roofline.measurement.measurement import Measurement, OpTime, quartiles
from roofline.measurement.rotation import Failure, keeping_memory, rotate
from roofline.measurement.samples import network_graph, op_graph, op_times, samples
from roofline.measurement.shapes import Case, cases

EVERY = cases()
QUICK = cases(quick=True)
KEY = {"device": "cpu", "threads": 2}


class Clock:
    """A clock that moves only when something is measured."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Machine:
    """Stands for probes, rotations and networks: keeps what it was asked, takes the time it was given, and may break down."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, float]] = []
        self.stop_after: int | None = None
        self.speed = 1.0
        self.fails: dict[str, str] = {}
        self.disturbed: dict[str, int] = {}

    def take(self, label: str, seconds: float) -> None:
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append((label, seconds))
        self.clock.now += seconds * self.speed

    def measured(self, label: str, device: str, batch: int, threads: int, mode: str = "eager") -> Measurement:
        noisy = self.disturbed.get(label, 0)
        self.disturbed[label] = noisy - 1
        times = (0.8, 1.0, 1.6) if noisy > 0 else (0.99, 1.0, 1.01)
        return Measurement(label, device, batch, (), "fp32", mode, "nchw", threads, times)

    def probe(self, probe: Any, device: str, budget: float, clock: Any) -> Rate:
        self.take(probe.label, budget)
        return Rate(probe.label, probe.what, probe.dtype, probe.size, probe.threads, probe.work, (2e-3, 1e-3))

    def rotate(self, designed: Sequence[Case], device: str, *, threads: int, seconds: float, clock: Any) -> list[Any]:
        for case in designed:
            self.take(case.label, seconds / len(designed))
        return [self.result(case.label, device, case.batch, threads) for case in designed]

    def result(self, label: str, device: str, batch: int, threads: int) -> Measurement | Failure:
        return Failure(label, self.fails[label]) if label in self.fails else self.measured(label, device, batch, threads)

    def apart(self, model: str, device: str, *, batch: int, mode: str, threads: int, seconds: float) -> Measurement:
        network = calibrating.Network(model, batch, mode)
        self.take(network.label, seconds + network.preparing)
        if network.label in self.fails:
            raise ModelError(self.fails[network.label])
        return replace(self.measured(network.label, device, batch, threads, mode), model=model)


@pytest.fixture(name="machine")
def _machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(calibrating, "rotate", machine.rotate)
    monkeypatch.setattr(calibrating, "measure_apart", machine.apart)
    monkeypatch.setattr(calibrating, "run_probe", machine.probe)
    return machine


THREE = tuple(Case(f"case {i}", "a kind", torch.nn.ReLU, ((4,),), i + 1) for i in range(3))
TWO = (("first", 1), ("second", 8))


def go(machine: Machine, path: Path, **how: Any) -> CalibrationRun:
    return calibrate(**{"threads": 2, "quick": True, "state": path, "clock": machine.clock, "designed": THREE, "networks": TWO, **how})


def labels(machine: Machine) -> list[str]:
    return [label for label, _ in machine.asked]


def probe_count() -> int:
    """Probes of a quick run but those of types that turn out not worth it: the fake gives all types the same time."""
    return len(ceilings.probes("cpu", threads=2, caches=calibrating.cache_sizes("cpu").values(), quick=True))


# --- the designed set ------------------------------------------------------------------------------------------------


def test_labels_are_unique() -> None:
    for device in ("cpu", "cuda"):
        listed = [case.label for case in cases(device)]
        assert len(set(listed)) == len(listed)


def test_there_are_a_few_hundred_cases_and_about_ninety_quick_ones() -> None:
    assert 250 <= len(EVERY) <= 400
    assert 80 <= len(QUICK) <= 100
    assert {case.label for case in QUICK} < {case.label for case in EVERY}


def test_the_order_is_the_same_each_time() -> None:
    assert [case.label for case in cases()] == [case.label for case in EVERY]


@pytest.mark.parametrize("listed", [EVERY, QUICK, cases("cuda")], ids=["full", "quick", "cuda"])
def test_the_beginning_has_one_case_of_each_kind(listed: Sequence[Case]) -> None:
    kinds = {case.kind for case in listed}
    assert {case.kind for case in listed[: len(kinds)]} == kinds
    assert {case.batch for case in listed[: 2 * len(kinds)]} == {case.batch for case in listed}


def test_a_gpu_is_given_larger_batches_and_half_precision() -> None:
    listed = cases("cuda")
    assert {case.precision for case in listed} == {"fp32", "fp16"}
    assert min(case.batch for case in listed) == 8


def test_channels_are_not_all_powers_of_two() -> None:
    widths = {shape[0] for case in EVERY for shape in case.shapes if len(shape) == 3}
    assert widths >= {24, 40, 80, 112, 144, 192, 240, 320, 480, 672, 960, 1152}


ALONE = tuple({(case.kind, *case.label.split()[:-1]): case for case in sorted(EVERY, key=lambda case: -case.batch)}.values())


@pytest.fixture(name="graphs", scope="module")
def _graphs() -> dict[str, roofline.Graph]:
    return {case.label: roofline.trace(case.build(), case.example) for case in ALONE}


def test_every_case_is_traced_without_an_unknown_op(graphs: dict[str, roofline.Graph]) -> None:
    unknown = {label: op.name for label, graph in graphs.items() for op in graph.ops if work(op, graph).kind == "unknown"}
    assert unknown == {}
    assert all(graph.batch is not None for graph in graphs.values())


@pytest.fixture(name="one_thread")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # two would wait for each other while other tests run
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_every_case_runs() -> None:
    with torch.inference_mode():
        for case in ALONE:
            out = case.build()(*(torch.randn(1, *shape) for shape in case.shapes))
            tensors = out if isinstance(out, (list, tuple)) else [out]
            assert all(torch.isfinite(t).all() for t in tensors), case.label


def test_a_case_is_mostly_what_its_kind_says(graphs: dict[str, roofline.Graph]) -> None:
    expected = {
        "conv 3x3": "conv", "pointwise": "pointwise conv", "depthwise 5": "depthwise conv", "grouped": "grouped conv",
        "batch norm": "batch norm", "attention": "attention", "softmax": "softmax", "concat": "copy", "permute": "copy",
    }  # fmt: skip
    for case in ALONE:
        if case.kind in expected:
            graph = graphs[case.label]
            kinds = Counter(work(op, graph).kind for op in graph.ops)
            del kinds["view"]
            assert set(kinds) == {expected[case.kind]}, case.label


def test_a_case_leaves_the_tensors_it_is_given_as_they_are() -> None:
    case = next(case for case in EVERY if case.label.startswith("activation relu 64"))
    x = torch.randn(1, *case.shapes[0])
    before = x.clone()
    with torch.inference_mode():
        case.build()(x)
    assert torch.equal(x, before)


def test_no_network_that_validates_calibrates() -> None:
    names = {*calibrating.NETWORKS, *(name for name, _ in calibrating.QUICK_NETWORKS)}
    assert not any(name.startswith(("efficientnet_b", "resnet50", "mobilenetv2", "vgg", "densenet")) for name in names)


# --- the journal -----------------------------------------------------------------------------------------------------


def test_a_journal_gives_back_what_was_added(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.jsonl"
    kept = open_journal(path, KEY)
    kept.add({"n": 1})
    kept.add({"n": 2, "text": "é\n"})
    assert open_journal(path, KEY).records == ({"n": 1}, {"n": 2, "text": "é\n"})


def test_cut_off_at_any_byte_it_keeps_every_whole_line_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    kept = open_journal(path, KEY)
    for n in range(3):
        kept.add({"n": n, "text": "é" * n})
    raw = path.read_bytes()
    for size in range(len(raw) + 1):
        path.write_bytes(raw[:size])
        again = open_journal(path, KEY)
        whole = max(raw[:size].count(b"\n") - 1, 0)
        assert [record["n"] for record in again.records] == list(range(whole)), size
        again.add({"n": "new"})
        assert [record["n"] for record in open_journal(path, KEY).records] == [*range(whole), "new"], size


@pytest.mark.parametrize(
    "header",
    [b"", b"\n", b"{}\n", b"[]\n", b"nonsense\n", b"\xff\xfe\n", b'{"schema": 99}\n', b'{"schema": 1, "key": {"device": "cpu"}}\n'],
)
def test_what_is_no_journal_for_this_is_begun_anew(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "state.jsonl"
    path.write_bytes(header + b'{"n": 1}\n')
    assert open_journal(path, KEY).records == ()
    assert open_journal(path, KEY).path == path


@pytest.mark.parametrize("begun", ['"noon"', "null", "1e999", "-5"])
def test_a_journal_that_does_not_say_when_it_was_begun_is_begun_anew(tmp_path: Path, begun: str) -> None:
    path = tmp_path / "state.jsonl"
    path.write_text(f'{{"schema": 1, "begun": {begun}, "key": {json.dumps(KEY)}}}\n{{"n": 1}}\n')
    assert open_journal(path, KEY).records == ()


def test_lines_that_are_no_records_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    open_journal(path, KEY)
    with path.open("ab") as file:
        file.write(b'[1]\n\n{"n": \n\xff\n{"n": 4}\n')
    assert open_journal(path, KEY).records == ({"n": 4},)


def test_another_key_a_restart_and_a_day_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.jsonl"
    open_journal(path, KEY).add({"n": 1})
    now = open_journal(path, KEY).begun
    monkeypatch.setattr(journal.time, "time", lambda: now + 0.99 * journal.KEPT)
    assert len(open_journal(path, KEY).records) == 1
    monkeypatch.setattr(journal.time, "time", lambda: now + 1.01 * journal.KEPT)
    assert open_journal(path, KEY).records == ()
    open_journal(path, KEY).add({"n": 2})
    assert open_journal(path, {**KEY, "threads": 1}).records == ()
    open_journal(path, KEY).add({"n": 3})
    assert open_journal(path, KEY, restart=True).records == ()


def test_a_place_that_cannot_be_written_says_how_to_choose_another(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "state.jsonl", tmp_path):
        with pytest.raises(RooflineError, match=r"cannot keep what is measured in .*; set ROOFLINE_CACHE to a folder that is yours"):
            open_journal(path, KEY)


# --- calibrating -----------------------------------------------------------------------------------------------------


def test_ceilings_come_first_then_ops_with_networks_among_them(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "GROUP", 2)
    done = go(machine, tmp_path / "s.jsonl")
    assert labels(machine)[: -len(THREE) - len(TWO)] == [rate.label for rate in done.rates]
    assert labels(machine)[-len(THREE) - len(TWO) :] == ["case 0", "case 1", "first b1", "case 2", "second b8"]
    assert [m.model for m in done.cases] == ["case 0", "case 1", "case 2"]
    assert [m.model for m in done.networks] == ["first b1", "second b8"]
    assert (done.left_out, done.reused, done.failures, done.threads, done.depth) == (0, 0, (), 2, "quick")


def test_every_turn_is_kept_at_once_so_that_a_run_stopped_anywhere_goes_on(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrating, "GROUP", 1)
    total = probe_count() + len(THREE) + len(TWO)
    for stop in (0, 1, 7, total - 3, total - 1):
        path = tmp_path / f"{stop}.jsonl"
        machine.asked, machine.stop_after = [], stop
        with pytest.raises(KeyboardInterrupt):
            go(machine, path)
        first, machine.asked, machine.stop_after = labels(machine), [], None
        done = go(machine, path)
        assert len(first) == stop
        assert len([*first, *labels(machine)]) == total
        assert set(first).isdisjoint(labels(machine))
        assert (done.reused, len(done.cases), len(done.networks)) == (stop, 3, 2)


def test_a_kill_loses_the_group_of_cases_that_was_under_way(machine: Machine, tmp_path: Path) -> None:
    machine.stop_after = probe_count() + 2
    with pytest.raises(KeyboardInterrupt):
        go(machine, tmp_path / "s.jsonl")
    machine.stop_after = None
    assert go(machine, tmp_path / "s.jsonl").reused == probe_count()


def test_a_state_cut_off_at_any_byte_leads_to_the_same_result(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    whole = go(machine, path)
    raw = path.read_bytes()
    for size in [*range(0, len(raw), 997), *range(len(raw) - 40, len(raw) + 1)]:
        path.write_bytes(raw[:size])
        again = go(machine, path)
        assert (again.rates, again.cases, again.networks) == (whole.rates, whole.cases, whole.networks)


def test_a_finished_calibration_is_used_again_and_a_restart_measures_it_anew(machine: Machine, tmp_path: Path) -> None:
    first = go(machine, tmp_path / "s.jsonl")
    machine.asked = []
    again = go(machine, tmp_path / "s.jsonl")
    assert machine.asked == []
    assert replace(again, reused=0, environment=first.environment) == first
    assert again.reused == len(first.rates) + 5
    go(machine, tmp_path / "s.jsonl", restart=True)
    assert len(machine.asked) == again.reused


def test_networks_are_compiled_last_and_only_if_asked_for(machine: Machine, tmp_path: Path) -> None:
    done = go(machine, tmp_path / "s.jsonl", compiled=True)
    assert labels(machine)[-3:] == ["second b8", "first b1 compiled", "second b8 compiled"]
    assert [(m.model, m.mode) for m in done.networks][2:] == [("first b1 compiled", "compiled"), ("second b8 compiled", "compiled")]
    assert machine.asked[-1][1] > calibrating.COMPILING  # the time to compile takes nothing from the time to measure
    assert (done.left_out, done.failures) == (0, ())


def test_a_finished_calibration_goes_on_to_what_is_compiled(machine: Machine, tmp_path: Path) -> None:
    first = go(machine, tmp_path / "s.jsonl")
    machine.asked = []
    more = go(machine, tmp_path / "s.jsonl", compiled=True)
    assert labels(machine) == ["first b1 compiled", "second b8 compiled"]
    assert more.reused == len(first.rates) + len(first.cases) + len(first.networks)
    machine.asked = []
    assert go(machine, tmp_path / "s.jsonl", compiled=True).networks == more.networks
    assert go(machine, tmp_path / "s.jsonl").networks == first.networks
    assert machine.asked == []


def test_threads_depth_and_versions_have_states_of_their_own(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROOFLINE_CACHE", str(tmp_path))
    paths = {go(machine, tmp_path, state=None, **how).path for how in ({}, {"threads": 1}, {"quick": False})}
    real = calibrating.environment
    monkeypatch.setattr(calibrating, "environment", lambda device, threads: {**real(device, threads=threads), "torch": "9.9"})
    paths.add(go(machine, tmp_path, state=None).path)
    assert len(paths) == 4
    assert {path.parent for path in paths} == {tmp_path / "calibration"}
    assert go(machine, tmp_path, state=None).reused > 0


@pytest.mark.parametrize(
    "line",
    [
        '{"what": "rate", "rate": {}}',
        '{"what": "rate", "rate": {"what": "speed"}}',
        '{"what": "measurement"}',
        '{"what": "measurement", "body": {"schema": 1}}',
        '{"what": "failure"}',
        '{"what": 5}',
        "{}",
    ],
)
def test_records_that_cannot_be_read_are_measured_again(machine: Machine, tmp_path: Path, line: str) -> None:
    machine.stop_after = 5
    with pytest.raises(KeyboardInterrupt):
        go(machine, tmp_path / "s.jsonl")
    with (tmp_path / "s.jsonl").open("a") as file:
        file.write(line + "\n")
    machine.stop_after = None
    assert go(machine, tmp_path / "s.jsonl").reused == 5


def test_on_a_slow_machine_the_budget_shrinks_what_is_left_and_then_leaves_it_out(machine: Machine, tmp_path: Path) -> None:
    machine.speed = 20.0
    done = go(machine, tmp_path / "s.jsonl")
    assert done.left_out > 0
    budgets = [seconds for label, seconds in machine.asked if label.startswith(("read", "write", "copy"))]
    assert budgets[-1] < budgets[0]
    assert machine.clock.now < 2 * BUDGETS["quick"].total


def test_in_the_time_that_is_left_the_most_disturbed_are_measured_again(machine: Machine, tmp_path: Path) -> None:
    machine.disturbed = {"case 1": 1, "second b8": 5}
    done = go(machine, tmp_path / "s.jsonl")
    assert sorted(labels(machine)[-2:]) == ["case 1", "second b8"]
    assert [m.noisy for m in done.cases] == [False, False, False]
    assert done.noisy == 1  # the network is as noisy as before
    machine.asked = []
    assert go(machine, tmp_path / "s.jsonl").noisy == 1  # and read back, the better of two lines counts
    assert machine.asked == []


def test_what_fails_is_told_and_the_rest_is_measured(machine: Machine, tmp_path: Path) -> None:
    machine.fails = {"first b1": "unknown model 'first'", "case 1": "no memory"}
    done = go(machine, tmp_path / "s.jsonl")
    assert [(failure.label, failure.why) for failure in done.failures] == [("first b1", "unknown model 'first'"), ("case 1", "no memory")]
    assert ([m.model for m in done.networks], [m.model for m in done.cases]) == (["second b8"], ["case 0", "case 2"])
    assert done.left_out == 0
    assert go(machine, tmp_path / "s.jsonl").failures == done.failures


def test_progress_tells_phase_share_and_the_seconds_left(machine: Machine, tmp_path: Path) -> None:
    told: list[tuple[str, float, float]] = []
    go(machine, tmp_path / "s.jsonl", progress=lambda *what: told.append(what))
    assert list(dict.fromkeys(phase for phase, _, _ in told)) == ["ceilings", "ops", "networks"]
    shares, left = [share for _, share, _ in told], [seconds for _, _, seconds in told]
    assert shares == sorted(shares)
    assert left == sorted(left, reverse=True)
    assert 0 <= shares[0] < shares[-1] <= 1
    assert left[-1] > 0


@pytest.mark.parametrize(
    ("how", "kind", "says"),
    [
        ({"device": "tpu"}, UnknownNameError, "cannot calibrate device 'tpu'; use one of cpu, cuda"),
        ({"threads": 0}, RooflineError, "bad number of threads 0; use 1 to 4096"),
        ({"threads": True}, RooflineError, "bad number of threads True"),
        ({"threads": 2.5}, RooflineError, "bad number of threads 2.5"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(
    machine: Machine, tmp_path: Path, how: Any, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        go(machine, tmp_path / "s.jsonl", **how)
    assert machine.asked == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="PyTorch finds no GPU here; use --device cpu"):
        go(machine, tmp_path / "s.jsonl", device="cuda")


@pytest.mark.parametrize("count", [1, 2, 59, 60, 61, 1000])
def test_thinned_times_keep_their_order_their_median_and_their_quartiles(count: int) -> None:
    times = tuple(1 + ((i * 7919) % count) / count for i in range(count))
    op = OpTime(0, "relu", "", times, "activation")
    kept = thinned(Measurement("net", "cpu", 1, (), "fp32", "eager", "nchw", 1, times, (op,)))
    positions = [times.index(t) for t in kept.seconds]
    assert positions == sorted(positions)
    assert len(kept.seconds) == min(count, calibrating.TIMES_KEPT)
    assert len(kept.ops[0].seconds) == min(count, calibrating.OP_TIMES_KEPT)
    assert quartiles(kept.seconds) == pytest.approx(quartiles(times), rel=0.02)


# --- cases in turn ---------------------------------------------------------------------------------------------------


class Witness(torch.nn.Module):
    """Notes that it ran, when, and how."""

    ran: list[tuple[str, bool, int]] = []

    def __init__(self, name: str, fails_at: int | None = None) -> None:
        super().__init__()
        self.name, self.fails_at = name, fails_at

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "meta":
            self.ran.append((self.name, torch.is_inference_mode_enabled(), torch.get_num_threads()))
            if self.fails_at is not None and sum(name == self.name for name, _, _ in self.ran) > self.fails_at:
                raise RuntimeError("not enough memory\nand more")
        return x + 1


def witnesses(**fails_at: int | None) -> list[Case]:
    Witness.ran.clear()
    return [Case(name, "a kind", partial(Witness, name, at), ((4,),), 2) for name, at in fails_at.items()]


class Ticking(Clock):
    """A clock that moves by a millisecond each time it is read."""

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def test_cases_run_in_turn_and_are_timed_after_two_rounds() -> None:
    found = rotate(witnesses(a=None, b=None), "cpu", threads=1, seconds=1.0, clock=Ticking())
    names = [name for name, _, _ in Witness.ran]
    assert names == ["a", "b"] * (len(names) // 2)
    assert [m.model for m in found if isinstance(m, Measurement)] == ["a", "b"]
    assert all(len(m.seconds) == len(names) // 2 - 2 for m in found if isinstance(m, Measurement))
    assert all(m.median == pytest.approx(0.001) and m.batch == 2 for m in found if isinstance(m, Measurement))
    assert {(inference, threads) for _, inference, threads in Witness.ran} == {(True, 1)}


def test_steady_cases_take_ten_rounds_and_a_spent_budget_three() -> None:
    rotate(witnesses(a=None), "cpu", threads=1, seconds=1e9, clock=Ticking())
    assert len(Witness.ran) == 2 + 10
    rotate(witnesses(a=None), "cpu", threads=1, seconds=1e-9, clock=Ticking())
    assert len(Witness.ran) == 2 + 3


def test_a_case_that_fails_leaves_the_others_alone() -> None:
    found = rotate(witnesses(a=None, b=0, c=5, d=None), "cpu", threads=1, seconds=1e9, clock=Ticking())
    assert [type(result).__name__ for result in found] == ["Measurement", "Failure", "Failure", "Measurement"]
    assert found[1] == Failure("b", "RuntimeError: not enough memory")
    assert sum(name == "b" for name, _, _ in Witness.ran) == 1


def test_a_case_that_cannot_be_built_is_told() -> None:
    (found,) = rotate([Case("odd", "a kind", lambda: torch.nn.Conv2d(5, 4, 3), ((3, 8, 8),), 1)], "cpu", threads=1, seconds=1.0)
    assert isinstance(found, Failure)
    assert "failed on an input of 3x8x8" in found.why


def test_threads_and_denormals_are_put_back() -> None:
    before = torch.get_num_threads()
    rotate(witnesses(a=None), "cpu", threads=before + 1, seconds=0.1, clock=Ticking())
    assert {threads for _, _, threads in Witness.ran} == {before + 1}
    assert torch.get_num_threads() == before
    assert (torch.tensor(1e-40) * 1).item() > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the page faults of Linux")
def test_the_allocator_keeps_memory_meanwhile() -> None:
    import resource

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            torch.empty(2**24).fill_(1.0)  # 64 MiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with keeping_memory():
        assert min(faults() for _ in range(4)) < 1000  # once cleared; threads of other tests may take a block in between


# --- networks in processes of their own ------------------------------------------------------------------------------


def test_a_network_is_measured_by_the_command_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    timed = Measurement("resnet18", "cpu", 8, (), "fp32", "eager", "nchw", 2, (0.5,))

    def ran(words: Sequence[str], **how: Any) -> Any:
        asked.append((words, how))
        return SimpleNamespace(returncode=0, stdout=timed.to_json(), stderr="warning: noisy")

    monkeypatch.setattr(apart.subprocess, "run", ran)
    assert measure_apart("resnet18", "cpu", batch=8, mode="compiled", threads=2, seconds=1.5) == timed
    words, how = asked[0]
    assert " ".join(words[1:]) == (
        "-m roofline measure resnet18 --json --device cpu -b 8 --mode compiled --threads 2 --seconds 1.500 --precision fp32 --layout nchw"
    )
    assert how["env"]["PYTHONPATH"].split(":")[0] == str(Path(roofline.__file__).parents[1])
    assert how["timeout"] > 60


@pytest.mark.parametrize(
    ("code", "errors", "says"),
    [
        (2, "warning: x\nerror: unknown model 'resnet81'; did you mean resnet18?\n", "^unknown model 'resnet81'; did you mean resnet18"),
        (-9, "", "cannot measure resnet18: its process ended with signal 9, perhaps for lack of memory"),
        (3, "Traceback", "cannot measure resnet18: its process ended with exit code 3"),
    ],
)
def test_a_process_that_fails_says_why_in_one_line(monkeypatch: pytest.MonkeyPatch, code: int, errors: str, says: str) -> None:
    monkeypatch.setattr(apart.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=code, stdout="", stderr=errors))
    with pytest.raises(ModelError, match=says):
        measure_apart("resnet18", "cpu", batch=1, mode="eager", threads=1, seconds=1.0)


def test_a_process_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(words: Any, **how: Any) -> None:
        raise subprocess.TimeoutExpired(words, how["timeout"])

    monkeypatch.setattr(apart.subprocess, "run", hangs)
    with pytest.raises(ModelError, match="cannot measure resnet18 in a process of its own: TimeoutExpired"):
        measure_apart("resnet18", "cpu", batch=1, mode="eager", threads=1, seconds=1.0)


# --- samples ---------------------------------------------------------------------------------------------------------


@pytest.fixture(name="network", scope="module")
def _network() -> Measurement:
    graph = roofline.trace("mobilenetv3_small_050", image_size=224).with_batch(2)
    ops = tuple(OpTime(op.id, op.name, op.module, (1e-5 * (op.id % 7 + 1),), work(op, graph).kind) for op in graph.ops)
    return Measurement("mobilenetv3_small_050 b2", "cpu", 2, (), "fp32", "eager", "nchw", 2, (0.01,), ops)


def test_an_op_alone_costs_what_it_costs_in_its_network(network: Measurement) -> None:
    graph = network_graph(network)
    for op in graph.ops:
        alone = op_graph(graph, op)
        alone.check()
        assert cost(alone.ops, alone) == cost([op], graph)
        assert work(alone.ops[0], alone) == work(op, graph)
        assert alone.with_batch(4).batch == 4


@pytest.mark.parametrize("whole", [0.02, 0.0021])
def test_the_ops_of_a_network_add_up_to_the_whole(network: Measurement, whole: float) -> None:
    graph = network_graph(network)
    parts = op_times(graph, replace(network, seconds=(whole,)))
    counts = [int(label.split(" and ")[1].split()[0]) + 1 if " and " in label else 1 for _, _, label, _ in parts]
    assert sum(counts) == sum(op.kind != "view" for op in network.ops)
    assert sum(count * seconds for count, (_, seconds, _, _) in zip(counts, parts, strict=True)) == pytest.approx(whole)
    assert min(seconds for _, seconds, _, _ in parts) > 0
    anew = asked_anew(tabulate(graph, [2]), Process("eager", "nchw")).sum()
    assert sum(count * nbytes for count, (_, _, _, nbytes) in zip(counts, parts, strict=True)) == pytest.approx(anew)


def test_samples_are_cases_networks_and_their_distinct_ops(network: Measurement) -> None:
    case = THREE[1]
    timed = Measurement(case.label, "cpu", 2, (), "fp32", "eager", "nchw", 2, (0.5,))
    stranger = replace(timed, model="no such case")
    found = samples([timed, stranger], [network], THREE)
    assert [sample.label for sample in found[:2]] == ["case 1", "mobilenetv3_small_050 b2"]
    assert (found[0].seconds, found[0].batch, found[0].graph.batch, len(found[0].graph.ops)) == (0.5, 2, 2, 1)
    assert all(len(sample.graph.ops) == 1 for sample in found[2:])
    assert len(found) < len(network.ops)


# --- the profile -----------------------------------------------------------------------------------------------------

SIZES = {"dram": 134217728, "l3": 8388608, "l2": 262144}
SPEEDS = {"dram": {"read": 40e9, "write": 30e9, "copy": 35e9}, "l3": {"read": 140e9, "write": 120e9, "copy": 130e9}}


def rates(threads: int = 2) -> tuple[Rate, ...]:
    def traffic(level: str, what: Any, speed: float) -> Rate:
        return Rate(f"{what} {level}", what, "fp32", SIZES[level], threads, float(SIZES[level]), (SIZES[level] / speed,))

    found = [traffic(level, what, speed) for level, speeds in SPEEDS.items() for what, speed in speeds.items()]
    found += [
        Rate("gemm fp32", "gemm", "fp32", 512, threads, 2e9, (0.01,)),
        Rate("gemm bf16", "gemm", "bf16", 128, 1, 2e6, (0.001,)),
        Rate("gemm fp16", "gemm", "fp16", 128, 1, 2e6, ()),
        Rate("conv", "conv", "fp32", 64, threads, 3e9, (0.01,)),
        Rate("call", "call", "fp32", 1, threads, 1.0, (1e-9,)),
        Rate("op", "op", "fp32", 1, threads, 1.0, (3e-6,)),
        Rate("view", "view", "fp32", 1, threads, 1.0, (1e-6,)),
        Rate("region 1", "region", "fp32", 65536, 1, 1.0, (4e-6,)),
        Rate("region", "region", "fp32", 65536, threads, 1.0, (3.5e-6,)),
        Rate("compiled 2", "compiled", "fp32", 12, threads, 12.0, (300e-6,)),
        Rate("compiled 10", "compiled", "fp32", 60, threads, 60.0, (1260e-6,)),
        Rate("fresh", "fresh", "fp32", 2**26, threads, 2.0**26, (0.0335544,)),
    ]
    return tuple(found)


@pytest.fixture(name="done")
def _done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CalibrationRun:
    """Stand for a finished calibration of two cores that do 100 GFLOP/s each on paper."""
    looked = hostprofile.detect(tmp_path)
    cores = replace(looked, name="A CPU, 2 cores", units=2, unit_name="core")
    sizes = {"dram": 2.0**34, "l3": 2.0**25, "l2": 2.0**20}
    memory = tuple(
        replace(looked.memory[0], name=n, size=s, size_source=replace(looked.memory[0].size_source, value=s)) for n, s in sizes.items()
    )
    engines = tuple(replace(engine, peak=1e11, ceiling=9e10, per_clock=20.0, clock=2.5e9) for engine in cores.engines)
    monkeypatch.setattr(hostprofile, "detect", lambda: replace(cores, memory=memory, engines=engines))
    environment = {"name": "A CPU", "torch": "2.9", "cores": 2}
    return CalibrationRun("cpu", 2, False, "2026-05-04", environment, rates(), (), (), (), (), 0, 0, tmp_path / "s.jsonl")


def loaded(run: CalibrationRun, path: Path) -> roofline.Hardware:
    write(document_of(run), path, run)
    return load_hardware(path)


def test_the_profile_says_what_was_measured_and_passes_every_check(done: CalibrationRun, tmp_path: Path) -> None:
    device = loaded(done, tmp_path / "host.yaml")
    assert [str(finding) for finding in check(device) if finding.level == "error"] == []
    assert (device.id, device.name, device.kind, device.units) == ("host", "A CPU, 2 cores", "cpu", 2)
    engine = device.vector_engine("fp32")
    assert (engine.ceiling, engine.ceiling_source.kind, engine.ceiling_source.source) == (2e11, "measured", "calibrate")
    dram, l3, l2 = device.memory
    assert (dram.read, dram.write, dram.copy) == pytest.approx((40e9, 30e9, 35e9), rel=1e-3)
    assert (dram.peak, dram.peak_source.kind) == (pytest.approx(40e9, rel=1e-3), "derived")
    assert (l3.read, l3.copy) == pytest.approx((140e9, 130e9), rel=1e-3)
    assert {figure.kind for figure in (l2.read_source, l2.write_source)} <= {"assumed", "derived"}
    assert (device.overheads.host_op, device.overheads.host_view, device.overheads.launch) == pytest.approx((3e-6, 1e-6, 1.5e-6))
    assert device.overheads.host_op_source.kind == "measured"
    assert (device.overheads.compiled, device.overheads.compiled_source.kind) == (pytest.approx(20e-6), "measured")


def test_the_source_carries_date_versions_threads_and_counts(done: CalibrationRun, tmp_path: Path) -> None:
    (source,) = [source for source in loaded(done, tmp_path / "host.yaml").sources if source.key == "calibrate"]
    assert source.opened == "2026-05-04"
    assert source.note == f"PyTorch 2.9, 2 threads, full: {len(done.rates)} ceilings, 0 chains of ops, 0 networks"


def test_every_source_is_used_and_every_figure_has_one(done: CalibrationRun) -> None:
    document = document_of(done)
    text = to_yaml({key: value for key, value in document.items() if key != "sources"})
    assert [key for key in document["sources"] if f"src: {key}" not in text] == []


def test_the_notes_tell_of_fresh_memory_emulation_and_disturbance(done: CalibrationRun, tmp_path: Path) -> None:
    quiet = document_of(done)["notes"]
    assert any("memory asked of the system anew is written at 2.00 GB/s" in note for note in quiet)
    assert "PyTorch runs products emulated in bf16 at 2.00 GFLOP/s" in quiet
    assert not any("calibrate" in note for note in quiet)
    crowd = Measurement("case", "cpu", 1, (), "fp32", "eager", "nchw", 2, (1.0,), (), {"busy_elsewhere": 1.0, "processors": 2})
    notes = document_of(replace(done, cases=(crowd,), left_out=7))["notes"]
    assert "other work ran during 1 of 1 measurements; calibrate again on a quiet machine" in notes
    assert "there was no time for 7 measurements" in notes


def test_a_rate_above_the_peak_is_a_clock_above_the_one_the_system_tells(done: CalibrationRun) -> None:
    entries = {entry["dtype"]: entry for entry in document_of(done)["engines"]}
    assert entries["fp32"]["boosts_above_spec"] is True
    assert "boosts_above_spec" not in entries["fp64"]
    assert entries["fp64"]["ceiling"]["kind"] == "assumed"


def test_with_nothing_measured_all_stays_assumed(done: CalibrationRun, tmp_path: Path) -> None:
    device = loaded(replace(done, rates=()), tmp_path / "host.yaml")
    assert [str(finding) for finding in check(device) if finding.level == "error"] == []
    assert {figure.kind for level in device.memory for figure in level.sources[1:]} <= {"assumed", "derived"}


def test_one_thread_of_two_is_a_device_of_one_core(done: CalibrationRun, tmp_path: Path) -> None:
    device = loaded(replace(done, threads=1, rates=rates(1)), tmp_path / "host.yaml")
    assert (device.units, device.units_source.kind) == (1, "derived")  # type: ignore[union-attr]
    assert [level.size for level in device.memory] == [2.0**34, 2.0**25, 2.0**19]
    assert device.name == "A CPU, 1 of 2 cores"
    assert device.overheads.launch == pytest.approx(0.02e-6)


def test_more_threads_than_cores_are_a_device_of_all_cores(done: CalibrationRun, tmp_path: Path) -> None:
    assert loaded(replace(done, threads=8, rates=rates(8)), tmp_path / "host.yaml").units == 2


@pytest.mark.parametrize("name", ["AMD: #1 'x' \"y\"", "{a}", "- *b", "x\ny", "Ω 处理器", ""])
def test_any_name_survives_the_file(done: CalibrationRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real = hostprofile.detect()
    monkeypatch.setattr(hostprofile, "detect", lambda: replace(real, name=name))
    assert loaded(replace(done, environment={"name": name}), tmp_path / "host.yaml").name == name


def test_values_that_occur_twice_are_written_twice() -> None:
    shared = {"a": [1, 2]}
    assert "&" not in to_yaml({"x": shared, "y": shared})
    assert yaml.safe_load(to_yaml({"x": shared, "y": shared})) == {"x": shared, "y": shared}


def test_host_is_the_calibrated_profile_once_there_is_one(done: CalibrationRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    if sys.platform != "linux":
        pytest.skip("other systems have no XDG_CONFIG_HOME")
    assert any("roofline calibrate" in note for note in load_hardware("host").notes)
    path = default_path("cpu")
    check_output(path)
    write(document_of(done), path, done)
    assert path == tmp_path / "roofline" / "hardware" / "host.yaml"
    assert load_hardware("host").name == "A CPU, 2 cores"
    assert list(path.parent.iterdir()) == [path]


def test_the_table_has_the_levels_of_the_profile(done: CalibrationRun) -> None:
    found = bandwidths(done)
    assert list(found) == ["dram", "l3", "l2"]
    assert found["dram"]["read"].rate == pytest.approx(40e9)


# --- a GPU, which is not here ----------------------------------------------------------------------------------------


@pytest.fixture(name="gpu")
def _gpu(monkeypatch: pytest.MonkeyPatch, done: CalibrationRun) -> Callable[..., CalibrationRun]:
    def make(name: str, major: int = 9, minor: int = 0) -> CalibrationRun:
        properties = SimpleNamespace(
            name=name, major=major, minor=minor, multi_processor_count=100, total_memory=32 * 10**9, L2_cache_size=50 * 2**20
        )
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
        size = 2**30
        found = [Rate(what, what, "fp32", size, 8, float(size), (size / 1e12,)) for what in ("read", "write", "copy")]
        found += [Rate("gemm", "gemm", "fp16", 4096, 8, 1e12, (0.01,)), Rate("launch", "launch", "fp32", 1, 8, 1.0, (2e-6,))]
        found += [Rate("graph", "graph", "fp32", 1, 8, 100.0, (1.2e-4,)), Rate("op", "op", "fp32", 1, 8, 1.0, (9e-6,))]
        environment = {"name": name, "host": "A CPU", "torch": "2.9", "clock_hz": 1.5e9}
        return replace(done, device="cuda", threads=8, rates=tuple(found), environment=environment)

    return make


@pytest.mark.parametrize("name", ["Tesla T4", "NVIDIA A100-SXM4-40GB", "nvidia-t4"])
def test_a_known_gpu_keeps_its_profile_but_for_what_was_measured(gpu: Any, tmp_path: Path, name: str) -> None:
    known = hostprofile.find(name)
    device = loaded(gpu(name), tmp_path / "host-gpu.yaml")
    assert [str(finding) for finding in check(device) if finding.level == "error"] == []
    assert (device.kind, device.price, device.aliases) == ("gpu", None, ())
    assert device.matmul_engine("fp16").ceiling == 1e14
    assert device.matmul_engine("fp16").ceiling_source.source == "calibrate"
    assert (device.overheads.launch, device.overheads.graph, device.overheads.host_op) == pytest.approx((2e-6, 1.2e-6, 9e-6))
    if known is not None:
        assert device.units == load_hardware(known).units
        assert device.matmul_engine("int8").ceiling == load_hardware(known).matmul_engine("int8").ceiling


CAPABILITIES = [((8, 6), "ampere"), ((9, 0), "hopper"), ((8, 7), "ampere"), ((13, 0), "blackwell"), ((5, 0), "volta")]


@pytest.mark.parametrize(("capability", "architecture"), CAPABILITIES)
def test_an_unknown_gpu_is_described_by_its_compute_capability(
    gpu: Any, tmp_path: Path, capability: tuple[int, int], architecture: str
) -> None:
    device = loaded(gpu("A GPU nobody knows", *capability), tmp_path / "host-gpu.yaml")
    assert [str(finding) for finding in check(device) if finding.level == "error"] == []
    assert (device.architecture, device.units, device.memory_size) == (architecture, 100, 32e9)
    assert device.memory[0].copy == pytest.approx(1e12, rel=1e-3)
    assert device.matmul_engine("fp16").ceiling == 1e14


def test_a_gpu_goes_to_a_file_of_its_own() -> None:
    assert default_path("cuda").name == "host-gpu.yaml"


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("host.json", "a profile is YAML; use the suffix .yaml"),
        ("host", "a profile is YAML; use the suffix .yaml"),
        ("folder.yaml", "it is a folder; name a file"),
        ("missing/host.yaml", "name a file in a folder that exists and is yours"),
        ("file/host.yaml", "name a file in a folder that exists and is yours"),
        ("a\0b.yaml", "name a file in a folder that exists and is yours"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_first(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(calibrating, "calibrate", lambda *_, **__: pytest.fail("measured before the output was looked at"))
    assert cli(["calibrate", "-o", str(tmp_path / name)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: cannot write ")
    assert says in err
    assert {path.name for path in tmp_path.iterdir()} == {"folder.yaml", "file"}


def test_looking_at_an_output_leaves_it_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "host.yaml"
    path.write_text("mine")
    check_output(path)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


# --- command line ----------------------------------------------------------------------------------------------------


@pytest.fixture(name="quickly")
def _quickly(monkeypatch: pytest.MonkeyPatch, done: CalibrationRun) -> list[Any]:
    """Let the command calibrate at once, and fit nothing; return what it asked for."""
    asked: list[Any] = []

    def calibrated(device: str, **how: Any) -> CalibrationRun:
        asked.append((device, {key: value for key, value in how.items() if key != "progress"}))
        return done

    monkeypatch.setattr(calibrating, "calibrate", calibrated)
    monkeypatch.setattr(calibrating, "fitted", lambda *_: [])
    return asked


def test_the_command_prints_ceilings_and_what_to_do_next(quickly: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "h.yaml"
    assert cli(["calibrate", "--quick", "--threads", "2", "-o", str(path)]) == 0
    assert quickly == [("cpu", {"quick": True, "compiled": False, "threads": 2, "restart": False})]
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "A CPU calibrated (cpu, 2 threads, full)",
        "",
        "compute            1 thread    2 threads",
        "product fp32              -  200 GFLOP/s",
        "product bf16   2.00 GFLOP/s            -",
        "conv 3x3 fp32             -  300 GFLOP/s",
        "",
        "memory       read      write       copy",
        "dram    40.0 GB/s  30.0 GB/s  35.0 GB/s",
        "l3       140 GB/s   120 GB/s   130 GB/s",
        "l2              -          -          -",
        "",
        "overhead      op    view  parallel region  compiled",
        "          3.0 us  1.0 us           1.5 us     20 us",
        "",
        "timed      0 chains of ops and 0 networks",
        f"wrote      {path}",
        f"next       roofline analyze resnet50 --hw {path}",
        "           roofline validate",
    ]


def test_the_summary_stays_within_eighty_columns_and_warns(done: CalibrationRun) -> None:
    crowd = Measurement("case", "cpu", 1, (), "fp32", "eager", "nchw", 2, (1.0,), (), {"busy_elsewhere": 1.0, "processors": 2})
    failures = (Failure("convnext_atto b8", "unknown model 'convnext_atto'; " + "did you mean something else? " * 3),)
    run = replace(done, cases=(crowd,), failures=failures, left_out=3, reused=5, environment={"name": "A CPU"})
    lines = command._summary(run, Path("h.yaml"), usual=True)
    assert [line for line in lines if len(line) > 80] == []
    text = "\n".join(lines)
    assert "kept       5 results of an earlier run; --restart measures them again" in text
    assert text.count("warning    ") == 3
    assert "next       roofline analyze resnet50 --hw host" in text


def test_json_is_all_there_is_on_stdout(quickly: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "h.yaml"
    assert cli(["calibrate", "--json", "-o", str(path)]) == 0
    out, err = capsys.readouterr()
    body = json.loads(out)["calibration"]
    assert err == ""
    assert body["output"] == str(path)
    assert body["profile"] == yaml.safe_load(path.read_text())
    assert {"label", "best_seconds", "rate_per_second"} <= set(body["ceilings"][0])
    assert all(entry["runs"] for entry in body["ceilings"])


def test_an_interrupt_says_how_to_go_on_and_writes_nothing(
    quickly: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(calibrating, "calibrate", interrupted)
    assert cli(["calibrate", "-o", str(tmp_path / "h.yaml")]) == 2
    assert capsys.readouterr().err == "error: interrupted; what was measured is kept: give the same command again to go on\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--device", "tpu"], "error: cannot calibrate device 'tpu'; use one of cpu, cuda"),
        (["--threads", "0"], "error: bad number of threads 0; use 1 to 4096"),
        (["--threads", "two"], "error: Invalid value for '--threads'"),
        (["resnet50"], "error: Got unexpected extra argument (resnet50)"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["calibrate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(says)


@pytest.mark.parametrize(("seconds", "text"), [(0.2, ""), (59.0, "0:59 left"), (125.9, "2:05 left")])
def test_the_time_left_is_in_minutes_and_seconds(seconds: float, text: str) -> None:
    assert command._left(seconds) == text


# --- the real thing --------------------------------------------------------------------------------------------------


def test_a_handful_of_cases_is_calibrated_fitted_and_analyzed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "BUDGETS", {"quick": calibrating.Budget(60, 0.002, 0.02, 4.1)})
    monkeypatch.setattr(ceilings, "LARGEST", 2**22)
    monkeypatch.setattr(ceilings, "FRESH", 2**22)
    few = [case for case in QUICK if case.batch == 1 and case.kind in ("pointwise", "batch norm", "activation", "elementwise")][:8]
    run = calibrate(quick=True, threads=1, state=tmp_path / "s.jsonl", designed=few, networks=[("mobilenetv3_small_050", 1)])
    assert (len(run.cases), len(run.networks), run.failures, run.left_out) == (len(few), 1, (), 0)
    assert all(m.median > 0 for m in (*run.cases, *run.networks))
    document = document_of(run)
    path = tmp_path / "host.yaml"
    block = calibrating.fitted(run, hardware_of(document, path))
    write({**document, "calibration": block}, path, run)
    assert roofline.analyze("resnet18", path, image_size=64).latency > 0
