"""Turn what the operating system says about this machine into its Hardware; ceilings are assumed, not measured."""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from roofline.costmodel.device import Engine, EngineKind, Figure, Hardware, MemoryLevel, Overheads, Source

DRAM_PER_CORE = 13e9
"""B/s that one core loads from DRAM: 12.9 GB/s on a c5n.large, 13.0 on a Gold 6248 (sources regpack, kerncraft)."""

DRAM_LIMIT = 100e9
"""B/s that a whole socket is taken to load at most."""

CACHE_PER_CORE = {"l2": 58e9, "l3": 29e9}
"""B/s that one core of a Xeon E5-2697 v4 loads (source kerncraft)."""

COMPUTE_EFFICIENCY = 0.89
"""LINPACK on one core of a c5n.large: 85.1 of 96 GFLOP/s (source regpack)."""

_REPORTED = "the low end of what users report for eager PyTorch"
_REGION = "start of a parallel region: 2.1 us with 2 cores of an EPYC at 3 GHz"
OVERHEADS = {
    "launch": (1.7e-6, 0.2e-6, _REGION),
    "graph": (1.7e-6, 0.2e-6, _REGION),
    "compiled": (19.3e-6, 0.33e-6, "compiled convolutions with next to nothing to do: 20 us with 2 cores of an EPYC at 3 GHz"),
    "host_op": (5e-6, 0.0, _REPORTED),
    "host_view": (1.7e-6, 0.0, _REPORTED),
}
"""Seconds, what each core adds, and where they come from (`epyc_chain` and `epyc_region` in the profiles of CPUs); users report 5 to 25 us
for an eager PyTorch op on a CPU."""

SOURCES = (
    Source("os", "What the operating system reports: /proc, /sys, sysconf"),
    Source("recalled", "Common knowledge that was not checked against a document"),
    Source("judged", "Estimate, with its reason in the note"),
    Source("regpack", "RegpackTesterMacOS, src/plot/cpu_stats.py", "https://github.com/TheBeggs/RegpackTesterMacOS"),
    Source("kerncraft", "kerncraft at 5d1cc67, examples/machine-files", "https://github.com/RRZE-HPC/kerncraft"),
)


@dataclass(frozen=True, slots=True)
class Isa:
    """Name the widest vector instructions with the fp32 FLOP that one core does with them in a clock."""

    name: str
    architecture: str
    fp32: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """Hold what could be found out about a machine."""

    model: str
    cores: int
    isa: Isa
    flags: frozenset[str]
    clock: Figure
    memory: Figure
    caches: dict[str, Figure]


def detect(root: Path = Path("/")) -> Hardware:
    """Describe this machine, or the one whose /proc and /sys lie under *root*."""
    return _hardware(inspect(root))


def inspect(root: Path) -> Machine:
    """Read processor, clock, caches and memory; fall back on assumptions where the system is silent."""
    cpus = _cpus(root)
    first = cpus[0] if cpus else {}
    flags = frozenset((first.get("flags") or first.get("Features") or "").split())
    model = first.get("model name") or platform.processor() or platform.machine() or "unknown processor"
    return Machine(
        model=model,
        cores=_physical_cores(cpus),
        isa=_isa(first, flags, model),
        flags=flags,
        clock=_clock(root, cpus, model),
        memory=_memory(root),
        caches=_caches(root, cpus),
    )


def _cpus(root: Path) -> list[dict[str, str]]:
    """Read the fields of every processor this process may run on."""
    blocks = re.split(r"\n\s*\n", _text(root / "proc/cpuinfo"))
    pairs = [dict(_field(line) for line in block.splitlines() if ":" in line) for block in blocks]
    allowed = _allowed(root)
    return [cpu for cpu in pairs if "processor" in cpu and (allowed is None or cpu["processor"] in allowed)]


def _field(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _allowed(root: Path) -> frozenset[str] | None:
    if root != Path("/") or not hasattr(os, "sched_getaffinity"):
        return None
    return frozenset(str(cpu) for cpu in os.sched_getaffinity(0))


def _physical_cores(cpus: list[dict[str, str]]) -> int:
    if not cpus:
        return max((os.cpu_count() or 1), 1)
    return len({(cpu.get("physical id", "0"), cpu.get("core id", cpu["processor"])) for cpu in cpus})


def _isa(cpu: dict[str, str], flags: frozenset[str], model: str) -> Isa:
    family, number = _number(cpu.get("cpu family", "")), _number(cpu.get("model", ""))
    if "avx512f" in flags:
        return _avx512(cpu.get("vendor_id", ""), family, model)
    if "avx2" in flags and "fma" in flags:
        first_zen = cpu.get("vendor_id") == "AuthenticAMD" and family == 23 and number < 0x30
        return Isa("avx2", "zen" if first_zen else "x86-64-v3", 16 if first_zen else 32)
    if "avx" in flags:
        return Isa("avx", "x86-64", 16)
    if "asimd" in flags or platform.machine().lower() in ("arm64", "aarch64"):
        return Isa("neon", "arm64", 16, "16 FLOP per clock assumed for NEON; wide Arm cores do 32")
    return Isa("unknown", "unknown", 16, "16 FLOP per clock assumed for an unknown instruction set")


def _avx512(vendor: str, family: int, model: str) -> Isa:
    if vendor == "AuthenticAMD":  # Zen 4 (family 25) runs AVX-512 in two passes, Zen 5 (family 26) in one
        return Isa("avx512", "zen5", 64) if family >= 26 else Isa("avx512", "zen4", 32)
    two_units = "xeon" in model.lower() or re.search(r"i[79]-\d+XE?\b", model) is not None
    note = "" if two_units else "one 512-bit FMA unit assumed, as on client processors"
    return Isa("avx512", "x86-64-v4", 64 if two_units else 32, note)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _clock(root: Path, cpus: list[dict[str, str]], model: str) -> Figure:
    if (maximum := _number(_text(root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").strip())) > 0:
        return Figure(maximum * 1e3, "os", "measured", "cpuinfo_max_freq")
    if megahertz := [float(cpu["cpu MHz"]) for cpu in cpus if _is_number(cpu.get("cpu MHz", ""))]:
        return Figure(max(megahertz) * 1e6, "os", "measured", "cpu MHz now; turbo may run above it")
    if printed := re.search(r"@ ([0-9.]+)GHz", model):
        return Figure(float(printed[1]) * 1e9, "os", "measured", "base clock in the model name; turbo may run above it")
    if cpus and _is_number(cpus[0].get("bogomips", "")):  # x86 counts two BogoMIPS a clock; Arm's timer is another matter
        return Figure(float(cpus[0]["bogomips"]) / 2 * 1e6, "os", "derived", "bogomips / 2")
    return Figure(2.5e9, "judged", "assumed", "no clock found; 2.5 GHz assumed")


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None and float(text) > 0


def _memory(root: Path) -> Figure:
    if found := re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE):
        return Figure(float(found[1]) * 1024, "os", "measured", "MemTotal")
    try:
        return Figure(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")), "os", "measured", "sysconf")
    except (AttributeError, OSError, ValueError):
        return Figure(8 * 2.0**30, "judged", "assumed", "no memory size found; 8 GiB assumed")


def _caches(root: Path, cpus: list[dict[str, str]]) -> dict[str, Figure]:
    """Sum each L2 and L3 that the processors reach, counting a shared one once."""
    found: dict[tuple[str, str, str], float] = {}
    for cpu in cpus:
        for index in sorted((root / f"sys/devices/system/cpu/cpu{cpu['processor']}/cache").glob("index*")):
            level, kind, size, shared = (_text(index / name).strip() for name in ("level", "type", "size", "shared_cpu_list"))
            if level in ("2", "3") and kind != "Instruction" and (value := _binary(size)):
                found[f"l{level}", shared or cpu["processor"], kind] = value
    totals = {name: sum(size for key, size in found.items() if key[0] == name) for name in ("l3", "l2")}
    sizes = {name: Figure(size, "os", "measured", "sum over /sys") for name, size in totals.items() if size}
    return sizes or {"l2": Figure(2.0**20 * _physical_cores(cpus), "judged", "assumed", "1 MiB a core")}


def _binary(text: str) -> float:
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    return float(match[1]) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[match[2]] if match else 0.0


# --- Machine to Hardware --------------------------------------------------------------------------


def _hardware(machine: Machine) -> Hardware:
    return Hardware(
        id="host",
        name=f"{machine.model}, {machine.cores} core{'s' if machine.cores > 1 else ''}",
        kind="cpu",
        architecture=machine.isa.architecture,
        segment="host",
        units=machine.cores,
        unit_name="core",
        clock=machine.clock.value,
        sustained_clock=None,
        engines=_engines(machine),
        memory=(_dram(machine), *(_cache(name, size, machine.cores) for name, size in machine.caches.items())),
        overheads=_overheads(machine.cores),
        unsupported=_unsupported(machine.flags),
        sources=SOURCES,
        notes=_notes(machine),
        units_source=Figure(machine.cores, "os", "measured", "physical cores this process may run on"),
        clocks=(("boost", machine.clock),),
    )


def _notes(machine: Machine) -> tuple[str, ...]:
    clock = machine.clock.note if "may" in machine.clock.note or machine.clock.kind == "assumed" else ""
    offered = "`roofline calibrate` measures them and fits the time model"
    return tuple(note for note in ("ceilings assumed, not measured", offered, clock and f"clock: {clock}", machine.isa.note) if note)


def _engines(machine: Machine) -> tuple[Engine, ...]:
    """List the engines; int8 and bf16 go with VNNI, AVX512_BF16 and AMX (rates recalled from the vendors' manuals)."""
    fp32, flags, name = machine.isa.fp32, machine.flags, machine.isa.name
    vnni = bool(flags & {"avx512_vnni", "avx_vnni"})
    rows: tuple[tuple[bool, EngineKind, str, str, float], ...] = (
        (True, "vector", name, "fp64", fp32 / 2),
        (True, "vector", name, "fp32", fp32),
        ("avx512_bf16" in flags, "vector", "avx512-bf16", "bf16", 2 * fp32),
        (vnni, "vector", "vnni", "int8", 4 * fp32),
        (not vnni, "vector", name, "int8", 4 * fp32 / 3),  # three instructions do what one of VNNI does
        ("amx_bf16" in flags, "matrix", "amx", "bf16", 1024.0),
        ("amx_int8" in flags, "matrix", "amx", "int8", 2048.0),
    )
    return tuple(_engine(machine, kind, name, dtype, rate) for present, kind, name, dtype, rate in rows if present)


def _engine(machine: Machine, kind: EngineKind, name: str, dtype: str, rate: float) -> Engine:
    peak = rate * machine.cores * machine.clock.value
    formula = f"{rate:.4g} per clock x {machine.cores} cores x {machine.clock.value / 1e9:g} GHz"
    efficiency = f"{COMPUTE_EFFICIENCY:g} of peak, as LINPACK on one core of a c5n.large"
    return Engine(
        kind=kind,
        dtype=dtype,
        name=name,
        peak=peak,
        ceiling=COMPUTE_EFFICIENCY * peak,
        peak_source=Figure(peak, "recalled", "recalled", formula),
        ceiling_source=Figure(COMPUTE_EFFICIENCY * peak, "regpack", "assumed", efficiency),
        per_clock=rate,
        clock=machine.clock.value,
    )


def _unsupported(flags: frozenset[str]) -> tuple[str, ...]:
    bf16 = () if flags & {"avx512_bf16", "amx_bf16"} else ("bf16",)
    return ("tf32", *bf16, "fp16", "fp8", "int4", "fp4")


def _dram(machine: Machine) -> MemoryLevel:
    value = min(machine.cores * DRAM_PER_CORE, DRAM_LIMIT)
    note = f"{DRAM_PER_CORE / 1e9:g} GB/s a core, at most {DRAM_LIMIT / 1e9:g}; the system does not tell"
    return _level("dram", machine.memory, Figure(value, "kerncraft", "assumed", note))


def _cache(name: str, size: Figure, cores: int) -> MemoryLevel:
    note = f"{CACHE_PER_CORE[name] / 1e9:g} GB/s a core, as on a Xeon E5-2697 v4"
    return _level(name, size, Figure(CACHE_PER_CORE[name] * cores, "kerncraft", "assumed", note))


def _level(name: str, size: Figure, speed: Figure) -> MemoryLevel:
    value = speed.value
    return MemoryLevel(name, size.value, value, value, value, value, size, speed, speed, speed, speed)


def _overheads(cores: int) -> Overheads:
    return Overheads(*(Figure(alone + each * cores, "judged", "assumed", note) for alone, each, note in OVERHEADS.values()))
