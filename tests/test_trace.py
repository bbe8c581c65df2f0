"""Checks what the recorder writes down: ops, module paths, memory, batch; and what it leaves alone."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from strategies import Calls, Shape, cnn, ints, kinds_of, only, op_names, tensors, traced
from torch import nn

from roofline.cost import cost, work
from roofline.errors import ModelError
from roofline.graph import Graph
from roofline.tracing import trace
from roofline.tracing.models import build
from roofline.tracing.spec import ModelSpec
from roofline.tracing.trace import meta_copy, record

X: Shape = (2, 6)


class Block(nn.Module):
    """A leaf, an op of its own, and a submodule used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(self.act(self.fc(self.act(x))) + x)


# --- module paths ----------------------------------------------------------------------------------------------------


def test_each_op_stands_under_the_innermost_module_that_ran_it() -> None:
    graph = traced(nn.Sequential(OrderedDict(stem=nn.Linear(6, 6), blocks=nn.Sequential(Block(), Block()))), X)
    assert [(op.name, op.module) for op in graph.ops] == [
        ("linear", "stem"),
        ("relu", "blocks.0.act"), ("linear", "blocks.0.fc"), ("relu", "blocks.0.act"), ("add", "blocks.0"), ("gelu", "blocks.0"),
        ("relu", "blocks.1.act"), ("linear", "blocks.1.fc"), ("relu", "blocks.1.act"), ("add", "blocks.1"), ("gelu", "blocks.1"),
    ]  # fmt: skip


def test_modules_map_each_path_to_its_class() -> None:
    graph = traced(Block(), X)
    assert dict(graph.modules) == {"": "Block", "fc": "Linear", "act": "ReLU"}


def test_a_module_used_under_two_names_stands_under_the_first() -> None:
    shared = nn.Linear(6, 6)
    graph = traced(nn.Sequential(shared, nn.ReLU(), shared), X)
    assert [op.module for op in graph.ops] == ["0", "1", "0"]
    assert graph.params == 6 * 6 + 6


def test_an_op_after_a_module_that_failed_stands_under_the_module_that_caught_it() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wrong = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            try:
                return self.wrong(x)
            except RuntimeError:
                return x.relu()

    assert only(traced(Careful(), X), "relu").module == ""


def test_weights_carry_the_names_of_their_parameters() -> None:
    graph = traced(nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), X)
    assert [t.name for t in graph.weights] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert [t.name for t in graph.tensors if t.kind == "buffer"] == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]


def test_a_tied_weight_is_counted_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.embed(x))

    graph = traced(Tied(), ints(2, 5))
    assert graph.params == 28
    assert op_names(graph) == ["embedding", "linear"]


# --- memory ------------------------------------------------------------------------------------------------------------


def test_an_in_place_op_makes_a_new_tensor_in_the_same_memory() -> None:
    graph = traced(lambda x: x.clone().relu_().add_(1), X)
    clone, relu, add = graph.ops
    assert len({clone.outputs[0], relu.outputs[0], add.outputs[0]}) == 3
    assert {graph.tensors[op.outputs[0]].storage for op in graph.ops} == {clone.outputs[0]}
    assert (relu.inplace, add.inplace, clone.inplace) == (True, True, False)
    assert graph.outputs == add.outputs


def test_a_tensor_reads_what_was_written_through_its_view() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y[:, 0].add_(1)
        return y * 2

    graph = traced(forward, X)
    add, alias, mul = only(graph, "add"), only(graph, "alias"), only(graph, "mul")
    assert add.outputs[0] in alias.inputs
    assert mul.inputs == alias.outputs
    assert cost([alias], graph).bytes == 0


def test_a_view_reads_what_was_written_to_its_base() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        left = y[:, :3]
        y.relu_()
        return left * 2

    graph = traced(forward, X)
    assert only(graph, "relu").outputs[0] in only(graph, "alias").inputs


def test_reading_two_views_of_untouched_memory_adds_no_op() -> None:
    assert op_names(traced(lambda x: x[:, :3] * x[:, 3:], X)).count("alias") == 0


def test_relabelling_in_place_is_a_view() -> None:
    graph = traced(lambda x: x.clone().unsqueeze_(1).transpose_(0, 1).squeeze_(0), X)
    assert kinds_of(graph) == ["copy", "view", "view", "view"]


@pytest.mark.parametrize("split", [lambda x: x.chunk(3, 1), lambda x: x.split(2, 1), lambda x: x.unbind(1), lambda x: x.tensor_split(2, 1)])
def test_parts_of_a_tensor_are_views_of_its_memory(split: Callable[..., Any]) -> None:
    graph = traced(lambda x: torch.cat([part * 2 for part in split(x + 1)]), X)
    root = graph.ops[0].outputs[0]
    parts = [t for op in graph.ops if graph.is_view(op) for t in op.outputs]
    assert len(parts) >= 2
    assert {graph.tensors[t].storage for t in parts} == {root}


def test_dropout_is_free_in_evaluation() -> None:
    graph = traced(nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.Dropout1d(0.5), nn.AlphaDropout(0.1)), X)
    assert kinds_of(graph)[0] == "linear"
    assert set(kinds_of(graph)[1:]) == {"view"}
    assert sum(cost([op], graph).bytes for op in graph.ops[1:]) == 0


def test_an_unused_parameter_counts_and_moves_nothing() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(6, 6), nn.Linear(6, 100)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    graph = traced(Idle(), X)
    assert graph.params == 42 + 700
    assert cost(graph.ops, graph).weight_bytes == 42 * 4


# --- tensors that the code makes or holds -------------------------------------------------------------------------------


def test_constants_made_in_forward_are_free_buffers() -> None:
    graph = traced(lambda x: x * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), X)
    assert kinds_of(graph) == ["view", "view", "elementwise"]
    assert [t.shape for t in graph.tensors if t.kind == "buffer"] == [(6,)]


@pytest.mark.parametrize(
    "make", [lambda: torch.ones(6), lambda: torch.arange(6), lambda: torch.zeros(6, device="cpu"), lambda: torch.linspace(0, 1, 6)]
)
def test_factories_run_on_the_meta_device_whatever_device_they_name(make: Callable[[], torch.Tensor]) -> None:
    graph = traced(lambda x: x + make(), X)
    assert set(kinds_of(graph)) <= {"create", "view", "elementwise"}
    assert kinds_of(graph)[0] == "create"


def test_factories_allocate_nothing() -> None:
    graph = traced(lambda x: x + torch.zeros(2**46, 6)[:1], X)  # more than an address space holds
    assert graph.tensors[graph.outputs[0]].shape == (2, 6)


def test_a_tensor_held_outside_parameters_and_buffers_is_a_buffer() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.anchors = torch.arange(6.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.anchors + self.anchors

    graph = traced(Holder(), X)
    assert op_names(graph) == ["add", "add"]
    assert [(t.shape, t.kind) for t in graph.tensors if t.kind == "buffer"] == [((6,), "buffer")]


class Held(nn.Module):
    """Hold a tensor that is neither parameter nor buffer, and hand it to *forward* with the input."""

    def __init__(self, held: torch.Tensor, forward: Callable[[torch.Tensor, torch.Tensor], Any]) -> None:
        super().__init__()
        self.held, self.run = held, forward

    def forward(self, x: torch.Tensor) -> Any:
        return self.run(x, self.held)


def test_small_constants_keep_their_numbers_as_code_may_go_by_them() -> None:
    def forward(x: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
        for stride in strides * 2:  # as detection heads make anchors for each stride
            x = torch.cat((x, torch.full((1, int(stride)), float(stride)).expand(x.shape[0], -1)), 1)
        return x

    graph = traced(Held(torch.tensor([1, 2, 4]), lambda x, held: forward(x, held[held > 1])), X)
    assert [graph.tensors[op.outputs[0]].shape for op in graph.ops if op.name == "cat"] == [(2, 10), (2, 18)]


def test_a_constant_of_any_size_can_be_viewed() -> None:
    for rows in (2, 100_000):
        graph = traced(Held(torch.zeros(rows, 6), lambda x, held: x + held[0] + next(iter(held))), X)
        assert [t.shape for t in graph.tensors if t.kind == "buffer"] == [(rows, 6)]


def test_the_numbers_of_a_constant_are_not_known_once_it_is_written_to() -> None:
    def forward(x: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        held[0] = x.sum()
        return x * float(held.sum())

    with pytest.raises(ModelError, match="reads the values of a tensor"):
        traced(Held(torch.zeros(3), forward), X)


def test_a_module_with_weights_in_memory_is_traced_on_the_meta_device() -> None:
    module = nn.Linear(6, 3)
    graph = record(module, (torch.ones(2, 6),))  # as it is, without a copy
    assert only(graph, "linear").roles == ("input", "weight", "bias")


def test_attributes_keep_every_argument_that_is_no_tensor() -> None:
    graph = traced(nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2), (1, 4, 8, 8))
    attrs = graph.ops[0].attrs
    assert (attrs["stride"], attrs["padding"], attrs["dilation"], attrs["groups"]) == ((2, 2), (1, 1), (1, 1), 2)


def test_attributes_hold_the_defaults_of_the_schema() -> None:
    assert traced(lambda x: x.softmax(1), X).ops[0].attrs == {"dim": 1, "dtype": None}


# --- inputs and outputs --------------------------------------------------------------------------------------------------


def test_outputs_are_found_in_tuples_lists_and_dicts() -> None:
    graph = traced(lambda x: {"a": x + 1, "b": (x * 2, [x - 3])}, X)
    assert [graph.producer[t].name for t in graph.outputs] == ["add", "mul", "sub"]


def test_an_input_returned_as_it_is_is_an_output() -> None:
    assert traced(lambda x: x, X).outputs == (0,)


def test_a_module_takes_several_inputs() -> None:
    graph = traced(lambda x, y: x @ y.transpose(1, 2), (2, 3, 4), (2, 5, 4))
    assert [t.shape for t in graph.inputs] == [(2, 3, 4), (2, 5, 4)]
    assert graph.batch == 2


def test_inputs_may_be_integers() -> None:
    graph = traced(nn.Embedding(10, 4), ints(2, 3))
    assert [t.dtype for t in graph.inputs] == ["int64"]
    assert graph.tensors[graph.outputs[0]].shape == (2, 3, 4)


def test_two_inputs_of_different_batch_fix_the_graph() -> None:
    graph = traced(torch.mm, (2, 3), (3, 5))
    assert graph.batch is None


def test_half_precision_modules_keep_their_type() -> None:
    graph = traced(nn.Linear(6, 3).half(), torch.empty(X, dtype=torch.float16, device="meta"))
    assert {t.dtype for t in graph.tensors} == {"fp16"}


# --- composites ------------------------------------------------------------------------------------------------------------


def test_a_composite_without_a_rule_is_recorded_as_what_it_is_made_of() -> None:
    graph = traced(lambda x, y: torch.einsum("bij,bjk->bik", x, y), (2, 3, 4), (2, 4, 5))
    assert "einsum" not in op_names(graph)
    assert "unknown" not in kinds_of(graph)
    assert cost(graph.ops, graph).macs == 2 * 3 * 4 * 5


def test_composites_with_a_rule_are_one_op() -> None:
    graph = traced(
        nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.MaxPool1d(2), nn.Flatten(), nn.LayerNorm(8), nn.Softmax(1)), (1, 2, 6)
    )
    assert op_names(graph) == ["conv1d", "batch_norm", "max_pool1d", "flatten", "layer_norm", "softmax"]


def test_attention_shows_its_linear_layers_and_one_attention_op() -> None:
    graph = traced(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8))
    assert op_names(graph).count("linear") == 4
    assert op_names(graph).count("scaled_dot_product_attention") == 1
    assert "unknown" not in kinds_of(graph)


# --- what is left as it was ------------------------------------------------------------------------------------------------


def hooks() -> tuple[int, int]:
    """Count the hooks that run for every module."""
    return len(nn.modules.module._global_forward_pre_hooks), len(nn.modules.module._global_forward_hooks)


def test_hooks_are_removed_after_a_failure() -> None:
    before = hooks()
    with pytest.raises(ModelError):
        traced(nn.Linear(3, 3), X)
    assert hooks() == before


@pytest.mark.parametrize("enabled", [True, False])
def test_the_switch_for_fused_attention_is_put_back(enabled: bool) -> None:
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        traced(nn.ReLU(), X)
        with pytest.raises(ModelError):
            traced(nn.Linear(3, 3), X)
        assert torch.backends.mha.get_fastpath_enabled() is enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_the_users_module_is_untouched() -> None:
    module = cnn(("conv", "depthwise")).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    traced(module, (2, 3, 8, 8))
    assert all(m.training for m in module.modules())
    assert {p.device.type for p in module.parameters()} == {"cpu"}
    assert all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_copy_keeps_tied_weights_tied() -> None:
    module = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    module[1].weight = module[0].weight
    copied = meta_copy(module)
    assert copied[1].weight is copied[0].weight  # type: ignore[index]
    assert copied[0].weight.is_meta  # type: ignore[index]


def test_a_module_that_cannot_be_copied_is_an_error_that_says_so() -> None:
    module = nn.Linear(6, 6)
    module.lock = __import__("threading").Lock()  # type: ignore[assignment]
    with pytest.raises(ModelError, match=r"cannot copy Linear .*pickle"):
        meta_copy(module)


# --- failures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: x * float(x.sum()),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x[x > 0],
        torch.nonzero,
        torch.unique,
        lambda x: x[0, 0].item(),
    ],
    ids=["float", "if", "mask", "nonzero", "unique", "item"],
)
def test_code_that_depends_on_values_is_an_error_that_says_so(forward: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match=r"cannot trace test: its code reads the values of a tensor \(aten\.\w+\)"):
        traced(forward, X)


def test_a_module_that_raises_is_an_error_with_its_first_line() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        raise KeyError("no such head\nmore")

    with pytest.raises(ModelError, match=r"test failed on an input of 6 per item: KeyError: 'no such head") as caught:
        traced(forward, X)
    assert "\n" not in str(caught.value)


def test_a_wrong_input_is_an_error_that_names_the_shape() -> None:
    with pytest.raises(ModelError, match="test failed on an input of 3x8x8 per item: RuntimeError"):
        traced(nn.Conv2d(4, 4, 3), (1, 3, 8, 8))


def test_a_data_type_without_a_width_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"it uses the data type torch.complex32"):
        traced(lambda x: x.real, torch.empty(X, dtype=torch.complex32, device="meta"))


# --- batch -----------------------------------------------------------------------------------------------------------------


def fresh(module: nn.Module, inputs: tuple[torch.Tensor, ...], batch: int) -> Graph:
    """Trace at *batch* itself, without rewriting."""
    return trace._run(module, trace._at_batch(inputs, batch), "net")


def without_powers(graph: Graph) -> Graph:
    """Drop the marks that only a graph of the recorder's own batch has."""
    return replace(
        graph,
        tensors=tuple(replace(t, batch_powers=()) for t in graph.tensors),
        ops=tuple(replace(op, batch_attrs={}) for op in graph.ops),
        batch=1,
    )


MOVES_BATCH = {"mobilevit_xxs"}
"""Networks that reshape across the batch dimension: at batch 1 such a reshape is free, where a graph keeps the copy."""

REBATCHED = [
    "efficientnet_b0", "densenet121", "swin_tiny_patch4_window7_224", "tf_efficientnet_cc_b0_4e", "volo_d1_224", "maxvit_pico_rw_256",
    "coatnet_pico_rw_224", "mobilevit_xxs", "vit_tiny_patch16_224", "torchvision:shufflenet_v2_x0_5", "torchvision:swin_v2_t",
    "torchvision:googlenet", "levit_128s",
]  # fmt: skip


@pytest.mark.parametrize("name", REBATCHED)
def test_a_graph_at_another_batch_equals_a_fresh_trace_at_it(name: str) -> None:
    built = build(ModelSpec(name))
    graph = record(built.module, built.inputs, name="net", verify=False)
    for batch in (2, 6) if name in MOVES_BATCH else (1, 6):
        assert without_powers(graph.with_batch(batch)) == without_powers(fresh(built.module, built.inputs, batch))


def test_the_graph_has_the_batch_of_its_inputs() -> None:
    graph = traced(nn.Linear(6, 3), (5, 6))
    assert graph.batch == 5
    assert graph.tensors[graph.outputs[0]].shape == (5, 3)


def test_a_size_that_grows_with_the_square_of_the_batch_is_rewritten_too() -> None:
    graph = traced(lambda x: x @ x.t(), X)
    assert graph.tensors[graph.with_batch(7).outputs[0]].batch_powers == (1, 1)
    assert graph.with_batch(7).tensors[graph.outputs[0]].shape == (7, 7)


def test_a_size_that_is_a_multiple_of_the_batch_is_rewritten_too() -> None:
    graph = traced(lambda x: x.reshape(-1, 2), X)
    assert graph.with_batch(5).tensors[graph.outputs[0]].shape == (15, 2)


@pytest.mark.parametrize(
    "forward",
    [lambda x: torch.cat([x] * min(len(x), 4)), lambda x: x.relu() if len(x) > 100 else x.sigmoid(), lambda x: x[: max(len(x) // 2, 1)]],
    ids=["as many ops as items", "another branch", "half of the batch"],
)
def test_code_that_depends_on_the_batch_fixes_the_graph_at_the_shapes_given(forward: Callable[..., Any]) -> None:
    graph = traced(forward, X)
    assert graph.batch is None
    assert graph.inputs[0].shape == X
    assert {p for t in graph.tensors for p in t.batch_powers} == set()


def test_a_module_that_takes_one_batch_size_only_is_traced_at_it() -> None:
    graph = traced(lambda x: x.view(2, 2, 3), X)
    assert graph.batch is None
    assert graph.tensors[graph.outputs[0]].shape == (2, 2, 3)


def test_a_module_that_fills_a_cache_on_its_first_run_can_still_be_rebatched() -> None:
    class Cached(nn.Module):
        grid: torch.Tensor | None = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.grid is None:
                self.grid = torch.arange(6, device=x.device).exp()
            return x + self.grid

    graph = traced(Cached(), X)
    assert graph.batch == 2
    assert op_names(graph) == ["add"]  # as in every run but the first


def test_tracing_twice_gives_the_same_graph() -> None:
    module = meta_copy(cnn(("residual", "gate")))
    assert record(module, tensors((1, 3, 8, 8))) == record(module, tensors((1, 3, 8, 8)))


def test_no_kernel_is_merged_by_tracing() -> None:
    graph = traced(cnn(("conv",)), (1, 3, 8, 8))
    assert graph.kernels == tuple((op.id,) for op in graph.ops)


def test_every_op_of_a_small_network_has_a_known_cost() -> None:
    from strategies import BLOCKS

    graph = traced(cnn(tuple(BLOCKS)), (1, 3, 8, 8))
    assert [op.name for op in graph.ops if work(op, graph).kind == "unknown"] == []


def test_calls_with_no_weights_have_no_parameters() -> None:
    assert record(Calls(torch.relu), tensors(X)).params == 0
