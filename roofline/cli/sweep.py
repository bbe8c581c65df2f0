"""`roofline sweep`: price many networks on many devices in many ways, as a table."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roofline.cli import options
from roofline.cli.analyze import Commas
from roofline.cli.console import progress
from roofline.cli.outputs import check_suffixes

if TYPE_CHECKING:
    from roofline.studies.sweep.result import Sweep

NOTHING_PRICED = 1

SUFFIXES = (".parquet", ".csv", ".jsonl", ".html")


@click.command(short_help="Price many networks on many devices in many ways, as a table.")
@click.option(
    "--models", type=Commas("name[,name]"), required=True, help="Networks: names, and shell patterns of names such as 'efficientnet*'."
)
@options.hardware("all")
@options.batches()
@click.option("--precision", "precisions", type=Commas("p[,p]"), default="fp32", show_default=True, help="Precisions.")
@click.option("--mode", "modes", type=Commas("m[,m]"), default="eager", show_default=True, help="Who runs it: modes.")
@click.option("--layout", "layouts", type=Commas("l[,l]"), default="nchw", show_default=True, help="nchw, nhwc (channels last) or both.")
@options.image_size
@click.option(
    "--what-if", "changes", multiple=True, metavar="NAME[=VALUE]", help="Change every network first, as in analyze; repeat to combine."
)
@click.option("--uncalibrated", is_flag=True, help="Price at sourced ceilings alone, without what was fitted to measurements.")
@click.option("-j", "--jobs", type=int, help="Processes on this machine [default: one for each core].")
@click.option("--dask", "cluster", metavar="ADDRESS", help="Run on the Dask cluster of this scheduler, such as tcp://host:8786.")
@click.option("-o", "--output", "outputs", multiple=True, metavar="FILE", help="Write .parquet, .csv, .jsonl or .html; repeat for several.")
def command(
    models: Sequence[str], hardware: Sequence[str], batches: Sequence[int], precisions: Sequence[str], modes: Sequence[str],
    layouts: Sequence[str], image_size: int | None, changes: Sequence[str], uncalibrated: bool, jobs: int | None, cluster: str | None,
    outputs: Sequence[str],
) -> int:  # fmt: skip
    """Price every network of a set on every device, at every batch size, in every precision, mode and layout.

    The table has a row for each combination. What a device cannot run, and a network that cannot be traced, are rows that say why.
    A sweep that was interrupted or killed goes on when the same command is given again, and ends with the same file. The page
    (.html) shows any column against any other, with filters and Pareto fronts. The exit code is 1 when nothing could be priced.

    \b
    Examples:
      roofline sweep --models 'efficientnet*,resnet*' --hw t4,v100 -b 1,64 -o all.parquet
      roofline sweep --models 'mobilenet*' --precision fp32,amp --mode eager,engine -o a.html
      roofline sweep --models '*' -b 1,8,64,256 --dask tcp://10.0.0.1:8786 -o zoo.parquet
    """
    from roofline.studies.sweep.run import sweep

    check_suffixes(outputs, SUFFIXES)
    _check_places(outputs)

    def save_all(found: "Sweep") -> None:
        for path in outputs:
            _write(found, path)

    with redirect_stdout(sys.stderr), progress() as tell:  # what the user's code prints is no part of the result
        found = sweep(
            models, hardware, batches=batches, precisions=precisions, modes=modes, layouts=layouts, what_if=changes, image_size=image_size,
            calibrated=not uncalibrated, jobs=jobs, cluster=cluster, tell=tell, finish=save_all,
        )  # fmt: skip
    for line in (*found.lines(), *(f"wrote {path}" for path in outputs)):
        print(line)
    return 0 if "priced" in found.counts else NOTHING_PRICED


def _check_places(outputs: Sequence[str]) -> None:
    """Refuse a file that could not be written in the end before anything slow begins: try a file beside it."""
    import tempfile

    from roofline.errors import RooflineError

    for path in outputs:
        try:
            with tempfile.TemporaryFile(dir=Path(path).parent):
                pass
        except OSError as error:
            rule = "name a file in a folder that exists and is yours"
            raise RooflineError(f"cannot write {path!r}: {error.strerror or error}; {rule}") from error


def _write(found: "Sweep", path: str) -> None:
    if Path(path).suffix.lower() != ".html":
        found.save(path)
        return
    from roofline.files import save
    from roofline.report.sweep import to_html

    save(to_html(found), path)
