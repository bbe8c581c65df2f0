"""The library's front door: every name and call that other programs are written against."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from devices import device
from torch import nn

import roofline
from roofline.costmodel.calibration import CLASSES, Calibration
from roofline.errors import ModelError, RooflineError, UnknownNameError, UnsupportedError
from roofline.report.report import Report

SHAPE = (1, 3, 16, 16)


def small() -> nn.Module:
    """Build a small network on the CPU, with numbers in its weights."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))


@pytest.fixture(name="report", scope="module")
def _report() -> Report:
    return roofline.analyze("efficientnet_b3", "t4", batch=8, image_size=300, precision="fp16", mode="engine", layout="nchw")


# --- the public surface ------------------------------------------------------------------------------------------------


def test_a_report_has_every_documented_figure(report: Report) -> None:
    low, high = report.interval
    assert 0 < low < high
    assert 0 < report.lower_bound <= report.latency
    assert report.throughput == pytest.approx(8 / report.latency)
    assert report.bound in ("compute", "memory", "overhead", "occupancy")
    assert report.params == 12_233_232  # as published by torchvision
    assert 0 < 2 * report.macs < report.flops
    assert report.peak_memory > report.params * 2


def test_macs_of_b3_are_the_published_ones_per_image(report: Report) -> None:
    assert report.macs / 8 == pytest.approx(1.8e9, rel=0.05)  # 1.8 B in the paper


def test_a_report_groups_and_lists_its_kernels(report: Report) -> None:
    assert len(report.by_layer()) > len(report.by_module(depth=2)) > len(report.by_op()) > 1
    assert len(report.rows()) == len(report.to_pandas()) == len(report.predictions)


def test_a_report_writes_each_format(report: Report, tmp_path: Path) -> None:
    writers = {"a.json": report.to_json, "a.csv": report.to_csv, "a.html": report.to_html, "a.md": report.to_markdown}
    for name, write in writers.items():
        text = write(tmp_path / name)
        assert (tmp_path / name).read_text() == text == write()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(writers)


def test_a_report_shows_itself(report: Report) -> None:
    assert str(report).startswith("efficientnet_b3 on NVIDIA T4")
    assert report._repr_html_().startswith('<div class="roofline">')
    assert repr(report).startswith("<Report: efficientnet_b3 on t4, batch 8, fp16, engine: ")
    assert len(repr(report)) < 120


def test_a_traced_module_can_be_analyzed_on_a_loaded_device() -> None:
    graph = roofline.trace(small(), SHAPE)
    report = roofline.analyze(graph, roofline.load_hardware("v100"))
    assert (report.model, report.hardware.id, report.batch) == ("Sequential", "v100", 1)
    assert report.macs == 16 * 16 * 8 * 27


def test_hardware_names_are_listed() -> None:
    assert {"t4", "v100", "a100-40gb", "c5.2xlarge"} <= set(roofline.hardware.names())


def test_defaults_are_what_plain_pytorch_does() -> None:
    report = roofline.analyze("resnet18", "t4")
    assert (report.batch, report.precision, report.mode, report.layout, report.changes) == (1, "fp32", "eager", "nchw", ())


def test_what_was_fitted_is_used_unless_it_is_not_wanted() -> None:
    halved = Calibration("eager", memory=dict.fromkeys(CLASSES, 0.5), vector=dict.fromkeys(CLASSES, 0.5), devices=("hand",), samples=1)
    brought = replace(device(host_op=1e-9, host_view=1e-9, launch=1e-9), calibrations=(halved,))
    fitted, plain = (roofline.analyze("resnet18", brought, batch=64, calibrated=wanted) for wanted in (True, False))
    assert (fitted.calibration, fitted.calibrated) == (halved, True)
    assert (plain.calibration.status, plain.calibrated) == ("uncalibrated", False)
    assert fitted.latency == pytest.approx(2 * plain.latency, rel=1e-3)
    assert fitted.lower_bound == plain.lower_bound


def test_every_public_name_resolves_and_nothing_else() -> None:
    for name in roofline.__all__:
        assert getattr(roofline, name) is not None
    assert set(dir(roofline)) == {*roofline.__all__, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        roofline.analyse  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("module", ["roofline", "roofline.cli"])
def test_importing_is_instant_because_nothing_heavy_loads(module: str) -> None:
    code = (
        f"import sys, {module}; print({{'torch', 'timm', 'torchvision', 'numpy', 'pandas', 'rich', 'yaml', 'pydantic'}} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# --- what can be analyzed ----------------------------------------------------------------------------------------------


def test_name_module_graph_and_exported_program_agree() -> None:
    network = small().eval()
    program = torch.export.export(network, (torch.zeros(SHAPE),))
    latencies = {
        roofline.analyze(network, device(), example_inputs=SHAPE).latency,
        roofline.analyze(roofline.trace(network, SHAPE), device()).latency,
        roofline.analyze(program, device()).latency,
    }
    assert len(latencies) == 1


@pytest.mark.parametrize("given", [SHAPE, list(SHAPE), torch.Size(SHAPE), torch.zeros(SHAPE), (torch.zeros(SHAPE),), [SHAPE]])
def test_example_inputs_may_be_tensors_or_shapes(given: object) -> None:
    assert roofline.analyze(small(), "t4", example_inputs=given).inputs == ("1 x 3 x 16 x 16 fp32",)


def test_inputs_may_be_written_as_text() -> None:
    assert roofline.analyze(small(), "t4", inputs=["1,3,16,16"]).inputs == ("1 x 3 x 16 x 16 fp32",)
    assert roofline.analyze(small(), "t4", inputs="1,3,16,16").inputs == ("1 x 3 x 16 x 16 fp32",)
    assert roofline.analyze(nn.Embedding(10, 4), "t4", inputs=["1,7:int64"]).inputs == ("1 x 7 int64",)


def test_the_type_of_an_example_tensor_counts() -> None:
    assert roofline.analyze(nn.Embedding(10, 4), "t4", example_inputs=torch.zeros(1, 7, dtype=torch.int64)).inputs == ("1 x 7 int64",)


def test_an_image_size_serves_a_module_and_a_name() -> None:
    assert roofline.analyze(small(), "t4", image_size=32).inputs == ("1 x 3 x 32 x 32 fp32",)
    assert roofline.analyze("resnet18", "t4", image_size=64).inputs == ("1 x 3 x 64 x 64 fp32",)
    assert roofline.analyze("resnet18", "t4", image_size=64, in_chans=1).inputs == ("1 x 1 x 64 x 64 fp32",)


def test_example_inputs_serve_a_name_too() -> None:
    assert roofline.trace("resnet18", (1, 3, 64, 64)) == roofline.trace("resnet18", image_size=64)


def test_a_bigger_image_has_more_macs_and_the_same_parameters() -> None:
    small_image, large_image = (roofline.analyze("efficientnet_b0", "t4", image_size=n) for n in (128, 256))
    assert 3.5 < large_image.macs / small_image.macs < 4.0  # the squeeze-and-excite layers and the classifier do not grow
    assert small_image.params == large_image.params


def test_the_module_given_is_left_as_it_was() -> None:
    network = small().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    roofline.analyze(network, "t4", example_inputs=SHAPE)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_cache_gives_the_same_report_as_a_trace() -> None:
    cached = [roofline.analyze("mobilenetv3_small_100", "t4", cache=use).to_json() for use in (True, True, False)]
    assert len(set(cached)) == 1


# --- several at once ---------------------------------------------------------------------------------------------------


def test_many_reports_equal_single_ones_in_order() -> None:
    together = roofline.analyze_many("efficientnet_b0", ["t4", "v100"], [1, 7], precisions=["fp32", "fp16"])
    alone = [
        roofline.analyze("efficientnet_b0", hw, batch=batch, precision=precision)
        for hw in ("t4", "v100")
        for precision in ("fp32", "fp16")
        for batch in (1, 7)
    ]
    assert [r.to_json() for r in together] == [r.to_json() for r in alone]


def test_a_single_value_does_for_a_list() -> None:
    (report,) = roofline.analyze_many("resnet18", "t4", 4, precisions="fp16", what_if="fold-bn")
    assert (report.hardware.id, report.batch, report.precision, report.changes) == ("t4", 4, "fp16", ("fold-bn",))


@pytest.mark.parametrize(("hardware", "batches", "precisions"), [([], [1], ["fp32"]), (["t4"], [], ["fp32"]), (["t4"], [1], [])])
def test_nothing_to_analyze_is_refused(hardware: list[str], batches: list[int], precisions: list[str]) -> None:
    with pytest.raises(RooflineError, match="give at least one device, one batch size and one precision"):
        roofline.analyze_many("resnet18", hardware, batches, precisions=precisions)


# --- what-ifs ----------------------------------------------------------------------------------------------------------


def test_folding_norms_drops_their_kernels_and_keeps_the_macs() -> None:
    before, after = (roofline.analyze("efficientnet_b0", "t4", what_if=w) for w in ((), ("fold-bn",)))
    norms = [sum(p.kind == "batch norm" for p in report.predictions) for report in (before, after)]
    assert norms == [49, 0]
    assert before.macs == after.macs
    assert after.latency < before.latency


def test_smaller_weights_move_a_quarter_of_their_bytes() -> None:
    before, after = (roofline.analyze("vgg16", "t4", what_if=w) for w in ((), ("weights=int8",)))
    saved = before.cost.weight_bytes - after.cost.weight_bytes
    assert saved == pytest.approx(0.75 * before.cost.weight_bytes, rel=1e-3)


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: roofline.analyze("efficientnet_b99", "t4"), UnknownNameError, "unknown model 'efficientnet_b99'; did you mean"),
        (lambda: roofline.analyze("resnet18", "t5"), UnknownNameError, r"unknown hardware 't5'; did you mean t4\?"),
        (lambda: roofline.analyze("resnet18", "t4", precision="bf16"), UnsupportedError, "t4 has no bf16 unit; use one of"),
        (lambda: roofline.analyze("resnet18", "t4", batch=0), RooflineError, "bad batch size 0"),
        (lambda: roofline.analyze("resnet18", "t4", image_size=7), RooflineError, "bad image size 7"),
        (lambda: roofline.analyze("resnet18", "t4", in_chans=0), RooflineError, "bad number of input channels 0"),
        (lambda: roofline.analyze("resnet18", "t4", inputs=["x"]), RooflineError, "bad input 'x'"),
        (lambda: roofline.analyze(small(), "t4"), ModelError, "Sequential needs example inputs; pass example_inputs="),
        (lambda: roofline.analyze(small(), "t4", example_inputs=()), ModelError, "needs example inputs"),
        (lambda: roofline.analyze(small(), "t4", example_inputs="1,3"), ModelError, "cannot use a str as example input"),
        (lambda: roofline.analyze(small(), "t4", example_inputs=(1, -3, 8, 8)), RooflineError, "bad input '1,-3,8,8'"),
        (lambda: roofline.analyze(small(), "t4", example_inputs=(1, 4, 8, 8)), ModelError, "Sequential failed on an input of 4x8x8"),
        (lambda: roofline.analyze(3, "t4"), ModelError, "cannot trace a int; pass a name, a torch.nn.Module"),
        (lambda: roofline.analyze(len, "t4", example_inputs=SHAPE), ModelError, "cannot trace a builtin_function_or_method"),
        (lambda: roofline.analyze(roofline.trace(small(), SHAPE), "t4", image_size=8), ModelError, "a Graph keeps the input sizes"),
    ],
)
def test_a_mistake_names_the_thing_and_the_fix(call: object, error: type[RooflineError], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # pyright: ignore[reportCallIssue]


def test_strict_refuses_an_op_without_a_rule() -> None:
    @torch.library.custom_op("apitest::odd", mutates_args=())
    def odd(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    odd.register_fake(torch.empty_like)

    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return odd(x)

    assert roofline.analyze(Odd(), "t4", example_inputs=(1, 10)).unknown == {"apitest.odd": (1, 80)}
    with pytest.raises(RooflineError, match=r"no cost rule for apitest\.odd"):
        roofline.analyze(Odd(), "t4", example_inputs=(1, 10), strict=True)


def test_a_network_fixed_at_a_batch_says_so() -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, 12).relu()

    assert roofline.analyze(Fixed(), "t4", example_inputs=(2, 3, 4), batch=2).batch == 2
    with pytest.raises(RooflineError, match="Fixed is fixed at batch 2"):
        roofline.analyze(Fixed(), "t4", example_inputs=(2, 3, 4), batch=4)
