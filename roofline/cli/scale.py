"""`roofline scale`: scale a network in width, depth and resolution, and see what that costs on devices."""

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import click

from roofline.cli import options
from roofline.cli.analyze import Commas
from roofline.cli.console import progress, terminal
from roofline.cli.outputs import check_suffixes, emit
from roofline.errors import RooflineError

SUFFIXES = (".json", ".csv")


@click.command(short_help="Scale a network in width, depth and resolution, and price it on devices.")
@click.argument("base")
@options.hardware()
@options.batches()
@options.way
@click.option("--phi", default="0..3", show_default=True, help="Steps of scaling: 0..7 or 0,1,2.5.")
@click.option("--ways", type=Commas("way[,way]"), help="compound, width, depth, resolution, published [default: all].")
@click.option("--growth", metavar="A,B,C", help="Growth of depth, width, resolution in a compound step [default: 1.2,1.1,1.15].")
@click.option("--mix", "mixes", multiple=True, metavar="W,D,PX", help="One mix of width, depth and pixels instead; repeat for several.")
@click.option("--grid", "search", is_flag=True, help="Every growth with alpha * beta^2 * gamma^2 = 2 instead, the fastest first.")
@click.option("--latency", metavar="TIME", help="The mixes that use up a latency such as 10ms on one device instead.")
@click.option("--certain", is_flag=True, help="With --latency, keep it at the slow end of the 80 % interval.")
@click.option("--top", type=click.IntRange(1), default=20, show_default=True, help="Mixes to list with --latency.")
@options.results(".json or .csv")
@options.pricing
def command(
    base: str, hardware: Sequence[str], batches: Sequence[int], precision: str, mode: str, layout: str, phi: str,
    ways: Sequence[str] | None, growth: str | None, mixes: Sequence[str], search: bool, latency: str | None, certain: bool, top: int,
    outputs: Sequence[str], as_json: bool, uncalibrated: bool, no_cache: bool,
) -> None:  # fmt: skip
    """Scale BASE and compare what wider, deeper, larger and compound-scaled networks cost, in counts and in time.

    BASE is efficientnet_b0, efficientnet_lite0, efficientnetv2_s, mobilenetv1_100, mobilenetv2_100, mobilenetv3_large_100,
    mobilenetv3_small_100 or a resnet18 to 152. A step doubles the MACs; `published` are EfficientNet-B1 to B7. Any mix is a model
    to other commands too: efficientnet_b0_w1.2_d1.4 with --image-size 300. Accuracy is not predicted: that takes training.

    \b
    Examples:
      roofline scale efficientnet_b0 --hw t4,v100,cpu --phi 0..3
      roofline scale efficientnet_b0 --hw t4 --phi 0..7 --ways published -o b0-b7.csv
      roofline scale efficientnet_b0 --hw t4 --mix 1.2,1.4,300 --mix 1.4,1.2,300
      roofline scale efficientnet_b0 --hw t4,v100 -b 64 --grid
      roofline scale efficientnet_b0 --hw t4 --latency 10ms
    """
    from roofline.studies import budget, scaling
    from roofline.studies.limits import QUANTITIES
    from roofline.studies.setting import Setting

    check_suffixes(outputs, SUFFIXES)
    asked = [name for name, given in (("--mix", mixes), ("--grid", search), ("--latency", latency)) if given]
    if len(asked) > 1:
        raise RooflineError(f"{asked[0]} and {asked[1]} are different questions; ask one at a time")
    setting = Setting(tuple(batches), precision, mode, layout, calibrated=not uncalibrated, cache=not no_cache)
    with redirect_stdout(sys.stderr), progress() as tell:
        if latency is not None:
            if len(hardware) != 1:
                raise RooflineError("--latency is for one device; run once for each")
            seconds = QUANTITIES["latency"].parse(latency)
            found = budget.within(base, seconds, hardware[0], certain=certain, setting=setting, tell=tell)
        elif search:
            found = scaling.grid(base, hardware, setting=setting, tell=tell)
        elif mixes:
            chosen = [scaling.parse_mix(base, text) for text in mixes]
            found = scaling.price_mixes(f"{base} scaled", chosen, hardware, setting=setting, tell=tell)
        else:
            found = scaling.scale(
                base, hardware, steps=scaling.parse_steps(phi), ways=ways or (), growth=_growth(growth), setting=setting, tell=tell
            )
    width = terminal().width
    if isinstance(found, budget.Budget):
        written = json.dumps(found.as_dict(), indent=1, allow_nan=False) + "\n"
        emit(found.lines(top, width), outputs, as_json, {".json": lambda: written, ".csv": found.to_csv})
    else:
        emit(found.lines(width), outputs, as_json, {".json": found.to_json, ".csv": found.to_csv})


def _growth(text: str | None) -> tuple[float, float, float]:
    from roofline.studies.scaling import ALPHA, BETA, GAMMA

    if text is None:
        return ALPHA, BETA, GAMMA
    try:
        alpha, beta, gamma = (float(part) for part in text.split(","))
    except ValueError as error:
        raise RooflineError(f"bad growth {text!r}; write three numbers, of depth, width and resolution, such as 1.2,1.1,1.15") from error
    return alpha, beta, gamma
