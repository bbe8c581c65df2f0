"""Checks the graph's invariants, its JSON form and how it is rewritten for another batch."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cnns, graphs, traced, traced_cnn

from roofline.errors import RooflineError
from roofline.graph import SCHEMA, Graph, Op, Tensor, powers_of, singletons


def tensor(index: int, kind: str = "activation", storage: int | None = None) -> Tensor:
    """Make a 2 x 3 tensor of fp32."""
    return Tensor(index, (2, 3), "fp32", kind, index if storage is None else storage)  # type: ignore[arg-type]


def chain() -> Graph:
    """Make input 0 -> op 0 -> tensor 1 -> op 1 -> tensor 2, an output."""
    ops = (Op(0, "relu", "", (0,), (1,), ("self",)), Op(1, "neg", "", (1,), (2,), ("self",)))
    return Graph((tensor(0, "input"), tensor(1), tensor(2)), ops, singletons(ops), (2,))


# --- derived --------------------------------------------------------------------------------------------------------


def test_a_tensor_knows_its_elements_and_bytes() -> None:
    assert (tensor(0).numel, tensor(0).nbytes) == (6, 24)
    assert replace(tensor(0), dtype="int4").nbytes == 3
    assert replace(tensor(0), shape=()).numel == 1


def test_producers_and_consumers_follow_the_ops() -> None:
    graph = chain()
    assert {t: op.id for t, op in graph.producer.items()} == {1: 0, 2: 1}
    assert {t: [op.id for op in ops] for t, ops in graph.consumers.items()} == {0: [0], 1: [1]}


def test_an_op_that_reads_a_tensor_twice_consumes_it_once() -> None:
    op = Op(0, "mul", "", (0, 0), (1,), ("self", "other"))
    graph = Graph((tensor(0, "input"), tensor(1)), (op,), ((0,),), (1,))
    assert graph.consumers[0] == (op,)


def test_kernel_of_maps_each_op_to_its_kernel() -> None:
    assert chain().kernel_of == {0: 0, 1: 1}
    assert replace(chain(), kernels=((0, 1),)).kernel_of == {0: 0, 1: 0}


def test_params_count_weights_only() -> None:
    graph = Graph((tensor(0, "weight"), tensor(1, "buffer"), tensor(2, "input"), tensor(3, "weight")), (), (), ())
    assert graph.params == 12
    assert [t.id for t in graph.inputs] == [2]


def test_an_op_names_its_inputs_by_role() -> None:
    op = Op(0, "linear", "", (5, 6, 7), (8,), ("input", "weight", "weight"))
    assert (op.input("input"), op.input("weight"), op.input("bias")) == (5, 6, None)


def test_an_op_whose_outputs_share_an_inputs_memory_is_a_view() -> None:
    op = Op(0, "view", "", (0,), (1,), ("self",))
    graph = Graph((tensor(0, "input"), tensor(1, storage=0)), (op,), ((0,),), (1,))
    assert graph.is_view(op)


def test_an_op_that_overwrites_memory_is_no_view() -> None:
    op = Op(0, "relu", "", (0,), (1,), ("self",), inplace=True)
    graph = Graph((tensor(0, "input"), tensor(1, storage=0)), (op,), ((0,),), (1,))
    assert not graph.is_view(op)


def test_an_op_with_a_fresh_output_is_no_view() -> None:
    op = Op(0, "unbind", "", (0,), (1, 2), ("self",))
    graph = Graph((tensor(0, "input"), tensor(1, storage=0), tensor(2)), (op,), ((0,),), (1,))
    assert not graph.is_view(op)


def test_an_op_without_outputs_is_no_view() -> None:
    op = Op(0, "check", "", (0,), (), ("self",))
    assert not Graph((tensor(0, "input"),), (op,), ((0,),), (0,)).is_view(op)


def test_a_graph_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        chain().name = "other"  # type: ignore[misc]


# --- invariants ------------------------------------------------------------------------------------------------------


def test_a_sound_graph_passes() -> None:
    chain().check()


@settings(deadline=None)
@given(graphs())
def test_drawn_graphs_pass(graph: Graph) -> None:
    graph.check()


def with_op(graph: Graph, index: int, **changes: object) -> Graph:
    """Replace fields of one op."""
    ops = tuple(replace(op, **changes) if op.id == index else op for op in graph.ops)  # type: ignore[arg-type]
    return replace(graph, ops=ops)


BROKEN = {
    "ids must equal positions": [
        replace(chain(), tensors=(tensor(0, "input"), tensor(2), tensor(1))),
        with_op(chain(), 1, id=7),
    ],
    "must name a role for each input": [with_op(chain(), 0, roles=())],
    "reads a tensor before it is written": [with_op(chain(), 0, inputs=(t,)) for t in (1, 2, 9)],
    "writes a tensor that exists already": [with_op(chain(), 1, outputs=(1,)), with_op(chain(), 1, outputs=(0,))],
    "an output was never written": [replace(chain(), outputs=(5,)), replace(with_op(chain(), 1, outputs=()), outputs=(2,))],
    "kernels must hold every op exactly once": [
        replace(chain(), kernels=((0,),)),
        replace(chain(), kernels=((0, 1), (1,))),
        replace(chain(), kernels=((0,), (1,), (2,))),
    ],
    "kernels must be in an order that can run": [replace(chain(), kernels=((1,), (0,)))],
}  # fmt: skip


@pytest.mark.parametrize(("rule", "graph"), [(rule, graph) for rule, broken in BROKEN.items() for graph in broken])
def test_a_broken_graph_names_the_rule_it_breaks(rule: str, graph: Graph) -> None:
    with pytest.raises(RooflineError, match=f"broken graph: .*{rule}"):
        graph.check()


# --- JSON --------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(graphs())
def test_a_graph_reads_back_as_it_was_written(graph: Graph) -> None:
    assert Graph.from_json(graph.to_json()) == graph


@pytest.mark.parametrize("blocks", [("conv", "gate", "residual"), ("branches", "softmax")])
def test_a_traced_graph_reads_back_as_it_was_written(blocks: tuple[str, ...]) -> None:
    graph = traced_cnn(blocks)
    assert Graph.from_json(graph.to_json()) == graph


def test_a_graph_that_was_read_back_can_be_rebatched() -> None:
    graph = traced_cnn(("grouped", "pool"))
    assert Graph.from_json(graph.to_json()).with_batch(5) == graph.with_batch(5)


def test_infinite_arguments_survive() -> None:
    graph = traced(lambda x: x.clamp(0, float("inf")), (2, 3))
    assert Graph.from_json(graph.to_json()) == graph


@pytest.mark.parametrize("schema", [SCHEMA + 1, SCHEMA - 1, None, "1"])
def test_another_schema_is_refused(schema: object) -> None:
    body = json.loads(chain().to_json()) | {"schema": schema}
    with pytest.raises(RooflineError, match="another schema than 1; trace the model again"):
        Graph.from_json(json.dumps(body))


def test_json_that_is_no_graph_is_refused() -> None:
    with pytest.raises(RooflineError, match="another schema"):
        Graph.from_json("[1, 2]")


# --- batch ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "powers"),
    [(7, 1), (49, 2), (14, 1), (6, None), (1, None), (0, None), (True, None), (7.0, None), ("7", None), (None, None), (-7, 1)],
)
def test_an_integer_has_the_power_of_the_base_that_divides_it(value: object, powers: int | None) -> None:
    assert powers_of(value, 7) == powers


def test_nested_integers_have_powers_of_the_same_shape() -> None:
    assert powers_of((7, 3, (49, 2)), 7) == (1, 0, (2, 0))
    assert powers_of((3, (2, 5)), 7) is None
    assert powers_of((), 7) is None


def test_rebatching_rewrites_shapes_and_arguments_that_depend_on_the_batch() -> None:
    op = Op(0, "view", "", (0,), (1,), ("self",), {"size": (6, 4), "dim": 2}, {"size": (1, 0)})
    tensors = (
        Tensor(0, (2, 3, 4), "fp32", "input", 0, batch_powers=(1, 0, 0)),
        Tensor(1, (6, 4), "fp32", "activation", 0, batch_powers=(1, 0)),
    )
    graph = Graph(tensors, (op,), ((0,),), (1,), batch=2).with_batch(5)
    assert [t.shape for t in graph.tensors] == [(5, 3, 4), (15, 4)]
    assert graph.ops[0].attrs == {"size": (15, 4), "dim": 2}
    assert graph.batch == 5


def test_rebatching_rewrites_squares_of_the_batch() -> None:
    square = Tensor(0, (9, 4), "fp32", "input", 0, batch_powers=(2, 0))
    assert Graph((square,), (), (), (), batch=3).with_batch(2).tensors[0].shape == (4, 4)


def test_a_graph_at_its_own_batch_is_itself() -> None:
    graph = chain()
    assert graph.with_batch(1) is graph


def test_a_fixed_graph_says_so_and_how_to_go_on() -> None:
    with pytest.raises(RooflineError, match="net is fixed at the shapes it was traced with; trace it again at batch 4"):
        replace(chain(), batch=None, name="net").with_batch(4)


@settings(max_examples=25, deadline=None)
@given(cnns(), st.integers(1, 64), st.integers(1, 64))
def test_rebatching_depends_on_the_last_batch_only(graph: Graph, first: int, last: int) -> None:
    assert graph.with_batch(first).with_batch(last) == graph.with_batch(last)


@settings(max_examples=25, deadline=None)
@given(cnns(), st.integers(1, 64))
def test_rebatching_keeps_the_graph_sound_and_the_weights_as_they_are(graph: Graph, batch: int) -> None:
    other = graph.with_batch(batch)
    other.check()
    assert other.weights == graph.weights
    assert all(t.shape[0] == batch for t in other.inputs)
