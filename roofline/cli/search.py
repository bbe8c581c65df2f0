"""`roofline search`: look for networks of much capacity that run fast on devices."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roofline.cli import options
from roofline.cli.analyze import Commas
from roofline.cli.console import progress, terminal
from roofline.cli.outputs import check_suffixes

if TYPE_CHECKING:
    from roofline.studies.found import Search

SUFFIXES = (".html", ".json", ".csv", ".parquet")
NOTHING_FEASIBLE = 1


@click.command(short_help="Search a space of networks for capacity under limits of latency.")
@click.argument("space")
@options.hardware()
@click.option("-b", "--batch", type=int, default=1, show_default=True, help="Batch size.")
@options.way
@options.limits
@click.option("--trials", type=int, required=True, metavar="N", help="Candidates in all, with those that a storage has already.")
@click.option(
    "--objective", default="macs", show_default=True, metavar="NAME",
    help="What to make large: macs or params, which stand for capacity and are no accuracy, or path/to/file.py:function (RUNS that code).",
)  # fmt: skip
@click.option(
    "--against", type=Commas("name[,name]"), default="latency", show_default=True,
    help="What to make small: latency, memory, cost, energy (for each device), or none.",
)  # fmt: skip
@click.option("--sampler", metavar="NAME", help="tpe, nsga2 or random [default: nsga2, and tpe with a single objective].")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random numbers; the same gives the same trials.")
@click.option(
    "--storage", metavar="URL", help="Keep trials in a database, such as sqlite:///search.db, where a search that was cut off goes on."
)
@click.option("--study", metavar="NAME", help="Name of the search in the storage [default: that of SPACE].")
@click.option("--image-size", "--img-size", type=int, help="Pixels a side of what a function's networks take [default: 224].")
@click.option(
    "--input", "inputs", multiple=True, metavar="SHAPE[:DTYPE]", help="Input of a function's networks, batch first; repeat for several."
)
@click.option(
    "-o", "--output", "outputs", multiple=True, metavar="FILE", help="Write .html, .json, .csv or .parquet by suffix; repeat for several."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout.")
@click.option("--uncalibrated", is_flag=True, help="Price at sourced ceilings alone, without what was fitted to measurements.")
@click.option("--no-cache", is_flag=True, help="Trace every network whole, not block by block.")
def command(
    space: str, hardware: Sequence[str], batch: int, precision: str, mode: str, layout: str, trials: int, objective: str,
    against: Sequence[str], sampler: str | None, seed: int, storage: str | None, study: str | None, image_size: int | None,
    inputs: Sequence[str], outputs: Sequence[str], as_json: bool, uncalibrated: bool, no_cache: bool, **limits: str | None,
) -> int:  # fmt: skip
    """Search SPACE for networks of the most capacity that run fastest, within limits, on every device.

    SPACE is a YAML file whose fields are values, lists of choices or ranges (docs/search.md), or path/to/file.py:function, which
    takes an Optuna trial and returns a network (this RUNS that code). MACs and parameters are proxies, not accuracy. The exit code
    is 1 when no network keeps every limit. Needs Optuna: pip install 'roofline[search]'.

    \b
    Examples:
      roofline search space.yaml --hw t4 --max-latency 5ms --trials 300 -o search.html
      roofline search space.yaml --hw t4 -b 8 --precision fp16 --mode engine --trials 300
      roofline search space.yaml --hw t4,cpu --trials 500 --storage sqlite:///search.db
      roofline search space.yaml --hw t4 --max-latency 5ms --against none --trials 200
      roofline search nets.py:build --hw v100 --objective train.py:accuracy --trials 50
    """
    from roofline.studies.search import search

    check_suffixes(outputs, SUFFIXES)
    with redirect_stdout(sys.stderr), progress() as tell:  # what the user's code prints is no part of the result
        found = search(
            space, hardware, trials=trials, objective=_objective(objective), against=against, batch=batch, precision=precision, mode=mode,
            layout=layout, image_size=image_size, inputs=inputs, sampler=sampler, seed=seed, storage=storage, study=study,
            calibrated=not uncalibrated, cache=not no_cache, progress=tell, **limits,
        )  # fmt: skip
        for path in outputs:
            _write(found, path)
    if as_json:
        sys.stdout.write(found.to_json())
    else:
        for line in (*found.lines(terminal().width), *(f"wrote {path}" for path in outputs)):
            print(line.rstrip())
    return 0 if found.best else NOTHING_FEASIBLE


def _objective(text: str) -> Any:
    """Load a function of the user's; leave the name of a proxy as it is."""
    if ":" not in text:
        return text
    from roofline.tracing.models import load_function

    return load_function(text)


def _write(found: "Search", path: str) -> None:
    from roofline.files import replacing, save

    suffix = Path(path).suffix.lower()
    if suffix == ".html":
        from roofline.report.search import to_html

        save(to_html(found), path)
    elif suffix == ".parquet":
        with replacing(path) as file:
            found.write_parquet(file)
    elif suffix == ".json":
        found.to_json(path)
    else:
        found.to_csv(path)
