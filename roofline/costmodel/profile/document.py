"""Turn nodes into a validated Profile, or into the problems that prevent one: file, line, key and fix."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from roofline.costmodel.profile.nodes import Key, Node, Problem, UnreadableError, key_text, locate, parse, plain, short, with_base
from roofline.costmodel.profile.schema import (
    BusEntry,
    CalibrationEntry,
    EngineEntry,
    EstimateEntry,
    FigureEntry,
    MeasuredEntry,
    MemoryEntry,
    OverheadEntry,
    OverheadsEntry,
    PriceEntry,
    Profile,
    RateEntry,
    ShapeEntry,
    SourceEntry,
    SpreadEntry,
    UnitsEntry,
)


@dataclass(frozen=True, slots=True)
class Document:
    """Hold a file as nodes, with its Profile or the problems that prevent one."""

    path: Path
    root: Node
    profile: Profile | None
    problems: tuple[Problem, ...]

    def locate(self, key: Key) -> tuple[str, int]:
        """Find the file and line of *key*, or of the nearest part of it that exists."""
        return locate(self.root, key)


def open_document(path: Path) -> Document:
    """Parse and validate the file at *path*, keeping where everything stands and what is wrong."""
    try:
        root = with_base(parse(path), path)
    except UnreadableError as error:
        return Document(path, Node(None, str(path), 0), None, (error.problem,))
    try:
        return Document(path, root, Profile.model_validate(plain(root)), ())
    except ValidationError as error:
        return Document(path, root, None, problems(root, error))


def problems(root: Node, error: ValidationError) -> tuple[Problem, ...]:
    """Say where below *root* stands what *error* refuses, and what to write instead."""
    details = cast(list[dict[str, Any]], error.errors(include_url=False, include_context=False))
    return tuple(_problem(root, detail) for detail in details)


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
    key = tuple(part for part in cast(Key, detail["loc"]) if part != "[key]")  # so pydantic marks a key that is wrong itself
    file, line = locate(root, key)
    return Problem(file, line, key_text(key), _message(key, detail["type"], detail.get("input"), detail["msg"]))


def _message(key: Key, kind: str, value: object, message: str) -> str:
    if kind == "missing":
        return f"is missing{_unit(key)}"
    if kind == "extra_forbidden":
        return f"unknown key{_did_you_mean(str(key[-1]))}"
    if kind == "literal_error":
        return f"{message[0].lower()}{message[1:]}, not {value!r}".replace("input should", "must")
    if kind == "less_than":
        return f"is too large: {short(value)}{_unit(key)}"
    if kind.startswith(("float", "int", "greater", "finite")):
        number = "whole number" if kind.startswith("int") else "number"
        return f"must be a positive {number}, not {short(value)}{_unit(key)}"
    return _structural(key, kind, value, message)


def _structural(key: Key, kind: str, value: object, message: str) -> str:
    if kind == "model_type" and isinstance(value, str):
        return f"must be a positive number, not {short(value)}{_unit(key)}" if _unit(key) else "must be a mapping"
    if kind == "model_type" and isinstance(value, int | float):
        return f"must be a mapping: {{value: {value}, kind: datasheet, src: ...}}; every figure names its source"
    if kind in ("model_type", "dict_type"):
        return f"must be a mapping, not {short(value)}"
    if kind.startswith(("string", "bool", "list")):
        wanted = {"s": "text", "b": "true or false", "l": "a list"}[kind[0]]
        return f"must be {wanted}, not {short(value)}"
    return message.removeprefix("Value error, ")


def _did_you_mean(key: str) -> str:
    models = (Profile, UnitsEntry, EngineEntry, RateEntry, MemoryEntry, EstimateEntry, MeasuredEntry, BusEntry)
    models = (*models, OverheadsEntry, OverheadEntry, PriceEntry, SourceEntry, FigureEntry, CalibrationEntry, ShapeEntry, SpreadEntry)
    known = {field.alias or name for model in models for name, field in model.model_fields.items()}
    close = get_close_matches(key, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "; remove it"
