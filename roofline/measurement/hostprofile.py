"""Turn a CalibrationRun into the profile of this machine's device, as a YAML file that `--hw host` finds.

What was measured is `measured`, with its conditions; what the operating system tells is its own source; what neither
gives (a peak on paper, a data type that nobody could run) stays as it was assumed for an unmeasured machine, or as the
bundled profile of the same GPU has it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from roofline import units
from roofline.costmodel.device import DTYPES, Engine, Figure, Hardware, MemoryLevel, Source
from roofline.costmodel.hardware import find, user_folder
from roofline.costmodel.host import detect
from roofline.costmodel.profile.convert import to_hardware
from roofline.costmodel.profile.nodes import parse, plain, with_base
from roofline.costmodel.profile.schema import Profile
from roofline.errors import RooflineError
from roofline.files import save
from roofline.measurement.calibrate import CalibrationRun, cache_sizes
from roofline.measurement.ceilings import PROBE_SIZE, Rate, by_level, compiled_seconds, region_seconds

SOURCE = "calibrate"

ABOVE = 1.02
"""A rate beyond this share of the peak is a clock above the one the system tells, and marked so."""

UNMEASURED = ("ceilings assumed, not measured", "`roofline calibrate` measures them and fits the time model")
"""Notes of a machine that was only looked at."""

PRIVATE = ("l2",)
"""Caches that each core of a CPU has to itself."""

LEAST_US = 0.02
"""Microseconds that stand for next to nothing: a profile has no zeros."""

GPU_RATES: dict[tuple[int, int], tuple[str, float, Mapping[str, float]]] = {
    (7, 0): ("volta", 128, {"fp16": 1024}),
    (7, 5): ("turing", 128, {"fp16": 1024, "int8": 2048}),
    (8, 0): ("ampere", 128, {"tf32": 1024, "bf16": 2048, "fp16": 2048, "int8": 4096}),
    (8, 6): ("ampere", 256, {"tf32": 256, "bf16": 512, "fp16": 512, "int8": 1024}),
    (8, 9): ("ada", 256, {"tf32": 512, "bf16": 1024, "fp16": 1024, "int8": 2048}),
    (9, 0): ("hopper", 256, {"tf32": 2048, "bf16": 4096, "fp16": 4096, "int8": 8192}),
    (10, 0): ("blackwell", 256, {"tf32": 2048, "bf16": 4096, "fp16": 4096, "int8": 8192}),
    (12, 0): ("blackwell", 256, {"tf32": 512, "bf16": 1024, "fp16": 1024, "int8": 2048}),
}
"""By compute capability: architecture, fp32 FLOP per clock and SM, and those of the matrix engine by type, from NVIDIA's
whitepapers; recalled."""

GPU_OVERHEADS_US = {"launch": 3.0, "graph": 1.5, "host_op": 10.0, "host_view": 3.0}
"""Microseconds assumed for a GPU where they could not be measured."""

Document = dict[str, Any]


def default_path(device: str) -> Path:
    """Return where a profile goes unless a file is named: host.yaml, or host-gpu.yaml, in the user's hardware folder."""
    return user_folder() / ("host.yaml" if device == "cpu" else "host-gpu.yaml")


def check_output(path: Path) -> None:
    """Raise before anything slow begins where no profile can be written to *path*."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise RooflineError(f"cannot write {str(path)!r}: a profile is YAML; use the suffix .yaml")
    if path.is_dir():
        raise RooflineError(f"cannot write {str(path)!r}: it is a folder; name a file")
    if "\0" in str(path):
        raise RooflineError(f"cannot write {str(path)!r}: no file has such a name; name a file in a folder that exists and is yours")
    if path == default_path("cpu") or path == default_path("cuda"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RooflineError(f"cannot write {str(path)!r}: {error.strerror}; name another file with -o") from error
    probe = path.with_name(f".{path.name}.writable")
    save("", probe)
    probe.unlink()


def write(document: Document, path: Path, run: CalibrationRun) -> None:
    """Write *document* to *path*, whole or not at all."""
    name = " ".join(str(document["name"]).split())
    heading = f"# {name}: measured by `roofline calibrate` on {run.date}, which overwrites this file when it is run again.\n"
    save(heading + to_yaml(document), path)


def to_yaml(document: Document) -> str:
    """Write *document* as YAML, one line for what is flat, without anchors."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140, default_flow_style=None)


class _Dumper(yaml.SafeDumper):
    """Repeat a value that occurs twice: profiles have no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def hardware_of(document: Document, path: Path) -> Hardware:
    """Convert *document* as loading it from *path* would."""
    return to_hardware(Profile.model_validate(document), path)


def bandwidths(run: CalibrationRun) -> dict[str, dict[str, Rate]]:
    """Give the best rate of each pattern on each memory level, from far to near."""
    if run.device == "cpu":
        sizes = {level.name: level.size for level in _usable(detect(), run.threads).memory}
        return by_level(run.rates, sizes, threads=run.threads, private=PRIVATE)
    return by_level(run.rates, {"dram": float("inf"), **cache_sizes(run.device)}, threads=run.threads)


def document_of(run: CalibrationRun) -> Document:
    """Build the profile of what *run* measured, without what is fitted to it."""
    return _cpu_document(run, _usable(detect(), run.threads)) if run.device == "cpu" else _gpu_document(run)


def _usable(hardware: Hardware, threads: int) -> Hardware:
    """Count only the cores that the measured threads can use, with the caches they have to themselves."""
    cores = min(threads, hardware.units)
    if cores == hardware.units:
        return hardware
    share = cores / hardware.units
    return replace(
        hardware,
        name=hardware.name.replace(f"{hardware.units} core", f"{cores} of {hardware.units} core"),
        units=cores,
        units_source=Figure(cores, "os", "derived", f"{threads} threads on {hardware.units} cores that this process may run on"),
        engines=tuple(replace(engine, peak=engine.peak * share, ceiling=engine.ceiling * share) for engine in hardware.engines),
        memory=tuple(_shared(level, share) if level.name in PRIVATE else level for level in hardware.memory),
    )


def _shared(level: MemoryLevel, share: float) -> MemoryLevel:
    source = replace(level.size_source, value=level.size * share, kind="derived")
    return replace(level, size=level.size * share, size_source=source)


# --- a CPU -----------------------------------------------------------------------------------------------------------


def _cpu_document(run: CalibrationRun, machine: Hardware) -> Document:
    found = bandwidths(run)
    body: Document = {
        "schema": 1,
        "name": machine.name,
        "kind": "cpu",
        "architecture": machine.architecture,
        "segment": "host",
        "units": {"count": machine.units, "name": machine.unit_name, **_provenance(machine.units_source)},
        "clock_ghz": {name: _figure(figure, 1e-9) for name, figure in machine.clocks},
        "engines": [_engine(engine, run) for engine in machine.engines],
        "unsupported": list(machine.unsupported),
        "memory": [_level(level, found[level.name]) for level in machine.memory],
        "overhead_us": _cpu_overheads(run, machine),
        "notes": _notes(run, machine.notes),
    }
    return _with_sources(body, run, machine)


def _engine(engine: Engine, run: CalibrationRun) -> Document:
    best = _best_product(run, engine.dtype)
    entry: Document = {
        "kind": engine.kind,
        "name": engine.name,
        "dtype": engine.dtype,
        "per_clock_per_unit": {"value": engine.per_clock, **_provenance(replace(engine.peak_source, note=""))},
    }
    if best is None:
        ceiling = engine.ceiling_source
        return {**entry, "ceiling": {"fraction": _short(engine.efficiency), **_provenance(ceiling)}}
    above = {"boosts_above_spec": True} if best.rate > ABOVE * engine.peak else {}
    return {**entry, "ceiling": {"tflops": _short(best.rate / 1e12), **_measured(_product_text(best))}, **above}


def _best_product(run: CalibrationRun, dtype: str) -> Rate | None:
    """Find the fastest product in *dtype* with all threads; one that is emulated was measured at the smallest size only."""
    products = (r for r in run.rates if r.what == "gemm" and r.size > PROBE_SIZE and r.seconds)
    rates = [r for r in products if r.dtype == dtype and r.threads == run.threads]
    return max(rates, key=lambda rate: rate.rate, default=None)


def _product_text(rate: Rate) -> str:
    return f"torch product of two {rate.size} x {rate.size} {rate.dtype} matrices, {_threads(rate.threads)}, best of {len(rate.seconds)}"


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"


def _level(level: MemoryLevel, found: Mapping[str, Rate]) -> Document:
    entry: Document = {"level": level.name, "size_bytes": _figure(level.size_source)}
    measured = [_bandwidth(rate) for rate in found.values()]
    if level.name == "dram":
        entry["peak_gbps"] = _dram_peak(level, found)
    if measured:
        return {**entry, "measured": measured}
    return {**entry, "estimated": [{"pattern": "read", "value_gbps": _short(level.read / 1e9), **_provenance(level.read_source)}]}


def _dram_peak(level: MemoryLevel, found: Mapping[str, Rate]) -> Document:
    if not found:
        return _figure(level.peak_source, 1e-9)
    best = max(rate.rate for rate in found.values())
    note = "the best rate measured: the system does not tell the one on paper"
    return {"value": _short(best / 1e9), "kind": "derived", "src": SOURCE, "note": note}


def _bandwidth(rate: Rate) -> Document:
    """Write one measured bandwidth; one that stands for several cores says so."""
    calls = {"read": "dot product", "write": "fill", "copy": "copy"}[rate.what]
    alone = round(rate.work / rate.size)
    who = f"one thread times {alone} cores" if alone > 1 else _threads(rate.threads)
    conditions = f"torch {calls}, {units.scaled(rate.size, 'B')} in all, {who}"
    return {"pattern": rate.what, "value_gbps": _short(rate.rate / 1e9), "src": SOURCE, "conditions": conditions}


def _cpu_overheads(run: CalibrationRun, machine: Hardware) -> Document:
    """Give the start of a parallel region, and what an op and a view cost on the host; what was not measured stays assumed."""
    region = region_seconds(run.rates, run.threads)
    costs = machine.overheads
    entry = {
        "launch": _figure(costs.launch_source, 1e6),
        "graph": _figure(costs.graph_source, 1e6),
        "compiled": _compiled(run) or _figure(costs.compiled_source, 1e6),
        "host_op": _call(run, "op", "a module that applies ReLU to one element") or _figure(costs.host_op_source, 1e6),
        "host_view": _call(run, "view", "flatten, which makes a view") or _figure(costs.host_view_source, 1e6),
    }
    if run.threads == 1:
        nothing = {"value": LEAST_US, "kind": "derived", "src": SOURCE, "note": "next to nothing: one thread starts no parallel region"}
        return {**entry, "launch": nothing, "graph": nothing}
    if region is not None:
        text = f"parallel region of {run.threads} threads: what filling 65,536 elements takes beyond its share of one thread"
        value = max(_short(region * 1e6), LEAST_US)
        entry["launch"] = {"value": value, **_measured(text)}
        entry["graph"] = {"value": value, "kind": "derived", "src": SOURCE, "note": "as launch"}
    return entry


def _compiled(run: CalibrationRun) -> Document | None:
    seconds = compiled_seconds(run.rates)
    text = "one more kernel of a compiled chain of pointwise, depthwise and 3x3 convolutions on 16 x 4 x 4, with batch norm and ReLU"
    return None if seconds is None else {"value": max(_short(seconds * 1e6), LEAST_US), **_measured(text)}


def _call(run: CalibrationRun, what: str, text: str) -> Document | None:
    best = min((rate.best for rate in run.rates if rate.what == what and rate.seconds), default=None)
    return None if best is None else {"value": max(_short(best * 1e6), LEAST_US), **_measured(f"{text}, called from Python")}


# --- a GPU -----------------------------------------------------------------------------------------------------------


def _gpu_document(run: CalibrationRun) -> Document:
    """Start from the bundled profile of the same GPU, or from what its compute capability tells, and put in what was measured."""
    known = find(str(run.environment["name"]))
    base: Document = plain(with_base(parse(known), known)) if known else _unknown_gpu(run)
    found = bandwidths(run)
    body: Document = {
        **{key: value for key, value in base.items() if key not in ("aliases", "price", "base", "calibration")},
        "engines": [_gpu_engine(entry, run, base) for entry in base["engines"]],
        "memory": [_gpu_level(entry, found.get(entry["level"], {})) for entry in base["memory"]],
        "overhead_us": {**base["overhead_us"], **_gpu_overheads(run)},
        "notes": _notes(run, base.get("notes", ())),
    }
    return {**body, "sources": {**base["sources"], SOURCE: _source(run)}}


def _gpu_engine(entry: Document, run: CalibrationRun, base: Document) -> Document:
    """Put in a measured product where *entry* is the engine that ran it: the matrix engine of a type, if there is one."""
    others = {e["kind"] for e in base["engines"] if e["dtype"] == entry["dtype"]}
    best = _best_product(run, entry["dtype"]) if entry["kind"] == ("matrix" if "matrix" in others else "vector") else None
    if best is None:
        return entry
    clock = base["clock_ghz"][entry.get("clock", "boost")]["value"]
    peak = entry["per_clock_per_unit"]["value"] * base["units"]["count"] * clock * 1e9
    above = {"boosts_above_spec": True} if best.rate > ABOVE * peak else {}
    return {**entry, "ceiling": {"tflops": _short(best.rate / 1e12), **_measured(_product_text(best))}, **above}


def _gpu_level(entry: Document, found: Mapping[str, Rate]) -> Document:
    """Replace what others measured by what was measured here."""
    if not found:
        return entry
    peak = entry.get("peak_gbps", {}).get("value")
    above = {"boosts_above_spec": True} if peak and max(r.rate for r in found.values()) > ABOVE * peak * 1e9 else {}
    kept = {key: value for key, value in entry.items() if key != "estimated"}
    return {**kept, "measured": [_bandwidth(rate) for rate in found.values()], **above}


def _gpu_overheads(run: CalibrationRun) -> Document:
    calls = {
        "launch": _call(run, "launch", "a kernel on one element in a full stream"),
        "graph": _call_share(run),
        "host_op": _call(run, "op", "a module that applies ReLU to one element, issued without waiting"),
        "host_view": _call(run, "view", "flatten, which makes a view"),
    }
    return {name: value for name, value in calls.items() if value is not None}


def _call_share(run: CalibrationRun) -> Document | None:
    rate = next((rate for rate in run.rates if rate.what == "graph" and rate.seconds), None)
    text = "a kernel on one element in a replayed CUDA graph"
    return None if rate is None else {"value": max(_short(1e6 / rate.rate), LEAST_US), **_measured(text)}


def _unknown_gpu(run: CalibrationRun) -> Document:
    """Describe a GPU that has no profile by its compute capability, what its driver tells, and what was measured."""
    import torch

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    capability = (properties.major, properties.minor)
    nearest = max((known for known in GPU_RATES if known <= capability), default=(7, 0))
    architecture, vector, matrix = GPU_RATES[nearest]
    names = ["{}.{}".format(*pair) for pair in (capability, nearest)]
    note = "" if nearest == capability else f"compute capability {names[0]} is not known: as {names[1]}"
    recalled = {"kind": "recalled", "src": "recalled", **({"note": note} if note else {})}
    driver = {"kind": "measured", "src": "os", "conditions": "device properties that the driver reports"}
    engines = [_plain_engine("vector", "cuda", "fp32", vector, recalled)]
    engines += [_plain_engine("matrix", "tensor", dtype, rate, recalled) for dtype, rate in matrix.items()]
    present = {entry["dtype"] for entry in engines}
    clock = float(run.environment.get("clock_hz") or 1.5e9) / 1e9
    best = max((rate.rate for rate in run.rates if rate.what in ("read", "write", "copy")), default=3e11)
    assumed = {"kind": "assumed", "src": "recalled", "note": "not measured"}
    return {
        "schema": 1,
        "name": properties.name,
        "kind": "gpu",
        "architecture": architecture,
        "segment": "host",
        "sources": {"os": {"title": "What the driver reports"}, "recalled": {"title": "Common knowledge that was not checked"}},
        "units": {"count": properties.multi_processor_count, "name": "SM", **driver},
        "clock_ghz": {"boost": {"value": _short(clock), **driver}},
        "engines": engines,
        "unsupported": [dtype for dtype in DTYPES if dtype not in present],
        "memory": [
            {
                "level": "dram",
                "size_bytes": {"value": float(properties.total_memory), **driver},
                "peak_gbps": {"value": _short(best / 1e9), "kind": "derived", "src": SOURCE, "note": "the best rate measured"},
            },
            {
                "level": "l2",
                "size_bytes": {"value": float(properties.L2_cache_size), **driver},
                "estimated": [{"pattern": "read", "value_gbps": _short(2 * best / 1e9), **assumed}],
            },
        ],
        "overhead_us": {name: {"value": value, **assumed} for name, value in GPU_OVERHEADS_US.items()},
    }


def _plain_engine(kind: str, name: str, dtype: str, rate: float, provenance: Document) -> Document:
    return {"kind": kind, "name": name, "dtype": dtype, "per_clock_per_unit": {"value": rate, **provenance}}


# --- provenance ------------------------------------------------------------------------------------------------------


def _provenance(figure: Figure | None) -> Document:
    """Write the source, kind and note of a figure; of a measured one the note states the conditions."""
    if figure is None:
        return {"kind": "assumed", "src": "judged"}
    said = {"conditions" if figure.kind == "measured" else "note": figure.note} if figure.note else {}
    return {"kind": figure.kind, "src": figure.source, **said}


def _figure(figure: Figure, unit: float = 1.0) -> Document:
    return {"value": _short(figure.value * unit, 12), **_provenance(figure)}


def _measured(conditions: str) -> Document:
    return {"kind": "measured", "src": SOURCE, "conditions": conditions}


def _short(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


def _source(run: CalibrationRun) -> Document:
    found = run.environment
    where = _threads(run.threads) if run.device == "cpu" else f"host {found.get('host', '')}"
    counts = f"{len(run.rates)} ceilings, {len(run.cases)} chains of ops, {len(run.networks)} networks"
    note = f"PyTorch {found.get('torch', '')}, {where}, {run.depth}: {counts}"
    return {"title": f"roofline calibrate on this machine, {found.get('name', '')}", "opened": run.date, "note": note}


def _with_sources(body: Document, run: CalibrationRun, machine: Hardware) -> Document:
    """Put in the sources that the figures name, and no others."""
    used = set(_sources_in(body))
    known = {source.key: _described(source) for source in machine.sources}
    sources = {key: entry for key, entry in {**known, SOURCE: _source(run)}.items() if key in used}
    first = {key: body[key] for key in ("schema", "name", "kind", "architecture", "segment")}
    return {**first, "sources": sources, **{key: value for key, value in body.items() if key not in first}}


def _described(source: Source) -> Document:
    return {key: value for key in ("title", "url", "opened", "note") if (value := getattr(source, key))}


def _sources_in(part: Any) -> Iterable[str]:
    if isinstance(part, dict):
        if isinstance(source := part.get("src"), str):
            yield source
        for value in part.values():
            yield from _sources_in(value)
    elif isinstance(part, list):
        for value in part:
            yield from _sources_in(value)


def _notes(run: CalibrationRun, given: Iterable[str]) -> list[str]:
    kept = [note for note in given if note not in UNMEASURED]
    found: Iterable[Callable[[CalibrationRun], str]] = (_fresh_note, _emulated_note, _disturbed_note, _left_out_note)
    return [*kept, *(note for tell in found if (note := tell(run)))]


def _fresh_note(run: CalibrationRun) -> str:
    rate = next((rate for rate in run.rates if rate.what == "fresh" and rate.seconds), None)
    if rate is None or run.device != "cpu":
        return ""
    speed = units.scaled(rate.rate, "B/s")
    return f"memory asked of the system anew is written at {speed}: each page of it is cleared first"


def _emulated_note(run: CalibrationRun) -> str:
    dtypes = dict.fromkeys(rate.dtype for rate in run.rates if rate.what == "gemm" and rate.seconds)
    slow = {dtype: _fastest(run, dtype) for dtype in dtypes if dtype != "fp32" and _best_product(run, dtype) is None}
    texts = [f"{dtype} at {units.scaled(rate, 'OP/s' if dtype.startswith('int') else 'FLOP/s')}" for dtype, rate in slow.items()]
    return f"PyTorch runs products emulated in {', '.join(texts)}" if texts else ""


def _fastest(run: CalibrationRun, dtype: str) -> float:
    return max(rate.rate for rate in run.rates if rate.what == "gemm" and rate.dtype == dtype)


def _disturbed_note(run: CalibrationRun) -> str:
    if not run.crowded:
        return ""
    return f"other work ran during {run.crowded} of {len(run.cases) + len(run.networks)} measurements; calibrate again on a quiet machine"


def _left_out_note(run: CalibrationRun) -> str:
    return f"there was no time for {run.left_out} measurements" if run.left_out else ""
