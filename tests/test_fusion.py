"""Checks what may be fused: FLOPs stay, bytes never grow, and the order can still run."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import BLOCKS, Gate, Residual, cnn, cnns, conv_bn, kinds_of, only, op_names, traced, traced_cnn
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from roofline.cost import cost
from roofline.errors import UnknownNameError
from roofline.graph import Graph
from roofline.transforms.compiler import fuse_compiled
from roofline.transforms.fusion import fold_batch_norm, fuse, fuse_engine, fuse_ideal, gather_in_place
from roofline.transforms.modes import LAYOUTS, MODES, check_layout, check_mode, execute

quick = settings(max_examples=30, deadline=None)
IMAGE = (1, 4, 8, 8)
WAYS = {
    "compiled": fuse_compiled,
    "engine": fuse_engine,
    "ideal, 1 kB": lambda graph: fuse_ideal(graph, 1e3),
    "ideal, 1 MB": lambda graph: fuse_ideal(graph, 1e6),
    "everything": lambda graph: fuse(graph, lambda op, kernel: True),
    "nothing": lambda graph: fuse(graph, lambda op, kernel: False),
}


def kernels(graph: Graph) -> list[list[str]]:
    """Name the ops of each kernel, without views."""
    named = [[graph.ops[i].name for i in ops if not graph.is_view(graph.ops[i])] for ops in graph.kernels]
    return [names for names in named if names]


def flops(graph: Graph) -> float:
    """Add up FLOPs kernel by kernel."""
    return sum(cost([graph.ops[i] for i in ops], graph).flops for ops in graph.kernels)


def moved(graph: Graph) -> float:
    """Add up bytes kernel by kernel."""
    return sum(cost([graph.ops[i] for i in ops], graph).bytes for ops in graph.kernels)


# --- properties ------------------------------------------------------------------------------------------------------------


@quick
@given(cnns(), st.sampled_from(sorted(WAYS)))
def test_fusing_conserves_flops_and_never_adds_bytes(graph: Graph, way: str) -> None:
    fused = WAYS[way](graph)
    before = fold_batch_norm(graph) if way[:6] in ("engine", "ideal,") else graph  # these drop batch norms first
    assert flops(fused) == flops(before)
    assert moved(fused) <= moved(before)


@quick
@given(cnns(), st.sampled_from(sorted(WAYS)))
def test_a_fused_graph_is_sound_and_holds_every_op_once(graph: Graph, way: str) -> None:
    fused = WAYS[way](graph)
    fused.check()
    assert sorted(i for ops in fused.kernels for i in ops) == list(range(len(fused.ops)))
    assert fused.outputs == graph.outputs


@quick
@given(cnns(), st.sampled_from(sorted(WAYS)))
def test_the_graph_that_is_fused_stays_as_it_was(graph: Graph, way: str) -> None:
    before = graph.to_json()
    WAYS[way](graph)
    assert graph.to_json() == before


@quick
@given(cnns(), st.sampled_from(sorted(WAYS)), st.integers(2, 9))
def test_fusing_and_rebatching_commute(graph: Graph, way: str, batch: int) -> None:
    if way.startswith("ideal"):  # what fits on the chip depends on shapes of one item only, so here too
        assert WAYS[way](graph).kernels == WAYS[way](graph.with_batch(batch)).kernels
    assert WAYS[way](graph).with_batch(batch) == WAYS[way](graph.with_batch(batch))


@quick
@given(cnns(), st.sampled_from(["compiled", "engine"]))
def test_fusing_twice_is_fusing_once(graph: Graph, way: str) -> None:
    assert WAYS[way](WAYS[way](graph)) == WAYS[way](graph)


# --- compiled ----------------------------------------------------------------------------------------------------------------


def test_a_compiler_fuses_pointwise_chains_and_leaves_products_alone() -> None:
    graph = fuse_compiled(traced(conv_bn(4, 4, act=nn.SiLU()), IMAGE))
    assert kernels(graph) == [["conv2d"], ["batch_norm", "silu"]]


def test_a_compiler_fuses_a_chain_with_the_reduction_it_feeds() -> None:
    graph = fuse_compiled(traced(lambda x: (x * 2).relu().sum(1), (2, 6)))
    assert kernels(graph) == [["mul", "relu", "sum"]]


def test_a_compiler_fuses_global_pooling_with_what_precedes_it() -> None:
    graph = fuse_compiled(traced(nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)), IMAGE))
    assert kernels(graph) == [["conv2d"], ["relu", "adaptive_avg_pool2d"]]


def test_a_compiler_does_not_fuse_window_pooling() -> None:
    graph = fuse_compiled(traced(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), IMAGE))
    assert kernels(graph) == [["relu"], ["max_pool2d"]]


def test_a_value_that_two_kernels_read_is_written_once() -> None:
    graph = fuse_compiled(traced(lambda x: (lambda y: (y.relu(), y @ y.transpose(1, 2)))(x + 1), (2, 3, 3)))
    assert kernels(graph) == [["add", "relu"], ["matmul"]]
    assert cost([graph.ops[i] for i in graph.kernels[0]], graph).write_bytes == 72 + 72  # the sum and its relu, 18 elements each


# --- engine --------------------------------------------------------------------------------------------------------------------


def test_an_engine_runs_conv_batch_norm_and_activation_as_one_kernel() -> None:
    graph = fuse_engine(traced(conv_bn(4, 4, act=nn.SiLU()), IMAGE))
    assert kernels(graph) == [["conv2d", "silu"]]


def test_an_engine_adds_a_residual_in_the_later_conv() -> None:
    graph = fuse_engine(traced(nn.Sequential(nn.Conv2d(4, 4, 1), Residual(conv_bn(4, 4, act=nn.ReLU()))), IMAGE))
    assert kernels(graph) == [["conv2d"], ["conv2d", "relu", "add"]]


def test_an_engine_does_not_fuse_the_scaling_into_the_gate_that_makes_its_scale() -> None:
    graph = fuse_engine(traced(nn.Sequential(nn.Conv2d(4, 4, 1), Gate(4)), IMAGE))
    assert kernels(graph) == [["conv2d"], ["mean"], ["conv2d", "relu"], ["conv2d", "sigmoid"], ["mul"]]


def test_an_engine_does_not_fuse_one_conv_into_another() -> None:
    graph = fuse_engine(traced(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)), IMAGE))
    assert kernels(graph) == [["conv2d"], ["conv2d"]]


class Branches(nn.Module):
    """Run two convolutions side by side, and concatenate what they make: with ReLU in place if *inplace*."""

    def __init__(self, after: nn.Module | None = None, *, inplace: bool = False) -> None:
        super().__init__()
        self.left, self.right = (nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.ReLU(inplace=inplace)) for _ in range(2))
        self.after = after or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(torch.cat([self.left(x), self.right(x)], 1))


SIDE = 4 * 4 * 64
"""Bytes of one of four channels of 8 x 8, times four."""


@pytest.mark.parametrize("inplace", [False, True])
def test_an_engine_writes_what_is_concatenated_to_its_place(inplace: bool) -> None:
    graph = fuse_engine(traced(Branches(nn.Conv2d(8, 2, 1, bias=False), inplace=inplace), IMAGE))
    assert kernels(graph) == [["conv2d", "relu"], ["conv2d", "relu"], ["conv2d"]]
    weights, last = 4 * 4 * 4 * 9, 4 * 8 * 2
    assert moved(graph) == 2 * (SIDE + weights + SIDE) + (2 * SIDE + last + SIDE / 2)  # no byte for the concatenation


def test_what_follows_a_concatenation_is_a_kernel_of_its_own() -> None:
    graph = fuse_engine(traced(Branches(nn.ReLU()), IMAGE))
    assert kernels(graph) == [["conv2d", "relu"], ["conv2d", "relu"], ["relu"]]
    assert cost([graph.ops[i] for i in graph.kernels[-1]], graph).bytes == 4 * SIDE  # both parts read, and as much written


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cat([x.relu(), x], 1),  # the caller's memory is where it is
        lambda x: (lambda y: torch.cat([y, y], 1))(x.relu()),  # in two places at once
        lambda x: torch.cat([x.relu()[:, :2], x.sigmoid()], 1),  # a part of what was made
        lambda x: (lambda y: torch.cat([torch.cat([y, x.sigmoid()], 1), y.tanh()], 1))(x.relu()),
    ],
    ids=["an input", "twice", "a slice", "concatenated already"],
)
def test_what_cannot_be_written_to_its_place_is_copied(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert [names for names in kernels(fuse_engine(traced(function, IMAGE))) if "cat" in names] == [["cat"]]


def test_a_tensor_has_one_place_only() -> None:
    def twice(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, z, w = x.relu(), x.sigmoid(), x.tanh()
        return torch.cat([y, z], 1), torch.cat([y, w], 1)

    graph = fuse_engine(traced(twice, IMAGE))
    assert sum(names == ["cat"] for names in kernels(graph)) == 1  # the second is copied


def test_a_place_is_chosen_where_it_is_asked_for() -> None:
    graph = traced(nn.Sequential(Branches(nn.Conv2d(8, 4, 1)), Branches()), IMAGE)
    assert [op.module for op in graph.ops if op.name == "cat"] == ["0", "1"]
    only_first = gather_in_place(graph, lambda module: module == "0")
    assert [op.module for op in only_first.ops if op.name == "cat" and not only_first.is_view(op)] == ["1"]


def test_the_ideal_engine_fuses_on_through_a_concatenation() -> None:
    graph = fuse_ideal(traced(Branches(nn.Conv2d(8, 2, 1, bias=False)), IMAGE), float("inf"))
    assert kernels(graph) == [["conv2d", "relu"], ["conv2d", "relu", "conv2d"]]
    assert cost([graph.ops[i] for i in graph.kernels[1]], graph).read_bytes == SIDE + SIDE + 4 * 4 * 4 * 9 + 4 * 8 * 2  # input, other part


def test_views_stay_with_the_kernel_they_look_at() -> None:
    graph = fuse_engine(traced(lambda x: (x.relu().view(2, 3, 2) @ x.view(2, 2, 3)).relu(), (2, 6)))
    assert kernels(graph) == [["relu"], ["matmul", "relu"]]


# --- folding -------------------------------------------------------------------------------------------------------------------


def folded_for_real(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """Fold with PyTorch's own function."""
    fold = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
    return fold(layer.eval(), norm.eval())  # type: ignore[arg-type,type-var]


PAIRS = {
    "conv": (nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), IMAGE),
    "biased conv": (nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), IMAGE),
    "depthwise conv": (nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.BatchNorm2d(4), IMAGE),
    "norm without a bias": (nn.Conv2d(4, 6, 1, bias=False), nn.BatchNorm2d(6, affine=False), IMAGE),
    "linear": (nn.Linear(6, 3), nn.BatchNorm1d(3), (2, 6)),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_folding_costs_what_a_really_folded_module_costs(pair: str) -> None:
    layer, norm, shape = PAIRS[pair]
    folded = fold_batch_norm(traced(nn.Sequential(layer, norm), shape))
    real = traced(folded_for_real(layer, norm), shape)
    folded.check()
    assert op_names(folded) == op_names(real)
    assert cost(folded.ops, folded) == cost(real.ops, real)


@quick
@given(cnns())
def test_folding_drops_batch_norms_only_and_keeps_the_output(graph: Graph) -> None:
    folded = fold_batch_norm(graph)
    folded.check()
    assert [name for name in op_names(graph) if name != "batch_norm"] == op_names(folded)
    assert folded.outputs == graph.outputs


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)), "it comes first"),
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)), "an activation is between"),
        (nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(4)), "a pool has no weights"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_batch_norm_stays_where_it_cannot_be_folded(model: nn.Module, why: str) -> None:
    graph = traced(model, IMAGE)
    assert op_names(fold_batch_norm(graph)) == op_names(graph)


def test_a_batch_norm_stays_when_another_op_reads_the_conv() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.norm(y) + y

    assert "batch_norm" in op_names(fold_batch_norm(traced(Both(), IMAGE)))


def test_a_batch_norm_stays_when_the_conv_is_an_output() -> None:
    conv, norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = conv, norm

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.conv(x)
            return y, self.norm(y)

    folded = fold_batch_norm(traced(Two(), IMAGE))
    folded.check()
    assert "batch_norm" in op_names(folded)


def test_an_output_that_a_batch_norm_made_is_made_by_the_conv_after_folding() -> None:
    folded = fold_batch_norm(traced(conv_bn(4, 4), IMAGE))
    assert folded.producer[folded.outputs[0]] == only(folded, "conv2d")


# --- ideal ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [("conv", "depthwise", "residual"), ("gate", "branches", "grouped")])
def test_with_unlimited_memory_a_network_moves_its_input_weights_and_output_only(blocks: tuple[str, ...]) -> None:
    graph = fuse_ideal(traced_cnn(blocks), float("inf"))
    read = {t for op in graph.ops for t in op.inputs if graph.tensors[t].kind in ("weight", "buffer")}
    assert moved(graph) == sum(graph.tensors[t].nbytes for t in {*read, *(t.id for t in graph.inputs), *graph.outputs})


def test_without_memory_no_two_convs_share_a_kernel() -> None:
    graph = fuse_ideal(traced_cnn(("conv", "depthwise", "residual")), 0)
    kinds = kinds_of(graph)
    assert max(sum("conv" in kinds[i] for i in ops) for ops in graph.kernels) == 1


@pytest.mark.parametrize("blocks", [("conv", "conv"), ("residual", "residual", "depthwise"), ("gate", "conv")])
def test_more_memory_never_moves_more_bytes(blocks: tuple[str, ...]) -> None:
    sizes = [moved(fuse_ideal(traced_cnn(blocks), capacity)) for capacity in (0, 1e3, 4e3, 1e4, 1e5, 1e9)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


def test_what_keeps_nothing_joins_weights_that_do_not_fit() -> None:
    graph = fuse_ideal(traced(nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.MaxPool2d(2)), (1, 3, 8, 8)), 1)
    assert kernels(graph) == [["conv2d", "silu"], ["max_pool2d"]]


@quick
@given(cnns(), st.sampled_from([0, 1e3, 1e5, 1e9]))
def test_no_engine_moves_fewer_bytes_than_the_ideal_one(graph: Graph, capacity: float) -> None:
    assert moved(execute(graph, "ideal", capacity)) <= moved(execute(graph, "engine", capacity))


# --- modes ---------------------------------------------------------------------------------------------------------------------


def test_eager_keeps_the_kernels_it_is_given() -> None:
    graph = fuse_compiled(traced_cnn(("conv",)))
    assert execute(graph, "eager", 1e6) is graph


@pytest.mark.parametrize(("mode", "same"), [("compiled", "compiled"), ("engine", "engine"), ("ideal", "ideal, 1 MB")])
def test_a_mode_fuses_as_its_executor_does(mode: str, same: str) -> None:
    graph = traced_cnn(("conv", "gate"))
    assert execute(graph, check_mode(mode), 1e6) == WAYS[same](graph)


@pytest.mark.parametrize("blocks", [(name,) for name in BLOCKS])
def test_each_mode_moves_no_more_than_the_one_before(blocks: tuple[str, ...]) -> None:
    graph = traced_cnn(blocks)
    eager, compiled, engine, ideal = (moved(execute(graph, mode, 1e9)) for mode in MODES)
    assert eager >= compiled
    assert eager >= engine >= ideal


def test_an_unknown_mode_or_layout_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown mode 'fast'; use one of eager, compiled, engine, ideal"):
        check_mode("fast")
    with pytest.raises(UnknownNameError, match="unknown layout 'nwhc'; use one of nchw, nhwc"):
        check_layout("nwhc")


def test_a_layout_may_be_written_in_capitals() -> None:
    assert [check_layout(name.upper()) for name in LAYOUTS] == ["nchw", "nhwc"]


def test_networks_of_the_strategies_hold_no_unknown_op() -> None:
    assert "unknown" not in kinds_of(traced(cnn(tuple(BLOCKS)), (1, 3, 8, 8)))
