"""`roofline cost`: what a million items cost on rented devices, and at most how much energy one takes."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import click

from roofline.cli import options
from roofline.cli.console import progress, terminal
from roofline.cli.outputs import check_suffixes, emit

SUFFIXES = (".json", ".csv")


@click.command(short_help="Price a million items on rented devices, and bound their energy.")
@click.argument("model")
@options.hardware()
@options.batches()
@options.way
@options.image_size
@options.results(".json or .csv")
@options.pricing
def command(
    model: str, hardware: Sequence[str], batches: Sequence[int], precision: str, mode: str, layout: str, image_size: int | None,
    outputs: Sequence[str], as_json: bool, uncalibrated: bool, no_cache: bool,
) -> None:  # fmt: skip
    """Say what a million items of MODEL cost on each device, how many a dollar buys, and a bound on the energy of one.

    Prices are those of the on-demand instance that a profile names, with its date; a device without one says so. Energy is the
    power limit times the predicted time, which no run exceeds by much and most stay far below.

    \b
    Examples:
      roofline cost efficientnet_b0 --hw t4,v100,cpu -b 1,64
      roofline cost efficientnet_b0 --hw all -b 32 --precision fp16 --mode engine -o cost.csv
    """
    from roofline.studies.cost import lines, to_csv, to_json
    from roofline.studies.setting import Setting, devices

    check_suffixes(outputs, SUFFIXES)
    setting = Setting(tuple(batches), precision, mode, layout, calibrated=not uncalibrated, cache=not no_cache)
    found = devices(hardware)
    setting.check(found)
    with redirect_stdout(sys.stderr), progress() as tell:  # what the user's code prints is no part of the result
        tell(f"tracing {model}", 0.5)
        analyses = setting.price(model, found, image_size)
    writers = {".json": lambda: to_json(analyses), ".csv": lambda: to_csv(analyses)}
    emit(lines(analyses, terminal().width), outputs, as_json, writers)
