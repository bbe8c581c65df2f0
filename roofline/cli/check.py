"""`roofline check`: fail when a network breaks a limit on a device, for continuous integration."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import click

from roofline.cli import options
from roofline.cli.console import progress, terminal
from roofline.cli.outputs import check_suffixes, emit

SUFFIXES = (".md", ".json")
VIOLATED = 1


@click.command(short_help="Fail when a network breaks a limit on a device, for continuous integration.")
@click.argument("model")
@options.hardware()
@options.batches()
@options.way
@options.image_size
@options.limits
@click.option("--certain", is_flag=True, help="Fail also where a limit is kept but lies inside the 80 % interval.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a comment on a pull request.")
@options.results(".md or .json")
@options.pricing
def command(
    model: str, hardware: Sequence[str], batches: Sequence[int], precision: str, mode: str, layout: str, image_size: int | None,
    certain: bool, markdown: bool, outputs: Sequence[str], as_json: bool, uncalibrated: bool, no_cache: bool, **limits: str | None,
) -> int:  # fmt: skip
    """Check MODEL by limits on every device and batch size: one line a rule, and exit code 1 when one is violated.

    Each line gives the margin, and says where the limit lies inside the 80 % interval of the prediction, so that the device itself
    may say otherwise. That the network fits in the memory of the device is checked always.

    \b
    Examples:
      roofline check efficientnet_b0 --hw t4 --max-latency 20ms --max-memory 2GB
      roofline check net.py:build --hw t4,v100 -b 1,64 --max-params 10M -o check.md
      roofline check efficientnet_b0 --hw t4 -b 64 --min-throughput 500 --certain
      roofline check efficientnet_b0 --hw t4 --max-macs 400M --markdown >> "$GITHUB_STEP_SUMMARY"
    """
    from roofline.studies.check import check
    from roofline.studies.limits import read_limits, require
    from roofline.studies.setting import Setting, devices

    check_suffixes(outputs, SUFFIXES)
    rules = read_limits(**limits)
    require(rules)
    setting = Setting(tuple(batches), precision, mode, layout, calibrated=not uncalibrated, cache=not no_cache)
    found = devices(hardware)
    setting.check(found)
    with redirect_stdout(sys.stderr), progress() as tell:  # what the user's code prints is no part of the result
        tell(f"tracing {model}", 0.5)
        result = check(setting.price(model, found, image_size), rules, certain=certain)
    text = result.to_markdown().splitlines() if markdown else result.lines(terminal().width)
    emit(text, outputs, as_json, {".md": result.to_markdown, ".json": result.to_json})
    return 0 if result.passed else VIOLATED
