"""Turn anything that names or holds a network into its graph, through the cache."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.errors import ModelError
from roofline.graph import Graph, is_step
from roofline.tracing import cache as graphs
from roofline.tracing.spec import InputSpec, ModelSpec

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

    Model = str | Path | Graph | torch.nn.Module | ExportedProgram


def trace(
    model: "Model",
    example_inputs: Any = None,
    *,
    image_size: int | None = None,
    in_chans: int | None = None,
    inputs: Sequence[str | InputSpec] = (),
    optimizer: str | None = None,
    cache: bool = True,
) -> Graph:
    """Record every op of one inference of *model* as a Graph, on the meta device: no weights, no device, no download.

    A module needs *example_inputs* (a tensor, a tuple of tensors, or shapes such as `(1, 3, 224, 224)`) or *inputs* (texts
    such as "1,3,224,224"). With an *optimizer* (`sgd`, `momentum`, `adam`, `adamw` or `rmsprop`) the graph is a whole
    training step: forward, backward and update. Raises UnknownNameError for an unknown name and ModelError when the network cannot run.
    """
    specs = tuple(InputSpec.parse(i) if isinstance(i, str) else i for i in several(inputs))
    if isinstance(model, Graph):
        if specs or example_inputs is not None or image_size or in_chans:
            raise ModelError("a Graph keeps the input sizes it was traced with; trace the network again for others")
        if optimizer is not None and not is_step(model):
            raise ModelError(
                f"this Graph of {model.name or 'a network'} is an inference; trace the network again with optimizer={optimizer!r}"
            )
        return model
    specs = specs or _shapes(example_inputs)
    if isinstance(model, (str, Path)):
        spec = ModelSpec(str(model), image_size, in_chans, specs)
        spec.check()
        return _named(spec, optimizer, cache=cache)
    return _unnamed(model, specs, image_size, in_chans, optimizer)


def several(values: Any) -> tuple[Any, ...]:
    """Take a single value for a sequence of one."""
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else (values,)


def _named(spec: ModelSpec, optimizer: str | None, *, cache: bool) -> Graph:
    """Trace the network that *spec* names, or read it back from the cache, where nothing needs torch."""
    what = (spec.image_size, spec.in_chans, spec.inputs, *(("step", optimizer) if optimizer else ()))
    entry = graphs.key(spec.name, *what) if cache and not spec.runs_user_code else None
    graph = graphs.load(entry) if entry else None
    if graph is None:
        from roofline.tracing.models import build

        try:
            record, built = _recorder(optimizer), build(spec)
            graph = record(built.module, built.inputs, name=_short_name(spec.name), verify=not built.trusted, fixed=built.fixed)
        except SystemExit as error:
            raise ModelError(f"{spec.name} failed: its code called exit({error.code!r}); guard that with __name__") from error
        if entry:
            graphs.store(entry, graph)
    return graph


def _recorder(optimizer: str | None) -> "Callable[..., Graph]":
    """Choose what records the network: an inference, or a training step with *optimizer*."""
    if optimizer is None:
        from roofline.tracing.trace import record

        return record
    from roofline.tracing.training import record_step

    return partial(record_step, optimizer=optimizer)


def _short_name(name: str) -> str:
    """Drop the folder of a file, and keep zoo prefixes."""
    return Path(name).name if "/" in name else name


def _unnamed(model: Any, specs: tuple[InputSpec, ...], image_size: int | None, in_chans: int | None, optimizer: str | None) -> Graph:
    import torch

    from roofline.tracing.spec import make_inputs
    from roofline.tracing.trace import meta_copy

    record = _recorder(optimizer)
    if isinstance(model, torch.export.ExportedProgram):
        from roofline.tracing.exported import from_program

        built = from_program(model, ModelSpec("the exported program", image_size, in_chans, specs))
        return record(built.module, built.inputs, name="exported program", fixed=built.fixed)
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"cannot trace a {type(model).__name__}; pass a name, a torch.nn.Module, an exported program or a Graph")
    if image_size and not specs:
        specs = (InputSpec((1, in_chans or 3, image_size, image_size)),)
    if not specs:
        raise ModelError(f"{type(model).__name__} needs example inputs; pass example_inputs=(1, 3, 224, 224) or tensors")
    return record(meta_copy(model), make_inputs(specs), name=type(model).__name__)


def _shapes(example_inputs: Any) -> tuple[InputSpec, ...]:
    """Read a tensor, a shape, or a sequence of either as the shapes and types of inputs."""
    if example_inputs is None:
        return ()
    if hasattr(example_inputs, "dtype") and hasattr(example_inputs, "shape"):
        return (_spec_of(example_inputs),)
    if not isinstance(example_inputs, (tuple, list)):
        raise ModelError(f"cannot use a {type(example_inputs).__name__} as example input; pass tensors or shapes")
    if example_inputs and all(isinstance(n, int) for n in example_inputs):
        return (InputSpec.parse(",".join(map(str, example_inputs))),)
    return tuple(spec for item in example_inputs for spec in _shapes(item))


def _spec_of(tensor: "torch.Tensor") -> InputSpec:
    from roofline.tracing.trace import DTYPE_NAMES

    if tensor.dtype not in DTYPE_NAMES:
        raise ModelError(f"cannot use an example input of {tensor.dtype}; pass a torch tensor or a shape")
    return InputSpec(tuple(tensor.shape), DTYPE_NAMES[tensor.dtype])
