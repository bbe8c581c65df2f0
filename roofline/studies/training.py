"""Predict a training step phase by phase, and what a whole run takes: hours, dollars, PFLOP/s-days."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import analyze_grid, check_request
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import load_hardware
from roofline.costmodel.timemodel import BOUNDS, Bound
from roofline.errors import RooflineError, UnsupportedError
from roofline.graph import PHASES, phase_of
from roofline.studies.footprint import TRAINABLE, Footprint, Memory
from roofline.tracing.source import several, trace
from roofline.transforms.step import STEP_MODES

if TYPE_CHECKING:
    from roofline.tracing.source import Model

HOUR = 3600.0
PFLOPS_DAY = 1e15 * 24 * HOUR
"""FLOPs of a day at 1 PFLOP/s."""

MAX_ITEMS = 10**15
"""More items, times epochs, than any run has seen."""

CAVEAT = "backward and update are priced with parameters that were fitted to inference; no training time was seen"


@dataclass(frozen=True, slots=True)
class Part:
    """A phase of the step, or one layer of it: its kernels, seconds, share of the step, FLOPs, bytes moved, limit and bound."""

    name: str
    kernels: int
    seconds: float
    share: float
    flops: float
    bytes: float
    limit_seconds: float
    bound: Bound
    seconds_by_phase: dict[str, float]


@dataclass(frozen=True)
class Training:
    """A training step on one device, and a run of *epochs* over *dataset_size* items where both are known.

    *analysis* holds every kernel of the step, *memory* what it takes. Times are in seconds, work in FLOPs (2 per MAC). Loading
    of data, other devices and the scaling of losses are not part of it.
    """

    analysis: Analysis
    memory: Memory
    optimizer: str
    epochs: float | None = None
    dataset_size: int | None = None

    @property
    def step_seconds(self) -> float:
        """Predicted seconds of one step."""
        return self.analysis.latency

    @property
    def interval(self) -> tuple[float, float]:
        """Seconds meant to hold 80 % of measured steps: wider than for inference, as nothing was fitted to training."""
        return self.analysis.interval

    @property
    def throughput(self) -> float:
        """Items per second."""
        return self.analysis.throughput

    @property
    def fits(self) -> bool:
        """Tell whether the step fits in the memory of the device, workspace of libraries not counted."""
        return self.memory.fits(self.analysis.hardware)

    @cached_property
    def phases(self) -> tuple[Part, ...]:
        """Forward, backward and optimizer, in this order; they add up to the step."""
        graph = self.analysis.graph
        return tuple(self._parts([phase_of(graph.ops[kernel[0]]) for kernel in graph.kernels], PHASES))

    @cached_property
    def layers(self) -> tuple[Part, ...]:
        """Every module that runs ops, with what these take in each phase, in order of the forward pass."""
        names = [self.analysis.path(k) or self.analysis.layer(k) for k in range(self.analysis.columns.size)]
        return tuple(self._parts(names, tuple(dict.fromkeys(names))))

    @property
    def steps(self) -> int | None:
        """Steps of the whole run, the last one of an epoch being as large as the others; None where that is not known."""
        if self.epochs is None or self.dataset_size is None:
            return None
        return math.ceil(self.epochs * math.ceil(self.dataset_size / self.analysis.batch))

    @property
    def hours(self) -> float | None:
        """Hours of the whole run."""
        return None if self.steps is None else self.steps * self.step_seconds / HOUR

    @property
    def hours_interval(self) -> tuple[float, float] | None:
        """Hours of the whole run at both ends of the interval."""
        return None if self.steps is None else (self.steps * self.interval[0] / HOUR, self.steps * self.interval[1] / HOUR)

    @property
    def usd(self) -> float | None:
        """Dollars of the whole run on the rented instance; None without a price or a run."""
        price = self.analysis.hardware.price
        return None if price is None or self.hours is None else self.hours * price.usd_per_hour

    @property
    def pflops_days(self) -> float | None:
        """Arithmetic of the whole run in PFLOP/s-days: what it computes, not what the device could have."""
        return None if self.steps is None else self.steps * self.analysis.flops / PFLOPS_DAY

    def _parts(self, names: Sequence[str], order: Sequence[str]) -> list[Part]:
        """Group kernels by the name that each has in *names*."""
        a, i = self.analysis, self.analysis.index
        seconds, first = a.times.seconds[i], a.times.bounds()[0][i]
        phases = np.array([PHASES.index(phase_of(a.graph.ops[kernel[0]])) for kernel in a.graph.kernels], dtype=np.int64)
        position = {name: n for n, name in enumerate(order)}
        group = np.array([position[name] for name in names], dtype=np.int64)

        def total(values: Any) -> Any:
            return np.bincount(group, weights=values, minlength=len(order))

        by_bound = [total(seconds * (first == b)) for b in range(len(BOUNDS))]
        by_phase = [total(seconds * (phases == p)) for p in range(len(PHASES))]
        whole, launched = total(seconds), total(a.columns.ops > 0)
        flops, moved, limit = total(a.columns.flops[i]), total(a.columns.bytes[i]), total(a.times.limit[i])
        return [
            Part(
                name=name,
                kernels=int(launched[n]),
                seconds=float(whole[n]),
                share=float(whole[n]) / self.step_seconds,
                flops=float(flops[n]),
                bytes=float(moved[n]),
                limit_seconds=float(limit[n]),
                bound=BOUNDS[int(np.argmax([b[n] for b in by_bound]))],
                seconds_by_phase={phase: float(by_phase[p][n]) for p, phase in enumerate(PHASES)},
            )
            for n, name in enumerate(order)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return every figure as a plain dictionary, with the unit in each key."""
        a = self.analysis
        return {
            "model": a.model,
            "hardware": a.hardware.id,
            "batch": a.batch,
            "precision": a.precision,
            "mode": a.mode,
            "layout": a.layout,
            "optimizer": self.optimizer,
            "calibration": a.calibration.status,
            "step_seconds": self.step_seconds,
            "interval_80_seconds": list(self.interval),
            "throughput_items_per_second": self.throughput,
            "lower_bound_seconds": a.lower_bound,
            "bound": a.bound,
            "flops": a.flops,
            "macs": a.macs,
            "memory_bytes": self.memory.total,
            "fits": self.fits,
            "epochs": self.epochs,
            "dataset_size": self.dataset_size,
            "steps": self.steps,
            "hours": self.hours,
            "hours_interval": list(self.hours_interval) if self.hours_interval else None,
            "usd": self.usd,
            "pflops_days": self.pflops_days,
            "caveat": CAVEAT,
            "unknown_ops": {name: count for name, (count, _) in a.unknown.items()},
            "phases": [_plain(part) for part in self.phases],
            "layers": [_plain(part) for part in self.layers],
        }

    def __str__(self) -> str:
        from roofline.studies.training_text import lines

        return "\n".join(lines(self))

    def __repr__(self) -> str:
        return (
            f"<Training: {self.analysis.model} on {self.analysis.hardware.id}, batch {self.analysis.batch}, {self.optimizer}: "
            f"{units.seconds(self.step_seconds)} a step>"
        )


def _plain(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "kernels": part.kernels,
        "seconds": part.seconds,
        "share": part.share,
        "flops": part.flops,
        "bytes": part.bytes,
        "limit_seconds": part.limit_seconds,
        "bound": part.bound,
        **{f"{phase}_seconds": seconds for phase, seconds in part.seconds_by_phase.items()},
    }


def train(
    model: "Model",
    hardware: str | Path | Hardware,
    *,
    batch: int = 32,
    optimizer: str = "momentum",
    precision: str = "fp32",
    mode: str = "eager",
    epochs: float | None = None,
    dataset_size: int | None = None,
    **options: Any,
) -> Training:
    """Predict a training step of *model* on *hardware*, and with *epochs* and *dataset_size* a whole run.

    *model* is what `analyze` takes, or a Graph of `trace(..., optimizer=...)`. *optimizer* is `sgd`, `momentum` (SGD with
    it), `adam`, `adamw` or `rmsprop`; *mode* `eager` or `compiled`. *options* are layout, image_size, in_chans, inputs,
    example_inputs, calibrated, cache.
    """
    return train_many(
        model, [hardware], [batch], optimizer=optimizer, precision=precision, mode=mode, epochs=epochs, dataset_size=dataset_size, **options
    )[0]


def train_many(
    model: "Model",
    hardware: Sequence[str | Path | Hardware],
    batches: Sequence[int],
    *,
    optimizer: str = "momentum",
    precision: str = "fp32",
    mode: str = "eager",
    epochs: float | None = None,
    dataset_size: int | None = None,
    layout: str = "nchw",
    calibrated: bool = True,
    **sizes: Any,
) -> tuple[Training, ...]:
    """Predict a step for every device and batch size, nested in that order, from one traced graph; *sizes* go to `trace`."""
    devices = tuple(load_hardware(h) for h in several(hardware))
    check_request(devices, batches, (precision,), mode, layout)
    _check_run(precision, mode, epochs, dataset_size)
    graph = trace(model, optimizer=optimizer, **sizes)
    footprint = Footprint.of(graph, precision=precision, mode=mode, optimizer=optimizer)
    analyses = analyze_grid(graph, devices, batches, precisions=(precision,), mode=mode, layout=layout, calibrated=calibrated)
    memories = {a.batch: footprint.at(a.batch) for a in analyses}
    return tuple(Training(a, memories[a.batch], optimizer, epochs, dataset_size) for a in analyses)


def _check_run(precision: str, mode: str, epochs: float | None, dataset_size: int | None) -> None:
    if precision not in TRAINABLE:
        raise UnsupportedError(f"cannot train in {precision}; use one of {', '.join(TRAINABLE)}")
    if mode not in STEP_MODES:
        raise UnsupportedError(f"mode {mode} runs inference only; train in one of {', '.join(STEP_MODES)}")
    if (epochs is None) != (dataset_size is None):
        raise RooflineError("a run needs both epochs and dataset_size (--epochs 350 --dataset-size 1281167); or leave out both")
    for name, value in (("number of epochs", epochs), ("dataset size", dataset_size)):
        if value is not None and not 0 < value <= MAX_ITEMS:
            raise RooflineError(f"bad {name} {value}; use a number above 0")
