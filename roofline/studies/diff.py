"""Say what moved between two saved analyses and why: another network, another device, or another version of the tool.

The time of a layer is `busy + overhead`, and `busy = work * (limit / work) * (busy / limit)`: how much there is to do, how long that
takes at the datasheet's rates, and how far from those the device stays. A change of a product is parted among its factors by
logarithms (`L(a, b) = (b - a) / ln(b / a)` times the logarithm of each factor's ratio), so that the parts add up to it exactly; the
method is the logarithmic mean Divisia index (Ang, Energy Policy 33, 2005, https://doi.org/10.1016/j.enpol.2003.10.010; recalled).
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from roofline.errors import RooflineError
from roofline.files import save
from roofline.studies.saved import Layer, Saved, read

SCHEMA = 1
"""Version of the JSON form."""

REASONS: Mapping[str, str] = {
    "added": "layers that were not there before",
    "removed": "layers that are gone",
    "flops": "more or less arithmetic in the same layers",
    "bytes": "more or less traffic in the same layers",
    "limit": "what the datasheet allows for the same work",
    "efficiency": "how much of what it allows is reached",
    "overhead": "launches, and waiting for the host",
}
"""Why a time may have moved, in words."""

SAME = 1e-9
"""Relative difference below which two figures are the same."""

FIGURES = ("latency", "low", "high", "throughput", "lower_bound", "macs", "flops", "bytes", "params", "peak_memory")
SETTINGS = ("model", "hardware", "batch", "precision", "mode", "layout", "what_if")

Parts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Move:
    """A layer before and after (None where it was not there), and the seconds that each reason adds."""

    name: str
    kind: str
    before: Layer | None
    after: Layer | None
    parts: Parts

    @property
    def seconds(self) -> float:
        """By how much its time moved."""
        return sum(self.parts.values())

    @property
    def reason(self) -> str:
        """What moved it most."""
        return max(self.parts, key=lambda reason: abs(self.parts[reason]))


@dataclass(frozen=True)
class Pair:
    """One analysis before and after."""

    old: Saved
    new: Saved

    @property
    def moves(self) -> tuple[Move, ...]:
        """Every layer whose time moved, the one that moved most first."""
        return tuple(sorted((move for move in self.layers if any(move.parts.values())), key=lambda move: -abs(move.seconds)))

    @cached_property
    def layers(self) -> tuple[Move, ...]:
        """Every layer of either side, moved or not."""
        before, after = ({layer.name: layer for layer in side.layers} for side in (self.old, self.new))
        same_device = self.old.hardware == self.new.hardware
        return tuple(_move(name, before.get(name), after.get(name), same_device) for name in {**before, **after})

    @property
    def seconds(self) -> float:
        """By how much the latency moved."""
        return self.new.latency - self.old.latency

    @property
    def parts(self) -> Parts:
        """The seconds that each reason adds; they add up to the whole."""
        return _added(move.parts for move in self.moves)

    @property
    def settings(self) -> Mapping[str, tuple[Any, Any]]:
        """What was asked for that differs, and the version of the tool and the calibration where they do."""
        names = (*SETTINGS, "tool", "status", "provenance")
        return {name: (a, b) for name in names if (a := getattr(self.old, name)) != (b := getattr(self.new, name))}

    @property
    def unchanged(self) -> bool:
        """Tell whether every figure and every layer is the same."""
        return not self.moves and all(_same(getattr(self.old, name), getattr(self.new, name)) for name in FIGURES)

    def by_kind(self) -> dict[str, tuple[float, float, Parts]]:
        """Seconds before and after and what moved them, by kind of op; the kind that moved most first."""
        held = {kind: [move for move in self.layers if move.kind == kind] for kind in dict.fromkeys(move.kind for move in self.moves)}
        rows = {
            kind: (_seconds(m.before for m in moves), _seconds(m.after for m in moves), _added(m.parts for m in moves))
            for kind, moves in held.items()
        }
        return dict(sorted(rows.items(), key=lambda row: -abs(row[1][1] - row[1][0])))


@dataclass(frozen=True, slots=True)
class Diff:
    """Every pair of analyses that belong together, and those of one side only."""

    pairs: tuple[Pair, ...]
    only_old: tuple[Saved, ...] = ()
    only_new: tuple[Saved, ...] = ()

    def to_json(self, path: str | Path | None = None) -> str:
        """Return every figure and every layer that moved as JSON with a schema version, and write it to *path* if given."""
        body = {
            "schema": SCHEMA,
            "pairs": [_plain_pair(pair) for pair in self.pairs],
            "only_old": [_plain_settings(saved) for saved in self.only_old],
            "only_new": [_plain_settings(saved) for saved in self.only_new],
        }
        return save(json.dumps(body, indent=1, allow_nan=False) + "\n", path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return it as Markdown for a pull request, and write it to *path* if given."""
        from roofline.studies.diff_text import markdown

        return save(markdown(self), path)

    def __str__(self) -> str:
        from roofline.studies.diff_text import lines

        return "\n".join(lines(self))


def diff(old: str | Path, new: str | Path) -> Diff:
    """Hold the analyses of the file *new* against those of *old*; both are what `roofline analyze -o FILE.json` wrote.

    Two single analyses belong together whatever they are of; else those on the same device at the same batch size, in the same way.
    Raises RooflineError when none do.
    """
    return held_against(read(old), read(new))


def held_against(old: Sequence[Saved], new: Sequence[Saved]) -> Diff:
    """Pair the analyses of two files."""
    if len(old) == len(new) == 1:
        return Diff((Pair(old[0], new[0]),))
    by_place = {_place(saved): saved for saved in new}
    pairs = tuple(Pair(saved, by_place[_place(saved)]) for saved in old if _place(saved) in by_place)
    if not pairs:
        raise RooflineError(
            f"{old[0].source} and {new[0].source} share no device, batch size, precision and mode; analyze the same in both"
        )
    places = {_place(pair.old) for pair in pairs}
    left, right = (tuple(saved for saved in side if _place(saved) not in places) for side in (old, new))
    return Diff(pairs, left, right)


def _place(saved: Saved) -> tuple[Any, ...]:
    return (saved.hardware, saved.batch, saved.precision, saved.mode, saved.layout, saved.what_if)


def _move(name: str, before: Layer | None, after: Layer | None, same_device: bool) -> Move:
    if before is None and after is not None:
        return Move(name, after.kind, None, after, {"added": after.seconds})
    if after is None and before is not None:
        return Move(name, before.kind, before, None, {"removed": -before.seconds})
    if before is None or after is None:
        raise ValueError(name)
    parts = {**_busy_parts(before, after, same_device), "overhead": after.overhead - before.overhead}
    return Move(name, after.kind, before, after, {reason: seconds for reason, seconds in parts.items() if seconds})


def _busy_parts(a: Layer, b: Layer, same_device: bool) -> dict[str, float]:
    """Part the change of busy time among work, the device's rates and how much of them is reached."""
    change = b.busy - a.busy
    if min(a.busy, b.busy, a.limit, b.limit) <= 0:
        return {"efficiency": change}
    mean = a.busy if _same(a.busy, b.busy) else change / math.log(b.busy / a.busy)
    reason, work = _work(a, b, same_device)
    limit = math.log(b.limit / a.limit)
    known = {reason: mean * work, "limit": mean * (limit - work)}
    return {**known, "efficiency": change - sum(known.values())}


def _work(a: Layer, b: Layer, same_device: bool) -> tuple[str, float]:
    """Tell which kind of work sets the limit of a layer, and the logarithm of how it changed.

    On one device the limit follows the work that sets it: of FLOPs and bytes, the one whose change is nearer to that of the limit.
    On two devices it is what the layer is bound by.
    """
    ratios = {
        name: math.log(y / x) if x > 0 and y > 0 else 0.0 for name, x, y in (("flops", a.flops, b.flops), ("bytes", a.bytes, b.bytes))
    }
    changed = {name: ratio for name, ratio in ratios.items() if abs(ratio) > SAME}
    if not changed:
        return "flops", 0.0
    limit = math.log(b.limit / a.limit)
    if same_device:
        return min(changed, key=lambda name: abs(changed[name] - limit)), limit
    reason = "bytes" if b.bound == "memory" or b.flops == 0 else "flops"
    return reason, ratios[reason]


def _added(parts: Iterable[Parts]) -> Parts:
    total = dict.fromkeys(REASONS, 0.0)
    for each in parts:
        for reason, seconds in each.items():
            total[reason] += seconds
    return {reason: seconds for reason, seconds in total.items() if seconds}


def _seconds(layers: Iterable[Layer | None]) -> float:
    return sum(layer.seconds for layer in layers if layer is not None)


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=SAME, abs_tol=0.0)


def _plain_settings(saved: Saved) -> dict[str, Any]:
    return {"source": saved.source, "tool": saved.tool, **{name: getattr(saved, name) for name in SETTINGS}}


def _plain_pair(pair: Pair) -> dict[str, Any]:
    figures = {name: {"old": getattr(pair.old, name), "new": getattr(pair.new, name)} for name in FIGURES}
    kinds = [{"kind": k, "old_seconds": a, "new_seconds": b, "seconds_by_reason": dict(p)} for k, (a, b, p) in pair.by_kind().items()]
    return {
        "old": _plain_settings(pair.old), "new": _plain_settings(pair.new), "calibration": [pair.old.provenance, pair.new.provenance],
        "figures": figures, "seconds_by_reason": dict(pair.parts), "by_kind": kinds, "layers": [_plain_move(move) for move in pair.moves],
    }  # fmt: skip


def _plain_move(move: Move) -> dict[str, Any]:
    before, after = (None if layer is None else layer.seconds for layer in (move.before, move.after))
    return {"layer": move.name, "kind": move.kind, "old_seconds": before, "new_seconds": after, "seconds_by_reason": dict(move.parts)}
