"""Checks each what-if by counts made by hand and against networks that PyTorch changed itself: types, sparsity, fusion, ways of running."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from devices import DRAM, MATRIX, VECTOR, device, engine
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Gate, Residual, cnns, conv_bn, kinds_of, op_names, traced, traced_cnn
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import roofline
from roofline.cost import Cost, cost
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import analyze_grid
from roofline.costmodel.calibration import Calibration, neutral
from roofline.costmodel.columns import tabulate
from roofline.costmodel.demand import demand
from roofline.costmodel.device import Hardware
from roofline.costmodel.fleet import Fleet, engine_seconds
from roofline.errors import RooflineError, UnsupportedError
from roofline.graph import Graph
from roofline.transforms.changes import CHANGES, parse_changes
from roofline.transforms.fusion import fold_batch_norm
from roofline.transforms.modes import execute
from roofline.transforms.selection import Where

quick = settings(max_examples=30, deadline=None)
INT8 = engine("matrix", "int8", 16e12, 8e12)
SPARSE = replace(device(engines=(VECTOR, MATRIX, INT8)), sparsity_2_4=True)


def changed(graph: Graph, *texts: str) -> Graph:
    """Apply what-ifs, and check the graph's invariants."""
    found = parse_changes(texts)(graph)
    found.check()
    return found


def apart(graph: Graph) -> Cost:
    """Add up every op as its own kernel."""
    return sum((cost([op], graph) for op in graph.ops), Cost())


def together(graph: Graph) -> Cost:
    """Add up the kernels of a graph."""
    return sum((cost([graph.ops[i] for i in kernel], graph) for kernel in graph.kernels), Cost())


def analyzed(graph: Graph, hardware: Hardware, *texts: str, **options: Any) -> Analysis:
    """Analyze under what-ifs at sourced ceilings."""
    (found,) = analyze_grid(graph, [hardware], changes=texts, change=parse_changes(texts), calibrated=False, **options)
    return found


def products(graph: Graph, hardware: Hardware) -> float:
    """Add up the seconds of all products at the ceilings of *hardware*."""
    fleet = Fleet((hardware,), (neutral("eager"),))
    return float(engine_seconds(demand(tabulate(graph, (8,)), fleet.distances), fleet)[0].sum())


def types(graph: Graph, name: str) -> list[list[str]]:
    """List the types that each op called *name* reads (but its bias) and writes."""
    return [
        [graph.tensors[t].dtype for t, role in zip((*op.inputs, *op.outputs), (*op.roles, ""), strict=True) if role != "bias"]
        for op in graph.ops
        if op.name == name
    ]


# --- which layers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "path", "chosen"),
    [
        ("", "a.b", True), ("a", "a", True), ("a", "a.b.c", True), ("a.b", "a", False), ("a", "ab", False),
        ("*.se", "blocks.1.se.fc", True),
        ("a.*", "a", False), ("a.*", "a.b", True), ("a,b", "b.c", True), ("!a", "a.b", False), ("!a", "b", True), ("a,!a.b", "a.b", False),
        ("a,!a.b", "a.c", True), ("blocks.[12]", "blocks.2.conv", True), ("blocks.[12]", "blocks.3.conv", False), ("A", "a", False),
    ],
)  # fmt: skip
def test_a_pattern_chooses_modules_and_what_is_in_them(pattern: str, path: str, chosen: bool) -> None:
    assert Where(pattern)(path) == chosen


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(RooflineError, match=r"no layer of test matches 'blocks\.\*'; its layers are 0 to 4"):
        changed(traced_cnn(("conv",)), "weights=int8@blocks.*")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cuda-graphs@0", "cuda-graphs changes the whole run, so drop what follows @"),
        ("weights=int8@", "write module paths after @, as in @blocks.5"),
        ("weights=int8@!", "write module paths after @"),
        ("sparse=1:4", "write sparse=VALUE with one of 2:4"),
        ("sparse-weights=2", "write sparse-weights=ZEROS"),
        ("depth-first=x", "write depth-first=SIZE, such as 32MiB"),
        ("int8=4", "int8 takes no value"),
    ],
)
def test_a_bad_choice_is_refused(text: str, message: str) -> None:
    with pytest.raises(RooflineError, match=f"bad what-if '{text}'; .*{message}|bad what-if '{text}'; {message}"):
        parse_changes([text])


@pytest.mark.parametrize("name", CHANGES)
def test_every_what_if_says_what_it_takes(name: str) -> None:
    assert CHANGES[name].takes
    assert "\n" not in CHANGES[name].takes


def test_weights_of_the_layers_chosen_only() -> None:
    graph = changed(traced(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), (1, 8)), "weights=int8@1")
    assert [t.dtype for t in graph.weights if len(t.shape) == 2] == ["fp32", "int8"]


def test_weights_read_through_a_view_are_read_in_the_smaller_type() -> None:
    graph = traced(lambda x, w: x @ w.t(), (2, 8), weights=[(4, 8)])
    assert apart(changed(graph, "weights=int8")).weight_bytes == 32


# --- other types -------------------------------------------------------------------------------------------------------

CONVS = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 1))


def test_products_in_int8_pass_int8_on_and_give_floats_back() -> None:
    graph = changed(traced(CONVS, (1, 3, 4, 4)), "int8")
    assert op_names(graph) == ["quantize_per_tensor", "conv2d", "relu", "conv2d"]
    assert types(graph, "quantize_per_tensor") == [["fp32", "int8"]]
    assert types(graph, "conv2d") == [["int8", "int8", "int8"], ["int8", "int8", "fp32"]]
    assert types(graph, "relu") == [["int8", "int8"]]
    moved = apart(graph)
    assert moved.weight_bytes == 3 * 4 + 4 * 5 + 4 * (4 + 5)  # weights in int8, biases in fp32
    assert moved.input_bytes == 16 * (4 * 3 + 3 + 4 + 4)
    assert moved.output_bytes == 16 * (3 + 4 + 4 + 4 * 5)


def test_what_an_op_in_floats_makes_is_quantised_before_a_product() -> None:
    graph = changed(traced(nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU(), nn.Conv2d(4, 5, 1)), (1, 3, 4, 4)), "int8")
    assert op_names(graph) == ["quantize_per_tensor", "conv2d", "silu", "quantize_per_tensor", "conv2d"]
    assert len(graph.kernels) == 5
    fused = execute(graph, "engine", 0.0)
    assert [[graph.ops[i].name for i in kernel] for kernel in fused.kernels] == [
        ["quantize_per_tensor"], ["conv2d", "silu", "quantize_per_tensor"], ["conv2d"],
    ]  # fmt: skip


def test_a_tensor_that_floats_read_too_stays_in_floats_beside_its_copy() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.one(x)
            return self.two(y) + y.sigmoid()

    graph = changed(traced(Both(), (1, 3, 4, 4)), "int8")
    assert types(graph, "conv2d")[0] == ["int8", "int8", "fp32"]
    assert op_names(graph).count("quantize_per_tensor") == 2


def test_a_residual_between_products_stays_in_int8() -> None:
    graph = changed(traced(nn.Sequential(nn.Conv2d(3, 4, 1), Residual(nn.Conv2d(4, 4, 1)), nn.Conv2d(4, 4, 1)), (1, 3, 4, 4)), "int8")
    assert types(graph, "add") == [["int8", "int8", "int8"]]


def test_int8_needs_both_sides_to_compute_on_integers() -> None:
    graph = traced(nn.Sequential(nn.Conv2d(8, 8, 1)), (1, 8, 8, 8))

    def computed(*texts: str) -> str:
        columns = tabulate(changed(graph, *texts), (1,))
        return columns.matrix_dtype[int(columns.macs[0].argmax())]

    assert [computed(*t) for t in (("weights=int8",), ("activations=int8",), ("int8",))] == ["fp32", "fp32", "int8"]
    assert computed("weights=int8", "activations=int8") == computed("activations=int8", "weights=int8") == "int8"


class Calls(TorchDispatchMode):
    """Keep the name of every operator that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.filterwarnings("ignore")  # PyTorch moves its quantisation elsewhere, and says so
def test_values_are_quantised_where_pytorch_quantises_them() -> None:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    if "x86" not in torch.backends.quantized.supported_engines:
        pytest.skip("this PyTorch has no int8 kernels for x86")
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 1), nn.SiLU(), nn.Conv2d(8, 4, 1)).eval()
    image = torch.randn(2, 3, 10, 10)
    engine_before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "x86"
    try:
        prepared = prepare_fx(model, get_default_qconfig_mapping("x86"), (image,))
        prepared(image)
        quantised = convert_fx(prepared)
        with torch.inference_mode(), Calls() as calls:
            quantised(image)
    finally:
        torch.backends.quantized.engine = engine_before
    real = [
        part for name in calls.names if name != "dequantize" for part in name.replace("_relu", " relu").replace("quantized_", "").split()
    ]
    assert op_names(changed(traced(model, (2, 3, 10, 10)), "int8")) == real


def test_int8_is_both_of_its_halves() -> None:
    graph = traced_cnn(("conv", "residual", "gate"))
    assert changed(graph, "int8") == changed(graph, "weights=int8", "activations=int8")


def test_layers_in_half_precision_are_those_of_a_module_that_casts_by_hand() -> None:
    class Mixed(nn.Module):
        def __init__(self, half: bool) -> None:
            super().__init__()
            self.stem, self.body, self.head = nn.Conv2d(3, 4, 3), conv_bn(4, 4, act=nn.ReLU()), nn.Conv2d(4, 5, 1)
            self.half_body = half
            if half:
                self.body.half()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.stem(x)
            return self.head(self.body(y.half()).float() if self.half_body else self.body(y))

    graph, real = changed(traced(Mixed(False), (2, 3, 8, 8)), "precision=fp16@body"), traced(Mixed(True), (2, 3, 8, 8))
    assert kinds_of(graph) == kinds_of(real)
    assert [cost([op], graph) for op in graph.ops] == [cost([op], real) for op in real.ops]


def test_every_layer_in_half_precision_is_a_half_module_but_for_the_cast_of_its_input() -> None:
    model = nn.Sequential(conv_bn(3, 8, act=nn.Hardswish()), Gate(8), nn.Flatten(), nn.Linear(8 * 64, 4))
    graph = changed(traced(model, (2, 3, 8, 8)), "precision=fp16")
    real = traced(model.half(), torch.empty((2, 3, 8, 8), dtype=torch.float16, device="meta"))
    assert op_names(graph) == ["_to_copy", *op_names(real)]
    assert [cost([op], graph) for op in graph.ops[1:]] == [cost([op], real) for op in real.ops]


def test_layers_may_go_back_to_single_precision() -> None:
    graph = changed(traced(CONVS.float(), (1, 3, 4, 4)), "precision=fp16", "precision=fp32@2")
    assert types(graph, "conv2d") == [["fp16"] * 3, ["fp32"] * 3]
    assert op_names(graph) == ["_to_copy", "conv2d", "relu", "_to_copy", "conv2d"]


def test_a_device_without_the_type_says_so() -> None:
    graph = traced_cnn(("conv",))
    with pytest.raises(UnsupportedError, match="t4 has no bf16 unit"):
        roofline.analyze(graph, "t4", what_if=["precision=bf16"])
    assert roofline.analyze(graph, "v100", what_if=["int8"]).latency > 0  # by DP4A
    assert roofline.load_hardware("v100").matmul_engine("int8").kind == "vector"


@quick
@given(cnns(), st.sampled_from(["int8", "activations=int8", "weights=int4", "precision=fp16", "precision=int8", "precision=bf16@0"]))
def test_other_types_keep_the_arithmetic_and_never_add_bytes_of_weights(graph: Graph, text: str) -> None:
    before, after = graph.to_json(), changed(graph, text)
    assert graph.to_json() == before
    assert apart(after).macs == apart(graph).macs
    assert apart(after).matrix_flops == apart(graph).matrix_flops
    assert apart(after).weight_bytes <= apart(graph).weight_bytes * 2  # at most a weight is cast that two layers share
    assert [after.tensors[t].shape for t in after.outputs] == [graph.tensors[t].shape for t in graph.outputs]


@quick
@given(cnns(), st.sampled_from(["int8", "precision=fp16@1"]), st.sampled_from(["eager", "compiled", "engine", "ideal"]))
def test_views_and_overwritten_memory_keep_one_type(graph: Graph, text: str, mode: Any) -> None:
    run = execute(changed(graph, text), mode, 1e6)
    run.check()
    assert all(t.dtype == run.tensors[t.storage].dtype for t in run.tensors)


# --- zeros -------------------------------------------------------------------------------------------------------------


def test_2_4_weights_are_half_of_the_values_and_a_bit_for_each_place() -> None:
    graph = traced(nn.Linear(8, 4, bias=False).half(), torch.empty((2, 8), dtype=torch.float16, device="meta"))
    assert apart(graph).weight_bytes == 64
    assert apart(changed(graph, "sparse=2:4")).weight_bytes == 32 + 4  # 32 places, a bit each


def test_2_4_products_take_half_the_time_on_a_matrix_engine_made_for_it() -> None:
    graph = changed(traced(nn.Linear(64, 64).half(), torch.empty((8, 64), dtype=torch.float16, device="meta")), "sparse=2:4")
    sparse, dense = (products(graph, d) for d in (SPARSE, replace(SPARSE, sparsity_2_4=False)))
    assert dense == pytest.approx(2 * 8 * 64 * 64 / 4e12)
    assert sparse == dense / 2


def test_2_4_leaves_products_alone_that_have_no_fours() -> None:
    convs = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
    graph = changed(traced(convs, (1, 3, 8, 8)), "sparse=2:4")
    assert [t.density < 1 for t in graph.weights if len(t.shape) == 4] == [False, False, True]


def test_a_device_without_2_4_units_says_that_bytes_only_are_saved() -> None:
    graph = traced(nn.Linear(64, 64), (8, 64))
    report = analyzed(graph, device(), "sparse=2:4")
    assert "hand has no 2:4 units, so sparse=2:4 saves bytes there and no arithmetic" in report.remarks
    assert not any("no 2:4 units" in remark for remark in analyzed(graph, SPARSE, "sparse=2:4").remarks)


@pytest.mark.parametrize(("zeros", "nbytes"), [(0.5, 64 + 4), (0.75, 32 + 4), (0.01, 128)])
def test_unstructured_zeros_are_stored_with_a_bitmap_where_that_is_smaller(zeros: float, nbytes: float) -> None:
    graph = traced(nn.Linear(8, 4, bias=False), (2, 8))
    after = changed(graph, f"sparse-weights={zeros}")
    assert apart(after).weight_bytes == pytest.approx(nbytes)
    assert apart(after).flops == apart(graph).flops


def test_zeros_and_small_types_may_come_in_either_order() -> None:
    graph = traced(nn.Linear(8, 4, bias=False), (2, 8))
    one, other = (
        apart(changed(graph, *texts)).weight_bytes
        for texts in (("sparse-weights=0.5", "weights=int8"), ("weights=int8", "sparse-weights=0.5"))
    )
    assert one == other == pytest.approx(16 + 4)


def test_zeros_of_activations_bound_what_skipping_them_saves() -> None:
    graph = traced(nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(8, 4, bias=False)), (2, 8))
    after = changed(graph, "sparse-activations=0.5")
    assert apart(after).macs == apart(graph).macs / 2
    assert apart(graph).output_bytes - apart(after).output_bytes == pytest.approx(2 * 8 * 4 * (0.5 - 1 / 32))
    remarks = parse_changes(["sparse-activations=0.5"]).explained(graph)[1]
    assert remarks == ("sparse-activations=0.5: a bound on what could be saved at most; no device here skips zeros of activations",)


@quick
@given(cnns(), st.sampled_from(["sparse=2:4", "sparse-weights=0.8", "sparse-weights=0.3", "sparse-activations=0.6"]))
def test_zeros_only_ever_save(graph: Graph, text: str) -> None:
    before, after = apart(graph), apart(changed(graph, text))
    assert after.bytes <= before.bytes
    assert after.flops <= before.flops
    assert changed(changed(graph, text), text) == changed(graph, text)


# --- fusing ------------------------------------------------------------------------------------------------------------


def names(graph: Graph) -> list[str]:
    """Write each kernel as its ops."""
    return ["+".join(graph.ops[i].name for i in kernel) for kernel in graph.kernels]


def test_the_gate_of_squeeze_excite_becomes_one_kernel() -> None:
    graph = traced(nn.Sequential(nn.Conv2d(3, 8, 1), Gate(8)), (1, 3, 4, 4))
    assert names(changed(graph, "fuse-se")) == ["conv2d", "mean", "conv2d+relu+conv2d+sigmoid", "mul"]
    saved = together(graph).bytes - together(changed(graph, "fuse-se")).bytes
    assert saved == 4 * (4 + 4 + 4 + 4 + 8 + 8)  # four values twice, and eight once: written and read again


def test_a_gate_that_something_else_reads_stays() -> None:
    def gated(x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate = nn.functional.conv2d(x.mean((2, 3), keepdim=True), w).sigmoid()
        return x * gate, gate

    graph = traced(gated, (1, 8, 4, 4), weights=[(8, 8, 1, 1)])
    assert changed(graph, "fuse-se") == graph


def test_every_squeeze_excite_of_a_network_is_found() -> None:
    graph = roofline.trace("efficientnet_b0")
    merged = changed(graph, "fuse-se")
    assert sum(len(kernel) > 1 for kernel in merged.kernels) == 16
    assert len(changed(graph, "fuse-se@blocks.0").kernels) == len(graph.kernels) - 3
    both = execute(changed(graph, "fuse-se"), "engine", 0.0)
    assert sum("conv2d+silu+conv2d+sigmoid" in name for name in names(both)) == 16


def test_activations_join_what_makes_their_input() -> None:
    graph = traced(nn.Sequential(conv_bn(3, 8, act=nn.SiLU()), nn.MaxPool2d(2), nn.ReLU()), (1, 3, 8, 8))
    assert names(changed(graph, "fuse-activation")) == ["conv2d", "batch_norm+silu", "max_pool2d", "relu"]
    assert names(changed(graph, "fold-bn", "fuse-activation"))[0] == "conv2d+silu"
    assert names(changed(graph, "fuse-activation", "fold-bn"))[0] == "conv2d"


def test_swish_in_two_ops_is_one_kernel() -> None:
    graph = traced(lambda x, w: (y := nn.functional.linear(x, w)) * y.sigmoid(), (2, 8), weights=[(8, 8)])
    assert names(changed(graph, "fuse-activation")) == ["linear+sigmoid+mul"]


def test_a_residual_joins_the_later_of_its_makers() -> None:
    graph = traced(nn.Sequential(nn.Conv2d(3, 4, 1), Residual(nn.Conv2d(4, 4, 1))), (1, 3, 4, 4))
    assert names(changed(graph, "fuse-residual")) == ["conv2d", "conv2d+add"]
    assert names(changed(graph, "fuse-residual@0")) == ["conv2d", "conv2d", "add"]


def test_norms_of_the_layers_chosen_are_folded() -> None:
    graph = traced(nn.Sequential(conv_bn(3, 4), conv_bn(4, 4)), (1, 3, 8, 8))
    assert op_names(changed(graph, "fold-bn@1")) == ["conv2d", "batch_norm", "conv2d"]


def test_merged_kernels_stay_merged_when_norms_are_folded_and_when_a_mode_fuses() -> None:
    graph = traced(nn.Sequential(conv_bn(8, 8), Gate(8)), (1, 8, 4, 4))
    for run in (fold_batch_norm(changed(graph, "fuse-se")), execute(changed(graph, "fuse-se"), "compiled", 0.0)):
        run.check()
        assert "conv2d+relu+conv2d+sigmoid" in names(run)


@quick
@given(cnns(), st.sampled_from(["fuse-activation", "fuse-residual", "fuse-se", "fuse-pointwise", "fuse-all"]))
def test_fusing_keeps_the_arithmetic_and_never_adds_bytes(graph: Graph, text: str) -> None:
    before, after = together(graph), together(changed(graph, text))
    assert after.macs == before.macs
    assert after.bytes <= before.bytes
    assert len(changed(graph, text).kernels) <= len(graph.kernels)


@pytest.mark.parametrize("hardware", ["t4", "v100", "c5.2xlarge"])
@pytest.mark.parametrize("mode", ["eager", "engine"])
@pytest.mark.parametrize("text", ["fuse-se", "fuse-activation", "fuse-residual"])
def test_merging_kernels_never_costs_time(text: str, mode: str, hardware: str) -> None:
    before, after = (roofline.analyze("efficientnet_b0", hardware, mode=mode, what_if=what) for what in ((), (text,)))
    assert after.latency <= before.latency * 1.001


def test_a_merged_kernel_is_dispatched_once_and_adds_its_bias_on_the_way() -> None:
    hardware = device(memory=(DRAM,), launch=2e-6, host_op=100e-6)
    graph = traced(nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU()), (1, 8, 4, 4))
    before, after = analyzed(graph, hardware), analyzed(graph, hardware, "fuse-activation")
    assert before.latency == pytest.approx(200e-6, rel=0.05)
    assert after.latency == pytest.approx(100e-6, rel=0.05)


# --- ways of running ---------------------------------------------------------------------------------------------------


def test_replayed_launches_wait_for_no_host() -> None:
    hardware = device(memory=(DRAM,), launch=2e-6, graph=1e-6, host_op=100e-6)
    graph = traced(nn.Sequential(nn.ReLU(), nn.Sigmoid(), nn.ReLU()), (1, 8))
    report = analyzed(graph, hardware, "cuda-graphs")
    assert sum(p.overhead_seconds for p in report.predictions) == pytest.approx(3e-6)
    assert report.replayed
    assert report.mode == "eager"


def test_a_cpu_has_no_launches_to_replay() -> None:
    graph = traced_cnn(("conv",))
    one, other = (analyzed(graph, device(kind="cpu"), *texts) for texts in ((), ("cuda-graphs",)))
    assert one.latency == other.latency
    assert other.remarks == ("hand is a CPU, which launches nothing, so cuda-graphs changes nothing there",)


def test_channels_last_is_the_layout() -> None:
    graph = roofline.trace("resnet18")
    one, other = (
        roofline.analyze(graph, "v100", batch=8, precision="fp16", **kw) for kw in ({"what_if": ["channels-last"]}, {"layout": "nhwc"})
    )
    assert one.latency == other.latency
    assert one.layout == "nhwc"


def test_depth_first_is_the_ideal_mode_in_as_much_memory_as_is_given() -> None:
    graph = roofline.trace("resnet18")
    plain, ideal = (roofline.analyze(graph, "t4", **kw) for kw in ({"what_if": ["depth-first"]}, {"mode": "ideal"}))
    assert (plain.latency, plain.bytes) == (ideal.latency, ideal.bytes)
    small, large = (roofline.analyze(graph, "t4", what_if=[f"depth-first={size}"]) for size in ("64KiB", "1GiB"))
    assert small.bytes > large.bytes


def test_ways_of_running_and_changes_of_the_graph_combine() -> None:
    report = roofline.analyze("resnet18", "t4", what_if=["fold-bn", "cuda-graphs", "channels-last", "int8@layer4"])
    assert (report.layout, report.replayed) == ("nhwc", True)
    assert report.remarks == ("accuracy is not predicted; it may suffer from int8@layer4",)


def test_quantised_precision_says_that_accuracy_is_not_predicted() -> None:
    graph = traced_cnn(("conv",))
    assert analyzed(graph, SPARSE, precisions=["int8"]).remarks == (
        "accuracy is not predicted; it may suffer from int8 weights and activations",
    )  # fmt: skip
    assert analyzed(graph, SPARSE, "fold-bn", "precision=fp16").remarks == ()


def test_memory_that_is_kept_is_cleared_once() -> None:
    graph = traced(torch.sigmoid, (8, 16, 256, 256))  # 32 MiB, which glibc gives back each time
    slow = replace(device(kind="cpu"), calibrations=(Calibration("eager", fresh=1e6, kind="cpu"),))
    given_back, kept = (analyze_grid(graph, [slow], (8,), change=parse_changes(texts))[0] for texts in ((), ("keep-memory",)))
    assert given_back.latency - kept.latency == pytest.approx(2**25 / (1e6 * slow.units))
    assert [remark.partition(", ")[0] for remark in given_back.remarks] == ["hand clears memory anew in each run: 33.6 MB at batch 8"]
    assert kept.remarks == ()
    assert kept.keeps_memory
    assert analyzed(graph, device(), "keep-memory", batches=(8,)).remarks == (
        "hand is a GPU, whose memory PyTorch keeps anyway, so keep-memory changes nothing there",
    )
    assert analyzed(graph, slow, "keep-memory", batches=(8,), mode="engine").remarks == (
        "mode engine is taken to keep its memory anyway, so keep-memory changes nothing there",
    )
