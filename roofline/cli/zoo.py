"""`roofline zoo`: families of networks side by side, in counts, published accuracy and time."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import click

from roofline.cli import options
from roofline.cli.analyze import Commas
from roofline.cli.console import progress, terminal
from roofline.cli.outputs import check_suffixes, emit

SUFFIXES = (".html", ".json", ".csv")


@click.command(short_help="Compare families of networks: counts, published accuracy, time on devices.")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@options.hardware("t4,v100,cpu")
@options.batches()
@options.way
@click.option("--family", "families", type=Commas("name[,name]"), help="Families to keep, by how their name begins.")
@options.results(".html, .json or .csv")
@options.pricing
def command(
    patterns: Sequence[str], hardware: Sequence[str], batches: Sequence[int], precision: str, mode: str, layout: str,
    families: Sequence[str] | None, outputs: Sequence[str], as_json: bool, uncalibrated: bool, no_cache: bool,
) -> None:  # fmt: skip
    """Put networks side by side: parameters, MACs, bytes, intensity, published ImageNet top-1, and time on each device.

    Without PATTERN, some fifty networks of all families; with shell patterns, any network of which an accuracy was published, with its best
    weights that saw ImageNet-1k alone; other names are taken as models without one. Each runs at the image size of its accuracy.
    The page (-o zoo.html) plots accuracy against MACs and against time on each device, with the fronts that no network beats.

    \b
    Examples:
      roofline zoo
      roofline zoo -o zoo.html -b 1,64
      roofline zoo 'efficientnet_b*' 'resnet*' --hw t4 --precision fp16 --mode engine
      roofline zoo --family mobilenet,efficientnet --hw cpu
    """
    from roofline.studies.setting import Setting
    from roofline.studies.zoo import zoo

    check_suffixes(outputs, SUFFIXES)
    setting = Setting(tuple(batches), precision, mode, layout, calibrated=not uncalibrated, cache=not no_cache)
    with redirect_stdout(sys.stderr), progress() as tell:
        found = zoo(patterns, hardware, families=families or (), setting=setting, tell=tell)

    def page() -> str:
        from roofline.report.zoo import to_html

        return to_html(found)

    emit(found.lines(terminal().width), outputs, as_json, {".html": page, ".json": found.to_json, ".csv": found.to_csv})
