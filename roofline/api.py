"""Turn a model, a device and a few choices into a report: the library's front door."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.costmodel.analyze import analyze_grid, check_request
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import load_hardware
from roofline.errors import RooflineError
from roofline.report.report import Report
from roofline.tracing.source import several, trace
from roofline.tracing.spec import InputSpec
from roofline.transforms.changes import parse_changes

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
