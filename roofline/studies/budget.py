"""Scale a network to a latency on a device: which mixes of width, depth and resolution use it up, and what they hold."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import Any

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.device import Hardware
from roofline.errors import RooflineError
from roofline.studies.rows import csv_text, fitted, statuses
from roofline.studies.scaling import Mix, Scaled, check_base
from roofline.studies.setting import Setting, Tell, devices, quiet

WIDTHS = (0.5, 0.75, 1.0, 1.4, 2.0, 2.8)
DEPTHS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Multipliers of width and depth that are tried; each is given the largest image that keeps the budget."""

STEP = 32
SIZES = range(96, 673, STEP)
"""Image sizes that are tried, in pixels: multiples of what a network divides an image by."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Mixes that keep a latency of *seconds* on a device, by MACs, the most first; *too_slow* do not even at the smallest image."""

    base: str
    seconds: float
    certain: bool
    hits: tuple[Scaled, ...]
    too_slow: tuple[Scaled, ...]

    @property
    def front(self) -> frozenset[Mix]:
        """The mixes that no other beats in both MACs and parameters."""
        return frozenset(hit.mix for hit in self.hits if not any(_beats(other.first, hit.first) for other in self.hits))

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain dictionary per mix, with the unit in each key."""
        front = self.front
        return [
            {
                "rank": i, "model": hit.mix.name, "width": hit.mix.width, "depth": hit.mix.depth, "image_size": hit.mix.image_size,
                "hardware": a.hardware.id, "batch": a.batch, "precision": a.precision, "mode": a.mode, "params": a.params,
                "macs_per_item": a.macs / a.batch, "latency_seconds": a.latency, "low_seconds": a.interval[0],
                "high_seconds": a.interval[1], "peak_memory_bytes": a.peak_memory, "bound": a.bound, "on_front": hit.mix in front,
                "largest_size_tried": hit.mix.image_size == SIZES[-1],
            }
            for i, hit in enumerate(self.hits, 1) for a in (hit.first,)
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return the budget and every mix as plain values."""
        return {
            "schema": 1, "base": self.base, "budget_seconds": self.seconds, "certain": self.certain, "mixes": self.rows(),
            "too_slow": [
                {
                    "width": slow.mix.width, "depth": slow.mix.depth, "image_size": slow.mix.image_size,
                    "latency_seconds": slow.first.latency, "bound": slow.first.bound,
                }
                for slow in self.too_slow
            ],
        }  # fmt: skip

    def to_csv(self) -> str:
        """Return one CSV line per mix."""
        return csv_text(self.rows())

    def lines(self, top: int = 20, width: int = 80) -> Iterator[str]:
        """Write the *top* mixes as a table of text."""
        edge = "the slow end of the interval" if self.certain else "the prediction"
        yield f"{self.base} within {units.seconds(self.seconds)} ({edge}), the most MACs first"
        yield ""
        if not self.hits:
            yield f"no mix keeps this budget, not even at {SIZES[0]} pixels"
        else:
            front = self.front
            header = ("", "w", "d", "px", "params", "MACs", "latency", "80 % up to", "bound", "memory")
            rows = [
                (
                    f"{i}{'*' if hit.mix in front else ''}", f"{hit.mix.width:g}", f"{hit.mix.depth:g}",
                    f"{'>=' if hit.mix.image_size == SIZES[-1] else ''}{hit.mix.image_size}", units.scaled(a.params, ""),
                    units.scaled(a.macs / a.batch, ""), units.seconds(a.latency), units.seconds(a.interval[1]), a.bound,
                    units.scaled(a.peak_memory, "B"),
                )
                for i, hit in enumerate(self.hits[:top], 1) for a in (hit.first,)
            ]  # fmt: skip
            yield from fitted(header, rows, spare=("memory", "bound"), words=("bound",), width=width)
            yield ""
            yield "* no other mix has more MACs and more parameters; px: the largest image that"
            yield f"keeps the budget, in steps of {STEP} (>= where a still larger one might)"
        if self.too_slow:
            yield ""
            yield f"too slow even at {SIZES[0]} pixels:"
            yield from (line for text in self._too_slow() for line in wrap(text, width, initial_indent="  ", subsequent_indent="    "))
        yield "MACs and parameters stand for capacity: accuracy is not predicted"
        yield from statuses((network.first for network in (*self.hits, *self.too_slow)), width)

    def _too_slow(self) -> Iterator[str]:
        """Name what is too slow, a line for each depth: which widths, how long they take, and what binds them."""
        tried = {network.mix.width for network in (*self.too_slow, *self.hits)}
        for depth in sorted({slow.mix.depth for slow in self.too_slow}):
            members = [slow for slow in self.too_slow if slow.mix.depth == depth]
            which = "any width" if len(members) == len(tried) else f"w {', '.join(f'{slow.mix.width:g}' for slow in members)}"
            times = [units.seconds(pick(slow.first.latency for slow in members)) for pick in (min, max)]
            bounds = " or ".join(dict.fromkeys(slow.first.bound for slow in members))
            yield f"d {depth:g} at {which}: {' to '.join(dict.fromkeys(times))}, bound by {bounds}"


def within(
    base: str,
    seconds: float,
    hardware: str | Hardware,
    *,
    widths: Sequence[float] = WIDTHS,
    depths: Sequence[float] = DEPTHS,
    certain: bool = False,
    setting: Setting | None = None,
    tell: Tell = quiet,
) -> Budget:
    """Find, for each width and depth, the largest image of SIZES with which *base* takes at most *seconds* on *hardware*.

    With *certain*, the slow end of the 80 % interval keeps the budget, not only the prediction. What does not fit in memory is
    too slow. A larger image is taken to be slower, so that a few are tried for each mix.
    """
    check_base(base)
    if not 0 < seconds < float("inf"):
        raise RooflineError(f"bad latency budget of {seconds:g} s; use a time above 0")
    ground = setting or Setting()
    if len(ground.batches) != 1:
        raise RooflineError(f"a latency budget takes one batch size; run once for each of {', '.join(map(str, ground.batches))}")
    found = devices((hardware,))
    if len(found) != 1:
        raise RooflineError("a latency budget is for one device; run once for each")
    ground.check(found)
    mixes = [Mix(base, width, depth, SIZES[0], "budget") for width in widths for depth in depths]
    hits: list[Scaled] = []
    too_slow: list[Scaled] = []
    for i, mix in enumerate(mixes):

        def at(index: int, mix: Mix = mix, share: float = i / len(mixes)) -> Scaled:
            sized = replace(mix, image_size=SIZES[index])
            tell(f"{sized.name} at {sized.image_size} pixels", share)
            return Scaled(sized, ground.price(sized.name, found, sized.image_size))

        largest = _largest(at, lambda network: _keeps(network.first, seconds, certain))
        (hits if _keeps(largest.first, seconds, certain) else too_slow).append(largest)
    return Budget(base, seconds, certain, tuple(sorted(hits, key=lambda hit: -hit.first.macs)), tuple(too_slow))


def _keeps(a: Analysis, seconds: float, certain: bool) -> bool:
    return (a.interval[1] if certain else a.latency) <= seconds and a.peak_memory <= a.hardware.memory_size


def _largest(at: Callable[[int], Scaled], keeps: Callable[[Scaled], bool]) -> Scaled:
    """Give the network *at* the last index of SIZES that *keeps* the budget, by halving; that at the first where none does."""
    best, low, high = at(0), 1, len(SIZES) - 1
    if not keeps(best):
        return best
    while low <= high:
        middle = (low + high + 1) // 2
        found = at(middle)
        if keeps(found):
            best, low = found, middle + 1
        else:
            high = middle - 1
    return best


def _beats(a: Analysis, b: Analysis) -> bool:
    return a.macs >= b.macs and a.params >= b.params and (a.macs, a.params) != (b.macs, b.params)
