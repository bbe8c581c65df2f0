"""One side of a comparison in plain figures: from an analysis, or read back from the JSON that `roofline analyze -o` wrote."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roofline import units
from roofline.costmodel.analysis import SCHEMA, Analysis
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import load_hardware, names
from roofline.costmodel.timemodel import BOUNDS
from roofline.errors import RooflineError
from roofline.studies.cost import dollars, joules, price_of

AS_IS = "baseline"
"""How a network without a what-if is called."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What was analyzed and what came out, in base units; *source* is the file that it was read from, if any.

    *kinds* holds seconds by kind of op, *unknown* the ops without a cost rule, *price* what the device costs in words, empty where
    no price is known.
    """

    source: str
    model: str
    what_if: str
    mode: str
    precision: str
    layout: str
    hardware: str
    batch: int
    latency_seconds: float
    low_seconds: float
    high_seconds: float
    lower_bound_seconds: float
    macs: float
    flops: float
    bytes: float
    params: float
    kernels: int
    peak_memory_bytes: float
    device_memory_bytes: float
    bound: str
    seconds_by_bound: Mapping[str, float]
    kinds: Mapping[str, float]
    status: str
    unknown: tuple[str, ...] = ()
    price: str = ""
    usd_per_million_items: float | None = None
    joules_per_item_at_most: float | None = None

    @property
    def throughput_items_per_second(self) -> float:
        """Items per second."""
        return self.batch / self.latency_seconds

    @property
    def intensity_flop_per_byte(self) -> float:
        """FLOPs per byte moved; 0 where nothing moves."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def reached(self) -> float:
        """Share of the datasheet limit that is reached."""
        return self.lower_bound_seconds / self.latency_seconds

    @classmethod
    def of(cls, a: Analysis) -> "Subject":
        """Take the figures of *a*."""
        kinds = a.by_op()
        return cls(
            source="", model=a.model, what_if=" + ".join(a.changes) or AS_IS, mode=a.mode, precision=a.precision, layout=a.layout,
            hardware=a.hardware.id, batch=a.batch, latency_seconds=a.latency, low_seconds=a.interval[0], high_seconds=a.interval[1],
            lower_bound_seconds=a.lower_bound, macs=a.macs, flops=a.flops, bytes=a.bytes, params=a.params,
            kernels=sum(row.kernels for row in kinds), peak_memory_bytes=a.peak_memory, device_memory_bytes=a.hardware.memory_size,
            bound=a.bound, seconds_by_bound={str(bound): s for bound, s in a.seconds_by_bound.items()},
            kinds={row.name: row.seconds for row in kinds},
            status=a.calibration.status, unknown=tuple(a.unknown), **_costs(a.hardware, a.latency / a.batch),
        )  # fmt: skip

    @classmethod
    def saved(cls, body: Mapping[str, Any], source: str) -> "Subject":
        """Take the figures of one analysis in a JSON file called *source*; KeyError or TypeError where some are missing."""
        same = (
            "model", "mode", "precision", "layout", "hardware", "batch", "latency_seconds", "lower_bound_seconds", "macs", "flops",
            "bytes", "params", "peak_memory_bytes", "device_memory_bytes", "bound", "seconds_by_bound",
        )  # fmt: skip
        low, high = body["interval_80_seconds"]
        return cls(
            source=source, what_if=" + ".join(body["what_if"]) or AS_IS, low_seconds=low, high_seconds=high,
            kernels=sum(row["kernels"] for row in body["by_kind"]), kinds={row["name"]: row["seconds"] for row in body["by_kind"]},
            status=body["calibration"]["status"], unknown=tuple(body["unknown_ops"]), **{name: body[name] for name in same},
            **(_costs(load_hardware(body["hardware"]), body["latency_seconds"] / body["batch"]) if body["hardware"] in names() else {}),
        )  # fmt: skip


def _costs(hardware: Hardware, seconds: float) -> dict[str, Any]:
    """Tell what an item of *seconds* costs on *hardware*."""
    return {
        "price": price_of(hardware), "usd_per_million_items": dollars(hardware, seconds),
        "joules_per_item_at_most": joules(hardware, seconds),
    }  # fmt: skip


def read(path: str | Path) -> tuple[Subject, ...]:
    """Read every analysis in a file that `roofline analyze -o FILE.json` wrote; RooflineError for any other file."""
    try:
        body = json.loads(Path(path).read_text(encoding="utf-8"))
        if body["schema"] != SCHEMA:
            raise RooflineError(f"{path} has schema {body['schema']}, not {SCHEMA}; write it again: roofline analyze -o {path}")
        found = tuple(Subject.saved(analysis, Path(path).name) for analysis in body["analyses"])
    except OSError as error:
        raise RooflineError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RooflineError(f"{path} is no report; compare names of networks, or files that roofline analyze -o FILE.json wrote") from error
    if not found or any(subject.latency_seconds <= 0 or subject.bound not in BOUNDS for subject in found):
        raise RooflineError(f"{path} holds no analysis; write it again: roofline analyze MODEL --hw DEVICE -o {path}")
    return found


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that is compared: how it is called, its attribute of a Subject, and how it is written."""

    label: str
    attribute: str
    write: Callable[[float], str]
    is_share: bool = False

    def value(self, subject: Subject) -> float:
        """Give the figure of *subject* in base units."""
        return float(getattr(subject, self.attribute))


def _scaled(unit: str) -> Callable[[float], str]:
    return lambda value: units.scaled(value, unit)


METRICS: Mapping[str, Metric] = {
    "latency": Metric("latency", "latency_seconds", units.seconds),
    "throughput": Metric("items/s", "throughput_items_per_second", units.significant),
    "limit": Metric("limit", "lower_bound_seconds", units.seconds),
    "reached": Metric("reached", "reached", units.percent, is_share=True),
    "macs": Metric("MACs", "macs", _scaled("")),
    "bytes": Metric("bytes moved", "bytes", _scaled("B")),
    "intensity": Metric("FLOP/byte", "intensity_flop_per_byte", lambda value: units.significant(value, 2)),
    "memory": Metric("memory", "peak_memory_bytes", _scaled("B")),
    "params": Metric("parameters", "params", _scaled("")),
    "kernels": Metric("kernels", "kernels", lambda value: f"{value:.0f}"),
}
"""Every figure that is compared, by its name."""
