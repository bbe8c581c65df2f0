"""Describe what a measurement ran on: processor, clocks, versions, date."""

import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from roofline.costmodel.host import inspect


def environment(device: str, *, threads: int) -> dict[str, Any]:
    """Return names, sizes in base units and versions as a flat mapping; what cannot be read is left out."""
    facts = {**_processor(), **(_gpu() if device == "cuda" else {}), "threads": threads, **_versions(), "os": platform.platform()}
    load = _try(lambda: os.getloadavg()[0])
    return {**facts, **({} if load is None else {"load": load}), "date": datetime.now(UTC).isoformat(timespec="seconds")}


def _processor() -> Mapping[str, Any]:
    machine = inspect(Path("/"))
    read = machine.clock.kind != "assumed"
    clock = {"clock_hz": machine.clock.value, "clock_source": machine.clock.note} if read else {}
    return {"name": machine.model, "cores": machine.cores, "instructions": machine.isa.name, **clock}


def _gpu() -> Mapping[str, Any]:
    """Describe the GPU in use; the processor becomes the host."""
    import torch

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    facts = {
        "name": properties.name, "host": inspect(Path("/")).model, "compute_capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count, "memory_bytes": properties.total_memory,
        "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
        "clock_hz": _try(lambda: torch.cuda.clock_rate() * 1e6), "clock_source": "nvidia-ml, while measuring",
    }  # fmt: skip
    return {name: value for name, value in facts.items() if value is not None}


def _try(read: Callable[[], Any]) -> Any:
    """Return what *read* does, or None where the system or a library for it is missing."""
    with suppress(Exception):
        return read()
    return None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("torch", "timm", "torchvision"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
