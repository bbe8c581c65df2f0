"""`roofline compare`: networks side by side, or one network on several devices, in several precisions or what-ifs."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roofline.cli.analyze import Commas
from roofline.cli.console import status, terminal
from roofline.errors import RooflineError
from roofline.files import save

if TYPE_CHECKING:
    from roofline.report.differences import Differences
    from roofline.report.subject import Subject
    from roofline.studies.check import Change, Check
VIOLATED = 1

WRITERS: "Mapping[str, Callable[[Differences, str], str]]" = {
    ".html": lambda found, path: found.to_html(path),
    ".json": lambda found, path: found.to_json(path),
    ".csv": lambda found, path: found.to_csv(path),
    ".md": lambda found, path: found.to_markdown(path),
}
"""What writes a comparison, by the suffix of the file."""


@click.command(short_help="Put networks, devices, precisions or what-ifs side by side.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--hw", "--hardware", "hardware", type=Commas("device[,device]"), default=(), help="Devices: names or YAML files.")
@click.option("-b", "--batch", "batches", type=Commas("n[,n]", whole_numbers=True), default="1", show_default=True, help="Batch sizes.")
@click.option("--image-size", "--img-size", type=int, help="Pixels a side [default: each network's own].")
@click.option("--in-chans", type=int, help="Input channels [default: each network's own].")
@click.option("--input", "inputs", multiple=True, metavar="SHAPE[:DTYPE]", help="Shape of an input, batch first; repeat for several.")
@click.option(
    "--precision", "precisions", type=Commas("p[,p]"), default="fp32", show_default=True, help="fp32, tf32, amp, fp16, bf16, int8 or int4."
)
@click.option("--mode", "modes", type=Commas("m[,m]"), default="eager", show_default=True, help="eager, compiled, engine or ideal.")
@click.option("--layout", default="nchw", show_default=True, help="nchw or nhwc (channels last).")
@click.option(
    "--what-if",
    "what_ifs",
    multiple=True,
    metavar="NAME[=VALUE][+NAME]",
    help="Compare the network as it is with this change, or several at once; repeat for more.",
)
@click.option("--cost", "costs", is_flag=True, help="Show dollars for a million items and a bound on joules an item too.")
@click.option("--fail-if", "fail_if", multiple=True, metavar="RULE", help="Exit with code 1 if so: 'latency>+5%'; repeat for several.")
@click.option("-o", "--output", "outputs", multiple=True, metavar="FILE", help="Write .html, .json, .csv or .md; repeat for several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout.")
@click.option("--uncalibrated", is_flag=True, help="Price at sourced ceilings alone, without what was fitted to measurements.")
@click.option("--no-cache", is_flag=True, help="Trace again, and keep nothing.")
def command(
    models: Sequence[str], hardware: Sequence[str], batches: Sequence[int], image_size: int | None, in_chans: int | None,
    inputs: Sequence[str], precisions: Sequence[str], modes: Sequence[str], layout: str, what_ifs: Sequence[str], costs: bool,
    fail_if: Sequence[str], outputs: Sequence[str], as_json: bool, uncalibrated: bool, no_cache: bool,
) -> int:  # fmt: skip
    """Put MODELs side by side: how each differs from the first, which kinds of op make the difference, what MACs tell of it.

    MODEL is named as for `roofline analyze`, or is a file that `roofline analyze -o FILE.json` wrote. Of networks, what-ifs,
    modes, precisions, devices and batch sizes, the first of which there are several is compared; a table stands for each
    choice of the others. A rule of --fail-if is a quantity (latency, throughput, memory, macs, params, traffic), > or <, and a
    change from the first or a figure: 'latency>+5%', 'throughput<-10%', 'memory>2GB'.

    \b
    Examples:
      roofline compare efficientnet_b0 resnet50 --hw t4,v100 -b 1,64
      roofline compare efficientnet_b0 --hw t4 --precision fp32,fp16,int8 --mode engine
      roofline compare efficientnet_b0 --hw t4 --what-if fold-bn --what-if fold-bn+weights=int8
      roofline compare mobilenetv3_large_100 --hw t4,c5.2xlarge -o compare.html -o compare.md
      roofline compare efficientnet_b0 --hw t4,v100,cpu -b 1,64 --cost
      roofline compare old.json new.json --fail-if 'latency>+5%' --fail-if 'memory>2GB' -o gate.md
      roofline compare resnet18 resnet34 --hw t4 --json | jq '.subjects[].latency_ratio'
    """
    from roofline.api import compare
    from roofline.studies.check import Change

    rules = [Change.parse(text) for text in fail_if]
    for path in outputs:
        _check_output(path, models)
    with _progress(models), redirect_stdout(sys.stderr):  # what the user's code prints is no part of the result
        found = compare(
            list(models), hardware, batches, precisions=precisions, modes=modes, what_ifs=what_ifs, image_size=image_size,
            in_chans=in_chans, inputs=inputs, layout=layout, calibrated=not uncalibrated, cache=not no_cache,
        )  # fmt: skip
        found = replace(found, costs=costs)
        checked = _check(found, rules) if rules else None
        for path in outputs:
            if checked and path.lower().endswith(".md"):
                save(f"{checked.to_markdown()}\n{found.to_markdown()}", path)
            else:
                WRITERS[Path(path).suffix.lower()](found, path)
    if as_json:
        sys.stdout.write(found.to_json())
    else:
        _print(found)
        for path in outputs:
            print(f"wrote {path}")
    if checked is None:
        return 0
    print("", *checked.lines(terminal().width), sep="\n", file=sys.stderr if as_json else sys.stdout)
    return 0 if checked.passed else VIOLATED


def _check(found: "Differences", rules: "Sequence[Change]") -> "Check":
    """Check what follows the first of every group by *rules*."""
    from roofline.report.subject import AS_IS
    from roofline.studies.check import Side, compare
    from roofline.studies.limits import Span

    def side(label: str, s: "Subject") -> Side:
        exact = {"memory": s.peak_memory_bytes, "macs": s.macs / s.batch, "params": s.params, "traffic": s.bytes}
        spans = {name: Span(value, value, value) for name, value in exact.items()}
        spans["latency"] = Span(s.latency_seconds, s.low_seconds, s.high_seconds)
        spans["throughput"] = Span(s.throughput_items_per_second, s.batch / s.high_seconds, s.batch / s.low_seconds)
        what_if = "" if s.what_if == AS_IS else f", what if {s.what_if}"
        return Side(label, f"{s.model} on {s.hardware}, batch {s.batch}, {s.precision}, {s.mode}{what_if}", spans)

    pairs = [
        (side(group.labels[0], group.first), side(label, subject))
        for group in found.groups
        for label, subject in zip(group.labels[1:], group.subjects[1:], strict=True)
    ]
    return compare(pairs, rules)


def _check_output(path: str, models: Sequence[str]) -> None:
    """Refuse a file that could not be written in the end before anything slow begins."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise RooflineError(f"cannot write {path!r}: unknown suffix {suffix!r}; use {', '.join(WRITERS)}")
    if suffix == ".html" and any(model.lower().endswith(".json") for model in models):
        raise RooflineError(
            f"cannot write {path!r}: a page needs every kernel, and a saved analysis has too little; use .md, .json or .csv"
        )


def _print(found: "Differences") -> None:
    """Print in colours on a terminal, and as plain lines without trailing blanks elsewhere."""
    from roofline.report.comparing import render, to_text

    console = terminal()
    if console.is_terminal:
        console.print(render(found))
    else:
        sys.stdout.write(to_text(found, width=console.width))


def _progress(models: Sequence[str]) -> AbstractContextManager[object]:
    """Show on a terminal's stderr that networks are being traced and priced."""
    return status(f"comparing {', '.join(models)}") if sys.stderr.isatty() else nullcontext()
