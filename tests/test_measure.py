"""Checks that runs are repeated by the stated rules, that each op's time lands on its op in the graph, and that nothing leaks."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import roofline
from roofline.cli import run as cli
from roofline.errors import ModelError, RooflineError, UnknownNameError, UnsupportedError
from roofline.graph import Graph
from roofline.measurement import measure as measuring
from roofline.measurement.dispatch import Timed, dispatch_seconds, time_ops, to_graph
from roofline.measurement.environment import elsewhere, environment, usage
from roofline.measurement.measurement import Measurement, OpTime
from roofline.measurement.timer import CudaTimer, WallTimer, repeat, standard_error, timed, warm_up

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
QUICK: dict[str, Any] = {"seconds": 0.05, "threads": 1}


class Clock:
    """A clock that moves when a run says so, and by *tick* each time it is read."""

    def __init__(self, tick: float = 0.0) -> None:
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now

    def runs(self, *times: float) -> Callable[[], float]:
        """Return a run that takes *times* in turn, the last one for ever."""
        left = list(times)

        def run() -> float:
            seconds = left.pop(0) if len(left) > 1 else left[0]
            self.now += seconds
            return seconds

        return run


class Toy(nn.Module):
    """Overwrites memory through a view, so that the tracer notes an alias; makes a constant; ends in a composite in parts."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        top = y[:, :4]
        top.mul_(2)
        y = y + torch.arange(14, device=y.device)
        return torch.einsum("bchw,bdhw->bcd", y, top).softmax(-1)


def image_net(**how: Any) -> Measurement:
    return roofline.measure(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), **{"example_inputs": (1, 3, 8, 8), **QUICK, **how})


def sample(**changes: Any) -> Measurement:
    ops = (
        OpTime(0, "conv2d", "stem", (0.5, 0.7, 0.6), "conv"),
        OpTime(2, "conv2d", "head", (0.1, 0.1, 0.1), "conv"),
        OpTime(3, "relu", "", (0.1, 0.2, 0.3), "activation"),
    )
    made = Measurement(
        "net",
        "cpu",
        4,
        ("4 x 3 x 8 x 8 fp32",),
        "fp32",
        "eager",
        "nchw",
        2,
        (1.0, 1.04, 1.02, 1.1, 0.98),
        ops,
        {"name": "A processor", "load": 0.5},
    )
    return replace(made, **changes)


# --- figures ---------------------------------------------------------------------------------------------------------


def test_median_best_and_iqr_come_from_the_raw_times() -> None:
    measured = sample()  # sorted: 0.98 1.0 1.02 1.04 1.1
    assert (measured.median, measured.best) == (1.02, 0.98)
    assert measured.iqr == pytest.approx(1.04 - 1.0)
    assert measured.throughput == pytest.approx(4 / 1.02)


@pytest.mark.parametrize(("times", "noisy"), [((1.0, 1.0, 1.05, 1.1, 1.2), False), ((1.0, 1.0, 1.05, 1.12, 1.2), True), ((3.0,), False)])
def test_noisy_means_an_iqr_above_a_tenth_of_the_median(times: tuple[float, ...], noisy: bool) -> None:
    measured = sample(seconds=times)
    assert measured.noisy is noisy
    assert bool(measured.warning) is noisy


@pytest.mark.parametrize(
    ("threads", "elsewhere", "crowded"), [(2, 0.1, False), (2, 0.5, True), (1, 0.9, False), (1, 1.5, True), (64, 0.1, False)]
)
def test_crowded_means_that_others_left_fewer_processors_than_threads(threads: int, elsewhere: float, crowded: bool) -> None:
    measured = sample(threads=threads, environment={"processors": 2, "busy_elsewhere": elsewhere})
    assert measured.crowded is crowded
    assert measured.warning.startswith("crowded: other work used ") is crowded
    assert not replace(measured, device="cuda").crowded


def test_the_warning_gives_both_reasons() -> None:
    measured = sample(seconds=(1.0, 2.0, 3.0), environment={"processors": 2, "busy_elsewhere": 0.5})
    assert measured.warning == (
        "noisy: the interquartile range is 50 % of the median; crowded: other work used 0.50 of 2 processors meanwhile; "
        "stop what else runs here, or give more --seconds"
    )


def test_ops_sum_by_kind_and_by_module_the_slowest_first() -> None:
    measured = sample()
    assert measured.ops_seconds == pytest.approx(0.6 + 0.1 + 0.2)
    assert [(s.name, s.ops) for s in measured.by_kind()] == [("conv", 2), ("activation", 1)]
    assert [s.share for s in measured.by_kind()] == pytest.approx([7 / 9, 2 / 9])
    assert [s.name for s in measured.by_module()] == ["stem", "(root)", "head"]


def test_json_round_trips_and_carries_the_derived_figures() -> None:
    measured = sample()
    text = measured.to_json()
    assert Measurement.from_json(text) == measured
    body = json.loads(text)
    assert body["schema"] == 1
    assert body["measurement"]["median_seconds"] == measured.median
    assert body["measurement"]["noisy"] is False
    assert body["measurement"]["ops"][0]["median_seconds"] == 0.6


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no measurement"),
        ("[]", "no measurement of schema 1"),
        ('{"schema": 99, "measurement": {}}', "no measurement of schema 1"),
        ('{"schema": 1, "measurement": {}}', "broken"),
        ('{"schema": 1, "measurement": []}', "broken"),
        (sample().to_json().replace("0.5,", '"fast",', 1), "broken"),
        (json.dumps({"schema": 1, "measurement": {**json.loads(sample().to_json())["measurement"], "seconds": []}}), "no times"),
    ],
)
def test_what_is_no_measurement_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(RooflineError, match=says) as caught:
        Measurement.from_json(text)
    assert "\n" not in str(caught.value)


def test_the_summary_names_the_device_the_times_and_the_slowest_kinds() -> None:
    assert sample(seconds=(1.0, 1.5, 1.2)).summary(top=1).splitlines() == [
        "net measured on A processor (cpu, 2 threads)",
        "",
        "input       4 x 3 x 8 x 8 fp32",
        "run as      batch 4, fp32, eager, nchw",
        "latency     1.20 s  (best 1.00 s, IQR 250 ms, 3 runs)",
        "throughput  3.33 items/s",
        "ops         3 timed one by one, 900 ms together",
        "warning     noisy: the interquartile range is 21 % of the median; stop what else runs here, or give more --seconds",
        "",
        "kind of op  ops       time  share",
        "conv          2     700 ms   78 %",
        "",
        "module  ops       time  share",
        "stem      1     600 ms   67 %",
    ]


def test_the_summary_says_why_a_compiled_network_has_no_ops() -> None:
    assert "ops         not timed: compiled, they run fused" in str(sample(ops=(), mode="compiled"))


# --- clocks and rules ------------------------------------------------------------------------------------------------


def test_a_run_is_timed_from_mark_to_mark() -> None:
    clock = Clock()
    assert timed(clock.runs(0.25), WallTimer(clock)) == 0.25


@pytest.mark.parametrize(
    ("times", "budget", "runs"),
    [
        ((5.0, 3.0, 1.0, 1.0), 100, 4),  # the fourth is no faster than the third
        ((5.0, 1.0, 1.0, 1.0), 100, 3),  # three at least
        ((4.0, 2.0, 1.0, 0.5, 0.25, 0.25), 100, 6),
        ((5.0, 1.0), 4, 1),  # the budget is up after one
        ((0.01,), 100, 20),  # short runs go on for 0.2 s
    ],
)
def test_warming_up_ends_when_runs_no_longer_get_faster(times: tuple[float, ...], budget: float, runs: int) -> None:
    clock = Clock()
    assert warm_up(clock.runs(*times), budget, clock) == runs


def test_steady_runs_are_repeated_ten_times() -> None:
    clock = Clock()
    assert repeat(clock.runs(1.0), 100, clock, lambda _: None) == (1.0,) * 10


def test_short_steady_runs_are_repeated_for_a_fifth_of_a_second() -> None:
    clock = Clock()
    assert len(repeat(clock.runs(1 / 512), 100, clock, lambda _: None)) == 103  # 0.2 * 512 = 102.4


def test_unsteady_runs_are_repeated_until_the_median_is_known_to_one_percent() -> None:
    clock = Clock()
    times = repeat(clock.runs(*(1.0 + 0.02 * (i % 5) for i in range(200))), 1000, clock, lambda _: None)
    assert 10 <= len(times) < 200
    assert standard_error(times) < 0.01 * sorted(times)[len(times) // 2]
    assert standard_error(times[: len(times) - 2]) >= 0  # defined for every length
    noisier = repeat(clock.runs(*(1.0 + 0.1 * (i % 5) for i in range(2000))), 10000, clock, lambda _: None)
    assert len(noisier) > 5 * len(times)


def test_the_budget_ends_the_repetition_after_three_runs_at_least() -> None:
    clock = Clock()
    assert len(repeat(clock.runs(1.0, 9.0, 2.0, 7.0, 1.0), 15, clock, lambda _: None)) == 4
    assert len(repeat(clock.runs(50.0), 10, clock, lambda _: None)) == 3


def test_progress_is_the_share_of_the_budget_and_never_more_than_all() -> None:
    clock, told = Clock(), list[float]()
    repeat(clock.runs(4.0), 10, clock, told.append)
    assert told == [0.4, 0.8, 1.0]


def test_the_standard_error_of_the_median_is_that_of_normal_deviates() -> None:
    # quartiles of 0..8 are 2 and 6: sqrt(pi / 2) * (4 / 1.349) / sqrt(9)
    assert standard_error(range(9)) == pytest.approx(1.2533 * 2.9652 / 3, rel=1e-4)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Events of a GPU whose time is a Clock."""
    clock = Clock(tick=0.001)

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing
            self.at = 0.0

        def record(self) -> None:
            self.at = clock()

        def elapsed_time(self, end: "Event") -> float:
            assert clock.waited
            return (end.at - self.at) * 1e3

    clock.waited = 0  # type: ignore[attr-defined]
    clock.slept = []  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: setattr(clock, "waited", clock.waited + 1))
    monkeypatch.setattr(torch.cuda, "_sleep", clock.slept.append)
    return clock


def test_a_gpu_is_timed_by_events_after_waiting_for_it(fake_gpu: Any) -> None:
    assert timed(fake_gpu.runs(0.5), CudaTimer()) == pytest.approx(0.501)
    assert fake_gpu.waited == 2


def test_a_gpu_is_held_while_the_host_issues_the_ops(fake_gpu: Any) -> None:
    times = time_ops(lambda _: torch.zeros(2).add(1), nn.Identity(), CudaTimer(), ahead=0.5)
    assert [t.name for t in times] == ["zeros", "add"]
    assert [t.seconds for t in times] == pytest.approx([0.001, 0.001])
    assert fake_gpu.slept == [1_500_000_000]


# --- ops on the graph ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "batch"), [("resnet18", 1), ("mobilenetv3_small_050", 2)])
def test_every_op_of_a_network_is_timed_where_the_graph_has_it(name: str, batch: int) -> None:
    measured = roofline.measure(name, image_size=64, batch=batch, **QUICK)
    graph = roofline.trace(name, image_size=64).with_batch(batch)
    assert [(o.op, o.name, o.module) for o in measured.ops] == [(o.id, o.name, o.module) for o in graph.ops]
    assert {len(o.seconds) for o in measured.ops} == {len(measured.ops[0].seconds)}
    assert len(measured.ops[0].seconds) >= 3
    assert len(measured.seconds) >= 3
    assert min(s for o in measured.ops for s in o.seconds) > 0
    assert {o.kind for o in measured.ops} >= {"conv", "batch norm", "linear"}
    assert measured.inputs == (f"{batch} x 3 x 64 x 64 fp32",)


def test_views_and_overwritten_memory_have_their_place_and_aliases_no_time() -> None:
    graph = roofline.trace(Toy(), (2, 3, 16, 16))
    measured = roofline.measure(Toy(), example_inputs=(2, 3, 16, 16), batch=2, **QUICK)
    timed_ops = {o.op: (o.name, o.module) for o in measured.ops}
    untimed = [op.name for op in graph.ops if op.id not in timed_ops]
    assert set(untimed) <= {"alias", "detach"}
    assert "alias" in untimed
    assert all(timed_ops[op.id] == (op.name, op.module) for op in graph.ops if op.id in timed_ops)
    assert ("mul", "") in timed_ops.values()  # written in place, and named as the tape does


def test_with_a_clock_that_ticks_a_millisecond_a_reading_each_op_takes_one() -> None:
    measured = image_net(clock=Clock(tick=0.001), seconds=1)
    assert [o.median for o in measured.ops] == pytest.approx([0.001, 0.001])
    assert measured.median == pytest.approx(0.001)
    assert measured.environment["dispatch_seconds"] == pytest.approx(0.001)
    assert len(measured.seconds) == 67  # three readings a run, for 0.2 s


def two_ops() -> Graph:
    return roofline.trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), (1, 4))


LINEAR, RELU = Timed("linear", "0", 3.0), Timed("relu", "1", 1.0)


def test_casts_of_autocast_count_with_the_op_they_feed() -> None:
    cast = Timed("to", "0", 0.25)
    ops = to_graph([[cast, cast, LINEAR, RELU], [LINEAR, RELU]], two_ops(), casts=True)
    assert [o.seconds for o in ops] == [(3.5, 3.0), (1.0, 1.0)]


@pytest.mark.parametrize(
    ("ran", "says"),
    [
        ([LINEAR], r"traced relu in 1 \(op 1\), ran nothing more"),
        ([LINEAR, RELU, RELU], "traced nothing more, ran relu in 1"),
        ([LINEAR, Timed("gelu", "1", 1.0)], r"traced relu in 1 \(op 1\), ran gelu in 1"),
        ([Timed("linear", "", 1.0), RELU], "ran linear in the network itself"),
        ([Timed("to", "0", 1.0), LINEAR, RELU], "ran to in 0"),
    ],
)
def test_a_run_that_differs_from_the_trace_says_where(ran: list[Timed], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        to_graph([ran], two_ops(), casts=False)


class DeviceDependent(nn.Module):
    """Runs another op where there are numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu() if x.device.type == "meta" else x.sigmoid()


def test_code_that_depends_on_the_device_can_be_timed_whole_only() -> None:
    with pytest.raises(ModelError, match=r"DeviceDependent.*traced relu .*ran sigmoid .*--no-ops"):
        roofline.measure(DeviceDependent(), example_inputs=(1, 4), **QUICK)
    assert roofline.measure(DeviceDependent(), example_inputs=(1, 4), ops=False, **QUICK).ops == ()


def test_an_empty_op_takes_time() -> None:
    assert 0 < dispatch_seconds(WallTimer(), "cpu") < 0.1


# --- what runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "amp", "bf16"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_precisions_and_layouts_run_the_same_ops(precision: str, layout: str) -> None:
    measured = image_net(precision=precision, layout=layout)
    assert [o.name for o in measured.ops] == ["conv2d", "relu"]
    assert (measured.precision, measured.layout, measured.inputs) == (precision, layout, ("1 x 3 x 8 x 8 fp32",))


class Witness(nn.Module):
    """Notes what it is fed, for the test to see: its copy shares the list."""

    seen: list[Any] = []

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)
        self.halve = 0.5  # a product that Python cannot fold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "meta":
            y = self.conv(x)
            facts = {"inference": torch.is_inference_mode_enabled(), "training": self.training, "threads": torch.get_num_threads()}
            self.seen.append({"x": x, "weight": self.conv.weight, "y": y, "denormal": sys.float_info.min * self.halve, **facts})
            return y
        return self.conv(x)


@pytest.fixture
def witness() -> Witness:
    Witness.seen.clear()
    return Witness()


def test_the_original_module_is_untouched_and_its_copy_evaluated(witness: Witness) -> None:
    witness.train()
    before = {name: (value.clone(), value.dtype) for name, value in witness.state_dict().items()}
    roofline.measure(witness, example_inputs=(1, 3, 4, 4), precision="bf16", layout="nhwc", **QUICK)
    assert witness.training
    assert all(
        torch.equal(witness.state_dict()[n], value) and witness.state_dict()[n].dtype == dtype for n, (value, dtype) in before.items()
    )
    assert not any(seen["training"] for seen in Witness.seen)
    assert all(seen["inference"] for seen in Witness.seen)


def test_precision_and_layout_reach_weights_and_inputs(witness: Witness) -> None:
    roofline.measure(witness, example_inputs=(1, 3, 4, 4), precision="bf16", layout="nhwc", **QUICK)
    seen = Witness.seen[-1]
    assert {seen["x"].dtype, seen["weight"].dtype, seen["y"].dtype} == {torch.bfloat16}
    assert all(seen[name].is_contiguous(memory_format=torch.channels_last) for name in ("x", "weight", "y"))


def test_autocast_keeps_weights_and_inputs_and_lowers_the_product(witness: Witness) -> None:
    roofline.measure(witness, example_inputs=(1, 3, 4, 4), precision="amp", **QUICK)
    assert [Witness.seen[-1][name].dtype for name in ("x", "weight", "y")] == [torch.float32, torch.float32, torch.bfloat16]


def test_tensors_given_are_the_inputs_and_others_are_drawn(witness: Witness) -> None:
    given = torch.full((2, 3, 4, 4), 7.0)
    roofline.measure(witness, example_inputs=given, batch=2, **QUICK)
    assert torch.equal(Witness.seen[-1]["x"], given)
    roofline.measure(witness, example_inputs=given, batch=3, **QUICK)
    assert Witness.seen[-1]["x"].shape == (3, 3, 4, 4)
    assert 0 < Witness.seen[-1]["x"].std() < 3


def test_random_numbers_are_the_same_each_time_and_the_callers_are_left_alone(witness: Witness) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    for _ in range(2):
        roofline.measure(witness, example_inputs=(1, 3, 4, 4), **QUICK)
    assert torch.equal(Witness.seen[0]["x"], Witness.seen[-1]["x"])
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_of_named_networks_keep_activations_in_range() -> None:
    from roofline.tracing.models import build
    from roofline.tracing.spec import ModelSpec

    built = build(ModelSpec("efficientnet_b0", 64), "cpu")
    with torch.inference_mode():
        out = built.module(torch.randn(1, 3, 64, 64))
    assert all(p.device.type == "cpu" for p in built.module.parameters())
    assert 1e-10 < out.abs().mean() < 1e10


def test_threads_and_denormals_are_set_for_the_run_and_put_back(witness: Witness) -> None:
    before = torch.get_num_threads()
    measured = roofline.measure(witness, example_inputs=(1, 3, 4, 4), seconds=0.05, threads=before + 1)
    assert measured.threads == before + 1
    assert {seen["threads"] for seen in Witness.seen} == {before + 1}
    assert {seen["denormal"] for seen in Witness.seen} == {0.0}
    assert torch.get_num_threads() == before
    assert (torch.tensor(1e-40) * 1).item() > 0


def test_settings_are_put_back_after_a_failure() -> None:
    before = torch.get_num_threads(), torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with pytest.raises(ZeroDivisionError), measuring._settings("cuda", "tf32", before[0] + 1):
        assert torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32
        raise ZeroDivisionError
    after = torch.get_num_threads(), torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    assert after == before
    with measuring._settings("cuda", "fp32", None):
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32


def test_whole_numbers_index_any_vocabulary() -> None:
    net = nn.Sequential(nn.Embedding(2, 4), nn.Linear(4, 2))
    measured = roofline.measure(net, inputs=["1,6:int64"], batch=2, **QUICK)
    assert [o.name for o in measured.ops] == ["embedding", "linear"]
    assert measured.inputs == ("2 x 6 int64",)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.layer(x))


def test_a_fused_encoder_layer_is_timed_op_by_op_in_parts() -> None:
    measured = roofline.measure(Attention(), example_inputs=(1, 5, 16), **QUICK)
    assert "scaled_dot_product_attention" in {o.name for o in measured.ops}


def test_an_exported_program_is_timed_with_its_module_paths(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    program = torch.export.export(net, (torch.randn(2, 3, 8, 8),))
    torch.export.save(program, tmp_path / "net.pt2")
    for model in (program, tmp_path / "net.pt2"):
        measured = roofline.measure(model, batch=2, **QUICK)
        assert [(o.name, o.module) for o in measured.ops] == [("conv2d", "0"), ("batch_norm", "1"), ("relu", "2")]


def test_a_function_in_a_file_is_run_with_real_weights(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef build():\n    return nn.Conv2d(1, 2, 3)\nready = build()\n")
    for name in ("build", "ready"):
        measured = roofline.measure(f"{tmp_path}/net.py:{name}", image_size=8, in_chans=1, **QUICK)
        assert (measured.model, [o.name for o in measured.ops]) == (f"net.py:{name}", ["conv2d"])


# --- compiled --------------------------------------------------------------------------------------------------------


def test_a_compiled_network_is_timed_whole_only(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module)
    measured = image_net(mode="compiled")
    assert len(compiled) == 1
    assert (measured.mode, measured.ops) == ("compiled", ())


def test_a_compiler_that_fails_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("No working C++ compiler found\nand a long story")

    monkeypatch.setattr(torch, "compile", lambda _: fails)
    with pytest.raises(ModelError, match=r"torch.compile failed: .*No working C\+\+ compiler found; it needs a C\+\+ compiler"):
        image_net(mode="compiled")


@pytest.mark.slow
def test_torch_compile_itself_runs() -> None:
    assert image_net(mode="compiled").median > 0


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "kind", "says"),
    [
        ({"device": "tpu"}, UnknownNameError, "cannot measure device 'tpu'; use one of cpu, cuda"),
        ({"precision": "int8"}, UnknownNameError, "cannot measure precision 'int8'; use one of fp32, tf32, amp, fp16, bf16"),
        ({"precision": "tf32"}, UnsupportedError, "cannot measure tf32 on cpu"),
        ({"mode": "engine"}, UnknownNameError, "cannot measure mode 'engine'; use one of eager, compiled"),
        ({"layout": "chwn"}, UnknownNameError, "cannot measure layout 'chwn'"),
        ({"threads": 0}, RooflineError, "bad number of threads 0"),
        ({"threads": 1.5}, RooflineError, "bad number of threads 1.5"),
        ({"seconds": 0}, RooflineError, "bad time budget 0"),
        ({"seconds": float("nan")}, RooflineError, "bad time budget nan"),
        ({"batch": 0}, RooflineError, "bad batch size 0"),
        ({"batch": True}, RooflineError, "bad batch size True"),
        ({"example_inputs": (1, 5, 8, 8)}, ModelError, "failed on an input of 5x8x8"),
    ],
)
def test_mistakes_name_the_thing_and_the_choices(how: dict[str, Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        image_net(**how)


def test_a_graph_has_no_weights_to_run() -> None:
    with pytest.raises(ModelError, match="cannot measure a Graph"):
        roofline.measure(two_ops())  # type: ignore[arg-type]


def test_a_module_without_numbers_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot measure Conv2d: its parameters are on the meta device"):
        roofline.measure(nn.Conv2d(3, 4, 3, device="meta"), example_inputs=(1, 3, 8, 8), **QUICK)


def test_a_network_fixed_at_its_batch_runs_at_that_batch_only() -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, 8) * 2

    assert roofline.measure(Fixed(), example_inputs=(2, 8), batch=2, **QUICK).batch == 2
    with pytest.raises(RooflineError, match="fixed at the shapes"):
        roofline.measure(Fixed(), example_inputs=(2, 8), batch=3, **QUICK)


def test_what_fails_with_numbers_only_is_told_in_one_line() -> None:
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.device.type != "meta":
                raise RuntimeError("out of luck\nand more")
            return x

    with pytest.raises(ModelError, match=r"cannot measure Fails: RuntimeError: out of luck$"):
        roofline.measure(Fails(), example_inputs=(1, 2), **QUICK)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_built() -> None:
    with pytest.raises(UnsupportedError, match="PyTorch finds no GPU here; use --device cpu"):
        roofline.measure("no_such_network", "cuda")


# --- environment -----------------------------------------------------------------------------------------------------


def test_the_environment_tells_what_ran_it() -> None:
    found = image_net().environment
    assert {"name", "cores", "threads", "python", "torch", "timm", "os", "date", "dispatch_seconds"} <= set(found)
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert found["threads"] == 1
    json.dumps(dict(found), allow_nan=False)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the page faults of Linux")
def test_the_memory_that_a_run_asks_of_the_system_is_counted() -> None:
    inputs = {"example_inputs": (1, 2**25), "seconds": 0.2, "threads": 1}
    asked = roofline.measure(nn.Sigmoid(), ops=False, **inputs).environment["asked_bytes"]
    assert asked == pytest.approx(2**27, rel=0.05)  # one result of 128 MiB
    assert "memory      134 MB asked of the system in each run" in sample(environment={"asked_bytes": 2.0**27}).summary()
    assert "memory" not in sample(environment={"asked_bytes": 5e5}).summary()


def test_the_environment_of_a_gpu_names_it_and_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="A GPU", major=9, minor=0, multi_processor_count=132, total_memory=10**11)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "clock_rate", lambda: 1980)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: None)
    found = environment("cuda", threads=1)
    assert found["name"] == "A GPU"
    assert found["host"] == environment("cpu", threads=1)["name"]
    assert (found["compute_capability"], found["multiprocessors"], found["clock_hz"]) == ("9.0", 132, 1.98e9)
    assert "cudnn" not in found


def test_work_for_others_is_what_the_processors_did_beyond_this_process(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  100 0 50 700 50 0 0 100 0 0\ncpu0 1 0 0\ncpu1 1 0 0\nintr 5\n")
    read = usage(tmp_path)
    assert read is not None
    assert (read.total, read.busy, read.processors) == (10.0, 2.5, 2)  # a hundredth of a second each
    assert usage(tmp_path / "nowhere") is None
    later = replace(read, total=20.0, busy=10.5, own=read.own + 2.0)  # 10 s of two processors, 8 at work, 2 for us
    assert elsewhere(read, later) == {"processors": 2, "busy_elsewhere": 1.2}
    assert elsewhere(None, later) == elsewhere(read, replace(read, total=10.1)) == {}


def test_progress_is_told_in_phases() -> None:
    told: list[str] = []
    image_net(progress=lambda phase, _: told.append(phase))
    assert list(dict.fromkeys(told)) == ["tracing", "building", "warming up", "timing", "timing ops"]


# --- command line ----------------------------------------------------------------------------------------------------

TOY = ("measure", "resnet18", "--image-size", "32", "--seconds", "0.05", "--threads", "1")


def test_the_command_prints_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli([*TOY]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("resnet18 measured on ")
    assert "kind of op" in out
    assert err == ""


def test_json_is_all_there_is_on_stdout(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    assert cli([*TOY, "--json", "-o", str(path), "--no-ops"]) == 0
    out, err = capsys.readouterr()
    assert Measurement.from_json(out) == Measurement.from_json(path.read_text())
    assert json.loads(out)["measurement"]["ops"] == []
    assert all(line.startswith("warning: ") for line in err.splitlines())


def test_noise_is_a_warning_on_stderr_beside_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "measure", lambda *_, **__: sample(seconds=(1.0, 2.0, 3.0)))
    assert cli([*TOY, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["measurement"]["noisy"] is True
    assert err == "warning: noisy: the interquartile range is 50 % of the median; stop what else runs here, or give more --seconds\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["measure", "resnet81"], "error: unknown model 'resnet81'; did you mean"),
        (["measure", "resnet18", "--device", "tpu"], "error: cannot measure device 'tpu'; use one of cpu, cuda"),
        (["measure", "resnet18", "--batch", "0"], "error: bad batch size 0"),
        (["measure", "resnet18", "-o", "times.html"], "error: cannot write 'times.html': a measurement is kept as JSON"),
        (["measure"], "error: Missing argument 'MODEL'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(says)
    assert err.count("\n") == 1


def test_an_interrupt_leaves_no_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("roofline.measurement.measure.repeat", interrupted)
    assert cli([*TOY, "-o", str(tmp_path / "times.json")]) == 2
    assert capsys.readouterr().err.strip() == "error: interrupted"
    assert list(tmp_path.iterdir()) == []


def test_what_the_users_code_prints_stays_off_stdout(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef build():\n    print('hello')\n    return nn.Conv2d(3, 2, 3)\n")
    assert cli(["measure", f"{tmp_path}/net.py:build", "--image-size", "8", "--seconds", "0.05", "--json"]) == 0
    out, err = capsys.readouterr()
    assert Measurement.from_json(out).model == "net.py:build"
    assert "hello" in err


# --- on a GPU --------------------------------------------------------------------------------------------------------


@GPU
@pytest.mark.parametrize("precision", ["fp32", "tf32", "amp", "fp16", "bf16"])
def test_a_gpu_times_every_op(precision: str) -> None:
    measured = roofline.measure("resnet18", "cuda", image_size=64, precision=precision, layout="nhwc", seconds=1)
    assert len(measured.ops) == len(roofline.trace("resnet18", image_size=64).ops)
    assert measured.environment["name"] == torch.cuda.get_device_name()
    assert 0 < measured.ops_seconds < 10 * measured.median
