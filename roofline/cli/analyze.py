"""`roofline analyze`: predict how a network runs on one or several devices."""

import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from typing import TYPE_CHECKING

import click

from roofline.cli.console import progress, status, terminal

if TYPE_CHECKING:
    from roofline.measurement.measurement import Measurement
    from roofline.report.report import Report
    from roofline.report.writers import Writer

STRICT_FAILED = 1


class Commas(click.ParamType):
    """Read `a,b,c`, each part by *convert_one*."""

    def __init__(self, name: str, whole_numbers: bool = False) -> None:
        self.name = name
        self.whole_numbers = whole_numbers

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[object, ...]:
        """Split *value* at its commas."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",") if part.strip()]
        if not parts:
            self.fail("give at least one value", param, ctx)
        if not self.whole_numbers:
            return tuple(dict.fromkeys(parts))
        if bad := [part for part in parts if not re.fullmatch(r"-?[0-9]{1,18}", part)]:
            self.fail(f"{bad[0]!r} is not a whole number", param, ctx)
        return tuple(dict.fromkeys(int(part) for part in parts))


@click.command(short_help="Predict time, bound and limit of a network on devices.")
@click.argument("model")
@click.option(
    "--hw",
    "--hardware",
    "hardware",
    type=Commas("device[,device]"),
    required=True,
    help="Devices: names (`roofline hardware list`) or YAML files; several give a comparison.",
)
@click.option("-b", "--batch", "batches", type=Commas("n[,n]", whole_numbers=True), default="1", show_default=True, help="Batch sizes.")
@click.option("--image-size", "--img-size", type=int, help="Pixels a side [default: the network's own].")
@click.option("--in-chans", type=int, help="Input channels [default: the network's own].")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="SHAPE[:DTYPE]",
    help="Shape of an input with the batch first, such as 1,3,224,224 or 1,128:int64; repeat for several inputs.",
)
@click.option(
    "--precision", "precisions", type=Commas("p[,p]"), default="fp32", show_default=True, help="fp32, tf32, amp, fp16, bf16, int8 or int4."
)
@click.option("--mode", default="eager", show_default=True, help="Who runs it: eager, compiled, engine or ideal.")
@click.option("--layout", default="nchw", show_default=True, help="nchw or nhwc (channels last).")
@click.option(
    "--what-if",
    "changes",
    multiple=True,
    metavar="NAME[=VALUE][@LAYERS]",
    help="Change it first: fold-bn, fuse-pointwise, fuse-activation, fuse-residual, fuse-se, fuse-all, depth-first, cuda-graphs, "
    "keep-memory, channels-last, precision, weights, activations, int8, prune, sparse, sparse-weights, sparse-activations; "
    "`roofline what-ifs` explains them. LAYERS are patterns such as blocks.5 or !head. Repeat to combine.",
)
@click.option("--top", type=click.IntRange(0), default=10, show_default=True, help="Layers to list.")
@click.option("--depth", type=click.IntRange(1), help="Sum layers into modules of this depth.")
@click.option(
    "--sort", type=click.Choice(["time", "order", "flops", "bytes", "name"]), default="time", show_default=True, help="Order of the layers."
)
@click.option("--bars", is_flag=True, help="Draw the time of each layer as a bar of what it is spent on.")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    help="Write the report: .html, .json, .csv or .md by suffix; repeat for several.",
)
@click.option(
    "--measured",
    multiple=True,
    metavar="FILE",
    help="Show beside its prediction what `roofline measure -o FILE.json` timed; repeat for several.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout.")
@click.option("--uncalibrated", is_flag=True, help="Price at sourced ceilings alone, without what was fitted to measurements.")
@click.option("--strict", is_flag=True, help="Exit with code 1 when an op has no cost rule.")
@click.option("--no-cache", is_flag=True, help="Trace again, and keep nothing.")
def command(
    model: str, hardware: Sequence[str], batches: Sequence[int], image_size: int | None, in_chans: int | None, inputs: Sequence[str],
    precisions: Sequence[str], mode: str, layout: str, changes: Sequence[str], top: int, depth: int | None, sort: str, bars: bool,
    outputs: Sequence[str], measured: Sequence[str], as_json: bool, uncalibrated: bool, strict: bool, no_cache: bool,
) -> int:  # fmt: skip
    """Predict how MODEL runs: latency, what holds each layer back, and how far the physical limit is.

    MODEL is a name (timm first, then torchvision; timm: and torchvision: choose), path/to/net.py:function or
    package.module:function (this RUNS that code to build the network), or an exported program file.pt2.

    \b
    Examples:
      roofline analyze efficientnet_b3 --hw t4
      roofline analyze efficientnet_b3 --hw t4,v100,cpu -b 1,8,64 --precision fp16
      roofline analyze torchvision:resnet50 --hw a100-40gb --mode engine -o report.html
      roofline analyze net.py:build --hw t4 --input 1,128:int64 --depth 2
      roofline analyze mobilenetv3_large_100 --hw t4 -b 64 --bars --sort order --top 200
      roofline analyze efficientnet_b0 --hw host --measured b0.json -o report.html
      roofline analyze efficientnet_b0 --hw v100 --json | jq '.analyses[0].latency_seconds'
    """
    from roofline.api import analyze_many
    from roofline.report.export import to_json
    from roofline.report.writers import writer_for

    timed = _read(measured)
    writers = [(path, writer_for(path)) for path in outputs]
    with _progress(model), redirect_stdout(sys.stderr):  # what the user's code prints is no part of the report
        reports = analyze_many(
            model, hardware, batches, precisions=precisions, image_size=image_size, in_chans=in_chans, inputs=inputs,
            mode=mode, layout=layout, what_if=changes, calibrated=not uncalibrated, cache=not no_cache,
        )  # fmt: skip
    beside = _beside(timed, reports)
    for path, write in writers:
        _save(write, reports, path, timed)
    if as_json:
        sys.stdout.write(to_json(reports))
    else:
        _print(reports, top=top, depth=depth, sort=sort, bars=bars)
        for line in beside:
            print(line)
        for path in outputs:
            print(f"wrote {path}")
    if strict and reports[0].unknown:
        print(f"error: --strict: no cost rule for {', '.join(reports[0].unknown)}", file=sys.stderr)
        return STRICT_FAILED
    return 0


def _read(paths: Sequence[str]) -> "Sequence[Measurement]":
    """Read what was measured before anything slow begins."""
    if not paths:
        return ()
    from roofline.measurement.validate import read_measurement

    return [read_measurement(path) for path in paths]


def _beside(timed: "Sequence[Measurement]", reports: "Sequence[Report]") -> list[str]:
    """Write a line for each measurement with its prediction; raise for one that fits none."""
    if not timed:
        return []
    from roofline.report.measured import lines

    return lines(timed, reports)


def _save(write: "Writer", reports: "Sequence[Report]", path: str, timed: "Sequence[Measurement]") -> None:
    """Write *reports* to *path*; a page prices many other choices too, which takes a while."""
    from roofline.files import save
    from roofline.report.html import to_html

    if write is not to_html:
        save(write(reports), path)
        return
    with progress() as tell:
        save(to_html(reports, measured=timed, progress=tell), path)


def _print(reports: "Sequence[Report]", *, top: int, depth: int | None, sort: str, bars: bool) -> None:
    """Print in colours on a terminal, and as plain lines without trailing blanks elsewhere."""
    from roofline.report.text import render, to_text

    console = terminal()
    if console.is_terminal:
        console.print(render(reports, top=top, depth=depth, sort=sort, bars=bars))
    else:
        sys.stdout.write(to_text(reports, width=console.width, top=top, depth=depth, sort=sort, bars=bars))


def _progress(model: str) -> AbstractContextManager[object]:
    """Show on a terminal's stderr that PyTorch is being loaded and the network traced."""
    return status(f"tracing {model}") if sys.stderr.isatty() else nullcontext()
