"""Checks that a saved torch.export program costs what its module costs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from strategies import Gate, conv_bn, op_names, traced
from torch import nn

import roofline
from roofline.cost import Cost, cost
from roofline.errors import ModelError, RooflineError, UnknownNameError
from roofline.graph import Graph
from roofline.tracing.models import build
from roofline.tracing.spec import InputSpec, ModelSpec


class Net(nn.Module):
    """A stem, a gated block and a head, with an addition of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, act=nn.SiLU())
        self.gate = Gate(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head((x + self.gate(x)).mean((2, 3)))


@pytest.fixture(name="net", scope="module")
def _net() -> nn.Module:
    return Net().eval()


def export(net: nn.Module, *, dynamic: bool) -> torch.export.ExportedProgram:
    """Export *net* for a batch of 2, or for any batch."""
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    return torch.export.export(net, (torch.zeros(2, 3, 16, 16),), dynamic_shapes=shapes)


@pytest.fixture(name="static", scope="module")
def _static(net: nn.Module) -> torch.export.ExportedProgram:
    return export(net, dynamic=False)


@pytest.fixture(name="dynamic", scope="module")
def _dynamic(net: nn.Module) -> torch.export.ExportedProgram:
    return export(net, dynamic=True)


@pytest.fixture(name="saved", scope="module")
def _saved(dynamic: torch.export.ExportedProgram, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "net.pt2"
    torch.export.save(dynamic, path)
    return path


def costs(graph: Graph) -> list[tuple[str, str, Cost]]:
    """List name, module and cost of every op that does something."""
    return [(op.name, op.module, cost([op], graph)) for op in graph.ops if cost([op], graph) != Cost()]


def test_an_exported_program_costs_what_its_module_costs(net: nn.Module, static: torch.export.ExportedProgram) -> None:
    assert costs(roofline.trace(static)) == costs(traced(net, (2, 3, 16, 16)))


def test_a_saved_program_costs_what_its_module_costs(net: nn.Module, saved: Path) -> None:
    assert costs(roofline.trace(saved)) == costs(traced(net, (2, 3, 16, 16)))


def test_module_paths_and_classes_survive(saved: Path) -> None:
    graph = roofline.trace(saved)
    assert {op.module for op in graph.ops if op.name == "conv2d"} == {"stem.0", "gate.reduce", "gate.expand"}
    assert {op.module for op in graph.ops if op.name == "add"} == {""}
    assert graph.modules["stem.1"] == "BatchNorm2d"
    assert graph.modules["gate"] == "Gate"


def test_parameters_and_buffers_keep_their_names_and_kinds(net: nn.Module, saved: Path) -> None:
    graph = roofline.trace(saved)
    assert {t.name for t in graph.weights} == {name for name, _ in net.named_parameters()}
    assert graph.params == sum(p.numel() for p in net.parameters())
    assert "stem.1.running_mean" in {t.name for t in graph.tensors if t.kind == "buffer"}


def test_a_program_with_a_dynamic_batch_can_be_rebatched(net: nn.Module, saved: Path) -> None:
    graph = roofline.trace(saved)
    assert graph.batch == 2
    assert costs(graph.with_batch(7)) == costs(traced(net, (7, 3, 16, 16)))


def test_a_program_whose_code_holds_its_batch_is_fixed() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(12, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.view(x.shape[0], -1))  # exported for two items, this is view(2, -1)

    program = torch.export.export(Flat(), (torch.zeros(2, 3, 4),))
    graph = roofline.trace(program)
    assert graph.batch is None
    assert graph.tensors[graph.outputs[0]].shape == (2, 5)
    with pytest.raises(RooflineError, match="is fixed at the shapes it was traced with"):
        graph.with_batch(3)


def test_a_program_may_be_traced_with_other_inputs(saved: Path) -> None:
    graph = roofline.trace(saved, inputs=["4,3,16,16"])
    assert graph.batch == 4
    assert graph.inputs[0].shape == (4, 3, 16, 16)


def test_constants_of_the_code_are_buffers() -> None:
    class Shift(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.tensor([1.0, 2.0, 3.0])

    graph = roofline.trace(torch.export.export(Shift(), (torch.zeros(2, 3),)))
    assert op_names(graph)[-1] == "add"
    assert [t.shape for t in graph.tensors if t.kind == "buffer"] == [(3,)]


def test_a_program_may_take_several_inputs_and_return_several_outputs() -> None:
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"sum": x + y, "product": x * y}

    graph = roofline.trace(torch.export.export(Pair(), (torch.zeros(2, 3), torch.zeros(2, 3))))
    assert [t.shape for t in graph.inputs] == [(2, 3), (2, 3)]
    assert [graph.producer[t].name for t in graph.outputs] == ["add", "mul"]


@pytest.mark.parametrize("content", [b"", b"not a program"])
def test_a_file_that_is_no_program_is_an_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "net.pt2"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot read .*net\.pt2 as an exported program: .*; write it with torch\.export\.save"):
        build(ModelSpec(str(file)))


def test_a_file_that_does_not_exist_is_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown model file .*: no such file"):
        build(ModelSpec(str(tmp_path / "net.pt2")))


@pytest.mark.parametrize("options", [{"image_size": 64}, {"in_chans": 1}])
def test_a_program_has_its_own_input_sizes(saved: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"is exported with fixed input sizes; drop --image-size and --in-chans, or export it again"):
        build(ModelSpec(str(saved), **options))


def test_a_wrong_input_is_an_error(saved: Path) -> None:
    with pytest.raises(ModelError, match="failed on an input of 4x16x16 per item"):
        roofline.trace(saved, inputs=[InputSpec((2, 4, 16, 16))])
