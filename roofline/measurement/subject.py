"""Turn a name, a module or an exported program into a network with numbers in it, ready to run on a device."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from roofline.errors import ModelError
from roofline.graph import Graph
from roofline.tracing.exported import ExportedModule
from roofline.tracing.models import build
from roofline.tracing.spec import InputSpec, ModelSpec, make_inputs

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}

AUTOCAST = {"cpu": torch.bfloat16, "cuda": torch.float16}
"""The types that autocast lowers to where none is asked for."""

SEED = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """A network as plain PyTorch runs it, its inputs, and the *followed* module whose paths the graph has (mostly the same)."""

    whole: Any
    inputs: tuple[torch.Tensor, ...]
    followed: torch.nn.Module
    device: str
    precision: str

    def run(self) -> None:
        """Run the whole network once."""
        with self._autocast():
            self.whole(*self.inputs)

    def run_followed(self, tape: Any) -> None:
        """Run it once with *tape.path* at the module that runs."""
        with self._autocast():
            if isinstance(self.followed, ExportedModule):
                self.followed.roofline_run(tape, self.inputs)
            else:
                self.followed(*self.inputs)

    def _autocast(self) -> AbstractContextManager[object]:
        """Enter autocast anew for each run, so that weights are cast on each run."""
        return torch.autocast(self.device, AUTOCAST[self.device]) if self.precision == "amp" else nullcontext()


def prepare(model: Any, graph: Graph, *, spec: ModelSpec | None, device: str, precision: str, layout: str, examples: Any = None) -> Subject:
    """Build *model*, which was traced as *graph*, with real weights, and make its inputs at the shapes of *graph*.

    Random weights are those of the network's own initialisation, the same in each run. Of *examples*, tensors of the
    right shapes are used as they are; other inputs are normal deviates, and zeros and ones where they are whole numbers.
    """
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(SEED)
        followed, whole = _built(model, spec, device)
        inputs = _inputs(graph, examples, device)
    whole = _converted(whole, precision, layout)
    if isinstance(followed, ExportedModule):
        _share_values(followed, whole)
    else:
        followed = whole
    return Subject(whole, tuple(_as(t, precision, layout) for t in inputs), followed, device, precision)


def input_specs(graph: Graph) -> tuple[InputSpec, ...]:
    """Return the shapes and types that *graph* takes."""
    return tuple(InputSpec(t.shape, t.dtype) for t in graph.inputs)


def _built(model: Any, spec: ModelSpec | None, device: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return the module to follow and the one to time."""
    if spec is not None and spec.file is not None:
        model = torch.export.load(str(spec.file))
    elif spec is not None:
        module = build(spec, device).module.to(device)
        return module, module
    if isinstance(model, torch.export.ExportedProgram):
        followed = ExportedModule(model)
        followed.values.update((name, t.to(device)) for name, t in model.constants.items() if isinstance(t, torch.Tensor))
        return followed, model.module().to(device)
    module = _copied(model).to(device)
    return module, module


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    """Copy *module* in evaluation mode; the original is untouched."""
    if any(t.device.type == "meta" for t in (*module.parameters(), *module.buffers())):
        raise ModelError(
            f"cannot measure {type(module).__name__}: its parameters are on the meta device and hold no numbers; build it on cpu"
        )
    try:
        return copy.deepcopy(module).eval()
    except (TypeError, RuntimeError, AttributeError) as error:
        raise ModelError(f"cannot copy {type(module).__name__} ({first_line(error)}); remove unpicklable attributes") from error


def _converted(module: torch.nn.Module, precision: str, layout: str) -> torch.nn.Module:
    """Store the weights in the type of *precision* and the memory format of *layout*."""
    if precision in HALVES:
        module = module.to(HALVES[precision])
    return module.to(memory_format=torch.channels_last) if layout == "nhwc" else module  # pyright: ignore[reportCallIssue]


def _share_values(followed: ExportedModule, whole: torch.nn.Module) -> None:
    """Give the interpreter of a program the weights that are timed."""
    values = {**dict(whole.named_parameters()), **dict(whole.named_buffers())}
    followed.values = {name: values.get(name, constant) for name, constant in followed.values.items()}


def _inputs(graph: Graph, examples: Any, device: str) -> Sequence[torch.Tensor]:
    given = [t for t in tree_leaves(examples) if isinstance(t, torch.Tensor) and t.device.type != "meta"]
    made = make_inputs(input_specs(graph))
    if [(t.shape, t.dtype) for t in given] == [(t.shape, t.dtype) for t in made]:
        return [t.detach().to(device) for t in given]
    return [_filled(t, device) for t in made]


def _filled(like: torch.Tensor, device: str) -> torch.Tensor:
    """Draw numbers of the shape and type of *like*; whole numbers stay in any vocabulary."""
    if like.dtype.is_floating_point or like.dtype.is_complex:
        return torch.randn(like.shape, device=device).to(like.dtype)
    return torch.randint(0, 2, like.shape, device=device).to(like.dtype)


def _as(tensor: torch.Tensor, precision: str, layout: str) -> torch.Tensor:
    if precision in HALVES and tensor.dtype.is_floating_point:
        tensor = tensor.to(HALVES[precision])
    channels_last = layout == "nhwc" and tensor.ndim == 4
    return tensor.contiguous(memory_format=torch.channels_last) if channels_last else tensor


def first_line(error: BaseException) -> str:
    """Return the kind of *error* and the first line it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
