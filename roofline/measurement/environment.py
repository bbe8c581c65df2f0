"""Describe what a measurement ran on: processor, clocks, versions, date, and what else ran meanwhile."""

import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from roofline.costmodel.host import inspect

SHORTEST = 0.2
"""Seconds of wall time, below which the system's counters, in steps of 10 ms, tell nothing."""


def environment(device: str, *, threads: int) -> dict[str, Any]:
    """Return names, sizes in base units and versions as a flat mapping; what cannot be read is left out."""
    facts = {**_processor(), **(_gpu() if device == "cuda" else {}), "threads": threads, **_versions(), "os": platform.platform()}
    return {**facts, "date": datetime.now(UTC).isoformat(timespec="seconds")}


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds that all processors have spent since the system began: at work, in total, and at work for this process."""

    busy: float
    total: float
    own: float
    processors: int


def usage(root: Path = Path("/")) -> Usage | None:
    """Read how much the processors have worked; None where the system does not say (anything but Linux)."""
    with suppress(OSError, ValueError, IndexError):
        lines = [line.split() for line in (root / "proc/stat").read_text().splitlines() if line.startswith("cpu")]
        times = [int(n) / os.sysconf("SC_CLK_TCK") for n in lines[0][1:9]]  # user nice system idle iowait irq softirq steal
        own = os.times()
        return Usage(sum(times) - times[3] - times[4], sum(times), own.user + own.system, len(lines) - 1)
    return None


def elsewhere(before: Usage | None, after: Usage | None) -> dict[str, Any]:
    """Return how many processors worked for others between two readings, and how many there are; nothing if it cannot be told.

    Time that a hypervisor gave to other machines counts as theirs.
    """
    if before is None or after is None or after.total - before.total < SHORTEST * after.processors:
        return {}
    others = (after.busy - before.busy) - (after.own - before.own)
    share = min(max(others / (after.total - before.total), 0.0), 1.0)
    return {"processors": after.processors, "busy_elsewhere": round(share * after.processors, 3)}


def pages_given() -> float | None:
    """Read the bytes that the system has given this process so far, page by page, each cleared; None where it does not say (Windows)."""
    with suppress(ImportError):
        import resource

        return float(resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize())
    return None


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
