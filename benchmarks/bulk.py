"""Sweep whole zoos: wall time and peak memory on one and on two processes, traces per second, and how fast peers count the same networks.

    python benchmarks/bulk.py [--models PATTERN] [--every N] [--jobs 1,2] [--sample N] [--save]

Each sweep runs in a process of its own with an empty cache, so it traces every network. The peers count a sample of the networks
one by one in one process, each on a network built beforehand; what they need for building it is not in their time, while a trace's
time is given with and without building. Memory is Linux's peak resident set, of the sweep's own process and of the largest worker.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"

FAMILIES = (
    "byobnet", "convnext", "cspnet", "densenet", "dla", "dpn", "edgenext", "efficientnet", "fasternet", "ghostnet", "hardcorenas", "hgnet",
    "hrnet", "inception_resnet_v2", "inception_next", "inception_v3", "inception_v4", "mambaout", "mobilenetv3", "nasnet",
    "nfnet", "pnasnet", "regnet", "repghost", "repvit", "res2net", "resnest", "resnet", "resnetv2", "rexnet", "sknet", "starnet",
    "tresnet", "vgg", "vovnet", "xception", "xception_aligned", "rdnet", "selecsls", "senet",
)  # fmt: skip
"""Families of timm that are convolutional networks: files of timm.models."""

BATCHES, PRECISIONS = (1, 8, 64, 256), ("fp32", "amp", "fp16")

_SWEEP = """
import json, re, resource, sys, threading, time
from pathlib import Path
import roofline

def peak(pid):
    try:
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path(f"/proc/{pid}/status").read_text())[1])
    except (OSError, TypeError):
        return 0

largest = [0]
def watch():
    me = Path("/proc/self").resolve().name
    while True:
        children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
        largest[0] = max([largest[0], *map(peak, children)])
        time.sleep(0.2)

models, batches, precisions, jobs = json.loads(sys.argv[1])
threading.Thread(target=watch, daemon=True).start()
begun = time.perf_counter()
found = roofline.sweep(models, batches=batches, precisions=precisions, jobs=jobs)
print(json.dumps({
    "seconds": time.perf_counter() - begun, "priced_seconds": found.effort.seconds, "networks": found.effort.networks, "rows": len(found),
    "counts": found.counts, "own_kib": peak("self"), "worker_kib": largest[0], "failures": found.failures,
}))
"""


def main() -> int:
    """Run the sweeps and the peers, print the tables, and return the exit status: 1 when a network failed."""
    parser = argparse.ArgumentParser(description="Sweep whole zoos, and count a sample by peers.")
    parser.add_argument("--models", help="shell pattern of networks [default: every convolutional network of timm]")
    parser.add_argument("--every", type=int, default=1, help="take every Nth network of them")
    parser.add_argument("--jobs", default="1,2", help="numbers of processes to sweep on, in turn")
    parser.add_argument("--sample", type=int, default=12, help="networks that the peers count")
    parser.add_argument("--save", action="store_true", help="write results/bulk.md")
    options = parser.parse_args()
    names = networks(options.models)[:: options.every]
    runs = {jobs: swept(names, jobs) for jobs in map(int, options.jobs.split(","))}
    text = report(names, runs, counted(names[:: max(len(names) // options.sample, 1)][: options.sample]))
    print(text)
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "bulk.md").write_text(text)
    return 1 if any(run["failures"] for run in runs.values()) else 0


def networks(pattern: str | None) -> list[str]:
    """List the networks to sweep, in alphabetical order."""
    import timm

    if pattern:
        return sorted(timm.list_models(pattern))
    return sorted({name for family in FAMILIES for name in timm.list_models(module=family)})


def swept(names: Sequence[str], jobs: int) -> dict[str, Any]:
    """Sweep *names* over all devices in a process of its own with an empty cache, and return what it took."""
    request = json.dumps([list(names), BATCHES, PRECISIONS, jobs])
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "ROOFLINE_CACHE": folder, "ROOFLINE_CACHE_LIMIT": str(2**34), "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", _SWEEP, request], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


# --- peers -----------------------------------------------------------------------------------------------------------


def counted(names: Sequence[str]) -> dict[str, list[float]]:
    """Time each tool at each of *names*, in seconds; a network that a peer cannot count is left out for it."""
    from roofline.costmodel.columns import tabulate
    from roofline.tracing.models import build
    from roofline.tracing.spec import ModelSpec
    from roofline.tracing.trace import record

    found: dict[str, list[float]] = {"roofline, building and tracing": [], "roofline, tracing": [], "torchinfo": [], "fvcore (CPU)": []}
    for name in names:
        begun = time.perf_counter()
        built = build(ModelSpec(name))
        building = time.perf_counter() - begun
        tracing = timed(lambda built=built: tabulate(record(built.module, built.inputs, verify=False), (1,)))
        found["roofline, tracing"].append(tracing)
        found["roofline, building and tracing"].append(building + tracing)
        for tool, count in (("torchinfo", torchinfo), ("fvcore (CPU)", fvcore)):
            with contextlib.suppress(Exception):  # peers fail on some networks; the table says how many they counted
                found[tool].append(timed(count(name, built)))
    return found


def timed(run: Callable[[], object]) -> float:
    """Seconds that *run* takes."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def torchinfo(name: str, built: Any) -> Callable[[], object]:
    """Return a count by torchinfo on the meta device."""
    import torchinfo as peer

    return lambda: peer.summary(built.module, input_data=list(built.inputs), device="meta", verbose=0)


def fvcore(name: str, built: Any) -> Callable[[], object]:
    """Return a count by fvcore, which needs weights and a real input."""
    import timm
    import torch
    from fvcore.nn import FlopCountAnalysis

    module, inputs = timm.create_model(name).eval(), tuple(torch.zeros(t.shape) for t in built.inputs)

    def count() -> int:
        analysis = FlopCountAnalysis(module, inputs)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        return analysis.total()

    return count


# --- the tables ------------------------------------------------------------------------------------------------------


def report(names: Sequence[str], runs: dict[int, dict[str, Any]], peers: dict[str, list[float]]) -> str:
    """Write what was measured as Markdown."""
    first = next(iter(runs.values()))
    lines = [
        f"{len(names)} networks, {first['rows']:,} rows (all devices, batches {', '.join(map(str, BATCHES))}, {', '.join(PRECISIONS)}), "
        f"nothing cached; {time.strftime('%Y-%m-%d')}, {platform.machine()} with {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, torch {version('torch')}, timm {version('timm')}",
        "",
        "| processes | wall time | networks/s | predictions/s | speed-up | own memory | largest worker | failed |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for jobs, run in runs.items():
        priced, rate = run["counts"].get("priced", 0), run["networks"] / run["seconds"]
        worker = f"{run['worker_kib'] / 1024:.0f} MiB" if jobs > 1 else "-"
        lines.append(
            f"| {jobs} | {run['seconds']:.0f} s | {rate:.2f} | {priced / run['seconds']:.0f} | {first['seconds'] / run['seconds']:.2f} | "
            f"{run['own_kib'] / 1024:.0f} MiB | {worker} | {len(run['failures'])} |"
        )
    lines += ["", "| one process, a sample | networks | median | networks/s |", "| --- | ---: | ---: | ---: |"]
    for tool, seconds in peers.items():
        if seconds:
            rate = len(seconds) / sum(seconds)
            lines.append(f"| {tool} | {len(seconds)} | {1e3 * statistics.median(seconds):.0f} ms | {rate:.2f} |")
    failed = {name: why for run in runs.values() for name, why in run["failures"].items()}
    lines += ["", *(f"failed: {name}: {why}" for name, why in failed.items())]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
