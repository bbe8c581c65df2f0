"""Families of networks side by side: counts, published accuracy and predicted time, and how differently they rank by each."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from roofline import units
from roofline.costmodel.analysis import Analysis
from roofline.costmodel.device import Hardware
from roofline.errors import RooflineError, UnknownNameError
from roofline.files import save
from roofline.measurement.comparison import spearman
from roofline.measurement.table import shown
from roofline.studies import accuracy
from roofline.studies.families import CURATED
from roofline.studies.rows import csv_text, fitted, statuses
from roofline.studies.setting import Setting, Tell, devices, quiet

SCHEMA = 1
"""Version of the JSON form."""

TOGETHER = 3
"""Columns of times that stand beside the counts; more of them have a table of their own."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A network of the table: its *family*, the image size it runs at, and its published top-1 in percent, where there is one."""

    name: str
    family: str
    image_size: int | None
    top1: float | None = None
    weights: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A network with its analyses, one for each device and batch size."""

    entry: Entry
    analyses: tuple[Analysis, ...]

    @property
    def first(self) -> Analysis:
        """The first analysis; what is counted an item is the same in all."""
        return self.analyses[0]


@dataclass(frozen=True, slots=True)
class Axis:
    """Something that networks are ranked by, less being better: its *key*, how it is called, and how it is read off a member."""

    key: str
    label: str
    read: Callable[[Member], float]


@dataclass(frozen=True, slots=True)
class Zoo:
    """Networks side by side, in the order asked for, and those that could not be analyzed with the reason."""

    members: tuple[Member, ...]
    failures: tuple[tuple[str, str], ...] = ()

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Multiply-accumulates, parameters, and time an item on each device at each batch size."""
        timed = tuple(
            Axis(
                f"{a.hardware.id} b{a.batch}", f"time an item on {a.hardware.id}, batch {a.batch}", lambda m, i=i: _per_item(m.analyses[i])
            )
            for i, a in enumerate(self.members[0].analyses)
        )
        counted = (
            Axis("MACs", "MACs", lambda m: m.first.macs / m.first.batch),
            Axis("parameters", "parameters", lambda m: float(m.first.params)),
        )
        return (*counted, *timed)

    @property
    def accurate(self) -> tuple[Member, ...]:
        """The members with a published accuracy."""
        return tuple(m for m in self.members if m.entry.top1 is not None)

    def front(self, axis: Axis) -> tuple[Member, ...]:
        """The members that no other beats in both accuracy and *axis*, the cheapest first."""
        found: list[Member] = []
        for member in sorted(self.accurate, key=lambda m: (axis.read(m), -(m.entry.top1 or 0.0))):
            if not found or (member.entry.top1 or 0.0) > (found[-1].entry.top1 or 0.0):
                found.append(member)
        return tuple(found)

    def correlation(self, a: Axis, b: Axis) -> float:
        """Spearman's correlation of all members by two axes; not a number for fewer than three."""
        return spearman([a.read(m) for m in self.members], [b.read(m) for m in self.members])

    def with_accuracy(self, axis: Axis) -> float:
        """Spearman's correlation of published accuracy and *axis*."""
        members = self.accurate
        return spearman([m.entry.top1 or 0.0 for m in members], [axis.read(m) for m in members])

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain dictionary per network, device and batch size, with the unit in each key."""
        fronts = {axis.key: frozenset(m.entry.name for m in self.front(axis)) for axis in self.axes}
        return [_row(m, a, fronts) for m in self.members for a in m.analyses]

    def to_json(self, path: str | Path | None = None) -> str:
        """Return networks, fronts and rank correlations as JSON with a schema version, and write it to *path* if given."""
        axes = self.axes
        body = {
            "schema": SCHEMA, "networks": self.rows(),
            "fronts": {axis.key: [m.entry.name for m in self.front(axis)] for axis in axes},
            "rank_correlation_with_macs": {axis.key: _figure(self.correlation(axes[0], axis)) for axis in axes[1:]},
            "rank_correlation_with_top1": {axis.key: _figure(self.with_accuracy(axis)) for axis in axes},
            "failures": [{"network": name, "reason": reason} for name, reason in self.failures],
        }  # fmt: skip
        return save(json.dumps(body, indent=1, allow_nan=False) + "\n", path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return one CSV line per network, device and batch size, and write it to *path* if given."""
        return save(csv_text(self.rows()), path)

    def lines(self, width: int = 80) -> Iterator[str]:
        """Write the table as text, then how differently the networks rank."""
        starred = {m.entry.name for m in self.front(self.axes[0])}
        counted, timed = ("px", "top-1", "params", "MACs", "moved", "FLOP/B"), [axis.key for axis in self.axes[2:]]
        names = [m.entry.name for m in self.members]
        counts, times = [_counts(m, starred) for m in self.members], [_times(m) for m in self.members]
        if len(timed) <= TOGETHER:
            rows = [(name, *count, *time) for name, count, time in zip(names, counts, times, strict=True)]
            yield from fitted(("network", *counted, *timed), rows, spare=("FLOP/B", "moved", "px", "params"), width=width)
        else:
            yield from fitted(("network", *counted), [(name, *count) for name, count in zip(names, counts, strict=True)], width=width)
            for i in range(0, len(timed), 2 * TOGETHER - 2):
                some = slice(i, i + 2 * TOGETHER - 2)
                yield ""
                rows = [(name, *time[some]) for name, time in zip(names, times, strict=True)]
                yield from fitted(("time of a batch", *timed[some]), rows, width=width)
        yield ""
        yield "top-1: published, in percent; * none of these has fewer MACs and is as accurate"
        yield from self._ranks()
        yield from statuses((a for member in self.members for a in member.analyses), width)
        yield from (f"failed: {shown(name)}: {reason}" for name, reason in self.failures)

    def _ranks(self) -> Iterator[str]:
        macs, _, *timed = self.axes
        rows = [
            (axis.key, _two(self.correlation(macs, axis)), _two(self.with_accuracy(axis)), *_changes(self, macs, axis)) for axis in timed
        ]
        yield ""
        yield "time an item, by device and batch"
        header = ("on", "rank by MACs", "by top-1", "on the front", "not on it by MACs")
        yield from fitted(header, rows)
        yield f"rank: Spearman's, 1 for the same order; on the front by MACs: {len(self.front(macs))}"


def zoo(
    patterns: Sequence[str],
    hardware: str | Hardware | Sequence[str | Hardware],
    *,
    families: Sequence[str] = (),
    setting: Setting | None = None,
    tell: Tell = quiet,
) -> Zoo:
    """Analyze the networks whose name matches one of *patterns* (default: those of CURATED), at the size of their published accuracy.

    *families* keeps those of whose family a word begins with one of them. A network that cannot be analyzed is a failure of
    its own, not of the whole. Raises RooflineError where nothing matches or nothing could be analyzed.
    """
    ground = setting or Setting()
    found = devices(hardware if isinstance(hardware, Sequence) and not isinstance(hardware, str) else (hardware,))
    ground.check(found)
    entries = choose_entries(patterns, families)
    members: list[Member] = []
    failures: list[tuple[str, str]] = []
    for i, entry in enumerate(entries):
        tell(entry.name, i / len(entries))
        try:
            members.append(Member(entry, ground.price(entry.name, found, entry.image_size)))
        except RooflineError as error:
            failures.append((entry.name, str(error)))
    if not members:
        raise RooflineError(failures[0][1])
    return Zoo(tuple(members), tuple(failures))


def choose_entries(patterns: Sequence[str], families: Sequence[str] = ()) -> tuple[Entry, ...]:
    """List the networks that *patterns* and *families* name: of CURATED without a pattern, else of all with a published accuracy.

    A name that nobody published an accuracy of is taken as it is, such as `net.py:build`.
    """
    entries = [_curated(*member, family) for family, members in CURATED.items() for member in members]
    if patterns:
        known = {entry.name: entry for entry in entries}
        others = {row.network for row in accuracy.table()} - known.keys()
        everything = {**known, **{name: _published(name) for name in sorted(others)}}
        entries = [entry for pattern in patterns for entry in _matching(pattern, everything)]
    if families:
        wanted = [family.lower() for family in families]
        kept = [entry for entry in entries if any(word.startswith(tuple(wanted)) for word in entry.family.lower().split())]
        if not kept:
            known_families = ", ".join(sorted({entry.family for entry in entries})[:20])
            raise UnknownNameError(f"no network is of the family {', '.join(families)}; known: {known_families}")
        entries = kept
    return tuple(dict.fromkeys(entries))


def _matching(pattern: str, everything: Mapping[str, Entry]) -> list[Entry]:
    if pattern in everything:
        return [everything[pattern]]
    if not any(c in pattern for c in "*?["):
        return [Entry(pattern, "own", None)]
    found = [entry for name, entry in everything.items() if fnmatchcase(name, pattern)]
    if not found:
        raise UnknownNameError(f"no network with a published accuracy matches {pattern!r}; `roofline models PATTERN` lists all by name")
    return found


def _curated(name: str, weights: str, size: int, family: str) -> Entry:
    row = accuracy.by_weights()[weights, size]
    return Entry(name, family, size, row.top1, weights, row.source)


def _published(name: str) -> Entry:
    row = accuracy.best(name)
    if row is None:
        return Entry(name, next(r.family for r in accuracy.table() if r.network == name), None)
    return Entry(name, row.family, row.image_size, row.top1, row.weights, row.source)


def _key(analysis: Analysis) -> str:
    return f"{analysis.hardware.id} b{analysis.batch}"


def _per_item(analysis: Analysis) -> float:
    return analysis.latency / analysis.batch


def _changes(zoo: Zoo, macs: Axis, axis: Axis) -> tuple[str, str]:
    """Count the front by *axis*, and how many of it are not on that by *macs*."""
    first, second = ({m.entry.name for m in zoo.front(a)} for a in (macs, axis))
    return str(len(second)), str(len(second - first))


def _counts(member: Member, starred: set[str]) -> tuple[str, ...]:
    entry, first = member.entry, member.first
    size = entry.image_size or first.inputs[0].split(" x ")[-1].partition(" ")[0]
    top1 = "-" if entry.top1 is None else f"{entry.top1:.1f}{'*' if entry.name in starred else ' '}"
    return (
        str(size), top1, units.scaled(first.params, ""), units.scaled(first.macs / first.batch, ""),
        units.scaled(first.bytes / first.batch, "B"), units.significant(first.intensity, 2),
    )  # fmt: skip


def _times(member: Member) -> tuple[str, ...]:
    return tuple(units.seconds(a.latency) + ("!" if a.peak_memory > a.hardware.memory_size else "") for a in member.analyses)


def _row(member: Member, analysis: Analysis, fronts: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    entry, (low, high), key = member.entry, analysis.interval, _key(analysis)
    return {
        "network": entry.name, "family": entry.family, "image_size": entry.image_size, "top1_percent": entry.top1, "weights": entry.weights,
        "accuracy_source": entry.source, "hardware": analysis.hardware.id, "batch": analysis.batch, "precision": analysis.precision,
        "mode": analysis.mode, "params": analysis.params, "macs_per_item": analysis.macs / analysis.batch,
        "flops_per_item": analysis.flops / analysis.batch, "bytes": analysis.bytes, "intensity_flop_per_byte": analysis.intensity,
        "peak_memory_bytes": analysis.peak_memory, "fits": analysis.peak_memory <= analysis.hardware.memory_size,
        "latency_seconds": analysis.latency, "low_seconds": low, "high_seconds": high, "lower_bound_seconds": analysis.lower_bound,
        "bound": analysis.bound, "on_front_by_macs": entry.name in fronts["MACs"], "on_front_by_time": entry.name in fronts[key],
    }  # fmt: skip


def _figure(value: float) -> float | None:
    return None if math.isnan(value) else value


def _two(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
