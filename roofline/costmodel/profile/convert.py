"""Turn a profile into Hardware: GHz, GB/s, TFLOP/s and us become base units."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from roofline.costmodel.device import Engine, Figure, Hardware, MemoryLevel, Overheads, Price, Source
from roofline.costmodel.profile.document import open_document
from roofline.costmodel.profile.schema import (
    EngineEntry,
    EstimateEntry,
    MemoryEntry,
    OverheadsEntry,
    PriceEntry,
    Profile,
    SourceEntry,
    UnitsEntry,
)
from roofline.errors import ProfileError


def read(path: Path) -> Hardware:
    """Load the profile at *path*, or raise a ProfileError that names file, line and key."""
    document = open_document(path)
    if document.profile is None:
        first, *more = document.problems
        raise ProfileError(f"{first} (and {len(more)} more)" if more else str(first))
    return to_hardware(document.profile, path)


def to_hardware(profile: Profile, path: Path) -> Hardware:
    """Compute peaks and bandwidths in base units from a validated *profile*."""
    sustained = profile.clock_ghz.get("sustained")
    hardware = Hardware(
        id=path.stem.lower(),
        name=profile.name,
        kind=profile.kind,
        architecture=profile.architecture,
        segment=profile.segment,
        units=profile.units.count,
        unit_name=profile.units.name,
        clock=profile.clock_ghz["boost"].value * 1e9,
        sustained_clock=sustained.value * 1e9 if sustained else None,
        engines=tuple(_engine(entry, profile) for entry in profile.engines),
        memory=tuple(_memory_level(entry, profile) for entry in profile.memory),
        overheads=_overheads(profile.overhead_us, profile.units),
        power=profile.power_w.value if profile.power_w else None,
        price=_price(profile.price) if profile.price else None,
        unsupported=tuple(profile.unsupported),
        aliases=tuple(profile.aliases),
        sources=tuple(_source(key, entry) for key, entry in profile.sources.items()),
        notes=tuple(profile.notes),
        sparsity_2_4=profile.sparsity_2_4,
        units_source=Figure(profile.units.count, profile.units.src, profile.units.kind, profile.units.remark()),
        power_source=profile.power_w.figure() if profile.power_w else None,
        clocks=tuple((name, entry.figure(1e9)) for name, entry in profile.clock_ghz.items()),
        file=str(path),
        calibrations=tuple(replace(entry.calibration(), devices=(path.stem.lower(),)) for entry in profile.calibration),
    )
    return replace(hardware, notes=(*hardware.notes, *provenance_notes(hardware)))


def provenance_notes(hardware: Hardware) -> tuple[str, ...]:
    """Name the figures that nobody verified and those borrowed from a relative, one note for each kind."""
    texts = {"recalled": "recalled, not verified", "assumed": "assumed or borrowed, not measured here"}
    grouped = {kind: [label for label, figure in hardware.figures() if figure.kind == kind] for kind in texts}
    return tuple(f"{texts[kind]}: {_topics(labels)}" for kind, labels in grouped.items() if labels)


def _topics(labels: Sequence[str]) -> str:
    """Shorten labels that share a topic: `fp32 vector peak`, `fp16 matrix peak` -> `peaks (fp32, fp16)`."""
    topics: dict[str, dict[str, None]] = {}
    for label in labels:
        topic, item = _topic(label)
        topics.setdefault(topic, {})[item] = None
    return "; ".join(topic + (f" ({', '.join(items)})" if "" not in items else "") for topic, items in topics.items())


def _topic(label: str) -> tuple[str, str]:
    first, *middle = label.split()
    if not middle:
        return label, ""
    is_bandwidth = len(middle) == 1 and middle[0] in ("peak", "read", "write", "copy")
    return "bandwidths" if is_bandwidth else f"{middle[-1]}s", first


def _engine(entry: EngineEntry, profile: Profile) -> Engine:
    clock = profile.clock_ghz[entry.clock].value
    rate, units = entry.per_clock_per_unit, profile.units
    peak = rate.value * units.count * clock * 1e9
    formula = f"{rate.value:g} per clock x {units.count} {units.name} x {clock:g} GHz"
    ceiling = entry.ceiling.figure(peak) if entry.ceiling else _unmeasured(peak, rate.src)
    return Engine(
        kind=entry.kind,
        dtype=entry.dtype,
        name=entry.name,
        peak=peak,
        ceiling=ceiling.value,
        peak_source=Figure(peak, rate.src, rate.kind, rate.remark(formula)),
        ceiling_source=ceiling,
        per_clock=rate.value,
        clock=clock * 1e9,
        accumulate=entry.accumulate,
        sustained_source=entry.sustained_ceiling.figure(peak) if entry.sustained_ceiling else None,
    )


def _unmeasured(peak: float, source: str) -> Figure:
    return Figure(peak, source, "assumed", "the peak itself: nobody measured a ceiling")


def _memory_level(entry: MemoryEntry, profile: Profile) -> MemoryLevel:
    known = _bandwidths(entry, profile)
    peak = entry.peak_gbps.figure(1e9) if entry.peak_gbps else max(known.values(), key=lambda figure: figure.value)
    read, write, copy = (_pattern(known, pattern, peak) for pattern in ("read", "write", "copy"))
    size = entry.size_bytes.figure(profile.units.count if entry.per == "unit" else 1)
    return MemoryLevel(
        name=entry.level,
        size=size.value,
        peak=peak.value,
        read=read.value,
        write=write.value,
        copy=copy.value,
        size_source=size,
        peak_source=peak,
        read_source=read,
        write_source=write,
        copy_source=copy,
        shared_by=entry.per,
    )


def _bandwidths(entry: MemoryEntry, profile: Profile) -> dict[str, Figure]:
    peak = entry.peak_gbps.value * 1e9 if entry.peak_gbps else 0.0
    known = {item.pattern: _estimate(item, profile, peak) for item in entry.estimated}
    for item in sorted(entry.measured, key=lambda item: item.value_gbps):  # the best run is the ceiling
        note = "; ".join(part for part in (item.conditions, item.note) if part)
        known[item.pattern] = Figure(item.value_gbps * 1e9, item.src, "measured", note)
    return dict(known)


def _estimate(entry: EstimateEntry, profile: Profile, peak: float) -> Figure:
    value, formula = _estimated(entry, profile, peak)
    return Figure(value, entry.src, entry.kind, entry.remark(formula))


def _estimated(entry: EstimateEntry, profile: Profile, peak: float) -> tuple[float, str]:
    units, name = profile.units.count, profile.units.name
    limit = entry.limit_gbps or float("inf")
    if entry.gbps_per_unit is not None:
        formula = f"{units} {name} x {entry.gbps_per_unit:g} GB/s"
        return min(units * entry.gbps_per_unit, limit) * 1e9, f"{formula}, at most {limit:g}" if entry.limit_gbps else formula
    if entry.bytes_per_clock_per_unit is not None:
        clock = profile.clock_ghz[entry.clock].value
        formula = f"{units} {name} x {entry.bytes_per_clock_per_unit:g} B per clock x {clock:g} GHz"
        return units * entry.bytes_per_clock_per_unit * clock * 1e9, formula
    if entry.fraction is not None:
        return entry.fraction * peak, f"{entry.fraction:g} of peak"
    return cast(float, entry.value_gbps) * 1e9, ""


_INSTEAD = {
    "read": ("read", "copy", "mixed", "write"),
    "write": ("write", "copy", "mixed", "read"),
    "copy": ("copy", "mixed", "write", "read"),
}


def _pattern(known: dict[str, Figure], pattern: str, peak: Figure) -> Figure:
    found = next((other for other in _INSTEAD[pattern] if other in known), None)
    if found is None:
        return Figure(peak.value, peak.source, "assumed", "the peak itself: nobody measured a ceiling")
    if found == pattern:
        return known[found]
    return Figure(known[found].value, known[found].source, "derived", f"taken from {found}")


def _overheads(entry: OverheadsEntry, units: UnitsEntry) -> Overheads:
    figures = (entry.launch, entry.graph, entry.compiled or entry.launch, entry.host_op, entry.host_view)
    return Overheads(*(figure.seconds(units) for figure in figures))


def _price(entry: PriceEntry) -> Price:
    return Price(entry.usd_per_hour, entry.instance, entry.region, entry.date, entry.src, entry.note)


def _source(key: str, entry: SourceEntry) -> Source:
    return Source(key, entry.title, entry.url, entry.opened, entry.note)
