"""Kernels as columns: the same figures as one kernel at a time, reuse distances and peak memory worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from strategies import Gate, kinds_of, traced
from torch import nn

import roofline
from roofline.cost import Cost, cost
from roofline.costmodel.columns import INPUT, OUTPUT, WEIGHT, Columns, tabulate
from roofline.graph import Graph, Kind, Op, Tensor, singletons
from roofline.transforms.modes import check_mode, execute
from roofline.transforms.precision import to_precision

BATCHES = (1, 2, 3, 7, 64)


def graph_of(tensors: list[tuple[int, Kind, int]], ops: list[tuple[str, tuple[int, ...], int]], *, inplace: tuple[int, ...] = ()) -> Graph:
    """Make a graph of fp32 vectors given as (elements, kind, storage) and of ops given as (name, inputs, output)."""
    made = tuple(Tensor(i, (size,), "fp32", kind, storage) for i, (size, kind, storage) in enumerate(tensors))
    calls = tuple(
        Op(i, name, "", ins, (out,), ("self", "other")[: len(ins)], inplace=i in inplace) for i, (name, ins, out) in enumerate(ops)
    )
    graph = Graph(made, calls, singletons(calls), (ops[-1][2],))
    graph.check()
    return graph


RESIDUAL = graph_of(
    [(100, "input", 0), (50, "weight", 1), (100, "activation", 2), (100, "activation", 3), (100, "activation", 4), (100, "activation", 5)],
    [("relu", (0,), 2), ("mul", (2, 1), 3), ("sigmoid", (3,), 4), ("add", (4, 2), 5)],
)
"""Four kernels that move 800, 1000, 800 and 1200 bytes: 400 for each activation and 200 for the weight."""


def distance(columns: Columns, kernel: int, role: int, nbytes: float) -> list[float]:
    """List the reuse distances of the edges of *kernel* in this role and of this size."""
    chosen = (columns.edge_kernel == kernel) & (columns.edge_role == role) & (columns.edge_bytes[0] == nbytes)
    return columns.edge_distance[0, chosen].tolist()


def peak(graph: Graph) -> float:
    """Give the most activation bytes alive at once."""
    return tabulate(graph, (1,)).peak_activation_bytes[0]


@pytest.mark.parametrize(
    ("model", "mode", "precision"),
    [
        ("efficientnet_b0", "eager", "fp32"),
        ("efficientnet_b0", "engine", "fp16"),
        ("efficientnet_b0", "ideal", "int8"),
        ("mobilenetv3_small_100", "compiled", "amp"),
        ("resnet18", "engine", "int4"),
        ("vit_tiny_patch16_224", "eager", "bf16"),
        ("vit_tiny_patch16_224", "compiled", "fp32"),
        ("torchvision:swin_t", "eager", "fp32"),
    ],
)
def test_columns_equal_the_cost_of_each_kernel_at_each_batch(model: str, mode: str, precision: str) -> None:
    graph = execute(to_precision(roofline.trace(model), precision), check_mode(mode), 4e6)
    columns = tabulate(graph, BATCHES)
    for row, batch in enumerate(BATCHES):
        at_batch = graph.with_batch(batch)
        for k, kernel in enumerate(at_batch.kernels):
            arrays = (
                columns.macs,
                columns.matrix_flops,
                columns.vector_flops,
                columns.weight_bytes,
                columns.input_bytes,
                columns.output_bytes,
            )
            assert Cost(*(float(a[row, k]) for a in arrays)) == cost((at_batch.ops[i] for i in kernel), at_batch), (batch, k)


@pytest.mark.parametrize("model", ["efficientnet_b0", "vit_tiny_patch16_224"])
def test_many_batches_in_one_pass_equal_each_batch_alone(model: str) -> None:
    graph = roofline.trace(model)
    together = tabulate(graph, BATCHES)
    for row, batch in enumerate(BATCHES):
        alone = tabulate(graph, (batch,))
        for name in (
            "macs",
            "rows",
            "columns",
            "depth",
            "groups",
            "taps",
            "outputs",
            "edge_bytes",
            "edge_distance",
            "peak_activation_bytes",
        ):
            assert np.array_equal(getattr(together, name)[row], getattr(alone, name)[0]), (name, batch)


def test_a_fixed_graph_has_the_same_columns_at_any_batch_asked_for() -> None:
    columns = tabulate(replace(RESIDUAL, batch=None), (1, 2, 3, 4))
    assert columns.bytes.sum(axis=1).tolist() == [3800, 3800, 3800, 3800]


# --- reuse distances ---------------------------------------------------------------------------------------------------


def test_what_was_just_written_is_read_again_after_its_own_size() -> None:
    columns = tabulate(RESIDUAL, (1,))
    assert distance(columns, 1, INPUT, 400) == [400]
    assert distance(columns, 2, INPUT, 400) == [400]


def test_a_residual_is_read_again_after_all_that_moved_in_between() -> None:
    # the add reads what the sigmoid just made, and what the mul read: 800 bytes of the sigmoid lie between, plus its own 400
    assert sorted(distance(tabulate(RESIDUAL, (1,)), 3, INPUT, 400)) == [400, 1200]


def test_a_write_is_as_far_as_its_next_read() -> None:
    columns = tabulate(RESIDUAL, (1,))
    assert [distance(columns, k, OUTPUT, 400) for k in (0, 1, 2)] == [[400], [400], [400]]


def test_the_input_and_the_output_of_the_network_are_touched_nowhere_else() -> None:
    columns = tabulate(RESIDUAL, (1,))
    assert distance(columns, 0, INPUT, 400) == [np.inf]
    assert distance(columns, 3, OUTPUT, 400) == [np.inf]


def test_a_weight_was_last_read_in_the_run_before() -> None:
    # sigmoid 800, add 1200 and relu 800 bytes since then, plus its own 200
    assert distance(tabulate(RESIDUAL, (1,)), 1, WEIGHT, 200) == [3000]


def test_a_shared_weight_wraps_around_to_its_last_reader() -> None:
    shared = graph_of(
        [(100, "input", 0), (50, "weight", 1), (100, "activation", 2), (100, "activation", 3), (100, "activation", 4)],
        [("mul", (0, 1), 2), ("relu", (2,), 3), ("mul", (3, 1), 4)],
    )
    columns = tabulate(shared, (1,))
    assert distance(columns, 0, WEIGHT, 200) == [200]  # the last kernel of the run before read it
    assert distance(columns, 2, WEIGHT, 200) == [1000]  # 800 bytes of the relu, plus its own


def test_distances_grow_with_the_batch_where_the_traffic_does() -> None:
    per_item = replace(
        RESIDUAL,
        tensors=tuple(t if t.kind == "weight" else replace(t, shape=(1, *t.shape), batch_powers=(1, 0)) for t in RESIDUAL.tensors),
    )
    columns = tabulate(per_item, (1, 10))
    weight = columns.edge_role == WEIGHT
    assert columns.edge_distance[:, weight].T.tolist() == [[3000, 28200]]


def test_a_small_product_does_not_name_the_kernel_of_what_it_is_multiplied_with() -> None:
    graph = traced(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Gate(8)), (1, 3, 32, 32))
    fused = execute(graph, "ideal", 1e6)
    (whole,) = fused.kernels
    assert kinds_of(fused)[tabulate(fused, (1,)).anchor[0]] == "conv"
    gate = replace(graph, kernels=(*((i,) for i in whole[:-3]), tuple(whole[-3:])))  # the expansion, its sigmoid and the product
    assert [graph.ops[i].name for i in gate.kernels[-1]] == ["conv2d", "sigmoid", "mul"]
    found = tabulate(gate, (1,))
    assert graph.ops[found.anchor[-1]].name == "mul"
    assert found.macs[0, -1] == 4 * 8  # the product still counts


def test_many_products_in_one_kernel_are_named_by_the_sort_that_does_most_of_their_work() -> None:
    stem = nn.Conv2d(8, 32, 7, stride=2, padding=3)  # more FLOPs than any one of the others
    graph = traced(nn.Sequential(stem, *(nn.Conv2d(32, 32, 3, padding=1) for _ in range(3))), (1, 8, 32, 32))
    (kernel,) = execute(graph, "ideal", 1e8).kernels
    found = tabulate(replace(graph, kernels=(kernel,)), (1,))
    assert (found.taps[0, 0], found.stride[0, 0]) == (9, 1)
    stem_flops, others = (sum(tabulate(graph, (1,)).matrix_flops[0][i]) for i in (slice(0, 1), slice(1, None)))
    assert others / 3 < stem_flops < others


def test_products_in_one_kernel_fill_a_chip_as_they_would_one_after_another() -> None:
    graph = traced(nn.Sequential(nn.Conv2d(64, 4, 1), nn.ReLU(), nn.Conv2d(4, 64, 1)), (1, 64, 5, 5))  # 100 results, then 1600
    (kernel,) = execute(graph, "ideal", 1e6).kernels
    found = tabulate(replace(graph, kernels=(kernel,)), (1,))
    assert found.results[0] == pytest.approx([2 * 100 * 1600 / 1700])  # as many FLOPs each
    assert tabulate(graph, (1,)).results[0, [0, 2]].tolist() == [100, 1600]


# --- memory ------------------------------------------------------------------------------------------------------------


def test_a_bias_is_that_of_the_convolution_that_names_the_kernel() -> None:
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1, bias=False), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(800, 4)]
    graph = traced(nn.Sequential(*layers), (2, 3, 14, 14))
    assert tabulate(graph, (1, 2)).bias.tolist() == [[1, 0, 0, 1, 0, 0]] * 2
    fused = execute(graph, "engine", 0.0)
    assert tabulate(fused, (1,)).bias[0].tolist() == [float(bool({0, 3} & set(kernel))) for kernel in fused.kernels]
    assert len(fused.kernels) < 6


def test_peak_memory_of_a_residual_counts_the_branch_that_waits() -> None:
    assert peak(RESIDUAL) == 1600  # while the sigmoid runs: the input, the branch, its own input and output


def test_peak_memory_of_a_chain_drops_what_is_read_for_the_last_time() -> None:
    chain = graph_of(
        [(100, "input", 0), *((100, "activation", i) for i in (1, 2, 3, 4))], [(name, (i,), i + 1) for i, name in enumerate(["relu"] * 4)]
    )
    assert peak(chain) == 1200  # the caller's input stays; one tensor is read, one written


def test_an_in_place_op_needs_no_memory_of_its_own() -> None:
    sizes: list[tuple[int, Kind, int]] = [(100, "input", 0), (100, "activation", 1), (100, "activation", 1), (10, "activation", 3)]
    ops = [("relu", (0,), 1), ("add", (1,), 2), ("sum", (2,), 3)]
    assert peak(graph_of(sizes, ops, inplace=(1,))) == 840


def test_a_view_keeps_the_memory_it_looks_at_alive() -> None:
    sizes: list[tuple[int, Kind, int]] = [
        (100, "input", 0),
        (100, "activation", 1),
        (50, "activation", 1),
        (10, "activation", 3),
        (60, "activation", 4),
    ]
    looked_at = graph_of(sizes, [("relu", (0,), 1), ("slice", (1,), 2), ("sum", (0,), 3), ("cat", (3, 2), 4)])
    assert peak(looked_at) == 400 + 400 + 40 + 240  # all of the sliced tensor is held until the cat has read its half


def test_what_stays_inside_a_kernel_needs_no_memory() -> None:
    assert peak(replace(RESIDUAL, kernels=((0, 1, 2, 3),))) == 800  # the input and the output of the only kernel


def test_weights_take_their_stored_size_whether_or_not_they_are_read() -> None:
    graph = roofline.trace("resnet18")
    columns = tabulate(to_precision(graph, "fp16"), (1,))
    # 11,689,512 parameters, 9,600 batch-norm statistics in fp16, and 20 batch counters of 8 bytes
    assert columns.weight_storage_bytes == 2 * (11_689_512 + 9_600) + 20 * 8
