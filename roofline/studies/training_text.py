"""Write predicted training steps as text, JSON, CSV and Markdown."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from roofline import units
from roofline.measurement.table import shown
from roofline.studies.memory_text import markdown
from roofline.studies.rows import csv_text, fitted
from roofline.studies.training import CAVEAT, Part, Training

SCHEMA = 1
"""Version of the JSON form."""

PHASES = ("phase", "time", "share", "kernels", "FLOPs", "moved", "limit", "bound")
LAYERS = ("layer", "time", "share", "forward", "backward", "bound")
SUMMARY = ("device", "batch", "step", "items/s", "forward", "backward", "update", "memory", "fits", "hours", "$")


def lines(training: Training, top: int = 10, width: int = 80) -> Iterator[str]:
    """Write one step: phases, slowest layers, memory, and the whole run where there is one."""
    a, (low, high) = training.analysis, map(units.seconds, training.interval)
    memory, size = training.memory.total, a.hardware.memory_size
    yield f"training {shown(a.model)} on {a.hardware.name} ({a.hardware.id})"
    yield ""
    yield f"run as      batch {a.batch}, {a.precision}, {a.mode}, {a.layout}, {training.optimizer}"
    yield f"step        {units.seconds(training.step_seconds)}  (80 % between {low} and {high}; {a.calibration.status})"
    yield f"throughput  {units.significant(training.throughput)} items/s"
    yield f"work        {units.scaled(a.macs, 'MACs')}, {units.scaled(a.flops, 'FLOPs')} a step"
    yield f"memory      {units.scaled(memory, 'B')} of {units.scaled(size, 'B')}" + ("" if training.fits else "  DOES NOT FIT")
    yield from _run(training)
    yield ""
    yield from fitted(PHASES, [_phase(part) for part in training.phases], spare=("kernels", "limit"), words=("bound",), width=width)
    if top:
        slowest = sorted(training.layers, key=lambda part: -part.seconds)[:top]
        yield ""
        yield f"slowest layers: {len(slowest)} of {len(training.layers)}"
        yield from fitted(LAYERS, [_layer(part) for part in slowest], words=("bound",), width=width)
    yield ""
    yield from _notes([training])


def _run(training: Training) -> Iterator[str]:
    if training.hours is None or training.hours_interval is None or training.pflops_days is None:
        return
    low, high = map(hours, training.hours_interval)
    yield f"run         {training.epochs:g} epochs of {training.dataset_size:,} items: {training.steps:,} steps"
    yield f"time        {hours(training.hours)}  (80 % between {low} and {high})"
    price = training.analysis.hardware.price
    if training.usd is not None and price is not None:
        where = f"{price.instance} in {price.region}, {price.date}"
        yield f"price       ${dollars(training.usd)} at ${price.usd_per_hour:g} an hour, {where}"
    else:
        yield "price       not known: the profile of this device has none"
    yield f"arithmetic  {units.significant(training.pflops_days)} PFLOP/s-days"


def hours(value: float) -> str:
    """Write hours, and days from two of them on."""
    return f"{units.significant(value / 24)} days" if value >= 48 else f"{units.significant(value)} hours"


def dollars(value: float) -> str:
    """Write dollars, with separators from a thousand on."""
    return f"{value:,.0f}" if value >= 1000 else units.significant(value)


def _phase(part: Part) -> tuple[str, ...]:
    return (
        part.name, units.seconds(part.seconds), units.percent(part.share), str(part.kernels), units.scaled(part.flops, ""),
        units.scaled(part.bytes, "B"), units.seconds(part.limit_seconds), part.bound,
    )  # fmt: skip


def _layer(part: Part) -> tuple[str, ...]:
    ahead, back = part.seconds_by_phase["forward"], part.seconds_by_phase["backward"]
    return part.name, units.seconds(part.seconds), units.percent(part.share), units.seconds(ahead), units.seconds(back), part.bound


def table(trainings: Sequence[Training], width: int = 80) -> Iterator[str]:
    """Put several devices or batch sizes side by side."""
    a = trainings[0].analysis
    yield f"training {shown(a.model)}, {a.precision}, {a.mode}, {trainings[0].optimizer}"
    yield ""
    kept = [i for i, name in enumerate(SUMMARY) if trainings[0].steps is not None or name not in ("hours", "$")]
    rows = [_summary(training) for training in trainings]
    yield from fitted(
        [SUMMARY[i] for i in kept], [[row[i] for i in kept] for row in rows], spare=("update", "memory", "forward", "backward"), width=width
    )
    yield ""
    yield from _notes(trainings)


def _summary(training: Training) -> tuple[str, ...]:
    a = training.analysis
    return (
        a.hardware.id, str(a.batch), units.seconds(training.step_seconds), units.significant(training.throughput),
        *(units.seconds(part.seconds) for part in training.phases), units.scaled(training.memory.total, "B"),
        "yes" if training.fits else "NO", "-" if training.hours is None else units.significant(training.hours),
        "-" if training.usd is None else dollars(training.usd),
    )  # fmt: skip


def _notes(trainings: Sequence[Training]) -> Iterator[str]:
    unknown = trainings[0].analysis.unknown
    yield f"unknown ops, counted by their bytes only: {', '.join(unknown)}" if unknown else "unknown ops: none"
    yield CAVEAT.replace("; ", ";\n")
    yield "not included: loading of data, other devices, workspace of libraries"


def to_json(trainings: Sequence[Training]) -> str:
    """Write every figure as one JSON object with a schema version."""
    return json.dumps({"schema": SCHEMA, "training": [t.to_dict() for t in trainings]}, indent=1, allow_nan=False) + "\n"


def to_csv(trainings: Sequence[Training]) -> str:
    """Write one line per phase of each step, with the unit in each heading."""
    rows: list[dict[str, Any]] = []
    for training in trainings:
        plain = training.to_dict()
        flat = {f"step_{key}" if key in ("flops", "bound") else key: v for key, v in plain.items() if not isinstance(v, (dict, list))}
        rows += ({**flat, **{("phase" if key == "name" else key): value for key, value in part.items()}} for part in plain["phases"])
    return csv_text(rows)


def to_markdown(trainings: Sequence[Training]) -> str:
    """Write a table of steps, and for a single one its phases."""
    a = trainings[0].analysis
    title = f"Training {a.model}, {a.precision}, {a.mode}, {trainings[0].optimizer}"
    text = markdown(title, SUMMARY, [_summary(training) for training in trainings])
    if len(trainings) == 1:
        text += "\n" + markdown("Phases", PHASES, [_phase(part) for part in trainings[0].phases])
    return f"{text}\n{CAVEAT}\n"
