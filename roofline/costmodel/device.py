"""The words for a device: engines, memory levels, overheads, price, and the source of every figure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from roofline.costmodel.calibration import Calibration
from roofline.errors import UnsupportedError
from roofline.transforms.modes import Mode

DTYPES = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8", "int4", "fp4")
"""Data types an engine may compute in, widest first."""

FigureKind = Literal["datasheet", "derived", "measured", "recalled", "assumed"]
EngineKind = Literal["matrix", "vector"]
DeviceKind = Literal["gpu", "cpu"]


@dataclass(frozen=True, slots=True)
class Source:
    """Name a document that figures were taken from."""

    key: str
    title: str
    url: str = ""
    opened: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """Hold one number in base units with the key of its source and how it was come by."""

    value: float
    source: str
    kind: FigureKind
    note: str = ""


@dataclass(frozen=True, slots=True)
class Engine:
    """Describe one kind of arithmetic unit: `peak = per_clock * units * clock`, in FLOP/s (OP/s for integers), dense.

    *ceiling* is the rate that tuned code reached; *sustained* is what a long run under its power limit reached.
    """

    kind: EngineKind
    dtype: str
    name: str
    peak: float
    ceiling: float
    peak_source: Figure
    ceiling_source: Figure
    per_clock: float
    clock: float
    accumulate: str = ""
    sustained_source: Figure | None = None

    @property
    def sustained(self) -> float | None:
        """Give the rate in FLOP/s of a long run, where somebody measured it."""
        return self.sustained_source.value if self.sustained_source else None

    @property
    def efficiency(self) -> float:
        """Give `ceiling / peak`."""
        return self.ceiling / self.peak


@dataclass(frozen=True, slots=True)
class MemoryLevel:
    """Describe one level of memory: size in bytes and bandwidths in B/s, summed over the whole chip.

    *read* and *write* are what tuned code reached, *copy* what a copy in PyTorch did (bytes read and written), of which calibrations
    hold shares.
    """

    name: str
    size: float
    peak: float
    read: float
    write: float
    copy: float
    size_source: Figure
    peak_source: Figure
    read_source: Figure
    write_source: Figure
    copy_source: Figure
    shared_by: Literal["chip", "unit"] = "chip"

    @property
    def sources(self) -> tuple[Figure, ...]:
        """List the figures of this level: size, peak, read, write, copy."""
        return (self.size_source, self.peak_source, self.read_source, self.write_source, self.copy_source)


@dataclass(frozen=True, slots=True)
class Overheads:
    """Hold the time in seconds that a kernel or an op costs before any work is done."""

    launch_source: Figure
    graph_source: Figure
    compiled_source: Figure
    host_op_source: Figure
    host_view_source: Figure

    @property
    def launch(self) -> float:
        """Give the device time of an almost empty kernel issued back to back in a stream."""
        return self.launch_source.value

    @property
    def graph(self) -> float:
        """Give the same inside a captured CUDA graph."""
        return self.graph_source.value

    @property
    def compiled(self) -> float:
        """Give the same in code of torch.compile, whose products are still calls of a library through PyTorch on a CPU."""
        return self.compiled_source.value

    @property
    def host_op(self) -> float:
        """Give the host time that dispatches one eager PyTorch op."""
        return self.host_op_source.value

    @property
    def host_view(self) -> float:
        """Give the host time of an op that launches nothing, such as a view."""
        return self.host_view_source.value

    @property
    def queued(self) -> float:
        """Give what a start in a stream takes more than one in a CUDA graph."""
        return max(self.launch - self.graph, 0.0)

    def launch_in(self, mode: Mode) -> float:
        """Give the time of a launch in *mode*, in a stream."""
        return self.compiled if mode == "compiled" else self.launch


@dataclass(frozen=True, slots=True)
class Price:
    """Hold what an hour of the device cost on demand, where and when; *note* says how a share was taken."""

    usd_per_hour: float
    instance: str
    region: str
    date: str
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Hardware:
    """Describe a device for the cost model; *memory* runs from far to near, so `memory[0]` is DRAM."""

    id: str
    name: str
    kind: DeviceKind
    architecture: str
    segment: str
    units: int
    unit_name: str
    clock: float
    sustained_clock: float | None
    engines: tuple[Engine, ...]
    memory: tuple[MemoryLevel, ...]
    overheads: Overheads
    power: float | None = None
    price: Price | None = None
    unsupported: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()
    sparsity_2_4: bool = False
    units_source: Figure | None = None
    power_source: Figure | None = None
    clocks: tuple[tuple[str, Figure], ...] = ()
    file: str = ""
    calibrations: tuple[Calibration, ...] = ()

    def engine(self, dtype: str, kind: EngineKind) -> Engine | None:
        """Find the engine of this *kind* that computes in *dtype*."""
        return next((engine for engine in self.engines if engine.dtype == dtype and engine.kind == kind), None)

    def matmul_engine(self, dtype: str) -> Engine:
        """Choose the engine of a convolution or GEMM in *dtype*: the matrix engine, else the vector engine."""
        found = self.engine(dtype, "matrix") or self.engine(dtype, "vector")
        if found is None:
            known = ", ".join(d for d in DTYPES if d != "fp64" and self.supports(d))
            raise UnsupportedError(f"{self.id} has no {dtype} unit; use one of {known}")
        return found

    def vector_engine(self, dtype: str) -> Engine:
        """Choose the engine of elementwise work in *dtype*: its own vector engine, else the fp32 one.

        Integer vector engines (DP4A, VNNI) only multiply and accumulate, so elementwise work on integers takes fp32.
        """
        own = None if dtype in ("int8", "int4") else self.engine(dtype, "vector")
        found = own or self.engine("fp32", "vector")
        if found is None:
            raise UnsupportedError(f"{self.id} has no fp32 vector engine; add one to its profile")
        return found

    def supports(self, dtype: str) -> bool:
        """Tell whether any engine computes in *dtype*."""
        return any(engine.dtype == dtype for engine in self.engines)

    def ridge(self, dtype: str) -> float:
        """Give the FLOP/B at which the datasheet roofline of *dtype* turns from memory to compute."""
        return self.matmul_engine(dtype).peak / self.bandwidth

    @property
    def memory_size(self) -> float:
        """Give the bytes of device memory."""
        return self.memory[0].size

    @property
    def bandwidth(self) -> float:
        """Give the datasheet B/s of device memory; what is achievable is `memory[0].copy`."""
        return self.memory[0].peak

    def level(self, name: str) -> MemoryLevel | None:
        """Find the memory level called *name*."""
        return next((level for level in self.memory if level.name == name), None)

    def figures(self) -> tuple[tuple[str, Figure], ...]:
        """List every figure with a short label, in the order in which a person would read them."""
        return tuple(_figures(self))


def _figures(hardware: Hardware) -> Iterator[tuple[str, Figure]]:
    if hardware.units_source:
        yield hardware.unit_name, hardware.units_source
    yield from ((f"{name} clock", figure) for name, figure in hardware.clocks)
    for engine in hardware.engines:
        yield f"{engine.dtype} {engine.kind} peak", engine.peak_source
        yield f"{engine.dtype} {engine.kind} ceiling", engine.ceiling_source
        if engine.sustained_source:
            yield f"{engine.dtype} {engine.kind} sustained", engine.sustained_source
    for level in hardware.memory:
        labels = ("size", "peak", "read", "write", "copy")
        yield from ((f"{level.name} {label}", figure) for label, figure in zip(labels, level.sources, strict=True))
    for label in ("launch", "graph", "compiled", "host_op", "host_view"):
        yield f"{label} overhead", cast(Figure, getattr(hardware.overheads, f"{label}_source"))
    if hardware.power_source:
        yield "power", hardware.power_source
