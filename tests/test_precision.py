"""Checks what each precision stores, and the casts that autocast adds."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cnn, cnns, ints, only, op_names, traced
from torch import nn

from roofline.cost import Cost, cost
from roofline.errors import UnknownNameError
from roofline.graph import Graph
from roofline.transforms.precision import CASTS_ITSELF, PRECISIONS, to_precision
from roofline.units import FLOATS

quick = settings(max_examples=30, deadline=None)


def apart(graph: Graph) -> Cost:
    """Add up every op as its own kernel."""
    return sum((cost([op], graph) for op in graph.ops), Cost())


@quick
@given(cnns(), st.sampled_from(["fp16", "bf16"]))
def test_half_precision_halves_every_byte_of_floats(graph: Graph, precision: str) -> None:
    assert apart(to_precision(graph, precision)) == replace(
        apart(graph),
        weight_bytes=apart(graph).weight_bytes / 2,
        input_bytes=apart(graph).input_bytes / 2,
        output_bytes=apart(graph).output_bytes / 2,
    )


@quick
@given(cnns(), st.sampled_from([("int8", 4), ("int4", 8)]))
def test_quantisation_divides_activation_bytes_by_the_ratio_of_widths(graph: Graph, case: tuple[str, int]) -> None:
    precision, ratio = case
    before, after = apart(graph), apart(to_precision(graph, precision))
    assert (after.input_bytes * ratio, after.output_bytes * ratio) == (before.input_bytes, before.output_bytes)
    assert after.flops == before.flops


def test_quantisation_leaves_norms_and_biases_in_floats() -> None:
    graph = to_precision(traced(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)), (1, 4, 8, 8)), "int8")
    assert {t.name: t.dtype for t in graph.weights} == {"0.weight": "int8", "0.bias": "fp32", "1.weight": "fp32", "1.bias": "fp32"}


def test_integers_keep_their_type() -> None:
    graph = to_precision(traced(nn.Embedding(10, 4), ints(2, 3)), "fp16")
    assert [t.dtype for t in graph.inputs] == ["int64"]
    assert [t.dtype for t in graph.weights] == ["fp16"]


@quick
@given(cnns())
def test_tf32_moves_the_bytes_of_fp32(graph: Graph) -> None:
    marked = to_precision(graph, "tf32")
    assert apart(marked) == apart(graph)
    assert "fp32" not in {t.dtype for t in marked.tensors}


def test_fp32_keeps_the_types_as_traced() -> None:
    graph = traced(nn.Linear(6, 3).half(), torch.empty((2, 6), dtype=torch.float16, device="meta"))
    assert to_precision(graph, "fp32") is graph


@quick
@given(cnns(), st.sampled_from(PRECISIONS))
def test_every_precision_keeps_the_arithmetic_and_the_graph_it_was_given(graph: Graph, precision: str) -> None:
    before = graph.to_json()
    changed = to_precision(graph, precision)
    changed.check()
    assert (apart(changed).macs, apart(changed).flops, changed.params) == (apart(graph).macs, apart(graph).flops, graph.params)
    assert graph.to_json() == before


def test_an_unknown_precision_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown precision 'fp12'; use one of fp32, tf32, amp, fp16, bf16, int8, int4"):
        to_precision(traced(nn.ReLU(), (1, 3)), "fp12")


# --- autocast --------------------------------------------------------------------------------------------------------------


def autocast(model: object, *inputs: tuple[int, ...]) -> Graph:
    """Trace a model and rewrite it as autocast runs it."""
    graph = to_precision(traced(model, *inputs), "amp")  # type: ignore[arg-type]
    graph.check()
    return graph


def dtypes(graph: Graph, name: str) -> tuple[list[str], list[str]]:
    """Return the types that the one op called *name* reads and writes."""
    op = only(graph, name)
    return [graph.tensors[t].dtype for t in op.inputs], [graph.tensors[t].dtype for t in op.outputs]


def test_autocast_casts_input_and_weights_of_a_conv_and_runs_it_in_half_precision() -> None:
    graph = autocast(nn.Conv2d(3, 4, 3), (1, 3, 8, 8))
    assert op_names(graph) == ["_to_copy", "_to_copy", "_to_copy", "conv2d"]
    assert dtypes(graph, "conv2d") == (["fp16"] * 3, ["fp16"])
    assert {t.dtype for t in graph.weights} == {"fp32"}
    assert cost(graph.ops[:3], graph).read_bytes == 2 * cost(graph.ops[:3], graph).write_bytes


def test_autocast_casts_a_weight_once_however_often_it_is_read() -> None:
    shared = nn.Linear(6, 6, bias=False)
    graph = autocast(nn.Sequential(shared, shared, shared), (2, 6))
    assert op_names(graph) == ["_to_copy", "_to_copy", "linear", "linear", "linear"]


def test_autocast_runs_softmax_in_fp32() -> None:
    graph = autocast(lambda x: (x @ x.transpose(1, 2)).softmax(-1), (2, 3, 4))
    assert dtypes(graph, "matmul") == (["fp16", "fp16"], ["fp16"])
    assert dtypes(graph, "softmax") == (["fp16"], ["fp32"])  # one kernel reads the half type and writes fp32


@pytest.mark.parametrize("name", sorted(CASTS_ITSELF & {"log_softmax", "sum", "prod", "cumsum"}))
def test_autocast_lets_what_casts_itself_read_the_half_type(name: str) -> None:
    graph = autocast(lambda x: getattr(x @ x.transpose(1, 2), name)(-1), (2, 3, 4))
    assert op_names(graph) == ["transpose", "_to_copy", "_to_copy", "matmul", name]  # both sides of the product are cast
    assert dtypes(graph, name) == (["fp16"], ["fp32"])


def test_autocast_casts_the_input_of_a_norm_in_a_kernel_of_its_own() -> None:
    graph = autocast(nn.Sequential(nn.Linear(4, 4, bias=False), nn.LayerNorm(4)), (2, 4))
    assert op_names(graph) == ["_to_copy", "_to_copy", "linear", "_to_copy", "layer_norm"]
    assert dtypes(graph, "layer_norm")[0][0] == "fp32"


@pytest.fixture
def fast_norms() -> Iterator[None]:
    """Let the norms of timm that are made meanwhile hide from autocast."""
    timm.layers.set_fast_norm()
    yield
    timm.layers.set_fast_norm(False)


@pytest.mark.usefixtures("fast_norms")
def test_a_fast_norm_of_timm_stays_in_half_precision() -> None:
    net = nn.Sequential(nn.Linear(4, 4, bias=False), timm.layers.LayerNorm(4))
    graph = autocast(net, (2, 4))
    assert op_names(graph) == ["_to_copy", "_to_copy", "linear", "_to_copy", "_to_copy", "layer_norm"]  # its weight and bias are cast
    assert dtypes(graph, "layer_norm") == (["fp16"] * 3, ["fp16"])
    assert net[1]._fast_norm  # the layer is as it was


@pytest.mark.usefixtures("fast_norms")
@pytest.mark.parametrize("layer", [timm.layers.LayerNorm2d, partial(timm.layers.GroupNormAct, num_groups=2), timm.layers.GroupNorm1])
def test_norms_of_images_are_fast_too(layer: Callable[..., nn.Module]) -> None:
    graph = autocast(nn.Sequential(nn.Conv2d(3, 4, 1), layer(4)), (1, 3, 8, 8))
    norm = next(op for op in graph.ops if op.name in ("layer_norm", "group_norm"))
    assert {graph.tensors[t].dtype for t in (*norm.inputs, *norm.outputs)} == {"fp16"}


@pytest.mark.usefixtures("fast_norms")
def test_a_fast_norm_narrows_what_comes_in_fp32() -> None:
    graph = autocast(nn.Sequential(timm.layers.LayerNorm(4), nn.ReLU()), (2, 4))
    assert dtypes(graph, "layer_norm") == (["fp16"] * 3, ["fp16"])
    assert dtypes(graph, "relu") == (["fp16"], ["fp16"])


def test_a_norm_of_timm_is_widened_where_it_was_not_made_fast() -> None:
    assert dtypes(autocast(timm.layers.LayerNorm(4), (2, 4)), "layer_norm")[1] == ["fp32"]


@pytest.mark.usefixtures("fast_norms")
def test_kernels_of_apex_are_not_called_on_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no kernel for the meta device")

    monkeypatch.setattr(timm.layers.fast_norm, "has_apex", True)
    monkeypatch.setattr(timm.layers.fast_norm, "fused_layer_norm_affine", refuse, raising=False)
    assert op_names(traced(timm.layers.LayerNorm(4), (2, 4))) == ["layer_norm"]


@pytest.mark.usefixtures("fast_norms")
def test_precisions_without_autocast_do_not_mind_fast_norms() -> None:
    graph = traced(timm.layers.LayerNorm(4), (2, 4))
    for precision in ("fp32", "tf32", "fp16", "bf16"):
        assert op_names(to_precision(graph, precision)) == ["layer_norm"]


def test_autocast_lets_batch_norm_and_activation_follow_their_input() -> None:
    graph = autocast(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2)), (1, 3, 8, 8))
    assert dtypes(graph, "batch_norm") == (["fp16", "fp32", "fp32", "fp32", "fp32"], ["fp16"])
    assert dtypes(graph, "relu") == (["fp16"], ["fp16"])
    assert dtypes(graph, "max_pool2d") == (["fp16"], ["fp16"])


def test_autocast_adds_half_and_single_precision_in_single() -> None:
    conv = nn.Conv2d(4, 4, 1, bias=False)
    graph = autocast(nn.ModuleDict({"conv": conv})["conv"], (1, 4, 2, 2))
    assert dtypes(graph, "conv2d")[1] == ["fp16"]
    mixed = autocast(lambda x: x + x @ x, (2, 2))
    assert dtypes(mixed, "add") == (["fp32", "fp16"], ["fp32"])


def test_autocast_keeps_the_type_of_memory_that_is_overwritten() -> None:
    graph = autocast(lambda x: (x @ x).pow_(2), (2, 2))
    assert dtypes(graph, "pow") == (["fp16"], ["fp16"])


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_autocast_runs_recurrent_layers_in_half_precision(layer: Any) -> None:
    graph = autocast(layer(3, 5, batch_first=True), (2, 4, 3))
    op = next(op for op in graph.ops if "params" in op.roles)
    assert {graph.tensors[t].dtype for t in (*op.inputs, *op.outputs)} == {"fp16"}


def test_autocast_measures_distances_in_fp32() -> None:
    graph = autocast(lambda x: torch.cdist(x @ x.transpose(1, 2), x @ x.transpose(1, 2)), (2, 3, 4))
    assert dtypes(graph, "_cdist_forward") == (["fp32", "fp32"], ["fp32"])


def test_autocast_keeps_integers() -> None:
    graph = to_precision(traced(lambda i: F.one_hot(i, 4), ints(2, 3)), "amp")
    assert {t.dtype for t in graph.tensors} <= {"int64"}


def test_autocast_to_another_type() -> None:
    graph = to_precision(traced(nn.Conv2d(3, 4, 3), (1, 3, 8, 8)), "amp", lower="bf16")
    assert dtypes(graph, "conv2d")[1] == ["bf16"]


@quick
@given(cnns())
def test_autocast_casts_each_parameter_of_products_once_and_nothing_else_of_them(graph: Graph) -> None:
    changed = to_precision(graph, "amp")
    products = {"conv2d", "conv_transpose2d", "linear"}
    read = {t for op in graph.ops if op.name in products for t in op.inputs if graph.tensors[t].kind == "weight"}
    cast = [op.inputs[0] for op in changed.ops if op.name == "_to_copy" and changed.tensors[op.inputs[0]].kind == "weight"]
    assert sorted(cast) == sorted(read)


@quick
@given(cnns())
def test_autocast_gives_views_and_overwritten_memory_one_type(graph: Graph) -> None:
    changed = to_precision(graph, "amp")
    for tensor in changed.tensors:
        root = changed.tensors[tensor.storage]
        assert tensor.dtype == root.dtype or tensor.dtype not in FLOATS


def test_autocast_of_a_network_is_smaller_than_fp32_and_larger_than_fp16() -> None:
    graph = traced(cnn(("conv", "conv", "conv")), (1, 3, 8, 8)).with_batch(64)
    amp, half = apart(to_precision(graph, "amp")), apart(to_precision(graph, "fp16"))
    assert half.bytes < amp.bytes < apart(graph).bytes
