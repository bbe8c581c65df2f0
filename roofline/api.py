"""Turn a model, a device and a few choices into a report: the library's front door."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import analyze_grid, check_request
from roofline.costmodel.bulk import Prices, price_all
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import load_hardware
from roofline.errors import RooflineError
from roofline.report.differences import Differences
from roofline.report.report import Report
from roofline.report.subject import Subject, read
from roofline.tracing.source import several, trace
from roofline.tracing.spec import InputSpec
from roofline.transforms.changes import parse_changes
from roofline.transforms.precision import check_precision

if TYPE_CHECKING:
    from roofline.tracing.source import Model


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
    calibrated: bool = True,
    strict: bool = False,
    cache: bool = True,
) -> Report:
    """Predict how *model* runs on *hardware*: time, bound and limit of every kernel, without the device or weights.

    *model* is a name (`efficientnet_b3`, `torchvision:resnet50`, `net.py:build`, `program.pt2`), a module, an exported
    program or a Graph. *batch* is the number of items; *image_size* pixels a side (default: the network's own). Latency
    is in seconds for the whole batch. Without *calibrated*, sourced ceilings are used alone. With *strict*, ops without a
    cost rule raise RooflineError.
    """
    reports = analyze_many(
        model, [hardware], [batch], precisions=[precision], image_size=image_size, in_chans=in_chans, inputs=inputs,
        example_inputs=example_inputs, mode=mode, layout=layout, what_if=what_if, calibrated=calibrated,
        strict=strict, cache=cache,
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
    calibrated: bool = True,
    strict: bool = False,
    cache: bool = True,
) -> tuple[Report, ...]:
    """Analyze *model* for every device, precision and batch size, nested in that order, from one traced graph."""
    devices = tuple(load_hardware(h) for h in several(hardware))
    batches, precisions, changes = several(batches), several(precisions), several(what_if)
    if not devices or not batches or not precisions:
        raise RooflineError("nothing to analyze; give at least one device, one batch size and one precision")
    check_request(devices, batches, precisions, mode, layout)
    change = parse_changes(changes)
    graph = trace(model, example_inputs, image_size=image_size, in_chans=in_chans, inputs=inputs, cache=cache)
    analyses = analyze_grid(
        graph, devices, batches, precisions=precisions, mode=mode, layout=layout, calibrated=calibrated, changes=changes, change=change
    )
    reports = tuple(map(Report.of, analyses))
    if strict and reports[0].unknown:
        raise RooflineError(f"no cost rule for {', '.join(reports[0].unknown)}; drop strict to count their bytes only")
    return reports


def price(
    graphs: "Model | Sequence[Model]",
    devices: str | Path | Hardware | Sequence[str | Path | Hardware],
    batches: int | Sequence[int] = (1,),
    precisions: str | Sequence[str] = ("fp32",),
    modes: str | Sequence[str] = ("eager",),
    *,
    layout: str = "nchw",
    calibrated: bool = True,
    cache: bool = True,
) -> Prices:
    """Price many networks on many devices, at many batch sizes, in many precisions and modes, as arrays with named axes.

    Each of *graphs* is what `analyze` takes. The figures are those of `analyze`, to the last bit, without its tables by kernel:
    a core prices tens of thousands of networks a second. Where a device cannot run one, they are NaN and `reasons` says why.

    Example: `roofline.price(["resnet50", "vgg16"], ["t4", "v100"], [1, 64]).at(model="vgg16").latency`
    """
    found = tuple(load_hardware(device) for device in several(devices))
    for mode in several(modes):
        check_request((), several(batches), (), mode, layout)
    for precision in several(precisions):
        check_precision(precision)
    traced = [trace(model, cache=cache) for model in several(graphs)]
    return price_all(
        traced, found, several(batches), precisions=several(precisions), modes=several(modes), layout=layout, calibrated=calibrated
    )


def compare(
    models: "Model | Analysis | Sequence[Model | Analysis]",
    hardware: str | Path | Hardware | Sequence[str | Path | Hardware] = (),
    batches: Sequence[int] = (1,),
    *,
    precisions: Sequence[str] = ("fp32",),
    modes: Sequence[str] = ("eager",),
    what_ifs: Sequence[str] = (),
    image_size: int | None = None,
    in_chans: int | None = None,
    inputs: Sequence[str | InputSpec] = (),
    layout: str = "nchw",
    calibrated: bool = True,
    cache: bool = True,
) -> Differences:
    """Put networks side by side, or one network on several devices, in several precisions, modes, batch sizes or what-ifs.

    Each of *models* is what `analyze` takes, a Report made before, or a file that `roofline analyze -o FILE.json` wrote. A
    what-if may join several by `+`, and the network as it is comes first. The first of what differs is what the others are
    compared with; raises RooflineError where there is nothing to compare.
    """
    wanted: tuple[Any, ...] = tuple(models) if isinstance(models, list | tuple) else (models,)
    variants = [tuple(filter(None, text.split("+"))) for text in dict.fromkeys(("", *several(what_ifs)))]
    devices = tuple(load_hardware(h) for h in several(hardware))
    for changes, mode in product(variants, several(modes)):
        check_request(devices, several(batches), several(precisions), mode, layout)
        parse_changes(changes)

    def made(model: "Model | Analysis") -> tuple[Analysis, ...]:
        """Analyze *model* in every way asked for, from one trace."""
        if isinstance(model, Analysis):
            return (model,)
        if not devices:
            raise RooflineError(f"no device to run {model} on; name one or more, such as t4")
        graph = trace(model, image_size=image_size, in_chans=in_chans, inputs=inputs, cache=cache)
        ways = product(variants, several(modes))
        return tuple(
            analysis
            for changes, mode in ways
            for analysis in analyze_many(
                graph, devices, batches, precisions=precisions, mode=mode, layout=layout, what_if=changes, calibrated=calibrated
            )
        )

    sides = [(read(model), ()) if _is_saved(model) else ((), made(model)) for model in wanted]
    subjects = tuple(subject for saved, new in sides for subject in (*saved, *map(Subject.of, new)))
    if len(subjects) < 2:
        raise RooflineError("nothing to compare; give a second network, device, precision, mode, batch size or a what-if")
    return Differences(subjects, tuple(analysis for _, new in sides for analysis in new))


def _is_saved(model: Any) -> TypeGuard[str | Path]:
    """Tell whether *model* names a file of analyses rather than a network."""
    return isinstance(model, str | Path) and str(model).lower().endswith(".json")
