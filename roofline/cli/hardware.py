"""Turn hardware profiles into tables, JSON and findings on the terminal."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from roofline import units
from roofline.costmodel.device import Engine, Figure, Hardware
from roofline.costmodel.hardware import find, load_hardware, names

WIDTH = 80


@click.group("hardware")
def command() -> None:
    """List, show and check the profiles of devices.

    \b
    Example:
      roofline hardware show t4
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in base units instead of a table.")
def list_(*, as_json: bool) -> None:
    """List every device that can be named, with its datasheet peaks.

    \b
    Example:
      roofline hardware list
    """
    devices = [load_hardware(name) for name in names()]
    click.echo(_json([_summary(device) for device in devices]) if as_json else _table(devices))


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in base units instead of text.")
def show(name: str, *, as_json: bool) -> None:
    """Show every figure of a device: datasheet peak, achievable ceiling, and where each comes from.

    NAME is a device such as t4, an alias such as "Tesla T4", `host` for this machine, or a YAML file.

    \b
    Example:
      roofline hardware show v100
    """
    device = load_hardware(name)
    click.echo(_json(asdict(device)) if as_json else "\n".join(_page(device)))


@command.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def check(files: Sequence[str]) -> None:
    """Check profiles for figures that cannot be right or name no source; exit with 2 if there is an error.

    FILE is a YAML file, or the name of a device.

    \b
    Example:
      roofline hardware check my-device.yaml
    """
    passed = [_passes(file) for file in files]
    click.get_current_context().exit(0 if all(passed) else 2)


def _passes(file: str) -> bool:
    from roofline.costmodel.plausibility import check

    findings = check(find(file) or Path(file))
    for finding in findings:
        click.echo(str(finding))
    errors = sum(finding.level == "error" for finding in findings)
    click.echo(f"{file}: {_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}")
    return errors == 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, default=str)


def _summary(device: Hardware) -> dict[str, object]:
    return {
        "id": device.id,
        "name": device.name,
        "kind": device.kind,
        "architecture": device.architecture,
        "peak_flops_per_s": {dtype: _peak(device, dtype) for dtype in ("fp32", "fp16", "int8")},
        "bandwidth_bytes_per_s": device.bandwidth,
        "memory_bytes": device.memory_size,
        "usd_per_hour": device.price.usd_per_hour if device.price else None,
        "notes": list(device.notes),
    }


def _peak(device: Hardware, dtype: str) -> float | None:
    return device.matmul_engine(dtype).peak if device.supports(dtype) else None


# --- the table of `list` --------------------------------------------------------------------------

_HEADER = ("name", "kind", "fp32 TFLOP/s", "fp16 TFLOP/s", "DRAM GB/s", "memory GB", "USD/h")


def _table(devices: Sequence[Hardware]) -> str:
    rows = [_HEADER, *(_row(device) for device in devices)]
    footer = "Datasheet peaks, dense. Also: host (this machine), cpu (c5.2xlarge), or a YAML file."
    return "\n".join([*_aligned(rows), "", *_wrapped(footer, 0)])


def _row(device: Hardware) -> tuple[str, ...]:
    peaks = (_peak(device, "fp32"), _peak(device, "fp16"))
    price = units.significant(device.price.usd_per_hour) if device.price else "-"
    tera = (units.significant(peak / 1e12) if peak else "-" for peak in peaks)
    memory = (units.significant(device.bandwidth / 1e9), units.significant(device.memory_size / 1e9))
    return (device.id, device.kind, *tera, *memory, price)


def _aligned(rows: Sequence[tuple[str, ...]], left: int = 2) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (text.ljust(width) if i < left else text.rjust(width) for i, (text, width) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()


def _wrapped(text: str, indent: int) -> list[str]:
    return click.wrap_text(text, WIDTH, " " * indent, " " * indent).splitlines()


# --- the page of `show` ---------------------------------------------------------------------------


_ENGINE_HEADER = ("engine", "", "datasheet", "ceiling", "of peak", "sustained", "FLOP/B")


def _page(device: Hardware) -> Iterator[str]:
    yield f"{device.name} ({device.id})"
    yield from _wrapped(_headline(device), 0)
    yield from ("", *_engines(device))
    yield from ("", *_memory(device))
    yield from ("", *_overheads(device))
    yield from ("", "Calibration", *_calibrations(device))
    if device.notes:
        yield from ("", "Notes", *(line for note in device.notes for line in _bullet(note)))
    yield from ("", "Figures", *(line for label, figure in device.figures() for line in _figure(label, figure)))
    yield from _price(device)
    yield from ("", "Sources", *_sources(device))


def _calibrations(device: Hardware) -> Iterator[str]:
    """Say for each way of running the device what its predictions were fitted to, and how wide their 80 % interval is."""
    from roofline.costmodel.relatives import calibration_for
    from roofline.transforms.modes import LAYOUTS, MODES, check_layout, check_mode

    layouts = {mode: LAYOUTS if mode == "eager" and device.kind == "gpu" else LAYOUTS[:1] for mode in MODES if mode != "ideal"}
    for mode, layout in ((mode, layout) for mode, known in layouts.items() for layout in known):
        found = calibration_for(device, check_mode(mode), check_layout(layout))
        way = f"{mode} {layout}" if len(layouts[mode]) > 1 else mode
        low, high = (units.percent(abs(end - 1)) for end in found.spread)
        width = f"; 80 % within -{low} and +{high}" if found.memory else ""
        yield from _bullet(f"{way}: {found.provenance}{width}")


def _headline(device: Hardware) -> str:
    parts = [
        device.kind,
        device.architecture,
        device.segment,
        f"{_count(device.units, device.unit_name)} at {_hertz(device.clock)}",
    ]
    parts += [f"{_hertz(device.sustained_clock)} sustained"] if device.sustained_clock else []
    parts += [f"{device.power:g} W"] if device.power else []
    if price := device.price:
        parts += [f"{price.usd_per_hour:g} USD/h ({price.instance}, {price.region}, {price.date})"]
    return ", ".join(parts)


def _hertz(value: float) -> str:
    return units.scaled(value, "Hz")


def _engines(device: Hardware) -> Iterator[str]:
    yield from _aligned([_ENGINE_HEADER, *(_engine(engine, device.bandwidth) for engine in device.engines)])
    if device.unsupported:
        yield f"unsupported: {', '.join(device.unsupported)}"


def _engine(engine: Engine, bandwidth: float) -> tuple[str, ...]:
    unit = "OP/s" if engine.dtype.startswith("int") else "FLOP/s"
    sustained = units.scaled(engine.sustained, unit) if engine.sustained else "-"
    ridge = units.significant(engine.peak / bandwidth, 2)
    rates = (units.scaled(engine.peak, unit), units.scaled(engine.ceiling, unit), units.percent(engine.efficiency))
    return (f"{engine.dtype} {engine.kind}", engine.name, *rates, sustained, ridge)


def _memory(device: Hardware) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("memory", "size", "datasheet", "read", "write", "copy")]
    for level in device.memory:
        printed = "-" if level.peak_source in (level.read_source, level.write_source, level.copy_source) else level.peak
        rates = (printed, level.read, level.write, level.copy)
        texts = (rate if isinstance(rate, str) else units.scaled(rate, "B/s") for rate in rates)
        rows.append((level.name, _bytes(level.name, level.size), *texts))
    yield from _aligned(rows, 1)


def _bytes(level: str, size: float) -> str:
    return units.scaled(size, "B") if level == "dram" else f"{units.significant(size / 2**20)} MiB"


def _overheads(device: Hardware) -> Iterator[str]:
    overheads = device.overheads
    rows = [("overhead", "launch", "in a graph", "compiled", "host, op", "host, view")]
    times = (overheads.launch, overheads.graph, overheads.compiled, overheads.host_op, overheads.host_view)
    yield from _aligned([*rows, ("", *(units.seconds(time, digits=2) for time in times))], 1)


def _bullet(text: str) -> list[str]:
    return click.wrap_text(text, WIDTH, "- ", "  ").splitlines()


def _figure(label: str, figure: Figure) -> Iterator[str]:
    yield f"  {label:23} {_value(label, figure.value):>14}  {figure.kind:9}  [{figure.source}]"
    yield from _wrapped(figure.note, 6) if figure.note else ()


def _value(label: str, value: float) -> str:
    first, *middle = label.split()
    if not middle:
        return f"{value:g} W" if label == "power" else f"{value:g}"
    if middle[-1] == "overhead":
        return units.seconds(value, digits=2)
    if middle[-1] == "size":
        return _bytes(first, value)
    rate = "B/s" if len(middle) == 1 else "OP/s" if first.startswith("int") else "FLOP/s"
    return units.scaled(value, "Hz" if middle[-1] == "clock" else rate)


def _price(device: Hardware) -> Iterator[str]:
    if price := device.price:
        yield f"  {'price':23} {price.usd_per_hour:>8g} USD/h  datasheet  [{price.source}]"
        yield from _wrapped("; ".join(part for part in (price.instance, price.region, price.date, price.note) if part), 6)


def _sources(device: Hardware) -> Iterator[str]:
    for source in device.sources:
        parts = (source.title, source.url, f"opened {source.opened}" if source.opened else "", source.note)
        yield from click.wrap_text(f"[{source.key}] {'; '.join(part for part in parts if part)}", WIDTH, "", "      ").splitlines()
