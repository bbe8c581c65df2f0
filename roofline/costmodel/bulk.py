"""Price many networks on many devices as arrays: latency, interval and limit of each, and nothing by kernel."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.costmodel.analysis import spread_of
from roofline.costmodel.analyze import check_batch, check_runs, fleet_of, lower_type, programs
from roofline.costmodel.columns import Floats, Ints, tabulate
from roofline.costmodel.demand import Demand, demand
from roofline.costmodel.device import Hardware
from roofline.costmodel.fleet import Fleet
from roofline.costmodel.timemodel import totals
from roofline.errors import RooflineError, UnsupportedError
from roofline.graph import Graph
from roofline.transforms.modes import Way, check_layout, check_mode

if TYPE_CHECKING:
    from pandas import DataFrame

AXES = ("model", "device", "batch", "precision", "mode")
"""Axes of every array of Prices, in order."""

FIGURES = ("latency", "low", "high", "limit")

_AT_ONCE = 65_536
"""Kernels x batches x devices priced at once: so many that NumPy's calls cost little, so few that a core's own caches hold them."""

Cell = tuple[str, str, str, str]
"""A model, a device, a precision and a mode."""


@dataclass(frozen=True, eq=False)
class Prices:
    """Seconds of every model on every device, at every batch size, precision and mode: arrays over AXES, with the *labels* of each.

    *low* and *high* are the 80 % interval of *latency*, *limit* the datasheet roofline. All are NaN where a device cannot run
    a network so; *reasons* says why.
    """

    labels: Mapping[str, tuple[Any, ...]]
    latency: Floats
    low: Floats
    high: Floats
    limit: Floats
    reasons: Mapping[Cell, str]

    @property
    def throughput(self) -> Floats:
        """Items per second."""
        return np.array(self.labels["batch"], dtype=np.float64)[:, None, None] / self.latency

    def at(self, **labels: Any) -> "Prices":
        """Keep some labels, such as `at(device="t4", batch=(1, 8))`; every axis stays. Raises RooflineError for one that is not there."""
        if odd := labels.keys() - set(AXES):
            raise RooflineError(f"no axis {min(odd)!r}; use one of {', '.join(AXES)}")
        kept = {axis: _chosen(axis, labels.get(axis, known), known) for axis, known in self.labels.items()}
        index = np.ix_(*([self.labels[axis].index(label) for label in kept[axis]] for axis in AXES))
        reasons = {cell: reason for cell, reason in self.reasons.items() if all(cell[n] in kept[axis] for n, axis in _CELL)}
        latency, low, high, limit = (getattr(self, name)[index] for name in FIGURES)
        return Prices(kept, latency, low, high, limit, reasons)

    def to_pandas(self) -> "DataFrame":
        """Return a row for each combination of labels, with seconds; the last axis changes first."""
        try:
            import pandas as pd
        except ImportError as error:
            raise RooflineError("to_pandas needs pandas; install it with: pip install 'roofline[pandas]'") from error
        index = pd.MultiIndex.from_product([self.labels[axis] for axis in AXES], names=AXES)
        return pd.DataFrame({f"{name}_seconds": getattr(self, name).ravel() for name in FIGURES}, index=index).reset_index()


_CELL = ((0, "model"), (1, "device"), (2, "precision"), (3, "mode"))


def _chosen(axis: str, asked: Any, known: tuple[Any, ...]) -> tuple[Any, ...]:
    wanted = tuple(asked) if isinstance(asked, list | tuple) else (asked,)
    if missing := [label for label in wanted if label not in known]:
        raise RooflineError(f"no {axis} {missing[0]!r} here; there are {', '.join(map(str, known))}")
    return wanted


def price_all(
    graphs: Sequence[Graph],
    devices: Sequence[Hardware],
    batches: Sequence[int] = (1,),
    *,
    precisions: Sequence[str] = ("fp32",),
    modes: Sequence[str] = ("eager",),
    layout: str = "nchw",
    calibrated: bool = True,
) -> Prices:
    """Price *graphs* on every device, at every batch size, precision and mode: what `analyze_grid` predicts, to the last bit.

    Kernels are priced as columns, all batches and several devices at once, and those that ask the same of a device once.
    """
    ways = [Way(check_mode(mode), check_layout(layout)) for mode in modes]
    labels = dict(zip(AXES, ([g.name for g in graphs], [d.id for d in devices], batches, precisions, modes), strict=True))
    for axis, named in labels.items():
        if not named or len(set(named)) < len(named):
            raise RooflineError(f"each {axis} must be given once, and one at least; got {', '.join(map(str, named)) or 'none'}")
    for graph in graphs:
        check_runs(graph)
    checked = [tuple(check_batch(batch, graph) for batch in batches) for graph in graphs]
    pricer = _Pricer(tuple(devices), calibrated)
    found = np.full((len(FIGURES), *(len(named) for named in labels.values())), np.nan)
    reasons: dict[Cell, str] = {}
    for (g, graph), (p, precision), (m, way) in product(enumerate(graphs), enumerate(precisions), enumerate(ways)):
        for i, figures in pricer.price(graph, checked[g], precision, way):
            if isinstance(figures, str):
                reasons[graph.name, devices[i].id, precision, way.mode] = figures
            else:
                found[:, g, i, :, p, m] = figures
    latency, low, high, limit = found
    return Prices({axis: tuple(named) for axis, named in labels.items()}, latency, low, high, limit, reasons)


@dataclass(frozen=True, eq=False)
class _Pricer:
    """Devices, and the fleets made of them so far."""

    devices: tuple[Hardware, ...]
    calibrated: bool
    fleets: dict[tuple[Way, tuple[int, ...]], Fleet] = field(default_factory=dict)

    def price(self, graph: Graph, batches: Sequence[int], precision: str, way: Way) -> Iterator[tuple[int, Floats | str]]:
        """Yield the position of each device, with its (figures, batches), or the reason why it runs nothing in this way."""
        lacking = {i: reason for i, device in enumerate(self.devices) if (reason := _lacks(device, precision))}
        yield from lacking.items()
        able = [i for i in range(len(self.devices)) if i not in lacking]
        for program in programs(graph, [self.devices[i] for i in able], precision, way):
            columns = tabulate(program.graph, batches)
            chosen = parties(self.devices, [able[i] for i in program.devices], columns.size * len(batches))
            distances = {distance for party in chosen for distance in self._fleet(way, party).distances}
            process = next((self._fleet(way, party).process for party in chosen if self._fleet(way, party).process), None)
            few, which = demand(columns, sorted(distances), process).distinct()
            for party in chosen:
                yield from self._party(few, which, precision, way, party, graph)

    def _fleet(self, way: Way, party: tuple[int, ...]) -> Fleet:
        if (way, party) not in self.fleets:
            self.fleets[way, party] = fleet_of([self.devices[i] for i in party], way, calibrated=self.calibrated)
        return self.fleets[way, party]

    def _party(
        self, few: Demand, which: Ints, precision: str, way: Way, party: tuple[int, ...], graph: Graph
    ) -> Iterator[tuple[int, Floats | str]]:
        """Price a *party* at once; where one of it lacks a type that the kernels need, each alone."""
        fleet = self._fleet(way, party)
        try:
            seconds, limit = totals(few, which, fleet)
        except UnsupportedError as error:
            if len(party) == 1:
                yield party[0], str(error)
            for i in party if len(party) > 1 else ():
                yield from self._party(few, which, precision, way, (i,), graph)
            return
        for n, i in enumerate(party):
            low, high = spread_of(fleet.calibrations[n], precision, graph)
            yield i, np.stack([seconds[n], seconds[n] * low, seconds[n] * high, limit[n]])


def parties(devices: Sequence[Hardware], chosen: Iterable[int], kernels: int) -> list[tuple[int, ...]]:
    """Part the *chosen* devices by kind, and into as many at once as do so many *kernels* in all batches good."""
    size = max(1, _AT_ONCE // max(kernels, 1))
    kinds = [[i for i in chosen if devices[i].kind == kind] for kind in ("cpu", "gpu")]
    return [tuple(alike[n : n + size]) for alike in kinds for n in range(0, len(alike), size)]


def _lacks(device: Hardware, precision: str) -> str | None:
    """Say why *device* runs nothing in *precision*; None where it does."""
    try:
        lower_type(precision, device)
    except UnsupportedError as error:
        return str(error)
    return None
