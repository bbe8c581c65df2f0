"""Write what memory a network takes, and on which devices it fits, as text, JSON, CSV and Markdown."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from roofline import units
from roofline.graph import BACKWARD, FORWARD
from roofline.measurement.table import shorten, shown
from roofline.studies.footprint import Footprint, Memory
from roofline.studies.rows import csv_text, fitted

SCHEMA = 1
"""Version of the JSON form."""

NOT_INCLUDED = "not included: workspace of libraries, context of the driver, allocator gaps"

OWNERS = 8
"""Layers that are named at the peak."""


@dataclass(frozen=True, slots=True)
class Room:
    """A device, or a mere size, by *name*, with its bytes of memory."""

    name: str
    size: float


@dataclass(frozen=True, slots=True)
class Fit:
    """The largest batch that fits in a room, 0 where not even one item does, and the bytes that it takes."""

    room: Room
    batch: int
    total: float
    optimizer: str | None


def largest_fits(footprints: Sequence[Footprint], rooms: Sequence[Room]) -> tuple[Fit, ...]:
    """Find the largest batch of each of *footprints* in each of *rooms*."""
    found: list[Fit] = []
    for footprint in footprints:
        batches = footprint.largest([room.size for room in rooms])
        totals = footprint.totals([max(batch, 1) for batch in batches])
        found += (Fit(r, b, float(t), footprint.optimizer) for r, b, t in zip(rooms, batches, totals, strict=True))
    return tuple(found)


def lines(memory: Memory, rooms: Sequence[Room] = (), fits: Sequence[Fit] = (), width: int = 80) -> Iterator[str]:
    """Write the peak of *memory*, its parts, its largest owners, and in which of *rooms* it fits; *fits* tell what does at most."""
    yield f"{shown(memory.model)}, {run_as(memory)}, batch {memory.batch}"
    yield ""
    for name, size in memory.parts.items():
        if size:
            yield f"{name:26s}{units.scaled(size, 'B'):>8s}  {units.percent(size / memory.total):>6s}"
    yield f"{'total at the peak':26s}{units.scaled(memory.total, 'B'):>8s}"
    yield ""
    when = {FORWARD: ", in the forward pass", BACKWARD: ", in the backward pass"}.get(memory.phase, ", in the update")
    yield f"{'peak at':10s}{shorten(shown(memory.layer), width - 10)}"
    yield f"{'while':10s}{shorten(shown(memory.kernel), width - 40)} runs{when if memory.optimizer else ''}"
    yield "alive then, by the layer that made it:"
    for layer, size in memory.owners[:OWNERS]:
        yield f"  {shorten(shown(layer), 48):48s}{units.scaled(size, 'B'):>10s}"
    if rest := memory.owners[OWNERS:]:
        yield f"  {f'{len(rest)} more':48s}{units.scaled(sum(size for _, size in rest), 'B'):>10s}"
    if rooms:
        yield ""
        header = ("device", "memory", "used", "fits", *(("largest batch",) if fits else ()))
        largest = [(str(fit.batch),) for fit in fits] or [()] * len(rooms)
        rows = [_verdict(memory, room) + most for room, most in zip(rooms, largest, strict=True)]
        yield from fitted(header, rows, words=("fits",), width=width)
    yield ""
    yield NOT_INCLUDED


def _verdict(memory: Memory, room: Room) -> tuple[str, ...]:
    return room.name, units.scaled(room.size, "B"), units.percent(memory.total / room.size), "yes" if memory.total <= room.size else "NO"


def run_as(memory: Memory) -> str:
    """Say what is run, and how."""
    what = f"training with {memory.optimizer}" if memory.optimizer else "inference"
    return f"{what}, {memory.precision}, {memory.mode}"


HEADER = ("batch", "total", "weights", "state", "activations", "peak at", "fits on")


def table(memories: Sequence[Memory], rooms: Sequence[Room] = (), width: int = 80) -> Iterator[str]:
    """Put several batch sizes side by side."""
    first = memories[0]
    yield f"{shown(first.model)}, {run_as(first)}"
    yield ""
    yield from fitted(
        HEADER[: None if rooms else -1],
        [_cells(m, rooms) for m in memories],
        spare=("weights", "state"),
        words=("peak at", "fits on"),
        width=width,
    )
    yield ""
    yield NOT_INCLUDED


def _cells(memory: Memory, rooms: Sequence[Room]) -> tuple[str, ...]:
    fixed = (memory.parts["weights"] + memory.parts["buffers"], memory.parts["optimizer state"])
    sizes = (memory.total, *fixed, memory.activations)
    cells = (str(memory.batch), *(units.scaled(size, "B") for size in sizes), shorten(memory.layer, 24))
    fits = ", ".join(room.name for room in rooms if memory.total <= room.size) or "none"
    return (*cells, fits) if rooms else cells


def fit_lines(first: Memory, fits: Sequence[Fit], width: int = 80) -> Iterator[str]:
    """Write the largest batch for each device: of inference and, where it was asked for, of training."""
    trained = sorted({fit.optimizer for fit in fits if fit.optimizer})
    yield f"{shown(first.model)}: largest batch that fits, {first.precision}, {first.mode}" + (
        f"; training with {trained[0]}" if trained else ""
    )
    yield ""
    header = ("device", "memory", "inference", "takes", *(("training", "takes") if trained else ()))
    rows: dict[Room, list[str]] = {}
    for fit in fits:
        takes = units.scaled(fit.total, "B") if fit.batch else f"needs {units.scaled(fit.total, 'B')}"
        rows.setdefault(fit.room, [fit.room.name, units.scaled(fit.room.size, "B")]).extend(
            (str(fit.batch) if fit.batch else "none", takes)
        )
    yield from fitted(header, [tuple(row) for row in rows.values()], width=width)
    yield ""
    yield NOT_INCLUDED


def plain_fit(model: str, fit: Fit) -> dict[str, Any]:
    """Return a fit as a plain dictionary, with the unit in each key."""
    return {
        "model": model,
        "hardware": fit.room.name,
        "memory_bytes": fit.room.size,
        "optimizer": fit.optimizer,
        "largest_batch": fit.batch,
        "total_bytes": fit.total if fit.batch else None,
    }


def to_json(memories: Sequence[Memory], rooms: Sequence[Room], fits: Sequence[Fit]) -> str:
    """Write every figure as one JSON object with a schema version."""
    verdicts = [{**m.to_dict(), "fits": {room.name: m.total <= room.size for room in rooms}} for m in memories]
    body = {"schema": SCHEMA, "memory": verdicts, "largest": [plain_fit(memories[0].model, fit) for fit in fits]}
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def to_csv(memories: Sequence[Memory], rooms: Sequence[Room], fits: Sequence[Fit]) -> str:
    """Write one line per batch size and device, or per largest batch."""
    if fits:
        return csv_text([plain_fit(memories[0].model, fit) for fit in fits])
    return csv_text([row for m in memories for row in _rows(m, rooms)])


def _rows(memory: Memory, rooms: Sequence[Room]) -> Iterator[dict[str, Any]]:
    plain = memory.to_dict()
    flat = {key: value for key, value in plain.items() if not isinstance(value, (dict, list))}
    flat |= {f"{name.replace(' ', '_')}_bytes": size for name, size in memory.parts.items()} | {"peak_layer": memory.layer}
    yield from ({**flat, "hardware": r.name, "memory_bytes": r.size, "fits": memory.total <= r.size} for r in rooms)
    if not rooms:
        yield flat


def to_markdown(memories: Sequence[Memory], rooms: Sequence[Room], fits: Sequence[Fit]) -> str:
    """Write a table of batch sizes, or of largest batches."""
    first = memories[0]
    if fits:
        header = ("device", "memory", "run as", "largest batch", "takes")
        rows = [
            (f.room.name, units.scaled(f.room.size, "B"), f.optimizer or "inference", str(f.batch), units.scaled(f.total, "B"))
            for f in fits
        ]
        return markdown(f"Largest batch of {first.model}", header, rows)
    return markdown(f"Memory of {first.model}, {run_as(first)}", HEADER[: None if rooms else -1], [_cells(m, rooms) for m in memories])


def markdown(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a heading and a table; names may hold anything."""
    table = [header, ["---"] * len(header), *rows]
    return f"## {escaped(title)}\n\n" + "".join("| " + " | ".join(map(escaped, line)) + " |\n" for line in table)


def escaped(text: str) -> str:
    """Keep what a name holds from being taken for Markdown or HTML."""
    return re.sub(r"([\\|\[`*])", r"\\\1", text).replace("<", "&lt;").replace("\n", " ")
