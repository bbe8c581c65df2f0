"""Hold the memory that is predicted against what PyTorch's allocator hands out in real runs on this machine's processor.

For each network an inference and training steps with several optimisers, at two batch sizes. The profiler of PyTorch logs
every allocation and release while the network runs; the largest sum, and what was there before, is the measured peak.
Nothing of that knows of graphs. Writes `results/memory.md` with --save; exits with 1 where a prediction is off by more than
a tenth.

    python benchmarks/memory.py [--match PATTERN] [--save]
"""

import argparse
import datetime
import fnmatch
import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import roofline
from roofline import units
from roofline.tracing.training import OPTIMIZERS

RESULTS = Path(__file__).parent / "results" / "memory.md"

TOLERANCE = 0.1
"""Share of the measured peak by which a prediction may be off."""

SMALL, LARGE = 4, 16
"""Images at a time: every optimiser at the small batch, one of them at the large one."""

STEPPERS = ("sgd", "momentum", "adam", "adamw")

NETWORKS = {
    "resnet18": 128,
    "resnet50": 128,
    "efficientnet_b0": 128,
    "mobilenetv3_large_100": 128,
    "densenet121": 128,
    "convnext_atto": 128,
    "vit_tiny_patch16_224": 224,
}
"""Networks of timm, with the side of their images in pixels."""

HEAVY = (("efficientnet_b7", 600, 1, None), ("efficientnet_b7", 600, 1, "rmsprop"))
"""Single runs of a network that fills a small card."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: an inference, or a step with *optimizer*, and the bytes at its peak as measured and predicted."""

    model: str
    pixels: int
    batch: int
    optimizer: str | None
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Share of the measured peak by which the prediction is above it, or below where negative."""
        return self.predicted / self.measured - 1


def main() -> int:
    """Run the networks chosen on the command line and return the exit status."""
    parser = argparse.ArgumentParser(description="Hold predicted memory against real runs.")
    parser.add_argument("--match", default="*", help="shell pattern that the names must match")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    todo = [case for case in cases() if fnmatch.fnmatch(case[0], options.match)]
    runs: list[Run] = []
    for n, case in enumerate(todo, 1):
        runs.append(run := compare(*case))
        print(f"{n} of {len(todo)}  {row(run)}", file=sys.stderr, flush=True)
    if not runs:
        parser.error(f"no network matches {options.match!r}")
    text = summary(runs)
    print(text)
    if options.save:
        RESULTS.write_text(text)
    return 0 if all(abs(run.error) <= TOLERANCE for run in runs) else 1


def cases() -> Iterator[tuple[str, int, int, str | None]]:
    """Yield network, pixels, batch and optimiser of every run, None for an inference."""
    for model, pixels in NETWORKS.items():
        yield from ((model, pixels, SMALL, optimizer) for optimizer in (None, *STEPPERS))
        yield from ((model, pixels, LARGE, optimizer) for optimizer in (None, "momentum"))
    yield from HEAVY


def compare(model: str, pixels: int, batch: int, optimizer: str | None) -> Run:
    """Measure one run, and predict it."""
    import timm

    module, images = timm.create_model(model), torch.randn(batch, 3, pixels, pixels)
    measured = inference(module, images) if optimizer is None else step(module, images, optimizer)
    predicted = roofline.memory(model, batch=batch, image_size=pixels, optimizer=optimizer).total
    return Run(model, pixels, batch, optimizer, measured, predicted)


def inference(module: torch.nn.Module, images: torch.Tensor) -> int:
    """Bytes at the peak of an inference."""
    module.eval()
    with torch.inference_mode():
        return peak(lambda: module(images), [*module.parameters(), *module.buffers(), images])


def step(module: torch.nn.Module, images: torch.Tensor, optimizer: str) -> int:
    """Bytes at the peak of a training step, after the optimiser has made its state."""
    stepper = OPTIMIZERS[optimizer]([*module.train().parameters()])
    targets = torch.zeros(len(images), dtype=torch.int64)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    stepper.step()
    stepper.zero_grad()
    state = [value for values in stepper.state.values() for value in values.values() if isinstance(value, torch.Tensor)]

    def train() -> None:
        torch.nn.functional.cross_entropy(module(images), targets).backward()
        stepper.step()

    return peak(train, [*module.parameters(), *module.buffers(), *state, images, targets])


def peak(run: Callable[[], Any], before: Sequence[torch.Tensor]) -> int:
    """Bytes at the peak of *run*, with those of *before*, which it finds."""
    held = sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in before}.values())
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as log:
        run()
    found: Any = log.profiler
    changes = sorted((e.start_ns(), i, e.nbytes()) for i, e in enumerate(found.kineto_results.events()) if e.name() == "[memory]")
    most = now = held
    for _, _, change in changes:
        now += change
        most = max(most, now)
    return most


def percent(share: float) -> str:
    """Write *share* with its sign, and nothing as +0.0%."""
    return f"{round(share, 3) + 0.0:+.1%}"


def row(run: Run) -> str:
    """Write *run* as a line of a table."""
    sizes = (units.scaled(size, "B") for size in (run.measured, run.predicted))
    cells = (run.model, str(run.pixels), str(run.batch), run.optimizer or "inference", *sizes, percent(run.error))
    return f"| {' | '.join(cells)} |"


def summary(runs: Sequence[Run]) -> str:
    """Write every run, and how far off they are together."""
    sizes = [abs(run.error) for run in runs]
    worst = max(runs, key=lambda run: abs(run.error))
    close = sum(size <= TOLERANCE for size in sizes)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm"))
    today, middle = datetime.datetime.now(datetime.UTC).date(), statistics.median(sizes)
    lines = [
        "# Predicted memory beside real runs",
        "",
        f"Measured on {today} on a processor ({platform.machine()}), in fp32, with {versions}. Measured is the most",
        "that PyTorch's allocator had handed out at once, weights and the state of the optimiser included.",
        "`python benchmarks/memory.py --save` writes this page anew.",
        "",
        f"{close} of {len(runs)} peaks are within {TOLERANCE:.0%}. The median error is {middle:.1%}, the largest {percent(worst.error)}",
        f"({worst.model}, batch {worst.batch}, {worst.optimizer or 'inference'}).",
        "",
        "| network | pixels | batch | run as | measured | predicted | error |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    lines += map(row, runs)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
