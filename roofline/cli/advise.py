"""`roofline advise`: rank what would help a network most on a device."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import click

from roofline.cli import options
from roofline.cli.console import progress, terminal
from roofline.cli.outputs import check_suffixes, emit

SUFFIXES = (".json", ".csv", ".md")


@click.command(short_help="Rank what would help a network most on a device.")
@click.argument("model")
@click.option(
    "--hw", "--hardware", "hardware", metavar="DEVICE", required=True, help="Device: a name (`roofline hardware list`) or YAML file."
)
@click.option("-b", "--batch", type=int, default=1, show_default=True, help="Batch size.")
@options.way
@options.image_size
@click.option("--what-if", "changes", multiple=True, metavar="NAME[=VALUE]", help="What has been done already (`roofline what-ifs`).")
@click.option("--top", type=click.IntRange(1), default=6, show_default=True, help="Single steps, and sets of steps, to list.")
@options.results(".json, .csv or .md")
@options.pricing
def command(
    model: str, hardware: str, batch: int, precision: str, mode: str, layout: str, image_size: int | None, changes: Sequence[str], top: int,
    outputs: Sequence[str], as_json: bool, uncalibrated: bool, no_cache: bool,
) -> None:  # fmt: skip
    """Price every change that MODEL can be given on a device, alone and together, and rank them by the seconds that they save.

    Each line says what is saved, with an 80 % interval, in which kinds of op, and what the change takes. Accuracy is not predicted.

    \b
    Examples:
      roofline advise efficientnet_b3 --hw t4
      roofline advise efficientnet_b0 --hw v100 -b 64 --precision amp --layout nhwc
      roofline advise net.py:build --hw a100-40gb --mode engine -o advice.md
    """
    from roofline.studies.advice import advise
    from roofline.studies.advised import lines

    check_suffixes(outputs, SUFFIXES)
    with redirect_stdout(sys.stderr), progress() as tell:  # what the user's code prints is no part of the result
        advice = advise(
            model, hardware, batch=batch, image_size=image_size, precision=precision, mode=mode, layout=layout, what_if=changes,
            calibrated=not uncalibrated, cache=not no_cache, tell=tell,
        )  # fmt: skip
    emit(
        lines(advice, terminal().width, top), outputs, as_json, {".json": advice.to_json, ".csv": advice.to_csv, ".md": advice.to_markdown}
    )
