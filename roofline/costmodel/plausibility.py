"""Turn a hardware profile into the list of its figures that cannot be right, or that nobody can check."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Literal, cast

from roofline.costmodel.device import DTYPES, Engine, Hardware, MemoryLevel
from roofline.costmodel.profile.convert import to_hardware
from roofline.costmodel.profile.document import Document, open_document
from roofline.costmodel.profile.nodes import Key, key_text
from roofline.costmodel.profile.schema import EngineEntry, Entry, MeasuredEntry, MemoryEntry, Profile, Provenance

TOLERANCE = 0.02
"""How far two figures may differ that should agree, and a measured one may pass its peak."""

BANDWIDTH = (5e9, 2e13)
"""B/s that the DRAM of a device may have, from a single-board computer to several times an H200."""

BALANCE = (0.5, 2000.0)
"""FLOP/B that the peak of an engine over the bandwidth of DRAM may be."""

MEMORY_SIZE = (5e8, 4e12)
"""Bytes that the DRAM of a device may have."""

CLOCK = (1e8, 1e10)
"""Hz that a processor may run at."""

OVERHEAD = (1e-8, 1e-3)
"""Seconds that a launch or the dispatch of an op may take."""

LEAST_EFFICIENCY = 0.01
"""Share of a peak below which a ceiling is a slip of units."""

GIB_SLIPS = {2**30 / 1e9: "GiB and GB", 2**40 / 1e12: "TiB and TB"}
"""Ratios between two figures that betray a binary unit in one of them."""

DENSE_MATRIX_RATES = {
    "volta": {"fp16": 1024.0},
    "turing": {"fp16": 1024.0, "int8": 2048.0, "int4": 4096.0},
    "ampere": {"fp64": 128.0, "tf32": 1024.0, "bf16": 2048.0, "fp16": 2048.0, "int8": 4096.0, "int4": 8192.0},
    "ada": {"tf32": 512.0, "bf16": 1024.0, "fp16": 1024.0, "fp8": 2048.0, "int8": 2048.0, "int4": 4096.0},
    "hopper": {"fp64": 256.0, "tf32": 2048.0, "bf16": 4096.0, "fp16": 4096.0, "fp8": 8192.0, "int8": 8192.0},
    "blackwell": {"tf32": 512.0, "bf16": 1024.0, "fp16": 1024.0, "fp8": 2048.0, "int8": 2048.0, "fp4": 4096.0},
}
"""Highest dense FLOP per clock and SM, from NVIDIA's whitepapers of each architecture (blackwell: the RTX dies)."""

Level = Literal["error", "warning"]
Remark = tuple[Level, Key, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """Point at the line and key of a figure that breaks a rule of plausibility."""

    level: Level
    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        """Write `file:line: level: key: message`."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.level, self.key, self.message) if part)


def check(hardware: Hardware | str | Path) -> tuple[Finding, ...]:
    """List what is implausible in a profile, a file or Hardware; that a file cannot be read is a finding too."""
    if isinstance(hardware, Hardware) and not hardware.file:
        return tuple(Finding(level, "", 0, key_text(key), message) for level, key, message in _of_hardware(hardware))
    path = Path(hardware.file if isinstance(hardware, Hardware) else hardware)
    document = open_document(path)
    if document.profile is None:
        return tuple(Finding("error", p.file, p.line, p.key, p.message) for p in document.problems)
    return tuple(_finding(document, remark) for remark in _remarks(document.profile, path))


def _finding(document: Document, remark: Remark) -> Finding:
    level, key, message = remark
    file, line = document.locate(key)
    return Finding(level, file, line, key_text(key), message)


def _remarks(profile: Profile, path: Path) -> Iterator[Remark]:
    for rule in PROFILE_RULES:
        yield from rule(profile)
    hardware = to_hardware(profile, path)
    yield from _of_hardware(hardware)
    for i, (engine, entry) in enumerate(zip(hardware.engines, profile.engines, strict=True)):
        yield from _peak_follows(engine, entry, ("engines", i))
        yield from _rate_within_peak(engine, entry, ("engines", i, "ceiling"))
    for i, (level, entry) in enumerate(zip(hardware.memory, profile.memory, strict=True)):
        yield from _bandwidth_within_peak(level, entry, ("memory", i))


def _of_hardware(hardware: Hardware) -> Iterator[Remark]:
    for rule in HARDWARE_RULES:
        yield from rule(hardware)


def _near(value: float, wanted: float, tolerance: float = TOLERANCE) -> bool:
    return abs(value / wanted - 1) <= tolerance


# --- rules on the file: sources, conditions, price, units -----------------------------------------


def _sources(profile: Profile) -> Iterator[Remark]:
    for key, entry in _entries(profile, ()):
        source = cast("str | None", getattr(entry, "src", None))
        if source is not None and source not in profile.sources:
            close = get_close_matches(source, profile.sources, n=1)
            hint = f"did you mean {close[0]}?" if close else "add it there"
            yield "error", (*key, "src"), f"{source!r} is not among the sources; {hint}"


def _conditions(profile: Profile) -> Iterator[Remark]:
    for key, entry in _entries(profile, ()):
        measured = isinstance(entry, MeasuredEntry) or (isinstance(entry, Provenance) and entry.kind == "measured")
        if measured and not getattr(entry, "conditions", ""):
            yield "error", key, "is measured but states no conditions; say with what, and at which clock"


def _entries(part: object, key: Key) -> Iterator[tuple[Key, Entry]]:
    if isinstance(part, Entry):
        yield key, part
        for name in type(part).model_fields:
            yield from _entries(getattr(part, name), (*key, name))
    elif isinstance(part, dict):
        for name, value in cast(dict[str, object], part).items():
            yield from _entries(value, (*key, name))
    elif isinstance(part, list):
        for i, value in enumerate(cast(list[object], part)):
            yield from _entries(value, (*key, i))


def _price(profile: Profile) -> Iterator[Remark]:
    if profile.price is None:
        return
    if not profile.price.region:
        yield "error", ("price", "region"), "is missing; prices differ by region, such as us-east-1"
    if not re.match(r"\d{4}(-\d{2})?(-\d{2})?$", profile.price.date):
        yield "error", ("price", "date"), "must be a date such as 2026-06; prices drift"


def _dtypes(profile: Profile) -> Iterator[Remark]:
    present = {entry.dtype for entry in profile.engines}
    for i, dtype in enumerate(profile.unsupported):
        if dtype in present:
            yield "error", ("unsupported", i), f"{dtype} has an engine too; remove it from one of them"
    if missing := [dtype for dtype in DTYPES if dtype not in present and dtype not in profile.unsupported]:
        yield (
            "warning",
            ("unsupported",),
            f"{', '.join(missing)} have neither an engine nor a place here; add them to one",
        )


def _peak_bandwidths(profile: Profile) -> Iterator[Remark]:
    for i, entry in enumerate(profile.memory):
        for (_, first), (key, second) in combinations(_printed_bandwidths(entry), 2):
            if not _near(second, first):
                message = f"{second:g} GB/s, but the other figures of this level give {first:g}{_slip(first, second)}"
                yield "error", ("memory", i, *key), message


def _printed_bandwidths(entry: MemoryEntry) -> Iterator[tuple[Key, float]]:
    if entry.bus:
        yield ("bus",), entry.bus.mtps * 1e6 * entry.bus.bits / 8 / 1e9
    if entry.peak_gbps:
        yield ("peak_gbps",), entry.peak_gbps.value
    if entry.peak_gbps_check:
        yield ("peak_gbps_check",), entry.peak_gbps_check.value


def _measured_bandwidths(profile: Profile) -> Iterator[Remark]:
    for i, entry in enumerate(profile.memory):
        for (j, first), (k, second) in combinations(enumerate(entry.measured), 2):
            slip = _slip(first.value_gbps, second.value_gbps)
            if slip and first.pattern == second.pattern:
                message = f"{first.value_gbps:g} in measured[{j}] and {second.value_gbps:g} GB/s differ{slip}"
                yield "warning", ("memory", i, "measured", k, "value_gbps"), message


def _slip(first: float, second: float) -> str:
    ratio = max(first, second) / min(first, second)
    units = next((units for slip, units in GIB_SLIPS.items() if _near(ratio, slip, 0.005)), "")
    return f": the ratio of {units}" if units else ""


def _cache_sizes(profile: Profile) -> Iterator[Remark]:
    for i, entry in enumerate(profile.memory[1:], start=1):
        if entry.size_bytes.value >= 1e5 and entry.size_bytes.value % 1000 == 0 and entry.size_bytes.kind == "datasheet":
            yield "warning", ("memory", i, "size_bytes"), "is a round decimal figure; cache sizes are binary (MiB)"


def _memory_in_name(profile: Profile) -> Iterator[Remark]:
    printed = re.search(r"\b(\d+) GB\b", profile.name)
    size = profile.memory[0].size_bytes.value
    if printed and not 0.88 <= size / (float(printed[1]) * 1e9) <= 1.08:
        yield "error", ("memory", 0, "size_bytes"), f"{size:g} bytes are not the {printed[0]} of the name"


PROFILE_RULES: tuple[Callable[[Profile], Iterator[Remark]], ...] = (
    _sources,
    _conditions,
    _price,
    _dtypes,
    _peak_bandwidths,
    _measured_bandwidths,
    _cache_sizes,
    _memory_in_name,
)


# --- rules on the device: magnitudes and ratios ---------------------------------------------------


def _bandwidth_range(hardware: Hardware) -> Iterator[Remark]:
    low, high = BANDWIDTH
    if not low <= hardware.bandwidth <= high:
        message = f"{hardware.bandwidth / 1e9:g} GB/s is outside {low / 1e9:g} to {high / 1e9:g}: a factor of 1000?"
        yield "error", ("memory", 0, "peak_gbps"), message


def _memory_size(hardware: Hardware) -> Iterator[Remark]:
    low, high = MEMORY_SIZE
    if not low <= hardware.memory_size <= high:
        message = f"{hardware.memory_size:g} bytes is outside {low:g} to {high:g}: a factor of 1000?"
        yield "error", ("memory", 0, "size_bytes"), message


def _balance(hardware: Hardware) -> Iterator[Remark]:
    low, high = BALANCE
    for i, engine in enumerate(hardware.engines):
        balance = engine.peak / hardware.bandwidth
        if not low <= balance <= high:
            message = f"{balance:.3g} FLOP/B of DRAM is outside {low:g} to {high:g}: a factor of 1000?"
            yield "error", ("engines", i, "per_clock_per_unit"), message


def _clocks(hardware: Hardware) -> Iterator[Remark]:
    low, high = CLOCK
    for name, figure in hardware.clocks:
        if not low <= figure.value <= high:
            yield "error", ("clock_ghz", name), f"{figure.value / 1e9:g} GHz is outside {low / 1e9:g} to {high / 1e9:g}: MHz?"


def _overheads(hardware: Hardware) -> Iterator[Remark]:
    low, high = OVERHEAD
    overheads = hardware.overheads
    for name in ("launch", "graph", "compiled", "host_op", "host_view"):
        value = getattr(overheads, name)
        if not low <= value <= high:
            yield "error", ("overhead_us", name), f"{value * 1e6:g} us is outside {low * 1e6:g} to {high * 1e6:g}: ns or s?"


def _ceilings_not_tiny(hardware: Hardware) -> Iterator[Remark]:
    for i, engine in enumerate(hardware.engines):
        if engine.efficiency < LEAST_EFFICIENCY:
            yield "error", ("engines", i, "ceiling"), f"is {engine.efficiency:.2g} of the peak: a factor of 1000?"
    for i, level in enumerate(hardware.memory):
        if (share := min(level.read, level.write, level.copy) / level.peak) < LEAST_EFFICIENCY:
            yield "error", ("memory", i), f"its slowest pattern is {share:.2g} of the peak: a factor of 1000?"


def _dense_rates(hardware: Hardware) -> Iterator[Remark]:
    known = DENSE_MATRIX_RATES.get(hardware.architecture, {})
    for i, engine in enumerate(hardware.engines):
        highest = known.get(engine.dtype)
        if engine.kind == "matrix" and highest and engine.per_clock > highest * (1 + TOLERANCE):
            sparse = " (twice: the 2:4 sparse rate?)" if _near(engine.per_clock, 2 * highest) else ""
            message = f"{engine.per_clock:g} is above the dense {highest:g} of {hardware.architecture}{sparse}"
            yield "error", ("engines", i, "per_clock_per_unit"), message


def _matrix_not_slower(hardware: Hardware) -> Iterator[Remark]:
    for i, engine in enumerate(hardware.engines):
        vector = hardware.engine(engine.dtype, "vector")
        if engine.kind == "matrix" and vector and engine.peak < vector.peak:
            message = f"the matrix engine ({engine.peak:.3g}) is slower than the vector engine ({vector.peak:.3g})"
            yield "error", ("engines", i, "per_clock_per_unit"), message


def _levels_nearer_are_faster(hardware: Hardware) -> Iterator[Remark]:
    for i, (far, near) in enumerate(zip(hardware.memory, hardware.memory[1:], strict=False), start=1):
        if near.read < far.read:
            message = f"{near.name} reads {near.read / 1e9:.3g} GB/s, slower than {far.name} ({far.read / 1e9:.3g})"
            yield "warning", ("memory", i), message


HARDWARE_RULES: tuple[Callable[[Hardware], Iterator[Remark]], ...] = (
    _bandwidth_range,
    _memory_size,
    _balance,
    _clocks,
    _overheads,
    _ceilings_not_tiny,
    _dense_rates,
    _matrix_not_slower,
    _levels_nearer_are_faster,
)


# --- rules that compare the file with what was computed from it -----------------------------------


def _peak_follows(engine: Engine, entry: EngineEntry, key: Key) -> Iterator[Remark]:
    if entry.peak_tflops_check is None:
        return
    printed, computed = entry.peak_tflops_check.value, engine.peak / 1e12
    if _near(printed, 2 * computed):
        message = f"{printed:g} is twice the computed {computed:.4g} TFLOP/s: a 2:4 sparse figure given as dense?"
        yield "error", (*key, "peak_tflops_check"), message
    elif not _near(printed, computed):
        message = f"{printed:g} does not follow from units x rate x clock = {computed:.4g} TFLOP/s"
        yield "error", (*key, "peak_tflops_check"), message


def _rate_within_peak(engine: Engine, entry: EngineEntry, key: Key) -> Iterator[Remark]:
    limit = engine.peak * (1 + TOLERANCE)
    if engine.ceiling > limit and not entry.boosts_above_spec:
        message = f"{engine.ceiling / 1e12:.4g} TFLOP/s is above the peak of {engine.peak / 1e12:.4g}"
        yield "error", key, f"{message}; correct it, or set boosts_above_spec: true"


def _bandwidth_within_peak(level: MemoryLevel, entry: MemoryEntry, key: Key) -> Iterator[Remark]:
    if entry.peak_gbps is None or entry.boosts_above_spec:
        return
    limit = level.peak * (1 + TOLERANCE)
    for pattern, value in (("read", level.read), ("write", level.write), ("copy", level.copy)):
        if value > limit:
            slip = _slip(value, level.peak)
            message = f"{pattern} of {value / 1e9:.4g} GB/s is above the peak of {level.peak / 1e9:.4g}{slip}"
            yield "error", key, f"{message}; correct it, or set boosts_above_spec: true"
