"""`roofline calibrate`: measure this machine's ceilings and ops, and write a profile that `--hw host` uses."""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roofline import units
from roofline.errors import RooflineError

if TYPE_CHECKING:
    from roofline.measurement.calibrate import CalibrationRun
    from roofline.measurement.ceilings import Rate
    from roofline.measurement.measurement import Measurement

REFRESH = 0.2
"""Seconds between two drawings of the bar."""

SCHEMA = 1
"""Version of the JSON form."""

WIDTH = 80


@click.command(short_help="Measure this machine, and write its hardware profile.")
@click.option("--quick", is_flag=True, help="Take about a minute, with fewer sizes, instead of ten.")
@click.option("--compiled", is_flag=True, help="Time the networks under torch.compile too: about 7 minutes more, 2 with --quick.")
@click.option("-o", "--output", metavar="FILE", help="Write the profile to this .yaml file [default: where --hw host finds it].")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--threads", type=int, help="CPU threads [default: what PyTorch takes].")
@click.option("--restart", is_flag=True, help="Measure everything again, whatever was measured before.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout.")
def command(*, quick: bool, compiled: bool, output: str | None, device: str, threads: int | None, restart: bool, as_json: bool) -> None:
    """Measure what this machine can do, fit the time model to it, and write a hardware profile.

    Ceilings come first: products by data type, convolutions, memory at each cache level, the cost of dispatching an op.
    Then each kind of op over a few hundred shapes, and a few networks. What is measured is kept at once: a run that was
    stopped goes on when the same command is given again, and one finished less than a day ago is used as it is. Leave the
    machine alone meanwhile. With --compiled, the profile holds parameters for `--mode compiled` too; without, they are
    borrowed from other devices.

    \b
    Examples:
      roofline calibrate
      roofline calibrate --quick
      roofline calibrate --compiled
      roofline calibrate --threads 1 -o one-core.yaml
      roofline calibrate --device cuda --restart
      roofline calibrate --quick --json | jq .calibration.ceilings
    """
    from roofline.measurement.calibrate import calibrate, fitted
    from roofline.measurement.hostprofile import check_output, default_path, document_of, hardware_of, write

    path = Path(output) if output is not None else default_path(device)
    check_output(path)
    try:
        with _progress() as tell:
            run = calibrate(device, quick=quick, compiled=compiled, threads=threads, restart=restart, progress=tell)
            tell("fitting", 1.0, 0.0)
            document = document_of(run)
            block = fitted(run, hardware_of(document, path))
    except KeyboardInterrupt:
        raise RooflineError("interrupted; what was measured is kept: give the same command again to go on") from None
    document = {**document, **({"calibration": block} if block else {})}
    write(document, path, run)
    if as_json:
        print(json.dumps(_body(run, document, path), indent=2, allow_nan=False))
        return
    print("\n".join(_summary(run, path, usual=output is None)))


@contextmanager
def _progress() -> Generator[Callable[[str, float, float], None], None, None]:
    """Show a bar on a terminal's stderr: what is measured, how much of it is done, and how long it still takes."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:  # a thread would disturb the runs
        task, shown = bar.add_task("starting", total=1.0, left=""), [0.0]

        def tell(phase: str, share: float, left: float) -> None:
            bar.update(task, description=phase, completed=share, left=_left(left))
            if share in (0.0, 1.0) or time.monotonic() - shown[0] > REFRESH:
                bar.refresh()
                shown[0] = time.monotonic()

        yield tell


def _left(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02} left" if seconds >= 1 else ""


# --- what is printed -------------------------------------------------------------------------------------------------


def _body(run: "CalibrationRun", document: dict[str, Any], path: Path) -> dict[str, Any]:
    facts = {
        "device": run.device, "threads": run.threads, "depth": run.depth, "date": run.date, "output": str(path), "state": str(run.path),
        "reused": run.reused, "left_out": run.left_out, "crowded": run.crowded, "noisy": run.noisy, "environment": dict(run.environment),
        "failures": [{"label": failure.label, "why": failure.why} for failure in run.failures],
    }  # fmt: skip
    ceilings = [_ceiling(rate) for rate in run.rates if rate.seconds]
    times = [_times(measured) for measured in (*run.cases, *run.networks)]
    return {"schema": SCHEMA, "calibration": {**facts, "ceilings": ceilings, "times": times, "profile": document}}


def _ceiling(rate: "Rate") -> dict[str, Any]:
    facts = {"label": rate.label, "what": rate.what, "dtype": rate.dtype, "size": rate.size, "threads": rate.threads}
    return {**facts, "best_seconds": rate.best, "rate_per_second": rate.rate, "runs": len(rate.seconds)}


def _times(m: "Measurement") -> dict[str, Any]:
    facts = {"label": m.model, "batch": m.batch, "precision": m.precision, "mode": m.mode}
    return {**facts, "median_seconds": m.median, "iqr_seconds": m.iqr, "runs": len(m.seconds)}


def _summary(run: "CalibrationRun", path: Path, *, usual: bool) -> Sequence[str]:
    name = run.environment.get("name", run.device)
    threads = f"{run.threads} thread{'s' * (run.threads != 1)}"
    lines = [f"{name} calibrated ({run.device}, {threads}, {run.depth})", "", *_products(run), "", *_memory(run), "", *_dispatch(run), ""]
    modes = Counter(measured.mode for measured in run.networks)
    compiled = f", {modes['compiled']} of them compiled" if modes["compiled"] else ""
    lines += _line("timed", f"{len(run.cases)} chains of ops and {len(run.networks)} networks{compiled}")
    if run.reused:
        lines += _line("kept", f"{run.reused} results of an earlier run; --restart measures them again")
    for caveat in _caveats(run):
        lines += _line("warning", caveat)
    lines += [f"wrote      {path}", f"next       roofline analyze resnet50 --hw {'host' if usual and run.device == 'cpu' else path}"]
    return [*lines, "           roofline validate"]


def _line(name: str, text: str) -> list[str]:
    return click.wrap_text(text, WIDTH, f"{name:<11}", " " * 11).splitlines()


def _caveats(run: "CalibrationRun") -> Iterator[str]:
    if run.left_out:
        yield f"{run.left_out} measurements left out for lack of time; give the command again with --restart, or --quick"
    if run.failures:
        yield f"{len(run.failures)} measurements failed, {run.failures[0].label}: {run.failures[0].why}"
    if run.crowded:
        total = len(run.cases) + len(run.networks)
        yield f"other work ran during {run.crowded} of {total} measurements; calibrate again with --restart on a quiet machine"


def _products(run: "CalibrationRun") -> list[str]:
    """Tabulate the best rate of each data type by the number of threads."""
    counts = sorted({rate.threads for rate in run.rates if rate.what == "gemm"})
    rows: dict[str, dict[int, Rate]] = {}
    for rate in (rate for rate in run.rates if rate.what in ("gemm", "conv") and rate.seconds):
        best = rows.setdefault(f"{'conv 3x3' if rate.what == 'conv' else 'product'} {rate.dtype}", {})
        if rate.threads not in best or rate.rate > best[rate.threads].rate:
            best[rate.threads] = rate
    header = ["compute", *(f"{count} thread{'s' * (count != 1)}" for count in counts)]
    return _table([header, *([name, *(_flops(best.get(count)) for count in counts)] for name, best in rows.items())])


def _flops(rate: "Rate | None") -> str:
    return "-" if rate is None else units.scaled(rate.rate, "OP/s" if rate.dtype.startswith("int") else "FLOP/s")


def _memory(run: "CalibrationRun") -> list[str]:
    """Tabulate the best bandwidths of each level with all threads."""
    from roofline.measurement.ceilings import PATTERNS
    from roofline.measurement.hostprofile import bandwidths

    rows = [[name, *(_bytes(found.get(what)) for what in PATTERNS)] for name, found in bandwidths(run).items()]
    return _table([["memory", *PATTERNS], *rows])


def _bytes(rate: "Rate | None") -> str:
    return "-" if rate is None else units.scaled(rate.rate, "B/s")


def _dispatch(run: "CalibrationRun") -> list[str]:
    names = {
        "op": "op",
        "view": "view",
        "region": "parallel region",
        "launch": "launch",
        "graph": "in a CUDA graph",
        "compiled": "compiled",
    }
    from roofline.measurement.ceilings import compiled_seconds, region_seconds

    best = {rate.what: 1 / rate.rate for rate in run.rates if rate.what in names and rate.seconds}
    differences = {"region": region_seconds(run.rates, run.threads), "compiled": compiled_seconds(run.rates)}
    found = {what: seconds for what, seconds in {**best, **differences}.items() if seconds is not None}
    return _table([["overhead", *(names[what] for what in found)], ["", *(units.seconds(seconds, digits=2) for seconds in found.values())]])


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align a first column of names to the left and figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{c:>{w}}" if i else f"{c:<{w}}" for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]
