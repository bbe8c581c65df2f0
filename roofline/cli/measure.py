"""`roofline measure`: time a network where it runs, whole and op by op."""

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import click

from roofline.errors import RooflineError

REFRESH = 0.2
"""Seconds between two drawings of the bar."""


@click.command(short_help="Time a network on this machine, whole and op by op.")
@click.argument("model")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("-b", "--batch", type=int, default=1, show_default=True, help="Batch size.")
@click.option("--image-size", "--img-size", type=int, help="Pixels a side [default: the network's own].")
@click.option("--in-chans", type=int, help="Input channels [default: the network's own].")
@click.option(
    "--input", "inputs", multiple=True, metavar="SHAPE[:DTYPE]", help="Shape of an input, batch first: 1,3,224,224 or 1,128:int64."
)
@click.option("--precision", default="fp32", show_default=True, help="fp32 (without TF32), tf32, amp, fp16 or bf16.")
@click.option("--mode", default="eager", show_default=True, help="eager, or compiled (torch.compile; the whole only).")
@click.option("--layout", default="nchw", show_default=True, help="nchw or nhwc (channels last).")
@click.option("--threads", type=int, help="CPU threads [default: what PyTorch takes].")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="Time budget; it ends sooner once the median is known to 1 %.")
@click.option("--no-ops", is_flag=True, help="Time the whole network only.")
@click.option("-o", "--output", metavar="FILE", help="Write every raw time to this .json file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout.")
@click.option("--no-cache", is_flag=True, help="Trace again, and keep nothing.")
def command(
    model: str, device: str, batch: int, image_size: int | None, in_chans: int | None, inputs: Sequence[str], precision: str, mode: str,
    layout: str, threads: int | None, seconds: float, no_ops: bool, output: str | None, as_json: bool, no_cache: bool,
) -> None:  # fmt: skip
    """Run MODEL on this machine and print how long it takes: the whole network, and each kind of op.

    MODEL is named as for `roofline analyze`; it gets random weights, and nothing is downloaded. Runs are repeated until
    the median is known to 1 %, or the time budget is up. Files keep every raw time, op by op, and what they ran on.

    \b
    Examples:
      roofline measure efficientnet_b0
      roofline measure resnet50 -b 8 --threads 2 -o resnet50.json
      roofline measure mobilenetv2_100 --device cuda --precision amp --layout nhwc
      roofline measure net.py:build --input 1,128:int64 --mode compiled --seconds 60
      roofline measure efficientnet_b0 --json | jq .measurement.median_seconds
    """
    from roofline.measurement.measure import measure

    if output is not None and Path(output).suffix.lower() != ".json":
        raise RooflineError(f"cannot write {output!r}: a measurement is kept as JSON; use the suffix .json")
    with redirect_stdout(sys.stderr), _progress(model) as tell:  # what the user's code prints is no part of the result
        measured = measure(
            model, device, batch=batch, image_size=image_size, in_chans=in_chans, inputs=inputs, precision=precision, mode=mode,
            layout=layout, threads=threads, seconds=seconds, ops=not no_ops, cache=not no_cache, progress=tell,
        )  # fmt: skip
    text = measured.to_json(output)
    if as_json:
        sys.stdout.write(text)
        if measured.warning:
            print(f"warning: {measured.warning}", file=sys.stderr)
        return
    print(measured.summary())
    if output is not None:
        print(f"wrote {output}")


@contextmanager
def _progress(model: str) -> Generator[Callable[[str, float], None] | None, None, None]:
    """Show a bar on a terminal's stderr: what is being done, and which share of its time is used."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn(f"{escape(model)}: {{task.description}}"), BarColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:  # a thread would disturb the runs
        task, shown = bar.add_task("starting", total=1.0), [0.0]

        def tell(phase: str, share: float) -> None:
            bar.update(task, description=phase, completed=share)
            if share in (0.0, 1.0) or time.monotonic() - shown[0] > REFRESH:
                bar.refresh()
                shown[0] = time.monotonic()

        yield tell
