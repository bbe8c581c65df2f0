"""Turn every image classifier of timm and torchvision into a graph, and report what fails.

For each network: the graph is well formed, every op has a cost rule, and the graph rewritten for another batch size
equals a fresh trace at that size, also after the first run, which may fill caches. Writes `results/coverage.csv` and
`results/coverage.md`; exits with 1 on a failure.

    python benchmarks/coverage.py [--match PATTERN] [--jobs N]
"""

import argparse
import csv
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from roofline.cost import work
from roofline.graph import Graph
from roofline.tracing.models import build, names
from roofline.tracing.spec import ModelSpec
from roofline.tracing.trace import record

RESULTS = Path(__file__).parent / "results"
FIELDS = ("model", "ops", "parameters", "macs", "seconds", "status")
NETWORKS_PER_PROCESS = 100
"""A worker is replaced after so many networks: zoos keep some of what they build."""


@dataclass(frozen=True, slots=True)
class Row:
    """One network: its size at batch 1, the seconds to build and trace it once, and what went wrong (`ok`: nothing)."""

    model: str
    ops: int = 0
    parameters: int = 0
    macs: int = 0
    seconds: float = 0.0
    status: str = "ok"
    op_names: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()


def main() -> int:
    """Trace the networks chosen on the command line and return the exit status."""
    parser = argparse.ArgumentParser(description="Trace every image classifier of timm and torchvision.")
    parser.add_argument("--match", default="*", help="shell pattern that the names must match (torchvision's start with torchvision:)")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    models = classifiers(options.match)
    rows = sorted(_progress(_trace_all(models, options.jobs), len(models)), key=lambda row: row.model)
    text = summary(rows)
    print(text)
    if options.match == "*":
        _write(rows, text)
    return 0 if all(row.status == "ok" for row in rows) else 1


def classifiers(pattern: str) -> tuple[str, ...]:
    """List the image classifiers whose name matches *pattern*; torchvision's detectors and segmenters are left out."""
    import torchvision.models

    known = set(torchvision.models.list_models(module=torchvision.models))
    return tuple(name for name in names(pattern) if not name.startswith("torchvision:") or name.removeprefix("torchvision:") in known)


def examine(name: str) -> Row:
    """Build and trace the network called *name* and check the graph."""
    import torch

    torch.set_num_threads(1)
    started = time.perf_counter()
    try:
        built = build(ModelSpec(name))
        graph = record(built.module, built.inputs, name=name, verify=False)
        seconds = time.perf_counter() - started
        again = record(built.module, built.inputs, name=name, verify=True)
        return _row(name, graph, again, seconds)
    except Exception as error:
        return Row(name, seconds=time.perf_counter() - started, status=f"{type(error).__name__}: {error}")


def _row(name: str, graph: Graph, again: Graph, seconds: float) -> Row:
    """Check *graph* and what a second trace gave, one that was compared with a trace at another batch size."""
    graph.check()
    again.check()
    works = [(op.name, work(op, graph)) for op in graph.ops]
    unknown = frozenset(op for op, w in works if w.kind == "unknown")
    problems = {
        f"unknown ops: {', '.join(sorted(unknown))}": unknown,
        "depends on the batch size": again.batch is None,
        "its first trace differs from later ones": again.batch is not None and graph != again,
    }
    status = "; ".join(problem for problem, found in problems.items() if found) or "ok"
    macs = round(sum(w.macs for _, w in works))
    return Row(name, len(graph.ops), graph.params, macs, seconds, status, frozenset(op for op, _ in works), unknown)


def _trace_all(models: Sequence[str], jobs: int) -> Iterator[Row]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, maxtasksperchild=NETWORKS_PER_PROCESS) as pool:
        yield from pool.imap_unordered(examine, models)


def _progress(rows: Iterator[Row], total: int) -> Iterator[Row]:
    """Pass *rows* on, and say on stderr how fast they come and how long the rest will take."""
    started = shown = time.perf_counter()
    for done, row in enumerate(rows, 1):
        now = time.perf_counter()
        if row.status != "ok":
            print(f"{row.model}: {row.status}", file=sys.stderr)
        if now - shown > 10 or done == total:
            rate = done / (now - started)
            print(f"{done}/{total} networks, {rate:.1f}/s, {(total - done) / rate:.0f} s left", file=sys.stderr)
            shown = now
        yield row


def summary(rows: Sequence[Row]) -> str:
    """Say how many networks were traced, what failed, and with which versions."""
    failed = [row for row in rows if row.status != "ok"]
    zoos = {zoo: sum(row.model.startswith("torchvision:") == (zoo == "torchvision") for row in rows) for zoo in ("timm", "torchvision")}
    seconds = sorted(row.seconds for row in rows) or [0.0]
    ops = frozenset[str]().union(*(row.op_names for row in rows))
    unknown = frozenset[str]().union(*(row.unknown for row in rows))
    facts = {
        "Networks": f"{len(rows)} ({', '.join(f'{zoo} {count}' for zoo, count in zoos.items())})",
        "Failures": f"{len(failed)} (must be 0)",
        "Ops without a cost rule": f"{len(unknown)} (must be 0)",
        "Ops recorded": f"{sum(row.ops for row in rows):,}",
        "Distinct op names": f"{len(ops)}",
        "Seconds to build and trace one": f"{seconds[len(seconds) // 2]:.2f} median, {seconds[-1]:.1f} at most",
        "Versions": ", ".join(f"{package} {version(package)}" for package in ("torch", "timm", "torchvision")),
    }
    bullets = (*(f"{label}: {value}" for label, value in facts.items()), *(f"{row.model}: {row.status}" for row in failed))
    return "\n".join(["# Coverage", "", *(f"- {bullet}" for bullet in bullets), "", f"Op names: {', '.join(sorted(ops))}.", ""])


def _write(rows: Sequence[Row], text: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "coverage.md").write_text(text)
    with (RESULTS / "coverage.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows((row.model, row.ops, row.parameters, row.macs, f"{row.seconds:.2f}", row.status) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
