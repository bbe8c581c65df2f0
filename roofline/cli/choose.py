"""`roofline choose`: rank devices, precisions, modes and batch sizes within limits."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import click

from roofline.cli import options
from roofline.cli.analyze import Commas
from roofline.cli.console import progress, terminal
from roofline.cli.outputs import check_suffixes, emit

SUFFIXES = (".json", ".csv")
NONE_FOUND = 1


@click.command(short_help="Rank devices, precisions and batch sizes for a network within limits.")
@click.argument("model")
@options.hardware("all")
@options.batches("1,2,4,8,16,32,64,128")
@click.option("--precision", "precisions", type=Commas("p[,p]"), default="fp32", show_default=True, help="Precisions to choose from.")
@click.option("--mode", "modes", type=Commas("m[,m]"), default="eager", show_default=True, help="Modes to choose from.")
@options.layout
@options.image_size
@options.limits
@click.option("--by", type=click.Choice(["cost", "latency", "throughput"]), default="cost", show_default=True, help="What is best.")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Options to list.")
@options.results(".json or .csv")
@options.pricing
def command(
    model: str, hardware: Sequence[str], batches: Sequence[int], precisions: Sequence[str], modes: Sequence[str], layout: str,
    image_size: int | None, by: str, top: int, outputs: Sequence[str], as_json: bool, uncalibrated: bool, no_cache: bool,
    **limits: str | None,
) -> int:  # fmt: skip
    """Rank what runs MODEL within the limits: device, precision, mode and batch size, the cheapest per item first.

    What is out says why: too slow by so much, does not fit, lacks the precision, has no price. A limit that lies inside the 80 %
    interval of a prediction is marked as uncertain. Prices are those of the on-demand instance that a profile names. The exit code
    is 1 when nothing keeps the limits.

    \b
    Examples:
      roofline choose efficientnet_b0 --max-latency 10ms
      roofline choose efficientnet_b0 --max-latency 10ms --precision fp32,fp16 --mode eager,engine
      roofline choose resnet50 --max-latency 50ms --min-throughput 1000 --hw t4,v100,a10g,l4
      roofline choose resnet50 --hw t4,v100,cpu --by latency -b 1
      roofline choose resnet50 --max-cost 0.50 --max-memory 4GB -o options.csv
    """
    from roofline.studies.choose import choose
    from roofline.studies.limits import read_limits
    from roofline.studies.setting import Setting

    check_suffixes(outputs, SUFFIXES)
    with redirect_stdout(sys.stderr), progress() as tell:  # what the user's code prints is no part of the result
        found = choose(
            model, hardware, limits=read_limits(**limits), by=by, batches=batches, precisions=precisions, modes=modes,
            setting=Setting(layout=layout, calibrated=not uncalibrated, cache=not no_cache), image_size=image_size, tell=tell,
        )  # fmt: skip
    emit(found.lines(top, terminal().width), outputs, as_json, {".json": found.to_json, ".csv": found.to_csv})
    return 0 if found.options else NONE_FOUND
