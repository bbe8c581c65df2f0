"""Turn the name of a device into its Hardware: peaks, ceilings, memory, overheads, and the source of each figure."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

from roofline.errors import ProfileError, UnknownNameError, UnsupportedError

DTYPES = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8", "int4", "fp4")
"""Data types an engine may compute in, widest first."""

DEFAULT_CPU = "c5.2xlarge"
"""The device that the name `cpu` stands for."""

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

    *read*, *write* and *copy* are what tuned code reached; copy counts the bytes read and the bytes written.
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
    host_op_source: Figure
    host_view_source: Figure

    @property
    def launch(self) -> float:
        """Give the device time of an almost empty kernel issued back to back in a stream."""
        return self.launch_source.value

    @property
    def graph(self) -> float:
        """Give the same inside a CUDA graph or a compiled engine."""
        return self.graph_source.value

    @property
    def host_op(self) -> float:
        """Give the host time that dispatches one eager PyTorch op."""
        return self.host_op_source.value

    @property
    def host_view(self) -> float:
        """Give the host time of an op that launches nothing, such as a view."""
        return self.host_view_source.value


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
    calibration: object | None = None

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
    for label in ("launch", "graph", "host_op", "host_view"):
        yield f"{label} overhead", cast(Figure, getattr(hardware.overheads, f"{label}_source"))
    if hardware.power_source:
        yield "power", hardware.power_source


def names() -> tuple[str, ...]:
    """List the ids of all profiles that can be loaded by name, sorted."""
    return tuple(sorted({stem for folder in _folders() for stem in _profiles(folder)}))


def load_hardware(name_or_path: str | Path | Hardware) -> Hardware:
    """Load a device by id, alias or YAML file: `load_hardware("t4")`; `host` is this machine, `cpu` a c5.2xlarge.

    Looks in $ROOFLINE_HARDWARE, then in the user's configuration folder, then among the bundled profiles.
    """
    if isinstance(name_or_path, Hardware):
        return name_or_path
    if isinstance(name_or_path, Path) or _looks_like_path(name_or_path):
        return _read(Path(name_or_path))
    name = name_or_path.strip().lower()
    path = find(name)
    if path is not None:
        return _read(path)
    if name == "cpu":
        return _default_cpu()
    if name == "host":
        from roofline.costmodel.host import detect

        return detect()
    raise UnknownNameError(_unknown(name_or_path))


def find(name: str) -> Path | None:
    """Find the profile whose id, or else one of whose aliases, is *name* in any case."""
    wanted = name.strip().lower()
    path = next((profiles[wanted] for folder in _folders() if wanted in (profiles := _profiles(folder))), None)
    if path is not None or wanted in ("cpu", "host"):
        return path
    return next((path for alias, path in _aliases() if alias == wanted), None)


def _looks_like_path(name: str) -> bool:
    return name.lower().endswith((".yaml", ".yml")) or os.sep in name or "/" in name


def _folders() -> tuple[Path, ...]:
    return (*_environment_folder(), _user_folder(), _bundled_folder())


def _environment_folder() -> tuple[Path, ...]:
    value = os.environ.get("ROOFLINE_HARDWARE")
    if not value:
        return ()
    if not Path(value).is_dir():
        raise ProfileError(f"ROOFLINE_HARDWARE={value}: no such folder; set it to a folder of profiles, or unset it")
    return (Path(value),)


def _user_folder() -> Path:
    from platformdirs import user_config_dir

    return Path(user_config_dir("roofline")) / "hardware"


@lru_cache(maxsize=1)
def _bundled_folder() -> Path:
    package = Path(__file__).resolve().parents[1]
    return shipped if (shipped := package / "_hardware").is_dir() else package.parent / "hardware"


def _profiles(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    stems = (os.path.splitext(name) for name in sorted(os.listdir(folder)))  # noqa: PTH122, PTH208 - three times as fast
    return {stem.lower(): folder / f"{stem}{suffix}" for stem, suffix in stems if suffix in (".yaml", ".yml")}


def _aliases() -> Iterator[tuple[str, Path]]:
    for path in (path for folder in _folders() for path in _profiles(folder).values()):
        try:
            hardware = _read(path)
        except ProfileError:  # a broken file must not hide the others; `hardware check` reports it
            continue
        yield from ((alias.lower(), path) for alias in hardware.aliases)


def _read(path: Path) -> Hardware:
    try:
        modified = path.stat().st_mtime_ns
    except (OSError, ValueError):  # `read` says what is wrong; a ValueError is a NUL in the name
        modified = 0
    return _read_cached(path, modified)


@lru_cache(maxsize=256)
def _read_cached(path: Path, _modified: int) -> Hardware:
    from roofline.costmodel.profile import read

    return read(path)


def _default_cpu() -> Hardware:
    device = load_hardware(DEFAULT_CPU)
    return replace(device, notes=(f"`cpu` means {DEFAULT_CPU} ({device.name})", *device.notes))


def _unknown(name: str) -> str:
    aliases = (alias for alias, _ in _aliases())
    close = get_close_matches(name.strip().lower(), (*names(), "cpu", "host", *aliases), n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ";"
    return f"unknown hardware '{name}'{hint} known: {', '.join(names())}; or pass a YAML file"
