"""Check the predicted bound of each layer against the roof that its measured time comes nearest to."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from roofline import units
from roofline.costmodel.timemodel import BOUNDS
from roofline.measurement.layers import LayerPoint, Layers
from roofline.measurement.table import share, table

Roof = Literal["compute", "memory", "neither"]
ROOFS: tuple[Roof, ...] = ("compute", "memory", "neither")

FLOOR = 0.3
"""Share of a roof that a layer must reach before that roof is taken to hold it back."""

MEANT = {"compute": "compute", "memory": "memory", "overhead": "neither", "occupancy": "neither"}
"""The roof that a layer of each predicted bound should be seen at."""


BEATEN = {"compute": "fewer FLOPs by Winograd, or too low a ceiling", "memory": "a nearer cache, or too low a bandwidth"}
"""What lets a layer beat a roof."""


def observed(layer: LayerPoint, floor: float = FLOOR) -> Roof:
    """Say which roof *layer* sits on.

    It is `compute` if the layer reached at least *floor* of the compute roof and a larger share of it than of the memory
    roof; `memory` likewise; else `neither`: most of its time went into something that no roof describes, such as dispatch,
    launch, idle cores, or an implementation far from its ceiling, which the times alone cannot tell apart. A roof is
    what the device's profile says tuned code reaches; where that is assumed, not measured, so is this.
    """
    if max(layer.compute_share, layer.memory_share) < floor:
        return "neither"
    return "compute" if layer.compute_share > layer.memory_share else "memory"


def above(layer: LayerPoint) -> str:
    """Name the roof that *layer* beats; empty if it beats none.

    A 3x3 convolution computed by Winograd's algorithm needs fewer FLOPs than are counted; bytes may come from a nearer cache
    than the prediction says; and a ceiling may be set too low. None of these makes the prediction's bound right or wrong.
    """
    if max(layer.compute_share, layer.memory_share) <= 1:
        return ""
    return "compute" if layer.compute_share > layer.memory_share else "memory"


@dataclass(frozen=True, slots=True)
class Classification:
    """Predicted bounds against observed roofs, for the *layers* that do any work; views have no roof to sit on."""

    layers: tuple[LayerPoint, ...]
    floor: float = FLOOR

    @classmethod
    def of(cls, layers: Layers, floor: float = FLOOR) -> "Classification":
        """Classify the layers that compute or move anything."""
        return cls(tuple(p for p in layers.points if p.flops or p.bytes), floor)

    @property
    def seconds(self) -> float:
        """Measured seconds of all layers."""
        return sum(p.measured for p in self.layers)

    @property
    def agreement(self) -> float:
        """Share of the measured time in layers whose predicted bound is the observed one."""
        return sum(p.measured for p in self._agreeing()) / self.seconds if self.layers else math.nan

    @property
    def agreement_by_count(self) -> float:
        """Share of the layers whose predicted bound is the observed one."""
        return len(self._agreeing()) / len(self.layers) if self.layers else math.nan

    @property
    def above(self) -> tuple[LayerPoint, ...]:
        """The layers that beat a roof, the slowest first."""
        return tuple(sorted((p for p in self.layers if above(p)), key=lambda p: -p.measured))

    def confusion(self) -> dict[str, dict[str, tuple[float, int]]]:
        """For each predicted bound and observed roof, the share of the measured time and the number of layers."""
        cells = {bound: {roof: self._cell(bound, roof) for roof in ROOFS} for bound in BOUNDS}
        return {bound: row for bound, row in cells.items() if any(count for _, count in row.values())}

    def as_dict(self) -> dict[str, Any]:
        """Return the rule, the table and the agreement as plain values."""
        cells = [
            {"predicted": bound, "observed": roof, "share_of_time": time, "layers": count}
            for bound, row in self.confusion().items()
            for roof, (time, count) in row.items()
        ]
        named = [{"model": p.model, "layer": p.layer, "roof": above(p), "share": max(p.compute_share, p.memory_share)} for p in self.above]
        by_time, by_count = (None if math.isnan(value) else value for value in (self.agreement, self.agreement_by_count))
        return {"floor": self.floor, "agreement": by_time, "agreement_by_count": by_count, "confusion": cells, "above_a_roof": named}

    def summary(self) -> str:
        """Write the table of predicted against observed, the agreement, and what beats a roof."""
        return "\n".join(_summary(self))

    def __str__(self) -> str:
        return self.summary()

    def _agreeing(self) -> list[LayerPoint]:
        return [p for p in self.layers if MEANT[p.bound] == observed(p, self.floor)]

    def _cell(self, bound: str, roof: Roof) -> tuple[float, int]:
        held = [p for p in self.layers if p.bound == bound and observed(p, self.floor) == roof]
        return sum(p.measured for p in held) / self.seconds if held else 0.0, len(held)


def _summary(c: Classification) -> Iterator[str]:
    lines = [(bound, *(_shown(*cell) for cell in row.values())) for bound, row in c.confusion().items()]
    yield from table(("predicted", *ROOFS), lines)
    if not c.layers:
        return
    yield f"agree: {share(c.agreement)} of the time, {share(c.agreement_by_count)} of the {len(c.layers)} layers that do work"
    for roof, why in BEATEN.items():
        held = [p for p in c.above if above(p) == roof]
        if held:
            time = sum(p.measured for p in held) / c.seconds
            yield f"above the {roof} roof: {len(held)} layer{'s' * (len(held) != 1)}, {units.percent(time)} of the time:\n  {why}"


def _shown(time: float, count: int) -> str:
    return f"{units.percent(time)} ({count})" if count else "-"
