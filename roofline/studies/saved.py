"""Read back what `roofline analyze -o FILE.json` wrote, as far as a later analysis can be held against it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roofline.costmodel.analysis import SCHEMA
from roofline.costmodel.timemodel import BOUNDS
from roofline.errors import RooflineError


@dataclass(frozen=True, slots=True)
class Layer:
    """The kernels of one layer in base units: *busy* are the seconds in which some roof holds it, *overhead* the others."""

    name: str
    kind: str
    bound: str
    kernels: int
    flops: float
    bytes: float
    limit: float
    busy: float
    overhead: float

    @property
    def seconds(self) -> float:
        """The whole time."""
        return self.busy + self.overhead


@dataclass(frozen=True, slots=True)
class Saved:
    """One analysis of a file, in base units; *tool* is the version that wrote it."""

    source: str
    tool: str
    model: str
    hardware: str
    batch: int
    precision: str
    mode: str
    layout: str
    what_if: tuple[str, ...]
    status: str
    provenance: str
    latency: float
    low: float
    high: float
    lower_bound: float
    macs: float
    flops: float
    bytes: float
    params: float
    peak_memory: float
    layers: tuple[Layer, ...]

    @property
    def throughput(self) -> float:
        """Items per second."""
        return self.batch / self.latency


def read(path: str | Path) -> tuple[Saved, ...]:
    """Read every analysis in the file at *path*; raise RooflineError, which names it, for anything else."""
    try:
        body: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        if body["schema"] != SCHEMA:
            raise RooflineError(
                f"{path} has schema {body['schema']}, this version reads {SCHEMA}; write it again: roofline analyze -o {path}"
            )
        found = tuple(_saved(each, Path(path).name, str(body["tool"]["version"])) for each in body["analyses"])
    except OSError as error:
        raise RooflineError(f"cannot read {str(path)!r}: {error.strerror or error}; name a file that roofline analyze -o wrote") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RooflineError(f"{path} is no saved analysis; write one: roofline analyze MODEL --hw DEVICE -o FILE.json") from error
    if not found or any(saved.latency <= 0 for saved in found):
        raise RooflineError(f"{path} holds no analysis; write one: roofline analyze MODEL --hw DEVICE -o FILE.json")
    return found


def _saved(body: Mapping[str, Any], source: str, tool: str) -> Saved:
    low, high = map(float, body["interval_80_seconds"])
    return Saved(
        source=source, tool=tool, model=str(body["model"]), hardware=str(body["hardware"]), batch=int(body["batch"]),
        precision=str(body["precision"]), mode=str(body["mode"]), layout=str(body["layout"]), what_if=tuple(map(str, body["what_if"])),
        status=str(body["calibration"]["status"]), provenance=str(body["calibration"]["provenance"]),
        latency=float(body["latency_seconds"]), low=low, high=high, lower_bound=float(body["lower_bound_seconds"]),
        macs=float(body["macs"]), flops=float(body["flops"]), bytes=float(body["bytes"]), params=float(body["params"]),
        peak_memory=float(body["peak_memory_bytes"]), layers=_layers(body["kernels"]),
    )  # fmt: skip


def _layers(kernels: Sequence[Mapping[str, Any]]) -> tuple[Layer, ...]:
    """Add up the kernels of each layer, in the order they run."""
    members: dict[str, list[Mapping[str, Any]]] = {}
    for kernel in kernels:
        members.setdefault(str(kernel["layer"]), []).append(kernel)
    return tuple(_layer(name, rows) for name, rows in members.items())


def _layer(name: str, rows: Sequence[Mapping[str, Any]]) -> Layer:
    def total(*columns: str) -> float:
        return float(sum(row[column] for row in rows for column in columns))

    longest = max(rows, key=lambda row: float(row["seconds"]))
    overhead = total("overhead_seconds")
    bound = str(longest["bound"])
    if bound not in BOUNDS:
        raise ValueError(bound)
    return Layer(
        name=name, kind=str(longest["kind"]), bound=bound, kernels=len(rows), flops=total("matrix_flops", "vector_flops"),
        bytes=total("weight_bytes", "input_bytes", "output_bytes"), limit=total("limit_seconds"),
        busy=max(total("seconds") - overhead, 0.0), overhead=overhead,
    )  # fmt: skip
