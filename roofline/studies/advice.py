"""Answer what would help a network most on a device: every change that it can be given, priced and ranked by the seconds it saves."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from roofline.cost import KINDS
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import MAX_BATCH, analyze_grid, check_request
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import load_hardware
from roofline.graph import Graph
from roofline.studies.options import Option, options_for
from roofline.studies.setting import Tell, quiet
from roofline.tracing.source import trace
from roofline.transforms.changes import parse_changes

if TYPE_CHECKING:
    from roofline.tracing.source import Model

RATIO_SPREAD: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "precision": ((0.78, 1.24), (0.86, 1.33)),
    "mode": ((0.93, 1.05), (0.89, 1.05)),
    "layout": ((0.95, 1.04), (0.92, 1.03)),
    "batch": ((0.89, 1.20), (0.82, 1.19)),
    "graph": ((0.91, 1.09), (0.90, 1.10)),
}
"""10th and 90th percentile of measured over predicted ratios of two times on one device, by what differs between the two.

From pairs of published timings (benchmarks/results/left_out.csv), as predicted with the network left out of the fit, and with the
device left out: 21 pairs that differ in precision, 743 in mode, 875 in layout, 413 in batch size by a factor of 4 to 16. Nobody
published a network beside a changed one, so for changes of the graph two networks of one family stand, next to each other by their
times: 4,621 pairs. tests/test_advice.py counts them again.
"""

WORTH = 0.002
"""Smallest share of the latency that a change must save to be listed."""


@dataclass(frozen=True)
class Advised:
    """A change and the network under it: *after* is priced at the batch that it runs, *before* as it runs today."""

    option: Option
    before: Analysis
    after: Analysis

    @property
    def seconds(self) -> float:
        """Predicted seconds for as many items as today's batch has."""
        return self.after.latency * self.before.batch / self.after.batch

    @property
    def saved(self) -> float:
        """Predicted seconds saved on as many items as today's batch has; negative where the change costs time."""
        return self.before.latency - self.seconds

    @property
    def share(self) -> float:
        """Part of today's latency that is saved."""
        return self.saved / self.before.latency

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Seconds between which 80 % of true savings are expected.

        Both predictions are for the same network on the same device, so most of what is wrong in one is wrong in the other. Two
        errors are left, taken to be independent and added in quadrature: that of today's latency, which scales the saving as
        a whole (`Analysis.spread`); and that of the ratio of the two, which moves the new time of the kernels that the change
        touches (RATIO_SPREAD). Kernels whose work stays the same cancel.
        """
        low, high = self.before.spread
        longer, shorter = self._ratio_errors
        return self.saved - math.hypot(self.saved * (1 - low), longer), self.saved + math.hypot(self.saved * (high - 1), shorter)

    @property
    def _ratio_errors(self) -> tuple[float, float]:
        """Seconds by which the new time may turn out longer, and shorter, for the error of the ratio."""
        calibration, changes = self.after.calibration, self.option.changes
        tested = calibration.measured and self.after.precision in calibration.precisions
        spreads = [RATIO_SPREAD[change][0 if tested else 1] for change in changes]
        moved = self.touched if changes == frozenset({"graph"}) else self.seconds
        return moved * math.hypot(*(high - 1 for _, high in spreads)), moved * min(math.hypot(*(1 - low for low, _ in spreads)), 1.0)

    @cached_property
    def touched(self) -> float:
        """Seconds, after the change, of kernels whose work no kernel of today does."""
        known = Counter(_works(self.before))
        seconds = self.after.times.seconds[self.after.index]
        total = 0.0
        for work, spent in zip(_works(self.after), seconds, strict=True):
            if known[work] > 0:
                known[work] -= 1
            else:
                total += float(spent)
        return total

    def by_kind(self) -> dict[str, float]:
        """Seconds saved on each kind of op, most first; what a change costs elsewhere is negative."""
        before, after = (_seconds(a, [KINDS[k] for k in a.columns.kind]) for a in (self.before, self.after))
        return _difference(before, after, self.before.batch / self.after.batch)

    def by_layer(self) -> dict[str, float]:
        """Seconds saved on each layer, most first."""
        before, after = (_seconds(a, [a.layer(k) for k in range(a.columns.size)]) for a in (self.before, self.after))
        return _difference(before, after, self.before.batch / self.after.batch)


@dataclass(frozen=True)
class Advice:
    """What would help: the network as it runs today, and the changes that save time, most first.

    *bounds* tell what could be saved at most, by what nobody ships. *useless* names changes that were priced and save next to
    nothing, *too_large* those that do not fit in the device's memory.
    """

    today: Analysis
    ranked: tuple[Advised, ...]
    bounds: tuple[Advised, ...] = ()
    useless: tuple[str, ...] = ()
    too_large: tuple[str, ...] = ()

    @property
    def best(self) -> Advised | None:
        """The change that saves most; None where none helps."""
        return self.ranked[0] if self.ranked else None

    def __str__(self) -> str:
        from roofline.studies.advised import lines

        return "\n".join(lines(self)) + "\n"

    def to_json(self) -> str:
        """Write everything as JSON, with the unit in each key."""
        from roofline.studies.advised import to_json

        return to_json(self)

    def to_csv(self) -> str:
        """Write one line a change, with the unit in each heading."""
        from roofline.studies.advised import to_csv

        return to_csv(self)

    def to_markdown(self) -> str:
        """Write the ranking as a Markdown table."""
        from roofline.studies.advised import to_markdown

        return to_markdown(self)


def advise(
    model: "Model",
    hardware: str | Hardware,
    *,
    batch: int = 1,
    image_size: int | None = None,
    precision: str = "fp32",
    mode: str = "eager",
    layout: str = "nchw",
    what_if: Sequence[str] = (),
    calibrated: bool = True,
    cache: bool = True,
    tell: Tell = quiet,
) -> Advice:
    """Rank what would help *model* most on *hardware*, run today in this way: one `Advised` for each change that saves time.

    *what_if* is what has been done already. *tell* is told what is being priced and which share is done. Changes that the device
    does not know are left out. Raises RooflineError for what `analyze` refuses.
    """
    device = load_hardware(hardware)
    check_request([device], [batch], [precision], mode, layout)
    done = parse_changes(what_if)
    tell("tracing", 0.0)
    graph = trace(model, image_size=image_size, cache=cache)
    today = Option("today", done.texts, mode, precision, layout)
    options = tuple(options_for(device, mode, precision, layout, batched=graph.batch is not None and batch * 8 <= MAX_BATCH))
    runs = [_over(today, option) for option in options]
    needed: dict[Option, set[int]] = {}
    for run in (today, *runs):
        needed.setdefault(_way(run), set()).add(batch * run.times)
    priced: dict[Option, Sequence[Analysis]] = {}
    for i, (way, batches) in enumerate(needed.items()):
        tell(" ".join((graph.name, *way.what_if, way.precision or "", way.mode or "")), i / len(needed))
        priced[way] = _priced(graph, device, sorted(batches), way, calibrated)
    before = _at(priced[_way(today)], batch)
    found = [Advised(o, before, _at(priced[_way(run)], batch * run.times)) for o, run in zip(options, runs, strict=True)]
    fitting = [a for a in found if a.after.peak_memory <= device.memory_size]
    ranked = sorted((a for a in fitting if a.share >= WORTH and not _idle(a, fitting)), key=lambda a: -a.saved)
    return Advice(
        before,
        tuple(a for a in ranked if not a.option.bound),
        tuple(a for a in ranked if a.option.bound),
        tuple(a.option.name for a in fitting if a.share < WORTH),
        tuple(a.option.name for a in found if a.after.peak_memory > device.memory_size),
    )


def _idle(advised: Advised, others: Sequence[Advised]) -> bool:
    """Tell whether some step of a combination adds nothing: the rest of it, which is among *others*, saves as much."""
    parts = advised.option.parts
    return any(other.option.parts < parts and other.saved > advised.saved - WORTH * advised.before.latency for other in others)


def _over(today: Option, option: Option) -> Option:
    """Lay *option* over the way that the network runs today."""
    return replace(
        option, what_if=today.what_if + option.what_if, mode=option.mode or today.mode, precision=option.precision or today.precision,
        layout=option.layout or today.layout,
    )  # fmt: skip


def _way(run: Option) -> Option:
    """Leave out of *run* what pricing does not ask, so that several batches of one way are priced together."""
    return replace(run, name="", times=1, takes=(), steps=1, bound=False)


def _priced(graph: Graph, device: Hardware, batches: Sequence[int], run: Option, calibrated: bool) -> Sequence[Analysis]:
    return analyze_grid(
        graph, [device], batches, precisions=[run.precision or "fp32"], mode=run.mode or "eager", layout=run.layout or "nchw",
        calibrated=calibrated, changes=run.what_if, change=parse_changes(run.what_if),
    )  # fmt: skip


def _at(analyses: Sequence[Analysis], batch: int) -> Analysis:
    return next(a for a in analyses if a.batch == batch)


def _works(analysis: Analysis) -> Iterator[tuple[object, ...]]:
    """Describe what each kernel does: its main op and layer, its FLOPs and bytes."""
    columns, i = analysis.columns, analysis.index
    for k in range(columns.size):
        op = analysis.graph.ops[columns.anchor[k]]
        yield op.name, op.module, len(analysis.graph.kernels[k]), float(columns.flops[i, k]), float(columns.bytes[i, k])


def _seconds(analysis: Analysis, labels: Sequence[str]) -> dict[str, float]:
    names = list(dict.fromkeys(labels))
    position = {name: i for i, name in enumerate(names)}
    index = np.array([position[label] for label in labels], dtype=np.int64)
    sums = np.bincount(index, weights=analysis.times.seconds[analysis.index], minlength=len(names))
    return dict(zip(names, map(float, sums), strict=True))


def _difference(before: Mapping[str, float], after: Mapping[str, float], scale: float) -> dict[str, float]:
    names = dict.fromkeys((*before, *after))
    saved = {name: before.get(name, 0.0) - after.get(name, 0.0) * scale for name in names}
    return dict(sorted(saved.items(), key=lambda pair: -pair[1]))
