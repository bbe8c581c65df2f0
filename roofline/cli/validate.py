"""`roofline validate`: compare predictions with what was measured, here or by others."""

import sys
import textwrap
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roofline.cli.analyze import Commas
from roofline.errors import RooflineError

if TYPE_CHECKING:
    from roofline.measurement.comparison import Comparison, Point
    from roofline.measurement.validate import Validation

WIDTH = 80
PATIENCE, REFRESH = 2.0, 0.2
"""Seconds before the bar appears, and between two drawings of it."""

FAILURES = 5
"""Failures that are told in full."""

SUFFIXES = (".html", ".json", ".csv")
GROUPS = ("dataset", "device", "family", "model", "mode", "precision", "layout", "batch", "image_size", "source")

Tell = Callable[[str, float], None]


@click.command(short_help="Compare predictions with what was measured, here or by others.")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--hw", "--hardware", "hardware", metavar="DEVICE", help="Profile of what is timed here or was in FILE [default: host].")
@click.option(
    "--models",
    type=Commas("name[,name]"),
    help="Networks to time here [default: efficientnet_b0,resnet50,mobilenetv2_100]; with --published, shell patterns.",
)
@click.option("-b", "--batch", "batches", type=Commas("n[,n]", whole_numbers=True), help="Batch sizes to time here [default: 1].")
@click.option("--image-size", "--img-size", type=int, help="Pixels a side of what is timed here [default: the network's own].")
@click.option("--precision", type=Commas("p[,p]"), help="fp32, tf32, amp, fp16 or bf16 [default: fp32; with --published, all].")
@click.option("--mode", type=Commas("m[,m]"), help="eager or compiled [default: eager; with --published, all, engine too].")
@click.option("--layout", help="nchw or nhwc of what is timed here [default: nchw].")
@click.option("--threads", type=int, help="CPU threads of what is timed here [default: what PyTorch takes].")
@click.option("--seconds", type=float, help="Time budget of each network at each batch size [default: 15].")
@click.option("--measured", multiple=True, metavar="FILE", help="Compare a file that `roofline measure -o` wrote; repeat for several.")
@click.option("--published", is_flag=True, help="Compare the timings that others published (5,838 of 814 networks; minutes).")
@click.option("--table", metavar="FILE", help="Compare a table of your own, with the columns of benchmarks/published/networks.csv.")
@click.option("--datasets", type=Commas("pattern[,pattern]"), help="Published data sets to take, as shell patterns.")
@click.option("--devices", type=Commas("pattern[,pattern]"), help="Devices to take of published timings, as shell patterns.")
@click.option("--sample", type=int, metavar="N", help="Take N networks of each published data set, the same ones each time.")
@click.option("--by", type=click.Choice(GROUPS), help="Print one line per group [default: dataset with --published].")
@click.option("--worst", type=click.IntRange(0), default=0, metavar="K", help="List the K timings farthest off.")
@click.option(
    "-o", "--output", "outputs", multiple=True, metavar="FILE", help="Write .html, .json or (networks only) .csv; repeat for several."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout.")
@click.option("--no-cache", is_flag=True, help="Trace again, and keep nothing.")
def command(
    files: Sequence[str], hardware: str | None, models: Sequence[str] | None, batches: Sequence[int] | None, image_size: int | None,
    precision: Sequence[str] | None, mode: Sequence[str] | None, layout: str | None, threads: int | None, seconds: float | None,
    measured: Sequence[str], published: bool, table: str | None, datasets: Sequence[str] | None, devices: Sequence[str] | None,
    sample: int | None, by: str | None, worst: int, outputs: Sequence[str], as_json: bool, no_cache: bool,
) -> None:  # fmt: skip
    """Compare predictions with measurements: how far off, how often inside the interval, how well ranked.

    Without FILE, networks are timed on this machine, whole and op by op. The tables then show each network, the error of the
    layers by kind of op, and whether the predicted bound of each layer is the roof that its measured time comes nearest to.
    FILE is what `roofline measure -o` wrote. With --published, timings of GPUs and CPUs that others published are predicted;
    those that time something else than is predicted stand apart, marked with a star.

    \b
    Examples:
      roofline validate
      roofline validate --models efficientnet_b0,mobilenetv3_large_100 -b 1,8 --threads 2 -o host.html
      roofline validate --hw h100 --models resnet50 -b 64 --precision amp --layout nhwc
      roofline validate resnet50.json efficientnet_b0.json --worst 5
      roofline validate --published --sample 20
      roofline validate --published --datasets 'nvidia-*' --by batch -o published.html
      roofline validate --published --devices t4,v100 --models 'efficientnet*' --json | jq .figures
    """
    _check_suffixes(outputs)
    saved = (*measured, *files)
    of_published = {"--published": published or None, "--table": table, "--datasets": datasets, "--devices": devices, "--sample": sample}
    of_run = {"-b": batches, "--image-size": image_size, "--layout": layout, "--threads": threads, "--seconds": seconds}
    asked = [name for name, value in of_published.items() if value is not None]
    if asked:
        _refuse(asked[0], {"FILE": saved or None, "--hw": hardware, **of_run})
    elif saved:
        _refuse("FILE", {"--models": models, "--precision": precision, "--mode": mode, **of_run})
    with redirect_stdout(sys.stderr), _progress() as tell:  # what the user's code prints is no part of the result
        if asked:
            result = _published(table, datasets, devices, models, mode, precision, sample, no_cache, tell)
        elif saved:
            result = _saved(saved, hardware or "host")
        else:
            one_precision, one_mode = _single("--precision", precision, "fp32"), _single("--mode", mode, "eager")
            result = _host(
                hardware or "host", models, batches, image_size, one_precision, one_mode, layout or "nchw", threads, seconds, no_cache, tell
            )  # fmt: skip
    _write(result, outputs)
    if as_json:
        sys.stdout.write(result.to_json())
        return
    lines = _published_text(result.networks, by or "dataset") if asked else _measured_text(result, by)
    for line in (*lines, *_worst(result.networks.worst(worst)), *(f"wrote {path}" for path in outputs)):
        print(line)


def _check_suffixes(outputs: Sequence[str]) -> None:
    """Refuse a file that could not be written in the end before anything slow begins."""
    for path in outputs:
        if Path(path).suffix.lower() not in SUFFIXES:
            raise RooflineError(f"cannot write {path!r}: unknown suffix; use {', '.join(SUFFIXES)}")


def _refuse(asked: str, others: dict[str, object]) -> None:
    """Refuse an option that the kind of validation that was *asked* for does not take."""
    if given := [name for name, value in others.items() if value is not None]:
        raise RooflineError(f"{given[0]} has no part in a validation with {asked}; drop one of the two")


def _single(option: str, values: Sequence[str] | None, default: str) -> str:
    if values is not None and len(values) > 1:
        raise RooflineError(f"{option} takes one value for what is timed here; run once for each of {', '.join(values)}")
    return values[0] if values else default


def _published(
    table: str | None, datasets: Sequence[str] | None, devices: Sequence[str] | None, models: Sequence[str] | None,
    modes: Sequence[str] | None, precisions: Sequence[str] | None, sample: int | None, no_cache: bool, tell: Tell | None,
) -> "Validation":  # fmt: skip
    from roofline.measurement.layers import Layers
    from roofline.measurement.validate import Validation, validate_published

    found = validate_published(
        table, datasets=datasets or (), devices=devices or (), models=models or (), modes=modes or (), precisions=precisions or (),
        networks=sample, cache=not no_cache, progress=tell,
    )  # fmt: skip
    return Validation.of(found, Layers())


def _saved(files: Sequence[str], hardware: str) -> "Validation":
    from roofline.measurement.validate import read_measurement, validate

    return validate([read_measurement(path) for path in files], hardware)


def _host(
    hardware: str, models: Sequence[str] | None, batches: Sequence[int] | None, image_size: int | None, precision: str, mode: str,
    layout: str, threads: int | None, seconds: float | None, no_cache: bool, tell: Tell | None,
) -> "Validation":  # fmt: skip
    from roofline.measurement.validate import MODELS, SECONDS, validate_host

    return validate_host(
        models or MODELS, hardware, batches=batches or (1,), precision=precision, mode=mode, layout=layout, image_size=image_size,
        threads=threads, seconds=SECONDS if seconds is None else seconds, cache=not no_cache, progress=tell,
    )  # fmt: skip


def _write(result: "Validation", outputs: Sequence[str]) -> None:
    for path in outputs:
        suffix = Path(path).suffix.lower()
        if suffix == ".html":
            from roofline.files import save
            from roofline.report.validation import to_html

            save(to_html(result), path)
        elif suffix == ".json":
            result.to_json(path)
        else:
            result.networks.to_csv(path)


def _measured_text(result: "Validation", by: str | None) -> Iterator[str]:
    """Write networks, layers and bounds of what was timed here."""
    from roofline.measurement.comparison import group_table, network_table

    networks, layers = result.networks, result.layers
    yield from _wrapped(f"predicted for {networks.points[0].device}, measured on {networks.points[0].source}")
    yield ""
    yield from network_table(networks)
    yield ""
    yield from networks.summary().splitlines()
    if by is not None:
        yield from ("", *group_table(by, networks.by(by)))
    if layers.points:
        yield ""
        yield from _wrapped(
            f"{layers.n} layers timed one by one: median error {_percent(layers.median_error)}, "
            f"{_percent(layers.weighted_error)} weighted by time"
        )
        yield from layers.summary().splitlines()
        floor = result.classification.floor
        yield from ("", f"predicted bound against the roof reached (at least {_percent(floor)} of it): time, layers")
        yield from result.classification.summary().splitlines()
    yield from _failed(networks)
    yield from _warnings(networks.points)


def _published_text(comparison: "Comparison", by: str) -> Iterator[str]:
    """Write a line per group: first what fits may see, then what is left out of them."""
    from roofline.measurement.comparison import LEGEND, group_table, starred

    cases = (*comparison.points, *comparison.failures)
    yield f"{len(cases)} published timings of {len({case.model for case in cases})} networks"
    yield ""
    yield from group_table({"dataset": "data set"}.get(by, by), starred(comparison, by))
    yield ""
    yield from LEGEND
    for reason, datasets in comparison.exclusions.items():
        yield from _wrapped(f"* left out of fits, {', '.join(datasets)}: {reason}")
    yield from _failed(comparison)


def _failed(comparison: "Comparison") -> Iterator[str]:
    failures = comparison.failures
    if failures:
        yield ""
    for failure in failures[:FAILURES]:
        yield from _wrapped(f"failed: {failure.label}: {failure.message}")
    if len(failures) > FAILURES:
        yield f"failed: {len(failures) - FAILURES} more; -o FILE.json lists them all"


def _warnings(points: Sequence["Point"]) -> Iterator[str]:
    """Say which measurements should not be trusted: a network timed on a busy machine tells nothing about the prediction."""
    from roofline.measurement.validate import doubts

    found = doubts(points)
    if found:
        yield ""
    for doubt in found:
        yield from _wrapped(f"warning: {doubt}")


def _worst(points: Sequence["Point"]) -> Iterator[str]:
    from roofline import units
    from roofline.measurement.table import table

    if not points:
        return
    header = ("farthest off", "device", "batch", "px", "precision", "mode", "measured", "pred/meas")
    lines = [
        (p.model, p.device, str(p.batch), str(p.image_size), p.precision, p.mode, units.seconds(p.measured), f"{p.ratio:.2f}")
        for p in points
    ]
    yield ""
    yield from table(header, lines, words=("device", "precision", "mode"))


def _percent(share: float) -> str:
    from roofline import units

    return units.percent(share)


def _wrapped(text: str) -> list[str]:
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return textwrap.wrap(printable, WIDTH, subsequent_indent="  ")


@contextmanager
def _progress() -> Generator[Tell | None, None, None]:
    """Show a bar on a terminal's stderr once it has taken two seconds: what is being done, and which share is done."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    bar = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)  # a thread would disturb the runs
    task, begun, drawn = bar.add_task("starting", total=1.0), time.monotonic(), [0.0]

    def tell(what: str, share: float) -> None:
        now = time.monotonic()
        if now - begun < PATIENCE or now - drawn[0] < REFRESH:
            return
        bar.update(task, description=escape(what), completed=share)
        if not drawn[0]:
            bar.start()
        bar.refresh()
        drawn[0] = now

    try:
        yield tell
    finally:
        if drawn[0]:
            bar.stop()
