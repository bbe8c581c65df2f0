"""Training steps: their graph against PyTorch's own counter and memory, and the price of a run."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from devices import device
from peak import training_peak
from strategies import Gate, cnn, conv_bn, kinds_of, op_names
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import roofline
from roofline.cli import run
from roofline.cost import cost, work
from roofline.errors import ModelError, RooflineError, UnknownNameError, UnsupportedError
from roofline.graph import PHASES, Graph, Op, is_step, phase_of
from roofline.studies.training import Training
from roofline.tracing.models import build
from roofline.tracing.spec import ModelSpec
from roofline.tracing.trace import meta_copy
from roofline.tracing.training import OPTIMIZERS, AsOnGpu, record_step
from roofline.transforms.modes import execute
from roofline.transforms.precision import to_precision
from roofline.transforms.step import out_of_place

NETWORKS = ["efficientnet_b0", "resnet50", "mobilenetv3_large_100", "densenet121", "convnext_atto", "vit_tiny_patch16_224"]
FP32 = 4  # bytes


def step(module: nn.Module, *shape: int, optimizer: str = "sgd") -> Graph:
    """Record a training step of a small module, and check the graph's invariants."""
    graph = record_step(meta_copy(module), [torch.empty(shape, device="meta")], optimizer, name="test")
    graph.check()
    return graph


def of_phase(graph: Graph, phase: str) -> list[Op]:
    """List the ops of a phase."""
    return [op for op in graph.ops if phase_of(op) == phase]


def small() -> nn.Sequential:
    """A classifier with a convolution, a batch norm, an in-place activation, a gate and a linear layer."""
    return nn.Sequential(conv_bn(3, 8, act=nn.SiLU(inplace=True)), Gate(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


# --- the graph ---------------------------------------------------------------------------------------------------------


def counted(name: str) -> tuple[Graph, int, int]:
    """Record a step of two images, and let PyTorch's counter count forward, and forward and backward, on its own."""
    built = build(ModelSpec(name))
    graph = record_step(built.module, built.inputs, "sgd", verify=False).with_batch(2)
    x = torch.empty((2, *built.inputs[0].shape[1:]), device="meta")
    target = torch.empty(2, dtype=torch.int64, device="meta")
    with AsOnGpu(), FlopCounterMode(display=False) as counter:
        loss = torch.nn.functional.cross_entropy(built.module.train()(x), target)
        ahead = counter.get_total_flops()
        loss.backward()
    return graph, ahead, counter.get_total_flops()


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "vit_tiny_patch16_224"])
def test_products_of_a_step_are_those_that_pytorch_counts(name: str) -> None:
    """Networks with grouped convolutions are left out: PyTorch's counter takes the gradient of their weights for that of dense ones."""
    graph, ahead, whole = counted(name)
    assert 2 * cost(of_phase(graph, "forward"), graph).macs == ahead
    assert 2 * cost(graph.ops, graph).macs == whole


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenetv3_large_100", "convnext_atto", "resnet50"])
def test_the_backward_pass_multiplies_twice_what_the_forward_pass_does_but_for_the_image(name: str) -> None:
    """Each product has a gradient for both sides, as large as itself; only that of the image nobody needs."""
    graph, ahead, _ = counted(name)
    stem = cost([next(op for op in graph.ops if op.name == "convolution")], graph).macs
    assert 2 * cost(of_phase(graph, "forward"), graph).macs == ahead
    assert cost(of_phase(graph, "backward"), graph).macs == 2 * ahead / 2 - stem


@pytest.mark.parametrize("name", NETWORKS)
def test_no_op_of_a_step_is_unknown(name: str) -> None:
    assert "unknown" not in kinds_of(roofline.trace(name, optimizer="rmsprop"))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_at_another_batch_is_the_same_as_one_traced_there(optimizer: str) -> None:
    built = build(ModelSpec("mobilenetv3_small_050", image_size=64))
    graph = record_step(built.module, built.inputs, optimizer, verify=False)
    again = record_step(built.module, [torch.empty(6, 3, 64, 64, device="meta")], optimizer, fixed=True)
    ours = graph.with_batch(6)
    assert [t.shape for t in ours.tensors] == [t.shape for t in again.tensors]
    assert [t.storage for t in ours.tensors] == [t.storage for t in again.tensors]
    assert [(op.name, op.module, op.inputs, op.outputs, op.attrs) for op in ours.ops] == [
        (op.name, op.module, op.inputs, op.outputs, op.attrs) for op in again.ops
    ]


def test_phases_follow_each_other() -> None:
    graph = step(small(), 2, 3, 8, 8)
    assert is_step(graph)
    phases = [PHASES.index(phase_of(op)) for op in graph.ops]
    assert phases == sorted(phases)
    assert set(phases) == {0, 1, 2}
    assert not is_step(roofline.trace(small(), (2, 3, 8, 8)))


def test_backward_ops_stand_under_the_layer_whose_forward_made_them() -> None:
    graph = step(small(), 2, 3, 8, 8)
    back = {(op.name, op.module) for op in of_phase(graph, "backward")}
    assert {("convolution_backward", "0.0"), ("native_batch_norm_backward", "0.1"), ("silu_backward", "0.2")} <= back
    assert {("convolution_backward", "1.reduce"), ("threshold_backward", "1.act"), ("convolution_backward", "1.expand")} <= back
    assert {("sigmoid_backward", "1"), ("mm", "4")} <= back


def test_gradients_of_a_convolution_are_ops_apart_that_read_what_they_need() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False))
    back = [op for op in of_phase(step(net, 2, 3, 8, 8), "backward") if op.name == "convolution_backward"]
    assert [(op.module, op.roles, op.attrs["output_mask"]) for op in back] == [
        ("2", ("grad_output", "weight"), (True, False, False)),
        ("2", ("grad_output", "input"), (False, True, False)),
        ("0", ("grad_output", "input"), (False, True, False)),  # nobody needs the gradient of the image
        ("0", ("grad_output",), (False, False, True)),
    ]


def test_a_frozen_layer_has_no_gradient() -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    net[0].requires_grad_(False)
    graph = step(net, 2, 6)
    assert {op.module for op in of_phase(graph, "backward")} == {"", "1"}
    assert len(graph.outputs) == 1 + 2  # the loss, and the gradients of one layer


def test_an_in_place_activation_keeps_a_copy_of_what_it_overwrites_where_its_gradient_needs_that() -> None:
    def copies(act: nn.Module) -> int:
        return op_names(step(nn.Sequential(nn.Conv2d(3, 4, 3), act), 2, 3, 8, 8)).count("clone")

    assert copies(nn.SiLU(inplace=True)) == 1
    assert copies(nn.SiLU()) == copies(nn.ReLU(inplace=True)) == 0  # relu needs its result only


def test_dropout_keeps_a_mask_of_bytes() -> None:
    graph = step(nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5)), 2, 6)
    op = next(op for op in graph.ops if op.name == "native_dropout")
    assert [(graph.tensors[t].dtype, graph.tensors[t].numel) for t in op.outputs] == [("fp32", 12), ("bool", 12)]
    assert op.outputs[1] in next(op for op in graph.ops if op.name == "native_dropout_backward").inputs


def test_a_second_gradient_is_added_in_place_where_nothing_else_needs_the_first() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.left, self.right = (nn.Linear(6, 6) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.left(x) + self.right(x)

    adds = [op for op in of_phase(step(Twice(), 2, 6), "backward") if op.name == "add"]
    assert [op.inplace for op in adds] == [True]


def test_statistics_of_batch_norm_are_of_the_batch() -> None:
    op = next(op for op in step(small(), 2, 3, 8, 8).ops if op.name == "native_batch_norm")
    assert op.attrs["training"] is True


def test_other_outputs_than_scores_are_summed() -> None:
    names = op_names(step(nn.Conv2d(3, 4, 3), 2, 3, 8, 8))
    assert "sum" in names
    assert "nll_loss_forward" not in names


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.ReLU(), "none of its parameters requires a gradient"),
        (nn.Sequential(nn.Linear(9, 2)), "a training step of test failed on an input of 6 per item"),
    ],
)
def test_a_network_that_cannot_be_trained_says_why(module: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        step(module, 2, 6)


def test_training_needs_a_known_optimizer_and_no_inference_graph() -> None:
    with pytest.raises(UnknownNameError, match="unknown optimizer 'lion'; use one of sgd, momentum, adam, adamw, rmsprop"):
        roofline.trace("resnet18", optimizer="lion")
    with pytest.raises(ModelError, match="is an inference"):
        roofline.train(roofline.trace("resnet18"), "t4")


def test_the_network_given_is_left_as_it_was() -> None:
    net = small().eval()
    before = {name: p.clone() for name, p in net.named_parameters()}
    roofline.trace(net, (2, 3, 8, 8), optimizer="adamw")
    assert not net.training
    assert all(p.grad is None and p.device.type == "cpu" and torch.equal(p, before[name]) for name, p in net.named_parameters())


def test_steps_are_kept_apart_in_the_cache() -> None:
    graphs = [roofline.trace("test_resnet", optimizer=o) for o in (None, "sgd", "adamw", None, "sgd", "adamw")]
    assert graphs[:3] == graphs[3:]
    assert len({len(graph.ops) for graph in graphs[:3]}) == 3


# --- precision and kernels ---------------------------------------------------------------------------------------------


def test_autocast_casts_once_and_widens_the_gradients_of_weights() -> None:
    graph = to_precision(step(small(), 2, 3, 8, 8), "amp")
    graph.check()
    assert {graph.tensors[t].dtype for t in graph.outputs} == {"fp32"}
    products = [op for op in graph.ops if work(op, graph).macs]
    assert {graph.tensors[t].dtype for op in products for t in op.inputs} == {"fp16"}
    update = of_phase(graph, "optimizer")
    assert {graph.tensors[t].dtype for op in update for t in (*op.inputs, *op.outputs)} == {"fp32"}
    casts = [op for op in graph.ops if op.name == "_to_copy"]
    returned = {graph.tensors[t].storage for t in graph.outputs}
    widened = [op for op in casts if op.outputs[0] in returned]
    assert len({graph.tensors[op.inputs[0]].storage for op in casts}) == len(casts)
    assert len(widened) == len([p for p in graph.weights if p.name not in ("0.1.weight", "0.1.bias")])  # norms keep fp32


def test_autocast_gives_a_gradient_the_type_of_what_it_is_the_gradient_of() -> None:
    """A norm computes in fp32 between layers in half precision, and so do the scores of the loss."""
    net = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 3))
    graph = to_precision(step(net, 2, 6), "amp")
    graph.check()
    backward = of_phase(graph, "backward")
    norm, scores = (next(op for op in backward if op.name == name) for name in ("native_layer_norm_backward", "_log_softmax_backward_data"))
    narrowed = [op for op in backward if op.name == "_to_copy" and op.inputs == norm.outputs[:1]]
    assert [graph.tensors[t].dtype for t in (*norm.outputs[:1], *narrowed[0].outputs, *scores.outputs)] == ["fp32", "fp16", "fp16"]
    products = [op for op in backward if op.name == "mm"]
    assert len(products) == 3
    assert {graph.tensors[t].dtype for op in products for t in (*op.inputs, *op.outputs)} == {"fp16"}


def test_autocast_takes_a_fast_norm_of_timm_back_in_half_precision() -> None:
    timm.layers.set_fast_norm()
    try:
        net = nn.Sequential(nn.Linear(6, 6), timm.layers.LayerNorm(6), nn.Linear(6, 3))
    finally:
        timm.layers.set_fast_norm(False)
    graph = to_precision(step(net, 2, 6), "amp")
    graph.check()
    (norm,) = [op for op in of_phase(graph, "backward") if op.name == "native_layer_norm_backward"]
    read = {role: graph.tensors[t].dtype for t, role in zip(norm.inputs, norm.roles, strict=True)}
    assert read == {"grad_out": "fp16", "input": "fp16", "mean": "fp32", "rstd": "fp32", "weight": "fp16", "bias": "fp16"}
    assert {graph.tensors[t].dtype for t in graph.outputs} == {"fp32"}


def test_a_compiler_gets_each_phase_apart_and_needs_no_copy() -> None:
    graph = step(small(), 2, 3, 8, 8)
    run_as = execute(graph, "compiled", 0)
    run_as.check()
    assert len(run_as.kernels) < len(graph.ops)
    assert all(len({phase_of(run_as.ops[i]) for i in kernel}) == 1 for kernel in run_as.kernels)
    assert "clone" not in op_names(run_as)
    plain, changed = cost(graph.ops, graph), cost(run_as.ops, run_as)
    assert (plain.macs, plain.flops) == (changed.macs, changed.flops)
    assert out_of_place(out_of_place(graph)) == out_of_place(graph)


@pytest.mark.parametrize("mode", ["engine", "ideal"])
def test_modes_that_only_infer_are_refused(mode: str) -> None:
    with pytest.raises(UnsupportedError, match=f"mode {mode} runs inference only; train in one of eager, compiled"):
        roofline.train("test_resnet", "t4", mode=mode)


# --- memory ------------------------------------------------------------------------------------------------------------

MEMORY = [("resnet18", 64), ("efficientnet_b0", 64), ("mobilenetv3_large_100", 64), ("convnext_atto", 64), ("densenet121", 32)]
MORE = [("resnet50", 128), ("efficientnet_b1", 128), ("vit_tiny_patch16_224", 224), ("densenet121", 128), ("regnety_002", 128)]


def compare(name: str, size: int, batch: int, optimizer: str) -> tuple[float, int]:
    """Predict and measure the peak of a step."""
    predicted = roofline.memory(name, batch=batch, image_size=size, optimizer=optimizer).total
    return predicted, training_peak(timm.create_model(name), torch.randn(batch, 3, size, size), OPTIMIZERS[optimizer])


@pytest.mark.parametrize(("name", "size"), MEMORY)
@pytest.mark.parametrize(("batch", "optimizer"), [(2, "adamw"), (6, "momentum")])
def test_the_peak_of_a_step_is_what_a_run_holds(name: str, size: int, batch: int, optimizer: str) -> None:
    predicted, measured = compare(name, size, batch, optimizer)
    assert predicted == pytest.approx(measured, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), MORE)
@pytest.mark.parametrize(("batch", "optimizer"), [(2, "sgd"), (8, "sgd"), (8, "rmsprop")])
def test_the_peak_of_steps_of_larger_networks_is_within_a_tenth(name: str, size: int, batch: int, optimizer: str) -> None:
    predicted, measured = compare(name, size, batch, optimizer)
    assert predicted == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(("optimizer", "copies"), [("sgd", 0), ("momentum", 1), ("adam", 2), ("adamw", 2), ("rmsprop", 2)])
def test_state_of_the_optimizer_is_a_copy_of_the_weights_for_each_moment(optimizer: str, copies: int) -> None:
    found = roofline.memory(nn.Linear(100, 50), batch=1, example_inputs=(1, 100), optimizer=optimizer)
    assert found.parts["weights"] == 5_050 * FP32
    assert found.parts["optimizer state"] == copies * 5_050 * FP32


def test_parts_of_a_step_by_hand() -> None:
    """At batch 1,000 the peak is when the loss turns back: scores, their logarithms, and what both layers keep."""
    net = nn.Sequential(nn.Linear(100, 300, bias=False), nn.Sigmoid(), nn.Linear(300, 50, bias=False))
    found = roofline.memory(net, batch=1000, example_inputs=(1, 100), optimizer="sgd")
    assert found.phase == "backward"
    assert found.parts["inputs"] == 1000 * (100 * FP32 + 8)  # images, and targets of 8 bytes
    # the sigmoid keeps its result, which the second layer needs too; nothing keeps what the first layer made
    assert found.parts["kept for backward"] >= 1000 * 300 * FP32
    assert found.parts["kept for backward"] < 1000 * (300 + 2 * 50) * FP32 + 100
    assert found.parts["weights"] == 45_000 * FP32


def test_training_keeps_what_inference_frees() -> None:
    graph = {o: roofline.memory("resnet18", batch=8, image_size=64, optimizer=o) for o in (None, "sgd")}
    assert graph["sgd"].total > 2 * graph[None].total
    assert "kept for backward" not in graph[None].parts


# --- price -------------------------------------------------------------------------------------------------------------


@pytest.fixture(name="run_of_epochs", scope="module")
def _run_of_epochs() -> Training:
    return roofline.train("resnet18", "v100", batch=100, image_size=64, precision="amp", epochs=2, dataset_size=1050)


def test_phases_and_layers_add_up_to_the_step(run_of_epochs: Training) -> None:
    for parts in (run_of_epochs.phases, run_of_epochs.layers):
        assert sum(part.seconds for part in parts) == pytest.approx(run_of_epochs.step_seconds)
        assert sum(part.share for part in parts) == pytest.approx(1)
        assert sum(part.flops for part in parts) == pytest.approx(run_of_epochs.analysis.flops)
        assert sum(part.bytes for part in parts) == pytest.approx(run_of_epochs.analysis.bytes)
    assert [part.name for part in run_of_epochs.phases] == ["forward", "backward", "optimizer"]
    for n, phase in enumerate(PHASES):
        assert sum(part.seconds_by_phase[phase] for part in run_of_epochs.layers) == pytest.approx(run_of_epochs.phases[n].seconds)


def test_a_run_is_its_steps(run_of_epochs: Training) -> None:
    assert run_of_epochs.steps == 2 * 11  # 1,050 items in batches of 100, the last one not full
    assert run_of_epochs.hours == pytest.approx(22 * run_of_epochs.step_seconds / 3600)
    price = roofline.load_hardware("v100").price
    assert price is not None
    assert run_of_epochs.hours is not None
    assert run_of_epochs.usd == pytest.approx(run_of_epochs.hours * price.usd_per_hour)
    assert run_of_epochs.pflops_days == pytest.approx(22 * run_of_epochs.analysis.flops / 8.64e19)


def test_the_interval_is_wider_than_that_of_inference(run_of_epochs: Training) -> None:
    ahead = roofline.analyze("resnet18", "v100", batch=100, image_size=64, precision="amp")
    low, high = (bound / ahead.latency for bound in ahead.interval)
    wide = tuple(bound / run_of_epochs.step_seconds for bound in run_of_epochs.interval)
    assert wide[0] < low < 1 < high < wide[1]


def test_a_step_takes_about_three_times_an_inference() -> None:
    """Where arithmetic binds; the rule of thumb of everyone who trains."""
    big = {"batch": 64, "precision": "fp32"}
    ratio = roofline.train("resnet50", "v100", **big).step_seconds / roofline.analyze("resnet50", "v100", **big).latency
    assert 2.5 < ratio < 3.6


def test_a_compiled_step_is_faster_and_a_larger_batch_takes_longer() -> None:
    def seconds(**options: Any) -> float:
        return roofline.train("efficientnet_b0", "v100", **{"batch": 64, **options}).step_seconds

    assert seconds(mode="compiled") < seconds()
    assert seconds(batch=128) > seconds() > seconds(batch=8)


def test_a_graph_of_a_step_is_analyzed_like_any_other() -> None:
    graph = roofline.trace(cnn(["conv", "gate"]), (1, 3, 16, 16), optimizer="sgd")
    report = roofline.analyze(graph, device(), batch=4)
    assert report.unknown == {}
    assert report.latency == pytest.approx(roofline.train(graph, device(), batch=4).step_seconds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 3}, "a run needs both epochs and dataset_size"),
        ({"epochs": 3, "dataset_size": 0}, "bad dataset size 0"),
        ({"epochs": float("nan"), "dataset_size": 10}, "bad number of epochs nan"),
        ({"precision": "int8"}, "cannot train in int8"),
        ({"batch": 0}, "bad batch size 0"),
    ],
)
def test_a_request_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RooflineError, match=message):
        roofline.train("test_resnet", "t4", **options)


# --- the command -------------------------------------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command line, which must succeed in silence on stderr, and give what it prints."""
    code = run(list(arguments))
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def test_the_command_prints_phases_and_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(
        capsys, "train", "test_resnet", "--hw", "v100", "-b", "64", "--precision", "amp", "--epochs", "90", "--dataset-size", "1281167"
    )
    assert max(map(len, out.splitlines())) <= 80
    for word in (
        "forward",
        "backward",
        "optimizer",
        "90 epochs of 1,281,167 items: 1,801,710 steps",
        "PFLOP/s-days",
        "no training time was seen",
    ):
        assert word in out


def test_the_command_compares_devices(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "train", "test_resnet", "--hw", "t4,v100", "-b", "32,64", "--optimizer", "adamw", "--mode", "compiled")
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("v100") == out.count("t4") == 2


def test_the_command_writes_each_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / f"a{suffix}" for suffix in (".json", ".csv", ".md")]
    options = [part for file in files for part in ("-o", str(file))]
    out = printed(capsys, "train", "test_resnet", "--hw", "t4", "--json", *options)
    expected = roofline.train("test_resnet", "t4")
    assert json.loads(out)["training"][0]["step_seconds"] == expected.step_seconds
    assert json.loads(files[0].read_text()) == json.loads(out)
    rows = list(csv.DictReader(files[1].open()))
    assert [row["phase"] for row in rows] == list(PHASES)
    assert sum(float(row["seconds"]) for row in rows) == pytest.approx(expected.step_seconds)
    assert "| forward |" in files[2].read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "3"], "a run needs both epochs and dataset_size"),
        (["--optimizer", "lion"], "unknown optimizer 'lion'"),
        (["--mode", "engine"], "mode engine runs inference only"),
        (["--precision", "int8"], "cannot train in int8"),
        (["-o", "a.html"], "unknown suffix; use .json, .csv, .md"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "test_resnet", "--hw", "t4", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
