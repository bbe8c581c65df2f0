"""Turn a saved `torch.export` program into a module that the tracer can run, with its module paths."""

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from roofline.errors import ModelError, UnknownNameError
from roofline.tracing.spec import BuiltModel, ModelSpec, make_inputs
from roofline.tracing.trace import DTYPE_NAMES

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def load_exported(spec: ModelSpec) -> BuiltModel:
    """Read the `.pt2` file of *spec*; raise UnknownNameError when there is none and ModelError when it is no program."""
    path = spec.file
    if path is None or not path.is_file():
        raise UnknownNameError(f"unknown model file {spec.name!r}: no such file")
    try:
        with _silenced(logging.getLogger("torch.export")):  # which prints the traceback of what is raised here anyway
            program = torch.export.load(str(path))
    except Exception as error:
        raise ModelError(f"cannot read {path} as an exported program: {type(error).__name__}; write it with torch.export.save") from error
    return from_program(program, spec)


@contextmanager
def _silenced(logger: logging.Logger) -> Generator[None]:
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def from_program(program: "ExportedProgram", spec: ModelSpec) -> BuiltModel:
    """Wrap *program*; its inputs are the ones it was exported with unless *spec* gives others."""
    if spec.image_size or spec.in_chans:
        raise ModelError(f"{spec.name} is exported with fixed input sizes; drop --image-size and --in-chans, or export it again")
    names = [s.arg.name for s in program.graph_signature.input_specs if s.kind.name == "USER_INPUT"]
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    examples = [nodes[name].meta["val"] for name in names if isinstance(nodes[name].meta.get("val"), torch.Tensor)]
    inputs = make_inputs(spec.inputs) if spec.inputs else tuple(map(_empty_like, examples))
    fixed = not all(e.ndim and isinstance(e.shape[0], torch.SymInt) for e in examples)
    return BuiltModel(ExportedModule(program), inputs, trusted=False, fixed=fixed)


class ExportedModule(torch.nn.Module):
    """Run an exported program node by node, telling the tape which module each node came from."""

    def __init__(self, program: "ExportedProgram") -> None:
        super().__init__()
        self.code = program.graph_module
        self.program_inputs = [(s.kind.name, s.target) for s in program.graph_signature.input_specs]
        outputs = program.graph_signature.output_specs
        self.results = [i for i, s in enumerate(outputs) if s.kind.name == "USER_OUTPUT"]
        kinds = {s.target: s.kind.name for s in program.graph_signature.input_specs if s.target}
        self.values: dict[str, torch.Tensor] = {}
        for name, tensor in [*program.state_dict.items(), *program.constants.items()]:
            if isinstance(tensor, torch.Tensor):
                self._adopt(name, torch.empty_like(tensor, device="meta"), trained=kinds.get(name) == "PARAMETER")
        self.modules_by_path = _module_classes(program)

    def _adopt(self, name: str, tensor: torch.Tensor, *, trained: bool) -> None:
        self.values[name] = torch.nn.Parameter(tensor, requires_grad=False) if trained else tensor

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        """Yield the program's parameters under the names they had."""
        return ((n, t) for n, t in self.values.items() if isinstance(t, torch.nn.Parameter))

    def named_buffers(self, *args: Any, **kwargs: Any) -> Any:
        """Yield the program's buffers and constants under the names they had."""
        return ((n, t) for n, t in self.values.items() if not isinstance(t, torch.nn.Parameter))

    def roofline_run(self, tape: Any, inputs: Sequence[torch.Tensor]) -> Any:
        """Interpret the program on *inputs*, keeping *tape.path* at the module of each node."""
        given = iter(inputs)
        arguments = [next(given) if kind == "USER_INPUT" else self.values.get(target or "") for kind, target in self.program_inputs]
        results = _PathInterpreter(self.code, tape).run(*arguments, enable_io_processing=False)
        return [results[i] for i in self.results]


class _PathInterpreter(torch.fx.Interpreter):
    def __init__(self, code: torch.fx.GraphModule, tape: Any) -> None:
        super().__init__(code)
        self.tape = tape

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run one node under the module path it was exported from."""
        self.tape.path = _path(n)
        return super().run_node(n)


def _path(node: torch.fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    return next(reversed(stack.values()))[0].removeprefix("L['self'].").removeprefix("L['self']") if stack else ""


def _module_classes(program: "ExportedProgram") -> dict[str, str]:
    """Map each module path of *program* to its class name."""
    found: dict[str, str] = {}
    for node in program.graph.nodes:
        for path, kind in (node.meta.get("nn_module_stack") or {}).values():
            name = kind if isinstance(kind, str) else kind.__name__
            found[path.removeprefix("L['self'].").removeprefix("L['self']")] = name.rpartition(".")[2]
    return found


def _empty_like(example: torch.Tensor) -> torch.Tensor:
    shape = [int(size) for size in example.shape]  # a symbolic size becomes the size it was exported with
    if example.dtype not in DTYPE_NAMES:
        raise ModelError(f"the program takes {example.dtype}, which has no cost model")
    return torch.empty(shape, dtype=example.dtype, device="meta")
