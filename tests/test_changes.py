"""Checks how what-ifs are read, and what each does to a graph."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cnns, ints, op_names, traced, traced_cnn
from torch import nn

from roofline.cost import Cost, cost
from roofline.errors import RooflineError, UnknownNameError
from roofline.graph import Graph
from roofline.transforms.changes import CHANGES, parse_changes
from roofline.transforms.compiler import fuse_compiled
from roofline.transforms.fusion import fold_batch_norm, fuse_engine

EXAMPLES = {"prune": ("0.5:1", "0.25"), "sparse-weights": ("0.8",), "sparse-activations": ("0.5",), "depth-first": ("1MiB",)}
"""Values of those that take more than a few words."""

TEXTS = [f"{name}={value}" for name, change in CHANGES.items() for value in (*change.values, *EXAMPLES.get(name, ()))]
TEXTS += [name for name, change in CHANGES.items() if change.optional or not (change.values or change.read)]

LESS_WORK = ("prune", "sparse-activations")
"""What-ifs that leave out arithmetic."""


def apart(graph: Graph) -> Cost:
    """Add up every op as its own kernel."""
    return sum((cost([op], graph) for op in graph.ops), Cost())


def test_no_change_is_the_graph_itself() -> None:
    graph = traced_cnn(("conv",))
    assert parse_changes([])(graph) is graph


@pytest.mark.parametrize(("text", "function"), [("fold-bn", fold_batch_norm), ("fuse-pointwise", fuse_compiled), ("fuse-all", fuse_engine)])
def test_a_name_applies_its_function(text: str, function: object) -> None:
    graph = traced_cnn(("conv", "residual"))
    assert parse_changes([text])(graph) == function(graph)  # type: ignore[operator]


def test_changes_apply_in_the_order_given() -> None:
    graph = traced_cnn(("conv", "residual"))
    assert parse_changes(["fold-bn", "fuse-pointwise"])(graph) == fuse_compiled(fold_batch_norm(graph))
    assert parse_changes(["fuse-pointwise", "fold-bn"])(graph) == fold_batch_norm(fuse_compiled(graph))


@pytest.mark.parametrize(("dtype", "nbytes"), [("fp16", 30), ("bf16", 30), ("int8", 15), ("int4", 7.5)])
def test_smaller_weights_move_fewer_bytes_and_nothing_else_changes(dtype: str, nbytes: float) -> None:
    graph = traced(nn.Linear(3, 5), (2, 3))  # 15 weights and 5 biases, which stay
    assert apart(parse_changes([f"weights={dtype}"])(graph)) == Cost(30, 60, 0, weight_bytes=nbytes + 20, input_bytes=24, output_bytes=40)


def test_smaller_weights_leave_norms_alone() -> None:
    graph = parse_changes(["weights=int8"])(traced(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), (1, 3, 2, 2)))
    assert {t.name: t.dtype for t in graph.weights} == {"0.weight": "int8", "0.bias": "fp32", "1.weight": "fp32", "1.bias": "fp32"}


def test_smaller_weights_reach_embeddings() -> None:
    graph = parse_changes(["weights=int8"])(traced(nn.Embedding(10, 4), ints(2, 3)))
    assert [t.dtype for t in graph.weights] == ["int8"]


def test_weights_are_never_made_larger() -> None:
    graph = traced(nn.Linear(3, 5), (2, 3))
    narrow = parse_changes(["weights=int4"])(graph)
    assert parse_changes(["weights=fp16"])(narrow) == narrow


@settings(max_examples=30, deadline=None)
@given(cnns(), st.lists(st.sampled_from(TEXTS), max_size=3))
def test_any_chain_of_changes_gives_a_sound_graph_and_keeps_the_one_it_was_given(graph: Graph, texts: list[str]) -> None:
    before = graph.to_json()
    changed = parse_changes(texts)(graph)
    changed.check()
    if any(text.startswith(LESS_WORK) for text in texts):
        assert apart(changed).macs <= apart(graph).macs
    else:
        assert apart(changed).macs == apart(graph).macs
    assert changed.outputs == graph.outputs
    assert graph.to_json() == before


def test_an_unknown_change_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown what-if 'fold-batchnorm'; did you mean fold-bn\? known: fold-bn, fuse-pointwise"):
        parse_changes(["fold-batchnorm"])


def test_an_unknown_change_far_from_any_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown what-if 'xyz'; known: fold-bn"):
        parse_changes(["xyz"])


@pytest.mark.parametrize("text", ["weights", "weights=", "weights=int3", "weights=fp64"])
def test_a_change_that_takes_a_value_lists_its_values(text: str) -> None:
    with pytest.raises(RooflineError, match=f"bad what-if '{text}'; write weights=VALUE with one of fp16, bf16, int8, int4"):
        parse_changes([text])


def test_a_change_that_takes_no_value_says_so() -> None:
    with pytest.raises(RooflineError, match="bad what-if 'fold-bn=yes'; fold-bn takes no value"):
        parse_changes(["fold-bn=yes"])


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_says_what_it_does_in_one_line(name: str) -> None:
    assert CHANGES[name].summary
    assert "\n" not in CHANGES[name].summary


def test_folding_is_seen_in_the_ops() -> None:
    graph = traced_cnn(("conv",))
    assert op_names(graph).count("batch_norm") == 1
    assert op_names(parse_changes(["fold-bn"])(graph)).count("batch_norm") == 0
