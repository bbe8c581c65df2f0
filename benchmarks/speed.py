"""Time the tool against its peers and its targets, all in one run: compare the ratios, not the seconds.

    python benchmarks/speed.py [--repeats N] [--save]

Repeats of different tools alternate, garbage is collected between them, and the median counts (of pricing, the best). Exits with 1 when a
target is missed.
"""

import argparse
import copy
import gc
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from roofline.costmodel.analyze import analyze_grid
from roofline.costmodel.columns import tabulate
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import load_hardware
from roofline.costmodel.hardware import names as hardware_names
from roofline.tracing.models import build
from roofline.tracing.spec import ModelSpec
from roofline.tracing.trace import record

ROOT = Path(__file__).parents[1]
NETWORKS = ("efficientnet_b0", "efficientnet_b3", "efficientnet_b7", "resnet50", "convnext_tiny")
OURS, COUNTER, COUNTER_NO_GRAD, FVCORE = "roofline", "FlopCounterMode", "FlopCounterMode, no_grad", "fvcore (CPU)"
DEVICES, BATCHES, PRECISIONS = 20, tuple(2**i for i in range(10)), ("fp32", "fp16", "amp")

_PEAK_MEMORY = """
import re, timm, torch
from pathlib import Path
from roofline.tracing.spec import ModelSpec
from roofline.tracing.models import build
from roofline.tracing.trace import record

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

before = peak()
built = build(ModelSpec("efficientnet_b7"))
record(built.module, [torch.empty((1024, *t.shape[1:]), device="meta") for t in built.inputs], verify=False)
print(peak() - before)
"""
"""Prints kibibytes (Linux). Not ru_maxrss: a new process takes that over from the process that started it."""


@dataclass(frozen=True, slots=True)
class Check:
    """A measured figure and the most it may be."""

    what: str
    measured: float
    target: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """Tell whether the target holds."""
        return self.measured <= self.target

    def cells(self) -> tuple[str, ...]:
        """Write the check as the cells of a table."""
        return (self.what, _figure(self.measured, self.unit), f"<= {_figure(self.target, self.unit)}", "pass" if self.met else "MISS")


def main() -> int:
    """Run every benchmark, print the tables, and return the exit status."""
    parser = argparse.ArgumentParser(description="Time the tool against its peers and its targets.")
    parser.add_argument("--repeats", type=int, default=7, help="repeats of each measurement (5 or more)")
    parser.add_argument("--save", action="store_true", help="write results/speed.md")
    options = parser.parse_args()
    _silence_peers()
    timed = {name: median_times(counters(name), options.repeats) for name in NETWORKS}
    checks = (*counter_checks(timed), *startup_checks(options.repeats), grid_check(options.repeats), memory_check())
    text = report(timed, checks, options.repeats)
    print(text)
    if options.save:
        (Path(__file__).parent / "results").mkdir(exist_ok=True)
        (Path(__file__).parent / "results" / "speed.md").write_text(text)
    return 0 if all(check.met for check in checks) else 1


# --- counting the work of a network, by this tool and its peers ------------------------------------------------------


def counters(name: str) -> dict[str, Callable[[], object]]:
    """Return what each tool does to count the network called *name*; each has a copy, as some leave hooks and buffers behind."""
    built = build(ModelSpec(name))
    meta, inputs = built.module, built.inputs
    real, real_inputs = timm.create_model(name).eval(), [torch.zeros(t.shape) for t in inputs]
    return {
        OURS: lambda: tabulate(record(meta, inputs, verify=False), (1,)),
        COUNTER: lambda: _count(meta, inputs),
        COUNTER_NO_GRAD: torch.no_grad()(lambda: _count(meta, inputs)),
        "torchinfo": _torchinfo(copy.deepcopy(meta), inputs),
        "ptflops": _ptflops(copy.deepcopy(meta), inputs),
        "thop": _thop(copy.deepcopy(meta), inputs),
        FVCORE: _fvcore(real, real_inputs),
        "one inference, meta": torch.no_grad()(lambda: meta(*inputs)),
        "one inference, CPU": torch.no_grad()(lambda: real(*real_inputs)),
    }


def _count(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> int:
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops()


def _torchinfo(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> Callable[[], object]:
    import torchinfo

    return lambda: torchinfo.summary(module, input_data=list(inputs), device="meta", verbose=0)


def _ptflops(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> Callable[[], object]:
    import ptflops

    shape = tuple(inputs[0].shape[1:])
    return lambda: ptflops.get_model_complexity_info(module, shape, False, False, backend="pytorch", verbose=False)


def _thop(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> Callable[[], object]:
    import thop

    return lambda: thop.profile(module, inputs=tuple(inputs), verbose=False)


def _fvcore(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> Callable[[], object]:
    from fvcore.nn import FlopCountAnalysis

    def count() -> int:
        analysis = FlopCountAnalysis(module, tuple(inputs))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        return analysis.total()

    return count


def counter_checks(timed: Mapping[str, Mapping[str, float]]) -> Iterator[Check]:
    """Compare this tool with the fastest peer and with fvcore, at the network where it fares worst."""
    for peer, target in ((COUNTER, 1.2), (COUNTER_NO_GRAD, 1.2), (FVCORE, 1.0)):
        yield Check(f"time to count, over {peer} (worst network)", max(times[OURS] / times[peer] for times in timed.values()), target)


# --- commands, the grid, memory ---------------------------------------------------------------------------------------


def startup_checks(repeats: int) -> tuple[Check, ...]:
    """Time commands in new processes, with and without a cached graph."""
    if not (ROOT / "roofline" / "__main__.py").is_file():
        print("skipped: there is no command line yet", file=sys.stderr)
        return ()
    with tempfile.TemporaryDirectory() as folder:
        analyze = ("-m", "roofline", "analyze", "efficientnet_b3", "--hw", "t4")
        times = median_times(
            {
                "help": lambda: _python("-m", "roofline", "--help"),
                "list": lambda: _python("-m", "roofline", "hardware", "list"),
                "warm": lambda: _python(*analyze, cache=folder),
                "cold": lambda: _python(*analyze, cache=tempfile.mkdtemp(dir=folder)),
                "timm": lambda: _python("-c", "import timm"),
            },
            repeats,
        )
    return (
        Check("roofline --help", times["help"], 0.3, "s"),
        Check("roofline hardware list", times["list"], 0.3, "s"),
        Check("analyze efficientnet_b3 --hw t4, graph cached", times["warm"], 1.0, "s"),
        Check("analyze efficientnet_b3 --hw t4, nothing cached, over `import timm`", times["cold"] - times["timm"], 2.0, "s"),
    )


def _python(*arguments: str, cache: str | None = None) -> str:
    """Run Python in the repository, keep traced graphs in *cache*, and return what it prints."""
    environment = {**os.environ, **({"ROOFLINE_CACHE": cache} if cache else {})}
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def grid_check(repeats: int) -> Check:
    """Time pricing one traced network on many devices at many batch sizes and precisions."""
    built = build(ModelSpec("efficientnet_b3"))
    graph, devices = record(built.module, built.inputs, verify=False), grid_devices()

    def price() -> float:
        return sum(analysis.latency for analysis in analyze_grid(graph, devices, BATCHES, precisions=PRECISIONS))

    seconds = min(all_times({"grid": price}, 3 * repeats)["grid"])  # with nothing beside it to compare with, the least disturbed run
    size = f"{DEVICES} devices x {len(BATCHES)} batches x {len(PRECISIONS)} precisions"
    return Check(f"pricing efficientnet_b3 for {size}", seconds, 0.1, "s")


def grid_devices() -> tuple[Hardware, ...]:
    """Choose devices that compute in every precision of the grid, again from the first where there are too few."""
    able = [device for device in map(load_hardware, hardware_names()) if device.supports("fp16")]
    return tuple(able[i % len(able)] for i in range(DEVICES))


def memory_check() -> Check:
    """Measure the memory that building and tracing a large network at a large batch adds to a process."""
    gigabytes = float(_python("-c", _PEAK_MEMORY)) * 1024 / 1e9
    return Check("peak memory of tracing efficientnet_b7 at batch 1024, over the imports", gigabytes, 1.0, "GB")


# --- timing and printing ----------------------------------------------------------------------------------------------


def median_times(tasks: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Run the *tasks* in turn and return the median seconds of each."""
    return {name: statistics.median(times) for name, times in all_times(tasks, repeats).items()}


def all_times(tasks: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Run the *tasks* in turn, once to warm up and then *repeats* times; return the seconds of each."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(repeats + 1):
        for name, task in tasks.items():
            gc.collect()
            started = time.perf_counter()
            task()
            elapsed = time.perf_counter() - started
            if turn:
                found[name].append(elapsed)
    return found


def report(timed: Mapping[str, Mapping[str, float]], checks: Sequence[Check], repeats: int) -> str:
    """Write all results as Markdown."""
    machine = f"{os.cpu_count()} {platform.machine()} cores, Python {platform.python_version()}"
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "timm", "fvcore", "torchinfo", "ptflops", "thop"))
    tools = list(next(iter(timed.values())))
    seconds = [[name, *(f"{1e3 * times[tool]:.0f}" for tool in tools)] for name, times in timed.items()]
    ratios = [[name, *(f"{times[OURS] / times[tool]:.2f}" for tool in tools if tool != OURS)] for name, times in timed.items()]
    return "\n".join(
        [
            "# Speed",
            "",
            f"Median of {repeats} interleaved repeats (pricing: best of {3 * repeats}) on {machine}; {packages}.",
            "",
            "## Targets",
            "",
            *_table(("What", "Measured", "Target", ""), [check.cells() for check in checks]),
            "",
            "## Counting one network, batch 1, already built: milliseconds",
            "",
            "On the meta device, so no number is computed, unless it says CPU. fvcore cannot run there (its tracer fails on meta",
            "tensors), so it has real weights and computes one inference while it counts; the last column is that inference alone.",
            "",
            *_table(("Network", *tools), seconds),
            "",
            "## Our time over theirs (below 1: ours is faster)",
            "",
            *_table(("Network", *(tool for tool in tools if tool != OURS)), ratios),
            "",
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _figure(value: float, unit: str) -> str:
    return f"{value:.2f} {unit}".strip()


def _silence_peers() -> None:
    """Keep warnings of other tools out of the tables."""
    warnings.simplefilter("ignore")
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
