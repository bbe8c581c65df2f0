"""Turn a YAML file into a validated Profile, and a Profile into Hardware; only here yaml and pydantic are known."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from roofline.costmodel.hardware import (
    DeviceKind,
    Engine,
    EngineKind,
    Figure,
    FigureKind,
    Hardware,
    MemoryLevel,
    Overheads,
    Price,
    Source,
)
from roofline.errors import ProfileError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20

Key = tuple[str | int, ...]
Dtype = Literal["fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8", "int4", "fp4"]
Pattern = Literal["read", "write", "copy", "mixed"]
Positive = Annotated[float, Field(gt=0, lt=1e18, allow_inf_nan=False)]


class Entry(BaseModel):
    """Refuse unknown keys and silent conversions in every part of a profile."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class Provenance(Entry):
    """Say where a figure comes from; a measured one states its conditions."""

    src: str
    kind: FigureKind
    conditions: str = ""
    note: str = ""

    def remark(self, *parts: str) -> str:
        """Join *parts*, the conditions and the note into one remark."""
        return "; ".join(part for part in (*parts, self.conditions, self.note) if part)


class FigureEntry(Provenance):
    """Hold one number in the unit that its key names."""

    value: Positive

    def figure(self, unit: float = 1.0) -> Figure:
        """Convert to base units by the factor *unit*."""
        return Figure(self.value * unit, self.src, self.kind, self.remark())


class SourceEntry(Entry):
    """Name a document."""

    title: str
    url: str = ""
    opened: str = ""
    note: str = ""


class UnitsEntry(Provenance):
    """Count the SMs or the physical cores."""

    count: Annotated[int, Field(gt=0, lt=1_000_000)]
    name: str


class RateEntry(Provenance):
    """Hold an achieved rate, either absolute or as a fraction of the computed peak."""

    tflops: Positive | None = None
    fraction: Positive | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "RateEntry":
        _require_one(self, ("tflops", "fraction"))
        return self

    def figure(self, peak: float) -> Figure:
        """Convert to FLOP/s, given the *peak*."""
        if self.fraction is None:
            return Figure(cast(float, self.tflops) * 1e12, self.src, self.kind, self.remark())
        return Figure(self.fraction * peak, self.src, self.kind, self.remark(f"{self.fraction:g} of peak"))


class EngineEntry(Entry):
    """Describe an engine by its rate for each clock and unit; its peak is computed, never typed."""

    kind: EngineKind
    name: str
    dtype: Dtype
    accumulate: str = ""
    per_clock_per_unit: FigureEntry
    clock: str = "boost"
    peak_tflops_check: FigureEntry | None = None
    ceiling: RateEntry | None = None
    sustained_ceiling: RateEntry | None = None
    boosts_above_spec: bool = False


class MeasuredEntry(Entry):
    """Hold one measured bandwidth; `mixed` serves only the patterns that nobody measured alone."""

    pattern: Pattern
    value_gbps: Positive
    src: str
    conditions: str = ""
    note: str = ""


class EstimateEntry(Provenance):
    """Hold one bandwidth that was not measured on this device: absolute, a fraction, or a rate for each unit."""

    pattern: Pattern
    value_gbps: Positive | None = None
    fraction: Positive | None = None
    gbps_per_unit: Positive | None = None
    limit_gbps: Positive | None = None
    bytes_per_clock_per_unit: Positive | None = None
    clock: str = "boost"

    @model_validator(mode="after")
    def _one_of(self) -> "EstimateEntry":
        _require_one(self, ("value_gbps", "fraction", "gbps_per_unit", "bytes_per_clock_per_unit"))
        return self


class BusEntry(Provenance):
    """Describe the memory bus: million transfers a second on each of so many data bits."""

    mtps: Positive
    bits: Positive


class MemoryEntry(Entry):
    """Describe a memory level that can hold data between two kernels."""

    level: str
    size_bytes: FigureEntry
    per: Literal["chip", "unit"] = "chip"
    peak_gbps: FigureEntry | None = None
    peak_gbps_check: FigureEntry | None = None
    bus: BusEntry | None = None
    measured: list[MeasuredEntry] = []
    estimated: list[EstimateEntry] = []
    boosts_above_spec: bool = False

    @model_validator(mode="after")
    def _has_bandwidth(self) -> "MemoryEntry":
        if self.peak_gbps is None and self.level == "dram":
            raise ValueError("peak_gbps is missing; give the datasheet bandwidth in decimal GB/s")
        if self.peak_gbps is None and not self.measured and not self.estimated:
            raise ValueError(f"{self.level} has no bandwidth; give peak_gbps, measured or estimated")
        return self


class OverheadsEntry(Entry):
    """Hold the overheads in microseconds."""

    launch: FigureEntry
    graph: FigureEntry
    host_op: FigureEntry
    host_view: FigureEntry


class PriceEntry(Entry):
    """Hold an on-demand price; a price without region and date means nothing."""

    usd_per_hour: Positive
    instance: str
    src: str
    region: str = ""
    date: str = ""
    note: str = ""


class Profile(Entry):
    """Mirror a whole file in `hardware/`."""

    schema_: Literal[1] = Field(alias="schema")
    base: str = ""
    name: str
    aliases: list[str] = []
    kind: DeviceKind
    architecture: str
    segment: str
    sparsity_2_4: bool = False
    sources: dict[str, SourceEntry]
    units: UnitsEntry
    clock_ghz: dict[str, FigureEntry]
    engines: list[EngineEntry]
    unsupported: list[Dtype] = []
    memory: list[MemoryEntry]
    overhead_us: OverheadsEntry
    power_w: FigureEntry | None = None
    price: PriceEntry | None = None
    notes: list[str] = []

    @model_validator(mode="after")
    def _is_complete(self) -> "Profile":
        clocks = {entry.clock for entry in self.engines}
        clocks |= {entry.clock for level in self.memory for entry in level.estimated}
        if missing := {"boost", *clocks} - set(self.clock_ghz):
            raise ValueError(f"clock_ghz: {', '.join(sorted(missing))} is missing; give it in GHz")
        if not any(entry.kind == "vector" and entry.dtype == "fp32" for entry in self.engines):
            raise ValueError("engines: a vector engine for fp32 is missing; every device needs one")
        if not self.memory or self.memory[0].level != "dram":
            raise ValueError("memory: the first level must be dram; list the levels from far to near")
        if twice := _repeated([(entry.kind, entry.dtype) for entry in self.engines]):
            raise ValueError(f"engines: {' '.join(twice)} is listed twice; keep one")
        return self


def _require_one(entry: Entry, keys: tuple[str, ...]) -> None:
    if sum(getattr(entry, key) is not None for key in keys) != 1:
        raise ValueError(f"give exactly one of {', '.join(keys)}")


def _repeated(values: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    return next((value for i, value in enumerate(values) if value in values[:i]), None)


# --- what is wrong with a file, and where ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """Point at the line and key that break a rule."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        """Write `file:line: key: message`, leaving out what is unknown."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.message) if part)


@dataclass(frozen=True, slots=True)
class Node:
    """Hold a YAML value with the file and line where it stands."""

    value: "bool | int | float | str | list[Node] | dict[str, Node] | None"
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """Hold a file as nodes, with its Profile or the problems that prevent one."""

    path: Path
    root: Node
    profile: Profile | None
    problems: tuple[Problem, ...]

    def locate(self, key: Key) -> tuple[str, int]:
        """Find the file and line of *key*, or of the nearest part of it that exists."""
        return _locate(self.root, key)


class _UnreadableError(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def read(path: Path) -> Hardware:
    """Load the profile at *path*, or raise a ProfileError that names file, line and key."""
    document = open_document(path)
    if document.profile is None:
        first, *more = document.problems
        raise ProfileError(f"{first} (and {len(more)} more)" if more else str(first))
    return to_hardware(document.profile, path)


def open_document(path: Path) -> Document:
    """Parse and validate the file at *path*, keeping where everything stands and what is wrong."""
    try:
        root = _with_base(_parse(path), path)
    except _UnreadableError as error:
        return Document(path, Node(None, str(path), 0), None, (error.problem,))
    try:
        return Document(path, root, Profile.model_validate(_plain(root)), ())
    except ValidationError as error:
        details = cast(list[dict[str, Any]], error.errors(include_url=False, include_context=False))
        return Document(path, root, None, tuple(_problem(root, detail) for detail in details))


def key_text(key: Key) -> str:
    """Write a key the way a person would: `engines[1].per_clock_per_unit`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def _locate(root: Node, key: Key) -> tuple[str, int]:
    node = root
    for part in key:
        if (child := _child(node.value, part)) is None:
            break
        node = child
    return node.file, node.line


def _child(value: object, part: str | int) -> Node | None:
    if isinstance(value, dict):
        return cast(dict[str | int, Node], value).get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(cast(list[Node], value)):
        return cast(list[Node], value)[part]
    return None


_UNITS = {
    "per_clock_per_unit": "FLOP per clock per SM or core",
    "tflops": "TFLOP/s",
    "peak_tflops_check": "TFLOP/s",
    "fraction": "a share of the peak",
    "count": "how many SMs or physical cores",
    "size_bytes": "bytes",
    "clock_ghz": "GHz",
    "overhead_us": "microseconds",
    "power_w": "W",
    "usd_per_hour": "US dollars an hour",
    "mtps": "million transfers a second",
    "bits": "data bits of the bus",
    "bytes_per_clock_per_unit": "bytes per clock per SM or core",
}


def _unit(key: Key) -> str:
    for part in reversed(key):
        if part in _UNITS or "gbps" in str(part):
            return f"; give {_UNITS.get(str(part), 'decimal GB/s')}"
    return ""


def _problem(root: Node, detail: dict[str, Any]) -> Problem:
    key = cast(Key, detail["loc"])
    file, line = _locate(root, key)
    return Problem(file, line, key_text(key), _message(key, detail["type"], detail.get("input"), detail["msg"]))


def _message(key: Key, kind: str, value: object, message: str) -> str:
    if kind == "missing":
        return f"is missing{_unit(key)}"
    if kind == "extra_forbidden":
        return f"unknown key{_did_you_mean(str(key[-1]))}"
    if kind == "literal_error":
        return f"{message[0].lower()}{message[1:]}, not {value!r}".replace("input should", "must")
    if kind == "less_than":
        return f"is too large: {_short(value)}{_unit(key)}"
    if kind.startswith(("float", "int", "greater", "finite")):
        number = "whole number" if kind.startswith("int") else "number"
        return f"must be a positive {number}, not {_short(value)}{_unit(key)}"
    return _structural(key, kind, value, message)


def _structural(key: Key, kind: str, value: object, message: str) -> str:
    if kind == "model_type" and isinstance(value, str):
        return f"must be a positive number, not {_short(value)}{_unit(key)}" if _unit(key) else "must be a mapping"
    if kind == "model_type" and isinstance(value, int | float):
        return f"must be a mapping: {{value: {value}, kind: datasheet, src: ...}}; every figure names its source"
    if kind in ("model_type", "dict_type"):
        return f"must be a mapping, not {_short(value)}"
    if kind.startswith(("string", "bool", "list")):
        wanted = {"s": "text", "b": "true or false", "l": "a list"}[kind[0]]
        return f"must be {wanted}, not {_short(value)}"
    return message.removeprefix("Value error, ")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _did_you_mean(key: str) -> str:
    models = (Profile, UnitsEntry, EngineEntry, RateEntry, MemoryEntry, EstimateEntry, MeasuredEntry, BusEntry)
    models = (*models, OverheadsEntry, PriceEntry, SourceEntry, FigureEntry)
    known = {field.alias or name for model in models for name, field in model.model_fields.items()}
    close = get_close_matches(key, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "; remove it"


# --- YAML text to nodes: no aliases, no tags, no duplicate keys, no recursion deeper than MAX_DEPTH

_Loader = cast(type[yaml.SafeLoader], getattr(yaml, "CSafeLoader", yaml.SafeLoader))
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "true": True, "True": True, "false": False, "False": False}


def _parse(path: Path) -> Node:
    file = str(path)
    text = _text(path)
    try:
        root = _root(iter(_Loader(text).get_event, None), file)
    except yaml.YAMLError as error:
        raise _UnreadableError(_syntax_problem(file, text, error)) from None
    if not isinstance(root.value, dict):
        raise _UnreadableError(Problem(file, root.line, "", "must be a mapping of keys such as `schema`, `name`, `engines`"))
    return root


@lru_cache(maxsize=8)
def _parse_cached(path: Path, _modified: int) -> Node:
    return _parse(path)


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "no such file"
            raise _UnreadableError(Problem(str(path), 0, "", f"{what}; give a YAML profile"))
        if (size := path.stat().st_size) > MAX_BYTES:
            raise _UnreadableError(Problem(str(path), 0, "", f"has {size} bytes; a profile has at most {MAX_BYTES}"))
        return _decoded(path, path.read_bytes())
    except OSError as error:
        raise _UnreadableError(Problem(str(path), 0, "", f"cannot be read: {error.strerror}")) from None


def _decoded(path: Path, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _UnreadableError(Problem(str(path), line, "", "is not UTF-8 text; save it as UTF-8")) from None


def _syntax_problem(file: str, text: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    line = cast(int, mark.line) + 1 if mark else 1
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
    start = re.match(r"\s*", text.split("\n")[line - 1]) if line <= text.count("\n") + 1 else None
    hint = "; indent with spaces, not with a tab" if start and "\t" in start[0] else ""
    return Problem(file, line, "", f"not valid YAML: {what}{hint}")


def _root(events: Iterator[Any], file: str) -> Node:
    next(events)  # the start of the stream
    if isinstance(next(events), yaml.StreamEndEvent):
        raise _UnreadableError(Problem(file, 1, "", "is empty; a profile is a mapping of keys"))
    root = _node(events, next(events), file, ())
    next(events)  # the end of the document
    if not isinstance(extra := next(events), yaml.StreamEndEvent):
        raise _UnreadableError(Problem(file, _line(extra), "", "has a second document; keep one in a file"))
    return root


def _line(event: Any) -> int:
    return cast(int, event.start_mark.line) + 1


def _node(events: Iterator[Any], event: Any, file: str, key: Key) -> Node:
    _refuse(event, file, key)
    if isinstance(event, yaml.ScalarEvent):
        return Node(_scalar(event), file, _line(event))
    if isinstance(event, yaml.SequenceStartEvent):
        return Node(_items(events, file, key), file, _line(event))
    return Node(_pairs(events, file, key), file, _line(event))


def _refuse(event: Any, file: str, key: Key) -> None:
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise _UnreadableError(Problem(file, _line(event), key_text(key), "anchors and aliases are refused; repeat the value"))
    if event.tag is not None:
        raise _UnreadableError(Problem(file, _line(event), key_text(key), f"the tag {event.tag} is refused; write plain values"))
    if len(key) > MAX_DEPTH:
        raise _UnreadableError(Problem(file, _line(event), "", f"is nested deeper than {MAX_DEPTH} levels"))


def _items(events: Iterator[Any], file: str, key: Key) -> list[Node]:
    items: list[Node] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        items.append(_node(events, event, file, (*key, len(items))))
    return items


def _pairs(events: Iterator[Any], file: str, key: Key) -> dict[str, Node]:
    pairs: dict[str, Node] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        _refuse(event, file, key)
        if not isinstance(event, yaml.ScalarEvent):
            raise _UnreadableError(Problem(file, _line(event), key_text(key), "has a key that is not plain text"))
        name = cast(str, event.value)
        if name in pairs:
            message = f"is given twice; the first is on line {pairs[name].line}"
            raise _UnreadableError(Problem(file, _line(event), key_text((*key, name)), message))
        pairs[name] = _node(events, next(events), file, (*key, name))
    return pairs


def _scalar(event: Any) -> str | float | int | bool | None:
    text = cast(str, event.value)
    if not event.implicit[0]:  # quoted
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text.replace(".i", "i").replace(".n", "n").replace(".N", "N")) if _FLOAT.fullmatch(text) else text


def _plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(child) for child in node.value]
    return node.value


# --- inheritance: one level, by the bare name of a file in the same folder ------------------------

_OWN_KEYS = {"name", "aliases", "price", "base"}
_BARE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*")
_IDENTITY = {"engines": ("kind", "dtype"), "memory": ("level",)}


def _with_base(own: Node, path: Path) -> Node:
    pairs = cast(dict[str, Node], own.value)
    if "base" not in pairs:
        return own
    base_path = _base_path(pairs["base"], path)
    base = _parse_cached(base_path, base_path.stat().st_mtime_ns)
    if "base" in (inherited := cast(dict[str, Node], base.value)):
        message = f"{pairs['base'].value} has a base itself; inherit from that one"
        raise _UnreadableError(Problem(own.file, pairs["base"].line, "base", message))
    kept = {key: node for key, node in inherited.items() if key not in _OWN_KEYS}
    both = {key: _merged(key, kept[key], pairs[key]) for key in kept.keys() & pairs.keys()}
    return Node({**kept, **pairs, **both}, own.file, own.line)


def _base_path(node: Node, path: Path) -> Path:
    name = node.value
    if not isinstance(name, str) or not _BARE_NAME.fullmatch(name):
        message = f"must be the bare name of a profile in the same folder, not {_short(name)}"
        raise _UnreadableError(Problem(node.file, node.line, "base", message))
    if not (base := path.parent / f"{name}.yaml").is_file():
        raise _UnreadableError(Problem(node.file, node.line, "base", f"there is no {base}; name a profile beside this one"))
    return base


def _merged(key: str, base: Node, own: Node) -> Node:
    if key in ("sources", "clock_ghz", "overhead_us") and isinstance(base.value, dict) and isinstance(own.value, dict):
        return Node({**base.value, **own.value}, own.file, own.line)
    if key in (*_IDENTITY, "notes") and isinstance(base.value, list) and isinstance(own.value, list):
        return Node(_joined(base.value, own.value, _IDENTITY.get(key, ())), own.file, own.line)
    return own


def _joined(base: list[Node], own: list[Node], identity: tuple[str, ...]) -> list[Node]:
    if not identity:
        return [*base, *own]
    known = {_identity(node, identity): node for node in base}
    for node in own:
        label = _identity(node, identity)
        if label in known and isinstance(node.value, dict):
            pairs = {**cast(dict[str, Node], known[label].value), **node.value}
            node = Node(pairs, node.file, node.line)
        known[label] = node
    return list(known.values())


def _identity(node: Node, keys: tuple[str, ...]) -> str:
    if not isinstance(node.value, dict):
        return f"{node.file}:{node.line}"
    return " ".join(repr(node.value[key].value) if key in node.value else "" for key in keys)


# --- Profile to Hardware: GHz, GB/s, TFLOP/s and us become base units -----------------------------


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
        overheads=_overheads(profile.overhead_us),
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


def _overheads(entry: OverheadsEntry) -> Overheads:
    launch, graph, host_op, host_view = (figure.figure(1e-6) for figure in (entry.launch, entry.graph, entry.host_op, entry.host_view))
    return Overheads(launch, graph, host_op, host_view)


def _price(entry: PriceEntry) -> Price:
    return Price(entry.usd_per_hour, entry.instance, entry.region, entry.date, entry.src, entry.note)


def _source(key: str, entry: SourceEntry) -> Source:
    return Source(key, entry.title, entry.url, entry.opened, entry.note)
