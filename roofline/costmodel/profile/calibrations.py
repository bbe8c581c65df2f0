"""Read and write calibrations: microseconds in the file, seconds inside."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from roofline.costmodel.calibration import Calibration
from roofline.costmodel.profile import nodes
from roofline.costmodel.profile.document import problems
from roofline.costmodel.profile.schema import Calibrations
from roofline.errors import ProfileError


def read_calibrations(path: Path) -> tuple[Calibration, ...]:
    """Load a file of calibrations, or raise a ProfileError that names the file, the line, the key and the rule."""
    try:
        root = nodes.parse(path)
    except nodes.UnreadableError as error:
        raise ProfileError(str(error.problem)) from None
    try:
        entries = Calibrations.model_validate(nodes.plain(root)).calibration
    except ValidationError as error:
        first, *more = problems(root, error)
        raise ProfileError(f"{first} (and {len(more)} more)" if more else str(first)) from None
    return tuple(entry.calibration() for entry in entries)


def plain(calibration: Calibration) -> dict[str, Any]:
    """Turn a calibration into what its file says, rounded to three digits."""
    c = calibration
    described = {
        "devices": list(c.devices), "kind": c.kind, "architecture": c.architecture, "segment": c.segment, "mode": c.mode,
        "layout": c.layout, "precisions": list(c.precisions), "samples": c.samples, "data": c.data, "date": c.date,
        "released": c.released or None,
        "spread": {"networks": list(c.spread), "devices": list(c.elsewhere), "kernels": list(c.per_kernel)},
        "launch_us": c.launch and c.launch * 1e6, "clock_ghz": c.clock and c.clock / 1e9, "call_us": c.call * 1e6 or None,
        "host_op_us": c.host_op and c.host_op * 1e6, "host": dict(c.host),
        "cache": c.cache, "bias": c.bias, "transpose": c.transpose, "huge": c.huge, "serial": c.serial,
        "fresh_gbps_per_core": c.fresh and c.fresh / 1e9, "packing_gbps_per_core": c.packing and c.packing / 1e9,
        "on_vector": asdict(c.on_vector), "on_matrix": asdict(c.on_matrix),
        "memory": dict(c.memory), "vector": dict(c.vector), "matrix": dict(c.matrix),
    }  # fmt: skip
    return {key: _rounded(value) for key, value in described.items() if value not in (None, {}, [])}


def to_yaml(calibrations: Iterable[Calibration], comment: str) -> str:
    """Write calibrations as the file that `read_calibrations` reads, with a *comment* on top."""
    body = {"calibration": [plain(c) for c in calibrations]}
    text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=140, default_flow_style=None)
    return "".join(f"# {line}\n" for line in comment.splitlines()) + text


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.3g}")
    if isinstance(value, Mapping):
        return {key: _rounded(v) for key, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value
