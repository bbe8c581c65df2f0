"""The parts of a hardware profile, as pydantic validates them; every figure names its source."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from roofline.costmodel.calibration import CLASSES, Calibration, Shape
from roofline.costmodel.device import DeviceKind, EngineKind, Figure, FigureKind

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


class OverheadEntry(FigureEntry):
    """Hold one overhead in microseconds; *per_unit* is what each SM or core adds to it."""

    per_unit: Positive | None = None

    def seconds(self, units: UnitsEntry) -> Figure:
        """Convert to seconds on a device of so many *units*."""
        if self.per_unit is None:
            return self.figure(1e-6)
        formula = f"{self.value:g} us + {self.per_unit:g} us x {units.count} {units.name}"
        return Figure((self.value + self.per_unit * units.count) * 1e-6, self.src, self.kind, self.remark(formula))


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
    """Hold the overheads in microseconds; *compiled* is that of *launch* where it is not given."""

    launch: OverheadEntry
    graph: OverheadEntry
    compiled: OverheadEntry | None = None
    host_op: OverheadEntry
    host_view: OverheadEntry


class PriceEntry(Entry):
    """Hold an on-demand price; a price without region and date means nothing."""

    usd_per_hour: Positive
    instance: str
    src: str
    region: str = ""
    date: str = ""
    note: str = ""


Share = Annotated[float, Field(gt=0, lt=100, allow_inf_nan=False)]
HostKind = Literal["product", "norm", "cast", "other"]
Size = Annotated[float, Field(ge=0, lt=1e9, allow_inf_nan=False)]
Spread = Annotated[list[Positive], Field(min_length=2, max_length=2)]


def _known(name: str) -> str:
    if name not in CLASSES:
        raise ValueError(f"unknown class {name!r}; use one of {', '.join(CLASSES)}")
    return name


ClassName = Annotated[str, AfterValidator(_known)]


class ShapeEntry(Entry):
    """Hold sizes at half efficiency, and factors for channels that do not suit the engine."""

    depth: Size
    columns: Size
    group_columns: Size
    outputs: Size
    group_outputs: Size = 0.0
    misaligned: Share = 1.0
    misaligned_groups: Share = 1.0


class SpreadEntry(Entry):
    """Hold the 10th and 90th percentile of measured over predicted time."""

    networks: Spread
    devices: Spread
    kernels: Spread


class CalibrationEntry(Entry):
    """Mirror one calibration in a file."""

    devices: list[str] = []
    kind: Literal["gpu", "cpu"]
    architecture: str
    segment: str
    mode: Literal["eager", "compiled", "engine"]
    layout: Literal["nchw", "nhwc"] | None = None
    precisions: list[str] = []
    samples: Annotated[int, Field(ge=0, lt=10**9)]
    data: str
    date: str
    released: Annotated[int, Field(ge=0, lt=10**4)] = 0
    spread: SpreadEntry
    launch_us: Positive | None = None
    clock_ghz: Positive | None = None
    call_us: Positive | None = None
    host_op_us: Positive | None = None
    host: dict[HostKind, Share] = {}
    cache: Share = 1.0
    bias: Share = 1.0
    transpose: Share = 1.0
    huge: Share = 1.0
    fresh_gbps_per_core: Positive | None = None
    packing_gbps_per_core: Positive | None = None
    serial: Annotated[float, Field(ge=0, lt=1)] = 0.0
    on_vector: ShapeEntry
    on_matrix: ShapeEntry
    memory: dict[ClassName, Share]
    vector: dict[ClassName, Share]
    matrix: dict[ClassName, Share] = {}

    def calibration(self) -> Calibration:
        """Convert to base units."""
        converted = {
            "spread", "launch_us", "clock_ghz", "call_us", "host_op_us", "fresh_gbps_per_core", "packing_gbps_per_core", "on_vector",
            "on_matrix", "devices", "precisions",
        }  # fmt: skip
        plain: dict[str, Any] = self.model_dump(exclude=converted)
        return Calibration(
            **plain,
            devices=tuple(self.devices),
            precisions=tuple(self.precisions),
            on_vector=Shape(**self.on_vector.model_dump()),
            on_matrix=Shape(**self.on_matrix.model_dump()),
            launch=self.launch_us * 1e-6 if self.launch_us else None,
            clock=self.clock_ghz * 1e9 if self.clock_ghz else None,
            call=self.call_us * 1e-6 if self.call_us else 0.0,
            host_op=self.host_op_us * 1e-6 if self.host_op_us else None,
            fresh=self.fresh_gbps_per_core * 1e9 if self.fresh_gbps_per_core else None,
            packing=self.packing_gbps_per_core * 1e9 if self.packing_gbps_per_core else None,
            spread=(self.spread.networks[0], self.spread.networks[1]),
            elsewhere=(self.spread.devices[0], self.spread.devices[1]),
            per_kernel=(self.spread.kernels[0], self.spread.kernels[1]),
        )


class Calibrations(Entry):
    """Mirror a file of calibrations."""

    calibration: list[CalibrationEntry]


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
    calibration: list[CalibrationEntry] = []

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
