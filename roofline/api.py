"""Turn a model, a device and a few choices into a report: the library's front door."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.costmodel.analyze import analyze_grid
from roofline.costmodel.hardware import Hardware, load_hardware
from roofline.errors import ModelError, RooflineError
from roofline.graph import Graph
from roofline.report.report import Report
from roofline.tracing import cache as graphs
from roofline.tracing.models import InputSpec, ModelSpec
from roofline.transforms.changes import parse_changes

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

    Model = str | Path | Graph | torch.nn.Module | ExportedProgram


def analyze(
    model: "Model",
    hardware: str | Path | Hardware,
    *,
    batch: int = 1,
    image_size: int | None = None,
    in_chans: int | None = None,
    inputs: Sequence[str | InputSpec] = (),
    example_inputs: Any = None,
    precision: str = "fp32",
    mode: str = "eager",
    layout: str = "nchw",
    what_if: Sequence[str] = (),
    strict: bool = False,
    cache: bool = True,
) -> Report:
    """Predict how *model* runs on *hardware*: time, bound and limit of every kernel, without the device or weights.

    *model* is a name (`efficientnet_b3`, `torchvision:resnet50`, `net.py:build`, `program.pt2`), a module, an exported
    program or a Graph. *batch* is the number of items; *image_size* pixels a side (default: the network's own). Latency
    is in seconds for the whole batch. With *strict*, ops without a cost rule raise RooflineError.
    """
    reports = analyze_many(
        model, [hardware], [batch], precisions=[precision], image_size=image_size, in_chans=in_chans, inputs=inputs,
        example_inputs=example_inputs, mode=mode, layout=layout, what_if=what_if, strict=strict, cache=cache,
    )  # fmt: skip
    return reports[0]


def analyze_many(
    model: "Model",
    hardware: Sequence[str | Path | Hardware],
    batches: Sequence[int] = (1,),
    *,
    precisions: Sequence[str] = ("fp32",),
    image_size: int | None = None,
    in_chans: int | None = None,
    inputs: Sequence[str | InputSpec] = (),
    example_inputs: Any = None,
    mode: str = "eager",
    layout: str = "nchw",
    what_if: Sequence[str] = (),
    strict: bool = False,
    cache: bool = True,
) -> tuple[Report, ...]:
    """Analyze *model* for every device, precision and batch size, nested in that order, from one traced graph."""
    devices = tuple(load_hardware(h) for h in hardware)
    if not devices or not batches or not precisions:
        raise RooflineError("nothing to analyze; give at least one device, one batch size and one precision")
    change = parse_changes(what_if)
    graph = _graph(model, example_inputs, image_size, in_chans, inputs, cache)
    analyses = analyze_grid(
        graph, devices, batches, precisions=precisions, mode=mode, layout=layout, changes=tuple(what_if), change=change
    )
    reports = tuple(map(Report.of, analyses))
    if strict and reports[0].unknown:
        raise RooflineError(f"no cost rule for {', '.join(reports[0].unknown)}; drop strict to count their bytes only")
    return reports


def trace(
    model: "Model",
    example_inputs: Any = None,
    *,
    image_size: int | None = None,
    in_chans: int | None = None,
    inputs: Sequence[str | InputSpec] = (),
    cache: bool = True,
) -> Graph:
    """Record every op of one inference of *model* as a Graph, on the meta device: no weights, no device, no download.

    A module needs *example_inputs* (a tensor, a tuple of tensors, or shapes such as `(1, 3, 224, 224)`) or *inputs* (texts
    such as "1,3,224,224"). Raises UnknownNameError for an unknown name and ModelError when the network cannot run.
    """
    return _graph(model, example_inputs, image_size, in_chans, inputs, cache)


def _graph(
    model: "Model", example_inputs: Any, image_size: int | None, in_chans: int | None, inputs: Sequence[str | InputSpec], cache: bool
) -> Graph:
    if isinstance(model, Graph):
        return model
    specs = tuple(InputSpec.parse(i) if isinstance(i, str) else i for i in inputs)
    if isinstance(model, (str, Path)):
        spec = ModelSpec(str(model), image_size, in_chans, specs)
        spec.check()
        return _named(spec, cache=cache)
    return _unnamed(model, example_inputs, specs)


def _named(spec: ModelSpec, *, cache: bool) -> Graph:
    """Trace the network that *spec* names, or read it back from the cache, where nothing needs torch."""
    entry = graphs.key(spec.name, spec.image_size, spec.in_chans, spec.inputs) if cache and not spec.runs_user_code else None
    graph = graphs.load(entry) if entry else None
    if graph is None:
        from roofline.tracing.models import build
        from roofline.tracing.trace import record

        built = build(spec)
        graph = record(built.module, built.inputs, name=_short_name(spec.name), verify=not built.trusted)
        if entry:
            graphs.store(entry, graph)
    return graph


def _short_name(name: str) -> str:
    """Drop the folder of a file, and keep zoo prefixes."""
    return Path(name).name if "/" in name else name


def _unnamed(model: Any, example_inputs: Any, specs: tuple[InputSpec, ...]) -> Graph:
    import torch

    from roofline.tracing.models import make_inputs
    from roofline.tracing.trace import meta_copy, record

    tensors = make_inputs(specs) if specs else _tensors(example_inputs)
    if isinstance(model, torch.export.ExportedProgram):
        from roofline.tracing.exported import from_program

        built = from_program(model, ModelSpec("exported program", inputs=specs))
        return record(built.module, tensors or built.inputs, name="exported program")
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"cannot trace a {type(model).__name__}; pass a name, a torch.nn.Module, an exported program or a Graph")
    if not tensors:
        raise ModelError(f"{type(model).__name__} needs example inputs; pass example_inputs=(1, 3, 224, 224) or tensors")
    return record(meta_copy(model), tensors, name=type(model).__name__)


def _tensors(example_inputs: Any) -> "tuple[torch.Tensor, ...]":
    """Read a tensor, a shape, or a tuple of either as meta tensors."""
    import torch

    if example_inputs is None:
        return ()
    if isinstance(example_inputs, torch.Tensor):
        return (torch.empty_like(example_inputs, device="meta"),)
    if isinstance(example_inputs, (tuple, list)) and example_inputs and all(isinstance(n, int) for n in example_inputs):
        return (torch.empty(tuple(example_inputs), device="meta"),)
    if isinstance(example_inputs, (tuple, list)):
        return tuple(t for item in example_inputs for t in _tensors(item))
    raise ModelError(f"cannot use a {type(example_inputs).__name__} as example input; pass tensors or shapes")
